"""Waiting for the other processes at the start: told, heard, ended. Real processes, real ports."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from splitjax.config import UserError
from splitjax.parallel import beats, waiting
from splitjax.parallel.gathering import Guest, Host
from splitjax.parallel.waiting import AwayError, Clock, Who
from tests.processes import start_all
from tools.faults.cluster import ROOT, free_port


@contextmanager
def alone(folder: Path, process: int, count: int, limit: float = 600) -> Iterator[tuple[subprocess.Popen, Path]]:
    """`splitjax run` as one process of several whose others are never started, and what it says."""
    said = folder / f"{process}.err"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPLITJAX_")} | {
        "JAX_PLATFORMS": "cpu", "SPLITJAX_COORDINATOR": f"127.0.0.1:{free_port()}", "SPLITJAX_PROCESS": str(process),
        "SPLITJAX_PROCESSES": str(count), "SPLITJAX_JOIN_TIMEOUT": str(limit), "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "splitjax", "run", "configs/demo_quick.yaml", f"run_dir={folder / 'run'}"]
    with open(said, "wb") as stderr:
        running = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=stderr, stdout=subprocess.DEVNULL)
    try:
        yield running, said
    finally:
        running.kill()
        running.wait()


def lines(said: Path) -> list[str]:
    """What it says, less the warnings of libraries."""
    return [line for line in said.read_text().splitlines() if line.startswith("splitjax: ")]


@pytest.mark.parametrize(
    ("process", "number", "code", "missing"),
    [
        (0, signal.SIGTERM, 143, "process 1 of 2"),
        (1, signal.SIGINT, 130, r"process 0 of 2 \(127.0.0.1:\d+ does not answer\)"),
    ],
)
def test_who_is_missing_is_told_within_ten_seconds_and_signals_are_heard(
    tmp_path: Path, process: int, number: int, code: int, missing: str
) -> None:
    with alone(tmp_path, process, 2) as (running, said):
        began = time.monotonic()
        while not lines(said):
            assert time.monotonic() < began + 60, "the import on a busy machine; the wait itself is measured below"
            assert running.poll() is None, said.read_text()
            time.sleep(0.05)
        told = re.fullmatch(rf"splitjax: waiting at the start for {missing} \((\d+) s of 600\)", lines(said)[0])
        assert told, said.read_text()
        assert int(told[1]) <= 10
        running.send_signal(number)
        assert running.wait(timeout=beats.seconds(beats.GRACE)) == code
        word = {143: "terminated", 130: "interrupted"}[code]
        assert lines(said)[-1] == f"splitjax: {word}; the same command goes on from here"
        assert "Traceback" not in said.read_text()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("process", "missing"), [(0, "processes 1, 2 of 3"), (2, "process 0 of 3 (127")])
def test_at_its_limit_it_ends_in_one_line_with_the_code_that_launchers_start_again(
    tmp_path: Path, process: int, missing: str
) -> None:
    with alone(tmp_path, process, 3, limit=2) as (running, said):
        assert running.wait(timeout=90) == beats.STUCK == 75
        *_, last = lines(said)
        assert last.startswith(f"splitjax: waited 2 s at the start for {missing}")
        assert "Traceback" not in said.read_text()
        assert [line for line in lines(said) if "waited" in line] == [last]


def test_it_is_told_again_every_ten_seconds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = Clock(40)
    told = []
    for now[0] in range(40):
        clock.look(lambda: "process 1 of 2")
        if capsys.readouterr().err:
            told.append(now[0])
    now[0] = 40.0
    with pytest.raises(AwayError, match="waited 40 s at the start for process 1 of 2"):
        clock.look(lambda: "process 1 of 2")
    assert told == [4, 14, 24, 34]
    assert AwayError.exit_code == 75


def who(port: int, process: int, count: int = 3) -> Who:
    return Who("127.0.0.1", port, count, process)


class InThread:
    """A side that gathers beside the test."""

    def __init__(self, side: Host | Guest, limit: float = 30) -> None:
        self.side, self.error = side, None
        self._thread = threading.Thread(target=self._gather, args=(Clock(limit),), daemon=True)
        self._thread.start()

    def _gather(self, clock: Clock) -> None:
        try:
            self.side.gather(clock)
        except Exception as error:
            self.error = error

    def ended(self) -> Exception | None:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.error


def until(holds) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_those_who_came_are_not_missing_for_anyone_and_all_go_on_together() -> None:
    port = free_port()
    first = InThread(Guest(who(port, 1)))
    host = InThread(Host(who(port, 0)))
    until(lambda: host.side._awaited() == first.side._awaited() == "process 2 of 3")
    # Those who do not speak its language are let go; one under a number that is there waits for the number.
    for text in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 9000, b"splitjax join 7 3\n", b"splitjax join x 3\n"):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(text)
            stranger.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                while stranger.recv(100):
                    pass
    double = InThread(Guest(who(port, 1)), limit=4)
    assert "knows another process 1" in str(double.ended())
    second = InThread(Guest(who(port, 2)))
    assert [side.ended() for side in (host, first, second)] == [None] * 3
    # The port is free for JAX, while the connections stand.
    with socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True):
        assert host.side.gone() == first.side.gone() == ""
    first.side.ready()
    until(lambda: host.side._turn(0.0) or host.side._ready == {1})
    assert host.side.gone() == "", "one that is ready may leave"
    second.side.end("")
    until(lambda: host.side.gone() == "process 2 of 3 went away while the processes joined")


def test_others_that_wait_end_with_process_0() -> None:
    port = free_port()
    host, guest = Host(who(port, 0)), InThread(Guest(who(port, 1)))
    with pytest.raises(AwayError, match="waited 2 s at the start for process 2 of 3"):
        host.gather(Clock(2))
    host.end("process 0 of 3 was told to stop at the start")
    assert str(guest.ended()) == "process 0 of 3 was told to stop at the start"
    Host(who(port, 0)).end("")  # the port is free again


def test_the_others_hear_why_process_0_ends_or_see_that_it_has() -> None:
    for end, heard in (("told why", "told why"), (None, "process 0 of 2 went away while the processes joined")):
        port = free_port()
        host, guest = InThread(Host(who(port, 0, 2))), InThread(Guest(who(port, 1, 2)))
        assert host.ended() is guest.ended() is None
        if end is None:
            host.side._drop(host.side._lines.values())
        else:
            threading.Thread(target=host.side.end, args=(end,)).start()
        until(lambda guest=guest, heard=heard: guest.side.gone() == heard)


def test_a_process_that_dies_while_all_wait_is_missing_again_and_may_come_again() -> None:
    port = free_port()
    host = InThread(Host(who(port, 0)))
    first = Guest(who(port, 1))
    came = InThread(first)
    until(lambda: host.side._awaited() == "process 2 of 3")
    first._line.connection.shutdown(socket.SHUT_RDWR)  # it comes again by itself, as a new process would
    until(lambda: "1" in host.side._awaited() or 1 in host.side._lines)
    last = InThread(Guest(who(port, 2)))
    assert host.ended() is came.ended() is last.ended() is None


def test_another_count_is_a_mistake() -> None:
    port = free_port()
    InThread(Host(who(port, 0)), limit=10)
    refused = InThread(Guest(who(port, 1, 4))).ended()
    assert isinstance(refused, UserError)
    assert "process 0 counts 3 processes, this one 4" in str(refused)


def test_a_port_that_another_holds_is_a_mistake() -> None:
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"process 0 cannot listen on port {port}"):
            Host(who(port, 0))


def test_many_are_named_in_part() -> None:
    named = waiting.named(set(range(1, 256)), 256)
    assert named == f"processes {', '.join(map(str, range(1, 17)))} and 239 more of 256"


@pytest.mark.parametrize(("after", "heard"), [("end process 1 went away", "process 1 went away"), ("ready", "")])
def test_what_comes_together_with_go_is_heard(after: str, heard: str) -> None:
    """A process that was held up reads several lines at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        guest = Guest(who(server.getsockname()[1], 2))
        joined = InThread(guest)
        with server.accept()[0] as connection:
            connection.sendall(f"here 0 1 2\ngo\n{after}\n".encode())
            assert joined.ended() is None
        assert guest.gone() == heard


