"""What goes to a file: a format that fits, told by the file's name; a file that appears whole or not at all."""

from __future__ import annotations

import gzip
import importlib.util
import io
import math
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..data.dense import Signal
from ..data.schema import Schema, as_frame
from ..data.waves import write_wave
from ..errors import DataFileError, MissingExtraError
from .plots import draw_signals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE_FORMATS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".npz", ".npy")
ARRAY_FORMATS = (".npz", ".npy")        # hold numbers alone, so that reading them never runs code
SINGLE_FORMATS = (".zip", "/")          # a file for each: pictures, or WAV files where the rate is known
IMAGE_FORMATS = (".png", ".npz", ".npy", *SINGLE_FORMATS)
DRAWING_FORMATS = (".png", ".svg")      # of a picture about the rows
STDOUT = "-"
FILE = "file"                           # the column that says which file a row is about
SMALLEST_TILE = 32                      # smaller images are enlarged, pixel by pixel, to about this
CAPTIONED_TILE = 96                     # the same, where something is written below
GAP, GROUND = 2, 128                    # pixels between the tiles, and their level
LINE = 14                               # pixels of a line of writing


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
    """Where rows, images or signals go; everything that can be wrong with it is found before the work begins.

    out : a path, or ``-`` for CSV on standard output. A folder, for a file each, ends with ``/``.
    images : images, or else a table.
    numeric : a table of numbers alone.
    signal : the block of signals.
    drawing : a picture about the rows is an output too.
    """

    def __init__(self, out: str, *, images: bool = False, numeric: bool = True, signal: Signal | None = None, drawing: bool = False):
        self.path, self.signal = None if out == STDOUT else Path(out).expanduser(), signal
        self.format = next((f for f in (*TABLE_FORMATS, *IMAGE_FORMATS, *DRAWING_FORMATS) if out.lower().endswith(f)), None)
        fitting = IMAGE_FORMATS if images else tuple(f for f in TABLE_FORMATS if numeric or f not in ARRAY_FORMATS)
        if signal is not None:
            fitting = (*(f for f in IMAGE_FORMATS if signal.rate or f not in SINGLE_FORMATS),
                       *(f for f in TABLE_FORMATS if f not in ARRAY_FORMATS and signal.channels == 1))
        fitting += DRAWING_FORMATS if drawing else ()
        what = "images" if images else "a table" if signal is None else "signals"
        if self.path is not None:
            self._check_place(fitting)
            self._check_format(what, fitting)
        elif images or (signal is not None and signal.channels > 1):
            several = " of several channels" if signal is not None else ""
            raise DataFileError(f"{what}{several} do not go to standard output", expected=f"--out FILE with {_listed(fitting)}")

    def _check_place(self, fitting: Sequence[str]) -> None:
        folder = self.path.parent
        if self.format == "/" and "/" in fitting:
            if self.path.exists() and not (self.path.is_dir() and not any(self.path.iterdir())):
                raise DataFileError(f"{self.path} exists", expected="a new or an empty folder for the files",
                                    hint="choose another --out")
        elif self.path.is_dir():
            raise DataFileError(f"{self.path} is a folder", expected="a file name", hint=f"--out {self.path}/samples{fitting[0]}")
        if not folder.is_dir():
            raise DataFileError(f"the folder {folder} does not exist", expected="an existing folder", hint=f"mkdir -p {folder}")
        if not self._is_stream and not os.access(folder, os.W_OK):
            raise DataFileError(f"the folder {folder} cannot be written", hint="choose another folder, or change its permissions")

    def _check_format(self, what: str, fitting: Sequence[str]) -> None:
        if self.format not in fitting and not self._is_stream:
            why = " (numbers only, and this table has other columns)" if self.format in ARRAY_FORMATS else ""
            if self.signal is not None:
                unknown = " (their rate is not known: --kind signal@RATE says it when a model is trained)"
                several = f" (they have {self.signal.channels} channels)"
                why = unknown if self.format in SINGLE_FORMATS else several if self.format in TABLE_FORMATS else ""
            expected = f"a file name with {_listed(fitting)}"
            raise DataFileError(f"{what} cannot be written there", expected=expected, got=f"{self.path}{why}")
        if self.format == ".parquet" and importlib.util.find_spec("pyarrow") is None:
            raise MissingExtraError("pyarrow", "parquet", "writing Parquet")

    @property
    def _is_stream(self) -> bool:
        """A device or a pipe, such as /dev/stdout."""
        return self.path.exists() and not self.path.is_file()

    def write_table(self, X: Any, y: pd.Series | None = None, columns: Sequence[str] = (), *, files: Sequence[str] = ()) -> None:
        """Rows, and the condition they were made under: a column of its own (in the order of ``columns``), or ``y`` of an NPZ. ``files``,
        which the rows are about, are the first column, but of arrays, which hold numbers alone."""
        frame = as_frame(X)
        if self.format in ARRAY_FORMATS:
            numbers = [pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan) for _, column in frame.items()]
            with whole(self.path) as f:
                _write_arrays(f, self.format, np.column_stack(numbers), y)
            return
        if files:
            frame = pd.concat([pd.Series(files, name=FILE), frame], axis=1)
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

    @property
    def is_drawing(self) -> bool:
        """Whether the file's name asks for a picture about the rows."""
        return self.format in DRAWING_FORMATS

    def write_drawing(self, figure: Figure) -> None:
        """A matplotlib figure, the same bytes for the same figure."""
        from matplotlib import rc_context

        kind = self.format.removeprefix(".")
        with whole(self.path) as f, rc_context({"svg.hashsalt": "ectype"}):      # matplotlib names the parts of an SVG at random otherwise
            figure.savefig(f, format=kind, metadata={"Software": None} if kind == "png" else {"Date": None})

    def write_images(self, X: np.ndarray, y: pd.Series | None, *, top: float, rows: Sequence[np.ndarray],
                     captions: Sequence[Sequence[str]] | None = None) -> None:
        """Images ``(N, H, W)`` or ``(N, H, W, C)`` with levels ``0 … top``; ``rows`` is how a PNG arranges them, ``captions`` what it
        writes below each."""
        if self.format in SINGLE_FORMATS:
            self._write_single(file_names(len(X), y, ".png"), (_png(to_levels(image, top)) for image in X))
            return
        with whole(self.path) as f:
            if self.format == ".png":
                f.write(_png(sheet(rows, top, captions)))
            else:
                _write_arrays(f, self.format, X, y)

    def write_signals(self, X: np.ndarray, y: pd.Series | None = None, *, beside: np.ndarray | None = None) -> None:
        """Signals ``(N, L)`` or ``(N, L, channels)``; a PNG draws ``beside``, the originals, below them in grey."""
        if self.format in SINGLE_FORMATS:
            self._write_single(file_names(len(X), y, ".wav"), (_wav(wave, self.signal.rate) for wave in X))
        elif self.format in (".png", *ARRAY_FORMATS):
            with whole(self.path) as f:
                if self.format == ".png":
                    draw_signals(f, X, y, rate=self.signal.rate, beside=beside)
                else:
                    _write_arrays(f, self.format, X, y)
        else:
            self.write_table(X.reshape(len(X), -1), y)

    def _write_single(self, names: Sequence[str], contents: Iterable[bytes]) -> None:
        """A file for each, in a zip or in a folder that gets its name when all of them are written."""
        if self.format == ".zip":
            with whole(self.path) as f, zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, content in zip(names, contents, strict=True):
                    archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)      # a ZipInfo has no clock in it
            return
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        part.mkdir()
        try:
            for name, content in zip(names, contents, strict=True):
                (part / name).parent.mkdir(exist_ok=True)
                (part / name).write_bytes(content)
            if self.path.exists():
                self.path.rmdir()
            os.replace(part, self.path)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def file_names(n: int, y: pd.Series | None, suffix: str) -> list[str]:
    """``0000.png``, …; with labels in a sub-folder for each, as they would be read again."""
    digits = max(4, len(str(n - 1)))
    names = [f"{i:0{digits}}{suffix}" for i in range(n)]
    if y is None:
        return names
    folders = [re.sub(r"[^\w .-]", "_", str(v)).strip(". ") or "_" for v in _text(y)]
    return [f"{folder}/{name}" for folder, name in zip(folders, names, strict=True)]


