"""DDPM: its formulas against Bayes' rule, its samplers with an exact denoiser, and data of known truth."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import ectype
from ectype.data.schema import Schema
from ectype.errors import InvalidParameterError
from ectype.models.ddpm import STEPS, DDPMObjective, ancestral_step, ddim_step
from ectype.prob.schedule import Schedule
from ectype.rng import Shared
from ectype.spec import Net

from .conftest import SMALL, assert_gaussian, labels, numbers

M, C = torch.tensor([0.5, -1.0]), torch.tensor([[1.5, 0.6], [0.6, 0.5]])


class ExactGaussian(nn.Module):
    """The best v-prediction for data N(M, C): x_hat = M + α C (α² C + σ² I)⁻¹ (x_t − α M), v = (α x_t − x_hat) / σ."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = Schedule(schedule)

    def forward(self, x_t, t, c=None):
        alpha, sigma = (v.double()[..., None] for v in self.schedule(t))
        a, s, cov = alpha[..., None], sigma[..., None], C.double()
        gain = a * cov @ torch.linalg.inv(a**2 * cov + s**2 * torch.eye(2).double())
        x_hat = M + torch.einsum("...ij,...j->...i", gain, x_t.double() - alpha * M)
        return ((alpha * x_t.double() - x_hat) / sigma).float()


class Given:
    """In place of noise: the first draw is given, the others are zero, or one."""

    def __init__(self, first, later=0.0):
        self.n, self.draws, self.later = len(first), iter([first]), later

    def normal(self, *shape):
        return next(self.draws, torch.full((self.n, *shape), self.later))


