"""Noise schedules of diffusion models: how much signal and how much noise at time t.

    q(x_t | x_0) = N(α(t) x_0, σ²(t) I),   t in [0, 1],   α² + σ² = 1  (variance preserving)

The signal-to-noise ratio α²/σ² falls strictly from t = 0 (data) to t = 1 (noise).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

ScheduleName = Literal["cosine", "linear"]
MIN_LOG_SNR, MAX_LOG_SNR = -12.0, 12.0


@dataclass(frozen=True)
class Schedule:
    """A variance-preserving schedule by name.

    * ``cosine``: α = cos(π t / 2). Nichol & Dhariwal, *Improved denoising diffusion probabilistic models*, 2021, equation 17.
    * ``linear``: α² = exp(−½ (β₁ − β₀) t² − β₀ t), β from 0.1 to 20: the limit of 1,000 steps from 10⁻⁴ to 0.02. Ho, Jain & Abbeel 2020,
      section 4; Song et al., *Score-based generative modeling through stochastic differential equations*, 2021, appendix C.

    log α²/σ² is clipped to ±12, so that both ends are clean and no division is by zero.
    """

    name: ScheduleName = "cosine"

    def log_snr(self, t: Tensor) -> Tensor:
        """log α²(t)/σ²(t)."""
        if self.name == "cosine":
            value = -2 * torch.log(torch.tan((math.pi / 2 * t).clamp(1e-5, math.pi / 2 - 1e-5)))
        else:
            minus_log_alpha2 = 0.5 * (20.0 - 0.1) * t**2 + 0.1 * t
            value = -torch.log(torch.expm1(minus_log_alpha2.clamp(min=1e-6)))
        return value.clamp(MIN_LOG_SNR, MAX_LOG_SNR)

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α(t) and σ(t)."""
        log_snr = self.log_snr(t)
        return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
