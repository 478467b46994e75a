"""Compare the families of generative models on one data set: the same split, the same training budget, measured side by side.

    data ── split ──┬── train ────▶ fit every family, once per seed ──▶ samples ──┐
                    ├── holdout ──▶ the floor: what real data score against real  ├──▶ metrics ──▶ marks ──▶ pick
                    └── test ─────▶ what every sample is measured against ────────┘

Each figure stands between two anchors. The *floor* is what unseen real rows (the holdout) score against the test part: nobody can be
asked for more. The *dummies* need no deep learning (a copy of the training part, independent marginals, a Gaussian mixture, the
bootstrap with noise) and go through the same metrics, once per seed.

**Marks.** Quality is the share of the gap between independent marginals and real data that a family closes,

    closed(v) = 1 − (d(v) − d(floor)) / (d(marginals) − d(floor)),    clipped to [0, 1],

with ``d(v) = max(v − ½, 0)`` for the AUROC of a classifier two-sample test and ``d(v) = √v`` for a squared Fréchet distance; the two count
equally. Coverage is the share that it reaches of what real data reach in coverage and in recall. Speed goes by network evaluations
per sample, and by rows per second relative to the fastest family. :data:`RULES` says the thresholds in words. Both anchors come from
the data at hand, so that a mark asks for the same on easy data, where all are near the floor, as on hard data, where all are far.

**The folder** that :func:`compare` writes is all that a report needs: ``results.json`` (documented in ``docs/results.md``), ``samples/``,
``curves/``, and in ``models/`` the models of the first seed. It is written anew after every fit, so that an interruption loses only
the fit it interrupts.

**What the figures mean.** The spread over seeds comes from initialisation, batches, sampling and the classifier's folds; the split is
the same for all. Memory is the largest resident memory of the whole process while the family was fitted and sampled, the libraries
and the data included: what the machine must have, not what the family adds. Sampling speed is the median of several calls on warm
networks; of a sampler so slow that warming up does not matter, the one call whose samples are measured. A sampler that needs longer
than the training of its family took is drawn for the first seeds only; how many there are stands beside its figures.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import math
import os
import platform
import statistics
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import registry
from .data.schema import Schema, as_frame
from .data.sources import Dataset, load
from .data.split import split
from .errors import DataError, DataFileError, InvalidParameterError
from .metrics import DUMMIES, METRICS, Evaluator, Metric, worst_columns
from .spec import Train

SCHEMA_VERSION = 1
BUDGET = "10s"
MAX_ROWS = 2000             # of the test part, which is what samples are measured against
MIN_ROWS, FEW_ROWS = 4, 200    # with fewer than MIN_ROWS nothing can be measured; with fewer than FEW_ROWS chance plays a part
WARM_CALLS, SLOW_S = 5, 1.0     # sampling is timed again unless the first call took longer than this
LONG_S = 60.0               # a sampler gets as much time as the training over all seeds, and at least this
MAX_VALUES = 1_000_000      # pixels in the test part: larger images are measured on fewer rows, but on at least FEW_ROWS

CLOSED = 0.5                # quality: share of the gap that must be closed
COPYING = 0.75              # quality: memorisation from here on is closer to a copy (1) than to unseen data (0.5)
REACHED = 0.75              # coverage: share of the real-vs-real figure that must be reached
EVALUATIONS, SLOWER = 10, 20    # speed: network evaluations per sample, and times slower than the fastest family

RULES = {
    "quality": f"Closes at least {CLOSED:.0%} of the gap between independent marginals and real data, C2ST and Fréchet distance weighed "
               f"equally, and does not copy (memorisation below {COPYING:g}).",
    "speed": f"Needs at most {EVALUATIONS} network evaluations per sample and is at most {SLOWER} times slower than the fastest family.",
    "coverage": f"Reaches at least {REACHED:.0%} of what unseen real rows reach, coverage and recall weighed equally.",
}
QUALITY_METRICS = (("c2st",), ("frechet_features", "frechet_pca"))      # each group counts once
COVERAGE_METRICS = ("coverage", "recall")
GROUPS = {"c2st": "quality", "frechet_features": "quality", "frechet_pca": "quality", "sliced_wasserstein": "quality",
          "correlation_difference": "quality", "density": "coverage", "precision": "coverage", "coverage": "coverage",
          "recall": "coverage", "memorisation": "copying", "duplicates": "copying", "log_likelihood": "likelihood", "bits_per_dim": "likelihood"}

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
    Metric("parameters", "Parameters", "lower", "", "Trained numbers in the networks.", "Not a measure of time: weights can be shared.", ""),
    Metric("log_likelihood", "Log-likelihood", "higher", "nats/row", "Mean log-likelihood of the test rows, exact or a lower bound (≥).",
           "Good likelihood with poor samples is possible, and the reverse; a bound stands at a disadvantage beside an exact value.",
           "Theis, van den Oord & Bethge 2016"),
    Metric("bits_per_dim", "Bits per dimension", "lower", "bits/dim", "The same, as the bits that one pixel value costs in lossless compression.",
           "As the log-likelihood.", "Theis, van den Oord & Bethge 2016"),
)}


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found: the folder it wrote, the content of its ``results.json``, and whether it was interrupted."""

    directory: Path
    results: dict[str, Any]
    interrupted: bool = False


