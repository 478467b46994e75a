"""The flow: an invertible map with the right volume, a density that integrates to one, and the likelihood of known truths."""

import signal

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import nn

import ectype
from ectype.data.schema import Schema
from ectype.errors import InvalidParameterError
from ectype.models.flow import FlowObjective, Fresh, Middle, PixelFlowObjective
from ectype.nn.coupling import BOUND, CouplingFlow, masks
from ectype.rng import Rows
from ectype.spec import Net

from .conftest import SMALL, assert_gaussian, labels, numbers


def flow(d, cond=0, transforms=4, bins=5, seed=0, spread=0.3, **options):
    """A flow on d numbers with random weights, so that it is far from the identity."""
    schema, x = numbers(d)
    y_schema, y = labels(k=cond) if cond else (None, None)
    objective = FlowObjective(schema, y_schema, transforms, bins, SMALL, **options)
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


@pytest.mark.parametrize(("d", "label", "options"), [
    (1, None, {}), (2, None, {}), (1, "a", {}), (1, "b", {}), (2, "a", {}), (2, "b", {}), (2, None, {"architecture": "autoregressive"}),
    (2, "b", {"architecture": "autoregressive", "base": "mixture"}), (2, "a", {"base": "mixture"})], ids=str)
def test_the_density_integrates_to_one(d, label, options):
    objective, _, _ = flow(d, 2 if label else 0, **options)
    axis = torch.linspace(-8, 8, 2001 if d == 1 else 251)
    points = torch.stack(torch.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d)
    c = None if label is None else torch.full((len(points), 1), float(label == "b"))
    total = objective.log_density(points, c).double().exp().sum() * float(axis[1] - axis[0]) ** d
    assert total.item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("options", [{}, {"architecture": "autoregressive"}, {"base": "mixture"}, {"base": "student"}], ids=str)
def test_the_condition_changes_the_density(options):
    objective, x, y = flow(2, 2, **options)
    assert not torch.isclose(objective.log_density(x, y), objective.log_density(x, 1 - y)).any()


@pytest.mark.parametrize(("options", "spread"), [({}, 0.12), ({"architecture": "autoregressive"}, 0.12), ({"dequantization": "variational"}, 0.06)],
                         ids=str)
def test_probabilities_of_all_rows_of_discrete_columns_sum_to_one(options, spread):
    """Σ_x E_q[p(y) / q(y|x)] = ∫ p = 1: the cells of all rows tile the space, whatever the noise in them."""
    X = pd.DataFrame({"a": list("xyz") * 20, "b": [True, False] * 30, "n": [1.0, 2, 2, 5] * 15})
    schema = Schema.fit(X)
    objective = FlowObjective(schema, None, 4, 5, SMALL, **options)
    objective.prepare(torch.from_numpy(schema.encode(X)), None)
    for p in objective.parameters():
        p.data = spread * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    rows = torch.cartesian_prod(torch.arange(3.0), torch.arange(2.0), torch.from_numpy(schema.blocks[2].level_centers()).float())
    with torch.no_grad():
        y, log_q = objective.dequantise(rows.repeat(2000, 1), None, Fresh(2000 * len(rows), rows.device))
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
    for layer, linears, mask in zip(objective.flow.layers, objective.flow.views().linears, masks(5, 4), strict=True):
        z = layer(linears, x.T, None)[0].T
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
    stack = CouplingFlow(2, 1, bins, Net(), (8,))
    nn.init.normal_(stack.weights, std=0.5, generator=torch.Generator().manual_seed(0))
    y = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    z, log_slope = stack(y)
    assert torch.isfinite(log_slope).all()
    torch.testing.assert_close(stack.inverse(z), y, atol=1e-3, rtol=1e-3)


def test_the_loss_is_minus_the_log_likelihood():
    objective, x, _ = flow(3)
    terms = objective.loss(x, None, "model")
    assert terms["loss"].item() == pytest.approx(-objective.log_density(x, None).mean().item(), rel=1e-5) and set(terms) == {"loss"}


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


# -- architectures, bases, noise ----------------------------------------------------------------------------------------------------------

