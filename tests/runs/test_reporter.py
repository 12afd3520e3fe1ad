"""Progress is never silent, and its time left follows the speed so far."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from splitjax.runs import reporter as reporter_module
from splitjax.runs.reporter import Reporter, Rest, time_left


def reporter(width: int = 120) -> tuple[Reporter, io.StringIO]:
    text = io.StringIO()
    return Reporter(Console(file=text, width=width, force_terminal=False)), text


def test_time_left_is_work_left_at_the_speed_so_far() -> None:
    told, _ = reporter()
    told.plan_work(100.0, phases=4)
    assert told.seconds_left() is None
    told.advance(20.0, seconds=4.0, tokens_per_s=1000.0)
    assert told.seconds_left() == pytest.approx(16.0)
    told.phase_done("d16.trunk", beside=2.0)  # three more such phases
    assert told.seconds_left() == pytest.approx(16.0 + 3 * 2.0)
    told.skip(30.0, "trunk")  # done by an earlier start: less work, the same speed
    told.skip(30.0, "trunk")  # met again in the next round of a sweep: it left the job once
    assert told.seconds_left() == pytest.approx(10.0 + 2 * 2.0)


def test_a_silent_job_still_tells_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter_module, "QUIET_SECONDS", 0.2)
    told, text = reporter()
    with told:
        told.stage("fit", "comparing families")
        time.sleep(1.5)  # nobody reports
    lines = [line for line in text.getvalue().splitlines() if "comparing families" in line]
    assert len(lines) >= 2


def test_a_line_holds_stage_speed_share_and_time_left() -> None:
    told, text = reporter()
    told.plan_work(100.0, phases=1)
    told.stage("train", "", phases=5)
    told.phase_done("d16.trunk", beside=0.0)
    told.now("experts from 40 %")
    told.advance(50.0, seconds=90.0, tokens_per_s=12345.0, loss=4.25)
    told._line()
    last = text.getvalue().splitlines()[-1]
    assert "d32.trunk" not in last
    for part in ("train", "experts from 40 %, 2 of 5", "loss 4.250", "12,345 tokens/s", "50 % trained", "1:30 left"):
        assert part in last


def test_rounds_that_turn_out_otherwise_change_the_time_left() -> None:
    told, _ = reporter()
    told.plan_work(100.0, phases=4)
    told.advance(20.0, seconds=4.0, tokens_per_s=1000.0)
    told.replan(-40.0, -1)  # the sweep ended early
    assert told.seconds_left() == pytest.approx((100 - 20 - 40) * 4 / 20)
    told.replan(10.0, 2)
    assert told.seconds_left() == pytest.approx((100 - 20 - 40 + 10) * 4 / 20)
    told.phase_done("trunk", beside=0.0)
    told.skip(30.0, "trunk")  # trained by this start, and met again
    assert told.seconds_left() == pytest.approx(50 * 4 / 20)
    told.replan(-1000.0, -9)
    assert told.seconds_left() == 0


def test_stages_that_train_nothing_count_too_and_end() -> None:
    now = 0.0
    told = Reporter(Console(file=io.StringIO()), clock=lambda: now)
    told.plan_work(10.0, phases=1)
    told.plan_rest({"fit": Rest(0.0, 0, 30.0), "evaluate": Rest(5.0, 3, 0.0), "report": Rest(0.0, 0, 3.0)})
    told.stage("sweep")
    told.advance(10.0, seconds=20.0, tokens_per_s=1.0)
    told.phase_done("d16.trunk", beside=4.0)
    assert told.seconds_left() == pytest.approx(30 + 5 * 2 + 3 * 4 + 3)
    told.stage("fit")
    now = 25.0
    assert told.seconds_left() == pytest.approx(5 + 22 + 3)
    now = 50.0  # longer than expected: it never stands at none
    assert told.seconds_left() == pytest.approx(5 + 22 + 3)
    told.progress(0.25)
    assert told.seconds_left() == pytest.approx(150 + 22 + 3)
    told.finish("fitted")
    told.leave("evaluate")
    told.stage("report")
    now = 52.9
    assert time_left(told.seconds_left() or 0.0) == "a few seconds left"
    assert [time_left(each) for each in (0, 59.6, 61, 3725)] == [
        "a few seconds left", "1:00 left", "1:01 left", "1:02:05 left",
    ]


def test_another_process_reads_how_far_it_is_and_why_it_ended(
    tmp_path: Path,
) -> None:
    told, _ = reporter()
    told.file = tmp_path / "progress.json"
    with told:
        told.plan_work(10.0, phases=1)
        told.stage("train", phases=2)
        told.now("experts from 40 %")
        told.advance(5.0, 1.0, 1.0, 3.5)
        deadline = time.monotonic() + 10
        while not told.file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        state = json.loads(told.file.read_text())
    assert state == {"stage": "train", "what": "experts from 40 %, 1 of 2", "loss": 3.5, "trained": 0.5,
                     "seconds_left": 1.0}
    assert not told.file.exists()
    failing, _ = reporter()
    failing.file = told.file
    with pytest.raises(ValueError), failing:  # noqa: PT012
        failing.stage("fit")
        raise ValueError("no such\nthing")
    assert json.loads(told.file.read_text())["failed"] == "ValueError: no such"
