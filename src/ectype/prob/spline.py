"""The monotone rational-quadratic spline of neural spline flows, its inverse, and its derivatives.

Notation
    x, z        what goes in and comes out, (n, B): slots first, so that rows are next to each other in memory
    w, v, s     unconstrained widths (K, n, B), heights (K, n, B) and slopes (K − 1, n, B) of the K bins; the network's output
    (xₖ, zₖ)    the knots, k = 0 … K, from (−b, −b) to (b, b);  δₖ > 0 the slope at a knot, 1 at both ends
    ξ           the place within the bin, (x − xₖ) / W,  W = xₖ₊₁ − xₖ;  σ = H / W, H = zₖ₊₁ − zₖ, the bin's mean slope

    z  = zₖ + H N / D,      N = ξ (δₖ + (σ − δₖ) ξ),    D = σ + κ ρ,    ρ = ξ (1 − ξ),    κ = δₖ₊₁ + δₖ − 2σ         (equation 4)
    z′ = M σ² / D²,         M = δₖ + (δₖ₊₁ − δₖ) ξ − κ ρ                                                          (equation 5)

Outside of [−b, b] the spline is the identity: both ends have the slope 1.

**Backwards.** Let ż and l̇ be the derivatives of a loss by z and by l = log z′, and q̇ that by q. A value depends on the two knots around it
only. By the slopes at them, with D and M linear in these,

    δ̇ₖ₊₁ = l̇ ξ² / M − (ρ / D) (ż H N / D + 2 l̇),        δ̇ₖ = l̇ (1 − ξ)² / M − (ρ / D) (ż H N / D + 2 l̇ − ż H)

Multiplied by a number λ, the three slopes σ, δₖ and δₖ₊₁ leave N / D as it is and add log λ to l, so that (Euler's theorem)

    σ σ̇ = l̇ − δₖ δ̇ₖ − δₖ₊₁ δ̇ₖ₊₁

and with D′ = κ (1 − 2ξ), M′ = δₖ₊₁ − δₖ − D′ for the derivatives by ξ,

    ẋ = ż z′ + l̇ (M′ / M − 2 D′ / D) / W,      Ḣ = (ż H N / D + σ σ̇) / H,      Ẇ = −σ σ̇ / W − ξ ẋ

Outside of [−b, b] ẋ = ż, and what the last bin gets from there the softmax takes away, since no knot at an end can move.

The rest is as long as the bins, and done once: from what is around a value to the two knots, from knots to shares (a product with the
matrix of sums), and through the softmax.

A step on a small table takes as long as the operations in it are many. So the derivatives are written by hand, and the arithmetic between
a value and its knots, plain operators only, is done by NumPy where the numbers are on a processor: for 256 of them an operation of NumPy
takes 0.4 µs, and one of torch 1.2 µs.

The bins are the first dimension: softmax and cumulative sums over a last dimension of eight numbers leave a processor's vector units
idle, and took most of a flow's step.

Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows*, 2019, section 3.1.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

LEAST = 0.1     # times an equal share of the interval: what a bin has at least; narrower ones have slopes that float32 cannot invert
MIN_SLOPE = 1e-3        # at a knot
UNIT = math.log(math.expm1(1 - MIN_SLOPE))      # softplus of it is the slope of the identity

Plain = np.ndarray | Tensor


def plain(a: Tensor) -> Plain:
    """The same numbers in the same memory for arithmetic: on a processor as an array of NumPy, elsewhere as they are."""
    return a.numpy() if a.device.type == "cpu" else a


def tensor(a: Plain) -> Tensor:
    """Back from :func:`plain`."""
    return torch.from_numpy(a) if isinstance(a, np.ndarray) else a


class Spline:
    """Splines of ``n`` slots and ``B`` rows from the unconstrained ``parameters (3K − 1, n, B)``; zeros give the identity."""

    def __init__(self, parameters: Tensor, bound: float):
        self.parameters, self.bound = parameters, bound

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z and log z′, each ``(n, B)``."""
        return Transform.apply(self.parameters, x, self.bound)

    def inverse(self, z: Tensor) -> Tensor:
        """The x that :meth:`forward` maps to z: the root of a quadratic in ξ (equations 6 to 8), in the form without cancellation. Not
        differentiable."""
        flat = z.detach().reshape(-1)
        inside = plain(flat.clamp(-self.bound, self.bound))
        at = Knots(self.parameters.detach().flatten(1), self.bound).around(inside, side=1)
        height, d0, d1 = at.height, at.d0, at.d1
        sigma, rise = height / at.width, inside - at.z0
        bend = rise * (d0 + d1 - 2 * sigma)
        a, b, c = height * (sigma - d0) + bend, height * d0 - bend, -sigma * rise
        root = plain(tensor(b * b - 4 * a * c).clamp(min=0).sqrt())
        return tensor(at.x0 + 2 * c / (-b - root) * at.width + (plain(flat) - inside)).view_as(z)


