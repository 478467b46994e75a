"""The figures of a comparison, and the ``results.json`` that is written from them.

The folder is all that a report needs: ``results.json`` (documented in ``docs/results.md``), ``samples/``, ``curves/``, ``features/`` (what
codes keep), and in ``models/`` the models of the first seed. ``results.json`` is written anew after every fit, so that an interruption
loses only the fit it interrupts.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__, registry
from ..data.sources import Dataset
from ..metrics import DUMMIES, METRICS, PUBLISHED, Estimate, Metric
from .clock import PARTS
from .files import to_json, write_text
from .fits import Fit, samplers, save_rows
from .intervals import interval, moderation
from .marks import CLOSED, COPYING, EVALUATIONS, REACHED, RULES, SLOWER, award_marks, spread
from .parts import Parts
from .verdict import choose, known_table

SCHEMA_VERSION = 2
COSTS = {m.name: m for m in (
    Metric("rows_per_s", "Rows per second", "higher", "rows/s",
           "Samples drawn in a second: the median of several calls on warm networks, as many rows as the test part has.",
           "Holds for this machine and this number of rows; with few rows, fixed costs hide what a large network costs.", ""),
    Metric("nfe", "Evaluations per sample", "lower", "", "Network evaluations needed to draw one sample (NFE).",
           "Says nothing about the size of the network.", ""),
    Metric("fit_s", "Fit time", "lower", "s", "Seconds from raw rows to a fitted model.",
           "Mostly the budget that was given; less means that training stopped early.", ""),
    Metric("peak_memory_mib", "Peak memory", "lower", "MiB", "Largest resident memory of the process while fitting and sampling.",
           "Includes the libraries, the data and what the families before have left behind.", ""),
    Metric("parameters", "Parameters", "lower", "", "Trained numbers in the networks.",
           "Not a measure of time: weights can be shared.", ""),
    Metric("log_likelihood", "Log-likelihood", "higher", "nats/row",
           "Mean log-likelihood of the test rows, exact or a lower bound (≥).",
           "Good likelihood with poor samples is possible, and the reverse; a bound is at a disadvantage beside an exact value.",
           "Theis, van den Oord & Bethge 2016", bounds=(-math.inf, math.inf)),
    Metric("bits_per_dim", "Bits per dimension", "lower", "bits/dim",
           "The same, as the bits that one pixel value costs in lossless compression.", "As the log-likelihood.",
           "Theis, van den Oord & Bethge 2016", bounds=(-math.inf, math.inf)),
)}
KNOWN = METRICS | PUBLISHED | COSTS
GROUPS = {
    "quality": ("c2st", "frechet_pca", "frechet_features", "kernel_distance", "fid", "kid", "sliced_wasserstein", "correlation_difference"),
    "coverage": ("precision", "density", "recall", "coverage"),
    "copying": ("memorisation", "duplicates"),
    "likelihood": ("log_likelihood", "bits_per_dim"),
    "cost": ("rows_per_s", "nfe", "fit_s", "peak_memory_mib", "parameters"),
}


@dataclass
class Row:
    """One row of the table: a family, another sampler of the same weights, or a dummy."""

    label: str
    title: str
    family: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    values: dict[str, dict[int, list[float | None]]] = field(default_factory=dict)      # metric → seed → value, low, high
    fits: dict[int, Fit] = field(default_factory=dict)
    worst: list[dict[str, Any]] | None = None
    error: str | None = None

    @property
    def seeds(self) -> list[int]:
        return sorted(set().union(*self.values.values()))

    @property
    def is_measured(self) -> bool:
        """Whether samples were drawn, judged and kept, at one seed at least."""
        return self.worst is not None

    def of_known_seeds(self) -> list[Fit]:
        """The fits of the seeds that something is known of."""
        return [self.fits[s] for s in self.seeds if s in self.fits]

    def first(self, attribute: str) -> Any:
        """The first value that a fit has of something; ``None`` where none has."""
        return next((v for s in sorted(self.fits) if (v := getattr(self.fits[s], attribute)) is not None), None)


class Book:
    """Keeps the measurements of one comparison and writes them into its folder."""

    def __init__(self, directory: Path, dataset: Dataset, parts: Parts, families: Mapping[str, Any], settings: dict[str, Any],
                 how: dict[str, Any], spent_s: Mapping[str, float]):
        self.spent_s = spent_s         # seconds by part before and between the fits
        self.directory, self.dataset, self.parts, self.settings, self.how = directory, dataset, parts, settings, how
        self.seeds: list[int] = settings["seeds"]
        self.floor: dict[str, Estimate] = {}
        self.models: dict[str, Row] = {}
        for name, cls in families.items():
            title, label = registry.entry(name).title, label_of(cls)
            for row, options in samplers(name, cls).items():
                preset = row.removeprefix(name).removeprefix("-")
                self.models[row] = Row(f"{label} {preset}".strip(), f"{title}, sampler {preset}" if preset else title, name, options)
        self.dummies = {name: Row(name.replace("_", " ").capitalize(), f"{d.title}. {d.meaning}") for name, d in DUMMIES.items()}
        save_rows(directory, "real", parts, parts.test)

    def rows_of(self, name: str) -> dict[str, Row]:
        """The rows that one fit of a family, or a dummy, fills."""
        return {name: self.dummies[name]} if name in self.dummies else {n: row for n, row in self.models.items() if row.family == name}

    def enter(self, fit: Fit) -> None:
        """Enter what a fit found; its training curve is written beside those of the other seeds."""
        for name, row in self.rows_of(fit.name).items():
            row.fits[fit.seed] = fit
            for metric, figure in fit.figures.get(name, {}).items():
                row.values.setdefault(metric, {})[fit.seed] = figure
            row.worst = fit.worst_columns.get(name, row.worst)
            row.error = row.error or fit.error
        if fit.history:
            fits = self.models[fit.name].fits
            curves = [{"seed": s, "history": fits[s].history} for s in sorted(fits) if fits[s].history]
            write_text(self.directory / "curves" / f"{fit.name}.json", to_json(curves))

    def write(self, *, interrupted: bool = False) -> dict[str, Any]:
        """Write ``results.json`` from what is known, and return its content."""
        models = {name: self._entry(name, row) for name, row in self.models.items()}
        dummies = {name: self._entry(name, row) for name, row in self.dummies.items()}
        marks = award_marks(models, dummies)
        measured = {metric for e in (*models.values(), *dummies.values()) for metric in e["metrics"]}
        text = to_json({
            "schema_version": SCHEMA_VERSION,
            "data": self._data(),
            "settings": {**self.settings, "feature_spaces": self.parts.evaluator.feature_spaces, "interrupted": interrupted},
            "environment": environment() | self.how,
            "spent_s": self._spent(),
            "metrics": {m: _describe(m, group) for group, metrics in GROUPS.items() for m in metrics if m in measured},
            "floor": {metric: e.value for metric, e in self.floor.items()},
            "floor_intervals": {metric: {"low": e.low, "high": e.high} for metric, e in self.floor.items()},
            "models": models,
            "dummies": dummies,
            "marks": marks,
            "rules": RULES,
            "thresholds": {"quality": CLOSED, "copying": COPYING, "coverage": REACHED, "evaluations": EVALUATIONS,
                           "slower": SLOWER},
            "known_table": known_table(models, marks),
            "pick": choose(models, dummies, marks, self.parts.sizes["evaluated"], self.settings["budget"], self.how["jobs"]),
        })
        write_text(self.directory / "results.json", text)
        return json.loads(text)

    def _entry(self, name: str, row: Row) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "label": row.label, "title": row.title, "seeds": row.seeds, "worst_columns": row.worst or [],
            "metrics": {m: self._figure(m, row) for metrics in GROUPS.values() for m in metrics if m in row.values}}
        if row.family is None:
            return entry
        own = name == row.family
        entry |= {"family": row.family, "options": next((f.options[name] for f in row.of_known_seeds() if name in f.options), row.options),
                  "steps": [f.steps for f in row.of_known_seeds() if f.steps is not None],
                  "given": self._given(row), "likelihood": row.first("likelihood") if own else None, "error": row.error,
                  "code": row.first("code") if own else None}
        curve = row.first("steps_curve") if own else None
        return entry if curve is None else entry | {"steps_curve": curve}

    def _given(self, row: Row) -> dict[str, Any]:
        """What a family was given to learn with."""
        fits = row.of_known_seeds()
        counts = row.values.get("parameters", {})
        return {"budget": [f.terms["budget"] for f in fits], "rows": self.parts.sizes["train"], "threads": row.first("threads"),
                "parameters": int(counts[min(counts)][0]) if counts else None}

    def _figure(self, metric: str, row: Row) -> dict[str, Any]:
        m = KNOWN[metric]
        known = _known(metric, row)
        judged = [v for v in known.values() if None not in v]
        evaluation = tuple(statistics.fmean(v[i] for v in judged) for i in (1, 2)) if judged else (None, None)
        values = [v[0] for v in known.values()]
        families = [[v[0] for v in _known(metric, r).values()] for r in self.models.values()] if metric not in COSTS else []
        low, high = interval(values, evaluation, m.bounds, moderation(families))
        floor = self.floor.get(metric)
        return {**spread(values), "low": low, "high": high, "evaluation": list(evaluation),
                "floor": floor.value if floor is not None and math.isfinite(floor.value) else None, "n": len(known), "better": m.better,
                "values": [known[s][0] if s in known else None for s in row.seeds]}

    def _spent(self) -> dict[str, float]:
        """Seconds by part, over all fits and dummies, those of earlier runs too."""
        fits = {id(f): f.spent_s for row in (*self.models.values(), *self.dummies.values()) for f in row.fits.values()}
        return {part: sum(spent.get(part, 0.0) for spent in (self.spent_s, *fits.values())) for part in PARTS}

    def _data(self) -> dict[str, Any]:
        d, schema = self.dataset, self.parts.schema
        return {"name": d.name, "kind": "table" if schema.is_table else schema.container, "rows": d.n_rows, "fingerprint": d.fingerprint,
                "label": d.label, "schema": [_summary(b) for b in schema.blocks], "split": self.parts.sizes,
                "notes": list(dict.fromkeys((*d.notes, *schema.notes)))}


def label_of(family: type) -> str:
    """The name of a family in a row: its class's, in words where it has several."""
    return re.sub(r"(?<=[a-z])[A-Z]", lambda letter: f" {letter[0].lower()}", family.__name__)