class Answer(nn.Module):
    """A network that answers with what it was given."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x_t, t, c=None):
        return self.answer


def exact(schedule="cosine"):
    schema, _ = numbers(2)
    objective = DDPMObjective(schema, None, schedule, SMALL).eval()
    objective.network = ExactGaussian(schedule)
    objective.low.fill_(-torch.inf), objective.high.fill_(torch.inf)
    return objective


def pushed(objective, **options):
    """Mean and covariance of the samples of a deterministic, affine sampler: where it takes the origin and the unit vectors."""
    with torch.no_grad():
        out = objective.sample(Given(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])), None, **options).double()
    A = (out[1:] - out[0]).T
    return out[0], A @ A.T


def chain(objective, steps):
    """Mean and covariance of an ancestral chain, step by step: each is x_s = A x_t + b + r ε."""
    times, (mean, cov) = torch.linspace(1, 0, steps + 1), (torch.zeros(2), torch.eye(2))
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    for t, s in itertools.pairwise(times):
        x_hat = objective.denoise(points, t[None], None)
        at = objective._at(t), objective._at(s)
        out = x_hat if s == 0 else ancestral_step(points, x_hat, *at, torch.zeros(3, 2))
        A, b = (out[1:] - out[0]).T, out[0]
        r = torch.zeros(1, 2) if s == 0 else ancestral_step(points[:1], x_hat[:1], *at, torch.ones(1, 2)) - out[:1]
        mean, cov = A @ mean + b, A @ cov @ A.T + torch.diag(r[0] ** 2)
    return mean.double(), cov.double()


def order(errors, steps):
    """Slope of log error against log number of steps, negated."""
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


# -- formulas ----------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize(("s", "t"), [(0.1, 0.2), (0.3, 0.9), (0.5, 0.501)])
def test_the_backward_step_is_bayes_rule(schedule, s, t):
    """q(x_s | x_t, x) ∝ q(x_t | x_s) q(x_s | x), for Gaussians by adding precisions."""
    at_t, at_s = (tuple(v.double() for v in Schedule(schedule)(torch.tensor(u, dtype=torch.float64))) for u in (t, s))
    (alpha_t, sigma_t), (alpha_s, sigma_s) = at_t, at_s
    alpha_ts = alpha_t / alpha_s
    variance_ts = sigma_t**2 - alpha_ts**2 * sigma_s**2
    x, x_t = torch.tensor([0.7]).double(), torch.tensor([-1.3]).double()
    precision = 1 / sigma_s**2 + alpha_ts**2 / variance_ts
    mean = (alpha_s * x / sigma_s**2 + alpha_ts * x_t / variance_ts) / precision
    zero, one = (ancestral_step(x_t, x, at_t, at_s, torch.full((1,), e).double()) for e in (0.0, 1.0))
    torch.testing.assert_close(zero, mean, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(one - zero, precision.rsqrt()[None], rtol=1e-9, atol=1e-12)


def test_the_forward_process_is_a_markov_chain():
    """x_s drawn from q(x_s | x_t, x), with x_t ~ q(x_t | x), has the marginal q(x_s | x)."""
    schedule = Schedule("cosine")
    at_t, at_s = (schedule(torch.tensor(u, dtype=torch.float64)) for u in (0.7, 0.4))
    x = torch.tensor([0.7, 0.7]).double()
    points = at_t[0] * x + at_t[1] * torch.tensor([0.0, 1.0]).double()
    out = ancestral_step(points, x, at_t, at_s, torch.zeros(2).double())
    extra = ancestral_step(points, x, at_t, at_s, torch.ones(2).double()) - out
    assert out[0].item() == pytest.approx((at_s[0] * 0.7).item(), rel=1e-6)
    assert ((out[1] - out[0]) ** 2 + extra[0] ** 2).item() == pytest.approx((at_s[1] ** 2).item(), rel=1e-9)


def test_a_ddim_step_keeps_the_noise():
    """x_t = α_t x + σ_t ε goes to α_s x + σ_s ε, with the same x and ε."""
    at_t, at_s = (Schedule("linear")(torch.tensor(u, dtype=torch.float64)) for u in (0.8, 0.3))
    x, eps = torch.randn(2, 5, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(ddim_step(at_t[0] * x + at_t[1] * eps, x, at_t, at_s), at_s[0] * x + at_s[1] * eps)


def test_data_noise_and_v_are_three_names_of_the_same():
    objective = exact()
    x, eps, t = torch.randn(50, 2), torch.randn(50, 2), torch.rand(50)
    alpha, sigma = objective._at(t)
    x_t, v = alpha * x + sigma * eps, alpha * eps - sigma * x
    objective.network = Answer(v)
    torch.testing.assert_close(objective.denoise(x_t, t, None), x, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(sigma * x_t + alpha * v, eps, atol=1e-5, rtol=1e-4)


def test_the_denoised_row_is_kept_in_the_range_of_the_data():
    schema, x = numbers(3)
    objective = DDPMObjective(schema, None, "cosine", SMALL)
    objective.prepare(x, None)
    objective.network = Answer(torch.full_like(x, 100.0))
    x_hat = objective.denoise(x, torch.full((len(x),), 0.9), None)
    torch.testing.assert_close(x_hat, objective.scaled(x).amin(0).expand(len(x), -1))


# -- the loss ------------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_the_loss_of_the_exact_denoiser_is_the_posterior_variance(t):
    """v − v_hat = (x_hat − x)/σ, so the least loss is tr Cov[x | x_t] / (σ² D)."""
    objective, n = exact(), 100_000
    g = torch.Generator().manual_seed(0)
    x, eps = M + torch.randn(n, 2, generator=g) @ torch.linalg.cholesky(C).T, torch.randn(n, 2, generator=g)
    alpha, sigma = (v.double() for v in objective.schedule(torch.tensor(t)))
    posterior = C.double() - alpha**2 * C.double() @ torch.linalg.inv(alpha**2 * C.double() + sigma**2 * torch.eye(2).double()) @ C.double()
    expected = posterior.trace() / sigma**2 / 2
    objective.scaled = lambda x: x
    assert objective.error(x, None, torch.full((n,), t), eps).mean().item() == pytest.approx(expected.item(), rel=0.02)


def test_times_are_spread_evenly_over_a_batch():
    schema, x = numbers(2)
    objective, seen = DDPMObjective(schema, None, "cosine", SMALL), []
    objective.error = lambda x, c, t, eps: seen.append(t.sort().values) or torch.zeros(len(x))
    for _ in range(20):
        objective.loss(x, None, "model")
    gaps = torch.stack([t.diff() for t in seen])
    torch.testing.assert_close(gaps, torch.full_like(gaps, 1 / len(x)), atol=1e-4, rtol=0)
    assert min(t[0] for t in seen) >= 0 and max(t[-1] for t in seen) < 1 and torch.stack(seen)[:, 0].std() > 0


def test_features_are_scaled_and_rare_categories_are_not_blown_up():
    r = np.random.default_rng(0)
    X = pd.DataFrame({"v": r.normal(50, 9, 1000), "c": r.choice(["a", "b", "c"], 1000, p=[0.6, 0.39, 0.01])})
    schema = Schema.fit(X)
    x = torch.from_numpy(schema.encode(X))
    objective = DDPMObjective(schema, None, "cosine", SMALL)
    objective.prepare(x, None)
    f = objective.scaled(x)
    torch.testing.assert_close(f.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    assert f.std(0)[:3].sub(1).abs().max() < 0.01 and f.std(0)[3] < 0.5 and f.abs().max() < 5


def test_the_range_is_that_of_all_rows():
    X = pd.DataFrame({"flag": [False] * 10_400 + [True], "v": [*np.arange(10_400) % 7 / 7, 3.0]})
    schema = Schema.fit(X)
    objective = DDPMObjective(schema, None, "cosine", SMALL)
    objective.prepare(torch.from_numpy(schema.encode(X)), None)
    last = objective.scaled(torch.from_numpy(schema.encode(X[-1:])))
    assert (objective.high >= last - 1e-6).all()


# -- samplers ------------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_ddim_is_a_first_order_solver(schedule):
    objective, steps = exact(schedule), [20, 40, 80, 160, 320]
    results = [pushed(objective, steps=n, sampler="ddim") for n in steps]
    errors = [((cov - C).norm() + (mean - M).norm()).item() for mean, cov in results]
    assert errors[-1] < 0.05 and 0.8 < order(errors, steps) < 1.3


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_ancestral_chain_ends_in_the_distribution_of_the_data(schedule):
    objective, steps = exact(schedule), [50, 100, 200, 400, 1000]
    results = [chain(objective, n) for n in steps]
    errors = [(cov - C).norm().item() for _, cov in results]
    assert errors[-1] < 0.02 and (results[-1][0] - M).norm() < 0.01 and 0.8 < order(errors, steps) < 1.3


def test_sampling_follows_the_chain():
    """The sampler itself, with noise: 4,000 rows and 200 steps."""
    from ectype.rng import Rows

    objective = exact()
    with torch.no_grad():
        X = objective.sample(Rows(0, 0, 4000), None, steps=200).double()
    mean, cov = chain(objective, 200)
    torch.testing.assert_close(X.mean(0), mean, atol=0.06, rtol=0)
    torch.testing.assert_close(torch.cov(X.T), cov, atol=0.1, rtol=0)


def test_one_step_gives_the_mean():
    """From pure noise, the best guess of the data is their mean."""
    mean, cov = pushed(exact(), steps=1, sampler="ddim")
    torch.testing.assert_close(mean, M.double(), atol=0.01, rtol=0)
    assert cov.abs().max() < 1e-3


def test_samplers_and_their_cost(gaussian):
    model = ectype.DDPM(train=ectype.Train(budget="20steps", device="cpu"), net=SMALL, random_state=0).fit(gaussian[:100])
    assert STEPS == {"ancestral": 1000, "ddim": 50} and model.evaluations() == 1000
    assert model.evaluations(sampler="ddim") == 50 and model.evaluations(steps=7) == 7
    calls = []
    model.objective_.network.register_forward_hook(lambda *_: calls.append(1))
    ddim, again = (model.sample(3, random_state=0, sampler="ddim", steps=9) for _ in range(2))
    assert len(calls) == 2 * model.evaluations(sampler="ddim", steps=9)
    np.testing.assert_array_equal(ddim, again)
    assert not np.allclose(ddim, model.sample(3, random_state=0, steps=9))
    assert not np.allclose(ddim, model.sample(3, random_state=0, sampler="ddim", steps=5))
    for bad in ({"sampler": "euler"}, {"steps": 0}, {"steps": 10_001}, {"steps": 2.5}):
        with pytest.raises(InvalidParameterError):
            model.sample(3, **bad)


def test_the_score_does_not_depend_on_where_a_row_stands():
    schema, x = numbers(3)
    torch.manual_seed(0)
    objective = DDPMObjective(schema, None, "cosine", SMALL)
    nn.init.normal_(objective.network.leave.weight)
    torch.testing.assert_close(objective.score(x.flip(0), None, Shared(0, len(x))).flip(0), objective.score(x, None, Shared(0, len(x))))


def test_the_condition_reaches_the_network():
    schema, x = numbers(3)
    y_schema, y = labels(k=3)
    torch.manual_seed(0)
    objective = DDPMObjective(schema, y_schema, "cosine", SMALL)
    nn.init.normal_(objective.network.leave.weight)
    t, eps = torch.full((len(x),), 0.5), torch.zeros(len(x), 3)
    assert not torch.isclose(objective.error(x, y, t, eps), objective.error(x, (y + 1) % 3, t, eps)).any()


@pytest.mark.parametrize("options", [{"steps": 250}, {"sampler": "ddim"}], ids=["ancestral", "ddim"])
def test_a_correlated_gaussian_is_learnt(options, fitted):
    assert_gaussian(fitted.sample(3000, random_state=0, **options), atol=0.25)


@pytest.fixture(scope="module")
def fitted(gaussian):
    return ectype.DDPM(train=ectype.Train(budget="900steps", device="cpu"), net=Net(width=(64, 64)), random_state=0).fit(gaussian)
