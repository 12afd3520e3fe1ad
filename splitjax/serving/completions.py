"""Completions as OpenAI's protocol asks for them: text by the routed or a named expert, scores of what was said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from pydantic import BaseModel, ConfigDict, Field

from splitjax.config import UserError
from splitjax.evaluate.generate import Generator, Sampling, texts, until
from splitjax.model import LanguageModel
from splitjax.model.decode import empty_cache, extend

from .loaded_models import Loaded

Item = TypeVar("Item")
ROUTED = "routed"
MOST_TOP = 20


class Refused(Exception):  # noqa: N818 - what the client reads
    """A request that is not answered: why, and which of its fields is at fault."""

    def __init__(self, message: str, param: str | None = None, status: int = 400) -> None:
        self.message, self.param, self.status = message, param, status
        super().__init__(message)


class Asked(BaseModel):
    """The body of a request; a field that would change nothing is refused by name (`user`, a label, is let pass)."""

    model_config = ConfigDict(extra="forbid")

    model: str
    prompt: str | list[int] | list[str] | list[list[int]] = ""
    max_tokens: int = Field(16, ge=0)
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    n: int = Field(1, ge=1, le=128)
    stream: bool = False
    stream_options: None = None
    logprobs: int | None = Field(None, ge=0, le=MOST_TOP)
    echo: bool = False
    stop: str | list[str] | None = None
    seed: int | None = None
    user: str | None = None
    suffix: None = None
    best_of: Literal[1] | None = None
    presence_penalty: Literal[0] = 0
    frequency_penalty: Literal[0] = 0
    logit_bias: Mapping[str, float] | None = Field(None, max_length=0)
    score_from: int | None = Field(None, ge=0)
    """Ours: the prompt's token from which on its scores are used; under a router not within its prefix."""

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each of the prompts."""
        told = self.prompt
        one = isinstance(told, str) or (bool(told) and isinstance(told[0], int))
        return [told] if one else list(told)  # type: ignore[list-item, arg-type]

    @property
    def stops(self) -> list[str]:
        """Texts that end an answer."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())


@dataclass
class Written:
    """One answer, as it comes.

    Attributes:
        expert: name of the model that writes, and how sure the router is of it.
        ids: of the prompt, after the id that begins a document.
        stops: texts that end it.
        drawn: ids that were written so far.
        said: their text, with what a stop leaves out.
        pieces: whole characters, as they come.
    """

    expert: str
    confidence: float
    ids: list[int]
    limit: int
    stops: Sequence[str] = ()
    pieces: Iterator[str] = field(default_factory=lambda: iter(()))
    drawn: list[int] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def finish(self) -> str:
        """Why it ended, by now; a stop that ends at the last token asked for is one."""
        text = "".join(self.said)
        return "length" if len(self.drawn) >= self.limit and not any(map(text.__contains__, self.stops)) else "stop"


