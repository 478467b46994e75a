"""Targets with a known truth: exact densities to hold models and metrics against.

Each target samples rows, tells the log-density of any rows in nats, and knows its entropy ``H = −E[log p(x)]``, the least mean
negative log-likelihood that any model can reach: ``E[−log q(x)] = H + KL(p ‖ q)``.

============ ============================================================== ==================== ===========================
name         what                                                           density              modes
============ ============================================================== ==================== ===========================
moons        two half circles blurred by Gaussian noise                     quadrature, 1e-10    2 arcs
gaussians25  25 narrow Gaussians on a 5 × 5 grid                            closed form          25 centres
ring8        8 narrow Gaussians on a circle                                 closed form          8 centres
mixed        a table: category, boolean, count, number, skewed amount       closed form          none
============ ============================================================== ==================== ===========================

References: the two moons are scikit-learn's ``make_moons``; the grid with σ = 0.05 and the count of modes within 3 σ are those of
Lin, Khetan, Fanti and Oh, *PacGAN: the power of two samples in generative adversarial networks*, 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.polynomial.hermite import hermgauss
from numpy.polynomial.legendre import leggauss
from scipy.special import gammaln, logsumexp, xlogy

from ..errors import InvalidParameterError, SchemaMismatchError

LOG_2PI = float(np.log(2 * np.pi))
BLOCK = 4096                    # rows whose distances to all centres or nodes are held at once


@dataclass(frozen=True)
class Gaussians:
    """Equal mixture of round Gaussians in the plane, ``p(x) = 1/K Σ_k N(x; μ_k, σ² I)``."""

    centres: tuple[tuple[float, float], ...]
    sigma: float

    @property
    def modes(self) -> np.ndarray:
        """The centres, ``(K, 2)``."""
        return np.asarray(self.centres)

    @property
    def n_modes(self) -> int:
        return len(self.centres)

    def sample(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """``n`` rows of columns ``x1`` and ``x2``."""
        return _plane(self.modes[rng.integers(self.n_modes, size=n)] + self.sigma * rng.standard_normal((n, 2)))

    def log_prob(self, X: Any) -> np.ndarray:
        """Log-density in nats, ``(N,)``."""
        return _log_mixture(_points(X), self.modes, np.full(self.n_modes, 1 / self.n_modes), self.sigma)

    @cached_property
    def entropy(self) -> float:
        """Entropy in nats, by Gauss–Hermite quadrature around each centre; exact to rounding where the Gaussians do not overlap,
        and then ``log K + log(2πe σ²)``."""
        t, w = hermgauss(32)
        offsets = np.sqrt(2) * self.sigma * np.stack(np.meshgrid(t, t), axis=-1).reshape(-1, 2)
        at = (self.modes[:, None] + offsets).reshape(-1, 2)
        return float(-np.mean(self.log_prob(at).reshape(self.n_modes, -1) @ np.outer(w, w).ravel()) / np.pi)

    def nearest(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Index of the nearest mode, ``(N,)``, and the distance to it in units of σ."""
        points = _points(X)
        distances = np.stack([np.hypot(*(points - centre).T) for centre in self.modes], axis=1) / self.sigma
        return distances.argmin(axis=1), distances.min(axis=1)


