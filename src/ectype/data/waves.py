"""Recordings from a folder or a zip of WAV files: PCM of 8, 16, 24 or 32 bits and floats, to one float32 array.

Integer samples are divided by the largest of their width, so that all lie in [−1, 1]; floats are taken as they are. Mono gives
``(N, L)``, several channels ``(N, L, channels)``; mono among stereo is heard on every channel. Recordings have one rate and one
length, or are cut into windows of one length. Where every file lies in a sub-folder, the sub-folder's name is its label. A file that
cannot be read is left out and named in a note.
"""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

import numpy as np
import pandas as pd
from scipy.io import wavfile

from ..errors import DataError, DataFileError, InvalidParameterError
from .entries import Entry, folder_labels

SUFFIXES = frozenset({".wav", ".wave"})
UNREADABLE = (OSError, ValueError, EOFError, IndexError, KeyError, RuntimeError, NotImplementedError, TypeError, struct.error, zlib.error,
              ZeroDivisionError, zipfile.BadZipFile, UnboundLocalError)     # what SciPy and zipfile raise for damaged files
ENDLESS = b"\xff\xff\xff\xff"      # the size that a program writes into the header when it does not know the end yet


@dataclass(frozen=True, eq=False)
class Recordings:
    """``samples``, float32 ``(N, L)`` or ``(N, L, channels)``, and ``rate``, the samples per second."""

    samples: np.ndarray
    rate: int


def read_waves(entries: Sequence[Entry], *, size: tuple[int, ...] | None = None,
               ) -> tuple[Recordings, pd.Series | None, list[str], tuple[str, ...]]:
    """Recordings, their labels (the sub-folder's name), notes, and the file of each.

    ``size = (L,)`` cuts each file into consecutive windows of L samples and drops the remainder. Without it all must have one length,
    else :class:`DataError` lists the lengths. Raises :class:`DataError` for several rates, or numbers of channels, and
    :class:`DataFileError` where no file can be read.
    """
    if size is not None and not (len(size) == 1 and isinstance(size[0], (int, np.integer)) and size[0] > 1):
        raise InvalidParameterError("size is not a length", expected="a whole number of samples > 1", got=size, hint="--size 4000")
    waves: list[np.ndarray] = []
    rates: Counter[int] = Counter()
    good: list[PurePosixPath] = []
    broken: list[tuple[PurePosixPath, Exception]] = []
    for path, read in entries:
        try:
            rate, wave = decode_wave(read())
        except UNREADABLE as e:
            broken.append((path, e))
        else:
            waves.append(wave)
            rates[rate] += 1
            good.append(path)
    if not good:
        raise DataFileError("no recording can be read", expected="WAV files (PCM or float)",
                            got="; ".join(f"{path}: {_reason(e)}" for path, e in broken[:3]))
    notes = []
    if broken:
        listed = "; ".join(f"{path} ({_reason(e)})" for path, e in broken[:5]) + ("; …" if len(broken) > 5 else "")
        notes.append(f"left out, because they cannot be read, {len(broken)} of {len(entries)} recordings: {listed}")
    if len(rates) > 1:
        raise DataError("the recordings have different rates", expected="one number of samples per second",
                        got=_counts(rates, " Hz"), hint=f"resample them to {rates.most_common(1)[0][0]} Hz")
    waves, more = _one_width(waves)
    notes += more
    rows, samples, more = _one_length(waves, size)
    notes += more
    if np.abs(samples).max() > 1:
        notes.append("floats beyond ±1 are kept as they are")
    files = [good[i] for i in rows]
    labels, remark = folder_labels(files, "recording")
    return Recordings(samples, next(iter(rates))), labels, notes + remark, tuple(map(str, files))


