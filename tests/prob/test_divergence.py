"""Divergences against torch.distributions, quadrature and closed forms."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ectype.prob.divergence import energy_distance, kl_standard_normal


def test_kl_against_torch_distributions():
    g = torch.Generator().manual_seed(0)
    mean, log_std = 3 * torch.randn(50, 4, generator=g), torch.randn(50, 4, generator=g)
    expected = kl_divergence(Normal(mean, log_std.exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_standard_normal(mean, log_std), expected, rtol=1e-5, atol=1e-5)


def test_kl_is_zero_only_at_the_prior_and_never_clamped():
    assert kl_standard_normal(torch.zeros(3), torch.zeros(3)).tolist() == [0, 0, 0]
    mean, log_std = torch.tensor([1e-3, 0.0, 0.0]), torch.tensor([0.0, 1e-2, -1e-2])
    assert (kl_standard_normal(mean.double(), log_std.double()) > 0).all()


def test_energy_distance_of_two_points_by_hand():
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]])
    assert energy_distance(x, y).item() == pytest.approx(2 * (1 + 5 + 1 + 3) / 4 - 2 - 4)      # 2 E|x−y| − E|x−x′| − E|y−y′|


def test_energy_distance_of_two_gaussians():
    """In one dimension E|N(μ, s²)| = s √(2/π) e^{−μ²/2s²} + μ erf(μ / s√2); with unit variances x − y ~ N(δ, 2), x − x′ ~ N(0, 2)."""
    def mean_absolute(mu):
        s = 2**0.5
        return s * (2 / torch.pi) ** 0.5 * torch.exp(-mu**2 / (2 * s**2)) + mu * torch.erf(mu / (s * 2**0.5))

    g = torch.Generator().manual_seed(0)
    for delta in (0.0, 0.5, 3.0):
        x, y = torch.randn(2000, 1, generator=g), delta + torch.randn(2000, 1, generator=g)
        d = torch.tensor(delta)
        expected = 2 * mean_absolute(d) - 2 * mean_absolute(torch.zeros(()))
        assert energy_distance(x.double(), y.double()).item() == pytest.approx(expected.item(), abs=0.1)


def test_energy_distance_is_unbiased_at_equality():
    g = torch.Generator().manual_seed(0)
    values = torch.stack([energy_distance(torch.randn(20, 3, generator=g), torch.randn(20, 3, generator=g)) for _ in range(400)])
    assert abs(values.mean()) < 3 * values.std() / 400**0.5


def test_energy_distance_is_invariant():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 3, generator=g).double(), 1 + torch.randn(60, 3, generator=g).double()
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=g).double())[0]
    d = energy_distance(x, y)
    torch.testing.assert_close(energy_distance(y, x), d)
    torch.testing.assert_close(energy_distance(x @ rotation + 5, y @ rotation + 5), d)
    torch.testing.assert_close(energy_distance(2 * x, 2 * y), 2 * d)
