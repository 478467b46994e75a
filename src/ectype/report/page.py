"""``report.html``: one self-contained page, drawn from the files that a comparison wrote.

The page answers in the order in which a reader asks: which one, how far apart are they, why, in figures, what do the samples look
like, what do these figures mean, on which data, and how to get the same again. No script is needed, nothing is fetched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from .. import registry
from ..errors import DataFileError
from . import charts, pictures
from .numbers import ABSENT, best, decimals, number, short, spread

SCHEMA_VERSION = 1      # of results.json
PANELS = 8              # distributions on a card
COLUMNS_SHOWN = 12      # of a table of sample rows
DOTS = 1000             # in a scatter plot
MARKS = ("quality", "speed", "coverage")
TABLES = (      # groups of metrics, title, what the table says
    (("quality",), "Quality", "How hard the samples are to tell from real rows."),
    (("coverage", "copying"), "Coverage and originality", "Whether all of the real data are reached and only they, and whether samples are new."),
    (("cost", "likelihood"), "Cost and likelihood", "What training and sampling took, and how probable unseen rows are under the model, where it can say."))
UNITS = {"fit_s", "peak_memory_mib", "log_likelihood"}     # whose titles do not say the unit
PLAIN = {"fit_s", "peak_memory_mib", "parameters"}      # no best to be proud of
ARROWS = {"lower": "lower is better", "higher": "higher is better", "half": "0.5 is ideal"}


def write_report(directory: str | os.PathLike) -> Path:
    """Draw ``report.html`` from ``results.json``, ``samples/`` and ``curves/`` in a folder, into that folder; returns its path.

    Raises :class:`DataFileError` where there is no ``results.json``, or one that cannot be read.
    """
    directory = Path(directory)
    html = render(directory)
    path = directory / "report.html"
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise DataFileError(f"cannot write {path}", got=error.strerror or str(error), hint="free some disk space") from error
    return path


def render(directory: Path) -> str:
    """The page as text."""
    results = read_results(directory)
    here = Path(__file__).parent
    pages = jinja2.Environment(loader=jinja2.FileSystemLoader(here), autoescape=True, trim_blocks=True, lstrip_blocks=True,
                               undefined=jinja2.StrictUndefined)
    pages.filters.update(number=lambda v, metric="": number(metric, v), short=short)
    data, models, dummies = results["data"], results["models"], results["dummies"]
    samples = _Samples(directory, data)
    known = registry.names()
    index = {name: known.index(name) if name in known else len(known) + i for i, name in enumerate(sorted(models, key=known.__contains__))}
    measured = [name for name in models if models[name]["seeds"]]
    pick = results["pick"]["name"]
    order = sorted(measured, key=lambda n: n != pick)
    return pages.get_template("page.html.j2").render(
        css=Markup((here / "page.css").read_text(encoding="utf-8")), r=results, data=data, models=models, dummies=dummies,
        marks=results["marks"], pick=results["pick"], rules=results["rules"], measured=measured, mark_names=MARKS, absent=ABSENT,
        failed=[n for n in models if models[n]["error"] and n == models[n]["family"]],
        keys={name: charts.key(i) for name, i in index.items()}, title=_title(results), facts=_facts(results),
        pictures=[_tradeoff(results, index, width, height) for width, height in ((860, 480), (360, 420))] if measured else [],
        tables=_tables(results, measured), cards=[_card(directory, results, samples, name, index[name]) for name in order],
        metrics=[(m, results["metrics"][m], ARROWS[results["metrics"][m]["better"]]) for m in results["metrics"]],
        columns=[(c["name"], c["kind"], _column(c)) for c in data["schema"]], repeat=_repeat(results))


def read_results(directory: Path) -> dict[str, Any]:
    """``results.json`` of a folder, checked for its version."""
    path = directory / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        version = results["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFileError(f"cannot read {path}", expected="the results of a comparison", got=str(error) or type(error).__name__,
                            hint="run `ectype compare` into this folder again") from error
    if version != SCHEMA_VERSION:
        raise DataFileError(f"{path} has another format", expected=f"schema_version {SCHEMA_VERSION}", got=version,
                            hint="draw it with the version of ectype that wrote it, or run the comparison again")
    return results


# ------------------------------------------------------------------------------------------------------------------ words


def _title(results: Mapping[str, Any]) -> str:
    name, pick = results["data"]["name"], results["pick"]["name"]
    if pick is None:
        return f"No family could be trained on {name}"
    title = results["models"][pick]["title"]
    return f"For {name}, pick the {title[:1].lower()}{title[1:]}"


def _facts(results: Mapping[str, Any]) -> str:
    data, settings = results["data"], results["settings"]
    if data["kind"] == "images":
        image = data["schema"][0]
        colour = {1: "grey", 3: "colour", 4: "colour"}.get(image["channels"], f"{image['channels']}-channel")
        what = f"{data['rows']:,} {colour} images of {image['width']}×{image['height']} pixels"
    else:
        what = f"{data['rows']:,} rows of {len(data['schema'])} column{'s' * (len(data['schema']) != 1)}"
    budget = settings["budget"] if isinstance(settings["budget"], (str, int, float)) else "a budget in steps"
    seeds = len(settings["seeds"])
    return (f"{what}. {len(settings['models'])} families, {budget} of training each, {seeds} seed{'s' * (seeds != 1)}, "
            f"measured on {data['split']['evaluated']:,} test rows.")


def _column(c: Mapping[str, Any]) -> str:
    """What was understood of a column, in words."""
    blanks = ", with blanks" if c.get("missing") else ""
    if c["kind"] == "image":
        return f"{c['width']}×{c['height']} pixels, {c['channels']} channel{'s' * (c['channels'] != 1)}, {c['levels']} levels"
    if "categories" in c:
        few = ", ".join(c["most_frequent"])
        return f"{c['categories']} categories: {few}{', …' * (c['categories'] > len(c['most_frequent']))}{blanks}"
    if c["kind"] == "datetime":
        first, last = (pd.Timestamp(v, unit="s").strftime("%Y-%m-%d") for v in (c["low"], c["high"]))
        return f"{first} to {last}{blanks}"
    return f"{c['low']:,.6g} to {c['high']:,.6g}{blanks}".replace("-", "−")


def _repeat(results: Mapping[str, Any]) -> dict[str, str]:
    """The command that runs the comparison again, and the call that repeats it step for step."""
    settings, models = results["settings"], results["models"]
    families = [n for n in settings["models"] if models[n]["steps"]]
    complete = families == settings["models"] and all(len(models[n]["steps"]) == len(settings["seeds"]) for n in families)
    options = "".join(f", {k}={settings[k]!r}" for k in ("label", "kinds", "drop", "size") if settings.get(k))
    budget = ",\n    ".join(f"{n!r}: {models[n]['steps']}" for n in families)
    flags = f" --label {settings['label']}" if settings.get("label") else ""
    return {
        "command": f"ectype compare {settings['source']}{flags} --models {','.join(settings['models'])} --budget {settings['budget']} "
                   f"--seeds {len(settings['seeds'])} --seed {settings['seeds'][0]}" if isinstance(settings["budget"], str) else "",
        "python": f"from ectype.compare import compare\n\ncompare({settings['source']!r}{options}, models={families}, seeds={len(settings['seeds'])}, "
                  f"seed={settings['seeds'][0]}, budget={{\n    {budget},\n}})" if complete else ""}


# ------------------------------------------------------------------------------------------------------------------ figures


def _tradeoff(results: Mapping[str, Any], index: Mapping[str, int], width: int, height: int) -> Markup:
    models, marks, thresholds = results["models"], results["marks"], results["thresholds"]
    spots = []
    for name, e in models.items():
        rate = e["metrics"].get("rows_per_s", {}).get("mean")
        if name in marks and rate and marks[name]["scores"]["quality"]["mean"] is not None:
            q, c = marks[name]["scores"]["quality"], marks[name]["scores"]["coverage"]
            spots.append(charts.Spot(e["label"], index[name], rate, q["mean"], q["std"], c["mean"]))
    if not spots:
        return Markup("")
    mixture = marks.get("gaussian_mixture", {}).get("scores", {}).get("quality", {}).get("mean")
    return charts.tradeoff(spots, mixture=mixture, quality=thresholds["quality"], slowest=max(s.rate for s in spots) / thresholds["slower"],
                           width=width, height=height)


def _tables(results: Mapping[str, Any], measured: Sequence[str]) -> list[dict[str, Any]]:
    """One table per group of metrics: families, then the floor, then the dummies."""
    models, dummies, metrics = results["models"], results["dummies"], results["metrics"]
    tables = []
    for groups, title, about in TABLES:
        names = [m for group in groups for m in metrics if metrics[m]["group"] == group and any(m in models[n]["metrics"] for n in measured)]
        if not names:
            continue
        digits = {m: decimals(m, [models[n]["metrics"][m]["mean"] for n in measured if m in models[n]["metrics"]]) for m in names}
        winners = {m: set() if m in PLAIN else best(m, {n: models[n]["metrics"][m] for n in measured if m in models[n]["metrics"]}, digits[m]) for m in names}

        def row(name: str, entry: Mapping[str, Any], names: list[str] = names, digits: Mapping = digits, winners: Mapping = winners) -> dict[str, Any]:
            cells = []
            for m in names:
                figure = entry["metrics"].get(m, {})
                bound = m in ("log_likelihood", "bits_per_dim") and entry.get("likelihood") == "bound" and figure.get("mean") is not None
                cells.append({"text": number(m, figure.get("mean"), digits[m]), "spread": spread(m, figure, digits[m]), "best": name in winners[m],
                              "bound": {"log_likelihood": "≥ ", "bits_per_dim": "≤ "}[m] if bound else ""})
            return {"name": name, "label": entry["label"], "cells": cells}

        floors = {m: next((e["metrics"][m]["floor"] for e in (*dummies.values(), *models.values()) if m in e["metrics"]), None) for m in names}
        tables.append({
            "group": groups[0], "title": title, "about": about,
            "heads": [{"title": metrics[m]["title"], "note": " · ".join(filter(None, (metrics[m]["unit"] if m in UNITS else "", ARROWS[metrics[m]["better"]])))}
                      for m in names],
            "families": [row(n, models[n]) for n in measured],
            "floor": [number(m, floors[m], digits[m]) for m in names] if any(v is not None for v in floors.values()) else None,
            "dummies": [row(n, e) for n, e in dummies.items()] if any(m in e["metrics"] for e in dummies.values() for m in names) else []})
    return tables


# ------------------------------------------------------------------------------------------------------------------ cards


class _Samples:
    """The real rows and the generated ones, read once each."""

    def __init__(self, directory: Path, data: Mapping[str, Any]):
        self.directory, self.data = directory, data
        self.real = self.read("real")
        self.columns = [c["name"] for c in data["schema"]]

    def read(self, name: str) -> Any:
        path = self.directory / "samples" / f"{name}{'.npz' if self.data['kind'] == 'images' else '.csv'}"
        try:
            if self.data["kind"] == "images":
                with np.load(path, allow_pickle=False) as file:
                    return file["x"]
            words = {c["name"]: str for c in self.data["schema"] if c["kind"] in ("categorical", "boolean")}
            return pd.read_csv(path, dtype=words, keep_default_na=True)
        except (OSError, ValueError, KeyError) as error:
            raise DataFileError(f"cannot read {path}", expected="the samples of a comparison", got=str(error),
                                hint="run `ectype compare` into this folder again") from error


def _card(directory: Path, results: Mapping[str, Any], samples: _Samples, name: str, index: int) -> dict[str, Any]:
    """Everything that the page shows of one row."""
    entry, data = results["models"][name], results["data"]
    generated = samples.read(name)
    card: dict[str, Any] = {"name": name, "label": entry["label"], "title": entry["title"], "marks": results["marks"][name], "index": index,
                            "curve": _curve(directory, entry, name, index), "facts": _took(entry), "error": entry["error"],
                            "grids": None, "scatter": None, "panels": [], "rows": None, "worst": None}
    if data["kind"] == "images":
        card["grids"] = _grids(samples.real, generated, data["schema"][0], entry["label"], len(results["models"]))
        return card
    numeric = [c for c in data["schema"] if c["kind"] in ("numeric", "integer")]
    if len(numeric) == 2 and len(data["schema"]) <= 3:
        card["scatter"] = _scatter(samples.real, generated, [c["name"] for c in numeric], entry["label"], index)
    worst = {w["column"]: w["distance"] for w in entry["worst_columns"]}
    ordered = sorted(data["schema"], key=lambda c: -worst.get(c["name"], 0.0))
    card["panels"] = [{"name": c["name"], "distance": worst.get(c["name"]),
                       "chart": _panel(c, samples.real, generated, index)} for c in ordered[:PANELS]]
    card["more"] = max(0, len(ordered) - PANELS)
    card["worst"] = ordered[0]["name"] if worst and len(ordered) > 1 else None
    if card["scatter"] and len(data["schema"]) == 2:        # the plot says it all
        return card
    card["rows"] = {"columns": samples.columns[:COLUMNS_SHOWN], "left_out": max(0, len(samples.columns) - COLUMNS_SHOWN),
                    "numeric": [c["kind"] in ("numeric", "integer") for c in data["schema"][:COLUMNS_SHOWN]],
                    "real": _few(samples.real, samples.columns, data), "generated": _few(generated, samples.columns, data)}
    return card


def _curve(directory: Path, entry: Mapping[str, Any], name: str, index: int) -> tuple[str, Markup] | None:
    """Caption and drawing of the held-out curves, or of the training loss where too few rows were held out.

    Other samplers of the same weights have no curve of their own.
    """
    path = directory / "curves" / f"{name}.json"
    if not path.exists():
        return None
    histories = [run["history"] for run in json.loads(path.read_text(encoding="utf-8"))]
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
    ends = ", ".join(f"{v[0]:.4g} to {v[-1]:.4g}" for _, v in runs)
    return words, charts.curve(runs, index, f"{words}, {entry['label']}, one line per seed: {ends}.")


def _took(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What it took, in pairs of words and figures."""
    m = {k: f["mean"] for k, f in entry["metrics"].items()}
    steps = ", ".join(f"{s:,}" for s in entry["steps"])
    pairs = [("Training", f"{number('fit_s', m.get('fit_s'))} s"), ("Steps, by seed", steps),
             ("Parameters", number("parameters", m.get("parameters"))), ("Evaluations per sample", number("nfe", m.get("nfe"))),
             ("Sampling", f"{number('rows_per_s', m.get('rows_per_s'))} rows/s"),
             ("Peak memory", f"{number('peak_memory_mib', m.get('peak_memory_mib'))} MiB")]
    return pairs + ([("Sampler", ", ".join(f"{k}={v}" for k, v in entry["options"].items()))] if entry["options"] else [])


