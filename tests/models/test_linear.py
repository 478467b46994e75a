"""The linear autoencoder is principal component analysis: the same subspace, error and codes, and the closed form with a condition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA

import ectype
from ectype.errors import InvalidParameterError
from ectype.models.linear import MOMENTS, LinearObjective
from ectype.spec import PRESET, Train
from ectype.train.loop import train

from .conftest import labels, numbers

DATA = {"digits": (lambda: load_digits().images, None), "ten of digits": (lambda: load_digits().images, 10),
        "iris": (lambda: load_iris().data, 2), "wine": (lambda: load_wine().data, 5)}


@pytest.fixture(scope="module", params=DATA)
def pair(request):
    """A model with default settings, scikit-learn's on the same features, and these, ``(N, d)`` float64."""
    load, latent_dim = DATA[request.param]
    X = load()
    model = ectype.LinearAutoencoder(latent_dim=latent_dim, random_state=0).fit(X)
    features = model.objective_.features.embed(torch.from_numpy(model.schema_.encode(X))).flatten(1).double().numpy()
    return X, model, PCA(model.objective_.latent_dim, svd_solver="full").fit(features), features


def axes(model):
    return model.objective_.decoder.weight[:, : model.objective_.latent_dim].detach().double().numpy()


def test_the_subspace_is_that_of_the_principal_components(pair):
    _, model, pca, _ = pair
    assert subspace_angles(axes(model), pca.components_.T).max() < 1e-3


def test_the_error_is_that_of_the_principal_components(pair):
    X, model, pca, features = pair
    expected = 0.5 * np.square(pca.inverse_transform(pca.transform(features)) - features).sum(1)
    assert -model.score(X) == pytest.approx(expected.mean(), rel=1e-3)
    np.testing.assert_allclose(-model.score_samples(X), expected, rtol=0.01, atol=0.01 * expected.mean())


def test_codes_are_those_of_the_principal_components(pair):
    """Uncorrelated, with mean zero, ordered by variance, and equal up to signs."""
    X, model, pca, features = pair
    codes = model.transform(X).astype(np.float64)
    covariance = np.cov(codes.T)
    variances = np.diag(covariance)
    np.testing.assert_allclose(codes.mean(0), 0, atol=1e-3 * variances.max() ** 0.5)
    np.testing.assert_allclose(covariance, np.diag(variances), atol=1e-3 * variances.max())
    np.testing.assert_allclose(variances, pca.explained_variance_, rtol=1e-3)
    assert (np.diff(variances) <= 0).all()
    expected = pca.transform(features)
    signs = np.sign((codes * expected).sum(0))
    np.testing.assert_allclose(codes * signs, expected, atol=0.02 * variances.max() ** 0.5)
    np.testing.assert_allclose(axes(model).T @ axes(model), np.eye(len(variances)), atol=1e-5)


def test_the_pseudo_rows_have_the_moments_of_the_rows():
    schema, x = numbers(4, n=50)
    y_schema, c = labels(50, k=3)
    for condition, given in ((None, None), (y_schema, c)):
        objective = LinearObjective(schema, condition, 2, 1)
        objective.prepare(x, given)
        u, none = objective.view(x, given)
        f = objective.features.embed(x).double() - objective.mean.double()
        rows = torch.cat([f, *([] if condition is None else [objective.embed_condition(given).double()]), torch.ones(50, 1)], 1)
        assert none is None and u.shape == (1, rows.shape[1], rows.shape[1])
        torch.testing.assert_close(u[0].T @ u[0] / len(u[0]), rows.T @ rows / 50, rtol=1e-6, atol=1e-6)


def test_many_rows_are_decomposed_in_parts(monkeypatch):
    schema, x = numbers(4, n=50)
    objective = LinearObjective(schema, None, 2, 1)
    objective.prepare(x, None)
    whole = objective.view(x, None)[0][0]
    monkeypatch.setattr("ectype.models.linear.ROWS", 7)
    objective.prepare(x, None)
    parts = objective.view(x, None)[0][0]
    torch.testing.assert_close(parts.T @ parts, whole.T @ whole, rtol=1e-6, atol=1e-6)


def test_fewer_rows_than_columns():
    schema, x = numbers(9, n=4)
    objective = LinearObjective(schema, None, 2, 1)
    assert objective.view(x, None)[0].shape == (1, 4, 10)


