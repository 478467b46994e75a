"""Random streams that depend on a seed, a purpose and a counter, and on nothing else.

A step of training takes its randomness from (seed, step): whatever happened before, step 1,000 draws the same numbers, so that a
resumed run equals an uninterrupted one. A generated row takes its noise from (seed, block of rows, draw): whatever the batch size,
row 7 is the same row. The global generators are left as they were found.
"""

from __future__ import annotations

import hashlib
import numbers
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from .errors import InvalidParameterError


def seed_of(*path: object) -> int:
    """A 63-bit seed from a path such as ``(0, "train", 17)``."""
    return int.from_bytes(hashlib.blake2b(repr(path).encode(), digest_size=8).digest(), "little") >> 1


def as_seed(random_state: int | np.random.RandomState | np.random.Generator | None) -> int:
    """An int is itself, ``None`` a new one, and a NumPy generator gives its next."""
    if random_state is None:
        return secrets.randbits(31)
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    raise InvalidParameterError("random_state is out of its domain", expected="an int, a NumPy generator or None", got=repr(random_state))


def generator(*path: object) -> torch.Generator:
    """A fresh torch generator on the CPU for that path."""
    return torch.Generator().manual_seed(seed_of(*path))


def numpy_generator(*path: object) -> np.random.Generator:
    """A fresh NumPy generator for that path."""
    return np.random.default_rng(seed_of(*path))


@contextmanager
def preserved() -> Iterator[None]:
    """Let torch's global generators be reseeded inside, and put their state back afterwards."""
    state = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        torch.set_rng_state(state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def reseed(*path: object) -> None:
    """Seed torch's global generators for that path; only inside :func:`preserved`."""
    seed = seed_of(*path)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


class Rows:
    """Noise for the rows ``start … start + n − 1`` of a sample, independent of how the sample is cut into batches.

    Each call of :meth:`normal` or :meth:`uniform` is one draw; a draw is made in blocks of 256 rows, each with a generator of its
    own. ``normal(*shape)`` has shape ``(n, *shape)``.
    """

    BLOCK = 256

    def __init__(self, seed: int, start: int, n: int, device: torch.device | str = "cpu"):
        self.seed, self.start, self.n, self.device, self.draws = seed, start, n, device, 0

    def normal(self, *shape: int) -> Tensor:
        """Standard normal noise."""
        return self._draw(torch.randn, shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform noise in [0, 1)."""
        return self._draw(torch.rand, shape)

    def gumbel(self, *shape: int) -> Tensor:
        """Standard Gumbel noise, ``−log(−log u)``."""
        return -torch.log(-torch.log(self.uniform(*shape).clamp(1e-9, 1 - 1e-7)))

    def _draw(self, draw, shape: tuple[int, ...]) -> Tensor:
        first, last = self.start // self.BLOCK, (self.start + self.n - 1) // self.BLOCK
        blocks = [draw(self.BLOCK, *shape, generator=generator(self.seed, self.draws, block)) for block in range(first, last + 1)]
        self.draws += 1
        offset = self.start - first * self.BLOCK
        return torch.cat(blocks)[offset : offset + self.n].to(self.device)


class Shared:
    """The same noise for every row: ``normal(*shape)`` is one draw, seen ``n`` times.

    For scores, which must not depend on where a row stands: with common noise two equal rows get equal scores, and rows are compared
    on the same terms.
    """

    def __init__(self, seed: int, n: int, device: torch.device | str = "cpu"):
        self.seed, self.n, self.device, self.draws = seed, n, device, 0

    def normal(self, *shape: int) -> Tensor:
        return self._draw(torch.randn, shape)

    def uniform(self, *shape: int) -> Tensor:
        return self._draw(torch.rand, shape)

    def _draw(self, draw, shape: tuple[int, ...]) -> Tensor:
        value = draw(1, *shape, generator=generator(self.seed, "shared", self.draws)).to(self.device)
        self.draws += 1
        return value.expand(self.n, *shape)


class Keyed:
    """Noise that a row's own content chooses: ``normal(*shape)`` is ``TABLE`` draws, of which each row takes the one of its key.

    As with :class:`Shared`, equal rows get equal noise wherever they stand; but the mean over many rows averages over many draws too.
    """

    TABLE = 256

    def __init__(self, seed: int, x: Tensor):
        self.seed, self.n, self.device, self.draws = seed, len(x), x.device, 0
        bits = (x.float().contiguous().view(torch.int32) if x.is_floating_point() else x).flatten(1).long()
        factors = torch.randint(1, 2**31, bits.shape[1:], generator=generator("keys")).to(x.device) | 1
        self.key = ((bits * factors).sum(1) >> 17) % self.TABLE         # whole numbers: their sum is the same in any order

    def normal(self, *shape: int) -> Tensor:
        return self._draw(torch.randn, shape)

    def uniform(self, *shape: int) -> Tensor:
        return self._draw(torch.rand, shape)

    def _draw(self, draw, shape: tuple[int, ...]) -> Tensor:
        table = draw(self.TABLE, *shape, generator=generator(self.seed, "keyed", self.draws)).to(self.device)
        self.draws += 1
        return table[self.key]
