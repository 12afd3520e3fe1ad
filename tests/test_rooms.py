"""The house keeps its floors: who imports whom, what is heavy, how fast the package opens."""

from __future__ import annotations

import ast
import functools
import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
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
}


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
    assert rooms == FLOORS.keys()


INNER_FLOORS = {"drawing": 0, "tables": 1, "fitting": 2, "splitting": 3}
"""Of the rooms inside `law`."""


def test_the_rooms_of_the_law_import_only_from_below() -> None:
    found = []
    for module, known in graph().items():
        for other in known:
            inside = [name.split(".")[2] for name in (module, other) if name.startswith("splitjax.law.")]
            if len(inside) == 2 and inside[0] != inside[1] and INNER_FLOORS[inside[1]] >= INNER_FLOORS[inside[0]]:
                found.append(f"{module} imports {other}")
    assert not found
    assert not [m for m, known in graph().items() if ".splitting." in m and "splitjax.law.fitting.solver" in known]


@functools.cache
def graph(root: Path = ROOT) -> dict[str, set[str]]:
    """Module → modules of ours that it imports, at any place: also in functions and under TYPE_CHECKING."""
    paths = {_module(path, root): path for path in (root / "splitjax").rglob("*.py")}
    known: dict[str, set[str]] = {}
    for module, path in paths.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found = {_nearest(name, paths) for _, name in imports(path.read_text(encoding="utf-8"), package)}
        known[module] = {name for name in found if name is not None and name != module}
    return known


def _module(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _nearest(name: str, paths: Mapping[str, Path]) -> str | None:
    """The module that a dotted name lies in: itself, or what it is an attribute of."""
    return name if name in paths else name.rpartition(".")[0] if name.rpartition(".")[0] in paths else None


def circles(known: Mapping[str, set[str]]) -> list[str]:
    """Modules that import themselves by way of others."""
    return sorted(module for module in known if module in _reached(known, module))


def _reached(known: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    ahead = list(known[start])
    while ahead:
        module = ahead.pop()
        if module not in seen:
            seen.add(module)
            ahead += known[module]
    return seen


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert not circles(graph())


def test_a_circle_is_caught_in_functions_and_for_types(tmp_path: Path) -> None:
    room = tmp_path / "splitjax" / "room"
    room.mkdir(parents=True)
    (tmp_path / "splitjax" / "__init__.py").touch()
    (room / "__init__.py").touch()
    (room / "a.py").write_text("def f():\n    from .b import g")
    (room / "b.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import f")
    (room / "c.py").write_text("from . import a")
    assert circles(graph(tmp_path)) == ["splitjax.room.a", "splitjax.room.b"]


def longest_chain(known: Mapping[str, set[str]], room: str) -> list[str]:
    """The longest chain of imports that stays inside a room."""
    mine = {module for module in known if _room(module) == room}
    inside = {module: known[module] & mine for module in mine}

    @functools.cache
    def below(module: str) -> tuple[str, ...]:
        return (module, *max(map(below, sorted(inside[module])), key=len, default=()))

    return list(max(map(below, inside), key=len))


def _room(module: str) -> str:
    """The top-level room; its own front door belongs to nobody's chain."""
    parts = module.split(".")
    return parts[1] if len(parts) > 2 else ""


@pytest.mark.parametrize("room", FLOORS)
def test_chains_inside_a_room_are_short(room: str) -> None:
    assert len(longest_chain(graph(), room)) <= 7


SAME_ROLE = {"__init__", "errors", "plots", "tables"}
"""Names that say the same of two rooms."""


def test_no_two_modules_share_a_name() -> None:
    names = Counter(
        path.stem for path in PACKAGE.rglob("*.py") if path.parent.name != "cli" and path.stem not in SAME_ROLE
    )
    assert not [name for name, count in names.items() if count > 1]


def test_rooms_are_small() -> None:
    """At most 20 files in a folder, and no room, rooms inside rooms counted apart, with a fifth of the lines."""
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    folders = {path.parent for path in lines} - {PACKAGE}
    of = {folder: [path for path in lines if path.parent == folder] for folder in folders}
    assert not {f.name: len(paths) - 1 for f, paths in of.items() if len(paths) - 1 > 20}
    assert not {f.name for f, paths in of.items() if sum(lines[p] for p in paths) > 0.2 * sum(lines.values())}


def test_every_room_says_what_may_enter_it() -> None:
    doors = (path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)
    told = {path.parent.name: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for path in doors}
    assert not [room for room, text in told.items() if not {"Enters:", "not enter:"} <= set(_pairs(text))]


def _pairs(text: str) -> list[str]:
    words = text.split()
    return words + [" ".join(pair) for pair in itertools.pairwise(words)]


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


def test_the_child_that_prepares_imports_nothing_that_trains() -> None:
    code = "import json, sys, splitjax.stages.preparation_child; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in json.loads(done.stdout)} & (HEAVY | {"jax", "flax", "scipy", "orbax"})


def test_the_module_runs_as_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "splitjax", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "run" in done.stdout
