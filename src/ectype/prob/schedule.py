"""Noise schedules of diffusion models: how much signal and how much noise at time t.

    q(x_t | x_0) = N(α(t) x_0, σ²(t) I),   t in [0, 1],   α² + σ² = 1  (variance preserving)

The logarithm of the signal-to-noise ratio, λ(t) = log α²(t)/σ²(t), falls from t = 0 (data) to t = 1 (noise); α² = sigmoid(λ).

========= ============================================================================================================================
cosine    α = cos(π t / 2). Nichol & Dhariwal, *Improved denoising diffusion probabilistic models*, 2021, equation 17
linear    α² = exp(−½ (β₁ − β₀) t² − β₀ t), β from 0.1 to 20: the limit of 1,000 steps from 10⁻⁴ to 0.02. Ho, Jain & Abbeel 2020,
          section 4; Song et al., *Score-based generative modeling through stochastic differential equations*, 2021, appendix C
learned   as much time for each noise level as the model's loss varies there, by what was seen in training
========= ============================================================================================================================

The **learned** schedule changes no bound but the variance of its estimate: with g(λ) the loss of a row at a noise level, the mean over
times drawn evenly varies least when the density of times is ∝ √E[g²(λ)]. A running mean of g² in bins of λ gives that density, and its
cumulative sum t(λ), whose inverse is λ(t): monotone by construction. It starts as the cosine schedule. Kingma, Salimans, Poole & Ho,
*Variational diffusion models*, 2021, section 5.1 and appendix I.2 (the schedule of least variance); Dieleman et al., *Continuous
diffusion for categorical data*, 2022, section 3.3 (one fitted to the loss).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import InvalidParameterError

ScheduleName = Literal["cosine", "linear", "learned"]
ENDS = (12.0, -12.0)                # λ beyond which it is clipped: both ends are clean, and no division is by zero
CLEAN = (6.0, -6.0)                 # at the data 5 % of noise, at the noise 5 % of signal: no end may have more
BINS = 64
WARM = 20_000                       # rows, after which half of the learned density is what was seen
RATE = 1e-3                         # weight of a row in the running mean of its bin


class Schedule(nn.Module):
    """A variance-preserving schedule by name, with λ clipped to ``ends`` = (λ(0), λ(1)).

    Raises :class:`InvalidParameterError` where the ends are not clean: at t = 0 there would be noise left, or at t = 1 signal.
    """

    def __init__(self, name: ScheduleName = "cosine", ends: tuple[float, float] = ENDS):
        super().__init__()
        if not (ends[0] >= CLEAN[0] and ends[1] <= CLEAN[1]):
            raise InvalidParameterError("the ends of the schedule are not clean: noise would be left in the data, or data in the noise",
                                        expected=f"log signal-to-noise from {CLEAN[0]:g} or more to {CLEAN[1]:g} or less",
                                        got=f"{ends[0]:g} to {ends[1]:g}")
        self.name, self.high, self.low = name, float(ends[0]), float(ends[1])
        if name == "learned":
            self.register_buffer("squares", torch.zeros(BINS))         # running mean of g² in each bin, the first at the data
            self.register_buffer("seen", torch.zeros(()))               # rows

    def log_snr(self, t: Tensor) -> Tensor:
        """λ(t)."""
        if self.name == "cosine":
            value = -2 * torch.log(torch.tan((math.pi / 2 * t).clamp(1e-5, math.pi / 2 - 1e-5)))
        elif self.name == "linear":
            minus_log_alpha2 = 0.5 * (20.0 - 0.1) * t**2 + 0.1 * t
            value = -torch.log(torch.expm1(minus_log_alpha2.clamp(min=1e-6)))
        else:
            value = self._learned(t)
        return value.clamp(self.low, self.high)

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α(t) and σ(t)."""
        log_snr = self.log_snr(t)
        return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()

    def time_of(self, log_snr: Tensor) -> Tensor:
        """The inverse of λ(t), by interpolation; t of values beyond the ends is 0 or 1."""
        grid = torch.linspace(1, 0, 4097, device=log_snr.device)
        known = self.log_snr(grid).contiguous()                                         # rises
        i = torch.searchsorted(known, log_snr.contiguous(), right=True).clamp(1, len(grid) - 1)
        low, high = known[i - 1], known[i]
        return grid[i - 1] + (grid[i] - grid[i - 1]) * ((log_snr - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)

    def fall(self, t: Tensor) -> Tensor:
        """−dλ/dt ≥ 0; zero where λ is clipped."""
        with torch.enable_grad():
            t = t.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.log_snr(t).sum(), t)
        return -slope

    # -- the learned one ---------------------------------------------------------------------------------------------------------

    def _edges(self) -> Tensor:
        """λ at the edges of the bins, falling, ``(BINS + 1,)``."""
        return torch.linspace(self.high, self.low, BINS + 1, dtype=torch.float64, device=self.squares.device)

    def _times(self) -> Tensor:
        """t at the edges of the bins, rising from 0 to 1: the cumulative density of times."""
        cosine = (2 / math.pi * torch.atan(torch.exp(-self._edges() / 2))).diff()
        cosine = cosine / cosine.sum()
        learned = self.squares.double().sqrt()
        learned = learned + 0.05 * learned.mean()                       # no noise level is left out
        learned = torch.where(learned.sum() > 0, learned / learned.sum(), cosine)
        share = (self.seen / (self.seen + WARM)).double()
        density = share * learned + (1 - share) * cosine
        return torch.cat([density.new_zeros(1), density.cumsum(0) / density.sum()])

    def _learned(self, t: Tensor) -> Tensor:
        times, edges = self._times(), self._edges()
        i = (torch.searchsorted(times, t.detach().double().contiguous(), right=True) - 1).clamp(0, BINS - 1)
        place = (t.double() - times[i]) / (times[i + 1] - times[i])
        return (edges[i] + place * (edges[i + 1] - edges[i])).to(t.dtype)

    @torch.no_grad()
    def observe(self, t: Tensor, g: Tensor) -> None:
        """Take in the losses ``g (B,)``, per unit of λ, of rows at times ``t (B,)``; nothing for a schedule that is fixed."""
        if self.name != "learned":
            return
        i = ((self.high - self.log_snr(t)) / (self.high - self.low) * BINS).long().clamp(0, BINS - 1)
        n = torch.zeros_like(self.squares).index_add_(0, i, torch.ones_like(g))
        mean = torch.zeros_like(self.squares).index_add_(0, i, g.square().to(self.squares.dtype)) / n.clamp(min=1)
        known = torch.where(self.squares > 0, self.squares, mean)       # a bin's first rows are its mean
        updated = known + (1 - (1 - RATE) ** n) * (mean - known)
        self.squares.copy_(torch.where((n > 0) & torch.isfinite(mean), updated, self.squares))
        self.seen.add_(len(t))
