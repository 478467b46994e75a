"""Critics: from features and a condition to one number.

A perceptron sees the condition beside the features. Convolutions meet it in a projection (Miyato & Koyama, *cGANs with projection
discriminator*, 2018, equation 3): with h(x) the last hidden layer,

    ℓ(x, c) = wᵀ h(x) + (V c)ᵀ h(x) / √width

a logit of the row alone plus an inner product of the row with an embedding of the condition. Nothing is normalised over a batch, and
nothing over channels either: a critic has to see absolute values. No constant is added to ℓ; the hidden layers have theirs.

The networks start with the variance of the features kept through the layers (He, Zhang, Ren & Sun, *Delving deep into rectifiers*, 2015):
the critic has to be ahead of the generator from the first steps on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .conv import CONV, Size, halvings

SLOPE = 0.2         # of a leaky rectifier below zero


class Head(nn.Module):
    """``(B, width)``, condition ``(B, cond)`` → ``(B, 1)``, in float32 whatever the layers before compute in: it is differences of
    logits that the game is about, and those of 5 and 5.02 are none in bfloat16."""

    def __init__(self, width: int, cond: int = 0):
        super().__init__()
        self.out = nn.Linear(width, 1, bias=False)
        self.condition = nn.Linear(cond, width, bias=False) if cond else None

    def forward(self, h: Tensor, c: Tensor | None = None) -> Tensor:
        with torch.autocast(h.device.type, enabled=False):
            direction = self.out.weight if self.condition is None else self.out.weight + self.condition(c.float()) / math.sqrt(h.shape[1])
            return (h.float() * direction).sum(1, keepdim=True)                     # a sum a row, the same wherever the row stands


class VectorCritic(nn.Module):
    """A perceptron on ``(B, *shape)``, condition ``(B, cond)``."""

    def __init__(self, shape: tuple[int, ...], width: tuple[int, ...], *, cond: int = 0, dropout: float = 0.0):
        super().__init__()
        n = math.prod(shape) + cond
        layers: list[nn.Module] = []
        for w in width:
            layers += [nn.Linear(n, w), nn.LeakyReLU(SLOPE), nn.Dropout(dropout)]
            n = w
        self.layers, self.head = nn.Sequential(*layers), Head(n)
        _keep_variance(self.layers)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.head(self.layers(x.flatten(1) if c is None else torch.cat([x.flatten(1), c], dim=1)))


class ConvCritic(nn.Module):
    """Images or signals ``(B, C, *S)``, condition ``(B, cond)``: a strided convolution for each width."""

    def __init__(self, shape: Size, width: tuple[int, ...], *, cond: int = 0, dropout: float = 0.0):
        super().__init__()
        n, size = shape[0], shape[1:]
        layers: list[nn.Module] = []
        for k in width:
            layers += [CONV[len(size)](n, k, 3, stride=2, padding=1), nn.LeakyReLU(SLOPE), nn.Dropout(dropout)]
            n = k
        self.layers, self.head = nn.Sequential(*layers), Head(n * math.prod(halvings(size, len(width))[-1]), cond)
        _keep_variance(self.layers)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.head(self.layers(x).flatten(1), c)


def _keep_variance(layers: nn.Module) -> None:
    for m in layers.modules():
        if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, SLOPE)
            nn.init.zeros_(m.bias)
