"""The autoencoder: its loss, the principal components, and the density of the codes that it samples from."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

import ectype
from ectype.errors import InvalidParameterError
from ectype.models.autoencoder import AutoencoderObjective
from ectype.rng import Rows, Shared
from ectype.spec import PRESET, Net
from ectype.train.loop import train

from .conftest import SMALL, labels, numbers


def test_the_loss_by_hand():
    schema, x = numbers(3)
    objective = AutoencoderObjective(schema, None, 1, SMALL, 1)
    objective.decoder = Shift(x, torch.tensor([1.0, -2.0, 0.5]))
    terms = objective.loss(x, None, "model")
    assert terms["loss"].item() == terms["recon"].item() == pytest.approx(0.5 * 5.25, rel=1e-5)
    torch.testing.assert_close(objective.score(x, None, Shared(0, len(x))), torch.full((len(x),), -0.5 * 5.25))


class Shift(nn.Module):
    """A decoder that returns the rows themselves, moved."""

    def __init__(self, x, shift):
        super().__init__()
        self.out = x + shift

    def forward(self, h, c=None):
        return self.out


class Free(nn.Linear):
    """A linear network without a condition."""

    def forward(self, x, c=None):
        return super().forward(x)


def test_a_linear_autoencoder_finds_the_principal_components():
    """Its least loss is half of the variance that the first components leave (Bourlard & Kamp 1988)."""
    r = np.random.default_rng(0)
    X = r.normal(size=(600, 5)) @ (r.normal(size=(5, 5)) * np.array([[2.0], [1.5], [0.4], [0.3], [0.2]]))
    schema = ectype.Schema.fit(X)
    x = torch.from_numpy(schema.encode(X))
    objective = AutoencoderObjective(schema, None, 2, SMALL, 1)
    objective.encoder, objective.decoder = Free(5, 2), Free(2, 5)
    train(objective, x, None, PRESET(budget="1500steps", lr=0.01, validation=0.0, device="cpu"), 0)
    eigenvalues, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    assert objective.loss(x, None, "model")["loss"].item() == pytest.approx(0.5 * eigenvalues[:3].sum(), rel=0.01)
    cosines = np.linalg.svd(np.linalg.qr(objective.decoder.weight.detach().numpy())[0].T @ vectors[:, 3:])[1]
    assert cosines.min() > 0.99


def mixture(latent_dim, n_cond, components=3, seed=0):
    """An objective with a known mixture over (h, c), and that mixture."""
    schema, _ = numbers(4)
    y_schema, _ = labels(k={0: 2, 1: 2, 3: 3}[n_cond]) if n_cond else (None, None)
    objective = AutoencoderObjective(schema, y_schema, latent_dim, SMALL, components)
    g = torch.Generator().manual_seed(seed)
    d = latent_dim + n_cond
    objective.weights.copy_(torch.tensor([0.5, 0.3, 0.2]))
    objective.means.copy_(1.5 * torch.randn(components, d, generator=g))
    root = 0.6 * torch.randn(components, d, d, generator=g)
    objective.covariances.copy_(root @ root.transpose(1, 2) + 0.1 * torch.eye(d))
    joint = MixtureSameFamily(Categorical(objective.weights.double()),
                              MultivariateNormal(objective.means.double(), objective.covariances.double()))
    return objective, joint


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
    objective, joint = mixture(latent_dim, len(c))
    codes = objective._sample_code(Rows(0, 0, n), c.expand(n, -1) if len(c) else None).double()
    mean, cov, h, p = on_a_grid(joint, c, latent_dim)
    scale = cov.diagonal().sqrt()
    assert ((codes.mean(0) - mean) / scale).abs().max() < 4 / n**0.5
    assert ((torch.cov(codes.T).reshape(latent_dim, -1) - cov) / torch.outer(scale, scale)).abs().max() < 0.05
    for j in range(latent_dim):                                         # the whole distribution, not its moments only
        cuts = mean[j] + scale[j] * torch.linspace(-2, 2, 9).double()
        expected = torch.stack([p[h[:, j] <= cut].sum() for cut in cuts])
        torch.testing.assert_close((codes[:, j, None] <= cuts).double().mean(0), expected, atol=0.015, rtol=0)


def test_every_row_may_have_its_own_condition():
    objective, joint = mixture(2, 1)
    c = torch.tensor([[1.0], [-1.0]]).repeat(20_000, 1)
    codes = objective._sample_code(Rows(0, 0, 40_000), c).double()
    for k in (0, 1):
        torch.testing.assert_close(codes[k::2].mean(0), on_a_grid(joint, c[k], 2)[0], atol=0.03, rtol=0)


def test_the_density_is_fitted_on_the_codes():
    schema, x = numbers(4, n=2000)
    objective = AutoencoderObjective(schema, None, 2, SMALL, 10).eval()
    with torch.no_grad():
        objective.conclude(x, None)
        codes, drawn = objective.encode(x, None), objective._sample_code(Rows(0, 0, 20_000), None)
    assert objective.weights.sum().item() == pytest.approx(1, abs=1e-5) and (objective.weights > 0).all()
    assert ((drawn.mean(0) - codes.mean(0)) / codes.std(0)).abs().max() < 0.05
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(codes.T), rtol=0.1, atol=0.02)


def test_few_rows_have_few_components():
    schema, x = numbers(4, n=25)
    objective = AutoencoderObjective(schema, None, 2, SMALL, 10).eval()
    with torch.no_grad():
        objective.conclude(x, None)
        drawn = objective.sample(Rows(0, 0, 500), None)
    assert (objective.weights > 0).sum() == 2 and torch.isfinite(drawn).all()


def test_a_code_as_wide_as_the_row_is_refused():
    X = np.random.default_rng(0).normal(size=(30, 4))
    with pytest.raises(InvalidParameterError, match=r"expected latent_dim < 4 \(the features of a row\), got 4"):
        ectype.Autoencoder(latent_dim=4).fit(X)


@pytest.fixture(scope="module")
def plane():
    """A plane in five dimensions, with a little noise."""
    r = np.random.default_rng(0)
    Z, W = r.normal(size=(1200, 2)), r.normal(size=(2, 5))
    X = Z @ W + 0.05 * r.normal(size=(1200, 5)) + 4
    model = ectype.Autoencoder(latent_dim=2, net=Net(width=(32,)), train=ectype.Train(budget="800steps"), random_state=0)
    return X, W, model.fit(X)


def test_a_plane_is_learnt(plane):
    X, _, model = plane
    assert np.square(model.reconstruct(X) - X).mean() < 0.02 * X.var(0).mean() and model.transform(X).shape == (1200, 2)
    drawn = model.sample(3000, random_state=0)
    np.testing.assert_allclose(drawn.mean(0), X.mean(0), atol=0.2)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(X.T), atol=0.15 * np.trace(np.cov(X.T)) / 5 + 0.1)


def test_rows_off_the_plane_score_low(plane):
    X, W, model = plane
    normal = np.linalg.svd(W)[2][-1]
    assert (model.score_samples(X[:200] + 0.8 * normal) < model.score_samples(X[:200])).mean() > 0.95
    np.testing.assert_allclose(model.score_samples(X[:50]), [model.score(X[i : i + 1]) for i in range(50)], rtol=1e-5)
