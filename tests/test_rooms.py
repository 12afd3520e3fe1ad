"""The house keeps its floors: who imports whom, what is heavy, how fast the package opens."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "splitjax"
FLOORS = {
    "config": 0, "parallel": 1, "law": 1, "data": 2, "model": 2, "train": 3, "evaluate": 4, "runs": 5, "planning": 6,
    "scoring": 7, "reporting": 8, "serving": 9, "launching": 9, "stages": 10, "cli": 11,
}
HEAVY = {
    "apache_beam", "datasets", "lm_eval", "matplotlib", "seqio", "sklearn", "tensorflow", "tensorflow_datasets",
    "tensorflow_text", "torch", "transformers",
}  # fmt: skip


def imports(source: str, package: str, top_only: bool = False) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import; lazy ones inside functions too unless `top_only`."""
    tree = ast.parse(source)
    for node in _at_import_time(tree) if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((node.lineno, name) for name in _literal_start(node.args[0]))


def _at_import_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: not in functions, not under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _at_import_time(node)


def _literal_start(node: ast.AST) -> Iterator[str]:
    """The text that a string or f-string certainly begins with."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value.rstrip(".")


def trespasses(source: str, package: str) -> list[str]:
    """Imports that go up, sideways, or through the package's own front door."""
    room = package.split(".")[1]
    found = []
    for line, name in imports(source, package):
        first, _, rest = name.partition(".")
        if first != "splitjax" or rest in ("__version__", "accelerator_in_sight"):  # what the package knows of itself
            continue
        other = rest.split(".")[0]
        if other != room and FLOORS.get(other, 99) >= FLOORS[room]:
            found.append(f"line {line}: {room} (floor {FLOORS[room]}) imports {name}")
    return found


def room_files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def package_of(path: Path) -> str:
    return ".".join(path.parent.relative_to(ROOT).parts)


def test_every_room_has_a_floor() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms <= FLOORS.keys()


def test_rooms_import_only_from_floors_below() -> None:
    found = {
        str(path.relative_to(ROOT)): wrong
        for path in room_files()
        if (wrong := trespasses(path.read_text(encoding="utf-8"), package_of(path)))
    }
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import splitjax.train",
        "from splitjax.model import LanguageModel",
        "def f():\n    from ..evaluate import domain_losses",
        "from .. import train",
        "import splitjax",
        "from splitjax import run",
        "import importlib\nimportlib.import_module('splitjax.cli.run')",
    ],
)
def test_a_trespass_is_caught(source: str) -> None:
    assert trespasses(source, "splitjax.data")


@pytest.mark.parametrize(
    "source",
    ["from ..config import load", "from .shards import x", "from splitjax.law import fit", "import jax.numpy as jnp"],
)
def test_a_floor_below_is_open(source: str) -> None:
    assert not trespasses(source, "splitjax.data")


def test_a_room_within_a_room_counts_its_dots() -> None:
    assert not trespasses("from ..shards import x\nfrom ...config import load", "splitjax.data.sources")
    assert trespasses("from ...train import Trainer", "splitjax.data.sources")


def test_heavy_packages_are_imported_where_they_are_used() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in PACKAGE.rglob("*.py")
        for line, name in imports(path.read_text(encoding="utf-8"), package_of(path), top_only=True)
        if name.split(".")[0] in HEAVY
    ]
    assert not found


def test_every_imported_package_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = project["dependencies"] + [r for extra in project["optional-dependencies"].values() for r in extra]
    declared = {_normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements} | {"jaxlib"}
    distributions = packages_distributions()
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for line, name in imports(path.read_text(encoding="utf-8"), package_of(path)):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top == "splitjax":
                continue
            if not declared & {_normal(each) for each in distributions.get(top, [top])}:
                found.add(f"{path.relative_to(ROOT)}:{line} imports {top}")
    assert not found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    "command",
    [
        ["-c", "import splitjax"],
        ["-c", "import splitjax.config"],
        ["-c", "import sys; sys.argv = ['splitjax', '--help']; from splitjax.cli import main; main()"],
    ],
)
def test_the_front_door_opens_at_once(command: list[str]) -> None:
    """Well under a second of processor time (other work on the machine must not count) and without JAX or the like."""
    report = "; import json, sys; print(); print(json.dumps(sorted(sys.modules)))"
    before = os.times()
    done = subprocess.run(
        [sys.executable, command[0], command[1] + report], cwd=ROOT, capture_output=True, text=True, check=True
    )
    after = os.times()
    loaded = {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert not loaded & (HEAVY | {"jax", "flax", "numpy", "scipy", "grain", "orbax"})
    assert after.children_user - before.children_user + after.children_system - before.children_system < 1.0


def test_the_module_runs_as_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "splitjax", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "run" in done.stdout
