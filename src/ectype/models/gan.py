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
MNIST γ = 0.5 left smooth strokes, where 0.01 frayed them. But a difference of size δ can earn the critic no more than δ² / 4γ, so that
small ones drown in the noise of its steps. So of pictures γ falls with the steps t taken, γ_t = γ / (1 + t / ``FALLS``). Measured only
together with the generator's layer at full size: on Fashion-MNIST, after 4,000 steps with ``FALLS = 1000``, a C2ST of 0.91, not 0.98.

**No mode is left out.** A generator that maps one normal cloud to modes that lie apart must tear it, and what the critic says of one batch
does not tell it which mode is missing. So both players are told where a row lies, and that is drawn first (Liu et al. 2020). A part of the
data that what is told keeps apart cannot be left out, and there is little left to tear. ``clusters=0`` is the game without it.

Of *tables* they are told the cell k of a row, of those that k-means divides the rows into (``prob/cells.py``): k is drawn from the shares
p(k | c) of the training rows, then x = G(z, k, c). Classes have cells of their own. On 25 Gaussians, after a minute, all 25 modes were
found in five of five seeds, and 97 to 99 % of the samples lay within 3 σ of one; without cells 20 to 23 modes at best.

Of *pictures and signals* they are told a noisy code h_t, 32 principal components with the noise of t = 0.4, and for samples h is drawn
from a Gaussian for each cell (``prob/self_condition.py``): x = G(z, h_t, c). A denoising diffusion GAN does the same in each of a few steps
(Xiao et al. 2022); this is its last one, with Gaussians in the place of the others. Both turns of a step have the same, so that a
picture is judged beside the code that it was made from. On conditional MNIST, on rows that were held out (a trial that ``bench/`` does not
repeat; 10,000 steps, about 420 seconds of one thread; cells had 13,600 steps and were judged on the test file; the last column apart,
each turn had a code of its own):

    told                            a cell      h at t = 0.8    0.6      0.4      0.2     a cell and h at 0.6     0.4, both turns
    C2ST                            0.745       0.721           0.676*   0.660    0.672   0.713                   0.670
    recall                          0.69        0.87            0.87*    0.87     0.87    0.85                    0.87
    the digit that was asked for    0.986       0.943           0.971*   0.979    0.981   0.976                   0.978
    trained on generated pictures   0.953       0.958           0.961*   0.971    0.971   0.970                   0.972

(the last row is accuracy on real ones; * 13,600 steps).

Pictures come from a generator that enlarges by interpolation, with noise for every pixel before its last layer (``nn/generator.py``).
Samples are drawn from an average over the generator's weights, and in the end each gets the levels of the training picture whose levels
are most like its own (``prob/tone.py``), of which those that are next to blank are drawn anew (``prob/faint.py``). The numbers of a table
pass a tone curve for each column: on Adult, after 2,500 steps, held-out rows, the C2ST fell from 0.80 to 0.68.

**The rate of pictures does not fall.** Players that take small steps settle where the generator has found what its critic cannot see; it
is the average over weights on their way round the equilibrium that is good. In four runs of 3,500 or 4,000 steps on MNIST and
Fashion-MNIST the held-out value was lowest (0.23 to 0.56) about where the rate began to fall, and 0.31 to 0.98 when it was zero.

**The players of tables remember a thousand steps' gradients.** Near the equilibrium gradients are small, and Adam divides by their own
size: with β₂ = 0.99 the steps stay as large as they were, and players that had been near it went away again. On 25 Gaussians, at a constant
rate, the held-out value had fallen to 0.04 after 400 steps (0.01 with β₂ = 0.999) and was 0.4 to 3 at most looks from 2,000 to 4,000 (0.2
to 0.5), so that one seed of five kept a state from its first second. On Adult, after 4,000 steps, the C2ST was 0.82 with 0.99 and
0.79 with 0.999 (one seed, rows that were held out).

