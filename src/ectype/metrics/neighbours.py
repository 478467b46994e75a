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

import numpy as np

from .spaces import chunks

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


def fidelity_and_coverage(real: np.ndarray, generated: np.ndarray, k: int = 5,
                          real_radii: np.ndarray | None = None) -> dict[str, float]:
    """``precision``, ``recall``, ``density`` and ``coverage`` of generated rows, ``(N, d)``, against real ones, ``(M, d)``.

    ``k`` is cut to what the smaller sample has. ``real_radii`` are ``squared_radii(real, k)`` where they are known already.
    """
    k = min(k, len(real) - 1, len(generated) - 1)
    slack = tolerance(real)
    real_radii = (squared_radii(real, k) if real_radii is None else real_radii) + slack
    generated_radii = squared_radii(generated, k) + slack
    hits, inside = 0, 0
    covered, recalled = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for rows, d2 in squared_distances(generated, real):
        in_real_ball = d2 <= real_radii
        hits += int(in_real_ball.sum())
        inside += int(in_real_ball.any(1).sum())
        covered |= in_real_ball.any(0)
        recalled |= (d2 <= generated_radii[rows, None]).any(0)
    return {"precision": inside / len(generated), "recall": float(recalled.mean()), "density": hits / (k * len(generated)),
            "coverage": float(covered.mean())}


def memorisation(generated: np.ndarray, train: np.ndarray, holdout: np.ndarray) -> float:
    """Share of generated rows nearer to the training part than to the holdout, as if the two were equally large; ideal ½.

    A fresh row has its nearest neighbour in the training part with probability ``T / (T + H)``, by exchangeability. Each such row
    therefore weighs ``1/T``, and each row whose neighbour is in the holdout ``1/H``: the share is ½ for fresh rows whatever the
    sizes, and 1 for copies. (Cutting the training part down to H rows would hide the copies of all the others.) A row with several
    neighbours at the same distance, as in tables of categories, is shared between the two sides in proportion to their number.
    """
    slack, from_train = tolerance(train), 0.0
    for _, d2 in squared_distances(generated, np.concatenate([train, holdout])):
        nearest = d2 <= d2.min(1, keepdims=True) + slack
        from_train += float((nearest[:, : len(train)].sum(1) / nearest.sum(1)).sum())
    a, b = from_train / len(train), (len(generated) - from_train) / len(holdout)
    return a / (a + b)


def duplicates(rows: np.ndarray, train: np.ndarray) -> float:
    """Share of stored rows that are, value for value, a row of the training part."""
    known = set(_digests(train))
    return sum(d in known for d in _digests(rows)) / len(rows)


def _digests(rows: np.ndarray) -> list[bytes]:
    flat = rows.reshape(len(rows), -1)
    if flat.dtype.kind == "f":
        flat = np.where(np.isnan(flat), np.float32(np.nan), flat + np.float32(0))       # one NaN, and no −0 beside 0
    return [blake2b(row, digest_size=16).digest() for row in np.ascontiguousarray(flat)]
