"""Trackers that fail, log in, resume: never the end of training, and never a step twice."""

from __future__ import annotations

import io
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from splitjax.config import Config, from_dict
from splitjax.runs.reporter import Reporter
from splitjax.runs.trackers import Patient, TensorBoard, WeightsAndBiases, logged_in, sinks_of

TREE: dict[str, Any] = {
    "name": "mine", "data": {"sources": [{"type": "phonebook"}]}, "budget": {"tokens": 1000}, "split": 0.5,
    "log": ["wandb"],
}


def row(tokens: int) -> dict[str, Any]:
    return {"tokens": tokens, "loss": [1.0], "grad_norm": [1.0], "rate": [0.1], "skipped": [0]}


def listening() -> tuple[Reporter, io.StringIO]:
    out = io.StringIO()
    return Reporter(Console(file=out, width=300)), out


class Flaky:
    """A sink that fails as often as told, at its opening or at a row."""

    def __init__(self, opens: int, writes: int) -> None:
        self.opens, self.writes, self.rows = opens, writes, list[int]()

    def make(self) -> Flaky:
        if self.opens:
            self.opens -= 1
            raise ConnectionError("no route\nto host [/b]")
        return self

    def write(self, phase: str, row: Mapping[str, Any]) -> None:
        if self.writes:
            self.writes -= 1
            raise RuntimeError("500")
        self.rows.append(row["tokens"])


@pytest.mark.parametrize(("opens", "writes"), [(2, 0), (0, 2), (1, 1)])
def test_one_that_fails_is_told_once_tried_again_and_gets_every_row(opens: int, writes: int) -> None:
    now = [0.0]
    reporter, out = listening()
    flaky = Flaky(opens, writes)
    sink = Patient("wandb", flaky.make, reporter, clock=lambda: now[0])
    for tokens in range(20):
        sink.write("p", row(tokens))
        now[0] += 10
    assert flaky.rows == list(range(20))
    said = out.getvalue().splitlines()
    assert len(said) == (1 if 0 in (opens, writes) else 2), "one line a reason"
    assert "training goes on, metrics.jsonl has every row" in said[0]


def test_pauses_grow_and_rows_that_nobody_takes_end_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    now, tried = [0.0], list[float]()
    monkeypatch.setattr("splitjax.runs.trackers._MOST_KEPT", 5)

    def make() -> Any:
        tried.append(now[0])
        raise OSError("down")

    sink = Patient("wandb", make, listening()[0], clock=lambda: now[0])
    for tokens in range(1000):
        sink.write("p", row(tokens))
        now[0] += 5
    assert tried[:6] == [0, 30, 90, 210, 450, 930]
    assert len(sink._kept) == 5


def test_keys_of_the_config_reach_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "wandb", _wandb(begun))
    keys = {"project": "p", "entity": "e", "group": "g", "name": "{run}/{phase}", "tags": ["a", "b"]}
    for asked, told in (
        (keys, {"project": "p", "entity": "e", "group": "g", "name": "mine/x", "tags": ["a", "b"]}),
        ({}, {"project": "splitjax", "entity": None, "group": "mine", "name": "x", "tags": None}),
    ):
        (sink,) = sinks_of(from_dict(TREE | {"wandb": asked}), tmp_path, ("a",), listening()[0])
        sink.write("x", row(8))
        assert {key: begun[-1][key] for key in told} == told


def _wandb(begun: list[dict[str, Any]], logged: list[int] | None = None, last: object = None) -> Any:
    logged = [] if logged is None else logged

    def init(**options: Any) -> Any:
        begun.append(options)
        return types.SimpleNamespace(
            define_metric=lambda *args, **more: None, finish=lambda: None, summary={"tokens": last},
            log=lambda figures: logged.append(figures["tokens"]),
        )

    return types.SimpleNamespace(init=init)


@pytest.mark.parametrize(
    ("text", "environment", "known"),
    [
        ("machine api.wandb.ai login user password x", {}, True),
        ("machine other login user password x", {}, False),
        ("machine w.example login user password x", {"WANDB_BASE_URL": "https://w.example:8080"}, True),
        ("machine", {}, False),
        (None, {}, False),
        (None, {"WANDB_API_KEY": "x"}, True),
        (None, {"WANDB_MODE": "offline"}, True),
    ],
)
def test_a_login_in_netrc_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, environment: dict[str, str], known: bool
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if text is not None:
        (tmp_path / ".netrc").write_text(text)
        (tmp_path / ".netrc").chmod(0o600)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert logged_in() is known


def test_a_resumed_phase_shows_no_step_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config: Config = from_dict(TREE)
    logged: list[int] = []
    monkeypatch.setitem(sys.modules, "wandb", _wandb([], logged, last=16))
    sink = WeightsAndBiases(config, tmp_path, ("a",))
    for tokens in (8, 16, 24, 32):
        sink.write("p", row(tokens))
    assert logged == [24, 32]

    opened: list[tuple[str, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            opened.append((Path(folder).name, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    board = TensorBoard(config, tmp_path, ("a",))
    for phase, tokens in (("p", 8), ("p", 16), ("q", 24)):
        board.write(phase, row(tokens))
    assert opened == [("p", 8), ("q", 24)]


def test_tensorboard_itself_takes_the_step_from_which_it_is_shown_anew(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is an extra: pip install 'splitjax[tensorboard]'")
    board = TensorBoard(from_dict(TREE), tmp_path, ("a",))
    board.write("p", row(8))
    assert list((tmp_path / "tensorboard" / "p").glob("events*"))