**The held-out curve** is the divergence KL(p_data ‖ p_g) + KL(p_g ‖ p_data) by nearest neighbours (``prob/neighbours.py``) between held-out
rows and as many samples. It has no scale of its own, so that it sees both a mode that is missing and samples that lie between modes, which
the energy distance, used before, does not: on 25 Gaussians that was lowest before the samples had come near any mode. Scattered samples
with none of their own near them hide from it, so −log precision is added, and −log coverage, which is its mirror. Both and the diversity
are recorded beside it; where most of the data have no sample near them for several evaluations, that is an event. The weights of the lowest
value are kept; training does not stop early, since the players wander.

References
    Goodfellow et al., *Generative adversarial nets*, 2014: equation 1 (value), proposition 1 (D*), theorem 1 (JSD),
        section 3 (non-saturating).
    Jolicoeur-Martineau, *The relativistic discriminator: a key element missing from standard GAN*, 2019.
    Mescheder, Geiger & Nowozin, *Which training methods for GANs do actually converge?*, 2018: equations 9–10 (R1, R2).
    Huang, Gokaslan, Kuleshov & Tompkin, *The GAN is dead; long live the GAN! A modern GAN baseline*, 2024 (relativistic with R1 and R2).
    Liu, Wang, Bau, Zhu & Torralba, *Diverse image generation via self-conditioned GANs*, 2020 (cells).
    Xiao, Kreis & Vahdat, *Tackling the generative learning trilemma with denoising diffusion GANs*, 2022: section 3 (noisy codes).
    Coltuc, Bolon & Chassery, *Exact histogram specification*, 2006 (levels).
    Yazıcı et al., *The unusual effectiveness of averaging in GAN training*, 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.schema import Schema
from ..errors import InvalidParameterError
from ..estimator import GenerativeModel
from ..nn import build
from ..nn.generator import ConvGenerator
from ..prob.faint import faint
from ..prob.neighbours import Neighbourhoods, neighbourhoods
from ..prob.self_condition import CellCondition, CodeCondition
from ..prob.tone import Histograms, Marginals, evenly, rows_to_tone
from ..rng import Rows, Shared
from ..spec import PRESET, Interval, Net, PositiveInt, Train
from ..train.objective import Objective

Game = Literal["non-saturating", "relativistic", "minimax"]

