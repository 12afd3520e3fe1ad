"""metrics.jsonl: what a phase did, one row a step, the source of every curve."""

from __future__ import annotations

import contextlib
import json
import logging
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from splitjax.config import UserError, write_atomic

FORMAT = "splitjax.metrics"
VERSION = 2
log = logging.getLogger("splitjax")
FLUSH_SECONDS = 1.0
PER_EXPERT = ("loss", "grad_norm", "skipped", "rate")


class MetricsLog:
    """Append rows to a phase's log, which after a kill is cut back to where the phase resumes.

    A row: {"tokens": path tokens after the step, "loss": [K], "grad_norm": [K], "rate": [K], "skipped": [K],
    "idle": lanes that did no work, "tokens_per_s": all experts together, "epoch": how often the most repeated data were
    gone through, "mfu": where the chip's peak is known}; null for an expert that is done. The first line names format
    and version. Losses are nats per token. Each line ends in "check", a checksum of what stands before it: nothing
    else would tell a flipped digit from a loss.

    Args:
        path: the file; made if missing.
        resume_at: rows beyond these path tokens are dropped (their steps will be made again).
        head: further facts for the first line; "start" is where the phase begins.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, path: Path, resume_at: int, head: dict[str, Any]) -> None:
        self.path = path
        try:
            _cut(path, resume_at, head.get("start", 0), _line({"format": FORMAT, "version": VERSION} | head).encode())
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise _unwritable(path, error) from error
        self._flushed = time.monotonic()

    def write(self, row: dict[str, Any]) -> None:
        """Add a row; it reaches the disk within about a second, or at `flush`."""
        self._file.write(_line(row))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Hand every row to the operating system.

        Raises:
            UserError: the disk is full.
        """
        try:
            self._file.flush()
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._flushed = time.monotonic()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.flush()
        finally:
            with contextlib.suppress(OSError):  # a full disk has been told by the flush
                self._file.close()


def log_path(folder: Path) -> Path:
    """This process's log: metrics.jsonl, and metrics.<n>.jsonl of the n-th further process."""
    process = jax.process_index()
    return folder / (f"metrics.{process}.jsonl" if process else "metrics.jsonl")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a phase's metrics.jsonl, one a step, the further processes' figures filled in.

    Not in it: the first line, a half-written last line, and rows of events.

    Raises:
        UserError: not such a file, or of a version that cannot be read.
    """
    path = Path(path)
    rows = _read(path)
    for other in sorted(path.parent.glob(f"{path.stem}.*{path.suffix}")):
        theirs = {row["tokens"]: row for row in _read(other)}
        for row in rows:
            _fill(row, theirs.get(row["tokens"], {}))
    return rows


def join_metrics(folder: Path, parts: Sequence[Path]) -> None:
    """Write the log of a phase whose experts were trained apart, expert k in `parts`[k]."""
    logs = [{row["tokens"]: row for row in read_metrics(log_path(part))} for part in parts]
    lines: list[dict[str, Any]] = [{"format": FORMAT, "version": VERSION, "experts": len(parts), "phase": folder.name}]
    for tokens in sorted(set().union(*logs)):
        rows = [log.get(tokens) for log in logs]
        figures = {name: [row[name][0] if row else None for row in rows] for name in PER_EXPERT}
        told = [row for row in rows if row]
        means = {name: _mean([row[name] for row in told if name in row]) for name in ("tokens_per_s", "mfu")}
        epochs = {"epoch": max(row.get("epoch", 0.0) for row in told)}
        kept = {name: mean for name, mean in means.items() if mean is not None}
        lines.append({"tokens": tokens, **figures, "idle": 0, **kept, **epochs})
    write_atomic(log_path(folder), "".join(_line(line) for line in lines))


def of_expert(row: Mapping[str, Any], expert: int, experts: int) -> dict[str, Any]:
    """The row of an expert trained apart, as one of the whole phase."""
    return {
        name: [value[0] if k == expert else None for k in range(experts)] if name in PER_EXPERT else value
        for name, value in row.items()
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read ({error})", where=str(path)) from None
    _check_head(lines[0] if lines else "", path)
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        row = _parse(line)
        if row is None and number < len(lines):  # a last line may be half-written
            raise UserError("damaged row (its checksum does not match)", where=f"{path}:{number}", mend="Remove it.")
        if row is not None and "loss" in row and "tokens" in row:
            rows.append(row)
    return rows


def _check_head(line: str, path: Path) -> None:
    try:
        head = json.loads(line)
    except (ValueError, RecursionError):
        head = None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise UserError("not a splitjax metrics file", where=str(path))
    if head.get("version") != VERSION:
        version = f"{head.get('version')!r:.20}"
        raise UserError(f"metrics version {version} cannot be read; this is {VERSION}", where=str(path))


def _fill(row: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Each process knows the losses of its own experts and has None for the others."""
    for name, values in row.items():
        if isinstance(values, list):
            other = theirs.get(name, values)
            row[name] = [mine if mine is not None else its for mine, its in zip(values, other, strict=True)]


def _line(row: dict[str, Any]) -> str:
    # Not strict JSON where a loss is NaN: hiding a NaN as null would hide the reason of a skip.
    text = json.dumps(row, separators=(",", ":"))[:-1]
    return f'{text},"check":"{_check(text)}"}}\n'


def _check(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot be written ({error.strerror})", where=str(path), mend="Free space and run again.")


def _cut(path: Path, resume_at: int, start: int, head: bytes) -> None:
    """Begin the log anew, or drop the rows beyond `resume_at` and those that are damaged; says what is lost."""
    keep, lost, last = [head], list[int](), start
    if path.exists():
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                row = _parse(line.decode("utf-8", "replace"))
                if row is None and not line.endswith(b"\n"):
                    break  # cut off by a kill
                if row is None:
                    lost.append(number)
                elif row.get("tokens", 0) > resume_at:
                    break
                elif number > 1:
                    keep.append(line)
                    last = row.get("tokens", last)
    if lost:
        log.warning("%s: damaged rows dropped (lines %s)", path, ", ".join(map(str, lost)))
    if last < resume_at:
        log.warning("%s: the rows from %d to %d tokens are missing", path, last, resume_at)
    write_atomic(path, b"".join(keep))


def _parse(line: str) -> dict[str, Any] | None:
    """A row without its checksum, or None where that does not match."""
    text, _, tail = line.rstrip("\n").rpartition(',"check":')
    try:
        row = json.loads(text + "}") if tail == f'"{_check(text)}"}}' else None
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
