"""What goes to a file: a format that fits, told by the file's name; a file that appears whole or not at all."""

from __future__ import annotations

import gzip
import importlib.util
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from ..data.schema import Schema, as_frame
from ..errors import DataFileError, MissingExtraError

TABLE_FORMATS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".npz", ".npy")
ARRAY_FORMATS = (".npz", ".npy")        # hold numbers alone, so that reading them never runs code
IMAGE_FORMATS = (".png", ".npz", ".npy")
STDOUT = "-"
SMALLEST_TILE = 32                      # smaller images are enlarged, pixel by pixel, to about this
GAP, GROUND = 2, 128                    # pixels between the tiles, and their level


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write: it gets its name when the block ends well. A device or a pipe is written as it comes."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        with open(path, "wb") as f:
            yield f
        return
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(part, "wb") as f:
            yield f
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class Output:
    """Where rows or images go; everything that can be wrong with it is found before the work begins.

    out : a path, or ``-`` for CSV on standard output.
    images : images, or else a table.
    numeric : a table of numbers alone.
    """

    def __init__(self, out: str, *, images: bool = False, numeric: bool = True):
        self.path = None if out == STDOUT else Path(out).expanduser()
        self.format = next((f for f in (*TABLE_FORMATS, *IMAGE_FORMATS) if out.lower().endswith(f)), None)
        fitting = IMAGE_FORMATS if images else tuple(f for f in TABLE_FORMATS if numeric or f not in ARRAY_FORMATS)
        if self.path is not None:
            self._check_place(fitting)
            self._check_format("images" if images else "a table", fitting)
        elif images:
            raise DataFileError("images do not go to standard output", expected=f"--out FILE with {_listed(fitting)}")

    def _check_place(self, fitting: Sequence[str]) -> None:
        folder = self.path.parent
        if self.path.is_dir():
            raise DataFileError(f"{self.path} is a folder", expected="a file name", hint=f"--out {self.path}/samples{fitting[0]}")
        if not folder.is_dir():
            raise DataFileError(f"the folder {folder} does not exist", expected="an existing folder", hint=f"mkdir -p {folder}")
        if not self._is_stream and not os.access(folder, os.W_OK):
            raise DataFileError(f"the folder {folder} cannot be written", hint="choose another folder, or change its permissions")

    def _check_format(self, what: str, fitting: Sequence[str]) -> None:
        if self.format not in fitting and not self._is_stream:
            why = " (numbers only, and this table has other columns)" if self.format in ARRAY_FORMATS else ""
            expected = f"a file name with {_listed(fitting)}"
            raise DataFileError(f"{what} cannot be written there", expected=expected, got=f"{self.path}{why}")
        if self.format == ".parquet" and importlib.util.find_spec("pyarrow") is None:
            raise MissingExtraError("pyarrow", "parquet", "writing Parquet")

    @property
    def _is_stream(self) -> bool:
        """A device or a pipe, such as /dev/stdout."""
        return self.path.exists() and not self.path.is_file()

    def write_table(self, X: Any, y: pd.Series | None = None, columns: Sequence[str] = ()) -> None:
        """Rows, and the condition they were made under: a column of its own (in the order of ``columns``), or ``y`` of an NPZ."""
        frame = as_frame(X)
        if self.format in ARRAY_FORMATS:
            numbers = [pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan) for _, column in frame.items()]
            with whole(self.path) as f:
                _write_arrays(f, self.format, np.column_stack(numbers), y)
            return
        if y is not None:
            frame = frame.assign(**{str(y.name): y.to_numpy()})
            frame = frame[[c for c in columns if c in frame.columns] or frame.columns]
        if self.path is None:
            frame.to_csv(sys.stdout, index=False)
            return
        with whole(self.path) as f:
            if self.format == ".parquet":
                frame.to_parquet(f, index=False)
                return
            text = frame.to_csv(index=False, sep="\t" if self.format in (".tsv", ".tsv.gz") else ",").encode()
            f.write(gzip.compress(text, mtime=0) if self.format in (".csv.gz", ".tsv.gz") else text)

    def write_images(self, X: np.ndarray, y: pd.Series | None, *, top: float, rows: Sequence[np.ndarray]) -> None:
        """Images ``(N, H, W)`` or ``(N, H, W, C)`` with levels ``0 … top``; ``rows`` is how a PNG arranges them."""
        with whole(self.path) as f:
            if self.format == ".png":
                from PIL import Image
                Image.fromarray(sheet(rows, top)).save(f, "PNG")
            else:
                _write_arrays(f, self.format, X, y)


def _write_arrays(f: IO[bytes], suffix: str, x: np.ndarray, y: pd.Series | None) -> None:
    if suffix == ".npy":
        np.save(f, x, allow_pickle=False)
        return
    labels = {} if y is None else {"y": y.to_numpy().astype(str) if y.dtype.kind not in "biuf" else y.to_numpy()}
    np.savez_compressed(f, x=x, **labels)


def is_numeric(schema: Schema) -> bool:
    """Whether a table of this schema is numbers in every column."""
    return all(b.kind in ("numeric", "integer") if b.type == "number" else all(isinstance(v, (bool, int, float)) for v in b.values)
               for b in schema.blocks)


def in_rows(images: np.ndarray, columns: int | None = None) -> list[np.ndarray]:
    """Images in rows of ``columns``; by default about as many rows as columns."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    return [images[i : i + columns] for i in range(0, len(images), columns)]


def sheet(rows: Sequence[np.ndarray], top: float) -> np.ndarray:
    """One picture, uint8 ``(height, width)`` or ``(height, width, 3)``, of rows of images with levels ``0 … top``."""
    h, w = rows[0].shape[1:3]
    zoom = max(1, SMALLEST_TILE // max(h, w))
    columns = max(map(len, rows))
    colour = () if rows[0].ndim == 3 or rows[0].shape[3] < 3 else (3,)
    h, w = h * zoom, w * zoom
    page = np.full((len(rows) * (h + GAP) + GAP, columns * (w + GAP) + GAP, *colour), GROUND, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            levels = np.clip(np.round(np.asarray(image, np.float64) * (255 / top)), 0, 255).astype(np.uint8)
            levels = levels[..., :3] if colour else levels.reshape(*levels.shape[:2], -1)[..., 0]
            y, x = GAP + i * (h + GAP), GAP + j * (w + GAP)
            page[y : y + h, x : x + w] = levels.repeat(zoom, 0).repeat(zoom, 1)
    return page


def write_text(path: Path, text: str) -> None:
    """A small file, whole."""
    with whole(path) as f:
        f.write(text.encode())


def _listed(formats: Sequence[str]) -> str:
    return " or ".join([", ".join(formats[:-1]), formats[-1]])
