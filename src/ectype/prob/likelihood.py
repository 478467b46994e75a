"""Likelihoods p(x | parameters) of a stored batch: what a decoder's output means. Used by the VAE.

The Block chooses the distribution, unless a name does; every slot is independent given the parameters.

=================== ==================================================== ============= ============================
slot                distribution                                         parameters    other names that fit
=================== ==================================================== ============= ============================
number, continuous  N(μ, σ²), both learned                               μ, log σ      logistic
number on a grid    logistic(μ, s) integrated over the value's cell      μ, log s      gaussian
… with spikes       that at the spikes, the density of it elsewhere      μ, log s      gaussian
… with blanks       Bernoulli for the blank, the above where filled      and a logit   as the number's
boolean (K = 2)     Bernoulli                                            logit         –
category (K > 2)    categorical                                          K logits      –
pixel, 2 levels     Bernoulli                                            logit         categorical
pixel, more levels  logistic(μ, s) integrated over the level's cell      μ, log s      gaussian, categorical, bernoulli
sample of a signal  N(μ, σ²), both learned                               μ, log σ      logistic
=================== ==================================================== ============= ============================

A name (:data:`NAMES`) is that of the whole: ``"gaussian"`` and ``"logistic"`` give the numbers of a table that shape (categories keep
theirs), ``"bernoulli"`` and ``"categorical"`` fit a table of which every column is one. A Bernoulli of a grey pixel is *dynamic
binarisation*: the level is the probability of white, and what the model sees and scores is a draw, a new one at each step (Burda, Grosse &
Salakhutdinov, *Importance weighted autoencoders*, 2016).

Scales are bounded below (``MIN_SCALE``, in units of the column's standard deviation), so that a constant column or pixel cannot send
the likelihood to infinity. Discretised logistic: Salimans, Karpathy, Chen & Kingma, *PixelCNN++*, 2017, equation 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.schema import Schema
from ..errors import InvalidParameterError
from .relax import padded_index

if TYPE_CHECKING:
    from ..rng import Rows

NAMES = ("auto", "gaussian", "logistic", "bernoulli", "categorical")
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


def log_normal_cdf(u: Tensor) -> Tensor:
    """log Φ(u), elementwise, finite with its gradient as far as u² is.

    Left of −1 it is −u²/2 + log(½ erfcx(−u/√2)) with the scaled complementary error function, elsewhere log(1 − ½ erfc(u/√2)).
    """
    left, right = u.clamp(max=-1.0), u.clamp(min=-1.0)
    tail = -0.5 * left.square() + torch.log(0.5 * torch.special.erfcx(-left / math.sqrt(2)))
    return torch.where(u < -1.0, tail, torch.log1p(-0.5 * torch.special.erfc(right / math.sqrt(2))))


def gaussian_cell_log_prob(low: Tensor, high: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log ∫ N(v; μ, σ²) dv over ``[low, high]``, elementwise.

    With a = (low − μ)/σ and b = (high − μ)/σ it is log Φ(b) + log(1 − Φ(a)/Φ(b)). A cell right of μ is mirrored first, so that the larger
    of the two distribution functions is never close to one where the cell is in a tail.
    """
    inverse = torch.exp(-log_std)
    a, b = (low - mean) * inverse, (high - mean) * inverse
    right = a + b > 0
    log_a, log_b = log_normal_cdf(torch.where(right, -b, a)), log_normal_cdf(torch.where(right, -a, b))
    return log_b + torch.log(-torch.expm1((log_a - log_b).clamp(max=-1e-7)))


def logistic_log_prob(x: Tensor, mean: Tensor, log_s: Tensor) -> Tensor:
    """log logistic(x; μ, s), elementwise: the density, σ(u) σ(−u) / s with u = (x − μ)/s."""
    u = (x - mean) * torch.exp(-log_s)
    return F.logsigmoid(u) + F.logsigmoid(-u) - log_s


def sample_logistic(mean: Tensor, log_s: Tensor, uniform: Tensor) -> Tensor:
    """A draw from logistic(μ, s)."""
    return mean + torch.exp(log_s) * torch.logit(uniform, eps=1e-6)


