"""Truncated diffusion: a generator jumps to the middle of the reverse process, and a few steps of diffusion go the rest of the way.

Notation
    x, x_t, α_t, σ_t, x_hat     as in diffusion (``models/diffusion.py``): x_t = α_t x + σ_t ε, t = 1 is noise
    t₀                          where the reverse process is cut off (``start``)
    G(z)                        a generator's row, from noise z (``models/gan.py``)

Diffusion needs many steps because its first ones decide much: from pure noise the best guess x_hat is the mean of all rows, and each step
may only believe it a little. From t₀ on the row is nearly decided, and few steps do. A generative adversarial network decides in one pass,
but its rows lack variety and have marks of their own, which whoever looks closely finds. So the reverse process begins at t₀ with

    x_{t₀} = α_{t₀} G(z) + σ_{t₀} ε,       ε ~ N(0, I)

in the place of q(x_{t₀}), and goes on with k − 1 evaluations of the denoiser, DPM-Solver++(2M) without fresh noise (``prob/solvers.py``).
The noise hides what is wrong with G(z) before the denoiser sees it: for any two distributions p, q of rows

    KL( p_{t₀} ‖ q_{t₀} )  ≤  KL( p ‖ q )          (what both do to a row, adding noise, cannot make them easier to tell apart)

and at σ_{t₀} → 1 it is zero. So t₀ weighs the two: the nearer to 1, the less depends on G, and the more has to be decided in few steps.
On MNIST, with three evaluations of a denoiser that had 20 minutes of one thread and a generator that had 14, on rows that were held out
(1,000 against 1,000; the Fréchet distance is of principal components, and 0.024 of real rows):

    t₀, and the last time       0.8, 0.09   0.85, 0.09  0.88, 0.35  0.9, 0.1    0.9, 0.35   0.92, 0.4   0.94, 0.1
    C2ST                        0.64        0.63        0.63        0.66        0.64        0.66        0.72
    Fréchet distance            0.035       0.033       0.030       0.034       0.030       0.033       0.054
    recall                      0.86        0.90        0.93        0.93        0.94        0.95        0.91
    coverage                    0.96        0.96        0.96        0.91        0.93        0.92        0.76

On the test file (``bench/results/diffusion_mnist.json``) four evaluations, the generator's included, had 1.6 and 1.4 times the Fréchet
distances of real rows (in pixels' components, and in features of a classifier), a C2ST of 0.65, and 0.97 and 0.95 of the coverage and
recall of real rows. Beside 250 ancestral steps of the same denoiser from pure noise, which had 24 minutes, that is 1.2 and 1.4 times the
distances, with the same coverage and 0.96 times the recall, at 68 times the rows a second; beside those of a denoiser of the same size that
had learnt less, 1.08 and 1.03 times. On Fashion-MNIST the generator leaves more out: 1.36 and 1.43 times, and 0.79 times the recall. One
evaluation is G(z) alone.

The generator plays its own game first, the denoiser is trained on the times up to t₀ (and at least to 0.5) after it, in seven tenths of the
budget. Neither knows of the other, so that the denoiser can be that of a saved :class:`~ectype.DDPM` (``teacher``).

What is decided at t₀ remains the generator's: at σ_t small enough a category can be read off x_t itself (:mod:`ectype.train.noising`),
below t = 0.22. The default for tables, 0.1, mends numbers and leaves categories, flags and blanks as G has them; on a table with dependent
numbers and categories (``mixed``, 3,000 rows, 1,500 steps each, one seed) the C2ST was 0.514 there, 0.56 at 0.3, 0.587 at 0.5, and 0.58 of
G(z) alone. A table without numbers begins at 0.3.

References
    Zheng, He, Chen & Zhou, *Truncated diffusion probabilistic models and diffusion-based adversarial auto-encoders*, 2023: section 3.
    Xiao, Kreis & Vahdat, *Tackling the generative learning trilemma with denoising diffusion GANs*, 2022 (why few steps need a generator).
    Lyu, Xu, Yang, Lin & Dai, *Accelerating diffusion models via early stop of the diffusion process*, 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from ..data.schema import Schema
from ..errors import InvalidParameterError, SchemaMismatchError
from ..estimator import BATCH, GenerativeModel, load
from ..prob.schedule import ENDS
from ..prob.solvers import Sampler
from ..rng import Rows
from ..spec import Interval, Net, Train
from ..train.noising import check_steps
from ..train.objective import Stage
from .diffusion import DDPM, DDPMObjective
from .gan import GAN, GANObjective

START = {"table": 0.1, "images": 0.88, "signals": 0.88}
END = {"table": 1 / 3, "images": 1.2, "signals": 1.2}       # the last of n times, in equal steps from the data: for narrow modes small
UNDECIDED = 0.3         # for a table that has no numbers
TRAINED = 0.5           # the denoiser is trained up to this time at least: it scores rows, too
SHARE = 0.7             # of the budget, for the denoiser; with 0.5 digits had a C2ST of 0.81 after 12 s, and with this 0.74
ALIKE = 0.1             # a teacher's mean and deviation of the data may differ by this share of the deviation, or by what chance makes of
CHANCE = 4.0            # few rows: so many standard errors √(2/n) of the difference between the means of n rows and n others
ENOUGH = 3              # steps of the denoiser, to go all the way from t₀


class TruncatedObjective(DDPMObjective):
    """A denoiser of times up to t₀, and the game of a generator whose rows are where it begins."""

    toned: ClassVar[Mapping[int, Mapping[str, Any]]] = {2: {}, 4: {}}
    to_tone = 1024          # a sample costs a few evaluations only

    def __init__(self, schema: Schema, condition: Schema | None, net: Net, start: float, generator: GANObjective, *,
                 settings: Train | None = None, teacher: str | None = None):
        super().__init__(schema, condition, "cosine", net, drop_condition=0.0)
        kind = "table" if schema.is_table else schema.container
        self.start, self.end, self.last = start, END[kind], max(start, TRAINED)
        self.generator, self.settings, self.teacher = generator, settings, teacher
        self.histograms = None              # pictures take the levels that the generator's take
        self.data = [None if s is None else s.to_dict() for s in (schema, condition)]

    # -- two trainings, one after the other --------------------------------------------------------------------------------------------

    def stages(self) -> tuple[Stage, ...]:
        game = Stage("generator", 1.0 if self.teacher else 1 - SHARE, self.settings)
        return (game,) if self.teacher else (game, Stage("denoiser", SHARE))

    @property
    def turns(self) -> tuple[str, ...]:
        return tuple(self.players())

    def players(self) -> dict[str, nn.Module]:
        """Those of the stage; outside of training, all."""
        game = self.generator.players() if self.stage != "denoiser" else {}
        return game | ({"model": self.network} if self.stage != "generator" else {})

    @property
    def playing(self) -> bool:
        """Whether the generator's game is under way."""
        return self.stage == "generator"

    @property
    def wanders(self) -> bool:
        return self.playing and self.generator.wanders

    def prepare(self, x: Tensor, c: Tensor | None) -> None:
        """The scales of the features, or all that the teacher knows; the generator's cells."""
        super().prepare(x, c)
        if self.teacher is not None:
            self._learn_from(self.teacher, max(ALIKE, CHANCE * (2 / len(x)) ** 0.5))
        self.generator.prepare(x, c)

    def _learn_from(self, folder: str, alike: float) -> None:
        """Take over the denoiser of a saved DDPM, and the scales that it knows.

        alike : how much its means and deviations of the features may differ, in deviations. Two fits of the same rows hold out different
            ones, and only of a table does the schema tell that the rows are the same.
        """
        teacher = load(folder, device=str(self.center.device))
        if not isinstance(teacher, DDPM) or (teacher.schedule, teacher.prediction, tuple(teacher.log_snr)) != ("cosine", "v", ENDS):
            raise InvalidParameterError("the teacher restores no noise as this model does", got=_in_words(teacher),
                                        expected='a saved ddpm with schedule="cosine", prediction="v" and the default log_snr')
        known = teacher.objective_
        same = [None if s is None else s.to_dict() for s in (teacher.schema_, teacher.condition_)] == self.data
        if not same or max((known.center - self.center).abs().max() / self.scale.min(), (known.scale / self.scale - 1).abs().max()) > alike:
            raise SchemaMismatchError("the teacher has learnt from other data", hint="fit both on the same rows")
        try:
            self.network.load_state_dict(known.network.state_dict())
        except RuntimeError as error:
            raise InvalidParameterError("the teacher's network is another", expected=_in_words(teacher), got="the net of this model",
                                        hint="give this model the settings net of the teacher") from error
        for scale in ("center", "scale", "low", "high"):
            getattr(self, scale).copy_(getattr(known, scale))

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        if player == "model":
            return super().loss(x, c, player)
        self.generator.step = self.step
        return self.generator.loss(x, c, player)

    def held_out(self, x: Tensor, c: Tensor | None) -> Tensor:
        return self.generator.held_out(x, c) if self.playing else self.loss(x, c, "model")["loss"]

    def watch(self, x: Tensor, c: Tensor | None) -> dict[str, float]:
        return self.generator.watch(x, c) if self.playing else {}

    def alarm(self, history: Sequence[Mapping[str, Any]]) -> str | None:
        return self.generator.alarm(history) if self.playing else None

    def conclude(self, x: Tensor, c: Tensor | None) -> None:
        self.generator.conclude(x, c)
        super().conclude(x, c)

    # -- sampling ----------------------------------------------------------------------------------------------------------------------

    def times(self, steps: int, sampler: Sampler = "dpm") -> Tensor:
        """``steps`` times even in λ, from t₀ to about an equal step from the data (``END``); then 0. ``(steps + 1,)``. Fewer than three
        steps cannot go as far: they begin at a third and at two thirds of t₀."""
        first = self.start * min(1.0, steps / ENOUGH)
        high, low = self.schedule.log_snr(torch.tensor([first * self.end / steps, first], device=self.center.device))
        even = self.schedule.time_of(low + (high - low) * torch.linspace(0, 1, steps, device=low.device))
        return torch.cat([low.new_tensor([first]), even[1:], low.new_zeros(1)])

    def begin(self, noise: Rows, c: Tensor | None, t: Tensor) -> Tensor:
        """x_t = α_t G(z) + σ_t ε."""
        f = self.scaled(self.generator.sample(noise, c))
        alpha, sigma = self.at(t[None])
        return alpha * f + sigma * noise.normal(*self.shape)

    def with_levels(self, f: Tensor) -> Tensor:
        return self.generator.histograms(f)

    def generate(self, noise: Rows, c: Tensor | None, *, steps: int) -> Tensor:
        """Scaled features in so many evaluations, the generator's included."""
        return super().generate(noise, c, steps=steps - 1, sampler="dpm", eta=0.0)

    def sample(self, noise: Rows, c: Tensor | None, *, steps: int = 4) -> Tensor:
        return self.generator.sample(noise, c) if steps == 1 else super().sample(noise, c, steps=steps)


