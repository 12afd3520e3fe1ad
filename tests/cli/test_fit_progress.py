"""A fit says every few seconds what it is at, however large its table."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from splitjax import cli
from splitjax.cli.laws.law_text import QUIET_SECONDS, Told


def test_no_silence_is_longer_than_five_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    told = Told(clock=lambda: now[0])
    told.now("reading t.csv")
    said: list[float] = []
    for tick in range(200):
        now[0] = tick / 2
        if tick == 100:
            told.now("fitting 30,000 rows")
        if tick == 150:
            told.step(1, 3, "fitted kaplan")
        told.beat()
        said += [now[0]] * bool(capsys.readouterr().err)
    assert QUIET_SECONDS < 5
    assert max(b - a for a, b in zip([0.0, *said], [*said, now[0]], strict=True)) < 5


def test_what_is_done_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    told = Told(clock=lambda: now[0])
    lines = []
    for what in (lambda: told.now("fitting 30,000 rows"), lambda: told.step(1, 3, "fitted kaplan"),
                 lambda: told.step(3, 3, "bootstrap")):
        what()
        now[0] += 6
        told.beat()
        lines += capsys.readouterr().err.splitlines()
    assert lines == [
        "fitting 30,000 rows: 6 s so far", "[1/3] fitted kaplan", "[1/3] the next family: 6 s so far",
        "[3/3] bootstrap", "scores and notes: 6 s so far",
    ]


def test_the_command_tells_it_and_json_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("splitjax.cli.laws.law_text.QUIET_SECONDS", 0.2)
    real = __import__("splitjax.law", fromlist=["Table"]).Table.read

    def slow(*args: object, **options: object) -> object:
        time.sleep(1.2)
        return real(*args, **options)

    monkeypatch.setattr("splitjax.law.Table.read", slow)
    path = tmp_path / "t.csv"
    path.write_text("n_params,d_pretrain,loss\n" + "\n".join(
        f"{n},{d},{1.5 + 40 / n**0.3 + 90 / d**0.3}" for n in (1e5, 1e6, 1e7) for d in (1e6, 1e7, 1e8)
    ))
    words = ["fit", str(path), "--family", "chinchilla", "--bootstrap", "10"]
    assert cli.main(words) == 0
    assert f"reading {path}: " in capsys.readouterr().err
    assert cli.main([*words, "--json"]) == 0
    assert f"reading {path}" not in capsys.readouterr().err
