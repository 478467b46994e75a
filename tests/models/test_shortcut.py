"""The shortcut model: straight paths agree with themselves, long steps are learnt from short ones."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import ectype
from ectype.models.shortcut import LEVELS, ShortcutObjective
from ectype.rng import Rows
from ectype.spec import Net

from .conftest import SMALL, assert_gaussian, labels, numbers

POINT = torch.tensor([0.7, -0.2])


class ToAPoint(nn.Module):
    """All lines end in one point: s = (x_t − point)/t for every d."""

    def __init__(self):
        super().__init__()
        self.lengths = []

    def forward(self, x_t, t, c=None):
        self.lengths.append(c[:, : LEVELS + 1].argmax(1))
        return (x_t - POINT) / t.view(-1, 1)


class Bent(ToAPoint):
    """A step that depends on its length: d = 2⁻ᵏ gives k in place of a velocity."""

    def forward(self, x_t, t, c=None):
        super().forward(x_t, t, c)
        return self.lengths[-1][:, None].float().expand_as(x_t)


def objective(network):
    schema, _ = numbers(2)
    made = ShortcutObjective(schema, None, SMALL).eval()
    made.network = network
    made.low.fill_(-torch.inf), made.high.fill_(torch.inf)
    return made


def test_straight_paths_agree_and_one_step_arrives():
    made = objective(ToAPoint())
    assert made._agreement_error(POINT.expand(500, 2), None, torch.randn(500, 2)).max() < 1e-8
    for steps in (1, 2, 3, 4, 32, 50):
        torch.testing.assert_close(made.sample(Rows(0, 0, 8), None, steps=steps), POINT.expand(8, 2), atol=1e-4, rtol=1e-4)


def test_the_target_of_a_step_is_the_mean_of_two_half_as_long():
    """With s = k everywhere a step of 2⁻ᵏ shall give k + 1: the error is one, whatever the path."""
    made = objective(Bent())
    torch.manual_seed(0)
    errors = made._agreement_error(torch.randn(400, 2), None, torch.randn(400, 2))
    torch.testing.assert_close(errors, torch.ones(400), atol=1e-3, rtol=1e-3)
    finer, coarser = made.network.lengths[0], made.network.lengths[2]
    assert (finer == coarser + 1).all() and set(coarser.tolist()) == set(range(LEVELS))


@pytest.mark.parametrize(("steps", "level"), [(1, 0), (2, 1), (3, 2), (4, 2), (32, 5), (33, LEVELS), (500, LEVELS)])
def test_the_network_is_told_the_length_of_a_step(steps, level):
    made = objective(ToAPoint())
    made.sample(Rows(0, 0, 4), None, steps=steps)
    assert len(made.network.lengths) == steps and (torch.cat(made.network.lengths) == level).all()


def test_the_velocity_is_that_of_flow_matching():
    made = objective(ToAPoint())
    made.scaled = lambda x: x
    x, eps, t = torch.randn(30, 2), torch.randn(30, 2), torch.rand(30).clamp(min=0.05)
    x_t = (1 - t)[:, None] * x + t[:, None] * eps
    expected = ((x_t - POINT) / t[:, None] - (eps - x)).square().mean(1)
    torch.testing.assert_close(made.error(x, None, t, eps), expected, rtol=1e-4, atol=1e-4)
    assert (made.network.lengths[0] == LEVELS).all()


def test_targets_of_categories_are_probabilities():
    r = np.random.default_rng(0)
    schema = ectype.Schema.fit(X := pd.DataFrame({"c": r.choice(list("abc"), 200), "v": r.normal(size=200)}))
    made = ShortcutObjective(schema, None, SMALL)
    x = torch.from_numpy(schema.encode(X))
    made.prepare(x, None)
    terms = made.loss(x, None, "model")
    assert all(torch.isfinite(v) and v > 0 for v in terms.values()) and set(terms) == {"loss", "velocity", "agreement"}
    assert set(ShortcutObjective(schema, None, SMALL, consistency=0.0).loss(x, None, "model")) == {"loss", "velocity"}


@pytest.fixture(scope="module")
def fitted(gaussian):
    return ectype.Shortcut(train=ectype.Train(budget="1200steps", device="cpu"), net=Net(width=(64, 64)), random_state=0).fit(gaussian)


@pytest.mark.parametrize("steps", [1, 2, 4, 16])
def test_a_correlated_gaussian_is_learnt(steps, fitted):
    assert_gaussian(fitted.sample(3000, random_state=0, steps=steps), atol=0.25)
    assert fitted.evaluations(steps=steps) == steps


def test_guidance_keeps_the_length():
    y_schema, y = labels(k=2)
    schema, _ = numbers(2)
    torch.manual_seed(0)
    made = ShortcutObjective(schema, y_schema, SMALL).eval()
    nn.init.normal_(made.network.leave.weight)
    made.low.fill_(-torch.inf), made.high.fill_(torch.inf)
    samples = [made.sample(Rows(0, 0, 8), y[:8], steps=2, guidance=w) for w in (0.0, 1.0, 3.0)]
    assert not torch.allclose(samples[0], samples[1]) and not torch.allclose(samples[1], samples[2])
    c = made.with_length(made.embed_condition(y[:8]), torch.full((8,), 1))
    x_t, t = torch.randn(8, 2), torch.full((1,), 0.5)
    free = torch.cat([c[:, : LEVELS + 1], torch.zeros(8, made.n_cond), torch.ones(8, 1)], dim=1)
    torch.testing.assert_close(made.denoise(x_t, t, c, 0.0), made.denoise(x_t, t, free))


def test_small_batches_and_constant_conditions(gaussian):
    X = gaussian[:60]
    for settings in ({"train": ectype.Train(budget="3steps", batch_size=1)}, {"train": ectype.Train(budget="3steps"), "consistency": 0.99}):
        assert np.isfinite(ectype.Shortcut(random_state=0, **settings).fit(X).sample(3, random_state=0)).all()
    model = ectype.Shortcut(conditional=True, train=ectype.Train(budget="3steps"), random_state=0).fit(X, np.zeros(60, int))
    assert np.isfinite(model.sample(3, condition=0, guidance=2.0, random_state=0)).all()
