"""A Gaussian for each cell of the data: rough rows, for models that do the rest.

Notation
    h           a row's numbers: of a table its numbers, and of pictures, signals and tables with more than ``RANK`` of them their first
                principal components, (B, d)
    k           the cell of a row (``prob/cells.py``), of K
    p_k         means of the discrete features within cell k: frequencies of categories, balances of flags

The rows are divided into cells by k-means, and within a cell everything is as simple as can be: numbers are Gaussian, discrete features
are independent of them and of each other.

    p(x) = Σ_k π_k N(h; μ_k, Σ_k) Π_j p(x_j | p_k)

This is mixtures of probabilistic PCA and of latent classes with the cells found once, not by expectation and maximisation: it takes
seconds for 60,000 pictures. A cell's covariance is drawn towards the mean of all within cells, as if that had been seen in d more rows.
What is beyond these components is left at its mean in samples of pictures and signals; of tables each number gets noise of its own.

Components are found from one half of the rows, at most one for two of them, and the variances along and beyond them from the other half:
the rows that they were found from say too little of what lies beyond, and of few large pictures nothing, and a mean that is too sure is
wrong by many times the noise where there is little. No variance is taken for less than ``FLOOR``, not even that of a pixel which is black
in all rows.

Rows of p(x) are blurred, and nobody would take them for real ones. But where noise is added, less and less tells the two apart, and a
denoiser that begins there has nothing to take back (``models/truncated.py``).

Given x_t = α x + σ ε the mean of x is known (:meth:`LocalGaussians.restored`), of pictures and signals. With h_t the components of
x_t − α m (m is the mean of all rows), and Σ_k = Q_k diag(l_k) Q_kᵀ,

    E[h | x_t] = Σ_k γ_k ( μ_k + Q_k  α l_k / (α² l_k + σ²)  Q_kᵀ (h_t − α μ_k) ),      γ_k ∝ π_k N(h_t; α μ_k, α² Σ_k + σ² I)

and Wiener's filter of the other components, α v/(α² v + σ²) times what they are in x_t, with v their variance: of the first ``SPECTRUM``
each has its own, the rest one.

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

CELLS = 128             # at most
RANK = 64               # numbers at most that have a Gaussian for each cell: of more, principal components
SPECTRUM = 256          # components at most that have a variance of their own
FLOOR = 0.05**2         # of variances, in scaled features: about four of 255 levels, squared
ROWS = 25               # in a cell, on average at least; and two for each number of h
FOUND_FROM = 10_000     # rows at most that components and cells are found from
NUMBERS_KEPT = 2**26    # of these rows, at most, but for ``FEWEST``
FEWEST = 256
BASIS_KEPT = 2**24      # numbers of the components, at most, but for ``RANK`` of them


class LocalGaussians(nn.Module):
    """p(x), or p(x | c), of features; at most ``cells`` cells, of a condition with classes as many for each. Whoever never asks what is
    ``restored`` needs no more components than have Gaussians."""

    def __init__(self, features: Relaxation, condition: Relaxation | None, cells: int = CELLS, classes: int = 1, restores: bool = True):
        super().__init__()
        self.features, self.condition, self.classes = features, condition, classes
        self.shape, self.is_table = features.shape, len(features.shape) == 1
        self.n_numbers = d = features.n_numbers if self.is_table else math.prod(self.shape)
        self.each = max(1, cells // classes)
        rank, k = min(d, RANK), self.each * classes
        spectrum = (rank if d > RANK else 0) if self.is_table else min(d, SPECTRUM if restores else RANK, max(RANK, BASIS_KEPT // d))
        self.reduces, self.restores = spectrum > 0, restores and not self.is_table
        quantities = 0 if condition is None or classes > 1 else condition.shape[0]     # of the condition; a class chooses the cell
        self.mixture = CodeMixture(rank, quantities, k)
        self.register_buffer("mean", torch.zeros(d if self.reduces else 0))
        self.register_buffer("basis", torch.zeros(d if self.reduces else 0, spectrum))
        self.register_buffer("spectrum", torch.zeros(spectrum))             # variances of the principal components
        self.register_buffer("rest", torch.zeros(()))                       # of a direction beyond them
        self.register_buffer("own", torch.zeros(d if self.reduces and self.is_table else 0))       # deviation of a number beyond them
        self.register_buffer("axes", torch.zeros(k if self.restores else 0, rank, rank))            # Q_k
        self.register_buffer("lengths", torch.zeros(k if self.restores else 0, rank))               # l_k
        self.register_buffer("frequencies", torch.zeros(k, math.prod(self.shape) - d))

    def told(self, c: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """What the mixture is told of stored conditions: features of quantities ``(N, n_cond)``, or classes ``(N,)``."""
        if c is None or not self.condition.shape[0]:        # none, or one that is the same in all rows
            return None, None
        return (None, c[:, 0]) if self.classes > 1 else (self.condition.embed(c), None)

    def fit(self, x: Tensor, scaled: Callable[[Tensor], Tensor], f_c: Tensor | None, which: Tensor | None) -> None:
        """From stored rows ``x (N, *stored_shape)``, whose features ``scaled`` gives, and of their condition the features of quantities,
        ``f_c (N, n_cond)``, or the classes ``which (N,)``. Seeded by torch's global generator."""
        parts, some = x.split(4096), torch.randperm(len(x), device=x.device)
        some = some[: min(FOUND_FROM, max(FEWEST, NUMBERS_KEPT // math.prod(self.shape)))]
        if self.reduces:
            self._find_basis(scaled(x[some]).flatten(1)[:, : self.n_numbers].float())
        h = torch.cat([self.numbers(scaled(part)) for part in parts])
        discrete = torch.cat([self._discrete(part) for part in parts]) if self.frequencies.shape[1] else h[:, :0]
        v = torch.cat([h, discrete] + ([] if f_c is None else [f_c]), dim=1)
        rows = max(ROWS, 2 * self.mixture.latent_dim)
        cells = Cells(self.each * self.classes, v.shape[1], self.classes, rows).to(x.device)
        cells.fit(v[some], len(x), None if which is None else which[some])
        k = torch.cat([cells.of(v[i], None if which is None else which[i]) for i in torch.arange(len(x), device=x.device).split(4096)])
        self.mixture.fit_cells(h, f_c, k)
        if self.restores:
            lengths, axes = torch.linalg.eigh(self.mixture.covariances[:, : h.shape[1], : h.shape[1]].double())
            self.lengths.copy_(lengths.clamp(min=FLOOR))
            self.axes.copy_(axes)
        n = torch.bincount(k, minlength=cells.n).clamp(min=1)[:, None]
        self.frequencies.copy_(torch.zeros_like(self.frequencies).index_add_(0, k, discrete) / n)

    def _find_basis(self, f: Tensor) -> None:
        """The first principal components of one half of vectors ``f (N, D)``, and what varies along and beyond them in the other."""
        from sklearn.decomposition import PCA

        one, other = (f[: len(f) // 2], f[len(f) // 2 :]) if len(f) > 3 else (f, f)
        n = min(self.basis.shape[1], f.shape[1], len(one) // 2)
        center, components = one.mean(0), f.new_zeros(f.shape[1], n)
        if n and one.var(dim=0).sum():      # rows that are all the same have no components
            with threadpool_limits(1):      # sums of several threads are added in an order that changes
                found = PCA(n, random_state=int(torch.randint(2**31, ()))).fit(one.cpu().numpy())
            components = torch.as_tensor(found.components_.T.copy(), dtype=f.dtype, device=f.device)
        gap = other - center
        along = gap @ components
        beyond = gap - along @ components.T
        self.mean.copy_(f.mean(0))
        self.basis.zero_()[:, :n] = components
        self.spectrum.zero_()[:n] = along.square().mean(0)
        self.spectrum.clamp_(min=FLOOR)
        self.rest.copy_(beyond.square().sum() / (len(other) * max(1, f.shape[1] - n))).clamp_(min=FLOOR)
        if self.is_table:
            self.own.copy_(beyond.square().mean(0).sqrt())

    def numbers(self, f: Tensor) -> Tensor:
        """h of scaled features, ``(N, d)``."""
        numbers = f.flatten(1)[:, : self.n_numbers].float()
        return (numbers - self.mean) @ self.basis[:, : self.mixture.latent_dim] if self.reduces else numbers

    def _discrete(self, x: Tensor) -> Tensor:
        """The discrete features of stored rows: flags of ±1 and one-hot categories."""
        return self.features.embed(x)[:, self.n_numbers :].float()

    def draw(self, noise: Rows, f_c: Tensor | None, which: Tensor | None) -> tuple[Tensor, Tensor]:
        """h and k of ``noise.n`` rows, given quantities ``(n, n_cond)`` or classes ``(n,)``; a class without rows is drawn from all."""
        return self.mixture.draw(noise, f_c, None if which is None else self._cells_of(which))

    def _cells_of(self, which: Tensor) -> Tensor:
        """The cells that rows of the classes ``which (n,)`` may have, ``(n, K)``: those of the class that hold rows, or all that do."""
        drawn = self.mixture.weights > 0
        own = (torch.arange(len(drawn), device=drawn.device) // self.each == which.long()[:, None]) & drawn
        return torch.where(own.any(1, keepdim=True), own, drawn)

    def gaps(self, f: Tensor, which: Tensor | None = None) -> Tensor:
        """Bᵀ(f − m) − μ_k of scaled pictures or signals ``f (B, *shape)``, ``(B, spectrum)``: what sets a row apart from the middle of its
        cell, the one of its class ``which (B,)`` whose mean is the nearest. Components that have no Gaussians are those of f − m."""
        d = self.mixture.latent_dim
        means = self.mixture.means[:, :d]
        among = (self.mixture.weights > 0)[None] if which is None else self._cells_of(which)
        with torch.autocast(f.device.type, enabled=False):
            h = self._along(f)
            squares = means.square().sum(1) - 2 * h[:, :d] @ means.T
        nearest = squares.masked_fill(~among, torch.inf).argmin(1)
        return torch.cat([h[:, :d] - means[nearest], h[:, d:]], dim=1)

    def _along(self, f: Tensor) -> Tensor:
        """Bᵀ(f − m), ``(B, spectrum)``."""
        return (f.flatten(1).float() - self.mean) @ self.basis

    def squared_gaps(self, f: Tensor, which: Tensor | None = None) -> Tensor:
        """Mean squares of the gaps, ``(spectrum,)``, of rows like the training rows ``f``: the share that they are of the squares of all
        deviations, times the variances, which are of rows that the components were not found from; 0 where that is at its ``FLOOR``, which
        says nothing."""
        own, total = self.gaps(f, which), self._along(f)
        return (self.spectrum > FLOOR) * self.spectrum * (own.square().mean(0) / total.square().mean(0).clamp_min(1e-12)).clamp(max=1.0)

    def sample(self, noise: Rows, f_c: Tensor | None, which: Tensor | None, scaled: Callable[[Tensor], Tensor], center: Tensor,
               scale: Tensor) -> Tensor:
        """``noise.n`` rows as scaled features ``(n, *shape)``, given quantities ``(n, n_cond)`` or classes ``(n,)``; what is scaled is
        ``center`` and ``scale``. Discrete features are drawn, and those of stored rows."""
        h, k = self.draw(noise, f_c, which)
        numbers = self.mean + h @ self.basis[:, : h.shape[1]].T if self.reduces else h
        if not self.is_table:
            return numbers.view(-1, *self.shape)
        if self.reduces:
            numbers = numbers + self.own * noise.normal(self.n_numbers)
        numbers = numbers * scale[: self.n_numbers] + center[: self.n_numbers]
        return scaled(self.features.draw(torch.cat([numbers, self.frequencies[k]], dim=1), noise))

    def restored(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """E[x | x_t] of pictures or signals ``(B, *shape)``; α and σ are those of each row or of all, ``(B, 1, …)`` or ``(1, 1, …)``. What
        the condition would add is left out."""
        with torch.autocast(x_t.device.type, enabled=False):
            alpha, sigma = (v.float().reshape(-1, 1) for v in (alpha, sigma))
            pi, means, lengths, axes = self._drawn_cells()
            n, (k, d) = len(x_t), lengths.shape
            f = x_t.float().flatten(1) - alpha * self.mean
            p = f @ self.basis                                                                  # (B, spectrum)
            h = (p[:, :d] @ axes.permute(1, 0, 2).flatten(1)).view(n, k, d)                # Q_kᵀ h_t
            h = h - alpha[:, :, None] * torch.einsum("kp,kpq->kq", means, axes)
            variance = alpha[:, :, None].square() * lengths + sigma[:, :, None].square()   # (B, K, d)
            log_weights = pi.log() - 0.5 * (h.square() / variance + variance.log()).sum(2)
            weights = log_weights.softmax(1)                                                    # γ_k, (B, K)
            gained = weights[:, :, None] * (alpha[:, :, None] * lengths / variance) * h
            known = weights @ means + gained.flatten(1) @ axes.transpose(1, 2).flatten(0, 1)
            others = self._wiener(self.spectrum[d:], alpha, sigma) * p[:, d:]
            beyond = self._wiener(self.rest, alpha, sigma)
            found = self.mean + beyond * f + (torch.cat([known, others], dim=1) - beyond * p) @ self.basis.T
            return found.view(x_t.shape)

    def _drawn_cells(self) -> tuple[Tensor, ...]:
        """π_k, μ_k, l_k and Q_k; without the cells that hold no rows, if these are the most. A GPU would have to wait for their number."""
        every = (self.mixture.weights, self.mixture.means[:, : self.lengths.shape[1]], self.lengths, self.axes)
        if self.axes.device.type != "cpu":
            return every
        used = self.mixture.weights.nonzero()[:, 0]
        return every if 2 * len(used) > len(self.axes) else tuple(v[used] for v in every)

    @staticmethod
    def _wiener(variance: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """α v / (α² v + σ²)."""
        return alpha * variance / (alpha.square() * variance + sigma.square())
