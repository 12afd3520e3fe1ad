"""What a device sends in a step, and which meshes are tried: by hand, with no two axes of one size."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from splitjax.config import Model, Train, UserError
from splitjax.model import work
from splitjax.parallel import Topology
from splitjax.planning import estimate, layouts
from splitjax.planning.layouts import meshes

MODEL = Model(d_model=1024, n_layers=3, n_heads=8, d_ff=2048)
V = 32000


def sent(remat: str = "full", parts: int = 1, experts: int = 1, **sizes: int) -> dict[str, tuple[int, float]]:
    train = Train(seq_len=512, batch_size=48, microbatches=parts, precision="bfloat16", remat=remat)
    found = estimate._collectives(MODEL, train, V, experts, estimate.full_mesh(sizes))
    return {axis: (traffic.count, traffic.bytes) for axis, traffic in found.items()}


def test_nobody_sends_on_one_device() -> None:
    assert sent() == {}
    assert sent(expert=8, experts=8) == {}


@pytest.mark.parametrize(("remat", "gathers"), [("full", 3), ("none", 2)])
def test_shards_gather_weights_and_sum_gradients(remat: str, gathers: int) -> None:
    """Four shards: three quarters of 2 bytes a weight, gathered two or three times and summed once; the ends' three
    quarters gathered twice and, with their 4 bytes of sums, once more each way."""
    layers, ends = 3 * work.layer_weights(MODEL), V * 1024
    found = sent(remat, fsdp=4)
    assert found["fsdp"] == (3 * 7 * (gathers + 1) + 2, pytest.approx(
        0.75 * (2 * layers * (gathers + 1) + 2 * 2 * ends) + 2 * 0.75 * (4 + 2) * ends))
    assert list(found) == ["fsdp"]


def test_shards_too_narrow_are_gathered_by_sums_at_twice_the_bytes() -> None:
    """Below 128 of 1024 columns, which is from nine shards on: half as much again per shard kept."""
    layers, ends = 3 * work.layer_weights(MODEL), V * 1024
    assert sent(fsdp=16)["fsdp"][1] == pytest.approx(
        15 / 16 * (2 * layers * 4 * 2 + 2 * 2 * ends) + 2 * 15 / 16 * (4 + 2) * ends)


def test_copies_sum_gradients_of_their_shards_for_each_microbatch() -> None:
    """Two copies of three shards, two microbatches, two experts a device: all of it twice, and twice the weights."""
    layers, ends = 2 * 3 * work.layer_weights(MODEL), 2 * V * 1024
    found = sent("full", 2, experts=2, data=2, fsdp=3)
    assert found["data"] == (2 * 3, pytest.approx(2 * 2 * 0.5 * 2 * layers / 3))
    assert found["fsdp"] == (2 * 3 * 7 * 4, pytest.approx(2 * 2 / 3 * (2 * layers * 4 + 2 * 2 * ends)))
    assert found["data+fsdp"] == (2 * 2, pytest.approx(2 * 2 * 5 / 6 * (4 + 2) * ends))


def test_copies_alone_send_the_ends_beside_their_gradients() -> None:
    layers, ends = 3 * work.layer_weights(MODEL), V * 1024
    assert sent(data=4)["data"] == (3 + 2, pytest.approx(2 * 0.75 * 2 * layers + 2 * 0.75 * (4 + 2) * ends))


@pytest.mark.parametrize(("remat", "passes"), [("full", 3), ("none", 2)])
def test_tensor_parts_sum_activations_twice_a_block_and_pass(remat: str, passes: int) -> None:
    """48 windows over two copies: 24 · 512 positions of 1024 numbers of 2 bytes, and half of each sent both ways."""
    found = sent(remat, tensor=2, data=2)
    assert found["tensor"] == (2 * passes * 3, pytest.approx(4 * passes * 3 * 0.5 * 2 * 24 * 512 * 1024))


def test_meshes_are_all_that_fit_a_slice() -> None:
    """Eight chips, three experts: none apart. Of two slices of four, data is what goes across."""

    def tried(topology: str, experts: int) -> list[tuple[int, int, int, int]]:
        return [tuple(mesh[axis] for axis in ("expert", "data", "fsdp", "tensor"))  # type: ignore[misc]
                for mesh in meshes(Topology.parse(topology), experts)]

    assert tried("h100:8", 3) == [
        (1, 8, 1, 1), (1, 4, 2, 1), (1, 2, 4, 1), (1, 1, 8, 1), (1, 4, 1, 2), (1, 2, 2, 2), (1, 1, 4, 2), (1, 2, 1, 4),
        (1, 1, 2, 4),
    ]
    assert tried("2xh100:4", 1) == [
        (1, 8, 1, 1), (1, 4, 2, 1), (1, 2, 4, 1), (1, 4, 1, 2), (1, 2, 2, 2), (1, 2, 1, 4),
    ]
    assert tried("2xh100:4", 2) == [(2, 4, 1, 1), (2, 2, 2, 1), (2, 1, 4, 1), (2, 2, 1, 2), (2, 1, 2, 2), (2, 1, 1, 4)]


def _layouts(monkeypatch: pytest.MonkeyPatch, fits: tuple[bool, ...]) -> tuple[list[Any], list[str]]:
    """`search` where five layouts were ranked and the compiler says which fit; what it heard."""
    ranked = [SimpleNamespace(name=name, mesh={"data": 1}, remat="none", batch_size=8) for name in "abcde"]
    answers = iter([SimpleNamespace(name=f"{one.name} compiled", fits=fit)
                    for one, fit in zip(ranked, fits, strict=False)])
    monkeypatch.setattr(layouts, "rank", lambda *asked: ranked)
    monkeypatch.setattr(layouts, "under", lambda config, layout: config)
    monkeypatch.setattr(layouts, "compile_step", lambda *asked, **how: next(answers))
    heard: list[str] = []
    found = layouts.search(None, "h100:8", told=heard.append)  # type: ignore[arg-type]
    return [found.best.name, *(row.name for row in found.rows)], heard


def test_the_first_layout_that_fits_is_the_best_and_stands_first(monkeypatch: pytest.MonkeyPatch) -> None:
    names, heard = _layouts(monkeypatch, (False, True))
    assert names == ["b compiled", "b compiled", "a compiled", "c", "d", "e"]
    assert len(heard) == 2
    assert _layouts(monkeypatch, (True,))[0] == ["a compiled", "a compiled", "b", "c", "d", "e"]


def test_no_more_than_three_layouts_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="the 3 layouts that should fit best do not"):
        _layouts(monkeypatch, (False, False, False, True))
