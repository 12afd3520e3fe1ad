"""The tools a fresh clone starts with: pins, the choice of a Python, help without an install."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tomllib
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = [(3, 11), (3, 12), (3, 13)]


def environment(python: tuple[int, int]) -> dict[str, str]:
    version = f"{python[0]}.{python[1]}"
    return {"python_version": version, "python_full_version": f"{version}.0", "extra": ""}


def applicable(lines: list[str], python: tuple[int, int]) -> dict[str, str]:
    """name → version of the constraint lines that hold on a Python; a name pinned twice is an error."""
    pins: dict[str, str] = {}
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment(python)):
            assert requirement.name not in pins
            pins[requirement.name] = str(requirement.specifier).removeprefix("==")
    return pins


@pytest.fixture(scope="module")
def pin() -> ModuleType:
    loader = SourceFileLoader("pin", str(ROOT / "tools" / "pin"))
    spec = importlib.util.spec_from_loader("pin", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


names = st.sampled_from(["jax", "numpy", "rich"])
versions = st.sampled_from(["1.0", "1.1", "2.0"])


@given(pins=st.lists(st.dictionaries(names, versions), min_size=1, max_size=3))
def test_merged_pins_say_what_each_python_resolved(pin: ModuleType, pins: list[dict[str, str]]) -> None:
    resolved = dict(zip(PYTHONS, pins, strict=False))
    lines = pin.merge(resolved)
    assert {python: applicable(lines, python) for python in resolved} == resolved


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_pinned_within_its_range(python: tuple[int, int]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = applicable(lines, python)
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *(text for extra in extras.values() for text in extra)]:
        requirement = Requirement(text)
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in pins, f"{text} has no pin for Python {python}; run tools/pin"
        assert requirement.specifier.contains(pins[name]), f"{text} excludes the pin {pins[name]}"


@pytest.mark.parametrize("tool", ["demo", "test"])
def test_help_needs_no_install(tool: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    done = subprocess.run([tmp_path / "tools" / tool, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert f"tools/{tool}" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["tools"]


def setup_with(python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """tools/setup in a bare folder, where every Python on PATH runs the shell line `python`."""
    shutil.copytree(ROOT / "tools", folder / "tools")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    programs = folder / "bin"
    programs.mkdir()
    for name in ("python", "python3", "python3.11", "python3.12", "python3.13"):
        (programs / name).write_text(f"#!/bin/sh\n{python}\n")
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.defpath}" if shutil.which("bash", path=os.defpath) else f"{programs}:{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHON"} | {"PATH": path}
    return subprocess.run([folder / "tools" / "setup"], capture_output=True, text=True, env=environment)


def test_without_a_fitting_python_one_line_says_what_to_install(tmp_path: Path) -> None:
    done = setup_with("exit 1", tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "no Python 3.11 to 3.13" in done.stderr
    assert "apt install" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_python_that_was_asked_for_must_fit(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    done = subprocess.run(
        [tmp_path / "tools" / "setup"], capture_output=True, text=True, env=os.environ | {"PYTHON": "/bin/false"}
    )
    assert done.returncode == 2
    assert "PYTHON=/bin/false is no Python 3.11 to 3.13" in done.stderr


def test_an_interrupted_install_is_made_anew(tmp_path: Path) -> None:
    """A Python whose `-m venv` makes a folder and whose pip always fails: the second run starts from nothing."""
    fake = """\
case "$2" in
  venv) mkdir -p .venv/bin && cp "$0" .venv/bin/python && touch .venv/made-$$ ;;
  pip) exit 1 ;;
esac"""
    first = setup_with(fake, tmp_path)
    assert first.returncode == 1
    assert "pip failed" in first.stderr
    made = {path.name for path in (tmp_path / ".venv").glob("made-*")}
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    environment.pop("PYTHON", None)
    second = subprocess.run([tmp_path / "tools" / "setup"], capture_output=True, text=True, env=environment)
    assert "half-made" in second.stdout
    assert made.isdisjoint(path.name for path in (tmp_path / ".venv").glob("made-*"))
