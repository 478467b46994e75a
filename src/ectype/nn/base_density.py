"""Base distributions p_Z of flows ``(B, dim)``: what T sends the rows to.

=========== ==================================================================================================================
``normal``  N(0, I)
``student`` independent Student t with ν = 4: heavy tails need not be made by T, whose splines are the identity far out
``mixture`` Σₖ πₖ(c) N(z; mₖ, diag sₖ²), all learned: a space that is bent cannot be torn, and clumps need not be torn from one. It starts
            as the mixture of maximum likelihood of the rows themselves, since T starts as the identity
=========== ==================================================================================================================

The first and the last are priors of latent variables too, :mod:`ectype.nn.prior`.

References
    Jaini, Kobyzev, Yu & Brubaker, *Tails of Lipschitz triangular flows*, 2020 (the tails of a flow are those of its base).
    Izmailov, Kirichenko, Finzi & Wilson, *Semi-supervised learning with normalizing flows*, 2020 (a mixture as the base).
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor

from .prior import MixturePrior, NormalPrior, Prior

if TYPE_CHECKING:
    from ..rng import Rows

COMPONENTS = 64         # Gaussians of the mixture; a tenth of the rows where they are fewer
MOST_ROWS = 10_000      # that it starts from
UNUSED = -12.0          # log weight of the Gaussians that few rows leave without a part, at the beginning


class StudentBase(Prior):
    """Independent Student t with four degrees of freedom, p(z) = 3/8 (1 + z²/4)^{−5/2}."""

    def log_prob(self, z: Tensor, c: Tensor | None) -> Tensor:
        return (math.log(3 / 8) - 2.5 * torch.log1p(z.square() / 4)).sum(1)

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        """N(0, 1) / √(χ²₄ / 4), with χ²₄ = −2 log(u₁ u₂)."""
        square = -2 * (noise.uniform(self.dim).clamp(min=1e-12).log() + noise.uniform(self.dim).clamp(min=1e-12).log())
        return noise.normal(self.dim) * (square / 4).clamp(min=1e-12).rsqrt()


class MixtureBase(MixturePrior):
    """The mixture of Gaussians; :meth:`fit` says where it starts."""

    @torch.no_grad()
    def fit(self, z: Tensor) -> None:
        """Expectation maximisation on rows ``z (N, dim)``."""
        rows = z[:MOST_ROWS].double().cpu().numpy()
        k = max(1, min(len(self.mean), len(rows) // 10))
        with threadpool_limits(1), warnings.catch_warnings():           # more threads gain nothing here
            warnings.simplefilter("ignore", ConvergenceWarning)         # training goes on from wherever this stands
            found = GaussianMixture(k, covariance_type="diag", reg_covar=1e-4, random_state=0, max_iter=30, tol=1e-2,
                                    init_params="k-means++").fit(rows)
        log_weights = torch.from_numpy(found.weights_).log().clamp(min=UNUSED)
        self.mean[:k], self.log_std[:k] = torch.from_numpy(found.means_), 0.5 * torch.from_numpy(found.covariances_).log()
        logits = self.logits.bias if isinstance(self.logits, torch.nn.Linear) else self.logits
        logits.fill_(UNUSED)
        logits[:k] = log_weights


def base(name: str, dim: int, cond: int = 0) -> Prior:
    """The base distribution of that name for ``dim`` numbers, given ``cond`` features of the condition."""
    return {"normal": lambda: NormalPrior(dim), "student": lambda: StudentBase(dim),
            "mixture": lambda: MixtureBase(dim, cond, COMPONENTS)}[name]()
