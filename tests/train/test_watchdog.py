from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import jax
import pytest

from splitjax.parallel import beats, hosts
from splitjax.train.guards.watchdog import FIRST_STEP, Watchdog
from tools.faults import cluster


def test_a_step_that_does_not_end_is_told_once() -> None:
    said: list[str] = []
    with Watchdog(0.2, said.append) as dog:
        dog.dispatched(7)
        time.sleep(0.1)
        dog.beat()
        time.sleep(1.0)
    assert said == ["no step came to its end for 0 s after step 7"]


def test_the_first_step_may_take_longer() -> None:
    said: list[str] = []
    with Watchdog(0.4, said.append):
        time.sleep(0.4 * (FIRST_STEP - 1))
        assert not said


def test_beats_keep_it_quiet() -> None:
    said: list[str] = []
    with Watchdog(0.5, said.append) as dog:
        for _ in range(20):
            dog.beat()
            time.sleep(0.05)
    assert not said


@pytest.mark.parametrize("silent", ["", "process 1 of 2 gives no sign of life"])
def test_a_process_without_a_sign_of_life_is_named_long_before_the_time_out(monkeypatch, silent: str) -> None:
    """JAX would end this process for it, within minutes and without a name."""
    monkeypatch.setattr(hosts, "several", lambda: True)
    monkeypatch.setattr(beats, "start", lambda: None)
    monkeypatch.setattr(beats, "missing", lambda wait, silent_alone: silent)
    monkeypatch.setattr(beats, "SILENCE", 1.6)
    said: list[str] = []
    with Watchdog(9.0, said.append) as dog:
        time.sleep(0.9)
        dog.beat()
        time.sleep(0.9)
        assert not said
        time.sleep(1.8)
    assert said == ([f"no step came to its end for 2 s after step 0: {silent}"] if silent else [])


SILENT = "process 1 of 2 gives no sign of life"
RESET = "UNKNOWN: reset by peer\nand more"


@pytest.mark.parametrize(
    ("error", "silent", "says"),
    [
        (jax.errors.JaxRuntimeError(RESET), SILENT, True),
        (ValueError(RESET), SILENT, True),
        (jax.errors.JaxRuntimeError(RESET), "", False),
        (ValueError("3 windows reset by peer"), SILENT, False),
        (KeyError(RESET), SILENT, False),
    ],
)
def test_an_error_of_the_devices_is_the_dead_process_s_only_where_one_is_silent(
    monkeypatch, error: Exception, silent: str, says: bool
) -> None:
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(hosts, "several", lambda: False)
    monkeypatch.setattr(beats, "missing", lambda wait, silent_alone: silent)
    said: list[str] = []
    with pytest.raises(type(error), match="reset by peer"), Watchdog(9.0, said.append):
        raise error
    assert said == ([f"lost touch after step 0: {SILENT} (UNKNOWN: reset by peer)"] if says else [])


LOSES_ONE = """
import os, sys, time, jax
from jax.experimental.multihost_utils import sync_global_devices
from splitjax.parallel import beats, join_cluster
from splitjax.train.guards.watchdog import Watchdog
join_cluster()
sync_global_devices("connected")
beats.LINGER = 3.0
with Watchdog() as dog:
    dog.dispatched(7)
    if jax.process_index() == 1:
        time.sleep(2)  # until the others have seen its beats
        {end}
    {wait}
"""
DIES, GIVES_UP = "os._exit(9)", "beats.give_up('process 3 of 4 gives no sign of life')"


@pytest.mark.parametrize(
    ("end", "wait", "code", "said"),
    [
        (DIES, 'sync_global_devices("one dies meanwhile")', 9,
         "lost touch after step 7: process 1 of 2 gives no sign of life (UNKNOWN: Gloo"),
        (GIVES_UP, "time.sleep(100)  # in what does not break: it must hear of it", beats.STUCK,
         "process 3 of 4 gives no sign of life\n"),
    ],
)
def test_those_that_lost_a_process_say_so_and_end(tmp_path, end: str, wait: str, code: int, said: str) -> None:
    script = LOSES_ONE.format(end=end, wait=wait)
    limited = os.environ | {beats.STEP_TIMEOUT: "10"}
    with cluster.members([sys.executable, "-c", script], 2, tmp_path, environment=limited) as two:
        assert cluster.wait(two, 60) == [beats.STUCK, code]
        assert two[0].said().count(f"splitjax: {said}") == 1


STUBBORN = textwrap.dedent("""
    import signal, sys, threading, time
    from splitjax.train.guards.interrupt import Signals
    with Signals() as signals:
        print("ready", flush=True)
        while True:  # a step, or a save, that takes for ever
            time.sleep(0.1)
            if signals.received: print("heard", flush=True)
""")


@pytest.mark.parametrize(
    ("numbers", "code", "said"),
    [
        ([signal.SIGTERM], 143, "SIGTERM: not saved within 1 s; the last checkpoint stands"),
        ([signal.SIGINT], 130, "SIGINT: not saved within 1 s; the last checkpoint stands"),
    ],
)
def test_what_is_not_saved_within_the_grace_time_is_given_up(numbers, code, said) -> None:
    ended, errors, took = send(numbers, grace="1")
    assert (ended, errors.splitlines()[0]) == (code, f"splitjax: {said}")
    assert took < 20


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    assert send([signal.SIGINT, signal.SIGINT], grace="60")[::2][0] == 130


def test_a_second_sigterm_does_not() -> None:
    ended, _, took = send([signal.SIGTERM, signal.SIGTERM], grace="2")
    assert ended == 143
    assert took > 1.5


def send(numbers, grace: str) -> tuple[int, str, float]:
    environment = os.environ | {beats.GRACE: grace}
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    for number in numbers:
        process.send_signal(number)
        assert process.stdout.readline() == "heard\n" or number == numbers[-1]
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors, time.monotonic() - began
