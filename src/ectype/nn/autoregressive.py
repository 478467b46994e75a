"""Masked autoregressive spline flows: invertible maps of ``(B, dim)`` in which a number sees all those before it.

    z_i = S(y_i; θ_i(y_{<i}, c)),      log |det ∂z/∂y| = Σ_i log S′(y_i)

θ comes from one network of masked layers: every unit has a degree m, sees the units of the layer before with degrees up to m, and θ_i
sees those with degrees below the place of i. So z costs one pass. y costs a pass for each number, since y_i is needed for θ_{i+1}. A
coupling layer is the special case of two places; here no number is left as it was, and each has its own θ.

References
    Germain, Gregor, Murray & Larochelle, *MADE: masked autoencoder for distribution estimation*, 2015, section 3.
    Papamakarios, Pavlakou & Murray, *Masked autoregressive flow for density estimation*, 2017, section 3.1.
    Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows*, 2019, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..prob.spline import Spline
from ..spec import Net
from . import build
from .coupling import BOUND


class MaskedAutoregressive(nn.Module):
    """One layer on ``(B, dim)``; ``order[i]`` is the place of slot i, 0 … dim − 1."""

    def __init__(self, order: Tensor, bins: int, net: Net, width: tuple[int, ...], cond: int):
        super().__init__()
        dim = len(order)
        self.bins, self.slots = bins, torch.argsort(order).tolist()
        self.net = build.perceptron((dim,), (3 * bins - 1, dim), net, width, cond=cond)
        self.linear = [i for i, layer in enumerate(self.net.layers) if isinstance(layer, nn.Linear)]
        degrees = torch.cat([order + 1, order.new_zeros(cond)])             # 0: what everyone may see
        least = 0 if cond else 1
        for i in self.linear[:-1]:
            wide, range_ = self.net.layers[i].out_features, max(1, dim - least)
            own = least + (torch.arange(wide) % range_ if wide >= range_ else torch.arange(wide) * range_ // wide)     # over all places
            self.register_buffer(f"mask{i}", (own[:, None] >= degrees).float(), persistent=False)
            degrees = own
        self.register_buffer(f"mask{self.linear[-1]}", (order[:, None] >= degrees).float().repeat(3 * bins - 1, 1), persistent=False)
        last = self.net.layers[-1]
        nn.init.zeros_(last.weight)                                         # every layer starts near the identity
        nn.init.zeros_(last.bias)

    def _hidden(self, y: Tensor, c: Tensor | None) -> Tensor:
        h = y if c is None else torch.cat([y, c], dim=1)
        for i, layer in enumerate(self.net.layers[:-1]):
            h = nn.functional.linear(h, layer.weight * getattr(self, f"mask{i}"), layer.bias) if i in self.linear else layer(h)
        return h

    def _last(self) -> tuple[Tensor, Tensor]:
        """Weights ``(3K − 1, dim, width)`` and bias ``(3K − 1, dim)`` of the last layer."""
        last = self.net.layers[-1]
        weight = last.weight * getattr(self, f"mask{self.linear[-1]}")
        return weight.unflatten(0, self.net.shape_out), last.bias.view(self.net.shape_out)

    def forward(self, y: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """z and log |det ∂z/∂y|, ``(B,)``."""
        weight, bias = self._last()
        parameters = torch.addmm(bias.reshape(-1, 1), weight.flatten(0, 1), self._hidden(y, c).T)       # the rows last, see prob/spline.py
        z, log_slope = Spline(parameters.float().view(*self.net.shape_out, len(y)), BOUND).forward(y.T)
        return z.T, log_slope.sum(0)

    def inverse(self, z: Tensor, c: Tensor | None) -> Tensor:
        """The y that :meth:`forward` maps to z, slot after slot in their order."""
        weight, bias = self._last()
        y = torch.zeros_like(z)
        for i in self.slots:
            parameters = torch.addmm(bias[:, i, None], weight[:, i], self._hidden(y, c).T).float()      # (3K − 1, B)
            y[:, i] = Spline(parameters[:, None], BOUND).inverse(z[None, :, i])[0]
        return y


def orders(dim: int, n: int) -> list[Tensor]:
    """n orders in pairs of one and its reverse: as the slots stand, then at random (the same ones in every model of that size)."""
    generator, found = torch.Generator().manual_seed(dim), []
    for pair in range(-(-n // 2)):
        order = torch.arange(dim) if pair == 0 else torch.randperm(dim, generator=generator)
        found += [order, dim - 1 - order]
    return found[:n]


class AutoregressiveFlow(nn.Module):
    """``transforms`` masked autoregressive layers on ``(B, dim)``, one after another, in changing orders."""

    def __init__(self, dim: int, transforms: int, bins: int, net: Net, width: tuple[int, ...], *, cond: int = 0):
        super().__init__()
        self.passes = dim
        self.layers = nn.ModuleList(MaskedAutoregressive(order, bins, net, width, cond) for order in orders(dim, transforms))

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
