"""Columns of a table: how they depend on each other, and how each is distributed.

The association of two columns is Pearson's correlation for two numbers, Cramér's V for two categories, and the correlation ratio η
for a number and a category:

.. math:: V² = χ² / (n · min(K − 1, L − 1)), \\qquad η² = Σ_k n_k (x̄_k − x̄)² / Σ_i (x_i − x̄)²

References: Cramér 1946, Mathematical methods of statistics, §21.9; Fisher 1925, Statistical methods for research workers, §45.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from ..data.schema import Schema
from .spaces import unit
from .uncertainty import Estimate, resampled_variance
from .wasserstein import wasserstein_1d

MAX_LEVELS = 32         # the rarest categories beyond these count as one
MAX_COLUMNS = 100       # wider tables are judged on this many columns, evenly spaced
RESAMPLED_COLUMNS = 16  # and the interval is taken from these: the mean of fewer pairs has no narrower one


class ColumnDistance(NamedTuple):
    """How far one generated column is from the real one.

    ``distance`` is, for categories, the total variation distance, ½ Σ |p − q|; for numbers, W₁ in real standard deviations of the
    stored column, plus the difference in the share of blanks.
    """

    name: str
    kind: str
    distance: float


def correlation_difference(real: np.ndarray, generated: np.ndarray, schema: Schema) -> float:
    """Mean absolute difference of the association of two columns over all pairs of columns; 0 where there is one column only."""
    upper = np.triu_indices(min(len(schema.blocks), MAX_COLUMNS), 1)
    if not len(upper[0]):
        return 0.0
    return float(np.abs(association(real, schema)[upper] - association(generated, schema)[upper]).mean())


def association_estimate(real: np.ndarray, generated: np.ndarray, schema: Schema, *path: object) -> Estimate:
    """:func:`correlation_difference` with its interval, from resampled rows of both."""
    few = _spaced(len(schema.blocks), RESAMPLED_COLUMNS)
    columns = dataclasses.replace(schema, blocks=tuple(schema.blocks[j] for j in few))
    a, b = real[:, few], generated[:, few]
    variance = resampled_variance(lambda i, j: correlation_difference(a[i], b[j], columns), len(a), len(b), *path)
    return Estimate.positive(correlation_difference(real, generated, schema), variance)


def _spaced(n: int, most: int) -> np.ndarray:
    """At most so many of ``n`` columns, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def association(stored: np.ndarray, schema: Schema) -> np.ndarray:
    """Association of each pair of columns, ``(C, C)``, from the rows where both have a value; 0 for a constant column."""
    chosen = _spaced(len(schema.blocks), MAX_COLUMNS)
    blocks, stored = [schema.blocks[j] for j in chosen], stored[:, chosen]
    is_number = np.array([b.type == "number" for b in blocks])
    numbers, categories = np.flatnonzero(is_number), np.flatnonzero(~is_number)
    matrix = np.zeros((len(blocks), len(blocks)))
    if len(numbers):
        x = stored[:, numbers].astype(np.float64)
        present = ~np.isnan(x)
        x = np.where(present, x, 0.0)
        x = np.where(present, x - x.sum(0) / np.maximum(present.sum(0), 1), 0.0)
        matrix[np.ix_(numbers, numbers)] = _pearson(x, present.astype(np.float64))
    if len(categories):
        n_levels = [min(blocks[j].n_codes, MAX_LEVELS) for j in categories]
        first = np.cumsum([0, *n_levels[:-1]])
        indicator = np.zeros((len(stored), sum(n_levels)), np.float32)
        for j, start, k in zip(categories, first, n_levels, strict=True):
            indicator[np.arange(len(stored)), start + np.minimum(stored[:, j].astype(np.intp), k - 1)] = 1.0
        matrix[np.ix_(categories, categories)] = _cramers_v(indicator, first)
        if len(numbers):
            eta = _correlation_ratio(x, present.astype(np.float64), indicator.astype(np.float64), first)
            matrix[np.ix_(categories, numbers)], matrix[np.ix_(numbers, categories)] = eta, eta.T
    return matrix


def _pearson(x: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Pairwise complete correlations; ``x`` is centred, zero where absent."""
    n = np.maximum(present.T @ present, 1.0)
    mean = x.T @ present / n                            # (i, j): mean of x_i over the rows where x_j is present
    variance = np.square(x).T @ present / n - mean**2
    scale = np.sqrt(np.maximum(variance * variance.T, 0.0))
    return np.divide(x.T @ x / n - mean * mean.T, scale, out=np.zeros_like(scale), where=scale > 1e-12)


def _cramers_v(indicator: np.ndarray, first: np.ndarray) -> np.ndarray:
    """V of each pair of categories from all contingency tables at once, ``OᵀO``; levels that do not occur do not count."""
    counts = indicator.sum(0, dtype=np.float64)
    table = (indicator.T @ indicator).astype(np.float64)
    share = np.square(table, out=table)                 # n_kl² / (n_k n_l), whose sum over a table is 1 + χ²/n
    share /= np.maximum(counts, 1.0)[:, None]
    share /= np.maximum(counts, 1.0)
    phi2 = np.add.reduceat(np.add.reduceat(share, first, axis=0), first, axis=1) - 1
    degrees = np.add.reduceat((counts > 0).astype(np.float64), first) - 1
    degrees = np.minimum(degrees[:, None], degrees)
    return np.sqrt(np.clip(np.divide(phi2, degrees, out=np.zeros_like(phi2), where=degrees > 0), 0.0, 1.0))


def _correlation_ratio(x: np.ndarray, present: np.ndarray, indicator: np.ndarray, first: np.ndarray) -> np.ndarray:
    """η of each category (rows) and number (columns); ``x`` is centred, zero where absent."""
    between = np.add.reduceat(np.square(indicator.T @ x) / np.maximum(indicator.T @ present, 1.0), first, axis=0)
    total = np.square(x).sum(0)
    return np.sqrt(np.clip(np.divide(between, total, out=np.zeros_like(between), where=total > 1e-12 * len(x)), 0.0, 1.0))


def worst_columns(test: np.ndarray, generated: np.ndarray, schema: Schema) -> list[ColumnDistance]:
    """The distance of every column of a table, the worst first; an empty list for images and signals, which have no columns."""
    if not schema.is_table:
        return []
    distance = {"number": _number_distance, "category": _category_distance}
    found = [ColumnDistance(b.name, b.kind, distance[b.type](test[:, j], generated[:, j])) for j, b in enumerate(schema.blocks)]
    return sorted(found, key=lambda c: -c.distance)


def _number_distance(x: np.ndarray, y: np.ndarray) -> float:
    blanks = abs(float(np.isnan(x).mean() - np.isnan(y).mean()))
    x, y = x[~np.isnan(x)].astype(np.float64), y[~np.isnan(y)].astype(np.float64)
    if not len(x) or not len(y):
        return blanks
    return float(wasserstein_1d(x[:, None], y[:, None])[0]) / unit(x.std()) + blanks


def _category_distance(x: np.ndarray, y: np.ndarray) -> float:
    n = int(max(x.max(), y.max())) + 1
    p, q = (np.bincount(v.astype(np.intp), minlength=n) / len(v) for v in (x, y))
    return float(np.abs(p - q).sum() / 2)
