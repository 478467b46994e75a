"""What the report shows of one fitted model beyond its row: quality against steps, trajectories, the game of a GAN, nearest neighbours.

The models that restore noise sample in any number of steps from the same weights. Their *steps curve* is C2ST, coverage and Fréchet
distance of a few hundred samples at each of :data:`STEPS`, beside what as many unseen real rows score. Diffusion takes DPM-Solver++ up to
``FEW`` steps and its own ancestral chain beyond, which needs many; the others have one sampler. The curve is climbed from few steps to
many, and ends where the next point would not fit into the time that it has (:func:`allowance`): the points left out say so. Where
judging alone would take most of that time, every second point is passed over (``SPARSE``).

On more rows than ``ROWS`` the rows of the table are measured on more rows than the curve, which therefore has a floor of its own.

    trajectories/NAME.npz   samples by number of steps; rows on their way to noise and back; the game of a GAN in one or two dimensions
    neighbours/NAME.npz     the first samples' nearest rows of the training part, images and signals
    neighbours/NAME.json    the same of a table, as text
    associations/NAME.npz   how the columns of a table depend on each other, in real and in generated rows
"""

from __future__ import annotations

import csv
import inspect
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.schema import as_frame
from ..estimator import family_name
from ..metrics.association import association
from ..metrics.c2st import c2st
from ..metrics.frechet import fit_gaussian, frechet_distance
from ..metrics.neighbours import fidelity_and_coverage, squared_distances
from ..metrics.spaces import unit
from ..metrics.threads import one_thread
from ..models.gan import GAN
from ..spec import Train
from ..uses import trajectories
from ..uses.game import film_game, smoothed
from .clock import Clock
from .files import save_arrays, to_json, write_text
from .parts import Parts

STEPS = (1, 2, 4, 8, 16, 50, 250, 1000)
SPARSE = (1, 4, 16, 50, 250, 1000)
FEW = 50                    # steps up to which diffusion is sampled by DPM-Solver++, beyond by its ancestral chain
METRICS = ("c2st", "coverage", "frechet_features")
ROWS = 400                  # samples that a point is measured on, at most
LEAST_S, SHARE = 15.0, 0.25     # of time for a curve: seconds, and of what the fit took, whichever is more
KEPT, POINTS = 10, 300      # samples kept for each number of steps: images or signals, points of a plane
SHOWN, TIMES = 5, 9         # rows of a trajectory that are pictures, and times of it
PATHS, PATH_STEPS, FRAMES = 160, 48, 24     # of a trajectory in the plane
FILM_STEPS, FILM_POINTS, FILM_CELLS = 1500, 160, 32     # of a game: steps trained, points in a frame of the plane, cells along an axis
FILM_DATA = 2000            # samples that a density is taken from
NEAREST = 8                 # samples whose neighbours are kept
Judged = tuple[np.ndarray, Mapping[str, float]]     # stored rows and their figures


def record(model: Any, parts: Parts, seed: int, directory: Path, judged: Sequence[Judged], clock: Clock) -> list[dict[str, Any]]:
    """The steps curve of a fitted model, empty for a family that has no number of steps; trajectories and neighbours go to ``directory``.

    judged : the stored samples of its rows of the table, the family's own first, whose nearest training rows are kept, and their figures.

    Raises :class:`DataFileError` for a folder that cannot be written.
    """
    name, stored = family_name(model), judged[0][0]
    _keep_nearest(directory / "neighbours", name, parts, stored[:NEAREST])
    if parts.schema.is_table and len(parts.schema.blocks) > 1:
        save_arrays(directory / "associations" / f"{name}.npz", real=association(parts.evaluator.test, parts.schema),
                    generated=association(stored, parts.schema))
    arrays: dict[str, np.ndarray] = {}
    points: list[dict[str, Any]] = []
    if trajectories.denoises(model):
        points, arrays = curve(model, parts, seed, clock, judged)
        arrays |= _ways(model, parts, seed)
    elif isinstance(model, GAN):
        arrays = _film(model, parts)
    if arrays:
        save_arrays(directory / "trajectories" / f"{name}.npz", **arrays)
    return points


def allowance(fit_s: float) -> float:
    """Seconds that a curve may take."""
    return max(LEAST_S, SHARE * fit_s)


# ------------------------------------------------------------------------------------------------------------------ the curve


