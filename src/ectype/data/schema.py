"""The Schema: what the user's data are, learnt from the training part, and the way in and back.

    X  --encode-->  stored array  --decode-->  X

``X`` is a DataFrame or a 2-D array (a table), or a 3-D / 4-D array (images), or, where ``kinds="signal"`` says so, an array ``(N, L)``
or ``(N, L, channels)`` of one-dimensional signals. A table is stored as float32 ``(N, columns)``, images as uint8 ``(N, C, H, W)``,
signals as float32 ``(N, C, L)``; what each slot means is said by its :mod:`Block <ectype.data.blocks>`. NumPy and pandas only.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from ..errors import ColumnError, DataError, InvalidParameterError, SchemaMismatchError, UnknownNameError
from .blocks import MAX_CATEGORIES, Block, block_from_dict, block_to_dict, day_comes_first, fit_category, fit_number, some, to_float
from .dense import as_signals, fit_image, fit_signal, whole_kind

KINDS = ("numeric", "integer", "boolean", "categorical", "datetime")
NUMBERS_SHARE = 0.8     # a column of words is a column of numbers when at least this share of its filled cells are numbers


@dataclass(frozen=True)
class Schema:
    """An ordered tuple of Blocks and the container that ``X`` came in.

    ``container`` is ``"dataframe"``, ``"array"`` (2-D), ``"images"`` or ``"signals"``; ``notes`` are sentences about what was inferred;
    ``labels`` are the columns of a DataFrame whose labels are numbers (Blocks are named by text).
    """

    blocks: tuple[Block, ...]
    container: str
    dtype: str = "float64"
    notes: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()

    @property
    def is_image(self) -> bool:
        return self.container == "images"

    @property
    def is_signal(self) -> bool:
        return self.container == "signals"

    @property
    def is_table(self) -> bool:
        return self.container in ("dataframe", "array")

    @property
    def columns(self) -> list[str]:
        return [b.name for b in self.blocks]

    @property
    def reading(self) -> dict[str, str]:
        """The kinds by which the columns of a new text table are read; nothing for images and signals."""
        return {b.name: b.reading for b in self.blocks} if self.is_table else {}

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of one stored row."""
        return (len(self.blocks),) if self.is_table else self.blocks[0].shape

    @property
    def n_dims(self) -> int:
        """Number of stored values in a row: the D of bits/dim."""
        return int(np.prod(self.stored_shape))

    @classmethod
    def fit(cls, X: Any, *, kinds: Mapping[str, str] | str | None = None) -> Schema:
        """Infer the Blocks of ``X``; ``kinds`` overrides the kind of single columns of a table.

        ``kinds="signal"`` says that ``X`` is an array ``(N, L)`` or ``(N, L, channels)`` of signals; ``"signal@8000"`` adds the samples
        per second. A DataFrame of numbers may be ``(N, L)`` signals too; they come back as an array.

        Raises :class:`DataError` where there is nothing to learn from: no rows, one row, infinities, an identifier column, signals of
        one sample.
        """
        rate = whole_kind(kinds) if isinstance(kinds, str) else None
        kinds = {} if rate is not None else kinds
        kinds = {str(column): kind for column, kind in (kinds or {}).items()}
        for column, kind in kinds.items():
            if kind not in KINDS:
                raise InvalidParameterError(f"unknown kind for column {column!r}", expected=f"one of {', '.join(KINDS)}", got=kind)
        labels = tuple(X.columns) if isinstance(X, pd.DataFrame) and pd.api.types.is_integer_dtype(X.columns) else ()
        X = as_container(X)
        if len(X) < 2:
            raise DataError("too few rows to learn from", expected="at least 2 rows", got=f"n_samples = {len(X)}")
        if rate is not None:
            signal, notes = fit_signal(X, rate)
            return cls((signal,), "signals", signal.dtype, tuple(notes))
        if isinstance(X, np.ndarray) and X.ndim > 2:
            return cls((fit_image(X),), "images", str(X.dtype))
        container, dtype = ("dataframe", "") if isinstance(X, pd.DataFrame) else ("array", str(X.dtype))
        frame = as_frame(X)
        unknown = set(kinds) - set(frame.columns)
        if unknown:
            raise UnknownNameError("column", sorted(unknown)[0], frame.columns)
        blocks, notes = [], []
        for name in frame.columns:
            block, note = _fit_column(str(name), frame[name], kinds.get(name), is_array=container == "array")
            blocks.append(block)
            notes += [note] if note else []
        return cls(tuple(blocks), container, dtype, tuple(notes), tuple(map(int, labels)))

    def encode(self, X: Any) -> np.ndarray:
        """Stored array of ``X``: float32 ``(N, columns)``, uint8 ``(N, C, H, W)`` or float32 ``(N, C, L)``."""
        X = as_container(X)
        if self.is_signal:
            return self.blocks[0].encode(X)
        if self.is_image:
            if not isinstance(X, np.ndarray) or X.ndim < 3:
                raise SchemaMismatchError("a table was given", expected=f"images of shape {self.stored_shape}", got=f"shape {X.shape}")
            return self.blocks[0].encode(X)
        if isinstance(X, np.ndarray) and X.ndim != 2:
            raise SchemaMismatchError("images were given", expected=f"a table of {len(self.blocks)} columns", got=f"shape {X.shape}")
        frame = as_frame(X)
        if isinstance(X, np.ndarray):
            if frame.shape[1] != len(self.blocks):
                raise SchemaMismatchError("another number of columns", expected=f"{len(self.blocks)} features", got=frame.shape[1])
            frame.columns = self.columns
        absent = [c for c in self.columns if c not in frame.columns]
        if absent:
            raise SchemaMismatchError("columns are missing", expected=some(self.columns), got=f"no {some(absent)}",
                                      hint="give the columns that the model was fitted on")
        return np.stack([b.encode(frame[b.name]) for b in self.blocks], axis=1)

    def decode(self, stored: np.ndarray) -> Any:
        """The inverse of :meth:`encode`: the same container, columns, dtypes, categories, bounds and blanks."""
        if not self.is_table:
            return self.blocks[0].decode(stored)
        columns = {b.name: b.decode(stored[:, i]) for i, b in enumerate(self.blocks)}
        if self.container == "dataframe":
            frame = pd.DataFrame(columns)
            return frame.set_axis(list(self.labels), axis=1) if self.labels else frame
        values = np.stack([np.asarray(c, dtype=object if self.dtype == "object" else None) for c in columns.values()], axis=1)
        return values if values.dtype.kind == "f" and np.isnan(values).any() else values.astype(self.dtype)

    def beyond(self, stored: np.ndarray) -> np.ndarray:
        """½ Σ d² of each stored row, ``(N,)``: d is how far a value on a grid, of few levels or with spikes lies beyond the training range,
        in normalised units. The outermost cells of such columns reach to infinity, so that a model cannot tell 120 from the oldest age."""
        total = np.zeros(len(stored))
        for i, b in enumerate(self.blocks):
            if b.type == "number" and (b.discrete or b.spikes):
                low, high = b.forward(np.asarray([b.low, b.high]))
                z = stored[:, i].astype(np.float64)
                total += 0.5 * np.nan_to_num(np.maximum(np.maximum(z - high, low - z) - 1e-4, 0.0)) ** 2
        return total

    def log_derivative(self, stored: np.ndarray) -> np.ndarray:
        """log |d stored / d user's units| of each row, ``(N,)``: turns a log-density of stored rows into one of the user's values by
        addition. Values that have a probability, missing ones included, add nothing."""
        if self.is_signal:
            return np.full(len(stored), self.blocks[0].log_derivative)
        total = np.zeros(len(stored))
        for i, b in enumerate(self.blocks):
            if b.type == "number":
                total += np.where(np.isnan(stored[:, i]), 0.0, b.log_derivative(stored[:, i]))
        return total

    def accepts(self, X: Any) -> np.ndarray:
        """Which rows can be encoded, ``(N,)`` bool: false for unseen categories, for blanks where training had none, and for signals that
        are not finite throughout."""
        X = as_container(X)
        ok = np.ones(len(X), bool)
        if self.is_image:
            return ok
        if self.is_signal:
            v = as_signals(X).astype(np.float64)
            return np.isfinite(v).reshape(len(v), -1).all(1)
        frame = as_frame(X)
        for i, b in enumerate(self.blocks):
            column = frame[b.name] if self.container == "dataframe" else frame.iloc[:, i]
            absent = np.isnan(to_float(column, b.kind, b.day_first)) if b.type == "number" else column.isna().to_numpy()
            known = np.ones(len(X), bool) if b.type == "number" else column.astype(object).isin(b.values).to_numpy()
            ok &= np.where(absent, b.missing, known)
        return ok

    def to_dict(self) -> dict[str, Any]:
        return {"container": self.container, "dtype": self.dtype, "notes": list(self.notes), "labels": list(self.labels),
                "blocks": [block_to_dict(b) for b in self.blocks]}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Schema:
        return cls(tuple(block_from_dict(b) for b in d["blocks"]), d["container"], d["dtype"], tuple(d["notes"]), tuple(d["labels"]))


