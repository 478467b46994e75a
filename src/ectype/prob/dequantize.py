"""Dequantisation: a stored batch as real numbers, one a slot, for models of densities (flows).

A density on a discrete value can be driven to infinity. So noise spreads each value over a cell, and the model gets a bound on the
probability (Theis, van den Oord & Bethge 2016, section 3.1; Ho, Chen, Srinivas, Duan & Abbeel, *Flow++*, 2019, equation 12):

    log P(x) ≥ E_{y ~ q(y|x)} [ log p(y) − log q(y|x) ]

Here the cells come from the training part: a slot that takes the value k with relative frequency f_k has the cell F_{k−1} < u < F_k of its
distribution function, u is uniform in the cell, and

    y = Φ⁻¹(u),      log q(y|x) = log φ(y) − log f_k.

So every slot on its own is exactly N(0, 1), a constant pixel costs nothing, and a model that is N(0, I) has the likelihood of
independent slots, log P = Σ log f_k, with no gap in the bound: the flow has only the dependence between slots left to learn. One
added count in each slot, shared by its cells, keeps values unseen in training possible.

A continuous number is its own y, except at a spike (the zeros of an amount), which is spread over its cell in the same way. A number
with blanks has a second, binary slot for the blank, and N(0, 1) noise as its value there. Signals are continuous: y is x, flattened.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from ..data.schema import Schema

EDGE = 1e-6     # keeps Φ⁻¹ finite in float32


class Noise(Protocol):
    """Anything that draws uniform and normal noise of shape ``(B, *shape)``."""

    def uniform(self, *shape: int) -> Tensor: ...

    def normal(self, *shape: int) -> Tensor: ...


def standard_normal_log_prob(y: Tensor) -> Tensor:
    """log φ(y), elementwise."""
    return -0.5 * y.square() - 0.5 * math.log(2 * math.pi)


class Dequantization(nn.Module):
    """Stored rows ↔ ``y (B, dim)`` with ``log q(y|x) (B,)``; :meth:`fit` counts the training part.

    ``noisy`` are the indices of those of the ``n_uniform`` uniform numbers that change y; ``is_exact`` says that there are none, so that
    log p(y) is log p(x).
    """

    def __init__(self, schema: Schema):
        super().__init__()
        self.is_image, self.is_signal, self.shape = schema.is_image, schema.is_signal, schema.stored_shape
        if schema.is_signal:
            continuous, discrete, sizes, marks, edges = list(range(math.prod(self.shape))), [], [], [], []
        elif schema.is_image:
            n, levels = math.prod(self.shape), schema.blocks[0].levels
            continuous, discrete, sizes, marks, edges = [], list(range(n)), [levels] * n, [], []
        else:
            blocks = list(enumerate(schema.blocks))
            continuous = [i for i, b in blocks if b.type == "number" and not b.levels]
            discrete = [i for i, b in blocks if b.type == "category" or b.levels]
            sizes = [b.n_codes if b.type == "category" else len(b.levels) for i, b in blocks if i in set(discrete)]
            marks = [i for i, b in blocks if b.missing and b.type == "number"]
            edges = [(j, schema.blocks[i].cells()[1][:-1]) for j, i in enumerate(discrete) if schema.blocks[i].type == "number"]
            spiked = [(j, schema.blocks[i].cells()) for j, i in enumerate(continuous) if schema.blocks[i].spikes]
            self.register_buffer("spiked", torch.tensor([j for j, _ in spiked], dtype=torch.long), persistent=False)
            self.register_buffer("spike_low", _table([low for _, (low, _) in spiked], torch.inf), persistent=False)
            self.register_buffer("spike_high", _table([high for _, (_, high) in spiked], torch.inf), persistent=False)
            self.register_buffer("centers", _table([schema.blocks[discrete[j]].level_centers() for j, _ in edges], 0.0), persistent=False)
            self.register_buffer("half_cell", torch.tensor([schema.blocks[i].half_cell for i in continuous]), persistent=False)
        self.n_continuous, self.n_discrete, self.n_marks = len(continuous), len(discrete), len(marks)
        self.n_cells = self.n_discrete + self.n_marks
        self.dim = self.n_continuous + self.n_cells
        self.n_uniform = 0 if schema.is_signal else self.n_cells + self.n_continuous    # numbers that forward asks the noise for
        for name, value in {"continuous": continuous, "discrete": discrete, "marks": marks, "ordinal": [j for j, _ in edges]}.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.long), persistent=False)
        self.register_buffer("edges", _table([e for _, e in edges], torch.inf), persistent=False)
        sizes = torch.tensor(sizes + [2] * len(marks), dtype=torch.long)
        self.register_buffer("sizes", sizes, persistent=False)
        k = int(sizes.max()) if len(sizes) else 1
        uniform = (torch.arange(k + 1) / sizes.clamp(min=1)[:, None]).clamp(max=1.0) if len(sizes) else torch.zeros(0, 2)
        self.register_buffer("cumulative", uniform)                     # F, (cells, K_max + 1)

        spread = () if schema.is_image or schema.is_signal else (self.half_cell > 0).nonzero().flatten().tolist() + self.spiked.tolist()
        self.noisy = torch.tensor([*range(self.n_cells), *(self.n_cells + j for j in sorted(set(spread)))], dtype=torch.long)
        self.is_exact = not len(self.noisy)

    def fit(self, x: Tensor) -> None:
        """Count how often each slot takes each value in the training part, blanks left out."""
        if not self.n_cells:
            return
        codes = self._codes(x)                                          # (N, cells)
        k_max = self.cumulative.shape[1] - 1
        for j in range(self.n_cells):
            filled = slice(None) if self.is_image or j >= self.n_discrete else ~x[:, self.discrete[j]].isnan()
            counts = torch.bincount(codes[filled, j], minlength=k_max)[:k_max].double()
            counts[: self.sizes[j]] += 1.0 / self.sizes[j]
            self.cumulative[j, 1:] = (counts.cumsum(0) / counts.sum()).float()
            self.cumulative[j, self.sizes[j] :] = 1.0

    def _codes(self, x: Tensor) -> Tensor:
        if self.is_image:
            return x.flatten(1).long()
        codes = x[:, self.discrete]
        if len(self.ordinal):
            values = torch.nan_to_num(x[:, self.discrete[self.ordinal]], nan=0.0).T.contiguous()
            codes = codes.index_copy(1, self.ordinal, torch.searchsorted(self.edges, values, right=True).T.to(x.dtype))
        return torch.cat([codes.long(), x[:, self.marks].isnan().long()], dim=1)

    def forward(self, x: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """``y (B, dim)`` and ``log q(y|x) (B,)`` at one draw of the noise."""
        if self.is_exact:
            return x.flatten(1), x.new_zeros(len(x))
        codes = self._codes(x)
        cells = torch.arange(self.n_cells, device=x.device)
        y, log_q = _in_cell(self.cumulative[cells, codes], self.cumulative[cells, codes + 1], noise.uniform(self.n_cells))  # (B, cells)
        if self.is_image:
            return y, log_q.sum(1)
        blank_ordinal = x[:, self.discrete].isnan()                     # a blank count: any value, as noise
        if self.n_marks:
            free = noise.normal(self.dim)
            y = torch.cat([torch.where(blank_ordinal, free[:, : self.n_discrete], y[:, : self.n_discrete]), y[:, self.n_discrete :]], 1)
            noise_log_q = standard_normal_log_prob(y[:, : self.n_discrete])
            log_q = torch.cat([torch.where(blank_ordinal, noise_log_q, log_q[:, : self.n_discrete]), log_q[:, self.n_discrete :]], 1)
        if not self.n_continuous:
            return y, log_q.sum(1)
        v = x[:, self.continuous]
        z, log_q_z = self._spread(torch.nan_to_num(v, nan=0.0), noise.uniform(self.n_continuous))
        if self.n_marks:
            z = torch.where(v.isnan(), free[:, self.n_discrete : self.n_discrete + self.n_continuous], z)
            log_q_z = torch.where(v.isnan(), standard_normal_log_prob(z), log_q_z)
        return torch.cat([z, y], dim=1), log_q.sum(1) + log_q_z.sum(1)

    def _spread(self, v: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers without levels: a grid's values over their cells, spikes over theirs, the others as they are; and log q of each."""
        z = v + (2 * uniform - 1) * self.half_cell
        log_q = torch.where(self.half_cell > 0, -torch.log(2 * self.half_cell.clamp(min=1e-9)), torch.zeros_like(z))
        if len(self.spiked):
            columns = v[:, self.spiked].T.contiguous()                                      # (n, B)
            i = torch.searchsorted(self.spike_low, columns, right=True).clamp(min=1) - 1
            low, high = self.spike_low.gather(1, i), self.spike_high.gather(1, i)
            inside = ((columns >= low) & (columns < high)).T
            y, log_q_y = _in_cell(torch.special.ndtr(low).T, torch.special.ndtr(high).T, uniform[:, self.spiked])
            z = z.index_copy(1, self.spiked, torch.where(inside, y, z[:, self.spiked]))
            log_q = log_q.index_copy(1, self.spiked, torch.where(inside, log_q_y, log_q[:, self.spiked]))
        return z, log_q

    def inverse(self, y: Tensor) -> Tensor:
        """Stored rows from ``y``: the cell in which Φ(y) lies."""
        if self.is_signal:
            return y.unflatten(1, self.shape)
        u = torch.special.ndtr(y[:, self.n_continuous :]).T.contiguous()                    # (cells, B)
        codes = torch.searchsorted(self.cumulative[:, 1:].contiguous(), u, right=True).T
        codes = torch.minimum(codes, self.sizes - 1)
        if self.is_image:
            return codes.to(torch.uint8).unflatten(1, self.shape)
        x = y.new_zeros(len(y), self.shape[0])
        x[:, self.continuous] = y[:, : self.n_continuous]
        values = codes[:, : self.n_discrete].to(y.dtype)
        if len(self.ordinal):
            values = values.index_copy(1, self.ordinal, self.centers.gather(1, codes[:, self.ordinal].T).T)
        x[:, self.discrete] = values
        if self.n_marks:
            blank = codes[:, self.n_discrete :] > 0
            x[:, self.marks] = torch.where(blank, torch.nan, x[:, self.marks])
        return x


def _in_cell(low: Tensor, high: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """y = Φ⁻¹(u) with u uniform in (low, high), and log q(y), elementwise."""
    mass = (high - low).clamp(min=1e-9)
    y = torch.special.ndtri((low + uniform * mass).clamp(EDGE, 1 - EDGE))
    return y, standard_normal_log_prob(y) - mass.log()


def _table(rows: list, fill: float) -> Tensor:
    """Rows of different lengths as one float32 matrix."""
    table = torch.full((len(rows), max((len(r) for r in rows), default=0)), fill)
    for i, r in enumerate(rows):
        table[i, : len(r)] = torch.as_tensor(r, dtype=torch.float32)
    return table
