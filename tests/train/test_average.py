"""The power-function average over weights, against its closed form."""

import numpy as np
import pytest
import torch
from torch import nn

from ectype.train.average import Average, gamma


def weights_of_the_average(length, steps):
    """How much each step's weights count: feed a module whose weight at step i is the i-th unit vector."""
    module = nn.Linear(steps, 1, bias=False).double()
    average = Average(module.parameters(), length)
    for i in range(steps):
        module.weight.data = torch.eye(steps, dtype=torch.float64)[i : i + 1]
        average.update(i + 1)
    return average.values[0][0].numpy()


@pytest.mark.parametrize("length", [0.02, 0.1, 0.25])
def test_closed_form(length):
    """θ̄ after T steps weighs step i by (i/T)^{γ+1} − ((i−1)/T)^{γ+1}."""
    edges = (np.arange(201) / 200) ** (gamma(length) + 1)
    weights = weights_of_the_average(length, 200)
    np.testing.assert_allclose(weights, np.diff(edges), rtol=1e-6, atol=1e-12)
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("length", [0.05, 0.1, 0.2])
def test_the_relative_standard_deviation_is_the_setting(length):
    steps = 2000
    t = (np.arange(steps + 1) / steps)
    weights, middle = np.diff(t ** (gamma(length) + 1)), (t[1:] + t[:-1]) / 2
    mean = weights @ middle
    assert np.sqrt(weights @ (middle - mean) ** 2) == pytest.approx(length, rel=1e-3)


def test_no_average_is_the_last_weights():
    module = nn.Linear(2, 1)
    average = Average(module.parameters(), 0.0)
    module.weight.data += 1
    average.update(1)
    assert torch.equal(average.values[0], module.weight)


def test_swapping_twice_changes_nothing():
    module = nn.Linear(2, 1)
    average = Average(module.parameters(), 0.1)
    module.weight.data += 1
    weight, mean = module.weight.detach().clone(), average.values[0].clone()
    average.swap()
    assert torch.equal(module.weight, mean) and torch.equal(average.values[0], weight)
    average.swap()
    assert torch.equal(module.weight, weight) and torch.equal(average.values[0], mean)
