"""What the models that restore noisy rows share: features of unit variance, denoisers of numbers and categories, conditions left out.

Notation
    f           a row as features, scaled to about zero mean and unit variance, (B, *shape)
    x_t         the row with noise, x_t = α_t f + σ_t ε with ε ~ N(0, I), at a time t in [0, 1]; t = 1 is noise
    out         what the network says of (x_t, t, c): of numbers the family's prediction, of one-hot features the logits of the categories
    x_hat       the features that this implies

A family says how signal and noise depend on t (:meth:`Denoising.clock`), and what the network predicts of numbers
(:meth:`Denoising.target`, :meth:`Denoising.data_of`).

At the one-hot features of a categorical column the best x_hat is the probability of each category given x_t: x_hat = softmax(out), and its
error is the cross-entropy. Where the noise is so small that x_t itself tells the category, what it says is added to the logits (Bayes'
rule): :meth:`Denoising.with_evidence`.

Of pictures and signals a family may know what the data are roughly, a mixture of Gaussians, and let its network correct what that says
(:meth:`Denoising.mixture`, :meth:`Denoising.predict`).

What an image comes out as is nearly right everywhere: paper is 1 or 2 where it should be 0, and strokes are a little pale. So its levels
pass through a tone curve, fitted after training to samples in as many steps as the family takes (:meth:`Denoising.tones_of`), and then each
picture takes the levels of the training picture whose levels are most like its own (:mod:`ectype.prob.tone`). On MNIST, after 18 minutes
of one thread, the C2ST of a diffusion model fell from 0.73 to 0.67 by the second, with the Fréchet distances as they were; by the second
without the first to 0.64, but with half as much again of Fréchet distance, since pale strokes stay pale. The first stretches what differs
by a hundredth of a level to levels 0 to 3, so the order of the pixels is that from before it: on 2,000 pictures of Fashion-MNIST, held out
and with 20 steps, the C2ST fell from 0.772 to 0.698, and nothing else changed (a trial that ``bench/`` does not repeat). At last, where
there is blank paper, the levels next to blank are drawn anew (:mod:`ectype.prob.faint`).

What real levels are is counted in all training pictures. With 256 of them, and as many generated ones, four such curves of one model of
MNIST gave Fréchet distances of principal components from 0.0067 to 0.0124 and of features from 0.0027 to 0.0081; with 8,000 real and 256
generated ones from 0.0062 to 0.0070 and from 0.0024 to 0.0029, and with 1,024 generated ones 0.0062 and 0.0064 (4,000 samples beside
training pictures, a trial that ``bench/`` does not repeat).

The numbers of a table have tone curves too, one for each column: the values of generated rows become as frequent as those of training
rows, and keep their order. What the last step gives is cut off at the ends of the training rows' range only after that, or values would
pile up there. On rows that were held out, after 2,500 steps, the C2ST of a DDPM in 20 steps fell from 0.69 to 0.66 on Adult, from 0.67 to
0.62 on Annthyroid and from 0.55 to 0.52 on a table of evenly spread columns, of truncated diffusion in 4 from 0.67 to 0.58 on the first.
But on Satimage, where too little was learnt, the precision was 0.88 without curves and 0.84 with them: such are not kept
(:class:`~ectype.prob.tone.Marginals`).

Dieleman et al., *Continuous diffusion for categorical data*, 2022, section 3. Ho & Salimans, *Classifier-free diffusion guidance*, 2022.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..data.schema import Schema
from ..errors import ConditionWarning, InvalidParameterError, warn
from ..nn import build
from ..prob.faint import faint
from ..prob.local import CELLS, LocalGaussians
from ..prob.solvers import ETA, Sampler, Variance, ancestral, ddim, dpm, heun, inpaint
from ..prob.tone import Histograms, Marginals, Tone, evenly, quantiles_of_levels, rows_to_tone
from ..prob.transport import deal
from ..rng import Rows, Shared
from ..spec import Net
from .objective import Objective

Pairing = Literal["optimal", "random"]
SMALLEST_SCALE = 0.25   # of a feature: a rare category's one-hot must not be blown up to unit variance
MOST_STEPS = 10_000
MOST_GUIDANCE = 20.0        # beyond it the difference that a condition makes drowns what the model knows of rows
NEAR = 4.0              # σ from the lowest and the highest level, within which a pixel's place is told exactly
DECIDED = 2.0           # log signal-to-noise ratio above which x_t itself tells the category


class Denoising(Objective):
    """Base of diffusion and flow matching; abstract in :meth:`clock`, :meth:`target`, :meth:`data_of` and :meth:`loss`.

    ``lead`` features of the condition stand before the user's own, and stay where that is left out.
    """

    lead = 0
    last = 1.0
    """The largest time that is trained on; 1 is noise."""
    to_tone = 512
    """Pictures that are generated for a tone curve."""

    def __init__(self, schema: Schema, condition: Schema | None, net: Net, drop_condition: float):
        super().__init__(schema, condition)
        self.shape, self.n_onehot, self.drop_condition = self.features.shape, self.features.n_onehot, drop_condition
        self.rough = self.mixture(condition, net)
        self.corrects = self.rough is not None and not schema.is_table and net.kind != "mlp"
        beside = (3 if schema.is_image else 1) * self.shape[0] if self.corrects else 0
        self.network = build.denoiser(self.shape, net, cond=self.lead + (self.n_cond + 1 if self.n_cond else 0),
                                      numbers=self.features.n_numbers if schema.is_table else 0, beside=beside)
        stats = self.shape if schema.is_table else (1,) * len(self.shape)
        for name in ("center", "low", "high"):
            self.register_buffer(name, torch.zeros(stats))
        self.register_buffer("scale", torch.ones(stats))
        signs = torch.zeros(stats, dtype=torch.bool)            # features that are -1 or 1, or pixels between: their range is known
        if schema.is_table:
            signs[self.features.n_numbers : self.features.n_numbers + self.features.n_signs] = True
        self.any_signs = schema.is_image or bool(signs.any())
        self.toned = self.tones_of(schema)
        has_curves = schema.is_image or (schema.is_table and self.features.n_numbers > 0)
        self.tones = nn.ModuleDict({str(k): Tone(self.shape[0]) if schema.is_image else Marginals(self.features) for k in self.toned}
                                   if has_curves else {})
        self.histograms = Histograms(self.shape, schema.blocks[0].levels) if schema.is_image else None
        self.faint = faint(self.shape, schema.blocks[0].levels) if schema.is_image else None
        self.register_buffer("signs", signs | torch.tensor(schema.is_image), persistent=False)

    def tones_of(self, schema: Schema) -> Mapping[int, Mapping[str, Any]]:
        """Numbers of steps that have tone curves of their own, with the options of :meth:`generate` for their samples."""
        return {20: {"sampler": "dpm"}}

    def prepare(self, x: Tensor, c: Tensor | None) -> None:
        """The scales of the features, and the mixture where there is one."""
        self.find_scales(x)
        if self.rough is not None:
            self.fit_mixture(x, c)

    def fit_mixture(self, x: Tensor, c: Tensor | None) -> None:
        """What the data are roughly, from scaled training rows."""
        self.rough.fit(x, self.scaled, *self.rough.told(c))

    def find_scales(self, x: Tensor) -> None:
        """Centre, scale and range of the features of the training rows; one for all pixels of images and all samples of signals."""
        n, total, squares = 0, 0.0, 0.0
        low, high = torch.full_like(self.low, torch.inf), torch.full_like(self.high, -torch.inf)
        for part in x.split(4096):
            f = self.features.embed(part)
            f = (f.reshape(-1, *self.center.shape) if len(self.shape) > 1 else f).double()
            n, total, squares = n + len(f), total + f.sum(0), squares + f.square().sum(0)
            low, high = torch.minimum(low, f.amin(0).float()), torch.maximum(high, f.amax(0).float())
        mean = total / n
        self.center.copy_(mean)
        self.scale.copy_((squares / n - mean**2).clamp(min=SMALLEST_SCALE**2).sqrt())
        self.low.copy_((low - self.center) / self.scale)
        self.high.copy_((high - self.center) / self.scale)

    def scaled(self, x: Tensor) -> Tensor:
        """Features with about zero mean and unit variance."""
        return (self.features.embed(x) - self.center) / self.scale

    def mixture(self, condition: Schema | None, net: Net) -> LocalGaussians | None:
        """What the data are roughly, where a family makes use of it; :meth:`gaussians` of them, or None."""
        return None

    def gaussians(self, condition: Schema | None) -> LocalGaussians:
        """A Gaussian for each cell of the data, and for each class where the condition has some."""
        classes = condition is not None and condition.blocks[0].type == "category"
        return LocalGaussians(self.features, self.condition, CELLS, condition.blocks[0].n_codes if classes else 1)

    # -- what a family says ----------------------------------------------------------------------------------------------------

    def clock(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α_t and σ_t of times ``(B,)`` or ``(1,)``."""
        raise NotImplementedError

    def target(self, f: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the network shall predict of numbers."""
        raise NotImplementedError

    def data_of(self, out: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The data that a prediction implies; nothing is cut off or made a probability."""
        raise NotImplementedError

    # -- denoising -------------------------------------------------------------------------------------------------------------

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α_t and σ_t, shaped to multiply a batch."""
        alpha, sigma = self.clock(t)
        shape = (-1, *(1,) * len(self.shape))
        return alpha.view(shape), sigma.view(shape)

    def embed_condition(self, c: Tensor | None, absent: Tensor | None = None) -> Tensor | None:
        """The condition as features ``(B, n_cond + 1)``; the last is 1, and the others 0, in rows from which it is ``absent (B, 1)``."""
        if not self.n_cond:             # none, or one that is the same in all rows
            return None
        f = self.condition.embed(c)
        absent = f.new_zeros(len(f), 1) if absent is None else absent
        return torch.cat([f * (1 - absent), absent], dim=1)

    def estimate(self, out: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """x_hat; within its range where that is known, probabilities at the one-hot features."""
        x_hat = self._signed(self.data_of(out, x_t, t), x_t, t)
        if not self.n_onehot:
            return x_hat
        k = -self.n_onehot
        probabilities = self.features.probabilities(self.with_evidence(out, x_t, t))
        return torch.cat([x_hat[:, :k], (probabilities - self.center[k:]) / self.scale[k:]], dim=1)

    def _signed(self, x_hat: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """x_hat with pixels between -1 and 1, and flags too, of which x_t alone decides where there is little noise: for y = ±1 the
        log-odds of N(x_t; α_t x, σ²_t) are 2 α_t r / (scale σ²_t), r = x_t + α_t center/scale; the mean of y is tanh of half of them."""
        if not self.any_signs:
            return x_hat
        (alpha, sigma), unit = self.at(t), x_hat * self.scale + self.center
        unit = unit.clamp(-1, 1)
        if not self.features.is_image:
            decided = 2 * torch.log(alpha / sigma) > DECIDED
            told = torch.tanh(alpha * (x_t + alpha * self.center / self.scale) / (self.scale * sigma.square()))
            unit = torch.where(decided, told, unit)
        return torch.where(self.signs, (unit - self.center) / self.scale, x_hat)

    def with_evidence(self, out: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The network's output; where there is little noise (λ > ``DECIDED``), with log N(x_t; α_t x, σ²_t) of each category's one-hot x
        added to its logit, up to a constant: with x_k higher by δ = 1/scale where the category is k, and r = x_t,k − α_t x_k without it,
        (α_t δ r − ½ α²_t δ²) / σ²_t."""
        (alpha, sigma), k = self.at(t), -self.n_onehot
        step = alpha / self.scale[k:]
        rest = x_t[:, k:] + alpha * self.center[k:] / self.scale[k:]
        evidence = (step * rest - 0.5 * step.square()) / sigma.square()
        decided = 2 * torch.log(alpha / sigma) > DECIDED
        return torch.cat([out[:, :k], out[:, k:] + torch.where(decided, evidence, 0.0)], dim=1)

    def predict(self, x_t: Tensor, t: Tensor, c: Tensor | None) -> Tensor:
        """The network's output, ``(B, *shape)``; ``c`` is embedded already. That of a convolutional network whose family has a mixture is a
        correction: of the target that E[x | x_t] of the mixture implies. The network sees that mean beside x_t, and of pictures how many
        σ a pixel is from the lowest and from the highest level, since bfloat16 cannot tell 0 from 1 in x_t itself."""
        if not self.corrects:
            return self.network(x_t, t, c).float()
        alpha, sigma = self.at(t)
        mean = self.rough.restored(x_t, alpha, sigma)
        beside = [mean]
        if self.features.is_image:
            beside += [((x_t - alpha * (end - self.center) / self.scale) / sigma).clamp(-NEAR, NEAR) / NEAR for end in (-1.0, 1.0)]
        out = self.network(torch.cat([x_t, *beside], dim=1), t, c).float()
        return out + self.target(mean, (x_t - alpha * mean) / sigma, t)

    def denoise(self, x_t: Tensor, t: Tensor, c: Tensor | None, guidance: float = 1.0, last: Tensor | None = None) -> Tensor:
        """x_hat at noisy rows, kept within the range of the training data, as samplers want it, but for the numbers of a table at the time
        ``last``; ``c`` is embedded already. A ``guidance`` other than 1 costs two evaluations, made as one batch."""
        low, high = self.low, self.high
        if last is not None and self.features.is_table:
            unbounded = (t <= last) & (torch.arange(len(low), device=low.device) < self.features.n_numbers)
            low, high = low.masked_fill(unbounded, -torch.inf), high.masked_fill(unbounded, torch.inf)
        if not self.n_cond or guidance == 1.0:
            return self.estimate(self.predict(x_t, t, c), x_t, t).clamp(low, high)
        own = torch.zeros_like(c[:, self.lead :])
        own[:, -1] = 1.0
        both, c = torch.cat([x_t, x_t]), torch.cat([c, torch.cat([c[:, : self.lead], own], dim=1)])
        t = t if len(t) == 1 else torch.cat([t, t])
        given, free = self.estimate(self.predict(both, t, c), both, t).chunk(2)
        return (free + guidance * (given - free)).clamp(low, high)

    def absent(self, n: int, device: torch.device) -> Tensor | None:
        """From which of ``n`` rows the condition is left out in this step, ``(n, 1)``; none outside of training."""
        return (torch.rand(n, 1, device=device) < self.drop_condition).float() if self.n_cond and self.training else None

    def error(self, x: Tensor, c: Tensor | None, t: Tensor, eps: Tensor, absent: Tensor | None = None) -> Tensor:
        """The simple loss, ``(B,)``: squared error of the prediction and, for categories, the cross-entropy, averaged over slots."""
        f = self.scaled(x)
        alpha, sigma = self.at(t)
        x_t = alpha * f + sigma * eps
        out = self.predict(x_t, t, self.embed_condition(c, absent))
        target = self.target(f, eps, t)
        if not self.n_onehot:
            return (out - target).square().flatten(1).mean(1)
        k = -self.n_onehot
        squared, entropy = (out[:, :k] - target[:, :k]).square().sum(1), self.features.cross_entropy(self.with_evidence(out, x_t, t), x)
        return (squared + entropy) / (target.shape[1] + k + len(self.features.onehot))

    def errors_by_time(self, x: Tensor, c: Tensor | None, noise: Shared, draws: int = 16) -> Tensor:
        """The simple loss at ``draws`` times spread over those that are trained on, ``(B, draws)``."""
        times = self.last * (torch.arange(draws, device=x.device) + 0.5) / draws
        return torch.stack([self.error(x, c, t.expand(len(x)), noise.normal(*self.shape)) for t in times], dim=1)

    def score(self, x: Tensor, c: Tensor | None, noise: Shared) -> Tensor:
        """Minus the mean denoising error over noise levels, ``(B,)``."""
        return -self.errors_by_time(x, c, noise).mean(1)

    def noise_for(self, f: Tensor, c: Tensor | None, pairing: Pairing) -> Tensor:
        """ε for each row of features; with optimal pairing, dealt to near rows of the same class (``c`` is the stored condition)."""
        eps = torch.randn_like(f)
        if pairing == "random" or not (c is None or self.condition.n_numbers == 0):
            return eps
        return deal(f, eps, None if c is None else c[:, 0])

    # -- sampling --------------------------------------------------------------------------------------------------------------

    def times(self, steps: int, sampler: Sampler = "ddim") -> Tensor:
        """From noise to data in ``steps`` steps, ``(steps + 1,)``; equal ones, unless a family knows better for a sampler."""
        return torch.linspace(1, 0, steps + 1, device=self.center.device)

    def begin(self, noise: Rows, c: Tensor | None, t: Tensor) -> Tensor:
        """x_t at the first of the times: noise at 1, and where the mixture is what a family begins from α_t r + σ_t ε, r a row of it;
        ``c`` is the stored condition."""
        if self.rough is None or t == 1:
            return noise.normal(*self.shape)
        alpha, sigma = self.at(t[None])
        rough = self.rough.sample(noise, *self.rough.told(c), self.scaled, self.center, self.scale)
        return alpha * rough + sigma * noise.normal(*self.shape)

    def conclude(self, x: Tensor, c: Tensor | None) -> None:
        """The levels of training pictures, tone curves from training rows and as many samples of their conditions as are enough, and the
        levels next to blank."""
        real = None
        if self.histograms is not None:
            self.histograms.fit(x)
            real = quantiles_of_levels(x, round(2 * self.features.half) + 1)
        self.find_faint(x)
        for name, tone in self.tones.items():
            f, rows = self.some(x, c, int(name))
            made = self.unscaled(self.spread(f, None if c is None else c[rows], int(name)))
            if self.features.is_image:
                tone.fit(made, real)
            else:
                tone.fit(made, x[rows], x, plain=self.within(made))

    def find_faint(self, x: Tensor) -> None:
        """The levels next to blank, where pictures have such."""
        if self.faint is not None:
            self.faint.fit(x, self.step)

    def some(self, x: Tensor, c: Tensor | None, steps: int) -> tuple[Tensor, Tensor]:
        """Scaled features of samples in one of the numbers of steps of ``toned``, ``to_tone`` of pictures or as many as a table wants, and
        which stored training rows have their conditions; of fewer rows some are taken again."""
        rows = evenly(len(x), self.to_tone if self.features.is_image else rows_to_tone(len(x)), x.device)
        noise, c = Rows(int(torch.randint(2**62, ())), 0, len(rows), x.device), None if c is None else c[rows]
        return self.generate(noise, c, steps=steps, **self.toned[steps]), rows

    def spread(self, f: Tensor, c: Tensor | None, steps: int) -> Tensor:
        """Scaled features of samples in so many steps, with stored conditions, as different from each other as training rows are; as they
        are, unless a family knows better."""
        return f

    def unscaled(self, f: Tensor) -> Tensor:
        """Features as a :class:`~ectype.prob.relax.Relaxation` has them."""
        return f * self.scale + self.center

    def tone(self, f: Tensor, steps: int) -> Tensor:
        """Unscaled features of a sample, its levels or numbers through the curve of the nearest number of steps that is not larger; the
        levels of a picture are then those of the training picture that has the most similar, in the order that its pixels had before."""
        if not self.tones:
            return f
        curve = self.tones[str(self.nearest(steps))]
        return self.histograms(curve(f), f) if self.features.is_image else curve(f) if curve.fitted else self.within(f)

    def within(self, f: Tensor) -> Tensor:
        """Unscaled features within the range of the training rows."""
        return torch.minimum(torch.maximum(f, self.unscaled(self.low)), self.unscaled(self.high))

    def nearest(self, steps: int) -> int:
        """The number of steps of ``toned`` whose corrections are taken: the largest that is not larger, or the smallest."""
        return max((k for k in self.toned if k <= steps), default=min(self.toned))

    def sample(self, noise: Rows, c: Tensor | None, *, steps: int = 50, **options: Any) -> Tensor:
        """Stored rows; options of :meth:`generate`."""
        f = self.spread(self.generate(noise, c, steps=steps, **options), c, steps)
        x = self.features.draw(self.tone(self.unscaled(f), steps), noise)
        return x if self.faint is None else self.faint(x, noise.uniform(*self.shape))

    def generate(self, noise: Rows, c: Tensor | None, *, steps: int, sampler: Sampler = "ddim", eta: float | None = None,
                 variance: Variance = "small", guidance: float = 1.0) -> Tensor:
        """Scaled features of new rows, in so many steps of a sampler of :mod:`ectype.prob.solvers`."""
        times = self.times(steps, sampler)
        x, c = self.begin(noise, c, times[0]), self.embed_condition(c)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return self.denoise(x_t, t[None], c, guidance, times[-2])

        def at(t: Tensor) -> tuple[Tensor, Tensor]:
            return self.at(t[None])

        def draw() -> Tensor:
            return noise.normal(*self.shape)

        if sampler == "ancestral":
            x = ancestral(denoise, at, times, x, draw, variance=variance)
        elif sampler == "heun":
            x = heun(denoise, at, times, x)
        else:
            x = (ddim if sampler == "ddim" else dpm)(denoise, at, times, x, draw, eta=ETA[sampler] if eta is None else eta)
        return x

    def impute(self, x: Tensor, known: Tensor, banned: Tensor, noise: Rows, c: Tensor | None, *, steps: int, resample: int) -> Tensor:
        """Stored rows whose ``known`` features (1 in a mask of their shape) are those of ``x`` and whose others are sampled given them;
        categories that are ``banned`` are not drawn."""
        times = self.times(steps)
        begun, c = self.begin(noise, c, times[0]), self.embed_condition(c)
        f = inpaint(lambda x_t, t: self.denoise(x_t, t[None], c, last=times[-2]), lambda t: self.at(t[None]), times, begun,
                    lambda: noise.normal(*self.shape), known, self.scaled(x), resample)
        f = self.unscaled(f)
        if self.features.is_table:
            f = torch.where(known > 0, f, self.tone(f, steps))
        return self.features.project(f.masked_fill(banned > 0, -torch.inf))


class StraightPaths(Denoising):
    """Lines from data to noise, x_t = (1 − t) f + t ε, and a network that predicts their velocity ε − f; abstract in :meth:`loss`."""

    def clock(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α_t = 1 − t and σ_t = t."""
        return 1 - t, t

    def target(self, f: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """ε − f."""
        return eps - f

    def data_of(self, out: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """x_t − t out: where a line of that velocity begins."""
        return x_t - self.at(t)[1] * out


def check_steps(steps: Any, guidance: float, conditional: bool) -> None:
    """Raise :class:`InvalidParameterError` for a number of steps, or for guidance, that cannot be followed; warn of guidance so strong that
    the condition alone decides."""
    if not isinstance(steps, int | np.integer) or not 1 <= steps <= MOST_STEPS:
        raise InvalidParameterError("the number of steps is out of its domain", expected=f"an int from 1 to {MOST_STEPS:,}",
                                    got=repr(steps))
    if not (isinstance(guidance, numbers.Real) and guidance >= 0):
        raise InvalidParameterError("guidance is out of its domain", expected="a number >= 0", got=repr(guidance))
    if guidance != 1.0 and not conditional:
        raise InvalidParameterError("guidance needs a condition to follow", expected="guidance 1, or a model with conditional=True",
                                    got=f"{guidance:g}")
    if guidance > MOST_GUIDANCE:
        warn(f"guidance {guidance:g} is beyond {MOST_GUIDANCE:g}: rows become extreme or broken, not more typical; 2 to 5 is usual",
             ConditionWarning)
