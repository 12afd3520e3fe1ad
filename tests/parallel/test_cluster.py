"""Several processes: what the environment may say, and what happens when the others do not come."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from splitjax.config import UserError
from splitjax.parallel import hosts, join_cluster
from tests.processes import start_all
from tools.faults.cluster import free_port

WHOLE = {"SPLITJAX_COORDINATOR": "127.0.0.1:1", "SPLITJAX_PROCESSES": "2", "SPLITJAX_PROCESS": "0"}


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SPLITJAX_") and name != "SPLITJAX_SHARED":
            monkeypatch.delenv(name)


def test_a_process_alone_joins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not join_cluster()
    for name, value in (WHOLE | {"SPLITJAX_PROCESSES": "1"}).items():
        monkeypatch.setenv(name, value)
    assert not join_cluster()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SPLITJAX_PROCESS": ""}, "SPLITJAX_PROCESS: SPLITJAX_COORDINATOR is set and SPLITJAX_PROCESS is not"),
        ({"SPLITJAX_PROCESS": "2"}, "SPLITJAX_PROCESS: process 2 of 2. Count them from 0 to 1"),
        ({"SPLITJAX_PROCESSES": "two"}, "SPLITJAX_PROCESSES: 'two' is not a whole number from 1"),
        ({"SPLITJAX_COORDINATOR": "here"}, "SPLITJAX_COORDINATOR: 'here' is not host:port"),
        ({"SPLITJAX_DISTRIBUTED": "yes"}, "SPLITJAX_DISTRIBUTED: 'yes' is not 'auto'"),
    ],
)
def test_variables_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str
) -> None:
    for name, value in (WHOLE | changes).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        join_cluster()


def test_others_that_do_not_come_are_waited_for_as_long_as_said() -> None:
    script = "from splitjax.parallel import join_cluster; join_cluster()"
    environment = os.environ | WHOLE | {
        "SPLITJAX_COORDINATOR": f"127.0.0.1:{free_port()}", "SPLITJAX_JOIN_TIMEOUT": "2", "JAX_PLATFORMS": "cpu",
    }
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode
    assert time.monotonic() - began < 60
    assert "waited 2 s at the start for process 1 of 2" in done.stderr


FROM_FIRST = """
import json, sys, time
from splitjax.config import UserError
from splitjax.parallel import hosts, join_cluster
join_cluster()
def slow():
    time.sleep(5)  # longer than one look of the others
    return {"made": [1, hosts.from_first(lambda: 2)]}
found = [hosts.from_first(slow)]
def wrong():
    raise UserError("wrong", where="here", mend="Mend it.")
try:
    hosts.from_first(wrong)
except UserError as error:
    found += [str(error), hosts.told(error)]
print("found", json.dumps(found))
"""


def test_what_the_first_process_makes_reaches_all_and_its_mistakes_too(tmp_path: Path) -> None:
    ended = start_all([sys.executable, "-c", FROM_FIRST], count=2, folder=tmp_path)
    for index, one in enumerate(ended):
        assert one.code == 0, one.stderr
        told = str(index == 1).lower()
        assert f'found [{{"made": [1, 2]}}, "here: wrong. Mend it.", {told}]' in one.stdout


def test_alone_it_is_a_plain_call() -> None:
    made = object()
    assert hosts.from_first(lambda: made) is made
