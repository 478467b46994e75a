"""Line drawings of the report, as inline SVG.

They take their colours from the page's style sheet, so that one drawing serves light, dark and print; families differ by shape as
well as by colour; labels stand beside what they name. Every drawing is an ``img`` to a screen reader, with a sentence in
``aria-label``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from markupsafe import Markup, escape

from .numbers import short

SHAPES = ("circle", "square", "diamond", "up", "down", "hexagon", "cross")
POLYGONS = {       # sides, turn, size
    "diamond": (4, 0.0, 1.25), "up": (3, 0.0, 1.5), "down": (3, math.pi, 1.5), "hexagon": (6, 0.0, 1.1)}


def svg(width: float, height: float, label: str, parts: Iterable[str], cls: str) -> Markup:
    """The outer element; ``label`` is what a screen reader says."""
    return Markup('<svg viewBox="0 0 {} {}" class="{}" role="img" aria-label="{}">{}</svg>').format(
        fmt(width), fmt(height), cls, label, Markup("".join(parts)))


def fmt(v: float) -> str:
    return f"{v:.1f}".removesuffix(".0")


def text(x: float, y: float, words: str, cls: str = "", anchor: str = "start") -> str:
    return f'<text x="{fmt(x)}" y="{fmt(y)}" class="{cls}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, cls: str) -> str:
    return f'<line x1="{fmt(x1)}" y1="{fmt(y1)}" x2="{fmt(x2)}" y2="{fmt(y2)}" class="{cls}"/>'


def path(points: Sequence[tuple[float, float]], cls: str) -> str:
    return f'<path d="M{"L".join(f"{fmt(x)},{fmt(y)}" for x, y in points)}" class="{cls}"/>'


def marker(kind: str, x: float, y: float, r: float, cls: str) -> str:
    """A filled mark, of about the same area for every shape."""
    if kind == "circle":
        return f'<circle cx="{fmt(x)}" cy="{fmt(y)}" r="{fmt(r)}" class="{cls}"/>'
    if kind == "square":
        s = r * 0.886
        return f'<rect x="{fmt(x - s)}" y="{fmt(y - s)}" width="{fmt(2 * s)}" height="{fmt(2 * s)}" class="{cls}"/>'
    if kind == "cross":
        a, b = r * 1.05, r * 0.42
        corners = [(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b), (b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b)]
    else:
        sides, turn, size = POLYGONS[kind]
        angles = [turn + 2 * math.pi * i / sides for i in range(sides)]
        corners = [(r * size * math.sin(a), -r * size * math.cos(a)) for a in angles]
    return f'<polygon points="{" ".join(f"{fmt(x + dx)},{fmt(y + dy)}" for dx, dy in corners)}" class="{cls}"/>'


def reach(kind: str) -> float:
    """How far a mark goes from where it stands, in its radius."""
    return POLYGONS[kind][2] if kind in POLYGONS else 1.05


def shape(index: int) -> str:
    """The shape of the row with this number; where the colours come round again, the shapes are shifted, so that no two rows look alike."""
    return SHAPES[(index + index // len(SHAPES)) % len(SHAPES)]


def colour(index: int) -> str:
    """The class that gives the row with this number its colour."""
    return f"c{index % len(SHAPES)}"


def key(index: int) -> Markup:
    """The small mark that stands for a row wherever it is named."""
    return Markup('<svg viewBox="0 0 16 16" class="key" aria-hidden="true">{}</svg>').format(
        Markup(marker(shape(index), 8, 8, 5, f"mark {colour(index)}")))


# ------------------------------------------------------------------------------------------------------------------ small drawings


def curve(runs: Sequence[tuple[Sequence[float], Sequence[float]]], index: int, label: str) -> Markup:
    """Held-out curves over steps (log), one line per seed; ``runs`` holds (steps, values)."""
    runs = [([max(1.0, s) for s in steps], list(values)) for steps, values in runs if len(steps) > 1]
    width, height, left, right, top, bottom = 360, 170, 46, 12, 10, 34
    every = np.concatenate([v for _, v in runs])
    steps = np.concatenate([s for s, _ in runs])
    low, high = float(every.min()), float(np.quantile(every, 0.9))
    pad = 0.06 * (high - low) or 0.5
    low, high = low - pad, high + pad
    first, last = math.log10(float(steps.min())), math.log10(float(steps.max()))

    def x(s: float) -> float:
        return left + (math.log10(s) - first) / max(last - first, 1e-9) * (width - left - right)

    def y(v: float) -> float:
        return top + (high - min(v, high)) / (high - low) * (height - top - bottom)

    parts = [line(left, height - bottom, width - right, height - bottom, "axis")]
    for v in _ticks(low, high, 4):
        parts += [line(left, y(v), width - right, y(v), "grid"), text(left - 6, y(v) + 4, short(v), "tick", "end")]
    powers = [10.0**p for p in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)]
    for s in powers if len(powers) > 1 else [10**first, 10**last]:
        parts.append(text(x(s), height - bottom + 15, short(round(s)), "tick", "middle"))
    parts.append(text(width - right, height - 4, "training step (log) →", "note", "end"))
    for s, v in runs:
        parts += [path([(x(a), y(b)) for a, b in zip(s, v, strict=True)], f"stroke {colour(index)}"),
                  marker("circle", x(s[-1]), y(v[-1]), 2.5, f"mark {colour(index)}")]
    return svg(width, height, label, parts, "chart")


def _ticks(low: float, high: float, n: int) -> list[float]:
    """About n round values between low and high."""
    size = (high - low) / n
    power = 10.0 ** math.floor(math.log10(size))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= size)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def histogram(real: np.ndarray, generated: np.ndarray, index: int, label: str, ends: tuple[str, str] | None = None) -> Markup:
    """A column of numbers: real values as an area, generated ones as a line, in the same bins; ``ends`` are written below."""
    width, height, base = 220, 84, 66
    both = np.concatenate([real, generated]) if len(generated) else real
    n = min(len(real), len(generated))
    low, high = np.quantile(both, [0.005, 0.995] if n >= 200 else [0, 1])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    distinct = np.unique(real)
    whole = len(distinct) <= 24 and bool(np.all(distinct == np.round(distinct))) and high - low <= 24
    edges = np.arange(round(low), round(high) + 2) - 0.5 if whole else np.linspace(low, high, int(np.clip(1.5 * n**0.5, 8, 24)) + 1)
    shares = [np.histogram(np.clip(v, edges[0], edges[-1]), edges)[0] / max(1, len(v)) for v in (real, generated)]
    top = max(s.max() for s in shares) or 1.0

    def steps(share: np.ndarray) -> list[tuple[float, float]]:
        xs = 1 + (edges - edges[0]) / (edges[-1] - edges[0]) * (width - 2)
        ys = base - share / top * (base - 4)
        return [(x, y) for i, y in enumerate(ys) for x in (xs[i], xs[i + 1])]

    parts = [path([(1, base), *steps(shares[0]), (width - 1, base)], "real"), line(0, base, width, base, "axis"),
             path([(1, base), *steps(shares[1]), (width - 1, base)], f"stroke {colour(index)}")]
    first, last = ends or (short(float(low)), short(float(high)))
    parts += [text(0, height - 4, first, "tick"), text(width, height - 4, last, "tick", "end")]
    return svg(width, height, label, parts, "chart small")


def bars(names: Sequence[str], real: Sequence[float], generated: Sequence[float], index: int, label: str) -> Markup:
    """A column of categories: the real share as a bar, the generated one as a mark on it."""
    width, row = 220, 15
    height = row * len(names) + 4
    top = max([*real, *generated, 1e-9])
    start, span = 84, width - 84 - 8
    parts = []
    for i, (name, r, g) in enumerate(zip(names, real, generated, strict=True)):
        y = 2 + row * i
        parts += [text(start - 6, y + 11, name if len(name) <= 11 else name[:10] + "…", "tick", "end"),
                  f'<rect x="{start}" y="{y + 2}" width="{fmt(r / top * span)}" height="{row - 5}" class="real"/>',
                  line(start, y + row / 2, start + g / top * span, y + row / 2, f"stroke {colour(index)}"),
                  marker("circle", start + g / top * span, y + row / 2, 3, f"mark {colour(index)}")]
    return svg(width, height, label, parts, "chart small")


def scatter(points: np.ndarray, bounds: tuple[float, float, float, float], cls: str, label: str) -> Markup:
    """A table of two columns as dots, in the frame ``(low x, high x, low y, high y)``; dots outside are left out."""
    size, pad = 320, 8
    x0, x1, y0, y1 = bounds
    x = pad + (points[:, 0] - x0) / max(x1 - x0, 1e-12) * (size - 2 * pad)
    y = size - pad - (points[:, 1] - y0) / max(y1 - y0, 1e-12) * (size - 2 * pad)
    inside = (x >= 0) & (x <= size) & (y >= 0) & (y <= size)
    dots = "".join(f"M{a:.1f},{b:.1f}h0" for a, b in zip(x[inside], y[inside], strict=True))
    parts = [f'<rect width="{size}" height="{size}" class="frame"/>', f'<path d="{dots}" class="dots {cls}"/>']
    return svg(size, size, label, parts, "chart")
