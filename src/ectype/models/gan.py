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

Where the critic wins, log(1 − D(G(z))) is flat and the generator learns nothing. Two games have the same fixed point and a slope where it
is needed. In the *non-saturating* one the generator maximises E_z[ log D(G(z)) ]. In the *relativistic* one, the default, the critic is
asked which of two rows is the real one, and the generator wants it to be wrong:

    critic:     max_D  E_{x,z}[ log σ( ℓ(x) − ℓ(G(z)) ) ]
    generator:  max_G  E_{x,z}[ log σ( ℓ(G(z)) − ℓ(x) ) ]

ℓ is then known up to a constant only; a conditional game compares rows of the same condition.

No form converges by gradient steps alone when p_data and p_g do not overlap. A penalty on the gradient of the logit, at real (R1) and at
generated rows (R2), makes the equilibrium attractive:

    penalty = γ/2 ( E_x‖∇ℓ(x)‖² + E_z‖∇ℓ(G(z))‖² )

It is exact, by differentiating twice, which on a processor costs less than it is said to: of pictures one row in four is penalised, and
the critic's step takes a quarter more time. γ sets the scale: a critic that rises from 0 to 1 within a distance r pays about γ / r². On
MNIST γ = 0.5 left smooth strokes, where 0.01 frayed them.

Pictures come from a generator that enlarges by interpolation (``nn/generator.py``). Samples are drawn from an average over the generator's
weights.

**The held-out curve** is the divergence KL(p_data ‖ p_g) + KL(p_g ‖ p_data) by nearest neighbours (``prob/neighbours.py``) between held-out
rows and as many samples. It has no scale of its own, so that it sees both a mode that is missing and samples that lie between modes, which
the energy distance, used before, does not: on 25 Gaussians that was lowest before the samples had come near any mode. Coverage, precision
and diversity are recorded beside it; where most of the data have no sample near them for several evaluations, that is an event.

References
    Goodfellow et al., *Generative adversarial nets*, 2014: equation 1 (value), proposition 1 (D*), theorem 1 (JSD),
        section 3 (non-saturating).
    Jolicoeur-Martineau, *The relativistic discriminator: a key element missing from standard GAN*, 2019.
    Mescheder, Geiger & Nowozin, *Which training methods for GANs do actually converge?*, 2018: equations 9–10 (R1, R2).
    Huang, Gokaslan, Kuleshov & Tompkin, *The GAN is dead; long live the GAN! A modern GAN baseline*, 2024 (relativistic with R1 and R2).
    Yazıcı et al., *The unusual effectiveness of averaging in GAN training*, 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.schema import Schema
from ..estimator import GenerativeModel
from ..nn import build
from ..prob.neighbours import Neighbourhoods, neighbourhoods
from ..rng import Rows, Shared
from ..spec import PRESET, Interval, Net, PositiveInt, Train
from ..train.objective import Objective

Game = Literal["non-saturating", "relativistic", "minimax"]

GAMMA = {"table": 0.1, "images": 0.5, "signals": 0.5}
PENALISED = 4                   # one row of so many is penalised, of images and signals
LOOKED_AT = 1000                # held-out rows at most, at an evaluation
PATIENT = 5                     # evaluations in a row that look collapsed before it is said


def value(real_logit: Tensor, fake_logit: Tensor) -> Tensor:
    """V(D, G) = E[log D(x)] + E[log(1 − D(G(z)))] from the critic's logits, in nats."""
    return F.logsigmoid(real_logit).mean() + F.logsigmoid(-fake_logit).mean()


def relativistic_value(real_logit: Tensor, fake_logit: Tensor) -> Tensor:
    """E[log σ(ℓ(x) − ℓ(G(z)))] over pairs: the log-probability that the critic puts a real row above a generated one, in nats."""
    return F.logsigmoid(real_logit - fake_logit).mean()


