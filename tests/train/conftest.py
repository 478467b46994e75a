"""Small objectives for the loop: least squares with one player, a race with two."""

from __future__ import annotations

import itertools
import types

import numpy as np
import pytest
import torch
from torch import nn

from ectype.data.schema import Schema
from ectype.spec import PRESET
from ectype.train import loop
from ectype.train.objective import Objective

X = np.random.default_rng(0).normal(size=(100, 3))
SCHEMA = Schema.fit(X)
STORED = torch.from_numpy(SCHEMA.encode(X))
QUICK = PRESET(budget="60steps", batch_size=16, lr=0.05, device="cpu", precision="float32")


class Mean(Objective):
    """Learns the mean of the rows; the noise in the loss comes from torch's generator."""

    def __init__(self, fails=lambda loss, calls: loss):
        super().__init__(SCHEMA)
        self.mean = nn.Parameter(torch.full((3,), 2.0))
        self.fails, self.calls, self.seen, self.concluded = fails, 0, [], None
        self.register_buffer("prepared", torch.zeros(()))

    def prepare(self, x, c):
        self.prepared += len(x)

    def loss(self, x, c, player):
        if self.training:
            self.seen.append(x)
        loss = (x + 0.1 * torch.randn_like(x) - self.mean).square().sum(1).mean()
        self.calls += self.training
        loss = self.fails(loss, self.calls) if self.training else loss
        return {"loss": loss, "fit": loss}

    def conclude(self, x, c):
        self.concluded = (len(x), self.mean.detach().clone(), self.training)


class Race(Objective):
    """Two players that chase each other's weights."""

    turns = ("critic", "generator")

    def __init__(self, fails=lambda player, calls, loss: loss):
        super().__init__(SCHEMA)
        self.critic, self.generator = nn.Linear(3, 1), nn.Linear(3, 1)
        self.fails, self.moves, self.states = fails, [], []

    def players(self):
        return {"critic": self.critic, "generator": self.generator}

    def loss(self, x, c, player):
        self.moves.append(player)
        self.states.append({k: m.weight.detach().clone() for k, m in self.players().items()})
        gap = self.critic(x) - self.generator(x)
        loss = (gap - 1).square().mean() if player == "critic" else gap.square().mean()
        return {"loss": self.fails(player, len(self.moves), loss)}


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances by a hundredth of a second at each look, in place of the real one."""
    now = itertools.count()
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(perf_counter=lambda: next(now) / 100))


def weights_of(objective):
    return torch.cat([p.detach().flatten() for p in objective.parameters()])
