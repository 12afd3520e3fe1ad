"""Text from one model: tokens as they are drawn, and their text as soon as it is whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from splitjax.config import UserError
from splitjax.data import Tokenizer
from splitjax.model import LanguageModel
from splitjax.model.decode import Cache, empty_cache, extend

_MIN_ROOM = 32
_BROKEN = "\ufffd"
_HELD = 8
"""Tokens that may wait for the rest of a character: four bytes, and what a decoder keeps back."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn.

    Attributes:
        temperature: of the softmax; 0 takes the likeliest token.
        top_k: only so many of the likeliest tokens may be drawn; 0: all.
        top_p: only the likeliest tokens that together reach this probability; 1: all.

    Raises:
        UserError: a value outside its range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"{self.temperature} is no temperature", where="--temperature", mend="Give 0 or more.")
        if self.top_k < 0:
            raise UserError(f"{self.top_k} tokens to draw from", where="--top-k", mend="Give 1 or more, or 0 for all.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"{self.top_p} is no probability", where="--top-p", mend="Give more than 0, at most 1.")


@dataclass(frozen=True)
class Generator:
    """One model that writes.

    Args:
        params: of one model, no expert axis.
        window: tokens that it may look back on (what it was trained with).
        stops: ids that end a text beside the one that ends a document.
    """

    model: LanguageModel
    params: Any
    window: int
    stops: frozenset[int] = frozenset()

    def reads(self, prompt: Sequence[int], limit: int) -> list[int]:
        """What of a prompt it reads: the last part, where the window would not hold it and `limit` tokens more.

        All but what the answer needs, and half a window at least.
        """
        return list(prompt[-(self.window - min(limit, self.window // 2)) :])

    def tokens(self, prompt: Sequence[int], limit: int, sampling: Sampling, seed: int) -> Iterator[int]:
        """Tokens that follow `prompt`, up to `limit` or to an id that ends the text (not given).

        Where the window is full, its last half is read anew and goes on, so the positions that a model sees are
        those it was trained on.

        Args:
            prompt: at least one id, at most a window of them.
        """
        if not 0 < len(prompt) <= self.window:
            raise ValueError(f"a prompt of {len(prompt)} tokens for a window of {self.window}")
        held, key = list(prompt), jax.random.key(seed)
        controls = (jnp.float32(sampling.temperature), jnp.int32(sampling.top_k), jnp.float32(sampling.top_p))
        room = self._room(len(held) + limit)
        scores_V, cache = self._read(held, room)
        for drawn in range(limit):
            token = int(_draw(scores_V, jax.random.fold_in(key, drawn), *controls))
            if token == self.model.end_id or token in self.stops:
                return
            yield token
            held.append(token)
            if drawn + 1 == limit:
                return
            if len(held) > room:
                held = held[-max(1, self.window // 2) :]
                room = self._room(len(held) + limit - drawn)
                scores_V, cache = self._read(held, room)
            else:
                scores_V, cache = _next(self.model, self.params, token, len(held) - 1, cache)

    def _room(self, tokens: int) -> int:
        """The cache's length, in few sizes: a size is compiled once."""
        return min(self.window, max(_MIN_ROOM, 1 << (tokens - 1).bit_length()))

    def _read(self, held: Sequence[int], room: int) -> tuple[Array, Cache]:
        length = min(room, max(_MIN_ROOM, 1 << (len(held) - 1).bit_length()))
        padded_S = np.zeros(length, np.int32)
        padded_S[: len(held)] = held
        return _prefill(self.model, self.params, padded_S, len(held), empty_cache(self.model, 1, room))


@partial(jax.jit, static_argnums=0, donate_argnums=4)
def _prefill(model: LanguageModel, params: Any, tokens_S: Array, count: Array, cache: Cache) -> tuple[Array, Cache]:
    scores_BSV, cache = extend(model, params, tokens_S[None], jnp.int32(0), cache)
    return scores_BSV[0, count - 1], cache


@partial(jax.jit, static_argnums=0, donate_argnums=4)
def _next(model: LanguageModel, params: Any, token: Array, at: Array, cache: Cache) -> tuple[Array, Cache]:
    scores_BSV, cache = extend(model, params, jnp.asarray(token, jnp.int32).reshape(1, 1), at, cache)
    return scores_BSV[0, 0], cache


@jax.jit
def _draw(scores_V: Array, key: Array, temperature: Array, top_k: Array, top_p: Array) -> Array:
    order_V = jnp.argsort(-scores_V)
    sorted_V = scores_V[order_V] / jnp.maximum(temperature, 1e-6)
    before_V = jnp.cumsum(jax.nn.softmax(sorted_V)) - jax.nn.softmax(sorted_V)
    kept_V = (before_V < top_p) & ((top_k == 0) | (jnp.arange(len(scores_V)) < top_k))
    kept_V = kept_V.at[0].set(True)
    drawn = order_V[jax.random.categorical(key, jnp.where(kept_V, sorted_V, -jnp.inf))]
    return jnp.where(temperature > 0, drawn, scores_V.argmax())


def texts(tokenizer: Tokenizer, tokens: Iterable[int], prompt: Sequence[int] = ()) -> Iterator[str]:
    """The text of tokens as they come, in whole characters; an unfinished character at the end is dropped.

    Bytes that are no UTF-8 become U+FFFD, so what is given is always valid.

    Args:
        prompt: ids that the tokens follow: the first may bring a space that a decoder would take off a beginning.
    """
    ended = max((at + 1 for at, index in enumerate(prompt) if index == tokenizer.end_id), default=0)
    ids = list(prompt[max(ended, len(prompt) - _HELD) :])
    begin, told = 0, len(ids)  # ids[begin:told] are out already; they stay as context, for decoders that look back
    for token in tokens:
        ids.append(token)
        before, now = tokenizer.decode(ids[begin:told]), tokenizer.decode(ids[begin:])
        if now.endswith(_BROKEN) and len(ids) - told < _HELD:
            continue
        if len(now) > len(before):
            yield now[len(before) :]
            begin, told = told, len(ids)
    before, now = tokenizer.decode(ids[begin:told]), tokenizer.decode(ids[begin:]).rstrip(_BROKEN)
    if len(now) > len(before):
        yield now[len(before) :]


def until(pieces: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """Pieces of text up to the first place where one of `stops` stands, which is left out; empty ones stop nothing.

    What may be the beginning of one is held back until more has come.
    """
    held = ""
    stops = [stop for stop in stops if stop]
    for piece in pieces:
        held += piece
        if found := [at for stop in stops if (at := held.find(stop)) >= 0]:
            held = held[: min(found)]
            break
        kept = max((size for stop in stops for size in range(1, len(stop)) if held.endswith(stop[:size])), default=0)
        if out := held[: len(held) - kept]:
            yield out
        held = held[len(held) - kept :]
    if held:
        yield held
