"""Trajectories of the models that restore noise: real rows on their way to noise, and noise on its way to rows.

Notation
    f           a row as features of about zero mean and unit variance, (*shape);  x_t = α_t f + σ_t ε, t = 0 is data, t = 1 is noise
    x_hat       what the network takes the data to be at x_t: the guess

    forward     x_t of one row at several t with one ε, so that the pictures differ by t alone
    reverse     the probability flow from ε at t = 1, or from where the model begins, to a row at t = 0, in steps of DDIM,
                x_s = α_s x_hat + σ_s (x_t − α_t x_hat) / σ_t

On straight paths (flow matching, shortcut) that step is Euler's, and of the shortcut model each step has the length that it was told. The
flow has no fresh noise, whatever the sampler that the family samples with by default: its paths are curves and can be drawn.

References
    Song, Meng & Ermon, *Denoising diffusion implicit models*, 2021: equation 12.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .. import registry, rng
from ..errors import CapabilityError, InvalidParameterError
from ..estimator import GenerativeModel
from ..models.shortcut import LEVELS, ShortcutObjective
from ..prob.solvers import ddim_step
from ..train.device import threads_for
from ..train.noising import Denoising, check_steps


@dataclass(frozen=True)
class Trajectories:
    """Rows at several times: ``times (m,)``, features with noise ``x_t (N, m, *shape)``, and the ``guess`` of the data there, of the same
    shape, None on the way forward. The last guess of a reverse trajectory is the row itself."""

    times: np.ndarray
    x_t: np.ndarray
    guess: np.ndarray | None = None

    def at(self, indices: Any) -> Trajectories:
        """A few of the times."""
        return Trajectories(self.times[indices], self.x_t[:, indices], None if self.guess is None else self.guess[:, indices])


def denoises(model: GenerativeModel) -> bool:
    """Whether a fitted model restores noise step by step."""
    return isinstance(model.objective_, Denoising)


@torch.no_grad()
def forward(model: GenerativeModel, X: Any, times: Any, *, random_state: Any = 0) -> Trajectories:
    """Real rows with the noise that the model sees at each of ``times``, from 0 to the largest that it is trained on
    (``model.objective_.last``): 1, but for truncated diffusion.

    Raises :class:`CapabilityError` for a family that does not restore noise, :class:`InvalidParameterError` for a time outside of these.
    """
    objective = _require(model)
    times = np.asarray(times, np.float64)
    if times.ndim != 1 or not len(times) or not ((times >= 0) & (times <= objective.last)).all():
        raise InvalidParameterError("times is out of its domain", expected=f"one time in [0, {objective.last:g}] or more",
                                    got=times.tolist())
    f = objective.scaled(model._encode(X).to(model._device))
    eps = rng.Rows(rng.as_seed(random_state), 0, len(f), model._device).normal(*objective.shape)
    levels = [objective.at(t[None]) for t in torch.as_tensor(times, dtype=torch.float32, device=model._device)]
    return Trajectories(times, torch.stack([alpha * f + sigma * eps for alpha, sigma in levels], dim=1).cpu().numpy())


@torch.no_grad()
def reverse(model: GenerativeModel, n: int, steps: int, *, condition: Any = None, random_state: Any = 0) -> Trajectories:
    """``n`` rows from noise in ``steps`` steps of the probability flow, with what the network guesses on the way; ``steps + 1`` times.

    Raises :class:`CapabilityError` for a family that does not restore noise, :class:`InvalidParameterError` for steps out of their domain.
    """
    objective = _require(model)
    check_steps(steps, 1.0, model.conditional)
    stored = model._encode_condition(condition, n)
    c = objective.embed_condition(stored)
    if isinstance(objective, ShortcutObjective):
        level = min(LEVELS, math.ceil(math.log2(steps)))
        c = objective.with_length(c, torch.full((n,), level, device=model._device))
    times = objective.times(steps)
    x = objective.begin(rng.Rows(rng.as_seed(random_state), 0, n, model._device), stored, times[0])
    passed, guesses = [x], []
    with threads_for(objective, model.train_.threads):
        for t, s in pairwise(times):
            x_hat = objective.denoise(x, t[None], c)
            last = len(guesses) == steps - 1
            x = x_hat if last else ddim_step(x, x_hat, objective.at(t[None]), objective.at(s[None]))
            passed.append(x)
            guesses.append(x_hat)
    x_t, guess = (torch.stack(parts, dim=1).cpu().numpy() for parts in (passed, [*guesses, guesses[-1]]))
    return Trajectories(times.cpu().numpy().astype(np.float64), x_t, guess)


def as_rows(model: GenerativeModel, features: np.ndarray, *, steps: int | None = None, condition: Any = None) -> Any:
    """The rows nearest to features ``(N, *shape)``, as the training data come: what is beyond the range of pixels is cut off. ``steps``, of
    features that are the end of a path of so many (under a ``condition``), lets pictures pass what samples pass at the end, but for
    faint levels, which are drawn."""
    objective = _require(model)
    f = torch.as_tensor(features, device=model._device)
    if steps is not None:
        f = objective.spread(f, None if condition is None else model._encode_condition(condition, len(f)), steps)
    f = objective.unscaled(f) if steps is None else objective.tone(objective.unscaled(f), steps)
    return model.schema_.decode(objective.features.project(f).cpu().numpy())


def _require(model: GenerativeModel) -> Denoising:
    check_is_fitted(model)
    if not denoises(model):
        able = ("ddpm", "flow_matching", "shortcut", "truncated")
        raise CapabilityError(f"{type(model).__name__} does not restore noise step by step",
                              hint=f"these do: {', '.join(n for n in registry.names() if n in able)}")
    return model.objective_


def in_plane(model: GenerativeModel) -> tuple[list[str], np.ndarray] | None:
    """Names of the first two numeric columns of a table, and their places among the features; None where there are no two."""
    schema, features = model.schema_, model.objective_.features
    if not schema.is_table or features.n_numbers < 2:
        return None
    return [schema.blocks[int(i)].name for i in features.number[:2]], np.arange(2)


def positions(model: GenerativeModel, X: Any) -> np.ndarray:
    """Rows of a table in the units of the trajectories: their first two numbers, standardised, ``(N, 2)``."""
    objective: Denoising = _require(model)
    x: Tensor = model._encode(X).to(model._device)
    return objective.scaled(x)[:, :2].cpu().numpy()
