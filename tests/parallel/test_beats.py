from __future__ import annotations

import subprocess
import sys

import pytest

from splitjax.config import UserError
from splitjax.parallel import beats
from splitjax.parallel.beats import Beat, accuse
from splitjax.pipeline.launch.request import RESTART_CODES


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({0: (1, 7), 1: (1, 7), 2: (1, 6)}, {0: (4, 7), 1: (1, 7), 2: (4, 7)}, "process 1 of 3 gives no sign of life"),
        ({0: (1, 7), 1: (1, 7)}, {0: (1, 7), 1: (1, 7)}, "processes 0, 1 of 2 give no sign of life"),
        ({0: (1, 0)}, {0: (3, 0)}, "processes 1, 2 of 3 give no sign of life"),
        ({0: (1, 7), 1: (1, 6)}, {0: (2, 7), 1: (2, 6)}, "process 1 of 2 behind at step 6, the others at 7"),
        ({0: (1, 7), 1: (1, 7)}, {0: (2, 7), 1: (2, 7)}, "all 2 processes live and stand at step 7"),
    ],
)
def test_who_is_missing_is_named(before: dict, after: dict, said: str) -> None:
    count = 3 if "of 3" in said else 2
    looks = [{k: Beat(*told) for k, told in look.items()} for look in (before, after)]
    assert accuse(*looks, range(count)) == said


def test_time_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(beats.GRACE, raising=False)
    assert beats.seconds(beats.GRACE) == 30
    monkeypatch.setenv(beats.GRACE, "4.5")
    assert beats.seconds(beats.GRACE) == 4.5
    for wrong in ("soon", "0", "-1", "nan", "inf"):
        monkeypatch.setenv(beats.GRACE, wrong)
        with pytest.raises(UserError, match=beats.GRACE):
            beats.seconds(beats.GRACE)


def test_giving_up_says_why_shows_stacks_and_ends_with_a_code_that_launchers_restart_on() -> None:
    code = "from splitjax.parallel import beats\ndef stuck_here():\n    beats.give_up('waited')\nstuck_here()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == beats.STUCK
    assert beats.STUCK in RESTART_CODES
    assert done.stderr.startswith("splitjax: waited\n")
    assert "in stuck_here" in done.stderr
