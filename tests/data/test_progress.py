"""How long a preparation still takes: by the bytes that are read, and by what later stages take for as many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from splitjax.config import Source
from splitjax.data.progress import Progress, Reading, left_of, outlasting
from splitjax.data.spool import Spool


def test_the_time_left_is_the_stage_by_its_pace_and_the_others_as_foreseen() -> None:
    now, told = 0.0, list[tuple[str, float, float]]()
    progress = Progress(lambda *each: told.append(each), clock=lambda: now)
    progress.foresee({"reading": 10.0, "writing": 30.0})
    with progress.stage("reading") as tell:
        assert told[-1] == ("reading", 0.0, 40.0)
        now = 20.0  # slower than foreseen: half of it in 20 s, as much again, then writing
        tell(0.5)
        assert told[-1] == ("reading", 20 / (20 + 20 + 30), 20 + 30)
        progress.foresee({"writing": 100.0})  # more text than there seemed to be
        tell(0.6)
        assert told[-1][2] == pytest.approx(20 * 0.4 / 0.6 + 100)
        assert told[-1][1] == 20 / 70, "what is over never falls"
    with progress.stage("writing"):
        assert told[-1][2] == 100
    assert told[-1] == ("writing", 1.0, 0.0)


def test_what_is_read_is_told_by_bytes_before_a_part_has_ended(tmp_path: Path) -> None:
    """Two files of 1000 bytes, and one that is packed, of about 4 · 500."""
    parts = []
    for name, size in (("a.jsonl", 1000), ("b.jsonl", 1000), ("c.jsonl.gz", 500)):
        (tmp_path / name).write_bytes(b"x" * size)
        parts.append((Source(type="jsonl", path=str(tmp_path / name)), str(tmp_path / name)))
    spools = [Spool(tmp_path, f"{i}") for i in range(3)]
    reading = Reading(parts, spools)
    assert (reading.total(), reading.share()) == (4000, 0)
    spools[0].path("txt").write_bytes(b"x" * 400)
    assert reading.share() == pytest.approx(400 / 4000)
    spools[0].path("txt").write_bytes(b"x" * 900)  # the rest of the file was no text
    spools[0].save_array("size", np.array([900]))
    spools[1].path("txt").write_bytes(b"x" * 5000)  # more than it should be: not at its end yet
    assert reading.share() == pytest.approx((900 + 950) / 3900)


def test_parts_of_unknown_size_are_as_large_as_those_that_are_read(tmp_path: Path) -> None:
    spools = [Spool(tmp_path, f"{i}") for i in range(2)]
    reading = Reading([(Source(type="installed_python"), each) for each in ("headers", "readmes")], spools)
    assert (reading.total(), reading.share()) == (0, 0)
    spools[0].path("txt").write_bytes(b"x" * 700)
    spools[0].save_array("size", np.array([700]))
    assert reading.share() == pytest.approx(0.5)
    assert reading.total() == 1400


@pytest.mark.parametrize(("share", "spent", "foreseen", "left"), [
    (0.0, 2.0, 10.0, 8.0),  # nothing told: what was foreseen
    (0.1, 2.0, 10.0, 12.0),  # 18 s by its own pace for two fifths, 8 as foreseen for the rest
    (0.5, 2.0, 10.0, 2.0),  # its own pace alone
    (0.1, 2.0, 1.0, 18.0),  # what was foreseen is over
])
def test_what_is_left_of_a_stage_by_hand(share: float, spent: float, foreseen: float, left: float) -> None:
    assert left_of(share, spent, foreseen) == pytest.approx(left)


def test_what_has_told_nothing_for_long_takes_a_tenth_of_it_again() -> None:
    assert outlasting(5.0, 2.0) == 3.0
    assert outlasting(5.0, 60.0) == pytest.approx(6.0)
