"""Models that answer and are scored: of a run, of an exported set, or one foreign Hugging Face folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from splitjax.config import UserError, hf_shape, read_json
from splitjax.data import Tokenizer
from splitjax.data.clusterer import Clusterer
from splitjax.evaluate import PromptRouter, SavedRouter, Scorer, routers, routing
from splitjax.evaluate.folders import ModelFolder
from splitjax.evaluate.saved_router import FILE as ROUTER
from splitjax.model import LanguageModel
from splitjax.runs.job import Job
from splitjax.runs.model_places import find
from splitjax.runs.plan_record import main_tree
from splitjax.train import checkpoint

from . import export_record
from .export_record import Exported


@dataclass(frozen=True)
class Loaded:
    """K models of one shape, all in memory at once.

    Attributes:
        names: of the experts.
        params_K: parameters with a leading K axis.
        window: tokens that the models look back on.
        router: that picks among them; None for a model alone.
        stops: ids that end a text beside the one that ends a document.
    """

    names: tuple[str, ...]
    model: LanguageModel
    params_K: Any
    tokenizer: Tokenizer
    window: int
    router: SavedRouter | None
    stops: frozenset[int] = frozenset()

    @cached_property
    def chooser(self) -> PromptRouter:
        """The router with the experts at hand."""
        scorer = Scorer(self.model, self.params_K, self.window)
        return PromptRouter(self.router.router if self.router else None, self.tokenizer, scorer)

    def params(self, expert: int) -> Any:
        """Of one expert; a copy, kept for the next time."""
        if expert not in self._taken:
            self._taken[expert] = jax.tree.map(lambda leaf: leaf[expert], self.params_K)
        return self._taken[expert]

    @cached_property
    def _taken(self) -> dict[int, Any]:
        return {}


def of_run(job: Job, name: str = "planned") -> Loaded:
    """A trained model of a run.

    Raises:
        UserError: no such model, or not trained yet.
    """
    place = find(job, name)
    names = job.corpus.domains if place.phase.on == "domains" else (name,)
    model = job.executor().model(place.phase.model)
    params_K = checkpoint.restore_params(place.checkpoint(job))
    router = router_of(job, name) if len(names) > 1 else None
    stops = job.seed.stops if job.seed else frozenset()
    return Loaded(names, model, params_K, job.corpus.tokenizer, job.config.train.seq_len, router, stops)


def router_of(job: Job, name: str) -> SavedRouter:
    """The router that the evaluation chose for this model, else (not evaluated as it is) the prefix's likelihood."""
    saved = job.folder.router_of(None if name == "planned" else main_tree(job)[name].id)
    if job.folder.belongs("evaluate") and (saved / ROUTER).exists():
        return SavedRouter.load(saved)
    corpus = job.corpus
    usual = routers.make(routing.DEFAULT, corpus.manifest.sizes, lambda: Clusterer.load(corpus.folder))
    return SavedRouter(usual, corpus.domains, job.config.evaluate.prefix, corpus.tokenizer.hash)


def of_folder(folder: Path) -> Loaded:
    """An exported set, or one model of Llama, Qwen2 or Qwen3 type from anywhere.

    Raises:
        UserError: what `ModelFolder`, `Exported` and `SavedRouter` refuse.
    """
    if (folder / export_record.FILE).exists():
        told = Exported.read(folder)
        sources = [ModelFolder(path, told.end_token) for path in told.folders]
        router = SavedRouter.load(folder) if len(sources) > 1 else None
        if router is not None and router.experts != told.names:
            raise UserError("routes to other experts than the set holds", where=str(folder / ROUTER))
        names, window = told.names, told.seq_len
    else:
        sources, router = [ModelFolder(folder)], None
        names, window = (folder.name,), _window(folder)
    if len({source.shape for source in sources}) > 1:
        raise UserError("holds models of different shapes", where=str(folder))
    params_K = jax.tree.map(lambda *leaves: np.stack(leaves), *(source.params() for source in sources))
    first = sources[0]
    model = LanguageModel(first.shape, first.vocab_size, end_id=first.tokenizer.end_id)
    return Loaded(names, model, jax.device_put(params_K), first.tokenizer, window, router, first.stops)


def _window(folder: Path) -> int:
    told = read_json(folder / hf_shape.FILE).get("max_position_embeddings")
    return told if isinstance(told, int) and 1 < told <= export_record.LONGEST_WINDOW else 2048
