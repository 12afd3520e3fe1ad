"""The seed that a run takes from a Hugging Face folder: what the run keeps of it, and its weights when needed."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # the form that pydantic can check before Python 3.12

from splitjax.config import Config, UserError, beside, hash_file, hash_json, read_record, write_record
from splitjax.config.hf_shape import eos_ids
from splitjax.evaluate.folders import ModelFolder, Params

from .run_folder import RunFolder

RECORD = "seed.json"
FORMAT = 3
_SMALL = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja",
)


class _SeedRecord(TypedDict):
    path: str
    end_id: int
    end_token: str | None
    vocab_size: Annotated[int, Field(ge=1)]
    files: dict[str, str]
    kept: NotRequired[dict[str, str]]


@dataclass(frozen=True)
class Seed:
    """The copy of the small files in `run_dir`/seed_from, and the record beside them.

    Attributes:
        told: path, tokens, end_id (that ends a document), vocab_size, and a hash of every weight file.
    """

    folder: Path
    told: dict[str, Any]

    @property
    def vocab_size(self) -> int:
        return int(self.told["vocab_size"])

    @property
    def end_id(self) -> int:
        return int(self.told["end_id"])

    @cached_property
    def stops(self) -> frozenset[int]:
        """The ids that its configs name as the end of a text."""
        return frozenset(eos_ids(self.folder))

    @cached_property
    def hash(self) -> str:
        """Of the weights and of what ends a document."""
        return hash_json([self.told["files"], self.end_id])

    @property
    def names(self) -> list[str]:
        """Of the files kept."""
        return [name for name in _SMALL if (self.folder / name).is_file()]

    def lineage(self) -> dict[str, Any]:
        """What checkpoints say of it."""
        return {"path": self.told["path"], "tokens": self.told["tokens"], "hash": self.hash, "end_id": self.end_id}

    def params(self) -> Params:
        """Its parameters.

        Raises:
            UserError: the folder is gone or has changed since the run began.
        """
        source = ModelFolder(Path(self.told["path"]), self.told["end_token"])
        for name, told in self.told["files"].items():
            if not (source.path / name).is_file() or hash_file(source.path / name) != told:
                raise UserError("has changed or is gone since the run began", where=str(source.path / name),
                                mend="Put it back, or use another run_dir.")
        return source.params()


def seed_of(config: Config, run: RunFolder) -> Seed | None:
    """The seed that a run starts from; None for one that starts from fresh weights. Kept at the first call.

    Raises:
        UserError: no such folder, or a model, weights or tokenizer that cannot be read.
    """
    if config.seed_from is None:
        return None
    folder, wanted = run.seed_from, (str(Path(config.seed_from.path)), config.data.tokenizer.end_token)
    if not (folder / RECORD).exists() or _kept(folder) != wanted:
        _keep(ModelFolder(Path(config.seed_from.path), config.data.tokenizer.end_token), config, folder)
    told = _read(folder)
    for name, hash in told.get("kept", {}).items():
        if not (folder / name).is_file() or hash_file(folder / name) != hash:
            raise UserError("has changed or is gone since the run took it", where=str(folder / name),
                            mend=f"Copy it from {told['path']}, or use --redo sweep.")
    return Seed(folder, told | {"tokens": config.seed_from.tokens})


def _kept(folder: Path) -> tuple[str, str | None]:
    """Of which folder the copy is, and which token was put in the place of id 0."""
    told = _read(folder)
    return told["path"], told["end_token"]


def _read(folder: Path) -> dict[str, Any]:
    again = "Begin in another run_dir."
    return read_record(folder / RECORD, "the record of a seed", {"format": FORMAT}, again, _SeedRecord)


def _keep(source: ModelFolder, config: Config, folder: Path) -> None:
    work = beside(folder, "partial")
    try:
        work.mkdir(parents=True)
        for name in _SMALL:
            if (source.path / name).is_file():
                shutil.copyfile(source.path / name, work / name)
        write_record(work / RECORD, {
            "format": FORMAT, "path": str(source.path), "end_id": source.tokenizer.end_id,
            "end_token": config.data.tokenizer.end_token, "vocab_size": source.vocab_size,
            "files": {path.name: hash_file(path) for path in source.weights.files},
            "kept": {name: hash_file(work / name) for name in _SMALL if (work / name).is_file()},
        })
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
