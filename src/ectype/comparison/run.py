"""Fit, sample and measure every family on the same rows under the same budget.

The spread over seeds comes from initialisation, batches, sampling and the classifier's folds; the split
is the same for all. Memory is the largest resident memory of the whole process while the family was fitted and sampled, the
libraries and the data included: what the machine must have, not what the family adds. Sampling speed is the median of several calls
on warm networks; of a sampler so slow that warming up does not matter, the one call whose samples are measured. A sampler that takes more
operations than the training of its family is drawn for the first seeds only; how many they are stands beside its figures.

The seeds follow each other; what a seed has to do, four dummies and a fit of each family, can run side by side
(:mod:`ectype.comparison.fits`), and finished fits are read back where the folder has them (:mod:`ectype.comparison.folder`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import registry
from ..data.sources import Dataset, load
from ..errors import InvalidParameterError
from ..metrics import DUMMIES
from ..spec import Train
from .book import Book
from .clock import Clock
from .fits import Fit, Job, read_back, run
from .folder import check_terms, sole_writer, terms_of
from .parts import Parts

BUDGET = "8s"
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found: the folder it wrote, the content of its ``results.json``, and whether it was interrupted."""

    directory: Path
    results: dict[str, Any]
    interrupted: bool = False


def compare(source: Any, *, models: Sequence[str] | None = None, budget: Any = BUDGET, seeds: int = 3, seed: int = 0,
            out: str | os.PathLike | None = None, label: str | None = None, kinds: Mapping[str, str] | str | None = None,
            drop: Sequence[str] = (), size: tuple[int, ...] | int | None = None, jobs: int | None = None,
            inception: str | os.PathLike | None = None, progress: Tell | None = None) -> Comparison:
    """Train every family on the same data under the same budget, measure, mark, and name the one to pick.

    source : what :func:`ectype.data.sources.load` takes (a name, a file, a folder, a DataFrame, an array), or a Dataset; ``label``,
        ``kinds``, ``drop`` and ``size`` go there.
    models : names of families; None = one of each kind (``registry.compared()``).
    budget : what ``Train`` takes (``"20s"``, ``"500steps"``), or a mapping from family to one such value, or to one per seed. The
        steps that ``results.json`` records, given back in this way, repeat a run exactly.
    seeds, seed : each family is fitted with the seeds ``seed, seed + 1, …``; the split is drawn from ``seed`` alone.
    out : the folder to write; None = ``compare-NAME`` in the working folder. What an earlier run of the same command finished there is
        taken over; more families or seeds may be asked for.
    jobs : fits that run side by side, each in a process of its own with its share of the cores; None = 1, or what
        ``joblib.parallel_config`` says (its backend is respected: the workers must see ``out``). The figures are those of one after
        another, but for times, where each fit has as many threads; a budget in seconds buys less where fits share the processor.
    inception : of images, a file of weights of the Inception network (:mod:`ectype.metrics.inception`): FID and KID are measured too, which
        takes a fifth of a second for each image on one core. Nothing is downloaded.
    progress : called with dicts of ``stage`` ("data", "plan", "floor", "dummy", "fit", "sample", "measure", "kept", "finished", "done"),
        ``row``, ``seed``, ``done`` and ``total`` (counting fits and dummies), and, while fitting, the keys of the training loop's events.
        "kept" is a fit of an earlier run, "finished" one of this; with several jobs there is "finished" alone.

    A family that fails becomes a row with its error text, and its traceback goes to ``errors/``. ``KeyboardInterrupt`` ends the
    comparison and keeps what was measured; it is raised again only while there is nothing to keep.

    Raises :class:`UnknownNameError` for an unknown family, :class:`InvalidParameterError` for a setting out of its domain,
    :class:`DataFileError` for a folder that cannot be written, that another run is writing, or that holds a comparison with other
    settings, and what the data raise.
    """
    names = list(dict.fromkeys(registry.entry(name).name for name in (registry.compared() if models is None else models)))
    if not names:
        raise InvalidParameterError("no models to compare", expected=f"some of {', '.join(registry.names())}", got="none")
    for what, value in (("seeds", seeds), ("jobs", 1 if jobs is None else jobs)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidParameterError(f"{what} is out of its domain", expected="an int >= 1", got=repr(value))
    run_seeds = list(range(seed, seed + seeds))
    families = {name: registry.load(name) for name in names}
    trains = _training(budget, names, run_seeds)

    tell = progress or (lambda event: None)
    tell({"stage": "data"})
    dataset = source if isinstance(source, Dataset) else load(source, label=label, kinds=kinds, drop=drop, size=size)
    clock = Clock()
    with clock("metrics"):
        parts = Parts.of(dataset, seed, kinds, inception)
    settings = {
        "source": os.fspath(source) if isinstance(source, (str, os.PathLike)) else dataset.name, "label": dataset.label,
        "kinds": kinds if isinstance(kinds, str) else dict(kinds or {}), "drop": list(drop),
        "size": (size,) if isinstance(size, int) else size, "models": names, "budget": budget, "seeds": run_seeds,
        "inception": None if inception is None else parts.evaluator.inception.fingerprint}
    directory = Path(out if out is not None else f"compare-{dataset.name}")
    work = [(name, s) for s in run_seeds for name in (*DUMMIES, *names)]
    terms = {(name, s): terms_of(dataset, settings, trains.get((name, s))) for name, s in work}
    pool, count = _Pool(jobs), _Count(len(work), tell)

    interrupted = False
    with sole_writer(directory):
        check_terms(directory, terms)
        book = Book(directory, dataset, parts, families, settings, {"jobs": pool.n_jobs}, clock.spent_s)
        tell({"stage": "plan", "rows": names, "seeds": seeds, "total": len(work)})
        try:
            tell({"stage": "floor"})
            with clock("metrics"):
                book.floor = parts.floor(None if drop else dataset.truth)
            for turn, s in enumerate(run_seeds):
                left = []
                for name in (n for n, its_seed in work if its_seed == s):
                    kept = read_back(directory, name, s)
                    if kept is None:
                        left.append(Job(name, s, terms[name, s], pool.shared(trains.get((name, s)), parts),
                                        not any(row.is_measured for row in book.rows_of(name).values()), turn, seeds))
                        continue
                    book.enter(kept)
                    count.finish("kept", kept)
                for fit in pool.run(left, parts, directory, count.tell):
                    book.enter(fit)
                    count.finish("finished", fit)
                    if fit.name in names:
                        book.write()
        except KeyboardInterrupt:
            if not any(row.is_measured for row in book.models.values()):
                raise
            interrupted = True
        results = book.write(interrupted=interrupted)
    tell({"stage": "done", "done": len(work), "total": len(work)})
    return Comparison(directory, results, interrupted)


class _Count:
    """Puts into each event how many of all jobs are done."""

    def __init__(self, total: int, tell: Tell):
        self.done, self.total, self._tell = 0, total, tell

    def tell(self, event: dict[str, Any]) -> None:
        self._tell({**event, "done": self.done, "total": self.total})

    def finish(self, stage: str, fit: Fit) -> None:
        self.done += 1
        c2st = fit.figures.get(fit.name, {}).get("c2st", [None])[0]
        self.tell({"stage": stage, "row": fit.name, "seed": fit.seed, "c2st": c2st, "error": fit.error})


class _Pool:
    """Runs jobs one after another in this process, or side by side in others."""

    def __init__(self, jobs: int | None):
        from sklearn.utils.parallel import Parallel

        try:
            self.parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", max_nbytes=None)
        except ValueError:          # a configured backend that gives all outcomes at the end
            self.parallel = Parallel(n_jobs=jobs, max_nbytes=None)
        self.n_jobs: int = self.parallel.n_jobs

    def shared(self, train: Train | None, parts: Parts) -> Train | None:
        """Settings with a job's share of the cores. A perceptron has one thread in any case."""
        if train is None or self.n_jobs == 1:
            return train
        return train(threads=1 if parts.schema.is_table else max(1, (os.cpu_count() or 1) // self.n_jobs))

    def run(self, jobs: Sequence[Job], parts: Parts, directory: Path, tell: Tell) -> Iterator[Fit]:
        """The outcomes, each as soon as it is there."""
        if self.n_jobs == 1:
            for job in jobs:
                yield run(job, parts, directory, lambda event, job=job: tell({**event, "row": job.name, "seed": job.seed}))
            return
        from sklearn.utils.parallel import delayed

        if jobs:
            tell({"stage": "fit", "row": ", ".join(job.name for job in jobs[: self.n_jobs]), "seed": jobs[0].seed})
        yield from self.parallel(delayed(run)(job, parts, directory) for job in sorted(jobs, key=lambda job: job.train is None))


def _training(budget: Any, names: list[str], seeds: list[int]) -> dict[tuple[str, int], Train]:
    """One Train per family and seed, validated before any work is done."""
    if not isinstance(budget, Mapping):
        return {(name, s): Train(budget=budget) for name in names for s in seeds}
    given, trains = budget, {}
    for name in names:
        if name not in given:
            raise InvalidParameterError(f"no budget for {name}", expected="one for every family", got=sorted(given))
        per_seed = given[name] if isinstance(given[name], (list, tuple)) else [given[name]] * len(seeds)
        if len(per_seed) != len(seeds):
            raise InvalidParameterError(f"budgets of {name}", expected=f"one, or one per seed ({len(seeds)})", got=len(per_seed))
        for s, b in zip(seeds, per_seed, strict=True):
            trains[name, s] = Train(budget=f"{b}steps" if str(b).replace("+", "").isdigit() else b)
    return trains
