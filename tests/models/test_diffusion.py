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
from ectype.models.diffusion import BEGIN, STEPS, DDPMObjective
from ectype.prob.schedule import Schedule
from ectype.prob.solvers import ancestral_step, ddim_step, dpm_step
from ectype.rng import Rows, Shared
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

    def uniform(self, *shape):
        return torch.zeros(self.n, *shape)

    gumbel = uniform


class Impulses:
    """In place of noise: row 0 has none, and each other row a single 1, at one number of one of the draws."""

    def __init__(self, draws, dims=2):
        self.n, self.dims, self.k = 1 + draws * dims, dims, 0

    def normal(self, *shape):
        out = torch.zeros(self.n, self.dims)
        out[torch.arange(self.dims) + 1 + self.k * self.dims, torch.arange(self.dims)] = 1.0
        self.k += 1
        return out

    def uniform(self, *shape):
        return torch.zeros(self.n, *shape)

    gumbel = uniform


class Answer(nn.Module):
    """A network that answers with what it was given."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x_t, t, c=None):
        return self.answer


class Restated(nn.Module):
    """A v-prediction as a prediction of the noise, or of the data."""

    def __init__(self, network, prediction):
        super().__init__()
        self.network, self.prediction = network, prediction

    def forward(self, x_t, t, c=None):
        alpha, sigma = (v[:, None] for v in self.network.schedule(t))
        v = self.network(x_t, t, c)
        return {"v": v, "noise": sigma * x_t + alpha * v, "data": alpha * x_t - sigma * v}[self.prediction]


def exact(schedule="cosine", prediction="v", loss="simple"):
    schema, _ = numbers(2)
    objective = DDPMObjective(schema, None, schedule, SMALL, prediction=prediction, loss=loss).eval()
    objective.network = Restated(ExactGaussian(schedule), prediction)
    objective.low.fill_(-torch.inf), objective.high.fill_(torch.inf)
    return objective


def pushed(objective, **options):
    """Mean and covariance of the samples of a deterministic, affine sampler: where it takes the origin and the unit vectors."""
    with torch.no_grad():
        out = objective.sample(Given(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])), None, **options).double()
    A = (out[1:] - out[0]).T
    return out[0], A @ A.T


def spread(objective, steps, **options):
    """Mean and covariance of the samples of an affine sampler with fresh noise: where it takes every number that it draws."""
    with torch.no_grad():
        out = objective.sample(Impulses(steps), None, steps=steps, **options).double()
    A = (out[1:] - out[0]).T
    return out[0], A @ A.T


def chain(objective, steps):
    """Mean and covariance of an ancestral chain, step by step: each is x_s = A x_t + b + r ε."""
    times, (mean, cov) = torch.linspace(1, 0, steps + 1), (torch.zeros(2), torch.eye(2))
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    for t, s in itertools.pairwise(times):
        x_hat = objective.denoise(points, t[None], None)
        at = objective.at(t), objective.at(s)
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
    alpha, sigma = objective.at(t)
    x_t, v = alpha * x + sigma * eps, alpha * eps - sigma * x
    objective.network = Answer(v)
    torch.testing.assert_close(objective.denoise(x_t, t, None), x, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(sigma * x_t + alpha * v, eps, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("prediction", ["noise", "data"])
def test_predictions_are_equivalent(prediction):
    """The same model, told what to predict: the same x_hat, bound and samples; losses that differ by α² or σ²."""
    a, b = exact(), exact(prediction=prediction)
    x, eps, t = torch.randn(40, 2), torch.randn(40, 2), 0.05 + 0.9 * torch.rand(40)
    a.scaled = b.scaled = lambda x: x
    torch.testing.assert_close(b.denoise(x, t, None), a.denoise(x, t, None), atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(b.noise_error(x, None, t, eps), a.noise_error(x, None, t, eps), atol=1e-3, rtol=1e-3)
    alpha, sigma = a.schedule(t)
    weight = alpha**2 if prediction == "noise" else sigma**2
    torch.testing.assert_close(b.error(x, None, t, eps), weight * a.error(x, None, t, eps), atol=1e-4, rtol=1e-3)
    for sampler in ("ddim", "heun", "dpm"):
        options = {"steps": 20, "sampler": sampler, **({} if sampler == "heun" else {"eta": 0.0})}
        for m, n in zip(pushed(a, **options), pushed(b, **options), strict=True):
            torch.testing.assert_close(m, n, atol=5e-3, rtol=5e-3)


def test_the_denoised_row_is_kept_in_the_range_of_the_data():
    schema, x = numbers(3)
    objective = DDPMObjective(schema, None, "cosine", SMALL)
    objective.prepare(x, None)
    objective.network = Answer(torch.full_like(x, 100.0))
    x_hat = objective.denoise(x, torch.full((len(x),), 0.9), None)
    torch.testing.assert_close(x_hat, objective.scaled(x).amin(0).expand(len(x), -1))
    last = torch.tensor([0.1])
    assert torch.equal(objective.denoise(x, torch.tensor([0.2]), None, last=last), x_hat)
    assert (objective.denoise(x, last, None, last=last) < 2 * objective.scaled(x).amin(0)).all()        # before the tone curves


def test_values_do_not_pile_up_at_the_ends_of_a_column():
    r = np.random.default_rng(0)
    X = r.uniform(size=(2000, 2))
    X = np.column_stack([X, (X[:, 0] + r.normal(0, 0.2, 2000)) % 1])
    S = ectype.DDPM(train=ectype.Train(budget="1000steps"), random_state=0).fit(X).sample(4000, random_state=0, sampler="dpm", steps=20)
    assert X.min() <= S.min() and S.max() <= X.max()
    for s, x in zip(S.T, X.T, strict=True):
        assert np.unique(s, return_counts=True)[1].max() < 8            # 1 % of the rows, 40, were at an end
        assert np.abs(np.quantile(s, np.linspace(0.01, 0.99, 99)) - np.quantile(x, np.linspace(0.01, 0.99, 99))).max() < 0.05


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
    objective.error = lambda x, c, t, eps, absent: seen.append(t.sort().values) or torch.zeros(len(x))
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

@pytest.mark.parametrize(("sampler", "expected"), [("heun", 2), ("dpm", 2)])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_solvers_of_second_order(schedule, sampler, expected):
    objective, steps, options = exact(schedule), [10, 20, 40, 80], {"dpm": {"eta": 0.0}}.get(sampler, {})
    results = [pushed(objective, steps=n, sampler=sampler, **options) for n in steps]
    fine = pushed(objective, steps=640, sampler="heun")
    errors = [((cov - fine[1]).norm() + (mean - fine[0]).norm()).item() for mean, cov in results]
    assert errors[-1] < 0.02 and expected - 0.5 < order(errors, steps) < expected + 0.9


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_with_fresh_noise_dpm_ends_in_the_distribution_of_the_data(schedule, eta):
    """Of second order in h, the length of its steps in λ/2, however much of the noise is fresh."""
    objective, steps = exact(schedule), [40, 80, 160]
    results = [spread(objective, n, sampler="dpm", eta=eta) for n in steps]
    errors = [((cov - C).norm() + (mean - M).norm()).item() for mean, cov in results]
    h = [objective.schedule.log_snr(objective.times(n, "dpm"))[1:-1].diff().mean().item() / 2 for n in steps]
    assert errors[-1] < 0.01 and 1.6 < np.polyfit(np.log(h), np.log(errors), 1)[0] < 2.4


def test_dpm_without_a_past_is_ancestral_or_ddim():
    at_t, at_s = (Schedule("cosine")(torch.tensor(u, dtype=torch.float64)) for u in (0.8, 0.3))
    x_t, x_hat, eps = torch.randn(3, 6, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(dpm_step(x_t, x_hat, None, at_t, at_t, at_s, eps, 1.0), ancestral_step(x_t, x_hat, at_t, at_s, eps))
    torch.testing.assert_close(dpm_step(x_t, x_hat, None, at_t, at_t, at_s), ddim_step(x_t, x_hat, at_t, at_s))


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_a_dpm_step_keeps_the_marginals(eta):
    """x_t = α_t x + σ_t ε goes to N(α_s x, σ²_s), whatever the share of fresh noise."""
    at_t, at_s = (Schedule("linear")(torch.tensor(u, dtype=torch.float64)) for u in (0.8, 0.3))
    x = torch.tensor([0.7]).double()
    points = at_t[0] * x + at_t[1] * torch.tensor([0.0, 1.0]).double()
    out, fresh = (dpm_step(points, x, None, at_t, at_t, at_s, torch.full((2,), e).double(), eta) for e in (0.0, 1.0))
    torch.testing.assert_close(out[0], (at_s[0] * 0.7).reshape(()))
    torch.testing.assert_close((out[1] - out[0]) ** 2 + (fresh - out)[0] ** 2, (at_s[1] ** 2).reshape(()))


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_times_of_dpm_are_even_in_the_signal_to_noise_ratio(schedule):
    objective = exact(schedule)
    times = objective.times(20, "dpm")
    gaps = objective.schedule.log_snr(times[1:-1]).diff()
    assert times[0] == 1 and times[-1] == 0 and len(times) == 21
    torch.testing.assert_close(gaps, gaps.mean().expand(18), rtol=1e-3, atol=1e-3)
    if schedule == "cosine":
        torch.testing.assert_close(times[[1, -2]], torch.tensor([0.95, 0.05]), rtol=1e-3, atol=1e-4)
    assert torch.equal(objective.times(20), torch.linspace(1, 0, 21)) and torch.equal(objective.times(2, "dpm"), torch.linspace(1, 0, 3))


def test_with_all_of_the_noise_ddim_is_ancestral():
    at_t, at_s = (Schedule("cosine")(torch.tensor(u, dtype=torch.float64)) for u in (0.8, 0.3))
    x_t, x_hat, eps = torch.randn(3, 6, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(ddim_step(x_t, x_hat, at_t, at_s, eps, 1.0), ancestral_step(x_t, x_hat, at_t, at_s, eps))
    small, large = (ancestral_step(x_t, x_hat, at_t, at_s, eps, v) - ancestral_step(x_t, x_hat, at_t, at_s, 0 * eps, v)
                    for v in ("small", "large"))
    torch.testing.assert_close(small, large * at_s[1] / at_t[1])


def test_without_noise_ddim_is_eulers_method_for_the_flow():
    at_t, at_s = (Schedule("linear")(torch.tensor(u, dtype=torch.float64)) for u in (0.8, 0.7))
    x_t, x_hat = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).double()
    slope = (x_t - at_t[0] * x_hat) / at_t[1]
    y = x_t / at_t[0] + (at_s[1] / at_s[0] - at_t[1] / at_t[0]) * slope
    torch.testing.assert_close(ddim_step(x_t, x_hat, at_t, at_s), at_s[0] * y)
    torch.testing.assert_close(ddim_step(x_t, x_hat, at_t, at_s), x_t + (at_s[0] - at_t[0]) * x_hat + (at_s[1] - at_t[1]) * slope)


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
        X = objective.sample(Rows(0, 0, 4000), None, steps=200, sampler="ancestral").double()
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
    assert STEPS["ancestral"] == 1000 and STEPS["ddim"] == 50 and model.evaluations() == 1000
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


# -- likelihood ----------------------------------------------------------------------------------------------------------------------------

def log_density(x):
    return torch.distributions.MultivariateNormal(M.double(), C.double()).log_prob(x.double())


def test_the_bound_of_the_exact_model_is_the_log_likelihood():
    """In continuous time nothing is lost: the posterior of the forward process is the reverse process. What remains is the noise left at
    t = 0, and the integral over times."""
    objective = exact()
    objective.scaled = lambda x: x
    x = M + torch.randn(8000, 2, generator=torch.Generator().manual_seed(1)) @ torch.linalg.cholesky(C).T
    terms = objective.bound_terms(x, None, Alone(8000), draws=64)
    assert (terms["prior"] >= 0).all() and terms["prior"].max() < 1e-3
    gap = log_density(x).mean() + sum(terms.values()).double().mean()
    assert abs(gap) < 0.02
    worse = exact()
    worse.scaled, worse.network = objective.scaled, Answer(torch.zeros(8000, 2))
    assert sum(worse.bound_terms(x, None, Alone(8000), draws=64).values()).mean() > sum(terms.values()).mean() + 0.2


class Alone:
    """Noise for rows each on its own: averaging over them is averaging over noise."""

    def __init__(self, n):
        self.n, self.g = n, torch.Generator().manual_seed(0)

    def normal(self, *shape):
        return torch.randn(self.n, *shape, generator=self.g)

    def uniform(self, *shape):
        return torch.rand(self.n, *shape, generator=self.g)


def test_the_probability_flow_of_the_exact_model_has_the_density_of_the_data():
    objective = exact()
    objective.scaled = lambda x: x
    x = M + torch.randn(20, 2, generator=torch.Generator().manual_seed(1)) @ torch.linalg.cholesky(C).T
    errors = [(objective.flow_log_prob(x, None, Shared(0, 20), steps) - log_density(x)).abs().max().item() for steps in (25, 50, 100)]
    assert errors[2] < 0.02 and errors[2] < errors[1] < errors[0]


@pytest.mark.parametrize("loss", ["simple", "bound"])
def test_likelihoods_of_a_trained_model(loss, gaussian):
    model = ectype.DDPM(train=ectype.Train(budget="900steps", device="cpu"), net=Net(width=(64, 64)), loss=loss,
                        schedule="learned" if loss == "bound" else "cosine", random_state=0).fit(gaussian)
    truth = log_density_of(gaussian[:300])
    bound, flow = (model.log_likelihood(gaussian[:300], method=m).mean() for m in ("bound", "flow"))
    assert truth.mean() - 0.5 < bound < truth.mean() + 0.1 and abs(flow - truth.mean()) < 0.3
    assert model.denoising_errors(gaussian[:5]).shape == (5, 16)


def test_a_row_beyond_the_training_range_has_its_density(gaussian, fitted):
    """x_hat is cut to the range in samplers only: a density has no edge there."""
    beyond = np.array([[3.0 + 2 * 4.2, -1.0 + 0.3 * 2 * 4.2]])
    assert (beyond > gaussian.max(0)).any()
    truth = log_density_of(beyond).item()
    for method in ("bound", "flow"):
        assert abs(fitted.log_likelihood(beyond, method=method).item() - truth) < 6


def test_the_bound_integrates_over_what_the_schedule_reaches():
    """The linear schedule does not come as near to the data as it is allowed: the rest of λ must not be counted."""
    a, b = exact("linear"), exact("linear")
    b.schedule = Schedule("linear", (20.0, -12.0))
    b.network.network.schedule = b.schedule
    x = M + torch.randn(3000, 2, generator=torch.Generator().manual_seed(1)) @ torch.linalg.cholesky(C).T
    for objective in (a, b):
        objective.scaled = lambda x: x
        gap = log_density(x).mean() + sum(objective.bound_terms(x, None, Alone(3000), draws=64).values()).double().mean()
        assert abs(gap) < 0.08


def log_density_of(X):
    from scipy.stats import multivariate_normal

    from .conftest import COVARIANCE, MEAN
    return multivariate_normal(MEAN, COVARIANCE).logpdf(X)


def test_discrete_columns_have_a_bound_and_no_flow():
    """Two categories and a flag, independent: the bound is below their negative entropy, and not far."""
    r = np.random.default_rng(0)
    X = pd.DataFrame({"c": r.choice(["a", "b", "c"], 500, p=[0.6, 0.3, 0.1]), "d": r.choice(list("wxyz"), 500), "f": r.random(500) < 0.5})
    model = ectype.DDPM(train=ectype.Train(budget="600steps", device="cpu"), net=Net(width=(64, 64)), random_state=0).fit(X)
    terms = model._by_batch(*model._given(X, None), lambda x, c: torch.stack(list(
        model.objective_.bound_terms(x, c, Alone(len(x))).values()), 1))
    entropy = 0.898 + np.log(4) + np.log(2)
    assert -entropy - 4 < -terms.sum(1).mean() < -entropy + 0.1      # the network's doubts where categories are decided
    assert terms[:, 1].max() < 1e-3                                     # a category is told from what is left at t = 0
    bound = model.log_likelihood(X)
    common, rare = bound[(X.c == "a").to_numpy()].mean(), bound[(X.c == "c").to_numpy()].mean()
    assert common > rare + 0.5
    with pytest.raises(InvalidParameterError, match="probability flow"):
        model.log_likelihood(X, method="flow")


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_the_bound_is_that_of_the_network_that_samples(precision):
    X, seen = np.random.default_rng(0).integers(0, 17, (40, 4, 4)).astype(np.uint8), []
    model = ectype.DDPM(train=ectype.Train(budget="3steps", device="cpu", precision=precision), net=Net(width=(8,)), random_state=0).fit(X)
    model.objective_.network.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    model.sample(3, sampler="dpm", steps=3, random_state=0)
    assert np.isfinite(model.log_likelihood(X[:5], draws=2)).all()
    assert len(seen) == 3 + 4 and set(seen) == {precision == "bfloat16"}


# -- conditions, guidance, known parts -------------------------------------------------------------------------------------------------------

def test_guidance_moves_away_from_the_unconditional():
    schema, x = numbers(2)
    y_schema, y = labels(k=2)
    torch.manual_seed(0)
    objective = DDPMObjective(schema, y_schema, "cosine", SMALL).eval()
    objective.low.fill_(-torch.inf), objective.high.fill_(torch.inf)
    nn.init.normal_(objective.network.leave.weight)
    t, c = torch.full((1,), 0.5), objective.embed_condition(y)
    free = torch.cat([torch.zeros_like(c[:, :-1]), torch.ones_like(c[:, -1:])], dim=1)
    at = [objective.denoise(x, t, c, w) for w in (0.0, 1.0, 3.0)]
    torch.testing.assert_close(at[0], objective.denoise(x, t, free), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(at[2], at[0] + 3 * (at[1] - at[0]), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(at[0], at[1])


def test_the_condition_is_left_out_of_some_rows_in_training():
    schema, x = numbers(2)
    y_schema, y = labels(k=2)
    objective, seen = DDPMObjective(schema, y_schema, "cosine", SMALL, drop_condition=0.3), []
    objective.network.register_forward_pre_hook(lambda module, args: seen.append(args[2][:, -1]))
    for _ in range(30):
        objective.loss(x, y, "model")
    share = torch.stack(seen).mean()
    assert share.item() == pytest.approx(0.3, abs=0.03)
    objective.eval().loss(x, y, "model")
    assert (seen[-1] == 0).all()


def test_a_known_part_is_kept_and_the_rest_follows_it():
    """For a Gaussian the second number given the first is Gaussian too, with known mean and variance."""
    from ectype.rng import Rows

    objective, n = exact(), 3000
    objective.scaled = lambda x: x
    given = torch.tensor([[1.5, 0.0]]).expand(n, 2)
    known = torch.tensor([[1.0, 0.0]]).expand(n, 2)
    with torch.no_grad():
        out = objective.impute(given, known, torch.zeros_like(known), Rows(0, 0, n), None, steps=100, resample=8)
    assert (out[:, 0] == 1.5).all()
    mean, variance = M[1] + C[0, 1] / C[0, 0] * (1.5 - M[0]), C[1, 1] - C[0, 1] ** 2 / C[0, 0]
    assert out[:, 1].mean().item() == pytest.approx(mean.item(), abs=0.06)
    assert out[:, 1].std().item() == pytest.approx(variance.item() ** 0.5, rel=0.12)


def test_mistakes_in_sampling_are_told(gaussian):
    model = ectype.DDPM(train=ectype.Train(budget="20steps", device="cpu"), net=SMALL, random_state=0).fit(gaussian[:100])
    for options in ({"method": "elbo"}, {"draws": 0}, {"steps": 0, "method": "flow"}):
        with pytest.raises(InvalidParameterError, match="out of its domain"):
            model.log_likelihood(gaussian[:3], **options)
    for options, words in (({"guidance": 2.0}, "guidance needs a condition"), ({"eta": 0.5, "sampler": "heun"}, "sampler ddim and of dpm"),
                           ({"variance": "large", "sampler": "ddim"}, "sampler ancestral"), ({"eta": 2.0, "sampler": "ddim"}, "out of its domain"),
                           ({"variance": "medium"}, "out of its domain")):
        with pytest.raises(InvalidParameterError, match=words):
            model.sample(3, **options)
    assert model.evaluations(sampler="heun", steps=5) == 9
    with pytest.raises(InvalidParameterError, match="not clean"):
        ectype.DDPM(log_snr=(12.0, -1.0)).fit(gaussian[:50])
    with pytest.raises(InvalidParameterError, match="learned schedule"):
        ectype.DDPM(schedule="learned").fit(gaussian[:50])


def test_a_learned_schedule_is_resumed_with_the_run(gaussian, tmp_path, monkeypatch):
    """What it has seen is a part of the checkpoint: the resumed run equals the whole one."""
    import signal

    from ectype.train import loop

    monkeypatch.setattr(loop, "REPORT_EVERY_S", -1.0)

    def model():
        return ectype.DDPM(loss="bound", schedule="learned", train=ectype.Train(budget="60steps", device="cpu"), net=SMALL, random_state=0)

    whole = model().fit(gaussian[:300])
    with pytest.raises(KeyboardInterrupt):
        model().fit(gaussian[:300], run=tmp_path, progress=lambda e: e.get("step") == 31 and signal.raise_signal(signal.SIGINT))
    resumed = model().fit(gaussian[:300], run=tmp_path)
    for name, value in whole.objective_.state_dict().items():
        assert torch.equal(value, resumed.objective_.state_dict()[name]), name
    assert whole.objective_.schedule.seen > 3000


@pytest.mark.parametrize("prediction", ["v", "noise", "data"])
def test_of_pictures_the_network_corrects_the_mean_of_the_mixture(prediction):
    """A network that says nothing yet leaves E[x | x_t] of the mixture, whatever it predicts; and it sees that mean, and the ends of the
    range where a pixel is near them."""
    X = np.random.default_rng(0).integers(0, 256, (200, 6, 6), dtype=np.uint8)
    schema = Schema.fit(X)
    x = torch.from_numpy(schema.encode(X))
    made = DDPMObjective(schema, None, "cosine", SMALL, prediction=prediction).eval()
    made.prepare(x, None)
    t, seen = torch.tensor([0.01, 0.5, 0.9]), []
    alpha, sigma = made.at(t)
    x_t = alpha * made.scaled(x[:3]) + sigma * torch.randn(3, 1, 6, 6)
    made.network.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with torch.no_grad():
        mean, found = made.rough.restored(x_t, alpha, sigma), made.data_of(made.predict(x_t, t, None), x_t, t)
    torch.testing.assert_close(found, mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen[0][:, :2], torch.cat([x_t, mean], dim=1))
    low, high = seen[0][:, 2], seen[0][:, 3]
    assert (low[0, x[0, 0] > 30] == 1).all() and (high[0, x[0, 0] < 220] == -1).all() and (low[0, x[0, 0] == 0].abs() < 1).all()


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize(("sampler", "steps"), [("ancestral", 7), ("dpm", 2), ("dpm", 3), ("dpm", 20), ("dpm", 500)])
def test_sampling_of_pictures_begins_where_the_mixture_is_as_good(schedule, sampler, steps):
    schema = Schema.fit(np.random.default_rng(0).integers(0, 256, (50, 6, 6), dtype=np.uint8))
    made, table = DDPMObjective(schema, None, schedule, SMALL), DDPMObjective(numbers(2)[0], None, schedule, SMALL)
    times = made.times(steps, sampler)
    assert len(times) == steps + 1 and times[-1] == 0 and (times.diff() < 0).all()
    assert float(made.schedule.log_snr(times[:1])) == pytest.approx(BEGIN, abs=0.02) and table.times(steps, sampler)[0] == 1


def test_it_begins_with_rows_of_the_mixture_made_noisy():
    """Whose mean and covariance are α m and α² S + σ² I, with m and S those of the pictures; of a class, those of its pictures."""
    r = np.random.default_rng(0)
    c = r.integers(0, 2, 3000)
    X = np.clip(r.normal(90 + 80 * c[:, None], 12, (3000, 9)), 0, 255).reshape(-1, 3, 3).astype(np.uint8)
    X[:, 0] = X[:, 1]                                                       # two rows of pixels that are the same
    schema, given = Schema.fit(X), labels(n=3000, k=2)[0]
    x, c = torch.from_numpy(schema.encode(X)), torch.from_numpy(c)[:, None].float()
    made = DDPMObjective(schema, given, "cosine", SMALL)
    torch.manual_seed(0)
    made.prepare(x, c)
    t = torch.tensor(0.5)
    alpha, sigma = (float(v) for v in made.clock(t[None]))
    f = made.scaled(x).flatten(1)
    for which in (0.0, 1.0):
        begun = made.begin(Rows(0, 0, 20_000), torch.full((20_000, 1), which), t).flatten(1)
        own = f[c[:, 0] == which]
        torch.testing.assert_close(begun.mean(0), alpha * own.mean(0), atol=0.04, rtol=0)
        torch.testing.assert_close(torch.cov(begun.T), alpha**2 * torch.cov(own.T) + sigma**2 * torch.eye(9), atol=0.05, rtol=0)
    assert torch.equal(made.begin(Rows(0, 0, 5), c[:5], torch.tensor(1.0)), Rows(0, 0, 5).normal(1, 3, 3))
