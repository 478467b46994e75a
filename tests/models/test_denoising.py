"""The denoising autoencoder: corrupted in, clean out; the posterior mean of a Gaussian; rows restored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import ectype
from ectype.errors import InvalidParameterError
from ectype.models.denoising import DenoisingObjective
from ectype.spec import PRESET, Corruption, Net, Train
from ectype.train.loop import train

from .conftest import SMALL, labels, numbers

GAUSSIAN = Corruption(kind="gaussian", level=0.5)


@pytest.mark.parametrize("conditional", [False, True])
def test_the_loss_by_hand(conditional):
    """The network sees the corrupted row, the error is measured against the clean one."""
    schema, x = numbers(3)
    condition, c = labels() if conditional else (None, None)
    objective = DenoisingObjective(schema, condition, 2, SMALL, GAUSSIAN, 1)
    objective.prepare(x, c)
    torch.manual_seed(5)
    terms = objective.loss(x, c, "model")
    torch.manual_seed(5)
    x_til, c = objective.corrupt(x), objective.embed_condition(c)
    x_hat = objective.decoder(objective.encoder(x_til, c), c)
    expected = 0.5 * (x_hat - x).square().sum(1).mean()
    assert not torch.equal(x_til, x) and terms["loss"].item() == terms["recon"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_scores_and_codes_are_of_the_row_as_it_is():
    schema, x = numbers(3)
    objective = DenoisingObjective(schema, None, 2, SMALL, GAUSSIAN, 1).eval()
    objective.prepare(x, None)
    with torch.no_grad():
        assert torch.equal(objective.encode(x, None), objective.encoder(x)) and torch.equal(objective.errors(x, None), objective.errors(x, None))


def test_it_approaches_the_posterior_mean():
    """For x ~ N(0, Σ) and noise N(0, σ² I) the least error is made by E[x | x̃] = Σ (Σ + σ² I)⁻¹ x̃."""
    r = np.random.default_rng(0)
    X = r.normal(size=(4000, 3)) @ np.array([[1.0, 0.9, 0.7], [0.0, 0.3, -0.4], [0.0, 0.0, 0.3]])
    schema = ectype.Schema.fit(X)
    x = torch.from_numpy(schema.encode(X))
    sigma = 0.7
    objective = DenoisingObjective(schema, None, 16, Net(width=(32,)), Corruption(kind="gaussian", level=sigma), 1)
    train(objective, x, None, PRESET(budget="1200steps", lr=3e-3, device="cpu", batch_size=256), 0)
    covariance = torch.cov(x.T)
    x_til = x + sigma * torch.randn_like(x)
    posterior = x_til @ torch.linalg.solve(covariance + sigma**2 * torch.eye(3), covariance)
    with torch.no_grad():
        gap = (objective.pass_through(x_til, None) - posterior).square().sum(1).mean()
    assert gap < 0.03 * posterior.square().sum(1).mean()
    assert gap < 0.03 * (x_til - posterior).square().sum(1).mean()     # a copy would be that far from it


@pytest.mark.parametrize("kind", ["gaussian", "masking", "salt_and_pepper", "swap"])
def test_digits_are_restored(kind):
    """Rows that it has not seen, with the noise that it was trained on, come back nearer to the clean ones."""
    X = load_digits().images
    model = ectype.DenoisingAutoencoder(corruption=Corruption(kind=kind, level=0.3), net=Net(kind="mlp", width=(256,)), random_state=0,
                                        train=Train(budget="500steps", lr=3e-3)).fit(X[:1500])
    clean = model.schema_.encode(X[1500:])
    model.objective_.corrupt.prepare(torch.from_numpy(model.schema_.encode(X[:1500])))
    noisy = model.schema_.decode(model.objective_.features.project(model.objective_.corrupt(torch.from_numpy(clean))).numpy())
    before, after = np.square(noisy - X[1500:]).mean(), np.square(model.denoise(noisy) - X[1500:]).mean()
    assert after < {"swap": 0.75}.get(kind, 0.6) * before              # pixels of another digit are likely ones


def test_the_default_takes_codes_that_are_wider_than_the_row():
    X = np.random.default_rng(0).normal(size=(40, 5))
    model = ectype.DenoisingAutoencoder(net=SMALL, train=Train(budget="3steps"), random_state=0).fit(X)
    assert model.transform(X).shape == (40, 10) and model.denoise(X).shape == X.shape


@pytest.mark.parametrize(("change", "refused"), [
    ({"corruption": Corruption()}, True), ({"corruption": Corruption(kind="swap", level=0.0)}, True),
    ({"corruption": Corruption(), "net": SMALL(dropout=0.1)}, False), ({"corruption": Corruption(), "latent_dim": 2}, False)],
    ids=["none", "level zero", "dropout", "narrow"])
def test_without_noise_a_wide_code_is_refused(change, refused):
    X = np.random.default_rng(0).normal(size=(40, 5))
    model = ectype.DenoisingAutoencoder(**{"train": Train(budget="3steps"), "net": SMALL, **change})
    if refused:
        with pytest.raises(InvalidParameterError, match=r"without noise a code .* expected a corruption, dropout, or latent_dim < 5"):
            model.fit(X)
    else:
        assert np.isfinite(model.fit(X).score_samples(X)).all()


def test_blanks_and_categories_are_restored_as_such():
    import pandas as pd

    r = np.random.default_rng(0)
    g = r.integers(0, 3, 600)
    X = pd.DataFrame({"group": np.array(["a", "b", "c"])[g], "size": 5.0 * g + r.normal(size=600), "weight": 2.0 * g + r.normal(size=600)})
    model = ectype.DenoisingAutoencoder(corruption=Corruption(kind="swap", level=0.3), net=SMALL(width=(64,)), random_state=0,
                                        train=Train(budget="600steps", lr=3e-3)).fit(X)
    wrong = X[g == 0].assign(group="c")
    restored = model.denoise(wrong)
    assert (restored["group"] == "a").mean() > 0.8 and set(restored["group"]) <= {"a", "b", "c"} and list(restored.columns) == list(X.columns)