GAMMA = {"table": 0.1, "images": 0.5, "signals": 0.5}
PENALISED = 4                   # one row of so many is penalised, of images and signals
LOOKED_AT = 1000                # held-out rows at most, at an evaluation
CLUSTERS = {"table": 32, "images": 128, "signals": 64}
FALLS = 2000                    # steps after which γ of images is half of what it was at first
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

    def __init__(self, schema: Schema, condition: Schema | None, noise_dim: int, net: Net, game: Game, penalty: float, clusters: int = 0):
        super().__init__(schema, condition)
        self.game, self.penalty = game, penalty
        shape, classes = self.features.shape, 1
        if condition is not None and condition.blocks[0].type == "category":
            classes = condition.blocks[0].n_codes
        self.locator: CellCondition | CodeCondition | None = None       # what tells the players where a row lies
        if clusters:
            self.locator = (CellCondition(self.features, clusters, classes) if schema.is_table else
                            CodeCondition(self.features, self.condition, clusters, classes))
        cond = self.n_cond + (0 if self.locator is None else self.locator.n)
        self.marginals = Marginals(self.features) if schema.is_table and self.features.n_numbers else None
        self.histograms = Histograms(shape, schema.blocks[0].levels) if schema.is_image else None
        self.faint = faint(shape, schema.blocks[0].levels) if schema.is_image else None
        self.generator = build.generator(noise_dim, shape, net, cond=cond)
        self.critic = build.critic(shape, net, cond=cond)
        self.n_noise = noise_dim + (self.generator.grain if isinstance(self.generator, ConvGenerator) else 0)
        self.register_buffer("low", torch.full((self.features.n_numbers if schema.is_table else 0,), -torch.inf))
        self.register_buffer("high", torch.full_like(self.low, torch.inf))
        self.wanders = schema.is_image
        self._made: tuple[Tensor, Tensor | None] | None = None      # rows generated in the critic's turn, for the next; what was told
        self._found: Neighbourhoods | None = None   # at the last look at the held-out rows, for what is watched beside

    def players(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    def prepare(self, x: Tensor, c: Tensor | None) -> None:
        """The range of a table's numbers, and the cells or codes of the training rows."""
        if len(self.low):
            numbers = torch.cat([self.features.own_numbers(self.features.embed(part)) for part in x.split(4096)])
            self.low.copy_(torch.where(numbers.isnan(), torch.inf, numbers).amin(0))
            self.high.copy_(torch.where(numbers.isnan(), -torch.inf, numbers).amax(0))
        if self.locator is not None:
            self.locator.fit(x, c)

    def _flat(self, x: Tensor) -> Tensor:
        return self.features.embed(x).flatten(1).float()

    # -- the two networks ------------------------------------------------------------------------------------------------------------

    def given(self, c: Tensor | None, where: Tensor | None) -> Tensor | None:
        """What both players are told: features of the condition and where the row lies, ``(B, n_cond + n)``."""
        parts = ([] if c is None else [self.embed_condition(c)]) + ([] if where is None else [where])
        return torch.cat(parts, dim=1) if parts else None

    def given_of(self, x: Tensor, c: Tensor | None, noise: Shared | None = None) -> Tensor | None:
        """The same of stored rows; a code has noise of torch's global generator where none is given."""
        return self.given(c, None if self.locator is None else self.locator.of(x, c, noise))

    def given_drawn(self, noise: Rows, c: Tensor | None) -> Tensor | None:
        """The same of ``noise.n`` rows to come."""
        return self.given(c, None if self.locator is None else self.locator.draw(noise, c))

    def generate(self, z: Tensor, uniform: Tensor, given: Tensor | None) -> Tensor:
        """G(z) as features; ``uniform`` feeds the Gumbel noise of categorical columns."""
        gumbel = -torch.log(-torch.log(uniform.clamp(1e-9, 1 - 1e-7)))
        return self.features.activate(self.generator(z, given).float(), gumbel)

    def _fake(self, n: int, given: Tensor | None, device: torch.device) -> Tensor:
        z = torch.randn(n, self.n_noise, device=device)
        return self.generate(z, torch.rand(n, self.features.n_onehot, device=device), given)

    def logit(self, f: Tensor, given: Tensor | None) -> Tensor:
        """ℓ(x), ``(B,)``, of features; D = σ(ℓ)."""
        return self.critic(f, given).float().squeeze(1)

    # -- the game --------------------------------------------------------------------------------------------------------------------

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        f = self.features.embed(x)      # in the generator's turn the rows of the critic's turn before it, as the loop gives them
        if player == "critic":
            return self._critic_loss(f, self.given_of(x, c))
        made, self._made = self._made, None
        if made is None:
            given = self.given_of(x, c)
            made = self._fake(len(f), given, f.device), given
        return self._generator_loss(f, *made)

    def _critic_loss(self, f: Tensor, given: Tensor | None) -> dict[str, Tensor]:
        n = len(f)
        with torch.set_grad_enabled(f.ndim > 2):                # pictures are dear: the generator's turn, which follows, takes the same
            fake = self._fake(n, given, f.device)
        self._made, fake = (fake, given) if f.ndim > 2 else None, fake.detach()
        m = -(-n // PENALISED) if f.ndim > 2 else n
        watched = torch.cat([f[:m], fake[:m]]).requires_grad_(self.penalty > 0)
        both = torch.cat([watched, f[m:], fake[m:]])                                        # m, m, n − m, n − m rows
        logit = self.logit(both, None if given is None else torch.cat([given[:m], given[:m], given[m:], given[m:]]))
        real, fake = (torch.cat([logit[i * m : (i + 1) * m], logit[2 * m + i * (n - m) :][: n - m]]) for i in (0, 1))
        v = relativistic_value(real, fake) if self.game == "relativistic" else value(real, fake)
        r = self._gradient_penalty(watched, logit[: 2 * m]) if self.penalty else torch.zeros_like(v)
        return {"loss": -v + r, "value": v, "penalty": r}

    @property
    def gamma(self) -> float:
        """γ at the step in hand."""
        return self.penalty / (1 + self.step / FALLS) if self.features.is_image else self.penalty

    def _gradient_penalty(self, f: Tensor, logit: Tensor) -> Tensor:
        """γ/2 (R1 + R2): the mean squared norm of ∇ℓ at as many real as generated rows."""
        (gradient,) = torch.autograd.grad(logit.sum(), f, create_graph=True)
        return self.gamma * gradient.square().flatten(1).sum(1).mean()

    def _generator_loss(self, f: Tensor, fake: Tensor, given: Tensor | None) -> dict[str, Tensor]:
        logit = self.logit(fake, given)
        if self.game == "relativistic":
            with torch.no_grad():
                real = self.logit(f, given)
            loss = -relativistic_value(logit, real)
        else:
            loss = -F.logsigmoid(logit).mean() if self.game == "non-saturating" else F.logsigmoid(-logit).mean()
        return {"loss": loss, "d_of_fake": torch.sigmoid(logit).mean()}

    # -- how good it has become ------------------------------------------------------------------------------------------------------

    def compare(self, x: Tensor, c: Tensor | None) -> Neighbourhoods:
        """Held-out rows against as many samples, as features of stored rows: what is rounded away in a sample is no difference."""
        x, c = x[:LOOKED_AT], None if c is None else c[:LOOKED_AT]
        drawn = self.given_drawn(Rows(int(torch.randint(2**62, ())), 0, len(x), x.device), c)
        fake = self.features.project(self._fake(len(x), drawn, x.device))
        return neighbourhoods(*map(self._flat, (x, fake)))

    def held_out(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Divergence between held-out rows and as many samples, both ways, in nats per dimension, − log precision − log coverage."""
        self._found = found = self.compare(x, c)
        return found.distance

    def watch(self, x: Tensor, c: Tensor | None) -> dict[str, float]:
        found, self._found = self.compare(x, c) if self._found is None else self._found, None
        return {name: float(getattr(found, name)) for name in ("precision", "coverage", "diversity")}

    def alarm(self, history: Sequence[Mapping[str, Any]]) -> str | None:
        """Mode collapse: the samples are much more alike than rows are, or lie where rows lie and leave out most of them."""
        lately = [r for r in history[-PATIENT:] if "coverage" in r]
        if len(lately) < PATIENT or not all(collapsed(r) for r in lately):
            return None
        last = lately[-1]
        return (f"mode collapse: {last['precision']:.0%} of the samples lie where rows lie, but {last['coverage']:.0%} of the rows have a "
                f"sample near them; distances among samples are {last['diversity']:.0%} of those among rows")

    def conclude(self, x: Tensor, c: Tensor | None) -> None:
        """The numbers of a table's training rows; the levels of training pictures, and those that are next to blank."""
        if self.marginals is not None:
            rows = evenly(len(x), rows_to_tone(len(x)), x.device)
            noise = Rows(int(torch.randint(2**62, ())), 0, len(rows), x.device)
            self.marginals.fit(self.drawn(noise, None if c is None else c[rows]), x[rows], x)
        if self.histograms is not None:
            self.histograms.fit(x)
        if self.faint is not None:
            self.faint.fit(x, self.step)

    def drawn(self, noise: Rows, c: Tensor | None) -> Tensor:
        """Features of new rows, as the generator makes them."""
        z, uniform = noise.normal(self.n_noise), noise.uniform(self.features.n_onehot)
        return self.generate(z, uniform, self.given_drawn(noise, c))

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        f = self.drawn(noise, c)
        for corrected in (self.marginals, self.histograms):
            f = f if corrected is None else corrected(f)
        x = self.features.project(f)
        return x if self.faint is None else self.faint(x, noise.uniform(*x.shape[1:]))

    def score(self, x: Tensor, c: Tensor | None, noise: Shared) -> Tensor:
        """log D(x), the critic's opinion, less how far a table's numbers lie outside of the training rows' range, where it has seen nothing
        and what it says means nothing: 40 standard deviations away it has been seen to be sure of a row. Not a likelihood: at the
        equilibrium it is the same for every row."""
        f = self.features.embed(x)
        opinion = F.logsigmoid(self.logit(f, self.given_of(x, c, noise)))
        if not len(self.low):
            return opinion
        numbers = self.features.own_numbers(f)
        return opinion - torch.nan_to_num(F.relu(self.low - numbers) + F.relu(numbers - self.high), nan=0.0).sum(1)


def collapsed(figures: Mapping[str, Any]) -> bool:
    """Whether the figures of :meth:`GANObjective.watch` are those of a generator that leaves out most of the data."""
    alike = figures["diversity"] < 0.3
    return alike or (figures["precision"] > 0.5 and figures["coverage"] < 0.4 * figures["precision"])


class GAN(GenerativeModel):
    """Generative adversarial network: a generator against a critic that tells its rows from real ones.

    Parameters
        noise_dim : size of z; None = as many as features, at least 8 and at most 64.
        game : ``"relativistic"``, ``"non-saturating"`` or ``"minimax"``: what the players optimise.
        penalty : weight γ of the gradient penalties R1 and R2; 0 = none, the game of 2014; None = 0.1 for a table, 0.5 for images, of
            which it falls as training goes on, and signals.
        clusters : cells that the rows are divided into, by k-means, so that none is left out: of a table both players are told a row's
            cell; of images and signals a noisy code, which is drawn from a Gaussian for each cell. At most one for 100 rows (128 of
            pictures and signals), and of a condition with classes as many for each; 0 = none, one noise for all of the data; None = 32
            for a table (0 where the condition is a quantity), 128 for images, 64 for signals.
        conditional : model x given y; both players then see y.
        net : the critic's and, backwards, the generator's network; the critic's activation is always leaky.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``score_samples`` is log D(x), the critic's opinion, less the distance of a table's numbers from the training rows' range; no
    likelihood.
    """

    capabilities = frozenset({"sample", "condition", "score"})
    preset = PRESET(lr=2e-3, batch_size=256, betas=(0.0, 0.999), patience=1.0)
    presets = dict.fromkeys(("images", "signals"), PRESET(lr=2e-3, batch_size=32, betas=(0.0, 0.99), patience=1.0))

    def __init__(self, *, noise_dim: PositiveInt | None = None, game: Game = "relativistic",
                 penalty: Annotated[float, Interval(0)] | None = None, clusters: Annotated[int, Interval(0)] | None = None,
                 conditional: bool = False, net: Net = Net(), train: Train = Train(), random_state: Any = None):
        self.noise_dim = noise_dim
        self.game = game
        self.penalty = penalty
        self.clusters = clusters
        self.conditional = conditional
        self.net = net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> GANObjective:
        return GANObjective(schema, condition, *self.settings(schema, condition))

    def settings(self, schema: Schema, condition: Schema | None) -> tuple[int, Net, Game, float, int]:
        """Noise, networks, game, penalty and cells for such data."""
        kind = "table" if schema.is_table else schema.container
        gamma = GAMMA[kind] if self.penalty is None else self.penalty
        quantity = condition is not None and condition.blocks[0].type != "category"
        if quantity and self.clusters and schema.is_table:
            raise InvalidParameterError("the cells of a condition that is a quantity have no shares", expected="clusters=0, or a condition "
                                        "of categories", got=f"clusters={self.clusters}")
        clusters = (0 if quantity and schema.is_table else CLUSTERS[kind]) if self.clusters is None else self.clusters
        return self.noise_dim or max(8, min(64, schema.n_dims)), self.net, self.game, gamma, clusters
