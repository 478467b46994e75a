"""Likelihoods p(x | parameters) of a stored batch: what a decoder's output means. Used by the VAE.

The Block chooses the distribution; every slot is independent given the parameters.

=================== ==================================================== =====================================
slot                distribution                                         parameters
=================== ==================================================== =====================================
number, continuous  N(μ, σ²), both learned                               μ, log σ
number on a grid    logistic(μ, s) integrated over the value's cell      μ, log s
… with spikes       that at the spikes, the density of it elsewhere      μ, log s
… with blanks       Bernoulli for the blank, the above where filled      and a logit
boolean (K = 2)     Bernoulli                                            logit
category (K > 2)    categorical                                          K logits
pixel, 2 levels     Bernoulli                                            logit
pixel, more levels  logistic(μ, s) integrated over the level's cell      μ, log s
sample of a signal  N(μ, σ²), both learned                               μ, log σ
=================== ==================================================== =====================================

Scales are bounded below (``MIN_SCALE``, in units of the column's standard deviation), so that a constant column or pixel cannot send
the likelihood to infinity. Discretised logistic: Salimans, Karpathy, Chen & Kingma, *PixelCNN++*, 2017, equation 2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.schema import Schema
from .relax import padded_index

if TYPE_CHECKING:
    from ..rng import Rows

MIN_SCALE = 1e-3
FAR = 1e4       # stands for ±∞ at the outermost cells; an infinite edge would make the gradient of the scale NaN


def log_scale(raw: Tensor, minimum: float = MIN_SCALE) -> Tensor:
    """A smooth lower bound: ``log(minimum + e^raw)``."""
    return torch.logaddexp(raw.clamp(max=20), torch.full_like(raw, math.log(minimum)))


def gaussian_log_prob(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log N(x; μ, σ²), elementwise, in nats."""
    return -0.5 * ((x - mean) * torch.exp(-log_std)) ** 2 - log_std - 0.5 * math.log(2 * math.pi)


def logistic_cell_log_prob(low: Tensor, high: Tensor, mean: Tensor, log_s: Tensor) -> Tensor:
    """log ∫ logistic(v; μ, s) dv over ``[low, high]``, elementwise.

    With a = (low − μ)/s and b = (high − μ)/s:  σ(b) − σ(a) = σ(b) σ(−a) (1 − e^{a−b}), which is exact in both tails.
    """
    inverse = torch.exp(-log_s)
    a, b = (low - mean) * inverse, (high - mean) * inverse
    return F.logsigmoid(b) + F.logsigmoid(-a) + torch.log(-torch.expm1((a - b).clamp(max=-1e-7)))


def logistic_log_prob(x: Tensor, mean: Tensor, log_s: Tensor) -> Tensor:
    """log logistic(x; μ, s), elementwise: the density, σ(u) σ(−u) / s with u = (x − μ)/s."""
    u = (x - mean) * torch.exp(-log_s)
    return F.logsigmoid(u) + F.logsigmoid(-u) - log_s


def sample_logistic(mean: Tensor, log_s: Tensor, uniform: Tensor) -> Tensor:
    """A draw from logistic(μ, s)."""
    return mean + torch.exp(log_s) * torch.logit(uniform, eps=1e-6)


