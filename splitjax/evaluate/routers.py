"""Routers: from what was read of a text, how much each expert is trusted with what follows.

A router sets log weights over K experts from a prefix. An expert outside its `top` gets none and need not be run on the
rest of the text. The token losses of what follows are those of the mixture Σ w_k p_k; a causal router moves its
weights by each token, after that token was scored.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from splitjax.config import UserError, did_you_mean
from splitjax.data.clusterer import Clusterer

LogWeights = NDArray[np.float64]
"""(U, K), each row's exponentials sum to 1; −inf for an expert that is not used."""
_TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a router may read of U texts.

    Attributes:
        texts: the prefixes as text.
        nll_KU: nats that each expert pays for each whole prefix; None where no router in question reads losses.
    """

    texts: Sequence[str]
    nll_KU: NDArray[np.floating] | None = None


class Router(Protocol):
    """What a router is to everything else; a frozen dataclass, so that it can be saved."""

    @property
    def name(self) -> str: ...
    @property
    def prior_K(self) -> tuple[float, ...]: ...
    @property
    def top(self) -> int:
        """Experts that run on what follows the prefix."""
        ...

    @property
    def causal(self) -> bool:
        """Whether each token, once scored, moves the weights by what each expert gave it."""
        ...

    @property
    def reads_losses(self) -> bool:
        """Whether all experts must score the prefix first."""
        ...

    def log_weights(self, seen: Seen) -> LogWeights: ...


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """Bayes posterior over experts after the prefix: w_k ∝ prior_k · p_k(prefix).

    Attributes:
        prior_K: of the experts. With `ties_only` it decides between equals alone: an empty prefix, above all.
    """

    name: str
    prior_K: tuple[float, ...]
    top: int
    causal: bool
    ties_only: bool = False
    reads_losses: bool = dataclasses.field(default=True, init=False)

    def log_weights(self, seen: Seen) -> LogWeights:
        if seen.nll_KU is None:
            raise ValueError(f"{self.name} reads losses")
        share = 1e-9 if self.ties_only else 1.0
        return truncated(share * np.log(self.prior_K) - np.asarray(seen.nll_KU, np.float64).T, self.top)


@dataclasses.dataclass(frozen=True)
class Centroid:
    """Nearness of the prefix to the centre of each domain: w_k ∝ exp(−distance² / temperature), as in c-BTM.

    Gururangan et al. 2023, arXiv:2303.14177. A prefix without a known word is given to the experts by the prior.
    """

    name: str
    prior_K: tuple[float, ...]
    top: int
    clusterer: Clusterer = dataclasses.field(compare=False)
    temperature: float = 0.1
    causal: bool = dataclasses.field(default=False, init=False)
    reads_losses: bool = dataclasses.field(default=False, init=False)

    def log_weights(self, seen: Seen) -> LogWeights:
        if not len(seen.texts):
            return np.zeros((0, len(self.prior_K)))
        distance_UK = self.clusterer.distances(seen.texts).astype(np.float64)
        logits_UK = np.where(np.isnan(distance_UK), np.log(self.prior_K), -distance_UK / self.temperature)
        return truncated(logits_UK, self.top)


def truncated(logits_UK: NDArray[np.float64], top: int) -> LogWeights:
    """Log weights of the `top` greatest; of equals, the first. An expert whose score is no number gets none."""
    logits_UK = np.where(np.isnan(logits_UK), -np.inf, logits_UK)
    order_UK = np.argsort(-logits_UK, axis=1, kind="stable")
    kept_UK = np.full_like(logits_UK, -np.inf)
    best_UT = order_UK[:, :top]
    np.put_along_axis(kept_UK, best_UT, np.take_along_axis(logits_UK, best_UT, 1), 1)
    return kept_UK - log_sum_exp(kept_UK, axis=1)[:, None]


def mixture_losses(router: Router, logw_UK: LogWeights, nll_KUR: NDArray[np.floating]) -> NDArray[np.float64]:
    """Nats of each of the R tokens that follow the prefix, under the mixture of the experts (U, R).

    Args:
        logw_UK: of `router`, from the prefix.
        nll_KUR: what each expert gives each token; what it gives to one outside the top is not looked at.
    """
    logw_KU1 = logw_UK.T[:, :, None]
    nll_KUR = np.where(logw_KU1 > -np.inf, nll_KUR, 0.0)
    if not router.causal:
        return -log_sum_exp(logw_KU1 - nll_KUR, axis=0)
    logw_KUR = logw_KU1 - (np.cumsum(nll_KUR, axis=-1) - nll_KUR)
    return log_sum_exp(logw_KUR, axis=0) - log_sum_exp(logw_KUR - nll_KUR, axis=0)


def log_sum_exp(x: NDArray[np.floating], axis: int) -> NDArray[np.float64]:
    """log Σ exp(x) along an axis that holds a finite value."""
    highest = x.max(axis=axis, keepdims=True)
    return np.squeeze(highest, axis) + np.log(np.exp(x - highest).sum(axis=axis))


def tuned(router: Centroid, seen: Seen, nll_KUR: NDArray[np.floating]) -> Centroid:
    """The router at the temperature that loses least on these (validation) texts."""
    tried = [dataclasses.replace(router, temperature=temperature) for temperature in _TEMPERATURES]
    return min(tried, key=lambda one: float(mixture_losses(one, one.log_weights(seen), nll_KUR).mean()))


Make = Callable[[str, tuple[float, ...], Callable[[], Clusterer]], Router]
"""(name, prior of the experts, the clusterer when asked for) → router."""
AVERAGE = "average"
"""Not a router: one model whose parameters are the mean of the experts'. It is measured beside them."""
REGISTRY: dict[str, Make] = {}


