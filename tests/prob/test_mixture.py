"""The mixture of Gaussians on codes: draws from p(h) and p(h | c) against sums over a grid, and its fit."""

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from ectype.prob.mixture import CodeMixture
from ectype.rng import Rows


def known(latent_dim, n_cond, components=3, seed=0):
    """A mixture over (h, c) with known parameters, and the same as a distribution."""
    mixture, d, g = CodeMixture(latent_dim, n_cond, components), latent_dim + n_cond, torch.Generator().manual_seed(seed)
    mixture.weights.copy_(torch.tensor([0.5, 0.3, 0.2]))
    mixture.means.copy_(1.5 * torch.randn(components, d, generator=g))
    root = 0.6 * torch.randn(components, d, d, generator=g)
    mixture.covariances.copy_(root @ root.transpose(1, 2) + 0.1 * torch.eye(d))
    joint = MixtureSameFamily(Categorical(mixture.weights.double()), MultivariateNormal(mixture.means.double(), mixture.covariances.double()))
    return mixture, joint


def on_a_grid(joint, c, latent_dim):
    """Mean and covariance of p(h | c) by summing p(h, c) over a grid of h."""
    axis = torch.linspace(-12, 12, 601 if latent_dim == 2 else 6001, dtype=torch.float64)
    h = torch.stack(torch.meshgrid(*[axis] * latent_dim, indexing="ij"), -1).reshape(-1, latent_dim)
    p = joint.log_prob(torch.cat([h, c.double().expand(len(h), -1)], 1)).exp()
    p = p / p.sum()
    mean = p @ h
    return mean, (h - mean).T @ ((h - mean) * p[:, None]), h, p


@pytest.mark.parametrize(("latent_dim", "c"), [(1, []), (2, []), (1, [1.0]), (1, [-1.0]), (2, [1.0]), (2, [0.0, 1.0, 0.0])], ids=str)
def test_codes_are_drawn_from_the_conditional_mixture(latent_dim, c):
    n, c = 40_000, torch.tensor(c)
    mixture, joint = known(latent_dim, len(c))
    codes = mixture.sample(Rows(0, 0, n), c.expand(n, -1) if len(c) else None).double()
    mean, cov, h, p = on_a_grid(joint, c, latent_dim)
    scale = cov.diagonal().sqrt()
    assert ((codes.mean(0) - mean) / scale).abs().max() < 4 / n**0.5
    assert ((torch.cov(codes.T).reshape(latent_dim, -1) - cov) / torch.outer(scale, scale)).abs().max() < 0.05
    for j in range(latent_dim):                                         # the whole distribution, not its moments only
        cuts = mean[j] + scale[j] * torch.linspace(-2, 2, 9).double()
        expected = torch.stack([p[h[:, j] <= cut].sum() for cut in cuts])
        torch.testing.assert_close((codes[:, j, None] <= cuts).double().mean(0), expected, atol=0.015, rtol=0)


def test_every_row_may_have_its_own_condition():
    mixture, joint = known(2, 1)
    c = torch.tensor([[1.0], [-1.0]]).repeat(20_000, 1)
    codes = mixture.sample(Rows(0, 0, 40_000), c).double()
    for k in (0, 1):
        torch.testing.assert_close(codes[k::2].mean(0), on_a_grid(joint, c[k], 2)[0], atol=0.03, rtol=0)


def test_it_is_fitted_on_codes():
    g = torch.Generator().manual_seed(0)
    side = torch.where(torch.rand(2000, generator=g) < 0.3, -3.0, 2.0)
    codes = torch.stack([side, 0.5 * side], 1) + torch.randn(2000, 2, generator=g) @ torch.tensor([[0.5, 0.2], [0.0, 0.3]])
    mixture = CodeMixture(2, 0, 5)
    mixture.fit(codes, None)
    drawn = mixture.sample(Rows(0, 0, 20_000), None)
    assert mixture.weights.sum().item() == pytest.approx(1, abs=1e-5) and (mixture.weights > 0).all()
    assert ((drawn.mean(0) - codes.mean(0)) / codes.std(0)).abs().max() < 0.05
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(codes.T), rtol=0.1, atol=0.02)
    assert (drawn[:, 0] < -0.5).float().mean().item() == pytest.approx(0.3, abs=0.04)


def test_the_condition_decides_the_mode():
    g = torch.Generator().manual_seed(0)
    c = torch.where(torch.rand(1000, 1, generator=g) < 0.5, -1.0, 1.0)
    mixture = CodeMixture(1, 1, 4)
    mixture.fit(3 * c + 0.2 * torch.randn(1000, 1, generator=g), c)
    for side in (-1.0, 1.0):
        drawn = mixture.sample(Rows(0, 0, 2000), torch.full((2000, 1), side))
        assert drawn.mean().item() == pytest.approx(3 * side, abs=0.1) and drawn.std().item() == pytest.approx(0.2, abs=0.05)


def test_few_rows_have_few_components():
    mixture = CodeMixture(2, 0, 10)
    mixture.fit(torch.randn(25, 2, generator=torch.Generator().manual_seed(0)), None)
    assert (mixture.weights > 0).sum() == 2 and torch.isfinite(mixture.sample(Rows(0, 0, 500), None)).all()


@pytest.mark.parametrize("codes", [torch.zeros(30, 2), torch.ones(30, 2) * torch.arange(30)[:, None], torch.ones(2, 1)],
                         ids=["all the same", "on a line", "two rows"])
def test_degenerate_codes(codes):
    """A covariance that is singular has a floor, and draws stay near the codes."""
    mixture = CodeMixture(codes.shape[1], 0, 3)
    mixture.fit(codes, None)
    drawn = mixture.sample(Rows(0, 0, 500), None)
    assert torch.isfinite(drawn).all() and (drawn.mean(0) - codes.mean(0)).abs().max() < 0.1 * (1 + codes.std())


def test_it_does_not_depend_on_the_global_generators():
    codes, kept = torch.randn(100, 2), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        mixture = CodeMixture(2, 0, 3)
        mixture.fit(codes, None)
        kept.append(mixture.means)
    assert torch.equal(*kept)
