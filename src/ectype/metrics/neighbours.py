"""What nearest neighbours say: fidelity, coverage, and whether the training part was copied.

With ``B(x)`` the ball around ``x`` that reaches to its k-th nearest neighbour in its own sample, and M real and N generated rows,

.. math::
    precision &= share of generated rows inside the ball of any real row \\
    recall    &= share of real rows inside the ball of any generated row \\
    density   &= 1/(kN) Σ_j Σ_i 1[y_j ∈ B(x_i)] \\
    coverage  &= share of real rows x_i with a generated row in B(x_i)

Balls are closed, ``distance <= radius``: where rows repeat, as in tables they do, a radius is zero, and an open ball would leave an
exact copy of the data uncovered.

References: Kynkäänniemi et al. 2019, Improved precision and recall metric; Naeem et al. 2020, Reliable fidelity and diversity
metrics; Meehan et al. 2020, A non-parametric test to detect data-copying.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from .spaces import chunks
from .uncertainty import Estimate, jackknife

ROUNDING = 1e-9     # squared distances below this share of the mean squared norm are rounding error of the matrix product


def squared_distances(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """``‖x_i − y_j‖²`` in blocks of rows of ``x``, so that no more than a few dozen MiB are held."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    yy = np.square(y).sum(1)
    for rows in chunks(len(x), len(y)):
        block = x[rows] @ y.T
        block *= -2
        block += np.square(x[rows]).sum(1)[:, None]
        block += yy
        yield rows, np.maximum(block, 0.0, out=block)


def tolerance(x: np.ndarray) -> float:
    """Squared distance up to which two rows count as one."""
    return ROUNDING * float(np.square(x, dtype=np.float64).sum(1).mean())