class TableLikelihood(nn.Module):
    """Parameters ``(B, n_params)`` → log-likelihood of stored rows ``(B, columns)``."""

    def __init__(self, schema: Schema):
        super().__init__()
        blocks = list(enumerate(schema.blocks))
        numbers = [(i, b) for i, b in blocks if b.type == "number"]
        categories = [(i, b.n_codes) for i, b in blocks if b.type == "category"]
        sizes = [k for _, k in categories if k > 2]
        self.n_columns, self.n_numbers = len(blocks), len(numbers)
        self.n_marks = sum(b.missing for _, b in numbers)
        self.any_logistic = any(b.discrete or b.spikes for _, b in numbers)
        self.n_binary, self.n_onehot = sum(k == 2 for _, k in categories), sum(sizes)
        self.n_params = 2 * self.n_numbers + self.n_marks + self.n_binary + self.n_onehot
        index, inside = padded_index(sizes, 2 * self.n_numbers + self.n_marks + self.n_binary)
        cells = [(j, b.cells()) for j, (_, b) in enumerate(numbers) if b.levels or b.spikes]
        most = max((len(low) for _, (low, _) in cells), default=0)
        long, boolean = torch.long, torch.bool
        for name, value, dtype in (
            ("number", [i for i, _ in numbers], long), ("mark", [i for i, b in numbers if b.missing], long),
            ("binary", [i for i, k in categories if k == 2], long), ("onehot", [i for i, k in categories if k > 2], long),
            ("logistic", [b.discrete or bool(b.spikes) for _, b in numbers], boolean), ("has_cells", [j for j, _ in cells], long),
            ("half_cell", [b.half_cell for _, b in numbers], torch.float32),
            ("low", [float(b.forward(b.low)) if b.half_cell else -FAR for _, b in numbers], torch.float32),
            ("high", [float(b.forward(b.high)) if b.half_cell else FAR for _, b in numbers], torch.float32),
        ):
            self.register_buffer(name, torch.tensor(value, dtype=dtype), persistent=False)
        cell_low, cell_high = torch.full((2, len(cells), most), FAR)
        for row, (_, bounds) in enumerate(cells):
            for table, values in zip((cell_low, cell_high), bounds, strict=True):
                table[row, : len(values)] = torch.as_tensor(values).clamp(-FAR, FAR)
        for name, value in {"index": index, "inside": inside, "cell_low": cell_low, "cell_high": cell_high}.items():
            self.register_buffer(name, value, persistent=False)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x | params) in nats per row, ``(B,)``: densities of normalised values that are continuous, masses for the others."""
        n, m, k = self.n_numbers, self.n_marks, self.n_binary
        total = params.new_zeros(len(x))
        if n:
            total = total + self._numbers_log_prob(params[:, :n], log_scale(params[:, n : 2 * n]), x[:, self.number])
        if m:
            blank = x[:, self.mark].isnan().to(params.dtype)
            total = total - F.binary_cross_entropy_with_logits(params[:, 2 * n : 2 * n + m], blank, reduction="none").sum(1)
        if k:
            logits = params[:, 2 * n + m : 2 * n + m + k]
            total = total - F.binary_cross_entropy_with_logits(logits, x[:, self.binary], reduction="none").sum(1)
        if self.n_onehot:
            log_p = params[:, self.index].masked_fill(~self.inside, -torch.inf).log_softmax(-1)     # (B, n, K_max)
            total = total + log_p.gather(-1, x[:, self.onehot].long()[..., None]).squeeze(-1).sum(1)
        return total

    def _numbers_log_prob(self, mean: Tensor, log_s: Tensor, values: Tensor) -> Tensor:
        blank = values.isnan()
        v = torch.nan_to_num(values, nan=0.0)
        each = gaussian_log_prob(v, mean, log_s)
        if self.any_logistic:
            low, high = self._cells(v)
            mass, density = logistic_cell_log_prob(low, high, mean, log_s), logistic_log_prob(v, mean, log_s)
            each = torch.where(self.logistic, torch.where(high > low, mass, density), each)
        return each.masked_fill(blank, 0.0).sum(1)

    def _cells(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds of the cell of each value, equal where it has none; the outermost cells are unbounded."""
        low = torch.where(v <= self.low + 1e-5, -FAR, v - self.half_cell)
        high = torch.where(v >= self.high - 1e-5, FAR, v + self.half_cell)
        if len(self.has_cells):
            columns = v[:, self.has_cells].T.contiguous()                                           # (n, B)
            i = torch.searchsorted(self.cell_low, columns, right=True).clamp(min=1) - 1
            cell_low, cell_high = self.cell_low.gather(1, i), self.cell_high.gather(1, i)
            inside = (columns >= cell_low) & (columns < cell_high)
            low = low.index_copy(1, self.has_cells, torch.where(inside, cell_low, columns).T)
            high = high.index_copy(1, self.has_cells, torch.where(inside, cell_high, columns).T)
        return low, high

    def mean(self, params: Tensor) -> Tensor:
        """The centre of p(x | params) as a stored batch: μ for numbers, the most probable category."""
        return self._assemble(params, params[:, : self.n_numbers], None)

    def sample(self, params: Tensor, noise: Rows) -> Tensor:
        """A draw from p(x | params) as a stored batch."""
        n = self.n_numbers
        mean, log_s = params[:, :n], log_scale(params[:, n : 2 * n])
        normal, uniform = noise.normal(n), noise.uniform(n)
        numbers = torch.where(self.logistic, sample_logistic(mean, log_s, uniform), mean + torch.exp(log_s) * normal)
        numbers = torch.maximum(torch.minimum(numbers, self.high), self.low)        # the outermost cells of a grid take the tails
        return self._assemble(params, numbers, noise)

    def _assemble(self, params: Tensor, numbers: Tensor, noise: Rows | None) -> Tensor:
        n, m, k = self.n_numbers, self.n_marks, self.n_binary
        x = params.new_zeros(len(params), self.n_columns)
        x[:, self.number] = numbers
        signs, logits = params[:, 2 * n : 2 * n + m + k], params
        if noise is not None:
            signs = signs + torch.logit(noise.uniform(m + k), eps=1e-6)
            logits = params + noise.gumbel(self.n_params)
        if m:
            x[:, self.mark] = torch.where(signs[:, :m] > 0, torch.nan, x[:, self.mark])
        if k:
            x[:, self.binary] = (signs[:, m:] > 0).to(x.dtype)
        if self.n_onehot:
            x[:, self.onehot] = logits[:, self.index].masked_fill(~self.inside, -torch.inf).argmax(-1).to(x.dtype)
        return x


