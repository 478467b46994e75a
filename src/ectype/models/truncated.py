"""Truncated diffusion: a rough row for the middle of the reverse process, and a few steps of diffusion from there.

Notation
    x, x_t, α_t, σ_t, x_hat     as in diffusion (``models/diffusion.py``): x_t = α_t x + σ_t ε, t = 1 is noise
    t₀                          where the reverse process is cut off (``start``)
    p, g                        the distribution of rows, and that of rough rows: a Gaussian for each cell of the data (``prob/local.py``)
    p_t, g_t                    the same with noise

Diffusion needs many steps because its first ones decide much: from pure noise the best guess x_hat is the mean of all rows, and each step
may only believe it a little. From t₀ on the row is nearly decided, and few steps do. What the first steps arrive at need not be computed by
a network: with much noise p_t is smooth, and a mixture of Gaussians is as good. So the reverse process begins at t₀ with

    x_{t₀} = α_{t₀} r + σ_{t₀} ε,       r ~ g,  ε ~ N(0, I)

in the place of p_{t₀}, and goes on with DPM-Solver++(2M) without fresh noise (``prob/solvers.py``). What is wrong with r drowns in the
noise before the denoiser sees it: for any two distributions of rows

    KL( p_{t₀} ‖ g_{t₀} )  ≤  KL( p ‖ g )          (what both do to a row, adding noise, cannot make them easier to tell apart)

and at σ_{t₀} → 1 it is zero. So t₀ weighs the two: the nearer to 1, the less depends on g, and the more has to be decided in few steps.
On MNIST, on rows that were held out (1,000 against 1,000, one seed; the Fréchet distance is of principal components, and 0.024 of real
rows; the denoiser had 24 minutes of one thread):

    evaluations         1       2       3       4       4       4       250 ancestral steps of the same denoiser
    t₀                  0.5     0.5     0.84    0.76    0.84    0.92    1
    C2ST                0.80    0.72    0.55    0.58    0.56    0.60    0.61
    Fréchet distance    0.023   0.022   0.021   0.020   0.020   0.025   0.022
    recall              0.82    0.85    0.93    0.94    0.93    0.96    0.95
    coverage            0.99    0.99    0.97    0.97    0.96    0.93    0.95

So many steps seem to do more harm above t₀ than the Gaussians do. Figures on test files are in ``bench/results/diffusion_mnist.json`` and
``diffusion_fashion.json``.

The denoiser is a DDPM's, trained on the times up to t₀ (and at least to 0.5) alone; ``teacher`` lets it begin as that of a saved
:class:`~ectype.DDPM`.

Before this, r was the row of a generative adversarial network, as in the first of the references. With 21 minutes for the generator and
the same denoiser, four evaluations had a C2ST of 0.66, a Fréchet distance of 0.028 and a recall of 0.90 there; on Fashion-MNIST most of
the gap to real rows was what the generator had left out.

Of a table, categories that depend on each other within a cell are mended only where the noise hides them, from about t = 0.3 on; numbers
of narrow modes want fewer and smaller steps. On Adult, with four evaluations after 90 s, the C2ST was 0.69 at t₀ = 0.3, 0.68 at 0.4, 0.66
at 0.5 and 0.72 at 0.8. Of numbers alone the Gaussians are nearly right already. After 3,000 steps on two thirds of the rows, one seed, the
others to judge by (60 of wine):

    t₀, four evaluations                        0.05    0.1     0.2     0.4     0.5
    25 Gaussians: C2ST                          0.531   0.572   0.809   0.878   0.852
    25 Gaussians: samples within 3 σ of one     0.971   0.956   0.906   0.886   0.862
    two moons: C2ST                             0.507   0.506   0.518   0.519   0.542
    wine, after 1,500 steps: C2ST               0.672   0.686   0.710   0.679   0.667

References
    Zheng, He, Chen & Zhou, *Truncated diffusion probabilistic models and diffusion-based adversarial auto-encoders*, 2023: section 3.
    Lyu, Xu, Yang, Lin & Dai, *Accelerating diffusion models via early stop of the diffusion process*, 2022.
    Wang & Vastola, *The unreasonable effectiveness of Gaussian score approximation for diffusion models and its applications*, 2024 (its
    first steps computed in closed form, from the mean and the covariance of the data).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from ..data.blocks import block_to_dict
from ..data.schema import Schema
from ..errors import InvalidParameterError, SchemaMismatchError
from ..estimator import BATCH, GenerativeModel, load
from ..prob.local import LocalGaussians
from ..prob.relax import Relaxation
from ..prob.schedule import ENDS
from ..prob.solvers import Sampler
from ..prob.tone import EDGE, Spread, between
from ..rng import Rows
from ..spec import Interval, Net, Train
from ..train.noising import check_steps
from .diffusion import DDPM, DDPMObjective

START = {"numbers": 0.05, "table": 0.4, "images": 0.8, "signals": 0.8}        # of tables of numbers alone, and of others
SOONER = {"table": (0.33, 0.33), "images": (0.55, 0.75), "signals": (0.55, 0.75)}      # times t₀: where one and two steps begin
END = {"table": 0.33, "images": 1.2, "signals": 1.2}        # the last of n times, in equal steps from the data: for narrow modes small
TRAINED = 0.5           # the denoiser is trained up to this time at least: it scores rows, too
ALIKE = 0.1             # a teacher's mean and deviation of the data may differ by this share of the deviation, or by what chance makes of
CHANCE = 4.0            # few rows: so many standard errors √(2/n) of the difference between the means of n rows and n others


class TruncatedObjective(DDPMObjective):
    """A denoiser of times up to t₀, and rough rows to begin with."""

    to_tone = 1024          # a sample costs a few evaluations only

    def __init__(self, schema: Schema, condition: Schema | None, net: Net, start: float, *,
                 teacher: str | os.PathLike | None = None):
        super().__init__(schema, condition, "cosine", net, drop_condition=0.0)
        self.kind = "table" if schema.is_table else schema.container
        self.start, self.last, self.teacher = start, max(start, TRAINED), teacher
        self.data = _described(schema, condition)
        self.spreads = nn.ModuleDict({str(k): Spread(self.rough.basis.shape[1]) for k in self.toned} if schema.is_image else {})

    def tones_of(self, schema: Schema) -> Mapping[int, Mapping[str, Any]]:
        return {1: {}, 2: {}, 4: {}}

    def mixture(self, condition: Schema | None, net: Net) -> LocalGaussians:
        """Of tables, too: there the rows begin."""
        return self.gaussians(condition)

    def fit_mixture(self, x: Tensor, c: Tensor | None) -> None:
        """Or take over the teacher's, whose denoiser corrects these Gaussians and no others."""
        known = None if self.teacher is None else self._learn_from(self.teacher, max(ALIKE, CHANCE * (2 / len(x)) ** 0.5))
        if known is None or known.rough is None:
            super().fit_mixture(x, c)
        else:
            self.rough.load_state_dict(known.rough.state_dict())

    def _learn_from(self, folder: str | os.PathLike, alike: float) -> DDPMObjective:
        """Take over the denoiser of a saved DDPM, and the scales that it knows; what else it knows is returned.

        alike : how much its means and deviations of the features may differ, in deviations. Two fits of the same rows hold out different
            ones, and only of a table does the schema tell that the rows are the same.
        """
        teacher = load(folder, device=str(self.center.device))
        if not isinstance(teacher, DDPM) or (teacher.schedule, teacher.prediction, tuple(teacher.log_snr)) != ("cosine", "v", ENDS):
            raise InvalidParameterError("the teacher restores no noise as this model does", got=_in_words(teacher),
                                        expected='a saved ddpm with schedule="cosine", prediction="v" and the default log_snr')
        known = teacher.objective_
        given = [s is not None for s in (teacher.condition_, self.data[1])]
        if given[0] != given[1]:
            raise SchemaMismatchError("the teacher and this model are not told the same", hint="make both conditional, or neither",
                                      expected=f"conditional={given[0]}, as the teacher", got=f"conditional={given[1]}")
        same = _described(teacher.schema_, teacher.condition_) == self.data
        if not same or max((known.center - self.center).abs().max() / self.scale.min(), (known.scale / self.scale - 1).abs().max()) > alike:
            raise SchemaMismatchError("the teacher has learnt from other data",
                                      hint="fit both on the same rows, read in the same way (pictures in the same size)")
        try:
            self.network.load_state_dict(known.network.state_dict())
        except RuntimeError as error:
            raise InvalidParameterError("the teacher's network is another", expected=_in_words(teacher), got="the net of this model",
                                        hint="give this model the settings net of the teacher") from error
        for scale in ("center", "scale", "low", "high"):
            getattr(self, scale).copy_(getattr(known, scale))
        if self.faint is not None:
            self.faint.load_state_dict(known.faint.state_dict())
        return known

    # -- sampling ----------------------------------------------------------------------------------------------------------------------

    def times(self, steps: int, sampler: Sampler = "dpm") -> Tensor:
        """``steps`` times even in λ, from t₀ to about an equal step from the data (``END``); then 0. ``(steps + 1,)``. One step and two
        cannot go as far, and begin sooner (``SOONER``)."""
        first = self.start * (SOONER[self.kind][steps - 1] if steps < 3 else 1.0)
        high, low = self.schedule.log_snr(torch.tensor([first * min(1.0, END[self.kind] / steps), first], device=self.center.device))
        even = self.schedule.time_of(low + (high - low) * torch.linspace(0, 1, steps, device=low.device))
        return torch.cat([low.new_tensor([first]), even[1:], low.new_zeros(1)])

    def generate(self, noise: Rows, c: Tensor | None, *, steps: int) -> Tensor:
        """Scaled features in so many evaluations."""
        return super().generate(noise, c, steps=steps, sampler="dpm", eta=0.0)

    def spread(self, f: Tensor, c: Tensor | None, steps: int) -> Tensor:
        """Pictures spread by a share k / ``steps`` of what k steps need."""
        if not self.spreads:
            return f
        k, which = self.nearest(steps), self.rough.told(c)[1]
        return self.spreads[str(k)](f, self.rough.gaps(f, which), self.rough.basis, self.between(f), min(1.0, k / steps))

    def between(self, f: Tensor) -> Tensor:
        """How far scaled pixels may be moved: 0 at black and at white, 1 at ``EDGE`` from them."""
        black, white = ((end - self.center) / self.scale for end in (-1.0, 1.0))
        return between(f, black, white, EDGE / self.scale)

    def find_faint(self, x: Tensor) -> None:
        """Or as the teacher has found them."""
        if self.teacher is None or not self.faint or not self.faint.fitted:
            super().find_faint(x)

    def conclude(self, x: Tensor, c: Tensor | None) -> None:
        """How far samples are spread, and then their tone curves."""
        for name, spread in self.spreads.items():
            f, rows = self.some(x, c, int(name))
            which = self.rough.told(None if c is None else c[rows])[1]
            squares = self.rough.squared_gaps(self.scaled(x[rows]), which)
            spread.fit(f, lambda f, which=which: self.rough.gaps(f, which), self.rough.basis, self.between(f), squares)
        super().conclude(x, c)