@dataclass(frozen=True)
class Moons:
    """Two interleaved half circles of radius 1, blurred by round Gaussian noise.

        p(x) = ½ Σ_arcs 1/π ∫_0^π N(x; m(θ), σ² I) dθ,    m(θ) = (cos θ, sin θ)  and  (1 − cos θ, ½ − sin θ)

    The integral is taken by Gauss–Legendre quadrature with 256 nodes, which resolves σ = 0.05 to rounding within 10 units.
    """

    sigma: float = 0.1

    n_modes = 2

    def sample(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """``n`` rows of columns ``x1`` and ``x2``."""
        points = _arcs(rng.uniform(0, np.pi, n))[rng.integers(2, size=n), np.arange(n)]
        return _plane(points + self.sigma * rng.standard_normal((n, 2)))

    def log_prob(self, X: Any) -> np.ndarray:
        """Log-density in nats, ``(N,)``."""
        t, w = leggauss(256)
        nodes = _arcs(np.pi * (t + 1) / 2)                                              # (2, 256, 2)
        return _log_mixture(_points(X), nodes.reshape(-1, 2), np.tile(w / 4, 2), self.sigma)

    @cached_property
    def entropy(self) -> float:
        """Entropy in nats, by the trapezoidal rule on a grid of σ/4, which for a smooth density that vanishes at the border is
        accurate to rounding; the border lies 9 σ outside the arcs."""
        h = self.sigma / 4
        x, y = np.arange(-1 - 36 * h, 2 + 36 * h, h), np.arange(-0.5 - 36 * h, 1 + 36 * h, h)
        log_p = self.log_prob(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
        return float(-np.sum(np.exp(log_p) * log_p) * h**2)

    def nearest(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Index of the nearest arc, ``(N,)``, and the distance to it in units of σ."""
        points = _points(X)
        distances = np.stack([_to_half_circle(points), _to_half_circle(np.array([1, 0.5]) - points)], axis=1) / self.sigma
        return distances.argmin(axis=1), distances.min(axis=1)


@dataclass(frozen=True)
class MixedTable:
    """A table of mixed kinds with known conditionals, column after column.

        group                        categorical(π)
        member | group g             Bernoulli(p_g)
        visits | group g             Poisson(λ_g)
        score  | group g, member m   Normal(μ_g + δ m, σ_g)
        spend  | group g, member m   log-normal(a_g + b m, s)

    Densities are masses in the discrete columns times densities in the continuous ones.
    """

    groups: tuple[str, ...] = ("north", "centre", "south")
    share: tuple[float, ...] = (0.5, 0.3, 0.2)
    member: tuple[float, ...] = (0.1, 0.5, 0.9)
    visits: tuple[float, ...] = (1.5, 4.0, 10.0)
    score_mean: tuple[float, ...] = (-2.0, 0.0, 3.0)
    score_shift: float = 6.0
    score_scale: tuple[float, ...] = (0.5, 1.0, 1.5)
    spend_mean: tuple[float, ...] = (2.0, 3.0, 4.0)
    spend_shift: float = 1.0
    spend_scale: float = 0.75

    columns = ("group", "member", "visits", "score", "spend")

    def sample(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """``n`` rows with the columns above."""
        g = rng.choice(len(self.groups), size=n, p=self.share)
        m = rng.random(n) < np.take(self.member, g)
        return pd.DataFrame({
            "group": np.take(self.groups, g),
            "member": m,
            "visits": rng.poisson(np.take(self.visits, g)),
            "score": rng.normal(np.take(self.score_mean, g) + self.score_shift * m, np.take(self.score_scale, g)),
            "spend": rng.lognormal(np.take(self.spend_mean, g) + self.spend_shift * m, self.spend_scale),
        })

    def log_prob(self, X: pd.DataFrame) -> np.ndarray:
        """Log-density in nats, ``(N,)``; −∞ where a value cannot occur or is missing."""
        absent = [c for c in self.columns if c not in X.columns]
        if absent:
            raise SchemaMismatchError("columns are missing", expected=", ".join(self.columns), got=f"no {', '.join(absent)}")
        g = pd.Index(self.groups).get_indexer(X["group"].astype(object))
        m, k = X["member"].to_numpy(np.float64, na_value=np.nan), X["visits"].to_numpy(np.float64, na_value=np.nan)
        score, spend = X["score"].to_numpy(np.float64, na_value=np.nan), X["spend"].to_numpy(np.float64, na_value=np.nan)
        possible = (g >= 0) & np.isin(m, (0, 1)) & (k >= 0) & (k == np.round(k))
        possible &= np.isfinite(score) & (spend > 0) & np.isfinite(spend)
        m, k, score, spend = (np.where(possible, v, 1.0) for v in (m, k, score, spend))

        p, rate = np.take(self.member, g), np.take(self.visits, g)
        log_p = np.log(np.take(self.share, g)) + np.where(m == 1, np.log(p), np.log1p(-p))
        log_p += k * np.log(rate) - rate - gammaln(k + 1)
        log_p += _log_normal(score, np.take(self.score_mean, g) + self.score_shift * m, np.take(self.score_scale, g))
        log_p += _log_normal(np.log(spend), np.take(self.spend_mean, g) + self.spend_shift * m, self.spend_scale) - np.log(spend)
        return np.where(possible, log_p, -np.inf)

    @property
    def entropy(self) -> float:
        """Entropy in nats: the sum of the conditional entropies, in closed form but for the Poisson's, a sum to rounding."""
        share, p, rate = np.asarray(self.share), np.asarray(self.member), np.asarray(self.visits)
        k = np.arange(200)[:, None]
        log_mass = k * np.log(rate) - rate - gammaln(k + 1)
        given_group = (-xlogy(p, p) - xlogy(1 - p, 1 - p) - np.sum(np.exp(log_mass) * log_mass, axis=0)
                       + 0.5 * (1 + LOG_2PI) + np.log(self.score_scale)
                       + 0.5 * (1 + LOG_2PI) + np.log(self.spend_scale) + self.spend_mean + self.spend_shift * p)
        return float(-np.sum(xlogy(share, share)) + share @ given_group)


Truth = Gaussians | Moons | MixedTable

TRUTHS: Mapping[str, Truth] = {
    "moons": Moons(),
    "gaussians25": Gaussians(tuple((float(a), float(b)) for a in range(-4, 5, 2) for b in range(-4, 5, 2)), sigma=0.05),
    "ring8": Gaussians(tuple((2 * float(np.cos(a)), 2 * float(np.sin(a))) for a in np.arange(8) * np.pi / 4), sigma=0.05),
    "mixed": MixedTable(),
}


@dataclass(frozen=True)
class ModeReport:
    """Which modes samples hit: ``hit`` of ``n_modes`` have a sample within 3 σ, as ``share`` of all samples have a mode; ``counts``
    are those samples by mode. For samples of the target itself, ``share`` is about 0.989 around a centre and 0.997 along an arc."""

    n_modes: int
    hit: int
    share: float
    counts: tuple[int, ...]


def mode_report(points: Any, truth: Truth) -> ModeReport:
    """Count the modes of ``truth`` that ``points``, ``(N, 2)``, hit.

    Raises :class:`InvalidParameterError` for a target without modes.
    """
    if not isinstance(truth, (Gaussians, Moons)):
        raise InvalidParameterError("this target has no modes to count", expected="moons, gaussians25 or ring8",
                                    got=type(truth).__name__)
    mode, distance = truth.nearest(points)
    counts = np.bincount(mode[distance <= 3], minlength=truth.n_modes)
    return ModeReport(truth.n_modes, int(np.count_nonzero(counts)), float(counts.sum() / max(1, len(mode))), tuple(counts.tolist()))


def _plane(points: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(points, columns=["x1", "x2"])


def _points(X: Any) -> np.ndarray:
    points = np.asarray(X, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise SchemaMismatchError("these are not points in the plane", expected="shape (N, 2)", got=points.shape)
    return points


def _arcs(theta: np.ndarray) -> np.ndarray:
    """Points of both arcs at the angles ``(n,)``, ``(2, n, 2)``."""
    c, s = np.cos(theta), np.sin(theta)
    return np.stack([np.stack([c, s], axis=-1), np.stack([1 - c, 0.5 - s], axis=-1)])


def _to_half_circle(points: np.ndarray) -> np.ndarray:
    """Distance to the upper half of the unit circle; below it, to the nearer of its ends."""
    x, y = points.T
    return np.where(y >= 0, np.abs(np.hypot(x, y) - 1), np.hypot(np.abs(x) - 1, y))


def _log_mixture(points: np.ndarray, centres: np.ndarray, weights: np.ndarray, sigma: float) -> np.ndarray:
    """``log Σ_k w_k N(x; μ_k, σ² I)`` in the plane, ``(N,)``."""
    out = np.empty(len(points))
    for i in range(0, len(points), BLOCK):
        d2 = ((points[i:i + BLOCK, None] - centres) ** 2).sum(axis=-1)                  # (n, K)
        out[i:i + BLOCK] = logsumexp(-0.5 * d2 / sigma**2, b=weights, axis=1)
    return out - LOG_2PI - 2 * np.log(sigma)


def _log_normal(x: np.ndarray, mean: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """``log N(x; mean, scale²)``."""
    return -0.5 * ((x - mean) / scale) ** 2 - np.log(scale) - 0.5 * LOG_2PI


@dataclass(frozen=True)
class Shapes:
    """Grey pictures rendered from known factors: a shape, where it is, how large, how bright.

        shape ~ categorical(π);   x, y ~ U(middle ± shift);   r ~ U(small, large);   brightness ~ U(dim, bright)

    A pixel at signed distance *d* from the outline (negative inside) has ``255 · (paper + brightness · clip(½ − d, 0, 1) + grain · ε)``, ε
    standard normal, rounded: the share of the pixel that the shape covers, to first order, on grey paper with the grain of the film. What
    is above 255 or below 0, three standard deviations away, is cut. All factors are independent, so their log-density is a sum.
    """

    side: int = 16
    shift: float = 2.0
    small: float = 3.0
    large: float = 5.0
    dim: float = 0.3
    bright: float = 0.5
    paper: float = 0.25
    grain: float = 0.08
    share: tuple[float, ...] = (0.2, 0.2, 0.2, 0.2, 0.2)

    names = ("disc", "square", "diamond", "ring", "cross")

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame]:
        """``n`` pictures, uint8 ``(n, side, side)``, and their factors: ``shape``, ``x``, ``y``, ``radius``, ``brightness``."""
        middle = (self.side - 1) / 2
        factors = pd.DataFrame({
            "shape": rng.choice(len(self.names), size=n, p=self.share),
            "x": middle + rng.uniform(-self.shift, self.shift, n), "y": middle + rng.uniform(-self.shift, self.shift, n),
            "radius": rng.uniform(self.small, self.large, n), "brightness": rng.uniform(self.dim, self.bright, n)})
        return self.render(factors, rng), factors

    def render(self, factors: pd.DataFrame, rng: np.random.Generator | None = None) -> np.ndarray:
        """The pictures of these factors, uint8 ``(N, side, side)``; without ``rng`` they have no grain."""
        pixels = np.arange(self.side)
        shape, x, y, r, brightness = (factors[c].to_numpy()[:, None, None] for c in ("shape", "x", "y", "radius", "brightness"))
        across, down = np.abs(pixels[None, None, :] - x), np.abs(pixels[None, :, None] - y)
        far, wide, narrow = np.hypot(across, down), np.maximum(across, down), np.minimum(across, down)
        outlines = (far - r, wide - 0.85 * r, (across + down - 1.2 * r) / np.sqrt(2), np.abs(far - 0.8 * r) - 1.0,
                    np.maximum(wide - r, narrow - 1.0))
        covered = np.clip(0.5 - np.choose(shape, [np.broadcast_to(d, far.shape) for d in outlines]), 0.0, 1.0)
        light = self.paper + brightness * covered
        if rng is not None:
            light = light + self.grain * rng.standard_normal(light.shape)
        return np.clip(np.round(255 * light), 0, 255).astype(np.uint8)

    def log_prob(self, factors: pd.DataFrame) -> np.ndarray:
        """Log-density of factors in nats, ``(N,)``; −∞ outside their ranges."""
        middle = (self.side - 1) / 2
        ranges = {"x": (middle - self.shift, middle + self.shift), "y": (middle - self.shift, middle + self.shift),
                  "radius": (self.small, self.large), "brightness": (self.dim, self.bright)}
        inside = np.logical_and.reduce([(factors[c] >= a) & (factors[c] <= b) for c, (a, b) in ranges.items()])
        constant = -sum(np.log(b - a) for a, b in ranges.values())
        return np.where(inside, np.log(np.take(self.share, factors["shape"])) + constant, -np.inf)
