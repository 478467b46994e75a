"""Populations whose truth is known, as stored rows with the mode that each row comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..data.schema import Schema
from ..data.toy import TRUTHS, Shapes
from ..metrics import Evaluator
from ..rng import numpy_generator

ROWS, PICTURES = 600, 400       # of test, holdout and generated part, of tables and of pictures; twice as many to train on
REPEATS = 2                     # draws of all parts, over which figures are averaged
SPARE = 20                      # times as many to replace rows from, so that hardly one is there twice


class Drawn(NamedTuple):
    """Rows as a user has them, and the mode (arc, group, shape) of each, ``(N,)``."""

    X: Any
    mode: np.ndarray


@dataclass(frozen=True)
class Target:
    """A population by name: ``draw(n, rng)`` gives rows and their modes, ``n_modes`` of them."""

    name: str
    title: str
    n_modes: int
    draw: Callable[[int, np.random.Generator], Drawn]
    rows: int = ROWS


@dataclass(frozen=True)
class Patient:
    """A target with its parts drawn and an `Evaluator` over them; ``fresh`` rows are degraded, ``spare`` ones replace them."""

    target: Target
    schema: Schema
    evaluator: Evaluator
    train: np.ndarray
    fresh: np.ndarray
    mode: np.ndarray
    spare: np.ndarray
    spare_mode: np.ndarray

    @classmethod
    def of(cls, target: Target, seed: int = 0, rows: int | None = None) -> Patient:
        """Draw training, holdout, test and fresh rows, each from a stream of its own."""
        rows = target.rows if rows is None else rows
        sizes = {"train": 2 * rows, "holdout": rows, "test": rows, "fresh": rows, "spare": SPARE * rows}
        drawn = {part: target.draw(n, numpy_generator(seed, "doctor", target.name, part)) for part, n in sizes.items()}
        schema = Schema.fit(drawn["train"].X)
        stored = {part: schema.encode(d.X) for part, d in drawn.items()}
        labels = drawn["train"].mode if schema.is_image else None
        evaluator = Evaluator(schema, stored["train"], stored["holdout"], stored["test"], labels, seed)
        return cls(target, schema, evaluator, stored["train"], stored["fresh"], drawn["fresh"].mode, stored["spare"], drawn["spare"].mode)


def _planar(name: str) -> Callable[[int, np.random.Generator], Drawn]:
    def draw(n: int, rng: np.random.Generator) -> Drawn:
        X = TRUTHS[name].sample(n, rng)
        return Drawn(X, TRUTHS[name].nearest(X)[0])
    return draw


def _mixed(n: int, rng: np.random.Generator) -> Drawn:
    truth = TRUTHS["mixed"]
    X = truth.sample(n, rng)
    return Drawn(X, np.array([truth.groups.index(g) for g in X["group"]]))


def _shapes(n: int, rng: np.random.Generator) -> Drawn:
    images, factors = Shapes().sample(n, rng)
    return Drawn(images, factors["shape"].to_numpy())


TARGETS = {t.name: t for t in (
    Target("gaussians25", "25 narrow Gaussians on a grid", 25, _planar("gaussians25")),
    Target("ring8", "8 narrow Gaussians on a circle", 8, _planar("ring8")),
    Target("moons", "two half circles with noise", 2, _planar("moons")),
    Target("mixed", "a table of mixed kinds with known conditionals", 3, _mixed),
    Target("shapes", "pictures rendered from known factors", len(Shapes.names), _shapes, PICTURES),
)}
