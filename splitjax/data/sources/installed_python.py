"""Real text that every machine with Python has: the installation itself, as distinct domains.

A file belongs to exactly one domain: the modules that give their docstrings are not the ones that give their code,
so that no domain repeats another's text. Files are taken in the order of a hash of their relative path until the
cap of a domain is reached, so what is taken depends on the installation alone, and not all of it is read.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import platform
import sysconfig
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from splitjax.config import Source, UserError, hash_json

from ..documents import Document
from ..tokenizing.tokenizer import Tokenizer
from .rows import Skips

MIN_CHARS, MAX_CHARS = 200, 8_000
# A kind with fewer files would leave a held-out split empty on a small installation.
_MIN_FILES = 30
KINDS = ("docstrings", "headers", "library_code", "readmes", "test_code")
_SKIP = {"site-packages", "dist-packages", "__pycache__", "splitjax", "node_modules"}
_HEADERS = (".h", ".hpp", ".hh", ".cuh")


def parts(source: Source) -> list[str]:
    found = [kind for kind in KINDS if len(_files(kind)) >= _MIN_FILES]
    if not found:
        raise UserError("this Python has no readable library files", where="data.sources", mend="Use a jsonl source.")
    return found


def identity(source: Source, part: str) -> str:
    """Hash of the Python version and the installed packages: what a package holds follows from its version."""
    packages = sorted({f"{dist.metadata['Name']}=={dist.version}" for dist in metadata.distributions()})
    return hash_json([part, platform.python_version(), packages])


def read(source: Source, part: str, tokenizer: Tokenizer | None, skips: Skips) -> Iterator[Document]:
    text_of = _docstrings if part == "docstrings" else _body if part == "readmes" else _whole
    taken = 0
    for path in _files(part):
        for piece in cut(text_of(path)):
            yield Document(piece.encode(), part if source.label is None else source.label)
            taken += len(piece)
        if source.max_chars is not None and taken > source.max_chars:
            return


def cut(text: str) -> Iterator[str]:
    """Pieces of at most MAX_CHARS, ended where the text pauses; pieces under MIN_CHARS are left out."""
    while len(text) > MAX_CHARS:
        ends = (text.rfind(pause, MAX_CHARS // 2, MAX_CHARS) for pause in ("\n\n\n", "\n\n", "\n", " "))
        end = next((end for end in ends if end > 0), MAX_CHARS)
        piece, text = text[:end], text[end:].lstrip("\n")
        yield piece
    if len(text.strip()) >= MIN_CHARS:
        yield text


@functools.lru_cache(maxsize=len(KINDS))
def _files(kind: str) -> tuple[str, ...]:
    names = [(name, path) for name, path in _walk() if _kind(name) == kind]
    return tuple(path for name, path in sorted(names, key=lambda item: (_hash(item[0]), item[0])))


@functools.lru_cache(maxsize=1)
def _walk() -> tuple[tuple[str, str], ...]:
    """(name relative to its root, path) of every file of interest; the name is the same wherever Python lies."""
    found: dict[str, str] = {}
    for key in ("stdlib", "purelib", "platlib", "include"):
        root = sysconfig.get_path(key)
        for folder, folders, files in os.walk(root):
            folders[:] = [name for name in folders if name not in _SKIP and not name.startswith(("splitjax-", "."))]
            for file in files:
                if file.startswith("__editable__"):
                    continue  # the stub of a development install
                if file.endswith((".py", ".md", ".rst", *_HEADERS)) or file == "METADATA":
                    path = os.path.join(folder, file)
                    name = os.path.relpath(path, root).replace(os.sep, "/")
                    found.setdefault(f"{'lib' if key.endswith('lib') else key}/{name}", path)
    return tuple(found.items())


def _kind(name: str) -> str:
    *folders, file = name.split("/")
    if file.endswith(_HEADERS):
        return "headers"
    if file.endswith(".py"):
        if {"test", "tests"} & set(folders) or file.startswith("test_") or file.endswith("_test.py"):
            return "test_code"
        return ("docstrings", "library_code")[_hash(name)[0] & 1]
    return "readmes"


def _hash(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()


def _whole(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""  # a latin-1 fixture or a dangling link is no document


def _body(path: str) -> str:
    """A METADATA file after its header fields, or the whole of a read-me file."""
    text = _whole(path)
    return text.partition("\n\n")[2] if path.endswith("METADATA") else text


def _docstrings(path: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's code
            tree = ast.parse(_whole(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented))
    return "\n\n".join(text for text in texts if text)
