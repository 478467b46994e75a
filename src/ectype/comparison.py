"""Compare the families of generative models on one data set: the same split, the same training budget, measured side by side.

    data ── split ──┬── train ────▶ fit every family, once per seed ──▶ samples ──┐
                    ├── holdout ──▶ the floor: what real rows score against real  ├──▶ metrics ──▶ marks ──▶ pick
                    └── test ─────▶ what every sample is measured against ────────┘

Each figure stands between two anchors. The *floor* is what unseen real rows (the holdout) score against the test part: nobody can
be asked for more. The *dummies* need no deep learning (a copy of the training part, independent marginals, a Gaussian mixture, the
bootstrap with noise) and go through the same metrics, once per seed.

**Marks.** Quality is the share of the gap between independent marginals and real data that a family closes,

    closed(v) = 1 − (d(v) − d(real)) / (d(marginals) − d(real)),    clipped to [0, 1],

with d(v) = max(v − ½, 0) for the AUROC of a classifier two-sample test and d(v) = √v for a squared Fréchet distance; the two count
equally. Coverage is the share that it reaches of what real rows reach in coverage and in recall. *real* is the better of the two
figures that real rows have, the holdout's (the floor) and the training copy's, so that an unlucky holdout lowers no bar. Speed
goes by network evaluations per sample, and by rows per second relative to the fastest family. :data:`RULES` says the thresholds in
words. All anchors come from the data at hand, so that a mark asks for the same on easy data, where all are near the floor, as on
hard data, where all are far.

**The folder** that :func:`compare` writes is all that a report needs: ``results.json`` (documented in ``docs/results.md``),
``samples/``, ``curves/``, and in ``models/`` the models of the first seed. It is written anew after every fit, so that an
interruption loses only the fit it interrupts.

**What the figures mean.** The spread over seeds comes from initialisation, batches, sampling and the classifier's folds; the split
is the same for all. Memory is the largest resident memory of the whole process while the family was fitted and sampled, the
libraries and the data included: what the machine must have, not what the family adds. Sampling speed is the median of several calls
on warm networks; of a sampler so slow that warming up does not matter, the one call whose samples are measured. A sampler that
needs longer than the training of its family took is drawn for the first seeds only; how many they are stands beside its figures.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import __version__, registry
from .data.schema import Schema, as_frame
from .data.sources import Dataset, load
from .data.split import split
from .errors import DataError, DataFileError, InvalidParameterError
from .metrics import DUMMIES, METRICS, Evaluator, Metric, worst_columns
from .spec import Train

SCHEMA_VERSION = 1
BUDGET = "8s"
MIN_ROWS = 4                # of the test part: with fewer, nothing can be measured
FEW_ROWS = 200              # with fewer, chance plays a part that must be said
MAX_ROWS = 2000
MAX_VALUES = 1_000_000      # pixels in the test part: large images are measured on fewer rows, but on at least FEW_ROWS
WARM_CALLS, SLOW_S = 5, 1.0     # sampling is timed again unless the first call took longer than this
LONG_S = 60.0               # a sampler gets as much time as the training over all seeds, and at least this

CLOSED = 0.5                # quality: share of the gap that must be closed
COPYING = 0.75              # quality: memorisation from here on is closer to a copy (1) than to unseen data (0.5)
REACHED = 0.7               # coverage: share of what real rows reach
EVALUATIONS, SLOWER = 10, 100   # speed: network evaluations per sample, and times slower than the fastest family

RULES = {
    "quality": f"Closes at least {CLOSED:.0%} of the gap between independent marginals and real data, classifier test (C2ST) and "
               f"Fréchet distance weighed equally, and does not copy (memorisation below {COPYING:g}).",
    "speed": f"Needs at most {EVALUATIONS} network evaluations per sample, and is at most {SLOWER} times slower than the fastest "
             "family.",
    "coverage": f"Reaches at least {REACHED:.0%} of what real rows reach, coverage and recall weighed equally.",
}
QUALITY_METRICS = (("c2st",), ("frechet_features", "frechet_pca"))      # each group counts once
COVERAGE_METRICS = ("coverage", "recall")

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


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found: the folder it wrote, the content of its ``results.json``, and whether it was interrupted."""

    directory: Path
    results: dict[str, Any]
    interrupted: bool = False


