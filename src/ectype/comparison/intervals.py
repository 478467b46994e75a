"""The interval of a figure over seeds: how much training varies, and how much the rows that judge it.

With values v₁ … vₙ of n seeds, mean v̄, standard deviation s, and d the half-width of the evaluation's own interval,

.. math:: v̄ ± \\sqrt{(t_{ν} s̃ / \\sqrt n)² + d²},  \\qquad  s̃² = (ν₀ s₀² + (n − 1) s²) / ν,  \\quad  ν = ν₀ + n − 1

t is the 97.5 % quantile of Student's distribution. Of two or three seeds, s alone says little: with ν₀ = 0 t would be 12.7 or 4.3, and
hardly two families could be told apart. But how much training varies is not learnt from one family only. The variances of all families
are taken as draws from a scaled inverse χ² with ν₀ degrees of freedom around s₀², both of which are estimated from the moments of
log s² over the families (:func:`moderation`): where the families vary alike, ν₀ is large and they share what they say; where they do not,
each speaks for itself.

All seeds are judged by the same test rows, so the second term does not shrink with their number; the generated rows do differ, and their
part of it is counted twice, in s and in d, which errs on the safe side. Of one seed nothing is known of the first term, and the interval
is that of evaluation alone.

References
    Student, *The probable error of a mean*, 1908.
    Smyth, *Linear models and empirical Bayes methods for assessing differential expression*, 2004: section 6.2 (ν₀, s₀²).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import t

Interval = tuple[float | None, float | None]
ALIKE = 1000.0          # degrees of freedom from which families count as varying alike


class Moderation(NamedTuple):
    """What the other families say of a variance: ``freedom`` ν₀ and ``variance`` s₀²."""

    freedom: float = 0.0
    variance: float = 0.0


def moderation(families: Iterable[Sequence[float]]) -> Moderation:
    """ν₀ and s₀² from the values of each family over its seeds.

    With d = n − 1 and e = log s² − ψ(d/2) + log(d/2): Var(e) = ψ′(d/2) + ψ′(ν₀/2), and E(e) = log s₀² − ψ(ν₀/2) + log(ν₀/2), of which d is
    averaged over families. Families of one seed or without any spread say nothing; of fewer than three, nothing is learnt.
    """
    spreads = [(len(v) - 1, statistics.variance(v)) for v in families if len(v) > 1]
    spreads = [(d, s2) for d, s2 in spreads if s2 > 0]
    if len(spreads) < 3:
        return Moderation()
    e = [math.log(s2) - digamma(d / 2) + math.log(d / 2) for d, s2 in spreads]
    centre = statistics.fmean(e)
    excess = statistics.variance(e) - statistics.fmean(float(polygamma(1, d / 2)) for d, _ in spreads)
    if excess <= polygamma(1, ALIKE / 2):
        freedom = ALIKE
    else:
        freedom = 2 * brentq(lambda y: float(polygamma(1, y)) - excess, 1e-3, ALIKE)
    return Moderation(freedom, math.exp(centre + digamma(freedom / 2) - math.log(freedom / 2)))


def student(freedom: float) -> float:
    """97.5 % quantile of Student's distribution."""
    return float(t.ppf(0.975, freedom))


def interval(values: Sequence[float], evaluation: Interval, bounds: tuple[float, float] = (-math.inf, math.inf),
             others: Moderation = Moderation()) -> Interval:
    """Low and high end around the mean of ``values``; ``evaluation`` are the ends that judging alone gives, ``None`` where it adds nothing,
    and ``others`` is what the families together say of the variance.

    ``(None, None)`` where neither error is known: of no value, or of one that was not taken from rows. The ends keep to ``bounds``.
    """
    n = len(values)
    if not n or (n == 1 and None in evaluation):
        return None, None
    mean, training = statistics.fmean(values), 0.0
    if n > 1:
        freedom = others.freedom + n - 1
        variance = (others.freedom * others.variance + (n - 1) * statistics.variance(values)) / freedom
        training = student(freedom) * math.sqrt(variance / n)
    down, up = (0.0, 0.0) if None in evaluation else (max(0.0, mean - evaluation[0]), max(0.0, evaluation[1] - mean))
    return max(min(mean, bounds[0]), mean - math.hypot(training, down)), min(max(mean, bounds[1]), mean + math.hypot(training, up))


def separate(a: Interval, b: Interval) -> bool:
    """Whether all of ``a`` lies above ``b``."""
    return None not in a and None not in b and a[0] > b[1]
