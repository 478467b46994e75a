"""How far a row lies from the data, measured by restoring it: the score behind ``NoveltyDetector()``.

Notation
    x           a row as features, (F,)
    D(x, σ)     a denoiser: what a row was before noise of standard deviation σ was added to it
    d_j(x)      ‖x − D_j(x)‖², the way back to the data that restoring finds, by one of several restorers j

With Gaussian noise the best denoiser is D(x, σ) = x + σ² ∇ log p_σ(x) (Tweedie's formula), where p_σ is the data's density with the noise.
A row that lies where the data are stays where it is; one that does not is moved, the farther the less likely it is. Two restorers are
asked, because they fail in different ways:

* **memory**: the k nearest x_i of the training rows, which are the best denoiser of the training rows themselves as σ → 0,

      d(x) = (1/k) Σ_i ‖x − x_i‖² / r_i^½,    r_i: the mean squared distance of x_i to its own k nearest

  It forgets nothing, and it cannot interpolate: in many dimensions everything is far from everything. The divisor makes a step in a
  sparse part of the data count less than the same step in a dense one (a local outlier factor divides by r_i). Nearness depends on units.
  Those of a table are standard deviations, with the correlation of columns taken out (:class:`View`): a row that breaks their dependence
  is far. Pixels and samples of signals are as they are.
* **network**: the denoiser of a diffusion model, at four noise levels from 0.12 to 0.48 standard deviations; more noise blurs modes into
  one, and at less a category cannot be mistaken, so that it is not moved. It is asked what it makes of the row itself, without adding
  noise, so that a score has no randomness. It learns how columns depend on each other, between the rows.

All distances become comparable on the training rows (a row is not its own neighbour), and the score is their mean:

    score(x) = −Σ_j w_j (log d_j(x) − m_j) / s_j,    m_j, s_j: mean and standard deviation of log d_j over training rows

with 2/3 of the weight for the memory and 1/3 for the network, shared by the noise levels. bench/novelty_design.py compares other units
(among them a power transform of each column, and the nearer of two), divisors, levels and shares on tasks that the detector is not judged
by; these are its choice, by a rule that was fixed beforehand. Every d_j is a sum over columns, so that each column's part is known: the
score that a row would gain if the column alone were restored (:meth:`DenoisingNeighbours.gains`). Where correlation is taken out, each
coordinate stands for the column that it is most like: the symmetric root of the covariance sees to that.

References
    Ramaswamy, Rastogi & Shim, *Efficient algorithms for mining outliers from large data sets*, 2000 (distance to the k nearest neighbours).
    Breunig, Kriegel, Ng & Sander, *LOF: identifying density-based local outliers*, 2000; Zelnik-Manor & Perona, *Self-tuning spectral
    clustering*, 2004 (distances in units of the neighbours' own).
    Garthwaite & Koch, *Evaluating the contributions of individual variables to a quadratic form*, 2016 (columns' parts after whitening).
    Vincent, *A connection between score matching and denoising autoencoders*, 2011 (denoising estimates ∇ log p_σ).
    Mahmood, Oliva & Styner, *Multiscale score matching for out-of-distribution detection*, 2021 (its norm at several noise levels).
    Livernoche, Jain, Hezaveh & Ravanbakhsh, *On diffusion modeling for anomaly detection*, 2024.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .. import rng
from ..data.schema import Schema
from ..errors import SavedModelError
from ..estimator import load_model
from ..models.diffusion import DDPM
from ..prob.relax import Relaxation
from ..saved import MEMORY
from ..spec import Net, Train

NEIGHBOURS = 5
LOCAL = 0.5                 # the power of the neighbours' own squared distance by which a distance is divided; 1 in a local outlier factor
MEMORY_SHARE = 2 / 3        # of the score; the rest is the network's
LEVELS = tuple(np.geomspace(0.12, 0.48, 4).tolist())    # σ, in units of the features' standard deviation
WEIGHTS = np.array([MEMORY_SHARE, *[(1 - MEMORY_SHARE) / len(LEVELS)] * len(LEVELS)])
MOST_ROWS = 20_000          # in memory
REFERENCE_ROWS = 2_000      # on which the distances are made comparable
ROWS_AT_ONCE = 2**22        # numbers in a block of (rows, neighbours, features)
STEPS, BATCH = 800, 128     # of the network's training
FAR = 1e4                   # units, the farthest that a value can be: any more would overflow, and say nothing that this does not
SHRINKAGE = 0.1             # of the covariance towards one variance for all coordinates, before correlation is taken out
TINY = 1e-9                 # the least that a variance is


class View:
    """Stored rows as coordinates ``(N, F)`` in which nearness is measured; ``column (F,)`` is the column that each belongs to.

    Numbers of a table are in standard deviations, categories are one-hot, a blank has a mark of ±1. Pixels are from 0 to 1.

    schema, rows : the stored training rows that means, deviations and covariances are taken from.
    whitened : a table's coordinates times C^(−½), C = 0.9 cov + 0.1 (tr cov / F) I.
    scale : what puts a column's numbers on a scale, given its training values.
    """

    def __init__(self, schema: Schema, rows: np.ndarray, *, whitened: bool = True, scale: type[Scale] | None = None):
        self.schema, self.axes = schema, None
        if not schema.is_table:
            self.n_columns = math.prod(rows.shape[1:])
            self.column = np.arange(self.n_columns)
            return
        self.n_columns = len(schema.blocks)
        self.scales = {i: (scale or Scale)(b.inverse(rows[:, i].astype(np.float64))) for i, b in enumerate(schema.blocks)
                       if b.type == "number"}
        sizes = [b.n_codes if b.type == "category" else 1 + b.missing for b in schema.blocks]
        self.column = np.repeat(np.arange(self.n_columns), sizes)
        if whitened:
            x = self(rows[:REFERENCE_ROWS])
            _, sizes, axes = np.linalg.svd((x - x.mean(0)) / math.sqrt(len(x)), full_matrices=False)
            spread = max(np.square(sizes).sum() / x.shape[1], TINY)
            self.away = (SHRINKAGE * spread) ** -0.5                                                # where the rows do not vary
            self.along = ((1 - SHRINKAGE) * np.square(sizes) + SHRINKAGE * spread) ** -0.5
            self.axes = axes

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        if not self.schema.is_table:
            top = self.schema.blocks[0].levels - 1 if self.schema.is_image else 1
            return np.clip(stored.reshape(len(stored), -1).astype(np.float64) / top, -FAR, FAR)
        parts = []
        for i, b in enumerate(self.schema.blocks):
            if b.type == "category":
                parts.append(np.eye(b.n_codes)[stored[:, i].astype(int)])
                continue
            v = b.inverse(stored[:, i].astype(np.float64))
            parts.append(np.nan_to_num(self.scales[i](v))[:, None])
            if b.missing:
                parts.append(np.where(np.isnan(v), 1.0, -1.0)[:, None])
        x = np.concatenate(parts, axis=1)
        return x if self.axes is None else self.away * x + x @ self.axes.T * (self.along - self.away) @ self.axes


class Scale:
    """The values of a column in standard deviations from their mean; of a constant column, any other value is one unit away."""

    def __init__(self, values: np.ndarray):
        known = values[~np.isnan(values)]
        self.mean, self.deviation = known[0] if len(known) else np.nan, 0.0
        if (known != self.mean).any():
            self.mean, self.deviation = known.mean(), known.std()

    def __call__(self, v: np.ndarray) -> np.ndarray:
        if not self.deviation:
            return np.where(np.isnan(v), np.nan, v != self.mean)
        return np.clip((v - self.mean) / self.deviation, -FAR, FAR)


class Memory:
    """The distance to the k nearest remembered rows in units of their own distances, column by column.

    known : r_i^½ of the first of the rows, where it was measured before, ``(n,)``; that of the others is measured.
    """

    def __init__(self, view: View, rows: np.ndarray, known: np.ndarray | None = None):
        self.view, self.points = view, view(rows)
        self.k = min(NEIGHBOURS, len(rows) - 1)
        self.index = NearestNeighbors().fit(self.points)
        self.local = np.zeros(0) if known is None else known
        if len(self.local) < len(rows):
            own = np.square(self.nearest(self.points[len(self.local) :], themselves=True)[0]).mean(1)
            self.local = np.r_[self.local, (own + smallest(own)) ** LOCAL]

    def errors(self, stored: np.ndarray, *, themselves: bool = False) -> np.ndarray:
        """(1/k) Σ_i (x − x_i)² / r_i^½, summed over the coordinates of each column, ``(N, columns)``.

        themselves : the rows are among those remembered, each of which is not its own neighbour.
        """
        x = self.view(stored)
        _, near = self.nearest(x, themselves=themselves)
        out = np.empty((len(x), self.view.n_columns))
        step = max(1, ROWS_AT_ONCE // (near.shape[1] * x.shape[1]))
        for i in range(0, len(x), step):
            gap = np.square(x[i : i + step, None] - self.points[near[i : i + step]])
            gap = (gap / self.local[near[i : i + step]][:, :, None]).mean(1)
            out[i : i + step] = by_column(gap, self.view.column, self.view.n_columns)
        return out

    def nearest(self, x: np.ndarray, *, themselves: bool) -> tuple[np.ndarray, np.ndarray]:
        """Distances and numbers of the k nearest, ``(N, k)`` each."""
        distances, near = self.index.kneighbors(x, n_neighbors=self.k + themselves)
        return distances[:, int(themselves) :], near[:, int(themselves) :]


class DenoisingNeighbours(BaseEstimator):
    """A score for rows from what it takes to restore them: the nearest training rows, and a diffusion model's denoiser.

    Parameters
        random_state : seed of the network, and of which rows are remembered where there are more than 20,000.

    Each log-distance is standardised on training rows, none of which is its own neighbour there: a score falls by 1 where all distances
    grow by one of their standard deviations. A training row that is scored again finds itself among its neighbours: only differences and
    ranks of scores say something.
    """

    condition_: ClassVar[None] = None       # its network knows no condition

    def __init__(self, *, random_state: Any = None):
        self.random_state = random_state

    @property
    def schema_(self) -> Schema:
        """What the rows are, as the network learnt it."""
        return self.network_.schema_

    @property
    def n_features_in_(self) -> int:
        """The number of columns that it was fitted on."""
        return self.network_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Their names, where they had any."""
        return self.network_.feature_names_in_

    def fit(self, X: Any, y: Any = None, *, kinds: Any = None, progress: Any = None) -> DenoisingNeighbours:
        """Train the network on ``X``, remember the rows, and make the distances comparable."""
        seed = rng.as_seed(self.random_state)
        train = Train(budget=f"{STEPS}steps", batch_size=BATCH, optimizer="adam", ema=0.08, validation=0.0, patience=0.0)
        width = 128 if math.prod(Relaxation(Schema.fit(X, kinds=kinds)).shape) <= 32 else 256
        self.network_ = DDPM(net=Net(kind="mlp", width=(width,) * 3), train=train, random_state=seed).fit(X, kinds=kinds, progress=progress)
        rows = rng.numpy_generator(seed, "memory").permutation(_distinct(self.schema_.encode(X)))[:MOST_ROWS]
        self._keep(rows, len(rows))
        errors = list(self._errors(rows[:REFERENCE_ROWS], themselves=True))
        distances = np.stack([e.sum(1) for e in errors])                                        # (J, rows)
        self.floors_ = smallest(distances)                      # a row met before has distance 0, which has no logarithm
        logs = np.log(distances + self.floors_[:, None])
        self.means_, self.deviations_ = logs.mean(1), np.maximum(logs.std(1), 1e-3)
        return self

    def remember(self, X: Any) -> None:
        """Add rows to the memory, as far as there is room; scales and the network stay as they are."""
        rows = np.concatenate([self.rows_, self.schema_.encode(X)])
        _, first = np.unique(_as_keys(rows), return_index=True)
        self._keep(rows[np.sort(first)][:MOST_ROWS], self.n_scales_, self.memory_.local)

    def _keep(self, rows: np.ndarray, n_scales: int, local: np.ndarray | None = None) -> None:
        """``rows`` are the memory; the first ``n_scales`` of them give the scales of the view, ``local`` the first rows' own distances."""
        self.rows_, self.n_scales_ = rows, n_scales
        self.memory_ = Memory(View(self.schema_, rows[:n_scales]), rows, local)

    def score_samples(self, X: Any) -> np.ndarray:
        """−Σ_j w_j (log d_j − m_j) / s_j of each row, ``(N,)``: higher is more like the training rows."""
        logs = np.stack([np.log(e.sum(1) + floor) for e, floor in zip(self._errors(self._stored(X)), self.floors_, strict=True)])
        return -(WEIGHTS / self.deviations_) @ (logs - self.means_[:, None])

    def gains(self, X: Any) -> np.ndarray:
        """The score that each row would gain if one column alone were restored, ``(N, columns)``; for images and signals
        ``(N, C, H, W)`` and ``(N, C, L)``."""
        stored = self._stored(X)
        gains = np.zeros((len(stored), math.prod(self.schema_.stored_shape)))
        for errors, weight, floor, deviation in zip(self._errors(stored), WEIGHTS, self.floors_, self.deviations_, strict=True):
            total = errors.sum(1, keepdims=True) + floor
            gains += weight / deviation * np.log(total / np.maximum(total - errors, floor))
        return gains.reshape(len(stored), *self.schema_.stored_shape)

    def _stored(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self.schema_.encode(X)

    def _errors(self, stored: np.ndarray, *, themselves: bool = False) -> Iterator[np.ndarray]:
        """The J ways to measure a distance, one after another, each as its columns' parts ``(N, columns)``."""
        yield self.memory_.errors(stored, themselves=themselves)
        n_columns, column = math.prod(self.schema_.stored_shape), columns_of(self.network_.objective_.features)
        for sigma in LEVELS:
            yield by_column(displacement(self.network_, stored, sigma), column, n_columns)

    def save(self, path: str | os.PathLike) -> Path:
        """Write the network's folder ``path`` with ``memory.safetensors`` in it."""
        check_is_fitted(self)
        folder = self.network_.save(path)
        arrays = {"rows": self.rows_, "n_scales": np.array([self.n_scales_]), "floors": self.floors_, "means": self.means_,
                  "deviations": self.deviations_, "local": self.memory_.local}
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, folder / MEMORY)
        return folder

    @classmethod
    def load(cls, path: str | os.PathLike, *, device: str = "auto") -> DenoisingNeighbours:
        """What :meth:`save` wrote."""
        model = cls()
        model.network_ = load_model(path, device=device)
        model.random_state = model.network_.seed_
        try:
            d = load_file(Path(path) / MEMORY)
            model._keep(d["rows"], int(d["n_scales"][0]), d["local"])
            model.floors_, model.means_, model.deviations_ = d["floors"], d["means"], d["deviations"]
        except (OSError, KeyError, IndexError, ValueError, SafetensorError) as error:
            raise SavedModelError(f"{Path(path) / MEMORY} is damaged ({error})", hint="restore it from a copy, or fit again") from error
        return model


