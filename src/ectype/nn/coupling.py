"""Coupling layers: invertible maps of ``(B, dim)`` whose Jacobian is triangular, and stacks of them. The flow is one; a VAE's prior can be.

A layer keeps a half of y and transforms each number of the other half by a rational-quadratic spline whose parameters are computed from
the half that was kept, and from the condition c where there is one:

    z_A = y_A,      z_i = S(y_i; θ_i(y_A, c))  for i in B,      log |det ∂z/∂y| = Σ_{i in B} log S′(y_i)

Both directions cost one pass. θ is a perceptron. With the rows last, ``(dim, B)``, as the spline wants them (:mod:`ectype.prob.spline`),

    h₀ = (m ⊙ y, c),    a_l = W_l h_{l−1} + b_l,    h_l = φ(a_l),    θ = a_L,       m = 1 for the slots in A, else 0

**Backwards**, with q̇ for the derivative of a loss by q: S gives θ̇ and ẏ_B from ż_B and the derivative by Σ log S′, and

    ȧ_L = θ̇,    Ẇ_l = ȧ_l h_{l−1}ᵀ,    ḃ_l = Σ_rows ȧ_l,    ḣ_{l−1} = W_lᵀ ȧ_l,    ȧ_l = φ′(a_l) ⊙ ḣ_l,    ẏ = (ż_A, ẏ_B) + m ⊙ ḣ₀

A stack does this in one piece (:class:`Pass`) and has all of its weights in one vector: on a small table a step is as long as the
operations in it are many, and what an optimiser does, it then does once.

Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows*, 2019, section 3.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..prob.spline import Seen, Spline, evaluate
from ..spec import Net
from . import build
from .mlp import FUNCTIONS

BOUND = 5.0     # the spline acts on [−5, 5]; slots are close to N(0, 1)

Linears = list[tuple[Tensor, Tensor]]       # W_l (out, in) and b_l (out, 1)


class Unit(NamedTuple):
    """What a hidden layer saw: h_{l−1}, a_l, and what dropout left of the result, stretched for it."""

    h: Tensor
    a: Tensor
    kept: Tensor | None


class Trace(NamedTuple):
    """What a coupling layer saw on the way from y to z."""

    units: list[Unit]
    h: Tensor               # h_{L−1}
    seen: Seen              # by the spline


class Coupling(nn.Module):
    """One coupling layer on ``(dim, B)``: the slots of ``mask == 1`` are kept, the others transformed; ``c`` is ``(cond, B)`` or None.

    Its weights are a part of the stack's, handed to each method as ``linears``; ``initial`` is what they are at the beginning.
    """

    def __init__(self, mask: Tensor, bins: int, net: Net, width: tuple[int, ...], cond: int):
        super().__init__()
        moved = torch.nonzero(mask == 0).squeeze(1)
        self.register_buffer("mask", mask[:, None], persistent=False)
        self.register_buffer("moved", moved, persistent=False)
        self.rows, self.dropout, self.activation = 3 * bins - 1, net.dropout, net.activation
        perceptron = build.perceptron((len(mask),), (self.rows, len(moved)), net, width, cond=cond)
        last = perceptron.layers[-1]
        nn.init.zeros_(last.weight)                 # every layer starts near the identity
        nn.init.zeros_(last.bias)
        self.initial = [p.detach() for p in perceptron.parameters()]

    def forward(self, linears: Linears, y: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor, Trace]:
        """z ``(dim, B)``, log |det ∂z/∂y| ``(B,)``, and what :meth:`backward` needs."""
        theta, units, h = self._perceptron(linears, y, c)
        z, slope, seen = evaluate(theta, y.index_select(0, self.moved).view(-1), BOUND)
        z, log_slope = (v.view(len(self.moved), -1) for v in (z, slope.log()))
        return y.index_copy(0, self.moved, z), log_slope.sum(0), Trace(units, h, seen)

    def backward(self, linears: Linears, trace: Trace, dz: Tensor, dl: Tensor, out: Linears,
                 further: bool = True) -> tuple[Tensor, Tensor]:
        """The derivatives by y ``(dim, B)`` and by h₀ (if it goes ``further``), from those by z and by the log-determinant; those by the
        weights go to ``out``."""
        moved = dz.index_select(0, self.moved)
        dtheta, dy = trace.seen.differentiate(moved.view(-1), dl.expand_as(moved).reshape(-1))
        da, h, pull_back = dtheta.view(-1, dz.shape[1]), trace.h, FUNCTIONS[self.activation][1]
        for i in range(len(linears) - 1, -1, -1):
            weight, bias = out[i]
            torch.mm(da, h.T.to(da.dtype), out=weight)
            torch.sum(da, 1, keepdim=True, out=bias)
            if not (i or further):
                return dz, dz
            dh = linears[i][0].T @ da
            if i:
                h, a, kept = trace.units[i - 1]
                da = pull_back(dh if kept is None else dh * kept, a.to(dh.dtype))
        return dz.index_copy(0, self.moved, dy.view_as(moved)).addcmul_(dh[: len(dz)], self.mask), dh

    def inverse(self, linears: Linears, z: Tensor, c: Tensor | None) -> Tensor:
        """The y that :meth:`forward` maps to z."""
        theta = self._perceptron(linears, z, c)[0].view(self.rows, len(self.moved), -1)
        return z.index_copy(0, self.moved, Spline(theta, BOUND).inverse(z.index_select(0, self.moved)))

    def _perceptron(self, linears: Linears, y: Tensor, c: Tensor | None) -> tuple[Tensor, list[Unit], Tensor]:
        """θ, ``(3K − 1, |B| rows)``, in which all values of a slot are next to each other; what the hidden layers saw; and h_{L−1}."""
        h, units = y * self.mask if c is None else torch.cat([y * self.mask, c]), []
        phi, (*hidden, (last_weight, last_bias)) = FUNCTIONS[self.activation][0], linears
        for weight, bias in hidden:
            a = torch.addmm(bias, weight, h)
            kept = torch.empty_like(a).bernoulli_(1 - self.dropout).div_(1 - self.dropout) if self.dropout and self.training else None
            units.append(Unit(h, a, kept))
            h = phi(a) if kept is None else phi(a) * kept
        return torch.addmm(last_bias, last_weight, h).to(y.dtype).view(self.rows, -1), units, h


class Pass(torch.autograd.Function):
    """``(weights, y, c)`` → z = T(y) and log |det ∂T/∂y| of a stack, with their derivatives by all three."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, y: Tensor, c: Tensor | None, flow: CouplingFlow) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(weights)
        ctx.flow, ctx.linears, ctx.traces, log_dets = flow, flow.views().linears, [], []
        y, c = y.detach().T.contiguous(), None if c is None else c.detach().T
        for layer, linears in zip(flow.layers, ctx.linears, strict=True):
            y, log_det, trace = layer.forward(linears, y, c)
            log_dets.append(log_det)
            ctx.traces.append(trace)
        return y.T, sum(log_dets[1:], start=log_dets[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor, dl: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        _, = ctx.saved_tensors                                          # complains if the weights were changed since
        views, dy, dc = ctx.flow.views(), dz.T.contiguous(), None
        steps = zip(ctx.flow.layers, ctx.linears, ctx.traces, views.gradients, strict=True)
        inputs = any(ctx.needs_input_grad[1:])
        for i, (layer, linears, trace, out) in reversed(list(enumerate(steps))):
            dy, dh = layer.backward(linears, trace, dy, dl, out, further=inputs or i > 0)
            if ctx.needs_input_grad[2]:
                dc = dh[len(dy) :] if dc is None else dc + dh[len(dy) :]
        return views.gradient.clone(), dy.T if ctx.needs_input_grad[1] else None, None if dc is None else dc.T, None


class Views(NamedTuple):
    """The vector of a stack's weights as matrices W_l and b_l of each layer; room for their derivatives, seen in the same way."""

    place: int              # of the vector in memory; while the views exist, no other has it
    linears: list[Linears]
    gradient: Tensor
    gradients: list[Linears]


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
    """``transforms`` coupling layers on ``(B, dim)``, one after another, with complementary halves; their weights are one vector."""

    def __init__(self, dim: int, transforms: int, bins: int, net: Net, width: tuple[int, ...], *, cond: int = 0):
        super().__init__()
        self.layers = nn.ModuleList(Coupling(mask, bins, net, width, cond) for mask in masks(dim, transforms))
        initial = [p for layer in self.layers for p in layer.initial]
        self.weights = nn.Parameter(torch.cat([p.flatten() for p in initial]))
        self.shapes = [p.shape if p.ndim == 2 else (len(p), 1) for p in initial]
        self.depth = len(initial) // (2 * transforms)
        self._views: Views | None = None

    def views(self) -> Views:
        """The matrices in the vector, made anew only where it lies elsewhere: a small step has no time for that."""
        if self._views is None or self._views.place != self.weights.data_ptr():
            gradient = torch.empty_like(self.weights, requires_grad=False)
            self._views = Views(self.weights.data_ptr(), self._linears(self.weights.detach()), gradient, self._linears(gradient))
        return self._views

    def _linears(self, vector: Tensor) -> list[Linears]:
        parts = vector.split([math.prod(shape) for shape in self.shapes])
        found = [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        pairs = list(zip(found[::2], found[1::2], strict=True))
        return [pairs[i : i + self.depth] for i in range(0, len(pairs), self.depth)]

    def __getstate__(self) -> dict[str, Any]:
        """Without the views, which a copy makes of its own weights."""
        return {**super().__getstate__(), "_views": None}

    def forward(self, y: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z = T(y), ``(B, dim)``, and log |det ∂T/∂y|, ``(B,)``."""
        return Pass.apply(self.weights, y, c, self)

    @torch.no_grad()
    def inverse(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """y = T⁻¹(z); not differentiable."""
        z, c = z.T, None if c is None else c.T
        for layer, linears in reversed(list(zip(self.layers, self.views().linears, strict=True))):
            z = layer.inverse(linears, z, c)
        return z.T
