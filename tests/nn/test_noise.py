"""Variational dequantisation: uniform at the beginning, a density that integrates to one, and the noise of the right slots."""

import pytest
import torch

from ectype.models.flow import Fresh
from ectype.nn.noise import Given, VariationalNoise
from ectype.spec import Net


def q(n=3, noisy=(0, 2), features=4, spread=0.0):
    noise = VariationalNoise(n, torch.tensor(noisy), 5, Net(), features)
    for p in noise.parameters():
        p.data = p.data + spread * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    return noise.eval()


def test_uniform_at_the_beginning():
    u, log_q = q()(torch.randn(4000, 4), Fresh(4000, torch.device("cpu")))
    torch.testing.assert_close(log_q, torch.zeros(4000), atol=1e-3, rtol=0)
    assert (u[:, 1] == 0.5).all() and abs(u[:, 0].mean().item() - 0.5) < 0.02 and abs(u[:, 2].var().item() - 1 / 12) < 0.005


def test_the_density_of_the_noise_is_that_of_its_draws():
    """E_q[1 / q(u)] is the volume of the cube, 1; and q depends on the row."""
    noise, features = q(spread=0.12), torch.randn(1, 4)
    u, log_q = noise(features.expand(40_000, -1), Fresh(40_000, torch.device("cpu")))
    assert (-log_q).double().exp().mean().item() == pytest.approx(1, abs=0.05) and log_q.std() > 0.05
    eps = torch.randn(2, 2)
    same = [noise(f.expand(2, -1), Fixed(eps))[0] for f in (features, -features)]
    assert not torch.isclose(*same)[:, [0, 2]].any()


class Fixed:
    """Noise that is known."""

    def __init__(self, eps):
        self.eps = eps

    def uniform(self, *shape):
        raise NotImplementedError

    def normal(self, *shape):
        return self.eps


def test_given_numbers_come_in_their_order():
    u = torch.arange(10.0).view(2, 5)
    given = Given(u, Fixed(torch.ones(2, 2)))
    assert torch.equal(given.uniform(2), u[:, :2]) and torch.equal(given.uniform(3), u[:, 2:]) and (given.normal(2) == 1).all()