def as_container(X: Any) -> pd.DataFrame | np.ndarray:
    """A DataFrame with text column names, or an array of 2 to 4 dimensions; lists become arrays."""
    if isinstance(X, pd.Series):
        X = X.to_frame()
    if issparse(X) or (isinstance(X, pd.DataFrame) and any(isinstance(t, pd.SparseDtype) for t in X.dtypes)):
        raise TypeError("sparse input is not supported: pass a dense array, for example X.toarray()")
    if isinstance(X, pd.DataFrame):
        names = X.columns.map(str)
        if not names.is_unique:
            raise DataError("column names are repeated", expected="unique names", got=some(names[names.duplicated()].unique()),
                            hint="rename the columns")
        if not len(names):
            raise DataError(f"0 feature(s) (shape={X.shape}) while a minimum of 1 is required.")
        return X if names.equals(X.columns) else X.set_axis(names, axis=1)
    X = np.asarray(X)
    if X.dtype.kind == "c":
        raise DataError("Complex data not supported", expected="real numbers")
    if X.ndim == 1:
        raise DataError("Expected 2D array, got 1D array instead", hint="Reshape your data either using array.reshape(-1, 1) if your "
                        "data has a single feature or array.reshape(1, -1) if it contains a single sample.")
    if not 2 <= X.ndim <= 4:
        raise DataError("data of this shape cannot be read", got=X.shape,
                        expected="a table (N, columns) or images (N, H, W) or (N, H, W, channels)")
    if X.dtype.kind in "US":
        X = X.astype(object)
    if X.ndim == 2 and X.shape[1] == 0:
        raise DataError(f"0 feature(s) (shape={X.shape}) while a minimum of 1 is required.")
    return X