class GANObjective(Objective):
    """Generator and critic, each with its loss; the critic moves first."""

    turns: ClassVar[tuple[str, ...]] = ("critic", "generator")

    def __init__(self, schema: Schema, condition: Schema | None, noise_dim: int, net: Net, game: Game, penalty: float):
        super().__init__(schema, condition)
        self.noise_dim, self.game, self.penalty = noise_dim, game, penalty
        shape = self.features.shape
        self.generator = build.generator(noise_dim, shape, net, cond=self.n_cond)
        self.critic = build.critic(shape, net, cond=self.n_cond)

    def players(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    # -- the two networks ------------------------------------------------------------------------------------------------------------

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

    # -- the game --------------------------------------------------------------------------------------------------------------------

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        return self._critic_loss(x, c) if player == "critic" else self._generator_loss(x, c)

    def _critic_loss(self, x: Tensor, c: Tensor | None) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self._fake(len(x), c, x.device)
        n, f = len(x), self.features.embed(x)
        m = -(-n // PENALISED) if f.ndim > 2 else n
        watched = torch.cat([f[:m], fake[:m]]).requires_grad_(self.penalty > 0)
        both = torch.cat([watched, f[m:], fake[m:]])                                        # m, m, n − m, n − m rows
        logit = self.logit(both, None if c is None else torch.cat([c[:m], c[:m], c[m:], c[m:]]))
        real, fake = (torch.cat([logit[i * m : (i + 1) * m], logit[2 * m + i * (n - m) :][: n - m]]) for i in (0, 1))
        v = relativistic_value(real, fake) if self.game == "relativistic" else value(real, fake)
        r = self._gradient_penalty(watched, logit[: 2 * m]) if self.penalty else torch.zeros_like(v)
        return {"loss": -v + r, "value": v, "penalty": r}

    def _gradient_penalty(self, f: Tensor, logit: Tensor) -> Tensor:
        """γ/2 (R1 + R2): the mean squared norm of ∇ℓ at as many real as generated rows."""
        (gradient,) = torch.autograd.grad(logit.sum(), f, create_graph=True)
        return self.penalty * gradient.square().flatten(1).sum(1).mean()

    def _generator_loss(self, x: Tensor, c: Tensor | None) -> dict[str, Tensor]:
        logit = self.logit(self._fake(len(x), c, x.device), c)
        if self.game == "relativistic":
            with torch.no_grad():
                real = self.logit(self.features.embed(x), c)
            loss = -relativistic_value(logit, real)
        else:
            loss = -F.logsigmoid(logit).mean() if self.game == "non-saturating" else F.logsigmoid(-logit).mean()
        return {"loss": loss, "d_of_fake": torch.sigmoid(logit).mean()}

    # -- how good it has become ------------------------------------------------------------------------------------------------------

    def compare(self, x: Tensor, c: Tensor | None) -> Neighbourhoods:
        """Held-out rows against as many samples, as features of stored rows: what is rounded away in a sample is no difference."""
        x, c = x[:LOOKED_AT], None if c is None else c[:LOOKED_AT]
        fake = self.features.project(self._fake(len(x), c, x.device))
        return neighbourhoods(*(self.features.embed(rows).flatten(1).float() for rows in (x, fake)))

    def held_out(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Divergence between held-out rows and as many samples, both ways, in nats per dimension."""
        return self.compare(x, c).divergence

    def watch(self, x: Tensor, c: Tensor | None) -> dict[str, float]:
        found = self.compare(x, c)
        return {name: float(getattr(found, name)) for name in ("precision", "coverage", "diversity")}

    def alarm(self, history: Sequence[Mapping[str, Any]]) -> str | None:
        """Mode collapse: the samples are much more alike than rows are, or lie where rows lie and leave out most of them."""
        lately = [r for r in history[-PATIENT:] if "coverage" in r]
        if len(lately) < PATIENT or not all(collapsed(r) for r in lately):
            return None
        last = lately[-1]
        return (f"mode collapse: {last['precision']:.0%} of the samples lie where rows lie, but {last['coverage']:.0%} of the rows have a "
                f"sample near them; distances among samples are {last['diversity']:.0%} of those among rows")

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        return self.features.project(self.generate(noise.normal(self.noise_dim), noise.uniform(self.features.n_onehot), c))

    def score(self, x: Tensor, c: Tensor | None, noise: Shared) -> Tensor:
        """log D(x): the critic's opinion. Not a likelihood: at the equilibrium it is the same for every row."""
        return F.logsigmoid(self.logit(self.features.embed(x), c))


def collapsed(figures: Mapping[str, Any]) -> bool:
    """Whether the figures of :meth:`GANObjective.watch` are those of a generator that leaves out most of the data."""
    alike = figures["diversity"] < 0.3
    return alike or (figures["precision"] > 0.5 and figures["coverage"] < 0.4 * figures["precision"])


class GAN(GenerativeModel):
    """Generative adversarial network: a generator against a critic that tells its rows from real ones.

    Parameters
        noise_dim : size of z; None = as many as features, at least 8 and at most 64.
        game : ``"relativistic"``, ``"non-saturating"`` or ``"minimax"``: what the players optimise.
        penalty : weight γ of the gradient penalties R1 and R2; 0 = none, the game of 2014; None = 0.1 for a table, 0.5 for images and
            signals.
        conditional : model x given y; both players then see y.
        net : the critic's and, backwards, the generator's network; the critic's activation is always leaky.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``score_samples`` is log D(x), the critic's opinion, and no likelihood.
    """

    capabilities = frozenset({"sample", "condition", "score"})
    preset = PRESET(lr=2e-3, betas=(0.0, 0.99), patience=0.75)
    presets = dict.fromkeys(("images", "signals"), PRESET(lr=2e-3, batch_size=32, betas=(0.0, 0.99), patience=0.75))

    def __init__(self, *, noise_dim: PositiveInt | None = None, game: Game = "relativistic",
                 penalty: Annotated[float, Interval(0)] | None = None, conditional: bool = False, net: Net = Net(), train: Train = Train(),
                 random_state: Any = None):
        self.noise_dim = noise_dim
        self.game = game
        self.penalty = penalty
        self.conditional = conditional
        self.net = net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> GANObjective:
        return GANObjective(schema, condition, *self.settings(schema))

    def settings(self, schema: Schema) -> tuple[int, Net, Game, float]:
        """Noise, networks, game and penalty for such data."""
        gamma = GAMMA["table" if schema.is_table else schema.container] if self.penalty is None else self.penalty
        return self.noise_dim or max(8, min(64, schema.n_dims)), self.net, self.game, gamma
