"""Relaxation: a stored batch as a continuous vector, and back. The input of every network; the data space of GANs and diffusion.

=================== ============================= ==========================================
slot                feature(s)                    back
=================== ============================= ==========================================
number              the normalised value          the value; in a column of levels, the nearest
… with spikes       and a mark for each, +1 at it the spike whose mark is largest, if positive
… with blanks       and a mark, +1 where blank    blank where the mark is positive
boolean (K = 2)     −1 or +1                      its sign
category (K > 2)    one-hot, K numbers in [0, 1]  the largest
pixel               [−1, 1]                       the nearest level
sample of a signal  the normalised value          the value
=================== ============================= ==========================================

This is also the policy for discrete columns in models of continuous data: diffusion adds Gaussian noise to these features and predicts
:meth:`Relaxation.probabilities` of the categories (Dieleman et al. 2022), and the GAN's generator ends in :meth:`Relaxation.activate`, a
Gumbel-softmax (Jang, Gu & Poole 2017), so that the critic cannot tell real one-hot vectors by their corners.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..data.blocks import Number
from ..data.schema import Schema

if TYPE_CHECKING:
    from ..rng import Rows


def padded_index(sizes: list[int], start: int) -> tuple[Tensor, Tensor]:
    """Positions ``(n, K_max)`` of consecutive segments in a flat vector, and a mask of the entries that exist."""
    k_max = max(sizes, default=0)
    starts = torch.tensor([start + sum(sizes[:i]) for i in range(len(sizes))], dtype=torch.long)
    inside = torch.arange(k_max) < torch.tensor(sizes, dtype=torch.long)[:, None]
    return torch.where(inside, starts[:, None] + torch.arange(k_max), 0), inside


class Relaxation(nn.Module):
    """Stored ``(B, columns)``, ``(B, C, H, W)`` or ``(B, C, L)`` ↔ features of :attr:`shape`: ``(F,)``, ``(C, H, W)`` or ``(C, L)``."""

    def __init__(self, schema: Schema):
        super().__init__()
        self.is_image, self.is_signal, self.is_table = schema.is_image, schema.is_signal, schema.is_table
        if schema.is_signal:
            self.shape, self.n_onehot = schema.stored_shape, 0
            return
        if schema.is_image:
            image = schema.blocks[0]
            self.shape, self.half, self.n_onehot = image.shape, (image.levels - 1) / 2, 0
            return
        blocks = list(enumerate(schema.blocks))
        categories = [(i, b.n_codes) for i, b in blocks if b.type == "category"]
        slots = {"number": [i for i, b in blocks if b.type == "number"],
                 "mark": [i for i, b in blocks if b.type == "number" and b.missing],
                 "binary": [i for i, k in categories if k == 2], "onehot": [i for i, k in categories if k > 2]}
        sizes = [k for _, k in categories if k > 2]
        self.n_columns = len(blocks)
        self.n_numbers, self.n_marks, self.n_binary = (len(slots[k]) for k in ("number", "mark", "binary"))
        self._collect_atoms([b for _, b in blocks if b.type == "number"])
        self.n_signs, self.n_onehot = self.n_marks + self.n_spikes + self.n_binary, sum(sizes)
        self.shape = (self.n_numbers + self.n_signs + self.n_onehot,)
        for name, columns in slots.items():
            self.register_buffer(name, torch.tensor(columns, dtype=torch.long), persistent=False)
        numbers = [(i, b) for i, b in blocks if b.type == "number"]
        column = [*slots["number"], *slots["mark"], *(i for i, b in numbers for _ in b.spikes), *slots["binary"],
                  *(i for i, k in categories if k > 2 for _ in range(k))]
        self.register_buffer("column", torch.tensor(column, dtype=torch.long), persistent=False)     # that each feature is of
        offsets = torch.tensor([sum(sizes[:i]) for i in range(len(sizes))], dtype=torch.long)
        index, inside = padded_index(sizes, self.n_numbers + self.n_signs)
        for name, value in {"offsets": offsets, "index": index, "inside": inside}.items():
            self.register_buffer(name, value, persistent=False)

    def _collect_atoms(self, numbers: list[Number]) -> None:
        """Tables ``(columns, atoms)`` of the levels' values, and of the spikes' values and cells.

        A spike at the end of a range has an unbounded cell, its value is far from all others: as a feature it stands at the cell's edge.
        """
        rows = [(i, b) for i, b in enumerate(numbers) if b.levels]
        levels = _table([b.level_centers() for _, b in rows])
        tables = {"leveled": torch.tensor([i for i, _ in rows], dtype=torch.long), "levels": levels,
                  "between": (levels[:, 1:] + levels[:, :-1]) / 2}
        rows = [(i, b, *b.cells(), b.forward(np.asarray(b.spikes))) for i, b in enumerate(numbers) if b.spikes]
        low, high, spikes = (_table([r[k] for r in rows]) for k in (2, 3, 4))
        spot = torch.where(low.isinf() & high.isfinite(), high, torch.where(high.isinf() & low.isfinite(), low, spikes))
        sizes = [len(r[4]) for r in rows]
        mark, is_spike = padded_index(sizes, 0)
        tables |= {"spiked": torch.tensor([r[0] for r in rows], dtype=torch.long), "low": low, "high": high, "spikes": spikes, "spot": spot,
                   "spike_mark": mark, "is_spike": is_spike}
        self.n_spikes = sum(sizes)
        for name, value in tables.items():
            self.register_buffer(name, value, persistent=False)

    def _cell(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """In which spike's cell the numbers ``(n, B)`` lie, and whether in any."""
        i = torch.searchsorted(self.low, f, right=True).clamp(min=1) - 1
        return i, (f >= self.low.gather(1, i)) & (f < self.high.gather(1, i))

    def _mark_spikes(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers with the spikes at their spots, and the spikes' marks ``(B, n_spikes)``."""
        i, inside = self._cell(numbers[:, self.spiked].T.contiguous())
        f = torch.where(inside, self.spot.gather(1, i), numbers[:, self.spiked].T)
        marks = torch.full((len(numbers), *self.is_spike.shape), -1.0, dtype=numbers.dtype, device=numbers.device)
        marks.scatter_(2, i.T[..., None], torch.where(inside, 1.0, -1.0).T[..., None].to(numbers.dtype))
        return numbers.index_copy(1, self.spiked, f.T), marks[:, self.is_spike]

    def _settle(self, numbers: Tensor, marks: Tensor) -> Tensor:
        """Levels at the nearest, spikes where a mark says so; other values that fall into a spike's cell are mirrored at its edge."""
        if len(self.leveled):
            i = torch.searchsorted(self.between, numbers[:, self.leveled].T.contiguous())
            numbers = numbers.index_copy(1, self.leveled, self.levels.gather(1, i).T)
        if self.n_spikes:
            f = numbers[:, self.spiked].T.contiguous()                                          # (n, B)
            i, inside = self._cell(f)
            low, high = self.low.gather(1, i), self.high.gather(1, i)
            edge = torch.where(high - f < f - low, high, low)
            best, k = marks[:, self.spike_mark].masked_fill(~self.is_spike, -torch.inf).max(-1)     # (B, n)
            spike = self.spikes.gather(1, k.T)
            f = torch.where(best.T > 0, spike, torch.where(inside, 2 * edge - f, f))
            numbers = numbers.index_copy(1, self.spiked, f.T)
        return numbers

    def embed(self, x: Tensor) -> Tensor:
        """Features of a stored batch."""
        if self.is_signal:
            return x                                                                            # (B, C, L)
        if self.is_image:
            return x.float() / self.half - 1                                                    # (B, C, H, W)
        numbers = x[:, self.number]                                                             # (B, numbers)
        parts = [torch.nan_to_num(numbers, nan=0.0)]
        if self.n_marks:
            parts.append(x[:, self.mark].isnan().to(x.dtype) * 2 - 1)                           # (B, marks)
        if self.n_spikes:
            filled, marks = self._mark_spikes(numbers)
            parts = [torch.nan_to_num(filled, nan=0.0), *parts[1:], marks]                      # (B, spikes)
        if self.n_binary:
            parts.append(x[:, self.binary] * 2 - 1)                                             # (B, binary)
        if self.n_onehot:
            hot = x.new_zeros(len(x), self.n_onehot)
            parts.append(hot.scatter_(1, x[:, self.onehot].long() + self.offsets, 1.0))         # (B, Σ K)
        return torch.cat(parts, dim=1)

    def project(self, f: Tensor) -> Tensor:
        """The stored batch nearest to some features."""
        if self.is_signal:
            return f
        if self.is_image:
            return torch.round((f + 1) * self.half).clamp_(0, 2 * self.half).to(torch.uint8)
        x = f.new_zeros(len(f), self.n_columns)
        marks = f[:, self.n_numbers + self.n_marks : self.n_numbers + self.n_marks + self.n_spikes]
        x[:, self.number] = self._settle(f[:, : self.n_numbers], marks)
        signs = f[:, self.n_numbers : self.n_numbers + self.n_signs]
        if self.n_marks:
            x[:, self.mark] = torch.where(signs[:, : self.n_marks] > 0, torch.nan, x[:, self.mark])
        if self.n_binary:
            x[:, self.binary] = (signs[:, self.n_marks + self.n_spikes :] > 0).to(f.dtype)
        if self.n_onehot:
            x[:, self.onehot] = f[:, self.index].masked_fill(~self.inside, -torch.inf).argmax(-1).to(f.dtype)
        return x

    def own_numbers(self, f: Tensor) -> Tensor:
        """The numbers of a table's features, ``(B, n_numbers)``: NaN where a mark says that they are blank or at a spike."""
        n, k = self.n_numbers, self.n_numbers + self.n_marks + self.n_spikes
        owner = torch.searchsorted(self.number, self.column[n:k])
        lost = f.new_zeros(len(f), n).index_add_(1, owner, (f[:, n:k] > 0).to(f.dtype))
        return f[:, :n].masked_fill(lost > 0, torch.nan)

    def draw(self, f: Tensor, noise: Rows) -> Tensor:
        """A stored batch whose discrete slots are drawn with the probabilities that some features of them are (±1 is certain, 0 is even).

        Where few steps lead to the features, some are undecided: the nearest value would be the more frequent one too often.
        """
        if self.is_signal or self.is_image:
            return self.project(f)
        n, k = self.n_numbers, self.n_numbers + self.n_signs
        signs = torch.where(noise.uniform(self.n_signs) < (f[:, n:k] + 1) / 2, 1.0, -1.0)
        onehot = torch.log(f[:, k:].clamp(min=1e-8)) + noise.gumbel(self.n_onehot)
        return self.project(torch.cat([f[:, :n], signs, onehot], dim=1))

    def activate(self, raw: Tensor, gumbel: Tensor, temperature: float = 0.2) -> Tensor:
        """Features from the last layer of a generator; ``gumbel`` is standard Gumbel noise ``(B, n_onehot)``."""
        if self.is_signal:
            return raw
        if self.is_image:
            return torch.tanh(raw)
        n, k = self.n_numbers, self.n_numbers + self.n_signs
        parts = [raw[:, :n], torch.tanh(raw[:, n:k])]
        if self.n_onehot:
            parts.append(self.probabilities(torch.cat([raw[:, :k], (raw[:, k:] + gumbel) / temperature], dim=1)))
        return torch.cat(parts, dim=1)

    def probabilities(self, raw: Tensor) -> Tensor:
        """Softmax over each category's entries of ``raw (B, F)``, ``(B, n_onehot)``."""
        return raw[:, self.index].masked_fill(~self.inside, -torch.inf).softmax(-1)[:, self.inside]

    def cross_entropy(self, raw: Tensor, x: Tensor) -> Tensor:
        """−log softmax of each category's entries of ``raw`` at the category of the stored ``x``, summed over columns, ``(B,)`` nats."""
        log_p = raw[:, self.index].masked_fill(~self.inside, -torch.inf).log_softmax(-1)        # (B, n, K_max)
        return -log_p.gather(-1, x[:, self.onehot].long()[..., None]).squeeze(-1).sum(1)


def _table(rows: list[np.ndarray]) -> Tensor:
    """Rows of different lengths as one float32 matrix, filled up with infinity."""
    table = torch.full((len(rows), max((len(r) for r in rows), default=0)), torch.inf)
    for i, r in enumerate(rows):
        table[i, : len(r)] = torch.as_tensor(r, dtype=torch.float32)
    return table
