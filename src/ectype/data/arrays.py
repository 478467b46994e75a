"""Arrays from NPY, NPZ and IDX files: tables ``(N, columns)`` or images ``(N, H, W)`` and ``(N, H, W, C)``, with labels or without.

None of these formats is ever asked to run code: NumPy's pickled objects are refused.

Reference: the IDX format as described with the MNIST database, http://yann.lecun.com/exdb/mnist (big-endian; two zero bytes, a byte
for the type, a byte for the number of dimensions, a 32-bit size for each dimension, then the data).
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataFileError
from .blocks import some

DATA_KEYS = ("x", "X", "data", "images", "x_train")
LABEL_KEYS = ("y", "Y", "labels", "label", "targets", "target", "y_train")
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_npy(data: bytes) -> tuple[Any, None, list[str]]:
    """One array. A structured array is a table with named columns."""
    array, notes = as_data(_load(data))
    return array, None, notes


def read_npz(data: bytes) -> tuple[Any, pd.Series | None, list[str]]:
    """Rows or images under ``x``, labels under ``y``; the usual other names are accepted with a note."""
    with _load(data) as archive:
        keys = archive.files
        key = next((k for k in DATA_KEYS if k in keys), keys[0] if len(keys) == 1 else None)
        if key is None:
            raise DataFileError("the NPZ file has no array of rows or images", expected="x, or one of " + ", ".join(DATA_KEYS[1:]),
                                got=some(keys), hint="np.savez(file, x=rows, y=labels)")
        label_key = next((k for k in LABEL_KEYS if k in keys), None)
        notes = [] if key == "x" else [f"rows are read from the array {key!r}"]
        notes += [] if label_key in ("y", None) else [f"labels are read from the array {label_key!r}"]
        others = [k for k in keys if k not in (key, label_key)]
        notes += [f"other arrays are left out: {some(others)}"] if others else []
        X, more = as_data(_member(archive, key))
        y = None if label_key is None else as_labels(_member(archive, label_key), name="y")
    return X, y, notes + more


def read_idx(data: bytes) -> np.ndarray:
    """The array of an IDX file, in the byte order of this computer."""
    dtype, n_dims = np.dtype(IDX_TYPES[data[2]]), data[3]
    start = 4 + 4 * n_dims
    shape = tuple(np.frombuffer(data[4:start], ">u4").astype(int)) if len(data) >= start else ()
    expected = start + dtype.itemsize * int(np.prod(shape))
    if not shape or len(data) < expected:
        raise DataFileError("the IDX file is cut short", expected=f"{expected:,} bytes", got=f"{len(data):,}",
                            hint="fetch it again")
    if len(data) > expected:
        raise DataFileError("the IDX file is longer than its header says", expected=f"{expected:,} bytes", got=f"{len(data):,}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def is_idx(head: bytes) -> bool:
    """Whether a file that starts like this is an IDX file."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in IDX_TYPES and 1 <= head[3] <= 4


def as_data(array: np.ndarray) -> tuple[Any, list[str]]:
    """An array from a file as rows or images, channels last; and what had to be done for that."""
    if array.dtype.names:
        fields = {name: array[name] for name in array.dtype.names}
        return pd.DataFrame({name: v.astype(str) if v.dtype.kind == "S" else v for name, v in fields.items()}), []
    if array.dtype.kind not in "biufUSM":
        raise DataFileError("the array holds neither numbers nor words", got=f"dtype {array.dtype}")
    if array.ndim == 1:
        return array[:, None], ["the array has one dimension; read as a table of one column"]
    if not 2 <= array.ndim <= 4:
        raise DataFileError("an array of this shape cannot be read", got=array.shape,
                            expected="(N, columns), (N, H, W) or (N, H, W, channels)")
    if array.dtype.kind in "US":
        return pd.DataFrame(array.astype(str), columns=[f"x{i}" for i in range(array.shape[1])]), []
    if array.ndim == 4 and array.shape[-1] > 4 >= array.shape[1]:
        return np.ascontiguousarray(np.moveaxis(array, 1, -1)), ["channels came first (N, C, H, W); moved last (N, H, W, C)"]
    return (array.astype(np.uint8) if array.dtype.kind == "b" and array.ndim > 2 else array), []


def as_labels(array: np.ndarray, *, name: str) -> pd.Series:
    """Labels ``(N,)`` or ``(N, 1)`` as a named Series."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataFileError("labels of this shape cannot be read", expected="(N,)", got=array.shape,
                            hint="give one class per row, not one-hot")
    return pd.Series(array.astype(str) if array.dtype.kind == "S" else array, name=name)


def _load(data: bytes) -> Any:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as e:
        raise _unreadable(e) from e


def _member(archive: Any, key: str) -> np.ndarray:
    try:
        return archive[key]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as e:
        raise _unreadable(e) from e


def _unreadable(e: Exception) -> DataFileError:
    if "pickle" in str(e) or "Object arrays" in str(e):
        return DataFileError("the file holds pickled objects, which can run code and are never loaded",
                             expected="arrays of numbers or words", hint="save it with array.astype(float) or astype(str)")
    reason = str(e).splitlines()[0] if str(e) else type(e).__name__
    return DataFileError("the file is damaged", got=reason, hint="write or fetch it again")
