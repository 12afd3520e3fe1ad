"""The bench measures what it says, for a stack as for one."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from splitjax.cli import main
from splitjax.config import Config, UserError, load
from splitjax.model import flops_per_token
from splitjax.planning import bench as bench_module
from splitjax.planning.bench import Runner, bench
from splitjax.planning.kernel_times import by_class

CPU_SHAPE = Path(__file__).parents[2] / "configs/bench/cpu_5m8.yaml"
SMALL = [
    "model.d_model=16", "model.n_layers=1", "model.n_heads=2", "model.d_ff=32", "train.seq_len=16",
    "train.batch_size=2", "evaluate.prefix=4", "data.tokenizer.vocab_size=257",
]


@pytest.fixture(scope="module")
def small() -> Config:
    return load(CPU_SHAPE, SMALL)


def test_the_shape_on_file_is_the_one_that_is_compared() -> None:
    config = load(CPU_SHAPE)
    model = config.model
    assert (model.d_model, model.n_layers, model.n_heads, model.width_of_ffn) == (256, 6, 4, 688)
    assert (config.train.batch_size, config.train.seq_len, config.data.tokenizer.vocab_size) == (16, 256, 4096)


def test_figures_agree_with_each_other(small: Config, tmp_path: Path) -> None:
    found = bench(small, experts=2, steps=5, profile=tmp_path)
    assert found.tokens_per_s == pytest.approx(2 * 2 * 16 / found.step_time)
    # No published peak for a CPU: the ceiling measured in the same process stands in.
    assert found.mfu_of == found.matmul_ceiling
    flops = found.tokens_per_s * flops_per_token(small.model, 257, 16)
    assert found.mfu == pytest.approx(flops / found.matmul_ceiling)
    assert found.peak_bytes > 3 * 4 * 2 * found.n_params_total  # weights and both moments, two experts
    assert list(tmp_path.rglob("*.xplane.pb"))
    assert found.attention == "xla"
    assert "products" in by_class(found.kernels)
    header, _, row = found.row().splitlines()
    assert header.count("|") == row.count("|")


def test_steps_run_on_the_windows_that_are_given(small: Config) -> None:
    tokens_KBT = np.arange(2 * 2 * 17, dtype=np.int32).reshape(2, 2, 17)
    run = Runner.of(small, 2, tokens_KBT)
    assert np.array_equal(run.tokens_KBT, tokens_KBT)
    run.steps(1)


def test_the_command_tells_a_step_by_kernels(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", str(CPU_SHAPE), *SMALL, "--steps", "5", "--profile", str(tmp_path)]) == 0
    row, parts = capsys.readouterr().out.split("\n\n")
    assert "| xla |" in row
    assert parts.startswith("| kernels | ms a step |")
    assert "| products |" in parts


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(CPU_SHAPE), *SMALL, "--steps", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"tokens_per_s", "mfu", "peak_bytes", "matmul_ceiling"} <= set(told)


def test_too_few_steps_are_refused(small: Config) -> None:
    with pytest.raises(UserError, match="4 steps"):
        bench(small, steps=4)


def test_memory_as_planned_is_what_every_program_holds_and_the_largest_works_with() -> None:
    """100 in, 30 out of which 25 lie where they lay: 105 held by each of three programs, and 7 beside."""
    told = SimpleNamespace(argument_size_in_bytes=100, output_size_in_bytes=30, alias_size_in_bytes=25,
                           temp_size_in_bytes=7)
    run: Any = SimpleNamespace(_planned=told, working=SimpleNamespace(programs=3))
    assert Runner.planned_bytes(run) == 322


def test_the_ceiling_is_the_fastest_of_ten_products_of_the_better_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 n³ FLOPs: 1,024 in 4 ms, 2,048 in 20 ms at best, which is more a second."""
    times = iter([5e-3, 4e-3, *[6e-3] * 8, *[30e-3] * 9, 20e-3])
    monkeypatch.setattr(bench_module, "_seconds", lambda work: next(times))
    assert bench_module.matmul_ceiling("float32") == pytest.approx(2 * 2048**3 / 20e-3)


@pytest.mark.slow
def test_the_first_step_comes_sooner_with_programs_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(CPU_SHAPE), *SMALL, "--steps", "5", "--starts", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["first_step"]
    assert 0 < told["warm"] < told["cold"]
