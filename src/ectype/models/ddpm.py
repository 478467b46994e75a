"""The denoising diffusion probabilistic model (DDPM).

Notation
    x           a row as features, scaled to about unit variance, (B, *shape); x_0 below
    t           time in [0, 1]; s < t is one step earlier; with T steps t = k/T
    x_t         the row with noise: x_t = α_t x + σ_t ε, with ε ~ N(0, I) and α² + σ² = 1
    c           the condition, where there is one
    v           α_t ε − σ_t x, what the network predicts
    x_hat, ε_hat    the data and the noise that a prediction implies: x = α_t x_t − σ_t v, ε = σ_t x_t + α_t v

The *forward process* is a fixed Markov chain that turns data into noise. Its steps and their composition are Gaussian:

    q(x_t | x_s) = N(α_{t|s} x_s, σ²_{t|s} I),      α_{t|s} = α_t/α_s,   σ²_{t|s} = σ²_t − α²_{t|s} σ²_s
    q(x_t | x)   = N(α_t x, σ²_t I)

Given the data, each backward step is Gaussian too:

    q(x_s | x_t, x) = N( (α_{t|s} σ²_s / σ²_t) x_t + (α_s σ²_{t|s} / σ²_t) x,   (σ²_{t|s} σ²_s / σ²_t) I )

The *reverse process* p_θ(x_s | x_t) puts the network's x_hat in the place of x. Training minimises the simplified form of the variational
bound, a mean squared error at a random time:

    loss = E_{t, ε} ‖ v − v_θ(x_t, t) ‖² / D

(predicting v, ε or x differs only by a weight that depends on t; v is well scaled at both ends).

At the one-hot features of a categorical column the best x_hat is the probability of each category given x_t. There the network's output
is read as logits: x_hat = softmax, and the error is the cross-entropy. On Adult this took the AUROC of a classifier that tells samples
from real rows from 0.85 to 0.63 after 20 seconds: squared errors leave rare categories out.

Two samplers use the same weights:

* ``ancestral``: x_s ~ p_θ(x_s | x_t), T = 1000 steps, as the model was defined;
* ``ddim``: x_s = α_s x_hat + σ_s ε_hat, deterministic, a first-order solver of the same model's probability flow; 50 steps do.

References
    Ho, Jain & Abbeel, *Denoising diffusion probabilistic models*, 2020: equations 2, 4 (forward), 6–7 (posterior), 14 (loss), algorithm 2.
    Song, Meng & Ermon, *Denoising diffusion implicit models*, 2021: equation 12 with σ = 0.
    Kingma, Salimans, Poole & Ho, *Variational diffusion models*, 2021: appendix A (the formulas in α, σ, s, t).
    Salimans & Ho, *Progressive distillation for fast sampling of diffusion models*, 2022: appendix D (v).
    Dieleman et al., *Continuous diffusion for categorical data*, 2022: section 3 (softmax and cross-entropy for categories).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from ..data.schema import Schema
from ..errors import InvalidParameterError
from ..estimator import BATCH, GenerativeModel
from ..nn import build
from ..prob.schedule import Schedule, ScheduleName
from ..rng import Rows, Shared
from ..spec import PRESET, Net, Train
from ..train.objective import Objective

Sampler = Literal["ancestral", "ddim"]
STEPS = {"ancestral": 1000, "ddim": 50}
SMALLEST_SCALE = 0.25   # of a feature: a rare category's one-hot must not be blown up to unit variance


def ancestral_step(x_t: Tensor, x_hat: Tensor, t: tuple[Tensor, Tensor], s: tuple[Tensor, Tensor], eps: Tensor) -> Tensor:
    """A draw of q(x_s | x_t, x = x_hat); ``t`` and ``s`` are the (α, σ) of the two times."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = t, s
    alpha_ts = alpha_t / alpha_s
    variance_ts = sigma_t**2 - alpha_ts**2 * sigma_s**2
    mean = (alpha_ts * sigma_s**2 / sigma_t**2) * x_t + (alpha_s * variance_ts / sigma_t**2) * x_hat
    return mean + (variance_ts.clamp(min=0) * sigma_s**2 / sigma_t**2).sqrt() * eps


