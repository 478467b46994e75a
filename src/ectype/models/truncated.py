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
On MNIST, with a generator that had two and a half minutes of one thread and a denoiser that had 18, four evaluations (the generator's
included) had

    t₀                      0.3      0.45     0.6      0.7      0.8      0.88     G(z) alone     1,000 steps cut to 250
    Fréchet (features)      0.0117   0.0113   0.0107   0.0102   0.0098   0.0153   0.0125         0.0136
    coverage                0.89     0.91     0.93     0.94     0.95     0.89     0.88           0.89
    recall                  0.68     0.69     0.70     0.70     0.76     0.84     0.67           0.95

(with fresh noise; without, at 0.8: 0.0091, 0.93 and 0.80). One evaluation is G(z) alone.

The denoiser is trained on the times up to t₀ only; the generator plays its own game; each has half of the budget. Neither knows of the
other, so both can be taken from models that are there: the denoiser of a saved :class:`~ectype.DDPM` (``teacher``).

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
from ..prob.solvers import Sampler
from ..rng import Rows
from ..spec import Interval, Net, Train
from ..train.noising import check_steps
from ..train.objective import Stage
from .diffusion import DDPM, DDPMObjective
from .gan import GAN, GANObjective

START = {"table": 0.1, "images": 0.85, "signals": 0.85}
SHARE = 0.5             # of the budget, for the denoiser
ENOUGH = 3              # steps of the denoiser, to go all the way from t₀


class TruncatedObjective(DDPMObjective):
    """A denoiser of times up to t₀, and the game of a generator whose rows are where it begins."""

    toned: ClassVar[Mapping[int, Mapping[str, Any]]] = {2: {}, 4: {}}

    def __init__(self, schema: Schema, condition: Schema | None, net: Net, start: float, generator: GANObjective, *,
                 settings: Train | None = None, teacher: str | None = None):
        super().__init__(schema, condition, "cosine", net, drop_condition=0.0)
        self.last, self.generator, self.settings, self.teacher = start, generator, settings, teacher
        self.data = [None if s is None else s.to_dict() for s in (schema, condition)]

    # -- two trainings, one after the other --------------------------------------------------------------------------------------------

    def stages(self) -> tuple[Stage, ...]:
        game = Stage("generator", 1.0 if self.teacher else 1 - SHARE, self.settings)
        return (game,) if self.teacher else (Stage("denoiser", SHARE), game)

    @property
    def turns(self) -> tuple[str, ...]:
        return tuple(self.players())

    def players(self) -> dict[str, nn.Module]:
        """Those of the stage; outside of training, all."""
        denoiser = {"model": self.network} if self.stage != "generator" else {}
        return denoiser | (self.generator.players() if self.stage != "denoiser" else {})

    @property
    def playing(self) -> bool:
        """Whether the generator's game is under way."""
        return self.stage == "generator"

    @property
    def wanders(self) -> bool:
        return self.playing and self.generator.wanders

    def prepare(self, x: Tensor, c: Tensor | None) -> None:
        """The scales of the features, or all that the teacher knows; the generator's cells."""
        if self.teacher is None:
            super().prepare(x, c)
        else:
            self._learn_from(self.teacher)
        self.generator.prepare(x, c)

    def _learn_from(self, folder: str) -> None:
        """Take over the denoiser of a saved DDPM."""
        teacher = load(folder, device=str(self.center.device))
        if not isinstance(teacher, DDPM) or (teacher.schedule, teacher.prediction) != ("cosine", "v"):
            raise InvalidParameterError("the teacher restores no noise as this model does", got=f"{teacher}",
                                        expected='a saved ddpm with schedule="cosine" and prediction="v"')
        if [None if s is None else s.to_dict() for s in (teacher.schema_, teacher.condition_)] != self.data:
            raise SchemaMismatchError("the teacher has learnt from other data", hint="fit both on the same rows")
        try:
            self.network.load_state_dict(teacher.objective_.network.state_dict())
        except RuntimeError as error:
            raise InvalidParameterError("the teacher's network is another", expected=f"net={teacher.net}",
                                        got="the net of this model") from error
        for scale in ("center", "scale", "low", "high"):
            getattr(self, scale).copy_(getattr(teacher.objective_, scale))

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
        """``steps`` times even in λ, from t₀ to a third of an equal step from the data; then 0. ``(steps + 1,)``. Fewer than three steps
        cannot go as far: they begin at a third and at two thirds of t₀."""
        first = self.last * min(1.0, steps / ENOUGH)
        high, low = self.schedule.log_snr(torch.tensor([first / (3 * steps), first], device=self.center.device))
        even = self.schedule.time_of(low + (high - low) * torch.linspace(0, 1, steps, device=low.device))
        return torch.cat([low.new_tensor([first]), even[1:], low.new_zeros(1)])

    def begin(self, noise: Rows, c: Tensor | None, t: Tensor) -> Tensor:
        """x_t = α_t G(z) + σ_t ε."""
        f = self.scaled(self.generator.sample(noise, c))
        alpha, sigma = self.at(t[None])
        return alpha * f + sigma * noise.normal(*self.shape)

    def generate(self, noise: Rows, c: Tensor | None, *, steps: int) -> Tensor:
        """Scaled features in so many evaluations, the generator's included."""
        return super().generate(noise, c, steps=steps - 1, sampler="dpm", eta=0.0)

    def sample(self, noise: Rows, c: Tensor | None, *, steps: int = 4) -> Tensor:
        return self.generator.sample(noise, c) if steps == 1 else super().sample(noise, c, steps=steps)


class TruncatedDiffusion(GenerativeModel):
    """Truncated diffusion: a generator's row, made noisy again, and restored in a few steps.

    Parameters
        start : time t₀ at which the reverse process begins, from the generator's rows: near 0 these are hardly changed, near 1 they hardly
            matter; None = 0.1 for a table, 0.85 for images and signals.
        teacher : folder of a saved ``ddpm`` that was fitted on the same rows, whose denoiser is taken over; all of the budget then goes to
            the generator. None = both are trained, each in half of the budget.
        conditional : model x given y.
        net : the denoiser: a U-Net for images, a residual perceptron for tables; that of the teacher, where there is one.
        generator_net : the generator's network and, backwards, its critic's.
        train : budget, learning rate and so on, of both; where nothing is said, each has what it has as a model of its own.
        random_state : seed of weights and training.

    ``score_samples`` is minus the mean denoising error over noise levels up to t₀.
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
        return TruncatedObjective(schema, condition, self.net, self.start or START[kind], game, teacher=self.teacher,
                                  settings=self.train.over(GAN.presets.get(kind, GAN.preset)))

    def evaluations(self, *, steps: int = 4) -> int:
        return steps

    def sample(self, n: int = 1, *, condition: Any = None, random_state: Any = None, steps: int = 4, batch_size: int = BATCH) -> Any:
        """``n`` new rows.

        steps : evaluations for each row, the first of them the generator's, 1 to 10,000.
        """
        check_steps(steps, 1.0, self.conditional)
        return self._sample(n, condition, random_state, batch_size, steps=steps)
