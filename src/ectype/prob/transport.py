"""Which noise belongs to which row: pairs of least total distance within a batch.

Flow matching draws lines from noise to rows. Drawn at random, lines cross, and a path, which must not, bends where they do. Dealing the
same noise to the same rows so that

    Σᵢ ‖xᵢ − ε_{π(i)}‖²        is least over all permutations π

leaves few crossings, and straighter paths. Rows of different conditions keep to themselves (π permutes within a class): what a row is
paired with must not tell its condition.

Tong et al., *Improving and generalizing flow-based generative models with minibatch optimal transport*, 2024, section 3.2; Pooladian et
al., *Multisample flow matching*, 2023.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

MOST = 256


def deal(x: Tensor, eps: Tensor, classes: Tensor | None = None) -> Tensor:
    """The rows of ``eps (B, *shape)`` in the order that brings them nearest to those of ``x``; within ``classes (B,)`` where given, and
    within ``MOST`` rows: the time grows with the cube of their number."""
    groups = [torch.arange(len(x), device=x.device)] if classes is None else [torch.nonzero(classes == k)[:, 0] for k in classes.unique()]
    dealt = eps.clone()
    for rows in (part for group in groups for part in group.split(MOST)):
        if len(rows) > 1:
            cost = torch.cdist(x[rows].flatten(1).float(), eps[rows].flatten(1).float()).square()
            _, to = linear_sum_assignment(cost.cpu().numpy())
            dealt[rows] = eps[rows[torch.from_numpy(to).to(rows.device)]]
    return dealt
