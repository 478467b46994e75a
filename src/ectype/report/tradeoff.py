"""The picture of the comparison: quality against speed, coverage as size.

The lines in it are the thresholds of the marks, so that the picture explains them. Labels stand beside what they name and overlap
neither each other nor anything that is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .charts import colour, line, marker, reach, shape, svg, text
from .charts import fmt as n
from .numbers import short

WIDE, NARROW = "mwMW%@→—", "fijlrtI .,:;'|()-"
WIDTHS = {"wide": 1.06, "capital": 0.84, "narrow": 0.48, "other": 0.72}     # in font sizes, bold, in DejaVu Sans: few fonts are wider
PLAIN = 0.9                     # of these, where the font is not bold
LEFT, RIGHT, TOP, BOTTOM = 46, 16, 26, 48
SLIDES = (0.1, 0.3, 0.7, 0.9)       # of a label's width that lie left of its mark, where it is above or below and not in the middle
WIDEST = 0.4                # of a drawing's width that a name in one line may take
PULL = 0.5                  # square units of overlap that a unit of distance between a label and its mark is worth
SPACE = 3                   # between a mark and any words
HIGHEST, LOWEST = 1.04, -0.06   # of the quality axis
TITLE = "Quality: gap to real data closed"
TELEPHONE = 500             # narrower drawings have smaller marks, and names alone

Box = tuple[float, float, float, float]     # left, top, right, bottom


@dataclass(frozen=True)
class Spot:
    """One row in the picture: where it stands, how certain that is, how much it covers."""

    label: str
    index: int
    rate: float                 # rows per second
    quality: float              # share of the gap to real data that is closed
    interval: tuple[float, float] | None    # of the quality
    coverage: float | None      # share of what real rows cover


@dataclass(frozen=True)
class Frame:
    """The map from (rows per second, quality) to the drawing; rows per second on a logarithmic scale."""

    low: float
    high: float
    width: int
    height: int

    @classmethod
    def around(cls, rates: Sequence[float], width: int, height: int) -> Frame:
        """At least two powers of ten, with some air on both sides."""
        low, high = math.log10(min(rates)) - 0.25, math.log10(max(rates)) + 0.25
        if high - low < 2:
            low, high = (low + high) / 2 - 1, (low + high) / 2 + 1
        return cls(low, high, width, height)

    @property
    def right(self) -> float:
        return self.width - RIGHT

    def x(self, rate: float) -> float:
        return LEFT + (math.log10(rate) - self.low) / (self.high - self.low) * (self.right - LEFT)

    def y(self, quality: float) -> float:
        inside = min(HIGHEST, max(LOWEST, quality))
        return TOP + (HIGHEST - inside) / (HIGHEST - LOWEST) * (self.height - TOP - BOTTOM)


def tradeoff(spots: Sequence[Spot], *, mixture: float | None, threshold: float, slowest: float, width: int, height: int) -> Markup:
    """Quality against speed, coverage as size.

    ``mixture`` is the quality of the Gaussian-mixture dummy, ``threshold`` that of the mark, ``slowest`` the rows per second below
    which the speed mark is out of reach.
    """
    frame = Frame.around([*(s.rate for s in spots), slowest], width, height)
    scale = 0.75 if width < TELEPHONE else 1.0
    radii = [scale * (4 + 11 * (0.5 if s.coverage is None else s.coverage)) for s in spots]
    marks = [(s, frame.x(s.rate), frame.y(s.quality), r) for s, r in zip(spots, radii, strict=True)]
    far = {s.label: reach(shape(s.index)) * r for s, _, _, r in marks}
    bodies = [(x - d, y - d, x + d, y + d) for s, x, y, _ in marks for d in [far[s.label] + SPACE]]
    parts = [*_axes(frame, threshold, slowest)]
    whiskers = [(frame.x(s.rate), frame.y(s.interval[1]), frame.y(s.interval[0]), s) for s in spots if s.interval]
    rulers, notes, taken = _rulers(frame, mixture, threshold, slowest, bodies, [(x - 3, high, x + 3, low) for x, high, low, _ in whiskers])
    parts += rulers + notes
    for x, high, low, s in whiskers:
        cls = f"whisker {colour(s.index)}"
        parts += [line(x, high, x, low, cls), line(x - 3, high, x + 3, high, cls), line(x - 3, low, x + 3, low, cls)]
    parts += [marker(shape(s.index), x, y, r, f"mark {colour(s.index)}") for s, x, y, r in sorted(marks, key=lambda m: -m[3])]
    crossed = [(LEFT, frame.y(q) - 1, frame.right, frame.y(q) + 1) for q in (threshold, mixture) if q is not None]
    crossed += [(frame.x(slowest) - 1, TOP, frame.x(slowest) + 1, frame.y(LOWEST))]
    crossed += [(x - 1, high, x + 1, low) for x, high, low, _ in whiskers]
    for s, x, y, _ in sorted(marks, key=lambda m: m[2]):
        below = f"covers {s.coverage:.0%}" if s.coverage is not None and width >= TELEPHONE else ""
        name = _broken(s.label, WIDEST * width)
        label_width = max(*(_width(part, 14) for part in name), PLAIN * _width(below, 11))
        others = [(px, py, far[other.label]) for other, px, py, _ in marks if other is not s]
        box = _place(x, y, far[s.label], label_width, 15 * len(name) + (13 if below else 0), taken, crossed, others,
                     (LEFT + 2, 2, width - 2, frame.y(LOWEST) - 2))
        taken.append((box[0] - 6, box[1] - 1, box[2] + 6, box[3] + 1))
        nearest = _nearest(box, x, y)
        if math.dist(nearest, (x, y)) > far[s.label] + 12:
            parts.append(line(*nearest, x, y, "leader"))
        start, anchor = (box[2], "end") if box[2] < x else (box[0], "start")       # in a font of another width it grows away from the mark
        parts += [text(start, box[1] + 12 + 15 * i, part, "name", anchor) for i, part in enumerate(name)]
        parts += [text(start, box[1] + 25 + 15 * (len(name) - 1), below, "note", anchor)]
    said = "; ".join(f"{s.label}: {s.quality:.0%} of the gap closed{_between(s.interval)}, {short(s.rate)} rows per second"
                     + (f", covers {s.coverage:.0%}" if s.coverage is not None else "") for s in spots)
    return svg(width, height, f"Quality against sampling speed, coverage as size. {said}.", parts, "chart tradeoff")


def _between(interval: tuple[float, float] | None) -> str:
    return f" ({interval[0]:.0%} to {interval[1]:.0%})" if interval else ""


def _axes(frame: Frame, threshold: float, slowest: float) -> list[str]:
    """The shaded corner where quality and speed are high enough, the grid, ticks and titles."""
    x, height = frame.x(slowest), frame.y(threshold) - TOP
    parts = [f'<rect x="{n(x)}" y="{n(TOP)}" width="{n(frame.right - x)}" height="{n(height)}" class="earned"/>']
    for q in (0, 0.25, 0.5, 0.75, 1):
        y = frame.y(q)
        parts += [line(LEFT, y, frame.right, y, "grid"), text(LEFT - 8, y + 4, f"{q:.0%}", "tick", "end")]
    base = frame.y(LOWEST)
    for power in range(math.ceil(frame.low), math.floor(frame.high) + 1):
        x = frame.x(10.0**power)
        parts += [line(x, base, x, base + 4, "axis"), text(x, base + 18, short(10.0**power), "tick", "middle")]
    return [*parts, line(LEFT, base, frame.right, base, "axis"), text(LEFT, 12, TITLE, "title"),
            text(frame.right, frame.height - 6, "rows per second (log) →", "title", "end")]


def _rulers(frame: Frame, mixture: float | None, threshold: float, slowest: float, bodies: Sequence[Box],
            whiskers: Sequence[Box]) -> tuple[list[str], list[str], list[Box]]:
    """The threshold lines, the words on them, and the room that marks and words take."""
    left, right = LEFT + 4, frame.right
    lines = [line(LEFT, frame.y(threshold), right, frame.y(threshold), "threshold"),
             line(frame.x(slowest), TOP, frame.x(slowest), frame.y(LOWEST), "threshold")]
    words = [("speed mark from here →", frame.y(0), [frame.x(slowest) + 5]),
             ("quality mark from here up", frame.y(threshold), None)]
    if mixture is not None:
        lines.append(line(LEFT, frame.y(mixture), right, frame.y(mixture), "dummy"))
        words.append(("Gaussian mixture", frame.y(mixture), None))
    taken: list[Box] = [*bodies, (LEFT, 0, LEFT + PLAIN * _width(TITLE, 12), 18)]
    notes = []
    for said, y, starts in words:
        width = PLAIN * _width(said, 11)
        starts = starts or [right - width, left, *((1 - k / 8) * left + k / 8 * (right - width) for k in (4, 2, 6, 1, 3, 5, 7))]
        options = [(x, y + top, x + width, y + top + 12) for top in (-14, 3) for x in starts]
        box = min(options, key=lambda b: _overlap(b, [*taken, *whiskers]))
        taken.append(box)
        notes.append(text(box[0], box[3] - 2, said, "note"))
    return lines, notes, taken


def _broken(name: str, widest: float) -> list[str]:
    """A name in one line, or in the two most alike in width where it is wider than ``widest`` and has a space."""
    words = name.split(" ")
    if _width(name, 14) <= widest or len(words) == 1:
        return [name]
    splits = ([" ".join(words[:i]), " ".join(words[i:])] for i in range(1, len(words)))
    return min(splits, key=lambda parts: max(_width(part, 14) for part in parts))


def _place(x: float, y: float, far: float, w: float, h: float, taken: Sequence[Box], crossed: Sequence[Box],
           others: Sequence[tuple[float, float, float]], within: Box) -> Box:
    """A free place for a label of size (w, h) near its mark at (x, y), which goes ``far``: on growing rings beside it, or above or below,
    where the label may slide along.

    Nothing in ``taken`` is covered if that can be helped; lines (``crossed``) are crossed unwillingly. Distance counts too, and more where
    one of the ``others`` (marks, and how far they go) is nearer.
    """
    candidates = []
    for gap in (4, 10, 18, 28, 40, 54, 70, 90, 120):
        d = far + gap
        e = 0.7 * d
        beside = [(d, -h / 2), (-d - w, -h / 2), (-w / 2, -d - h), (-w / 2, d), (e, -e - h), (-e - w, -e - h), (e, e), (-e - w, e)]
        for dx, dy in beside + [(-share * w, y) for share in SLIDES for y in (-d - h, d)]:
            left, top = min(max(x + dx, within[0]), within[2] - w), min(max(y + dy, within[1]), within[3] - h)
            candidates.append((left, top, left + w, top + h))

    def away(box: Box, x: float, y: float, far: float) -> float:
        return max(0.0, math.dist(_nearest(box, x, y), (x, y)) - far)

    def cost(box: Box) -> float:
        own, nearer = away(box, x, y, far), min((away(box, *other) for other in others), default=math.inf)
        return _overlap(box, taken) + 0.1 * _overlap(box, crossed) + PULL * (own + 2 * max(0.0, own - nearer))

    return min(candidates, key=cost)


def _nearest(box: Box, x: float, y: float) -> tuple[float, float]:
    """The point of a box nearest to (x, y)."""
    return min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])


def _width(words: str, size: float) -> float:
    """About the width of some words in bold letters of this size."""
    def kind(c: str) -> str:
        return "wide" if c in WIDE else "narrow" if c in NARROW else "capital" if c.isupper() else "other"
    return size * sum(WIDTHS[kind(c)] for c in words)


def _overlap(box: Box, others: Iterable[Box]) -> float:
    """Area that a box shares with others."""
    return sum(max(0.0, min(box[2], o[2]) - max(box[0], o[0])) * max(0.0, min(box[3], o[3]) - max(box[1], o[1])) for o in others)
