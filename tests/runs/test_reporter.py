"""Progress is never silent, and its time left follows the speed so far."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from splitjax.runs import reporter as reporter_module
from splitjax.runs.reporter import Reporter
from splitjax.runs.telling.time_left import Load, Rest, time_left


def reporter(width: int = 120) -> tuple[Reporter, io.StringIO]:
    text = io.StringIO()
    return Reporter(Console(file=text, width=width, force_terminal=False)), text


def test_time_left_is_what_is_left_at_the_pace_so_far() -> None:
    """Work at seconds a unit; starts at seconds beside steps, the first of a program apart: it compiles."""
    told, _ = reporter()
    told.plan_work(Load(100.0, starts=5, programs=2))
    assert told.seconds_left() is None
    told.start(new=True, seconds=6.0)
    told.advance(1.0, seconds=0.0, tokens_per_s=1000.0)
    told.advance(19.0, seconds=3.8, tokens_per_s=1000.0)
    told.beside(1.0)  # its checkpoint
    told.phase_done("d16.trunk")
    pace = 3.8 / 19
    assert told.seconds_left() == pytest.approx(80 * pace + 7 + 3 * 7 * 0.1)  # of further starts nothing is known yet
    told.start(new=False, seconds=2.0)
    assert told.seconds_left() == pytest.approx(80 * pace + 7 + 2 * 2)
    told.skip("d24.trunk", Load(30.0, 1.0))  # done by an earlier process: less work, the same pace
    told.skip("d24.trunk", Load(30.0, 1.0))  # met again in the next round of a sweep: it left the job once
    assert told.seconds_left() == pytest.approx(50 * pace + 7 + 2)
    assert told.state()["trained"] == pytest.approx(0.5), "with what was done before"
    told.train_at_once(2)
    assert told.seconds_left() == pytest.approx((50 * pace + 7 + 2) / 2)


def test_a_slow_compilation_is_not_expected_of_every_phase() -> None:
    """The first start compiles for 20 s; 8 more of them are to come, 2 of which compile, with 29 s of steps in all."""
    told, _ = reporter()
    told.plan_work(Load(300.0, starts=9, programs=3))
    told.start(new=True, seconds=20.0)
    told.advance(10.0, seconds=1.0, tokens_per_s=1.0)
    assert told.seconds_left() == pytest.approx(29 + 2 * 20 + 6 * 2)


def test_the_pace_is_that_of_late() -> None:
    """Small models at 1 s a unit, then the large one at 3: what is left is the large one's."""
    told, _ = reporter()
    told.plan_work(Load(400.0))
    for _step in range(200):
        told.advance(1.0, seconds=1.0, tokens_per_s=1.0)
    for _step in range(100):
        told.advance(1.0, seconds=3.0, tokens_per_s=1.0)
    assert told.seconds_left() == pytest.approx(300, rel=0.2), "the mean over all would say 167"


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
    told.plan_work(Load(100.0, 1))
    told.stage("train", "", phases=5)
    told.phase_done("d16.trunk")
    told.now("experts from 40 %")
    told.advance(50.0, seconds=90.0, tokens_per_s=12345.0, loss=4.25)
    told._line()
    last = text.getvalue().splitlines()[-1]
    assert "d32.trunk" not in last
    for part in ("train", "experts from 40 %, 2 of 5", "loss 4.250", "12,345 tokens/s", "50 % trained", "1:30 left"):
        assert part in last


def test_rounds_that_turn_out_otherwise_change_the_time_left() -> None:
    told, _ = reporter()
    told.plan_work(Load(100.0, 4))
    told.advance(20.0, seconds=4.0, tokens_per_s=1000.0)
    told.replan(Load(-40.0, -1))  # the sweep ended early
    assert told.seconds_left() == pytest.approx((100 - 20 - 40) * 4 / 20)
    told.replan(Load(10.0, 2))
    assert told.seconds_left() == pytest.approx((100 - 20 - 40 + 10) * 4 / 20)
    told.phase_done("trunk")
    told.skip("trunk", Load(30.0, 1))  # trained by this process, and met again
    assert told.seconds_left() == pytest.approx(50 * 4 / 20)
    told.replan(Load(-1000.0, -9))
    assert told.seconds_left() == 0


