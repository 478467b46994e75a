"""The drawings of the report as pixels: the little of SVG and of style sheets that they use, drawn by matplotlib.

Elements: ``rect``, ``line``, ``circle``, ``polygon``, ``path`` with ``M``, ``L`` and ``h0`` (a dot), ``text``. A rule of the style sheet
holds for an element where its last selector names the element or one of its classes, and what stands before that the element ``svg`` or a
class of it; later rules win. Custom properties (``--c``) are looked up on the element, then at the root.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import IO
from xml.etree import ElementTree

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon, Rectangle
from matplotlib.patheffects import Normal, withStroke

SCALE = 2.0             # pixels of a unit of the drawing
PAD = 12                # units around it
POINTS = 0.72           # of a unit, at 100 dots an inch
ANCHORS = {"start": "left", "middle": "center", "end": "right"}

Style = dict[str, str]
Rule = tuple[str, str, Style]       # classes or element that an ancestor must have, those of the element, declarations


def draw_png(file: IO[bytes], svg: str, css: str) -> None:
    """Write a drawing ``svg``, styled by ``css``, as a PNG on white."""
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox", "0 0 1 1").split())
    rules, variables = list(_rules(css)), _variables(css)
    figure = Figure(figsize=((width + 2 * PAD) / 100, (height + 2 * PAD) / 100), dpi=100 * SCALE)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-PAD, width + PAD), ylim=(height + PAD, -PAD))
    ax.axis("off")
    for order, element in enumerate(root):
        _draw(ax, element, _style(element, root, rules, variables), order)
    figure.savefig(file, format="png", facecolor="white")


# ------------------------------------------------------------------------------------------------------------------ style


def _rules(css: str) -> Iterator[Rule]:
    """The rules outside of ``@media``, one for each selector."""
    for selectors, body in re.findall(r"([^{}@]+)\{([^{}]*)\}", re.sub(r"@[^{]+\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", "", css)):
        style = dict((k.strip(), v.strip()) for k, _, v in (d.partition(":") for d in body.split(";") if ":" in d))
        for selector in selectors.split(","):
            *before, last = selector.split()
            yield " ".join(before), last, style


def _variables(css: str) -> Style:
    """The custom properties of the root."""
    return {k: v for before, last, style in _rules(css) if last == ":root" and not before for k, v in style.items() if k.startswith("--")}


def _style(element: ElementTree.Element, root: ElementTree.Element, rules: list[Rule], variables: Mapping[str, str]) -> Style:
    style: Style = {}
    for before, last, declared in rules:
        if _matches(last, element) and (not before or _matches(before, root)):
            style |= declared
    style |= {k: v for k in ("opacity",) if (v := element.get(k)) is not None}

    def resolved(value: str) -> str:
        for _ in range(4):
            value = re.sub(r"var\((--[\w-]+)\)", lambda m: own[m[1]], value)
        return value

    own = dict(variables) | {k: re.sub(r"var\((--[\w-]+)\)", lambda m: variables[m[1]], v) for k, v in style.items() if k.startswith("--")}
    return {k: resolved(v) for k, v in style.items() if not k.startswith("--")}


def _matches(selector: str, element: ElementTree.Element) -> bool:
    """Whether ``name``, ``.a`` or ``.a.b`` holds for an element."""
    name, *classes = selector.split(".")
    return name in ("", _tag(element)) and set(classes) <= set(element.get("class", "").split()) and bool(name or classes)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


# ------------------------------------------------------------------------------------------------------------------ elements


def _draw(ax: Axes, element: ElementTree.Element, style: Style, order: int) -> None:
    """One element; those that come later lie above."""
    number = {k: float(v) for k, v in element.attrib.items() if re.fullmatch(r"-?[\d.]+", v)}
    width = float(style.get("stroke-width", "1").removesuffix("px")) * POINTS
    looks = {"alpha": float(style.get("opacity", 1)), "zorder": order, "clip_on": False}
    line = {"color": _colour(style.get("stroke", "none")), "linewidth": width, "linestyle": _dashes(style, width)}
    filled = {"facecolor": _colour(style.get("fill", "black")), "edgecolor": line["color"], "linewidth": width} | looks
    match _tag(element):
        case "rect":
            corner = number.get("x", 0.0), number.get("y", 0.0)
            ax.add_patch(Rectangle(corner, number["width"], number["height"], **filled))
        case "circle":
            ax.add_patch(Circle((number["cx"], number["cy"]), number["r"], **filled))
        case "polygon":
            ax.add_patch(Polygon(_points(element.get("points", "")), **filled))
        case "line":
            ax.add_line(Line2D([number["x1"], number["x2"]], [number["y1"], number["y2"]], **line, **looks))
        case "path":
            _path(ax, element.get("d", ""), style, line, looks, filled)
        case "text":
            _text(ax, element, style, number, order)


def _path(ax: Axes, d: str, style: Style, line: dict, looks: dict, filled: dict) -> None:
    """Dots, an area, or lines."""
    if "h0" in d:
        ax.scatter(*_points(d.replace("h0", " ").replace("M", " ")).T, s=line["linewidth"] ** 2, color=line["color"], linewidths=0, **looks)
    elif style.get("fill", "black") != "none":
        ax.add_patch(Polygon(_points(re.sub("[ML]", " ", d)), **filled))
    else:
        for part in d.split("M")[1:]:
            ax.add_line(Line2D(*_points(part.replace("L", " ")).T, **line, **looks))


def _text(ax: Axes, element: ElementTree.Element, style: Style, number: Mapping[str, float], order: int) -> None:
    size = float(style.get("font-size", "12px").removesuffix("px")) * POINTS
    halo = [withStroke(linewidth=float(style.get("stroke-width", "1").removesuffix("px")) * POINTS, foreground="white"), Normal()]
    ax.text(number["x"], number["y"], "".join(element.itertext()), fontsize=size, color=_colour(style.get("fill", "black")),
            ha=ANCHORS[element.get("text-anchor", "start")], va="baseline", zorder=order, fontfamily=["DejaVu Sans"],
            fontweight="bold" if style.get("font-weight") == "600" else "normal", path_effects=halo if "stroke" in style else None,
            parse_math=False)


def _points(text: str) -> np.ndarray:
    """``(n, 2)`` of ``x,y x,y …``."""
    return np.array([pair.split(",") for pair in text.split()], float).reshape(-1, 2)


def _colour(value: str) -> str:
    return "none" if value in ("none", "transparent") else value


def _dashes(style: Style, width: float) -> tuple[int, list[float]] | str:
    """A pattern in points becomes one in line widths."""
    given = style.get("stroke-dasharray")
    return (0, [float(v) * POINTS / width for v in given.split()]) if given else "-"