def compare(source: Any, *, models: Sequence[str] | None = None, budget: Any = BUDGET, seeds: int = 3, seed: int = 0,
            out: str | os.PathLike | None = None, label: str | None = None, kinds: Mapping[str, str] | None = None,
            drop: Iterable[str] = (), size: Any = None, progress: Callable[[dict[str, Any]], None] | None = None) -> Comparison:
    """Train every family on the same data under the same budget, measure, mark, and name the one to pick.

    ``source`` is what :func:`ectype.data.sources.load` takes (a name, a file, a folder, a DataFrame, an array) or a Dataset; ``label``,
    ``kinds``, ``drop`` and ``size`` go there. ``models`` defaults to all registered families. Each is fitted with the seeds ``seed,
    seed + 1, …``; the split is drawn from ``seed`` alone. ``budget`` is what ``Train`` takes (``"20s"``, ``"500steps"``), or a mapping from family to one
    such value per seed: the steps that ``results.json`` records, given back in this way, repeat a run exactly.

    Writes the folder ``out`` (default ``compare-NAME``) and returns a :class:`Comparison`. A family that fails becomes a row with its
    error text, and its traceback goes to ``errors/``. ``KeyboardInterrupt`` ends the comparison and keeps what was measured; it is
    raised again only while there is nothing to keep.

    ``progress`` is called with a dict: ``stage`` (``"data"``, ``"floor"``, ``"dummy"``, ``"fit"``, ``"sample"``, ``"measure"``, ``"done"``), ``row``,
    ``seed``, ``done`` and ``total`` (fits and dummies), and, during a fit, the keys of the training loop's own events.

    Raises :class:`UnknownNameError` for an unknown family, :class:`InvalidParameterError` for a setting out of its domain, and what
    the data raise.
    """
    names = list(dict.fromkeys(models if models is not None else registry.names()))
    if not names:
        raise InvalidParameterError("no models to compare", expected=f"some of {', '.join(registry.names())}", got="none")
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise InvalidParameterError("seeds is out of range", expected="a whole number ≥ 1", got=seeds)
    run_seeds = list(range(seed, seed + seeds))
    families = {name: registry.load(name) for name in names}
    trains = _training(budget, names, run_seeds)

    tell = progress or _silent
    tell({"stage": "data"})
    dataset = source if isinstance(source, Dataset) else load(source, label=label, kinds=kinds, drop=drop, size=size)
    parts = _Parts.of(dataset, seed, kinds)
    directory = Path(out) if out is not None else Path(f"compare-{dataset.name}")
    settings = {"source": os.fspath(source) if isinstance(source, (str, os.PathLike)) else dataset.name, "label": dataset.label,
                "kinds": dict(kinds or {}), "drop": list(drop), "size": size, "models": names, "budget": budget, "seeds": run_seeds}
    book = _Book(directory, dataset, parts, families, settings)
    n_jobs = len(run_seeds) * (len(DUMMIES) + len(names))
    jobs = iter(range(n_jobs))
    interrupted = False
    try:
        tell({"stage": "floor"})
        book.floor = parts.floor(None if drop else dataset.truth)
        for s in run_seeds:
            for dummy in DUMMIES:
                tell({"stage": "dummy", "row": dummy, "seed": s, "done": next(jobs), "total": n_jobs})
                book.measure(book.dummies[dummy], s, DUMMIES[dummy](parts.train, parts.schema, len(parts.test), s))
            for name in names:
                at = {"row": name, "seed": s, "done": next(jobs), "total": n_jobs}
                _run_family(book, name, trains[name, s], s, lambda event, at=at: tell({**event, **at}))
                book.write()
    except KeyboardInterrupt:
        if not any(row.seeds for row in book.models.values()):
            raise
        interrupted = True
    results = book.write(interrupted=interrupted)
    tell({"stage": "done", "done": n_jobs, "total": n_jobs})
    return Comparison(directory, results, interrupted)


