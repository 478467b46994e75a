"""A path to rows: the format is told by the content of the file, not by its name.

    CSV, TSV, …  -> tables.py      folder or zip of pictures   -> images.py
    NPY, NPZ, IDX -> arrays.py      WAV, folder or zip of those -> waves.py

Any of them may be gzipped. An IDX file of images brings the labels that lie beside it under the usual name.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pandas as pd

from ..errors import DataFileError
from .arrays import as_data, as_labels, is_idx, read_idx, read_npy, read_npz
from .blocks import some
from .entries import Entry, folder_entries, zip_entries
from .images import SUFFIXES, read_pictures
from .tables import read_parquet, read_text_table
from .waves import SUFFIXES as WAVES
from .waves import read_waves

FORMATS = "CSV, TSV, Parquet, NPY, NPZ, IDX (any of them gzipped), or a folder or zip of pictures or WAV files"
PICTURE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")
ADVICE = {
    (".xlsx", ".xls", ".ods"): "save the sheet as CSV",
    (".json", ".jsonl", ".ndjson"): "write it as CSV or Parquet, for example pandas.read_json(file).to_csv(...)",
    (".pkl", ".pickle", ".joblib", ".pt", ".pth"): "pickled files can run code and are never loaded; write NPZ, CSV or Parquet",
    (".tar", ".tgz", ".tar.gz", ".7z", ".rar"): "unpack it and give the folder",
    (".h5", ".hdf5", ".mat", ".feather", ".arrow", ".sav", ".dta"): "write it as Parquet, CSV or NPZ",
}


class Content(NamedTuple):
    """Rows, images or :class:`~ectype.data.waves.Recordings`; labels where they are apart from them; notes; and the file of each picture or
    recording, as a path below the folder or in the zip."""

    X: Any
    y: pd.Series | None
    notes: list[str]
    files: tuple[str, ...] = ()


def read(path: Path, *, kinds: Mapping[str, str] | None = None, size: tuple[int, ...] | None = None) -> Content:
    """What a file or a folder holds.

    ``size`` is the height and width of pictures, or the samples of a recording. Raises :class:`DataFileError` for what cannot be read.
    """
    if path.is_dir():
        return _read_folder(path, size)
    for suffixes, hint in ADVICE.items():
        if path.name.lower().endswith(suffixes):
            raise DataFileError(f"{path.name} cannot be read", expected=FORMATS, hint=hint)
    data = read_bytes(path)
    if zipfile.is_zipfile(io.BytesIO(data)):
        return _read_zip(path, data, kinds, size)
    if data.startswith(b"PK\x03\x04"):
        raise DataFileError(f"{path.name} is a damaged zip", got=f"{len(data):,} bytes without a directory at the end",
                            hint="fetch it again: it may be cut short")
    if data[:4] in (b"RIFF", b"RIFX", b"RF64") and data[8:12] == b"WAVE":
        return _read_recording(path, data, size)
    if size is not None:
        raise DataFileError("only pictures and recordings have a size", expected="a folder or a zip of pictures or WAV files",
                            got=path.name, hint="leave size out")
    if not data:
        raise DataFileError(f"{path.name} is empty", expected="a header line and at least 2 rows")
    if data.startswith(b"\x93NUMPY"):
        return Content(*read_npy(data))
    if is_idx(data[:4]):
        return _read_idx_pair(path, data)
    if data.startswith(b"PAR1"):
        frame, notes = read_parquet(data)
    elif data.startswith(PICTURE_STARTS) and path.suffix.lower() in SUFFIXES:
        raise DataFileError(f"{path.name} is a single picture", expected="a folder or a zip of pictures",
                            hint="give the folder that holds it")
    else:
        frame, notes = read_text_table(data, kinds=kinds)
    return Content(frame, None, notes)


def read_bytes(path: Path) -> bytes:
    """The content of a file, unzipped where it is gzipped."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise DataFileError(f"{path.name} is a damaged gzip file", got=str(e), hint="fetch it again: it may be cut short") from e
    except OSError as e:
        raise DataFileError(f"{path} cannot be read", got=e.strerror or str(e)) from e