def curve(model: Any, parts: Parts, seed: int, clock: Clock, judged: Sequence[Judged] = (), *,
          allowance_s: float | None = None) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Points of the steps curve, and arrays ``steps (k,)`` and ``step_rows (k, n, …)``: a few samples for each number of steps.

    A point is ``{steps, sampler, nfe, c2st, coverage, frechet_features, rows_per_s, samples, floor, left_out}``: ``samples`` are the rows
    that the figures are taken from, ``floor`` what as many unseen real rows score, ``left_out`` None, or why there are no figures. Samples
    that are those of a row of the table, among ``judged``, are not judged again.
    """
    evaluator, allowance_s = parts.evaluator, allowance(model.fit_s_) if allowance_s is None else allowance_s
    n = min(evaluator.n, ROWS)
    with clock("metrics"):
        judge = _Judge(evaluator, n, seed)
        known = evaluator.floor() if n == evaluator.n else judge(evaluator.holdout[:n])
    floor = {metric: known[metric] for metric in METRICS}
    points, kept = [], []
    start, sampling, judging = time.perf_counter(), 0.0, 0.0        # seconds of one evaluation of all rows, and of judging them
    for steps in STEPS:
        if steps not in SPARSE and len(STEPS) * judging > allowance_s:
            continue
        options = sampling_options(model, steps)
        nfe = model.evaluations(**options)
        point = {"steps": steps, "sampler": _sampler(model, options), "nfe": nfe}
        needed = nfe * sampling + judging
        if points and (time.perf_counter() - start + needed > allowance_s or points[-1]["left_out"]):
            points.append(point | dict.fromkeys((*floor, "rows_per_s")) | {
                "samples": n, "floor": floor, "left_out": f"would have taken about {needed:.0f} s"})
            continue
        began = time.perf_counter()
        X = model.sample(n, random_state=seed, **options)
        took = max(time.perf_counter() - began, 1e-9)
        sampling = took / nfe
        began = time.perf_counter()
        stored = parts.schema.encode(X)
        with clock("metrics"):
            figures = next((f for rows, f in judged if np.array_equal(rows, stored, equal_nan=True)), None) or judge(stored)
        points.append(point | {m: figures[m] for m in METRICS} | {"rows_per_s": n / took, "samples": n, "floor": floor, "left_out": None})
        judging = max(judging, time.perf_counter() - began)     # what was judged before takes no time, and says nothing of the next
        kept.append((steps, _few(model, X)))
    rows = {} if any(few is None for _, few in kept) else {"steps": np.array([k for k, _ in kept]),
                                                           "step_rows": np.stack([few for _, few in kept])}
    return points, rows


def sampling_options(model: Any, steps: int) -> dict[str, Any]:
    """What ``sample`` is told for so many steps: of a family with several samplers, one that suits the number."""
    known = inspect.signature(type(model).sample).parameters
    return {"steps": steps} | ({"sampler": "dpm" if steps <= FEW else "ancestral"} if "sampler" in known else {})


def _sampler(model: Any, options: dict[str, Any]) -> str:
    """What carries the steps out: the sampler that was asked for, the family's solver, or the model itself."""
    known = inspect.signature(type(model).sample).parameters
    return options.get("sampler") or (known["solver"].default if "solver" in known else "steps")


class _Judge:
    """C2ST, coverage and Fréchet distance of stored rows against the first ``n`` of the test part."""

    def __init__(self, evaluator: Any, n: int, seed: int):
        self.evaluator, self.n, self.seed = evaluator, n, seed
        self.test = evaluator.test[:n]
        self.fit = fit_gaussian(evaluator.features(self.test))
        self.scale = unit(np.trace(self.fit.covariance))
        self.manifold = evaluator.manifold(self.test)

    @one_thread()
    def __call__(self, rows: np.ndarray) -> dict[str, float]:
        rows = rows[: self.n]
        e = self.evaluator
        return {"c2st": c2st(self.test, rows, e.schema, self.seed),
                "coverage": fidelity_and_coverage(self.manifold, e.manifold(rows))["coverage"],
                "frechet_features": frechet_distance(self.fit, fit_gaussian(e.features(rows))) / self.scale}


def _few(model: Any, X: Any) -> np.ndarray | None:
    """A few rows to be drawn: images, signals, or points of the plane of the first two numbers; None for a table without two."""
    if not model.schema_.is_table:
        return np.asarray(X[:KEPT])
    return trajectories.positions(model, X[:POINTS]) if trajectories.in_plane(model) else None


# ------------------------------------------------------------------------------------------------------------------ trajectories


