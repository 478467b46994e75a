"""A Gaussian for each cell of the data: rough rows, for models that do the rest.

Notation
    h           a row's numbers: of a table all of its numbers, of pictures and signals the first principal components, (B, d)
    k           the cell of a row (``prob/cells.py``), of K
    p_k         means of the discrete features within cell k: frequencies of categories, balances of flags

The rows are divided into cells by k-means, and within a cell everything is as simple as can be: numbers are Gaussian, discrete features
are independent of them and of each other.

    p(x) = Σ_k π_k N(h; μ_k, Σ_k) Π_j p(x_j | p_k)

This is mixtures of probabilistic PCA and of latent classes with the cells found once, not by expectation and maximisation: it takes
seconds for 60,000 pictures. A cell's covariance is drawn towards the mean of all within cells, as if that had been seen in d more rows.
Principal components beyond the first ``RANK`` are left at their mean.

Rows of p(x) are blurred, and nobody would take them for real ones. But where noise is added, less and less tells the two apart, and a
denoiser that begins there has nothing to take back (``models/truncated.py``).

References
    Tipping & Bishop, *Mixtures of probabilistic principal component analyzers*, 1999.
    Wang & Vastola, *The unreasonable effectiveness of Gaussian score approximation for diffusion models and its applications*, 2024
    (at high noise, what a diffusion model learns is the score of a Gaussian, or of a mixture of some).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from ..rng import Rows
from .cells import Cells
from .mixture import CodeMixture
from .relax import Relaxation

RANK = 64               # principal components of pictures and signals
ROWS = 25               # in a cell, on average at least; and two for each number of h
FOUND_FROM = 10_000     # rows at most that components and cells are found from
NUMBERS_KEPT = 2**26    # of these rows, at most


class LocalGaussians(nn.Module):
    """p(x), or p(x | c), of features; at most ``cells`` cells, of a condition with classes as many for each."""

    def __init__(self, features: Relaxation, condition: Relaxation | None, cells: int, classes: int = 1):
        super().__init__()
        self.features, self.classes = features, classes
        self.shape, self.is_table = features.shape, len(features.shape) == 1
        self.n_numbers = features.n_numbers if self.is_table else math.prod(self.shape)
        self.each = max(1, cells // classes)
        rank = self.n_numbers if self.is_table else min(self.n_numbers, RANK)
        self.mixture = CodeMixture(rank, 0 if condition is None else condition.shape[0], self.each * classes)
        self.register_buffer("mean", torch.zeros(self.n_numbers))
        self.register_buffer("basis", torch.zeros(self.n_numbers, 0 if self.is_table else rank))
        self.register_buffer("frequencies", torch.zeros(self.each * classes, math.prod(self.shape) - self.n_numbers))

    def fit(self, x: Tensor, scaled: Callable[[Tensor], Tensor], f_c: Tensor | None, which: Tensor | None) -> None:
        """From stored rows ``x (N, *stored_shape)``, whose features ``scaled`` gives, features of their condition ``f_c (N, n_cond)``, and
        classes ``which (N,)`` where it has some. Seeded by torch's global generator."""
        parts, some = x.split(4096), torch.randperm(len(x), device=x.device)
        some = some[: min(FOUND_FROM, max(1000, NUMBERS_KEPT // math.prod(self.shape)))]
        if not self.is_table:
            self._find_basis(scaled(x[some]).flatten(1).float())
        h = torch.cat([self._numbers(scaled(part)) for part in parts])
        discrete = torch.cat([self._discrete(part) for part in parts]) if self.frequencies.shape[1] else h[:, :0]
        seen = [h, discrete] + ([f_c] if f_c is not None and which is None else [])
        v = torch.cat(seen, dim=1)
        rows = max(ROWS, 2 * self.mixture.latent_dim)
        cells = Cells(self.each * self.classes, v.shape[1], self.classes, rows).to(x.device)
        cells.fit(v[some], len(x), None if which is None else which[some])
        k = torch.cat([cells.of(v[i], None if which is None else which[i]) for i in torch.arange(len(x), device=x.device).split(4096)])
        self.mixture.fit_cells(h, f_c, k)
        n = torch.bincount(k, minlength=cells.n).clamp(min=1)[:, None]
        self.frequencies.copy_(torch.zeros_like(self.frequencies).index_add_(0, k, discrete) / n)

    def _find_basis(self, f: Tensor) -> None:
        """The first principal components of vectors ``f (N, D)``."""
        from sklearn.decomposition import PCA

        n = min(self.basis.shape[1], *f.shape)
        with threadpool_limits(1):          # sums of several threads are added in an order that changes
            found = PCA(n, random_state=int(torch.randint(2**31, ()))).fit(f.cpu().numpy())
        self.mean.copy_(torch.as_tensor(found.mean_))
        self.basis.zero_()[:, :n] = torch.as_tensor(found.components_.T.copy())

    def _numbers(self, f: Tensor) -> Tensor:
        """h of scaled features."""
        return f[:, : self.n_numbers].float() if self.is_table else (f.flatten(1).float() - self.mean) @ self.basis

    def _discrete(self, x: Tensor) -> Tensor:
        """The discrete features of stored rows: flags of ±1 and one-hot categories."""
        return self.features.embed(x)[:, self.n_numbers :].float()

    def sample(self, noise: Rows, f_c: Tensor | None, scaled: Callable[[Tensor], Tensor], center: Tensor, scale: Tensor) -> Tensor:
        """``noise.n`` rows as scaled features ``(n, *shape)``, given features of the condition ``(n, n_cond)``; what is scaled is
        ``center`` and ``scale``. Discrete features are drawn, and those of stored rows."""
        h, k = self.mixture.draw(noise, f_c)
        if not self.is_table:
            return (self.mean + h @ self.basis.T).view(-1, *self.shape)
        numbers = h * scale[: self.n_numbers] + center[: self.n_numbers]
        return scaled(self.features.draw(torch.cat([numbers, self.frequencies[k]], dim=1), noise))
