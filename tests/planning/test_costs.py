"""Prices beside those worked out by hand: three experts, steps of 32 tokens, nothing shared between paths."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from splitjax.config import Config, format_bytes, from_dict
from splitjax.model import flops_per_token, state_bytes
from splitjax.planning import pricing, run_costs
from splitjax.planning.compiled_step import compile_step
from splitjax.runs.cells import Clock
from splitjax.runs.phase_tree import Cell, grow
from splitjax.runs.phase_work import disk_of, flops_of, work_of

SMALL = {"d_model": 16, "n_layers": 1, "n_heads": 2}


def config(folder: Path, **changes: Any) -> Config:
    """T = 300 steps; under `total` a split at 0.3 is D = 90 and D' = 70 steps."""
    return from_dict({
        "run_dir": str(folder / "run"), "split": 0.3, "budget": {"tokens": 9600},
        "data": {"sources": [{"type": "installed_python"}], "tokenizer": {"vocab_size": 300}, "domains": {"k": 3}},
        "model": {"d_model": 32, "n_layers": 1, "n_heads": 2}, "evaluate": {"prefix": 2, "windows": 7},
        "train": {"seq_len": 8, "batch_size": 4, "schedule": "cosine"},
    } | changes)


def test_every_part_is_its_tokens_over_the_tokens_a_second_of_all_devices(tmp_path: Path) -> None:
    sweep = {"models": [SMALL], "d_pretrain": [3200], "d_special": [0, 320]}
    made = config(tmp_path, sweep=sweep)
    found = pricing.price(made, "v5e:2x2", analytic=True)
    parts = {part.name: part for part in found.parts}
    assert {name: part.tokens for name, part in parts.items()} == {
        "seed": 90 * 32, "experts": 3 * 70 * 32, "baselines": (300 + 240 + 3 * 20) * 32, "sweep": (100 + 130) * 32,
    }
    for name in ("seed", "experts", "baselines"):
        step = parts[name].step
        assert step is not None
        assert step.devices == 4
        assert parts[name].wall_s == pytest.approx(parts[name].tokens / step.tokens_per_s)
        assert parts[name].device_hours == pytest.approx(parts[name].wall_s * 4 / 3600)
    small = made.model_copy(update={"model": made.sweep.models[0]})
    one, three = (
        compile_step(small, "v5e:2x2", experts=models, mesh=mesh, analytic=True).step_time
        for models, mesh in ((1, {"expert": 1, "data": 1, "fsdp": 4}), (3, {"expert": 1, "data": 1, "fsdp": 4}))
    )
    assert parts["sweep"].wall_s == pytest.approx(200 * one + 10 * three)  # no trunk is shared under cosine
    assert parts["sweep"].device_hours == pytest.approx((200 * one + 10 * three) * 4 / 3600)
    hours = [part.device_hours for part in found.parts]
    assert found.sweep_share == pytest.approx(hours[-1] / sum(hours))
    assert (found.split_fraction, found.assumed, found.epochs) == (0.3, False, {})


def test_tokens_of_a_domain_are_read_as_often_as_its_expert_needs_them() -> None:
    corpus = SimpleNamespace(domains=("a", "b"), manifest=SimpleNamespace(sizes=(400, 1600)))
    assert pricing._epochs(corpus, None, 1000) == {"a": 2.5, "b": 0.625}  # type: ignore[arg-type]


@pytest.mark.parametrize(("seconds", "told"), [
    (3.4, "3 s"), (59.4, "59 s"), (60, "1 min"), (3599, "60 min"), (3600, "1 h 0 min"), (18600, "5 h 10 min"),
    (86399, "23 h 59 min"), (273600, "3 d 4 h"),
])
def test_durations(seconds: float, told: str) -> None:
    assert pricing.duration(seconds) == told


@pytest.mark.parametrize(("count", "told"), [
    (1e5, "0.1 MB"), (999e6, "999.0 MB"), (1e9, "1.0 GB"), (1.54e9, "1.5 GB"), (2e12, "2.0 TB"),
])
def test_bytes(count: float, told: str) -> None:
    assert format_bytes(count) == told


def test_flops_work_and_disk_of_a_tree(tmp_path: Path) -> None:
    """Two paths of 12 steps share their first 6: then 6 of one model, and 6 of each of three."""
    made = config(tmp_path)
    cells = [Cell(made.model, 12, 0), Cell(made.model, 6, 6)]
    tree = grow(cells, made.train.decay_share)
    steps, token = 6 + 6 + 3 * 6, flops_per_token(made.model, 300, 8)
    assert flops_of(tree, made, 3, 300) == steps * 32 * token
    assert work_of(tree, made, 3, 300) == steps * 32 * (token + 2e6)
    one, three = (state_bytes(made.model, made.train, 300, count) for count in (1, 3))
    assert disk_of(tree, made, 3, 300) == 3 * one + 2 * three, "at 0, 6 and 12; experts to resume from"


def test_what_trains_nothing_is_foreseen(tmp_path: Path) -> None:
    """Planned and 80/20, three experts each, read 7 windows of 8 tokens of 3 domains 2 · 3 + 2 times.

    Dense and seed read them once. A third of a step a token. 60 % of 5000 documents make the centroids.
    """
    sweep = {"models": [SMALL], "d_pretrain": [3200], "d_special": [0, 320]}
    made = config(tmp_path, sweep=sweep, law={"families": ["hernandez", "additive"], "bootstrap": 40})
    shards = [SimpleNamespace(split="train", documents=5000, tokens=1e6), SimpleNamespace(split="test", tokens=9e9)]
    made = made.model_copy(update={"data": made.data.model_copy(update={
        "domains": made.data.domains.model_copy(update={"sample_docs": 3000, "method": "label"})})})
    corpus = SimpleNamespace(manifest=SimpleNamespace(shards=shards))
    job = SimpleNamespace(
        config=made, clock=Clock.of(made, 3), vocab_size=300, sweep_cells=[None] * 5, rounds=None, corpus=corpus
    )
    told = run_costs.rest_of(job)  # type: ignore[arg-type]
    token = flops_per_token(made.model, 300, 8) + 2e6
    assert told["evaluate"].work == pytest.approx((8 + 8 + 1 + 1) * (3 * 7) * 8 * token / 3)
    (tmp_path / "piqa.jsonl").write_text("x" * 600)
    asked = made.evaluate.model_copy(update={"tasks": (str(tmp_path / "*.jsonl"),)})
    job.config = made.model_copy(update={"evaluate": asked})
    more = run_costs.rest_of(job)["evaluate"].work - told["evaluate"].work  # type: ignore[arg-type]
    assert more == pytest.approx(4 * 600 * token / 3), "planned, dense, 80/20 and the seed"
    assert told["routers"].seconds == pytest.approx(0.6e6 / 4e5)
    assert told["fit"].seconds == pytest.approx(1.5 + 2 * 40 * 15 / 8000)
    assert told["rounds"].seconds == 0
    assert {name: told[name].work for name in ("routers", "fit", "plan", "rounds", "report")} == dict.fromkeys(
        ("routers", "fit", "plan", "rounds", "report"), 0.0)


def test_what_is_small_is_not_told_as_nothing() -> None:
    told = [pricing._memory(3 * 2**20), pricing._memory(2**32), pricing._step(0.00012), pricing._step(0.25),
            pricing._hours(0.00034), pricing._hours(12345.6)]
    assert told == ["3.0 MiB", "4.0 GiB", "0.12 ms", "0.250 s", "0.00034", "12,346"]
