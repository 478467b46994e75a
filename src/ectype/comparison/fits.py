"""One fit, sampled and judged; or one dummy. What was found is written down, so that nothing is computed twice.

A `Fit` is all that ``results.json`` needs to know of one family at one seed. It is written to ``fits/NAME-seedS.json`` when everything
else that the fit leaves in the folder is there; a comparison that starts again reads it back if its *terms* are the same (data, split,
settings, budget, versions), and the files that it kept still exist.

A fit depends on nothing but its `Job`, so that jobs can run in any order, in any process, with the same outcome. It can fail in any
way: the error is part of the outcome.
"""

from __future__ import annotations

import gc
import inspect
import json
import math
import statistics
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from .. import registry
from ..data.schema import as_frame
from ..errors import DataFileError
from ..metrics import DUMMIES, Estimate, worst_columns
from ..spec import Train
from ..train.device import threads_for
from ..uses.codes import Passage, colouring, evenly, first_layer, plane
from ..uses.trajectories import denoises
from . import steps
from .clock import Clock
from .files import save_arrays, to_json, write_text
from .marks import EVALUATIONS
from .memory import PeakMemory
from .parts import Parts

WARM_CALLS, SLOW_S = 5, 1.0     # sampling is timed again unless the first call took longer than this
LONG_FLOP = 2e12            # sampling gets as many operations as the training over all seeds, and at least these: 20 to 60 s of a core
USUAL_SEEDS = 3
FAR, SHORTER = 4, (500, 250, 100, 50)       # times that, from which a sampler is cut down to fewer steps
BACKWARD = 3                # a training step takes about this many times the operations of an evaluation
LOOKS = 3000                # at which the bound of a diffusion model is taken, over all rows: its noise is in the interval
PICTURES, TABLE_ROWS, MAP_ROWS, UNITS = 8, 300, 500, 32     # that the report shows of a code: rows, rows of a table, points, filters


@dataclass(frozen=True)
class Job:
    """What one fit, or one dummy, is given. ``train`` is ``None`` for a dummy."""

    name: str
    seed: int
    terms: Mapping[str, Any]                    # what must be the same for the outcome to be the same
    train: Train | None = None
    keeps: bool = True                          # samples, model and pictures are kept for the report
    turn: int = 0                               # of this seed among the seeds
    n_seeds: int = 1


@dataclass
class Fit:
    """What is known of one family at one seed, or of one dummy."""

    name: str
    seed: int
    terms: dict[str, Any]
    figures: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)     # row → metric → value, low, high
    worst_columns: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)        # row → options of ``sample``, where not its own
    spent_s: dict[str, float] = field(default_factory=dict)                 # part of the work → seconds
    steps: int | str | None = None
    threads: int | None = None
    likelihood: str | None = None
    code: dict[str, Any] | None = None
    steps_curve: list[dict[str, Any]] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    kept: list[str] = field(default_factory=list)       # paths in the folder that it cannot do without

    def enter(self, row: str, **figures: float | Estimate) -> None:
        """Enter figures of a row; those without an interval are costs, which are not taken from rows."""
        known = self.figures.setdefault(row, {})
        for metric, value in figures.items():
            known[metric] = [float(v) for v in value] if isinstance(value, Estimate) else [float(value), None, None]


def path_of(directory: Path, name: str, seed: int) -> Path:
    """Where a fit is written down."""
    return directory / "fits" / f"{name}-seed{seed}.json"


