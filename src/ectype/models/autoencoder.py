"""The undercomplete autoencoder.

Notation
    x       a row as features, (B, *shape): normalised numbers, one-hot categories, pixels in [−1, 1]
    h       its code, h = f(x), (B, latent_dim); smaller than x, so that it cannot be a copy
    x_hat   the reconstruction, x_hat = g(h)
    c       the condition, where there is one; f and g then see it

Encoder f and decoder g are trained together to lose as little as possible on the way through the code:

    L(x) = ½ Σₖ (x_hatₖ − xₖ)²

Up to a constant this is −log N(x; x_hat, I), in nats. With linear f and g the best code spans the principal components.

An autoencoder is no generative model: it says nothing of how codes are distributed. To sample, a density is fitted on the codes of the
training rows *after* training, a mixture of K Gaussians, p(h) = Σₖ πₖ N(h; μₖ, Σₖ), and its draws are decoded ("ex-post density
estimation"). With a condition the mixture is fitted on (h, c) together, and h is drawn from its conditional: component k with weight
∝ πₖ N(c; μₖᶜ, Σₖᶜᶜ), then h ~ N(μₖʰ + Σₖʰᶜ (Σₖᶜᶜ)⁻¹ (c − μₖᶜ), Σₖʰʰ − Σₖʰᶜ (Σₖᶜᶜ)⁻¹ Σₖᶜʰ).

References
    Hinton & Salakhutdinov, *Reducing the dimensionality of data with neural networks*, 2006.
    Goodfellow, Bengio & Courville, *Deep learning*, 2016, section 14.1.
    Ghosh, Sajjadi, Vergari, Black & Schölkopf, *From variational to deterministic autoencoders*, 2020, section 4 (ex-post density).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor

from ..data.schema import Schema
from ..errors import InvalidParameterError
from ..estimator import GenerativeModel
from ..nn import build
from ..prob.relax import Relaxation
from ..rng import Rows, Shared
from ..spec import PRESET, Net, PositiveInt, Train
from ..train.objective import Objective


class AutoencoderObjective(Objective):
    """Squared error through a code, and a mixture of Gaussians on the codes for sampling."""

    def __init__(self, schema: Schema, condition: Schema | None, latent_dim: int, net: Net, components: int):
        super().__init__(schema, condition)
        self.latent_dim = latent_dim
        shape = self.features.shape
        self.encoder = build.encoder(shape, latent_dim, net, cond=self.n_cond)
        self.decoder = build.decoder(latent_dim, shape, net, cond=self.n_cond)
        d = latent_dim + self.n_cond
        self.register_buffer("weights", torch.full((components,), 1 / components))      # πₖ
        self.register_buffer("means", torch.zeros(components, d))                       # μₖ of (h, c)
        self.register_buffer("covariances", torch.eye(d).repeat(components, 1, 1))      # Σₖ

    def encode(self, x: Tensor, c: Tensor | None) -> Tensor:
        """h = f(x), ``(B, latent_dim)``."""
        return self.encoder(self.features.embed(x), self.embed_condition(c)).float()

    def _decode(self, h: Tensor, c: Tensor | None) -> Tensor:
        return self.decoder(h, self.embed_condition(c)).float()

    def decode(self, z: Tensor, c: Tensor | None) -> Tensor:
        """g(h) as stored rows."""
        return self.features.project(self._decode(z, c))

    def squared_error(self, x: Tensor, c: Tensor | None) -> Tensor:
        """½ Σₖ (x_hatₖ − xₖ)² of each row, ``(B,)``."""
        f = self.features.embed(x)
        return 0.5 * (self._decode(self.encode(x, c), c) - f).square().flatten(1).sum(1)

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        recon = self.squared_error(x, c).mean()
        return {"loss": recon, "recon": recon}

    def score(self, x: Tensor, c: Tensor | None, noise: Shared) -> Tensor:
        """Minus the reconstruction error."""
        return -self.squared_error(x, c)

    def conclude(self, x: Tensor, c: Tensor | None, batch: int = 1024, most: int = 10_000) -> None:
        """Fit the mixture on the codes of (at most 10,000) training rows."""
        x, c = x[:most], None if c is None else c[:most]
        codes = torch.cat([self.encode(x[i : i + batch], None if c is None else c[i : i + batch]) for i in range(0, len(x), batch)])
        joint = codes if c is None else torch.cat([codes, self.embed_condition(c)], dim=1)
        joint = joint.double().cpu().numpy()
        k = max(1, min(len(self.weights), len(joint) // 10))
        floor = 1e-4 * max(float(joint.var(axis=0).mean()), 1e-6)
        with threadpool_limits(1):          # more threads gain nothing here, and wait by spinning where a core is busy
            mixture = GaussianMixture(k, reg_covar=floor, random_state=0, max_iter=50, tol=1e-2, init_params="k-means++").fit(joint)
        self.weights.zero_()[:k] = torch.from_numpy(mixture.weights_)
        self.means[:k] = torch.from_numpy(mixture.means_)
        self.covariances[:k] = torch.from_numpy(mixture.covariances_)

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        return self.decode(self._sample_code(noise, self.embed_condition(c)), c)

    def _sample_code(self, noise: Rows, c: Tensor | None) -> Tensor:
        """h from the mixture, or from its conditional given the condition's features ``c (B, n_cond)``."""
        d = self.latent_dim
        weights, means, covariances = self.weights.double(), self.means.double(), self.covariances.double()
        log_weights = weights.log().expand(noise.n, -1)                                             # (B, K)
        shift, covariance = means[:, :d].expand(noise.n, -1, -1), covariances[:, :d, :d]            # (B, K, d), (K, d, d)
        if c is not None:
            gap = c.double()[:, None] - means[:, d:]                                                # (B, K, n_cond)
            s_hc, s_cc = covariances[:, :d, d:], covariances[:, d:, d:]
            gain = torch.linalg.solve(s_cc, s_hc.transpose(1, 2)).transpose(1, 2)                   # Σʰᶜ (Σᶜᶜ)⁻¹
            chol = torch.linalg.cholesky(s_cc)
            white = torch.linalg.solve_triangular(chol, gap.transpose(0, 1).transpose(1, 2), upper=False)   # (K, n_cond, B)
            log_det = chol.diagonal(dim1=1, dim2=2).log().sum(1)
            log_weights = log_weights - 0.5 * white.square().sum(1).T - log_det
            shift = shift + torch.einsum("kij,bkj->bki", gain, gap)
            covariance = covariance - gain @ s_hc.transpose(1, 2)
        k = (log_weights + noise.gumbel(len(weights)).double()).argmax(1)                           # a draw of the component
        root = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(d, dtype=torch.float64, device=covariance.device))
        eps = noise.normal(d).double()
        rows = torch.arange(noise.n, device=k.device)
        return (shift[rows, k] + torch.einsum("bij,bj->bi", root[k], eps)).float()


