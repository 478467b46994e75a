"""The monotone rational-quadratic spline of neural spline flows, and its inverse.

Notation
    x, z        what goes in and comes out, (n, B): slots first, so that rows are next to each other in memory
    w, v, s     unconstrained widths (K, n, B), heights (K, n, B) and slopes (K − 1, n, B) of the K bins; the network's output
    (xₖ, zₖ)    the knots, k = 0 … K, from (−b, −b) to (b, b);  δₖ > 0 the slope at a knot, 1 at both ends
    ξ           the place within the bin, (x − xₖ) / W,  W = xₖ₊₁ − xₖ;  σ = H / W, H = zₖ₊₁ − zₖ, the bin's mean slope

    z  = zₖ + H N / D,      N = σ ξ² + δₖ ρ,     D = σ + κ ρ,     ρ = ξ (1 − ξ),    κ = δₖ₊₁ + δₖ − 2σ          (equation 4)
    z′ = σ² M / D²,         M = δₖ₊₁ ξ² + 2σ ρ + δₖ (1 − ξ)² = δₖ + (δₖ₊₁ − δₖ) ξ − κ ρ                       (equation 5)

Outside of [−b, b] the spline is the identity: both ends have the slope 1.

The bins are the first dimension: softmax and cumulative sums over a last dimension of eight numbers leave a processor's vector units
idle, and took most of a flow's step. The derivatives are written by hand (:class:`Transform`): a value depends on the two knots around it
only, so that all that is as long as the bins is done a few times, where automatic differentiation would pass through every step in
between.

Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows*, 2019, section 3.1.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 0.1     # times an equal share of the interval: what a bin has at least; narrower ones have slopes that float32 cannot invert
MIN_SLOPE = 1e-3        # at a knot
UNIT = math.log(math.expm1(1 - MIN_SLOPE))      # softplus of it is the slope of the identity


class Spline:
    """Splines of ``n`` slots and ``B`` rows from the unconstrained ``parameters (3K − 1, n, B)``; zeros give the identity."""

    def __init__(self, parameters: Tensor, bound: float):
        self.parameters, self.bound = parameters, bound

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z and log z′, each ``(n, B)``."""
        return Transform.apply(self.parameters, x, self.bound)

    def inverse(self, z: Tensor) -> Tensor:
        """The x that :meth:`forward` maps to z: the root of a quadratic in ξ (equations 6 to 8), in the form without cancellation."""
        inside = z.clamp(-self.bound, self.bound)
        at = Knots(self.parameters, self.bound).around(inside, side=1)
        x0, z0, width, height, d0, d1 = at.x0, at.z0, at.width, at.height, *at.slope
        sigma, rise = height / width, inside - z0
        bend = rise * (d0 + d1 - 2 * sigma)
        a, b, c = height * (sigma - d0) + bend, height * d0 - bend, -sigma * rise
        xi = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
        return torch.addcmul(x0, xi, width) + (z - inside)


class Around(NamedTuple):
    """What of the knots each value sees: the numbers of the two around it, the lower of them, and what is between."""

    index: Tensor       # k and k + 1, (2, n, B)
    x0: Tensor          # xₖ, (n, B)
    z0: Tensor
    width: Tensor       # W and H, (n, B)
    height: Tensor
    slope: Tensor       # δₖ and δₖ₊₁, (2, n, B)
    growth: Tensor      # their derivatives by the unconstrained ones, (2, n, B)


class Knots:
    """All knots of splines: one table ``(3, K + 1, n, B)`` of xₖ, zₖ and unconstrained slopes, where a slope of 1 is a zero."""

    def __init__(self, parameters: Tensor, bound: float):
        self.bins = bins = (len(parameters) + 1) // 3
        self.shares = parameters[: 2 * bins].unflatten(0, (2, bins)).softmax(1)                     # (2, K, n, B): of widths and heights
        self.table = parameters.new_zeros(3, bins + 1, *parameters.shape[1:])
        least, sums, self.ends = _constants(bins, bound, parameters.dtype, parameters.device)
        self.table[:2] = torch.baddbmm(least, sums.expand(2, -1, -1), self.shares.flatten(2)).view_as(self.table[:2])
        self.table[2, 1:bins] = parameters[2 * bins :]

    def around(self, value: Tensor, side: int) -> Around:
        """The knots around values within the bound, which are x (``side=0``) or z (``side=1``)."""
        k = (value >= self.table[side, 1 : self.bins]).sum(0)
        index = k + self.ends                                                                       # (2, n, B)
        x0, x1, z0, z1, *raw = self.table.gather(1, index.expand(3, *index.shape)).flatten(0, 1)
        raw = torch.stack(raw).add_(UNIT)
        return Around(index, x0, z0, x1 - x0, z1 - z0, F.softplus(raw).add_(MIN_SLOPE), raw.sigmoid_())