def as_frame(X: pd.DataFrame | np.ndarray) -> pd.DataFrame:
    """A table as a DataFrame; the columns of an array are named ``x0, x1, …``."""
    if isinstance(X, pd.DataFrame):
        return X
    return pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])]).infer_objects()


def _fit_column(name: str, values: pd.Series, kind: str | None, *, is_array: bool) -> tuple[Block, str | None]:
    kind, note = (kind, None) if kind else infer_kind(name, values, is_array=is_array)
    if values.isna().all():
        return fit_category(name, "categorical", values), f"{name}: every cell is blank; it stays blank"
    if kind in ("numeric", "integer", "datetime"):
        if np.isnan(to_float(values, kind)).all():
            raise DataError(f"column {name!r} cannot be read as {kind}", expected=f"{kind} values", got=some(values.dropna().unique(), 3))
        return fit_number(name, kind, values), note
    return fit_category(name, kind, values), note


def infer_kind(name: str, values: pd.Series, *, is_array: bool = False) -> tuple[str, str | None]:
    """The kind of a column and, where it deserves one, a sentence about it. Columns of a plain array of numbers stay numbers."""
    dtype, filled = values.dtype, values.dropna()
    if isinstance(dtype, pd.CategoricalDtype):
        return "categorical", None
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean", None
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "datetime", None
    if pd.api.types.is_timedelta64_dtype(dtype):
        raise DataError(f"column {name!r} holds time differences", expected="numbers, words, booleans or datetimes",
                        hint="turn it into seconds: column.dt.total_seconds()")
    if pd.api.types.is_numeric_dtype(dtype):
        v = to_float(filled, "numeric")
        whole = np.isfinite(v).all() and bool((v == np.round(v)).all())
        if whole and not is_array and len(v) >= 100 and (np.abs(np.diff(v)) == 1).all():
            return "integer", f"{name}: counts on by one from row to row; leave it out if it is a row number (--drop {name})"
        if whole and not is_array and 0 < len(np.unique(v)) <= 2 and dtype.kind in "iu":
            return "categorical", None
        return ("integer" if whole else "numeric"), None
    if len(filled) and filled.map(lambda v: isinstance(v, (bool, np.bool_))).all():
        return "boolean", None
    if len(filled) and filled.astype(str).str.fullmatch(r"0\d+").any():
        return "categorical", f"{name}: digits with leading zeros (postcodes, keys) are words"
    numbers = pd.to_numeric(filled.astype(object), errors="coerce")
    share = float(numbers.notna().mean()) if len(filled) else 0.0
    if share >= NUMBERS_SHARE:
        v = numbers.dropna().to_numpy(np.float64)
        words = filled[numbers.isna()].unique()
        n_words = int(numbers.isna().sum())
        note = f"{name}: a column of numbers; {n_words} cells hold words ({some(words, 3)}) and count as missing" if n_words else None
        return ("integer" if (v == np.round(v)).all() else "numeric"), note
    if _looks_like_dates(filled):
        order = {True: ", the day first (25/03)", False: ", the month first (03/25)", None: ""}[day_comes_first(filled)]
        if not order and filled.astype(str).str.match(r"\s*\d{1,2}[-/. ]\d{1,2}[-/. ]").any():
            order = "; no row tells whether day or month comes first, taken as month first (write 2021-03-25 to be sure)"
        return "datetime", f"{name}: read as dates{order}"
    n_distinct = filled.astype(object).nunique()
    if not is_array and len(filled) >= 100 and n_distinct >= 0.9 * len(filled) and n_distinct <= MAX_CATEGORIES:
        what = f"column {name!r} has {n_distinct:,} different words in {len(filled):,} rows: an identifier, not to be learnt"
        raise ColumnError(name, what, got=some(filled.unique(), 3),
                          hint=f"leave it out (drop=[{name!r}], on the command line --drop {name})")
    return "categorical", None


def _looks_like_dates(filled: pd.Series) -> bool:
    head = filled.head(200).astype(str)
    if not len(head) or not head.str.contains(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{4}-\d{2}").mean() >= 0.95:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")     # a guess about the format is all that is wanted here
        return bool(pd.to_datetime(head, errors="coerce", format="mixed").notna().mean() >= 0.95)
