from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import pytest

from splitjax.config import UserError
from splitjax.launching.request import RESTART_CODES
from splitjax.parallel import beats
from splitjax.parallel.beats import Beat, accuse
from tools.faults import cluster


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


def test_silence_alone_is_told_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats.jax, "process_count", lambda: 2)
    for looks, said in (
        ([{0: Beat(1, 7), 1: Beat(1, 6)}, {0: Beat(2, 7), 1: Beat(2, 6)}], ""),
        ([{0: Beat(1, 7), 1: Beat(1, 6)}, {0: Beat(2, 7), 1: Beat(1, 6)}], "process 1 of 2 gives no sign of life"),
        ([{0: Beat(1, 7), 1: Beat(1, 7)}] * 2, ""),  # between phases nobody tells beats, this process neither
        ([None, None], "process 0, which holds the processes together, does not answer"),
    ):
        monkeypatch.setattr(beats, "beats", iter(looks).__next__)
        assert beats.missing(1.0, sleep=lambda _: None, silent_alone=True) == said


@pytest.mark.parametrize(
    ("barrier", "silent", "said"),
    [
        ("DEADLINE_EXCEEDED: timed out task names: /job:jax_worker/replica:0/task:2", "", "process 2 of 4"),
        ("DEADLINE_EXCEEDED", "process 1 of 4 gives no sign of life",
         "the other processes of 4: process 1 of 4 gives no sign of life"),
        ("DEADLINE_EXCEEDED", "", "the other processes of 4"),
    ],
)
def test_a_meeting_names_who_is_missing(monkeypatch: pytest.MonkeyPatch, barrier: str, silent: str, said: str) -> None:
    class Store:
        def wait_at_barrier(self, name: str, milliseconds: int) -> None:
            raise jax.errors.JaxRuntimeError(barrier)

    told: list[str] = []
    monkeypatch.setattr(beats, "client", Store)
    monkeypatch.setattr(beats, "give_up", told.append)
    monkeypatch.setattr(beats, "missing", lambda wait, silent_alone: silent)
    monkeypatch.setattr(beats.jax, "process_count", lambda: 4)
    monkeypatch.setenv(beats.STEP_TIMEOUT, "15")
    beats.meet("to save", 3)
    assert told == [f"waited 15 s at 'to save' for {said}"]


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


def test_giving_up_ends_though_nobody_reads_what_it_says() -> None:
    code = """
import os, sys, threading
from splitjax.parallel import beats
reader, writer = os.pipe()
os.close(reader)
sys.stderr = os.fdopen(writer, "w")
class Store:
    def key_value_set(self, key, value, allow_overwrite):
        os.write(1, f"{key} {value}".encode())
        raise beats.jax.errors.JaxRuntimeError("enough")
beats._me, beats.client, beats.LINGER = beats.Me(1, 2), Store, 1.0
beats.jax.distributed.is_initialized = lambda: True
beats.give_up("waited")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (beats.STUCK, "splitjax/ends/1 75 waited")


def test_a_call_that_fails_does_not_end_the_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Beat] = []
    stop = threading.Event()

    def tell(beat: Beat) -> None:
        told.append(beat)
        if beat.ticks == 3:
            stop.set()
        raise jax.errors.JaxRuntimeError("UNAVAILABLE: just now")

    monkeypatch.setattr(beats, "tell", tell)
    beats._tell_and_hear(0.01, stop)
    assert [beat.ticks for beat in told] == [1, 2, 3]


def test_an_error_of_its_own_is_heard_before_those_that_lost_another(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("splitjax/ends/0", "75 lost touch"), ("splitjax/ends/2", "2 no room"), ("splitjax/ends/3", "1 ours")]

    class Store:
        def key_value_dir_get(self, folder: str) -> list[tuple[str, str]]:
            return rows

    monkeypatch.setattr(beats, "client", Store)
    monkeypatch.setattr(beats, "_me", beats.Me(3, 4))
    assert beats.heard() == (2, "no room")
    del rows[:2]
    assert beats.heard() is None


LEAVES_FIRST = """
import os, time, jax
from splitjax.parallel import beats, hosts, join_cluster
join_cluster()
time.sleep(2)
jax.config.update("jax_num_cpu_devices", 2)  # refused, were the devices opened: beats do without
hosts.meet("here")
beats.LINGER = 4.0
if jax.process_index() == 1:
    time.sleep(2)  # it comes to its end after the process that holds them together
beats.give_up(f"process 3 of 4 gives no sign of life, says {jax.process_index()}")
"""


def test_process_0_stays_until_the_others_have_said_why(tmp_path: Path) -> None:
    with cluster.members([sys.executable, "-c", LEAVES_FIRST], 2, tmp_path, environment=os.environ) as two:
        assert cluster.wait(two, 100) == [beats.STUCK] * 2
        assert all(f"says {index}" in one.said() for index, one in enumerate(two))


IN_A_COLLECTIVE = """
import threading, jax
from jax.experimental.multihost_utils import sync_global_devices
from splitjax.parallel import beats, join_cluster
join_cluster()
sync_global_devices("connected")
beats.LINGER = 8.0
if jax.process_index() == 1:
    beats.give_up("process 3 of 4 gives no sign of life, says 1")
threading.Timer(2, beats.give_up, ["process 3 of 4 gives no sign of life, says 0"]).start()
sync_global_devices("one is missing")
"""


def test_one_that_gives_up_does_not_break_the_collective_that_another_still_waits_in(tmp_path: Path) -> None:
    with cluster.members([sys.executable, "-c", IN_A_COLLECTIVE], 2, tmp_path, environment=os.environ) as two:
        assert cluster.wait(two, 100) == [beats.STUCK] * 2
        assert all(f"says {index}" in one.said() for index, one in enumerate(two))
