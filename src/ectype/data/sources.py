"""From what a person names (a data set, a file, a folder) to a :class:`Dataset`.

    >>> from ectype.data.sources import load
    >>> load("iris", label="target").X.columns.tolist()[-2:]
    ['petal width (cm)', 'target']
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, DataFileError, UnknownNameError
from .dense import as_signals, signal_rate, whole_kind
from .files import read
from .named import NAMES, read_named
from .schema import as_container, as_frame
from .toy import Truth
from .waves import Recordings

__all__ = ["NAMES", "Dataset", "load", "names"]

LABEL_WORDS = ("y", "label", "labels", "target", "class")       # what the labels of images may be called


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows of a table, images or signals, with their labels.

    ``X`` is a DataFrame, a 2-D array (a table), images ``(N, H, W)`` or ``(N, H, W, C)``, or, where ``signal`` says so, signals
    ``(N, L)`` or ``(N, L, channels)``. ``label`` is the name of the label column where the user named one; a table still contains it,
    and ``y`` is that column. ``y`` may be there without ``label``: the labels of images and signals, the target of a bundled table.
    ``truth`` is the density that the rows were drawn from, where it is known. ``notes`` say what was inferred or cleaned. ``signal`` is
    the ``kinds`` that ``Schema.fit`` needs for signals, ``"signal"`` or ``"signal@RATE"``, and None for tables and images.
    ``files`` are those that the rows come from, where each picture or recording has its own.
    """

    name: str
    X: pd.DataFrame | np.ndarray
    y: pd.Series | None = None
    label: str | None = None
    truth: Truth | None = None
    notes: tuple[str, ...] = ()
    signal: str | None = None
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.n_rows:
            raise DataError(f"{self.name} has no rows", expected="at least one row to apply a model to, two to learn from")
        if self.y is not None and len(self.y) != self.n_rows:
            raise DataError("rows and labels do not match", expected=_count(self.n_rows, "label"), got=_count(len(self.y), "label"))

    @property
    def n_rows(self) -> int:
        return len(self.X)

    @property
    def is_image(self) -> bool:
        return self.X.ndim > 2 and not self.is_signal

    @property
    def is_signal(self) -> bool:
        return self.signal is not None

    @property
    def is_table(self) -> bool:
        return self.X.ndim == 2 and not self.is_signal

    @property
    def rate(self) -> int:
        """Samples per second of signals; 0 where not known."""
        return signal_rate(self.signal) or 0

    @property
    def features(self) -> pd.DataFrame | np.ndarray:
        """``X`` without the column that ``y`` is, if it is one: what a model conditioned on ``y`` learns to make."""
        if isinstance(self.X, pd.DataFrame) and self.y is not None and self.y.name in self.X.columns:
            return self.X.drop(columns=self.y.name)
        return self.X

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content, as hex: of columns, values and labels, not of the name or the file's format."""
        digest = hashlib.sha256()
        own_labels = self.y is not None and not (isinstance(self.X, pd.DataFrame) and self.y.name in self.X.columns)
        if isinstance(self.X, pd.DataFrame):
            for name in self.X.columns:
                _digest_column(digest, str(name), self.X[name])
        else:
            _digest_array(digest, self.X)
        if own_labels:
            _digest_column(digest, "y", pd.Series(self.y))
        return digest.hexdigest()


def load(source: Any, *, label: str | None = None, kinds: Mapping[str, str] | str | None = None, drop: Sequence[str] = (),
         size: tuple[int, ...] | int | None = None, like: Mapping[str, str] | None = None, quiet: bool = False) -> Dataset:
    """A data set by its name (see :data:`NAMES`), by the path of a file or a folder, or from a DataFrame or an array.

    ``label`` names the label column, ``drop`` columns to leave out, ``kinds`` the kinds of columns as for ``Schema.fit`` (the text
    of a categorical column is then kept as it is), ``size`` the height and width to bring pictures to. ``like`` are the kinds by
    which the text of a new table is read for a trained model (``Schema.reading``); it may have other columns. ``quiet`` hides the progress
    bar of a download. A name wins over a file of the same name in the working folder; write ``./digits`` for the file.

    ``kinds="signal"`` (``"signal@8000"`` with the samples per second) says that the rows are signals: every column that is neither
    left out nor the label is a sample. WAV files are signals without being called so; ``size``, a number of samples, cuts them into
    windows.

    Raises :class:`UnknownNameError` for a name, a column or a label that does not exist, and :class:`DataError` or
    :class:`DataFileError` for data that cannot be used, saying what was expected.
    """
    truth, signal, files = None, None, ()
    if isinstance(kinds, str):
        whole_kind(kinds)
        kinds, signal = None, kinds
    size = (size,) if isinstance(size, int) else size
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        name = text.lower().replace("-", "_")
        if isinstance(source, str) and name in NAMES:
            X, y, truth, notes = read_named(name, quiet=quiet)
            if Path(text).exists():
                notes = [*notes, f"{text} is the data set of that name; for what lies here give its path, .{os.sep}{text}"]
            if size is not None:
                raise DataError("only pictures and recordings in a folder or a zip have a size", got=name, hint="leave size out")
        else:
            path = _existing(text)
            name = path.resolve().name.removesuffix(".gz").rsplit(".", 1)[0] if path.is_file() else path.resolve().name
            X, y, notes, files = read(path, kinds={**(like or {}), **(kinds or {})}, size=size)
    else:
        name, X, y, notes = "data", as_container(source), None, []
    if isinstance(X, Recordings):
        X, signal = X.samples, f"signal@{X.rate}"
        _require(kinds or (), ())
    if signal is not None:
        return replace(_signals(name, X, y, label, signal, drop, notes), files=files)
    X = _without(X, drop)
    if kinds and isinstance(X, pd.DataFrame):
        _require(kinds, X.columns)
    if label is not None:
        X, y, extra = _with_label(X, y, label)
        if extra and truth is not None:
            truth, notes = None, [*notes, f"with the column {label!r} the known density no longer applies"]
    return Dataset(name, X, y, label, truth, tuple(notes), files=files)


