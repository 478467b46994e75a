"""Flow matching: the exact velocity of a Gaussian, orders of solvers, pairs of noise and rows."""

import numpy as np
import pytest
import torch
from torch import nn

import ectype
from ectype.errors import InvalidParameterError
from ectype.models.flow_matching import FlowMatchingObjective
from ectype.spec import Net

from .conftest import SMALL, assert_gaussian, labels, numbers

M, C = torch.tensor([0.5, -1.0]), torch.tensor([[1.5, 0.6], [0.6, 0.5]])


class ExactVelocity(nn.Module):
    """E[ε − x | x_t] = (x_t − x_hat)/t, x_hat = M + (1 − t) C ((1 − t)² C + t² I)⁻¹ (x_t − (1 − t) M)."""

    def forward(self, x_t, t, c=None):
        t = t.double().view(-1, 1, 1)
        gain = (1 - t) * C.double() @ torch.linalg.inv((1 - t) ** 2 * C.double() + t**2 * torch.eye(2).double())
        x_hat = M + torch.einsum("...ij,...j->...i", gain, x_t.double() - (1 - t[..., 0]) * M)
        return ((x_t.double() - x_hat) / t[..., 0]).float()


class Given:
    """In place of noise: the first draw."""

    def __init__(self, first):
        self.n, self.first = len(first), first

    def normal(self, *shape):
        return self.first

    def uniform(self, *shape):
        return torch.zeros(self.n, *shape)

    gumbel = uniform


def exact(**options):
    schema, _ = numbers(2)
    objective = FlowMatchingObjective(schema, None, SMALL, **options).eval()
    objective.network = ExactVelocity()
    objective.low.fill_(-torch.inf), objective.high.fill_(torch.inf)
    objective.scaled = lambda x: x
    return objective


@pytest.mark.parametrize(("solver", "expected"), [("euler", 1), ("heun", 2)])
def test_solvers_recover_the_gaussian_at_their_order(solver, expected):
    objective, steps, errors = exact(), [10, 20, 40, 80], []
    for n in steps:
        with torch.no_grad():
            out = objective.sample(Given(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])), None, steps=n, solver=solver).double()
        A = (out[1:] - out[0]).T
        errors.append(((A @ A.T - C).norm() + (out[0] - M).norm()).item())
    assert errors[-1] < (0.1 if expected == 1 else 0.02)
    assert expected - 0.4 < -np.polyfit(np.log(steps), np.log(errors), 1)[0] < expected + 1.0


def test_the_least_loss_is_the_variance_of_the_lines():
    """E‖ε − x − u‖² = tr Cov[ε − x | x_t] = tr Cov[x | x_t] / t²."""
    objective, n, t = exact(), 100_000, 0.4
    g = torch.Generator().manual_seed(0)
    x, eps = M + torch.randn(n, 2, generator=g) @ torch.linalg.cholesky(C).T, torch.randn(n, 2, generator=g)
    cov = C - (1 - t) ** 2 * C @ torch.linalg.inv((1 - t) ** 2 * C + t**2 * torch.eye(2)) @ C
    found = objective.error(x, None, torch.full((n,), t), eps).mean()
    assert found.item() == pytest.approx((cov.trace() / t**2 / 2).item(), rel=0.02)


def test_pairs_bring_noise_nearer_and_keep_classes():
    objective, x = exact(), torch.randn(64, 2)
    torch.manual_seed(0)
    random, optimal = (objective.noise_for(x, None, p) for p in ("random", "optimal"))
    assert (optimal - x).square().sum() < 0.5 * (random - x).square().sum()
    schema, y = labels(n=64, k=2)
    conditional = FlowMatchingObjective(numbers(2)[0], schema, SMALL)
    torch.manual_seed(0)
    eps = torch.randn(64, 2)
    torch.manual_seed(0)
    dealt = conditional.noise_for(x, y, "optimal")
    for k in (0, 1):
        mine = y[:, 0] == k
        assert torch.equal(dealt[mine].sort(0).values, eps[mine].sort(0).values)


@pytest.fixture(scope="module")
def fitted(gaussian):
    return ectype.FlowMatching(train=ectype.Train(budget="900steps", device="cpu"), net=Net(width=(64, 64)), random_state=0).fit(gaussian)


@pytest.mark.parametrize("options", [{}, {"steps": 4}, {"solver": "heun", "steps": 5}], ids=["euler", "four steps", "heun"])
def test_a_correlated_gaussian_is_learnt(options, fitted):
    assert_gaussian(fitted.sample(3000, random_state=0, **options), atol=0.25)


def test_cost_and_mistakes(fitted):
    assert (fitted.evaluations(), fitted.evaluations(steps=4), fitted.evaluations(solver="heun", steps=5)) == (50, 4, 9)
    for options, words in (({"solver": "ddim"}, "unknown solver"), ({"steps": 0}, "number of steps"), ({"guidance": 2.0}, "needs a condition"),
                           ({"guidance": -1.0}, "out of its domain"), ({"guidance": "3"}, "guidance is out of its domain")):
        with pytest.raises(InvalidParameterError, match=words):
            fitted.sample(2, **options)
