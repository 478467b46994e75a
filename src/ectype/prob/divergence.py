"""Divergences between distributions, each in one place."""

from __future__ import annotations

import torch
from torch import Tensor


def kl_standard_normal(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL(N(μ, diag σ²) ‖ N(0, I)) in nats per dimension, elementwise: ½ (μ² + σ² − 1) − log σ."""
    return 0.5 * (mean**2 + torch.exp(2 * log_std) - 1) - log_std


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """2 E‖x − y‖ − E‖x − x′‖ − E‖y − y′‖ between two samples ``(N, D)`` and ``(M, D)``, unbiased; 0 for equal distributions.

    Székely & Rizzo, *Testing for equal distributions in high dimension*, 2004.
    """
    n, m = len(x), len(y)
    within_x = torch.cdist(x, x).sum() / (n * (n - 1))
    within_y = torch.cdist(y, y).sum() / (m * (m - 1))
    return 2 * torch.cdist(x, y).mean() - within_x - within_y
