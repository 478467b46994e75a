"""The VAE: its terms against closed forms, both bounds, the gradients' estimators, options by name, and data of known truth."""

import math
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

import ectype
from ectype.data.schema import Schema
from ectype.errors import InvalidParameterError
from ectype.models.vae import VAEObjective
from ectype.prob.divergence import kl_standard_normal
from ectype.prob.likelihood import MIN_SCALE
from ectype.rng import Rows, Shared
from ectype.spec import Net
from ectype.train import loop

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


@pytest.fixture
def poor(exact):
    """That model with a q of another mean and variance than the posterior."""
    objective, model, x = exact
    objective.encoder = Function(lambda f, c=None: torch.cat([model.encode(f)[:, :2] + 0.3, model.encode(f)[:, 2:] + 0.4], dim=1))
    return objective, model, x


@pytest.mark.parametrize("prior_name", ["normal", "mixture", "flow"])
def test_more_draws_tighten_the_bound(prior_name):
    """ELBO ≤ IWAE_5 ≤ IWAE_50 on average, whatever the prior, and one draw of IWAE is the ELBO on average."""
    schema, x = numbers(3, n=64)
    torch.manual_seed(0)
    objective = VAEObjective(schema, None, 2, SMALL, prior_name=prior_name)
    with torch.no_grad():
        elbo = objective.bounds(x, None, Rows(0, 0, len(x)), 400)[:, 1].mean()
        one, five, fifty = (torch.stack([objective.bounds(x, None, Rows(i, 0, len(x)), k)[:, 2] for i in range(400 // k)]).mean()
                            for k in (1, 5, 50))
    assert one < five < fifty and one.item() == pytest.approx(elbo.item(), abs=0.03)


def test_many_draws_reach_the_log_evidence(poor):
    objective, model, x = poor
    elbo, exact, iwae = objective.bounds(x, None, Rows(0, 0, len(x)), 2000).T.numpy()
    np.testing.assert_allclose(elbo, exact, atol=0.15)                          # the KL by sampling, and in closed form
    truth = model.log_evidence(x)
    np.testing.assert_allclose(iwae, truth, atol=0.15)
    assert np.abs(iwae - truth).mean() < 0.03 and (truth - elbo).mean() > 0.2


def test_draws_are_taken_a_few_at_a_time(poor, monkeypatch):
    """However many are decoded at once, the bounds are the same, and memory is that of one batch."""
    objective, _, x = poor
    seen, decode = [], objective.decoder.forward
    objective.decoder = Function(lambda z, c=None: (seen.append(len(z)), decode(z, c))[1])
    at_once = objective.bounds(x, None, Shared(0, len(x)), 40)
    assert max(seen) <= 1024
    monkeypatch.setattr("ectype.models.vae.ROWS", 1)
    torch.testing.assert_close(objective.bounds(x, None, Shared(0, len(x)), 40), at_once)
    assert seen[-1] == len(x)


def test_the_gap_report(gaussian, fitted):
    bounds = fitted.bounds(gaussian[:200], draws=32)
    np.testing.assert_allclose(bounds.elbo, fitted.log_likelihood(gaussian[:200], draws=32), atol=0.5)
    np.testing.assert_allclose(bounds.iwae, fitted.score_samples(gaussian[:200], bound="iwae", draws=32), atol=0.5)
    np.testing.assert_array_equal(fitted.bounds(gaussian[:200], draws=32).iwae, bounds.iwae)
    np.testing.assert_allclose(fitted.bounds(gaussian[:50], draws=32).iwae, bounds.iwae[:50], rtol=1e-5)
    twice = fitted.bounds(np.repeat(gaussian[:1], 2, axis=0), draws=32).iwae
    assert twice[0] != twice[1]                                                 # the draws are each row's own
    np.testing.assert_allclose(bounds.gap, bounds.iwae - bounds.elbo)
    np.testing.assert_allclose(bounds.bits_per_dim, -bounds.iwae / (2 * math.log(2)))
    assert bounds.gap.min() > -1e-6 and bounds.gap.mean() > 1e-3 and "gap" in str(bounds) and "IWAE of 32 draws" in str(bounds)
    truth = multivariate_normal(MEAN, COVARIANCE).logpdf(gaussian[:200])
    assert np.abs(bounds.iwae - truth).mean() < 0.15


# -- the importance-weighted objective -------------------------------------------------------------------------------------------------------


def test_the_importance_weighted_loss_is_minus_the_bound(poor):
    objective, model, x = poor
    objective.importance = 50
    torch.manual_seed(0)
    with torch.no_grad():
        terms = [objective.loss(x, None, "model") for _ in range(20)]
    loss = torch.stack([t["loss"] for t in terms]).mean().item()
    assert loss == pytest.approx(-model.log_evidence(x).mean(), abs=0.05)
    assert all(t["loss"] < t["recon"] + t["kl"] for t in terms)


def gradients(exact, shift, k, n):
    """In the encoder's two outputs and the decoder's, of the plain and of the doubly reparameterised bound, at n draws of ε."""
    objective, model, x = exact
    x = x[:8]
    phi, theta = torch.tensor([*shift]).requires_grad_(), torch.zeros(8, requires_grad=True)
    objective.encoder = Function(lambda f, c=None: model.encode(f) + phi)
    objective.decoder = Function(lambda z, c=None: model.decode(z) + theta)

    def plain(eps):
        mean, log_std = objective.posterior(x, None)
        log_w = sum(objective.log_weights(x, None, mean, log_std, mean + torch.exp(log_std) * eps))
        return -torch.logsumexp(log_w, 0).mean()

    torch.manual_seed(0)
    draws = [torch.randn(k, len(x), 2) for _ in range(n)]
    losses = plain, lambda eps: objective.importance_weighted(x, None, eps)["loss"]
    return [[torch.stack(g) for g in zip(*(torch.autograd.grad(loss(eps), (phi, theta)) for eps in draws), strict=True)] for loss in losses]


@pytest.mark.parametrize("k", [1, 4])
def test_the_doubly_reparameterised_gradient_is_unbiased(exact, k):
    """Its mean over draws is that of the plain gradient of the same bound in φ; in θ the two are the same."""
    (phi, theta), (phi_, theta_) = gradients(exact, [0.3, -0.2, -0.3, 0.2], k, 300)
    error = (phi - phi_).std(0) / len(phi) ** 0.5
    assert ((phi - phi_).mean(0).abs() < 4 * error).all() and (phi.mean(0).abs() > 4 * error).all()
    torch.testing.assert_close(theta, theta_)


def test_the_doubly_reparameterised_gradient_has_no_noise_at_the_posterior(exact):
    """There every log w(z) is log p(x), whatever z: nothing is to be learnt, and the estimator says so at each draw; the plain one does not."""
    (phi, _), (phi_, _) = gradients(exact, [0.0] * 4, 4, 20)
    assert phi_.abs().max() < 1e-3 < phi.std(0).min()


# -- what weighs the terms -------------------------------------------------------------------------------------------------------------------


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


def test_the_weight_of_the_kl_rises():
    schema, x = numbers(3)
    objective = VAEObjective(schema, None, 2, SMALL, 2.0, kl_warmup=9)
    weights = []
    for objective.step in (0, 4, 8, 9, 100):
        terms = objective.loss(x, None, "model")
        weights.append(((terms["loss"] - terms["recon"]) / terms["kl"]).item())
    np.testing.assert_allclose(weights, [0.2, 1.0, 1.8, 2.0, 2.0], rtol=1e-3)
    objective.step = 0
    terms = objective.eval().loss(x, None, "model")                             # the held-out curve is of one kind throughout
    assert terms["loss"].item() == pytest.approx((terms["recon"] + 2 * terms["kl"]).item(), rel=1e-5)


@pytest.mark.parametrize("prior_name", ["normal", "flow"])
def test_free_bits_cost_nothing(prior_name):
    """Σⱼ max(λ, KLⱼ): below λ a number's KL has no gradient; above it is what it was. A learned prior has one sum for all."""
    schema, x = numbers(3)
    objective = VAEObjective(schema, None, 2, SMALL, free_bits=0.1, prior_name=prior_name)
    for free_bits in (0.1, 0.5, 2.0):
        objective.free_bits = free_bits
        for moments in ([0.0, 1.0, -0.1, -1.0], [2.0, 1.0, -1.0, -1.0]):        # μ₁ μ₂ log σ₁ log σ₂, the same for all rows
            objective.encoder = Function(lambda f, c=None, m=moments: torch.tensor(m).expand(len(f), -1))
            torch.manual_seed(0)
            terms = objective.loss(x, None, "model")
            kl = kl_standard_normal(*torch.tensor(moments).view(2, 2))
            expected = kl.clamp(min=free_bits).sum() if prior_name == "normal" else terms["kl"].clamp(min=2 * free_bits)
            assert (terms["loss"] - terms["recon"]).item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)
            assert terms["kl"].item() == pytest.approx(kl.sum().item(), abs=1e-4 if prior_name == "normal" else 0.2)


def test_free_bits_have_no_place_in_the_importance_weighted_bound():
    with pytest.raises(InvalidParameterError, match=r"free bits are a part of the KL.*expected importance=1, or free_bits=0"):
        ectype.VAE(importance=3, free_bits=0.1).fit(np.random.default_rng(0).normal(size=(50, 3)))


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
    means = objective.sample(Rows(0, 0, 20_000), None, decode="mean").numpy()
    np.testing.assert_allclose(np.cov(means.T), (model.W @ model.W.T).numpy(), atol=0.08)


def test_the_score_is_the_bound_and_every_equal_row_has_an_equal_one(exact):
    objective, model, x = exact
    value = objective.score(x, None, Shared(0, len(x)))
    torch.testing.assert_close(objective.score(x.flip(0), None, Shared(0, len(x))).flip(0), value)
    assert np.abs(value.numpy() - model.log_evidence(x)).mean() < 0.5 and np.corrcoef(value, model.log_evidence(x))[0, 1] > 0.9


@pytest.mark.parametrize("prior_name", ["mixture", "flow"])
def test_a_learned_prior_is_scored_sampled_and_conditional(prior_name):
    """The KL by sampling has the mean of the one in closed form where the prior still is N(0, I); a condition moves p(z | c)."""
    schema, x = numbers(3)
    y_schema, y = labels(k=3)
    torch.manual_seed(0)
    objective = VAEObjective(schema, y_schema, 2, SMALL, prior_name=prior_name)
    if prior_name == "flow":
        mean, log_std = objective.posterior(x, y)
        with torch.no_grad():
            kl = torch.stack([objective.divergence(mean, log_std, mean + log_std.exp() * torch.randn_like(mean), y) for _ in range(400)]).mean(0)
        torch.testing.assert_close(kl, kl_standard_normal(mean, log_std).sum(1), atol=0.3, rtol=0)
    for p in objective.prior.parameters():
        p.data += 0.2 * torch.randn_like(p)
    drawn, other = (objective.prior.sample(Rows(0, 0, len(x)), objective.embed_condition(v)) for v in (y, (y + 1) % 3))
    assert not torch.equal(drawn, other)
    terms = objective.loss(x, y, "model")
    assert all(torch.isfinite(g).all() and g.any() for g in torch.autograd.grad(terms["loss"], list(objective.prior.parameters())))


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


# -- by name ---------------------------------------------------------------------------------------------------------------------------------


def test_codes_are_means_or_draws(fitted, gaussian):
    X = gaussian[:300]
    means, drawn = fitted.transform(X), fitted.transform(X, encode="draw", random_state=0)
    mean, log_std = (v.detach().numpy() for v in fitted.objective_.posterior(torch.from_numpy(fitted.schema_.encode(X)), None))
    np.testing.assert_allclose(means, mean, rtol=1e-4, atol=1e-5)
    white = (drawn - mean) / np.exp(log_std)
    assert np.abs(white.mean(0)).max() < 0.2 and np.abs(white.std(0) - 1).max() < 0.15
    np.testing.assert_array_equal(drawn, fitted.transform(X, encode="draw", random_state=0))
    np.testing.assert_allclose(drawn[:100], fitted.transform(X[:100], encode="draw", random_state=0), rtol=1e-4, atol=1e-5)
    assert not np.array_equal(drawn, fitted.transform(X, encode="draw", random_state=1))


@pytest.mark.parametrize(("method", "options", "said"), [
    ("transform", {"encode": "median"}, "'encode' parameter of transform"), ("log_likelihood", {"bound": "none"}, "'bound' parameter"),
    ("score_samples", {"draws": 0}, "'draws' parameter"), ("bounds", {"draws": 1.5}, "'draws' parameter")])
def test_other_names_are_refused(fitted, gaussian, method, options, said):
    with pytest.raises(InvalidParameterError, match=said):
        getattr(fitted, method)(gaussian[:3], **options)
    with pytest.raises(InvalidParameterError, match="'decode' parameter of sample"):
        fitted.sample(3, decode="mode")


def grey_pictures(n=60):
    """6 × 6 pixels of 17 levels: black, white and greys of known means."""
    return np.tile(np.linspace(0, 16, 36).round().reshape(1, 6, 6), (n, 1, 1))


def test_grey_is_binarised_anew_at_each_step():
    X = grey_pictures()
    schema = Schema.fit(X)
    x = torch.from_numpy(schema.encode(X))
    objective = VAEObjective(schema, None, 2, Net(kind="mlp", width=(8,)), likelihood_name="bernoulli")
    seen, log_prob = [], objective.likelihood.log_prob
    objective.likelihood.log_prob = lambda params, v: (seen.append(v), log_prob(params, v))[1]
    for _ in range(50):
        objective.loss(x, None, "model")
    assert set(torch.cat(seen).unique().tolist()) == {0, 16} and not torch.equal(seen[0], seen[1])
    share = torch.cat(seen).float().mean(0)[0] / 16
    np.testing.assert_allclose(share, X[0] / 16, atol=5 * 0.5 / 3000**0.5)
    twice = [objective.log_prob(x, None, Shared(0, len(x))) for _ in range(2)]
    assert torch.equal(*twice)                                                  # a score draws its pixels the same way every time
    binary = (x > 8).to(torch.uint8) * 16
    assert torch.equal(objective.encode(x, None), objective.encode(binary, None))
    for v in (binary, x):
        torch.testing.assert_close(objective.observed(v, Shared(0, len(v))), objective.observed(objective.observed(v, Shared(0, len(v))), Shared(1, len(v))))


def test_a_bernoulli_vae_learns_the_grey_of_each_pixel():
    X = grey_pictures(200)
    model = ectype.VAE(latent_dim=2, likelihood="bernoulli", net=Net(kind="mlp", width=(16,)), random_state=0,
                       train=ectype.Train(budget="300steps", batch_size=50, lr=1e-2)).fit(X)
    rows = model.sample(400, random_state=0)
    assert set(np.unique(rows)) == {0, 16}
    np.testing.assert_allclose(rows.mean(0), X[0], atol=2.5)
    np.testing.assert_allclose(model.sample(1, random_state=0, decode="mean")[0], X[0], atol=2.5)
    p = np.clip(X[0] / 16, 1e-6, 1 - 1e-6)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum()
    binary = (np.random.default_rng(0).random(X.shape) < X / 16) * 16.0
    assert model.log_likelihood(binary, bound="iwae").mean() == pytest.approx(-entropy, abs=1.0)


# -- collapse and bad input --------------------------------------------------------------------------------------------------------------------


def test_a_collapse_is_counted_and_said():
    """With a KL ten times as dear as it is worth, noise needs no code: no unit is active, and the training says so."""
    X = np.random.default_rng(0).normal(size=(400, 4))
    told = []
    model = ectype.VAE(beta=10.0, net=SMALL, train=ectype.Train(budget="550steps"), random_state=0).fit(X, progress=told.append)
    assert model.stages_[0]["measured"] == {"active_units": 0.0}
    (event,) = model.events_
    assert event == {"step": model.n_steps_, "event": "posterior collapse: 0 of 4 units active"} and event in told


def test_active_units_of_a_model_that_uses_its_code(fitted):
    """One factor and a noise of each column's own are all that two correlated columns need."""
    assert fitted.stages_[0]["measured"] == {"active_units": 1.0} and fitted.events_ == []


def test_a_latent_wider_than_the_data_is_refused():
    with pytest.raises(InvalidParameterError, match=r"wider than the data: expected latent_dim <= 3 \(the features of a row\), got 4"):
        ectype.VAE(latent_dim=4).fit(np.random.default_rng(0).normal(size=(50, 3)))


def test_one_column_and_a_batch_of_one():
    X = np.random.default_rng(0).normal(size=(50, 1))
    model = ectype.VAE(net=SMALL, train=ectype.Train(budget="5steps", batch_size=1), random_state=0).fit(X)
    assert model.sample(3).shape == (3, 1) and np.isfinite(model.log_likelihood(X[:1], bound="iwae")).all()


def test_a_resumed_warm_up_goes_on_where_it_was(tmp_path, monkeypatch):
    """The weight of the KL depends on the step alone, so that an interrupted run ends with the bits of an uninterrupted one."""
    monkeypatch.setattr(loop, "REPORT_EVERY_S", -1.0)
    X = np.random.default_rng(0).normal(size=(60, 3))

    def fit(**options):
        train = ectype.Train(budget="20steps", batch_size=16, device="cpu")
        return ectype.VAE(kl_warmup=15, prior="flow", net=SMALL, train=train, random_state=0).fit(X, **options)

    def interrupt(event):
        if event["step"] == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(run=tmp_path, progress=interrupt)
    resumed, whole = (model.objective_.state_dict() for model in (fit(run=tmp_path), fit()))
    assert all(torch.equal(resumed[k], whole[k]) for k in whole)


def test_the_latent_variable_of_a_table_of_constant_columns_is_no_wider_than_what_varies():
    frame = pd.DataFrame({"a": np.arange(40.0), "b": "DE", "c": ["x", "y"] * 20, "d": "one"})
    model = ectype.VAE(train=ectype.Train(budget="3steps")).fit(frame)
    assert model.objective_.latent_dim == math.prod(model.objective_.features.shape) < 4
