"""Quality and coverage against the number of evaluations, samples by number of steps, rows on their way to noise and back.

Drawn from ``steps_curve`` in ``results.json`` and from ``trajectories/NAME.npz``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from . import charts, film, pictures, signals
from .charts import fmt, line, marker, path, text
from .numbers import short

PANELS = (      # metric, what its axis says, value at the bottom (None: the largest) and at the top
    ("c2st", "Told from real: 0.5 is a coin toss", 1.0, 0.5), ("coverage", "Coverage of the real data", 0.0, 1.0),
    ("frechet_features", "Fréchet distance to the real data, in features", None, 0.0))
WIDTH, HEIGHT, LEFT, RIGHT, GAP = 360, 88, 40, 16, 40     # of the drawing, of a panel, its margins, and room above a panel
STRIP_ROWS = {"images": 3, "signals": 1}
STEP_SIGNALS = 6                                           # for each number of steps
ROOM = 900_000                                             # characters that the pictures of all cards may take together
NOTICEABLE = 0.03                                          # difference of two C2ST that anybody would care about
ALIKE = 0.1                                                # relative difference of Fréchet distances that is none
FEWER = 60                                                 # paths that are drawn behind the dots


def steps_section(entry: Mapping[str, Any], others: Sequence[Mapping[str, Any]], arrays: Mapping[str, np.ndarray] | None, index: int,
                  data: Mapping[str, Any], name: str, n_curves: int) -> dict[str, Any] | None:
    """What a card shows of a family that samples in any number of steps: words, the curve, samples by steps, strips and a film; None for a
    family that does not. ``others`` are rows of the same weights, whose figures are drawn beside where they are from as many rows."""
    points = entry.get("steps_curve") or []
    measured = [p for p in points if not p.get("left_out") and p.get("c2st") is not None]
    arrays = arrays if arrays and "reverse" in arrays else {}
    if not measured and not arrays:
        return None
    label, room = entry["label"], ROOM // max(1, n_curves) // (len(arrays.get("steps", ())) + 3)
    words = _words(measured, points, label) if measured else ""
    shown: dict[str, Any] = {"words": words, "curve": None, "grid": [], "strips": [], "film": None}
    if measured:
        shown["curve"] = steps_curve(measured, _rows_of_the_table(others, measured, data["split"]["evaluated"]), index, label)
    if arrays:
        shown["grid"] = _grid(arrays, data, index, label, room)
        if data["kind"] == "table":
            shown["film"] = _paths(arrays, index, label, name)
        else:
            shown["strips"] = _strips(arrays, data, index, label, room)
    return shown


def _words(measured: Sequence[Mapping[str, Any]], points: Sequence[Mapping[str, Any]], label: str) -> str:
    """From how many evaluations on more of them change little, and what was left out."""
    n = measured[0]["samples"]
    chance = max(NOTICEABLE, 2 * math.sqrt((2 * n + 1) / (12 * n * n)))        # two standard errors of the AUROC of samples alike
    least = {m: min(_excess(m, p) for p in measured) for m in ("c2st", "frechet_features")}
    enough = next((p["nfe"] for p in measured if _excess("c2st", p) <= least["c2st"] + chance
                   and _excess("frechet_features", p) <= (1 + ALIKE) * least["frechet_features"]), measured[-1]["nfe"])
    said = f"One training, any number of steps; {n:,} samples at each point, at one seed."
    if len(measured) > 1:
        said += f" With {enough} evaluation{'s' * (enough != 1)} a sample, {label} is as good here as with any number that was tried, " \
                f"in C2ST (± {chance:.2f}) and in Fréchet distance (± {ALIKE:.0%})."
    late = [p for p in points if p.get("left_out")]
    if late:
        said += f" Left out: {', '.join(format(p['steps'], ',') for p in late)} steps; {late[0]['steps']:,} {late[0]['left_out']}."
    return said


def _excess(metric: str, point: Mapping[str, Any]) -> float:
    """How far a point is from what cannot be told from real data: of a Fréchet distance, no nearer than real rows are."""
    if metric == "c2st":
        return max(point["c2st"] - 0.5, 0.0)
    return max(point.get(metric) or 0.0, (point.get("floor") or {}).get(metric) or 0.0)


def _rows_of_the_table(others: Sequence[Mapping[str, Any]], measured: Sequence[Mapping[str, Any]],
                       evaluated: int) -> list[dict[str, float | None]]:
    """Figures of the first seed of rows with the same weights, where they are from as many rows as the curve."""
    if measured[0].get("samples") != evaluated:
        return []
    rows = []
    for entry in others:
        figures = {m: next(iter(entry["metrics"].get(m, {}).get("values") or [None])) for m in ("nfe", *(panel[0] for panel in PANELS))}
        if figures["nfe"] is not None:
            rows.append(figures)
    return rows


# ------------------------------------------------------------------------------------------------------------------ the curve


def steps_curve(measured: Sequence[Mapping[str, Any]], beside: Sequence[Mapping[str, float | None]], index: int, label: str) -> Markup:
    """The :data:`PANELS` over evaluations (log), up is better in each; dashed is what real rows score, rings are rows of the table."""
    xs = [p["nfe"] for p in (*measured, *beside)]
    low, high = math.log10(min(xs)), math.log10(max(*xs, 2 * min(xs)))
    height = len(PANELS) * (HEIGHT + GAP) + 34

    def x(nfe: float) -> float:
        return LEFT + (math.log10(nfe) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts, said = [], []
    for row, (metric, words, bottom, top) in enumerate(PANELS):
        known, rings = ([p for p in points if p.get(metric) is not None] for points in (measured, beside))
        bottom = max(1e-9, *(p[metric] for p in (*known, *rings))) if bottom is None else bottom
        base = row * (HEIGHT + GAP) + GAP - 16 + HEIGHT

        def y(v: float, base: float = base, bottom: float = bottom, top: float = top) -> float:
            return base - min(1.0, max(0.0, (v - bottom) / (top - bottom))) * HEIGHT

        parts.append(text(0, base - HEIGHT - 14, words, "title"))
        for v in np.linspace(bottom, top, 3):
            parts += [line(LEFT, y(v), WIDTH - RIGHT, y(v), "grid"), text(LEFT - 7, y(v) + 4, short(float(f"{v:.2g}")), "tick", "end")]
        floor = (measured[0].get("floor") or {}).get(metric)
        if floor is not None:
            parts.append(line(LEFT, y(floor), WIDTH - RIGHT, y(floor), "dummy"))
        parts.append(path([(x(p["nfe"]), y(p[metric])) for p in known], f"stroke {charts.colour(index)}"))
        parts += [marker(charts.shape(index), x(p["nfe"]), y(p[metric]), 4.5, f"mark {charts.colour(index)}") for p in known]
        parts += [f'<circle cx="{fmt(x(p["nfe"]))}" cy="{fmt(y(p[metric]))}" r="6" class="ring {charts.colour(index)}"/>' for p in rings]
        said.append(f"{metric}: " + ", ".join(f"{p[metric]:.2f} at {p['nfe']:,}" for p in known))
    ticks, last = [], -99.0
    for nfe in sorted(set(xs)):
        if x(nfe) - last >= 24:
            ticks.append(text(x(nfe), base + 16, short(nfe), "tick", "middle"))
            last = x(nfe)
    parts += [*ticks, text(WIDTH - RIGHT, base + 31, "evaluations per sample (log) →", "note", "end")]
    return charts.svg(WIDTH, height, f"Quality and coverage of {label} by evaluations per sample: {'; '.join(said)}.", parts, "chart steps")


# ------------------------------------------------------------------------------------------------------------------ samples by steps


def _grid(arrays: Mapping[str, np.ndarray], data: Mapping[str, Any], index: int, label: str, room: int) -> list[tuple[str, Markup]]:
    """For each number of steps, a few samples."""
    if "step_rows" not in arrays:
        return []
    rows = []
    frame = _frame(arrays["data"]) if "data" in arrays else None
    for steps, x in zip(arrays["steps"].tolist(), arrays["step_rows"], strict=True):
        said = f"Samples of {label} in {steps} step{'s' * (steps != 1)}"
        if data["kind"] == "images":
            uri = pictures.fitted(x, len(x), data["schema"][0]["top"], room)
            drawn = Markup('<img src="{}" alt="{}">').format(uri, said)
        elif data["kind"] == "signals":
            x = np.asarray(x, np.float64).reshape(*x.shape[:2], -1)
            bounds = signals.frame(arrays["forward"][:, 0].reshape(-1, *x.shape[1:]))
            drawn = signals.drawing(x[:STEP_SIGNALS], bounds, charts.colour(index), said, columns=STEP_SIGNALS)
        elif frame is not None:
            drawn = charts.scatter(x, frame, charts.colour(index), said)
        else:
            continue
        rows.append((f"{steps:,}", drawn))
    return rows


# ------------------------------------------------------------------------------------------------------------------ there and back


def _strips(arrays: Mapping[str, np.ndarray], data: Mapping[str, Any], index: int, label: str, room: int) -> list[tuple[str, Markup]]:
    """Caption and picture of real rows on their way to noise, of noise on its way to rows, and of what is guessed on the way."""
    captions = {"forward": "Forward: real data, more and more noise", "reverse": f"Reverse: {label} takes noise back to new data",
                "guess": "What it guesses the result to be, at each of these moments"}
    strips = []
    for kind, caption in captions.items():
        if kind not in arrays:
            continue
        x = arrays[kind][: STRIP_ROWS[data["kind"]]]
        n, times = x.shape[:2]
        flat = x.reshape(n * times, *x.shape[2:])
        said = f"{caption}: {n} rows at {times} times"
        if data["kind"] == "images":
            drawn = Markup('<img src="{}" alt="{}">').format(pictures.fitted(flat, times, data["schema"][0]["top"], room), said)
        else:
            flat = np.asarray(flat, np.float64).reshape(*flat.shape[:2], -1)
            drawn = signals.drawing(flat, signals.frame(flat), "ink" if kind == "forward" else charts.colour(index), said, columns=times)
        strips.append((caption, drawn))
    return strips


def _paths(arrays: Mapping[str, np.ndarray], index: int, label: str, name: str) -> Markup | None:
    """Points that follow the flow from noise to rows, over the real rows, with some of their paths behind them."""
    if "reverse" not in arrays or arrays["reverse"].shape[-1] != 2:
        return None
    x, (across, up) = arrays["reverse"], map(str, arrays["columns"])
    frame = _frame(np.concatenate([arrays["data"], x.reshape(-1, 2)[::7]]))
    place = film.placing(frame)
    trails = "".join(f"M{'L'.join(f'{a:.0f},{b:.0f}' for a, b in zip(*place(way), strict=True))}" for way in x[:FEWER])
    still = [film.FRAME, f'<path d="{film.dots(place(arrays["data"]))}" class="dots under"/>', f'<path d="{trails}" class="trail"/>']
    shots = [[f'<path d="{film.dots(place(x[:, k]))}" class="dots {charts.colour(index)}"/>',
              text(film.SIZE - 8, film.SIZE - 10, f"t = {t:.2f}", "tick", "end")] for k, t in enumerate(arrays["reverse_times"])]
    said = f"{len(x)} points on their way from noise to rows, {across} across and {up} up, over real rows (grey), {label}"
    return film.film(f"paths-{name}", said, still, shots)


def _frame(points: np.ndarray) -> tuple[float, float, float, float]:
    """(low x, high x, low y, high y) of nearly all points, with a margin."""
    (x0, y0), (x1, y1) = np.nanquantile(points, [0.005, 0.995], axis=0)
    dx, dy = 0.1 * (x1 - x0) or 0.5, 0.1 * (y1 - y0) or 0.5
    return float(x0 - dx), float(x1 + dx), float(y0 - dy), float(y1 + dy)
