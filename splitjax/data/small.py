"""Domains too small for the run that they are prepared for: what each split needs, and what becomes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Domains, UserError

from .documents import SPLITS
from .manifest import OTHER, Manifest

_MEND = (
    "Give them more text, lower train.seq_len or evaluate.windows, raise data.validation and data.test, or set "
    "data.domains.small to drop or merge."
)


@dataclasses.dataclass(frozen=True)
class Need:
    """What a domain must hold: one window to train on, and those that every model is scored on.

    Attributes:
        seq_len: tokens of a window; 0: not known, so one document a split will do.
        windows: held-out windows of validation, and as many of test.
        min_tokens: over all splits.
    """

    seq_len: int = 0
    windows: int = 0
    min_tokens: int = 0

    @classmethod
    def of(cls, domains: Domains, windows: tuple[int, int] | None) -> Need:
        """What the settings ask for; `windows` is (how many, their tokens)."""
        count, seq_len = windows or (0, 0)
        return cls(seq_len, count, domains.min_tokens or 0)

    def small(self, tokens_KS: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which domains are too small, by their tokens in train, validation and test."""
        # A window shares its first token with the one before: n windows of S targets need n · S + 1 tokens.
        wanted_S = np.array([1, self.windows, self.windows]) * self.seq_len + 1
        return (tokens_KS < wanted_S).any(axis=1) | (tokens_KS.sum(axis=1) < self.min_tokens)

    def refuse(self, names: Sequence[str], tokens_KS: NDArray[np.int64]) -> None:
        """Refuse domains that are too small.

        Raises:
            UserError: names the first of them, with what they hold and what is needed.
        """
        small: list[int] = np.flatnonzero(self.small(tokens_KS)).tolist()
        for k in () if self.seq_len else small:
            for split, tokens in zip(SPLITS, tokens_KS[k], strict=True):
                if not tokens:
                    raise UserError(f"domain '{names[k]}' has no {split} document", where="data.domains",
                                    mend="Give it more documents, or raise data.validation and data.test.")
        if not len(small):
            return
        held = self.windows * self.seq_len + 1
        wanted = f"train {self.seq_len + 1:,}, validation and test {held:,} each" if self.seq_len else ""
        wanted += f"{', ' if wanted else ''}together {self.min_tokens:,}" if self.min_tokens else ""
        told = "; ".join(f"'{names[k]}' {', '.join(f'{n:,}' for n in tokens_KS[k])}" for k in small[:3])
        more = f"; and {len(small) - 3} more" if len(small) > 3 else ""
        raise UserError(
            f"{len(small)} of {len(names)} domains are too small: {told}{more} (tokens in train, validation, test; "
            f"needed: {wanted})", where="data.domains", mend=_MEND,
        )


def check(manifest: Manifest, domains: Domains, windows: tuple[int, int]) -> None:
    """Refuse data that stand and cannot fill the windows of a config.

    Raises:
        UserError: as `Need.refuse`.
    """
    tokens_KS = np.stack([manifest.counts("tokens", split) for split in SPLITS], axis=1)
    Need.of(domains, windows).refuse(manifest.domains, tokens_KS)


def merged(names: Sequence[str], small_K: NDArray[np.bool_]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names with the small ones in `other`, sorted, and the new index of each old domain."""
    new = [OTHER if small else name for name, small in zip(names, small_K, strict=True)]
    left = sorted(set(new))
    return tuple(left), np.array([left.index(name) for name in new])
