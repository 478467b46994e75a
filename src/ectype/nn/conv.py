"""Convolutional encoders and decoders for images of any size and number of channels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mlp import ACTIVATIONS


def halvings(height: int, width: int, n: int) -> list[tuple[int, int]]:
    """Sizes of an image halved n times, rounding up: 28 → 28, 14, 7, 4."""
    sizes = [(height, width)]
    for _ in range(n):
        sizes.append(tuple(-(-s // 2) for s in sizes[-1]))
    return sizes


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels at each pixel, ``(B, C, H, W)``.

    Within one pixel of one image, so that a row never depends on its batch-mates as with batch normalisation; and in channels-last
    order several times as fast on a CPU as group normalisation. Liu et al., *A ConvNet for the 2020s*, 2022, section 2.6.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias).permute(0, 3, 1, 2)


class ConvEncoder(nn.Module):
    """Images ``(B, C, H, W)``, condition ``(B, cond)`` → ``(B, out)``: one strided convolution for each width, then a linear layer."""

    def __init__(self, shape: tuple[int, int, int], out: int, width: tuple[int, ...], *, cond: int = 0, dropout: float = 0.0,
                 activation: str = "silu", normalise: bool = True):
        super().__init__()
        channels, height, w = shape
        h_last, w_last = halvings(height, w, len(width))[-1]
        self.condition = nn.Linear(cond, width[0]) if cond else None
        stages, n = [], channels
        for k in width:
            stages.append(nn.Sequential(nn.Conv2d(n, k, 3, stride=2, padding=1), ChannelNorm(k) if normalise else nn.Identity(),
                                        ACTIVATIONS[activation](), nn.Dropout(dropout)))
            n = k
        self.stages = nn.ModuleList(stages)
        self.out = nn.Linear(n * h_last * w_last, out)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        h = self.stages[0](x)                                                       # (B, K₀, H/2, W/2)
        if self.condition is not None:
            h = h + self.condition(c)[:, :, None, None]
        for stage in self.stages[1:]:
            h = stage(h)                                                            # (B, Kᵢ, H/2ⁱ⁺¹, W/2ⁱ⁺¹)
        return self.out(h.flatten(1))                                               # (B, out)


class ConvDecoder(nn.Module):
    """Codes ``(B, n_in)``, condition ``(B, cond)`` → images ``(B, C, H, W)``: the encoder's sizes backwards.

    Each stage enlarges by nearest neighbours and convolves (Odena, Dumoulin & Olah, *Deconvolution and checkerboard artifacts*, 2016);
    the last one predicts 2×2 pixels at once (pixel shuffle), which saves the convolutions at full size.
    """

    def __init__(self, n_in: int, shape: tuple[int, int, int], width: tuple[int, ...], *, cond: int = 0, dropout: float = 0.0,
                 activation: str = "silu"):
        super().__init__()
        channels, height, w = shape
        self.sizes = halvings(height, w, len(width))
        self.first = (width[-1], *self.sizes[-1])
        self.enter = nn.Linear(n_in + cond, math.prod(self.first))
        self.act = ACTIVATIONS[activation]()
        stages, n = [], width[-1]
        for k in reversed(width[:-1]):
            stages.append(nn.Sequential(nn.Conv2d(n, k, 3, padding=1), ChannelNorm(k), ACTIVATIONS[activation](), nn.Dropout(dropout)))
            n = k
        self.stages = nn.ModuleList(stages)
        self.last = nn.Conv2d(n, 4 * channels, 3, padding=1)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        h = self.act(self.enter(z if c is None else torch.cat([z, c], dim=1))).unflatten(1, self.first)
        for stage, size in zip(self.stages, reversed(self.sizes[1:-1]), strict=True):
            h = stage(F.interpolate(h, size=size, mode="nearest"))                  # (B, Kᵢ, H/2ⁱ, W/2ⁱ)
        height, width = self.sizes[0]
        return F.pixel_shuffle(self.last(h), 2)[:, :, :height, :width]              # (B, C, H, W)