def _read_folder(folder: Path, size: tuple[int, ...] | None) -> Content:
    pictures, waves = folder_entries(folder, SUFFIXES), folder_entries(folder, WAVES)
    if pictures or waves:
        return _read_entries(pictures, waves, size)
    files = sorted(p.name for p in folder.iterdir() if p.is_file())
    hint = f"give one file: {folder / files[0]}" if files else None
    raise DataFileError(f"the folder {folder} holds no pictures and no WAV files", expected=", ".join(sorted(SUFFIXES | WAVES)),
                        got=some(files, 3) if files else "no files", hint=hint)


def _read_entries(pictures: list[Entry], waves: list[Entry], size: tuple[int, ...] | None) -> Content:
    """The pictures or the recordings, whichever are more."""
    if len(pictures) >= len(waves):
        X, y, notes, files = read_pictures(pictures, size=size)
        return Content(X, y, notes + ([f"left out, beside the pictures: {len(waves)} WAV files"] if waves else []), files)
    X, y, notes, files = read_waves(waves, size=size)
    return Content(X, y, notes + ([f"left out, beside the recordings: {len(pictures)} pictures"] if pictures else []), files)


def _read_recording(path: Path, data: bytes, size: tuple[int, ...] | None) -> Content:
    if size is None:
        raise DataFileError(f"{path.name} is a single recording", expected="a folder or a zip of WAV files",
                            hint="give the folder that holds it, or cut it into windows: --size 4000 (size=4000)")
    return Content(*read_waves([(PurePosixPath(path.name), lambda: data)], size=size))


def _read_zip(path: Path, data: bytes, kinds: Mapping[str, str] | None, size: tuple[int, ...] | None,
              ) -> Content:
    """An NPZ, a zip of pictures or WAV files, or a zip with a single table in it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX")]
        if names and all(n.endswith(".npy") for n in names):
            return Content(*read_npz(data))
        pictures, waves = zip_entries(archive, SUFFIXES), zip_entries(archive, WAVES)
        if pictures or waves:
            return _read_entries(pictures, waves, size)
        if len(names) == 1 and PurePosixPath(names[0]).suffix.lower() in (".csv", ".tsv", ".txt", ".data"):
            frame, notes = read_text_table(archive.read(names[0]), kinds=kinds)
            return Content(frame, None, [f"the table is {names[0]} in the zip", *notes])
    raise DataFileError(f"{path.name} holds no pictures", expected="a zip of pictures or WAV files, or of one CSV",
                        got=some(names, 3) if names else "nothing", hint="unpack it and give the file that you mean")


def _read_idx_pair(path: Path, data: bytes) -> Content:
    array = read_idx(data)
    if array.ndim == 1:
        raise DataFileError(f"{path.name} holds labels", expected="images or rows", got=f"shape {array.shape}",
                            hint="give the file of images")
    X, notes = as_data(array)
    beside = labels_beside(path)
    if beside is None:
        return Content(X, None, notes)
    y = as_labels(read_idx(read_bytes(beside)), name="y")
    if len(y) != len(X):
        raise DataFileError("images and labels do not match", expected=f"{len(X):,} labels, as in {path.name}",
                            got=f"{len(y):,} in {beside.name}")
    return Content(X, y, [*notes, f"labels are read from {beside.name}"])


def labels_beside(images: Path) -> Path | None:
    """The file of labels that belongs to an IDX file of images: ``train-images-idx3-ubyte`` has ``train-labels-idx1-ubyte``."""
    name = images.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    if name == images.name:
        return None
    bare = name.removesuffix(".gz")
    return next((p for p in (images.with_name(name), images.with_name(bare), images.with_name(bare + ".gz")) if p.is_file()), None)
