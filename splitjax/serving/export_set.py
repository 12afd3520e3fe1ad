"""Experts as Hugging Face folders: one an expert, the router beside them; the whole set appears or nothing does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from splitjax.config import Config, UserError, write_atomic, write_record
from splitjax.data import Corpus
from splitjax.data.tokenizing.tokenizer_files import transformers_files
from splitjax.model import huggingface_config, huggingface_tensors
from splitjax.model.weights import write_weights
from splitjax.reporting import model_cards
from splitjax.runs.job import Job
from splitjax.runs.model_places import Place, find
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import RunFolder
from splitjax.train import checkpoint

from .export_record import FILE, FORMAT, folder_names
from .loaded_models import router_of
from .whole_sets import whole_or_not

SHARD_BYTES = 5_000_000_000


def export(
    config: Config, out: str | os.PathLike[str], *, model: str = "planned", dtype: str = "float32",
    shard_bytes: int = SHARD_BYTES, reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Write a trained model of a run as folders that transformers, vLLM and lm-eval load.

    Args:
        config: of a run whose training is done.
        out: appears whole or not at all.
        model: "planned", "dense", "80/20", "seed" or another model of the run.
        dtype: "float32" or "bfloat16", of the weights.
        shard_bytes: the most that one weight file may hold.

    Returns:
        What export.json holds.

    Raises:
        UserError: not trained, no such model, a folder that is in use, or a full disk.
    """
    with open_run(config, reporter) as job:
        where = find(job, model)
        with whole_or_not(Path(out)) as work:
            return _Export(job, model, where, dtype, shard_bytes, work).run()


@contextmanager
def open_run(config: Config, reporter: Reporter | None = None) -> Iterator[Job]:
    """A run to read from: not locked, nothing in it changed.

    Raises:
        UserError: no such run, or one made with another config.
    """
    folder = RunFolder(config.folder)
    folder.check(config)
    with reporter or Reporter() as told:
        yield Job(config, folder, told, _corpus=_corpus(folder))


def _corpus(folder: RunFolder) -> Corpus:
    if not (folder.data / "manifest.json").exists():
        raise UserError("no prepared data", where=str(folder.data), mend="Run 'splitjax run' first.")
    return Corpus.open(folder.data, verify=False)  # of its tokens nothing is read


@dataclass
class _Export:
    job: Job
    name: str
    place: Place
    dtype: str
    shard_bytes: int
    out: Path
    about: dict[str, Any] = field(init=False)

    def run(self) -> dict[str, Any]:
        corpus = self.job.corpus
        source = self.place.checkpoint(self.job)
        self.about = checkpoint.about(source)
        names = list(corpus.domains) if self.place.phase.on == "domains" else [self.name]
        files = self._small_files()
        told = {
            "format": FORMAT, "model": self.name, "dtype": self.dtype, "tokenizer": corpus.tokenizer.hash,
            "end_token": corpus.tokenizer.end_token, "end_id": corpus.end_id,
            "checkpoint": self.about["hash"], "seq_len": self.job.config.train.seq_len,
            "experts": [{"name": name, "folder": at} for name, at in zip(names, folder_names(names), strict=True)],
        }
        router = router_of(self.job, self.name) if len(names) > 1 else None
        if router is not None:
            router.save(self.out)
        cards_of = model_cards.Cards(self.job, self.name, self.place, self.about, told, router)
        for k, expert in enumerate(told["experts"]):
            self.job.reporter.now(f"exporting {expert['name']}")
            at = self.out / expert["folder"]
            at.mkdir()
            write_weights(at, self._tensors(source, k), self.dtype, self.shard_bytes)
            for name, text in files.items():
                write_atomic(at / name, text)
            write_atomic(at / "README.md", cards_of.expert(k))
        write_atomic(self.out / "README.md", cards_of.whole())
        write_record(self.out / FILE, told)
        return told

    def _small_files(self) -> dict[str, str | bytes]:
        """Name → content of all but weights and cards. Of a seed from a folder they are that folder's own."""
        corpus, seq_len, seed = self.job.corpus, self.job.config.train.seq_len, self.job.seed
        if seed is not None:
            files: dict[str, Any] = {name: (seed.folder / name).read_text(encoding="utf-8") for name in seed.names}
            described = json.loads(files["config.json"])
            key = "dtype" if "dtype" in described else "torch_dtype"
            ends = self._told_ends(files.get("generation_config.json"))
            return files | {"config.json": _text(described | {key: self.dtype}), "generation_config.json": ends}
        described = huggingface_config(self.place.phase.model, self.job.vocab_size, seq_len, corpus.end_id)
        return transformers_files(corpus.tokenizer, seq_len) | {
            "config.json": _text(described | {"torch_dtype": self.dtype}),
            "generation_config.json": _text(
                dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), corpus.end_id)
            ),
        }

    def _told_ends(self, generation: str | None) -> str:
        """The generation_config.json of the seed's folder, with the id that documents ended with in training."""
        assert self.job.seed is not None
        told = {} if generation is None else json.loads(generation)
        told = told if isinstance(told, dict) else {}
        ends = sorted(self.job.seed.stops | {self.job.corpus.end_id})
        if generation is not None and told.get("eos_token_id") in (ends, ends[0] if len(ends) == 1 else None):
            return generation
        return _text(told | {"eos_token_id": ends if len(ends) > 1 else ends[0]})

    def _tensors(self, source: Path, k: int) -> Iterator[tuple[str, np.ndarray]]:
        for path, leaf in checkpoint.parameters(source, k):
            yield from huggingface_tensors(path, leaf)


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