def decode_wave(data: bytes) -> tuple[int, np.ndarray]:
    """Samples per second, and float32 ``(L, channels)`` of one file. Raises ValueError for a file that is cut short or has no samples."""
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always", wavfile.WavFileWarning)
        rate, wave = wavfile.read(io.BytesIO(data))
    if any("EOF" in str(r.message) for r in remarks) and data[4:8] != ENDLESS:
        raise ValueError("cut short")
    if wave.dtype == np.uint8:
        wave = (wave.astype(np.float32) - 128) / 128
    elif wave.dtype.kind == "i":            # 24 bits are in the upper part of 32
        wave = (wave / -float(np.iinfo(wave.dtype).min)).astype(np.float32)
    elif not np.isfinite(wave).all():
        raise ValueError("samples that are not finite")
    if not wave.size or not rate:
        raise ValueError("no samples")
    return int(rate), wave.astype(np.float32).reshape(len(wave), -1)


def write_wave(f: IO[bytes], rate: int, wave: np.ndarray) -> None:
    """One recording ``(L,)`` or ``(L, channels)``: whole numbers of 8 (unsigned), 16 or 32 bits as PCM, other values as 32-bit floats."""
    wavfile.write(f, rate, wave if wave.dtype in (np.uint8, np.int16, np.int32) else wave.astype(np.float32))


def _one_width(waves: list[np.ndarray]) -> tuple[list[np.ndarray], list[str]]:
    """All with the same number of channels; mono is heard on each."""
    widths = Counter(w.shape[1] for w in waves)
    widest = max(widths)
    if set(widths) - {1, widest}:
        raise DataError("the recordings have different numbers of channels", expected="one number", got=_counts(widths, " channels"),
                        hint="mix them down to one")
    if len(widths) == 1:
        return waves, []
    note = f"mono, heard on {widest} channels like the others: {widths[1]} of {len(waves)} recordings"
    return [np.repeat(w, widest, axis=1) if w.shape[1] == 1 else w for w in waves], [note]


def _one_length(waves: list[np.ndarray], size: tuple[int, ...] | None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """From which recording each row comes, the rows ``(N, L)`` or ``(N, L, channels)``, and notes."""
    lengths = Counter(map(len, waves))
    if size is None:
        shortest = min(lengths)
        if len(lengths) > 1:
            raise DataError("the recordings have different lengths", expected="one number of samples", got=_counts(lengths, " samples"),
                            hint=f"--size {shortest} (size={shortest}) cuts each into windows of {shortest} samples")
        return np.arange(len(waves)), _mono(np.stack(waves)), []
    n = int(size[0])
    if max(lengths) < n:
        raise DataError("the recordings are shorter than one window", expected=f"at least {n} samples", got=_counts(lengths, " samples"),
                        hint=f"--size {max(lengths)} or less")
    counts = [len(w) // n for w in waves]
    rows = np.repeat(np.arange(len(waves)), counts)
    windows = np.concatenate([w[: k * n].reshape(k, n, -1) for w, k in zip(waves, counts, strict=True) if k])
    if set(lengths) == {n}:
        return rows, _mono(windows), []
    files = f"{len(waves):,} recording{'s' * (len(waves) != 1)}"
    notes = [f"cut into windows of {n:,} samples: {len(rows):,} from {files}; "
             "windows of one recording can fall into different parts of a split"]
    rest = sum(len(w) % n for w in waves) / sum(map(len, waves))
    notes += [f"too short for a window, and left out: {counts.count(0)} of {len(waves)} recordings"] if 0 in counts else []
    notes += [f"the remainder after the last window is dropped: {rest:.1%} of all samples"] if rest else []
    return rows, _mono(windows), notes


def _mono(waves: np.ndarray) -> np.ndarray:
    return waves[..., 0] if waves.shape[2] == 1 else waves


def _counts(counter: Counter[int], unit: str) -> str:
    """``8000 Hz (12), 44100 Hz (3)``, the most frequent first."""
    listed = ", ".join(f"{value}{unit} ({n})" for value, n in counter.most_common(6))
    return listed + (f", … ({len(counter)} in all)" if len(counter) > 6 else "")


def _reason(e: Exception) -> str:
    return str(e).splitlines()[0] if str(e) else type(e).__name__
