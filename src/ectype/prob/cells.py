"""Cells: the neighbourhoods that a sample divides its space into, by k-means, and how often rows fall into each.

Notation
    f           a row as a vector, (B, D)
    m_k         the centres, K of them; the cell of f is that of its nearest centre, k(f) = argmin_k ‖f − m_k‖
    p(k | c)    share of the training rows of class c that lie in cell k; p(k) without classes

A model that is told k(f) of a row, and draws k itself from p(k | c) before it samples, cannot leave out a part of the data that is
larger than a cell. Nobody needs labels for that: the data say themselves where they lie.

References
    Lloyd, *Least squares quantization in PCM*, 1982. Arthur & Vassilvitskii, *k-means++: the advantages of careful seeding*, 2007.
    Liu, Wang, Bau, Zhu & Torralba, *Diverse image generation via self-conditioned GANs*, 2020: section 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

ROWS_PER_CELL = 100     # of the training rows, on average at least: what a cell holds is to be learnt from


class Cells(nn.Module):
    """``n`` cells at most of vectors with ``dims`` numbers, for each of ``classes`` classes with shares of its own."""

    def __init__(self, n: int, dims: int, classes: int = 1):
        super().__init__()
        self.n, self.classes = n, classes
        self.register_buffer("centers", torch.zeros(n, dims))
        self.register_buffer("shares", torch.full((classes, n), 1 / n))

    def fit(self, f: Tensor, rows: int) -> None:
        """Centres from vectors ``f (M, D)`` drawn from ``rows`` training rows, seeded by torch's global generator. There are so many cells
        that one holds ``ROWS_PER_CELL`` training rows on average; the centres left over repeat the first, and no row is theirs."""
        from sklearn.cluster import KMeans

        k = max(1, min(self.n, rows // ROWS_PER_CELL, len(torch.unique(f, dim=0))))
        with threadpool_limits(1):          # sums of several threads are added in an order that changes
            found = KMeans(k, n_init=1, max_iter=30, random_state=int(torch.randint(2**31, ()))).fit(f.cpu().double().numpy())
        centers = torch.as_tensor(found.cluster_centers_, dtype=self.centers.dtype, device=self.centers.device)
        self.centers.copy_(torch.cat([centers, centers[:1].expand(self.n - k, -1)]))

    def count(self, k: Tensor, c: Tensor | None = None) -> None:
        """Shares from the cells ``k (N,)`` of the training rows and their classes ``c (N,)``; a class without rows draws as all do."""
        where = torch.zeros_like(k) if c is None else c.long()
        counts = torch.bincount(where * self.n + k, minlength=self.classes * self.n).view(self.classes, self.n).float()
        counts = torch.where(counts.sum(1, keepdim=True) > 0, counts, counts.sum(0))
        self.shares.copy_(counts / counts.sum(1, keepdim=True))

    def of(self, f: Tensor) -> Tensor:
        """The cell of each row of ``f (B, D)``; of equally near centres the first."""
        return (self.centers.square().sum(1) - 2 * f @ self.centers.T).argmin(1)

    def draw(self, uniform: Tensor, c: Tensor | None = None) -> Tensor:
        """A cell for each number ``uniform (B,)`` in [0, 1), with the probabilities p(k | c)."""
        shares = self.shares[:1].expand(len(uniform), -1) if c is None else self.shares[c.long()]
        upper = shares.cumsum(1)
        return torch.searchsorted(upper / upper[:, -1:], uniform[:, None].contiguous(), right=True)[:, 0].clamp(max=self.n - 1)

    def one_hot(self, k: Tensor) -> Tensor:
        """Cells as features ``(B, n)``."""
        return F.one_hot(k, self.n).to(self.centers.dtype)
