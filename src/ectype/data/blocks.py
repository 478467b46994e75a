"""Blocks: one column (here), or one image or signal (in :mod:`ectype.data.dense`), and the way it is stored.

A Block is fitted on training data, frozen, NumPy only, and knows the way in (:meth:`encode`) and back (:meth:`decode`). It also
carries what a likelihood needs to know: the grid that the values lie on, the bounds, the number of categories or pixel levels.

=========== =========================== ======================= ============================================================
Block       kinds                       stored as               missing values
=========== =========================== ======================= ============================================================
`Number`    numeric, integer, datetime  one float32 slot        ``NaN``
`Category`  categorical, boolean        one float32 slot        a category of its own, the last code
`Image`     image                       uint8 ``(C, H, W)``     none
`Signal`    signal                      float32 ``(C, L)``      none
=========== =========================== ======================= ============================================================
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.special import ndtri

from ..errors import ColumnError, DataError, SchemaMismatchError
from .dense import HUGE, Image, Signal

MAX_CATEGORIES = 1000


@dataclass(frozen=True)
class Number:
    """A numeric, integer or datetime column, ``z = T(v)`` with an increasing map ``T``, close to zero mean and unit variance.

    Three maps, chosen by what the column looks like (:func:`fit_number`):

    * affine, ``z = (v − center) / scale``, for a well-behaved column;
    * through the empirical distribution function, ``z = Φ⁻¹(F(v))``, piecewise linear between ``knots`` (values) and ``knots_z``
      (normal quantiles), for heavy tails and for values that take a large share of the rows, the ``spikes`` (the zeros of an amount):
      a spike owns the cell of ``z`` that holds its share of the rows, and all of the cell is decoded to it;
    * the same for a column of few distinct ``levels`` (counts, ratings, ages), where every value owns a cell.

    ``low`` and ``high`` are the bounds seen in training; values decoded beyond them are reflected back inside, which piles nothing
    up at the bound. ``step > 0`` says that the training values lie on the grid ``offset + step · k`` (1 for integers, 0.01 for prices).
    A slot is float32: values closer than about 10⁻⁷ standard deviations are not told apart.
    """

    name: str
    kind: str
    dtype: str
    center: float
    scale: float
    low: float
    high: float
    step: float = 0.0
    offset: float = 0.0
    missing: bool = False
    knots: tuple[float, ...] = ()
    knots_z: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()
    day_first: bool = False
    spikes: tuple[float, ...] = ()

    type: ClassVar[str] = "number"

    @property
    def reading(self) -> str:
        """The kind by which text is read into such a column, so that it has the values of the training column."""
        return "boolean" if self.dtype == "bool" else self.kind

    @property
    def varies(self) -> bool:
        """Whether there is anything to learn."""
        return self.missing or self.low < self.high

    @property
    def discrete(self) -> bool:
        """Whether the likelihood of every value is a probability (the mass of a cell), and of none a density."""
        return bool(self.levels) or (self.half_cell > 0)

    @property
    def half_cell(self) -> float:
        """Half of the distance in ``z`` between neighbours on the grid of an affine map; 0 where the grid is too fine to matter."""
        return self.step / self.scale / 2 if not self.knots and self.step / self.scale >= FINE_GRID else 0.0

    def forward(self, v: np.ndarray) -> np.ndarray:
        """``T(v)``: column values (float64) to normalised values; NaN stays NaN."""
        if not self.knots:
            return (v - self.center) / self.scale
        return _piecewise(v, np.asarray(self.knots), np.asarray(self.knots_z))

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """``T⁻¹(z)``, not rounded, not bounded."""
        if not self.knots:
            return z * self.scale + self.center
        return _piecewise(z, np.asarray(self.knots_z), np.asarray(self.knots))

    def log_derivative(self, z: np.ndarray) -> np.ndarray:
        """``log dT/dv`` at normalised values: turns a log-density of ``z`` into one of ``v`` by addition; 0 where ``z`` has a mass."""
        z = np.asarray(z, np.float64)
        if self.discrete or not self.knots:
            return np.full(z.shape, 0.0 if self.discrete else -np.log(self.scale))
        k, kz = np.asarray(self.knots), np.asarray(self.knots_z)
        i = np.clip(np.searchsorted(kz, z, side="right") - 1, 0, len(k) - 2)
        return np.where(self._atom(z) >= 0, 0.0, np.log((kz[i + 1] - kz[i]) / (k[i + 1] - k[i])))

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds in ``z`` of the cells of the levels, or of the spikes; those at the ends of the range are unbounded."""
        if self.levels:
            edges = np.asarray(self.knots_z[1:-1])
            return np.concatenate([[-np.inf], edges]), np.concatenate([edges, [np.inf]])
        if not self.spikes:
            return np.zeros(0), np.zeros(0)
        at, kz = np.searchsorted(self.knots, self.spikes), np.asarray(self.knots_z)     # a spike lies between the knots of its cell
        low, high = kz[at - 1], kz[at]
        if self.spikes[0] == self.low:
            low[0] = -np.inf
        if self.spikes[-1] == self.high:
            high[-1] = np.inf
        return low, high

    def level_centers(self) -> np.ndarray:
        """``T`` of each level, ``(len(levels),)``."""
        return self.forward(np.asarray(self.levels))

    def _atom(self, z: np.ndarray) -> np.ndarray:
        """Index of the level or spike in whose cell ``z`` lies, −1 where in none."""
        low, high = self.cells()
        if not len(low):
            return np.full(np.shape(z), -1)
        i = np.searchsorted(low, z, side="right") - 1
        return np.where((i >= 0) & (z < high[i]), i, -1)

    def encode(self, values: pd.Series) -> np.ndarray:
        v = _finite(self.name, to_float(values, self.kind, self.day_first))
        if not self.missing and np.isnan(v).any():
            words = self.unreadable(values)
            if words:
                raise SchemaMismatchError(f"column {self.name!r} has values that are no {self.what}", expected=f"{self.what}, as in the "
                                          "training data", got=words, hint="correct them, or fit on data with blanks in this column")
            raise SchemaMismatchError(f"column {self.name!r} has blanks", expected="none, as in the training data",
                                      got=f"{int(np.isnan(v).sum())} blank", hint="fill them, or fit on data with blanks in this column")
        return self.forward(v).astype(np.float32)

    @property
    def what(self) -> str:
        """What the values are, in the words of a message."""
        return "dates" if self.kind == "datetime" else "numbers"

    def unreadable(self, values: pd.Series) -> str | None:
        """The first value that is no number (or date), where it stands, and how many more there are; None where all can be read."""
        at = np.flatnonzero(np.isnan(to_float(values, self.kind, self.day_first)) & values.notna().to_numpy())
        if not len(at):
            return None
        more = f", and {len(at) - 1:,} more" if len(at) > 1 else ""
        return f"{values.iloc[at[0]]!r} in row {at[0] + 1:,} of {len(values):,}{more}"

    def far(self, values: pd.Series) -> str | None:
        """In words the value farthest beyond the training range, and that range; None where all are within a tenth of its width from it.

        A column that is mapped through its distribution function has no such margin: the width is that of its long tail, a tenth of which
        can be many times what the other end spans, and beyond the last knot the map itself is a guess.
        """
        v = to_float(values, self.kind, self.day_first)
        beyond = np.nan_to_num(np.maximum(v - self.high, self.low - v), nan=-np.inf)
        at, width = int(beyond.argmax()), self.high - self.low
        if beyond[at] <= (ROUNDING if self.knots else FAR) * width:
            return None
        how = "far outside" if beyond[at] > FAR * width else "outside"
        date = self.kind == "datetime"
        value, low, high = (str(pd.Timestamp(round(s * 1e6), unit="us")).removesuffix(" 00:00:00") if date else f"{s:.6g}"
                            for s in (v[at], self.low, self.high))
        return f"{self.name} {value} is {how} of the training rows, {low} to {high}"

    def decode(self, stored: np.ndarray) -> pd.Series:
        z = np.asarray(stored, np.float64)
        absent = np.isnan(z)
        z = np.clip(np.where(absent, 0.0, z), -1e6, 1e6)
        atom = self._atom(z)
        if self.levels:
            v = np.asarray(self.levels)[atom]
        else:
            v = _reflected(self.inverse(z), self.low, self.high)
            if self.step:
                v = np.clip(self.offset + np.round((v - self.offset) / self.step) * self.step, self.low, self.high)
                v = np.round(v, round(-np.log10(self.step))) if self.step < 1 else v
            if self.spikes:
                v = np.where(atom >= 0, np.asarray(self.spikes)[atom], v)
        return from_float(v, absent, self)


