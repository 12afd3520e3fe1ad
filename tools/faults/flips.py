"""A flipped bit or a cut in a file of a run folder: its readers refuse it by name, mend it aloud, or do not care.

Two folders are damaged: a finished run, and one that was stopped in its main run. Each case goes through every reader:
the same `run` command, the report drawn anew, and a restore of the checkpoint that the file belongs to.
"""

from __future__ import annotations

import collections
import logging
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .runs import compare, config_in, fingerprint, finish, stopped
from .world import write_corpus

_CLOCK = re.compile(r"<h2>Goodput:.*?</table>|\d{4}-\d\d-\d\dT[\d:.+]+", re.DOTALL)
"""What a page says of the clock: where the time went, and dates. A run that goes on anew says other figures."""
KINDS = {
    "config.yaml": "config.yaml",
    ".config.json": ".config.json",
    "data shard": "data/*/*.arrayrecord",
    "manifest": "data/manifest.json",
    "tokenizer": "data/tokenizer.json",
    "done record of a stage": "done/*.json",
    "phase.json": "phases/*/phase.json",
    "done.json of a phase": "phases/*/done.json",
    "metrics.jsonl": "phases/*/metrics.jsonl",
    "checkpoint.json": "phases/*/checkpoints/*/checkpoint.json",
    "array file": "phases/*/checkpoints/*/state/*/*",
    "Orbax's own file": "phases/*/checkpoints/*/state/*",
    "observations.csv": "observations.csv",
    "law.json": "law.json",
    "plan.json": "plan.json",
    "main.json": "main.json",
    "results.json": "results.json",
    "report.html": "report.html",
    "router": "router/**/*",
}
HALF = {
    "config.yaml", ".config.json", "data shard", "manifest", "tokenizer", "done record of a stage", "phase.json",
    "done.json of a phase", "metrics.jsonl", "checkpoint.json", "array file", "Orbax's own file", "law.json",
    "plan.json",
}


class Folder:
    """A run folder that is put back after each case: only what a case changed is copied."""

    def __init__(self, pristine: Path, work: Path) -> None:
        self.pristine, self.work = pristine, work
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(pristine, work)
        self._before = self._state()

    def put_back(self) -> None:
        now = self._state()
        for name in now.keys() - self._before.keys():
            (self.work / name).unlink()
        for name, state in self._before.items():
            if now.get(name) != state:
                target = self.work / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                shutil.copy2(self.pristine / name, target)
        self._before = self._state()

    def _state(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        for path in self.work.rglob("*"):
            if not path.is_dir():
                told = path.stat()
                found[str(path.relative_to(self.work))] = (told.st_size, told.st_mtime_ns, told.st_ino)
        return found


class Heard(logging.Handler):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def flip_run(folder: Path, count: int, seed: int, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Damage `count` files, one at a time.

    Returns:
        Counts of outcomes by kind of file, and the cases in which a result changed without a word or the damage was
        met by anything but a refusal that names the file.
    """
    rng = random.Random(seed)
    config = folder / "whole" / "tiny.yaml"
    if not config.exists():  # else an earlier call left it
        config_in(folder, write_corpus(folder / "docs.jsonl"), "whole")
    finished = Folder(finish(config), folder / "finished")
    half = Folder(stopped(finished.pristine, folder / "stopped"), folder / "half")
    heard = Heard()
    logging.getLogger("splitjax").addHandler(heard)
    wanted = [_outcome_of(config, at, None, heard)[1] for at in (finished, half)]
    finished.put_back(), half.put_back()
    table: dict[str, collections.Counter[str]] = {kind: collections.Counter() for kind in KINDS}
    wrong: list[str] = []
    for case in range(count):
        kind = list(KINDS)[case % len(KINDS)]
        at = half if kind in HALF and (case // len(KINDS)) % 2 else finished
        file = rng.choice([path for path in sorted(at.work.glob(KINDS[kind])) if path.is_file()])
        what = _damage(file, rng)
        outcome, found, message = _outcome_of(config, at, file, heard)
        if outcome in ("harmless", "mended aloud") and (off := compare(wanted[at is half], found)):
            lost = outcome == "mended aloud" and "rows" in message and set(off) <= _drawn_from(file)
            outcome, message = ("rows lost aloud", message) if lost else ("SILENT", ", ".join(off[:3]))
        table[kind][outcome] += 1
        told = f"{at.work.name}/{file.relative_to(at.work)}: {what}: {outcome} {message[:200]}"
        if outcome not in ("refused by name", "harmless", "mended aloud", "rows lost aloud"):
            wrong.append(told)
        say(f"{case + 1}: {told}")
        at.put_back()
    return {"cases": count, "by_kind": {kind: dict(outcomes) for kind, outcomes in table.items()}, "differences": wrong}


def _drawn_from(file: Path) -> set[str]:
    """What may differ once rows of a phase's log are gone: the log, and the page with its curve."""
    return {f"metrics {file.parent.name}", "report.html"} if file.name == "metrics.jsonl" else set()


def _outcome_of(config: Path, at: Folder, file: Path | None, heard: Heard) -> tuple[str, dict[str, Any], str]:
    """(outcome, fingerprint, what was said) of all readers."""
    from splitjax import stages
    from splitjax.config import UserError, load
    from splitjax.runs.workers.attempts import SweepError

    heard.lines.clear()
    # Damage to the config is read from the folder, as `splitjax report FOLDER` does; else from the user's own file.
    source = file if file is not None and file.name == "config.yaml" and at.work.name == "finished" else config
    try:
        read = load(source, [f"run_dir={at.work}"])
        stages.run(read, reporter=_Quiet())
        stages.report(read, redo="report", reporter=_Quiet())
        if file is not None and file.exists() and "phases" in file.parts:
            _read_phase(at.work, file)
    except (UserError, SweepError) as refusal:
        named = file is None or file.name in str(refusal)
        return ("refused by name" if named else "refused, not named"), {}, str(refusal)
    except Exception as crash:
        return "CRASH", {}, repr(crash)
    said = [line for line in heard.lines if (file is not None and file.name in line) or "passed over" in line]
    found = fingerprint(at.work) | {"report.html": _CLOCK.sub("", (at.work / "report.html").read_text())}
    return ("mended aloud" if said else "harmless"), found, " ".join(said)


def _read_phase(run: Path, file: Path) -> None:
    """What any later reader does with the phase that a file belongs to: continue it, branch from it, draw it."""
    from splitjax.runs import phase_record
    from splitjax.train import checkpoint

    parts = file.relative_to(run).parts
    phase_record.read_phase(run / "phases" / parts[1])
    phase_record.read_log(run / "phases" / parts[1])
    if parts[2] == "checkpoints":
        checkpoint.restore(run / Path(*parts[:4]))


def _damage(file: Path, rng: random.Random) -> str:
    """Flip one bit, or cut the file; what was done."""
    data = bytearray(file.read_bytes())
    if not data or rng.random() < 0.25:
        length = rng.randrange(len(data)) if data else 0
        file.write_bytes(data[:length] or (b"x" if not data else b""))
        return f"cut to {length} of {len(data)} bytes"
    place = rng.randrange(len(data) * 8)
    data[place // 8] ^= 1 << place % 8
    file.write_bytes(data)
    return f"bit {place}"


class _Quiet:
    """A reporter that reports nothing."""

    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: None
