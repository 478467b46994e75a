"""Fréchet distance between the Gaussians that fit two samples.

.. math:: d² = ‖μ₁ − μ₂‖² + tr(C₁ + C₂ − 2 (C₁^{1/2} C₂ C₁^{1/2})^{1/2})

Covariances are not shrunk. Estimated from n rows the distance is biased upwards, more so the smaller n, but its floor is biased
alike; shrinkage (Ledoit–Wolf) was found to lower signal and floor together, and, by pulling both samples towards a sphere, to put
noisy rows below the floor.

References: Dowson & Landau 1982, The Fréchet distance between multivariate normal distributions; Heusel et al. 2017, who take it in
the features of a trained network (FID).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .uncertainty import Estimate, resampled_variance


class Gaussian(NamedTuple):
    """Mean ``(d,)`` and covariance ``(d, d)``."""

    mean: np.ndarray
    covariance: np.ndarray


def fit_gaussian(x: np.ndarray) -> Gaussian:
    """Sample mean and covariance of the rows of ``x``, ``(N, d)``, both divided by N, so that one row has covariance zero."""
    x = np.asarray(x, np.float64)
    mean = x.mean(0)
    return Gaussian(mean, (x - mean).T @ (x - mean) / len(x))


def distance_of_samples(x: np.ndarray, y: np.ndarray, of_x: np.ndarray | None = None, of_y: np.ndarray | None = None) -> float:
    """The distance of two samples, ``(N, d)`` and ``(M, d)``, without their covariances: for features that outnumber the rows.

    With rows A and B, centred and divided by √(N − 1) and √(M − 1), C₁ = AᵀA and C₂ = BᵀB, and the trace of the inner root is the nuclear
    norm of ABᵀ. Covariances are divided by N − 1, as in the published FID; ``of_x`` and ``of_y`` are how often each row counts (once).
    """
    centred, means = [], []
    for rows, counts in ((x, of_x), (y, of_y)):
        w = np.ones(len(rows)) if counts is None else counts
        means.append(w @ rows / w.sum())
        centred.append(np.sqrt(w / (w.sum() - 1))[:, None] * (rows - means[-1]))
    cross = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    return max(0.0, float(np.square(means[0] - means[1]).sum() + sum(np.square(c).sum() for c in centred) - 2 * cross))


def wide_estimate(x: np.ndarray, y: np.ndarray, *path: object) -> Estimate:
    """:func:`distance_of_samples` with its interval, from resampled rows of both."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def again(i: np.ndarray, j: np.ndarray) -> float:
        return distance_of_samples(x, y, *(np.bincount(drawn, minlength=len(s)) for drawn, s in ((i, x), (j, y))))

    return Estimate.positive(distance_of_samples(x, y), resampled_variance(again, len(x), len(y), *path))


def resampled_distance(x: np.ndarray, y: np.ndarray, *path: object) -> float:
    """Variance of the distance of two samples, ``(N, d)`` and ``(M, d)``, over resampled rows of both."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return resampled_variance(lambda i, j: frechet_distance(_weighted(x, i), _weighted(y, j)), len(x), len(y), *path)


def _weighted(x: np.ndarray, drawn: np.ndarray) -> Gaussian:
    """The Gaussian of rows drawn with replacement: those of ``x``, weighted by how often each was drawn."""
    w = np.bincount(drawn, minlength=len(x)) / len(drawn)
    mean = w @ x
    return Gaussian(mean, (x * w[:, None]).T @ x - np.outer(mean, mean))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """``d²`` of two Gaussians, singular covariances included.

    The trace of the inner square root is the sum of the root eigenvalues of the *symmetric* ``C₁^{1/2} C₂ C₁^{1/2}``, which are
    real and, but for rounding, not negative; a general matrix square root is neither needed nor as stable.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ b.covariance @ root)
    traces = np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.sqrt(np.maximum(cross, 0.0)).sum()
    return max(0.0, float(np.square(a.mean - b.mean).sum() + traces))
