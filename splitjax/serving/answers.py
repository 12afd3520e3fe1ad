"""One prompt, one answer: which expert speaks, and its text as it comes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from splitjax.config import Config, UserError, config_at, did_you_mean, is_models
from splitjax.evaluate.generate import Generator, Sampling, texts, until
from splitjax.evaluate.prompts import as_text
from splitjax.runs import program_cache

from . import loaded_models
from .export_set import open_run
from .loaded_models import Loaded


@dataclass(frozen=True)
class Answer:
    """What will be written, and by whom; the text comes when `pieces` is read.

    Attributes:
        expert: name of the model that writes.
        how: why it is that one.
        prompt_tokens: tokens of the prompt, its beginning included.
        read_tokens: of which the model reads so many: the last ones.
        pieces: whole characters, as they come.
        weights: how much the router trusts each expert with this prompt, by name.
    """

    expert: str
    how: str
    prompt_tokens: int
    read_tokens: int
    pieces: Iterator[str]
    weights: Mapping[str, float]

    @cached_property
    def text(self) -> str:
        """All of it, once it is written."""
        return "".join(self.pieces)

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> dict[str, Any]:
        """All of it, once it is written; `confidence` is the weight of the one that writes."""
        return {
            "expert": self.expert, "how": self.how, "confidence": self.weights[self.expert],
            "weights": dict(self.weights), "prompt_tokens": self.prompt_tokens, "read_tokens": self.read_tokens,
            "text": self.text,
        }


Source = Config | Path | str | Loaded
"""A config or the folder of a run, an exported set, one Hugging Face folder, or models in memory."""


def load(source: Config | Path | str) -> Loaded:
    """The models of a run (its planned ones), of an exported set, or of a Hugging Face folder."""
    program_cache.use()
    if not isinstance(source, Config):
        path = Path(source)
        source = path if is_models(path) else config_at(path)
    if isinstance(source, Config):
        with open_run(source) as job:
            return loaded_models.of_run(job)
    return loaded_models.of_folder(source)


def generate(
    source: Source, prompt: str | bytes, *, max_tokens: int = 128, sampling: Sampling | None = None,
    seed: int = 0, expert: str | None = None, stop: Sequence[str] = (),
) -> Answer:
    """Continue a prompt with the expert that its router picks.

    A document begins with the id that ends the one before, so an empty prompt begins one; the router then has nothing
    to read and takes the expert with the most training text. What is not UTF-8 reads as U+FFFD. Of a prompt that
    leaves no room in the model's window the last part is read: all but what the answer needs, and half a window at
    least.

    Args:
        expert: name of one to use instead.
        stop: texts that end the answer, left out of it.

    Raises:
        UserError: no such expert, fewer than one token asked for, or an empty text to stop at.
    """
    if "" in stop:
        raise UserError("an empty text stands everywhere", where="--stop", mend="Give at least one character.")
    if max_tokens < 1:
        raise UserError(f"{max_tokens} tokens asked for", where="--max-tokens", mend="Give 1 or more.")
    models = source if isinstance(source, Loaded) else load(source)
    text = as_text(prompt)
    index, how, weights = _choose(models, text, expert)
    ids = [models.tokenizer.end_id, *models.tokenizer.encode(text)]
    writer = Generator(models.model, models.params(index), models.window, models.stops)
    read = writer.reads(ids, max_tokens)
    tokens = writer.tokens(read, max_tokens, sampling or Sampling(), seed)
    pieces = until(texts(models.tokenizer, tokens, read), stop)
    return Answer(models.names[index], how, len(ids), len(read), pieces, weights)


def warm(models: Loaded, max_tokens: int) -> None:
    """Compile what prompts of every length will need, so that the first one does not wait for it."""
    length, some = 1, models.tokenizer.encode("a" * models.window) or [models.tokenizer.end_id]
    while length < models.window:
        length = min(32 if length == 1 else 2 * length, models.window)
        ids = (some * models.window)[: length - 1]
        if len(models.names) > 1:
            models.chooser.choose(ids)
        writer = Generator(models.model, models.params(0), models.window, models.stops)
        list(writer.tokens(writer.reads([models.tokenizer.end_id, *ids], max_tokens), 2, Sampling(), 0))


def _choose(models: Loaded, text: str, expert: str | None) -> tuple[int, str, dict[str, float]]:
    """The index of the expert, why, and how much each is trusted."""
    if expert is not None:
        if expert not in models.names:
            raise UserError(f"no expert '{expert}'", where="--expert", mend=did_you_mean(expert, models.names))
        return models.names.index(expert), "as asked", {expert: 1.0}
    if len(models.names) == 1:
        return 0, "the only model", {models.names[0]: 1.0}
    choice = models.chooser.choose(text)
    weights = dict(zip(models.names, choice.belief_K.tolist(), strict=True))
    name = models.router.router.name if models.router else ""
    if not text:
        return choice.expert, "an empty prompt goes to the expert with the most text", weights
    return choice.expert, f"router {name}", weights