def _ways(model: Any, parts: Parts, seed: int) -> dict[str, np.ndarray]:
    """``times``, ``forward``, ``reverse`` and ``guess``, each ``(rows, times, …)`` from data to noise or back: images and signals as rows
    come, of a table with two numbers the points of their plane (with their names, and ``data`` to lay them over)."""
    plane = trajectories.in_plane(model)
    if model.schema_.is_table and plane is None:
        return {}
    rows, frames = (PATHS, FRAMES) if plane else (SHOWN, TIMES)
    times = np.linspace(0, model.objective_.last, frames)
    there = trajectories.forward(model, parts.X_test[:rows], times, random_state=seed)
    back = trajectories.reverse(model, rows, PATH_STEPS, random_state=seed)
    back = back.at(np.unique(np.linspace(0, PATH_STEPS, frames).round().astype(int)))
    if plane:
        names, where = plane
        return {"times": times, "reverse_times": back.times, "columns": np.array(names), "forward": there.x_t[..., where],
                "reverse": back.x_t[..., where], "guess": back.guess[..., where],
                "data": trajectories.positions(model, parts.X_test[:POINTS])}

    def rows_of(features: np.ndarray) -> np.ndarray:
        flat = np.asarray(trajectories.as_rows(model, features.reshape(-1, *features.shape[2:])))
        return flat.reshape(*features.shape[:2], *flat.shape[1:])

    return {"times": times, "reverse_times": back.times, "forward": rows_of(there.x_t), "reverse": rows_of(back.x_t),
            "guess": rows_of(back.guess)}


def _film(model: GAN, parts: Parts) -> dict[str, np.ndarray]:
    """The game, played again from the same seed in at most ``FILM_STEPS`` steps, of tables of one or two numeric columns; else nothing.

    ``film_steps (f,)``, the grid ``axis_0`` (and ``axis_1``), D on it ``film_critic (f, …)``; in one dimension the densities ``film_rows
    (f, cells)`` of the generator and ``film_data (cells,)`` of the data, in two the points themselves.
    """
    blocks = parts.schema.blocks
    plain = parts.schema.is_table and len(blocks) <= 2 and all(b.kind in ("numeric", "integer") and not b.missing for b in blocks)
    if not plain or model.conditional:
        return {}
    settings = model.get_params(deep=False)
    train: Train = settings["train"]
    game = GAN(**settings | {"train": train(budget=f"{min(FILM_STEPS, model.n_steps_)}steps")})
    film = film_game(game, parts.X_train, samples=FILM_POINTS if len(blocks) == 2 else FILM_DATA)
    chosen = [film.frames[i] for i in np.linspace(0, len(film.frames) - 1, FRAMES).round().astype(int)]
    arrays = {"film_steps": np.array([f.step for f in chosen]), "columns": np.array(film.names)}
    if len(blocks) == 1:
        (axis,) = film.axes
        return arrays | {"axis_0": axis, "film_critic": np.stack([f.critic for f in chosen]),
                         "film_rows": np.stack([smoothed(f.samples[:, 0], axis) for f in chosen]),
                         "film_data": smoothed(film.rows[:, 0], axis)}
    every = len(film.axes[0]) // FILM_CELLS
    return arrays | {"axis_0": film.axes[0][::every], "axis_1": film.axes[1][::every], "film_data": film.rows[:POINTS],
                     "film_rows": np.stack([f.samples for f in chosen]),
                     "film_critic": np.stack([f.critic[::every, ::every] for f in chosen])}


# ------------------------------------------------------------------------------------------------------------------ neighbours


def _keep_nearest(folder: Path, name: str, parts: Parts, stored: np.ndarray) -> None:
    """The training row nearest to each of some samples, and ``ratio``: how far it is, where 1 is the median of the test rows.

    Near in principal components, as for memorisation: looking through all training rows is cheap there.
    """
    evaluator = parts.evaluator
    train = evaluator.pca(evaluator.train)
    places, distances = _nearest(evaluator.pca(stored), train)
    _, usual = _nearest(evaluator.pca(evaluator.test[:ROWS]), train)
    ratio = distances / unit(float(np.median(usual)))
    rows = parts.schema.decode(evaluator.train[places])
    if not parts.schema.is_table:
        save_arrays(folder / f"{name}.npz", x=np.asarray(rows), ratio=ratio)
        return
    columns, *text = csv.reader(io.StringIO(as_frame(rows).to_csv(index=False)))        # written as samples are
    kept = {"columns": columns, "rows": [[v or None for v in row] for row in text], "ratio": [round(float(r), 4) for r in ratio]}
    write_text(folder / f"{name}.json", to_json(kept))


def _nearest(x: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index and distance of the nearest row."""
    places, distances = np.empty(len(x), int), np.empty(len(x))
    for rows, d2 in squared_distances(x, among):
        places[rows], distances[rows] = d2.argmin(1), np.sqrt(d2.min(1))
    return places, distances