class Likelihood(nn.Module):
    """Base of the likelihoods: a distribution of stored rows, from ``n_params`` numbers a row of a table, or a place of a channel.

    Abstract in :meth:`log_prob`, :meth:`mean` and :meth:`sample`. Where ``binarises``, rows are binarised before they are seen or scored.
    """

    n_params: int
    binarises: bool = False

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x | params) in nats per row, ``(B,)``."""
        raise NotImplementedError

    def mean(self, params: Tensor) -> Tensor:
        """The centre of p(x | params), as stored rows."""
        raise NotImplementedError

    def sample(self, params: Tensor, noise: Rows) -> Tensor:
        """A draw from p(x | params), as stored rows."""
        raise NotImplementedError


class TableLikelihood(Likelihood):
    """Parameters ``(B, n_params)`` → log-likelihood of stored rows ``(B, columns)``. ``shape``: of numbers, one for all or ``"auto"``."""

    def __init__(self, schema: Schema, shape: str = "auto"):
        super().__init__()
        blocks = list(enumerate(schema.blocks))
        numbers = [(i, b) for i, b in blocks if b.type == "number"]
        categories = [(i, b.n_codes) for i, b in blocks if b.type == "category"]
        sizes = [k for _, k in categories if k > 2]
        self.n_columns, self.n_numbers = len(blocks), len(numbers)
        self.n_marks = sum(b.missing for _, b in numbers)
        celled = [b.discrete or bool(b.spikes) for _, b in numbers]
        logistic = celled if shape == "auto" else [shape == "logistic"] * len(numbers)
        self.shapes = {name for name, any_of in (("logistic", any(logistic)), ("gaussian", not all(logistic))) if any_of}
        self.any_celled = any(celled)
        self.n_binary, self.n_onehot = sum(k == 2 for _, k in categories), sum(sizes)
        self.n_params = 2 * self.n_numbers + self.n_marks + self.n_binary + self.n_onehot
        index, inside = padded_index(sizes, 2 * self.n_numbers + self.n_marks + self.n_binary)
        cells = [(j, b.cells()) for j, (_, b) in enumerate(numbers) if b.levels or b.spikes]
        most = max((len(low) for _, (low, _) in cells), default=0)
        long, boolean = torch.long, torch.bool
        for name, value, dtype in (
            ("number", [i for i, _ in numbers], long), ("mark", [i for i, b in numbers if b.missing], long),
            ("binary", [i for i, k in categories if k == 2], long), ("onehot", [i for i, k in categories if k > 2], long),
            ("logistic", logistic, boolean), ("celled", celled, boolean), ("has_cells", [j for j, _ in cells], long),
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
        each = self._by_shape(logistic_log_prob, gaussian_log_prob, v, mean, log_s)
        if self.any_celled:
            low, high = self._cells(v)
            mass = self._by_shape(logistic_cell_log_prob, gaussian_cell_log_prob, low, high, mean, log_s)
            each = torch.where(self.celled & (high > low), mass, each)
        return each.masked_fill(blank, 0.0).sum(1)

    def _by_shape(self, logistic: Callable[..., Tensor], gaussian: Callable[..., Tensor], *args: Tensor) -> Tensor:
        """Of each column the function of its shape; only those that some column has are computed."""
        if len(self.shapes) == 2:
            return torch.where(self.logistic, logistic(*args), gaussian(*args))
        return logistic(*args) if "logistic" in self.shapes else gaussian(*args)

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


class ImageLikelihood(Likelihood):
    """Parameters ``(B, n_params · C, H, W)`` → log-likelihood of pixel levels ``(B, C, H, W)``; n_params is 2: μ and log s, ``shape``'s."""

    n_params = 2

    def __init__(self, schema: Schema, shape: str = "logistic"):
        super().__init__()
        image = schema.blocks[0]
        self.levels, self.shape = image.levels, image.shape
        self.half_cell = 1 / (image.levels - 1)
        self.is_logistic = shape == "logistic"
        self.cell_log_prob = logistic_cell_log_prob if self.is_logistic else gaussian_cell_log_prob

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x | params) in nats per row, ``(B,)``; a mass."""
        mean, log_s = self._mean_and_scale(params)
        v = x.to(params.dtype) * (2 * self.half_cell) - 1
        low = torch.where(x == 0, -FAR, v - self.half_cell)
        high = torch.where(x == self.levels - 1, FAR, v + self.half_cell)
        return self.cell_log_prob(low, high, mean, log_s).flatten(1).sum(1)

    def _mean_and_scale(self, params: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = params.chunk(2, dim=1)
        return mean, log_scale(raw - 2.0, self.half_cell / 4)

    def mean(self, params: Tensor) -> Tensor:
        """The nearest level to the centre of p(x | params)."""
        return self._to_levels(self._mean_and_scale(params)[0])

    def sample(self, params: Tensor, noise: Rows) -> Tensor:
        """A draw from p(x | params), every pixel on its own."""
        mean, log_s = self._mean_and_scale(params)
        if self.is_logistic:
            return self._to_levels(sample_logistic(mean, log_s, noise.uniform(*self.shape)))
        return self._to_levels(mean + torch.exp(log_s) * noise.normal(*self.shape))

    def _to_levels(self, v: Tensor) -> Tensor:
        return torch.round((v + 1) / (2 * self.half_cell)).clamp(0, self.levels - 1).to(torch.uint8)


class BinaryLikelihood(Likelihood):
    """Logits ``(B, C, H, W)`` → log-likelihood of pixels that are black (0) or white (the highest level)."""

    n_params = 1

    def __init__(self, schema: Schema):
        super().__init__()
        self.top, self.shape = schema.blocks[0].levels - 1, schema.blocks[0].shape
        self.binarises = self.top > 1

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x | params) in nats per row, ``(B,)``, of pictures without grey (see :meth:`binarise`); a mass."""
        return -F.binary_cross_entropy_with_logits(params, (x > 0).to(params.dtype), reduction="none").flatten(1).sum(1)

    def binarise(self, x: Tensor, threshold: Tensor | float) -> Tensor:
        """Black or white: white where the level, as a share of the highest, is above the threshold, a uniform number for a draw."""
        return (x > threshold * self.top).to(x.dtype) * self.top

    def mean(self, params: Tensor) -> Tensor:
        """The probability of white as a level."""
        return torch.round(torch.sigmoid(params) * self.top).to(torch.uint8)

    def sample(self, params: Tensor, noise: Rows) -> Tensor:
        """A draw from p(x | params): black or white, every pixel on its own."""
        return (torch.sigmoid(params) > noise.uniform(*self.shape)).to(torch.uint8) * self.top


