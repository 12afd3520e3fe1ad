"""Several processes as one job: who is named, who is ended, what reaches whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from splitjax.launching.supervisor import Process, supervise


def python(label: str, code: str, **environment: str) -> Process:
    return Process(label, [sys.executable, "-c", textwrap.dedent(code)], environment)


SLEEP = "import time; time.sleep(60)"


def test_output_carries_the_rank_and_keeps_its_stream(capfd: pytest.CaptureFixture[str]) -> None:
    code = "import os, sys; print('out', os.environ['N']); print('err', os.environ['N'], file=sys.stderr)"
    outcome = supervise([python(str(n), code, N=str(n)) for n in range(3)])
    assert (outcome.code, outcome.codes) == (0, (0, 0, 0))
    told = capfd.readouterr()
    assert sorted(told.out.splitlines()) == [f"[{n}] out {n}" for n in range(3)]
    assert sorted(told.err.splitlines()) == [f"[{n}] err {n}" for n in range(3)]


def test_one_that_dies_is_named_and_ends_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    outcome = supervise([python("0", SLEEP), python("1", "import sys; sys.exit(7)"), python("2", SLEEP)])
    assert time.monotonic() - start < 20
    assert (outcome.code, outcome.first) == (7, 1)
    assert outcome.codes == (143, 7, 143)
    assert "process 1 ended with exit code 7; ending the other 2" in capfd.readouterr().err


def test_one_that_will_not_end_is_killed_after_the_grace(capfd: pytest.CaptureFixture[str]) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    late = "import os, time, signal; time.sleep(1); os.kill(os.getpid(), signal.SIGKILL)"
    outcome = supervise([python("0", deaf), python("1", late)], grace=0.5)
    assert outcome.codes == (137, 137)
    assert (outcome.code, outcome.first) == (137, 1)
    assert "process 1 was ended by SIGKILL" in capfd.readouterr().err


def test_the_one_that_only_lost_its_peer_is_not_blamed() -> None:
    """JAX aborts the peers of a dead rank; found dead in the same look, the culprit is the other."""
    start = time.time() + 1.0
    wait = f"import os, sys, time; time.sleep({start} - time.time());"
    outcome = supervise([python("0", wait + "os.abort()"), python("1", wait + "sys.exit(9)")])
    assert (outcome.first, outcome.code) in ((1, 9), (0, 134)), outcome  # apart by a look: whoever was first


def test_apart_one_death_leaves_the_rest_running(capfd: pytest.CaptureFixture[str]) -> None:
    survivor = "import time; time.sleep(1.5); print('lived')"
    outcome = supervise([python("0", survivor), python("1", "import sys; sys.exit(3)")], together=False)
    assert (outcome.codes, outcome.code) == ((0, 3), 3)
    told = capfd.readouterr()
    assert "[0] lived" in told.out
    assert "process 1 ended with exit code 3; going on with the other 1" in told.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_reaches_every_process_once_as_sigterm(number: int, code: int, tmp_path: Path) -> None:
    """Ctrl-C too: only for SIGTERM can several JAX processes agree on a step to save at."""
    script = textwrap.dedent("""
        import sys
        from splitjax.launching.supervisor import Process, supervise
        child = '''
        import os, signal, sys, time
        got = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda n, f: got.append(n))
        print("ready", flush=True)
        while not got:
            time.sleep(0.05)
        time.sleep(0.5)
        print("got", *map(int, got), flush=True)
        sys.exit(143)
        '''
        import textwrap
        command = [sys.executable, "-c", textwrap.dedent(child)]
        sys.exit(supervise([Process(str(n), command, {}) for n in range(2)]).code)
    """)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ)
    assert parent.stdout is not None
    assert [parent.stdout.readline() for _ in range(2)]
    parent.send_signal(number)
    out, _ = parent.communicate(timeout=30)
    assert parent.returncode == code
    assert sorted(out.splitlines()) == ["[0] got 15", "[1] got 15"]
