"""The average over weights that is used for everything after training (exponential moving average, EMA)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn


def gamma(relative_length: float) -> float:
    """Exponent of the power-function average whose standard deviation is ``relative_length`` times the run so far.

    σ_rel = √((γ + 1) / ((γ + 2)² (γ + 3))): Karras, Aittala, Lehtinen, Hellsten, Aila & Laine, *Analyzing and improving the training
    dynamics of diffusion models*, 2024, appendix C. The positive root of the cubic.
    """
    t = relative_length**-2
    return float(np.roots([1, 7, 16 - t, 12 - t]).real.max())


class Average:
    """θ̄ ← β θ̄ + (1 − β) θ with β = (1 − 1/t)^{γ + 1} after step t: an average over about the last ``relative_length`` of the run.

    The length grows with the run, so that it suits a hundred steps and a million, and the total need not be known.
    """

    def __init__(self, weights: Sequence[nn.Parameter], relative_length: float):
        self.weights = list(weights)
        self.values = [p.detach().clone() for p in self.weights]
        self.exponent = gamma(relative_length) + 1 if relative_length else None

    @torch.no_grad()
    def update(self, t: int) -> None:
        """Take in the weights after step ``t`` (counted from 1)."""
        if self.exponent is None:
            torch._foreach_copy_(self.values, self.weights)
        else:
            torch._foreach_lerp_(self.values, self.weights, 1 - (1 - 1 / t) ** self.exponent)

    def swap(self) -> None:
        """Exchange weights and average; twice is the identity."""
        for i, p in enumerate(self.weights):
            p.data, self.values[i] = self.values[i], p.data
