"""Stored arrays as the metrics take them: checked against the Schema, cut to one number of rows."""

from __future__ import annotations

import numpy as np

from ..data.schema import Schema
from ..errors import DataError
from ..rng import numpy_generator

MIN_ROWS = 2        # a neighbour, and one row of each side in each of two folds


def check_stored(stored: np.ndarray, schema: Schema, what: str) -> np.ndarray:
    """The stored array in its own dtype: float32 ``(N, columns)`` for a table, uint8 ``(N, C, H, W)`` for images, float32
    ``(N, C, L)`` for signals.

    Raises :class:`DataError`, naming the column, for another shape, fewer than ``MIN_ROWS`` rows, infinities, blanks in a column
    that has none in training, and codes that are no category.
    """
    stored = np.asarray(stored)
    shape = schema.stored_shape
    if stored.shape[1:] != shape:
        raise DataError(f"the {what} rows have another shape", expected=f"(N, {', '.join(map(str, shape))})", got=stored.shape)
    if len(stored) < MIN_ROWS:
        raise DataError(f"too few {what} rows to measure anything", expected=f"at least {MIN_ROWS}", got=len(stored))
    if schema.is_image:
        return _check_pixels(stored, schema.blocks[0].levels, what)
    if schema.is_signal:
        return _check_samples(stored, what)
    stored = stored.astype(np.float32)
    for j, block in enumerate(schema.blocks):
        column, name = stored[:, j], f"column {block.name!r} of the {what} rows"
        blank = np.isnan(column)
        if np.isinf(column).any():
            raise DataError(f"{name} has infinite values", expected="finite numbers", got=f"{int(np.isinf(column).sum())} infinite")
        if blank.any() and (block.type == "category" or not block.missing):
            raise DataError(f"{name} has NaN", expected="no missing values, as in training", got=f"{blank.sum()} of {len(blank)}")
        if block.type == "category" and not ((column == np.round(column)) & (column >= 0) & (column < block.n_codes)).all():
            raise DataError(f"{name} has codes that are no category", expected=f"whole numbers from 0 to {block.n_codes - 1}",
                            got=f"{column.min():g} to {column.max():g}")
    return stored


def _check_pixels(stored: np.ndarray, levels: int, what: str) -> np.ndarray:
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise DataError(f"the {what} images have pixels that are not finite", expected=f"levels 0 to {levels - 1}")
    if stored.size and (stored.min() < 0 or stored.max() > levels - 1):
        raise DataError(f"the {what} images have pixels out of range", expected=f"levels 0 to {levels - 1}",
                        got=f"{stored.min():g} to {stored.max():g}")
    return np.require(stored, np.uint8, ["C", "W"])


def _check_samples(stored: np.ndarray, what: str) -> np.ndarray:
    if not np.isfinite(stored).all():
        bad = int((~np.isfinite(stored)).reshape(len(stored), -1).any(1).sum())
        raise DataError(f"the {what} signals have samples that are not finite", expected="finite numbers", got=f"{bad} such signals")
    return np.require(stored, np.float32, ["C", "W"])


def subsample(stored: np.ndarray, n: int, *path: object) -> np.ndarray:
    """``n`` rows drawn without replacement from the stream ``path``, in their order; all rows where there are no more."""
    if len(stored) <= n:
        return stored
    return stored[np.sort(numpy_generator(*path).choice(len(stored), n, replace=False))]