def _grids(real: np.ndarray, generated: np.ndarray, image: Mapping[str, Any], label: str, n_cards: int) -> list[tuple[str, str, str]]:
    """(caption, address, words for the eyeless) of the real and the generated grid, small enough for all cards together."""
    columns, rows = pictures.layout(image["height"], image["width"])
    allowed = 4_000_000 // (2 * max(1, n_cards))
    while True:
        n = min(columns * rows, len(real), len(generated))
        uris = [pictures.data_uri(pictures.grid(x[:n], columns, image["top"])) for x in (real, generated)]
        if rows == 1 or max(map(len, uris)) <= allowed:
            return [("Real", uris[0], f"{n} real images of the test part"), (f"Generated by {label}", uris[1], f"{n} images generated by {label}")]
        rows -= 1


def _scatter(real: pd.DataFrame, generated: pd.DataFrame, names: Sequence[str], label: str, index: int) -> list[tuple[str, Markup]]:
    low, high = real[list(names)].min(), real[list(names)].max()
    pad = 0.08 * (high - low)
    bounds = (float(low.iloc[0] - pad.iloc[0]), float(high.iloc[0] + pad.iloc[0]), float(low.iloc[1] - pad.iloc[1]), float(high.iloc[1] + pad.iloc[1]))
    n = min(len(real), len(generated), DOTS)
    return [(caption, charts.scatter(frame[list(names)].to_numpy(np.float64)[:n], bounds, cls, words)) for caption, frame, cls, words in (
        ("Real", real, "ink", f"Scatter plot of {n} real rows, {names[0]} across and {names[1]} up"),
        (f"Generated by {label}", generated, f"c{index % len(charts.SHAPES)}", f"Scatter plot of {n} rows generated by {label}, in the same frame"))]


