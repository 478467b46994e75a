"""What all autoencoders have in common: a code h, a reconstruction x_hat, the squared error between, and a density on the codes.

    errors(x)ₖ = ½ (x_hatₖ − xₖ)²,    L(x) = Σₖ errors(x)ₖ

A family says how h comes from x (:meth:`Coder.code`), how x_hat comes from h (:meth:`Coder.rebuild`), and what is minimised.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..data.schema import Schema
from ..errors import InvalidParameterError
from ..prob.mixture import CodeMixture
from ..prob.relax import Relaxation
from ..rng import Rows, Shared
from .objective import Objective

BATCH = 1024        # rows at once, where all rows pass through a network
MOST_CODES = 10_000     # that the density is fitted on


class Coder(Objective):
    """Base of the autoencoders' objectives; abstract in :meth:`code`, :meth:`rebuild` and :meth:`loss`.

    ``f (B, *shape)`` are a row's features, ``c (B, n_cond)`` those of its condition.
    """

    def __init__(self, schema: Schema, condition: Schema | None, latent_dim: int, components: int):
        super().__init__(schema, condition)
        self.latent_dim = latent_dim
        self.density = CodeMixture(latent_dim, self.n_cond, components)

    def code(self, f: Tensor, c: Tensor | None) -> Tensor:
        """h of features, ``(B, latent_dim)``."""
        raise NotImplementedError

    def rebuild(self, h: Tensor, c: Tensor | None) -> Tensor:
        """x_hat of codes, ``(B, *shape)``."""
        raise NotImplementedError

    def pass_through(self, f: Tensor, c: Tensor | None) -> Tensor:
        """x_hat of features, all the way through."""
        return self.rebuild(self.code(f, c), c)

    def encode(self, x: Tensor, c: Tensor | None) -> Tensor:
        """h of stored rows, ``(B, latent_dim)``."""
        return self.code(self.features.embed(x), self.embed_condition(c)).float()

    def decode(self, z: Tensor, c: Tensor | None) -> Tensor:
        """Stored rows of codes."""
        return self.features.project(self.rebuild(z, self.embed_condition(c)).float())

    def reconstruct(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Stored rows, encoded and decoded."""
        return self.features.project(self.pass_through(self.features.embed(x), self.embed_condition(c)).float())

    def errors(self, x: Tensor, c: Tensor | None) -> Tensor:
        """½ (x_hatₖ − xₖ)² of each feature of each row, ``(B, *shape)``."""
        f = self.features.embed(x)
        return 0.5 * (self.pass_through(f, self.embed_condition(c)).float() - f).square()

    def squared_error(self, x: Tensor, c: Tensor | None) -> Tensor:
        """½ Σₖ (x_hatₖ − xₖ)² of each row, ``(B,)``."""
        return self.errors(x, c).flatten(1).sum(1)

    def score(self, x: Tensor, c: Tensor | None, noise: Shared) -> Tensor:
        """Minus the reconstruction error."""
        return -self.squared_error(x, c)

    def measure(self, x: Tensor, c: Tensor | None) -> dict[str, float]:
        """The mean reconstruction error."""
        return {"reconstruction": float(in_batches(self.squared_error, x, c).mean())}

    def conclude(self, x: Tensor, c: Tensor | None) -> None:
        """Fit the density of the codes, on at most 10,000 training rows."""
        x, c = x[:MOST_CODES], None if c is None else c[:MOST_CODES]
        self.density.fit(in_batches(self.encode, x, c), self.embed_condition(c))

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        """A code from the density, decoded."""
        return self.decode(self.density.sample(noise, self.embed_condition(c)), c)


def code_size(asked: int | None, schema: Schema, *, prevented: bool = False, hint: str = "choose a smaller latent_dim") -> int:
    """Size of a code: what is asked for, or half of the features, at most 32.

    Raises :class:`InvalidParameterError` for a code as wide as the row, which could be a copy of it, unless that is ``prevented``.
    """
    features = math.prod(Relaxation(schema).shape)
    if asked is None:
        return max(1, min(32, features // 2))
    if asked >= features > 1 and not prevented:
        raise InvalidParameterError("the code is as wide as the row, which it could simply copy",
                                    expected=f"latent_dim < {features} (the features of a row)", got=asked, hint=hint)
    return asked


def in_batches(function, x: Tensor, c: Tensor | None) -> Tensor:
    """``function(x, c)`` for all rows, some at a time."""
    return torch.cat([function(x[i : i + BATCH], None if c is None else c[i : i + BATCH]) for i in range(0, len(x), BATCH)])
