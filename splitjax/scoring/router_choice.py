"""Every router on every set of experts: tuned and chosen on validation, told on test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from splitjax import evaluate as scoring
from splitjax.config import UserError
from splitjax.data.clusterer import FILE as CLUSTERER
from splitjax.data.clusterer import Clusterer, of_domains
from splitjax.evaluate import Router, SavedRouter, Scores, routers, routing
from splitjax.evaluate.routing import Routed
from splitjax.model import LanguageModel
from splitjax.parallel import hosts
from splitjax.runs.executor import Executor
from splitjax.runs.job import Job
from splitjax.train import Stack, merge


@dataclass(frozen=True)
class Measured:
    """One set of models on the test windows.

    Attributes:
        routed: under the router chosen; for a model alone, its own losses.
        router: the router chosen; None for a model alone.
        table: what results.json tells of every router; None for a model alone.
        answers: accuracies by zero-shot task.
    """

    scores: Scores
    routed: Routed
    router: SavedRouter | None = None
    table: dict[str, Any] | None = None
    answers: Mapping[str, Any] = field(default_factory=dict)


class Windows:
    """The held-out windows of a split, and the texts of their prefixes."""

    def __init__(self, job: Job, executor: Executor, split: str) -> None:
        self.job, self.prefix = job, job.config.evaluate.prefix
        self.tokens_MWT = executor.held_out(split)

    @cached_property
    def texts(self) -> list[str]:
        return routing.prefix_texts(self.tokens_MWT, self.prefix, self.job.corpus.tokenizer)

    def score(self, model: LanguageModel, stack: Stack) -> Scores:
        batch = self.job.config.train.batch_size
        return scoring.score(model, stack.params, self.tokens_MWT, self.prefix, batch)


class Routing:
    """Measures stacks of one run."""

    def __init__(self, job: Job, executor: Executor) -> None:
        self.job = job
        self.test, self.validation = (Windows(job, executor, split) for split in ("test", "validation"))
        average = {routers.AVERAGE: "experts on several processes"} if hosts.several() else {}
        self._left_out: dict[str, str] = average

    def make_routers(self) -> None:
        """Before anything is scored: centroids of many documents take their time."""
        self.job.reporter.now("making the routers")
        _ = self._routers
        self.job.reporter.leave("routers")

    def measure(self, model: LanguageModel, stack: Stack) -> Measured:
        """Test losses of a stack: alone, or under every router of the config."""
        test = self.test.score(model, stack)
        own = Routed(test.oracle_MW(whole=False), np.zeros(test.nll_KMWS.shape[1:3], np.int64))
        if test.experts == 1:
            return Measured(test, own)
        validation = self.validation.score(model, stack)
        ready = [routing.fitted(router, validation, self.validation.texts) for router in self._routers]
        on_validation = {router.name: routing.route(router, validation, self.validation.texts) for router in ready}
        on_test = {router.name: routing.route(router, test, self.test.texts) for router in ready}
        chosen = routing.pick(ready, on_validation)
        rows = [_row("label", 1, validation.oracle_MW(whole=False), own.loss_MW)]
        for router in ready:
            before, after = on_validation[router.name], on_test[router.name]
            rows.append(_row(router.name, router.top, before.loss_MW, after.loss_MW, after)
                        | {"settings": routers.describe(router)})
        if routers.AVERAGE in self.job.config.evaluate.routers and not hosts.several():
            merged = merge(stack)
            before_MW, after_MW = (w.score(model, merged).oracle_MW(whole=False) for w in (self.validation, self.test))
            rows.append(_row(routers.AVERAGE, 1, before_MW, after_MW))
        table = {"experts": test.experts, "chosen": chosen.name, "rows": rows, "left_out": self._left_out}
        return Measured(test, on_test[chosen.name], self._saved(chosen, rows), table)

    @cached_property
    def _routers(self) -> list[Router]:
        made = []
        for name in self.job.config.evaluate.routers:
            if name == routers.AVERAGE:
                continue
            try:
                made.append(routers.make(name, self.job.corpus.manifest.sizes, lambda: self._clusterer))
            except UserError as error:  # text without words: no reason to lose the rest of the evaluation
                self._left_out[name] = str(error)
        if not made:
            raise UserError(f"none of these routers can be made: {self._left_out}", where="evaluate.routers")
        return made

    @cached_property
    def _clusterer(self) -> Clusterer:
        """The one that made the domains, or centroids of the domains' train documents where they are labels."""
        corpus, settings = self.job.corpus, self.job.config.data.domains
        if (corpus.folder / CLUSTERER).exists():
            saved = Clusterer.load(corpus.folder)
            if saved.tfidf is not None:
                return saved
        documents = max(1, settings.sample_docs // len(corpus.domains))
        shown = partial(corpus.show, n=documents, split="train")
        return of_domains([shown(domain) for domain in corpus.domains], settings, self.job.config.seed)

    def _saved(self, router: Router, rows: list[dict[str, Any]]) -> SavedRouter:
        corpus = self.job.corpus
        evidence = {row["router"]: row["validation"] for row in rows}
        return SavedRouter(router, corpus.domains, self.test.prefix, corpus.tokenizer.hash, {"validation": evidence})


def _row(
    name: str, top: int, validation_MW: np.ndarray, test_MW: np.ndarray, routed: Routed | None = None
) -> dict[str, Any]:
    accuracy = None if routed is None else routed.accuracy_M().tolist()
    mean = float(test_MW.mean())
    return {
        "router": name, "experts_a_token": top, "validation": float(validation_MW.mean()), "test": mean,
        "perplexity": scoring.perplexity(mean), "domains": test_MW.mean(1).tolist(), "accuracy": accuracy,
    }
