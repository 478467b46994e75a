"""Pixel levels as cells of an interval: the exact, monotone map that the flows of pictures are made of.

Notation
    x           the level of a pixel, 0 … L − 1
    k           its bin, 0 … K − 1: a run of neighbouring levels, k = k(x); K <= L
    f           relative frequency of a level in the pixels of the training part, f_k of a bin
    P(k|·)      the probabilities of the bins that a network gives, F(k|·) their sums up to and without k
    v           a number in (0, 1): the place within the level's cell

    u = F(k|·) + P(k|·) r,      r = (Σ_{x' < x in bin k} f_{x'} + v f_x) / f_k                                  in (0, 1)

The map (x, v) → u is a piecewise linear spline with K bins. Its knots lie at the edges of cells, so that the density of u is the same all
over a cell, and the noise v costs nothing: with v uniform, −E log p + E log q = −log P(x|·), P(x|·) = P(k|·) f_x / f_k, and the bound of
dequantisation is tight (Theis, van den Oord & Bethge, *A note on the evaluation of generative models*, 2016, section 3.1). u is uniform
where P is the truth, and the inverse is a search.

A bin holds one level where that is common (the black of a digit's paper) and several where each is rare: the bins share the sum of √f
equally.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST = 1e-3        # of a bin, shared equally by its levels: values unseen in training stay possible
EDGE = 1e-12        # codes, in double precision, stay this far from 0 and 1


class Levels(nn.Module):
    """Bins of the levels of pictures ``(C, H, W)``, and how often each pixel was in each; :meth:`fit` counts."""

    def __init__(self, shape: tuple[int, ...], levels: int, bins: int):
        super().__init__()
        self.levels, self.bins = levels, min(bins, levels)
        even = torch.arange(levels) * self.bins // levels
        self.register_buffer("bin", even)                                               # k(x), (L,)
        self.register_buffer("start", torch.zeros(levels))                              # r at v = 0, (L,)
        self.register_buffer("share", torch.ones(levels))                               # f_x / f_k, (L,)
        self.register_buffer("log_prior", torch.zeros(*shape, self.bins))               # log frequencies of a pixel's bins, (C, H, W, K)

    def fit(self, x: Tensor) -> None:
        """Choose the bins by the levels' frequencies, and count the bins of each pixel."""
        counts = torch.bincount(x.flatten().long(), minlength=self.levels).double()
        self.bin.copy_(runs((counts / counts.sum()).sqrt().tolist(), self.bins))
        bins = torch.zeros(self.bins, dtype=torch.double, device=x.device).index_add(0, self.bin, counts)
        n_levels = torch.bincount(self.bin, minlength=self.bins).double()
        share = torch.where(bins > 0, counts.new_tensor(1 - LEAST), 0.0)[self.bin] * counts / bins.clamp(min=1)[self.bin]
        share = share + torch.where(bins > 0, LEAST, 1.0)[self.bin] / n_levels[self.bin]
        self.share.copy_(share)
        before = torch.cat([share.new_zeros(1), share.cumsum(0)[:-1]])
        first = torch.searchsorted(self.bin, torch.arange(self.bins, device=x.device))
        self.start.copy_((before - before[first][self.bin]).clamp(min=0))
        pooled = (bins + 1 / self.bins) / (bins.sum() + 1)
        codes = self.bin[x.flatten(1).long()]                                           # (N, D)
        table = torch.stack([torch.bincount(column, minlength=self.bins) for column in codes.T]).double()
        self.log_prior.copy_(((table + pooled) / (len(x) + 1)).log().view_as(self.log_prior))

    def values(self, x: Tensor) -> Tensor:
        """Levels as numbers in [−1, 1]."""
        return x.float() * (2 / (self.levels - 1)) - 1

    def log_mass(self, log_p: Tensor, x: Tensor) -> Tensor:
        """log P(x|·), elementwise; ``log_p (…, K)`` of the bins, levels ``x (…)``."""
        return log_p.gather(-1, self.bin[x][..., None])[..., 0] + self.share.log()[x]

    def forward(self, log_p: Tensor, x: Tensor, v: Tensor) -> Tensor:
        """u of levels ``x (…)`` at the places v, in double precision: the cells of what is improbable are narrow."""
        k = self.bin[x][..., None]
        p = log_p.double().exp()
        below, mass = ((p.cumsum(-1) - p).gather(-1, k), p.gather(-1, k))
        return (below + mass * (self.start[x] + v * self.share[x])[..., None])[..., 0].clamp(EDGE, 1 - EDGE)

    def inverse(self, log_p: Tensor, u: Tensor) -> Tensor:
        """The level in whose cell u lies."""
        p = log_p.double().exp()
        ends = p.cumsum(-1)
        k = (u[..., None] * ends[..., -1:] >= ends).sum(-1).clamp(max=self.bins - 1)[..., None]
        mass = p.gather(-1, k)
        r = ((u[..., None] * ends[..., -1:] - (ends.gather(-1, k) - mass)) / mass.clamp(min=1e-300))[..., 0].clamp(0, 1 - EDGE)
        return (torch.searchsorted(self.bin + self.start.double(), k[..., 0] + r, right=True) - 1).clamp(0, self.levels - 1)


def runs(weights: list[float], n: int) -> Tensor:
    """``n`` runs of neighbours with about equal sums of weights, none empty: the number of the run of each."""
    found, run, filled = [], 0, 0.0
    left, size = sum(weights), 0
    for i, w in enumerate(weights):
        to_come = len(weights) - i
        full = size and (filled + w / 2 > left / (n - run) or to_come <= n - run - 1)
        if full and run < n - 1:
            left -= filled
            run, filled, size = run + 1, 0.0, 0
        found.append(run)
        filled += w
        size += 1
    return torch.tensor(found)
