"""What `train` leaves open is settled by the devices."""

from __future__ import annotations

from typing import Any

import pytest

from splitjax.config import MeshSizes, Model, Train, load
from splitjax.model import LanguageModel
from splitjax.parallel import CHIPS
from splitjax.planning.compiled_step import compile_step
from splitjax.runs.settled import memory_bytes, settled, steps_settled

WIDE = Model(d_model=2048, n_layers=24, n_heads=16, d_ff=5504)
OPEN = Train(seq_len=2048, batch_size=8, precision="bfloat16")


def _chosen(device: tuple[str, float | None], model: Model = WIDE, train: Train = OPEN, **more: int) -> tuple[str, str]:
    made = settled(train, model, 32768, experts=more.pop("experts", 1), sizes=MeshSizes(**more), device=device)
    return made.layers, made.remat


def test_a_cpu_loops_over_blocks_and_recomputes_nothing() -> None:
    assert _chosen(("cpu", None)) == _chosen(("cpu", 1e6)) == ("unroll", "none")


def test_an_accelerator_recomputes_what_its_memory_cannot_hold() -> None:
    needs = [
        memory_bytes(WIDE, OPEN.model_copy(update={"remat": remat, "layers": "unroll"}), 32768, platform="gpu",
                     experts=1, sizes=MeshSizes())
        for remat in ("none", "dots_no_batch", "full")
    ]
    assert needs == sorted(needs, reverse=True)
    for remat, memory in zip(("none", "dots_no_batch", "full"), needs, strict=True):
        assert _chosen(("gpu", memory / 0.89))[1] == remat
    assert _chosen(("gpu", needs[1] / 0.91))[1] == "full"
    assert _chosen(("gpu", 1e9))[1] == "full"  # and where nothing fits, what comes nearest
    assert _chosen(("gpu", None))[1] == "none"


def test_experts_share_a_device_s_memory_and_devices_the_experts() -> None:
    small = Model(d_model=768, n_layers=17, n_heads=12, d_ff=2048)
    alone, stacked = (_chosen(("gpu", 80e9), small, experts=k)[1] for k in (1, 8))
    assert (alone, stacked) == ("none", "dots_no_batch")
    assert _chosen(("gpu", 80e9), small, experts=8, expert=8)[1] == "none"


def test_many_blocks_are_one_that_is_looped_over() -> None:
    deep = WIDE.model_copy(update={"n_layers": 33})
    assert [_chosen((platform, 1e15), deep)[0] for platform in ("gpu", "tpu", "cpu")] == ["scan", "scan", "unroll"]
    assert _chosen(("gpu", 1e15))[0] == "unroll"


@pytest.mark.parametrize("change", [{"layers": "scan"}, {"remat": "full"}, {"layers": "unroll", "remat": "dots"}])
def test_what_is_said_stays(change: dict[str, str]) -> None:
    made = settled(
        OPEN.model_copy(update=change), WIDE, 32768, experts=1, sizes=None, device=("gpu", 1e9)
    ).model_dump()
    assert {key: made[key] for key in change} == change
    assert "auto" not in (made["layers"], made["remat"])


def test_a_plan_settles_by_the_chip_it_is_for() -> None:
    config = load("configs/bench/gpu_2048.yaml", ["model=1.3B"])
    found = {chip: compile_step(config, f"{chip}:1", analytic=True) for chip in ("h100", "rtx4090")}
    assert {chip: step.remat for chip, step in found.items()} == {"h100": "none", "rtx4090": "full"}
    assert found["h100"].bytes_per_device < 0.9 * CHIPS["h100"].memory_bytes


def test_a_model_that_nobody_settled_is_a_cpu_s() -> None:
    model = LanguageModel.under(OPEN, WIDE, 64)
    assert (model.layers, model.remat) == ("unroll", "none")


TINY, SHORT = Model(d_model=64, n_layers=2, n_heads=2, d_ff=128), Train(seq_len=64, batch_size=4)
"""A token takes 6 · (2 · (16,384 + 24,576) + 64 · 256) + 6 · 2 · 64 · 64 FLOPs at 256 ids, a step 163,577,856: of a
peak of 989 TFLOP/s 5 ms hold 30,230 models, of 312 they hold 9,536."""


@pytest.mark.parametrize(
    ("kind", "experts", "train", "meshed", "steps"),
    [
        ("NVIDIA H100 80GB HBM3", 1, {}, False, 8),
        ("NVIDIA H100 80GB HBM3", 30_230, {}, False, 8),
        ("NVIDIA H100 80GB HBM3", 30_231, {}, False, 1),
        ("NVIDIA H100 80GB HBM3", 30_231, {"placement": "serial"}, False, 8),  # one at a time
        ("NVIDIA A100-SXM4-80GB", 9_536, {}, False, 8),
        ("NVIDIA A100-SXM4-80GB", 9_537, {}, False, 1),
        ("NVIDIA H100 80GB HBM3", 1, {}, True, 1),
        ("NVIDIA of tomorrow", 1, {}, False, 1),
        ("TPU v5 lite", 1, {}, False, 1),
        ("cpu", 1, {}, False, 1),
        ("cpu", 1, {"steps_per_dispatch": 3}, False, 3),
        ("NVIDIA H100 80GB HBM3", 1, {"steps_per_dispatch": 1}, False, 1),
        (None, 1, {}, False, 1),  # these tests run on a CPU
    ],
)
def test_a_gpu_makes_several_short_steps_in_a_dispatch(
    kind: str | None, experts: int, train: dict[str, Any], meshed: bool, steps: int
) -> None:
    recipe = SHORT.model_copy(update=train)
    made = steps_settled(recipe, TINY, 256, experts=experts, meshed=meshed, kind=kind)
    assert made == recipe.model_copy(update={"steps_per_dispatch": steps})
