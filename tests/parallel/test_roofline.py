"""The bound of a step from peaks."""

from __future__ import annotations

import pytest

from splitjax.parallel import CHIPS, Times

V5P = CHIPS["v5p"]


def times(sent: dict[str, float] | None = None, hbm: float = 0.0) -> Times:
    bandwidth = {"fsdp": 1e9, "data": 0.5e9, "tensor": 1e9}
    return Times.of(V5P, flops=V5P.flops, hbm_bytes=hbm, sent=sent or {}, bandwidth=bandwidth)


def test_work_takes_its_peak_over_the_efficiency() -> None:
    assert times().step(0.5) == pytest.approx(2.0)
    assert times(hbm=V5P.bandwidth).step(0.5) == pytest.approx(4.0)


def test_network_hides_behind_work_until_it_takes_longer() -> None:
    assert times({"fsdp": 1e9}).step(0.5) == pytest.approx(2.0)
    assert times({"fsdp": 3e9}).step(0.5) == pytest.approx(3.0)
    assert times({"fsdp": 3e9}).bound(0.5) == "network"
    assert times({"data+fsdp": 3e9}).step(0.5) == pytest.approx(6.0), "the slower of two axes"


def test_tensor_shards_wait_for_each_other() -> None:
    assert times({"tensor": 1e9}).step(0.5) == pytest.approx(3.0)


def test_the_bound_is_the_larger_part() -> None:
    assert times().bound(0.5) == "products"
    assert times(hbm=2 * V5P.bandwidth).bound(0.5) == "memory"
