"""From noise to data with a denoiser: the samplers that diffusion and flow matching share.

Notation
    x_t         a row with noise, x_t = α_t x + σ_t ε;  s < t is the next time, one step nearer to the data
    x_hat       what the denoiser takes the data to be, D(x_t, t);  ε_hat = (x_t − α_t x_hat) / σ_t the noise that this implies
    α_{t|s}     α_t/α_s,    σ²_{t|s} = σ²_t − α²_{t|s} σ²_s: of the step from s to t of the forward process

The *reverse process* draws x_s from the Gaussian posterior of the forward one with x_hat in the place of the data:

    q(x_s | x_t, x) = N( (α_{t|s} σ²_s / σ²_t) x_t + (α_s σ²_{t|s} / σ²_t) x,   (σ²_{t|s} σ²_s / σ²_t) I )                  ancestral

with this variance ("small", right for data that are one point) or σ²_{t|s} ("large", right for data that are white noise). A family of
processes with the same marginals has as much fresh noise as η says; η = 1 is the ancestral step, and η = 0 has none:

    x_s = α_s x_hat + √(σ²_s − σ̃²) ε_hat + σ̃ ε,     σ̃ = η σ_{t|s} σ_s / σ_t                                              ddim

Without fresh noise it is Euler's method, x_s = x_t + (α_s − α_t) x_hat + (σ_s − σ_t) ε_hat, for an ordinary differential equation that
takes the marginals of the forward process to each other, the *probability flow*:

    dx = x_hat dα + ε_hat dσ                                                                                             flow

Heun's method takes the means of x_hat and of ε_hat at both ends of a step (order 2, two evaluations a step). DPM-Solver++ integrates
exactly in ℓ = log α/σ but for x_hat, which it extrapolates along the line through its last two values (order 2, one evaluation a step).
With η of fresh noise, which takes back what errors of earlier steps have done to the row (η = 1 is the reverse process, 0 its flow):

    x_s = (σ_s/σ_t) e^{−ηh} x_t + α_s (1 − e^{−(1+η)h}) ( x_hat + (x_hat − x_hat_before) h / (2 h_before) )
          + σ_s √(1 − e^{−2ηh}) ε,     h = ℓ_s − ℓ_t                                                                         dpm

The last step of every sampler gives x_hat itself.

References
    Ho, Jain & Abbeel, *Denoising diffusion probabilistic models*, 2020: equations 6–7, section 3.2 (both variances), algorithm 2.
    Song, Meng & Ermon, *Denoising diffusion implicit models*, 2021: equations 12, 16.
    Karras, Aittala, Aila & Laine, *Elucidating the design space of diffusion-based generative models*, 2022: algorithm 1.
    Lu, Zhou, Bao, Chen, Li & Zhu, *DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models*, 2022: algorithm 2, and
        section 5.2 (SDE-DPM-Solver++(2M)).
    Lugmayr et al., *RePaint: inpainting using denoising diffusion probabilistic models*, 2022: algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

Sampler = Literal["ancestral", "ddim", "heun", "dpm"]
Variance = Literal["small", "large"]
Denoiser = Callable[[Tensor, Tensor], Tensor]           # (x_t, t) → x_hat
Clock = Callable[[Tensor], tuple[Tensor, Tensor]]       # t → α_t, σ_t, shaped to multiply a batch
Draw = Callable[[], Tensor]                             # fresh ε ~ N(0, I), one for each row
At = tuple[Tensor, Tensor]                              # α and σ of a time
ETA = {"ddim": 0.0, "dpm": 1.0}                         # fresh noise, unless somebody asks for another share


def ancestral_step(x_t: Tensor, x_hat: Tensor, t: At, s: At, eps: Tensor, variance: Variance = "small") -> Tensor:
    """A draw of q(x_s | x_t, x = x_hat)."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = t, s
    alpha_ts = alpha_t / alpha_s
    variance_ts = (sigma_t**2 - alpha_ts**2 * sigma_s**2).clamp(min=0)
    mean = (alpha_ts * sigma_s**2 / sigma_t**2) * x_t + (alpha_s * variance_ts / sigma_t**2) * x_hat
    return mean + (variance_ts if variance == "large" else variance_ts * sigma_s**2 / sigma_t**2).sqrt() * eps