DIES = """
import os, sys
from splitjax.parallel import gathering, join_cluster
import splitjax.parallel.cluster as cluster
if os.environ["SPLITJAX_PROCESS"] == "%d":
    cluster._initialize = lambda found, side: os._exit(9)  # between our gathering and JAX's
join_cluster()
"""


@pytest.mark.parametrize("dies", [0, 1])
def test_one_that_dies_before_jax_is_ready_does_not_hang_the_others(tmp_path: Path, dies: int) -> None:
    ended = start_all([sys.executable, "-c", DIES % dies], count=3, folder=tmp_path, timeout=100)
    assert [one.code for one in ended] == [9 if index == dies else 75 for index in range(3)], ended
    for index, one in enumerate(ended):
        if index != dies:
            assert f"process {dies} of 3 went away while the processes joined" in one.stderr


FOUND_BY_JAX = """
import jax
from splitjax.parallel import hosts, join_cluster
assert join_cluster()
hosts.meet("here")
print("process", jax.process_index(), "of", jax.process_count(), "with", jax.local_device_count())
"""


@pytest.mark.parametrize("come", [(0, 1), (1,)])
def test_where_jax_finds_the_cluster_who_is_missing_is_told_too(come: tuple[int, ...]) -> None:
    shared = {name: value for name, value in os.environ.items() if not name.startswith(("SPLITJAX_", "SLURM_"))} | {
        "SPLITJAX_DISTRIBUTED": "auto", "SPLITJAX_JOIN_TIMEOUT": "60" if len(come) == 2 else "2",
        "JAX_PLATFORMS": "cpu", "JAX_COORDINATOR_PORT": str(free_port()),
        "SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", FOUND_BY_JAX], env=shared | {"SLURM_PROCID": str(process)}, cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for process in come
    ]
    said = [one.communicate(timeout=100) for one in started]
    if len(come) == 2:
        assert [out.splitlines()[-1] for out, _ in said] == [f"process {one} of 2 with 1" for one in come], said
    else:
        assert "waited 2 s at the start for process 0 of 2 (127.0.0.1:" in said[0][1]
