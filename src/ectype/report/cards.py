"""The cards: for each row of the comparison, real beside generated, what its code keeps, its training curve, and what it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from . import charts, pictures, signals
from .associations import association_section
from .codes import code_section
from .film import game
from .folder import Folder
from .numbers import NUMBERS, cell, number
from .originality import nearest_section
from .steps import steps_section
from .words import good_at

PANELS = 8              # distributions on a card
COLUMNS = 12            # of a table of sample rows
ROWS = 4
DOTS = 1000             # in a scatter plot
CATEGORIES = 6          # in a drawing of a column
PICTURES = 2_200_000    # characters that all generated images of a page may take together


def card(folder: Folder, name: str, index: int) -> dict[str, Any]:
    """Everything that the page shows of one row; ``index`` is the number that gives its colour and shape."""
    results, data = folder.results, folder.data
    entry, n_cards = results["models"][name], len(results["models"])
    others = [e for n, e in results["models"].items() if e["family"] == name and n in results["marks"]]
    arrays, n_curves = folder.arrays("trajectories", name), sum(bool(e.get("steps_curve")) for e in results["models"].values())
    generated = folder.samples(name)
    shown: dict[str, Any] = {
        "name": name, "label": entry["label"], "title": entry["title"], "error": entry["error"], "marks": results["marks"][name],
        "good_at": good_at(results, name), "colour": charts.colour(index), "facts": _facts(entry),
        "curve": _curve(folder, entry, name, index),
        "grids": [], "plots": [], "rows": None, "panels": [], "associations": None,
        "code": code_section(folder, entry, name, index, folder.real, n_cards),
        "steps": steps_section(entry, others, arrays, index, data, name, n_curves), "game": game(arrays or {}, index, entry["label"], name),
        "nearest": nearest_section(folder, name, generated, index, n_cards)}
    if generated is None or folder.real is None:
        return shown
    if data["kind"] == "images":
        return shown | {"grids": _grids(folder, generated, entry["label"], n_cards)}
    if data["kind"] == "signals":
        return shown | {"plots": _lines(folder, generated, entry["label"], index)}
    numeric = [c["name"] for c in data["schema"] if c["kind"] in NUMBERS]
    if len(numeric) == 2 and len(data["schema"]) <= 3:
        shown["plots"] = _plots(folder.real, generated, numeric, entry["label"], index)
        if len(data["schema"]) == 2:        # the plots say it all
            return shown | {"nearest": None}
    associations = association_section(folder.arrays("associations", name, ("real", "generated")), data["schema"], entry["label"])
    return shown | {"rows": _rows(folder, generated), "associations": associations} | _panels(folder, generated, entry, index)


def _facts(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What it took, in pairs of words and figures."""
    def figure(metric: str) -> str:
        return number(metric, entry["metrics"].get(metric, {}).get("mean"))

    steps = ", ".join(s if isinstance(s, str) else f"{s:,}" for s in entry["steps"])       # 66+76+219 for a training of three stages
    facts = [("Training", f"{figure('fit_s')} s"), ("Steps, by seed", steps),
             ("Parameters", figure("parameters")), ("Evaluations per sample", figure("nfe")),
             ("Sampling", f"{figure('rows_per_s')} rows/s"), ("Peak memory", f"{figure('peak_memory_mib')} MiB")]
    options = ", ".join(f"{k}={v}" for k, v in entry["options"].items())
    return facts + ([("Sampler", options)] if options else []) + ([("Given", _given(entry["given"]))] if entry.get("given") else [])


def _given(given: Mapping[str, Any]) -> str:
    """What a family was given: that all were given the same can be checked."""
    budgets = list(dict.fromkeys(str(b) for b in given["budget"]))
    threads = f"{given['threads']} thread{'s' * (given['threads'] != 1)}" if given["threads"] else "threads as usual"
    return f"{', '.join(budgets)}, {given['rows']:,} rows, {threads}"


def _curve(folder: Folder, entry: Mapping[str, Any], name: str, index: int) -> tuple[str, Markup] | None:
    """Caption and drawing of the held-out curves, or of the training loss where too few rows were held out.

    Other samplers of the same weights have no curve of their own.
    """
    curves = folder.json("curves", name, required=name == entry["family"])
    if curves is None:
        return None
    histories = [run["history"] for run in curves]
    terms = {term for history in histories for point in history for term in point}
    term = next((t for t in ("held_out", "loss", *sorted(t for t in terms if t.endswith(".loss"))) if t in terms), None)
    runs = []
    for history in histories:
        points = [(h["step"], h[term]) for h in history if h.get(term) is not None]
        if len(points) > 1:
            runs.append(tuple(zip(*points, strict=True)))
    if not runs:
        return None
    words = "Held-out loss while training" if term == "held_out" else f"Training loss ({term})"
    ends = ", ".join(f"{values[0]:.4g} to {values[-1]:.4g}" for _, values in runs)
    return words, charts.curve(runs, index, f"{words}, {entry['label']}, one line per seed: {ends}.")


# ------------------------------------------------------------------------------------------------------------------ images


