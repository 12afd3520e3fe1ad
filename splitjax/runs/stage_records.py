"""What a finished stage wrote and what it read, by hash: whether a file in a run folder belongs to those beside it.

Whoever reads what a stage wrote asks here, and nobody else decides. A file belongs if the stage's record is there, the
file is what the stage wrote, and all that it read, down to the data and the weights, is still what it read. A stage
that is made anew loses its record and with it all that came of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from splitjax.config import UserError, hash_file, hash_json, read_json, read_record, write_record

STAGES = ("prepare", "sweep", "fit", "plan", "train", "evaluate", "report")
LAW_AFTER = "law_after"
"""Not a stage of `run`: a law with the main run's models among its rows, where it was asked for."""
FORMAT = 2
_WRITTEN_BY = {
    "data/manifest.json": "prepare", "observations.csv": "sweep", "answers.csv": "sweep", "law.json": "fit",
    "plan.json": "plan", "main.json": "train", "results.json": "evaluate", "law_after.json": LAW_AFTER,
}


class _StageRecord(TypedDict):
    inputs: str
    outputs: dict[str, str]
    read: NotRequired[dict[str, str]]
    weights: NotRequired[dict[str, str]]


class StageRecords:
    """The `done` records of a run folder."""

    path: Path
    results: Path

    def mark_done(
        self, stage: str, inputs: Mapping[str, Any], outputs: Sequence[Path], *, read: Iterable[Path] = (),
        weights: Iterable[Path] = (),
    ) -> None:
        """Record that a stage has ended.

        Args:
            inputs: all that its outputs depend on, as JSON.
            outputs: files that it wrote.
            read: files of the run folder that it read.
            weights: records of the checkpoints that it trained; they may be removed, but not be others.
        """
        write_record(self._record(stage), {
            "format": FORMAT, "stage": stage, "inputs": hash_json(inputs), "outputs": self._hashes(outputs),
            "read": self._hashes(read), "weights": self._hashes(weights),
        })

    def done(self, stage: str) -> dict[str, Any] | None:
        """The record of a finished stage, or None.

        Raises:
            UserError: the record is damaged or of another format.
        """
        path = self._record(stage)
        if not path.exists():
            return None
        mend = f"Make the stage anew with --redo {stage}."
        return read_record(path, "the record of a stage", {"format": FORMAT, "stage": stage}, mend, _StageRecord)

    def is_done(self, stage: str, inputs: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> bool:
        """Whether `stage` ended with these inputs, its outputs are what it wrote, and so is all that it read.

        Args:
            before: the same inputs as an earlier splitjax wrote them down.

        Raises:
            UserError: an output was changed since.
        """
        record = self.done(stage)
        hashes = {hash_json(each) for each in (inputs, before) if each is not None}
        if record is None or record["inputs"] not in hashes or "read" not in record:
            return False
        if not all((self.path / name).exists() for name in record["outputs"]):
            return False
        if changed := self._changed(stage, record):
            raise changed
        return self._stale(stage, record) is None

    def belongs(self, stage: str) -> bool:
        """Whether what a stage wrote belongs to what lies beside it now; if not, it is as if it had not run.

        Raises:
            UserError: a record is damaged.
        """
        return self.fault(stage) is None

    def fault(self, stage: str) -> UserError | None:
        """Why what a stage wrote is not to be believed; None if it is.

        Raises:
            UserError: a record is damaged.
        """
        record = self.done(stage)
        if record is None:
            return UserError(f"stage {stage} has not run", where=str(self.path),
                             mend=f"Run 'splitjax {stage}' or 'splitjax run'.")
        return self._changed(stage, record) or self._stale(stage, record)

    def need(self, stage: str) -> None:
        """Refuse to go on with what a stage wrote, unless it belongs to what lies beside it.

        Raises:
            UserError: it has not run, or what it wrote or read is another now; names the file.
        """
        if fault := self.fault(stage):
            raise fault

    def hash_of(self, path: Path, stage: str) -> str:
        """Hash of what a stage wrote.

        Raises:
            UserError: as `need`.
        """
        record = self.done(stage)
        told = record and record["outputs"].get(self._name(path))
        if told is None or not path.exists():
            mend = f"Run 'splitjax {stage}' or 'splitjax run'."
            raise UserError(f"missing: stage {stage} has not run", where=str(path), mend=mend)
        self.need(stage)
        return str(told)

    def same_weights(self, path: Path) -> None:
        """Refuse a checkpoint that is not the one which the train stage left.

        Args:
            path: its checkpoint.json.

        Raises:
            UserError: it is another.
        """
        record = self.done("train")
        told = (record or {}).get("weights", {}).get(self._name(path))
        if told is not None and hash_file(path) != told:
            raise _changed("train", path)

    def evaluated(self) -> dict[str, Any] | None:
        """results.json, if it belongs to the weights and data beside it; None: not evaluated."""
        return read_json(self.results) if self.belongs("evaluate") else None

    def _changed(self, stage: str, record: Mapping[str, Any]) -> UserError | None:
        for name, told in (record["outputs"] | record.get("weights", {})).items():
            path = self.path / name
            if not path.exists() and name in record["outputs"]:
                return UserError(f"missing: stage {stage} wrote it", where=str(path),
                                 mend=f"Restore it, or run 'splitjax {stage}' or 'splitjax run'.")
            if path.exists() and hash_file(path) != told:
                return _changed(stage, path)
        return None

    def _stale(self, stage: str, record: Mapping[str, Any]) -> UserError | None:
        again = "Run 'splitjax run': it makes anew what is out of date."
        if "read" not in record:
            return UserError(f"stage {stage} was made by an earlier splitjax, which did not record what it read",
                             where=str(self.path), mend=again)
        for name, told in record["read"].items():
            path, owner = self.path / name, _WRITTEN_BY.get(name)
            if owner and (fault := self.fault(owner)):
                return fault
            if not path.exists() or hash_file(path) != told:
                return UserError(f"is not the one that stage {stage} read", where=str(path), mend=again)
        return None

    def _hashes(self, paths: Iterable[Path]) -> dict[str, str]:
        return {self._name(path): hash_file(path) for path in paths}

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def _record(self, stage: str) -> Path:
        return self.path / "done" / f"{stage}.json"


def _changed(stage: str, path: Path) -> UserError:
    return UserError(f"changed since stage {stage} wrote it", where=str(path),
                     mend=f"Restore it, or make it anew with --redo {stage}.")