def squared_radii(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each row to its ``k``-th nearest other row, ``(N,)``."""
    radii = np.empty(len(x))
    for rows, d2 in squared_distances(x, x):
        d2[np.arange(len(d2)), np.arange(rows.start, rows.stop)] = np.inf
        radii[rows] = np.partition(d2, k - 1, axis=1)[:, k - 1]
    return radii


class Coverings(NamedTuple):
    """Which balls hold which rows, counted; ``sole`` counts the rows that a ball, or the rows in it, would lose with one row."""

    of_real: np.ndarray             # (M,) generated rows in the ball of each real row
    of_generated: np.ndarray        # (N,) real balls around each generated row
    recalled: np.ndarray            # (M,) generated balls around each real row
    sole_real: np.ndarray           # (M,) generated rows that are in the ball of this real row and in no other
    sole_generated: np.ndarray      # (N,) real balls that hold this generated row and no other
    sole_recalling: np.ndarray      # (N,) real rows that are in the ball of this generated row and in no other


def coverings(real: np.ndarray, generated: np.ndarray, real_radii: np.ndarray, generated_radii: np.ndarray) -> Coverings:
    """Counts of who is in whose closed ball; the radii are squared."""
    n, m = len(generated), len(real)
    of_real, recalled, first_in, first_around = (np.zeros(m, np.intp) for _ in range(4))
    of_generated, sole_real = np.zeros(n, np.intp), np.zeros(m, np.intp)
    for rows, d2 in squared_distances(generated, real):
        held = d2 <= real_radii
        counts = np.count_nonzero(held, axis=1)
        of_generated[rows] = counts
        sole_real += np.bincount(held[counts == 1].argmax(1), minlength=m)
        first_in += _first(held, of_real == 0, rows.start)
        of_real += np.count_nonzero(held, axis=0)
        np.less_equal(d2, generated_radii[rows, None], out=held)
        first_around += _first(held, recalled == 0, rows.start)
        recalled += np.count_nonzero(held, axis=0)
    sole_generated = np.bincount(first_in[of_real == 1], minlength=n)
    return Coverings(of_real, of_generated, recalled, sole_real, sole_generated, np.bincount(first_around[recalled == 1], minlength=n))


def _first(held: np.ndarray, wanted: np.ndarray, start: int) -> np.ndarray:
    """The first row that each wanted column holds, counted from ``start``; 0 where there is none, or it is not wanted."""
    found = wanted & held.any(0)
    out = np.zeros(len(wanted), np.intp)
    out[found] = start + held[:, found].argmax(0)
    return out


def fidelity_and_coverage(real: np.ndarray, generated: np.ndarray, k: int = 5, real_radii: np.ndarray | None = None) -> dict[str, float]:
    """The values of :func:`neighbourhood_estimates`."""
    return {name: e.value for name, e in neighbourhood_estimates(real, generated, k, real_radii).items()}


def neighbourhood_estimates(real: np.ndarray, generated: np.ndarray, k: int = 5,
                            real_radii: np.ndarray | None = None) -> dict[str, Estimate]:
    """``precision``, ``recall``, ``density`` and ``coverage`` of generated rows, ``(N, d)``, against real ones, ``(M, d)``.

    ``k`` is cut to what the smaller sample has. ``real_radii`` are ``squared_radii(real, k)`` where they are known already. The
    intervals are those of the jackknife over the rows of both samples, the radii kept.
    """
    k = min(k, len(real) - 1, len(generated) - 1)
    slack = tolerance(real)
    radii = (squared_radii(real, k) if real_radii is None else real_radii) + slack
    c = coverings(real, generated, radii, squared_radii(generated, k) + slack)
    n, m = len(generated), len(real)

    def share(holds: np.ndarray, sole: np.ndarray) -> Estimate:
        p = float(np.mean(holds > 0))
        return Estimate.share(p, p * (1 - p) / len(holds) + jackknife(sole / len(holds)), len(holds))

    density = float(c.of_generated.sum()) / (k * n)
    return {"precision": share(c.of_generated, c.sole_real), "recall": share(c.recalled, c.sole_recalling),
            "density": Estimate.positive(density, float(c.of_generated.var()) / (k**2 * n) + float(c.of_real.var()) * m / (k * n)**2),
            "coverage": share(c.of_real, c.sole_generated)}


def memorisation(generated: np.ndarray, train: np.ndarray, holdout: np.ndarray) -> float:
    """The value of :func:`memorisation_estimate`."""
    return memorisation_estimate(generated, train, holdout).value


def memorisation_estimate(generated: np.ndarray, train: np.ndarray, holdout: np.ndarray) -> Estimate:
    """Share of generated rows nearer to the training part than to the holdout, as if the two were equally large; ideal ½.

    A fresh row has its nearest neighbour in the training part with probability ``T / (T + H)``, by exchangeability. Each such row
    therefore weighs ``1/T``, and each row whose neighbour is in the holdout ``1/H``: the share is ½ for fresh rows whatever the
    sizes, and 1 for copies. (Cutting the training part down to H rows would hide the copies of all the others.) A row with several
    neighbours at the same distance, as in tables of categories, is shared between the two sides in proportion to their number.

    With ``a`` and ``b`` the mean numbers of generated rows that a training row and a holdout row are nearest to, the share is
    ``a / (a + b)``, and its variance that of the two means.
    """
    slack, degree = tolerance(train), np.zeros(len(train) + len(holdout))
    for _, d2 in squared_distances(generated, np.concatenate([train, holdout])):
        nearest = d2 <= d2.min(1, keepdims=True) + slack
        degree += (1 / nearest.sum(1)) @ nearest
    near_train, near_holdout = degree[: len(train)], degree[len(train):]
    a, b = float(near_train.mean()), float(near_holdout.mean())
    variance = (b**2 * near_train.var() / len(train) + a**2 * near_holdout.var() / len(holdout)) / (a + b)**4
    return Estimate.share(a / (a + b), float(variance), len(generated))


def duplicates(rows: np.ndarray, train: np.ndarray) -> float:
    """The value of :func:`duplicates_estimate`."""
    return duplicates_estimate(rows, train).value


def duplicates_estimate(rows: np.ndarray, train: np.ndarray) -> Estimate:
    """Share of stored rows that are, value for value, a row of the training part."""
    known = set(_digests(train))
    share = sum(d in known for d in _digests(rows)) / len(rows)
    return Estimate.share(share, share * (1 - share) / len(rows), len(rows))


def _digests(rows: np.ndarray) -> list[bytes]:
    flat = rows.reshape(len(rows), -1)
    if flat.dtype.kind == "f":
        flat = np.where(np.isnan(flat), np.float32(np.nan), flat + np.float32(0))       # one NaN, and no −0 beside 0
    return [blake2b(row, digest_size=16).digest() for row in np.ascontiguousarray(flat)]
