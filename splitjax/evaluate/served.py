"""Experts behind a router as one model: log-likelihoods of continuations under the expert that a prompt picks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import numpy as np

from splitjax.data import Tokenizer

from .generate import Generator, Sampling, texts
from .prompts import Prompt, as_text
from .routers import Router
from .saved_router import PromptRouter
from .scorer import Ids, Scorer

Likelihood = tuple[float, bool]
"""Nats (log-likelihood, so negative), and whether greedy decoding gives the whole continuation."""


class Served:
    """K experts and what routes between them; a model alone is a stack of one without a router.

    One expert answers a prompt, the one trusted most: also under a router that would mix several.

    Args:
        experts: their names.
        stops: ids that end a text beside the one that ends a document.
    """

    def __init__(
        self, tokenizer: Tokenizer, scorer: Scorer, router: Router | None, experts: Sequence[str] = ("model",),
        stops: frozenset[int] = frozenset(),
    ) -> None:
        self.tokenizer, self.scorer, self.experts, self.stops = tokenizer, scorer, tuple(experts), stops
        self.router = PromptRouter(router, tokenizer, scorer)

    def encode(self, text: str) -> list[int]:
        """Ids of a text as a document begins: the end id, then its own."""
        return [self.tokenizer.end_id, *self.tokenizer.encode(as_text(text))]

    def encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Ids of a context and of what follows it, cut where the context's own ids end.

        Both are encoded in one, since a token may reach over the border; spaces at the context's end go over to the
        continuation, where tokenizers have them (as in EleutherAI's lm-eval, so that figures compare).
        """
        head = context.rstrip()
        whole, start = self.encode(context + continuation), self.encode(head)
        return whole[: len(start)], whole[len(start) :]

    def choose(self, prompts: Sequence[Prompt]) -> list[int]:
        """The expert for each prompt. Equal prompts are read once."""
        distinct = {prompt if isinstance(prompt, str | bytes) else tuple(prompt): 0 for prompt in prompts}
        choices = self.router.choose_all(list(distinct))
        distinct = {prompt: choice.expert for prompt, choice in zip(distinct, choices, strict=True)}
        return [distinct[prompt if isinstance(prompt, str | bytes) else tuple(prompt)] for prompt in prompts]

    def likelihoods(self, pairs: Sequence[tuple[Ids, Ids]], expert_U: Sequence[int]) -> list[Likelihood]:
        """Each continuation's log-likelihood after its context (at least one id), under the expert named for it.

        What is longer than the window is scored in pieces, each with as much to its left as the window holds.
        """
        pieces = [
            (owner, ids, scored)
            for owner, (context, continuation) in enumerate(pairs)
            for ids, scored in self._pieces([*context, *continuation], len(continuation))
        ]
        told = self.scorer.under([ids for _, ids, _ in pieces], [expert_U[owner] for owner, _, _ in pieces])
        total_U, greedy_U = np.zeros(len(pairs)), np.ones(len(pairs), bool)
        for (owner, ids, scored), one in zip(pieces, told, strict=True):
            first = len(ids) - 1 - scored
            total_U[owner] -= one.nll_KS[0, first:].sum(dtype=np.float64)
            greedy_U[owner] &= bool(one.greedy_KS[0, first:].all())
        return list(zip(total_U.tolist(), greedy_U.tolist(), strict=True))

    def rolling(self, text: str) -> float:
        """Log-likelihood of a whole text. Each window's expert is picked by the text before it."""
        ids = self.encode(text)
        total, start = 0.0, 1
        while start < len(ids):
            stop = min(start + self.scorer.window, len(ids))
            expert = self.choose([ids[1:start]])
            total += self.likelihoods([(ids[:start], ids[start:stop])], expert)[0][0]
            start = stop
        return total

    def writer(self, expert: int) -> Generator:
        """One expert to write with; it holds a copy of its parameters."""
        params = jax.tree.map(lambda leaf: leaf[expert], self.scorer.params_K)
        return Generator(self.scorer.model, params, self.scorer.window, self.stops)

    def write(self, prompt: str, writer: Generator, limit: int, sampling: Sampling, seed: int = 0) -> Iterator[str]:
        """Text after a prompt, in whole characters as it comes, up to `limit` tokens or the end of the document.

        Of a prompt that leaves no room in the window the last part is read (see `Generator.reads`).
        """
        read = writer.reads(self.encode(prompt), limit)
        return texts(self.tokenizer, writer.tokens(read, limit, sampling, seed), read)

    def _pieces(self, ids: list[int], scored: int) -> Iterator[tuple[list[int], int]]:
        """(ids, how many of the last are scored) of windows that score the last `scored` ids once each."""
        window, start = self.scorer.window, len(ids) - scored
        while start < len(ids):
            stop = min(start + window, len(ids))
            yield ids[max(0, stop - window - 1) : stop], stop - start
            start = stop
