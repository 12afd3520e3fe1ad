"""A smooth random function seen with noise: what is known of it elsewhere, and draws of the whole function.

The prior is a Gaussian process of mean zero with a Matérn 3/2 kernel. Draws are functions, not values at points: a draw
of the prior from its spectrum, plus what the observations say of the difference (pathwise conditioning: Wilson et al.
2020, arXiv 2002.09309). So whoever asks a draw twice, here and there, asks the same function.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

_LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
_NOISE = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Variance of the noise over that of the process, tried."""
_GAIN = 3.0
"""Log likelihood that a process must gain over noise alone: one for each parameter that it has (Akaike)."""
_FREQUENCIES = 256


@dataclass(frozen=True)
class Kernel:
    """What a process is like before it is seen.

    Attributes:
        scale: its standard deviation.
        noise: that of the noise.
        lengths: over which it changes, along each coordinate.
    """

    scale: float
    noise: float
    lengths: tuple[float, ...]

    def between(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Covariance of the process at points [..., a, axes] and [b, axes] → [..., a, b]."""
        square: np.ndarray | float = 0.0
        for axis, length in enumerate(self.lengths):
            square = square + np.square((one[..., axis, None] - other[:, axis]) / length)
        return self.scale**2 * matern(np.sqrt(square))


def matern(distance: np.ndarray) -> np.ndarray:
    """Matérn 3/2 correlation."""
    scaled = np.sqrt(3.0) * distance
    return (1.0 + scaled) * np.exp(-scaled)


def likeliest(at: np.ndarray, values: np.ndarray) -> Kernel | None:
    """The likeliest kernel of values seen at points; None where noise alone explains them as well.

    Args:
        at: [points, axes]; the first axis has a length of its own, the others share one.
        values: [points].
    """
    count = len(values)
    whole = float(np.square(values).mean())
    if count < 8 or whole <= 0:
        return None
    first = np.square(at[:, None, 0] - at[None, :, 0])
    rest = np.square(at[:, None, 1:] - at[None, :, 1:]).sum(-1)
    best: tuple[float, Kernel] | None = None
    for one in _LENGTHS:
        for other in _LENGTHS:
            spectrum, vectors = np.linalg.eigh(matern(np.sqrt(first / one**2 + rest / other**2)))
            square = np.square(vectors.T @ values)
            for ratio in _NOISE:
                spread = np.maximum(spectrum, 0.0) + ratio
                variance = float((square / spread).mean())
                likelihood = -0.5 * (count * np.log(variance) + np.log(spread).sum())
                if best is None or likelihood > best[0]:
                    lengths = (one, *[other] * (at.shape[1] - 1))
                    best = likelihood, Kernel(float(np.sqrt(variance)), float(np.sqrt(ratio * variance)), lengths)
    assert best is not None
    return best[1] if best[0] + 0.5 * count * np.log(whole) > _GAIN else None


@dataclass(frozen=True, eq=False)
class Process:
    """A process given what was seen of it.

    Attributes:
        kernel: its prior.
        at: points where it was seen, [seen, axes].
        values: what was seen, [seen].
        drawn: what draws of a law leave to be explained there, [draws, seen]; None without draws.
        seed: of the draws.
    """

    kernel: Kernel
    at: np.ndarray
    values: np.ndarray
    drawn: np.ndarray | None = None
    seed: int = 0

    def given(self, points: np.ndarray) -> np.ndarray:
        """Mean at points [..., axes] → [...]."""
        return self.kernel.between(points, self.at) @ (self._inverse @ self.values)

    def draws(self, points: np.ndarray) -> np.ndarray:
        """Draws at points [points, axes] or [draws, points, axes] → [draws, points]."""
        prior, left = self._prior, self._left
        if points.ndim == 2:
            return prior(points) + left @ self.kernel.between(points, self.at).T
        seen = self.kernel.between(points, self.at)
        return prior(points) + (seen @ left[:, :, None])[..., 0]

    @cached_property
    def _inverse(self) -> np.ndarray:
        noise = self.kernel.noise**2 + 1e-8 * self.kernel.scale**2
        return np.linalg.inv(self.kernel.between(self.at, self.at) + noise * np.eye(len(self.at)))

    @cached_property
    def _prior(self) -> _Prior:
        assert self.drawn is not None
        return _Prior(self.kernel, len(self.drawn), self.seed)

    @cached_property
    def _left(self) -> np.ndarray:
        """Weights of the kernel's columns, [draws, seen]."""
        assert self.drawn is not None
        noise = self.kernel.noise * np.random.default_rng([self.seed, 1]).normal(size=self.drawn.shape)
        return (self.drawn - self._prior(self.at) - noise) @ self._inverse

    def alike(self, values: np.ndarray, drawn: np.ndarray | None, scale: float, noise: float, seed: int) -> Process:
        """Another process seen at the same points, of the same lengths."""
        kernel = replace(self.kernel, scale=scale, noise=noise)
        return Process(kernel, self.at, values, drawn, seed)


class _Prior:
    """Draws of the prior as functions: waves whose frequencies are those of the kernel."""

    def __init__(self, kernel: Kernel, draws: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 0])
        axes = len(kernel.lengths)
        # The spectrum of Matérn 3/2 is Student's t with three degrees of freedom.
        heavy = np.sqrt(3.0 / rng.chisquare(3, (_FREQUENCIES, 1)))
        self.frequencies = (rng.normal(size=(_FREQUENCIES, axes)) * heavy / np.array(kernel.lengths)).T
        self.weights = kernel.scale / np.sqrt(_FREQUENCIES) * rng.normal(size=(2, draws, _FREQUENCIES))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        phase = points @ self.frequencies
        even, odd = self.weights
        if points.ndim == 2:
            return even @ np.cos(phase).T + odd @ np.sin(phase).T
        return np.einsum("bpf,bf->bp", np.cos(phase), even) + np.einsum("bpf,bf->bp", np.sin(phase), odd)
