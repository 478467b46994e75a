"""The variational autoencoder (VAE).

Notation
    x           a row: a record of a table, or an image
    z           its latent variable, (B, latent_dim)
    c           the condition, where there is one; every distribution below is then given c
    p(z)        the prior, N(0, I)
    p_θ(x|z)    the decoder: a distribution over x with parameters (mean and variance, logits) computed from z
    q_φ(z|x)    the encoder: N(μ_φ(x), diag σ_φ²(x)), an approximation to the posterior p_θ(z|x)

The log-likelihood of a row splits, for every q, into a computable bound and a divergence:

    log p_θ(x) = E_q[ log p_θ(x, z) − log q_φ(z|x) ] + KL( q_φ(z|x) ‖ p_θ(z|x) )
               =                ELBO(x)              + (something ≥ 0)

and with p_θ(x, z) = p_θ(x|z) p(z) the evidence lower bound becomes the two terms that :meth:`VAEObjective.loss` returns:

    ELBO(x) = E_q[ log p_θ(x|z) ]  −  KL( q_φ(z|x) ‖ p(z) )
            =      − recon         −          kl

The expectation is taken at one point, z = μ_φ(x) + σ_φ(x) ⊙ ε with ε ~ N(0, I): the *reparameterisation*, through which gradients
reach φ. The KL between two Gaussians is known in closed form. β ≠ 1 weighs the second term (β-VAE).

References
    Kingma & Welling, *Auto-encoding variational Bayes*, 2014: equations 3 (bound), 9–10 (reparameterisation), appendix B (KL).
    Rezende, Mohamed & Wierstra, *Stochastic backpropagation and approximate inference in deep generative models*, 2014.
    Higgins et al., *β-VAE*, 2017.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from ..data.schema import Schema
from ..estimator import BATCH, GenerativeModel
from ..nn import build
from ..prob.divergence import kl_standard_normal
from ..prob.likelihood import likelihood
from ..rng import Rows, Shared
from ..spec import PRESET, Interval, Net, PositiveInt, Train
from ..train.objective import Objective

MIN_LOG_STD = -6.0      # of q(z|x): keeps the KL finite where the encoder is certain


class VAEObjective(Objective):
    """ELBO of a Gaussian encoder and of the decoder that suits the Blocks."""

    def __init__(self, schema: Schema, condition: Schema | None, latent_dim: int, net: Net, beta: float = 1.0):
        super().__init__(schema, condition)
        self.latent_dim, self.beta = latent_dim, beta
        self.likelihood = likelihood(schema)
        shape = self.features.shape
        n = self.likelihood.n_params
        self.encoder = build.encoder(shape, 2 * latent_dim, net, cond=self.n_cond)
        self.decoder = build.decoder(latent_dim, (n,) if schema.is_table else (n * shape[0], *shape[1:]), net, cond=self.n_cond)

    def posterior(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z|x), each ``(B, latent_dim)``."""
        mean, log_std = self.encoder(self.features.embed(x), self.embed_condition(c)).float().chunk(2, dim=1)
        return mean, log_std.clamp(MIN_LOG_STD, 3.0)

    def elbo_terms(self, x: Tensor, c: Tensor | None, eps: Tensor) -> tuple[Tensor, Tensor]:
        """−log p(x|z) at the z of this ε, and KL(q‖p), in nats per row, each ``(B,)``."""
        mean, log_std = self.posterior(x, c)
        z = mean + torch.exp(log_std) * eps
        recon = -self.likelihood.log_prob(self.decoder(z, self.embed_condition(c)).float(), x)
        kl = kl_standard_normal(mean, log_std).sum(1)
        return recon, kl

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        eps = torch.randn(len(x), self.latent_dim, device=x.device)
        recon, kl = (term.mean() for term in self.elbo_terms(x, c, eps))
        return {"loss": recon + self.beta * kl, "recon": recon, "kl": kl}

    def sample(self, noise: Rows, c: Tensor | None, *, mean: bool = False) -> Tensor:
        """z ~ N(0, I), then x ~ p(x|z), or its mean."""
        params = self.decoder(noise.normal(self.latent_dim), self.embed_condition(c)).float()
        return self.likelihood.mean(params) if mean else self.likelihood.sample(params, noise)

    def encode(self, x: Tensor, c: Tensor | None) -> Tensor:
        """The mean of q(z|x)."""
        return self.posterior(x, c)[0]

    def decode(self, z: Tensor, c: Tensor | None) -> Tensor:
        """The mean of p(x|z), as stored rows."""
        return self.likelihood.mean(self.decoder(z, self.embed_condition(c)).float())

    def log_prob(self, x: Tensor, c: Tensor | None, noise: Shared, draws: int = 8) -> Tensor:
        """The ELBO with the mean of ``draws`` values of ε, ``(B,)``; a lower bound of log p(x)."""
        recon, kl = zip(*(self.elbo_terms(x, c, noise.normal(self.latent_dim)) for _ in range(draws)), strict=True)
        return -torch.stack(recon).mean(0) - kl[0]

    score = log_prob


class VAE(GenerativeModel):
    """Variational autoencoder: a latent variable z ~ N(0, I), a Gaussian encoder q(z|x), a decoder p(x|z) with learned variance.

    Parameters
        latent_dim : size of z; None = as many as features, at least 2 and at most 32.
        beta : weight of the KL term; 1 is the ELBO.
        conditional : model x given y.
        net : the encoder's and, backwards, the decoder's network.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``transform`` gives the mean of q(z|x); ``score_samples`` and ``log_likelihood`` a lower bound of log p(x) (the ELBO).
    """

    capabilities = frozenset({"sample", "condition", "encode", "decode", "score", "bound"})
    preset = PRESET(lr=1e-3)

    def __init__(self, *, latent_dim: PositiveInt | None = None, beta: Annotated[float, Interval(0)] = 1.0, conditional: bool = False,
                 net: Net = Net(), train: Train = Train(), random_state: Any = None):
        self.latent_dim = latent_dim
        self.beta = beta
        self.conditional = conditional
        self.net = net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> VAEObjective:
        latent_dim = self.latent_dim or max(2, min(32, schema.n_dims))
        return VAEObjective(schema, condition, latent_dim, self.net, self.beta)

    def sample(self, n: int = 1, *, condition: Any = None, random_state: Any = None, mean: bool = False, batch_size: int = BATCH) -> Any:
        """``n`` new rows; ``mean=True`` gives the mean of p(x|z) in place of a draw (smoother, less varied)."""
        return self._sample(n, condition, random_state, batch_size, mean=mean)