def _grids(folder: Folder, generated: np.ndarray, label: str, n_cards: int) -> list[tuple[str, str, str]]:
    """Caption, address and spoken words of the real and the generated grid, with as many images as a small page allows."""
    image = folder.data["schema"][0]
    columns, rows = pictures.layout(image["height"], image["width"])
    for height in range(rows, 0, -1):
        n = min(columns * height, len(folder.real), len(generated))
        real, made = (pictures.data_uri(pictures.grid(x[:n], columns, image["top"])) for x in (folder.real, generated))
        if len(real) + len(made) <= PICTURES // n_cards:
            break
    return [("Real", real, f"{n} real images of the test part"),
            (f"Generated by {label}", made, f"{n} images generated by {label}")]


# ------------------------------------------------------------------------------------------------------------------ signals


def _lines(folder: Folder, generated: np.ndarray, label: str, index: int) -> list[tuple[str, Markup]]:
    """Caption and drawing of real and of generated signals, in the frame of the real ones."""
    real, made = (np.asarray(x, np.float64).reshape(*x.shape[:2], -1) for x in (folder.real, generated))
    bounds = signals.frame(real)
    n_real, n_made = (min(len(x), signals.COLUMNS * signals.ROWS) for x in (real, made))
    return [("Real", signals.drawing(real, bounds, "ink", f"{n_real} real signals of the test part")),
            (f"Generated by {label}", signals.drawing(made, bounds, charts.colour(index),
                                                      f"{n_made} signals generated by {label}, in the same frame"))]


# ------------------------------------------------------------------------------------------------------------------ tables


def _plots(real: pd.DataFrame, generated: pd.DataFrame, names: Sequence[str], label: str, index: int) -> list[tuple[str, Markup]]:
    """Both columns of the plane, real and generated, in the same frame."""
    across, up = names
    low, high = real[[across, up]].min(), real[[across, up]].max()
    low, high = low - 0.08 * (high - low), high + 0.08 * (high - low)
    bounds = (float(low[across]), float(high[across]), float(low[up]), float(high[up]))
    n = min(len(real), len(generated), DOTS)
    dots = [frame[[across, up]].to_numpy(np.float64)[:n] for frame in (real, generated)]
    return [("Real", charts.scatter(dots[0], bounds, "ink", f"Scatter plot of {n} real rows, {across} across and {up} up")),
            (f"Generated by {label}", charts.scatter(dots[1], bounds, charts.colour(index),
                                                     f"Scatter plot of {n} rows generated by {label}, in the same frame"))]


def _rows(folder: Folder, generated: pd.DataFrame) -> dict[str, Any]:
    """A few rows of both, as text."""
    shown = folder.data["schema"][:COLUMNS]
    names = [c["name"] for c in shown]
    few = {kind: [[cell(v) for v in row] for row in frame[names].head(ROWS).itertuples(index=False)]
           for kind, frame in (("real", folder.real), ("generated", generated))}
    return few | {"columns": names, "numeric": [c["kind"] in NUMBERS for c in shown], "left_out": len(folder.data["schema"]) - len(shown)}


def _panels(folder: Folder, generated: pd.DataFrame, entry: Mapping[str, Any], index: int) -> dict[str, Any]:
    """The columns furthest from the real ones, the furthest first."""
    distance = {w["column"]: w["distance"] for w in entry["worst_columns"]}
    ordered = sorted(folder.data["schema"], key=lambda c: -distance.get(c["name"], 0.0))
    return {"panels": [{"name": c["name"], "distance": distance.get(c["name"]), "chart": _panel(c, folder.real, generated, index)}
                       for c in ordered[:PANELS]],
            "worst": ordered[0]["name"] if distance and len(ordered) > 1 else None, "more": max(0, len(ordered) - PANELS)}


def _panel(column: Mapping[str, Any], real: pd.DataFrame, generated: pd.DataFrame, index: int) -> Markup:
    """Real and generated values of one column in one drawing."""
    name = column["name"]
    words = f"Distribution of {name}, real and generated"
    if "categories" in column:
        shares = [frame[name].fillna("(blank)").value_counts(normalize=True) for frame in (real, generated)]
        shown = list(shares[0].add(shares[1], fill_value=0).sort_values(ascending=False, kind="stable").index[:CATEGORIES])
        r, g = ([float(s.get(v, 0.0)) for v in shown] for s in shares)
        said = "; ".join(f"{v}: {a:.0%} and {b:.0%}" for v, a, b in zip(shown, r, g, strict=True))
        return charts.bars([str(v) for v in shown], r, g, index, f"{words}: {said}")
    a, b = (_values(frame[name], column["kind"]) for frame in (real, generated))
    if not len(a) or not len(b):
        return Markup('<p class="note">no values to draw</p>')
    if column["kind"] == "datetime":
        first, last = (pd.Timestamp(v, unit="s").strftime("%Y-%m-%d") for v in np.quantile(np.concatenate([a, b]), [0.005, 0.995]))
        return charts.histogram(a, b, index, words, (first, last))
    return charts.histogram(a, b, index, f"{words}: median {np.median(a):.4g} real, {np.median(b):.4g} generated")


def _values(column: pd.Series, kind: str) -> np.ndarray:
    """The filled cells as numbers; dates in seconds since 1970."""
    if kind == "datetime":
        when = pd.to_datetime(column, errors="coerce", utc=True).dropna()
        return when.dt.tz_localize(None).astype("datetime64[s]").astype("int64").to_numpy(np.float64)
    return pd.to_numeric(column, errors="coerce").dropna().to_numpy(np.float64)
