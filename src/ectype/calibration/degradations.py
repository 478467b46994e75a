"""Ways in which a generator can be bad, each with a size: 0 is a perfect generator, and what is done grows with the size.

All sizes work on the same fresh rows with the same random numbers (the rows that are replaced at size *s* are among those at a larger
size, the noise is one draw that is scaled), so that a figure moves because the size does.

=============== =================================================== ===========================================
name            what is done                                        size
=============== =================================================== ===========================================
`lost_modes`    rows of the first k modes are replaced by others    share of the modes
`noise`         Gaussian noise on every number or pixel             standard deviations of the column; full range
`blur`          pictures are convolved with a Gaussian              its standard deviation, in pixels
`copies`        rows are replaced by training rows                  share of the rows
`skew`          rows are replaced by rows of one mode               share of the rows
`broken_link`   one column is shuffled                              share of the rows
=============== =================================================== ===========================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..rng import numpy_generator
from .targets import Patient


@dataclass(frozen=True)
class Degradation:
    """A degradation by name; ``sizes`` by target say where it is tried. Calling it with ``(patient, size, seed)`` gives stored rows."""

    name: str
    title: str
    sizes: dict[str, tuple[float, ...]]
    apply: Callable[[Patient, float, np.random.Generator], np.ndarray]

    def __call__(self, patient: Patient, size: float, seed: int = 0) -> np.ndarray:
        """``len(patient.fresh)`` rows; the fresh rows themselves where the size is 0."""
        rng = numpy_generator(seed, "degradation", self.name, patient.target.name)
        return patient.fresh if size == 0 else self.apply(patient, size, rng)


def _lose_modes(patient: Patient, size: float, rng: np.random.Generator) -> np.ndarray:
    lost = rng.permutation(patient.target.n_modes)[: round(size * patient.target.n_modes)]
    gone, left = np.isin(patient.mode, lost), patient.spare[~np.isin(patient.spare_mode, lost)]
    rows = patient.fresh.copy()
    rows[gone] = left[: gone.sum()]
    return rows


def _add_noise(patient: Patient, size: float, rng: np.random.Generator) -> np.ndarray:
    rows, schema = patient.fresh, patient.schema
    noise = rng.normal(size=rows.shape)
    if schema.is_image:
        top = schema.blocks[0].levels - 1
        return np.clip(np.round(rows + size * top * noise), 0, top).astype(np.uint8)
    is_number = np.array([b.type == "number" for b in schema.blocks])
    return (rows + size * is_number * patient.train.std(0) * noise).astype(np.float32)


def _blur(patient: Patient, size: float, rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return np.round(gaussian_filter(patient.fresh.astype(np.float64), (0, 0, size, size))).astype(np.uint8)


def _copy(patient: Patient, size: float, rng: np.random.Generator) -> np.ndarray:
    order, source = rng.permutation(len(patient.fresh)), rng.permutation(len(patient.train))
    rows, n = patient.fresh.copy(), round(size * len(patient.fresh))
    rows[order[:n]] = patient.train[source[:n]]
    return rows


def _skew(patient: Patient, size: float, rng: np.random.Generator) -> np.ndarray:
    order, favoured = rng.permutation(len(patient.fresh)), patient.spare[patient.spare_mode == patient.target.n_modes - 1]
    rows, n = patient.fresh.copy(), round(size * len(patient.fresh))
    rows[order[:n]] = np.resize(favoured, (len(rows), *rows.shape[1:]))[:n]
    return rows


def _break_link(patient: Patient, size: float, rng: np.random.Generator) -> np.ndarray:
    order = rng.permutation(len(patient.fresh))[: round(size * len(patient.fresh))]
    rows = patient.fresh.copy()
    rows[order, -1] = np.roll(rows[order, -1], 1)       # a shuffle without fixed points: every row gets another one's value
    return rows


SHARES = (0.25, 0.45, 0.65, 0.85, 1.0)
EVERYWHERE = ("gaussians25", "ring8", "moons", "mixed", "shapes")
DEGRADATIONS = {d.name: d for d in (
    Degradation("lost_modes", "modes are lost", {"gaussians25": (0.12, 0.28, 0.44, 0.64, 0.84), "ring8": (0.125, 0.25, 0.5, 0.75, 0.875),
                                                 "shapes": (0.2, 0.4, 0.6)}, _lose_modes),
    Degradation("noise", "noise is added", {"gaussians25": (0.02, 0.05, 0.1, 0.2, 0.4), "ring8": (0.03, 0.07, 0.15, 0.3, 0.6),
                                            "moons": (0.1, 0.2, 0.4, 0.7, 1.3), "mixed": (0.15, 0.3, 0.6, 1.0, 1.5),
                                            "shapes": (0.03, 0.06, 0.1, 0.16, 0.3)}, _add_noise),
    Degradation("blur", "pictures are blurred", {"shapes": (0.42, 0.6, 0.9, 1.3, 2.0)}, _blur),
    Degradation("copies", "training rows are copied", dict.fromkeys(EVERYWHERE, (0.2, 0.4, 0.6, 0.8, 1.0)), _copy),
    Degradation("skew", "one mode is too frequent", dict.fromkeys(EVERYWHERE, (0.25, 0.4, 0.55, 0.75, 0.95)), _skew),
    Degradation("broken_link", "a dependence is broken", dict.fromkeys(("moons", "mixed"), SHARES), _break_link),
)}