def _signals(name: str, X: Any, y: pd.Series | None, label: str | None, signal: str, drop: Sequence[str], notes: list[str]) -> Dataset:
    """Signals from an array, or from the columns of a table that are not the label."""
    if isinstance(X, pd.DataFrame) or drop:
        X = _without(X, drop)
    if isinstance(X, pd.DataFrame) and label is not None and label in X.columns:
        X, y = X.drop(columns=label), X[label]
    elif label is not None:
        if y is None and isinstance(X, pd.DataFrame):
            _require([label], X.columns)
        y = _own_labels(y, label, "signals")
    return Dataset(name, as_signals(X), y, label, None, tuple(notes), signal)


def _own_labels(y: pd.Series | None, label: str, what: str) -> pd.Series:
    """The labels of images or signals, which have no columns that could be named."""
    if y is None:
        raise DataError(f"these {what} have no labels", got=f"label={label!r}",
                        hint="give one sub-folder per class, or labels under y in the NPZ")
    if label not in LABEL_WORDS:
        raise UnknownNameError("label", label, [str(y.name)])
    return y


def names() -> dict[str, str]:
    """The data sets that have a name, and a line about each."""
    return dict(NAMES)


def _existing(text: str) -> Path:
    """The path, if there is something; else an error with the names that come near."""
    path = Path(text).expanduser()
    if path.exists():
        return path
    folder = path.parent
    files = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, [*NAMES, *files], n=3, cutoff=0.5)
    near = [n if n in NAMES else str(folder / n) for n in near]
    hint = f"did you mean {' or '.join(near)}?" if near else None
    if path.suffix or len(path.parts) > 1:
        where = f"the folder {folder} does not exist" if not folder.is_dir() else "there is no such file"
        raise DataFileError(f"{text} cannot be read", expected="a file, a folder, or the name of a data set", got=where, hint=hint)
    raise UnknownNameError("data set", text, NAMES, hint=hint or "for a file or a folder, give its path")


def _require(columns: Any, known: Any) -> None:
    for column in columns:
        if column not in known:
            raise UnknownNameError("column", str(column), [str(k) for k in known])


def _without(X: Any, drop: Sequence[str]) -> Any:
    if not drop:
        return X
    if X.ndim > 2:
        raise DataError("images have no columns to leave out", got=f"drop={list(drop)}")
    X = as_frame(X)
    _require(drop, X.columns)
    if set(drop) >= set(X.columns):
        raise DataError("every column is left out", expected="at least one column to learn from")
    return X.drop(columns=list(drop))


def _with_label(X: Any, y: pd.Series | None, label: str) -> tuple[Any, pd.Series, bool]:
    """A table that contains the label column, the labels, and whether that column had to be added."""
    if X.ndim > 2:
        return X, _own_labels(y, label, "images"), False
    X = as_frame(X)
    if label in X.columns:
        return X, X[label], False
    if y is None or label != y.name:
        _require([label], [*X.columns, *([] if y is None or y.name in X.columns else [y.name])])
    y = y.set_axis(X.index)
    return X.assign(**{label: y}), y, True


def _digest_column(digest: Any, name: str, values: pd.Series) -> None:
    digest.update(name.encode() + b"\0")
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf":
        _digest_array(digest, values.to_numpy())
        return
    codes, words = pd.factorize(values)
    _digest_array(digest, codes.astype(np.int64))
    digest.update("\0".join(map(str, words)).encode())


def _digest_array(digest: Any, array: np.ndarray) -> None:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest.update(f"{little.dtype.str}{little.shape}".encode())
    digest.update(np.asarray(little).astype(str).tobytes() if little.dtype == object else little.tobytes())


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