def test_autoregressive_layers_take_a_pass_for_each_number(gaussian):
    model = ectype.Flow(architecture="autoregressive", transforms=2, train=ectype.Train(budget="250steps"), net=Net(width=(32, 32)),
                        random_state=0).fit(gaussian)
    assert model.evaluations() == 2 and model.likelihood_ == "exact" and model.dequantization_ == "none"
    assert_gaussian(model.sample(4000, random_state=0), atol=0.2)


@pytest.mark.parametrize("base", ["student", "mixture"])
def test_samples_and_likelihoods_go_through_the_base(base):
    """With T still the identity, samples are those of the base, and the likelihood is its density."""
    schema, x = numbers(2)
    objective = FlowObjective(schema, None, 2, 5, SMALL, base=base)
    torch.testing.assert_close(objective.log_density(x, None), objective.base.log_prob(x, None), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(objective.sample(Rows(0, 0, 50), None), objective.base.sample(Rows(0, 0, 50), None), atol=1e-3, rtol=1e-3)


def test_a_mixture_base_has_clumps_at_once():
    model = ectype.Flow(base="mixture", transforms=2, train=ectype.Train(budget="5steps"), net=SMALL, random_state=0).fit(mixture(3000, 0))
    test = mixture(2000, 1)
    assert (mixture_log_prob(test) - model.log_likelihood(test)).mean() < 0.1


def test_variational_noise_is_named_and_learnt():
    """Noise that leans away from the edges of its cells: the bound stays one, and close to the truth."""
    r = np.random.default_rng(0)
    a = r.random(1000) < 0.5
    X = pd.DataFrame({"a": a, "b": np.where(r.random(1000) < 0.02, ~a, a), "x": r.normal(size=1000)})
    found = {}
    for name in ("uniform", "variational"):
        model = ectype.Flow(dequantization=name, transforms=2, train=ectype.Train(budget="80steps", lr=5e-3), net=SMALL, random_state=0).fit(X)
        assert model.dequantization_ == name and model.likelihood_ == "bound"
        found[name] = model.log_likelihood(X).mean()
    _, log_q = model.objective_.noise(model.objective_.features.embed(torch.from_numpy(model.schema_.encode(X))), Fresh(1000, torch.device("cpu")))
    assert log_q.std() > 0.02 and found["variational"] == pytest.approx(found["uniform"], abs=0.3)


# -- the way back -------------------------------------------------------------------------------------------------------------------------

def test_the_error_of_the_inverse_is_measured_on_held_out_rows(gaussian):
    model = ectype.Flow(transforms=2, train=ectype.Train(budget="30steps"), net=SMALL, random_state=0).fit(gaussian)
    measured = model.stages_[0]["measured"]
    assert set(measured) == {"inverse_error", "inverse_error_max", "astray"}
    assert 0 < measured["inverse_error"] <= measured["inverse_error_max"] < 1e-3 and measured["astray"] == 0 and model.events_ == []


class Jumpy(FlowObjective):
    """A flow whose inverse sends some draws far away, and some to nowhere."""

    def inverse(self, z, c):
        y = super().inverse(z, c)
        return torch.where(z[:, :1] > 1.5, torch.nan, torch.where(z[:, 1:] > 1.5, 1e6, y))


def test_rows_that_jump_are_drawn_again_on_their_own():
    schema, x = numbers(2)
    objective = Jumpy(schema, None, 2, 5, SMALL)
    objective.prepare(x, None)
    rows, astray = objective.draw(Rows(0, 0, 1024), None)
    plain = objective.inverse(Rows(0, 0, 1024).normal(2), None)
    assert 0.1 < astray.float().mean() < 0.16 and torch.equal(rows[~astray], plain[~astray])
    assert rows.isfinite().all() and (rows >= objective.low).all() and (rows <= objective.high).all()
    for start in (0, 256, 512, 768):                                    # whoever else must draw again
        assert torch.equal(objective.draw(Rows(0, start, 256), None)[0], rows[start : start + 256])
    with torch.no_grad():
        found = objective.measure(x, None)
    said = objective.remarks(found)
    assert 0.1 < found["astray"] < 0.2 and np.isfinite(list(found.values())).all() and len(said) == 1 and "drawn again" in said[0]


def test_what_never_comes_back_is_brought_to_the_edge():
    schema, x = numbers(2)
    objective = Jumpy(schema, None, 2, 5, SMALL)
    objective.prepare(x, None)
    objective.inverse = lambda z, c: torch.stack([torch.full((len(z),), torch.inf), torch.full((len(z),), torch.nan)], 1)
    rows = objective.sample(Rows(0, 0, 5), None)
    assert torch.equal(rows[:, 0], objective.high[:1].expand(5)) and (rows[:, 1] == 0).all()
    with torch.no_grad():
        assert "T⁻¹(T(y)) is off" in objective.remarks(objective.measure(x, None))[1]


# -- pictures -----------------------------------------------------------------------------------------------------------------------------

def bars(n=80, side=14, seed=0):
    """A bright row or column on black, in one of seven greys."""
    r = np.random.default_rng(seed)
    X = np.zeros((n, side, side), np.uint8)
    for x, where, upright, grey in zip(X, r.integers(side, size=n), r.random(n) < 0.5, r.integers(1, 8, n), strict=True):
        (x.T if upright else x)[where] = 30 * grey
    return X


@pytest.mark.parametrize("architecture", ["coupling", "autoregressive"])
def test_pictures_have_flows_of_pixels(architecture):
    X, y = bars(), np.arange(80) % 2
    model = ectype.Flow(architecture=architecture, net=SMALL, train=ectype.Train(budget="40steps", lr=1e-2, batch_size=16),
                        conditional=True, random_state=0).fit(X, y)
    assert isinstance(model.objective_, PixelFlowObjective) and model.likelihood_ == "exact" and model.dequantization_ == "none"
    assert model.evaluations() == (196 if architecture == "autoregressive" else 49 + 3)
    assert model.history_[-1]["loss"] < model.history_[0]["loss"] and model.log_likelihood(X, condition=y).max() < 0
    drawn = model.sample(260, condition=1, random_state=0)
    assert drawn.shape == (260, 14, 14) and drawn.dtype == X.dtype and len(np.unique(drawn)) > 2
    assert (drawn != model.sample(260, condition=1, random_state=0, batch_size=256)).mean() < 1e-3
    codes = model.transform(X, condition=y)
    assert codes.shape == (80, 196) and np.isfinite(codes).all()
    assert (model.inverse_transform(codes, condition=y) != X).mean() < 0.01
    assert model.stages_[0]["measured"]["inverse_error"] < 0.01


@pytest.mark.parametrize("architecture", ["coupling", "autoregressive"])
def test_a_saved_flow_of_pixels_is_the_same(architecture, tmp_path):
    X = bars()
    model = ectype.Flow(architecture=architecture, net=SMALL, train=ectype.Train(budget="20steps"), random_state=0).fit(X)
    back = ectype.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(back.log_likelihood(X[:9]), model.log_likelihood(X[:9]))
    np.testing.assert_array_equal(back.sample(9, random_state=0), model.sample(9, random_state=0))


def test_an_interrupted_flow_of_pixels_goes_on_as_if_it_had_not_been(tmp_path):
    X = bars()

    def stop(event):
        signal.raise_signal(signal.SIGINT)

    def flow():
        return ectype.Flow(net=SMALL, train=ectype.Train(budget="60steps"), random_state=0)

    whole = flow().fit(X)
    with pytest.raises(KeyboardInterrupt):
        flow().fit(X, run=tmp_path, progress=stop)
    assert (tmp_path / "checkpoint").is_dir()
    resumed = flow().fit(X, run=tmp_path)
    np.testing.assert_array_equal(resumed.sample(9, random_state=0), whole.sample(9, random_state=0))


def test_the_kind_of_network_decides_which_flow_a_picture_gets():
    def kind(X, **options):
        return type(ectype.Flow(train=ectype.Train(budget="1steps"), random_state=0, **options).fit(X).objective_)

    small, large = bars(40, 8), bars(40, 14)
    assert kind(small) is kind(large, net=Net(kind="mlp")) is FlowObjective
    assert kind(large) is kind(small, net=Net(kind="conv")) is kind(small, architecture="autoregressive") is PixelFlowObjective


def test_a_flow_of_pixels_has_no_other_base():
    with pytest.raises(InvalidParameterError, match=r'expected base "normal", got "student"\nhint: net.kind="mlp"'):
        ectype.Flow(base="student", train=ectype.Train(budget="1steps")).fit(bars(40))
