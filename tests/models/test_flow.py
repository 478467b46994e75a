"""The flow: an invertible map with the right volume, a density that integrates to one, and the likelihood of known truths."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import nn

import ectype
from ectype.data.schema import Schema
from ectype.models.flow import FlowObjective, Fresh, Middle
from ectype.nn.coupling import BOUND, Coupling, masks
from ectype.rng import Rows
from ectype.spec import Net

from .conftest import SMALL, assert_gaussian, labels, numbers


def flow(d, cond=0, transforms=4, bins=5, seed=0, spread=0.3):
    """A flow on d numbers with random weights, so that it is far from the identity."""
    schema, x = numbers(d)
    y_schema, y = labels(k=cond) if cond else (None, None)
    objective = FlowObjective(schema, y_schema, transforms, bins, SMALL)
    g = torch.Generator().manual_seed(seed)
    for p in objective.parameters():
        p.data = spread * torch.randn(p.shape, generator=g)
    return objective.eval(), x, y


CASES = pytest.mark.parametrize(("d", "cond"), [(1, 0), (2, 0), (5, 0), (1, 2), (2, 3), (5, 2)])


@CASES
def test_log_determinant_against_the_jacobian(d, cond):
    objective, x, y = flow(d, cond)
    for i in range(5):
        c = None if y is None else y[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(lambda v, c=c: objective.transform(v[None], c)[0][0], x[i])
        _, log_det = objective.transform(x[i : i + 1], c)
        assert log_det.item() == pytest.approx(torch.linalg.slogdet(jacobian.double())[1].item(), abs=1e-4)


@CASES
def test_the_inverse(d, cond):
    objective, x, y = flow(d, cond)
    x = torch.cat([x, torch.full((1, d), BOUND), torch.full((1, d), 2 * BOUND)])       # at the bound, and beyond
    y = None if y is None else torch.cat([y, y[:2]])
    z, _ = objective.transform(x, y)
    assert (z - x).abs().max() > 0.5
    torch.testing.assert_close(objective.inverse(z, y), x, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(("d", "label"), [(1, None), (2, None), (1, "a"), (1, "b"), (2, "a"), (2, "b")])
def test_the_density_integrates_to_one(d, label):
    objective, _, _ = flow(d, 2 if label else 0)
    axis = torch.linspace(-8, 8, 2001 if d == 1 else 251)
    points = torch.stack(torch.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d)
    c = None if label is None else torch.full((len(points), 1), float(label == "b"))
    total = objective.log_density(points, c).double().exp().sum() * float(axis[1] - axis[0]) ** d
    assert total.item() == pytest.approx(1, abs=2e-3)


def test_the_condition_changes_the_density():
    objective, x, y = flow(2, 2)
    assert not torch.isclose(objective.log_density(x, y), objective.log_density(x, 1 - y)).any()


def test_probabilities_of_all_rows_of_discrete_columns_sum_to_one():
    """Σ_x E_q[p(y) / q(y|x)] = ∫ p = 1: the cells of all rows tile the space."""
    X = pd.DataFrame({"a": list("xyz") * 20, "b": [True, False] * 30, "n": [1.0, 2, 2, 5] * 15})
    schema = Schema.fit(X)
    objective = FlowObjective(schema, None, 4, 5, SMALL)
    objective.prepare(torch.from_numpy(schema.encode(X)), None)
    for p in objective.parameters():
        p.data = 0.12 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    rows = torch.cartesian_prod(torch.arange(3.0), torch.arange(2.0), torch.from_numpy(schema.blocks[2].level_centers()).float())
    with torch.no_grad():
        y, log_q = objective.dequantization(rows.repeat(2000, 1), Fresh(2000 * len(rows), rows.device))
        p = (objective.log_density(y, None) - log_q).exp().view(2000, len(rows)).mean(0)
    assert len(rows) == 18 and p.sum().item() == pytest.approx(1, abs=0.02) and p.max() / p.min() > 1.5


def test_a_new_flow_is_the_identity():
    schema, x = numbers(4)
    objective = FlowObjective(schema, None, 6, 8, SMALL)
    z, log_det = objective.transform(x, None)
    torch.testing.assert_close(z, x, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(log_det, torch.zeros(len(x)), atol=1e-3, rtol=0)


def test_a_coupling_keeps_one_half_and_moves_the_other():
    objective, x, _ = flow(5)
    for layer, mask in zip(objective.flow.layers, masks(5, 4), strict=True):
        z, _ = layer(x, None)
        assert torch.equal(z[:, mask == 1], x[:, mask == 1]) and not torch.isclose(z[:, mask == 0], x[:, mask == 0]).all(0).any()


@pytest.mark.parametrize("dim", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_masks_come_in_complementary_pairs(dim, n):
    found = masks(dim, n)
    assert len(found) == n and all(m.shape == (dim,) and set(m.tolist()) <= {0.0, 1.0} for m in found)
    for a, b in zip(found[::2], found[1::2], strict=False):
        assert dim == 1 or torch.equal(a + b, torch.ones(dim))
    assert all((m == 0).any() for m in found)                           # every layer moves something
    assert all(torch.equal(a, b) for a, b in zip(found, masks(dim, n), strict=True))


@pytest.mark.parametrize("bins", [1, 2, 16])
def test_any_number_of_bins(bins):
    layer = Coupling(torch.tensor([1.0, 0.0]), bins, Net(), (8,), 0)
    nn.init.normal_(layer.net.layers[-1].weight)
    y = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    z, log_slope = layer(y, None)
    assert torch.isfinite(log_slope).all()
    torch.testing.assert_close(layer.inverse(z, None), y, atol=1e-3, rtol=1e-3)


def test_the_loss_is_minus_the_log_likelihood():
    objective, x, _ = flow(3)
    terms = objective.loss(x, None, "model")
    assert terms["loss"].item() == pytest.approx(-objective.log_density(x, None).mean().item(), rel=1e-5) and terms["dequantisation"] == 0


def test_codes_and_rows_are_two_names_of_the_same(gaussian):
    X = pd.DataFrame(gaussian, columns=["u", "v"]).assign(k=np.arange(1500) % 4, w=pd.Series(list("pqr") * 500))
    model = ectype.Flow(train=ectype.Train(budget="30steps"), net=SMALL, random_state=0).fit(X)
    back = model.inverse_transform(model.transform(X))
    pd.testing.assert_frame_equal(back, X, rtol=1e-3, atol=1e-3)
    assert model.transform(X).shape == (1500, 4) and Middle(3, torch.device("cpu")).uniform(2).tolist() == [[0.5, 0.5]] * 3


def test_sampling_is_the_inverse_of_noise():
    objective, _, _ = flow(2)
    torch.testing.assert_close(objective.sample(Rows(0, 0, 50), None), objective.inverse(Rows(0, 0, 50).normal(2), None))


MODES, SIGMA = np.array([[-2.0, 0.0], [2.0, 1.0], [0.0, -3.0]]), 0.5


def mixture(n, seed):
    r = np.random.default_rng(seed)
    return MODES[r.integers(3, size=n)] + SIGMA * r.normal(size=(n, 2))


def mixture_log_prob(X):
    return logsumexp([multivariate_normal(m, SIGMA**2).logpdf(X) for m in MODES], axis=0) - np.log(3)


def test_the_likelihood_of_a_mixture_is_within_a_tenth_of_a_nat_of_the_truth():
    model = ectype.Flow(transforms=4, train=ectype.Train(budget="500steps"), net=Net(width=(32, 32)), random_state=0).fit(mixture(3000, 0))
    test = mixture(2000, 1)
    gap = mixture_log_prob(test) - model.log_likelihood(test)
    assert -0.02 < gap.mean() < 0.1                                     # KL(p ‖ model), up to its own error
    X = model.sample(2000, random_state=0)
    nearest = np.linalg.norm(X[:, None] - MODES, axis=2)
    assert (nearest.min(1) < 4 * SIGMA).mean() > 0.97
    np.testing.assert_allclose(np.bincount(nearest.argmin(1)) / 2000, 1 / 3, atol=0.06)


def test_a_correlated_gaussian_is_learnt(gaussian):
    model = ectype.Flow(transforms=2, train=ectype.Train(budget="250steps"), net=Net(width=(32, 32)), random_state=0).fit(gaussian)
    assert_gaussian(model.sample(4000, random_state=0), atol=0.2)


def test_one_column(gaussian):
    model = ectype.Flow(transforms=2, train=ectype.Train(budget="100steps"), net=SMALL, random_state=0).fit(gaussian[:, :1])
    X = model.sample(3000, random_state=0)
    assert X.shape == (3000, 1) and X.mean() == pytest.approx(3, abs=0.2) and X.std() == pytest.approx(2, abs=0.2)
