"""Coupling layers: invertible maps of ``(B, dim)`` whose Jacobian is triangular, and stacks of them. The flow is one; a VAE's prior can be.

A layer keeps a half of y and transforms each number of the other half by a rational-quadratic spline whose parameters are computed from
the half that was kept, and from the condition c where there is one:

    z_A = y_A,      z_i = S(y_i; θ_i(y_A, c))  for i in B,      log |det ∂z/∂y| = Σ_{i in B} log S′(y_i)

Both directions cost one pass. Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows*, 2019, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..prob.spline import Spline
from ..spec import Net
from . import build

BOUND = 5.0     # the spline acts on [−5, 5]; slots are close to N(0, 1)


class Coupling(nn.Module):
    """One coupling layer on ``(B, dim)``: the slots of ``mask == 1`` are kept, the others transformed."""

    def __init__(self, mask: Tensor, bins: int, net: Net, width: tuple[int, ...], cond: int):
        super().__init__()
        moved = torch.nonzero(mask == 0).squeeze(1)
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("moved", moved, persistent=False)
        self.bins = bins
        n = len(moved)
        self.net = build.perceptron((len(mask),), (3 * bins - 1, n), net, width, cond=cond)
        last = self.net.layers[-1]
        nn.init.zeros_(last.weight)                 # every layer starts near the identity
        nn.init.zeros_(last.bias)

    def _spline(self, kept: Tensor, c: Tensor | None) -> Spline:
        h = kept * self.mask if c is None else torch.cat([kept * self.mask, c], dim=1)
        *hidden, last = self.net.layers
        for layer in hidden:
            h = layer(h)
        parameters = torch.addmm(last.bias[:, None], last.weight, h.T)          # ((3K − 1) n, B): the rows last, see prob/spline.py
        return Spline(parameters.float().view(*self.net.shape_out, len(kept)), BOUND)

    def forward(self, y: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """z and log |det ∂z/∂y|, ``(B,)``."""
        z, log_slope = self._spline(y, c).forward(y.index_select(1, self.moved).T)
        return y.index_copy(1, self.moved, z.T), log_slope.sum(0)

    def inverse(self, z: Tensor, c: Tensor | None) -> Tensor:
        """The y that :meth:`forward` maps to z."""
        return z.index_copy(1, self.moved, self._spline(z, c).inverse(z.index_select(1, self.moved).T).T)


def masks(dim: int, n: int) -> list[Tensor]:
    """n complementary halves: even and odd slots, then random halves (the same ones in every model of that size)."""
    found: list[Tensor] = []
    generator = torch.Generator().manual_seed(dim)
    for pair in range(-(-n // 2)):
        half = torch.zeros(dim)
        order = torch.arange(dim) if pair == 0 else torch.randperm(dim, generator=generator)
        half[order[::2]] = 1.0
        found += [1 - half, half] if dim > 1 else [torch.zeros(1)] * 2
    return found[:n]


class CouplingFlow(nn.Module):
    """``transforms`` coupling layers on ``(B, dim)``, one after another, with complementary halves."""

    def __init__(self, dim: int, transforms: int, bins: int, net: Net, width: tuple[int, ...], *, cond: int = 0):
        super().__init__()
        self.layers = nn.ModuleList(Coupling(mask, bins, net, width, cond) for mask in masks(dim, transforms))

    def forward(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z = T(y), ``(B, dim)``, and log |det ∂T/∂y|, ``(B,)``."""
        y, total = self.layers[0](y, c)
        for layer in self.layers[1:]:
            y, log_det = layer(y, c)
            total = total + log_det
        return y, total

    def inverse(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """y = T⁻¹(z)."""
        for layer in reversed(self.layers):
            z = layer.inverse(z, c)
        return z
