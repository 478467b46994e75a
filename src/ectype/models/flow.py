"""Normalizing flows: exact likelihood by an invertible map.

Notation
    x           a stored row
    y           the row as real numbers, (B, dim); x itself where x is continuous, x plus noise in its cell where x is discrete
    c           the condition, where there is one
    T           an invertible map, z = T(y), made of layers T_L ∘ … ∘ T_1
    p_Z         the base density: N(0, I), independent Student t, or a learned mixture of Gaussians

Change of variables:

    log p(y) = log p_Z(T(y)) + log |det ∂T/∂y|

A layer transforms each number by a monotone function S, a rational-quadratic spline on [−b, b] and the identity outside, whose parameters
are computed from other numbers. Which others, decides what a layer can do and what it costs:

    coupling        z_A = y_A,   z_i = S(y_i; θ_i(y_A, c)) for i in B            both ways one pass
    autoregressive  z_i = S(y_i; θ_i(y_{<i}, c)) for all i                       z from y one pass, y from z a pass for each number

Either way the Jacobian is triangular, and log |det| = Σ log S′(y_i). Discrete slots get noise first (:mod:`ectype.prob.dequantize`),
uniform in their cell or from a flow of its own (:mod:`ectype.nn.noise`); log p(x) is then a lower bound, exact for continuous columns.

Pictures have the same two orders on pixels, with convolutions in place of perceptrons, and a spline whose knots are the edges of the
levels' cells, so that the bound is tight: see :mod:`ectype.nn.image_flow`. The convolutions correct what four neighbours of a pixel tell
by counting (:mod:`ectype.prob.contexts`).

Far out, where no row was, T may stretch by any factor, and a draw of z can come back as a number beyond all reason. Rows outside of the
range of the training rows by more than its width are drawn again from their own noise, and what is still outside after that is brought to
the edge; the share of such draws is measured after training.

References
    Dinh, Sohl-Dickstein & Bengio, *Density estimation using Real NVP*, 2017: equations 2–3 (change of variables), 4–8 (coupling).
    Papamakarios, Pavlakou & Murray, *Masked autoregressive flow for density estimation*, 2017.
    Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows*, 2019: section 3, equation 4 (the spline).
    Behrmann, Vicol, Wang, Grosse & Jacobsen, *Understanding and mitigating exploding inverses in invertible neural networks*, 2021.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from ..data.schema import Schema
from ..errors import InvalidParameterError
from ..estimator import GenerativeModel
from ..nn.autoregressive import AutoregressiveFlow
from ..nn.base_density import MixtureBase
from ..nn.base_density import base as base_of
from ..nn.coupling import CouplingFlow
from ..nn.image_flow import RasterFlow, ScaleFlow
from ..nn.noise import Given, VariationalNoise
from ..prob.dequantize import Dequantization, Noise
from ..rng import Rows, Shared
from ..spec import PRESET, Net, PositiveInt, Train
from ..train.objective import Objective

Architecture = Literal["coupling", "autoregressive"]
Base = Literal["normal", "student", "mixture"]
Noises = Literal["uniform", "variational"]

ROWS, PIXELS = (6, 8), (4, 32)      # layers or blocks, and bins of a spline, of flows of rows and of pixels
PERCEPTRONS = "perceptrons on images"       # as those are called whose flow is not one of pixels
SMALL_PICTURE = 12      # pixels of the longer side: up to here a coupling flow of perceptrons
MARGIN = 1.0            # of the range of y in training, on both sides, that a sample may lie outside
REDRAWS = 4             # of a row that came back from further away
MEASURED = 256          # rows that are sent there and back after training
MANY_PASSES = 64        # of the way back: from here on a tenth of the rows
HELD_OUT = 256          # pictures that the curve of a flow of pixels is taken on
INEXACT = 0.01          # a median error of the inverse that is worth a word
EDGE = 1e-12            # of the codes of pixels, in (0, 1)


class FlowObjective(Objective):
    """Maximum likelihood of a stack of layers on dequantised rows."""

    rounds = False

    def __init__(self, schema: Schema, condition: Schema | None, transforms: int, bins: int, net: Net,
                 architecture: Architecture = "coupling", base: Base = "normal", dequantization: Noises = "uniform"):
        super().__init__(schema, condition)
        self.dequantization = Dequantization(schema)
        self.latent_dim = dim = self.dequantization.dim
        width = (64, 64) if dim <= 8 else (128, 128) if dim <= 128 else (256,)
        stack = CouplingFlow if architecture == "coupling" else AutoregressiveFlow
        self.flow = stack(dim, transforms, bins, net, width, cond=self.n_cond)
        self.passes = getattr(self.flow, "passes", 1)
        self.base = base_of(base, dim, self.n_cond)
        noisy = self.dequantization.noisy
        self.noise = None
        if dequantization == "variational" and len(noisy):
            features = math.prod(self.features.shape) + self.n_cond
            self.noise = VariationalNoise(self.dequantization.n_uniform, noisy, bins, net, features)
        self.register_buffer("low", torch.full((dim,), -torch.inf))
        self.register_buffer("high", torch.full((dim,), torch.inf))

    def prepare(self, x: Tensor, c: Tensor | None) -> None:
        self.dequantization.fit(x)
        y, _ = self.dequantization(x, Fresh(len(x), x.device))
        low, high = y.amin(0), y.amax(0)
        margin = MARGIN * (high - low)
        self.low.copy_(low - margin)
        self.high.copy_(high + margin)
        if isinstance(self.base, MixtureBase):
            self.base.fit(y)                                            # z = y, as T starts as the identity

    def dequantise(self, x: Tensor, c: Tensor | None, noise: Noise) -> tuple[Tensor, Tensor]:
        """y and log q(y|x, c) at one draw of the noise."""
        if self.noise is None:
            return self.dequantization(x, noise)
        features = self.features.embed(x).flatten(1)
        u, log_q_u = self.noise(features if c is None else torch.cat([features, self.embed_condition(c)], 1), noise)
        y, log_q = self.dequantization(x, Given(u, noise))
        return y, log_q + log_q_u

    def transform(self, y: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """z = T(y), ``(B, dim)``, and log |det ∂T/∂y|, ``(B,)``."""
        return self.flow(y, self.embed_condition(c))

    def inverse(self, z: Tensor, c: Tensor | None) -> Tensor:
        """y = T⁻¹(z)."""
        return self.flow.inverse(z, self.embed_condition(c))

    def log_density(self, y: Tensor, c: Tensor | None) -> Tensor:
        """log p(y), ``(B,)``: change of variables."""
        z, log_det = self.transform(y, c)
        return self.base.log_prob(z, self.embed_condition(c)) + log_det

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        y, log_q = self.dequantise(x, c, Fresh(len(x), x.device))
        density = -self.log_density(y, c).mean()
        if self.dequantization.is_exact:
            return {"loss": density}
        log_q = log_q.mean()
        return {"loss": density + log_q, "density": density, "dequantisation": log_q}

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        return self.dequantization.inverse(self.draw(noise, c)[0])

    def draw(self, noise: Rows, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """y of new rows, and which of their first draws were astray. A row's draws are its own, whoever else must draw again."""
        e = self.embed_condition(c)
        y = self.inverse(self.base.sample(noise, e), c)
        first = astray = self._astray(y)
        for _ in range(REDRAWS):
            if not astray.any():
                return y, first
            y = torch.where(astray[:, None], self.inverse(self.base.sample(noise, e), c), y)
            astray = self._astray(y)
        return torch.nan_to_num(y, nan=0.0, posinf=torch.inf, neginf=-torch.inf).clamp(self.low, self.high), first

    def _astray(self, y: Tensor) -> Tensor:
        return ~((y >= self.low) & (y <= self.high)).all(1)             # not finite compares as false

    def decode(self, z: Tensor, c: Tensor | None) -> Tensor:
        """Stored rows of T⁻¹(z)."""
        return self.dequantization.inverse(self.inverse(z, c))

    def encode(self, x: Tensor, c: Tensor | None) -> Tensor:
        """z = T(y) with y in the middle of its cell."""
        return self.transform(self.dequantization(x, Middle(len(x), x.device))[0], c)[0]

    def log_prob(self, x: Tensor, c: Tensor | None, noise: Shared, draws: int = 4) -> Tensor:
        """log p(x), ``(B,)``; with discrete slots the mean of the bound over ``draws`` of the noise."""
        values = []
        for _ in range(draws):
            y, log_q = self.dequantise(x, c, noise)
            values.append(self.log_density(y, c) - log_q)
        return torch.stack(values).mean(0)

    score = log_prob

    def measure(self, x: Tensor, c: Tensor | None) -> dict[str, float]:
        """max |T⁻¹(T(y)) − y| of held-out rows, and the share of draws that went astray."""
        x, c = first_rows(x, c, self.passes)
        y, _ = self.dequantization(x, Shared(0, len(x), x.device))
        error = (self.inverse(self.transform(y, c)[0], c) - y).abs().amax(1)
        astray = self.draw(Rows(0, 0, len(x), x.device), c)[1]
        return {**inverse_error(error), "astray": float(astray.float().mean())}

    def remarks(self, measured: dict[str, float]) -> list[str]:
        """Draws that went astray, and an inverse that is none."""
        return remarks(measured, "T⁻¹(T(y)) is off")


