"""Two samples compared by their nearest neighbours: how far apart the distributions are, and which of the two leaves something out.

Notation
    x, y      two samples of the same size, (N, D), from the densities p and q
    ρ_k(x)    distance from x to its k-th nearest neighbour among the *other* rows of its own sample
    ν_k(x)    distance from x to its k-th nearest neighbour in the other sample

In d dimensions a ball of radius r around x that holds k of N rows says p(x) ≈ k / (N V_d r^d). So the logarithm of the ratio of two radii
is that of two densities, and its mean a divergence:

    KL(p ‖ q) ≈ d · mean_x log( ν_k(x) / ρ_k(x) )

Where q leaves out a mode of p, its rows x are far from any y: KL(p ‖ q) grows. Where q puts rows that p does not have, KL(q ‖ p) does, and
where q has collapsed to few points, its ρ are small. No scale has to be chosen: the comparison is as fine as the samples are dense.

References
    Wang, Kulkarni & Verdú, *Divergence estimation for multidimensional densities via k-nearest-neighbor distances*, 2009: equation 20.
    Kynkäänniemi, Karras, Laine, Lehtinen & Aila, *Improved precision and recall metric for assessing generative models*, 2019.
    Naeem, Oh, Uh, Choi & Yoo, *Reliable fidelity and diversity metrics for generative models*, 2020 (coverage).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FINEST = 1e-4       # distances below this share of the rows' typical distance count as equal: tables repeat their rows


@dataclass(frozen=True)
class Neighbourhoods:
    """What the distances between two samples say of ``y`` as an imitation of ``x``."""

    divergence: Tensor
    """(KL(p ‖ q) + KL(q ‖ p)) / d in nats per dimension; 0 for equal distributions, up to chance on both sides."""
    precision: Tensor
    """Share of the y that lie in the ball of some x that reaches to its k-th neighbour."""
    coverage: Tensor
    """Share of the x whose ball holds a y."""
    diversity: Tensor
    """Mean distance between two y, over that between two x; 1 for equal distributions, 0 where all y are the same."""

    @property
    def distance(self) -> Tensor:
        """The divergence − log precision − log coverage: scattered samples with none of their own near them hide from the first."""
        return self.divergence - (self.precision * self.coverage).clamp_min(1e-6).log()


def neighbourhoods(x: Tensor, y: Tensor, k: int = 5) -> Neighbourhoods:
    """Compare samples ``x`` and ``y`` of one size, ``(N, D)``; ``k`` is cut to N − 1. Time and memory grow with N²."""
    k = min(k, len(x) - 1)
    within_x, within_y, between = (_distances(a.float(), b.float()) for a, b in ((x, x), (y, y), (x, y)))
    n_pairs = len(x) * (len(x) - 1)
    spread, spread_y = within_x.sum() / n_pairs, within_y.sum() / n_pairs
    floor = (FINEST * spread).clamp_min(torch.finfo(torch.float32).tiny)
    own_x, own_y = (_kth(d.fill_diagonal_(torch.inf), k, floor) for d in (within_x, within_y))
    other_x, other_y = _kth(between, k, floor), _kth(between.T, k, floor)
    inside = between <= own_x[:, None]                                          # y_j in the ball of x_i, closed: rows may repeat
    return Neighbourhoods((other_x / own_x).log().mean() + (other_y / own_y).log().mean(), inside.any(0).float().mean(),
                          inside.any(1).float().mean(), spread_y / spread.clamp_min(floor))


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """‖a_i − b_j‖ by a matrix product in float64: in float32 its rounding is of the size of what is looked at where samples are close
    together, and without a product it takes ten times as long for pictures."""
    a, b = a.double() - a.double().mean(0), b.double() - a.double().mean(0)
    squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    return squares.clamp_min(0).sqrt().float()


def _kth(distances: Tensor, k: int, floor: Tensor) -> Tensor:
    """The k-th smallest of each row, at least ``floor``."""
    return distances.topk(k, dim=1, largest=False).values[:, -1].clamp_min(floor)       # an eighth of kthvalue's time
