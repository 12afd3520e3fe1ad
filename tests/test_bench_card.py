"""The command that measures one card: rows and ratios from what was measured, within its time, whatever fails."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from splitjax.config import load
from splitjax.model import flops_per_token

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    "train.seq_len=128", "data.tokenizer.vocab_size=512", "--config", str(ROOT / "configs/bench/gpu_2048.yaml"),
    "--models", "0.3M,2M", "--expert", "1M", "--experts", "2", "--each", "2", "--recipe", "1M=2",
]
CARD = {"ceiling": 5e11, "mfu_of": 1e12, "device": "1 × card"}
SECONDS = {"0.3M": 0.1, "torch": 0.3, "1M": 0.2, "one": 0.32, "serial": 0.25, "stacked": 0.4, "2M": 0.8}


def tool(name: str) -> ModuleType:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def card() -> ModuleType:
    return tool("bench_card")


def figures(key: str, left: float) -> dict[str, Any]:
    return {"seconds": SECONDS[key], "peak_bytes": 3 * 2**29}


def table(card: ModuleType, capsys: pytest.CaptureFixture[str], *words: str, **how: Any) -> dict[str, list[str]]:
    args = card.arguments([*SMALL, *words])
    rows = card.rows_of(args)
    card.table(rows, args, CARD, how.pop("measured", figures), end=how.pop("end", 1e9), **how)
    printed = [line.strip("| \n").split("|") for line in capsys.readouterr().out.splitlines()]
    return {row.key: [cell.strip() for cell in cells] for row, cells in zip(rows, printed, strict=False)}


def test_rows_and_ratios_are_worked_out_from_what_was_measured(
    card: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    found = table(card, capsys)
    assert list(found) == ["0.3M", "torch", "1M", "one", "serial", "stacked", "2M"]
    # Windows a step, milliseconds, tokens a second: 128 tokens a window, the serial row two steps of one expert.
    assert found["1M"][1:4] == ["2", "200.0", "1,280"]
    assert found["serial"][1:4] == ["4", "500.0", "1,024"]
    assert found["stacked"][1:4] == ["4", "400.0", "1,280"]
    assert found["one"][1:4] == ["4", "320.0", "1,600"]
    config = load(ROOT / "configs/bench/gpu_2048.yaml", ["model={preset: 1M, qk_norm: false, tied_embeddings: true}"])
    assert found["1M"][4:6] == [f"{1280 * flops_per_token(config.model, 512, 128) / 1e12:.1%}", "1.5 GiB"]
    assert found["stacked"][6:8] == ["0.80", "1.25"]  # 1,280 to 1,600 of one model and to 1,024 of serial
    assert found["1M"][8:] == ["1.50"]  # 1,280 to 2 × 128 / 0.3
    assert [key for key, cells in found.items() if any(cells[6:])] == ["1M", "stacked"]


def test_a_row_that_fails_says_why_and_the_table_goes_on(card: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def measured(key: str, left: float) -> dict[str, Any]:
        return {"failed": "does not fit"} if key in ("torch", "serial") else figures(key, left)

    found = table(card, capsys, measured=measured)
    assert found["torch"][2] == found["serial"][2] == "does not fit"
    assert len(found) == 7
    assert found["1M"][6:] == []  # nothing to compare with
    assert found["stacked"][6:] == ["0.80"]
    assert card.why("W: spam\nXlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory", 1) == "does not fit"
    assert card.why("torch.OutOfMemoryError: CUDA out of memory.", 1) == "does not fit"
    assert card.why("Traceback\nModuleNotFoundError: No module named 'a|b'\n", 1) == (
        "failed: ModuleNotFoundError: No module named 'a/b'"
    )
    assert card.why("", 3) == "failed: exit code 3"


def test_rows_that_there_is_no_time_for_are_left_out_and_named(
    card: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    ticks: Iterator[float] = iter([0.0, 100.0, 200.0, 300.0])
    given = []

    def measured(key: str, left: float) -> dict[str, Any]:
        given.append(left)
        return figures(key, left)

    found = table(card, capsys, measured=measured, end=240.0, clock=lambda: next(ticks))
    assert (list(found), given) == (["0.3M", "torch", "1M"], [240.0, 140.0, 40.0])
    args = card.arguments([*SMALL, "--minutes", "4", "--commit", "c0ffee"])
    lines = card.footer({key: figures(key, 0) for key in found}, card.rows_of(args), args, CARD)
    assert lines[1] == "Left out, for --minutes 4 were over: one, serial, stacked, 2M."
    for told in ("1 TFLOP/s", "matmul ceiling 0.5 TFLOP/s", "1 × card", "commit c0ffee", "python tools/bench_card.py"):
        assert told in lines[2]


def test_what_is_measured_already_is_not_measured_again(card: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def measured(key: str, left: float) -> dict[str, Any]:
        asked.append(key)
        return figures(key, left)

    found = table(card, capsys, "--recipe", "1M=4", measured=measured)
    assert "one" not in asked
    assert "torch" in asked
    assert found["one"][2:4] == found["1M"][2:4]
    assert {row.remat for row in card.rows_of(card.arguments(["--recipe", "1.3B=4,full"]))} == {
        "full", "none", "dots_no_batch",  # as told; nothing; 2.7B's own
    }


def test_a_process_is_ended_when_the_time_is_over(card: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_card.py", *SMALL])
    start = time.monotonic()
    assert card.in_own_process("ceiling", 0.05) == {"failed": "out of time"}
    assert time.monotonic() - start < 5


def test_windows_hold_documents_as_text_does(card: ModuleType) -> None:
    draw = card.windows.draw
    tokens = draw("documents", (2, 40, 2049), 32768, mean_length=700, spread=1.0)
    starts = np.flatnonzero(tokens.reshape(-1) == 0)
    assert (tokens.shape, tokens.dtype, starts[0]) == ((2, 40, 2049), np.int32, 0)
    lengths = np.diff(starts)
    assert np.mean(lengths) == pytest.approx(700, rel=0.2)
    assert np.std(np.log(lengths)) == pytest.approx(1.0, rel=0.2)
    short = draw("documents", (1, 1, 4096), 512, mean_length=50, spread=0.5)
    assert (short == 0).sum() == pytest.approx(4096 / 50, rel=0.3)
    single = draw("single", (2, 3, 65), 512, mean_length=5, spread=1.0)
    assert np.all((single == 0).sum(axis=-1) == 1)
    assert not single[..., 0].any()


def test_steps_that_compile_are_made_before_the_timed_ones(card: ModuleType) -> None:
    until_settled = importlib.import_module("peers.warm").until_settled

    def steps(programs: list[int]) -> int:
        made: list[None] = []
        return int(until_settled(lambda: made.append(None), lambda: programs[min(len(made), len(programs)) - 1]))

    assert steps([0]) == 3  # nothing to compile, but a first step
    assert steps([1, 2, 2, 3]) == 6
    assert steps(list(range(99))) == 12  # never settled


def test_a_measurement_leaves_the_others_memory(card: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    assert card.apart.environment()["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    assert card.apart.environment()["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.5"


@pytest.mark.parametrize("on_card", [True, False])
def test_forms_share_a_processor_but_not_a_card(monkeypatch: pytest.MonkeyPatch, on_card: bool) -> None:
    experts = tool("bench_experts")
    alive: list[str] = []
    most: list[set[str]] = []

    class Child:
        def __init__(self, args: Any, k: int, form: str, folder: str) -> None:
            self.form = form
            alive.append(form)
            most.append(set(alive))

        def go(self) -> None: ...

        def took(self) -> None: ...

        def end(self) -> dict[str, Any]:
            alive.remove(self.form)
            return {"step_tokens": 8, "seconds": [2.0], "peak_mb": 1, "first": 1.0, "device": "d"}

    monkeypatch.setattr(experts, "Child", Child)
    monkeypatch.setattr(experts, "accelerator_in_sight", lambda: on_card)
    args = type("Args", (), {"repeats": 1, "steps": 4})()
    made = experts.compare(args, 2, ["serial", "stacked", "separate"], "folder")
    assert {form: each["tokens_per_s"] for form, each in made.items()} == {
        "serial": 16.0, "stacked": 16.0, "separate": 32.0,
    }
    assert max(map(len, most)) == (1 if on_card else 3)


@pytest.mark.slow
def test_the_command_measures_every_row() -> None:
    pytest.importorskip("torch", reason="needs torch and the hf extra")
    done = subprocess.run(
        [sys.executable, ROOT / "tools/bench_card.py", *SMALL, "--recipe", "0.3M=1", "--recipe", "2M=1", "--steps", "2",
         "--mean-length", "40"],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    header, _, *rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(rows) == 7
    assert all(len(row) == len(header) and float(row[3].replace(",", "")) > 0 for row in rows)
    assert "documents of 40 tokens" in done.stdout