def _described(schema: Schema, condition: Schema | None) -> list[dict[str, Any] | None]:
    """What a model's rows are, and its condition, whatever that is called."""
    return [schema.to_dict(), None if condition is None else block_to_dict(replace(condition.blocks[0], name=""))]


def _in_words(model: GenerativeModel) -> str:
    """A model by its class and the settings that are not the default ones."""
    plain = type(model)().get_params(deep=False)
    changed = {k: v for k, v in model.get_params(deep=False).items() if k not in ("train", "random_state") and v != plain[k]}
    return f"a {type(model).__name__}" + (" with " + ", ".join(f"{k}={v}" for k, v in changed.items()) if changed else "")


class TruncatedDiffusion(GenerativeModel):
    """Truncated diffusion: a rough row, made noisy, and restored in a few steps.

    Parameters
        start : time t₀ between 0 and 1 at which the reverse process begins, from rough rows: near 0 these hardly change, near 1 they
            hardly matter; None = 0.4 for a table, 0.05 if it has numbers alone, 0.8 for images and signals.
        teacher : folder of a saved ``ddpm`` that was fitted on the same rows (that they are of the same kind, mean and deviation is
            checked), whose denoiser is where training begins.
        conditional : model x given y.
        net : the denoiser: a U-Net for images, a residual perceptron for tables; the same as a teacher's.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``score_samples`` is minus the mean denoising error over the noise levels that are trained on.
    """

    capabilities = frozenset({"sample", "condition", "score"})
    preset = DDPM.preset
    presets = DDPM.presets
    sampling_presets = {"1step": {"steps": 1}}

    def __init__(self, *, start: Annotated[float, Interval(0, 1, open_low=True, open_high=True)] | None = None,
                 teacher: str | os.PathLike | None = None, conditional: bool = False, net: Net = Net(), train: Train = Train(),
                 random_state: Any = None):
        self.start = start
        self.teacher = teacher
        self.conditional = conditional
        self.net = net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> TruncatedObjective:
        features = Relaxation(schema)
        kind = schema.container if not schema.is_table else "table" if features.n_signs + features.n_onehot else "numbers"
        return TruncatedObjective(schema, condition, self.net, self.start or START[kind], teacher=self.teacher)

    def evaluations(self, *, steps: int = 4) -> int:
        return steps

    def sample(self, n: int = 1, *, condition: Any = None, random_state: Any = None, steps: int = 4, batch_size: int = BATCH) -> Any:
        """``n`` new rows.

        steps : evaluations for each row, 1 to 10,000.
        """
        check_steps(steps, 1.0, self.conditional)
        return self._sample(n, condition, random_state, batch_size, steps=steps)
