"""Device kinds as JAX names them."""

from __future__ import annotations

import pytest

from splitjax.parallel import chip_of


@pytest.mark.parametrize(
    ("kind", "name"),
    [("NVIDIA H200", "H200"), ("NVIDIA H100 80GB HBM3", "H100"), ("TPU v5 lite", "v5e"), ("TPU v5", "v5p"),
     ("TPU v6 lite", "v6e"), ("NVIDIA A100-SXM4-80GB", "A100")],
)
def test_kinds_are_recognised(kind: str, name: str) -> None:
    chip = chip_of(kind)
    assert chip is not None
    assert chip.name == name


def test_a_cpu_has_no_published_peak() -> None:
    assert chip_of("cpu") is None