def test_stages_that_train_nothing_count_too_and_end() -> None:
    now = 0.0
    told = Reporter(Console(file=io.StringIO()), clock=lambda: now)
    told.plan_work(Load(10.0, 1))
    told.plan_rest({"rounds": Rest(0.0, 30.0), "fit": Rest(0.0, 30.0)})
    told.plan_rest({"evaluate": Rest(5.0, 4.0), "report": Rest(0.0, 3.0)})
    told.stage("sweep")
    told.start(new=True, seconds=4.0)
    told.advance(10.0, seconds=20.0, tokens_per_s=1.0)
    assert told.seconds_left() == pytest.approx(30 + 30 + 5 * 2 + 4 + 3)
    told.leave("rounds")  # the law was fitted to choose a round, which took 20 s
    told.plan_rest({"fit": Rest(0.0, 20.0)})
    told.stage("fit")
    now = 15.0
    assert told.seconds_left() == pytest.approx(5 + 14 + 3)
    now = 50.0  # longer than expected: it never stands at none
    assert told.seconds_left() == pytest.approx(5 + 14 + 3)
    told.progress(0.25)
    assert told.seconds_left() == pytest.approx(150 + 14 + 3)
    told.finish("fitted")
    told.stage("evaluate")
    now = 60.0  # routers, which are no measure of what follows
    told.progress(0.0)
    now = 63.0
    told.progress(0.5)
    assert told.seconds_left() == pytest.approx(3 + 3)
    told.leave("evaluate")
    told.stage("report")
    now = 65.9
    assert time_left(told.seconds_left() or 0.0) == "a few seconds left"
    assert [time_left(each) for each in (0, 59.6, 61, 3725)] == [
        "a few seconds left", "1:00 left", "1:01 left", "1:02:05 left",
    ]


def test_a_stage_alone_tells_its_own_time_left() -> None:
    """While text is prepared nobody knows how fast the training will be."""
    now, text = 0.0, io.StringIO()
    told = Reporter(Console(file=text, width=100), clock=lambda: now)
    told.stage("prepare")
    told.now("reading")
    told._line()
    assert text.getvalue().splitlines()[-1].rstrip().endswith("reading  0 s")
    now = 10.0
    told.progress(0.2, left=40.0)
    assert told.state()["stage_seconds_left"] == 40
    now = 20.0
    told._line()
    assert text.getvalue().splitlines()[-1].rstrip().endswith("20 s, 0:30 left to prepare")
    assert told.seconds_left() is None


def test_another_process_reads_how_far_it_is_and_why_it_ended(
    tmp_path: Path,
) -> None:
    told, _ = reporter()
    told.file = tmp_path / "progress.json"
    with told:
        told.plan_work(Load(10.0, 1))
        told.stage("train", phases=2)
        told.now("experts from 40 %")
        told.advance(5.0, 1.0, 1.0, 3.5)
        deadline = time.monotonic() + 10
        while not told.file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        state = json.loads(told.file.read_text())
    assert state == {"stage": "train", "what": "experts from 40 %, 1 of 2", "loss": 3.5, "trained": 0.5,
                     "seconds_left": 1.0, "stage_seconds_left": None}
    assert not told.file.exists()
    failing, _ = reporter()
    failing.file = told.file
    with pytest.raises(ValueError), failing:  # noqa: PT012
        failing.stage("fit")
        raise ValueError("no such\nthing")
    assert json.loads(told.file.read_text())["failed"] == "ValueError: no such"


def test_the_time_left_of_the_demo_is_within_a_factor_of_two() -> None:
    """What one run of configs/demo.yaml told of itself, on two cores that others loaded, with no program kept: 489 s.

    At its very end it says "a few seconds".
    """
    now = 0.0
    told = Reporter(Console(file=io.StringIO(), quiet=True), clock=lambda: now)
    events = json.loads((Path(__file__).parent / "demo_events.json").read_text())
    end, ratios, second = events[-1][0], dict[int, float](), 0
    for at, name, args in events:
        while second < min(at, end - 6):
            now = second
            if (left := told.seconds_left()) is not None:
                ratios[second] = left / (end - second)
            second += 1
        now = at
        if name == "end":
            break
        if name in ("plan_work", "replan"):
            args = [Load(**args[0])]
        elif name == "plan_rest":
            args = [{stage: Rest(*rest) for stage, rest in args[0].items()}]
        getattr(told, name)(*args)
    assert set(range(60, int(end - 6))) <= set(ratios), "told from the first minute on"
    assert min(ratios.values()) > 0.5
    assert max(ratios.values()) < 1.6


def test_a_bar_is_there_where_something_is_told() -> None:
    text = io.StringIO()
    with Reporter(Console(file=text, force_terminal=True, width=80)) as told:
        time.sleep(1.1)  # a run is only read: no stage, nothing to tell
        assert "━" not in text.getvalue()
        told.stage("fit", "comparing families")
        time.sleep(1.1)
    assert "comparing families" in text.getvalue()
    assert "━" in text.getvalue()


def test_loads_add_up_and_are_taken_away_part_by_part() -> None:
    more, less = Load(100.0, 5.0, 3), Load(30.0, 7.0, 1)
    assert more + less == Load(130.0, 12.0, 4)
    assert more - less == Load(70.0, -2.0, 2)
    assert (more - less).not_negative() == Load(70.0, 0.0, 2)
    assert (less - more).not_negative() == Load(0.0, 2.0, 0)
    assert Load(1.0, -0.5, 0).not_negative() == Load(1.0, 0.0, 0)
