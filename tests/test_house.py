"""House rules that a reviewer would otherwise have to count: sizes, docstrings, no machine paths, no pickle."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "splitjax"

# Spelt in pieces, so that this file does not name what it forbids.
MACHINE_PATHS = re.compile(r"(?<![\w.])/(work|root|home|Users|tmp|opt|mnt)" + r"/\w")
HOSTS = ("py" + r"pi\.org", "python" + "hosted", "download" + r"\.pytorch", "--(extra-)?index" + "-url")
REGISTRIES = re.compile("|".join(HOSTS))
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "torch.load", "pd.read_pickle", "yaml.load", "yaml.unsafe_load"}


def python_files() -> list[Path]:
    """Python of the package, the tests and the tools (some of which have no suffix)."""
    tools = [path for path in (ROOT / "tools").iterdir() if path.is_file() and _is_python(path)]
    return sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *tools])


def _is_python(path: Path) -> bool:
    return path.suffix == ".py" or path.read_bytes().startswith(b"#!/usr/bin/env python")


def committed() -> Iterator[tuple[Path, str]]:
    """Text files under version control, or all of the folder's where it is no git checkout."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: cannot tell which files are committed")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and b"\0" not in (data := path.read_bytes())[:4096]:
            yield path, data.decode("utf-8", errors="replace")


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def unsafe(source: str) -> list[str]:
    """Imports and calls that could run code found in a file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [f"line {node.lineno}: imports {name}" for name in names if name.split(".")[0] in PICKLES]
        elif isinstance(node, ast.Call):
            call, keywords = ast.unparse(node.func), {each.arg: ast.unparse(each.value) for each in node.keywords}
            if call in UNSAFE_CALLS:
                found.append(f"line {node.lineno}: calls {call}")
            if keywords.get("allow_pickle", "False") != "False":
                found.append(f"line {node.lineno}: allows pickle")
    return found


def test_files_are_small() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}
    assert not {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > 400}
    assert statistics.median(count for path, count in lines.items() if PACKAGE in path.parents) < 150


def test_functions_are_short() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name} has {length} lines"
        for path in python_files()
        for function in functions(ast.parse(path.read_text(encoding="utf-8")))
        if (length := (function.end_lineno or 0) - function.lineno + 1) >= 50
    ]
    assert not found


def test_modules_and_exports_explain_themselves() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if ast.get_docstring(tree) is None:
            found.append(f"{path.relative_to(ROOT)} has no docstring")
        exported = _exports(path.parent / "__init__.py")
        definitions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef))
        found += [
            f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has no docstring"
            for node in definitions
            if node.name in exported and ast.get_docstring(node) is None
        ]
    assert not found


def _exports(init: Path) -> set[str]:
    """Names in the `__all__` of a room, where it is a plain list."""
    for node in ast.parse(init.read_text(encoding="utf-8")).body if init.exists() else ():
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value)) if isinstance(node.value, ast.List) else set()
    return set()


def test_no_machine_paths_or_registry_hosts_are_committed() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number} {line.strip()[:100]}"
        for path, text in committed()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATHS.search(line) or REGISTRIES.search(line)
    ]
    assert not found


def test_nothing_read_from_a_file_can_run() -> None:
    found = {
        str(path.relative_to(ROOT)): wrong
        for path in python_files()
        if (wrong := unsafe(path.read_text(encoding="utf-8")))
    }
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "eval(text)",
        "import yaml\nyaml.load(text, yaml.Loader)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "read(path, allow_pickle=flag)",
    ],
)
def test_an_unsafe_reader_is_caught(source: str) -> None:
    assert unsafe(source)


def test_a_safe_reader_is_not() -> None:
    assert not unsafe("import numpy as np, json\nnp.load(path)\njson.loads(text)")


@pytest.mark.parametrize("line", ["cd /" + "work/main", "path = '/" + "tmp/x'", "see https://py" + "pi.org/simple"])
def test_a_machine_path_is_caught(line: str) -> None:
    assert MACHINE_PATHS.search(line) or REGISTRIES.search(line)


@pytest.mark.parametrize("line", ["tests/work/x", "#!/usr/bin/env bash", "a.b/home/x", "1/root/2"])
def test_a_relative_path_is_not(line: str) -> None:
    assert not MACHINE_PATHS.search(line)