class PixelFlowObjective(Objective):
    """Maximum likelihood of a flow of pixel levels; nothing in it needs noise."""

    def __init__(self, schema: Schema, condition: Schema | None, transforms: int, bins: int, net: Net, architecture: Architecture):
        super().__init__(schema, condition)
        image = schema.blocks[0]
        self.shape, self.latent_dim = image.shape, schema.n_dims
        flow, channels = (ScaleFlow, 64) if architecture == "coupling" else (RasterFlow, 96)
        width = net.width or (channels, *(64,) * (transforms - 1))
        self.flow = flow(image.shape, image.levels, bins, net, width, cond=self.n_cond)
        self.passes = self.flow.passes

    def prepare(self, x: Tensor, c: Tensor | None) -> None:
        self.flow.fit(x)

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        return {"loss": -self.flow.estimate(x, self.embed_condition(c)).mean()}

    def held_out(self, x: Tensor, c: Tensor | None) -> Tensor:
        x, c = x[:HELD_OUT], None if c is None else c[:HELD_OUT]
        return -self.log_prob(x, c, None).mean()

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        return self.decode(noise.normal(self.latent_dim), c)

    def decode(self, z: Tensor, c: Tensor | None) -> Tensor:
        """Stored pictures of codes: u = Φ(z), and the levels in whose cells it lies."""
        u = torch.special.ndtr(z.double()).unflatten(1, self.shape)
        return self.flow.inverse(u, self.embed_condition(c)).to(torch.uint8)

    def encode(self, x: Tensor, c: Tensor | None) -> Tensor:
        """z = Φ⁻¹(u) with every level in the middle of its cell."""
        u, _ = self.flow(x, torch.full(x.shape, 0.5, dtype=torch.double, device=x.device), self.embed_condition(c))
        return torch.special.ndtri(u.clamp(EDGE, 1 - EDGE)).flatten(1).float()

    def log_prob(self, x: Tensor, c: Tensor | None, noise: Shared | None) -> Tensor:
        """log P(x), ``(B,)``, exact."""
        e = self.embed_condition(c)
        return torch.cat([self.flow.log_mass(x[i : i + 128], None if e is None else e[i : i + 128]) for i in range(0, len(x), 128)])

    score = log_prob

    def measure(self, x: Tensor, c: Tensor | None) -> dict[str, float]:
        """How far the levels of held-out pictures are from themselves after the way there and back, in the range of levels."""
        x, c = first_rows(x, c, self.passes)
        back = self.decode(self.encode(x, c), c)
        return inverse_error((back.float() - x.float()).flatten(1).abs().amax(1) / (self.flow.levels.levels - 1))

    def remarks(self, measured: dict[str, float]) -> list[str]:
        """A way back that leads elsewhere."""
        return remarks(measured, "pictures come back from their codes changed")


