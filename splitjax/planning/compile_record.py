"""What compilations for other machines told, kept beside the compiled programs: a second plan takes seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from splitjax.config import hash_json, read_json, write_json
from splitjax.parallel import Traffic
from splitjax.runs import program_cache

from .estimate import Needs

_ROOMS = ("model", "parallel", "train")


def key(**asked: Any) -> str:
    """A name for one compilation: what was asked, by whose code and which compiler."""
    compilers = {name: _version(name) for name in ("jax", "jaxlib", "libtpu")}
    return hash_json(asked | {"code": _code(), "compilers": compilers})


def recall(name: str) -> Needs | None:
    """What the compilation told, if it is remembered and readable."""
    path = _path(name)
    if path is None or not path.exists():
        return None
    try:
        told = read_json(path)
        return Needs(**told | {"collectives": {axis: Traffic(**sent) for axis, sent in told["collectives"].items()}})
    except (OSError, ValueError, TypeError, KeyError):
        return None  # a cache: whatever is wrong with it, the compiler knows


def remember(name: str, needs: Needs) -> None:
    """Keep it; where nothing can be written, nothing is."""
    path = _path(name)
    if path is None:
        return
    told: Mapping[str, Any] = asdict(needs)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(path, told)
    except OSError:
        return


def _path(name: str) -> Path | None:
    place = program_cache.folder()
    return None if place is None else place / "ahead_of_time" / f"{name}.json"


def _code() -> str:
    """Hash of the sources that make a step."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((package / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
