"""A smooth random function seen with noise: what is known of it elsewhere, and draws of the whole function.

The prior is a sum of Gaussian processes of mean zero with Matérn 3/2 kernels. Draws are functions, not values at
points: a draw of the prior from its spectrum, and what the observations say of the difference (pathwise conditioning:
Wilson et al. 2020, arXiv 2002.09309). So whoever asks a draw twice, here and there, asks the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

_BOUNDS = np.log([(0.5, 8.0), (0.5, 8.0), (0.02, 50.0), (1e-3, 1.0)])
"""Of what is searched, in logs: two lengths, the odds that variance lies along a budget, and noise over process."""
_STARTS = tuple(product(np.log([1.0, 3.0]), np.log([0.8, 2.0]), np.log([0.2, 1.0]), [np.log(0.03)]))
_NOISES = np.geomspace(1e-3, 10.0, 17)
"""Noise over process, tried where the lengths are known."""
_FEWEST = 8
"""Values that tell something of a process."""
_GAIN = 4.0
"""Log likelihood that a process must gain over noise alone: one for each parameter that it has (Akaike)."""
_ROUNDING = 1e-7
"""Values that are smaller on the whole tell nothing."""
_FREQUENCIES = 256


@dataclass(frozen=True)
class Part:
    """A process over some of the coordinates.

    Attributes:
        scale: its standard deviation.
        lengths: coordinate → over which distance it changes.
    """

    scale: float
    lengths: Mapping[int, float]

    def between(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Covariance at points [..., a, axes] and [b, axes] → [..., a, b]."""
        square: np.ndarray | float = 0.0
        for axis, length in self.lengths.items():
            square = square + np.square((one[..., axis, None] - other[:, axis]) / length)
        return self.scale**2 * matern(np.sqrt(square))


