"""Fit, sample and measure every family on the same rows under the same budget.

The spread over seeds comes from initialisation, batches, sampling and the classifier's folds; the split
is the same for all. Memory is the largest resident memory of the whole process while the family was fitted and sampled, the
libraries and the data included: what the machine must have, not what the family adds. Sampling speed is the median of several calls
on warm networks; of a sampler so slow that warming up does not matter, the one call whose samples are measured. A sampler that
needs longer than the training of its family took is drawn for the first seeds only; how many they are stands beside its figures.
"""

from __future__ import annotations

import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import registry
from ..data.sources import Dataset, load
from ..errors import InvalidParameterError
from ..metrics import DUMMIES
from ..spec import Train
from ..uses.codes import Passage, colouring, evenly, first_layer, plane
from .book import Book
from .memory import PeakMemory
from .parts import Parts

BUDGET = "8s"
WARM_CALLS, SLOW_S = 5, 1.0     # sampling is timed again unless the first call took longer than this
LONG_S = 60.0               # a sampler gets as much time as the training over all seeds, and at least this
PICTURES, TABLE_ROWS, MAP_ROWS, UNITS = 8, 300, 500, 32     # that the report shows of a code: rows, rows of a table, points, filters


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found: the folder it wrote, the content of its ``results.json``, and whether it was interrupted."""

    directory: Path
    results: dict[str, Any]
    interrupted: bool = False


def compare(source: Any, *, models: Sequence[str] | None = None, budget: Any = BUDGET, seeds: int = 3, seed: int = 0,
            out: str | os.PathLike | None = None, label: str | None = None, kinds: Mapping[str, str] | str | None = None,
            drop: Sequence[str] = (), size: tuple[int, ...] | int | None = None,
            progress: Callable[[dict[str, Any]], None] | None = None) -> Comparison:
    """Train every family on the same data under the same budget, measure, mark, and name the one to pick.

    source : what :func:`ectype.data.sources.load` takes (a name, a file, a folder, a DataFrame, an array), or a Dataset; ``label``,
        ``kinds``, ``drop`` and ``size`` go there.
    models : names of families; None = one of each kind (``registry.compared()``).
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
    names = list(dict.fromkeys(models if models is not None else registry.compared()))
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
    parts = Parts.of(dataset, seed, kinds)
    book = Book(Path(out if out is not None else f"compare-{dataset.name}"), dataset, parts, families, {
        "source": os.fspath(source) if isinstance(source, (str, os.PathLike)) else dataset.name, "label": dataset.label,
        "kinds": kinds if isinstance(kinds, str) else dict(kinds or {}), "drop": list(drop),
        "size": (size,) if isinstance(size, int) else size, "models": names, "budget": budget, "seeds": run_seeds})

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
            trains[name, s] = Train(budget=f"{b}steps" if str(b).replace("+", "").isdigit() else b)
    return trains


def _run_family(book: Book, name: str, train: Train, seed: int, tell: Callable[[dict[str, Any]], None]) -> None:
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
            row.steps[seed] = model.budget_steps_
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
            book.models[name].likelihood = model.likelihood_
            if parts.schema.is_image:
                book.models[name].enter(seed, bits_per_dim=-nats / (parts.schema.n_dims * math.log(2)))
        if seed == book.seeds[0]:
            model.save(book.directory / "models" / name)
            if cls.capabilities >= {"encode", "decode"} and "exact" not in cls.capabilities:    # an invertible model loses nothing
                book.keep_code(name, *_code(model, parts))
    except Exception as error:      # whatever goes wrong in one family must not take the others with it; its row shows the error
        book.fail(name, seed, error)


def _code(model: Any, parts: Parts) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a code keeps of the test rows: figures, and arrays that the report draws."""
    passage = Passage(model, parts.X_test, parts.X_train)
    errors = {kind: float(passage.row_errors(kind).mean()) for kind in passage.kinds}
    points, axes = plane(np.asarray(model.transform(parts.X_test)))
    colours, classes = (passage.row_errors(), []) if parts.y_test is None else colouring(parts.y_test)
    arrays = {"map": evenly(points, MAP_ROWS), "axes": np.array(axes), "colours": evenly(colours, MAP_ROWS),
              "classes": np.array(classes, str), "filters": first_layer(model, UNITS)}
    for kind, features in passage.kinds.items():
        if parts.schema.is_table:
            arrays |= {kind: passage.column_values(features[:TABLE_ROWS]), f"column_errors_{kind}": passage.column_errors(kind)}
        else:
            arrays[kind] = np.asarray(passage.rows(features[:PICTURES]))
    label = None if parts.y_test is None else "label" if parts.y_test.name in (None, "y") else str(parts.y_test.name)
    return {"width": passage.width, "features": passage.n_features, "error": errors["rebuilt"], "pca_error": errors.get("pca"),
            "from_code_error": errors.get("from_code"), "coloured_by": label}, arrays


def _timed_sample(model: Any, n: int, seed: int, options: Mapping[str, Any]) -> tuple[Any, float]:
    """The samples that are measured, and rows per second."""
    def call() -> tuple[Any, float]:
        start = time.perf_counter()
        X = model.sample(n, random_state=seed, **options)
        return X, max(time.perf_counter() - start, 1e-9)

    X, first = call()
    return X, n / (first if first > SLOW_S else statistics.median(call()[1] for _ in range(WARM_CALLS)))