class Transform(torch.autograd.Function):
    """``(parameters, x)`` → z and log z′, with the derivatives of both."""

    @staticmethod
    def forward(ctx: Any, parameters: Tensor, x: Tensor, bound: float) -> tuple[Tensor, Tensor]:
        z, slope, ctx.seen = evaluate(parameters.detach().flatten(1), x.detach().reshape(-1), bound)
        return z.view_as(x), slope.log().view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor, dl: Tensor) -> tuple[Tensor, Tensor, None]:
        dparameters, dx = ctx.seen.differentiate(dz.reshape(-1), dl.reshape(-1))
        return dparameters.unflatten(1, dz.shape), dx.view_as(dz), None


def evaluate(parameters: Tensor, x: Tensor, bound: float) -> tuple[Tensor, Tensor, Seen]:
    """z and z′ at N values ``x (N,)`` of as many splines, ``parameters (3K − 1, N)``; and what their derivatives need."""
    knots, clamped = Knots(parameters, bound), x.clamp(-bound, bound)
    x, inside = plain(x), plain(clamped)
    at = knots.around(inside, side=0)
    x0, z0, width, height, d0, d1 = at.x0, at.z0, at.width, at.height, at.d0, at.d1
    sigma, xi = height / width, (inside - x0) / width
    rho, kappa = xi - xi * xi, d0 + d1 - 2 * sigma
    bend = kappa * rho
    D, M = sigma + bend, d0 + (d1 - d0) * xi - bend
    rise = (d0 + (sigma - d0) * xi) * xi * height / D                                               # H N / D
    ratio = sigma / D
    slope = M * ratio * ratio
    seen = Seen(knots, at, inside == x, xi, rho, kappa, D, M, rise, slope)
    return tensor(z0 + rise + (x - inside)), tensor(slope), seen


class Seen(NamedTuple):
    """What :func:`evaluate` found on its way to z and z′."""

    knots: Knots
    at: Around
    within: Plain       # the bound
    xi: Plain
    rho: Plain
    kappa: Plain
    D: Plain
    M: Plain
    rise: Plain         # H N / D
    slope: Plain        # z′

    def differentiate(self, dz: Tensor, dl: Tensor) -> tuple[Tensor, Tensor]:
        """Those of a loss by ``parameters (3K − 1, N)`` and by ``x (N,)``, from those by z and by log z′; ``dq`` is q̇ above."""
        knots, at, within, xi, rho, kappa, D, M, rise, slope = self
        dz, dl, width, height, d0, d1 = plain(dz), plain(dl), at.width, at.height, at.d0, at.d1
        by_M, by_rise, share, rest = dl / M, dz * rise, rho / D, 1 - xi
        common = by_rise + 2 * dl
        dd0, dd1 = by_M * rest * rest - share * (common - dz * height), by_M * xi * xi - share * common
        scale = dl - d0 * dd0 - d1 * dd1                                                            # σ σ̇
        D_xi = kappa * (rest - xi)
        dx = dz * slope + within * ((d1 - d0 - D_xi) * by_M - 2 * dl * D_xi / D) / width
        dwidth, dheight = -scale / width - xi * dx, (by_rise + scale) / height
        growth0, growth1 = plain(tensor(at.raw).sigmoid())
        return knots.differentiate(at.index, (-dx - dwidth, dwidth, dz - dheight, dheight, dd0 * growth0, dd1 * growth1)), tensor(dx)


