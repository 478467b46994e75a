"""Which few-step model is the best here: those that were tried, one budget, judged alike on rows that were held out.

============== ===========================================================================================================================
shortcut       :class:`ectype.Shortcut`: a network that knows how far it will step, trained to agree with itself
MeanFlow       the mean velocity u(x_t, r, t) of a path from t to r, learnt from its own derivative (Geng, Deng, Bai, Kolter & He, *Mean
               flows for one-step generative modeling*, 2025: equation 10, algorithm 1)
consistency    x_hat(x_t, t) = x_hat(x_r, r) along a path, by tuning a DDPM that had most of the time (Geng, Pokle, Luo, Lin & Kolter,
               *Consistency models made easy*, 2024: sections 3.2 and 3.3)
DD-GAN         x_hat(x_t, z, t), and a critic of pairs (x_s, x_t) (Xiao, Kreis & Vahdat, *Tackling the generative learning trilemma with
               denoising diffusion GANs*, 2022: equations 4 to 8)
truncated      :class:`ectype.TruncatedDiffusion`, whose denoiser begins as that of the same DDPM where there is one
============== ===========================================================================================================================

``python -m bench.fewstep PART …`` with ECTYPE_DATA_DIR; one thread, one seed (three of ``grid``), defaults of the package unless said
(tone curves of pictures from 1,024 samples of each, 512 of the shortcut model's):

* ``mnist``: ten minutes each, of which the DDPM had eight for the two that begin with it; 56,000 training pictures, 2,000 others to judge
  by and 2,000 for the floor.
* ``adult``: two minutes each, none of a teacher.
* ``grid``: 25 Gaussians, 60 s each: modes, and samples within 3 σ of one.

Each is drawn in 4, 2 and 1 evaluations. Figures are medians of three samples. ``results/fewstep.json`` keeps the
parts that are not measured anew.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.gan import JUDGED, pictures
from bench.record import machine, read, write
from ectype import DDPM, Shortcut, Train, TruncatedDiffusion
from ectype import load as load_model
from ectype.data.schema import Schema
from ectype.data.sources import load
from ectype.data.toy import mode_report
from ectype.estimator import BATCH, GenerativeModel
from ectype.metrics import Evaluator
from ectype.nn.critic import ConvCritic, VectorCritic
from ectype.rng import Rows
from ectype.spec import PRESET, Net
from ectype.train.noising import Denoising, StraightPaths

STEPS, DRAWS = (4, 2, 1), 3
KEPT = ("c2st", "frechet_pca", "frechet_features", "precision", "recall", "coverage")
FASTEST = 0.5           # log₁₀ of the highest frequency of the time that is seen by a network of which the derivative in time is taken
CURVED = 0.25           # share of rows of MeanFlow with r < t
WAVES = 4
CENTER, WIDTH = -0.4, 1.0       # of the normal logits of its times
STAGES, RATIO = 4, 2.0          # of consistency: σ_r/σ_t = 1 − 2⁻ᵏ, k = 0 … 4 over the run, 1 … 4 after a teacher
CODE, GAMMA = 32, 0.5           # of DD-GAN: numbers of z, and the weight of the gradients' penalty


class Plain:
    """Categories as numbers, of which these papers do not speak; trained to the end, since none of the losses says how good samples are."""

    drawn_in: ClassVar[tuple[int, ...]] = (1, 2, 4)

    def as_numbers(self) -> None:
        self.n_onehot, self.any_signs = 0, False

    def held_out(self, x: Tensor, c: Tensor | None) -> Tensor:
        return torch.tensor(float(-self.step))

    def tones_of(self, schema: Schema) -> Mapping[int, Mapping[str, Any]]:
        return {k: {} for k in self.drawn_in}


class MeanFlowObjective(Plain, StraightPaths):
    """u(x_t, r, t) ≈ v − (t − r) du/dt, v = ε − x; du/dt along the path is a product with the Jacobian."""

    lead, to_tone = 1 + 2 * WAVES, 1024

    def __init__(self, schema: Schema, condition: Schema | None, net: Net, drop_condition: float = 0.0):
        super().__init__(schema, condition, net, drop_condition)
        self.as_numbers()
        old = self.network.time.frequencies
        self.network.time.frequencies = 2 * math.pi * torch.logspace(-2, FASTEST, len(old))

    def told(self, d: Tensor) -> Tensor:
        """The length t − r as features."""
        angle = math.pi * d[:, None] * torch.arange(1, WAVES + 1, device=d.device)
        return torch.cat([d[:, None], angle.sin(), angle.cos()], dim=1)

    def velocity(self, x_t: Tensor, t: Tensor, d: Tensor) -> Tensor:
        return self.network(x_t, t, self.told(d)).float()

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        f, n = self.scaled(x), len(x)
        two = torch.sigmoid(CENTER + WIDTH * torch.randn(2, n, device=x.device))
        k = round(CURVED * n)
        t = two.amax(0)
        r = torch.where(torch.arange(n, device=x.device) < k, two.amin(0), t)
        eps = torch.randn_like(f)
        alpha, sigma = self.at(t)
        x_t, v = alpha * f + sigma * eps, eps - f
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            ones = torch.ones_like(t[:k])
            _, slope = torch.func.jvp(self.velocity, (x_t[:k], t[:k], t[:k] - r[:k]), (v[:k], ones, ones))
        wanted = v.clone()
        wanted[:k] -= (t - r)[:k].view(-1, *(1,) * len(self.shape)) * slope
        squared = (self.velocity(x_t, t, t - r) - wanted).square().flatten(1).mean(1)
        return {"loss": (squared / (squared.detach() + 1e-3)).mean(), "squared": squared.mean()}

    def generate(self, noise: Rows, c: Tensor | None, *, steps: int) -> Tensor:
        x, times = noise.normal(*self.shape), self.times(steps)
        for t, r in pairwise(times):
            x = x - (t - r) * self.velocity(x, t.expand(len(x)), (t - r).expand(len(x)))
        return x.clamp(self.low, self.high)


class FromTeacher(Denoising):
    """The clock, the mixture and the first weights of a saved DDPM; or those of a new one."""

    def __init__(self, schema: Schema, teacher: str | None, net: Net):
        known = None if teacher is None else load_model(teacher).objective_
        self._maker = known or DDPM(net=net).build(schema, None)
        super().__init__(schema, None, net, 0.0)
        self.schedule, self.known = self._maker.schedule, known is not None

    def mixture(self, condition: Schema | None, net: Net) -> Any:
        return self._maker.mixture(condition, net)

    def clock(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.schedule(t)

    def target(self, f: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return self._maker.target(f, eps, t)

    def data_of(self, out: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return self._maker.data_of(out, x_t, t)

    def prepare(self, x: Tensor, c: Tensor | None) -> None:
        super().prepare(x, c)
        if self.known:
            self.network.load_state_dict(self._maker.network.state_dict())
            for name in ("center", "scale", "low", "high"):
                getattr(self, name).copy_(getattr(self._maker, name))
            if self.rough is not None:
                self.rough.load_state_dict(self._maker.rough.state_dict())

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value) if name == "_maker" else super().__setattr__(name, value)     # of no player

    @property
    def first(self) -> float:
        """The time at which sampling begins, as the DDPM's."""
        return self._maker.first


