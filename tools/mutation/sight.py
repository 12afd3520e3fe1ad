"""Which tests can see a file: those that import it, directly or through others, found without running anything."""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path

FOLDERS = ("splitjax", "tests", "tools")


class Sight:
    """The imports of a tree. A name that a room's `__init__` passes on counts as an import of where it is made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        files = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
        self.files = {str(path.relative_to(root)): ast.parse(path.read_text(encoding="utf-8")) for path in files}
        self._packages: dict[str, dict[str, tuple[str, str]]] = {}

    def of(self, path: str) -> list[tuple[int, str]]:
        """(imports between, test file) of every test that can see a file, the nearest first.

        Tests of another room are one further away.
        """
        seen, queue = {path: 0}, deque([path])
        while queue:
            at = queue.popleft()
            for other in self._importers.get(at, ()):
                if other not in seen:
                    seen[other] = seen[at] + 1
                    queue.append(other)
        room = f"tests/{'/'.join(Path(path).parts[1:2])}/"
        return sorted((steps + (not name.startswith(room)), name) for name, steps in seen.items()
                      if Path(name).name.startswith("test_"))

    @cached_property
    def _importers(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for path, tree in self.files.items():
            for other in {*self._imports(path, tree), *self._fixtures(path)} - {path}:
                found.setdefault(other, set()).add(path)
        return found

    def _fixtures(self, path: str) -> Iterator[str]:
        """The conftest files that pytest reads for a test."""
        if path.startswith("tests/"):
            yield from (name for folder in Path(path).parents if (name := f"{folder}/conftest.py") in self.files)

    def _imports(self, path: str, tree: ast.Module) -> Iterator[str]:
        rooms: dict[str, str] = {}  # names that stand for a package, whose attributes are looked up below
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._module(alias.name)
                    if self._file(alias.name) and "." not in alias.name:
                        rooms[alias.asname or alias.name] = alias.name
            elif isinstance(node, ast.ImportFrom):
                base = self._base(path, node)
                for alias in node.names:
                    found = self._made(base, alias.name)
                    if found and found.endswith("/__init__.py") and found != self._file(base):
                        rooms[alias.asname or alias.name] = found[: -len("/__init__.py")].replace("/", ".")
                    elif found:
                        yield found
            elif path.startswith("splitjax/cli/") and isinstance(node, ast.Attribute) and node.attr == "import_module":
                yield from (name for name in self.files if Path(name).parent == Path(path).parent)
            elif path.startswith("tests/") and isinstance(node, ast.List | ast.Tuple):
                yield from self._started(node)
        yield from self._attributes(tree, rooms)

    def _attributes(self, tree: ast.Module, rooms: dict[str, str]) -> Iterator[str]:
        yield from (found for room in rooms.values() if (found := self._file(room)))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in rooms:
                found = self._made(rooms[node.value.id], node.attr)
                if found:
                    yield found

    def _started(self, node: ast.List | ast.Tuple) -> Iterator[str]:
        """What a command such as [python, "-m", "splitjax", …] starts."""
        words = map(_constant, node.elts)
        for flag, name in pairwise(words):
            if flag == "-m":
                yield from self._module(f"{name}.__main__")
                yield from self._module(name)

    def _base(self, path: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = Path(path).parts[: -node.level]
        return ".".join([*package, *([node.module] if node.module else [])])

    def _file(self, module: str) -> str | None:
        at = module.replace(".", "/")
        return next((name for name in (f"{at}.py", f"{at}/__init__.py") if name in self.files), None)

    def _module(self, module: str) -> Iterator[str]:
        if found := self._file(module):
            yield found

    def _made(self, module: str, name: str, depth: int = 0) -> str | None:
        """The file in which a name of a module is made: a module of that name, or where the module has it from."""
        inner, own = self._file(f"{module}.{name}"), self._file(module)
        if inner or own is None:
            return inner
        passed = self._passed_on(own).get(name) if own.endswith("/__init__.py") and depth < 5 else None
        return (self._made(*passed, depth + 1) if passed else None) or own

    def _passed_on(self, package: str) -> dict[str, tuple[str, str]]:
        """Name → module and name that a package has it from; also by a table of what is imported on first use."""
        if package in self._packages:
            return self._packages[package]
        found: dict[str, tuple[str, str]] = {}
        for node in ast.walk(self.files[package]):
            if isinstance(node, ast.ImportFrom):
                base = self._base(package, node)
                found |= {alias.asname or alias.name: (base, alias.name) for alias in node.names}
            elif isinstance(node, ast.Dict):
                for key, value in zip(map(_constant, node.keys), map(_constant, node.values), strict=True):
                    if self._file(value):
                        found[key] = value, key
        self._packages[package] = found
        return found


def _constant(node: ast.expr | None) -> str:
    """A text that stands in the source; "" where there is none."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