def displacement(network: DDPM, stored: np.ndarray, sigma: float) -> np.ndarray:
    """(D(x, σ) − x)² of each feature of each row, ``(N, F)``: how far a row moves when it is taken for one with noise of σ.

    A diffusion model sees x_t = α_t x + σ_t ε, noise of σ = σ_t / α_t relative to the data; with the cosine schedule t = (2/π) atan σ.
    """
    objective = network.objective_
    t = torch.tensor([2 / math.pi * math.atan(sigma)], device=objective.center.device)

    def move(x: Tensor, c: Tensor | None) -> Tensor:
        f = objective.scaled(x).clamp(-FAR, FAR)
        return (objective.denoise(objective.schedule(t)[0] * f, t, c) - f).square().flatten(1)

    return network._by_batch(torch.from_numpy(stored), None, move).astype(np.float64)


def columns_of(features: Relaxation) -> np.ndarray:
    """The column that each feature belongs to, ``(F,)``; a pixel or a sample of a signal is its own."""
    return np.arange(math.prod(features.shape)) if len(features.shape) > 1 else features.column.cpu().numpy()


def by_column(errors: np.ndarray, column: np.ndarray, n_columns: int) -> np.ndarray:
    """Parts of features ``(N, F)`` summed for each column, ``(N, columns)``."""
    if n_columns == len(column) and (column == np.arange(n_columns)).all():
        return errors
    out = np.zeros((n_columns, len(errors)))
    np.add.at(out, column, errors.T)
    return out.T


def smallest(distances: np.ndarray) -> Any:
    """What is added to squared distances ``(…, N)`` before they are divided by or take a logarithm, ``(…,)``."""
    return 1e-6 * np.median(distances, axis=-1) + 1e-12


def _as_keys(rows: np.ndarray) -> np.ndarray:
    """Each row as one opaque value, equal where the rows are, blanks included."""
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1))
    return flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).ravel()


def _distinct(rows: np.ndarray) -> np.ndarray:
    """Each row once, in an order that does not depend on the order given."""
    return rows[np.unique(_as_keys(rows), return_index=True)[1]]
