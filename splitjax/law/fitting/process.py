"""A smooth random function seen with noise: what is known of it elsewhere, and draws of the whole function.

The prior is a sum of Gaussian processes of mean zero with Matérn 3/2 kernels. Draws are functions, not values at
points: a draw of the prior from its spectrum, and what the observations say of the difference (pathwise conditioning:
Wilson et al. 2020, arXiv 2002.09309). So whoever asks a draw twice, here and there, asks the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
_FEWEST = 20
"""Values that tell the five figures of a process, four for each: fewer make a kernel sure of what it cannot know."""
_FEWEST_SIZED = 8
"""The same where its lengths are known."""
_GAIN = 4.0
"""Log likelihood that a process must gain over noise alone: one for each parameter that it has (Akaike)."""
_ROUNDING = 1e-7
"""Values that are smaller on the whole tell nothing."""
_FREQUENCIES = 256
_OTHERS = 16
"""Kernels drawn around the likeliest one."""
_BEND = 1.0
"""Least curvature of the likelihood in a log: a factor of e either way, where what was seen tells less than that."""


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
    """What is known before anything is seen: a sum of processes, and the standard deviation of the noise.

    Attributes:
        parts: the processes.
        noise: its standard deviation.
        others: kernels that are as likely by what was seen as this one is: drawn from its neighbourhood, for draws.
    """

    parts: tuple[Part, ...]
    noise: float
    others: tuple[Kernel, ...] = ()

    @property
    def scale(self) -> float:
        """Standard deviation of the sum."""
        return float(np.sqrt(sum(part.scale**2 for part in self.parts)))

    def between(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Covariance of the sum at points [..., a, axes] and [b, axes] → [..., a, b]."""
        return np.sum([part.between(one, other) for part in self.parts], 0)


def likeliest(
    at: np.ndarray, values: np.ndarray, level: list[int], shape: list[int], followed: np.ndarray | None = None
) -> Kernel | None:
    """The likeliest kernel of values seen at points: the sum of two processes that change over the same lengths.

    Args:
        at: [points, axes]; the first axis has a length of its own, the others share one.
        values: [points].
        level, shape: the axes of either process; both have the first.
        followed: orthonormal directions of the values that tell nothing, [points, directions]: a law has followed them.
            The likelihood is that of the others (REML: Patterson and Thompson 1971, Biometrika 58): without it what a
            law has taken for its own would be missing, and the process seem smaller and more wayward than it is.

    Returns:
        None where noise alone explains the values as well, or where there are too few to tell.
    """
    followed = np.zeros((len(values), 0)) if followed is None else followed
    values = values - followed @ (followed.T @ values)
    count = len(values) - followed.shape[1]
    if count < _FEWEST or (whole := float(np.square(values).sum()) / count) < _ROUNDING**2:
        return None
    apart = np.square(at[:, None] - at[None])
    seen = _Seen(values, followed, apart[..., 0], tuple(apart[..., axes[1:]].sum(-1) for axes in (level, shape)))
    # BLAS's own threads gain nothing here, and wait for each other a hundred times as long where the cores are taken.
    with threadpool_limits(1, "blas"):
        start = min(_STARTS, key=lambda each: seen.unlikely(np.array(each))[0])
        found = minimize(seen.unlikely, start, jac=True, method="L-BFGS-B", bounds=_BOUNDS, options={"maxiter": 30})
        if 0.5 * count * np.log(whole) - found.fun <= _GAIN:
            return None
        others = [seen.kernel(logs, chi, level, shape) for logs, chi in seen.neighbours(found.x)]
        return replace(seen.kernel(found.x, 1.0, level, shape), others=tuple(others))


