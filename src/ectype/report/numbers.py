"""How a figure is written: as many digits as it deserves, its interval in the same digits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

ABSENT = "–"
NUMBERS = ("numeric", "integer")        # kinds of columns
SHARES = {"c2st", "density", "coverage", "precision", "recall", "memorisation", "duplicates"}       # written in two decimals
WHOLE = {"nfe", "parameters"}       # known exactly
FREE = {"rows_per_s", "fit_s", "peak_memory_mib"}       # spread over magnitudes: each has digits of its own


def decimals(metric: str, values: Iterable[float | None]) -> int | None:
    """Decimals for a column of figures: two for shares, else three significant digits for the smallest; ``None`` = each its own."""
    sizes = [abs(v) for v in values if v]
    if metric in SHARES:
        return 2
    if metric in WHOLE | FREE or not sizes:
        return None
    return min(4, max(0, 2 - math.floor(math.log10(min(sizes)))))


def number(metric: str, value: float | None, digits: int | None = None) -> str:
    """One figure: ``0.81``, ``12,300``, ``0.0431``; a dash for what is not known. ``digits`` are the decimals of its column."""
    if value is None:
        return ABSENT
    if metric in WHOLE and value == round(value):
        return f"{value:,.0f}"
    if digits is None:
        digits = 2 if metric in SHARES else _own(value)
        if abs(value) >= 100:
            value = round(value, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}".replace("-", "−")


def between(metric: str, figure: Mapping[str, Any] | None, digits: int | None = None) -> str:
    """The interval of a figure in the digits of its mean, ``(0.66–0.74)``; nothing where there is none or where it says nothing.

    Of times and memory, which vary by whatever else the machine does, it is the least and the most that was seen: an interval of two or
    three of them would begin at zero.
    """
    low, high, mean = ((figure or {}).get(k) for k in ("low", "high", "mean"))
    if metric in FREE and low is not None:
        seen = [v for v in (figure or {}).get("values", ()) if v is not None]
        low, high = (min(seen), max(seen)) if seen else (None, None)
    if low is None or high is None or metric in WHOLE:
        return ""
    if digits is None and metric not in SHARES:
        digits = _own(high if mean is None else mean)
    ends = [number(metric, v, digits) for v in (low, high)]
    if metric in FREE and ends[0] == ends[1]:
        return ""
    return f"({(' to ' if high < 0 else '–').join(ends)})"


def _own(value: float) -> int:
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0


def short(value: float) -> str:
    """A tick label or a count: ``0.1``, ``20``, ``1.2k``, ``35k``, ``2M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def cell(v: Any) -> str:
    """A value of a table's row, in at most six significant digits."""
    if pd.isna(v):
        return ABSENT
    if not isinstance(v, float):
        return str(v)
    return (f"{v:.0f}" if v.is_integer() else f"{v:.6g}").replace("-", "−")


def best(metric: str, figures: Mapping[str, Mapping[str, Any]], digits: int | None = None) -> set[str]:
    """The names of the best of several figures of one metric, those that are written alike together; empty where all are alike."""
    known = {name: f["mean"] for name, f in figures.items() if f.get("mean") is not None}
    if not known:
        return set()
    better = next(iter(figures.values()))["better"]
    cost = {"lower": float, "higher": lambda v: -v, "half": lambda v: max(v - 0.5, 0.0)}[better]
    written = {name: number(metric, cost(v), digits) for name, v in known.items()}
    least = written[min(known, key=lambda name: cost(known[name]))]
    winners = {name for name, text in written.items() if text == least}
    return winners if len(winners) < len(known) else set()