class Engine:
    """Models by the names that requests give them.

    Args:
        models: name → models and the index of the one that is meant; None: the one that the router picks.
    """

    def __init__(self, models: Mapping[str, tuple[Loaded, int | None]]) -> None:
        self.models = dict(models)

    def check(self, asked: Asked) -> None:
        """Refuse a request before anything of it is answered.

        Raises:
            Refused: no such model, nothing to do, or scores by a model that was chosen with sight of them.
        """
        if asked.model not in self.models:
            raise Refused(f"no model '{asked.model}'; there are {', '.join(self.models)}", "model", 404)
        if not asked.prompts:
            raise Refused("no prompt", "prompt")
        if "" in asked.stops:
            raise Refused("an empty text stands everywhere", "stop")
        if asked.stream and asked.logprobs is not None:
            raise Refused("logprobs come with whole answers, not with streams", "logprobs")
        loaded, index = self.models[asked.model]
        for prompt in asked.prompts:
            ids = self.ids(loaded, prompt)
            if any(not 0 <= each < loaded.model.vocab_size for each in ids):
                raise Refused(f"token ids lie between 0 and {loaded.model.vocab_size - 1}", "prompt")
            if index is None and asked.logprobs is not None:
                self._check_routed(loaded, ids, asked)

    def _check_routed(self, loaded: Loaded, ids: Sequence[int], asked: Asked) -> None:
        prefix = loaded.router.prefix if loaded.router else 0
        mend = f"ask an expert by name, as expert/{loaded.names[0]}"
        if asked.echo and asked.score_from is not None and asked.score_from < prefix:
            raise Refused(f"routed scores begin after the router's prefix of {prefix} tokens, not at token "
                          f"{asked.score_from}: no token is scored by a model chosen with sight of it; {mend}",
                          "score_from")
        if len(ids) < prefix or (asked.echo and len(ids) == prefix and not asked.max_tokens):
            raise Refused(f"routed scores need a context of at least the router's prefix, {prefix} tokens, and this "
                          f"prompt has {len(ids)}: no token is scored by a model chosen with sight of it; {mend}",
                          "prompt")

    def ids(self, loaded: Loaded, prompt: str | Sequence[int]) -> list[int]:
        """Ids of a prompt without the one that begins a document: every prompt begins one."""
        ids = loaded.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
        return ids[1:] if ids[:1] == [loaded.tokenizer.end_id] else ids

    def begin(self, asked: Asked, prompt: str | list[int], nth: int) -> Written:
        """Choose who answers; the text comes when its pieces are read.

        Args:
            nth: of the answers to this prompt.
        """
        loaded, index = self.models[asked.model]
        ids, confidence = self.ids(loaded, prompt), 1.0
        if index is None:
            scored = asked.echo and asked.logprobs is not None  # then the router reads its prefix alone
            choice = loaded.chooser.choose(ids[: loaded.router.prefix] if scored and loaded.router else ids)
            index, confidence = choice.expert, choice.confidence
        written = Written(loaded.names[index], confidence, ids, asked.max_tokens, asked.stops)
        if asked.max_tokens:
            writer = Generator(loaded.model, loaded.params(index), loaded.window, loaded.stops)
            read = writer.reads([loaded.tokenizer.end_id, *ids], asked.max_tokens)
            sampling = Sampling(asked.temperature, asked.top_k, asked.top_p)
            seed = int(np.random.default_rng(asked.seed).integers(2**31)) if asked.seed is None else asked.seed
            tokens = _kept(writer.tokens(read, asked.max_tokens, sampling, (seed + nth) % 2**31), written.drawn)
            said = _kept(texts(loaded.tokenizer, tokens, read), written.said)
            written.pieces = until(said, asked.stops)
        return written

    def choice(self, asked: Asked, prompt: str | list[int], nth: int) -> tuple[dict[str, Any], Written]:
        """A whole answer as JSON."""
        loaded, _ = self.models[asked.model]
        written = self.begin(asked, prompt, nth)
        text = "".join(written.pieces)
        if asked.echo:
            text = (prompt if isinstance(prompt, str) else loaded.tokenizer.decode(written.ids)) + text
        told: dict[str, Any] = {"text": text, "finish_reason": written.finish, "logprobs": None,
                                "expert": written.expert, "confidence": round(written.confidence, 6)}
        if asked.logprobs is not None:
            told["logprobs"] = self._logprobs(asked, loaded, written)
        return told, written

    def _logprobs(self, asked: Asked, loaded: Loaded, written: Written) -> dict[str, Any]:
        """Tokens with what the model gave them. Under a router those of its prefix have none."""
        index, ids = loaded.names.index(written.expert), [*written.ids, *written.drawn]
        first = 0 if asked.echo else len(written.ids)
        hidden = loaded.router.prefix if self.models[asked.model][1] is None and loaded.router else 0
        whole, most = [loaded.tokenizer.end_id, *ids], max(asked.logprobs or 0, 1)
        chosen: list[Any] = [None] * len(written.ids)
        tops: list[Any] = list(chosen)
        if asked.echo:
            chosen, tops = scores(loaded, index, whole[: len(written.ids) + 1], most, len(written.ids))
        for part, more in zip((chosen, tops), scores(loaded, index, whole, most, len(written.drawn)), strict=True):
            part += more  # apart, so that the prompt's scores do not depend on what was written
        words = [loaded.tokenizer.decode([each]) for each in ids]
        found: dict[str, list[Any]] = {"tokens": words[first:], "token_logprobs": [], "top_logprobs": []}
        for at in range(first, len(ids)):
            unseen = at >= hidden or not asked.echo
            found["token_logprobs"].append(float(chosen[at]) if unseen else None)
            best: dict[str, float] = {}
            for token, value in tops[at][: asked.logprobs] if unseen else ():
                best.setdefault(loaded.tokenizer.decode([token]), value)
            found["top_logprobs"].append(best if unseen else None)
        found["text_offset"] = list(accumulate(map(len, words[first:]), initial=0))[:-1]
        return found