@pytest.mark.parametrize("conditional", [False, True])
def test_the_loss_of_the_pseudo_rows_is_that_of_the_rows(conditional):
    """Value and gradient, also by hand: ½ Σₖ (x_hatₖ − xₖ)²."""
    schema, x = numbers(4, n=50)
    condition, c = labels(50, k=3) if conditional else (None, None)
    objective = LinearObjective(schema, condition, 2, 1)
    objective.prepare(x, c)
    direct = objective.loss(x, c, "model")
    x_hat = objective.pass_through(x, objective.embed_condition(c))
    assert direct["loss"].item() == pytest.approx(0.5 * (x_hat - x).square().sum(1).mean().item(), rel=1e-6)
    u, none = objective.view(x, c)
    objective.stage = MOMENTS
    moments = objective.loss(u, none, "model")
    assert moments["loss"].item() == moments["recon"].item() == pytest.approx(direct["loss"].item(), rel=1e-5)
    for a, b in zip(*(torch.autograd.grad(t["loss"], list(objective.parameters())) for t in (direct, moments)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_turning_the_axes_changes_no_reconstruction():
    schema, x = numbers(5, n=80)
    y_schema, c = labels(80)
    objective = LinearObjective(schema, y_schema, 3, 2)
    objective.prepare(x, c)
    with torch.no_grad():
        before = objective.pass_through(x, objective.embed_condition(c))
        objective.conclude(x, c)
        torch.testing.assert_close(objective.pass_through(x, objective.embed_condition(c)), before, rtol=1e-4, atol=1e-5)
        covariance = torch.cov(objective.encode(x, c).T)
    assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-4 * covariance.max()
    assert (covariance.diagonal().diff() <= 0).all()


def test_with_a_condition_what_it_explains_needs_no_code():
    """Reduced-rank regression: the least error is half of the variance that the first components of the residuals leave."""
    r = np.random.default_rng(0)
    y = r.choice(list("abc"), 400)
    shift = 3 * r.normal(size=(3, 5))
    X = r.normal(size=(400, 5)) @ r.normal(size=(5, 5)) + shift[np.unique(y, return_inverse=True)[1]]
    model = ectype.LinearAutoencoder(latent_dim=2, conditional=True, random_state=0).fit(X, y)
    f = model.objective_.features.embed(torch.from_numpy(model.schema_.encode(X))).double().numpy()
    residual = f - np.stack([f[y == k].mean(0) for k in "abc"])[np.unique(y, return_inverse=True)[1]]
    left = np.linalg.eigvalsh(np.cov(residual.T, bias=True))[:3]
    assert -model.score(X, y) == pytest.approx(0.5 * left.sum(), rel=1e-3)


def test_the_batch_size_changes_nothing():
    X = np.random.default_rng(0).normal(size=(60, 4))
    a, b = (ectype.LinearAutoencoder(random_state=0, train=Train(budget="30steps", batch_size=n)).fit(X) for n in (2, 512))
    assert all(torch.equal(p, q) for p, q in zip(a.objective_.parameters(), b.objective_.parameters(), strict=True))


def test_a_rank_that_is_too_low_for_the_code():
    """A table of rank two and a code of three: nothing is lost, and nothing breaks."""
    X = np.random.default_rng(0).normal(size=(80, 2)) @ np.random.default_rng(1).normal(size=(2, 5))
    model = ectype.LinearAutoencoder(latent_dim=3, random_state=0).fit(X)
    assert -model.score(X) < 1e-5 and np.isfinite(model.transform(X)).all() and model.transform(X)[:, 2].std() < 1e-2


@pytest.mark.parametrize("width", [4, 5])
def test_a_code_as_wide_as_the_row_is_refused(width):
    with pytest.raises(InvalidParameterError, match=rf"expected latent_dim < 4 \(the features of a row\), got {width}"):
        ectype.LinearAutoencoder(latent_dim=width).fit(np.random.default_rng(0).normal(size=(30, 4)))


def test_held_out_rows_are_held_out_where_they_are_asked_for():
    schema, x = numbers(3)
    objective = LinearObjective(schema, None, 1, 1)
    outcome = train(objective, x, None, PRESET(budget="200steps", lr=0.03, validation=0.2, device="cpu"), 0)
    curve = [record["held_out"] for record in outcome.history]
    assert outcome.stages[0]["stage"] == MOMENTS and curve[-1] < curve[0]
