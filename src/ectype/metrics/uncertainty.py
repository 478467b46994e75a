"""How far a figure may be off because the rows are a sample: an interval of 95 % from what each row contributes.

No metric is computed hundreds of times. Three ways, each as cheap as what it belongs to:

* **Shares and AUROCs** know what each row adds. Without row *i* the figure would be :math:`Z_{(i)}`, and the jackknife's variance

  .. math:: σ² = \\frac{n − 1}{n} Σ_i (Z_{(i)} − \\bar Z)²,

  summed over the samples that the figure is taken from. For an AUROC these are DeLong's components.
* **Distances and associations** are taken again of resampled rows, ``RESAMPLES`` times, from features that are there already; σ is the
  standard deviation of the outcomes. Their mean is not used: a distance of resampled rows is too large.
* A **share** has Wilson's interval for as many rows *m* as would give that σ, :math:`m = p (1 − p) / σ²`:

  .. math:: \\frac{p + q²/2m ± q \\sqrt{p (1 − p)/m + q²/4m²}}{1 + q²/m}, \\qquad q = 1.96,

  which stays within [0, 1], and does not call it certain that none of 300 rows is none of all.

References: Efron & Stein 1981, The jackknife estimate of variance; DeLong, DeLong & Clarke-Pearson 1988; Wilson 1927; Efron 1979, Bootstrap
methods: another look at the jackknife.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from ..rng import numpy_generator

Q = 1.959964            # of the standard normal distribution, 97.5 %
RESAMPLES = 25


class Estimate(NamedTuple):
    """A figure, and the interval of 95 % that it has because the rows are a sample."""

    value: float
    low: float
    high: float

    @classmethod
    def share(cls, value: float, variance: float, n: int) -> Estimate:
        """A share, or another figure in [0, 1], with that variance; ``n`` rows where the variance is zero."""
        m = value * (1 - value) / variance if variance > 1e-12 else n
        if not 0 < value < 1:
            m = n
        centre, half = value + Q**2 / (2 * m), Q * math.sqrt(max(0.0, value * (1 - value) / m + Q**2 / (4 * m**2)))
        low, high = (centre - half) / (1 + Q**2 / m), (centre + half) / (1 + Q**2 / m)
        return cls(value, max(0.0, min(value, low)), min(1.0, max(value, high)))

    @classmethod
    def positive(cls, value: float, variance: float) -> Estimate:
        """A figure that is not negative, such as a distance."""
        half = Q * math.sqrt(variance)
        return cls(value, max(0.0, value - half), value + half)

    @classmethod
    def mean(cls, values: np.ndarray) -> Estimate:
        """The mean of a value that every row has."""
        mean, half = float(np.mean(values)), Q * float(np.std(values)) / math.sqrt(len(values))
        return cls(mean, mean - half, mean + half)

    def scaled(self, factor: float) -> Estimate:
        """In other units; a negative factor turns the interval round."""
        low, high = sorted((self.low * factor, self.high * factor))
        return Estimate(self.value * factor, low, high)


def jackknife(influence: np.ndarray) -> float:
    """Variance of a figure that changes by ``influence[i]`` when row *i* is left out."""
    n = len(influence)
    return float(np.square(influence - influence.mean()).sum()) * (n - 1) / n


def auroc_and_variance(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Probability that a positive row scores above a negative one, ties counted half, and its variance (DeLong)."""
    n_pos, n_neg = int(positive.sum()), int(len(positive) - positive.sum())
    ranks, above, below = rankdata(scores), scores[positive], scores[~positive]
    of_positive = (ranks[positive] - rankdata(above)) / n_neg               # share of negatives below each positive row
    of_negative = 1 - (ranks[~positive] - rankdata(below)) / n_pos          # share of positives above each negative row
    variance = sum(float(v.var(ddof=1)) / len(v) if len(v) > 1 else 0.25 for v in (of_positive, of_negative))
    return float(of_positive.mean()), variance


def resampled_variance(statistic: Callable[[np.ndarray, np.ndarray], float], n: int, m: int, *path: object) -> float:
    """Variance of ``statistic(i, j)`` over resampled rows ``i`` of *n* and ``j`` of *m*; ``path`` is the random stream."""
    rng = numpy_generator(*path)
    return float(np.var([statistic(rng.integers(n, size=n), rng.integers(m, size=m)) for _ in range(RESAMPLES)], ddof=1))