def compare(source: Any, *, models: Sequence[str] | None = None, budget: Any = BUDGET, seeds: int = 3, seed: int = 0,
            out: str | os.PathLike | None = None, label: str | None = None, kinds: Mapping[str, str] | None = None,
            drop: Sequence[str] = (), size: tuple[int, int] | None = None,
            progress: Callable[[dict[str, Any]], None] | None = None) -> Comparison:
    """Train every family on the same data under the same budget, measure, mark, and name the one to pick.

    source : what :func:`ectype.data.sources.load` takes (a name, a file, a folder, a DataFrame, an array), or a Dataset; ``label``,
        ``kinds``, ``drop`` and ``size`` go there.
    models : names of families; None = all that are registered.
    budget : what ``Train`` takes (``"20s"``, ``"500steps"``), or a mapping from family to one such value, or to one per seed. The
        steps that ``results.json`` records, given back in this way, repeat a run exactly.
    seeds, seed : each family is fitted with the seeds ``seed, seed + 1, …``; the split is drawn from ``seed`` alone.
    out : the folder to write; None = ``compare-NAME`` in the working folder.
    progress : called with dicts of ``stage`` ("data", "floor", "dummy", "fit", "sample", "measure", "done"), ``row``, ``seed``,
        ``done`` and ``total`` (counting fits and dummies), and, while fitting, the keys of the training loop's own events.

    A family that fails becomes a row with its error text, and its traceback goes to ``errors/``. ``KeyboardInterrupt`` ends the
    comparison and keeps what was measured; it is raised again only while there is nothing to keep.

    Raises :class:`UnknownNameError` for an unknown family, :class:`InvalidParameterError` for a setting out of its domain,
    :class:`DataFileError` for a folder that cannot be written, and what the data raise.
    """
    names = list(dict.fromkeys(models if models is not None else registry.names()))
    if not names:
        raise InvalidParameterError("no models to compare", expected=f"some of {', '.join(registry.names())}", got="none")
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise InvalidParameterError("seeds is out of its domain", expected="an int >= 1", got=repr(seeds))
    run_seeds = list(range(seed, seed + seeds))
    families = {name: registry.load(name) for name in names}
    trains = _training(budget, names, run_seeds)

    tell = progress or (lambda event: None)
    tell({"stage": "data"})
    dataset = source if isinstance(source, Dataset) else load(source, label=label, kinds=kinds, drop=drop, size=size)
    parts = _Parts.of(dataset, seed, kinds)
    book = _Book(Path(out if out is not None else f"compare-{dataset.name}"), dataset, parts, families, {
        "source": os.fspath(source) if isinstance(source, (str, os.PathLike)) else dataset.name, "label": dataset.label,
        "kinds": dict(kinds or {}), "drop": list(drop), "size": size, "models": names, "budget": budget, "seeds": run_seeds})

    total = len(run_seeds) * (len(DUMMIES) + len(names))
    jobs = iter(range(total))
    interrupted = False
    try:
        tell({"stage": "floor"})
        book.floor = parts.floor(None if drop else dataset.truth)
        for s in run_seeds:
            for name, draw in DUMMIES.items():
                tell({"stage": "dummy", "row": name, "seed": s, "done": next(jobs), "total": total})
                book.measure(name, s, draw(parts.train, parts.schema, len(parts.test), s))
            for name in names:
                job = {"row": name, "seed": s, "done": next(jobs), "total": total}
                _run_family(book, name, trains[name, s], s, lambda event, job=job: tell({**event, **job}))
                book.write()
    except KeyboardInterrupt:
        if not any(row.is_measured for row in book.models.values()):
            raise
        interrupted = True
    results = book.write(interrupted=interrupted)
    tell({"stage": "done", "done": total, "total": total})
    return Comparison(book.directory, results, interrupted)


