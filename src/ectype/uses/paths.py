"""Paths through the code: rows between two rows, and what one number of the code does.

Notation
    h₀, h₁  the codes of two rows;  Ω  the angle between them, cos Ω = h₀·h₁ / (‖h₀‖ ‖h₁‖);  t  the place on the path, in [0, 1]

    linear      h(t) = (1 − t) h₀ + t h₁
    spherical   h(t) = sin((1 − t) Ω) / sin Ω · h₀ + sin(t Ω) / sin Ω · h₁                                           (Shoemake 1985)

Codes of many numbers from N(0, I) all lie near a sphere of radius √d, and a straight line between two of them leaves it: halfway its length
is about √(d/2), where the model has seen nothing. The spherical path keeps the length where both ends have it, and is the line where the
two point the same way. For codes without such a prior (an autoencoder's), the line is as good a choice.

References
    Shoemake, *Animating rotation with quaternion curves*, 1985.
    White, *Sampling generative networks*, 2016, section 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from .. import registry
from ..errors import CapabilityError, DataError, InvalidParameterError
from ..estimator import GenerativeModel
from ..spec import Interval, annotations, validate

VALUES = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
Steps = Annotated[int, Interval(2)]        # a path has two ends
PARALLEL = 1e-4         # of sin Ω: below, the spherical path is the straight one up to rounding


def interpolate(model: GenerativeModel, a: Any, b: Any, steps: Steps = 8, *, path: Literal["spherical", "linear"] = "spherical",
                condition: Any = None) -> Any:
    """Rows on the way from each row of ``a`` to that of ``b``, as the training data come: ``steps`` for each pair, pair by pair.

    a, b : as many rows each, as the model takes them. The first and the last of the steps are their reconstructions.
    path : in the space of the codes, see the module.
    condition : for a conditional model, one value or one for each pair.

    Raises :class:`CapabilityError` for a family that does not encode and decode, :class:`DataError` where the numbers of rows differ.
    """
    validate("interpolate", {"steps": steps, "path": path}, annotations(interpolate))
    _require(model)
    if len(a) != len(b):
        raise DataError("the two ends differ in length", expected=f"{len(a)} rows to go to", got=len(b))
    ends = (np.asarray(model.transform(rows, condition), np.float64) for rows in (a, b))
    between = (spherical if path == "spherical" else linear)(*ends, np.linspace(0, 1, steps))
    return model.inverse_transform(between.reshape(-1, between.shape[-1]), _repeated(condition, steps))


def traverse(model: GenerativeModel, x: Any = None, *, dimension: int | Sequence[int] | None = None, values: Sequence[float] = VALUES,
             condition: Any = None) -> Any:
    """What single numbers of the code do: the code of a row with one of them set to each of ``values``, decoded.

    x : one row (a container of length one), or None: the code of zeros, the centre of N(0, I).
    dimension : the number to change, or several; None = every one, in turn.
    values : for a code from N(0, I), standard deviations.
    condition : for a conditional model, one value.

    Returns ``len(dimension) · len(values)`` rows in the container of the training data, dimension by dimension. Raises
    :class:`InvalidParameterError` for a dimension that the code does not have.
    """
    _require(model)
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise InvalidParameterError("values is out of its domain", expected="one finite number or more", got=values.tolist())
    if x is not None and len(x) != 1:
        raise DataError("a traversal starts from one row", expected="a container with one row, such as X[:1]", got=f"{len(x)} rows")
    width = model.objective_.latent_dim
    dimensions = list(range(width)) if dimension is None else np.atleast_1d(dimension).tolist()
    for j in dimensions:
        if not isinstance(j, int) or not 0 <= j < width:
            raise InvalidParameterError("the code has no such dimension", expected=f"0 to {width - 1}", got=j)
    start = np.zeros(width) if x is None else np.asarray(model.transform(x, condition), np.float64)[0]
    codes = np.tile(start, (len(dimensions), len(values), 1))                       # (n, values, width)
    for row, j in zip(codes, dimensions, strict=True):
        row[:, j] = values
    return model.inverse_transform(codes.reshape(-1, width), _repeated(condition, len(values) * len(dimensions)))


def linear(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The straight path between codes ``(N, d)`` at the places ``t (steps,)``: ``(N, steps, d)``."""
    t = t[:, None]
    return (1 - t) * a[:, None] + t * b[:, None]


def spherical(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The path along the sphere, ``(N, steps, d)``; straight where the two point the same or the opposite way, or nowhere."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.clip((a * b).sum(1) / np.maximum(lengths, np.finfo(np.float64).tiny), -1, 1)
    angle = np.arccos(cosine)[:, None, None]                                        # (N, 1, 1)
    sine, t_ = np.sin(angle), t[:, None]
    bent = (sine > PARALLEL) & (lengths > 0)[:, None, None]
    safe = np.where(bent, sine, 1.0)
    arc = np.sin((1 - t_) * angle) / safe * a[:, None] + np.sin(t_ * angle) / safe * b[:, None]
    return np.where(bent, arc, linear(a, b, t))


def _require(model: GenerativeModel) -> None:
    needed = {"encode", "decode"}
    if not needed <= model.capabilities:
        able = [n for n in registry.names() if needed <= registry.load(n).capabilities]
        raise CapabilityError(f"{type(model).__name__} has no code to walk through", hint=f"these have: {', '.join(able)}")
    check_is_fitted(model)


def _repeated(condition: Any, times: int) -> Any:
    """The condition of each pair for all of its rows."""
    return np.repeat(np.asarray(condition, dtype=object), times) if pd.api.types.is_list_like(condition) else condition
