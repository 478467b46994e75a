"""What is put right in generated rows after they are generated: the levels of pictures and how far they are spread, the numbers of tables.

Notation
    f           a pixel value as a feature, in [-1, 1]
    F, F_g      the distribution functions of real and of generated values of a channel
    T           the tone curve, T(f) = F⁻¹(F_g(f)): increasing, so that what is darker stays darker

*Tone curves* make the levels of generated pixels as frequent as those of real ones, in all pictures together or in each.

Paper in a scan is 0, most of ink 253; a generator, whose last layer is smooth, says 1 or 2, and 251 to 255. Nobody sees that, but whoever
counts levels does: on MNIST boosted trees told generated pictures from real ones with an AUROC of 0.98 before such a curve, and 0.86 after
it, while a convolutional network stayed at 0.62. The curve is one for all places and pictures, fitted once after training: it moves levels,
and draws nothing.

*Spread.* A denoiser that takes few steps gives too much of a mean: pictures of a kind vary less than real ones. See :class:`Spread`.

Gonzalez & Woods, *Digital image processing*, 2018, section 3.3 (histogram specification).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .neighbours import neighbourhoods
from .relax import Relaxation

POINTS = 2049           # of a curve, at equal steps of probability
FEWEST = 100            # values that a curve is drawn from
TOGETHER = 16           # values that a straight line of it stands for
GAP = 0.4               # of these values' range, by which they may be off the line; more is a gap
MOST_TONED = 4096       # rows of a table that are generated for its curves
ROWS_COMPARED = 2000    # of a table, with as many training rows
COSTS = 0.03            # that a table's tone curves may cost
REFERENCES = 2000       # training pictures whose levels are kept
LEVELS_KEPT = 1024      # of each channel at most, at equal steps of probability
COMPARED = 64           # of these, when the nearest reference is looked for
GAIN = 3.0              # at most, and its inverse at least
ROUNDS = 3              # in which it is found
EDGE = 128 / 255        # of [-1, 1]: at this distance from black and from white, 64 of 255 levels, all is added, and nothing there


class Quantiles(NamedTuple):
    """``(C, POINTS)`` of the values of each channel, at equal steps of probability, and of how many values, ``(C, 1)``."""

    values: Tensor
    n: Tensor


class Tone(nn.Module):
    """A tone curve for each of ``channels``, or numbers of a table; the identity until it is fitted."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("made", torch.empty(channels, POINTS))         # quantiles of generated values
        self.register_buffer("real", torch.empty(channels, POINTS))
        self.register_buffer("fitted", torch.tensor(False))
        self.reset()

    def reset(self) -> None:
        """Make it the identity."""
        for quantiles in (self.made, self.real):
            quantiles.copy_(torch.linspace(-1, 1, POINTS))
        self.fitted.fill_(False)

    def fit(self, made: Tensor, real: Tensor | Quantiles) -> None:
        """From the features of generated and of real rows, ``(N, C, *S)`` and ``(M, C, *S)``, or the quantiles of the latter; NaN are left
        out, and a channel of which too little is left keeps its values."""
        found = _quantiles(made), real if isinstance(real, Quantiles) else _quantiles(real)
        (made, n), (real, m) = ((_smoothed(*q), q.n) for q in found)
        self.made.copy_(torch.where((n < FEWEST) | (m < FEWEST), self.made, made))
        self.real.copy_(torch.where((n < FEWEST) | (m < FEWEST), self.real, real))
        self.fitted.fill_(bool(((n >= FEWEST) & (m >= FEWEST)).any()))

    def forward(self, f: Tensor) -> Tensor:
        """T(f), ``(B, C, *S)``. Between two points the curve is a line, beyond the ends it goes on with a slope of 1; a value that many
        generated pixels have goes to the middle of what its rank among them spans."""
        given = f.float().transpose(0, 1).flatten(1).contiguous()                               # (C, B S)
        flat = torch.minimum(torch.maximum(given, self.made[:, :1]), self.made[:, -1:])
        above, below = (torch.searchsorted(self.made, flat, right=right) for right in (True, False))
        i = above.clamp(1, POINTS - 1)
        (x0, y0), (x1, y1) = ((self.made.gather(1, j), self.real.gather(1, j)) for j in (i - 1, i))
        toned = y0 + (y1 - y0) * ((flat - x0) / (x1 - x0).clamp_min(1e-12)).clamp(0, 1)
        middle = self.real.gather(1, ((above + below) // 2).clamp(max=POINTS - 1))
        toned = torch.where(above - below > 1, middle, toned) + (given - flat)
        return toned.view(f.shape[1], f.shape[0], *f.shape[2:]).transpose(0, 1)


def evenly(n: int, some: int, device: torch.device) -> Tensor:
    """``some`` of ``n`` rows, evenly chosen, as an index; of fewer rows some are taken again."""
    return torch.linspace(0, n - 1, some, device=device, dtype=torch.float64).long()


def rows_to_tone(n: int) -> int:
    """How many rows are generated for the curves of a table with ``n`` training rows."""
    return min(2 * n, MOST_TONED)


class Marginals(nn.Module):
    """A tone curve for each number of a table (*quantile mapping*), where rows stay where rows are; the identity until it is fitted.

    What a model that has learnt too little gives is too much alike, and to stretch each column takes its rows to where none are. So the
    curves are kept where they cost at most ``COSTS`` of the divergence from training rows, of −log precision and of −log coverage.
    """

    def __init__(self, features: Relaxation):
        super().__init__()
        self.features, self.curves = features, Tone(features.n_numbers)

    @property
    def fitted(self) -> Tensor:
        """Whether there are curves."""
        return self.curves.fitted

    def fit(self, made: Tensor, known: Tensor, x: Tensor, plain: Tensor | None = None) -> None:
        """From features of generated rows ``(B, F)``, as many stored training rows (of the same conditions), and all stored training rows.

        ``plain``: features of the generated rows as they would be without curves, where that is not as they are. Rows are compared as they
        are sampled: at a blank or a spike there is no number, whatever the feature is.
        """
        self.curves.reset()
        numbers = [self.features.own_numbers(self.features.embed(part)) for part in x.split(4096)]
        self.curves.fit(self.features.own_numbers(made), torch.cat(numbers))
        some = evenly(len(made), min(ROWS_COMPARED, len(made), len(x)), made.device)
        real = self.features.embed(known[some])
        without, having = (neighbourhoods(real, self.features.embed(self.features.project(f[some]))).distance
                           for f in (made if plain is None else plain, self(made)))
        if not having <= without + COSTS:
            self.curves.reset()

    def forward(self, f: Tensor) -> Tensor:
        """Features ``(B, F)`` with numbers as frequent as those of training rows, in their order."""
        n = self.features.n_numbers
        return torch.cat([self.curves(f[:, :n]), f[:, n:]], dim=1) if self.fitted else f


class Histograms(nn.Module):
    """The levels of a generated picture replaced by those of the training picture whose levels are most like them, in the same order.

    What one curve for all pictures cannot say is that a picture has levels of its own: on MNIST three quarters of the pixels above 249
    have one level, 252 or 253 or 254, and which it is differs from picture to picture. Of a GAN's pictures with one curve for all, boosted
    trees saw the counts of the highest levels with an AUROC of 0.995. So each picture has a curve of its own,

        T_g(f) = F_r⁻¹(F_g(f)),   r = argmin_r ∫ (F_r⁻¹(u) − F_g⁻¹(u))² du

    with F_g its own distribution function, channel by channel, and F_r those of at most ``REFERENCES`` training pictures. Only their sorted
    levels are kept, not where they were. The trees' AUROC on pixels fell from 0.83 to 0.77; on Fashion-MNIST it stayed (0.875, 0.881). Of
    equal values the one whose neighbours are higher is higher (Coltuc, Bolon & Chassery, *Exact histogram specification*, 2006): by values
    that no curve has stretched, for one that makes 0 to 3 of what differs by a hundredth of a level leaves the neighbours no say. Images of
    ``shape`` ``(C, H, W)``.
    """

    def __init__(self, shape: tuple[int, ...], levels: int):
        super().__init__()
        self.half, self.pixels = (levels - 1) / 2, math.prod(shape[1:])
        kept = min(self.pixels, LEVELS_KEPT)
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        self.register_buffer("levels", torch.zeros(REFERENCES, shape[0], kept, dtype=torch.uint8))
        at = ((torch.arange(kept) + 0.5) * self.pixels / kept).long()
        some = ((torch.arange(min(kept, COMPARED)) + 0.5) * kept / min(kept, COMPARED)).long()
        self.register_buffer("at", at, persistent=False)                                        # ranks of what is kept
        self.register_buffer("some", some, persistent=False)                                    # of what is kept, what is compared

    def fit(self, x: Tensor) -> None:
        """From stored training images ``(N, C, H, W)``, evenly chosen; of fewer than ``REFERENCES`` some are repeated."""
        chosen = x[evenly(len(x), REFERENCES, x.device)]
        self.levels.copy_(chosen.flatten(2).sort(dim=2).values[..., self.at])
        self.fitted.fill_(True)

    def forward(self, f: Tensor, ranked: Tensor | None = None) -> Tensor:
        """T(f), ``(B, C, H, W)``; f until it is fitted. ``ranked`` is what the order of the pixels is taken from where that is not f: if f
        has been through a :class:`Tone`, what it was before."""
        if not self.fitted:
            return f
        f, ranked = f.float(), (f if ranked is None else ranked).float()
        value = ranked + F.avg_pool2d(ranked, 3, stride=1, padding=1, count_include_pad=False) * 0.25 / self.half
        order = value.flatten(2).argsort(dim=2)                                                 # (B, C, pixels), from low to high
        own = f.flatten(2).sort(dim=2).values[..., self.at[self.some]].flatten(1)               # (B, C COMPARED)
        theirs = self.levels[..., self.some].flatten(1).float() / self.half - 1
        with torch.autocast(f.device.type, enabled=False):          # what the products differ by is lost in bfloat16
            nearest = (theirs.square().sum(1) - 2 * own @ theirs.T).argmin(1)
        rank = torch.arange(self.pixels, device=f.device) * self.levels.shape[2] // self.pixels
        levels = self.levels[nearest][..., rank].float() / self.half - 1                        # (B, C, pixels), sorted
        return torch.empty_like(levels).scatter_(2, order, levels).view_as(f)


class Spread(nn.Module):
    """Deviations from the middle of a cell made those of training pictures; the identity until it is fitted.

    With d = Bᵀ(f − m) − μ_k along principal components B, where k is the cell with the nearest mean (:meth:`LocalGaussians.gaps`), and the
    gain g of each component such that the mean square of d is in generated pictures what it is in real ones,

        f  ←  f + w(f) B (g − 1) d

    where w rises from 0 at black and at white to 1 at ``EDGE`` from them, since a sum of components leaves ripples on paper that was blank.
    What w holds back g makes up for: it is found in ``ROUNDS``. Within cells, since between them there are the differences of kinds, which
    few steps get right, and which hide from deviations over all pictures that those of a kind are too much alike.

    With the denoiser of a diffusion model (18 and 14 minutes), in four steps from Gaussians, and the levels put right afterwards, 2,000
    pictures against 2,000 training ones (a trial that ``bench/`` does not repeat):

                                            C2ST      recall    precision   coverage
        Fashion-MNIST                       0.744     0.772     0.952       0.973
        from the mean of all, one round     0.724     0.816     0.929       0.961
        within cells, one round             0.720     0.842     0.917       0.951
        within cells, three rounds          0.726     0.869     0.886       0.931
        real pictures                       0.503     0.874                 0.971
        MNIST
        from the mean of all, one round     0.607     0.889     0.964       0.958
        within cells, one round             0.611     0.898     0.964       0.956
        within cells, three rounds          0.604     0.913     0.949       0.947
        real pictures                       0.483     0.945                 0.970

    One step needs gains of 2 to 3: with at most 1.5, 2 and 3 the C2ST of Fashion-MNIST was 0.830, 0.772 and 0.754 (0.835 from the mean of
    all), its recall 0.805, 0.835 and 0.863, its coverage 0.950, 0.939 and 0.913. The table has at most 1.5; with 2 it was the same within
    0.003.

    The weight that rises over 64 levels of 255 was chosen on other pictures, with one round from the mean of all: over 8 levels the C2ST of
    MNIST was 0.73 and not 0.59. ``components`` of them.
    """

    def __init__(self, components: int):
        super().__init__()
        self.register_buffer("gain", torch.ones(components))                    # g

    def fit(self, f: Tensor, gaps: Callable[[Tensor], Tensor], basis: Tensor, weight: Tensor, squares: Tensor) -> None:
        """From generated pictures ``f (N, C, H, W)``, of which ``gaps`` gives d, ``(N, components)``, and the mean squares of d of real
        ones; none where they say nothing."""
        self.gain.fill_(1.0)
        for _ in range(ROUNDS):
            made = gaps(self(f, gaps(f), basis, weight)).square().mean(0).clamp_min(1e-12)
            self.gain.copy_(torch.where(squares > 0, (self.gain * (squares / made).sqrt()).clamp(1 / GAIN, GAIN), 1.0))

    def forward(self, f: Tensor, gaps: Tensor, basis: Tensor, weight: Tensor, share: float = 1.0) -> Tensor:
        """``(B, C, H, W)``; ``gaps`` and ``weight`` are d and w of f. A ``share`` of what is added is for more steps than it was fitted to:
        what these leave out falls as their number grows."""
        with torch.autocast(f.device.type, enabled=False):
            f = f.float()
            return f + share * weight * ((gaps * (self.gain - 1)) @ basis.T).view(f.shape)


def between(f: Tensor, black: Tensor, white: Tensor, edge: Tensor) -> Tensor:
    """w(f) of :class:`Spread`, in [0, 1]; all in the same features."""
    return ((f - black) / edge).clamp(0, 1) * ((white - f) / edge).clamp(0, 1)


def quantiles_of_levels(x: Tensor, levels: int) -> Quantiles:
    """Those of the features of stored pictures ``(N, C, H, W)``, by counting."""
    counts = torch.stack([sum(torch.bincount(part[:, c].flatten().long(), minlength=levels) for part in x.split(4096))
                          for c in range(x.shape[1])])
    ends, n = counts.cumsum(1), counts.sum(1, keepdim=True)
    at = torch.linspace(0, 1, POINTS, device=x.device, dtype=torch.float64) * (n - 1)
    low, high = (torch.searchsorted(ends, torch.minimum(at.long() + k, n - 1), right=True).float() for k in (0, 1))
    return Quantiles(torch.lerp(low, high, at.frac().float()) * (2 / (levels - 1)) - 1, n)


def _quantiles(f: Tensor) -> Quantiles:
    """Those of features ``(N, C, *S)``."""
    values = f.float().transpose(0, 1).flatten(1)
    values = values.masked_fill(~values.isfinite(), torch.nan).sort(dim=1).values               # NaN at the end
    n = values.isfinite().sum(1, keepdim=True)
    at = torch.linspace(0, 1, POINTS, device=f.device, dtype=torch.float64) * (n - 1).clamp(min=0)
    i = at.long()
    low, high = values.gather(1, i), values.gather(1, torch.minimum(i + 1, (n - 1).clamp(min=0)))
    return Quantiles(torch.lerp(low, high, (at - i).to(low.dtype)).nan_to_num(), n)             # between ranks, or rows would be repeated


def _smoothed(quantiles: Tensor, n: Tensor) -> Tensor:
    """Quantiles of few values ``(C, POINTS)``, on straight lines over about ``TOGETHER`` values, but where these have a gap among them.

    Gaps between neighbours differ much, and to make each of them as likely as any other would bring most samples near to values that are
    near to each other: of 1,350 values with four decimals 31 % were then values of training rows, and are 15 % by chance.
    """
    smooth = []
    for q, k in zip(quantiles, n.flatten().tolist(), strict=True):
        steps = 2 ** round(math.log2(min(max(TOGETHER * (POINTS - 1) / max(k, 1), 1), POINTS - 1)))
        if steps == 1:
            smooth.append(q)
            continue
        gaps = q.diff().view(-1, steps)
        within, even = gaps.cumsum(1), torch.arange(1, steps + 1, device=q.device) / steps
        width = within[:, -1:]
        straight = (within - width * even).abs().amax(1, keepdim=True) <= GAP * width
        lines = torch.where(straight, width / steps, gaps)
        smooth.append(torch.cat([q[:1], q[0] + lines.double().flatten().cumsum(0).to(q.dtype)]))
    return torch.stack(smooth)
