"""What a run may spend, and how its tokens are shared between the mixture and the domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from splitjax.config import UserError, did_you_mean

Accounting = Literal["total", "per_model"]


@dataclass(frozen=True)
class Budget:
    """N, T, K and how T is counted; `before` are tokens behind the seed that no budget pays for."""

    n_params: float
    tokens: float
    experts: int
    accounting: Accounting
    u_pretrain: float | None = None
    u_special: float | Mapping[str, float] | None = None
    before: float = 0.0

    def unique(self, domain: str) -> tuple[float | None, float | None]:
        """Unique tokens of the mixture and of a domain; None where data are fresh."""
        special = self.u_special
        return self.u_pretrain, special.get(domain) if isinstance(special, Mapping) else special

    @property
    def share(self) -> int:
        """How many times a domain token of one expert counts in T."""
        return self.experts if self.accounting == "total" else 1

    def spend(self, fraction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The law's D and D' (per expert) at fractions of T; D counts what is behind the seed."""
        return self.before + fraction * self.tokens, (1.0 - fraction) * self.tokens / self.share


def domain_weights(domains: Sequence[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    """Weights of the mean over all domains, summing to 1; all alike where none are given, 0 for those not named.

    Raises:
        UserError: no such domain, or weights that are negative or all 0.
    """
    given = dict.fromkeys(domains, 1.0) if weights is None else dict(weights)
    for name, value in given.items():
        if name not in domains:
            raise UserError(f"no domain '{name}' in the law", where="weights", mend=did_you_mean(name, domains))
        if not 0 <= value < np.inf:
            raise UserError(f"weight {value} of '{name}'", where="weights", mend="Weights are 0 or more.")
    total = sum(given.values())
    if total <= 0:
        raise UserError("all weights are 0", where="weights")
    return {name: given.get(name, 0.0) / total for name in domains}
