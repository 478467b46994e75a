"""What the neighbours of a pixel tell of its level, by counting: where the networks of the flows of pictures begin.

Notation
    i, k        a pixel, and the bin of its level (:mod:`ectype.prob.levels`)
    n           four pixels next to it that are known before it, each as one of Q runs of levels that are about equally frequent, or as one
                that is outside of the picture
    N(k, n)     how often a training pixel of the same group was in bin k beside such neighbours, N(n) their sum
    f_i         the frequencies of the pixel's own bins

    P₀(k | i, n) = (N(k, n) + A f_i(k)) / (N(n) + A)

The mean of a Dirichlet distribution over bins, A f_i before anything is counted: neighbours that were often met speak for themselves, those
that never were leave the pixel what it is at its place. The condition is left to the networks. On MNIST, 1,000 held-out pictures, in nats
for each, with the groups of a grid refined again and again: pixels by themselves 923, P₀ from 20,000 pictures 643 (A of 5, 20, 50 and 200:
644, 643, 644, 655), counted in three seconds; the networks alone came to 661 in 129 steps, which take a minute. From 1,000 pictures 697,
694, 706, 746. Q of 4 and 6: 666 and 643 (trials that ``bench/`` does not repeat).

MacKay & Bauman Peto, *A hierarchical Dirichlet language model*, 1995, equation 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .levels import runs
from .tone import evenly

RUNS = 6                # Q, at most
PRIOR = 20.0            # A
MOST_PIXELS = 2**24     # of training pictures that are counted


class Group(NamedTuple):
    """The pixels from (row, column) on at every ``step``, and where four neighbours of each are, as (rows, columns) from it."""

    row: int
    column: int
    step: int
    neighbours: tuple[tuple[int, int], ...]


class Contexts(nn.Module):
    """P₀ of the pixels of pictures ``(C, H, W)``, which are in ``groups``; a pixel's neighbours are of its own colour."""

    def __init__(self, shape: tuple[int, ...], groups: Sequence[Group], levels: int, bins: int):
        super().__init__()
        self.shape, self.groups, self.n_runs = shape, tuple(groups), min(RUNS, levels)
        self.reach = max((abs(d) for g in self.groups for place in g.neighbours for d in place), default=0)
        self.register_buffer("run_of", torch.arange(levels) * self.n_runs // levels)                     # of a level, (L,)
        self.register_buffer("counts", torch.zeros(len(self.groups), shape[0], (self.n_runs + 1) ** 4, bins))      # N

    def fit(self, x: Tensor, bin_of: Tensor) -> None:
        """Count in stored training pictures ``(N, C, H, W)``, of at most ``MOST_PIXELS``; ``bin_of (L,)`` is the bin of a level."""
        some = x[evenly(len(x), min(len(x), max(1, MOST_PIXELS // x[0].numel())), x.device)]
        self.run_of.copy_(runs(torch.bincount(some.flatten().long(), minlength=len(self.run_of)).double().tolist(), self.n_runs))
        self.counts.zero_()
        bins = self.counts.shape[-1]
        for part in some.split(1024):
            met, seen = bin_of[part.long()], self.bordered(part)
            for g, group in enumerate(self.groups):
                own = met[:, :, group.row :: group.step, group.column :: group.step]
                found = torch.bincount((self._index(group, seen) * bins + own).flatten(), minlength=self.counts[g].numel())
                self.counts[g] += found.view_as(self.counts[g])

    def bordered(self, x: Tensor) -> Tensor:
        """The runs of levels ``(B, C, H, W)``, from 1 on, and a border of zeros as wide as neighbours can be away."""
        return F.pad(self.run_of[x.long()] + 1, (self.reach,) * 4)

    def _index(self, group: Group, seen: Tensor) -> Tensor:
        """Which row of the group's table each of its pixels asks for, ``(B, C, h, w)``; tables of colours follow each other."""
        (_, height, width), r, step = self.shape, self.reach, group.step
        where = torch.arange(self.shape[0], device=seen.device)[:, None, None]
        for dy, dx in group.neighbours:
            near = seen[:, :, r + group.row + dy : r + dy + height : step, r + group.column + dx : r + dx + width : step]
            where = where * (self.n_runs + 1) + near
        return where

    def log_probabilities(self, g: int, seen: Tensor, log_prior: Tensor) -> Tensor:
        """log P₀ of the pixels of group g, ``(B, C, h, w, K)``, given :meth:`bordered` and their log f, ``(C, h, w, K)``."""
        return _posterior(F.embedding(self._index(self.groups[g], seen), self.counts[g].flatten(0, 1)), log_prior)

    def at(self, g: int, colour: int, seen: Tensor, row: int, column: int, log_prior: Tensor) -> Tensor:
        """log P₀ of one pixel of group g, ``(B, K)``; ``log_prior (K,)``."""
        where = 0
        for dy, dx in self.groups[g].neighbours:
            where = where * (self.n_runs + 1) + seen[:, colour, self.reach + row + dy, self.reach + column + dx]
        return _posterior(self.counts[g, colour][where], log_prior)


def _posterior(n: Tensor, log_prior: Tensor) -> Tensor:
    return torch.log((n + PRIOR * log_prior.exp()) / (n.sum(-1, keepdim=True) + PRIOR))
