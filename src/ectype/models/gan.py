"""The generative adversarial network (GAN).

Notation
    x ~ p_data  a row
    z ~ N(0, I) noise, (B, noise_dim)
    G(z)        the generator: from noise to a row
    D(x)        the critic: the probability that x is real, D = σ(ℓ) with logit ℓ(x)

Two players, one value function:

    min_G max_D  V(D, G) = E_x[ log D(x) ] + E_z[ log(1 − D(G(z))) ]

For a fixed generator with density p_g the best critic is D*(x) = p_data(x) / (p_data(x) + p_g(x)), and the value there is
2 JSD(p_data ‖ p_g) − log 4: the game minimises the Jensen–Shannon divergence.

Where the critic wins, log(1 − D(G(z))) is flat and the generator learns nothing. The *non-saturating* form has the same fixed point and
a gradient where it is needed: the generator maximises E_z[ log D(G(z)) ].

Neither form converges by gradient steps alone when p_data and p_g do not overlap. A penalty on the gradient of the logit, at real (R1)
and at generated rows (R2), makes the equilibrium attractive:

    penalty = γ/2 ( E_x‖∇ℓ(x)‖² + E_z‖∇ℓ(G(z))‖² )

Samples are drawn from an average over the generator's weights. The held-out curve is the energy distance between held-out rows and samples.

References
    Goodfellow et al., *Generative adversarial nets*, 2014: equation 1 (value), proposition 1 (D*), theorem 1 (JSD),
        section 3 (non-saturating).
    Mescheder, Geiger & Nowozin, *Which training methods for GANs do actually converge?*, 2018: equations 9–10 (R1, R2).
    Yazıcı et al., *The unusual effectiveness of averaging in GAN training*, 2019.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.schema import Schema
from ..estimator import GenerativeModel
from ..nn import build
from ..prob.divergence import energy_distance
from ..rng import Rows, Shared
from ..spec import PRESET, Interval, Net, PositiveInt, Train
from ..train.objective import Objective

Game = Literal["non-saturating", "minimax"]


def value(real_logit: Tensor, fake_logit: Tensor) -> Tensor:
    """V(D, G) = E[log D(x)] + E[log(1 − D(G(z)))] from the critic's logits, in nats."""
    return F.logsigmoid(real_logit).mean() + F.logsigmoid(-fake_logit).mean()


class GANObjective(Objective):
    """Generator and critic, each with its loss; the critic moves first."""

    turns: ClassVar[tuple[str, ...]] = ("critic", "generator")

    def __init__(self, schema: Schema, condition: Schema | None, noise_dim: int, net: Net, game: Game, penalty: float):
        super().__init__(schema, condition)
        self.noise_dim, self.game, self.penalty = noise_dim, game, penalty
        self.generator = build.decoder(noise_dim, self.features.shape, net, cond=self.n_cond)
        self.critic = build.critic(self.features.shape, net, cond=self.n_cond)

    def players(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    def generate(self, z: Tensor, uniform: Tensor, c: Tensor | None) -> Tensor:
        """G(z) as features; ``uniform`` feeds the Gumbel noise of categorical columns."""
        gumbel = -torch.log(-torch.log(uniform.clamp(1e-9, 1 - 1e-7)))
        return self.features.activate(self.generator(z, self.embed_condition(c)).float(), gumbel)

    def _fake(self, n: int, c: Tensor | None, device: torch.device) -> Tensor:
        z = torch.randn(n, self.noise_dim, device=device)
        return self.generate(z, torch.rand(n, self.features.n_onehot, device=device), c)

    def logit(self, f: Tensor, c: Tensor | None) -> Tensor:
        """ℓ(x), ``(B,)``, of features; D = σ(ℓ)."""
        return self.critic(f, self.embed_condition(c)).float().squeeze(1)

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        return self._critic_loss(x, c) if player == "critic" else self._generator_loss(x, c)

    def _critic_loss(self, x: Tensor, c: Tensor | None) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self._fake(len(x), c, x.device)
        both = torch.cat([self.features.embed(x), fake]).requires_grad_(self.penalty > 0)
        logit = self.logit(both, None if c is None else torch.cat([c, c]))
        v = value(logit[: len(x)], logit[len(x) :])
        r = self._gradient_penalty(both, logit, len(x)) if self.penalty else torch.zeros_like(v)
        return {"loss": -v + r, "value": v, "penalty": r}

    def _gradient_penalty(self, f: Tensor, logit: Tensor, n: int) -> Tensor:
        """γ/2 (R1 + R2): the mean squared norm of ∇ℓ at real and at generated rows."""
        (gradient,) = torch.autograd.grad(logit.sum(), f, create_graph=True)
        return self.penalty / 2 * gradient.square().flatten(1).sum(1).sum() / n

    def _generator_loss(self, x: Tensor, c: Tensor | None) -> dict[str, Tensor]:
        logit = self.logit(self._fake(len(x), c, x.device), c)
        loss = -F.logsigmoid(logit).mean() if self.game == "non-saturating" else F.logsigmoid(-logit).mean()
        return {"loss": loss, "d_of_fake": torch.sigmoid(logit).mean()}

    def held_out(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Energy distance between held-out rows and as many samples, per √dimension."""
        real, fake = self.features.embed(x).flatten(1), self._fake(len(x), c, x.device).flatten(1)
        return energy_distance(real, fake) / real.shape[1] ** 0.5

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        return self.features.project(self.generate(noise.normal(self.noise_dim), noise.uniform(self.features.n_onehot), c))

    def score(self, x: Tensor, c: Tensor | None, noise: Shared) -> Tensor:
        """log D(x): the critic's opinion. Not a likelihood: at the equilibrium it is the same for every row."""
        return F.logsigmoid(self.logit(self.features.embed(x), c))


class GAN(GenerativeModel):
    """Generative adversarial network: a generator against a critic that tells its rows from real ones.

    Parameters
        noise_dim : size of z; None = as many as features, at least 8 and at most 64.
        game : ``"non-saturating"`` or ``"minimax"``: what the generator optimises.
        penalty : weight γ of the gradient penalties R1 and R2; 0 = none, the game of 2014.
        conditional : model x given y; both players then see y.
        net : the critic's and, backwards, the generator's network; the critic's activation is always leaky.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``score_samples`` is log D(x), the critic's opinion, and no likelihood.
    """

    capabilities = frozenset({"sample", "condition", "score"})
    preset = PRESET(lr=2e-3, betas=(0.0, 0.99), patience=0.0)

    def __init__(self, *, noise_dim: PositiveInt | None = None, game: Game = "non-saturating",
                 penalty: Annotated[float, Interval(0)] = 0.1, conditional: bool = False, net: Net = Net(), train: Train = Train(),
                 random_state: Any = None):
        self.noise_dim = noise_dim
        self.game = game
        self.penalty = penalty
        self.conditional = conditional
        self.net = net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> GANObjective:
        noise_dim = self.noise_dim or max(8, min(64, schema.n_dims))
        return GANObjective(schema, condition, noise_dim, self.net, self.game, self.penalty)