class Autoencoder(GenerativeModel):
    """Undercomplete autoencoder: a code smaller than the row, trained to reconstruct it with the least squared error.

    Parameters
        latent_dim : size of the code h; None = half of the features, at most 32. As wide as the features or wider is refused.
        components : Gaussians in the density of the codes, which :meth:`sample` draws from.
        conditional : encoder and decoder see y as well.
        net : the encoder's and, backwards, the decoder's network.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``score_samples`` is minus the reconstruction error, −½ Σₖ (x_hatₖ − xₖ)². There is no likelihood.
    """

    capabilities = frozenset({"sample", "condition", "encode", "decode", "score"})
    preset = PRESET(lr=1e-3)

    def __init__(self, *, latent_dim: PositiveInt | None = None, components: PositiveInt = 10, conditional: bool = False,
                 net: Net = Net(), train: Train = Train(), random_state: Any = None):
        self.latent_dim = latent_dim
        self.components = components
        self.conditional = conditional
        self.net = net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> AutoencoderObjective:
        features = math.prod(Relaxation(schema).shape)
        latent_dim = self.latent_dim or max(1, min(32, features // 2))
        if self.latent_dim is not None and latent_dim >= features > 1:
            raise InvalidParameterError("the code is as wide as the row, which it could simply copy",
                                        expected=f"latent_dim < {features} (the features of a row)", got=latent_dim,
                                        hint="choose a smaller latent_dim")
        return AutoencoderObjective(schema, condition, latent_dim, self.net, self.components)
