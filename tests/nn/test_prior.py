"""Priors: densities that integrate to one, samples that follow them, identities at the beginning, and fits of a known truth."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from ectype.nn.prior import NAMES, FlowPrior, MixturePrior, NormalPrior, prior
from ectype.rng import Rows

LEARNED = [n for n in NAMES if n != "normal"]


def disturbed(name, dim=2, cond=0):
    """A prior with random parameters, far from its beginning."""
    torch.manual_seed(1)
    model = prior(name, dim, cond)
    for p in model.parameters():
        p.data += (0.2 if p.ndim == 1 or name == "mixture" else 0.5 * p.shape[1] ** -0.5) * torch.randn_like(p)
    return model


AXIS = torch.linspace(-10, 10, 401)
GRID = torch.cartesian_prod(AXIS, AXIS)


@torch.no_grad()
def masses(model):
    """Probability of the cell of each point of the grid."""
    return model.log_prob(GRID, None).double().exp() * float(AXIS[1] - AXIS[0]) ** 2


@pytest.mark.parametrize("name", NAMES)
def test_a_prior_is_a_density_that_its_samples_follow(name):
    """It sums to one, and means of functions of z over samples are those over the density."""
    model = disturbed(name)
    weight = masses(model)
    assert weight.sum().item() == pytest.approx(1, abs=0.01)
    with torch.no_grad():
        drawn = model.sample(Rows(0, 0, 40_000), None).double()
    for f in (lambda z: z, torch.square, lambda z: z.prod(1, keepdim=True), torch.tanh):
        expected, values = (weight[:, None] * f(GRID.double())).sum(0), f(drawn)
        assert ((values.mean(0) - expected).abs() < 5 * values.std(0) / 200 + 0.01).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_beginning_is_close_to_a_standard_normal(name, dim):
    torch.manual_seed(0)
    model, z = prior(name, dim), torch.randn(2000, dim)
    with torch.no_grad():
        gap = NormalPrior(dim).log_prob(z, None) - model.log_prob(z, None)
    assert torch.allclose(gap, torch.zeros(()), atol=1e-5) if name == "flow" else gap.mean().abs() < 0.3 * dim


def test_the_normal_is_scipys():
    z = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(NormalPrior(3).log_prob(z, None), multivariate_normal(np.zeros(3), np.eye(3)).logpdf(z), rtol=1e-5)


def test_the_mixture_is_the_sum_of_its_gaussians():
    torch.manual_seed(0)
    model, z = MixturePrior(3, components=4), torch.randn(20, 3)
    torch.nn.init.normal_(model.logits)
    w, m, s = model.logits.softmax(0).detach(), model.mean.detach(), model.log_std.detach().exp()
    expected = sum(w[k].item() * multivariate_normal(m[k], np.diag(s[k] ** 2)).pdf(z) for k in range(4))
    np.testing.assert_allclose(model.log_prob(z, None).detach(), np.log(expected), rtol=1e-4)


def test_the_flow_has_the_determinant_of_its_jacobian():
    """log p(z) = log N(T(z)) + log |det ∂T/∂z|: T⁻¹ is what the samples are made by."""
    model = disturbed("flow", 5)

    class Fixed:
        def __init__(self, u):
            self.u = u

        def normal(self, dim):
            return self.u

    u = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    for row in u:
        z = model.sample(Fixed(row[None]), None)
        jacobian = torch.autograd.functional.jacobian(lambda v: model.sample(Fixed(v[None]), None)[0], row)
        expected = NormalPrior(5).log_prob(row[None], None) - torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(model.log_prob(z, None), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LEARNED)
def test_a_condition_moves_a_learned_prior(name):
    model = disturbed(name, 3, cond=2)
    z, c = torch.randn(6, 3), torch.eye(2).repeat(3, 1)
    assert not torch.isclose(model.log_prob(z, c), model.log_prob(z, c.flip(1))).any()
    assert not torch.equal(model.sample(Rows(0, 0, 6), c), model.sample(Rows(0, 0, 6), c.flip(1)))


@pytest.mark.parametrize("name", LEARNED)
def test_two_clusters_are_learnt(name):
    """Maximum likelihood from samples of a mixture comes within 0.15 nats of its entropy; a Gaussian is a nat away."""
    torch.manual_seed(0)
    z = 0.3 * torch.randn(4000, 2) + torch.where(torch.rand(4000, 1) < 0.5, 1.5, -1.5) * torch.tensor([1.0, -1.0])
    truth = np.log(0.5 * sum(multivariate_normal([s, -s], 0.09 * np.eye(2)).pdf(z) for s in (1.5, -1.5))).mean()
    model = prior(name, 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02 if name == "mixture" else 0.003)
    for i in range(200):
        optimiser.zero_grad()
        (-model.log_prob(z[i % 8 * 500 : i % 8 * 500 + 500], None).mean()).backward()
        optimiser.step()
    with torch.no_grad():
        assert truth - 0.15 < model.log_prob(z, None).mean().item() < truth + 0.05
    gaussian = multivariate_normal(z.mean(0), np.cov(z.T)).logpdf(z).mean()
    assert gaussian < truth - 1


def test_a_scale_of_the_flow_is_bounded():
    model = FlowPrior(4)
    for net in model.nets:
        net.layers[-1].bias.data.fill_(1e4)
    assert torch.isfinite(model.log_prob(torch.randn(5, 4), None)).all() and torch.isfinite(model.sample(Rows(0, 0, 5), None)).all()


def test_narrow_components_do_not_cancel():
    """The density of a component of 0.01 around means far from zero, against double precision; and none is narrower than the least."""
    model = prior("mixture", 8).double()
    with torch.no_grad():
        model.mean.copy_(2 + 0.1 * model.mean)
        model.log_std.fill_(-4.6)
    z = model.mean[:4].detach() + 0.01 * torch.randn(4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = model.log_prob(z, None)
    torch.testing.assert_close(model.float().log_prob(z.float(), None).double(), exact, atol=5e-3, rtol=0)
    with torch.no_grad():
        model.log_std.fill_(-9.0)
    assert model.log_prob(model.mean[:1].detach(), None).item() < 8 * (5.0 - 0.9) + 1


def test_a_condition_without_features():
    model = prior("mixture", 2, 0)
    assert model.log_prob(torch.zeros(3, 2), torch.zeros(3, 0)).shape == (3,)
