"""Cells: the neighbourhoods that a sample divides its space into, by k-means, and how often rows fall into each.

Notation
    f           a row as a vector, (B, D)
    m_k         the centres, K of them; the cell of f is that of its nearest centre, k(f) = argmin_k ‖f − m_k‖
    p(k | c)    share of the training rows of class c that lie in cell k; p(k) without classes

Where there are classes each has centres of its own, found from its rows alone, so that a cell says the class too: k runs over those of c.

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
    """``n`` cells at most of vectors with ``dims`` numbers: as many for each of ``classes`` classes, and one at least; ``rows`` training
    rows for a cell, on average at least."""

    def __init__(self, n: int, dims: int, classes: int = 1, rows: int = ROWS_PER_CELL):
        super().__init__()
        self.each, self.classes, self.rows = max(1, n // classes), classes, rows
        self.n = self.each * classes
        self.register_buffer("centers", torch.zeros(self.n, dims))
        self.register_buffer("shares", torch.full((classes, self.each), 1 / self.each))

    def fit(self, f: Tensor, rows: int, c: Tensor | None = None) -> None:
        """Centres from vectors ``f (M, D)`` of classes ``c (M,)``, drawn from ``rows`` training rows, seeded by torch's global generator.
        There are so many cells that one holds enough training rows on average; the centres left over repeat the class's first, and no
        row is theirs."""
        for i, centers in enumerate(self.centers.view(self.classes, self.each, -1)):
            own = f if c is None else f[c == i]
            if len(own):
                centers.copy_(self._found(own, max(1, rows * len(own) // (len(f) * self.rows))))

    def _found(self, f: Tensor, most: int) -> Tensor:
        """The centres ``(each, D)`` of one class."""
        from sklearn.cluster import KMeans

        k = min(self.each, most, len(torch.unique(f, dim=0)))
        with threadpool_limits(1):          # sums of several threads are added in an order that changes
            found = KMeans(k, n_init=1, max_iter=30, random_state=int(torch.randint(2**31, ()))).fit(f.cpu().double().numpy())
        centers = torch.as_tensor(found.cluster_centers_, dtype=self.centers.dtype, device=self.centers.device)
        return torch.cat([centers, centers[:1].expand(self.each - k, -1)])

    def count(self, k: Tensor) -> None:
        """Shares from the cells ``k (N,)`` of the training rows; a class without rows draws its first."""
        counts = torch.bincount(k, minlength=self.n).view(self.classes, self.each).float()
        counts[counts.sum(1) == 0, 0] = 1.0
        self.shares.copy_(counts / counts.sum(1, keepdim=True))

    def of(self, f: Tensor, c: Tensor | None = None) -> Tensor:
        """The cell of each row of ``f (B, D)`` of classes ``c (B,)``; of equally near centres the first."""
        with torch.autocast(f.device.type, enabled=False):
            squares = (self.centers.square().sum(1) - 2 * f.float() @ self.centers.T).view(len(f), self.classes, self.each)
        which = torch.zeros(len(f), dtype=torch.long, device=f.device) if c is None else c.long()
        return which * self.each + squares[torch.arange(len(f), device=f.device), which].argmin(1)

    def draw(self, uniform: Tensor, c: Tensor | None = None) -> Tensor:
        """A cell for each number ``uniform (B,)`` in [0, 1), with the probabilities p(k | c)."""
        which = torch.zeros(len(uniform), dtype=torch.long, device=uniform.device) if c is None else c.long()
        upper = self.shares[which].cumsum(1)
        k = torch.searchsorted(upper / upper[:, -1:], uniform[:, None].contiguous(), right=True)[:, 0].clamp(max=self.each - 1)
        return which * self.each + k

    def one_hot(self, k: Tensor) -> Tensor:
        """Cells as features ``(B, n)``."""
        return F.one_hot(k, self.n).to(self.centers.dtype)
