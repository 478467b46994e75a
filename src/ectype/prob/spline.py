"""The monotone rational-quadratic spline of neural spline flows, and its inverse.

Notation
    x, z        what goes in and comes out, (n, B): slots first, so that rows are next to each other in memory
    w, v, s     unconstrained widths (K, n, B), heights (K, n, B) and slopes (K − 1, n, B) of the K bins; the network's output
    (xₖ, zₖ)    the knots, k = 0 … K, from (−b, −b) to (b, b);  δₖ > 0 the slope at a knot, 1 at both ends
    ξ           the place within the bin, (x − xₖ) / (xₖ₊₁ − xₖ);  σ = (zₖ₊₁ − zₖ) / (xₖ₊₁ − xₖ) the bin's mean slope

    z  = zₖ + (zₖ₊₁ − zₖ) (σ ξ² + δₖ ξ (1 − ξ)) / D,        D = σ + (δₖ₊₁ + δₖ − 2σ) ξ (1 − ξ)                  (equation 4)
    z′ = σ² (δₖ₊₁ ξ² + 2σ ξ (1 − ξ) + δₖ (1 − ξ)²) / D²                                                       (equation 5)

Outside of [−b, b] the spline is the identity. The bins are the first dimension: softmax and cumulative sums over a last dimension of eight
numbers leave a processor's vector units idle, and took most of a flow's step.

Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows*, 2019, section 3.1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 0.1     # times an equal share of the interval: what a bin has at least; narrower ones have slopes that float32 cannot invert
MIN_SLOPE = 1e-3        # at a knot
UNIT = math.log(math.expm1(1 - MIN_SLOPE))      # softplus of it is the slope of the identity


class Spline:
    """Splines of ``n`` slots and ``B`` rows from the unconstrained ``parameters (3K − 1, n, B)``; zeros give the identity."""

    def __init__(self, parameters: Tensor, bound: float):
        self.bound = bound
        self.bins = (len(parameters) + 1) // 3
        raw, self.s = parameters.split([2 * self.bins, self.bins - 1])
        shares = raw.unflatten(0, (2, self.bins)).softmax(1)                            # (2, K, n, B): widths and heights
        self.sizes = torch.add(2 * bound * LEAST / self.bins, shares, alpha=2 * bound * (1 - LEAST))
        # xₖ₊₁ and zₖ₊₁; as a product with a triangle of ones, which is several times as fast as a cumulative sum
        self.ends = (torch.ones(self.bins, self.bins, device=raw.device).tril() @ self.sizes.flatten(2)).view_as(self.sizes) - bound

    def _bin(self, value: Tensor, ends: Tensor) -> tuple[Tensor, ...]:
        """Left end, width, bottom, height of the bin of each value, and the slopes at its two ends."""
        k = (value >= ends[:-1]).sum(0, keepdim=True)
        (width, height), (right, top) = (t.gather(1, k.expand(2, *k.shape)).squeeze(1) for t in (self.sizes, self.ends))
        return right - width, width, top - height, height, self._slope(k - 1, k > 0), self._slope(k, k < self.bins - 1)

    def _slope(self, k: Tensor, exists: Tensor) -> Tensor:
        """The slope at the knot after bin k; 1 at the ends of the interval."""
        if self.bins == 1:
            return torch.ones_like(k[0], dtype=self.s.dtype)
        return torch.where(exists, F.softplus(self.s.gather(0, k.clamp(0, self.bins - 2)) + UNIT) + MIN_SLOPE, 1.0)[0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z and log z′, each ``(n, B)``."""
        inside = x.abs() < self.bound
        x0, width, z0, height, d0, d1 = self._bin(x, self.ends[0])
        sigma = height / width
        xi = torch.where(inside, (x - x0) / width, 0.5)
        rest = xi * (1 - xi)
        denominator = sigma + (d0 + d1 - 2 * sigma) * rest
        z = z0 + height * (sigma * xi.square() + d0 * rest) / denominator
        slope = sigma.square() * (d1 * xi.square() + 2 * sigma * rest + d0 * (1 - xi).square()) / denominator.square()
        return torch.where(inside, z, x), torch.where(inside, slope.log(), 0.0)

    def inverse(self, z: Tensor) -> Tensor:
        """The x that :meth:`forward` maps to z: the root of a quadratic in ξ (equations 6 to 8), in the form without cancellation."""
        inside = z.abs() < self.bound
        x0, width, z0, height, d0, d1 = self._bin(z, self.ends[1])
        sigma = height / width
        rise = torch.where(inside, z - z0, 0.0)
        bend = rise * (d0 + d1 - 2 * sigma)
        a, b, c = height * (sigma - d0) + bend, height * d0 - bend, -sigma * rise
        xi = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
        return torch.where(inside, x0 + xi * width, z)
