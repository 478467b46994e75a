"""Pictures from a folder or a zip: PNG, JPEG, BMP, GIF, WebP and TIFF to one uint8 array.

Grey pictures become ``(N, H, W)``, colour ones ``(N, H, W, 3)``. The camera's orientation mark is obeyed, transparency is laid on
white, 16-bit grey is scaled to 8 bits. Where every picture lies in a sub-folder, the sub-folder's name is its label. A picture that
cannot be read is left out and named in a note.
"""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from ..errors import DataError, DataFileError, InvalidParameterError
from .entries import Entry, folder_labels

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
ORIENTATION = 0x0112            # EXIF tag; values from 5 on swap height and width
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, RuntimeError, NotImplementedError,
              zlib.error, zipfile.BadZipFile, Image.DecompressionBombError)     # what Pillow and zipfile raise for damaged files


def read_pictures(entries: Sequence[Entry], *, size: tuple[int, int] | None = None,
                  ) -> tuple[np.ndarray, pd.Series | None, list[str], tuple[str, ...]]:
    """Images, their labels (the sub-folder's name), notes, and the file of each.

    ``size = (H, W)`` cuts each picture centrally to that shape and resizes it. Without it all must have one size, else
    :class:`DataError` lists the sizes. Raises :class:`DataFileError` where no picture can be read.
    """
    if size is not None and not (len(size) == 2 and all(isinstance(s, (int, np.integer)) and s > 0 for s in size)):
        raise InvalidParameterError("size is not a height and a width", expected="two whole numbers > 0", got=size,
                                    hint="--size 32x32")
    sizes: Counter[tuple[int, int]] = Counter()
    pictures: list[_Picture] = []
    good: list[PurePosixPath] = []
    broken: list[tuple[PurePosixPath, Exception]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")         # Pillow's remarks on odd metadata; what cannot be read raises
        for path, read in entries:
            try:
                with Image.open(io.BytesIO(read())) as image:
                    upright = _upright_size(image)
                    if size is not None or set(sizes) <= {upright}:      # once sizes differ, only headers are read
                        pictures.append(_decode(image, size))
            except UNREADABLE as e:
                broken.append((path, e))
            else:
                sizes[upright] += 1
                good.append(path)
    if not good:
        raise DataFileError("no picture can be read", expected="PNG, JPEG, BMP, GIF, WebP or TIFF files",
                            got="; ".join(f"{path}: {_reason(e)}" for path, e in broken[:3]))
    notes = []
    if broken:
        listed = "; ".join(f"{path} ({_reason(e)})" for path, e in broken[:5]) + ("; …" if len(broken) > 5 else "")
        notes.append(f"left out, because they cannot be read, {len(broken)} of {len(entries)} pictures: {listed}")
    if len(sizes) > 1 and size is None:
        listed = ", ".join(f"{h}x{w} ({n})" for (h, w), n in sizes.most_common(6))
        (height, width), _ = sizes.most_common(1)[0]
        raise DataError("the pictures have different sizes", expected="one height x width",
                        got=listed + (f", … ({len(sizes)} sizes in all)" if len(sizes) > 6 else ""),
                        hint=f"--size {height}x{width} (size=({height}, {width})) cuts and resizes all")
    if size is not None and set(sizes) != {tuple(size)}:
        notes.append(f"cut centrally and resized to {size[0]}x{size[1]}: {len(good) - sizes[tuple(size)]} of {len(good)} pictures")
    images, more = _stack(pictures)
    labels, remark = folder_labels(good, "picture")
    return images, labels, notes + more + remark, tuple(map(str, good))


@dataclass
class _Picture:
    """Pixels, ``(H, W)`` or ``(H, W, 3)``, and what had to be done to get them."""

    pixels: np.ndarray
    in_colour: bool
    done: set[str] = field(default_factory=set)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width once the orientation mark is obeyed, from the header alone."""
    width, height = image.size
    return (width, height) if image.getexif().get(ORIENTATION, 1) >= 5 else (height, width)


def _decode(image: Image.Image, size: tuple[int, int] | None) -> _Picture:
    """Pixels of one opened picture."""
    done = {"animated"} if getattr(image, "n_frames", 1) > 1 else set()
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        levels = np.asarray(image)
        if levels.dtype.kind == "f" or levels.min() < 0 or levels.max() > 65535:
            raise ValueError(f"pixels of mode {image.mode} beyond 16 bits")
        image = Image.fromarray(np.round(levels / 257).astype(np.uint8))
        done.add("16-bit")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        grey = image.mode in ("L", "LA", "La", "1")
        image = image.convert("RGBA")
        if image.getextrema()[3][0] < 255:
            done.add("transparent")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("L" if grey else "RGB")
    in_colour = image.mode not in ("1", "L", "P")
    image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    if size is not None and image.size != (size[1], size[0]):
        image = ImageOps.fit(image, (size[1], size[0]), method=Image.Resampling.LANCZOS)
    pixels = np.asarray(image)
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = np.ascontiguousarray(pixels[..., 0])
    return _Picture(pixels, in_colour or pixels.ndim == 3, done)


def _stack(pictures: list[_Picture]) -> tuple[np.ndarray, list[str]]:
    """One array; grey where every picture is grey, whatever mode it is stored in."""
    n, n_stored_grey = len(pictures), sum(not p.in_colour for p in pictures)
    notes = []
    if any(p.pixels.ndim == 3 for p in pictures):
        images = np.stack([p.pixels if p.pixels.ndim == 3 else np.repeat(p.pixels[..., None], 3, axis=-1) for p in pictures])
        if n_stored_grey:
            notes.append(f"grey, read as colour like the others: {n_stored_grey} of {n} pictures")
    else:
        images = np.stack([p.pixels for p in pictures])
        if n_stored_grey < n:
            notes.append("pictures are stored in colour but hold only grey; read with one channel")
    for what, note in (("transparent", "transparent parts laid on white"), ("16-bit", "16 bits scaled to 8"),
                       ("animated", "first of several frames read")):
        if count := sum(what in p.done for p in pictures):
            notes.append(f"{note}: {count} of {n} pictures")
    return images, notes


def _reason(e: Exception) -> str:
    if isinstance(e, Image.UnidentifiedImageError):
        return "not a picture"
    return str(e).splitlines()[0] if str(e) else type(e).__name__
