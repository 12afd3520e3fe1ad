"""What a router makes of held-out windows, and which router to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitjax.data import Tokenizer

from .compare import gain
from .prompts import read_as_text
from .routers import Centroid, Router, Seen, mixture_losses, tuned
from .scores import Scores

DEFAULT = "prefix"
# Another router must win by this many standard errors on validation: one that is no better changes nothing.
_ERRORS = 2.0


@dataclass(frozen=True)
class Routed:
    """W windows of M domains under one router: nats a token after the prefix, and the expert trusted most."""

    loss_MW: NDArray[np.float64]
    choice_MW: NDArray[np.int64]

    def accuracy_M(self) -> NDArray[np.float64]:
        """Share of windows whose most trusted expert is their own domain's."""
        return (self.choice_MW == np.arange(len(self.choice_MW))[:, None]).mean(1)


def prefix_texts(tokens_MWT: np.ndarray, prefix: int, tokenizer: Tokenizer) -> list[str]:
    """The text of each window up to its last token that a router may read."""
    return [read_as_text(tokenizer, ids) for ids in tokens_MWT[..., : prefix + 1].reshape(-1, prefix + 1).tolist()]


def route(router: Router, scores: Scores, texts: Sequence[str]) -> Routed:
    """Route every window by its prefix, score what follows.

    Args:
        texts: of the prefixes, `prefix_texts`.
    """
    seen, rest_KUR = _seen(scores, texts)
    logw_UK = router.log_weights(seen)
    loss_U = mixture_losses(router, logw_UK, rest_KUR).mean(-1)
    shape = scores.nll_KMWS.shape[1:3]
    return Routed(loss_U.reshape(shape), logw_UK.argmax(1).reshape(shape))


def fitted(router: Router, validation: Scores, texts: Sequence[str]) -> Router:
    """The router with what it can learn from validation windows: a centroid ensemble's temperature."""
    if isinstance(router, Centroid) and router.top > 1:
        return tuned(router, *_seen(validation, texts))
    return router


def pick(routers: Sequence[Router], validation: Mapping[str, Routed]) -> Router:
    """The router to use, by validation losses.

    Only routers that leave one expert a token are asked, so that serving costs what one model costs; where there are
    none, all are. The prefix likelihood stands unless another is better by two standard errors, paired.
    """
    candidates = [router for router in routers if router.top == 1] or list(routers)
    best = min(candidates, key=lambda router: float(validation[router.name].loss_MW.mean()))
    usual = next((router for router in candidates if router.name == DEFAULT), best)
    won = gain(validation[best.name].loss_MW, validation[usual.name].loss_MW)
    return best if won.nats > _ERRORS * won.error else usual


def _seen(scores: Scores, texts: Sequence[str]) -> tuple[Seen, NDArray[np.float32]]:
    nll_KUS = scores.nll_KMWS.reshape(scores.experts, len(texts), -1)
    prefix_KU = scores.prefix_KMW.reshape(scores.experts, -1)
    return Seen(texts, prefix_KU), nll_KUS[..., scores.prefix :]