def _in_words(model: GenerativeModel) -> str:
    """A model by its class and the settings that are not the default ones."""
    plain = type(model)().get_params(deep=False)
    changed = {k: v for k, v in model.get_params(deep=False).items() if k not in ("train", "random_state") and v != plain[k]}
    return f"a {type(model).__name__}" + (" with " + ", ".join(f"{k}={v}" for k, v in changed.items()) if changed else "")


class TruncatedDiffusion(GenerativeModel):
    """Truncated diffusion: a generator's row, made noisy again, and restored in a few steps.

    Parameters
        start : time t₀ between 0 and 1 at which the reverse process begins, from the generator's rows: near 0 these hardly change, near
            1 they hardly matter; None = 0.1 for a table, or 0.3 where it has no numbers, 0.88 for images and signals.
        teacher : folder of a saved ``ddpm`` that was fitted on the same rows (that they are of the same kind, mean and deviation is
            checked), whose denoiser is taken over; all of the budget then goes to the generator. None = both are trained, the
            generator in three tenths of the budget.
        conditional : model x given y.
        net : the denoiser: a U-Net for images, a residual perceptron for tables; the same as a teacher's.
        generator_net : the generator's network and, backwards, its critic's.
        train : budget, learning rate and so on, of both; where nothing is said, each has what it has as a model of its own.
        random_state : seed of weights and training.

    ``score_samples`` is minus the mean denoising error over the noise levels that are trained on.
    """

    capabilities = frozenset({"sample", "condition", "score"})
    preset = DDPM.preset
    presets = DDPM.presets
    sampling_presets = {"1step": {"steps": 1}}

    def __init__(self, *, start: Annotated[float, Interval(0, 1, open_low=True, open_high=True)] | None = None, teacher: str | None = None,
                 conditional: bool = False, net: Net = Net(), generator_net: Net = Net(), train: Train = Train(), random_state: Any = None):
        self.start = start
        self.teacher = teacher
        self.conditional = conditional
        self.net = net
        self.generator_net = generator_net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> TruncatedObjective:
        kind = "table" if schema.is_table else schema.container
        game = GAN(net=self.generator_net).build(schema, condition)
        usual = UNDECIDED if schema.is_table and not any(b.type == "number" for b in schema.blocks) else START[kind]
        return TruncatedObjective(schema, condition, self.net, self.start or usual, game, teacher=self.teacher,
                                  settings=self.train.over(GAN.presets.get(kind, GAN.preset)))

    def evaluations(self, *, steps: int = 4) -> int:
        return steps

    def sample(self, n: int = 1, *, condition: Any = None, random_state: Any = None, steps: int = 4, batch_size: int = BATCH) -> Any:
        """``n`` new rows.

        steps : evaluations for each row, the first of them the generator's, 1 to 10,000.
        """
        check_steps(steps, 1.0, self.conditional)
        return self._sample(n, condition, random_state, batch_size, steps=steps)
