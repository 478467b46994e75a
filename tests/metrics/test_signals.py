"""Metrics of signals: each moves the way it says, on signals whose faults are known."""

import numpy as np
import pandas as pd
import pytest

from ectype.data.schema import Schema
from ectype.errors import DataError
from ectype.metrics import DUMMIES, Evaluator, worst_columns
from ectype.metrics.c2st import c2st
from ectype.metrics.kernels import KERNELS, RandomKernels, band_powers
from ectype.metrics.spaces import PrincipalComponents, Samples


def sines(n, seed, noise=0.1, length=64, channels=1):
    """Two sines of random phase, and noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(length) / length
    x = sum(a * np.sin(2 * np.pi * (k * t + rng.random((n, 1)))) for a, k in ((1, 3), (0.5, 7))) + noise * rng.normal(size=(n, length))
    return x if channels == 1 else np.stack([c + x for c in range(channels)], axis=-1)


@pytest.fixture(scope="module")
def judged():
    """Figures of known generators of signals in two channels."""
    c = 2
    X = sines(240, 0, channels=c)
    schema = Schema.fit(X, kinds="signal")
    train, holdout, test, fresh = (schema.encode(sines(n, s, channels=c)) for s, n in enumerate((240, 80, 80, 80)))
    evaluator = Evaluator(schema, train, holdout, test)
    half = fresh.copy()
    half[..., 32:] = half[..., :32]         # a jump in the middle
    figures = {"floor": evaluator.floor(), "fresh": evaluator.evaluate(fresh), "half": evaluator.evaluate(half),
               "noisy": evaluator.evaluate(schema.encode(sines(80, 5, noise=0.25, channels=c))),
               "smooth": evaluator.evaluate(schema.encode(sines(80, 6, noise=0.02, channels=c)))}
    for name, dummy in DUMMIES.items():
        figures[name] = evaluator.evaluate(dummy(train, schema, evaluator.n, 0))
    return pd.DataFrame(figures), evaluator


def test_fresh_signals_are_at_the_floor(judged):
    f, evaluator = judged
    assert f.loc["c2st", "fresh"] < 0.65 and f.loc["coverage", "fresh"] > 0.9
    assert f.loc["frechet_features", "fresh"] < 1.5 * f.loc["frechet_features", "floor"]
    assert np.isfinite(f.to_numpy()).all() and "correlation_difference" not in f.index
    assert "random convolutions" in evaluator.feature_spaces["features"] and "samples" in evaluator.feature_spaces["pca"]


@pytest.mark.parametrize("generator", ["noisy", "smooth", "half", "marginals", "gaussian_mixture", "bootstrap_noise"])
def test_what_is_unlike_signals_is_seen(judged, generator):
    f, _ = judged
    assert f.loc["c2st", generator] > 0.85
    assert f.loc["frechet_features", generator] > 1.5 * f.loc["frechet_features", "floor"]


def test_copies_are_seen(judged):
    f, _ = judged
    assert f.loc["duplicates", "training_copy"] == 1 and f.loc["duplicates", "bootstrap_noise"] == 0
    assert f.loc["memorisation", "training_copy"] > 0.99 and abs(f.loc["memorisation", "fresh"] - 0.5) < 0.15


@pytest.mark.parametrize("name", DUMMIES)
def test_dummies_are_signals_on_the_grid_of_the_data(name):
    X = (sines(100, 0, channels=2) * 20).round().astype(np.int16)
    schema = Schema.fit(X, kinds="signal")
    train = schema.encode(X)
    drawn = DUMMIES[name](train, schema, 30, 0)
    assert drawn.shape == (30, 2, 64) and drawn.dtype == np.float32
    values = drawn.astype(np.float64) * np.asarray(schema.blocks[0].scale)[:, None] + np.asarray(schema.blocks[0].center)[:, None]
    np.testing.assert_allclose(values, np.round(values), atol=1e-3)
    np.testing.assert_array_equal(drawn, DUMMIES[name](train, schema, 30, 0))


def test_the_dummies_leave_a_silent_channel_silent():
    X = sines(60, 0, channels=2)
    X[..., 1] = 3.0
    schema = Schema.fit(X, kinds="signal")
    assert (DUMMIES["bootstrap_noise"](schema.encode(X), schema, 20)[:, 1] == 0).all()


def test_signals_without_columns_have_no_worst_one():
    schema = Schema.fit(sines(20, 0), kinds="signal")
    assert worst_columns(schema.encode(sines(9, 1)), schema.encode(sines(9, 2)), schema) == []


def test_what_the_evaluator_refuses():
    schema = Schema.fit(sines(20, 0), kinds="signal")
    stored = schema.encode(sines(40, 1))
    evaluator = Evaluator(schema, stored, stored[:10], stored[10:20])
    for bad, words in ((stored[:, :, :60], "another shape"), (np.where(stored > 2, np.nan, stored), "not finite"), (stored[:5], "too few")):
        with pytest.raises(DataError, match=words):
            evaluator.evaluate(bad)


@pytest.mark.parametrize("shape", [(20, 1, 2), (20, 1, 9), (20, 5, 40), (20, 2, 600)])
def test_random_kernels_are_standardised_and_repeatable(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    kernels = RandomKernels(x, seed=1)
    found = kernels(x)
    assert found.shape == (20, 2 * KERNELS) and kernels.dims == 2 * KERNELS and np.isfinite(found).all()
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-3)
    assert (found.std(0) < 1.001).all() and found.std(0).mean() > 0.5
    np.testing.assert_array_equal(found, RandomKernels(x, seed=1)(x))
    np.testing.assert_allclose(kernels(x[3:7]), found[3:7], atol=1e-5)


def test_random_kernels_see_no_level_and_no_place():
    x = np.zeros((40, 1, 256), np.float32)
    rng = np.random.default_rng(0)
    bump = np.hanning(16)
    for row in x:
        at = rng.integers(100, 140)
        row[0, at : at + 16] += bump * rng.normal()
    early = x[:1].copy()
    early[0, 0] = np.roll(early[0, 0], -20)
    kernels = RandomKernels(x)
    moved = np.abs(kernels(early) - kernels(x[:1]))
    assert np.median(moved) < 0.05 and np.abs(kernels(-x[:1]) - kernels(x[:1])).mean() > 0.5


def test_band_powers_are_parsevals():
    """The bands' powers, weighted by the number of their frequencies, sum to the mean square of the signal."""
    x = np.random.default_rng(0).normal(size=(3, 2, 64)).astype(np.float32)
    edges = np.concatenate([[0], np.unique(np.geomspace(1, 33, 17).astype(int))])
    power = (np.exp(band_powers(x)) - 1e-6).reshape(3, 2, -1) * np.diff(edges)
    spectrum = np.abs(np.fft.rfft(x, axis=2)) ** 2 / 64
    np.testing.assert_allclose(power.sum(2), spectrum.sum(2), rtol=1e-5)
    assert np.isfinite(band_powers(np.zeros((2, 1, 2), np.float32))).all()


def test_principal_components_of_signals_come_back():
    schema = Schema.fit(sines(50, 0, channels=2), kinds="signal")
    x = schema.encode(sines(50, 0, channels=2))
    samples = Samples(schema)
    components = PrincipalComponents(samples, x, 128)
    np.testing.assert_allclose(samples.decode(components.inverse(components(x))), x, atol=1e-4)


def test_the_trees_see_white_noise_in_the_spectrum():
    """Noise of a tenth of the signal, which no principal component shows."""
    schema = Schema.fit(sines(150, 0, 0.0, 400), kinds="signal")
    real, noisy = schema.encode(sines(150, 1, 0.0, 400)), schema.encode(sines(150, 2, 0.1, 400))
    assert c2st(real, noisy, schema) > 0.99
    assert abs(c2st(real, schema.encode(sines(150, 3, 0.0, 400)), schema) - 0.5) < 0.1
