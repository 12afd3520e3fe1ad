"""Progress is never silent, and its time left follows the speed so far."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from splitjax.runs import reporter as reporter_module
from splitjax.runs.reporter import Reporter


def reporter(width: int = 120) -> tuple[Reporter, io.StringIO]:
    text = io.StringIO()
    return Reporter(Console(file=text, width=width, force_terminal=False)), text


def test_time_left_is_work_left_at_the_speed_so_far() -> None:
    told, _ = reporter()
    told.plan_work(100.0, phases=4)
    assert told.seconds_left() is None
    told.advance(20.0, seconds=4.0, tokens_per_s=1000.0)
    assert told.seconds_left() == pytest.approx(16.0)
    told.phase_done(beside=2.0)  # three more such phases
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
    told.stage("train", "")
    told.now("d32.trunk")
    told.advance(50.0, seconds=90.0, tokens_per_s=12345.0)
    told._line()
    last = text.getvalue().splitlines()[-1]
    for part in ("train", "d32.trunk", "12,345 tokens/s", "whole job 50 %", "1:30 left"):
        assert part in last


def test_rounds_that_turn_out_otherwise_change_the_time_left() -> None:
    told, _ = reporter()
    told.plan_work(100.0, phases=4)
    told.advance(20.0, seconds=4.0, tokens_per_s=1000.0)
    told.replan(-40.0, -1)  # the sweep ended early
    assert told.seconds_left() == pytest.approx((100 - 20 - 40) * 4 / 20)
    told.replan(10.0, 2)
    assert told.seconds_left() == pytest.approx((100 - 20 - 40 + 10) * 4 / 20)
    told.now("trunk")
    told.skip(30.0, "trunk")  # trained by this start, and met again
    assert told.seconds_left() == pytest.approx(50 * 4 / 20)
    told.replan(-1000.0, -9)
    assert told.seconds_left() == 0