@functools.lru_cache(maxsize=64)
def _constants(bins: int, bound: float, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """From shares to knots: what each has without them ``(1, K + 1, 1)``, and the matrix ``(K + 1, K)`` of sums, a product with which is
    several times as fast as a cumulative sum; then the two ends of a bin, 0 and 1, ``(2, 1, 1)``. A small step has no time to make them
    anew."""
    least = torch.linspace(-bound, -bound * (1 - 2 * LEAST), bins + 1, dtype=dtype, device=device).view(1, -1, 1)
    sums = torch.full((bins + 1, bins), 2 * bound * (1 - LEAST), dtype=dtype, device=device).tril(-1)
    return least, sums, torch.arange(2, device=device).view(2, 1, 1)


class Transform(torch.autograd.Function):
    """``(parameters, x)`` → z and log z′, with the derivatives of both."""

    @staticmethod
    def forward(ctx: Any, parameters: Tensor, x: Tensor, bound: float) -> tuple[Tensor, Tensor]:
        knots, inside = Knots(parameters, bound), x.clamp(-bound, bound)
        at = knots.around(inside, side=0)
        x0, z0, width, height, d0, d1 = at.x0, at.z0, at.width, at.height, *at.slope
        sigma, xi = height / width, (inside - x0) / width
        square = xi * xi
        rho, kappa = xi - square, torch.sub(d0 + d1, sigma, alpha=2)
        D = torch.addcmul(sigma, kappa, rho)
        M = torch.addcmul(torch.addcmul(d0, d1 - d0, xi), kappa, rho, value=-1)
        share = torch.addcmul(d0 * rho, sigma, square) / D                                          # N / D
        ratio = sigma / D
        ctx.save_for_backward(knots.shares, inside == x, at.index, width, height, d0, d1, at.growth, sigma, xi, square, rho, kappa,
                              D, M, share)
        ctx.bound = bound
        return torch.addcmul(z0, height, share) + (x - inside), (M * ratio * ratio).log()

    @staticmethod
    def backward(ctx: Any, dz: Tensor, dl: Tensor) -> tuple[Tensor, Tensor, None]:
        """The chain rule from z and log z′ to N, D, M, to ξ, σ, δ, to the two knots, and to all shares; ``dq`` is the derivative by q."""
        shares, inside, index, width, height, d0, d1, growth, sigma, xi, square, rho, kappa, D, M, share = ctx.saved_tensors
        dN, dM, dl2 = dz * height / D, dl / M, 2 * dl
        dD = -torch.addcmul(dl2 / D, dN, share)
        opposed = dD - dM                                                                           # D and M have κ ρ with both signs
        dkappa, drho = opposed * rho, torch.addcmul(dN * d0, opposed, kappa)
        part = dM * xi
        dslope = torch.stack([torch.addcmul(dM - part + dkappa, dN, rho), part + dkappa])           # of δₖ and δₖ₊₁, (2, n, B)
        dsigma = torch.addcmul(torch.sub(dD + dl2 / sigma, dkappa, alpha=2), dN, square)
        dxi = torch.addcmul(torch.addcmul(dM * (d1 - d0), drho, 1 - 2 * xi), dN * sigma, xi, value=2)
        dx, dheight = dxi / width, torch.addcmul(dsigma / width, dz, share)
        dwidth = -torch.addcmul(dx * xi, dsigma / width, sigma)
        around = torch.stack([-dx - dwidth, dwidth, dz - dheight, dheight, *(dslope * growth)])
        bins = shares.shape[1]
        table = shares.new_zeros(3, bins + 1, *xi.shape)
        table.scatter_(1, index.expand(3, *index.shape), around.view(3, 2, *xi.shape))
        sums = _constants(bins, ctx.bound, shares.dtype, shares.device)[1]
        dshares = (sums.T @ table[:2].flatten(2)).view_as(shares)
        dshares *= shares
        out = torch.empty(3 * bins - 1, *xi.shape, dtype=shares.dtype, device=shares.device)
        torch.sub(dshares, shares * dshares.sum(1, keepdim=True), out=out[: 2 * bins].view_as(shares))
        out[2 * bins :] = table[2, 1:bins]
        return out, torch.where(inside, dx, dz), None
