"""Wasserstein-1 distance in one dimension, and its average over directions.

.. math:: W₁(x, y) = ∫₀¹ |F_x⁻¹(u) − F_y⁻¹(u)| du, \\qquad SW₁ = E_θ W₁(⟨θ, x⟩, ⟨θ, y⟩), \\quad ‖θ‖ = 1

Reference: Bonneel et al. 2015, Sliced and Radon Wasserstein barycenters of measures.
"""

from __future__ import annotations

import numpy as np

from ..rng import numpy_generator
from .uncertainty import Estimate, resampled_variance

RESAMPLED_DIRECTIONS = 32       # the interval is taken in these; that of more directions is no wider


def wasserstein_1d(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Exact W₁ between the columns of ``x``, ``(n, k)``, and of ``y``, ``(m, k)``: ``(k,)``. ``n`` and ``m`` may differ."""
    x, y = np.sort(x, axis=0), np.sort(y, axis=0)
    n, m = len(x), len(y)
    if n == m:
        return np.abs(x - y).mean(0)
    steps = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)      # where either quantile function jumps, in units of 1/(nm)
    left, weight = steps[:-1], np.diff(steps) / (n * m)
    return weight @ np.abs(x[left // m] - y[left // n])


def random_directions(dims: int, n: int, *path: object) -> np.ndarray:
    """``n`` unit vectors, uniform on the sphere, ``(dims, n)``."""
    theta = numpy_generator(*path).normal(size=(dims, n))
    return theta / np.linalg.norm(theta, axis=0)


def sliced_wasserstein(x: np.ndarray, y: np.ndarray, directions: np.ndarray) -> float:
    """SW₁ of the rows of ``x``, ``(n, d)``, and ``y``, ``(m, d)``, over ``directions``, ``(d, k)``; in the units of ``x``."""
    return float(wasserstein_1d(x @ directions, y @ directions).mean())


def sliced_estimate(x: np.ndarray, y: np.ndarray, directions: np.ndarray, *path: object) -> Estimate:
    """:func:`sliced_wasserstein` with its interval; the directions are the same for all resampled rows."""
    few = directions[:, :RESAMPLED_DIRECTIONS]
    a, b = x @ few, y @ few
    variance = resampled_variance(lambda i, j: float(wasserstein_1d(a[i], b[j]).mean()), len(x), len(y), *path)
    return Estimate.positive(sliced_wasserstein(x, y, directions), variance)