class LevelLikelihood(Likelihood):
    """Logits ``(B, levels · C, H, W)`` of every level of every pixel → log-likelihood of pixel levels ``(B, C, H, W)``."""

    def __init__(self, schema: Schema):
        super().__init__()
        self.n_params, self.shape = schema.blocks[0].levels, schema.blocks[0].shape

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x | params) in nats per row, ``(B,)``; a mass."""
        return -F.cross_entropy(self._logits(params), x.long(), reduction="none").flatten(1).sum(1)

    def _logits(self, params: Tensor) -> Tensor:
        return params.unflatten(1, (self.n_params, self.shape[0]))                                  # (B, levels, C, H, W)

    def mean(self, params: Tensor) -> Tensor:
        """The mean of each pixel's distribution, as the nearest level: of 10 % white and 90 % black it is dark grey."""
        levels = torch.arange(self.n_params, dtype=params.dtype, device=params.device)
        return torch.round(torch.einsum("blchw,l->bchw", self._logits(params).softmax(1), levels)).to(torch.uint8)

    def sample(self, params: Tensor, noise: Rows) -> Tensor:
        """A draw from p(x | params), every pixel on its own."""
        below = self._logits(params).softmax(1).cumsum(1)[:, :-1] < noise.uniform(*self.shape)[:, None]     # the distribution function
        return below.sum(1).to(torch.uint8)


class SignalLikelihood(Likelihood):
    """Parameters ``(B, 2 C, L)``, μ of all channels and then log σ, → log-density of stored signals ``(B, C, L)``, ``shape``'s."""

    n_params = 2

    def __init__(self, schema: Schema, shape: str = "gaussian"):
        super().__init__()
        self.shape = schema.stored_shape
        self.is_logistic = shape == "logistic"
        self.density = logistic_log_prob if self.is_logistic else gaussian_log_prob

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x | params) in nats per row, ``(B,)``; a density of normalised values."""
        mean, raw = params.chunk(2, dim=1)
        return self.density(x, mean, log_scale(raw)).flatten(1).sum(1)

    def mean(self, params: Tensor) -> Tensor:
        """The centre of p(x | params)."""
        return params.chunk(2, dim=1)[0]

    def sample(self, params: Tensor, noise: Rows) -> Tensor:
        """A draw from p(x | params), every sample of the signal on its own."""
        mean, raw = params.chunk(2, dim=1)
        if self.is_logistic:
            return sample_logistic(mean, log_scale(raw), noise.uniform(*self.shape))
        return mean + torch.exp(log_scale(raw)) * noise.normal(*self.shape)


def likelihood(schema: Schema, name: str = "auto") -> Likelihood:
    """The likelihood that suits the Blocks of a Schema, or the one of that name (:data:`NAMES`).

    Raises :class:`InvalidParameterError` where the name does not fit a Block, and says which and what would.
    """
    if name not in fitting(schema):
        raise InvalidParameterError(f"the likelihood {name!r} does not fit {_obstacle(schema, name)}",
                                    expected=f"one of {', '.join(fitting(schema))}", got=name)
    if schema.is_signal:
        return SignalLikelihood(schema, "gaussian" if name == "auto" else name)
    if schema.is_table:
        return TableLikelihood(schema, name)
    name = name if name != "auto" else "logistic" if schema.blocks[0].levels > 2 else "bernoulli"
    kinds = {"bernoulli": BinaryLikelihood, "categorical": LevelLikelihood}
    return kinds[name](schema) if name in kinds else ImageLikelihood(schema, name)


def fitting(schema: Schema) -> tuple[str, ...]:
    """Names of the likelihoods that fit every Block of a Schema."""
    if schema.is_signal or any(b.type == "number" for b in schema.blocks):
        return ("auto", "gaussian", "logistic")
    if schema.is_image and schema.blocks[0].levels > 2:
        return NAMES
    two_values = schema.is_image or all(b.n_codes <= 2 for b in schema.blocks)
    return ("auto", "bernoulli", "categorical") if two_values else ("auto", "categorical")


def _obstacle(schema: Schema, name: str) -> str:
    """What a likelihood does not fit, in words."""
    if not schema.is_table:
        return "signals, which are continuous" if schema.is_signal else "pixels of two levels"
    if name in ("gaussian", "logistic"):
        return "a table without numbers"
    block = next(b for b in schema.blocks if b.type == "number" or b.n_codes > 2)
    return f"the column {block.name!r}, " + ("a number" if block.type == "number" else f"a category of {block.n_codes} values")