class ImageLikelihood(nn.Module):
    """Parameters ``(B, n_params · C, H, W)`` → log-likelihood of pixel levels ``(B, C, H, W)``; n_params is 1 (logit) or 2 (μ, log s)."""

    def __init__(self, schema: Schema):
        super().__init__()
        image = schema.blocks[0]
        self.levels, self.shape = image.levels, image.shape
        self.n_params = 1 if image.levels == 2 else 2
        self.half_cell = 1 / (image.levels - 1)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x | params) in nats per row, ``(B,)``; a mass."""
        if self.n_params == 1:
            return -F.binary_cross_entropy_with_logits(params, x.to(params.dtype), reduction="none").flatten(1).sum(1)
        mean, log_s = self._mean_and_scale(params)
        v = x.to(params.dtype) * (2 * self.half_cell) - 1
        low = torch.where(x == 0, -FAR, v - self.half_cell)
        high = torch.where(x == self.levels - 1, FAR, v + self.half_cell)
        return logistic_cell_log_prob(low, high, mean, log_s).flatten(1).sum(1)

    def _mean_and_scale(self, params: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = params.chunk(2, dim=1)
        return mean, log_scale(raw - 2.0, self.half_cell / 4)

    def mean(self, params: Tensor) -> Tensor:
        """The nearest level to the centre of p(x | params)."""
        return self._to_levels(2 * torch.sigmoid(params) - 1 if self.n_params == 1 else self._mean_and_scale(params)[0])

    def sample(self, params: Tensor, noise: Rows) -> Tensor:
        """A draw from p(x | params), every pixel on its own."""
        uniform = noise.uniform(*self.shape)
        if self.n_params == 1:
            return (torch.sigmoid(params) > uniform).to(torch.uint8)
        return self._to_levels(sample_logistic(*self._mean_and_scale(params), uniform))

    def _to_levels(self, v: Tensor) -> Tensor:
        return torch.round((v + 1) / (2 * self.half_cell)).clamp(0, self.levels - 1).to(torch.uint8)


class SignalLikelihood(nn.Module):
    """Parameters ``(B, 2 C, L)``, μ of all channels and then log σ, → log-density of stored signals ``(B, C, L)``."""

    n_params = 2

    def __init__(self, schema: Schema):
        super().__init__()
        self.shape = schema.stored_shape

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x | params) in nats per row, ``(B,)``; a density of normalised values."""
        mean, raw = params.chunk(2, dim=1)
        return gaussian_log_prob(x, mean, log_scale(raw)).flatten(1).sum(1)

    def mean(self, params: Tensor) -> Tensor:
        """The centre of p(x | params)."""
        return params.chunk(2, dim=1)[0]

    def sample(self, params: Tensor, noise: Rows) -> Tensor:
        """A draw from p(x | params), every sample of the signal on its own."""
        mean, raw = params.chunk(2, dim=1)
        return mean + torch.exp(log_scale(raw)) * noise.normal(*self.shape)


Likelihood = TableLikelihood | ImageLikelihood | SignalLikelihood


def likelihood(schema: Schema) -> Likelihood:
    """The likelihood that suits the Blocks of a Schema."""
    if schema.is_signal:
        return SignalLikelihood(schema)
    return ImageLikelihood(schema) if schema.is_image else TableLikelihood(schema)