class ConsistencyObjective(Plain, FromTeacher):
    """x_hat(x_t, t) against x_hat(x_r, r), taken as given, with the same x and ε, and r nearer to t as training goes on."""

    to_tone = 1024

    def __init__(self, schema: Schema, teacher: str | None, net: Net, expected_steps: int):
        super().__init__(schema, teacher, net)
        self.as_numbers()
        self.expected_steps = expected_steps

    def restored(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.data_of(self.predict(x_t, t, None), x_t, t)

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        f, n = self.scaled(x), len(x)
        u = (torch.rand((), device=x.device) + torch.arange(n, device=x.device) / n) % 1
        t = (self.first * u).clamp(min=1e-3)
        stage = min(STAGES, int(STAGES * self.step / self.expected_steps) + self.known)
        alpha, sigma = self.clock(t)
        ratio = sigma / alpha * (1 - RATIO**-stage)                                 # σ/α at r
        r = self.schedule.time_of(-2 * torch.log(ratio.clamp(min=1e-6)))
        eps, of = torch.randn_like(f), lambda v: v.view(-1, *(1,) * len(self.shape))
        (a, s), (a_r, s_r) = self.clock(t), self.clock(r)
        with torch.no_grad():
            wanted = f if stage == 0 else self.restored(of(a_r) * f + of(s_r) * eps, r)
        gap = (self.restored(of(a) * f + of(s) * eps, t) - wanted).square().flatten(1).sum(1)
        scale = 0.06 * math.sqrt(math.prod(self.shape))
        huber = (gap + scale**2).sqrt() - scale             # Song & Dhariwal, 2024, section 3.3; the constant is ours
        weight = (1 / (sigma / alpha - ratio)).clamp(max=100.0)
        return {"loss": (weight * huber).mean() / scale}

    def generate(self, noise: Rows, c: Tensor | None, *, steps: int) -> Tensor:
        times = torch.linspace(self.first, 0, steps + 1)[:-1]
        x_t = self.begin(noise, c, times[0])
        for i, t in enumerate(times):
            x_hat = self.restored(x_t, t[None]).clamp(self.low, self.high)
            if i + 1 < steps:
                alpha, sigma = self.at(times[i + 1][None])
                x_t = alpha * x_hat + sigma * noise.normal(*self.shape)
        return x_hat


class DDGANObjective(Plain, FromTeacher):
    """Four steps of a generator x_hat(x_t, z, t), each played against a critic that sees x_t and x_s ~ q(x_s | x_t, x_hat)."""

    turns: ClassVar[tuple[str, ...]] = ("critic", "generator")
    drawn_in, lead, to_tone = (4,), CODE, 1024

    def __init__(self, schema: Schema, net: Net):
        super().__init__(schema, None, net)
        self.as_numbers()
        shape = (2 * self.shape[0], *self.shape[1:])
        pictures = len(shape) > 1
        self.critic = (ConvCritic(shape, (64, 128, 256), cond=4) if pictures else VectorCritic(shape, (256, 256, 256), cond=4))

    def mixture(self, condition: Schema | None, net: Net) -> None:
        """None: x_T is noise."""

    def players(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "generator": self.network}

    def restored(self, x_t: Tensor, k: Tensor, z: Tensor) -> Tensor:
        """x_hat at the times (k + 1)/4."""
        return self.data_of(self.network(x_t, (k + 1) / 4, z).float(), x_t, (k + 1) / 4)

    def posterior(self, x_t: Tensor, x_hat: Tensor, k: Tensor, eps: Tensor) -> Tensor:
        """A draw of q(x_s | x_t, x_hat), s = k/4."""
        (a_t, s_t), (a_s, s_s) = self.at((k + 1) / 4), self.at(k / 4)
        step = a_t / a_s
        v = s_t.square() - step.square() * s_s.square()
        mean = (step * s_s.square() * x_t + a_s * v * x_hat) / s_t.square()
        return mean + (v.clamp(min=0) * s_s.square() / s_t.square()).sqrt() * eps

    def logit(self, x_s: Tensor, x_t: Tensor, k: Tensor) -> Tensor:
        return self.critic(torch.cat([x_s, x_t], dim=1), F.one_hot(k, 4).float()).squeeze(1)

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        f, n = self.scaled(x), len(x)
        k = torch.randint(4, (n,), device=x.device)
        (a_s, s_s), (a_t, s_t) = self.at(k / 4), self.at((k + 1) / 4)
        x_s = a_s * f + s_s * torch.randn_like(f)
        step = a_t / a_s
        x_t = step * x_s + (s_t.square() - step.square() * s_s.square()).clamp(min=0).sqrt() * torch.randn_like(f)
        z = torch.randn(n, CODE, device=x.device)
        with torch.set_grad_enabled(player == "generator"):
            made = self.posterior(x_t, self.restored(x_t, k, z), k, torch.randn_like(f))
        if player == "generator":
            return {"loss": -F.logsigmoid(self.logit(made, x_t, k)).mean()}
        some = x_s[: n // 4].detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.logit(some, x_t[: n // 4], k[: n // 4]).sum(), some, create_graph=True)
        penalty = GAMMA / 2 * gradient.square().flatten(1).sum(1).mean()
        v = F.logsigmoid(self.logit(x_s, x_t, k)).mean() + F.logsigmoid(-self.logit(made, x_t, k)).mean()
        return {"loss": -v + penalty, "value": v}

    def generate(self, noise: Rows, c: Tensor | None, *, steps: int) -> Tensor:
        x = noise.normal(*self.shape)
        for k in reversed(range(4)):
            which = torch.full((len(x),), k, device=x.device)
            x_hat = self.restored(x, which, noise.normal(CODE)).clamp(self.low, self.high)
            x = self.posterior(x, x_hat, which, noise.normal(*self.shape))
        return x


class Tried(GenerativeModel):
    """What the trials have in common as estimators."""

    capabilities, conditional = frozenset({"sample"}), False
    preset, presets = DDPM.preset, DDPM.presets

    def __init__(self, *, teacher: str | None = None, expected_steps: int = 1000, net: Net = Net(), train: Train = Train(),
                 random_state: Any = None):
        self.teacher, self.expected_steps, self.net, self.train, self.random_state = teacher, expected_steps, net, train, random_state

    def evaluations(self, *, steps: int = 4) -> int:
        return steps

    def sample(self, n: int = 1, *, steps: int = 4, condition: Any = None, random_state: Any = None, batch_size: int = BATCH) -> Any:
        return self._sample(n, condition, random_state, batch_size, steps=steps)


class MeanFlow(Tried):
    def build(self, schema: Schema, condition: Schema | None) -> MeanFlowObjective:
        return MeanFlowObjective(schema, condition, self.net)


class Consistency(Tried):
    def build(self, schema: Schema, condition: Schema | None) -> ConsistencyObjective:
        return ConsistencyObjective(schema, self.teacher, self.net, self.expected_steps)


class DDGAN(Tried):
    preset, presets = PRESET(lr=2e-4, batch_size=64, ema=0.08, betas=(0.5, 0.99)), {}

    def build(self, schema: Schema, condition: Schema | None) -> DDGANObjective:
        return DDGANObjective(schema, self.net)


def models(budget: str, share: str | None, teacher: str | None, seed: int, pace: float) -> dict[str, GenerativeModel]:
    """Every model with its budget; ``share`` is that of those that have a ``teacher``, and ``pace`` a guess of steps a second."""
    def settings(words: str) -> dict[str, Any]:
        return {"train": Train(budget=words, threads=1), "random_state": seed}

    own = share or budget
    seconds = float(own.rstrip("sm")) * (60 if own.endswith("m") else 1)
    return {"shortcut": Shortcut(**settings(budget)), "MeanFlow": MeanFlow(**settings(budget)),
            "consistency": Consistency(teacher=teacher, expected_steps=int(pace * seconds), **settings(own)),
            "DD-GAN": DDGAN(**settings(budget)), "truncated": TruncatedDiffusion(teacher=teacher, **settings(own))}


def judged(part: str, found: dict[str, Any]) -> None:
    """Every model on pictures or a table."""
    if part == "mnist":
        X = pictures("mnist")[0]
        order = np.random.default_rng(0).permutation(len(X))
        known, held, other = (X[order[4000:]], X[order[:JUDGED]], X[order[JUDGED : 2 * JUDGED]])
        budget, share, pace = "10m", "2m", 4.0
    else:
        X = load(Path(os.environ["ECTYPE_DATA_DIR"]) / "adult" / "adult_train.csv.gz").X
        order = np.random.default_rng(0).permutation(len(X))
        held, other, known = (X.iloc[p].reset_index(drop=True) for p in np.split(order, [JUDGED, 2 * JUDGED]))
        budget, share, pace = "2m", None, 60.0
    schema = Schema.fit(known)
    held, other = (h[schema.accepts(h)] if isinstance(h, pd.DataFrame) else h for h in (held, other))
    evaluator = Evaluator(schema, *(schema.encode(h) for h in (known, held, other)), seed=0)
    floor = evaluator.floor()
    rows = found[part] = {"machine": machine(), "budget": budget, "floor": {k: round(float(floor[k]), 4) for k in KEPT}}
    with tempfile.TemporaryDirectory() as folder:
        teacher = None
        if share:
            teacher = str(DDPM(train=Train(budget="8m", threads=1), random_state=0).fit(known).save(Path(folder) / "teacher"))
        for name, model in models(budget, share, teacher, 0, pace).items():
            model.fit(known)
            rows[name] = {"steps": model.n_steps_, "parameters": model.n_parameters_}
            for steps in (4,) if name == "DD-GAN" else STEPS:
                each = [evaluator.evaluate(schema.encode(model.sample(len(held), random_state=d, steps=steps)), 0) for d in range(DRAWS)]
                rows[name][f"{steps} evaluations"] = {k: round(statistics.median(float(v[k]) for v in each), 4) for k in KEPT}
            sys.stderr.write(f"{part} {name} {rows[name]}\n")
            write("fewstep", found)


def grid(found: dict[str, Any]) -> None:
    """Every model on 25 Gaussians."""
    data, found["grid"] = load("gaussians25"), {"machine": machine(), "budget": "60s", "runs": []}
    for seed in range(3):
        rows = np.random.default_rng(seed).permutation(data.n_rows)
        for name, model in models("60s", None, None, seed, 60.0).items():
            model.fit(data.X.iloc[rows[:3000]].reset_index(drop=True))
            for steps in (4,) if name == "DD-GAN" else STEPS:
                report = mode_report(model.sample(1000, random_state=seed, steps=steps), data.truth)
                run = {"model": name, "seed": seed, "evaluations": steps, "modes": report.hit, "share": round(report.share, 4)}
                found["grid"]["runs"].append(run)
                sys.stderr.write(f"{run}\n")
            write("fewstep", found)


def main() -> None:
    found: dict[str, Any] = {**read("fewstep"), "threads": 1, "draws": DRAWS}
    for part in sys.argv[1:] or ["mnist", "adult", "grid"]:
        grid(found) if part == "grid" else judged(part, found)


if __name__ == "__main__":
    main()