def _panel(column: Mapping[str, Any], real: pd.DataFrame, generated: pd.DataFrame, index: int) -> Markup:
    """Real and generated values of one column in one drawing."""
    name = column["name"]
    words = f"Distribution of {name}, real and generated"
    if "categories" in column:
        shares = [frame[name].fillna("(blank)").value_counts(normalize=True) for frame in (real, generated)]
        shown = list((shares[0].add(shares[1], fill_value=0)).sort_values(ascending=False, kind="stable").index[:6])
        r, g = ([float(s.get(v, 0.0)) for v in shown] for s in shares)
        said = "; ".join(f"{v}: {a:.0%} and {b:.0%}" for v, a, b in zip(shown, r, g, strict=True))
        return charts.bars([str(v) for v in shown], r, g, index, f"{words}: {said}")
    values, ends = [], None
    for frame in (real, generated):
        v = pd.to_datetime(frame[name], errors="coerce").astype("datetime64[s]") if column["kind"] == "datetime" else pd.to_numeric(frame[name], errors="coerce")
        v = v.dropna()
        values.append(v.to_numpy().astype("int64").astype(np.float64) if column["kind"] == "datetime" else v.to_numpy(np.float64))
    if not len(values[0]) or not len(values[1]):
        return Markup('<p class="note">no values to draw</p>')
    if column["kind"] == "datetime":
        low, high = np.quantile(np.concatenate(values), [0.005, 0.995])
        ends = tuple(pd.Timestamp(v, unit="s").strftime("%Y-%m-%d") for v in (low, high))
    said = ", ".join(f"median {np.median(v):.4g} {which}" for v, which in zip(values, ("real", "generated"), strict=True))
    return charts.histogram(values[0], values[1], index, f"{words}: {said}" if not ends else words, ends)


def _few(frame: pd.DataFrame, columns: Sequence[str], data: Mapping[str, Any], n: int = 4) -> list[list[str]]:
    """A few rows as text."""
    def text(v: Any) -> str:
        if pd.isna(v):
            return ABSENT
        return f"{v:.6g}".replace("-", "−") if isinstance(v, float) and not float(v).is_integer() else f"{v:.0f}" if isinstance(v, float) else str(v)
    return [[text(v) for v in row] for row in frame[list(columns[:COLUMNS_SHOWN])].head(n).itertuples(index=False)]