def _known(metric: str, row: Row) -> dict[int, Any]:
    """The figures of a row that are known, by seed: value, low and high end."""
    return {s: v for s, v in row.values.get(metric, {}).items() if v[0] is not None and math.isfinite(v[0])}


def _summary(block: Any) -> dict[str, Any]:
    """A column, the images or the signals, in a few words that a reader of ``results.json`` understands."""
    known = {"name": block.name, "kind": block.kind, "missing": block.missing}
    if block.type == "image":
        return known | {k: getattr(block, k) for k in ("height", "width", "channels", "levels", "top")}
    if block.type == "signal":
        return known | {k: getattr(block, k) for k in ("length", "channels", "rate", "low", "high")}
    if block.type == "number":
        return known | {"low": block.low, "high": block.high, "step": block.step or None}
    return known | {"categories": len(block.values), "most_frequent": [str(v) for v in block.values[:5]]}


def _describe(metric: str, group: str) -> dict[str, Any]:
    m = KNOWN[metric]
    return {"group": group, **{k: getattr(m, k) for k in ("title", "better", "unit", "meaning", "blind_spot", "reference")}}


def environment() -> dict[str, Any]:
    """Versions and machine, as far as they can change a figure."""
    versions = {p: importlib.metadata.version(p) for p in ("torch", "numpy", "scikit-learn", "pandas")}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"ectype": __version__, "python": platform.python_version(), **versions, "platform": platform.platform(terse=True),
            "processor": _processor(), "cores": cores}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