def _kept(items: Iterator[Item], into: list[Item]) -> Iterator[Item]:
    """What comes, remembered as it passes."""
    for item in items:
        into.append(item)
        yield item


def scores(
    loaded: Loaded, expert: int, ids: Sequence[int], top: int, last: int
) -> tuple[list[Any], list[Any]]:
    """Log-probabilities of the last so many ids, and the likeliest ids beside each with theirs.

    What is longer than the window is scored in pieces, each with as much to its left as the window holds.
    """
    chosen: list[Any] = []
    tops: list[Any] = []
    window, start = loaded.window, len(ids) - last
    while start < len(ids):
        stop = min(start + window, len(ids))
        part, scored = ids[max(0, stop - window - 1) : stop], stop - start
        length = min(window, max(32, 1 << (len(part) - 2).bit_length()))
        padded_T = np.zeros(length + 1, np.int32)
        padded_T[: len(part)] = part
        found_S, values_SE, ids_SE = map(
            np.asarray, _scored(loaded.model, loaded.params_K, expert, padded_T, top)
        )
        ours = slice(len(part) - 1 - scored, len(part) - 1)
        chosen += found_S[ours].tolist()
        tops += [list(zip(i.tolist(), v.tolist(), strict=True))
                 for i, v in zip(ids_SE[ours], values_SE[ours], strict=True)]
        start = stop
    return chosen, tops


@partial(jax.jit, static_argnums=(0, 4))
def _scored(
    model: LanguageModel, params_K: Any, expert: Array, ids_T: Array, top: int
) -> tuple[Array, Array, Array]:
    """Of T - 1 targets: their log-probabilities, and the likeliest ones (S, top) with ids."""
    params = jax.tree.map(lambda leaf: leaf[expert], params_K)
    length = ids_T.shape[0] - 1
    scores_BSV, _ = extend(model, params, ids_T[None, :-1], jnp.int32(0), empty_cache(model, 1, length))
    logp_SV = jax.nn.log_softmax(scores_BSV[0], axis=-1)
    values_SE, ids_SE = jax.lax.top_k(logp_SV, top)
    return jnp.take_along_axis(logp_SV, ids_T[1:, None], axis=1)[:, 0], values_SE, ids_SE


def engine(loaded: Loaded, others: Mapping[str, Loaded]) -> Engine:
    """What is served: the routed experts, each expert by name, and models beside them.

    Raises:
        UserError: an expert that could not be told from another model.
    """
    if len(loaded.names) == 1:
        models: dict[str, tuple[Loaded, int | None]] = {loaded.names[0]: (loaded, 0)}
    else:
        models = {ROUTED: (loaded, None)} | {f"expert/{name}": (loaded, k) for k, name in enumerate(loaded.names)}
    for name, other in others.items():
        if name in models:
            raise UserError(f"two models are called '{name}'", where="splitjax serve")
        models[name] = (other, 0)
    return Engine(models)
