"""Model cards: what an exported folder is, where it comes from, what it scored, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from splitjax.config import format_count
from splitjax.data.tokenizing.tokenizer_files import puts_end_first
from splitjax.evaluate import SavedRouter, routing
from splitjax.model import architecture, n_params, n_params_total
from splitjax.runs.job import Job
from splitjax.runs.model_places import Place
from splitjax.runs.plan_record import plan_note, read_plan

from .number_text import figure
from .rendering import code, render
from .verdict import judge


@dataclass(frozen=True)
class Cards:
    """The cards of one exported set.

    Args:
        name: of the model in its run ("planned").
        about: of the checkpoint.
        told: what export.json holds.
        router: of the set; None for a model alone.
    """

    job: Job
    name: str
    place: Place
    about: Mapping[str, Any]
    told: Mapping[str, Any]
    router: SavedRouter | None

    def expert(self, k: int) -> str:
        """README.md of expert k."""
        expert, alone = self.told["experts"][k], len(self.told["experts"]) == 1
        kind = "One language model" if alone else f"The expert for {code(expert['name'])} of a set of {self._k}"
        return render(
            "expert_card.md", run=self.job.config.name, name=expert["name"], folder=expert["folder"], kind=kind,
            size=self._size(), starts=self._starts, context=self.job.config.train.seq_len,
            document_start=self._document_start(), told=self._facts(k),
        )

    def whole(self) -> str:
        """README.md of the set."""
        return render(
            "set_card.md", run=self.job.config.name, name=self.name, experts=self.told["experts"], size=self._size(),
            starts=self._starts, router=self._router(), told=self._facts(None),
        )

    def _facts(self, k: int | None) -> dict[str, Any]:
        """What the card of expert k says as that of the whole set (None) does."""
        return {"lineage": self._lineage(), "data": self._data(k), "law": self._law(), "results": self._results(k)}

    def _router(self) -> dict[str, Any] | None:
        """How an expert is picked, with transformers alone where the router reads losses."""
        if self.router is None:
            return None
        router = self.router.router
        weighs_prior = router.name != routing.DEFAULT
        return {"name": router.name, "reads_losses": router.reads_losses, "weighs_prior": weighs_prior}

    @property
    def _k(self) -> int:
        return len(self.told["experts"])

    def _size(self) -> str:
        shape, vocab = self.place.phase.model, self.job.vocab_size
        own, whole = format_count(n_params(shape)), format_count(n_params_total(shape, vocab))
        return f"{architecture(shape)} architecture, {own} parameters ({whole} with embedding and head)"

    def _document_start(self) -> str:
        token = self.told["end_token"].replace("`", "'")  # in no table: its strokes may stay
        start = f"In training every document began with `{token}` (id {self.told['end_id']})"
        if self.job.seed:
            return f"{start}."
        by = "the tokenizer puts it before a text" if self._starts else "put it before a text, as the lines above do"
        return f"{start}; {by}."

    @property
    def _starts(self) -> bool:
        """Whether the tokenizer puts what begins a document before a text."""
        return self.job.seed is not None or puts_end_first(self.job.corpus.tokenizer)

    def _lineage(self) -> list[str]:
        """The chain of operations, newest first."""
        lines = [f"checkpoint `{self.about['hash']}` at {self.about['tokens']:,} tokens of its path, "
                 f"splitjax {self.about['splitjax']}, weights saved as {self.told['dtype']}"]
        step: Any = self.about.get("lineage")
        while isinstance(step, Mapping):
            parent = step.get("parent")
            source = f" from `{parent['hash']}` at {parent['tokens']:,} tokens" if isinstance(parent, Mapping) else ""
            seeds = step.get("seed", ())
            seed = f", seed {', '.join(map(str, seeds if isinstance(seeds, list) else [seeds]))}" if seeds != () else ""
            count = f" into {step['experts']} experts" if step.get("operation") == "split" else ""
            if step.get("operation") == "imported":
                told = step["source"]
                tokens = "unknown" if told["tokens"] is None else f"{told['tokens']:,}"
                source = f" from {code(told['path'])}, trained on {tokens} tokens; weights `{told['hash']}`"
            lines.append(f"{step.get('operation')}{count}{source}{seed}")
            step = parent.get("lineage") if isinstance(parent, Mapping) else None
        lineage = self.about.get("lineage") or {}
        return lines + [f"{key} `{lineage[key]}`" for key in ("plan", "law") if lineage.get(key)]

    def _data(self, k: int | None) -> dict[str, Any]:
        manifest = self.job.corpus.manifest
        sizes = list(zip(manifest.domains, manifest.sizes, strict=True))
        return {
            "method": manifest.method, "hash": manifest.hash, "tokenizer": manifest.tokenizer,
            "domains": sizes if k is None or self._k == 1 else [sizes[k]],
        }

    def _law(self) -> list[str]:
        plan = read_plan(self.job.folder)
        lines = [f"{plan_note(plan)}; accounting {plan['accounting']}."]
        if "family" in plan:
            lines.append(f"Family {plan['family']}, predicted loss {plan['predicted_loss']:.3f} nats a token.")
        if results := self.job.folder.evaluated():
            lines.append(judge(plan, results).text)
            if seeds := results.get("seeds", {}).get("seeds"):
                lines.append(f"Gains are means over {len(seeds)} training seeds; these weights are of seed {seeds[0]}.")
        quantum, phase = self.job.clock.tokens_per_step, self.place.phase
        split = self.place.step if phase.split_at is None else phase.split_at
        lines.append(f"This model: D = {split * quantum:,} mixture tokens, "
                     f"D' = {(self.place.step - split) * quantum:,} domain tokens an expert.")
        return lines

    def _results(self, k: int | None) -> dict[str, Any] | None:
        """Test losses of the domains that the card is about; None where these weights were not measured."""
        results = self.job.folder.evaluated()
        if results is None or self.name not in results["models"]:
            return None
        own = results["models"][self.name]
        rows = [
            (domain, figure(own["test"]["domains"][index], ".4f"), figure(own["bits_per_byte"][index], ".4f"))
            for index, domain in enumerate(results["domains"])
            if k is None or self._k == 1 or k == index
        ]
        return {"domains": rows, "whole": self._mean(own, results["prefix"]) if k is None else ""}

    def _mean(self, own: Mapping[str, Any], prefix: int) -> str:
        mean, perplexity = figure(own["test"]["mean"], ".4f"), figure(own["test"]["perplexity"], ".2f")
        routed = figure(own["after_prefix"]["routed"]["mean"], ".4f")
        return f"Mean {mean} (perplexity {perplexity}); routed by a {prefix}-token prefix and scored after it {routed}."
