"""Model cards: what an exported folder is, where it comes from, what it scored, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from splitjax.config import format_count, read_json
from splitjax.evaluate import SavedRouter, routing
from splitjax.model import n_params, n_params_total
from splitjax.runs.job import Job
from splitjax.runs.model_places import Place
from splitjax.runs.plan_record import plan_note, read_plan

from .number_text import figure

_HEAD = """\
---
library_name: transformers
pipeline_tag: text-generation
tags: [splitjax]
---
"""
_ONE = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = AutoModelForCausalLM.from_pretrained("{folder}")
ids = tokenizer("Your text", return_tensors="pt").input_ids
print(tokenizer.decode(model.generate(ids, max_new_tokens=64)[0], skip_special_tokens=True))
```
"""


_COMMANDS = """\
```sh
splitjax generate FOLDER "Your text"
splitjax evaluate FOLDER --data RUN
```
"""
_ROUTED = """\
```python
import json
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

home, prompt = Path("."), "Your text"  # home: this folder
told, router = (json.loads((home / name).read_text()) for name in ("export.json", "router.json"))
folders = {{expert["name"]: home / expert["folder"] for expert in told["experts"]}}
tokenizer = AutoTokenizer.from_pretrained(folders[router["experts"][0]])
experts = [AutoModelForCausalLM.from_pretrained(folders[name]) for name in router["experts"]]
ids = tokenizer(prompt, return_tensors="pt").input_ids
{choice}
print(router["experts"][best])
out = experts[best].generate(ids, max_new_tokens=64, do_sample=False)
print(tokenizer.decode(out[0], skip_special_tokens=True))
```
"""
_BY_LOSS = """\
import math, torch
with torch.no_grad():  # who finds the prompt likeliest?
    nats = [model(ids, labels=ids).loss.item() * (ids.shape[1] - 1){prior} for model, prior in zip(experts, {priors})]
best = min(range(len(experts)), key=nats.__getitem__)"""
_BY_CENTRE = """\
from splitjax.data.clusterer import Clusterer  # TF-IDF, SVD, nearest centre: clusterer.npz
best = int(Clusterer.load(home).distances([prompt])[0].argmin())"""


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
        expert = self.told["experts"][k]
        config = self.job.config
        whole = len(self.told["experts"]) == 1
        title = f"{config.name}: {_code(expert['name'])}"
        kind = "One language model" if whole else f"The expert for {_code(expert['name'])} of a set of {self._k}"
        return _HEAD + "\n".join([
            f"\n# {title}\n",
            f"{kind}, {self._size()}, trained by splitjax. Context: {config.train.seq_len} tokens.\n",
            "## Use\n", _ONE.format(folder=expert["folder"]), f"{self._document_start()}\n",
            "## Lineage\n", *self._lineage(), "",
            "## Data\n", *self._data(None if whole else k), "",
            "## Law and split\n", *self._law(), "",
            "## Results\n", *self._results(k), "",
        ])  # fmt: skip

    def whole(self) -> str:
        """README.md of the set."""
        experts = self.told["experts"]
        rows = [f"| {_code(one['name'])} | [`{one['folder']}`]({one['folder']}/README.md) |" for one in experts]
        return _HEAD + "\n".join([
            f"\n# {self.job.config.name}: {self.name}\n",
            f"{self._k} model{'s' if self._k > 1 else ''}, {self._size()} each, trained by splitjax.\n",
            "| expert | folder |", "|---|---|", *rows, "",
            "## Use\n", _COMMANDS, *self._routing(),
            "## Lineage\n", *self._lineage(), "",
            "## Data\n", *self._data(None), "",
            "## Law and split\n", *self._law(), "",
            "## Results\n", *self._results(None), "",
        ])  # fmt: skip

    def _routing(self) -> list[str]:
        """How an expert is picked, with transformers alone where the router reads losses."""
        if self.router is None:
            return []
        name = self.router.router.name
        if self.router.router.reads_losses:
            prior = "" if name == routing.DEFAULT else " - math.log(prior)"
            choice = _BY_LOSS.format(prior=prior, priors='router["prior"]')
        else:
            choice = _BY_CENTRE
        return [f"Routed by `{name}` (`router.json`). In Python:\n", _ROUTED.format(choice=choice)]

    @property
    def _k(self) -> int:
        return len(self.told["experts"])

    def _size(self) -> str:
        shape, vocab = self.place.phase.model, self.job.vocab_size
        kind = "Qwen3" if shape.qk_norm else "Llama"
        whole = format_count(n_params_total(shape, vocab))
        return f"{kind} architecture, {format_count(n_params(shape))} parameters ({whole} with embedding and head)"

    def _document_start(self) -> str:
        start = f"In training every document began with {_code(self.told['end_token'])}"
        return f"{start}." if self.job.seed else f"{start}; the tokenizer puts it before a text."

    def _lineage(self) -> list[str]:
        """The chain of operations, newest first."""
        lines = [f"- checkpoint `{self.about['hash']}` at {self.about['tokens']:,} tokens of its path, "
                 f"splitjax {self.about['splitjax']}, weights saved as {self.told['dtype']}"]  # fmt: skip
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
                source = f" from {_code(told['path'])}, trained on {tokens} tokens; weights `{told['hash']}`"
            lines.append(f"- {step.get('operation')}{count}{source}{seed}")
            step = parent.get("lineage") if isinstance(parent, Mapping) else None
        lineage = self.about.get("lineage") or {}
        return lines + [f"- {key} `{lineage[key]}`" for key in ("plan", "law") if lineage.get(key)]

    def _data(self, k: int | None) -> list[str]:
        manifest = self.job.corpus.manifest
        rows = [
            f"| {_code(name)} | {size:,} |"
            for index, (name, size) in enumerate(zip(manifest.domains, manifest.sizes, strict=True))
            if k in (None, index)
        ]
        return [
            f"Domains by {manifest.method}; manifest `{manifest.hash}`; tokenizer {manifest.tokenizer['type']}, "
            f"vocabulary {manifest.tokenizer['vocab_size']:,}, `{manifest.tokenizer['hash']}`.\n",
            "| domain | training tokens |", "|---|---|", *rows,
        ]  # fmt: skip

    def _law(self) -> list[str]:
        plan = read_plan(self.job.folder)
        lines = [f"{plan_note(plan)}; accounting {plan['accounting']}."]
        if "family" in plan:
            lines.append(f"Family {plan['family']}, predicted loss {plan['predicted_loss']:.3f} nats a token.")
        quantum, phase = self.job.clock.tokens_per_step, self.place.phase
        split = self.place.step if phase.split_at is None else phase.split_at
        lines.append(f"This model: D = {split * quantum:,} mixture tokens, "
                     f"D' = {(self.place.step - split) * quantum:,} domain tokens an expert.")  # fmt: skip
        return lines

    def _results(self, k: int | None) -> list[str]:
        path = self.job.folder.results
        results = read_json(path) if path.exists() else {"models": {}}
        if self.name not in results["models"]:
            return ["Not evaluated yet."]
        own, domains = results["models"][self.name], results["domains"]
        lines = ["Test loss in nats a token, and bits a byte; each domain under its own expert.\n",
                 "| domain | loss | bits a byte |", "|---|---|---|"]  # fmt: skip
        for index, domain in enumerate(domains):
            if k is None or self._k == 1 or k == index:
                loss, bits = own["test"]["domains"][index], own["bits_per_byte"][index]
                lines.append(f"| {_code(domain)} | {figure(loss, '.4f')} | {figure(bits, '.4f')} |")
        if k is None:
            after = own["after_prefix"]["routed"]
            mean, ppl = figure(own["test"]["mean"], ".4f"), figure(own["test"]["perplexity"], ".2f")
            lines.append(f"\nMean {mean} (perplexity {ppl}); routed by a {results['prefix']}-token prefix and scored "
                         f"after it {figure(after['mean'], '.4f')}.")  # fmt: skip
        return lines


def _code(name: str) -> str:
    """A name that came with the data, safe in Markdown."""
    return "`" + name.replace("`", "'").replace("|", "/").replace("\n", " ") + "`"
