"""Dense blocks: a picture or a one-dimensional signal, every row an array of the same shape.

=========== ============= ========================= =============================================================================
Block       kind          stored as                 a stored value
=========== ============= ========================= =============================================================================
`Image`     image         uint8 ``(C, H, W)``       pixel level ``0 … levels − 1``
`Signal`    signal        float32 ``(C, L)``        ``z = (v − center_c) / scale_c``: zero mean and unit variance in each channel
=========== ============= ========================= =============================================================================

Neither has missing values. A block is fitted on the training part, frozen, NumPy only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from ..errors import DataError, InvalidParameterError, SchemaMismatchError

HUGE = 1e150            # a number beyond is infinite, since its square is
SIGNAL = "signal"       # the kind of a whole array, "signal@RATE" where the samples per second are known


@dataclass(frozen=True)
class Image:
    """A picture, stored as pixel levels ``0 … levels − 1`` in channels-first order.

    ``dtype`` and ``top`` (the value of the highest level outside) say how it came: uint8 up to 255, whole numbers up to 16, or
    floats in [0, 1]. ``channels_last`` is false for grey pictures given as ``(N, H, W)``.
    """

    name: str
    channels: int
    height: int
    width: int
    levels: int
    dtype: str
    top: float
    channels_last: bool

    kind: ClassVar[str] = "image"
    type: ClassVar[str] = "image"
    missing: ClassVar[bool] = False
    varies: ClassVar[bool] = True

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, self.height, self.width)

    def encode(self, images: np.ndarray) -> np.ndarray:
        expected = (self.height, self.width) + ((self.channels,) if self.channels_last else ())
        if images.shape[1:] != expected:
            raise SchemaMismatchError("images of another shape", expected=f"(N, {', '.join(map(str, expected))})", got=images.shape,
                                      hint="give images of the size that the model was fitted on")
        v = np.asarray(images)
        if v.dtype != np.uint8 or self.top != self.levels - 1:
            v = np.asarray(v, np.float64)
            if not np.isfinite(v).all():
                raise DataError("images have values that are not finite", hint="replace NaN and infinities")
            v = np.round(v * ((self.levels - 1) / self.top))
        if v.size and (v.min() < 0 or v.max() > self.levels - 1):
            raise SchemaMismatchError("pixels outside the range of the training images", expected=f"0 to {self.top:g}",
                                      got=f"{np.min(images):g} to {np.max(images):g}")
        v = v.astype(np.uint8)
        return np.ascontiguousarray(np.moveaxis(v, -1, 1) if self.channels_last else v[:, None])

    def decode(self, stored: np.ndarray) -> np.ndarray:
        v = np.clip(np.asarray(stored), 0, self.levels - 1)
        v = np.moveaxis(v, 1, -1) if self.channels_last else v[:, 0]
        if self.top != self.levels - 1:
            v = v.astype(np.float64) * (self.top / (self.levels - 1))
        return np.ascontiguousarray(v.astype(self.dtype))


def fit_image(X: np.ndarray) -> Image:
    """Pixel levels: uint8 as they are, small whole numbers (digits' 0–16, binary 0/1) as their own levels, floats in [0, 1] in 256."""
    if X.size == 0:
        raise DataError("images without pixels", got=X.shape)
    if X.dtype == object or not np.isfinite(X).all():
        raise DataError("images have values that are not finite numbers", hint="replace NaN and infinities")
    low, high = float(X.min()), float(X.max())
    height, width = X.shape[1:3]
    channels, channels_last = (X.shape[3], True) if X.ndim == 4 else (1, False)
    common = dict(name="image", channels=channels, height=height, width=width, dtype=str(X.dtype), channels_last=channels_last)
    if channels > 4:
        raise DataError("images with more than four channels", expected="(N, H, W) or (N, H, W, channels)", got=X.shape,
                        hint="np.moveaxis(X, 1, -1) puts the channels last" if X.shape[1] in (1, 3, 4) else None)
    if low < 0:
        raise DataError("pixels below zero", expected="uint8 levels, or floats in [0, 1]", got=f"{low:g} to {high:g}",
                        hint='shift and scale the images to [0, 1]; if these are signals (N, L, channels), kinds="signal" says so')
    whole = X.dtype.kind in "bui" or bool((np.round(X) == X).all())
    if whole and high <= 255 and not (X.dtype.kind == "f" and high <= 1 and low == high):
        levels = 2 if high <= 1 else 17 if high <= 16 else 256       # ink or none; scikit-learn's digits; bytes
        return Image(levels=levels, top=float(levels - 1), **common)
    if high <= 1:
        return Image(levels=256, top=1.0, **common)
    raise DataError("pixels out of range", expected="uint8 levels up to 255, or floats in [0, 1]", got=f"{low:g} to {high:g}",
                    hint="divide by the largest value")


@dataclass(frozen=True)
class Signal:
    """A one-dimensional signal of ``length`` samples in ``channels`` channels, stored channels first.

    ``z = (v − center_c) / scale_c`` with the mean and the standard deviation of channel ``c`` over the training part; the scale of a
    constant channel is 1. ``dtype`` is that of the training array: whole numbers come back rounded, within the range of their dtype;
    other values are bounded by nothing. ``low`` and ``high`` are the smallest and the largest training value. ``channels_last`` is
    false for signals given as ``(N, L)``. ``rate`` is the number of samples per second, 0 where it is not known.
    """

    name: str
    channels: int
    length: int
    dtype: str
    center: tuple[float, ...]
    scale: tuple[float, ...]
    low: float
    high: float
    channels_last: bool
    rate: int = 0

    kind: ClassVar[str] = SIGNAL
    type: ClassVar[str] = SIGNAL
    missing: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, int]:
        return (self.channels, self.length)

    @property
    def varies(self) -> bool:
        """Whether there is anything to learn."""
        return self.low < self.high

    @property
    def log_derivative(self) -> float:
        """``log |dz/dv| = −L Σ_c log scale_c``: turns a log-density of stored signals into one in the units of the data."""
        return -self.length * float(np.log(self.scale).sum())

    def encode(self, signals: pd.DataFrame | np.ndarray) -> np.ndarray:
        """Stored float32 ``(N, C, L)`` of an array ``(N, L)`` or ``(N, L, C)``, or of a DataFrame of numbers ``(N, L)``."""
        v = as_signals(signals)
        expected = (self.length,) + ((self.channels,) if self.channels_last else ())
        if v.shape[1:] != expected:
            raise SchemaMismatchError("signals of another shape", expected=f"(N, {', '.join(map(str, expected))})", got=v.shape,
                                      hint=f"cut them to the {self.length} samples that the model was fitted on")
        v = np.moveaxis(_finite(v.astype(np.float64)), -1, 1) if self.channels_last else _finite(v.astype(np.float64))[:, None]
        return np.ascontiguousarray((v - self._column(self.center)) / self._column(self.scale), np.float32)

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`encode`, in the dtype and the layout of the training array."""
        v = np.asarray(stored, np.float64) * self._column(self.scale) + self._column(self.center)
        dtype = np.dtype(self.dtype)
        if dtype.kind in "biu":
            low, high = (0.0, 1.0) if dtype.kind == "b" else map(float, (np.iinfo(dtype).min, np.iinfo(dtype).max))
            v = np.clip(np.round(v), low, high if high < 2**53 else np.nextafter(high, 0.0))     # 2⁶³ − 1 is no float64, 2⁶³ no int64
        else:
            v = np.clip(v, np.finfo(dtype).min, np.finfo(dtype).max)
        return np.ascontiguousarray((np.moveaxis(v, 1, -1) if self.channels_last else v[:, 0]).astype(dtype))

    @staticmethod
    def _column(values: tuple[float, ...]) -> np.ndarray:
        return np.asarray(values)[:, None]


def fit_signal(X: pd.DataFrame | np.ndarray, rate: int = 0) -> tuple[Signal, list[str]]:
    """The block of training signals, and what deserves a word. Raises :class:`DataError` for fewer than two samples in a signal,
    columns that are not numbers, and values that are not finite."""
    X = as_signals(X)
    if X.shape[1] < 2 or X.size == 0:
        raise DataError("signals that are too short", expected="at least 2 samples in each, (N, L) or (N, L, channels)", got=X.shape)
    v = _finite(X.astype(np.float64)).reshape(len(X), X.shape[1], -1)
    center, scale = v.mean((0, 1)), v.std((0, 1))
    scale = np.where(scale <= 1e-12 * np.abs(center), 1.0, np.where(scale > 0, scale, 1.0))
    notes = []
    if X.ndim == 3 and X.shape[2] > X.shape[1]:
        notes.append(f"{X.shape[2]} channels of {X.shape[1]} samples each, as (N, L, channels); if the channels come first, "
                     "np.moveaxis(X, 1, -1) puts them last")
    return Signal("signal", v.shape[2], v.shape[1], str(X.dtype), tuple(map(float, center)), tuple(map(float, scale)), float(v.min()),
                  float(v.max()), channels_last=X.ndim == 3, rate=rate), notes


def signal_rate(kind: object) -> int | None:
    """Samples per second of the kind of a whole array: 8000 of ``"signal@8000"``, 0 of ``"signal"``; None for any other kind."""
    match = re.fullmatch(r"signal(?:@([1-9]\d{0,8}))?", kind) if isinstance(kind, str) else None
    return int(match[1] or 0) if match else None


def whole_kind(kind: str) -> int:
    """:func:`signal_rate` of the kind of a whole array; raises :class:`InvalidParameterError` for what is none."""
    rate = signal_rate(kind)
    if rate is None:
        raise InvalidParameterError("unknown kind of data", expected='"signal", "signal@RATE", or a mapping from columns to kinds',
                                    got=repr(kind), hint="pictures and tables are told apart by the shape of the array")
    return rate


def as_signals(X: pd.DataFrame | np.ndarray) -> np.ndarray:
    """An array of numbers ``(N, L)`` or ``(N, L, C)``, in the dtype it came in; raises :class:`DataError` for any other."""
    if isinstance(X, pd.DataFrame):
        words = [str(c) for c, t in X.dtypes.items() if not pd.api.types.is_numeric_dtype(t)]
        if words:
            listed = ", ".join(words[:5]) + (", …" if len(words) > 5 else "")
            raise DataError("signals have columns that are not numbers", expected="a column for each sample", got=listed,
                            hint=f"leave them out (drop=[{words[0]!r}], on the command line --drop {words[0]}), or name the label: --label")
        values = X.to_numpy()
        return values if values.dtype.kind in "biuf" else X.to_numpy(np.float64, na_value=np.nan)      # pandas' nullable numbers
    if X.ndim not in (2, 3):
        raise DataError("signals of this shape cannot be read", expected="(N, L) or (N, L, channels)", got=X.shape)
    if X.dtype.kind in "biuf":
        return X
    try:
        return X.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("signals have values that are not numbers", expected="numbers", got=str(error)) from error


def _finite(v: np.ndarray) -> np.ndarray:
    bad = ~(np.abs(v) <= HUGE)
    if bad.any():
        rows = np.flatnonzero(bad.reshape(len(v), -1).any(1))
        raise DataError("signals have values that are not finite", expected="numbers in every sample",
                        got=f"NaN or infinity in {len(rows)} of {len(v)}, the first in row {rows[0]}",
                        hint="leave such signals out, or fill the gaps, for example by interpolation")
    return v
