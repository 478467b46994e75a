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
import torch.nn.functional as F
from torch import Tensor, nn

from .conv import CONV, Size, halvings

SLOPE = 0.2         # of a leaky rectifier below zero
EVEN = 4            # inputs are filled up to a multiple by zeros: for others some kernels add in an order that depends on the row
OCTAVES = 6         # of the waves that a table's numbers are shown in: from 6 standard deviations to 0.2


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


class Waves(nn.Module):
    """Numbers ``(B, n)`` → their sines and cosines at ``OCTAVES`` frequencies, ``(B, 2 OCTAVES n)``: ω = 1, 2, 4, … a unit.

    A perceptron learns slow functions of its inputs long before fast ones; with waves it can tell narrow modes apart. Tancik et al.,
    *Fourier features let networks learn high frequency functions in low dimensional domains*, 2020.
    """

    def __init__(self, octaves: int = OCTAVES):
        super().__init__()
        self.register_buffer("frequencies", 2.0 ** torch.arange(octaves), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        angle = (x[:, :, None] * self.frequencies).flatten(1)                       # (B, n octaves)
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class VectorCritic(nn.Module):
    """A perceptron on ``(B, *shape)``, condition ``(B, cond)``; the first ``waves`` features are shown as :class:`Waves` too."""

    def __init__(self, shape: tuple[int, ...], width: tuple[int, ...], *, cond: int = 0, dropout: float = 0.0, waves: int = 0):
        super().__init__()
        self.n_waves, self.waves = waves, Waves()
        n = math.prod(shape) + cond + 2 * OCTAVES * waves
        self.filled = -n % EVEN
        n += self.filled
        layers: list[nn.Module] = []
        for w in width:
            layers += [nn.Linear(n, w), nn.LeakyReLU(SLOPE), nn.Dropout(dropout)]
            n = w
        self.layers, self.head = nn.Sequential(*layers), Head(n)
        _keep_variance(self.layers)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        x = x.flatten(1)
        parts = [x, self.waves(x[:, : self.n_waves])] if self.n_waves else [x]
        return self.head(self.layers(F.pad(torch.cat(parts if c is None else [*parts, c], dim=1), (0, self.filled))))


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
