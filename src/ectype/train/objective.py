"""What a family gives to the training loop: losses by player, a held-out criterion, and a way to sample.

A *player* is a part with its own optimiser. Most families have one (``model``); a GAN has two that move in turns. The loop knows
nothing else about a family, and a family knows nothing about optimisers, averages over weights, budgets or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from ..data.schema import Schema
from ..prob.relax import Relaxation

if TYPE_CHECKING:
    from ..rng import Rows


@dataclass(frozen=True)
class Stage:
    """A part of the training with its own players, data and schedule, and the share of the budget that it takes."""

    name: str
    share: float


class Objective(nn.Module):
    """Base of every family's mathematics; abstract in :meth:`loss` and :meth:`sample`.

    ``x`` is a stored batch ``(B, *stored_shape)``, ``c`` a stored batch of the condition ``(B, 1)`` or ``None``. Inside :meth:`loss`
    plain ``torch.randn`` is right: the loop seeds torch's generator from (seed, step). In the other methods, which run outside of the
    loop too, all randomness comes from a :class:`~ectype.rng.Rows`, so that a row does not depend on its batch.
    """

    turns: ClassVar[tuple[str, ...]] = ("model",)
    rounds: ClassVar[bool] = True
    """Whether its networks may compute in bfloat16 where that is faster; a change of variables needs them exact."""
    wanders: bool = False
    """Whether the learning rate stays to the end, and the average over weights alone makes them settle."""
    stage: str | None = None
    """The stage under way; None outside of training, and in a training of one nameless stage."""
    step: int = 0
    """Steps taken in the stage; the loop sets it before each step, for weights that change over the first ones, and before
    :meth:`conclude`."""

    def __init__(self, schema: Schema, condition: Schema | None = None):
        super().__init__()
        self.features = Relaxation(schema)
        self.condition = Relaxation(condition) if condition is not None else None
        self.n_cond = self.condition.shape[0] if self.condition is not None else 0

    def embed_condition(self, c: Tensor | None) -> Tensor | None:
        """The condition as features ``(B, n_cond)``."""
        return None if self.condition is None else self.condition.embed(c)

    def players(self) -> dict[str, nn.Module]:
        """The optimised parts by name; the keys are those of ``turns``."""
        return {"model": self}

    def prepare(self, x: Tensor, c: Tensor | None) -> None:
        """Once before training, with the training rows: fill buffers that depend on the data."""

    def stages(self) -> tuple[Stage, ...]:
        """The stages of the training, in their order; one by default. The loop runs them one after another and sets :attr:`stage`."""
        return (Stage("", 1.0),)

    def view(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What the steps of the stage see in place of the rows, computed once from all of them: the codes of layers that are trained
        already, say. :meth:`loss` gets batches of it."""
        return x, c

    def measure(self, x: Tensor, c: Tensor | None) -> dict[str, float]:
        """Figures worth keeping after a stage, on rows that were held out where there are any."""
        return {}

    def remarks(self, measured: dict[str, float]) -> list[str]:
        """What deserves a word after a stage, given its measured figures; an event of the training for each."""
        return []

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        """Named scalar terms in nats per row, averaged over the batch; the one called ``loss`` is minimised by the player."""
        raise NotImplementedError

    def held_out(self, x: Tensor, c: Tensor | None) -> Tensor:
        """A scalar on held-out rows, lower is better: the curve that early stopping watches. The loss, unless a family knows better."""
        return self.loss(x, c, self.turns[-1])["loss"]

    def watch(self, x: Tensor, c: Tensor | None) -> dict[str, float]:
        """Figures to record beside the held-out curve at each evaluation, on the same rows and with the same, averaged weights."""
        return {}

    def alarm(self, history: Sequence[Mapping[str, Any]]) -> str | None:
        """What is going wrong, in words, from the records of a stage so far; the loop tells it when it begins."""
        return None

    def conclude(self, x: Tensor, c: Tensor | None) -> None:
        """Once after training, with the training rows: fit what is not trained by gradients."""

    def reconstruct(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Stored rows, encoded and decoded, where the family can do both."""
        return self.decode(self.encode(x, c), c)

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        """``noise.n`` stored rows."""
        raise NotImplementedError


def n_parameters(objective: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(p.numel() for p in objective.parameters() if p.requires_grad)
