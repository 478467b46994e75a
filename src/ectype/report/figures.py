"""The tables of all figures: families, then what real data score, then the dummies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .numbers import best, between, decimals, number

TABLES = (      # groups of metrics, title, what the table says
    (("quality",), "Quality", "How hard the samples are to tell from real rows."),
    (("coverage", "copying"), "Coverage and originality",
     "Whether all of the real data are reached and only they, and whether samples are new."),
    (("cost", "likelihood"), "Cost and likelihood",
     "What training and sampling took (in brackets, the least and the most of the seeds), and how probable unseen rows are under the "
     "model, where it can say."))
UNITS = {"fit_s", "peak_memory_mib", "log_likelihood"}      # whose titles do not say the unit
PLAIN = {"fit_s", "peak_memory_mib", "parameters"}          # no best to be proud of
BOUNDS = {"log_likelihood": "≥ ", "bits_per_dim": "≤ "}
DIRECTIONS = {"lower": "lower is better", "higher": "higher is better", "half": "0.5 is ideal"}


def figure_tables(results: Mapping[str, Any], measured: Sequence[str]) -> list[dict[str, Any]]:
    """One table per entry of :data:`TABLES`, as text; ``measured`` are the rows of ``models`` that have figures."""
    tables = [_table(results, measured, *entry) for entry in TABLES]
    return [t for t in tables if t["heads"]]


def _table(results: Mapping[str, Any], measured: Sequence[str], groups: Sequence[str], title: str, about: str) -> dict[str, Any]:
    models, dummies, about_metrics = results["models"], results["dummies"], results["metrics"]
    known = {m for n in measured for m in models[n]["metrics"]}
    metrics = [m for group in groups for m, d in about_metrics.items() if d["group"] == group and m in known]
    columns = []
    for m in metrics:
        figures = {n: models[n]["metrics"][m] for n in measured if m in models[n]["metrics"]}
        digits = decimals(m, [f["mean"] for f in figures.values()])
        columns.append((m, digits, set() if m in PLAIN else best(m, figures, digits)))
    n_seeds = len(results["settings"]["seeds"])
    intervals = results["floor_intervals"]
    floor = [{"text": number(m, results["floor"].get(m), digits), "interval": between(m, intervals.get(m), digits)}
             for m, digits, _ in columns]
    judged = [n for n, e in dummies.items() if any(m in e["metrics"] for m in metrics)]
    return {"id": groups[0], "title": title, "about": about,
            "heads": [{"title": about_metrics[m]["title"], "note": _note(m, about_metrics[m])} for m in metrics],
            "families": [_row(n, models[n], columns, n_seeds) for n in measured],
            "floor": floor if any(results["floor"].get(m) is not None for m in metrics) else None,
            "dummies": [_row(n, dummies[n], columns, n_seeds) for n in judged]}


def _note(metric: str, about: Mapping[str, Any]) -> str:
    direction = DIRECTIONS[about["better"]]
    return f"{about['unit']} · {direction}" if metric in UNITS else direction


def _row(name: str, entry: Mapping[str, Any], columns: Sequence[tuple[str, int | None, set[str]]], n_seeds: int) -> dict[str, Any]:
    cells = []
    for m, digits, winners in columns:
        figure = entry["metrics"].get(m, {})
        bound = BOUNDS.get(m, "") if entry.get("likelihood") == "bound" and figure.get("mean") is not None else ""
        few = f"n={figure['n']}" if 0 < figure.get("n", 0) < min(n_seeds, 2) else ""
        cells.append({"text": number(m, figure.get("mean"), digits), "interval": between(m, figure, digits), "few": few,
                      "best": name in winners, "bound": bound})
    return {"name": name, "label": entry["label"], "cells": cells}
