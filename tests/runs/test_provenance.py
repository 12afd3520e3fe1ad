"""The commit of a figure is that of splitjax, whatever repository stands around it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from splitjax import __version__
from splitjax.runs import provenance


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@x"]
    return subprocess.run(["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def around(tmp_path: Path) -> Path:
    """A repository of somebody's, with a virtual environment in it."""
    git(tmp_path, "init", "-q")
    (tmp_path / "paper.tex").write_text("x")
    git(tmp_path, "add", "paper.tex")
    git(tmp_path, "commit", "-qm", "Theirs")
    own = tmp_path / "venv" / "site-packages" / "splitjax" / "runs" / "provenance.py"
    own.parent.mkdir(parents=True)
    own.touch()
    return own


def test_a_repository_around_the_virtual_environment_is_not_ours(
    around: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "_installed_from", lambda: "installed")
    assert provenance.commit(around) == "installed"
    monkeypatch.setenv("GIT_DIR", str(around.parents[4] / ".git"))
    assert provenance.commit(around) == "installed"


def test_a_checkout_of_ours_is(around: Path) -> None:
    git(around.parent, "add", "-f", ".")
    git(around.parent, "commit", "-qm", "Ours")
    head = git(around.parent, "rev-parse", "--short=12", "HEAD").strip()
    assert provenance.commit(around) == head
    around.write_text("changed")
    assert provenance.commit(around) == f"{head}+"


@pytest.mark.parametrize(
    ("told", "commit"),
    [({"url": "x", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}, "0123456789ab"),
     ({"url": "file:///x", "dir_info": {}}, f"splitjax {__version__}"), (None, f"splitjax {__version__}")],
)
def test_an_installation_tells_what_it_was_made_from(
    monkeypatch: pytest.MonkeyPatch, told: object, commit: str
) -> None:
    class Installed:
        @staticmethod
        def read_text(name: str) -> str | None:
            return json.dumps(told) if told and name == "direct_url.json" else None

    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Installed)
    assert provenance._installed_from() == commit