class Around(NamedTuple):
    """What of the knots each value sees: the two around it, the lower of them, and what is between."""

    index: Plain        # in the table, (6, N)
    x0: Plain           # xₖ, (N,)
    z0: Plain
    width: Plain        # W and H, (N,)
    height: Plain
    d0: Plain           # δₖ and δₖ₊₁, (N,)
    d1: Plain
    raw: Plain          # of which they are the softplus, (2, N)


class Knots:
    """All knots of N splines: one table ``(3, K + 1, N)`` of xₖ, zₖ and slopes before their softplus."""

    def __init__(self, parameters: Tensor, bound: float):
        self.bins = bins = (len(parameters) + 1) // 3
        n, device = parameters.shape[1], parameters.device
        least, sums, self.back = sums_of(bins, bound, parameters.dtype, device)
        self.places = places(bins, n, device)
        self.shares = parameters[: 2 * bins].view(2, bins, n).softmax(1)                            # of widths and heights
        table = parameters.new_empty(3, bins + 1, n)
        torch.baddbmm(least, sums, self.shares, out=table[:2])
        self.table = plain(table)
        slopes = self.table[2]
        slopes[0], slopes[1:bins], slopes[bins] = UNIT, plain(parameters[2 * bins :]) + UNIT, UNIT

    def around(self, value: Plain, side: int) -> Around:
        """The knots around values ``(N,)`` within the bound, which are x (``side=0``) or z (``side=1``)."""
        index = self.places + (value >= self.table[side, 1 : self.bins]).sum(0) * len(value)
        found = self.table.take(index)
        x0, x1, z0, z1 = found[:4]
        d0, d1 = plain(F.softplus(tensor(found[4:]))) + MIN_SLOPE
        return Around(index, x0, z0, x1 - x0, z1 - z0, d0, d1, found[4:])

    def differentiate(self, index: Plain, around: tuple[Plain, ...]) -> Tensor:
        """Derivatives by the parameters ``(3K − 1, N)`` from those by the two knots around each value, x₀, x₁, z₀, z₁, and their slopes."""
        shares, bins = self.shares, self.bins
        table = shares.new_zeros(3, bins + 1, shares.shape[2])
        flat = plain(table).reshape(-1)
        for places, values in zip(index, around, strict=True):
            flat[places] = values
        dshares = torch.bmm(self.back, table[:2]).mul_(shares)
        dshares.addcmul_(shares, dshares.sum(1, keepdim=True), value=-1)
        return torch.cat([dshares.view(2 * bins, -1), table[2, 1:bins]])


@functools.lru_cache(maxsize=64)
def sums_of(bins: int, bound: float, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """From shares to knots: what each has without them ``(1, K + 1, 1)``, and the matrix of sums ``(2, K + 1, K)``, a product with which is
    several times as fast as a cumulative sum; and its transpose. A small step has no time to make them anew."""
    least = torch.linspace(-bound, -bound * (1 - 2 * LEAST), bins + 1, dtype=dtype, device=device).view(1, -1, 1)
    sums = torch.full((bins + 1, bins), 2 * bound * (1 - LEAST), dtype=dtype, device=device).tril(-1).expand(2, -1, -1)
    return least, sums, sums.mT


@functools.lru_cache(maxsize=8)
def places(bins: int, n: int, device: torch.device) -> Plain:
    """Where a flat table has the knots of the first bin, x₀, x₁, z₀, z₁ and two slopes, of each of n values: ``(6, n)``."""
    rows = torch.tensor([first + end for first in range(0, 3 * (bins + 1), bins + 1) for end in (0, 1)], device=device)
    return plain(rows[:, None] * n + torch.arange(n, device=device))
