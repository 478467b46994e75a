"""The variational autoencoder (VAE).

Notation
    x           a row: a record of a table, an image or a signal
    z           its latent variable, (B, latent_dim)
    c           the condition, where there is one; every distribution below is then given c
    p(z)        the prior: N(0, I), or learned (:mod:`ectype.nn.prior`)
    p_θ(x|z)    the decoder: a distribution over x with parameters (mean and variance, logits) computed from z
    q_φ(z|x)    the encoder: N(μ_φ(x), diag σ_φ²(x)), an approximation to the posterior p_θ(z|x)

The log-likelihood of a row splits, for every q, into a computable bound and a divergence:

    log p_θ(x) = E_q[ log p_θ(x, z) − log q_φ(z|x) ] + KL( q_φ(z|x) ‖ p_θ(z|x) )
               =                ELBO(x)              + (something ≥ 0)

and with p_θ(x, z) = p_θ(x|z) p(z) the evidence lower bound becomes the two terms that :meth:`VAEObjective.loss` returns:

    ELBO(x) = E_q[ log p_θ(x|z) ]  −  KL( q_φ(z|x) ‖ p(z) )
            =      − recon         −          kl

The expectation is taken at one point, z = μ_φ(x) + σ_φ(x) ⊙ ε with ε ~ N(0, I): the *reparameterisation*, through which gradients
reach φ. The KL from N(0, I) is known in closed form; from a learned prior it is −H(q) − log p(z) at that z, with the entropy of q.

**The importance-weighted bound.** With z₁ … z_k drawn from q and w(z) = p_θ(x|z) p(z) / q_φ(z|x),

    IWAE_k(x) = E[ log 1/k Σᵢ w(zᵢ) ],        ELBO = IWAE_1 ≤ IWAE_2 ≤ … → log p_θ(x)

With ``importance=k`` it is what is trained. Its gradient in φ by the plain rule drowns in noise as k grows; with w̃ᵢ = wᵢ / Σⱼ wⱼ the
*doubly reparameterised* one, Σᵢ w̃ᵢ² ∂log w(zᵢ)/∂zᵢ · ∂zᵢ/∂φ, is unbiased too and does not.

**What weighs the terms.** L = recon + β kl (β-VAE), with β rising from zero over the first steps (``kl_warmup``), so that the decoder
learns to use z before it costs; and with *free bits*, Σⱼ max(λ, KLⱼ) in place of kl, the first λ nats of each latent number cost nothing.
Both are against *posterior collapse*, q(z|x) = p(z): a unit that says nothing. A unit is active where the mean of its posterior varies
over rows, Varₓ(μ_φ(x)ⱼ) > 0.01; the active ones are counted after training.

References
    Kingma & Welling, *Auto-encoding variational Bayes*, 2014: equations 3 (bound), 9–10 (reparameterisation), appendix B (KL).
    Rezende, Mohamed & Wierstra, *Stochastic backpropagation and approximate inference in deep generative models*, 2014.
    Burda, Grosse & Salakhutdinov, *Importance weighted autoencoders*, 2016: equation 8 (bound), section 5.1 (active units).
    Tucker, Lawson, Gu & Maddison, *Doubly reparameterized gradient estimators for Monte Carlo objectives*, 2019: equation 8.
    Bowman, Vilnis, Vinyals et al., *Generating sentences from a continuous space*, 2016: section 3.1 (warm-up).
    Kingma, Salimans, Jozefowicz et al., *Improving variational inference with inverse autoregressive flow*, 2016: appendix C.8 (free bits).
    Higgins et al., *β-VAE*, 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from .. import rng
from ..data.schema import Schema
from ..errors import InvalidParameterError
from ..estimator import BATCH, GenerativeModel
from ..nn import build
from ..nn.prior import NormalPrior, prior
from ..prob.divergence import kl_standard_normal
from ..prob.likelihood import gaussian_log_prob, likelihood
from ..prob.relax import Relaxation
from ..rng import Rows, Shared
from ..spec import PRESET, Interval, Net, PositiveInt, Train, annotations, validate
from ..train.objective import Objective

MIN_LOG_STD = -6.0      # of q(z|x): keeps the KL finite where the encoder is certain
ACTIVE = 0.01           # variance over rows of a posterior mean, from which on a unit is active
COLLAPSED = 0.25        # share of active units below which a collapse is said
SETTLED = 500           # steps before which it is not: a unit that is not active yet is no collapse
ROWS = 1024             # rows times draws that are decoded at once

Bound = Literal["elbo", "iwae"]


class VAEObjective(Objective):
    """ELBO or importance-weighted bound of a Gaussian encoder, a prior, and the decoder that suits the Blocks."""

    def __init__(self, schema: Schema, condition: Schema | None, latent_dim: int, net: Net, beta: float = 1.0, *, free_bits: float = 0.0,
                 kl_warmup: int = 0, importance: int = 1, likelihood_name: str = "auto", prior_name: str = "normal"):
        super().__init__(schema, condition)
        self.latent_dim, self.beta, self.free_bits, self.kl_warmup, self.importance = latent_dim, beta, free_bits, kl_warmup, importance
        self.likelihood = likelihood(schema, likelihood_name)
        shape = self.features.shape
        n = self.likelihood.n_params
        self.encoder = build.encoder(shape, 2 * latent_dim, net, cond=self.n_cond)
        self.decoder = build.decoder(latent_dim, (n,) if schema.is_table else (n * shape[0], *shape[1:]), net, cond=self.n_cond)
        self.prior = prior(prior_name, latent_dim, self.n_cond)

    # -- the distributions -----------------------------------------------------------------------------------------------------

    def observed(self, x: Tensor, noise: Rows | Shared | None = None) -> Tensor:
        """What is seen and scored of a row: grey pictures under a Bernoulli likelihood binarised, by noise or else at one half."""
        if not self.likelihood.binarises:
            return x
        return self.likelihood.binarise(x, 0.5 if noise is None else noise.uniform(*x.shape[1:]))

    def posterior(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z|x), each ``(B, latent_dim)``."""
        mean, log_std = self.encoder(self.features.embed(x), self.embed_condition(c)).float().chunk(2, dim=1)
        return mean, log_std.clamp(MIN_LOG_STD, 3.0)

    def log_likelihood(self, x: Tensor, z: Tensor, c: Tensor | None) -> Tensor:
        """log p(x|z) in nats per row, ``(B,)``."""
        return self.likelihood.log_prob(self.decoder(z, self.embed_condition(c)).float(), x)

    def log_prior(self, z: Tensor, c: Tensor | None) -> Tensor:
        """log p(z), ``(B,)``, in float32: its numbers are few and its sums long."""
        with torch.autocast(z.device.type, enabled=False):
            return self.prior.log_prob(z, self.embed_condition(c))

    def divergence(self, mean: Tensor, log_std: Tensor, z: Tensor, c: Tensor | None) -> Tensor:
        """KL(q ‖ p(z)), ``(B,)``: in closed form from N(0, I), else −H(q) − log p(z) at a z that was drawn from q."""
        if isinstance(self.prior, NormalPrior):
            return kl_standard_normal(mean, log_std).sum(1)
        entropy = (log_std + 0.5 * (1 + math.log(2 * math.pi))).sum(1)
        return -entropy - self.log_prior(z, c)

    def elbo_terms(self, x: Tensor, c: Tensor | None, eps: Tensor) -> tuple[Tensor, Tensor]:
        """−log p(x|z) at the z of this ε, and KL(q‖p), in nats per row, each ``(B,)``."""
        mean, log_std = self.posterior(x, c)
        z = mean + torch.exp(log_std) * eps
        return -self.log_likelihood(x, z, c), self.divergence(mean, log_std, z, c)

    # -- what is minimised -----------------------------------------------------------------------------------------------------

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        if self.likelihood.binarises:
            x = self.likelihood.binarise(x, torch.rand(x.shape, device=x.device))
        if self.importance > 1:
            return self.importance_weighted(x, c, torch.randn(self.importance, len(x), self.latent_dim, device=x.device))
        mean, log_std = self.posterior(x, c)
        z = mean + torch.exp(log_std) * torch.randn(len(x), self.latent_dim, device=x.device)
        recon, kl = -self.log_likelihood(x, z, c).mean(), self.divergence(mean, log_std, z, c).mean()
        costs = self.beyond_free_bits(mean, log_std, kl) if self.free_bits and self.training else kl
        return {"loss": recon + self.kl_weight() * costs, "recon": recon, "kl": kl}

    def kl_weight(self) -> float:
        """β; in training, on its way there from zero over the first ``kl_warmup`` steps."""
        rising = self.training and self.step < self.kl_warmup
        return self.beta * (self.step + 1) / (self.kl_warmup + 1) if rising else self.beta

    def beyond_free_bits(self, mean: Tensor, log_std: Tensor, kl: Tensor) -> Tensor:
        """Σⱼ max(λ, KLⱼ), averaged over the batch; from a learned prior, which does not say whose they are, max(λ · latent_dim, KL)."""
        if isinstance(self.prior, NormalPrior):
            return kl_standard_normal(mean, log_std).mean(0).clamp(min=self.free_bits).sum()
        return kl.clamp(min=self.free_bits * self.latent_dim)

    def importance_weighted(self, x: Tensor, c: Tensor | None, eps: Tensor) -> dict[str, Tensor]:
        """−IWAE_k at ``eps (k, B, latent_dim)`` with the doubly reparameterised gradient; the terms are averages over the k draws.

        log q sees φ through z alone, and the gradient that arrives at z is weighted by w̃ once more: with the w̃ of log Σ w this is the
        w̃² of the estimator in φ, while θ and the prior keep the plain w̃.
        """
        mean, log_std = self.posterior(x, c)
        z = mean + torch.exp(log_std) * eps                                                         # (k, B, latent_dim)
        log_p, log_ratio = self.log_weights(x, c, mean.detach(), log_std.detach(), z)
        log_w = log_p + self.kl_weight() * log_ratio                                                # (k, B)
        share = log_w.detach().softmax(0)
        if z.requires_grad:
            z.register_hook(lambda gradient: gradient * share[..., None])
        bound = torch.logsumexp(log_w, dim=0).mean() - math.log(len(eps))
        return {"loss": -bound, "recon": -log_p.mean(), "kl": -log_ratio.mean()}

    def log_weights(self, x: Tensor, c: Tensor | None, mean: Tensor, log_std: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x|z) and log p(z) − log q(z|x) of ``z (k, B, latent_dim)``, each ``(k, B)``; they sum to log w."""
        k, flat = len(z), z.flatten(0, 1)                                                           # (k B, latent_dim)
        x, c = (None if v is None else v.expand(k, *v.shape).flatten(0, 1) for v in (x, c))
        log_q = gaussian_log_prob(z, mean, log_std).sum(-1)
        return self.log_likelihood(x, flat, c).view(k, -1), self.log_prior(flat, c).view(k, -1) - log_q

    # -- what is known after training --------------------------------------------------------------------------------------------

    def measure(self, x: Tensor, c: Tensor | None) -> dict[str, float]:
        """How many units are active."""
        return {"active_units": float((self.encode(x, c).var(0, unbiased=False) > ACTIVE).sum())}

    def remarks(self, measured: dict[str, float]) -> list[str]:
        """A collapse, where there is one."""
        active = int(measured["active_units"])
        collapsed = active < COLLAPSED * self.latent_dim and self.step >= SETTLED
        return [f"posterior collapse: {active} of {self.latent_dim} units active"] if collapsed else []

    # -- use -----------------------------------------------------------------------------------------------------------------------

    def sample(self, noise: Rows, c: Tensor | None, *, decode: str = "draw") -> Tensor:
        """z ~ p(z), then x ~ p(x|z), or its mean."""
        c = self.embed_condition(c)
        with torch.autocast(torch.device(noise.device).type, enabled=False):
            z = self.prior.sample(noise, c)
        params = self.decoder(z, c).float()
        return self.likelihood.mean(params) if decode == "mean" else self.likelihood.sample(params, noise)

    def encode(self, x: Tensor, c: Tensor | None) -> Tensor:
        """The mean of q(z|x)."""
        return self.posterior(self.observed(x), c)[0]

    def decode(self, z: Tensor, c: Tensor | None) -> Tensor:
        """The mean of p(x|z), as stored rows."""
        return self.likelihood.mean(self.decoder(z, self.embed_condition(c)).float())

    def bounds(self, x: Tensor, c: Tensor | None, noise: Rows | Shared, draws: int) -> Tensor:
        """Of that many draws of z, a few at a time: the mean of log w, the same with the KL in closed form where there is one (less noise),
        and IWAE, the log of the mean of w; ``(B, 3)``."""
        x = self.observed(x, noise)
        mean, log_std = self.posterior(x, c)
        recon, ratio, log_sum = mean.new_zeros(len(x)), mean.new_zeros(len(x)), mean.new_full((len(x),), -torch.inf)
        at_once = max(1, ROWS // BATCH)                     # whatever the batch: sums in another order differ in the last bits
        for start in range(0, draws, at_once):
            eps = torch.stack([noise.normal(self.latent_dim) for _ in range(start, min(start + at_once, draws))])
            z = mean + torch.exp(log_std) * eps
            log_p, log_ratio = self.log_weights(x, c, mean, log_std, z)
            recon, ratio = recon + log_p.sum(0) / draws, ratio + log_ratio.sum(0) / draws
            log_sum = torch.logaddexp(log_sum, torch.logsumexp(log_p + log_ratio, dim=0))
        exact = -kl_standard_normal(mean, log_std).sum(1) if isinstance(self.prior, NormalPrior) else ratio
        return torch.stack([recon + ratio, recon + exact, log_sum - math.log(draws)], dim=1)

    def log_prob(self, x: Tensor, c: Tensor | None, noise: Shared, *, bound: str = "elbo", draws: int = 8) -> Tensor:
        """A lower bound of log p(x), ``(B,)``."""
        return self.bounds(x, c, noise, draws)[:, 1 if bound == "elbo" else 2]

    score = log_prob


@dataclass(frozen=True)
class Bounds:
    """Two lower bounds of log p(x) for each row, in nats, ``(N,)``: the ELBO, and the tighter IWAE of ``draws`` draws.

    ``gap`` is how far the second is above the first: what the Gaussian q loses to the posterior, as far as the draws can tell. Both are
    from the same draws, the mean of log w and the log of the mean of w, so that no gap is negative.
    """

    elbo: np.ndarray
    iwae: np.ndarray
    draws: int
    n_dims: int

    @property
    def gap(self) -> np.ndarray:
        """IWAE − ELBO, nats, ``(N,)``."""
        return self.iwae - self.elbo

    @property
    def bits_per_dim(self) -> np.ndarray:
        """−IWAE / (D log 2) with D stored values in a row, ``(N,)``."""
        return -self.iwae / (self.n_dims * math.log(2))

    def __str__(self) -> str:
        iwae = f"IWAE of {self.draws} draws {self.iwae.mean():.2f} ({self.bits_per_dim.mean():.4g} bits/dim)"
        return f"ELBO {self.elbo.mean():.2f} nats, {iwae}, gap {self.gap.mean():.2f}; means over {len(self.elbo):,} rows"


class VAE(GenerativeModel):
    """Variational autoencoder: a latent variable z ~ p(z), a Gaussian encoder q(z|x), a decoder p(x|z) with learned variance.

    Parameters
        latent_dim : size of z; None = as many as features, at least 2 and at most 32. Wider than the features is refused.
        likelihood : p(x|z): "auto" by the kind of each column; "gaussian" or "logistic" for numbers, pixels and signals, "categorical" for
            pixel levels, "bernoulli" for black and white, where grey is the probability of white and drawn anew at each step.
        prior : p(z): "normal" is N(0, I); a learned "mixture" of Gaussians, or a learned "flow", follow the codes of the rows. "auto" is
            "flow" for images and "normal" for the rest.
        beta : weight of the KL term; 1 is the ELBO.
        free_bits : nats of KL for each latent number that cost nothing in training; against posterior collapse.
        kl_warmup : steps over which the weight of the KL term rises from zero to beta.
        importance : draws k of the importance-weighted bound that is trained; 1 is the ELBO.
        conditional : model x given y.
        net : the encoder's and, backwards, the decoder's network.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``transform`` gives the mean of q(z|x) or a draw from it; ``score_samples`` and ``log_likelihood`` a lower bound of log p(x), the ELBO
    or the importance-weighted one. ``stages_`` says how many units are active.
    """

    capabilities = frozenset({"sample", "condition", "encode", "decode", "score", "bound"})
    preset = PRESET(lr=3e-3)

    def __init__(self, *, latent_dim: PositiveInt | None = None,
                 likelihood: Literal["auto", "gaussian", "logistic", "bernoulli", "categorical"] = "auto",
                 prior: Literal["auto", "normal", "mixture", "flow"] = "auto", beta: Annotated[float, Interval(0)] = 1.0,
                 free_bits: Annotated[float, Interval(0)] = 0.0, kl_warmup: Annotated[int, Interval(0)] = 0, importance: PositiveInt = 1,
                 conditional: bool = False, net: Net = Net(), train: Train = Train(), random_state: Any = None):
        self.latent_dim = latent_dim
        self.likelihood = likelihood
        self.prior = prior
        self.beta = beta
        self.free_bits = free_bits
        self.kl_warmup = kl_warmup
        self.importance = importance
        self.conditional = conditional
        self.net = net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> VAEObjective:
        if self.importance > 1 and self.free_bits:
            raise InvalidParameterError("free bits are a part of the KL, which the importance-weighted bound does not have",
                                        expected="importance=1, or free_bits=0", got=f"importance={self.importance}")
        features = max(2, math.prod(Relaxation(schema).shape))
        latent_dim = self.latent_dim or max(2, min(32, schema.n_dims, features))
        prior_name = self.prior if self.prior != "auto" else "flow" if schema.is_image else "normal"
        objective = VAEObjective(schema, condition, latent_dim, self.net, self.beta, likelihood_name=self.likelihood, prior_name=prior_name,
                                 free_bits=self.free_bits, kl_warmup=self.kl_warmup, importance=self.importance)
        if latent_dim > features:
            raise InvalidParameterError("the latent variable is wider than the data", got=latent_dim,
                                        expected=f"latent_dim <= {features} (the features of a row)")
        return objective

    def sample(self, n: int = 1, *, condition: Any = None, random_state: Any = None, decode: Literal["draw", "mean"] = "draw",
               batch_size: int = BATCH) -> Any:
        """``n`` new rows.

        decode : "draw" draws from p(x|z), "mean" takes its mean (smoother, less varied).
        """
        _require(VAE.sample, decode=decode)
        return self._sample(n, condition, random_state, batch_size, decode=decode)

    def transform(self, X: Any, condition: Any = None, *, encode: Literal["mean", "draw"] = "mean", random_state: Any = None) -> np.ndarray:
        """The code of each row, ``(N, latent_dim)`` float32: the mean of q(z|x), or a draw from it, which ``random_state`` repeats."""
        _require(VAE.transform, encode=encode)
        x, c = self._given(X, condition)
        if encode == "mean":
            return self._by_batch(x, c, self.objective_.encode)
        objective = self.objective_
        moments = torch.from_numpy(self._by_batch(x, c, lambda x, c: torch.stack(objective.posterior(objective.observed(x), c), dim=1)))
        eps = rng.Rows(rng.as_seed(random_state), 0, len(x)).normal(objective.latent_dim)
        return (moments[:, 0] + torch.exp(moments[:, 1]) * eps).numpy()

    def log_likelihood(self, X: Any, condition: Any = None, *, bound: Bound = "elbo", draws: PositiveInt = 8) -> np.ndarray:
        """A lower bound of log p(x) of each row, ``(N,)``, in nats, in the user's units (see the base class).

        bound : "elbo", or the importance-weighted "iwae", which is tighter and becomes log p(x) as the draws become many.
        draws : draws from q(z|x), the same ones for every row and at every call, so that rows are compared on the same terms. What they
            miss the truth by is then common to all rows too: for a mean over rows take many, or :meth:`bounds`.
        """
        _require(VAE.log_likelihood, bound=bound, draws=draws)
        return self._log_likelihoods(*self._given(X, condition), bound=bound, draws=draws)

    def score_samples(self, X: Any, condition: Any = None, *, bound: Bound = "elbo", draws: PositiveInt = 8) -> np.ndarray:
        """:meth:`log_likelihood`: higher = more like the training data."""
        return self.log_likelihood(X, condition, bound=bound, draws=draws)

    def bounds(self, X: Any, condition: Any = None, *, draws: PositiveInt = 64) -> Bounds:
        """The ELBO and the importance-weighted bound of each row, in the user's units, and the gap between them.

        draws : draws from q(z|x), each row's own, so that their errors cancel in means over rows.
        """
        _require(VAE.bounds, draws=draws)
        x, c = self._given(X, condition)
        starts, objective = count(0, BATCH), self.objective_
        found = self._by_batch(x, c, lambda x, c: objective.bounds(x, c, Rows(0, next(starts), len(x), self._device), draws))
        elbo, _, iwae = found.T.astype(np.float64) + self._in_users_units(x)
        return Bounds(elbo, iwae, draws, self.schema_.n_dims)


def _require(method: Any, **values: Any) -> None:
    """Check options of a method against its annotations."""
    validate(method.__name__, values, annotations(method))