FINE_GRID = 1e-3    # a grid finer than this share of the standard deviation is treated as continuous
CLOSEST = 1e-4      # of two knots in z
FAR = 0.1           # of the width of the training range: farther beyond it a model knows nothing
ROUNDING = 1e-6     # of the same: between a float32 of the training and the number that it was rounded from


def _piecewise(x: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The increasing map through the points (a, b), linear between them and beyond the ends."""
    i = np.clip(np.searchsorted(a, x, side="right") - 1, 0, len(a) - 2)
    return b[i] + (x - a[i]) * (b[i + 1] - b[i]) / (a[i + 1] - a[i])


def _finite(name: str, v: np.ndarray) -> np.ndarray:
    infinite = int((np.abs(v) > HUGE).sum())
    if infinite:
        raise DataError(f"column {name!r} has infinite values", expected="finite numbers or blanks", got=f"{infinite} beyond ±{HUGE:g}",
                        hint="replace them by blanks, or by a bound")
    return v


def _reflected(v: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values beyond the bounds mirrored at them, as often as it takes."""
    width = high - low
    if not width:
        return np.full_like(v, low)
    mirrored = high - np.abs(np.mod(v - low, 2 * width) - width)
    return np.where((v < low) | (v > high), np.clip(mirrored, low, high), v)


def fit_number(name: str, kind: str, values: pd.Series) -> Number:
    """Choose the map, the grid and the bounds of a column of numbers from its training values."""
    day_first = kind == "datetime" and values.dtype.kind not in "M" and day_comes_first(values) is True
    v = _finite(name, to_float(values, kind, day_first))
    missing = bool(np.isnan(v).any())
    v = v[~np.isnan(v)]
    center, scale, dtype = float(v.mean()), float(v.std()), str(values.dtype)
    distinct, counts = np.unique(v, return_counts=True)
    first = np.flatnonzero(np.diff(distinct, prepend=-np.inf) > 4 * np.finfo(np.float64).eps * np.abs(distinct))
    distinct, counts = distinct[first], np.add.reduceat(counts, first)      # 0.1 + 0.2 and 0.3 are one value
    common = dict(name=name, kind=kind, dtype=dtype, low=float(v.min()), high=float(v.max()), missing=missing,
                  day_first=day_first)
    if len(distinct) == 1 or scale <= 1e-12 * abs(center):
        return Number(center=float(v[0]), scale=1.0, step=1.0, offset=float(v[0]), **common)
    step, offset = _grid(v, kind, np.float32 if "float" in dtype.lower() and "64" not in dtype else np.float64)
    common |= dict(center=center, scale=scale, step=step, offset=offset)
    if len(distinct) <= 256 and len(v) >= 10 * len(distinct):
        middle, gap = (distinct[1:] + distinct[:-1]) / 2, np.diff(distinct) / 2
        edges = np.concatenate([[distinct[0] - gap[0]], middle, [distinct[-1] + gap[-1]]])
        return Number(levels=tuple(distinct.tolist()), knots=tuple(edges.tolist()), knots_z=_quantiles_at(np.cumsum(counts), len(v)),
                      **common)
    heavy = np.abs((v - center) / scale).max() > 6 or counts.max() > max(0.1 * len(v), 5) or abs(_skewness(v)) > 2
    if heavy and len(distinct) >= 10:
        return Number(**_empirical_map(distinct, counts, step), **common)
    return Number(**common)


def _skewness(v: np.ndarray) -> float:
    d = v - v.mean()
    return float((d**3).mean() / (d**2).mean() ** 1.5)


def _grid(v: np.ndarray, kind: str, precision: type) -> tuple[float, float]:
    """Step and offset of the coarsest usual grid that holds every value up to rounding; step 0 where there is none."""
    if kind == "datetime":
        for step in (86400.0, 3600.0, 60.0, 1.0):
            if np.all(np.mod(v - v[0], step) == 0):
                return step, float(v[0])
        return 0.0, 0.0
    for decimals in range(5):
        if (np.abs(np.round(v, decimals) - v) <= 4 * np.finfo(precision).eps * np.abs(v)).all():
            return 10.0**-decimals, 0.0
    return 0.0, 0.0


def _quantiles_at(cumulative: np.ndarray, n: int) -> tuple[float, ...]:
    """Normal quantiles of the cumulative counts 0, c₁, …, n; the outermost two stand half a row inside, so that they are finite."""
    share = np.concatenate([[0.5], cumulative[:-1], [n - 0.5]]) / n
    z = ndtri(share)
    z[0], z[-1] = min(z[0], z[1] - 0.5), max(z[-1], z[-2] + 0.5)
    return tuple(z.tolist())


def _empirical_map(distinct: np.ndarray, counts: np.ndarray, step: float) -> dict[str, tuple[float, ...]]:
    """Knots of ``Φ⁻¹(F(v))``: around each spike a narrow cell that holds its share of the rows, and about 64 quantiles between."""
    n, below = int(counts.sum()), np.concatenate([[0], np.cumsum(counts)])
    spikes = np.flatnonzero(counts >= max(0.02 * n, 5))
    gap = np.concatenate([[np.inf], np.diff(distinct), [np.inf]])
    nearest = min((min(gap[i], gap[i + 1]) for i in spikes), default=np.inf)
    half = (step or max(min(1e-6 * (distinct[-1] - distinct[0]), nearest), 1e-14 * np.abs(distinct).max())) / 2
    knots, z = [], []
    for i in spikes:
        for v, rows in ((distinct[i] - half, below[i]), (distinct[i] + half, below[i + 1])):
            if not knots or v > knots[-1] + half / 2:           # neighbours on a grid share an edge
                knots.append(v)
                z.append(max(ndtri(np.clip(rows, 0.5, n - 0.5) / n), z[-1] + CLOSEST if z else -np.inf))
    between = np.searchsorted(below, np.linspace(0, n, 65)[1:-1], side="right") - 1
    shares = (below[:-1] + counts / 2) / n
    shares[0], shares[-1] = 0.5 / n, 1 - 0.5 / n
    for i in (0, len(distinct) - 1, *between):
        k, at = bisect(knots, distinct[i]), ndtri(shares[i])
        above = k == len(knots) or (distinct[i] < knots[k] and at < z[k] - CLOSEST)
        if i not in spikes and above and (k == 0 or (distinct[i] > knots[k - 1] and at > z[k - 1] + CLOSEST)):
            knots.insert(k, distinct[i])
            z.insert(k, at)
    return {"knots": tuple(map(float, knots)), "knots_z": tuple(map(float, z)), "spikes": tuple(distinct[spikes].tolist())}


def day_comes_first(values: pd.Series) -> bool | None:
    """Whether dates written as 25/03/2021 have the day in front; None where no row tells (03/04/2021) or none is written like that."""
    parts = values.dropna().astype(str).str.extract(r"^\s*(\d{1,2})[-/. ](\d{1,2})[-/. ]\d{2,4}").dropna().astype(int)
    if not len(parts):
        return None
    first, second = bool((parts[0] > 12).any()), bool((parts[1] > 12).any())
    return first if first != second else None


def to_float(values: pd.Series, kind: str, day_first: bool = False) -> np.ndarray:
    """Column values as float64: datetimes in seconds since 1970 (UTC), words in a column of numbers as NaN."""
    if kind == "datetime":
        if values.dtype.kind in "biuf":
            raise DataError(f"column {values.name!r} holds numbers, which may count seconds, days or anything from any start",
                            expected="dates or text", hint='turn them into dates: pd.to_datetime(column, unit="s")')
        when = pd.to_datetime(values, errors="coerce", utc=True, format=None if values.dtype.kind == "M" else "mixed", dayfirst=day_first)
        if day_first and values.dtype.kind != "M":      # what begins with the year has the month next, in any column
            year_first = values.astype(str).str.match(r"\s*\d{4}(\D|\d{4}(?!\d))")
            when = when.mask(year_first, pd.to_datetime(values.where(year_first), errors="coerce", utc=True, format="mixed"))
        seconds = when.dt.tz_localize(None).astype("datetime64[us]").astype("int64").to_numpy() / 1e6
        return np.where(when.isna().to_numpy(), np.nan, seconds)
    if values.dtype == object or pd.api.types.is_string_dtype(values):
        values = pd.to_numeric(values.astype(object), errors="coerce")
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def from_float(v: np.ndarray, absent: np.ndarray, block: Number) -> pd.Series:
    """The inverse of :func:`to_float`, in the dtype of the training column; numbers and dates that came as text go out as themselves."""
    dtype = pd.api.types.pandas_dtype(block.dtype)
    text = pd.api.types.is_object_dtype(dtype) or pd.api.types.is_string_dtype(dtype)
    if block.kind == "datetime":
        when = pd.Series(pd.to_datetime(np.round(v * 1e6).astype("int64"), unit="us", utc=True)).mask(absent)
        if text or isinstance(dtype, np.dtype):
            when = when.dt.tz_localize(None)
        return when if text else when.astype(dtype)
    column = pd.Series(v)
    if text:                                                # as they would have been read without the words
        return column.astype("int64") if block.kind == "integer" and not block.missing else column.mask(absent)
    if dtype.kind in "iub" and isinstance(dtype, np.dtype) and absent.any():
        return column.mask(absent)                          # blanks where training had none: no room for them in the dtype
    return column.astype(dtype).mask(absent)


@dataclass(frozen=True)
class Category:
    """A categorical or boolean column, stored as the code of its category.

    ``values`` are the categories in their original type, most frequent first (in their own order where the column is an ordered
    pandas Categorical), ``counts`` how often each code occurs in the training part. With ``missing``, the code ``K − 1`` is a blank.
    """

    name: str
    kind: str
    dtype: str
    values: tuple[Any, ...]
    counts: tuple[int, ...]
    missing: bool = False
    ordered: bool = False

    type: ClassVar[str] = "category"

    @property
    def reading(self) -> str:
        """The kind by which text is read into such a column, so that it has the values of the training column."""
        if any(isinstance(v, bool) for v in self.values):
            return "boolean"
        return "categorical" if all(isinstance(v, str) for v in self.values) else "numeric"

    @property
    def varies(self) -> bool:
        """Whether there is anything to learn."""
        return self.n_codes > 1

    @property
    def n_codes(self) -> int:
        """K, a blank counted as a category where there are blanks."""
        return len(self.values) + self.missing

    @property
    def frequencies(self) -> np.ndarray:
        """Share of each code in the training part, ``(K,)``."""
        return np.asarray(self.counts, np.float64) / max(1, sum(self.counts))

    def encode(self, values: pd.Series) -> np.ndarray:
        absent = values.isna().to_numpy()
        codes = values.astype(object).map({v: i for i, v in enumerate(self.values)}).to_numpy(np.float64, na_value=np.nan)
        unseen = np.isnan(codes) & ~absent
        if unseen.any():
            raise SchemaMismatchError(f"column {self.name!r} has categories that the training data did not have",
                                      expected=f"one of {some(self.values)}", got=some(values[unseen].unique()),
                                      hint="map them to known categories, or fit again with such rows")
        if absent.any() and not self.missing:
            raise SchemaMismatchError(f"column {self.name!r} has blanks", expected="none, as in the training data",
                                      got=f"{int(absent.sum())} blank", hint="fill them, or fit on data with blanks in this column")
        return np.where(absent, len(self.values), codes).astype(np.float32)

    def decode(self, stored: np.ndarray) -> pd.Series:
        codes = np.clip(np.nan_to_num(np.asarray(stored)).round().astype(int), 0, self.n_codes - 1)
        table = np.empty(self.n_codes, dtype=object)
        table[: len(self.values)] = self.values
        column = pd.Series(table[codes], dtype=object)      # a blank is None
        if self.dtype == "category":
            values = list(self.values) if self.ordered else sorted(self.values, key=lambda v: (str(type(v)), v))
            return column.astype(pd.CategoricalDtype(values, ordered=self.ordered))
        return column.astype(self.dtype)


def fit_category(name: str, kind: str, values: pd.Series) -> Category:
    """Collect the categories of a column from its training values."""
    ordered = isinstance(values.dtype, pd.CategoricalDtype) and bool(values.dtype.ordered)
    counts = values.astype(object).value_counts()
    if isinstance(values.dtype, pd.CategoricalDtype):       # declared categories exist also where no row has them
        counts = counts.reindex([*counts.index, *(c for c in values.dtype.categories if c not in counts.index)], fill_value=0)
    if ordered:
        counts = counts.reindex(list(values.dtype.categories))
    if len(counts) > MAX_CATEGORIES:
        raise ColumnError(name, f"column {name!r} has {len(counts):,} categories in {len(values):,} rows",
                          expected=f"at most {MAX_CATEGORIES:,}",
                          hint=f"leave it out (drop=[{name!r}], on the command line --drop {name}), or merge its rare categories")
    other = next((v for v in counts.index if not isinstance(v, (str, bool, int, float, np.generic))), None)
    if other is not None:
        raise DataError(f"column {name!r} has categories that are neither text nor numbers", expected="text, numbers or booleans",
                        got=f"{other!r} ({type(other).__name__})", hint="turn it into text: column.astype(str)")
    blanks = int(values.isna().sum())
    dtype = "category" if isinstance(values.dtype, pd.CategoricalDtype) else str(values.dtype)
    return Category(name, kind, dtype, tuple(_plain(v) for v in counts.index),
                    (*(int(c) for c in counts), *([blanks] if blanks else [])), missing=blanks > 0, ordered=ordered)


def some(values: Any, n: int = 5) -> str:
    """The first few of many values, for a message."""
    values = list(values)
    return ", ".join(map(repr, values[:n])) + (f", … ({len(values)} in all)" if len(values) > n else "")


Block = Number | Category | Image | Signal
_TYPES = {cls.type: cls for cls in (Number, Category, Image, Signal)}


def block_to_dict(block: Block) -> dict[str, Any]:
    """A JSON-able description; the inverse of :func:`block_from_dict`."""
    return {"type": block.type, **{k: _plain(v) for k, v in asdict(block).items()}}


def block_from_dict(d: dict[str, Any]) -> Block:
    d = dict(d)
    cls = _TYPES[d.pop("type")]
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in d.items()})


def _plain(v: Any) -> Any:
    if isinstance(v, (tuple, list)):
        return [_plain(i) for i in v]
    return v.item() if isinstance(v, np.generic) else v