def ddim_step(x_t: Tensor, x_hat: Tensor, t: At, s: At, eps: Tensor | None = None, eta: float = 0.0) -> Tensor:
    """α_s x_hat + √(σ²_s − σ̃²) ε_hat + σ̃ ε."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = t, s
    eps_hat = (x_t - alpha_t * x_hat) / sigma_t
    if eps is None or eta == 0:
        return alpha_s * x_hat + sigma_s * eps_hat
    fresh = eta * sigma_s / sigma_t * (sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2).clamp(min=0).sqrt()
    return alpha_s * x_hat + (sigma_s**2 - fresh**2).clamp(min=0).sqrt() * eps_hat + fresh * eps


def dpm_step(x_t: Tensor, x_hat: Tensor, before: Tensor | None, r: At, t: At, s: At, eps: Tensor | None = None, eta: float = 0.0) -> Tensor:
    """DPM-Solver++(2M) from t to s; ``before`` is x_hat at the time r before t, None at the first step (then of order 1)."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = t, s
    h = torch.log(alpha_s / sigma_s) - torch.log(alpha_t / sigma_t)
    if before is not None:
        h_before = torch.log(alpha_t / sigma_t) - torch.log(r[0] / r[1])
        ratio = torch.where(h_before > 1e-6, h / (2 * h_before).clamp(min=1e-6), 0.0)           # no step, where λ is clipped
        x_hat = x_hat + ratio * (x_hat - before)
    x_s = (sigma_s / sigma_t) * torch.exp(-eta * h) * x_t - alpha_s * torch.expm1(-(1 + eta) * h) * x_hat
    return x_s if eps is None or eta == 0 else x_s + sigma_s * (-torch.expm1(-2 * eta * h)).sqrt() * eps


def ancestral(denoise: Denoiser, at: Clock, times: Tensor, x: Tensor, draw: Draw, *, variance: Variance = "small") -> Tensor:
    """The reverse chain from ``x`` at ``times[0]`` to the data at ``times[-1]``."""
    for i, (t, s) in enumerate(pairwise(times)):
        x_hat = denoise(x, t)
        x = x_hat if i == len(times) - 2 else ancestral_step(x, x_hat, at(t), at(s), draw(), variance)
    return x


def ddim(denoise: Denoiser, at: Clock, times: Tensor, x: Tensor, draw: Draw, *, eta: float = 0.0) -> Tensor:
    """The chain with η of the ancestral noise."""
    for i, (t, s) in enumerate(pairwise(times)):
        x_hat = denoise(x, t)
        x = x_hat if i == len(times) - 2 else ddim_step(x, x_hat, at(t), at(s), draw() if eta else None, eta)
    return x


def heun(denoise: Denoiser, at: Clock, times: Tensor, x: Tensor) -> Tensor:
    """Heun's method for the probability flow; 2 n − 1 evaluations for n steps."""
    for i, (t, s) in enumerate(pairwise(times)):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = at(t), at(s)
        x_hat = denoise(x, t)
        if i == len(times) - 2:
            return x_hat
        eps_hat = (x - alpha_t * x_hat) / sigma_t
        x_s = alpha_s * x_hat + sigma_s * eps_hat
        x_hat_s = denoise(x_s, s)
        eps_hat_s = (x_s - alpha_s * x_hat_s) / sigma_s
        x = x + (alpha_s - alpha_t) * (x_hat + x_hat_s) / 2 + (sigma_s - sigma_t) * (eps_hat + eps_hat_s) / 2
    return x


def dpm(denoise: Denoiser, at: Clock, times: Tensor, x: Tensor, draw: Draw, *, eta: float = 0.0) -> Tensor:
    """DPM-Solver++(2M) with η of fresh noise."""
    before, r = None, at(times[0])
    for i, (t, s) in enumerate(pairwise(times)):
        x_hat = denoise(x, t)
        if i == len(times) - 2:
            return x_hat
        x = dpm_step(x, x_hat, before, r, at(t), at(s), draw() if eta else None, eta)
        before, r = x_hat, at(t)
    return x