def _training(budget: Any, names: list[str], seeds: list[int]) -> dict[tuple[str, int], Train]:
    """One Train per family and seed, validated before any work is done."""
    given = budget if isinstance(budget, Mapping) else dict.fromkeys(names, budget)
    trains = {}
    for name in names:
        if name not in given:
            raise InvalidParameterError(f"no budget for {name}", expected="one for every family", got=sorted(given))
        per_seed = given[name] if isinstance(given[name], (list, tuple)) else [given[name]] * len(seeds)
        if len(per_seed) != len(seeds):
            raise InvalidParameterError(f"budgets of {name}", expected=f"one, or one per seed ({len(seeds)})", got=len(per_seed))
        for s, b in zip(seeds, per_seed, strict=True):
            trains[name, s] = Train(budget=f"{b}steps" if isinstance(b, int) else b)
    return trains


@dataclass(frozen=True)
class _Parts:
    """The split data: raw rows for the families, stored arrays for the metrics."""

    schema: Schema
    kinds: dict[str, str]
    X_train: Any
    X_test: Any
    train: np.ndarray
    test: np.ndarray
    evaluator: Evaluator
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
        train, stored_holdout, stored_test = (schema.encode(X) for X in (X_train, X_holdout, X_test))
        labels = pd.factorize(_take(dataset.y, index.train))[0] if schema.is_image and dataset.y is not None else None
        return cls(schema, dict(kinds or {}), X_train, X_test, train, stored_test,
                   Evaluator(schema, train, stored_holdout, stored_test, labels=labels, seed=seed),
                   {"train": len(index.train), "holdout": len(index.holdout), "test": len(index.test), "evaluated": n})

    def floor(self, truth: Any) -> dict[str, float]:
        """What unseen real rows score; for the likelihood, where the density is known, what it says itself of the test rows."""
        known = {} if truth is None else {"log_likelihood": float(np.mean(truth.log_prob(self.X_test)))}
        return {**self.evaluator.floor(), **known}


def _take(X: Any, index: np.ndarray) -> Any:
    return X.iloc[index].reset_index(drop=True) if isinstance(X, (pd.DataFrame, pd.Series)) else X[index]


def _run_family(book: _Book, name: str, train: Train, seed: int, tell: Callable[[dict[str, Any]], None]) -> None:
    """Fit one family with one seed; fill its row and the rows of its other samplers."""
    parts, cls = book.parts, book.families[name]
    try:
        gc.collect()
        tell({"stage": "fit"})
        with PeakMemory() as memory:
            start = time.perf_counter()
            model = cls(train=train, random_state=seed)
            model.fit(parts.X_train, kinds=parts.kinds, progress=lambda event: tell({**event, "stage": "fit"}))
            fit_s = time.perf_counter() - start
        book.curve(name, seed, model.history_)
        for row_name, row in book.samplers(name).items():
            row.enter(seed, fit_s=fit_s, parameters=model.n_parameters_)
            row.steps[seed] = int(model.budget_steps_)
            if not row.affords(max(LONG_S, fit_s * len(book.seeds))):
                continue
            tell({"stage": "sample"})
            with PeakMemory() as sampling:
                X, rows_per_s = _timed_sample(model, len(parts.test), seed, row.options)
            tell({"stage": "measure"})
            book.measure(row_name, seed, parts.schema.encode(X))
            row.enter(seed, rows_per_s=rows_per_s, nfe=model.evaluations(**row.options),
                      peak_memory_mib=max(memory.mib, sampling.mib))
            row.sampling_s.append(len(parts.test) / rows_per_s)
        if cls.capabilities & {"exact", "bound"}:
            nats = float(np.mean(model.log_likelihood(parts.X_test)))
            book.models[name].enter(seed, log_likelihood=nats)
            if parts.schema.is_image:
                book.models[name].enter(seed, bits_per_dim=-nats / (parts.schema.n_dims * math.log(2)))
        if seed == book.seeds[0]:
            model.save(book.directory / "models" / name)
    except Exception as error:      # whatever goes wrong in one family must not take the others with it; its row shows the error
        book.fail(name, seed, error)


