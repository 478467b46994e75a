"""The autoencoder: its loss, the principal components, the codes that it refuses, and what it learns of a plane."""

import numpy as np
import pytest
import torch
from torch import nn

import ectype
from ectype.errors import InvalidParameterError
from ectype.models.autoencoder import AutoencoderObjective
from ectype.rng import Shared
from ectype.spec import PRESET, Net
from ectype.train.loop import train

from .conftest import SMALL, numbers


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


def test_sparsity_by_hand():
    """λ Σⱼ |hⱼ| is added, and is a term of its own."""
    schema, x = numbers(3)
    objective = AutoencoderObjective(schema, None, 2, SMALL, 1, sparsity=0.25)
    f = objective.features.embed(x)
    h = objective.encoder(f)
    recon, sparsity = 0.5 * (objective.decoder(h) - f).square().sum() / len(x), h.abs().sum() / len(x)
    terms = objective.loss(x, None, "model")
    torch.testing.assert_close(torch.stack([terms["recon"], terms["sparsity"], terms["loss"]]), torch.stack([recon, sparsity, recon + 0.25 * sparsity]))
    assert set(AutoencoderObjective(schema, None, 2, SMALL, 1).loss(x, None, "model")) == {"loss", "recon"}


def test_sparsity_makes_codes_small():
    X = np.random.default_rng(0).normal(size=(200, 4))
    plain, sparse = (ectype.Autoencoder(latent_dim=2, sparsity=s, net=SMALL, train=ectype.Train(budget="200steps"), random_state=0).fit(X)
                     for s in (0.0, 1.0))
    assert np.abs(sparse.transform(X)).mean() < 0.2 * np.abs(plain.transform(X)).mean()


def test_errors_sum_to_the_score():
    schema, x = numbers(3)
    objective = AutoencoderObjective(schema, None, 1, SMALL, 1).eval()
    with torch.no_grad():
        errors = objective.errors(x, None)
        torch.testing.assert_close(errors, 0.5 * (objective.decoder(objective.encoder(x)) - x).square())
        torch.testing.assert_close(-errors.sum(1), objective.score(x, None, Shared(0, len(x))))
        assert objective.measure(x, None) == {"reconstruction": pytest.approx(errors.sum(1).mean().item(), rel=1e-5)}


def test_a_code_as_wide_as_the_row_is_refused():
    X = np.random.default_rng(0).normal(size=(30, 4))
    for width in (4, 9):
        with pytest.raises(InvalidParameterError, match=rf"expected latent_dim < 4 \(the features of a row\), got {width}\nhint: .*sparsity > 0, dropout"):
            ectype.Autoencoder(latent_dim=width).fit(X)


@pytest.mark.parametrize("change", [{"sparsity": 0.1}, {"net": SMALL(dropout=0.1)}, {"latent_dim": 3}], ids=["sparsity", "dropout", "narrower"])
def test_unless_something_prevents_a_copy(change):
    X = np.random.default_rng(0).normal(size=(30, 4))
    model = ectype.Autoencoder(**{"latent_dim": 6, "train": ectype.Train(budget="2steps"), **change}).fit(X)
    assert model.transform(X).shape == (30, model.latent_dim)


def test_the_default_code_is_half_as_wide_and_at_most_32():
    for columns, expected in ((1, 1), (2, 1), (7, 3), (100, 32)):
        X = np.random.default_rng(0).normal(size=(30, columns))
        assert ectype.Autoencoder(net=SMALL, train=ectype.Train(budget="1steps")).fit(X).transform(X).shape == (30, expected)


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
