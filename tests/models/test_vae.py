"""The VAE: its two terms against closed forms, the bound, the reparameterised gradient, and data of known truth."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

import ectype
from ectype.models.vae import VAEObjective
from ectype.prob.divergence import kl_standard_normal
from ectype.prob.likelihood import MIN_SCALE, gaussian_log_prob
from ectype.rng import Rows, Shared
from ectype.spec import Net

from .conftest import COVARIANCE, MEAN, SMALL, assert_gaussian, labels, numbers


class Exact(nn.Module):
    """The linear-Gaussian model x = W z + b + s ε; the columns of W are orthogonal, so that q(z|x) can be the posterior."""

    def __init__(self, d=4, k=2, s=0.6):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.W = torch.linalg.qr(torch.randn(d, d, generator=g))[0][:, :k] * torch.tensor([1.5, 0.7])
        self.b, self.s = torch.randn(d, generator=g), s

    def encode(self, x, c=None):
        variance = 1 / (1 + self.W.square().sum(0) / self.s**2)                     # (k,)
        mean = variance * ((x - self.b) @ self.W) / self.s**2                       # (B, k)
        return torch.cat([mean, 0.5 * variance.log().expand(len(x), -1)], dim=1)

    def decode(self, z, c=None):
        raw = torch.full((len(z), len(self.b)), float(np.log(self.s - MIN_SCALE)))
        return torch.cat([z @ self.W.T + self.b, raw], dim=1)

    def log_evidence(self, x):
        return multivariate_normal(self.b.numpy(), (self.W @ self.W.T + self.s**2 * torch.eye(len(self.b))).numpy()).logpdf(x.numpy())


@pytest.fixture
def exact():
    schema, x = numbers(4)
    objective, model = VAEObjective(schema, None, 2, SMALL), Exact()
    objective.encoder, objective.decoder = Function(model.encode), Function(model.decode)
    return objective, model, x


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


def elbo(objective, x, eps):
    recon, kl = objective.elbo_terms(x, None, eps)
    return -recon - kl


SIGNS = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])     # integrates quadratics of ε ~ N(0, I) exactly


def test_the_elbo_is_the_log_evidence_where_q_is_the_posterior(exact):
    objective, model, x = exact
    value = torch.stack([elbo(objective, x, s.expand(len(x), -1)) for s in SIGNS]).mean(0)
    np.testing.assert_allclose(value, model.log_evidence(x), atol=1e-3)


def test_the_gap_is_the_divergence_from_the_posterior(exact):
    """log p(x) − ELBO = KL(q ‖ p(z|x)), for a q with another mean and another variance."""
    objective, model, x = exact
    true = model.encode(x)
    objective.encoder = Function(lambda f, c=None: torch.cat([true[:, :2] + 0.3, true[:, 2:] - 0.5], dim=1))
    value = torch.stack([elbo(objective, x, s.expand(len(x), -1)) for s in SIGNS]).mean(0)
    variance = torch.exp(2 * true[0, 2:])
    gap = 0.5 * (np.exp(-1.0) + 0.09 / variance - 1 + 1.0).sum()
    np.testing.assert_allclose(model.log_evidence(x) - value.numpy(), gap, atol=1e-3)


def test_the_elbo_is_below_an_importance_weighted_bound():
    schema, x = numbers(3, n=40)
    torch.manual_seed(0)
    objective = VAEObjective(schema, None, 2, SMALL)
    with torch.no_grad():
        eps = torch.randn(2000, 40, 2)
        mean, log_std = objective.posterior(x, None)
        values, log_w = [], []
        for e in eps:
            z = mean + log_std.exp() * e
            log_p = objective.likelihood.log_prob(objective.decoder(z), x) + gaussian_log_prob(z, 0 * z, 0 * z).sum(1)
            log_w.append(log_p - gaussian_log_prob(z, mean, log_std).sum(1))
            values.append(elbo(objective, x, e))
    evidence = torch.logsumexp(torch.stack(log_w), 0) - np.log(2000)
    single, bound = torch.stack(log_w).mean(0), torch.stack(values).mean(0)
    torch.testing.assert_close(bound, single, atol=0.1, rtol=0)         # the KL in closed form and by sampling agree
    assert (bound < evidence + 0.02).all() and (evidence - bound).mean() > 0.01


def test_terms_and_beta():
    schema, x = numbers(3)
    torch.manual_seed(0)
    losses = {beta: VAEObjective(schema, None, 2, SMALL, beta) for beta in (0.0, 1.0, 4.0)}
    for objective in losses.values():
        objective.load_state_dict(losses[1.0].state_dict())
    terms = {}
    for beta, objective in losses.items():
        torch.manual_seed(1)
        terms[beta] = objective.loss(x, None, "model")
        assert terms[beta]["loss"].item() == pytest.approx((terms[beta]["recon"] + beta * terms[beta]["kl"]).item(), rel=1e-6)
    mean, log_std = losses[1.0].posterior(x, None)
    kl = kl_standard_normal(mean, log_std).sum(1).mean().item()
    assert terms[1.0]["kl"].item() == pytest.approx(kl, rel=1e-6) and kl > 0
    assert len({t["loss"].item() for t in terms.values()}) == 3 and len({t["recon"].item() for t in terms.values()}) == 1


def test_reparameterised_gradient_against_differences():
    """d/dφ of the loss at fixed ε, through z = μ + σ ε, for encoder and decoder."""
    schema, x = numbers(3)
    torch.manual_seed(0)
    objective = VAEObjective(schema, None, 2, SMALL)
    eps = torch.randn(len(x), 2)

    def loss():
        recon, kl = objective.elbo_terms(x, None, eps)
        return (recon + kl).mean()

    parameters = list(objective.parameters())
    direction = [torch.randn_like(p) for p in parameters]
    slope = sum((g * d).sum() for g, d in zip(torch.autograd.grad(loss(), parameters), direction, strict=True))
    h, values = 1e-3, []
    with torch.no_grad():
        for sign in (1, -2):
            for p, d in zip(parameters, direction, strict=True):
                p.add_(sign * h * d)
            values.append(loss())
    assert ((values[0] - values[1]) / (2 * h)).item() == pytest.approx(slope.item(), rel=0.01)


def test_sampling_draws_from_the_decoder(exact):
    objective, model, _ = exact
    rows = objective.sample(Rows(0, 0, 20_000), None).numpy()
    np.testing.assert_allclose(rows.mean(0), model.b, atol=0.05)
    np.testing.assert_allclose(np.cov(rows.T), (model.W @ model.W.T + model.s**2 * torch.eye(4)).numpy(), atol=0.08)
    means = objective.sample(Rows(0, 0, 20_000), None, mean=True).numpy()
    np.testing.assert_allclose(np.cov(means.T), (model.W @ model.W.T).numpy(), atol=0.08)


def test_the_score_is_the_bound_and_every_equal_row_has_an_equal_one(exact):
    objective, model, x = exact
    value = objective.score(x, None, Shared(0, len(x)))
    torch.testing.assert_close(objective.score(x.flip(0), None, Shared(0, len(x))).flip(0), value)
    assert np.abs(value.numpy() - model.log_evidence(x)).mean() < 0.5 and np.corrcoef(value, model.log_evidence(x))[0, 1] > 0.9


def test_the_condition_enters_encoder_and_decoder():
    schema, x = numbers(3)
    y_schema, y = labels(k=3)
    torch.manual_seed(0)
    objective = VAEObjective(schema, y_schema, 2, SMALL)
    other = (y + 1) % 3
    assert not torch.isclose(objective.encode(x, y), objective.encode(x, other)).all(1).any()
    z = torch.zeros(len(x), 2)
    assert not torch.isclose(objective.decode(z, y), objective.decode(z, other)).all(1).any()


def test_the_posterior_is_kept_finite():
    schema, x = numbers(3)
    objective = VAEObjective(schema, None, 2, SMALL)
    objective.encoder = Function(lambda f, c=None: torch.cat([torch.zeros(len(f), 2), torch.tensor([[-1e4, 1e4]]).expand(len(f), -1)], 1))
    recon, kl = objective.elbo_terms(x, None, torch.zeros(len(x), 2))
    assert torch.isfinite(recon).all() and torch.isfinite(kl).all()


@pytest.fixture(scope="module")
def fitted(gaussian):
    return ectype.VAE(latent_dim=2, net=Net(width=(64, 64)), train=ectype.Train(budget="1200steps"), random_state=0).fit(gaussian)


def test_a_correlated_gaussian_is_learnt(fitted):
    assert_gaussian(fitted.sample(4000, random_state=0), atol=0.2)


def test_the_bound_is_close_to_the_truth_in_the_users_units(fitted, gaussian):
    truth = multivariate_normal(MEAN, COVARIANCE).logpdf(gaussian).mean()
    assert truth - 0.15 < fitted.log_likelihood(gaussian).mean() < truth + 0.05


def test_reconstruction_is_closer_than_chance(fitted, gaussian):
    error = np.square(fitted.reconstruct(gaussian) - gaussian).sum()
    assert error < 0.5 * np.square(gaussian - gaussian.mean(0)).sum()