def first_rows(x: Tensor, c: Tensor | None, passes: int) -> tuple[Tensor, Tensor | None]:
    """As many rows as are sent there and back, where the way back takes so many passes."""
    n = MEASURED if passes < MANY_PASSES else MEASURED // 10
    return x[:n], None if c is None else c[:n]


def inverse_error(error: Tensor) -> dict[str, float]:
    """Median and maximum of the rows' errors; one that is not finite counts as 10⁹."""
    error = torch.nan_to_num(error, nan=1e9, posinf=1e9).clamp(max=1e9)
    return {"inverse_error": float(error.median()), "inverse_error_max": float(error.max())}


def remarks(measured: dict[str, float], inexact: str) -> list[str]:
    """What deserves a word of the figures that a flow measures after training."""
    found = []
    if measured.get("astray"):
        found.append(f"{measured['astray']:.2%} of the draws came back far outside of the data: such rows are drawn again")
    if measured["inverse_error"] > INEXACT:
        found.append(f"{inexact}, by {measured['inverse_error']:.2g} in the median row")
    return found


class Fresh:
    """Noise from torch's generator, for training steps."""

    def __init__(self, n: int, device: torch.device):
        self.n, self.device = n, device

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.n, *shape, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.n, *shape, device=self.device)


class Middle(Fresh):
    """No noise: the middle of the cell."""

    def uniform(self, *shape: int) -> Tensor:
        return torch.full((self.n, *shape), 0.5, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.zeros(self.n, *shape, device=self.device)


class Flow(GenerativeModel):
    """Normalizing flow: an invertible map from the data to a simple distribution, with exact likelihood.

    Parameters
        architecture : ``"coupling"`` layers take one pass both ways, but for a coarse grid that pictures begin with; ``"autoregressive"``
            ones fit better, and a sample costs a pass for each number or square of pixels (:meth:`evaluations`).
        base : what the rows are sent to: ``"normal"``, ``"student"`` (heavy tails) or ``"mixture"`` (of 64 Gaussians, learned: for rows in
            separate clumps). Flows of pixels have ``"normal"``.
        dequantization : noise on discrete values, ``"uniform"`` in their cells or ``"variational"``, from a flow of its own.
        transforms : number of layers; of residual blocks in the networks of a flow of pixels. None = 6, and 4 blocks.
        bins : bins of each spline; None = 8, and 32 in a flow of pixels.
        conditional : model x given y.
        net : the networks that compute the splines' parameters. Tables and signals have perceptrons. Pictures have convolutions, but for a
            coupling flow on at most 12×12 pixels; ``kind`` chooses otherwise.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``log_likelihood`` and ``score_samples`` are log p(x): exact for continuous columns and in flows of pixels, a lower bound for other
    discrete values (``likelihood_``, ``dequantization_``). ``transform`` gives z = T(x), as many numbers as the row has slots. After
    training ``stages_[0]["measured"]`` has the numerical error of T⁻¹(T(y)) on held-out rows, and the share of draws that had to be drawn
    again.
    """

    capabilities = frozenset({"sample", "condition", "encode", "decode", "score", "exact"})
    preset = PRESET(lr=1e-3, batch_size=256)
    presets = {"images": PRESET(optimizer="muon", lr=4e-3, batch_size=32),
               PERCEPTRONS: PRESET(lr=2e-3, batch_size=64)}             # which gain nothing from Muon

    def __init__(self, *, architecture: Architecture = "coupling", base: Base = "normal", dequantization: Noises = "uniform",
                 transforms: PositiveInt | None = None, bins: PositiveInt | None = None, conditional: bool = False, net: Net = Net(),
                 train: Train = Train(), random_state: Any = None):
        self.architecture = architecture
        self.base = base
        self.dequantization = dequantization
        self.transforms = transforms
        self.bins = bins
        self.conditional = conditional
        self.net = net
        self.train = train
        self.random_state = random_state

    @property
    def likelihood_(self) -> str:
        """Exact where every slot is continuous, and in flows of pixels; a bound as soon as one slot had to be dequantised."""
        return "exact" if self.dequantization_ == "none" else "bound"

    @property
    def dequantization_(self) -> str:
        """The noise that :meth:`log_likelihood` is a bound by: ``"none"``, ``"uniform"`` or ``"variational"``."""
        objective = self.objective_
        if isinstance(objective, PixelFlowObjective) or objective.dequantization.is_exact:
            return "none"
        return "uniform" if objective.noise is None else "variational"

    def _is_of_pixels(self, schema: Schema) -> bool:
        small = schema.is_image and max(schema.stored_shape[1:]) <= SMALL_PICTURE and self.architecture == "coupling"
        return schema.is_image and (self.net.kind == "conv" or (self.net.kind == "auto" and not small))

    def training_of(self, schema: Schema) -> Train:
        perceptrons = schema.is_image and not self._is_of_pixels(schema)
        return self.train.over(self.presets[PERCEPTRONS]) if perceptrons else super().training_of(schema)

    def build(self, schema: Schema, condition: Schema | None) -> Objective:
        if self._is_of_pixels(schema):
            if self.base != "normal":
                raise InvalidParameterError("a flow of pixels sends them to uniform numbers, whatever the base", expected='base "normal"',
                                            got=f'"{self.base}"', hint='net.kind="mlp" has other bases')
            return PixelFlowObjective(schema, condition, self.transforms or PIXELS[0], self.bins or PIXELS[1], self.net, self.architecture)
        return FlowObjective(schema, condition, self.transforms or ROWS[0], self.bins or ROWS[1], self.net, self.architecture, self.base,
                             self.dequantization)

    def evaluations(self, **options: Any) -> int:
        """Passes through the layers that one sample costs: one, or of the autoregressive ones one for each number; of a flow of pixels one
        for each place of a grid in raster order and for each group of others."""
        return self.objective_.passes if hasattr(self, "objective_") else 1