def _silent(event: dict[str, Any]) -> None:
    """The progress of a caller who did not ask for any."""


def _training(budget: Any, names: list[str], seeds: list[int]) -> dict[tuple[str, int], Train]:
    """One Train per family and seed, validated before any work is done."""
    given = budget if isinstance(budget, Mapping) else {name: budget for name in names}
    trains = {}
    for name in names:
        if name not in given:
            raise InvalidParameterError(f"no budget for {name}", expected="a budget for every family that is compared", got=sorted(given))
        per_seed = given[name] if isinstance(given[name], (list, tuple)) else [given[name]] * len(seeds)
        if len(per_seed) != len(seeds):
            raise InvalidParameterError(f"budgets of {name}", expected=f"one, or one per seed ({len(seeds)})", got=len(per_seed))
        for s, b in zip(seeds, per_seed, strict=True):
            trains[name, s] = Train(budget=f"{b}steps" if isinstance(b, int) else b)
    return trains


@dataclass(frozen=True)
class _Parts:
    """The split data: raw training rows for the families, stored arrays for the metrics, the test rows both ways."""

    schema: Schema
    X_train: Any
    X_test: Any
    train: np.ndarray
    test: np.ndarray
    evaluator: Evaluator
    kinds: dict[str, str]
    sizes: dict[str, int]

    @classmethod
    def of(cls, dataset: Dataset, seed: int, kinds: Mapping[str, str] | None) -> _Parts:
        values = int(np.prod(dataset.X.shape[1:])) if dataset.is_image else 1
        index = split(dataset, seed=seed, cap=min(MAX_ROWS, max(FEW_ROWS, MAX_VALUES // values)))
        X_train = _take(dataset.X, index.train)
        schema = Schema.fit(X_train, kinds=kinds)
        # a category that the training part has never seen can be neither encoded nor generated: such rows are left out
        holdout, test = (part[schema.accepts(_take(dataset.X, part))] for part in (index.holdout, index.test))
        n = min(len(holdout), len(test))
        if n < MIN_ROWS:
            raise DataError("too few rows to compare models on", expected=f"at least {5 * MIN_ROWS}, a fifth of them to test on",
                            got=f"{dataset.n_rows}, {n} of them to test on", hint="gather more rows")
        X_holdout, X_test = _take(dataset.X, holdout[:n]), _take(dataset.X, test[:n])
        labels = None if dataset.y is None or not schema.is_image else pd.factorize(_take(dataset.y, index.train))[0]
        train, stored_test = schema.encode(X_train), schema.encode(X_test)
        evaluator = Evaluator(schema, train, schema.encode(X_holdout), stored_test, labels=labels, seed=seed)
        sizes = {"train": len(index.train), "holdout": len(index.holdout), "test": len(index.test), "evaluated": n}
        return cls(schema, X_train, X_test, train, stored_test, evaluator, dict(kinds or {}), sizes)

    def floor(self, truth: Any) -> dict[str, float]:
        """What unseen real rows score; for the likelihood, where the density is known, what the density itself says of the test rows."""
        known = {} if truth is None else {"log_likelihood": float(np.mean(truth.log_prob(self.X_test)))}
        return {**self.evaluator.floor(), **known}


def _take(X: Any, index: np.ndarray) -> Any:
    return X.iloc[index].reset_index(drop=True) if isinstance(X, (pd.DataFrame, pd.Series)) else X[index]


def _run_family(book: _Book, name: str, train: Train, seed: int, tell: Callable[[dict[str, Any]], None]) -> None:
    """Fit one family with one seed, and fill its row and the rows of its other samplers."""
    parts, cls = book.parts, book.families[name]
    try:
        gc.collect()
        with PeakMemory() as memory:
            start = time.perf_counter()
            tell({"stage": "fit"})
            model = cls(train=train, random_state=seed)
            model.fit(parts.X_train, kinds=parts.kinds, progress=lambda event: tell({**event, "stage": "fit"}))
            fit_s = time.perf_counter() - start
        book.curve(name, seed, model.history_)
        for row_name in book.samplers(name):
            row = book.models[row_name]
            if not row.affords(max(LONG_S, fit_s * len(book.seeds))):
                continue
            tell({"stage": "sample"})
            with PeakMemory() as sampling:
                X, rows_per_s = _timed_sample(model, len(parts.test), seed, row.options)
            row.sampling_s.append(len(parts.test) / rows_per_s)
            tell({"stage": "measure"})
            book.measure(row, seed, parts.schema.encode(X))
            row.enter(seed, rows_per_s=rows_per_s, nfe=model.evaluations(**row.options), fit_s=fit_s, parameters=model.n_parameters_,
                      peak_memory_mib=max(memory.mib, sampling.mib))
            row.steps[seed] = int(model.n_steps_)
        if {"exact", "bound"} & set(cls.capabilities):
            nats = float(np.mean(model.log_likelihood(parts.X_test)))
            book.models[name].enter(seed, log_likelihood=nats)
            if parts.schema.is_image:
                book.models[name].enter(seed, bits_per_dim=-nats / (parts.schema.n_dims * math.log(2)))
        if seed == book.seeds[0]:
            model.save(book.directory / "models" / name)
    except Exception as error:      # whatever goes wrong in one family must not take the others with it; the error is shown in its row
        book.fail(name, seed, error)


def _timed_sample(model: Any, n: int, seed: int, options: Mapping[str, Any]) -> tuple[Any, float]:
    """The samples that are measured, and rows per second."""
    def call() -> tuple[Any, float]:
        start = time.perf_counter()
        X = model.sample(n, random_state=seed, **options)
        return X, max(time.perf_counter() - start, 1e-9)

    X, first = call()
    times = [first] if first > SLOW_S else [call()[1] for _ in range(WARM_CALLS)]
    return X, n / statistics.median(times)


class PeakMemory:
    """Largest resident memory of this process within a ``with`` block, in MiB.

    On Linux the resident set is read every 20 ms by a thread, because ``getrusage`` only knows the high-water mark since the process
    began; elsewhere that mark is what is reported, and NaN where there is none.
    """

    INTERVAL_S = 0.02

    def __enter__(self) -> PeakMemory:
        self.mib = resident_mib()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(self.INTERVAL_S):
            self.mib = max(self.mib, resident_mib())

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self.mib = max(self.mib, resident_mib())


def resident_mib() -> float:
    """Resident memory of this process in MiB: now on Linux, its high-water mark on macOS, NaN elsewhere."""
    try:
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return math.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if platform.system() == "Darwin" else 2**10)


# ---------------------------------------------------------------------------------------------------------------- the folder


@dataclass
class _Row:
    """One row of the table: a family, another sampler of the same weights, or a dummy."""

    label: str
    title: str
    family: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    values: dict[str, dict[int, float]] = field(default_factory=dict)       # metric → seed → value
    steps: dict[int, int] = field(default_factory=dict)
    sampling_s: list[float] = field(default_factory=list)
    worst: list[dict[str, Any]] | None = None
    error: str | None = None

    @property
    def seeds(self) -> list[int]:
        return sorted(set().union(*self.values.values())) if self.values else []

    def enter(self, seed: int, **figures: float) -> None:
        for metric, value in figures.items():
            self.values.setdefault(metric, {})[seed] = float(value)

    def affords(self, allowance_s: float) -> bool:
        """Whether one more sampling keeps within the allowance; the first one always does."""
        return not self.sampling_s or sum(self.sampling_s) + max(self.sampling_s) <= allowance_s


class _Book:
    """Keeps the measurements of one comparison and writes them into its folder."""

    def __init__(self, directory: Path, dataset: Dataset, parts: _Parts, families: Mapping[str, type], settings: dict[str, Any]):
        self.directory, self.dataset, self.parts, self.families, self.settings = directory, dataset, parts, families, settings
        self.seeds: list[int] = settings["seeds"]
        self.floor: dict[str, float] = {}
        self.models: dict[str, _Row] = {}
        for name, cls in families.items():
            title = registry.entry(name).title
            self.models[name] = _Row(cls.__name__, title, name)
            for preset, options in getattr(cls, "sampling_presets", {}).items():
                self.models[f"{name}-{preset}"] = _Row(f"{cls.__name__} {preset}", f"{title}, sampler {preset}", name, dict(options))
        self.dummies = {name: _Row(name.replace("_", " ").capitalize(), f"{d.title}. {d.meaning}") for name, d in DUMMIES.items()}
        self.curves: dict[str, dict[int, list]] = {name: {} for name in families}
        try:
            for room in ("samples", "curves", "models"):
                (directory / room).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataFileError(f"cannot write into {directory}", expected="a folder that can be written", got=error.strerror or str(error),
                                hint="choose another one with out= (--out)") from error
        self._save_rows("real", parts.test)

    def samplers(self, family: str) -> list[str]:
        """The rows that one fitted model of the family fills."""
        return [name for name, row in self.models.items() if row.family == family]

    def measure(self, row: _Row, seed: int, stored: np.ndarray) -> None:
        """Measure samples against the test part and enter the figures; the samples of the first seed are kept for the report."""
        row.enter(seed, **self.parts.evaluator.evaluate(stored, seed))
        if row.worst is None:
            self._save_rows(next(n for n, r in {**self.models, **self.dummies}.items() if r is row), stored)
            row.worst = [{"column": c.name, "distance": c.distance} for c in worst_columns(self.parts.test, stored, self.parts.schema)]

    def fail(self, name: str, seed: int, error: Exception) -> None:
        """Enter an error in the rows of a family; the traceback goes to ``errors/``."""
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        for row_name in self.samplers(name):
            self.models[row_name].error = self.models[row_name].error or f"seed {seed}: {text}"
        (self.directory / "errors").mkdir(exist_ok=True)
        _write_text(self.directory / "errors" / f"{name}-seed{seed}.txt", "".join(traceback.format_exception(error)))

    def curve(self, name: str, seed: int, history: list[dict[str, Any]]) -> None:
        """Keep a training curve."""
        self.curves[name][seed] = history
        content = [{"seed": s, "history": h} for s, h in self.curves[name].items()]
        _write_text(self.directory / "curves" / f"{name}.json", _to_json(content))

    def _save_rows(self, name: str, stored: np.ndarray) -> None:
        X = self.parts.schema.decode(stored)
        path = self.directory / "samples" / name
        try:
            if self.parts.schema.is_image:
                np.savez_compressed(path.with_suffix(".npz"), x=X)
            else:
                as_frame(X).to_csv(path.with_suffix(".csv"), index=False)
        except OSError as error:
            raise DataFileError(f"cannot write {path}", got=error.strerror or str(error), hint="free some disk space") from error

    def write(self, *, interrupted: bool = False) -> dict[str, Any]:
        """Write ``results.json`` from what is known, and return its content."""
        floor = {k: _finite(v) for k, v in self.floor.items()}
        models = {name: self._entry(row) for name, row in self.models.items()}
        dummies = {name: self._entry(row) for name, row in self.dummies.items()}
        marks = award_marks(models, dummies)
        results = {
            "schema_version": SCHEMA_VERSION,
            "data": self._data(),
            "settings": {**self.settings, "feature_spaces": self.parts.evaluator.feature_spaces, "interrupted": interrupted},
            "environment": environment(),
            "metrics": {m: _describe(m) for m in (*METRICS, *COSTS) if any(m in e["metrics"] for e in (*models.values(), *dummies.values()))},
            "floor": floor,
            "models": models, "dummies": dummies, "marks": marks, "rules": RULES,
            "thresholds": {"quality": CLOSED, "copying": COPYING, "coverage": REACHED, "evaluations": EVALUATIONS, "slower": SLOWER},
            "pick": choose(models, dummies, marks, self.parts.sizes["evaluated"]),
        }
        text = _to_json(results)
        _write_text(self.directory / "results.json", text)
        return json.loads(text)

    def _entry(self, row: _Row) -> dict[str, Any]:
        metrics = {m: self._figure(m, row.values[m], row.seeds) for m in (*METRICS, *COSTS) if m in row.values}
        entry: dict[str, Any] = {"label": row.label, "title": row.title, "seeds": row.seeds, "metrics": metrics, "worst_columns": row.worst or []}
        if row.family is not None:
            entry |= {"family": row.family, "options": row.options, "steps": [row.steps[s] for s in row.seeds if s in row.steps],
                      "likelihood": next((c for c in ("exact", "bound") if c in self.families[row.family].capabilities), None),
                      "error": row.error}
        return entry

    def _figure(self, metric: str, by_seed: Mapping[int, float], seeds: list[int]) -> dict[str, Any]:
        values = [_finite(by_seed.get(s)) for s in seeds]
        known = [v for v in values if v is not None]
        return {"mean": statistics.fmean(known) if known else None, "std": statistics.stdev(known) if len(known) > 1 else None,
                "floor": _finite(self.floor.get(metric)), "n": len(known), "better": _describe(metric)["better"], "values": values}

    def _data(self) -> dict[str, Any]:
        d, schema = self.dataset, self.parts.schema
        return {"name": d.name, "rows": d.n_rows, "fingerprint": d.fingerprint, "label": d.label, "kind": "images" if schema.is_image else "table",
                "schema": [_summary(b) for b in schema.blocks], "split": self.parts.sizes, "notes": list(dict.fromkeys((*d.notes, *schema.notes)))}


def _summary(block: Any) -> dict[str, Any]:
    """A column, or the images, in a few words that a reader of ``results.json`` understands."""
    if block.type == "image":
        return {"name": block.name, "kind": "image", "height": block.height, "width": block.width, "channels": block.channels, "levels": block.levels, "top": block.top}
    if block.type == "number":
        return {"name": block.name, "kind": block.kind, "low": _finite(block.low), "high": _finite(block.high), "step": block.step or None,
                "missing": block.missing}
    return {"name": block.name, "kind": block.kind, "categories": len(block.values), "missing": block.missing,
            "most_frequent": [str(v) for v in block.values[:5]]}


def _describe(metric: str) -> dict[str, Any]:
    m = METRICS.get(metric) or COSTS[metric]
    return {"title": m.title, "better": m.better, "unit": m.unit, "group": GROUPS.get(metric, "cost" if metric in COSTS else "quality"),
            "meaning": m.meaning, "blind_spot": m.blind_spot, "reference": m.reference}


def environment() -> dict[str, Any]:
    """Versions and machine, as far as they can change a figure."""
    versions = {p: importlib.metadata.version(p) for p in ("torch", "numpy", "scikit-learn", "pandas")}
    try:
        versions = {"ectype": importlib.metadata.version("ectype"), **versions}
    except importlib.metadata.PackageNotFoundError:      # run from a source tree that is not installed
        versions = {"ectype": "not installed", **versions}
    return {"python": platform.python_version(), **versions, "platform": platform.platform(terse=True), "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as f:
            names = [line.partition(":")[2].strip() for line in f if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _finite(v: Any) -> float | None:
    return float(v) if v is not None and math.isfinite(v) else None


def _to_json(content: Any) -> str:
    """JSON without NaN or infinities, which JSON does not have: they become null."""
    def plain(v: Any) -> Any:
        if isinstance(v, Mapping):
            return {str(k): plain(i) for k, i in v.items()}
        if isinstance(v, (list, tuple)):
            return [plain(i) for i in v]
        if isinstance(v, np.generic):
            v = v.item()
        return None if isinstance(v, float) and not math.isfinite(v) else v
    return json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False)


def _write_text(path: Path, text: str) -> None:
    """Write through a neighbour, so that a reader never meets half a file."""
    try:
        new = path.with_name(path.name + ".new")
        new.write_text(text, encoding="utf-8")
        os.replace(new, path)
    except OSError as error:
        raise DataFileError(f"cannot write {path}", got=error.strerror or str(error), hint="free some disk space, or choose another folder") from error


# ---------------------------------------------------------------------------------------------------------------- the verdict


def gap_closed(value: float, floor: float, reference: float, better: str) -> float:
    """Share of the gap between a reference and the floor that a value closes, in [0, 1]: ``1 − (d(v) − d(floor)) / (d(ref) − d(floor))``.

    ``d(v) = max(v − ½, 0)`` for ``better="half"`` (an AUROC), else ``√v`` (a squared distance). Where the reference is all but as good as
    real data, the gap is taken as 0.1 in AUROC, or as the floor's own distance, so that noise does not decide.
    """
    def d(v: float) -> float:
        return max(v - 0.5, 0.0) if better == "half" else math.sqrt(max(v, 0.0))
    gap = max(d(reference) - d(floor), 0.1 if better == "half" else d(floor), 1e-12)
    return min(1.0, max(0.0, 1 - (d(value) - d(floor)) / gap))


def quality_scores(entry: Mapping[str, Any], dummies: Mapping[str, Any]) -> list[float]:
    """Quality of a row at each of its seeds, in [0, 1]: :func:`gap_closed` from independent marginals, averaged over the metric groups."""
    scores = []
    for i in range(len(entry["seeds"])):
        parts = []
        for group in QUALITY_METRICS:
            closed = []
            for metric in group:
                figure, reference = entry["metrics"].get(metric), dummies["marginals"]["metrics"].get(metric)
                if figure and reference and None not in (figure["values"][i], figure["floor"], reference["mean"]):
                    closed.append(gap_closed(figure["values"][i], figure["floor"], reference["mean"], figure["better"]))
            parts += [statistics.fmean(closed)] if closed else []
        scores += [statistics.fmean(parts)] if parts else []
    return scores


def coverage_scores(entry: Mapping[str, Any]) -> list[float]:
    """Coverage of a row at each of its seeds: the share reached of the real-vs-real coverage and recall, each at most 1, averaged."""
    scores = []
    for i in range(len(entry["seeds"])):
        figures = [entry["metrics"][m] for m in COVERAGE_METRICS if m in entry["metrics"]]
        parts = [min(1.0, f["values"][i] / f["floor"]) for f in figures if f["values"][i] is not None and f["floor"]]
        scores += [statistics.fmean(parts)] if parts else []
    return scores


def award_marks(models: Mapping[str, Any], dummies: Mapping[str, Any]) -> dict[str, Any]:
    """``{row: {quality, speed, coverage: bool, scores: {…: {mean, std}}, why: {…: text}}}`` for every row that was measured.

    The dummies get scores and no marks, so that a picture can show where they stand.
    """
    fastest = max((_mean(e, "rows_per_s") or 0.0 for e in models.values()), default=0.0)
    marks: dict[str, Any] = {}
    for name, e in {**models, **dummies}.items():
        if not e["seeds"]:
            continue
        scores = {"quality": _spread(quality_scores(e, dummies)), "coverage": _spread(coverage_scores(e))}
        if name in dummies:
            marks[name] = {"scores": scores}
            continue
        earned, why = {}, {}
        earned["quality"], why["quality"] = _judge_quality(e, scores["quality"])
        earned["speed"], why["speed"] = _judge_speed(e, fastest)
        earned["coverage"], why["coverage"] = _judge_coverage(e, scores["coverage"])
        marks[name] = {**earned, "scores": scores, "why": why}
    return marks


def _judge_quality(e: Mapping[str, Any], score: Mapping[str, Any]) -> tuple[bool, str]:
    if score["mean"] is None:
        return False, "Not measured."
    c2st, copied = _mean(e, "c2st"), _mean(e, "memorisation")
    words = f"Closes {score['mean']:.0%} of the gap to real data" + (f" (C2ST {c2st:.2f}, 0.50 is ideal)" if c2st is not None else "")
    if copied is not None and copied >= COPYING:
        return False, f"{words}, but copies: {copied:.0%} of its samples are nearer to the training part than to unseen rows."
    return score["mean"] >= CLOSED, words + _borderline(score, CLOSED) + "."


def _judge_speed(e: Mapping[str, Any], fastest: float) -> tuple[bool, str]:
    rate, nfe = _mean(e, "rows_per_s"), _mean(e, "nfe")
    if not rate or nfe is None:
        return False, "Not measured."
    slower = fastest / rate
    words = f"{_count(rate)} rows/s with {_count(nfe)} network evaluation{'s' * (nfe != 1)} per sample"
    words += "; the fastest here" if slower <= 1 else f"; {_count(slower)} times slower than the fastest" if slower >= 2 else ""
    return nfe <= EVALUATIONS and slower <= SLOWER, words + "."


def _judge_coverage(e: Mapping[str, Any], score: Mapping[str, Any]) -> tuple[bool, str]:
    if score["mean"] is None:
        return False, "Not measured."
    figures = [f"{m} {_mean(e, m):.2f} against {e['metrics'][m]['floor']:.2f}" for m in COVERAGE_METRICS
               if _mean(e, m) is not None and e["metrics"][m]["floor"] is not None]
    return score["mean"] >= REACHED, f"Reaches {score['mean']:.0%} of real data ({', '.join(figures)}){_borderline(score, REACHED)}."


def _borderline(score: Mapping[str, Any], threshold: float) -> str:
    near = score["std"] is not None and abs(score["mean"] - threshold) < score["std"]
    return f"; borderline: the seeds spread by {score['std']:.0%} around it" if near else ""


def choose(models: Mapping[str, Any], dummies: Mapping[str, Any], marks: Mapping[str, Any], n_test: int) -> dict[str, Any]:
    """``{name, family, reason, notes}``: the row with most marks, ties by quality. A dummy is never picked.

    The notes say what a reader should hold against the choice: a slower family that is better, a Gaussian mixture that is as good, a
    test part so small that chance decides (the standard error of an AUROC of two equal samples of n rows is √((2n + 1) / 12n²)).
    """
    rows = [n for n in models if n in marks]
    if not rows:
        return {"name": None, "family": None, "reason": "No family could be trained on these data.", "notes": _failures(models)}

    def quality(n: str) -> float:
        return marks[n]["scores"]["quality"]["mean"] or 0.0

    def earned(n: str) -> list[str]:
        return [m for m in RULES if marks[n][m]]
    best = max(rows, key=lambda n: (len(earned(n)), quality(n)))
    title, got = models[best]["label"], earned(best)
    tied = [models[n]["label"] for n in rows if n != best and len(earned(n)) == len(got)]
    reason = f"{title} earns {['no mark', 'one mark of three', 'two marks of three', 'all three marks'][len(got)]}"
    reason += f" ({_listed(got)})" if 0 < len(got) < 3 else ""
    reason += f", and the best quality of the {len(tied) + 1} that do" if tied else ", more than any other" if len(rows) > 1 else ""
    reason += ". " + " ".join(marks[best]["why"][m] for m in RULES)
    notes = []
    finest = max(rows, key=quality)
    if finest != best and quality(finest) > quality(best) + (marks[best]["scores"]["quality"]["std"] or 0.0):
        rates = _mean(models[best], "rows_per_s"), _mean(models[finest], "rows_per_s")
        slower = f", at {_count(rates[0] / rates[1])} times the sampling time" if all(rates) and rates[0] > 2 * rates[1] else ""
        notes.append(f"Where quality alone counts, {models[finest]['label']} closes {quality(finest):.0%} of the gap to real data"
                     f" (against {quality(best):.0%}){slower}.")
    mixture = _mean(dummies.get("gaussian_mixture", {"metrics": {}}), "c2st")
    c2st = {n: _mean(models[n], "c2st") for n in rows}
    nearest = min((n for n in rows if c2st[n] is not None), key=c2st.get, default=None)
    if mixture is not None and nearest is not None and c2st[nearest] >= mixture:
        notes.append(f"No family beats the Gaussian mixture in C2ST here ({mixture:.2f}; the best, {models[nearest]['label']}, {c2st[nearest]:.2f}): "
                     "take the mixture, or give the families a larger budget.")
    chance = 2 * math.sqrt((2 * n_test + 1) / (12 * n_test**2))
    if n_test < FEW_ROWS:
        notes.append(f"There are only {n_test} test rows: by chance alone, a C2ST of 0.50 comes out anywhere within ±{chance:.2f}.")
    return {"name": best, "family": models[best]["family"], "reason": reason, "notes": notes + _failures(models)}


def _failures(models: Mapping[str, Any]) -> list[str]:
    return [f"{e['label']} failed ({e['error'].splitlines()[0]})." for n, e in models.items() if e.get("error") and n == e["family"]]


def _mean(entry: Mapping[str, Any], metric: str) -> float | None:
    return entry["metrics"].get(metric, {}).get("mean")


def _spread(values: list[float]) -> dict[str, float | None]:
    return {"mean": statistics.fmean(values) if values else None, "std": statistics.stdev(values) if len(values) > 1 else None}


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _count(v: float) -> str:
    """A positive number in at most three significant figures, with thousands separated."""
    if v >= 100:
        return f"{round(v, 2 - int(math.floor(math.log10(v)))):,.0f}"
    return f"{v:.3g}"
