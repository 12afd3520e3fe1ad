"""Signals where Python cannot hear them, and a launcher that dies without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from splitjax.config.processes.stopping import LAUNCHER

# The main thread locks a mutex that it holds: like the compiler it is in C, and no signal wakes it.
IN_C = textwrap.dedent("""
    import ctypes, signal, sys, time
    from splitjax.config.processes import stopping
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.heard())
    signal.signal(signal.SIGINT, stopping.interrupt)
    stopping.watch()
    print("ready", flush=True)
    {body}
""")
STUCK = "c, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)\nfor _ in '12': c.pthread_mutex_lock(mutex)"
ALIVE = "end = time.time() + 3\nwhile time.time() < end: time.sleep(0.05)\nprint('saved'); sys.exit(5)"


def begin(body: str, grace: str) -> subprocess.Popen[str]:
    environment = os.environ | {"SPLITJAX_GRACE": grace}
    child = subprocess.Popen(
        [sys.executable, "-c", IN_C.format(body=body)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.3)
    return child


def test_a_signal_inside_the_compiler_ends_the_process_when_the_grace_time_is_over() -> None:
    child = begin(STUCK, "1")
    began = time.monotonic()
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=20)
    assert child.returncode == 143
    assert 0.8 < time.monotonic() - began < 10
    assert said.startswith("splitjax: SIGTERM and nothing was heard of it for 1 s: the process was inside the compiler")


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    child = begin(STUCK, "60")
    child.send_signal(signal.SIGINT)
    time.sleep(1.5)
    assert child.poll() is None
    child.send_signal(signal.SIGINT)
    assert child.wait(10) == 130
    child.communicate()


def test_one_that_has_heard_may_take_longer() -> None:
    child = begin(ALIVE, "0.5")
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=20)
    assert (child.returncode, said) == (5, "saved\n")


@pytest.mark.parametrize("told", ["", "x", "987"])
def test_a_variable_that_names_no_pipe_of_ours_ends_nothing(told: str) -> None:
    code = "import time; from splitjax.config.processes.stopping import end_with_launcher as watch; watch()"
    code += "; time.sleep(0.5); print('on')"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {LAUNCHER: told}, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"on\n")
