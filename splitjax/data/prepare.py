"""Sources → documents → tokens → domains → shards, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

from splitjax.config import Data, UserError, find_files, hash_json, is_remote

from . import sources
from .build import Build
from .manifest import FILE, Manifest
from .progress import Progress, Report
from .small import Need, check


def prepare(
    data: Data, out: str | os.PathLike[str], *, seed: int, progress: Report | None = None,
    windows: tuple[int, int] | None = None, anew: bool = False,
) -> Manifest:
    """Prepare a corpus into the folder `out`, which appears whole or not at all.

    Equal settings and sources give equal bytes, for any number of workers. A folder that these settings and sources
    already made is left as it is.

    Args:
        seed: of the order of documents, and of the clusterer.
        progress: called at least every second; see `progress.Report`.
        anew: put what these settings and sources make in the place of a folder that stands.
        windows: (how many, tokens of each) that validation and test of each domain must fill; None: not known.

    Raises:
        UserError: damaged or missing sources, a domain too small, more clusters than documents, a full disk, or a
            folder made from other settings or sources; nothing is left half-written.
    """
    out = Path(out)
    made_for = [windows] if data.domains.small != "refuse" else []  # else they change nothing that is written
    settings = hash_json([as_prepared(data.model_dump(mode="json", exclude={"workers", "runner"})), seed, *made_for])
    parts = [(source, part) for source in data.sources for part in sources.parts(source)]
    if (out / FILE).exists() and not anew:
        manifest = _standing(out, settings, parts)
        if windows is not None:
            check(manifest, data.domains, windows)
        return manifest
    work = out.with_name(f".{out.name}.partial")
    shutil.rmtree(work, ignore_errors=True)  # left by a killed run
    try:
        (work / "data").mkdir(parents=True)
        manifest = Build(data, work, seed, parts, settings, Progress(progress), Need.of(data.domains, windows)).run()
        if out.exists():
            os.replace(out, work / "before")
        os.replace(work / "data", out)
        return manifest
    except OSError as error:
        where = error.filename or str(out)
        raise UserError(f"cannot be written ({error.strerror or error})", where=str(where),
                        mend="Free space or pick another run_dir.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


# Keys that are younger than folders which stand, with the values under which they change nothing.
_YOUNGER = {"on_error": "stop", "min_tokens": None, "small": "refuse"}


def as_prepared(data: dict[str, Any]) -> dict[str, Any]:
    """Settings of data as an older version had them, where they mean the same: what stands is not made anew."""
    sources, domains = [dict(part) for part in data["sources"]], dict(data["domains"])
    for part in (*sources, domains):
        for key, unset in _YOUNGER.items():
            if key in part and part[key] == unset:
                del part[key]
    for part in sources:
        part["dtype"] = part["dtype"] or "uint16"
    return data | {"sources": sources, "domains": domains}


def _standing(out: Path, settings: str, parts: list[tuple[sources.Source, str]]) -> Manifest:
    """The manifest of data that already stand, if these settings and unchanged sources made them."""
    manifest = Manifest.load(out)
    if manifest.settings != settings:
        raise UserError("was prepared with other settings", where=str(out / FILE),
                        mend="Make it anew with --redo prepare, or pick another run_dir.")
    for part, what in _differences(manifest, parts, lambda source, part: sources.identity(source, part)):
        raise UserError(f"{what} since the data were prepared", where=part,
                        mend="Put it back, or prepare anew with --redo prepare.")
    return manifest


def changed_sources(data: Data, out: Path) -> list[str]:
    """What has happened to files that prepared data were read from: "FILE has changed", "is gone", "is new".

    Only a file that was touched since is read; sources that are no files of this machine are not looked at.
    """
    manifest = Manifest.load(out)
    made = (out / FILE).stat().st_mtime
    told = {(row["type"], row["part"]): row["hash"] for row in manifest.sources}

    def identity(source: sources.Source, part: str) -> str:
        try:
            stat = os.stat(part)
            untouched = max(stat.st_mtime, stat.st_ctime) <= made
            return told.get((source.type, part), "") if untouched else sources.identity(source, part)
        except (OSError, UserError):
            return ""

    here = [source for source in data.sources if source.path is not None and not is_remote(source.path)]
    parts: list[tuple[sources.Source, str]] = []
    unknown: set[str] = set()
    for source in here:
        try:
            parts += [(source, part) for part in sources.parts(source)]
        except UserError:  # none is left, and each is told as gone; or it would be refused today and was not then
            unknown |= {source.type} if find_files(source.path or "") else set()
    types = {source.type for source in here} - unknown
    known = [(source, part) for source, part in parts if source.type in types]
    return [f"{part} {what}" for part, what in _differences(manifest, known, identity, types)]


def _differences(
    manifest: Manifest, parts: list[tuple[sources.Source, str]], identity: Callable[[sources.Source, str], str],
    types: Container[str] | None = None,
) -> Iterator[tuple[str, str]]:
    """Parts of sources that are not what they were, and what they are; a part may stand in several sources.

    Args:
        types: of the sources that are compared; None: all.
    """
    left = [row for row in manifest.sources if types is None or row["type"] in types]
    for source, part in parts:
        row = next((row for row in left if (row["type"], row["part"]) == (source.type, part)), None)
        if row is None:
            yield part, "is new"
            continue
        left.remove(row)
        if row["hash"] != identity(source, part):
            yield part, "has changed"
    yield from ((row["part"], "is gone") for row in left)
