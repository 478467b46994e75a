"""The convolutional autoencoder: its loss by hand, what recorded positions carry, both errors, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import ectype
from ectype.errors import InvalidParameterError
from ectype.models.conv import ConvObjective
from ectype.spec import Net, Train

from .conftest import labels

SMALL = Net(width=(4, 6))
WAYS = ["unpool", "transposed", "resize"]
PICTURES = np.random.default_rng(0).integers(0, 256, (7, 9, 8)).astype(np.uint8)


def objective_of(upsampling, condition=None, n=7):
    schema = ectype.Schema.fit(PICTURES)
    return ConvObjective(schema, condition, 5, upsampling, SMALL, 1), torch.from_numpy(schema.encode(PICTURES))[:n]


def half_squares(x_hat, f):
    return 0.5 * (x_hat - f).square().sum((1, 2, 3))


@pytest.mark.parametrize("conditional", [False, True])
def test_the_loss_of_unpooling_by_hand(conditional):
    """Four rows of seven are decoded with their positions, three from the code alone."""
    condition, c = labels(7) if conditional else (None, None)
    objective, x = objective_of("unpool", condition)
    f, e = objective.features.embed(x), objective.embed_condition(c)
    h, positions = objective.encoder(f, e)
    recon = half_squares(objective.decoder(h, e, positions), f)[:4]
    from_code = half_squares(objective.decoder(h, e), f)[4:]
    terms = objective.loss(x, c, "model")
    assert {k: v.item() for k, v in terms.items()} == {
        "loss": pytest.approx((recon.sum() + from_code.sum()).item() / 7, rel=1e-5),
        "recon": pytest.approx(recon.mean().item(), rel=1e-5), "from_code": pytest.approx(from_code.mean().item(), rel=1e-5)}


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_the_loss_without_positions_by_hand(upsampling):
    objective, x = objective_of(upsampling)
    f = objective.features.embed(x)
    terms = objective.loss(x, None, "model")
    expected = half_squares(objective.decoder(objective.encoder(f)[0]), f).mean()
    assert terms["loss"].item() == terms["recon"].item() == pytest.approx(expected.item(), rel=1e-5) and set(terms) == {"loss", "recon"}


def test_the_loss_of_a_single_row():
    objective, x = objective_of("unpool", n=1)
    terms = objective.loss(x, None, "model")
    assert set(terms) == {"loss", "recon"} and terms["loss"].item() == pytest.approx(objective.errors(x, None).sum().item(), rel=1e-5)


@pytest.mark.parametrize("upsampling", WAYS)
def test_both_errors_are_measured(upsampling):
    objective, x = objective_of(upsampling)
    objective.eval()
    f = objective.features.embed(x)
    with torch.no_grad():
        measured = objective.measure(x, None)
        code = half_squares(objective.rebuild(objective.code(f, None), None), f).mean().item()
        through = half_squares(objective.pass_through(f, None), f).mean().item()
    assert measured["reconstruction"] == pytest.approx(through, rel=1e-5)
    if upsampling == "unpool":
        assert set(measured) == {"reconstruction", "from_code"} and measured["from_code"] == pytest.approx(code, rel=1e-5) and code != through
    else:
        assert set(measured) == {"reconstruction"} and code == pytest.approx(through, rel=1e-5)


@pytest.fixture(scope="module", params=WAYS)
def model(request):
    return ectype.ConvAutoencoder(upsampling=request.param, net=Net(width=(16, 32)), random_state=0,
                                  train=Train(budget="250steps", lr=3e-3, threads=1)).fit(load_digits().images[:1500])


def test_digits_go_through_ten_numbers(model):
    X = load_digits().images[1500:]
    codes = model.transform(X)
    assert codes.shape == (297, 10)
    spread = np.square(X - X.mean(0)).sum((1, 2)).mean()
    back, through = (np.square(v - X).sum((1, 2)).mean() for v in (model.inverse_transform(codes), model.reconstruct(X)))
    assert back < 0.6 * spread and through < 0.6 * spread
    if model.upsampling == "unpool":                                    # positions are information beside the code
        assert through < 0.75 * back
        assert model.stages_[-1]["measured"]["reconstruction"] < 0.75 * model.stages_[-1]["measured"]["from_code"]
    else:
        assert through == pytest.approx(back, rel=0.01)


def test_scores_are_errors_with_the_recorded_positions(model):
    X = load_digits().images[1500:1520]
    x = torch.from_numpy(model.schema_.encode(X))
    with torch.no_grad():
        f = model.objective_.features.embed(x)
        expected = -half_squares(model.objective_.pass_through(f, None), f)
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-4)


def test_signals():
    t = np.arange(33) / 33
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, (300, 1))
    X = np.sin(2 * np.pi * t + phase)
    model = ectype.ConvAutoencoder(latent_dim=2, upsampling="resize", net=Net(width=(8, 16)), random_state=0,
                                   train=Train(budget="300steps", lr=5e-3)).fit(X, kinds="signal")
    assert np.square(model.reconstruct(X) - X).mean() < 0.1 * X.var() and model.transform(X).shape == (300, 2)


def test_codes_have_names():
    X = load_digits().images[:40]
    codes = ectype.ConvAutoencoder(latent_dim=3, net=SMALL, train=Train(budget="2steps")).set_output(transform="pandas").fit_transform(X)
    assert list(codes.columns) == ["convautoencoder0", "convautoencoder1", "convautoencoder2"]


def test_pictures_that_are_too_small_are_said():
    message = r"too small for 3 poolings.*expected at least 8 on each side, got 7x9\nhint: fewer widths in net: at most 2"
    with pytest.raises(InvalidParameterError, match=message):
        ectype.ConvAutoencoder(net=Net(width=(4, 4, 4))).fit(np.zeros((20, 7, 9), np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None])


@pytest.mark.parametrize(("change", "refused"), [({}, True), ({"net": SMALL(dropout=0.1)}, False), ({"latent_dim": 15}, False)],
                         ids=["plain", "dropout", "narrower"])
def test_a_code_as_wide_as_the_picture(change, refused):
    X = np.random.default_rng(0).integers(0, 256, (20, 4, 4)).astype(np.uint8)
    model = ectype.ConvAutoencoder(**{"latent_dim": 16, "net": SMALL, "train": Train(budget="2steps"), **change})
    if refused:
        with pytest.raises(InvalidParameterError, match=r"expected latent_dim < 16 \(its values\), got 16"):
            model.fit(X)
    else:
        assert np.isfinite(model.fit(X).score_samples(X)).all()


def test_tables_are_refused_and_the_others_named():
    with pytest.raises(InvalidParameterError, match=r"ConvAutoencoder cannot learn from a table: expected images or signals, got table\nhint: these can: autoencoder, "):
        ectype.ConvAutoencoder().fit(load_digits().data)
