"""The denoising diffusion probabilistic model (DDPM).

Notation
    x           a row as features, scaled to about unit variance, (B, *shape); x_0 below
    t           time in [0, 1]; s < t is one step earlier; with T steps t = k/T
    x_t         the row with noise: x_t = α_t x + σ_t ε, with ε ~ N(0, I) and α² + σ² = 1
    λ_t         log α²_t/σ²_t, the logarithm of the signal-to-noise ratio
    c           the condition, where there is one
    x_hat, ε_hat, v_hat     the data, the noise, and v = α_t ε − σ_t x, of which the network predicts one; it implies the others

The *forward process* is a fixed Markov chain that turns data into noise. Its steps and their composition are Gaussian:

    q(x_t | x_s) = N(α_{t|s} x_s, σ²_{t|s} I),      α_{t|s} = α_t/α_s,   σ²_{t|s} = σ²_t − α²_{t|s} σ²_s
    q(x_t | x)   = N(α_t x, σ²_t I)

The *reverse process* p_θ(x_s | x_t) is the posterior of a forward step with x_hat in the place of x (:mod:`ectype.prob.solvers`, with the
faster samplers of the same weights). It makes a latent variable model of all the x_t, and its evidence lower bound has three terms:

    −log p(x) ≤ KL( q(x_1 | x) ‖ N(0, I) )  +  E[ −log p(x | x_0) ]  +  ½ ∫ −λ′(t) E‖ε − ε_hat‖² dt
                          prior                       recon                      diffusion

The first two have nothing to learn. The last is a squared error at a random time, weighted by how fast the noise grows. The *simple* loss
leaves that weight out, and gives the high noise levels, which decide what is seen, more of it:

    loss = E_{t, ε} ‖ v − v_hat ‖² / D        (or of ε, or of x: ‖v − v_hat‖ = ‖x − x_hat‖ / σ_t = ‖ε − ε_hat‖ / α_t)

so that the three predictions are one model with three weights; v is well scaled at both ends.

*Pictures and signals.* Where there is much noise, what a network has to say is nearly linear in x_t, and about all of the picture at once;
a small one of convolutions learns it slowly, and its samples have parts that do not belong together. But there a mixture of Gaussians
(:mod:`ectype.prob.local`), fitted in seconds, is nearly right. So the network corrects it: with m(x_t) = E[x | x_t] of the mixture,

    v_hat = α_t (x_t − α_t m)/σ_t − σ_t m  +  network(x_t, m, t, c)

On Fashion-MNIST, after ten minutes of one thread, one seed, the held-out error was 0.213 where it had been 0.224, the coverage 0.95 of its
floor where it had been 0.90, and the Fréchet distances 1.7 and 1.6 times theirs where they had been 2.3 and 2.9 (20 steps of
DPM-Solver++; in batches of 64, and of 128 without the mixture, in a trial that ``bench/`` does not repeat).

From t = 0.93 on the network has nothing to say: on held-out pictures the mixture's error was 0.3957 there and 0.6536 at 0.98, with the
correction 0.3954 and 0.6537. But what is wrong with it adds up over the steps, and decides how many samples there are of each kind. So
sampling begins at λ = −3.7, t = 0.9 of the cosine schedule, with rows of the mixture made noisy (as ``models/truncated.py`` does further
down): the Fréchet distances of 2,000 pictures were 0.95 and 0.61 times their floors where they had been 1.84 and 2.31 with sampling from
noise.

At the one-hot features of a categorical column x_hat is a probability and the simple error the cross-entropy (:mod:`ectype.train.noising`).
On Adult this took the AUROC of a classifier that tells samples from real rows from 0.85 to 0.63 after 20 seconds: squared errors leave rare
categories out.

*Classifier-free guidance*: the condition is left out of a tenth of the rows in training, so that one network knows p(x | c) and p(x). With
a weight w, x_hat = x_hat(∅) + w (x_hat(c) − x_hat(∅)): w = 1 is the model, more makes samples more typical of c and less varied.

References
    Ho, Jain & Abbeel, *Denoising diffusion probabilistic models*, 2020: equations 2, 4 (forward), 5 (bound), 6–7 (posterior), 14 (loss).
    Kingma, Salimans, Poole & Ho, *Variational diffusion models*, 2021: equations 11–15 (the bound), 17 (in continuous time), appendix A.
    Salimans & Ho, *Progressive distillation for fast sampling of diffusion models*, 2022: appendix D (v).
    Ho & Salimans, *Classifier-free diffusion guidance*, 2022: equation 6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..data.schema import Schema
from ..errors import InvalidParameterError
from ..estimator import BATCH, GenerativeModel
from ..prob.likelihood import MIN_SCALE, likelihood
from ..prob.local import LocalGaussians
from ..prob.schedule import ENDS, Schedule, ScheduleName
from ..prob.solvers import Sampler, Variance, evaluations, flow_log_prob
from ..rng import Keyed, Shared
from ..spec import PRESET, Interval, Net, PositiveInt, Share, Train, annotations, validate
from ..train.device import arithmetic
from ..train.noising import Denoising, check_steps

Prediction = Literal["v", "noise", "data"]
Loss = Literal["simple", "bound"]
BEGIN = -3.7            # λ at which a model that corrects Gaussians begins to sample; t = 0.9 of the cosine schedule
GAP = 0.1               # of λ, between the ends of the schedule and the first and last of even steps
STEPS = {"ancestral": 1000, "ddim": 50, "heun": 25, "dpm": 20}
EXACT_TRACE = 16        # features up to which the trace of a Jacobian is taken whole
PROBES = 4              # random vectors for the trace of a wider one


class DDPMObjective(Denoising):
    """Denoising at a random time; sampling backwards from noise."""

    def __init__(self, schema: Schema, condition: Schema | None, schedule: ScheduleName, net: Net, *, prediction: Prediction = "v",
                 loss: Loss = "simple", drop_condition: float = 0.1, ends: tuple[float, float] = ENDS):
        super().__init__(schema, condition, net, drop_condition)
        self.schedule = Schedule(schedule, ends)
        self.prediction, self.loss_name = prediction, loss
        self.likelihood = likelihood(schema)

    def tones_of(self, schema: Schema) -> Mapping[int, Mapping[str, Any]]:
        """Of tables, whose rows cost little, also for many small steps, which reach less far."""
        return super().tones_of(schema) | ({100: {"sampler": "ancestral"}} if schema.is_table else {})

    def mixture(self, condition: Schema | None, net: Net) -> LocalGaussians | None:
        """Of pictures and signals: a convolutional network corrects what a mixture of Gaussians would say."""
        return self.gaussians(condition) if len(self.shape) > 1 and net.kind != "mlp" else None

    def clock(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α_t and σ_t of the schedule."""
        return self.schedule(t)

    def data_of(self, out: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The data that a prediction implies: α_t x_t − σ_t v, (x_t − σ_t ε)/α_t, or itself; nothing is cut off or made a probability."""
        alpha, sigma = self.at(t)
        if self.prediction == "v":
            return alpha * x_t - sigma * out
        return (x_t - sigma * out) / alpha if self.prediction == "noise" else out

    def target(self, f: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the network shall predict: v, ε or x."""
        alpha, sigma = self.at(t)
        return alpha * eps - sigma * f if self.prediction == "v" else eps if self.prediction == "noise" else f

    @property
    def first(self) -> float:
        """The time at which sampling begins."""
        return float(self.schedule.time_of(torch.tensor(BEGIN, device=self.center.device))) if self.corrects else 1.0

    def times(self, steps: int, sampler: Sampler = "ddim") -> Tensor:
        """Equal steps in t; DPM-Solver++ has them in λ, in which it integrates, up to −2 log tan(π / 2n), where equal steps of the cosine
        schedule from noise have their last, and from where they have their first or, of a model that corrects Gaussians, from the
        beginning."""
        if sampler != "dpm" or steps < 3:
            return torch.linspace(self.first, 0, steps + 1, device=self.center.device)
        most = -2 * math.log(math.tan(math.pi / (2 * steps)))
        high = min(most, self.schedule.high - GAP)
        if self.corrects:
            inner = torch.linspace(BEGIN, high, steps, device=self.center.device)
            return torch.cat([self.schedule.time_of(inner), inner.new_zeros(1)])
        inner = torch.linspace(max(-most, self.schedule.low + GAP), high, steps - 1, device=self.center.device)
        return torch.cat([inner.new_ones(1), self.schedule.time_of(inner), inner.new_zeros(1)])

    # -- losses ----------------------------------------------------------------------------------------------------------------

    def noise_error(self, x: Tensor, c: Tensor | None, t: Tensor, eps: Tensor, absent: Tensor | None = None) -> Tensor:
        """½ ‖ε − ε_hat‖² = ½ (α_t/σ_t)² ‖x − x_hat‖², ``(B,)``: the bound's integrand per unit of λ, in nats."""
        f = self.scaled(x)
        alpha, sigma = self.at(t)
        x_t = alpha * f + sigma * eps
        x_hat = self.estimate(self.predict(x_t, t, self.embed_condition(c, absent)), x_t, t)
        return 0.5 * ((alpha / sigma) * (f - x_hat)).square().flatten(1).sum(1)

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        n = len(x)
        t = self.last * ((torch.rand((), device=x.device) + torch.arange(n, device=x.device) / n) % 1)    # stratified: less variance
        eps = torch.randn(n, *self.shape, device=x.device)
        absent = self.absent(n, x.device)
        if self.loss_name == "simple":
            loss = self.error(x, c, t, eps, absent).mean()
            return {"loss": loss, "denoising": loss}
        g = self.noise_error(x, c, t, eps, absent)
        diffusion = (self.schedule.fall(t) * g).mean()
        if self.training:
            self.schedule.observe(t, g)
        return {"loss": diffusion, "diffusion": diffusion}

    def bound_terms(self, x: Tensor, c: Tensor | None, noise: Shared | Keyed, draws: int = 64) -> dict[str, Tensor]:
        """``prior``, ``recon`` and ``diffusion``, whose sum is the bound of −log p(x), each ``(B,)`` in nats of stored rows.

        The integral is a sum over ``draws`` values spread over λ, each with a draw of ε and with −ε. What the same terms would be for
        features that are standard normal is known, and so is its mean over ε: the difference, zero on average, is taken off, and with it
        most of the noise of the estimate.
        """
        f = self.scaled(x)
        alpha, sigma = self.at(torch.ones(1, device=x.device))
        prior = 0.5 * ((alpha * f).square() + sigma**2 - 1 - 2 * torch.log(sigma)).flatten(1).sum(1)
        alpha, sigma = self.at(torch.zeros(1, device=x.device))
        eps = noise.normal(*self.shape)
        recon = -self._decoded_log_prob(f + (sigma / alpha) * eps, sigma / alpha, x) - 0.5 * self._gaussian_part(eps.square() - 1)
        diffusion, (high, low) = torch.zeros_like(prior), self.schedule.log_snr(torch.tensor([0.0, 1.0], device=x.device))
        for t in self._even_times(draws, noise.uniform()):
            (alpha, sigma), drawn = self.at(t), noise.normal(*self.shape)
            for eps in (drawn, -drawn):
                known = 0.5 * alpha**2 * ((alpha * eps - sigma * f).square() - alpha**2 - (sigma * f).square())
                diffusion = diffusion + self.noise_error(x, c, t, eps) - known.flatten(1).sum(1)
        return {"prior": prior, "recon": recon, "diffusion": diffusion * (high - low) / (2 * draws)}

    def _even_times(self, draws: int, shift: Tensor) -> Tensor:
        """``(draws, B)`` times whose λ are evenly spread, moved by a share ``shift (B,)`` of their distance."""
        high, low = self.schedule.log_snr(torch.tensor([0.0, 1.0], device=self.center.device))
        return self.schedule.time_of(low + (high - low) * (torch.arange(draws, device=high.device)[:, None] + shift) / draws)

    def _gaussian_part(self, v: Tensor) -> Tensor:
        """Sum over the features that p(x | x_0) takes for Gaussian, ``(B,)``."""
        if self.features.is_image:
            return v.new_zeros(len(v))
        if self.features.is_signal:
            return v.flatten(1).sum(1)
        return v[:, : self.features.n_numbers][:, ~self.likelihood.logistic].sum(1)

    def _decoded_log_prob(self, y: Tensor, sigma: Tensor, x: Tensor) -> Tensor:
        """log p(x | x_0) of stored rows, given ``y`` = x_0/α_0, the features with noise of ``sigma`` = σ_0/α_0: what is left of it is so
        little that numbers are Gaussian around y and the odds of categories are those of their features."""
        y, s = y * self.scale + self.center, (sigma * self.scale).expand_as(y)
        raw = torch.log((s - MIN_SCALE).clamp(min=1e-6))                            # the likelihoods add MIN_SCALE to what they are given
        if self.features.is_image:
            if self.likelihood.n_params == 1:
                return self.likelihood.log_prob(2 * y / s.square(), x)
            return self.likelihood.log_prob(torch.cat([y, raw + 2.0], dim=1), x)
        if self.features.is_signal:
            return self.likelihood.log_prob(torch.cat([y, raw], dim=1), x)
        r = self.features
        n, m = r.n_numbers, r.n_numbers + r.n_marks
        signs = 2 * y[:, : n + r.n_signs] / s[:, : n + r.n_signs].square()
        onehot = (y[:, n + r.n_signs :] - 0.5) / s[:, n + r.n_signs :].square()
        return self.likelihood.log_prob(torch.cat([y[:, :n], raw[:, :n], signs[:, n:m], signs[:, m + r.n_spikes :], onehot], 1), x)

    def log_prob(self, x: Tensor, c: Tensor | None, noise: Shared | Keyed, draws: int = 64) -> Tensor:
        """Minus the variational bound, ``(B,)``."""
        return -sum(self.bound_terms(x, c, noise, draws).values())

    def flow_log_prob(self, x: Tensor, c: Tensor | None, noise: Shared, steps: int = 100) -> Tensor:
        """log p(x) of the probability flow, ``(B,)``; pixels get a draw of uniform noise within their level, which makes it a bound."""
        f, c = self.scaled(x), self.embed_condition(c)
        shift = -torch.log(self.scale.expand(self.shape)).sum()
        if self.features.is_image:
            cell = 1 / (self.features.half * self.scale)                            # of a level, in scaled features
            f = f + (noise.uniform(*self.shape) - 0.5) * cell
            shift = torch.log(cell.expand(self.shape)).sum()
        d = f[0].numel()
        if d <= EXACT_TRACE:
            probes = list(torch.eye(d, device=x.device).view(d, 1, *self.shape))
        else:
            probes = [(noise.uniform(*self.shape)[:1] < 0.5).float().mul(2).sub(1) / math.sqrt(PROBES) for _ in range(PROBES)]
        times = torch.linspace(0, 1, steps + 1, device=x.device)

        def estimate(x_t: Tensor, t: Tensor) -> Tensor:     # not cut to the range of the training rows: a density has no edge there
            return self.estimate(self.predict(x_t, t[None], c), x_t, t[None])

        return flow_log_prob(estimate, lambda t: self.at(t[None]), times, f, probes) + shift


class DDPM(GenerativeModel):
    """Denoising diffusion: a network that removes noise, applied again and again from pure noise to a row (of pictures and signals, from
    Gaussians with noise).

    Parameters
        schedule : ``"cosine"``, ``"linear"`` or ``"learned"``: how fast the noise grows with t; the last goes with ``loss="bound"``.
        prediction : what the network predicts: ``"v"``, ``"noise"`` (ε) or ``"data"`` (x_0).
        loss : ``"simple"``, the squared error at a random time, or ``"bound"``, the variational bound of the likelihood.
        log_snr : logarithm of the signal-to-noise ratio at t = 0 and at t = 1, beyond which the schedule is clipped.
        conditional : model x given y.
        drop_condition : share of the rows in training from which y is left out, for classifier-free guidance.
        net : the denoiser: a U-Net for images, a residual perceptron for tables.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``score_samples`` is minus the mean denoising error over noise levels. ``log_likelihood`` is a lower bound of log p(x).
    """

    capabilities = frozenset({"sample", "condition", "score", "bound", "impute"})
    preset = PRESET(lr=2e-3, batch_size=64, ema=0.08)
    presets = dict.fromkeys(("images", "signals"), PRESET(optimizer="muon", lr=4e-3, batch_size=64, ema=0.03, patience=1.0))
    sampling_presets = {"dpm20": {"sampler": "dpm", "steps": 20}}

    def __init__(self, *, schedule: ScheduleName = "cosine", prediction: Prediction = "v", loss: Loss = "simple",
                 log_snr: tuple[float, float] = ENDS, conditional: bool = False, drop_condition: Share = 0.1, net: Net = Net(),
                 train: Train = Train(), random_state: Any = None):
        self.schedule = schedule
        self.prediction = prediction
        self.loss = loss
        self.log_snr = log_snr
        self.conditional = conditional
        self.drop_condition = drop_condition
        self.net = net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> DDPMObjective:
        if self.schedule == "learned" and self.loss != "bound":
            raise InvalidParameterError("the learned schedule is fitted to the variational bound", expected='loss="bound"',
                                        got=f'"{self.loss}"')
        return DDPMObjective(schema, condition, self.schedule, self.net, prediction=self.prediction, loss=self.loss,
                             drop_condition=self.drop_condition, ends=tuple(self.log_snr))

    def _scores(self, x: Tensor, c: Tensor | None) -> np.ndarray:
        return self._own_scores(x, c)           # the bound counts details that no eye sees; the errors tell novel rows better

    def denoising_errors(self, X: Any, condition: Any = None) -> np.ndarray:
        """How badly each row is restored at 16 noise levels from little to all, ``(N, 16)``: squared errors of the prediction by level."""
        return self._by_batch(*self._given(X, condition), lambda x, c: self.objective_.errors_by_time(x, c, self._shared(len(x))))

    def log_likelihood(self, X: Any, condition: Any = None, *, method: Literal["bound", "flow"] = "bound", draws: PositiveInt = 64,
                       steps: PositiveInt = 100) -> np.ndarray:
        """A lower bound of log p(x) of each row, ``(N,)``, in nats: a density in the user's units for continuous values, a probability for
        the others.

        method : ``"bound"``, the variational bound of the network in the arithmetic that it is trained and sampled in, or ``"flow"``, the
            probability flow from data to noise: exact for continuous data but for its steps, a bound for pixels; not for tables with
            discrete columns, which have no density.
        draws : times at which the variational bound looks.  steps : of the probability flow.
        """
        given, hints = {"method": method, "draws": draws, "steps": steps}, annotations(type(self).log_likelihood)
        validate("DDPM.log_likelihood", given, {k: v for k, v in hints.items() if k in given})
        x, c = self._given(X, condition)
        if method == "bound":           # noise by content: that of 64 draws alone would be most of the mean over rows
            with arithmetic(self.objective_, self._device, self.train_.precision)():        # the bound of the network that samples
                values = self._by_batch(x, c, lambda x, c: self.objective_.log_prob(x, c, Keyed(0, x), draws))
            return values.astype(np.float64) + self._in_users_units(x)
        if self.schema_.is_table and any(b.type == "category" or b.missing or b.discrete or b.spikes for b in self.schema_.blocks):
            raise InvalidParameterError("a table with discrete columns has no density for the probability flow",
                                        expected='method="bound"', got='"flow"')
        values = self._by_batch(x, c, lambda x, c: self.objective_.flow_log_prob(x, c, self._shared(len(x)), steps).float())
        return values.astype(np.float64) + self._in_users_units(x)

    def evaluations(self, *, steps: int | None = None, sampler: Sampler = "ancestral", eta: float | None = None,
                    variance: Variance = "small", guidance: float = 1.0) -> int:
        return evaluations(sampler, STEPS[sampler] if steps is None else steps) * (1 if guidance == 1.0 else 2)

    def sample(self, n: int = 1, *, condition: Any = None, random_state: Any = None, sampler: Sampler = "ancestral",
               steps: int | None = None, eta: Annotated[float, Interval(0, 1)] | None = None, variance: Variance = "small",
               guidance: Annotated[float, Interval(0)] = 1.0, batch_size: int = BATCH) -> Any:
        """``n`` new rows.

        sampler : ``"ancestral"`` (1,000 steps unless ``steps`` says otherwise), ``"ddim"`` (50), ``"heun"`` (25, of two evaluations
            each) or ``"dpm"`` (DPM-Solver++(2M), 20).
        steps : steps from noise to data, 1 to 10,000.
        eta : fresh noise of ``"ddim"`` and of ``"dpm"``, from 0 (none, deterministic) to 1 (as ancestral); None = 0 for ``"ddim"`` and 1
            for ``"dpm"``, whose fresh noise takes back what errors of earlier steps have done.
        variance : of ``"ancestral"`` steps, ``"small"`` or ``"large"``.
        guidance : weight of the condition: 1 is the model, 2 to 5 more typical of the condition and less varied; conditional models only.
        """
        if sampler not in STEPS:
            raise InvalidParameterError("unknown sampler", expected=f"one of {', '.join(STEPS)}", got=repr(sampler))
        steps = STEPS[sampler] if steps is None else steps
        check_steps(steps, guidance, self.conditional)
        if eta is not None and not 0 <= eta <= 1:
            raise InvalidParameterError("eta is out of its domain", expected="0 to 1", got=f"{eta:g}")
        if variance not in ("small", "large"):
            raise InvalidParameterError("variance is out of its domain", expected='"small" or "large"', got=repr(variance))
        for name, default, value, of in (("eta", None, eta, ("ddim", "dpm")), ("variance", "small", variance, ("ancestral",))):
            if value != default and sampler not in of:
                raise InvalidParameterError(f"{name} is a setting of the sampler {' and of '.join(of)}",
                                            expected=" or ".join(f'sampler="{s}"' for s in of), got=f'"{sampler}"')
        return self._sample(n, condition, random_state, batch_size, steps=steps, sampler=sampler, eta=eta, variance=variance,
                            guidance=guidance)
