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


LAUNCH = """
import sys
from splitjax.launching.supervisor import Process, supervise
child = '''{child}'''
outcome = supervise([Process(str(n), [sys.executable, "-c", child], {{}}) for n in range(2)])
print(outcome.codes, file=sys.stderr)
sys.exit(outcome.code)
"""
RANK = """
import os, sys, time
from splitjax.config.processes.stopping import end_with_launcher
end_with_launcher()
print(os.getpid(), flush=True)
time.sleep(60)
"""


def launcher(child: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A launcher of two, and the process ids that they told."""
    parent = subprocess.Popen(
        [sys.executable, "-c", LAUNCH.format(child=child)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    return parent, [int(parent.stdout.readline().split()[1]) for _ in range(2)]


def gone(pids: list[int], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_ranks_end_with_their_launcher_however_it_goes(number: int) -> None:
    parent, pids = launcher(RANK)
    parent.send_signal(number)
    assert gone(pids)
    parent.communicate(timeout=20)
    assert parent.returncode == (-9 if number == signal.SIGKILL else 129)


def test_under_nohup_a_hang_up_is_nothing() -> None:
    child = RANK.replace("time.sleep(60)", "time.sleep(2)")
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + LAUNCH.format(child=child)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    parent.stdout.readline()
    parent.send_signal(signal.SIGHUP)
    parent.communicate(timeout=30)
    assert parent.returncode == 0


@pytest.mark.parametrize("closed", [">&-", "| true"])
def test_a_child_that_prints_much_ends_though_nobody_reads_us(tmp_path: Path, closed: str) -> None:
    child = "import os; [os.write(1, b'x' * 63 + bytes([10])) for _ in range(4096)]"
    (tmp_path / "launch.py").write_text(LAUNCH.format(child=child))
    command = f"set -o pipefail; {sys.executable} {tmp_path / 'launch.py'} {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert "(0, 0)" in done.stderr


def test_one_that_was_killed_may_have_had_no_memory(capfd: pytest.CaptureFixture[str]) -> None:
    outcome = supervise([python("0", "import os; os.kill(os.getpid(), 9)")])
    assert outcome.code == 137
    assert "process 0 was ended by SIGKILL (out of memory?)" in capfd.readouterr().err