def evaluations(sampler: Sampler, steps: int) -> int:
    """Evaluations of the denoiser that a sampler takes for so many steps."""
    return 2 * steps - 1 if sampler == "heun" else steps


def inpaint(denoise: Denoiser, at: Clock, times: Tensor, x: Tensor, draw: Draw, known: Tensor, given: Tensor, resample: int = 1) -> Tensor:
    """The reverse chain given a part of the data: RePaint.

    known : 1 where ``given`` is the data, 0 elsewhere; both of the shape of ``x``.

    Before each step the known part is replaced by what it would be at that time, q(x_t | x). The unknown part then only follows it: so each
    step is taken ``resample`` times, going forward again by q(x_t | x_s) in between, until both parts agree.
    """
    last = len(times) - 2
    for i, (t, s) in enumerate(pairwise(times)):
        (alpha_t, sigma_t), at_s = at(t), at(s)
        for k in range(resample):
            x = torch.where(known > 0, alpha_t * given + sigma_t * draw(), x)
            x_hat = denoise(x, t)
            if i == last:
                break
            x_s = ancestral_step(x, x_hat, (alpha_t, sigma_t), at_s, draw())
            if k < resample - 1:
                alpha_ts = alpha_t / at_s[0]
                x = alpha_ts * x_s + (sigma_t**2 - alpha_ts**2 * at_s[1] ** 2).clamp(min=0).sqrt() * draw()
        x = x_hat if i == last else x_s
    return torch.where(known > 0, given, x)


def flow_log_prob(denoise: Denoiser, at: Clock, times: Tensor, x: Tensor, probes: list[Tensor]) -> Tensor:
    """log p(x) of the probability flow, ``(B,)``, in nats: from the data ``x`` at ``times[0]`` to noise at ``times[-1]``, by Heun's method.

        log p(x_0) = log N(x_1; 0, σ₁² I) + ∫ tr(∂x_hat/∂x) dα + tr(∂ε_hat/∂x) dσ,    tr(∂ε_hat/∂x) = (D − α tr(∂x_hat/∂x)) / σ

    The trace is Σ_k e_k J e_kᵀ over the ``probes``: unit vectors give it exactly, vectors of random signs (over the root of their number)
    an unbiased estimate. Song et al., *Score-based generative modeling through stochastic differential equations*, 2021, section 4.3;
    Grathwohl et al., *FFJORD*, 2019.
    """
    d = x[0].numel()

    def look(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x_hat and ε_hat, and the traces of their Jacobians."""
        alpha, sigma = at(t)
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            x_hat, trace = denoise(x_t, t), x.new_zeros(len(x))
            for e in probes:
                (product,) = torch.autograd.grad(x_hat, x_t, e.expand_as(x_t), retain_graph=True)
                trace = trace + (product * e).flatten(1).sum(1)
        return x_hat.detach(), ((x_t - alpha * x_hat) / sigma).detach(), trace, (d - alpha.flatten()[0] * trace) / sigma.flatten()[0]

    total = x.new_zeros(len(x), dtype=torch.float64)
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = at(t), at(s)
        x_hat, eps_hat, tr_x, tr_eps = look(x, t)
        x_hat_s, eps_hat_s, tr_x_s, tr_eps_s = look(x + (alpha_s - alpha_t) * x_hat + (sigma_s - sigma_t) * eps_hat, s)
        x = x + (alpha_s - alpha_t) * (x_hat + x_hat_s) / 2 + (sigma_s - sigma_t) * (eps_hat + eps_hat_s) / 2
        d_alpha, d_sigma = ((b - a).flatten()[0] for a, b in ((alpha_t, alpha_s), (sigma_t, sigma_s)))
        total = total + (d_alpha * (tr_x + tr_x_s) / 2 + d_sigma * (tr_eps + tr_eps_s) / 2).double()
    _, sigma = at(times[-1])
    return total + (-0.5 * (x / sigma).square() - torch.log(sigma) - 0.5 * math.log(2 * math.pi)).flatten(1).double().sum(1)
