"""What a model is told of where a row lies, which it draws itself before it samples: the cell of a row, or a noisy code.

Notation
    k           the cell of a row, one of K, drawn from p(k | c) (``prob/cells.py``)
    h           the first ``CODE`` principal components of a row, drawn from a Gaussian for each cell (``prob/local.py``)
    h_t         h with noise: α h + σ ε, in units of its deviation, with α² + σ² = 1 and ε ~ N(0, I); t = ``NOISE`` as in diffusion,
                α = cos(π t / 2)

A model of p(x | k), or of p(x | h_t), cannot leave out a part of the data that what it is told keeps apart, and has little left to decide.
What it is told of rows to come has to be distributed as that of rows is: shares of cells are, and Gaussians are nearly, once they are made
noisy, for the same reason that a denoiser may begin from them (``models/truncated.py``). The less noise, the more the model is told, and
the more depends on the Gaussians.

Liu, Wang, Bau, Zhu & Torralba, *Diverse image generation via self-conditioned GANs*, 2020 (cells). Xiao, Kreis & Vahdat, *Tackling the
generative learning trilemma with denoising diffusion GANs*, 2022 (players that are told a noisy row).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..rng import Rows, Shared
from .cells import Cells
from .local import LocalGaussians
from .relax import Relaxation

CELLS_FROM = 10_000     # rows at most that cells are found from
CODE = 32               # numbers of a code, at most
NOISE = 0.4             # t


class CellCondition(nn.Module):
    """The cell of a row as features ``(B, n)``; of a condition with classes each has cells of its own."""

    def __init__(self, features: Relaxation, clusters: int, classes: int = 1):
        super().__init__()
        self.features = features
        self.cells = Cells(clusters, math.prod(features.shape), classes)
        self.n = self.cells.n

    def fit(self, x: Tensor, c: Tensor | None) -> None:
        """Cells and their shares, from stored rows and conditions."""
        which = None if c is None else c[:, 0]
        some = torch.randperm(len(x), device=x.device)[:CELLS_FROM]
        self.cells.fit(self._flat(x[some]), len(x), None if which is None else which[some])
        parts = torch.arange(len(x), device=x.device).split(4096)
        self.cells.count(torch.cat([self.cells.of(self._flat(x[i]), None if which is None else which[i]) for i in parts]))

    def _flat(self, x: Tensor) -> Tensor:
        return self.features.embed(x).flatten(1).float()

    def of(self, x: Tensor, c: Tensor | None, noise: Rows | Shared | None = None) -> Tensor:
        """Of stored rows and conditions; there is no chance in it."""
        return self.cells.one_hot(self.cells.of(self._flat(x), None if c is None else c[:, 0]))

    def draw(self, noise: Rows, c: Tensor | None) -> Tensor:
        """Of ``noise.n`` rows to come."""
        return self.cells.one_hot(self.cells.draw(noise.uniform(1)[:, 0], None if c is None else c[:, 0]))


class CodeCondition(nn.Module):
    """A noisy code of pictures or signals, ``(B, n)``; ``clusters`` Gaussians."""

    def __init__(self, features: Relaxation, condition: Relaxation | None, clusters: int, classes: int = 1):
        super().__init__()
        self.features = features
        self.rough = LocalGaussians(features, condition, clusters, classes, restores=False)
        self.n = min(CODE, self.rough.mixture.latent_dim)
        self.alpha, self.sigma = math.cos(math.pi * NOISE / 2), math.sin(math.pi * NOISE / 2)
        self.register_buffer("center", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def fit(self, x: Tensor, c: Tensor | None) -> None:
        """Scales, components and Gaussians, from stored rows and conditions."""
        some = self.features.embed(x[torch.randperm(len(x), device=x.device)[:CELLS_FROM]]).float()
        self.center.copy_(some.mean())
        self.scale.copy_(some.std().clamp(min=1e-3))
        self.rough.fit(x, self._scaled, *self.rough.told(c))

    def _scaled(self, x: Tensor) -> Tensor:
        return (self.features.embed(x) - self.center) / self.scale

    def of(self, x: Tensor, c: Tensor | None, noise: Rows | Shared | None = None) -> Tensor:
        """h_t of stored rows, with noise of torch's global generator where none is given."""
        h = self.rough.numbers(self._scaled(x))[:, : self.n]
        return self._noisy(h, torch.randn_like(h) if noise is None else noise.normal(self.n))

    def draw(self, noise: Rows, c: Tensor | None) -> Tensor:
        """h_t of ``noise.n`` rows to come, given stored conditions."""
        h, _ = self.rough.draw(noise, *self.rough.told(c))
        return self._noisy(h[:, : self.n], noise.normal(self.n))

    def _noisy(self, h: Tensor, eps: Tensor) -> Tensor:
        unit = (self.alpha**2 * self.rough.spectrum[: self.n] + self.sigma**2).sqrt()
        return (self.alpha * h + self.sigma * eps) / unit