@dataclass(frozen=True, eq=False)
class _Seen:
    """Values, and squared distances between their points: along the first axis, and along the others of each part.

    Along the directions `followed` nothing is seen.
    """

    values: np.ndarray
    followed: np.ndarray
    first: np.ndarray
    rest: tuple[np.ndarray, np.ndarray]

    @property
    def count(self) -> int:
        """How many directions tell something."""
        return len(self.values) - self.followed.shape[1]

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
        count = self.count
        matrix, slopes = self.correlation(logs)
        inverse, volume = precision(matrix, self.followed)
        weights = inverse @ self.values
        spread = float(self.values @ weights)
        gradient = [0.5 * (float((inverse * slope).sum()) - count * float(weights @ slope @ weights) / spread)
                    for slope in slopes]
        return 0.5 * count * float(np.log(spread / count)) + volume, np.array(gradient)

    def kernel(self, logs: np.ndarray, chi: float, level: list[int], shape: list[int]) -> Kernel:
        """With these lengths, odds and noise; its variance the likeliest, times chi."""
        inverse, _ = precision(self.correlation(logs)[0], self.followed)
        variance = chi * float(self.values @ inverse @ self.values) / self.count
        one, other, odds, noise = np.exp(logs)
        scales = np.sqrt(variance * np.array([1.0, odds]) / (1.0 + odds))
        parts = [Part(float(scale), {axis: float(other if axis else one) for axis in axes})
                 for scale, axes in zip(scales, (level, shape), strict=True)]
        return Kernel(tuple(parts), float(np.sqrt(variance * noise)))

    def neighbours(self, logs: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Draws of the four logs and of the variance around the likeliest, by the curvature of the likelihood there."""
        rng, low, high = np.random.default_rng(0), _BOUNDS[:, 0], _BOUNDS[:, 1]
        free = np.flatnonzero((logs > low) & (logs < high))
        step = 0.02 * np.eye(len(logs))[free]
        slopes = [(self.unlikely(logs + each)[1] - self.unlikely(logs - each)[1])[free] / 0.04 for each in step]
        bend, axes = np.linalg.eigh(0.5 * (np.array(slopes) + np.array(slopes).T)) if len(free) else (np.zeros(0),) * 2
        drawn = np.tile(logs, (_OTHERS, 1))
        drawn[:, free] += (rng.normal(size=(_OTHERS, len(free))) / np.sqrt(np.maximum(bend, _BEND))) @ axes.T
        chi = self.count / rng.chisquare(self.count, _OTHERS)
        return list(zip(np.clip(drawn, low, high), chi, strict=True))


def precision(covariance: np.ndarray, followed: np.ndarray) -> tuple[np.ndarray, float]:
    """Inverse covariance of what is seen of values, and half the log of its volume.

    Args:
        covariance: of all values, [points, points].
        followed: directions along which nothing is seen, [points, directions].
    """
    root, _ = dpotrf(covariance, lower=1)
    inverse, _ = dpotri(root, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    along = inverse @ followed
    within = followed.T @ along
    volume = np.log(np.diagonal(root)).sum() + 0.5 * np.linalg.slogdet(within)[1]
    return inverse - along @ np.linalg.solve(within, along.T), float(volume)


def resized(kernel: Kernel, seen: Sequence[tuple[np.ndarray, np.ndarray]]) -> Kernel | None:
    """The same kernel with the likeliest size and noise for values seen at points, several sets of them.

    Returns:
        None where noise alone explains the values as well, or where there are too few to tell.
    """
    values = np.concatenate([part for _, part in seen]) if seen else np.zeros(0)
    count, whole = len(values), float(np.square(values).mean()) if len(values) else 0.0
    if count < _FEWEST_SIZED or whole < _ROUNDING**2:
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
        out = np.empty((self._count, points.shape[-2]))
        for share in self._shares:
            out[share.at] = share(points if points.ndim == 2 else points[share.at])
        return out

    @property
    def _count(self) -> int:
        assert self.drawn is not None
        return len(self.drawn)

    @cached_property
    def _inverse(self) -> np.ndarray:
        return _inverse_of(self.kernel, self.at)

    @cached_property
    def _shares(self) -> list[_Share]:
        """The draws, in turn by each kernel that is as likely."""
        kernels = (self.kernel.others or (self.kernel,))[: self._count]
        return [_Share(kernel, self, np.arange(i, self._count, len(kernels))) for i, kernel in enumerate(kernels)]


class _Share:
    """Draws of a process by one kernel."""

    def __init__(self, kernel: Kernel, process: Process, at: np.ndarray) -> None:
        assert process.drawn is not None
        self.kernel, self.seen, self.at = kernel, process.at, at
        self.prior = _Prior(kernel, len(at), process.seed + 1000 * int(at[0]))
        noise = kernel.noise * np.random.default_rng([process.seed, 1]).normal(size=process.drawn.shape)[at]
        self.left = (process.drawn[at] - self.prior(process.at) - noise) @ _inverse_of(kernel, process.at)
        """Weights of the kernel's columns, [draws, seen]."""

    def __call__(self, points: np.ndarray) -> np.ndarray:
        if points.ndim == 2:
            return self.prior(points) + self.left @ self.kernel.between(points, self.seen).T
        seen = self.kernel.between(points, self.seen)
        return self.prior(points) + (seen @ self.left[:, :, None])[..., 0]


def _inverse_of(kernel: Kernel, at: np.ndarray) -> np.ndarray:
    noise = kernel.noise**2 + 1e-8 * kernel.scale**2
    return np.linalg.inv(kernel.between(at, at) + noise * np.eye(len(at)))


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