def _text(y: pd.Series) -> np.ndarray:
    """Labels, with the empty text for a blank."""
    return y.astype(object).where(y.notna(), "").to_numpy()


def _wav(wave: np.ndarray, rate: int) -> bytes:
    content = io.BytesIO()
    write_wave(content, rate, wave)
    return content.getvalue()


def _png(levels: np.ndarray) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(levels).save(content, "PNG")
    return content.getvalue()


def _write_arrays(f: IO[bytes], suffix: str, x: np.ndarray, y: pd.Series | None) -> None:
    if suffix == ".npy":
        np.save(f, x, allow_pickle=False)
        return
    labels = {} if y is None else {"y": _text(y).astype(str) if y.dtype.kind not in "biuf" else y.to_numpy()}
    np.savez_compressed(f, x=x, **labels)


def is_numeric(schema: Schema) -> bool:
    """Whether a table of this schema is numbers in every column."""
    return all(b.kind in ("numeric", "integer") if b.type == "number" else all(isinstance(v, (bool, int, float)) for v in b.values)
               for b in schema.blocks)


def in_rows(images: np.ndarray, columns: int | None = None) -> list[np.ndarray]:
    """Images in rows of ``columns``; by default about as many rows as columns."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    return [images[i : i + columns] for i in range(0, len(images), columns)]


def to_levels(image: np.ndarray, top: float) -> np.ndarray:
    """An image ``(H, W)`` or ``(H, W, C)`` with levels ``0 … top`` as uint8: grey ``(H, W)`` or, of three channels and more, colour."""
    levels = np.clip(np.round(np.asarray(image, np.float64) * (255 / top)), 0, 255).astype(np.uint8)
    if levels.ndim == 2:
        return levels
    return levels[..., :3] if levels.shape[2] >= 3 else levels[..., 0]


def sheet(rows: Sequence[np.ndarray], top: float, captions: Sequence[Sequence[str]] | None = None) -> np.ndarray:
    """One picture, uint8 ``(height, width)`` or ``(height, width, 3)``, of rows of images with levels ``0 … top``.

    captions : for each row what is written below its images, or nothing.
    """
    h, w = rows[0].shape[1:3]
    zoom = max(1, (SMALLEST_TILE if captions is None else CAPTIONED_TILE) // max(h, w))
    columns = max(map(len, rows))
    colour = () if rows[0].ndim == 3 or rows[0].shape[3] < 3 else (3,)
    h, w = h * zoom, w * zoom
    below = [LINE if captions is not None and captions[i] else 0 for i in range(len(rows))]
    page = np.full((len(rows) * (h + GAP) + sum(below) + GAP, columns * (w + GAP) + GAP, *colour), GROUND, np.uint8)
    y, words = GAP, []
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            x = GAP + j * (w + GAP)
            page[y : y + h, x : x + w] = to_levels(image, top).repeat(zoom, 0).repeat(zoom, 1)
            if below[i]:
                words.append(((x + 1, y + h), captions[i][j]))
        y += h + GAP + below[i]
    return _written(page, words) if words else page


def _written(page: np.ndarray, words: Sequence[tuple[tuple[int, int], str]]) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(page)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(LINE - 3)
    for place, text in words:
        draw.text(place, text, fill=255 if page.ndim == 2 else (255, 255, 255), font=font)
    return np.asarray(picture)


def write_text(path: Path, text: str) -> None:
    """A small file, whole."""
    with whole(path) as f:
        f.write(text.encode())


def _listed(formats: Sequence[str]) -> str:
    names = [f"FOLDER{f}" if f == "/" else f for f in formats]
    return " or ".join([", ".join(names[:-1]), names[-1]])
