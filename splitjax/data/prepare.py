"""Sources → documents → tokens → domains → shards, whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from splitjax.config import Data, UserError, hash_json

from . import sources
from .build import Build
from .manifest import FILE, Manifest
from .progress import Progress, Report
from .small import Need, check


def prepare(
    data: Data, out: str | os.PathLike[str], *, seed: int, progress: Report | None = None,
    windows: tuple[int, int] | None = None,
) -> Manifest:
    """Prepare a corpus into the folder `out`, which appears whole or not at all.

    Equal settings and sources give equal bytes, for any number of workers. A folder that these settings and sources
    already made is left as it is.

    Args:
        seed: of the order of documents, and of the clusterer.
        progress: called with (what, fraction of the whole) at least every second.
        windows: (how many, tokens of each) that validation and test of each domain must fill; None: not known.

    Raises:
        UserError: damaged or missing sources, a domain too small, more clusters than documents, a full disk, or a
            folder made from other settings or sources; nothing is left half-written.
    """
    out = Path(out)
    made_for = [windows] if data.domains.small != "refuse" else []  # else they change nothing that is written
    settings = hash_json([as_prepared(data.model_dump(mode="json", exclude={"workers", "runner"})), seed, *made_for])
    parts = [(source, part) for source in data.sources for part in sources.parts(source)]
    if (out / FILE).exists():
        manifest = _standing(out, settings, parts)
        if windows is not None:
            check(manifest, data.domains, windows)
        return manifest
    work = out.with_name(f".{out.name}.partial")
    shutil.rmtree(work, ignore_errors=True)  # left by a killed run
    try:
        (work / "data").mkdir(parents=True)
        manifest = Build(data, work, seed, parts, settings, Progress(progress), Need.of(data.domains, windows)).run()
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
                        mend="Pick another run_dir or remove this folder.")
    told = {row["part"]: row["hash"] for row in manifest.sources}
    for source, part in parts:
        if told.pop(part, None) != sources.identity(source, part):
            raise UserError("has changed since the data were prepared", where=part,
                            mend=f"Put it back, or remove {out} to prepare anew.")
    if told:
        raise UserError("is gone since the data were prepared", where=next(iter(told)))
    return manifest