def _timed_sample(model: Any, n: int, seed: int, options: Mapping[str, Any]) -> tuple[Any, float]:
    """The samples that are measured, and rows per second."""
    def call() -> tuple[Any, float]:
        start = time.perf_counter()
        X = model.sample(n, random_state=seed, **options)
        return X, max(time.perf_counter() - start, 1e-9)

    X, first = call()
    return X, n / (first if first > SLOW_S else statistics.median(call()[1] for _ in range(WARM_CALLS)))


class PeakMemory:
    """Largest resident memory of this process within a ``with`` block, in MiB.

    On Linux a thread reads the resident set every 20 ms, because ``getrusage`` knows only the high-water mark since the process
    began; on macOS that mark is what is reported, and NaN where there is none.
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
    if platform.system() == "Linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    if platform.system() == "Darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return math.nan


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


class _Book:
    """Keeps the measurements of one comparison and writes them into its folder."""

    def __init__(self, directory: Path, dataset: Dataset, parts: _Parts, families: Mapping[str, Any], settings: dict[str, Any]):
        self.directory, self.dataset, self.parts, self.families, self.settings = directory, dataset, parts, families, settings
        self.seeds: list[int] = settings["seeds"]
        self.floor: dict[str, float] = {}
        self.models: dict[str, _Row] = {}
        for name, cls in families.items():
            title = registry.entry(name).title
            self.models[name] = _Row(cls.__name__, title, name)
            for preset, options in cls.sampling_presets.items():
                row = _Row(f"{cls.__name__} {preset}", f"{title}, sampler {preset}", name, dict(options))
                self.models[f"{name}-{preset}"] = row
        self.dummies = {name: _Row(name.replace("_", " ").capitalize(), f"{d.title}. {d.meaning}") for name, d in DUMMIES.items()}
        self.curves: dict[str, list[dict[str, Any]]] = {name: [] for name in families}
        try:
            for room in ("samples", "curves", "models"):
                (directory / room).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataFileError(f"cannot write into {directory}", expected="a folder that can be written",
                                got=error.strerror or str(error), hint="choose another one with out= (--out)") from error
        self._save_rows("real", parts.test)

    def samplers(self, family: str) -> dict[str, _Row]:
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

    def fail(self, name: str, seed: int, error: Exception) -> None:
        """Enter an error in the rows of a family; the traceback goes to ``errors/``."""
        text = f"seed {seed}: {type(error).__name__}: {error}".removesuffix(": ")
        for row in self.samplers(name).values():
            row.error = row.error or text
        _write_text(self.directory / "errors" / f"{name}-seed{seed}.txt", "".join(traceback.format_exception(error)))

    def _save_rows(self, name: str, stored: np.ndarray) -> None:
        X, path = self.parts.schema.decode(stored), self.directory / "samples" / name
        try:
            if self.parts.schema.is_image:
                np.savez_compressed(path.with_name(f"{name}.npz"), x=X)
            else:
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

    def _entry(self, row: _Row) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "label": row.label, "title": row.title, "seeds": row.seeds, "worst_columns": row.worst or [],
            "metrics": {m: self._figure(m, row) for metrics in GROUPS.values() for m in metrics if m in row.values}}
        if row.family is not None:
            kind = next((c for c in ("exact", "bound") if c in self.families[row.family].capabilities), None)
            entry |= {"family": row.family, "options": row.options, "steps": [row.steps[s] for s in row.seeds if s in row.steps],
                      "likelihood": kind, "error": row.error}
        return entry

    def _figure(self, metric: str, row: _Row) -> dict[str, Any]:
        values = [v if (v := row.values[metric].get(s)) is not None and math.isfinite(v) else None for s in row.seeds]
        known = [v for v in values if v is not None]
        floor = self.floor.get(metric)
        return {**_spread(known), "floor": floor if floor is not None and math.isfinite(floor) else None, "n": len(known),
                "better": (METRICS.get(metric) or COSTS[metric]).better, "values": values}

    def _data(self) -> dict[str, Any]:
        d, schema = self.dataset, self.parts.schema
        return {"name": d.name, "kind": "images" if schema.is_image else "table", "rows": d.n_rows, "fingerprint": d.fingerprint,
                "label": d.label, "schema": [_summary(b) for b in schema.blocks], "split": self.parts.sizes,
                "notes": list(dict.fromkeys((*d.notes, *schema.notes)))}


def _summary(block: Any) -> dict[str, Any]:
    """A column, or the images, in a few words that a reader of ``results.json`` understands."""
    known = {"name": block.name, "kind": block.kind, "missing": block.missing}
    if block.type == "image":
        return known | {k: getattr(block, k) for k in ("height", "width", "channels", "levels", "top")}
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


# ---------------------------------------------------------------------------------------------------------------- the verdict


def gap_closed(value: float, real: float, reference: float, better: str) -> float:
    """Share of the gap between a reference and real data that a value closes, in [0, 1].

    ``1 − (d(value) − d(real)) / (d(reference) − d(real))``, clipped.
    ``d(v) = max(v − ½, 0)`` for ``better="half"`` (an AUROC), else ``√v`` (a squared distance). Where the reference is all but as
    good as real data, the gap is taken as 0.1 in AUROC, or as the distance of real data, so that noise does not decide.
    """
    def d(v: float) -> float:
        return max(v - 0.5, 0.0) if better == "half" else math.sqrt(max(v, 0.0))

    gap = max(d(reference) - d(real), 0.1 if better == "half" else d(real), 1e-12)
    return min(1.0, max(0.0, 1 - (d(value) - d(real)) / gap))


def real_figure(metric: str, figure: Mapping[str, Any], dummies: Mapping[str, Any]) -> float | None:
    """What real rows reach: the better of the floor and the training copy; ``None`` where neither is known."""
    known = [v for v in (figure["floor"], _mean(dummies.get("training_copy"), metric)) if v is not None]
    return (max if figure["better"] == "higher" else min)(known, default=None)


def quality_scores(entry: Mapping[str, Any], dummies: Mapping[str, Any]) -> list[float]:
    """Quality of a row at each of its seeds: :func:`gap_closed` from independent marginals, averaged over the groups of metrics."""
    def closed(metric: str, i: int) -> float | None:
        figure, reference = entry["metrics"].get(metric), _mean(dummies.get("marginals"), metric)
        real = figure and real_figure(metric, figure, dummies)
        if figure is None or None in (figure["values"][i], real, reference):
            return None
        return gap_closed(figure["values"][i], real, reference, figure["better"])

    return _means([_mean_of([closed(metric, i) for metric in group]) for group in QUALITY_METRICS]
                  for i in range(len(entry["seeds"])))


def coverage_scores(entry: Mapping[str, Any], dummies: Mapping[str, Any]) -> list[float]:
    """Coverage of a row at each of its seeds: the share of what real rows reach in coverage and in recall, each at most 1."""
    def reached(metric: str, i: int) -> float | None:
        figure = entry["metrics"].get(metric)
        real = figure and real_figure(metric, figure, dummies)
        return min(1.0, figure["values"][i] / real) if real and figure["values"][i] is not None else None

    return _means([reached(metric, i) for metric in COVERAGE_METRICS] for i in range(len(entry["seeds"])))


def award_marks(models: Mapping[str, Any], dummies: Mapping[str, Any]) -> dict[str, Any]:
    """``{row: {quality, speed, coverage: bool, scores: {…: {mean, std}}, why: {…: text}}}`` of every row that was judged.

    The dummies get scores and no marks, so that a picture can show where they stand.
    """
    fastest = max((_mean(e, "rows_per_s") or 0.0 for e in models.values()), default=0.0)
    marks: dict[str, Any] = {}
    for name, e in {**models, **dummies}.items():
        if set(e["metrics"]) - set(COSTS):
            scores = {"quality": _spread(quality_scores(e, dummies)), "coverage": _spread(coverage_scores(e, dummies))}
            judged = {} if name in dummies else {"quality": _judge_quality(e, scores["quality"]), "speed": _judge_speed(e, fastest),
                                                 "coverage": _judge_coverage(e, scores["coverage"], dummies)}
            marks[name] = {**{m: earned for m, (earned, _) in judged.items()}, "scores": scores,
                           "why": {m: why for m, (_, why) in judged.items()}}
    return marks


def _judge_quality(e: Mapping[str, Any], score: Mapping[str, Any]) -> tuple[bool, str]:
    if score["mean"] is None:
        return False, "Not measured."
    c2st, copied = _mean(e, "c2st"), _mean(e, "memorisation")
    words = f"Closes {score['mean']:.0%} of the gap to real data"
    words += f" (C2ST {c2st:.2f}, 0.50 is ideal)" if c2st is not None else ""
    closed = score["mean"] >= CLOSED
    if closed and copied is not None and copied >= COPYING:     # of samples far from all data, memorisation says nothing
        return False, f"{words}, but copies: {copied:.0%} of its samples are nearer to the training part than to unseen rows."
    return closed, words + _borderline(score, CLOSED) + "."


def _judge_speed(e: Mapping[str, Any], fastest: float) -> tuple[bool, str]:
    rate, nfe = _mean(e, "rows_per_s"), _mean(e, "nfe")
    if not rate or nfe is None:
        return False, "Not measured."
    slower = fastest / rate
    words = f"{_count(rate)} rows/s with {_count(nfe)} network evaluation{'s' * (nfe != 1)} per sample"
    if slower <= 1:
        words += "; the fastest here"
    elif slower >= 2:
        words += f"; {_count(float(f'{slower:.2g}'))} times slower than the fastest"
    return nfe <= EVALUATIONS and slower <= SLOWER, words + "."


def _judge_coverage(e: Mapping[str, Any], score: Mapping[str, Any], dummies: Mapping[str, Any]) -> tuple[bool, str]:
    if score["mean"] is None:
        return False, "Not measured."
    figures = [f"{m} {_mean(e, m):.2f} against {real:.2f}" for m in COVERAGE_METRICS
               if _mean(e, m) is not None and (real := real_figure(m, e["metrics"][m], dummies)) is not None]
    words = f"Reaches {score['mean']:.0%} of what real rows reach ({', '.join(figures)})"
    return score["mean"] >= REACHED, words + _borderline(score, REACHED) + "."


def _borderline(score: Mapping[str, Any], threshold: float) -> str:
    near = score["std"] is not None and abs(score["mean"] - threshold) < score["std"]
    return f"; borderline: the seeds spread by {score['std']:.0%}" if near else ""


def choose(models: Mapping[str, Any], dummies: Mapping[str, Any], marks: Mapping[str, Any], n_test: int) -> dict[str, Any]:
    """``{name, family, reason, notes}``: the row with most marks; ties by quality, coverage, speed. A dummy is never picked.

    The notes say what a reader should hold against the choice: a slower family that is better, a Gaussian mixture that is as good,
    a test part so small that chance decides (the standard error of an AUROC of two samples of n rows is √((2n + 1) / 12n²)).
    """
    rows = [n for n in models if n in marks]
    failed = [e for n, e in models.items() if e["error"] and n == e["family"]]
    failures = [f"{e['label']} failed ({e['error'].splitlines()[0]})." for e in failed]
    if not rows:
        return {"name": None, "family": None, "reason": "No family could be trained on these data.", "notes": failures}

    def rank(n: str) -> tuple[float, ...]:
        quality, coverage = (marks[n]["scores"][m]["mean"] or 0.0 for m in ("quality", "coverage"))
        return sum(marks[n][m] for m in RULES), round(quality, 2), round(coverage, 2), _mean(models[n], "rows_per_s") or 0.0

    best = max(rows, key=rank)
    notes = [_finer(best, rows, models, marks), _mixture(rows, models, dummies)]
    if n_test < FEW_ROWS:
        chance = 2 * math.sqrt((2 * n_test + 1) / (12 * n_test**2))
        notes.append(f"There are only {n_test} test rows: by chance alone, a C2ST of 0.50 comes out anywhere within ±{chance:.2f}.")
    reason = " ".join([_lead(best, rows, models, marks, rank), *(marks[best]["why"][m] for m in RULES)])
    return {"name": best, "family": models[best]["family"], "reason": reason, "notes": [n for n in notes if n] + failures}


def _lead(best: str, rows: Sequence[str], models: Mapping[str, Any], marks: Mapping[str, Any],
          rank: Callable[[str], tuple[float, ...]]) -> str:
    """How many marks the pick earned, and what put it ahead of the others."""
    got = [m for m in RULES if marks[best][m]]
    words = f"{models[best]['label']} earns {('no mark', 'one mark of three', 'two marks of three', 'all three marks')[len(got)]}"
    words += f" ({' and '.join(got)})" if len(got) in (1, 2) else ""
    tied = [n for n in rows if n != best and rank(n)[0] == rank(best)[0]]
    if tied:
        alone = [all(rank(best)[i] > rank(n)[i] for n in tied) for i in (1, 2)]
        ahead = "the best quality" if alone[0] else "the best coverage" if alone[1] else "the best of quality, coverage and speed"
        return f"{words}, and has {ahead} of the {len(tied) + 1} that do."
    return words + (", more than any other." if len(rows) > 1 else ".")


def _finer(best: str, rows: Sequence[str], models: Mapping[str, Any], marks: Mapping[str, Any]) -> str | None:
    """The row to take where quality alone counts, if it is another one by more than the spread."""
    quality = {n: marks[n]["scores"]["quality"]["mean"] or 0.0 for n in rows}
    finest = max(rows, key=quality.__getitem__)
    if quality[finest] <= quality[best] + (marks[best]["scores"]["quality"]["std"] or 0.0):
        return None
    ratio = (_mean(models[best], "rows_per_s") or 0.0) / (_mean(models[finest], "rows_per_s") or math.inf)
    slower = f", at {_count(float(f'{ratio:.2g}'))} times the sampling time" if ratio >= 2 else ""
    return (f"Where quality alone counts, {models[finest]['label']} closes {quality[finest]:.0%} of the gap to real data "
            f"(against {quality[best]:.0%}){slower}.")


def _mixture(rows: Sequence[str], models: Mapping[str, Any], dummies: Mapping[str, Any]) -> str | None:
    """A warning where no family tells less from real data than the Gaussian mixture does."""
    mixture = _mean(dummies.get("gaussian_mixture"), "c2st")
    c2st = {n: v for n in rows if (v := _mean(models[n], "c2st")) is not None}
    if mixture is None or not c2st or min(c2st.values()) < mixture:
        return None
    best = min(c2st, key=c2st.__getitem__)
    figures = f"({mixture:.2f}; the best, {models[best]['label']}, {c2st[best]:.2f})"
    return f"No family beats the Gaussian mixture in C2ST here {figures}: take the mixture, or give the families a larger budget."


def _mean(entry: Mapping[str, Any] | None, metric: str) -> float | None:
    return entry["metrics"].get(metric, {}).get("mean") if entry else None


def _means(rows: Any) -> list[float]:
    """The mean of what is known in each row; rows of which nothing is known are left out."""
    return [m for m in map(_mean_of, rows) if m is not None]


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return statistics.fmean(known) if known else None


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    return {"mean": statistics.fmean(values) if values else None, "std": statistics.stdev(values) if len(values) > 1 else None}


def _count(v: float) -> str:
    """A positive number in at most three significant figures, thousands separated."""
    return f"{round(v, 2 - math.floor(math.log10(v))):,.0f}" if v >= 100 else f"{v:.3g}"