def read_back(directory: Path, name: str, seed: int) -> Fit | None:
    """A fit that was written down and is whole; ``None`` where there is none, where it failed, or where what it kept is gone."""
    path = path_of(directory, name, seed)
    try:
        fit = Fit(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None         # not there, or half a file: it is made again
    return fit if fit.error is None and all((directory / kept).exists() for kept in fit.kept) else None


def run(job: Job, parts: Parts, directory: Path, tell: Callable[[dict[str, Any]], None] | None = None) -> Fit:
    """Do one job and write it down. ``tell`` is called with dicts of ``stage`` and, while fitting, the training loop's own events."""
    fit, tell = Fit(job.name, job.seed, dict(job.terms)), tell or (lambda event: None)
    clock = Clock(fit.spent_s)
    if job.train is None:
        tell({"stage": "dummy"})
        with clock("metrics"):
            _judge(fit, job, parts, directory, job.name, DUMMIES[job.name](parts.train, parts.schema, len(parts.test), job.seed))
    else:
        try:
            _fit(fit, job, parts, directory, tell, clock)
        except Exception as error:      # whatever goes wrong in one family must not take the others with it; its row shows the error
            fit.error = f"seed {job.seed}: {type(error).__name__}: {error}".removesuffix(": ")
            write_text(directory / "errors" / f"{job.name}-seed{job.seed}.txt", "".join(traceback.format_exception(error)))
    write_text(path_of(directory, job.name, job.seed), to_json(asdict(fit)))
    return fit


def _fit(fit: Fit, job: Job, parts: Parts, directory: Path, tell: Callable[[dict[str, Any]], None],
         clock: Clock) -> None:
    """Fit one family with one seed; fill its row and the rows of its other samplers."""
    name, seed, cls = job.name, job.seed, registry.load(job.name)
    gc.collect()
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])       # the first optimiser of a process loads half of torch, at nobody's expense
    tell({"stage": "fit"})
    with PeakMemory() as memory, clock("training"):
        start = time.perf_counter()
        model = cls(train=job.train, random_state=seed)
        model.fit(parts.X_train, kinds=parts.kinds, progress=lambda event: tell({**event, "stage": "fit"}))
        fit_s = time.perf_counter() - start
    fit.history, fit.steps, fit.threads = model.history_, model.budget_steps_, _threads(model)
    judged: list[steps.Judged] = []
    for row, options in samplers(name, cls).items():
        fit.enter(row, fit_s=fit_s, parameters=model.n_parameters_)
        tell({"stage": "sample"})
        with clock("sampling"):
            chosen, seeds = affordable(model, len(parts.test), options, job.n_seeds)
        if job.turn >= seeds:
            continue
        if chosen != options:
            options = fit.options[row] = chosen
        with PeakMemory() as sampling, clock("sampling"):
            X, rows_per_s = _timed_sample(model, len(parts.test), seed, options)
        tell({"stage": "measure"})
        with clock("metrics"):
            stored = parts.schema.encode(X)
            _judge(fit, job, parts, directory, row, stored)
        fit.enter(row, rows_per_s=rows_per_s, nfe=model.evaluations(**options), peak_memory_mib=max(memory.mib, sampling.mib))
        judged.append((stored, {metric: values[0] for metric, values in fit.figures[row].items()}))
    if cls.capabilities & {"exact", "bound"}:
        with clock("metrics"):
            looks = {"draws": min(64, max(8, LOOKS // len(parts.test)))} if denoises(model) else {}
            nats = Estimate.mean(model.log_likelihood(parts.X_test, **looks))
        fit.enter(name, log_likelihood=nats)
        fit.likelihood = model.likelihood_
        if parts.schema.is_image:
            fit.enter(name, bits_per_dim=nats.scaled(-1 / (parts.schema.n_dims * math.log(2))))
    if job.keeps:
        with clock("pictures"):
            _keep_model(fit, model, parts, directory, judged, clock)


def _threads(model: Any) -> int:
    """Threads that the model computes with."""
    with threads_for(model.objective_, model.train_.threads):
        return torch.get_num_threads()


def samplers(name: str, cls: type) -> dict[str, dict[str, Any]]:
    """The rows that one fitted model of a family fills, with the options of ``sample`` that each takes."""
    return {name: {}} | {f"{name}-{preset}": dict(options) for preset, options in cls.sampling_presets.items()}


def affordable(model: Any, n: int, options: Mapping[str, Any], n_seeds: int) -> tuple[dict[str, Any], int]:
    """With which options ``n`` rows are drawn, and at how many of the seeds.

    At all seeds by a sampler of few evaluations; else at as many as take no more operations than the training did, and at the first in any
    case, in fewer steps where that alone would take more than ``FAR`` times as many as training ``USUAL_SEEDS`` did: however many are asked
    for, and added later, a row has one number of steps. Operations are counted, not timed: the same on every machine.
    """
    options, nfe = dict(options), model.evaluations(**options)
    if nfe <= EVALUATIONS:
        return options, n_seeds
    has_steps = "steps" in inspect.signature(type(model).sample).parameters
    once = {**options, "steps": 1} if has_steps else options
    with FlopCounterMode(display=False) as counter:
        model.sample(n, random_state=0, **once)
    of_all = counter.get_total_flops() / model.evaluations(**once)
    trained = BACKWARD * of_all / n * model.train_.batch_size * model.n_steps_
    allowance, usual = (max(LONG_FLOP, trained * seeds) for seeds in (n_seeds, USUAL_SEEDS))
    for few in SHORTER if has_steps else ():
        fewer = {**options, "steps": few}
        if nfe * of_all > FAR * usual and model.evaluations(**fewer) < nfe:
            options, nfe = fewer, model.evaluations(**fewer)
    return options, max(1, int(allowance // max(nfe * of_all, 1.0)))


def _judge(fit: Fit, job: Job, parts: Parts, directory: Path, row: str, stored: np.ndarray) -> None:
    """Measure samples against the test part, and keep those of the first seed."""
    fit.enter(row, **parts.evaluator.estimate(stored, job.seed))
    if job.keeps:
        worst = worst_columns(parts.test, stored, parts.schema)
        fit.worst_columns[row] = [{"column": c.name, "distance": c.distance} for c in worst]
        fit.kept.append(save_rows(directory, row, parts, stored).relative_to(directory).as_posix())


def save_rows(directory: Path, name: str, parts: Parts, stored: np.ndarray) -> Path:
    """Write rows as the user would receive them, and return where."""
    X, folder = parts.schema.decode(stored), directory / "samples"
    if not parts.schema.is_table:
        save_arrays(path := folder / f"{name}.npz", x=X)
        return path
    path = folder / f"{name}.csv"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        as_frame(X).to_csv(path, index=False)
    except OSError as error:
        raise DataFileError(f"cannot write {path}", got=error.strerror or str(error), hint="free some disk space") from error
    return path


def _keep_model(fit: Fit, model: Any, parts: Parts, directory: Path, judged: list[steps.Judged], clock: Clock) -> None:
    """What the report and later commands want of the first seed: the model, its code, and its quality against steps."""
    name = fit.name
    model.save(directory / "models" / name)
    fit.kept.append(f"models/{name}")
    if model.capabilities >= {"encode", "decode"} and "exact" not in model.capabilities:    # an invertible model loses nothing
        fit.code, arrays = _code(model, parts)
        save_arrays(directory / "features" / f"{name}.npz", **arrays)
        fit.kept.append(f"features/{name}.npz")
    if not judged:
        return
    try:
        fit.steps_curve = steps.record(model, parts, fit.seed, directory, judged, clock) or None
    except Exception as error:      # an extra of the report: a family without it is as good a family, and the text says what went wrong
        write_text(directory / "errors" / f"{name}-steps.txt", "".join(traceback.format_exception(error)))
        fit.steps_curve = []


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
