"""The optimisers: what a gradient does to the weights.

Notation
    θ, g        a weight, and the gradient of the loss at it
    η           the learning rate of this step
    β₁, β₂      decay rates (``Train.betas``);  w: decoupled weight decay

*Adam* (AdamW) divides the running mean of each number's gradient by its running root mean square. *Muon* treats the weights between two
layers as the linear map that they are. With the running mean M of its gradient and the singular value decomposition M = U S Vᵀ,

    θ  ←  (1 − η w) θ  −  0.2 √max(m, n) η U Vᵀ,              θ of m × n; a convolution's kernel is (channels out) × (all that it sees),
                                                              a transposed one's (channels in) × (all that it reaches)

the steepest step among those of one spectral norm: every direction of the map moves by as much, where Adam's step is mostly a few large
ones. The factor gives the step the usual root mean square of Adam's, 0.2 η, so that one η serves both; what is not a map (biases, norms)
takes Adam's step. What has one axis is none; a flow of tables keeps all its weights in one vector, which is Adam's.

The singular value decomposition is not computed. Newton and Schulz's iteration, X ← (a + b X Xᵀ + c (X Xᵀ)²) X from X = M/‖M‖, leaves the
singular vectors and moves every singular value towards one; after five steps with the coefficients below all that were at least 0.002 of
the norm are between 0.68 and 1.21, which is near enough. All the factors are polynomials in X Xᵀ, so they commute: the iteration runs
on that small square matrix A, as Q ← Z Q and A ← Z A Z with Z = a + b A + c A², and X itself is multiplied only once, by Q.

The U-Net of MNIST, batches of 64, η = 4e-3, one seed: the held-out error is 0.2135 after 700 steps of Muon (97 s of one core) and 0.2172
after 1,400 of Adam (157 s). At the full rate an average over weights must be short: with a relative length of 0.08 the held-out error of
either rose after 3,000 steps, from 0.200 to 0.206 and to 0.23, while the loss in training still fell; with 0.03 it fell to the end, to
0.1846 after 14,000 steps of Muon, where Adam had come to 0.191 after 12,500 with 0.08.

References
    Loshchilov & Hutter, *Decoupled weight decay regularization*, 2019: algorithm 2 (AdamW).
    Jordan, Jin, Boza, You, Cesista, Newhouse & Bernstein, *Muon: an optimizer for hidden layers in neural networks*, 2024 (iteration,
    coefficients, momentum).
    Liu, Su et al., *Muon is scalable for LLM training*, 2025: equation 4 (the factor).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from ..spec import Train

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)       # a, b, c
ITERATIONS = 5
MOMENTUM = 0.95
NOTHING = 1e-20         # the largest number of a gradient that is none


def optimizer(parameters: Iterable[nn.Parameter], settings: Train) -> AdamW | Muon:
    """The optimiser that the settings name."""
    if settings.optimizer == "muon":
        return Muon(parameters, settings)
    return AdamW(parameters, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=True)


class AdamW(torch.optim.AdamW):
    """The library's, fused."""

    @torch.no_grad()
    def move(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], lr: float) -> None:
        """``step()`` at that rate, without what it does around the one fused operation: on a small table a tenth of a step."""
        group, state = self.param_groups[0], self.state
        group["lr"] = lr
        if len(state) < len(parameters):
            state.update((p, moments(p)) for p in parameters)
        fused(parameters, gradients, [state[p] for p in parameters], group, lr)


class Muon(torch.optim.Optimizer):
    """Muon for all weights that are linear maps, Adam for the others; it is moved by :meth:`move` alone."""

    def __init__(self, parameters: Iterable[nn.Parameter], settings: Train):
        super().__init__(parameters, {"lr": settings.lr, "betas": settings.betas, "weight_decay": settings.weight_decay, "eps": 1e-8})

    @torch.no_grad()
    def move(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], lr: float) -> None:
        """One step at that rate."""
        group = self.param_groups[0]
        group["lr"] = lr
        plain = []
        for p, g in zip(parameters, gradients, strict=True):
            state = self.state[p]
            if p.ndim < 2:
                if not state:
                    state |= moments(p)
                plain.append((p, g, state))
                continue
            if not state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(g, 1 - MOMENTUM)
            mean = g.lerp(state["momentum"], MOMENTUM).flatten(1)                    # (m, n); Nesterov's: the mean one step ahead
            p.mul_(1 - lr * group["weight_decay"]).sub_(orthogonal(mean).view(p.shape), alpha=0.2 * math.sqrt(max(mean.shape)) * lr)
        if plain:
            fused(*map(list, zip(*plain, strict=True)), group, lr)


def moments(p: Tensor) -> dict[str, Tensor]:
    """What Adam keeps of a weight, before the first step."""
    return {"step": torch.zeros((), device=p.device), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}


def fused(parameters: Sequence[Tensor], gradients: Sequence[Tensor], states: Sequence[dict[str, Tensor]], group: dict[str, Any],
          lr: float) -> None:
    """One step of AdamW for all of them at once."""
    rows = [in_memory_order(p, g, s["exp_avg"], s["exp_avg_sq"]) for p, g, s in zip(parameters, gradients, states, strict=True)]
    adamw(*map(list, zip(*rows, strict=True)), [], [s["step"] for s in states], lr=lr, beta1=group["betas"][0], beta2=group["betas"][1],
          weight_decay=group["weight_decay"], eps=group["eps"], fused=True, amsgrad=False, maximize=False)


def in_memory_order(p: Tensor, gradient: Tensor, *moments: Tensor) -> tuple[Tensor, ...]:
    """A weight, its gradient and moments, seen with the axes in the order in which the weight lies in memory.

    The fused operation goes through memory. A kernel in channels-last order it first copies, in four times the time of its step; and where
    a gradient has another order than its weight, it meets each number of the weight with that of another. So the gradient gets the order of
    the weight here; moments have it, or would be changed in a copy.
    """
    if p.is_contiguous() and all(v.is_contiguous() for v in (gradient, *moments)):
        return p, gradient, *moments
    axes = sorted(range(p.ndim), key=p.stride, reverse=True)
    p, gradient, *moments = (v.permute(axes) for v in (p, gradient, *moments))
    return p, gradient.contiguous(), *moments


def orthogonal(mean: Tensor) -> Tensor:
    """About U Vᵀ of a matrix ``(m, n)`` = U S Vᵀ; zero of one that is as good as zero, or what stopped long ago would move on for ever."""
    a, b, c = NEWTON_SCHULZ
    wide = mean.shape[0] <= mean.shape[1]
    x = (mean if wide else mean.T).float()
    size = x.abs().amax()
    x = torch.where(size > NOTHING, x / size, 0.0)                                  # or its square were too small or large for a float
    x = x / x.norm().clamp(min=1.0)
    gram, product = x @ x.T, None
    for i in range(ITERATIONS):
        z = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        z.diagonal().add_(a)
        product = z if product is None else z @ product
        if i < ITERATIONS - 1:
            gram = z @ gram @ z
    return product @ x if wide else (product @ x).T
