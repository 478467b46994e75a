"""The linear autoencoder, which finds the principal components.

Notation
    x       a row as features, (B, d), flattened
    m       the mean of the training rows: where the code's axes cross, as in principal component analysis
    h       its code, h = W (x − m) + a, (B, latent_dim)
    x_hat   the reconstruction, x_hat = V h + b + m
    u       (x − m, c, 1): the centred row, its condition where there is one, and a one; x_hat − m = A u for a matrix A of low rank

    L(x) = ½ Σₖ (x_hatₖ − xₖ)²

Every minimum of its mean is global, and the columns of V then span the first principal components (Bourlard & Kamp 1988; Baldi & Hornik
1989): what a nonlinear autoencoder of the same code is to be measured against.

The mean of L depends on the rows only through their second moments M = (1/N) Σ u uᵀ. So the N rows are replaced, once, by the d + 1 rows
of R √(P/N), where U = Q R (QR decomposition, P rows in R), which have the same M; and each step of gradient descent is one on all of the
data. Afterwards V and W are turned to the principal axes, so that the codes are uncorrelated, with mean zero and ordered by variance;
neither the subspace nor the reconstruction changes by that. No row is held out by default: what is looked for has a closed form, and
early stopping would miss it.

References
    Bourlard & Kamp, *Auto-association by multilayer perceptrons and singular value decomposition*, 1988.
    Baldi & Hornik, *Neural networks and principal component analysis: learning from examples without local minima*, 1989.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.schema import Schema
from ..estimator import GenerativeModel
from ..prob.relax import Relaxation
from ..spec import PRESET, PositiveInt, Train
from ..train.objective import Stage
from ..train.reconstruction import Coder, code_size, in_batches

MOMENTS = "moments"
ROWS = 8192             # that enter the QR decomposition at once


class LinearObjective(Coder):
    """Squared error of a linear map of low rank."""

    def __init__(self, schema: Schema, condition: Schema | None, latent_dim: int, components: int):
        super().__init__(schema, condition, latent_dim, components)
        self.d = math.prod(self.features.shape)
        self.encoder = nn.Linear(self.d + self.n_cond, latent_dim)          # W, a
        self.decoder = nn.Linear(latent_dim + self.n_cond, self.d)          # V, b
        self.register_buffer("mean", torch.zeros(self.d))                   # m

    def stages(self) -> tuple[Stage, ...]:
        return (Stage(MOMENTS, 1.0),)

    def code(self, f: Tensor, c: Tensor | None) -> Tensor:
        """h = W (x − m) + a."""
        return self.encoder(_beside(f.flatten(1) - self.mean, c))

    def rebuild(self, h: Tensor, c: Tensor | None) -> Tensor:
        """x_hat = V h + b + m."""
        return (self.decoder(_beside(h, c)) + self.mean).unflatten(1, self.features.shape)

    def prepare(self, x: Tensor, c: Tensor | None) -> None:
        """Take the mean of the training rows."""
        total = sum(self.features.embed(x[i : i + ROWS]).flatten(1).double().sum(0) for i in range(0, len(x), ROWS))
        self.mean.copy_(total / len(x))

    def view(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, None]:
        """R √(P/N) of the rows u: few rows with the same second moments, ``(1, P, d + n_cond + 1)`` in float64, one item of every batch."""
        r = torch.zeros(0, self.d + self.n_cond + 1, dtype=torch.float64, device=x.device)
        for i in range(0, len(x), ROWS):
            f, some = self.features.embed(x[i : i + ROWS]).flatten(1) - self.mean, None if c is None else c[i : i + ROWS]
            u = F.pad(_beside(f, self.embed_condition(some)).double(), (0, 1), value=1.0)
            r = torch.linalg.qr(torch.cat([r, u]), mode="r").R
        return r[None] * math.sqrt(len(r) / len(x)), None

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        if self.stage == MOMENTS:
            gap = self._map(x[0]) - x[0, :, : self.d]
        else:
            f = self.features.embed(x)
            gap = self.pass_through(f, self.embed_condition(c)).float().flatten(1) - f.flatten(1)
        recon = 0.5 * gap.square().sum(1).mean()
        return {"loss": recon, "recon": recon}

    def _map(self, u: Tensor) -> Tensor:
        """A u: the one stands where the biases are."""
        c, one = u[:, self.d : -1], u[:, -1:]
        with torch.autocast(u.device.type, enabled=False):
            h = u[:, :-1] @ self.encoder.weight.double().T + one * self.encoder.bias.double()
            return torch.cat([h, c], dim=1) @ self.decoder.weight.double().T + one * self.decoder.bias.double()

    @torch.no_grad()
    def conclude(self, x: Tensor, c: Tensor | None) -> None:
        """Turn the code to the principal axes, then fit its density."""
        codes = in_batches(self.encode, x, c).double()
        center, v = codes.mean(0), self.decoder.weight[:, : self.latent_dim].double()
        left, s, right = torch.linalg.svd(v, full_matrices=False)                       # V h = L h' of h' = S Rᵀ h
        turn = s[:, None] * right
        covariance = turn @ torch.atleast_2d(torch.cov(codes.T)) @ turn.T
        axes = torch.linalg.eigh(covariance).eigenvectors.flip(1)                       # by falling variance
        axes = axes * torch.sign((left @ axes).sum(0) + 1e-12)                          # an axis has no sign of its own: one is chosen
        turn = axes.T @ turn
        self.decoder.bias += (v @ center).float()
        self.decoder.weight[:, : self.latent_dim] = (left @ axes).float()
        self.encoder.weight.copy_(turn @ self.encoder.weight.double())
        self.encoder.bias.copy_(turn @ (self.encoder.bias.double() - center))
        super().conclude(x, c)


def _beside(x: Tensor, c: Tensor | None) -> Tensor:
    return x if c is None else torch.cat([x, c], dim=1)


class LinearAutoencoder(GenerativeModel):
    """Linear autoencoder: principal component analysis by gradient descent, the yardstick of the nonlinear ones.

    Parameters
        latent_dim : size of the code h; None = half of the features, at most 32. As wide as the features or wider is refused.
        components : Gaussians in the density of the codes, which :meth:`sample` draws from.
        conditional : encoder and decoder see y as well.
        train : budget, learning rate and so on; a step sees all rows at once, whatever the batch size.
        random_state : seed of weights and training.

    ``score_samples`` is minus the reconstruction error, −½ Σₖ (x_hatₖ − xₖ)². There is no likelihood.
    """

    capabilities = frozenset({"sample", "condition", "encode", "decode", "score"})
    preset = PRESET(budget="2000steps", lr=3e-2, validation=0.0)

    def __init__(self, *, latent_dim: PositiveInt | None = None, components: PositiveInt = 10, conditional: bool = False,
                 train: Train = Train(), random_state: Any = None):
        self.latent_dim = latent_dim
        self.components = components
        self.conditional = conditional
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> LinearObjective:
        latent_dim = min(code_size(self.latent_dim, schema), math.prod(Relaxation(schema).shape))
        return LinearObjective(schema, condition, latent_dim, self.components)
