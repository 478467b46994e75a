"""Corruptions x → x̃: the noise that a denoising autoencoder is trained to undo, and its level.

================ ================================================================================ ===========================
kind             x̃                                                                                level
================ ================================================================================ ===========================
gaussian         x + σ ε, ε ~ N(0, I)                                                             σ
masking          a share ν of the values blank: a number at its mean, a pixel black,              ν
                 a category at none
salt_and_pepper  a share ν at the lowest or highest value of the column or channel, a category    ν
                 at any, with equal chances
swap             a share ν taken from another row, in the same column or place                    ν
================ ================================================================================ ===========================

σ is in standard deviations of a column or signal, and in the range of a pixel. All slots of a column (a category's one-hot numbers, the
marks of blanks and spikes) are changed together. The level is drawn for each row, uniformly from a range where one is given.

Vincent, Larochelle, Lajoie, Bengio & Manzagol, *Stacked denoising autoencoders*, 2010, section 3.3 (Gaussian, masking, salt-and-pepper).
Bahri, Jiang, Tay & Metzler, *SCARF*, 2022, section 3 (swapping within a column).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..data.schema import Schema
from ..spec import Corruption
from .relax import Relaxation


class Corruptor(nn.Module):
    """Corrupts a stored batch on its way to features; torch's generator decides, so that the loop's seed does."""

    def __init__(self, schema: Schema, features: Relaxation, corruption: Corruption):
        super().__init__()
        self.features, self.corruption, self.is_table = features, corruption, schema.is_table
        self.blank = -1.0 if schema.is_image else 0.0
        self.unit = 2.0 if schema.is_image else 1.0                 # features of a pixel span [−1, 1]
        shape = schema.stored_shape
        codes = torch.tensor([float(b.n_codes) if self.is_table and b.type == "category" else 0.0 for b in schema.blocks])
        self.register_buffer("codes", codes if self.is_table else torch.zeros(1), persistent=False)
        slots = shape if self.is_table else (shape[0], *[1] * (len(shape) - 1))
        self.register_buffer("low", torch.zeros(slots))             # lowest and highest stored value of a column, or of a channel
        self.register_buffer("high", torch.zeros(slots))

    def prepare(self, x: Tensor) -> None:
        """Take the lowest and highest value of every column or channel from the training rows; blanks are none of them."""
        if self.is_table:
            blank = x.isnan()
            low, high = x.masked_fill(blank, torch.inf).amin(0), x.masked_fill(blank, -torch.inf).amax(0)
        else:
            places = (0, *range(2, x.ndim))
            low, high = x.amin(places, keepdim=True)[0].float(), x.amax(places, keepdim=True)[0].float()
        self.low.copy_(torch.nan_to_num(low, posinf=0.0))           # a column may have no value at all
        self.high.copy_(torch.nan_to_num(high, neginf=0.0))

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(B, *shape)`` of the corrupted rows."""
        kind = self.corruption.kind
        level = levels(x, self.corruption)
        if kind == "gaussian":
            f = self.features.embed(x)
            return f + self.unit * level * torch.randn_like(f)
        if not self.corruption.active:
            return self.features.embed(x)
        places = x if self.is_table else x[:, :1]                   # all channels of a pixel together
        chosen = torch.rand(places.shape, device=x.device) < level
        if kind == "masking":
            f = self.features.embed(x)
            return torch.where(chosen[:, self.features.column] if self.is_table else chosen, self.blank, f)
        other = x.roll(1, 0) if kind == "swap" else self._extreme(torch.rand(places.shape, device=x.device)).to(x.dtype)
        return self.features.embed(torch.where(chosen, other, x))

    def _extreme(self, coin: Tensor) -> Tensor:
        ends = torch.where(coin < 0.5, self.low, self.high)
        return torch.where(self.codes > 0, torch.floor(coin * self.codes), ends) if self.is_table else ends


def corrupt_codes(h: Tensor, corruption: Corruption) -> Tensor:
    """The same for codes ``(B, d)`` between the layers of a stacked autoencoder: blank is zero, the extremes are those of the batch."""
    level = levels(h, corruption)
    if corruption.kind == "gaussian":
        return h + level * h.std() * torch.randn_like(h)
    if not corruption.active:
        return h
    coin = torch.rand_like(h)
    other = {"masking": lambda: torch.zeros_like(h), "swap": lambda: h.roll(1, 0),
             "salt_and_pepper": lambda: torch.where(coin < 0.5, h.amin(0), h.amax(0))}[corruption.kind]()
    return torch.where(torch.rand_like(h) < level, other, h)


def levels(x: Tensor, corruption: Corruption) -> Tensor:
    """The level of each row, ``(B, 1, …)``."""
    low, high = corruption.range
    shape = (len(x), *[1] * (x.ndim - 1))
    return torch.full(shape, low, device=x.device) if low == high else low + (high - low) * torch.rand(shape, device=x.device)

