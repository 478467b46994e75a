"""The U-Net that denoises images and signals.

Ronneberger, Fischer & Brox, *U-Net*, 2015; with residual blocks, time embedding and attention at the smallest size as in Ho, Jain &
Abbeel, *Denoising diffusion probabilistic models*, 2020, appendix B. Pictures of 24 pixels and more enter as patches (space to depth),
so that no convolution runs at full size: on MNIST that saves three quarters of the arithmetic.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conv import CONV, ChannelNorm, as_map, cut, from_patches, to_patches
from .mlp import ACTIVATIONS, TimeEmbedding

MANY_PLACES = 256       # from which on the matrix of attention is so large that it is better never written down


class ResidualBlock(nn.Module):
    """``(B, n, *S)``, embedding ``(B, E)`` → ``(B, k, *S)``; ``*S`` is ``H, W`` or ``L``."""

    def __init__(self, dims: int, n: int, k: int, embedding: int, dropout: float, activation: str):
        super().__init__()
        conv = CONV[dims]
        self.act = ACTIVATIONS[activation]()
        self.norm1, self.conv1 = ChannelNorm(n), conv(n, k, 3, padding=1)
        self.shift = nn.Linear(embedding, k)
        self.norm2, self.drop, self.conv2 = ChannelNorm(k), nn.Dropout(dropout), conv(k, k, 3, padding=1)
        self.skip = conv(n, k, 1) if n != k else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        h = self.conv1(self.act(self.norm1(x)))                                       # (B, k, *S)
        h = h + as_map(self.shift(e), h)
        return self.skip(x) + self.conv2(self.drop(self.act(self.norm2(h))))


class Attention(nn.Module):
    """Self-attention over the places of ``(B, n, *S)``, added to its input: softmax(q kᵀ / √d) v.

    A GPU and large pictures have the library's fused kernel. On a CPU, where it works in bfloat16 its gradient takes ten times as long as
    that of the two products written out: for 49 places a quarter of the whole step.
    """

    def __init__(self, dims: int, n: int, heads: int = 4):
        super().__init__()
        self.heads, self.norm = math.gcd(heads, n), ChannelNorm(n)
        self.qkv, self.out = CONV[dims](n, 3 * n, 1), CONV[dims](n, n, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        if x.device.type != "cpu" or q.shape[2] > MANY_PLACES:
            h = F.scaled_dot_product_attention(q, k, v)                             # (B, heads, places, n / heads)
        else:
            h = torch.softmax((q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2), dim=-1) @ v
        return x + self.out(h.transpose(-1, -2).flatten(1, 2).unflatten(2, x.shape[2:]))


class UNet(nn.Module):
    """A denoiser for images and signals: ``x_t (B, C + beside, *S)``, ``t (B,)``, ``c (B, cond)`` → ``(B, C, *S)``; the last ``beside``
    channels are something to look at."""

    def __init__(self, shape: tuple[int, ...], width: tuple[int, ...], *, cond: int = 0, dropout: float = 0.0,
                 activation: str = "silu", beside: int = 0):
        super().__init__()
        self.act = ACTIVATIONS[activation]()
        channels, size = shape[0], shape[1:]
        dims = len(size)
        conv = CONV[dims]
        self.patch = 1 if min(size) < 24 else 2 if min(size) < 96 else 4
        self.pad = [p for s in reversed(size) for p in (0, -s % self.patch)]
        depth = channels * self.patch**dims
        embedding = 4 * width[0]
        self.time = TimeEmbedding(embedding, cond)
        self.enter = conv(depth + beside * self.patch**dims, width[0], 3, padding=1)
        self.down, self.shrink, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for n, k in zip((width[0], *width), width, strict=False):
            self.down.append(ResidualBlock(dims, n, k, embedding, dropout, activation))
            self.shrink.append(conv(k, k, 3, stride=2, padding=1))
        self.shrink[-1] = nn.Identity()
        last = width[-1]
        self.middle, self.attention = ResidualBlock(dims, last, last, embedding, dropout, activation), Attention(dims, last)
        n = last
        for k in reversed(width):
            self.up.append(ResidualBlock(dims, n + k, k, embedding, dropout, activation))
            n = k
        self.norm, self.leave = ChannelNorm(n), conv(n, depth, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, t: Tensor, c: Tensor | None = None) -> Tensor:
        e = self.act(self.time(t, c))                                                 # (B, E)
        h = self.enter(to_patches(F.pad(x, self.pad), self.patch))
        skips = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            h = block(h, e)
            skips.append(h)                                                         # (B, kᵢ, *Sᵢ)
            h = shrink(h)
        h = self.attention(self.middle(h, e))
        for block in self.up:
            skip = skips.pop()
            if h.shape[2:] != skip.shape[2:]:
                h = F.interpolate(h, size=skip.shape[2:], mode="nearest")
            h = block(torch.cat([h, skip], dim=1), e)
        h = self.leave(self.act(self.norm(h)))
        return cut(from_patches(h, self.patch), x.shape[2:])