def register(pattern: str, make: Make) -> None:
    """Make a router known under the names that `pattern` (a regular expression) matches whole.

    Raises:
        ValueError: the pattern is taken.
    """
    if pattern in REGISTRY:
        raise ValueError(f"router '{pattern}' is registered already")
    REGISTRY[pattern] = make


def make(name: str, prior_K: Sequence[float], clusterer: Callable[[], Clusterer]) -> Router:
    """The router of this name for K experts.

    Raises:
        UserError: none has it.
    """
    check([name])
    found = next(make for pattern, make in REGISTRY.items() if re.fullmatch(pattern, name))
    total = sum(prior_K)
    return found(name, tuple(float(share / total) for share in prior_K), clusterer)


def check(names: Sequence[str]) -> None:
    """Refuse a name that no router has, and a list that routes nothing.

    Raises:
        UserError: names it.
    """
    for name in names:
        if name != AVERAGE and not any(re.fullmatch(pattern, name) for pattern in REGISTRY):
            known = ["prefix", "centroid", "bayes", "top2_posterior", "top2_centroid", AVERAGE, *REGISTRY]
            raise UserError(f"no router '{name}'", where="evaluate.routers", mend=did_you_mean(name, known))
    if set(names) <= {AVERAGE}:
        raise UserError("names no router that reads a prefix", where="evaluate.routers", mend="Add 'prefix'.")


def _top(name: str, k: int) -> int:
    return min(int(re.findall(r"\d+", name)[0]), k)


register("prefix", lambda name, prior, _: Likelihood(name, prior, top=1, causal=False, ties_only=True))
register("bayes", lambda name, prior, _: Likelihood(name, prior, top=len(prior), causal=True))
register(r"top[1-9]\d*_posterior", lambda name, prior, _: Likelihood(name, prior, _top(name, len(prior)), causal=True))
register("centroid", lambda name, prior, fitted: Centroid(name, prior, 1, fitted()))
register(r"top[1-9]\d*_centroid", lambda name, prior, fitted: Centroid(name, prior, _top(name, len(prior)), fitted()))


def describe(router: Router) -> dict[str, Any]:
    """What tells two routers of one name apart, as JSON."""
    found = {"router": router.name, "top": router.top, "causal": router.causal, "reads_losses": router.reads_losses}
    temperature = getattr(router, "temperature", None)
    return found if temperature is None or router.top == 1 else found | {"temperature": temperature}
