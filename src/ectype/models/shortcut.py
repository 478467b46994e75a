"""The shortcut model: flow matching that knows how far it will step, and so samples in one, two or four evaluations.

Notation
    x, ε, t, x_t    as in flow matching: x_t = (1 − t) x + t ε, t = 0 is data, t = 1 is noise
    d               the length of a step towards the data, 0 or 1/32, 1/16, … 1
    s(x_t, t, d)    what the network predicts: the mean velocity of the path over the next d, so that x_{t−d} = x_t − d s(x_t, t, d)
    x_hat           x_t − t s

At d = 0 it is the velocity of flow matching, learnt from lines between noise and data (paired within each batch, see
:mod:`ectype.prob.transport`). A step of length d must end where two steps of half the length end; that is all that is needed to learn
longer ones from shorter ones, without simulating a path:

    s(x_t, t, d)  =  ½ s(x_t, t, d/2) + ½ s(x_{t−d/2}, t − d/2, d/2),      x_{t−d/2} = x_t − d/2 s(x_t, t, d/2)

A part of each batch (``consistency``) is trained to agree with the right-hand side, taken as given; the rest on the velocity. One network,
one training run, and any number of steps from one to many.

A step of x_hat is x_{t−d} = x_t + (d/t)(x_hat − x_t); after two steps the end is a mixture of x_t and of both x_hats, so that the target
of a longer step, too, is a mixture of theirs: of categories, a probability, and the error is the cross-entropy.

References
    Frans, Hafner, Levine & Abbeel, *One step diffusion via shortcut models*, 2025: equations 3–5, algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..data.schema import Schema
from ..estimator import BATCH, GenerativeModel
from ..rng import Rows
from ..spec import PRESET, Net, Share, Train
from ..train.noising import Pairing, StraightPaths, check_steps

LEVELS = 6              # of d = 2⁻ᵏ, k = 0 … 5; a seventh is d = 0
FIRST = 1e-3            # the smallest time that the velocity is trained on


class ShortcutObjective(StraightPaths):
    """Velocities of lines for d = 0, and agreement of one step with two for the other lengths."""

    lead = LEVELS + 1   # d, one-hot, before the condition

    def __init__(self, schema: Schema, condition: Schema | None, net: Net, consistency: float = 0.25, pairing: Pairing = "optimal",
                 drop_condition: float = 0.1):
        super().__init__(schema, condition, net, drop_condition)
        self.consistency, self.pairing = consistency, pairing

    def tones_of(self, schema: Schema) -> Mapping[int, Mapping[str, Any]]:
        return {1: {}, 2: {}, 4: {}}

    def with_length(self, c: Tensor | None, level: Tensor) -> Tensor:
        """The condition's features with those of d before them; ``level (B,)`` is k of d = 2⁻ᵏ, and ``LEVELS`` of d = 0."""
        length = torch.nn.functional.one_hot(level, self.lead).float()
        return length if c is None else torch.cat([length, c], dim=1)

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        n, f = len(x), self.scaled(x)
        k = min(max(1, round(self.consistency * n)), n - 1) if self.consistency else 0
        t = ((torch.rand((), device=x.device) + torch.arange(n, device=x.device) / n) % 1).clamp(min=FIRST)
        t = t[torch.randperm(n, device=x.device)]
        eps, c = self.noise_for(f, c, self.pairing), self.embed_condition(c, self.absent(n, x.device))
        velocity = self._velocity_error(x[k:], f[k:], None if c is None else c[k:], t[k:], eps[k:]).mean()
        if not k:
            return {"loss": velocity, "velocity": velocity}
        agreement = self._agreement_error(f[:k], None if c is None else c[:k], eps[:k]).mean()
        return {"loss": velocity + self.consistency / max(1e-6, 1 - self.consistency) * agreement, "velocity": velocity,
                "agreement": agreement}

    def _velocity_error(self, x: Tensor, f: Tensor, c: Tensor | None, t: Tensor, eps: Tensor) -> Tensor:
        """‖ε − x − s(x_t, t, 0)‖² and the cross-entropy of categories, averaged over slots, ``(B,)``."""
        x_t = self._between(f, eps, t)
        out = self.network(x_t, t, self.with_length(c, torch.full((len(x),), LEVELS, device=x.device))).float()
        k = out[0].numel() - self.n_onehot
        squared = (out - (eps - f)).flatten(1)[:, :k].square().sum(1)
        if not self.n_onehot:
            return squared / k
        return (squared + self.features.cross_entropy(self.with_evidence(out, x_t, t), x)) / (k + len(self.features.onehot))

    def _between(self, f: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.at(t)
        return alpha * f + sigma * eps

    def _agreement_error(self, f: Tensor, c: Tensor | None, eps: Tensor) -> Tensor:
        """The error of one step against two of half its length, averaged over slots, ``(B,)``."""
        n = len(f)
        level = torch.randint(LEVELS, (n,), device=f.device)
        d = 2.0 ** -level
        t = d * (1 + torch.floor(torch.rand(n, device=f.device) * 2.0**level))         # d, 2 d, … 1
        x_t = self._between(f, eps, t)
        with torch.no_grad():
            finer = self.with_length(c, level + 1)                                      # half as long; after the last, d = 0
            middle = self._stepped(x_t, t, d / 2, finer)
            end = self._stepped(middle, t - d / 2, d / 2, finer)
            mean_velocity = (x_t - end) / self._of_row(d)
        out = self.network(x_t, t, self.with_length(c, level)).float()
        k = out[0].numel() - self.n_onehot
        squared = (out - mean_velocity).flatten(1)[:, :k].square().sum(1)
        if not self.n_onehot:
            return squared / k
        wanted = (x_t - self._of_row(t) * mean_velocity)[:, k:] * self.scale[k:] + self.center[k:]
        log_p = torch.log(self.features.probabilities(self.with_evidence(out, x_t, t)).clamp(min=1e-8))
        return (squared - (wanted.clamp(0, 1) * log_p).sum(1)) / (k + len(self.features.onehot))

    def _stepped(self, x_t: Tensor, t: Tensor, d: Tensor, c: Tensor) -> Tensor:
        """x_{t−d} = x_t + (d/t) (x_hat − x_t)."""
        return x_t + self._of_row(d / t) * (self.denoise(x_t, t, c) - x_t)

    def _of_row(self, v: Tensor) -> Tensor:
        return v.view(-1, *(1,) * len(self.shape))

    def error(self, x: Tensor, c: Tensor | None, t: Tensor, eps: Tensor, absent: Tensor | None = None) -> Tensor:
        """The error of the velocity, d = 0."""
        return self._velocity_error(x, self.scaled(x), self.embed_condition(c, absent), t.clamp(min=FIRST), eps)

    def generate(self, noise: Rows, c: Tensor | None, *, steps: int = 4, guidance: float = 1.0) -> Tensor:
        """Scaled features in so many steps of equal length; of a length between two that were learnt, the shorter."""
        level = min(LEVELS, math.ceil(math.log2(steps)))
        c = self.with_length(self.embed_condition(c), torch.full((noise.n,), level, device=self.center.device))
        x, times = noise.normal(*self.shape), self.times(steps)
        for i in range(steps):
            x_hat = self.denoise(x, times[i][None], c, guidance)
            x = x + (times[i] - times[i + 1]) / times[i] * (x_hat - x)
        return x


class Shortcut(GenerativeModel):
    """Shortcut model: flow matching that samples in one, two or four evaluations.

    Parameters
        consistency : share of each batch that learns long steps from short ones; the rest learns the velocity.
        pairing : of noise with rows in a batch, ``"optimal"`` or ``"random"``, as in flow matching.
        conditional : model x given y.
        drop_condition : share of the rows in training from which y is left out, for classifier-free guidance.
        net : the velocity's network: a U-Net for images, a residual perceptron for tables.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``score_samples`` is minus the mean error of the velocity over times.
    """

    capabilities = frozenset({"sample", "condition", "score"})
    preset = PRESET(lr=2e-3, batch_size=64, ema=0.08)
    sampling_presets = {"1step": {"steps": 1}}

    def __init__(self, *, consistency: Share = 0.25, pairing: Pairing = "optimal", conditional: bool = False,
                 drop_condition: Share = 0.1, net: Net = Net(), train: Train = Train(), random_state: Any = None):
        self.consistency = consistency
        self.pairing = pairing
        self.conditional = conditional
        self.drop_condition = drop_condition
        self.net = net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> ShortcutObjective:
        return ShortcutObjective(schema, condition, self.net, self.consistency, self.pairing, self.drop_condition)

    def evaluations(self, *, steps: int = 4, guidance: float = 1.0) -> int:
        return steps * (1 if guidance == 1.0 else 2)

    def sample(self, n: int = 1, *, condition: Any = None, random_state: Any = None, steps: int = 4, guidance: float = 1.0,
               batch_size: int = BATCH) -> Any:
        """``n`` new rows.

        steps : evaluations of the network for each row, 1 to 10,000; 1, 2, 4 … 32 are what it has learnt.
        guidance : weight of the condition: 1 is the model, 2 to 5 more typical of the condition and less varied; conditional models only.
        """
        check_steps(steps, guidance, self.conditional)
        return self._sample(n, condition, random_state, batch_size, steps=steps, guidance=guidance)