def ddim_step(x_t: Tensor, x_hat: Tensor, t: tuple[Tensor, Tensor], s: tuple[Tensor, Tensor]) -> Tensor:
    """α_s x_hat + σ_s ε_hat, where ε_hat is the noise that x_t and x_hat imply."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = t, s
    eps_hat = (x_t - alpha_t * x_hat) / sigma_t
    return alpha_s * x_hat + sigma_s * eps_hat


class DDPMObjective(Objective):
    """Denoising at a random time; sampling backwards from noise."""

    def __init__(self, schema: Schema, condition: Schema | None, schedule: ScheduleName, net: Net):
        super().__init__(schema, condition)
        self.shape = self.features.shape
        self.schedule = Schedule(schedule)
        self.n_onehot = self.features.n_onehot
        self.network = build.denoiser(self.shape, net, cond=self.n_cond)
        stats = self.shape if schema.is_table else (1,) * len(self.shape)
        for name in ("center", "low", "high"):
            self.register_buffer(name, torch.zeros(stats))
        self.register_buffer("scale", torch.ones(stats))

    def prepare(self, x: Tensor, c: Tensor | None) -> None:
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

    def _at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α_t and σ_t, shaped to multiply a batch."""
        alpha, sigma = self.schedule(t)
        shape = (-1, *(1,) * len(self.shape))
        return alpha.view(shape), sigma.view(shape)

    def denoise(self, x_t: Tensor, t: Tensor, c: Tensor | None) -> Tensor:
        """x_hat at noisy rows, kept within the range of the training data; probabilities at the one-hot features."""
        alpha, sigma = self._at(t)
        out = self.network(x_t, t, c).float()
        x_hat = (alpha * x_t - sigma * out).clamp(self.low, self.high)
        if not self.n_onehot:
            return x_hat
        k = -self.n_onehot
        return torch.cat([x_hat[:, :k], (self.features.probabilities(out) - self.center[k:]) / self.scale[k:]], dim=1)

    def error(self, x: Tensor, c: Tensor | None, t: Tensor, eps: Tensor) -> Tensor:
        """‖v − v_θ(x_t, t)‖² and, for categories, the cross-entropy, averaged over slots, ``(B,)``."""
        f = self.scaled(x)
        alpha, sigma = self._at(t)
        x_t, v = alpha * f + sigma * eps, alpha * eps - sigma * f
        out = self.network(x_t, t, self.embed_condition(c)).float()
        if not self.n_onehot:
            return (out - v).square().flatten(1).mean(1)
        k = -self.n_onehot
        squared, entropy = (out[:, :k] - v[:, :k]).square().sum(1), self.features.cross_entropy(out, x)
        return (squared + entropy) / (v.shape[1] + k + len(self.features.onehot))

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        n = len(x)
        t = (torch.rand((), device=x.device) + torch.arange(n, device=x.device) / n) % 1      # stratified: less variance than n draws
        loss = self.error(x, c, t, torch.randn(n, *self.shape, device=x.device)).mean()
        return {"loss": loss, "denoising": loss}

    def sample(self, noise: Rows, c: Tensor | None, *, steps: int = 1000, sampler: Sampler = "ancestral") -> Tensor:
        c = self.embed_condition(c)
        times = torch.linspace(1, 0, steps + 1, device=self.center.device)
        x = noise.normal(*self.shape)
        for t, s in pairwise(times):
            x_hat = self.denoise(x, t[None], c)
            if s == 0:                                  # the last step gives the data themselves
                x = x_hat
            elif sampler == "ancestral":
                x = ancestral_step(x, x_hat, self._at(t), self._at(s), noise.normal(*self.shape))
            else:
                x = ddim_step(x, x_hat, self._at(t), self._at(s))
        return self.features.project(x * self.scale + self.center)

    def score(self, x: Tensor, c: Tensor | None, noise: Shared, draws: int = 16) -> Tensor:
        """Minus the mean denoising error over ``draws`` times spread over [0, 1]."""
        errors = [self.error(x, c, torch.full((len(x),), (k + 0.5) / draws, device=x.device), noise.normal(*self.shape))
                  for k in range(draws)]
        return -torch.stack(errors).mean(0)


class DDPM(GenerativeModel):
    """Denoising diffusion: a network that removes noise, applied again and again from pure noise to a row.

    Parameters
        schedule : ``"cosine"`` or ``"linear"``: how fast the noise grows with t.
        conditional : model x given y.
        net : the denoiser: a U-Net for images, a residual perceptron for tables.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``score_samples`` is minus the mean denoising error over noise levels.
    """

    capabilities = frozenset({"sample", "condition", "score"})
    preset = PRESET(lr=2e-3, batch_size=64, ema=0.08)
    sampling_presets = {"ddim50": {"sampler": "ddim", "steps": 50}}

    def __init__(self, *, schedule: ScheduleName = "cosine", conditional: bool = False, net: Net = Net(), train: Train = Train(),
                 random_state: Any = None):
        self.schedule = schedule
        self.conditional = conditional
        self.net = net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> DDPMObjective:
        return DDPMObjective(schema, condition, self.schedule, self.net)

    def evaluations(self, *, steps: int | None = None, sampler: Sampler = "ancestral") -> int:
        return STEPS[sampler] if steps is None else steps

    def sample(self, n: int = 1, *, condition: Any = None, random_state: Any = None, sampler: Sampler = "ancestral",
               steps: int | None = None, batch_size: int = BATCH) -> Any:
        """``n`` new rows.

        sampler : ``"ancestral"`` (1,000 steps unless ``steps`` says otherwise) or ``"ddim"`` (deterministic, 50 steps).
        steps : network evaluations for each row, 1 to 10,000.
        """
        if sampler not in STEPS:
            raise InvalidParameterError("unknown sampler", expected=f"one of {', '.join(STEPS)}", got=repr(sampler))
        steps = STEPS[sampler] if steps is None else steps
        if not isinstance(steps, int) or not 1 <= steps <= 10_000:
            raise InvalidParameterError("the number of steps is out of its domain", expected="an int from 1 to 10,000", got=repr(steps))
        return self._sample(n, condition, random_state, batch_size, steps=steps, sampler=sampler)
