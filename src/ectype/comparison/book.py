"""The folder that a comparison writes, and the figures that it is written from.

The folder is all that a report needs: ``results.json`` (documented in ``docs/results.md``),
``samples/``, ``curves/``, ``features/`` (what codes keep), and in ``models/`` the models of the first seed. It is written anew after
every fit, so that an interruption loses only the fit it interrupts.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, registry
from ..data.schema import as_frame
from ..data.sources import Dataset
from ..errors import DataFileError
from ..metrics import DUMMIES, METRICS, Metric, worst_columns
from .marks import CLOSED, COPYING, EVALUATIONS, REACHED, RULES, SLOWER, award_marks, choose, spread
from .parts import Parts

SCHEMA_VERSION = 1
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
           "Theis, van den Oord & Bethge 2016"),
    Metric("bits_per_dim", "Bits per dimension", "lower", "bits/dim",
           "The same, as the bits that one pixel value costs in lossless compression.", "As the log-likelihood.",
           "Theis, van den Oord & Bethge 2016"),
)}
GROUPS = {
    "quality": ("c2st", "frechet_pca", "frechet_features", "sliced_wasserstein", "correlation_difference"),
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
    values: dict[str, dict[int, float]] = field(default_factory=dict)       # metric → seed → value
    steps: dict[int, int] = field(default_factory=dict)
    sampling_s: list[float] = field(default_factory=list)
    worst: list[dict[str, Any]] | None = None
    likelihood: str | None = None       # "exact" or "bound"
    code: dict[str, Any] | None = None  # what the code of the first seed keeps
    error: str | None = None

    @property
    def seeds(self) -> list[int]:
        return sorted(set().union(*self.values.values()))

    @property
    def is_measured(self) -> bool:
        """Whether samples were drawn and judged, at one seed at least."""
        return self.worst is not None

    def enter(self, seed: int, **figures: float) -> None:
        for metric, value in figures.items():
            self.values.setdefault(metric, {})[seed] = float(value)

    def affords(self, allowance_s: float) -> bool:
        """Whether one more sampling keeps within the allowance; the first one always does."""
        return not self.sampling_s or sum(self.sampling_s) + max(self.sampling_s) <= allowance_s


class Book:
    """Keeps the measurements of one comparison and writes them into its folder."""

    def __init__(self, directory: Path, dataset: Dataset, parts: Parts, families: Mapping[str, Any], settings: dict[str, Any]):
        self.directory, self.dataset, self.parts, self.families, self.settings = directory, dataset, parts, families, settings
        self.seeds: list[int] = settings["seeds"]
        self.floor: dict[str, float] = {}
        self.models: dict[str, Row] = {}
        for name, cls in families.items():
            title = registry.entry(name).title
            self.models[name] = Row(cls.__name__, title, name)
            for preset, options in cls.sampling_presets.items():
                row = Row(f"{cls.__name__} {preset}", f"{title}, sampler {preset}", name, dict(options))
                self.models[f"{name}-{preset}"] = row
        self.dummies = {name: Row(name.replace("_", " ").capitalize(), f"{d.title}. {d.meaning}") for name, d in DUMMIES.items()}
        self.curves: dict[str, list[dict[str, Any]]] = {name: [] for name in families}
        try:
            for room in ("samples", "curves", "features", "models"):
                (directory / room).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataFileError(f"cannot write into {directory}", expected="a folder that can be written",
                                got=error.strerror or str(error), hint="choose another one with out= (--out)") from error
        self._save_rows("real", parts.test)

    def samplers(self, family: str) -> dict[str, Row]:
        """The rows that one fitted model of the family fills."""
        return {name: row for name, row in self.models.items() if row.family == family}

    def measure(self, name: str, seed: int, stored: np.ndarray) -> None:
        """Measure samples against the test part and enter the figures; the first samples of a row are kept for the report."""
        row = self.models.get(name) or self.dummies[name]
        row.enter(seed, **self.parts.evaluator.evaluate(stored, seed))
        if not row.is_measured:
            worst = worst_columns(self.parts.test, stored, self.parts.schema)
            row.worst = [{"column": c.name, "distance": c.distance} for c in worst]
            self._save_rows(name, stored)

    def curve(self, name: str, seed: int, history: list[dict[str, Any]]) -> None:
        """Keep a training curve."""
        self.curves[name].append({"seed": seed, "history": history})
        _write_text(self.directory / "curves" / f"{name}.json", _to_json(self.curves[name]))

    def keep_code(self, name: str, figures: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Keep what a family's code does with the test rows: figures for ``results.json``, arrays for ``features/``."""
        self.models[name].code = figures
        _save_arrays(self.directory / "features" / f"{name}.npz", **arrays)

    def fail(self, name: str, seed: int, error: Exception) -> None:
        """Enter an error in the rows of a family; the traceback goes to ``errors/``."""
        text = f"seed {seed}: {type(error).__name__}: {error}".removesuffix(": ")
        for row in self.samplers(name).values():
            row.error = row.error or text
        _write_text(self.directory / "errors" / f"{name}-seed{seed}.txt", "".join(traceback.format_exception(error)))

    def _save_rows(self, name: str, stored: np.ndarray) -> None:
        X, path = self.parts.schema.decode(stored), self.directory / "samples" / name
        if not self.parts.schema.is_table:
            _save_arrays(path.with_name(f"{name}.npz"), x=X)
            return
        try:
            as_frame(X).to_csv(path.with_name(f"{name}.csv"), index=False)
        except OSError as error:
            raise DataFileError(f"cannot write {path}", got=error.strerror or str(error), hint="free some disk space") from error

    def write(self, *, interrupted: bool = False) -> dict[str, Any]:
        """Write ``results.json`` from what is known, and return its content."""
        models = {name: self._entry(row) for name, row in self.models.items()}
        dummies = {name: self._entry(row) for name, row in self.dummies.items()}
        marks = award_marks(models, dummies)
        measured = {metric for e in (*models.values(), *dummies.values()) for metric in e["metrics"]}
        text = _to_json({
            "schema_version": SCHEMA_VERSION,
            "data": self._data(),
            "settings": {**self.settings, "feature_spaces": self.parts.evaluator.feature_spaces, "interrupted": interrupted},
            "environment": environment(),
            "metrics": {m: _describe(m, group) for group, metrics in GROUPS.items() for m in metrics if m in measured},
            "floor": self.floor,
            "models": models,
            "dummies": dummies,
            "marks": marks,
            "rules": RULES,
            "thresholds": {"quality": CLOSED, "copying": COPYING, "coverage": REACHED, "evaluations": EVALUATIONS,
                           "slower": SLOWER},
            "pick": choose(models, dummies, marks, self.parts.sizes["evaluated"]),
        })
        _write_text(self.directory / "results.json", text)
        return json.loads(text)

    def _entry(self, row: Row) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "label": row.label, "title": row.title, "seeds": row.seeds, "worst_columns": row.worst or [],
            "metrics": {m: self._figure(m, row) for metrics in GROUPS.values() for m in metrics if m in row.values}}
        if row.family is not None:
            entry |= {"family": row.family, "options": row.options, "steps": [row.steps[s] for s in row.seeds if s in row.steps],
                      "likelihood": row.likelihood, "error": row.error, "code": row.code}
        return entry

    def _figure(self, metric: str, row: Row) -> dict[str, Any]:
        values = [v if (v := row.values[metric].get(s)) is not None and math.isfinite(v) else None for s in row.seeds]
        known = [v for v in values if v is not None]
        floor = self.floor.get(metric)
        return {**spread(known), "floor": floor if floor is not None and math.isfinite(floor) else None, "n": len(known),
                "better": (METRICS.get(metric) or COSTS[metric]).better, "values": values}

    def _data(self) -> dict[str, Any]:
        d, schema = self.dataset, self.parts.schema
        return {"name": d.name, "kind": "table" if schema.is_table else schema.container, "rows": d.n_rows, "fingerprint": d.fingerprint,
                "label": d.label, "schema": [_summary(b) for b in schema.blocks], "split": self.parts.sizes,
                "notes": list(dict.fromkeys((*d.notes, *schema.notes)))}


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
    m = METRICS.get(metric) or COSTS[metric]
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


def _to_json(content: Any) -> str:
    """JSON without NaN and infinities, which JSON does not have: they become null."""
    def plain(v: Any) -> Any:
        if isinstance(v, Mapping):
            return {str(k): plain(i) for k, i in v.items()}
        if isinstance(v, (list, tuple)):
            return [plain(i) for i in v]
        v = v.item() if isinstance(v, np.generic) else v
        return None if isinstance(v, float) and not math.isfinite(v) else v

    return json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False, default=str)


def _save_arrays(path: Path, **arrays: np.ndarray) -> None:
    try:
        np.savez_compressed(path, **arrays)
    except OSError as error:
        raise DataFileError(f"cannot write {path}", got=error.strerror or str(error), hint="free some disk space") from error


def _write_text(path: Path, text: str) -> None:
    """Write through a neighbour, so that a reader never meets half a file."""
    try:
        path.parent.mkdir(exist_ok=True)
        new = path.with_name(path.name + ".new")
        new.write_text(text, encoding="utf-8")
        os.replace(new, path)
    except OSError as error:
        raise DataFileError(f"cannot write {path}", got=error.strerror or str(error),
                            hint="free some disk space, or choose another folder") from error
