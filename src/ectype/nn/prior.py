"""Priors p(z) of a latent variable ``(B, dim)``: fixed or learned, given a condition c where there is one.

=========== ==================================================================================================================
``normal``  N(0, I); nothing is learned
``mixture`` Σₖ πₖ(c) N(z; mₖ, diag sₖ²), all learned
``flow``    that of T⁻¹(u) with u ~ N(0, I): log p(z) = log N(T(z); 0, I) + log |det ∂T/∂z|, T a stack of affine couplings
=========== ==================================================================================================================

Averaged over rows, the bound of a VAE is largest, in its prior, where p(z) is the *aggregate posterior* Eₓ[q(z|x)] (Hoffman & Johnson,
*ELBO surgery*, 2016): a learned prior goes there, so that a draw from it is a code that the decoder has seen. The mixture is the
simplest one of Tomczak & Welling, *VAE with a VampPrior*, 2018, section 3.1; the flow as a prior is Chen, Kingma, Salimans et al.,
*Variational lossy autoencoder*, 2017, section 3.2, with the couplings of Dinh, Sohl-Dickstein & Bengio, *Density estimation using Real
NVP*, 2017.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .coupling import masks
from .mlp import MLP

if TYPE_CHECKING:
    from ..rng import Rows

NAMES = ("normal", "mixture", "flow")
COMPONENTS = 100        # Gaussians of the mixture
LAYERS, WIDTH = 4, 128  # couplings of the flow, and hidden width of their networks
MOST_LOG_SCALE = 2.0    # of one coupling: in one layer a number is stretched or shrunk e² = 7.4 times at most
LOG_2PI = math.log(2 * math.pi)
LEAST_LOG_STD = -5.0     # of a component: narrower ones cannot be told from a point in float32


class Prior(nn.Module):
    """Base of the priors; abstract in :meth:`log_prob` and :meth:`sample`. ``c`` is the embedded condition ``(B, cond)`` or None."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def log_prob(self, z: Tensor, c: Tensor | None) -> Tensor:
        """log p(z | c) in nats, ``(B,)``."""
        raise NotImplementedError

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        """``noise.n`` draws, ``(B, dim)``."""
        raise NotImplementedError


class NormalPrior(Prior):
    """N(0, I)."""

    def log_prob(self, z: Tensor, c: Tensor | None) -> Tensor:
        return -0.5 * (z.square() + LOG_2PI).sum(1)

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        return noise.normal(self.dim)


class MixturePrior(Prior):
    """Σₖ πₖ(c) N(z; mₖ, diag sₖ²); the weights are a linear function of the condition."""

    def __init__(self, dim: int, cond: int = 0, components: int = COMPONENTS):
        super().__init__(dim)
        self.mean = nn.Parameter(0.7 * torch.randn(components, dim))
        self.log_std = nn.Parameter(torch.full((components, dim), -0.35))       # mixed, about N(0, I) at the beginning
        self.logits = nn.Linear(cond, components) if cond else nn.Parameter(torch.zeros(components))

    def log_weights(self, c: Tensor | None) -> Tensor:
        """log πₖ(c), ``(B, K)``, or ``(K,)`` without a condition."""
        return (self.logits(c).float() if isinstance(self.logits, nn.Linear) else self.logits).log_softmax(-1)

    def log_prob(self, z: Tensor, c: Tensor | None) -> Tensor:
        log_std = self.log_std.clamp(min=LEAST_LOG_STD)
        scaled, mean = torch.exp(-log_std), self.mean                           # (K, dim)
        square = torch.stack([((z - m) * s).square().sum(1) for m, s in zip(mean, scaled, strict=True)], dim=1)      # (B, K), no cancelling
        return torch.logsumexp(self.log_weights(c) - 0.5 * square - log_std.sum(1), dim=1) - 0.5 * self.dim * LOG_2PI

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        k = (self.log_weights(c) + noise.gumbel(len(self.mean))).argmax(1)      # a draw of the component
        return self.mean[k] + torch.exp(self.log_std[k].clamp(min=LEAST_LOG_STD)) * noise.normal(self.dim)


class FlowPrior(Prior):
    """The density of T⁻¹(u), u ~ N(0, I). T moves and scales every number, then a half by functions of the other, in turns:

        u₀ = (z − b) e^{−a},      u_B ← (u_B − m(u_A, c)) e^{−l(u_A, c)},  log |det ∂T/∂z| = −Σ a − Σ_{layers, B} l

    Both directions cost one pass. |l| is bounded, so that no layer alone can be singular.
    """

    def __init__(self, dim: int, cond: int = 0, layers: int = LAYERS, width: int = WIDTH):
        super().__init__(dim)
        self.center, self.log_scale = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))     # b, a
        kept = torch.stack(masks(dim, layers))                                                           # (layers, dim), 1 in A
        self.register_buffer("kept", kept, persistent=False)
        for i, mask in enumerate(kept):
            self.register_buffer(f"moved{i}", torch.nonzero(mask == 0).squeeze(1), persistent=False)    # B
        self.nets = nn.ModuleList(MLP((dim,), (2, int((mask == 0).sum())), (width, width), cond=cond) for mask in kept)
        for net in self.nets:                   # the identity at the beginning
            nn.init.zeros_(net.layers[-1].weight)
            nn.init.zeros_(net.layers[-1].bias)

    def _shift_and_scale(self, i: int, u: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """m and l of coupling i, each ``(B, dim of the moved half)``."""
        m, raw = self.nets[i](u * self.kept[i], c).float().unbind(1)
        return m, MOST_LOG_SCALE * torch.tanh(raw / MOST_LOG_SCALE)

    def log_prob(self, z: Tensor, c: Tensor | None) -> Tensor:
        u, log_det = (z - self.center) * torch.exp(-self.log_scale), -self.log_scale.sum()
        for i in range(len(self.nets)):
            moved = getattr(self, f"moved{i}")
            m, log_l = self._shift_and_scale(i, u, c)
            u = u.index_copy(1, moved, (u[:, moved] - m) * torch.exp(-log_l))
            log_det = log_det - log_l.sum(1)
        return log_det - 0.5 * (u.square() + LOG_2PI).sum(1)

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        u = noise.normal(self.dim)
        for i in reversed(range(len(self.nets))):
            moved = getattr(self, f"moved{i}")
            m, log_l = self._shift_and_scale(i, u, c)
            u = u.index_copy(1, moved, u[:, moved] * torch.exp(log_l) + m)
        return u * torch.exp(self.log_scale) + self.center


def prior(name: str, dim: int, cond: int = 0) -> Prior:
    """The prior of that name (:data:`NAMES`) for ``dim`` numbers, given ``cond`` features of the condition."""
    return {"normal": lambda: NormalPrior(dim), "mixture": lambda: MixturePrior(dim, cond), "flow": lambda: FlowPrior(dim, cond)}[name]()
