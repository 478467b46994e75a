"""Line drawings of the report, as inline SVG.

They take their colours from the page's style sheet, so that one drawing serves light, dark and print; families differ by shape as
well as by colour; labels stand beside what they name. Every drawing is an ``img`` to a screen reader, with the sentence in ``aria-label``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from .numbers import short

SHAPES = ("circle", "square", "diamond", "up", "down", "hexagon", "cross")
EM = 0.62       # mean width of a character, in font sizes: enough to keep labels apart


def svg(width: float, height: float, label: str, parts: Iterable[str], cls: str) -> Markup:
    """The outer element; ``label`` is what a screen reader says."""
    return Markup('<svg viewBox="0 0 {} {}" class="{}" role="img" aria-label="{}">{}</svg>').format(
        _n(width), _n(height), cls, label, Markup("".join(parts)))


def _n(v: float) -> str:
    return f"{v:.1f}".removesuffix(".0")


def _text(x: float, y: float, text: str, cls: str = "", anchor: str = "start") -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" class="{cls}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, cls: str) -> str:
    return f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" class="{cls}"/>'


def _path(points: Sequence[tuple[float, float]], cls: str) -> str:
    return f'<path d="M{"L".join(f"{_n(x)},{_n(y)}" for x, y in points)}" class="{cls}"/>'


def marker(shape: str, x: float, y: float, r: float, cls: str) -> str:
    """A filled mark of about the same area for every shape."""
    if shape == "circle":
        return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(r)}" class="{cls}"/>'
    if shape == "square":
        s = r * 0.886
        return f'<rect x="{_n(x - s)}" y="{_n(y - s)}" width="{_n(2 * s)}" height="{_n(2 * s)}" class="{cls}"/>'
    if shape == "cross":
        a, b = r * 1.05, r * 0.42
        corners = [(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b), (b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b)]
    else:
        sides, turn, size = {"diamond": (4, 0.0, 1.25), "up": (3, 0.0, 1.5), "down": (3, math.pi, 1.5), "hexagon": (6, 0.0, 1.1)}[shape]
        angles = [turn + 2 * math.pi * i / sides for i in range(sides)]
        corners = [(r * size * math.sin(a), -r * size * math.cos(a)) for a in angles]
    return f'<polygon points="{" ".join(f"{_n(x + dx)},{_n(y + dy)}" for dx, dy in corners)}" class="{cls}"/>'


def key(index: int) -> Markup:
    """The small mark that stands for a row wherever it is named."""
    return Markup('<svg viewBox="0 0 16 16" class="key" aria-hidden="true">{}</svg>').format(
        Markup(marker(SHAPES[index % len(SHAPES)], 8, 8, 5, f"mark c{index % len(SHAPES)}")))


# ------------------------------------------------------------------------------------------------------- quality, speed, coverage


@dataclass(frozen=True)
class Spot:
    """One row in the picture: where it stands, how its seeds spread, how much it covers."""

    label: str
    index: int
    rate: float                 # rows per second
    quality: float              # share of the gap to real data closed
    spread: float | None
    coverage: float | None      # share of what real data cover


def tradeoff(spots: Sequence[Spot], *, mixture: float | None, quality: float, slowest: float | None, width: int, height: int) -> Markup:
    """Quality against speed, coverage as size, the thresholds of the marks as lines.

    ``mixture`` is the quality of the Gaussian-mixture dummy, ``quality`` the threshold of the quality mark, ``slowest`` the rows per second
    below which the speed mark is out of reach.
    """
    left, right, top, bottom = 46, 16, 26, 48
    rates = [s.rate for s in spots] + ([slowest] if slowest else [])
    low, high = math.log10(min(rates)) - 0.25, math.log10(max(rates)) + 0.25
    if high - low < 2:
        low, high = (low + high) / 2 - 1, (low + high) / 2 + 1

    def x(rate: float) -> float:
        return left + (math.log10(rate) - low) / (high - low) * (width - left - right)

    def y(q: float) -> float:
        return top + (1.04 - q) / 1.1 * (height - top - bottom)

    parts = []
    if slowest:
        parts.append(f'<rect x="{_n(x(slowest))}" y="{_n(y(1.04))}" width="{_n(width - right - x(slowest))}" '
                     f'height="{_n(y(quality) - y(1.04))}" class="earned"/>')
    for q in (0, 0.25, 0.5, 0.75, 1):
        parts += [_line(left, y(q), width - right, y(q), "grid"), _text(left - 8, y(q) + 4, f"{q:.0%}", "tick", "end")]
    for power in range(math.ceil(low), math.floor(high) + 1):
        parts += [_line(x(10.0**power), y(-0.06), x(10.0**power), y(-0.06) + 4, "axis"),
                  _text(x(10.0**power), y(-0.06) + 18, short(10.0**power), "tick", "middle")]
    parts += [_line(left, y(-0.06), width - right, y(-0.06), "axis"),
              _text(left, 12, "Quality: gap to real data closed", "title"),
              _text(width - right, height - 6, "rows per second (log) →", "title", "end")]
    taken = [(left, 0, left + 32 * EM * 12, 18)]
    lines = [(quality, "threshold", "quality mark from here up")] + ([(mixture, "dummy", "Gaussian mixture")] if mixture is not None else [])
    parts += [_line(left, y(q), width - right, y(q), cls) for q, cls, _ in lines]
    if slowest:
        parts.append(_line(x(slowest), y(1.04), x(slowest), y(-0.06), "threshold"))
        lines.append((-0.02, "speed", "speed mark from here →"))

    narrow = width < 500       # a telephone: smaller marks, names alone
    radii = [(0.75 if narrow else 1) * (4 + 11 * max(0.0, s.coverage if s.coverage is not None else 0.5)) for s in spots]
    centres = [(x(s.rate), y(min(1.0, max(0.0, s.quality)))) for s in spots]
    bodies = [(cx - 1.2 * r, cy - 1.2 * r, cx + 1.2 * r, cy + 1.2 * r) for (cx, cy), r in zip(centres, radii, strict=True)]
    for q, cls, text in lines:
        box_width = len(text) * EM * 11
        starts = [x(slowest) + 5] if cls == "speed" else [width - right - box_width, left + 4, (left + width - right - box_width) / 2]
        options = [(s, y(q) - 14, s + box_width, y(q) - 2) for s in starts] + [(s, y(q) + 3, s + box_width, y(q) + 15) for s in starts]
        box = min(options, key=lambda b: _overlap(b, taken + bodies))
        taken.append(box)
        parts.append(_text(box[0], box[3] - 2, text, "note"))
    for s, (cx, cy), r in sorted(zip(spots, centres, radii, strict=True), key=lambda item: -item[2]):
        if s.spread:
            parts.append(_line(cx, y(min(1.04, s.quality + s.spread)), cx, y(max(-0.06, s.quality - s.spread)), f"whisker c{s.index % len(SHAPES)}"))
        parts.append(marker(SHAPES[s.index % len(SHAPES)], cx, cy, r, f"mark c{s.index % len(SHAPES)}"))
    rulers = [(left, y(q) - 1, width - right, y(q) + 1) for q, cls, _ in lines if cls != "speed"]
    rulers += [(x(slowest) - 1, y(1.04), x(slowest) + 1, y(-0.06))] if slowest else []
    for i in sorted(range(len(spots)), key=lambda i: centres[i][1]):
        (cx, cy), r, s = centres[i], radii[i], spots[i]
        below = f"covers {s.coverage:.0%}" if s.coverage is not None and not narrow else ""
        w = max(len(s.label) * EM * 14, len(below) * EM * 11)
        box = _place(cx, cy, r, w, 28 if below else 15, taken + bodies, rulers, (left + 2, 2, width - 2, y(-0.06) - 2))
        taken.append(box)
        nearest = (min(max(cx, box[0]), box[2]), min(max(cy, box[1]), box[3]))
        if math.dist(nearest, (cx, cy)) > 1.2 * r + 12:
            parts.append(_line(*nearest, cx, cy, "leader"))
        parts += [_text(box[0], box[1] + 12, s.label, "name"), _text(box[0], box[1] + 25, below, "note")]
    said = "; ".join(f"{s.label}: {s.quality:.0%} of the gap closed, {short(s.rate)} rows per second"
                     + (f", covers {s.coverage:.0%}" if s.coverage is not None else "") for s in spots)
    return svg(width, height, f"Quality against sampling speed, coverage as size. {said}.", parts, "chart tradeoff")


Box = tuple[float, float, float, float]


def _place(cx: float, cy: float, r: float, w: float, h: float, taken: Sequence[Box], rulers: Sequence[Box], within: Box) -> Box:
    """The nearest free place for a label: beside the mark if possible, else on growing rings around it; lines are crossed unwillingly."""
    candidates = []
    for gap in (4, 10, 18, 28, 40, 54, 70):
        d = 1.2 * r + gap
        for dx, dy in ((d, -h / 2), (-d - w, -h / 2), (-w / 2, -d - h), (-w / 2, d), (d * 0.7, -d * 0.7 - h), (-d * 0.7 - w, -d * 0.7 - h),
                       (d * 0.7, d * 0.7), (-d * 0.7 - w, d * 0.7)):
            x0 = min(max(cx + dx, within[0]), within[2] - w)
            y0 = min(max(cy + dy, within[1]), within[3] - h)
            candidates.append((x0, y0, x0 + w, y0 + h))
    return min(enumerate(candidates), key=lambda item: (_overlap(item[1], taken) + 0.1 * _overlap(item[1], rulers), item[0]))[1]


def _overlap(box: Box, others: Iterable[Box]) -> float:
    return sum(max(0.0, min(box[2], o[2]) - max(box[0], o[0])) * max(0.0, min(box[3], o[3]) - max(box[1], o[1])) for o in others)


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

    parts = [_line(left, height - bottom, width - right, height - bottom, "axis")]
    for v in _ticks(low, high, 4):
        parts += [_line(left, y(v), width - right, y(v), "grid"), _text(left - 6, y(v) + 4, short(v), "tick", "end")]
    powers = [10.0**p for p in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)]
    for s in powers if len(powers) > 1 else [10**first, 10**last]:
        parts.append(_text(x(s), height - bottom + 15, short(round(s)), "tick", "middle"))
    parts.append(_text(width - right, height - 4, "training step (log) →", "note", "end"))
    for s, v in runs:
        parts += [_path([(x(a), y(b)) for a, b in zip(s, v, strict=True)], f"stroke c{index % len(SHAPES)}"),
                  marker("circle", x(s[-1]), y(v[-1]), 2.5, f"mark c{index % len(SHAPES)}")]
    return svg(width, height, label, parts, "chart")


def _ticks(low: float, high: float, n: int) -> list[float]:
    """About n round values between low and high."""
    size = (high - low) / n
    power = 10.0 ** math.floor(math.log10(size))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= size)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def histogram(real: np.ndarray, generated: np.ndarray, index: int, label: str, ends: tuple[str, str] | None = None) -> Markup:
    """A column of numbers: real values as an area, generated ones as a line, in the same bins; ``ends`` are the words at both ends."""
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

    parts = [_path([(1, base), *steps(shares[0]), (width - 1, base)], "real"), _line(0, base, width, base, "axis"),
             _path([(1, base), *steps(shares[1]), (width - 1, base)], f"stroke c{index % len(SHAPES)}")]
    first, last = ends or (short(float(low)), short(float(high)))
    parts += [_text(0, height - 4, first, "tick"), _text(width, height - 4, last, "tick", "end")]
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
        parts += [_text(start - 6, y + 11, name if len(name) <= 13 else name[:12] + "…", "tick", "end"),
                  f'<rect x="{start}" y="{y + 2}" width="{_n(r / top * span)}" height="{row - 5}" class="real"/>',
                  _line(start, y + row / 2, start + g / top * span, y + row / 2, f"stroke c{index % len(SHAPES)}"),
                  marker("circle", start + g / top * span, y + row / 2, 3, f"mark c{index % len(SHAPES)}")]
    return svg(width, height, label, parts, "chart small")


def scatter(points: np.ndarray, bounds: tuple[float, float, float, float], cls: str, label: str) -> Markup:
    """A table of two columns as dots, in the frame ``(low x, high x, low y, high y)``; dots outside are left out."""
    size, pad = 320, 8
    x0, x1, y0, y1 = bounds
    x = pad + (points[:, 0] - x0) / max(x1 - x0, 1e-12) * (size - 2 * pad)
    y = size - pad - (points[:, 1] - y0) / max(y1 - y0, 1e-12) * (size - 2 * pad)
    inside = (x >= 0) & (x <= size) & (y >= 0) & (y <= size)
    dots = "".join(f"M{a:.1f},{b:.1f}h0" for a, b in zip(x[inside], y[inside], strict=True))
    return svg(size, size, label, [f'<rect width="{size}" height="{size}" class="frame"/>', f'<path d="{dots}" class="dots {cls}"/>'], "chart")
