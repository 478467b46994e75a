"""Kernel distance: the squared maximum mean discrepancy of two samples, without bias.

.. math::
    MMD² = E k(x, x') + E k(y, y') − 2 E k(x, y), \\qquad k(x, y) = (⟨x, y⟩ / d + 1)³

over pairs of *different* rows, so that its mean is 0 where the two samples come from one distribution, at any sample size; it then falls
below 0 as often as above. With this kernel, in the features of a trained network, it is the KID.

The interval is that of a U-statistic, with :math:`h_i` the mean kernel of row *i* with its own sample less that with the other,

.. math:: σ² = 4 (Var(h_x) / n + Var(h_y) / m)

References: Gretton et al. 2012, A kernel two-sample test; Bińkowski et al. 2018, Demystifying MMD GANs.
"""

from __future__ import annotations

import math

import numpy as np

from .spaces import chunks
from .uncertainty import Estimate, Q


def kernel_distance(x: np.ndarray, y: np.ndarray) -> Estimate:
    """Unbiased MMD² of the rows of ``x``, ``(n, d)``, and ``y``, ``(m, d)``, with the cubic kernel."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n, m = len(x), len(y)
    of_x, of_y = (_kernel_sums(a, a) - _kernel(a, a) for a in (x, y))
    across_x, across_y = _kernel_sums(x, y), _kernel_sums(y, x)
    value = of_x.sum() / (n * (n - 1)) + of_y.sum() / (m * (m - 1)) - 2 * across_x.sum() / (n * m)
    variance = 4 * (np.var(of_x / (n - 1) - across_x / m) / n + np.var(of_y / (m - 1) - across_y / n) / m)
    half = Q * math.sqrt(float(variance))
    return Estimate(float(value), float(value) - half, float(value) + half)


def _kernel_sums(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``Σ_j k(x_i, y_j)``, a block of rows at a time."""
    sums = []
    for rows in chunks(len(x), len(y)):
        block = x[rows] @ y.T / x.shape[1] + 1
        sums.append(np.einsum("ij,ij,ij->i", block, block, block))      # a third power would go through logarithms
    return np.concatenate(sums)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``k(x_i, y_i)``."""
    return ((x * y).sum(1) / x.shape[1] + 1) ** 3
