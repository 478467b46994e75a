"""One split of the rows for everything: training, holdout and test.

Holdout and test have the same size, so that a metric between real and real rows (its floor) and one between generated and real rows
compare like with like, and a sample is exactly as likely to lie near a training row as near a holdout row if nothing was memorised.
Rows are drawn as they are: identical rows are neither merged nor repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import DataError, InvalidParameterError

if TYPE_CHECKING:
    from .sources import Dataset

MIN_ROWS = 10


class Split(NamedTuple):
    """Row indices of the three parts; disjoint, in random order."""

    train: np.ndarray
    holdout: np.ndarray
    test: np.ndarray


def split(data: Dataset | int, *, seed: int, test: float = 0.2, max_rows: int | None = None, cap: int = 2000) -> Split:
    """Draw the three parts from a data set, or from that many rows.

    ``test`` is the share of the rows in the test part, and in the holdout, which is as large; neither gets more than ``cap`` rows.
    ``max_rows`` first draws that many rows. The same seed and number of rows give the same split.
    Raises :class:`DataError` for fewer than 10 rows.
    """
    n = data if isinstance(data, (int, np.integer)) else data.n_rows
    if not 0 < test < 0.5:
        raise InvalidParameterError("test is not a share", expected="a number between 0 and 0.5", got=test)
    if cap < 1:
        raise InvalidParameterError("cap is too small", expected="a whole number > 0", got=cap)
    if max_rows is not None and max_rows < MIN_ROWS:
        raise InvalidParameterError("max_rows is too small", expected=f"at least {MIN_ROWS}", got=max_rows)
    if n < MIN_ROWS:
        raise DataError("too few rows to split into training, holdout and test", expected=f"at least {MIN_ROWS} rows",
                        got=f"{n} row{'s' * (n != 1)}", hint="gather more rows")
    rows = np.random.default_rng(seed).permutation(n)[:max_rows]
    size = max(1, min(round(test * len(rows)), cap))
    return Split(train=rows[2 * size:], holdout=rows[size:2 * size], test=rows[:size])