@dataclass(frozen=True)
class Kernel:
    """What is known before anything is seen: a sum of processes, and the standard deviation of the noise."""

    parts: tuple[Part, ...]
    noise: float

    @property
    def scale(self) -> float:
        """Standard deviation of the sum."""
        return float(np.sqrt(sum(part.scale**2 for part in self.parts)))

    def between(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Covariance of the sum at points [..., a, axes] and [b, axes] → [..., a, b]."""
        return np.sum([part.between(one, other) for part in self.parts], 0)


def likeliest(at: np.ndarray, values: np.ndarray, level: list[int], shape: list[int]) -> Kernel | None:
    """The likeliest kernel of values seen at points: the sum of two processes that change over the same lengths.

    Args:
        at: [points, axes]; the first axis has a length of its own, the others share one.
        values: [points].
        level, shape: the axes of either process; both have the first.

    Returns:
        None where noise alone explains the values as well, or where there are too few to tell.
    """
    count, whole = len(values), float(np.square(values).mean())
    if count < _FEWEST or whole < _ROUNDING**2:
        return None
    apart = np.square(at[:, None] - at[None])
    seen = _Seen(values, apart[..., 0], tuple(apart[..., axes[1:]].sum(-1) for axes in (level, shape)))
    # BLAS's own threads gain nothing here, and wait for each other a hundred times as long where the cores are taken.
    with threadpool_limits(1, "blas"):
        start = min(_STARTS, key=lambda each: seen.unlikely(np.array(each))[0])
        found = minimize(seen.unlikely, start, jac=True, method="L-BFGS-B", bounds=_BOUNDS, options={"maxiter": 30})
    if 0.5 * count * np.log(whole) - found.fun <= _GAIN:
        return None
    one, other, odds, noise = np.exp(found.x)
    variance = float(values @ np.linalg.solve(seen.correlation(found.x)[0], values)) / count
    scales = np.sqrt(variance * np.array([1.0, odds]) / (1.0 + odds))
    parts = [Part(float(scale), {axis: float(other if axis else one) for axis in axes})
             for scale, axes in zip(scales, (level, shape), strict=True)]
    return Kernel(tuple(parts), float(np.sqrt(variance * noise)))


@dataclass(frozen=True, eq=False)
class _Seen:
    """Values, and squared distances between their points: along the first axis, and along the others of each part."""

    values: np.ndarray
    first: np.ndarray
    rest: tuple[np.ndarray, np.ndarray]

    def correlation(self, logs: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Of the sum of both parts and noise, and its derivatives in the four logs."""
        one, other, odds, noise = np.exp(logs)
        shares = np.array([1.0, odds]) / (1.0 + odds)
        parts, slopes, eye = [], [np.zeros_like(self.first), np.zeros_like(self.first)], np.eye(len(self.values))
        for share, rest in zip(shares, self.rest, strict=True):
            near, along = self.first / one**2, rest / other**2
            distance = np.sqrt(near + along)
            parts.append(matern(distance))
            fall = share * 3.0 * np.exp(-np.sqrt(3.0) * distance)
            slopes[0] += fall * near
            slopes[1] += fall * along
        whole = shares[0] * parts[0] + shares[1] * parts[1] + noise * eye
        return whole, [*slopes, shares.prod() * (parts[1] - parts[0]), noise * eye]

    def unlikely(self, logs: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative log likelihood, the variance at its likeliest, and the gradient."""
        count = len(self.values)
        matrix, slopes = self.correlation(logs)
        root, _ = dpotrf(matrix, lower=1)
        inverse, _ = dpotri(root, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        weights = inverse @ self.values
        spread = float(self.values @ weights)
        gradient = [0.5 * (float((inverse * slope).sum()) - count * float(weights @ slope @ weights) / spread)
                    for slope in slopes]
        value = 0.5 * count * np.log(spread / count) + np.log(np.diagonal(root)).sum()
        return float(value), np.array(gradient)


def resized(kernel: Kernel, seen: Sequence[tuple[np.ndarray, np.ndarray]]) -> Kernel | None:
    """The same kernel with the likeliest size and noise for values seen at points, several sets of them.

    Returns:
        None where noise alone explains the values as well, or where there are too few to tell.
    """
    values = np.concatenate([part for _, part in seen]) if seen else np.zeros(0)
    count, whole = len(values), float(np.square(values).mean()) if len(values) else 0.0
    if count < _FEWEST or whole < _ROUNDING**2:
        return None
    spectra, squares = [], []
    for at, part in seen:
        spectrum, vectors = np.linalg.eigh(kernel.between(at, at) / kernel.scale**2)
        spectra.append(np.maximum(spectrum, 0.0))
        squares.append(np.square(vectors.T @ part))
    spread = np.concatenate(spectra)[:, None] + _NOISES
    variance = (np.concatenate(squares)[:, None] / spread).mean(0)
    likelihood = -0.5 * (count * np.log(variance) + np.log(spread).sum(0))
    best = int(np.argmax(likelihood))
    if likelihood[best] + 0.5 * count * np.log(whole) <= 1.0:  # one parameter more than noise alone
        return None
    size = float(np.sqrt(variance[best]))
    parts = tuple(Part(size * part.scale / kernel.scale, part.lengths) for part in kernel.parts)
    return Kernel(parts, size * float(np.sqrt(_NOISES[best])))


def matern(distance: np.ndarray) -> np.ndarray:
    """Matérn 3/2 correlation."""
    scaled = np.sqrt(3.0) * distance
    return (1.0 + scaled) * np.exp(-scaled)


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


def prior_draws(kernel: Kernel, draws: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Draws of a process of which nothing was seen: [points, axes] or [draws, points, axes] → [draws, points]."""
    return _Prior(kernel, draws, seed)


class _Prior:
    """Draws of the prior as functions: waves whose frequencies are those of the kernel."""

    def __init__(self, kernel: Kernel, draws: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 0])
        axes = 1 + max(axis for part in kernel.parts for axis in part.lengths)
        waves = np.zeros((axes, len(kernel.parts), _FREQUENCIES))
        weights = rng.normal(size=(2, draws, len(kernel.parts), _FREQUENCIES)) / np.sqrt(_FREQUENCIES)
        for i, part in enumerate(kernel.parts):
            # The spectrum of Matérn 3/2 is Student's t with three degrees of freedom.
            heavy = np.sqrt(3.0 / rng.chisquare(3, _FREQUENCIES))
            for axis, length in part.lengths.items():
                waves[axis, i] = rng.normal(size=_FREQUENCIES) * heavy / length
            weights[:, :, i] *= part.scale
        self.turns = waves.reshape(axes, -1) / (2.0 * np.pi)
        self.weights = weights.reshape(2, draws, -1)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        turns = points @ self.turns
        # Sines of single precision take a twentieth of the time; of an angle within a turn they are right to 1e-7.
        phase = np.float32(2.0 * np.pi) * (turns - np.rint(turns)).astype(np.float32)
        even, odd = self.weights
        if points.ndim == 2:
            return even @ np.cos(phase).T + odd @ np.sin(phase).T
        return (np.cos(phase) @ even[:, :, None] + np.sin(phase) @ odd[:, :, None])[..., 0]
