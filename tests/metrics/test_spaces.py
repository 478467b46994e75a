"""Fixed spaces: what they keep, and that they are linear algebra done right."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from ectype.data.schema import Schema
from ectype.metrics.convnet import ConvFeatures, ConvNet, in_batches, train_classifier, turned
from ectype.metrics.spaces import Columns, FourierFeatures, Joined, Pixels, PrincipalComponents
from ectype.metrics.threads import one_thread


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, 400)
    frame = pd.DataFrame({"x": x, "m": np.where(rng.random(400) < 0.3, np.nan, -x), "c": rng.choice(list("abc"), 400), "k": 1.5})
    schema = Schema.fit(frame)
    return schema, schema.encode(frame)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    schema = Schema.fit(data.images)
    return schema, schema.encode(data.images), data.target


def test_columns_weigh_alike_and_come_back(table):
    schema, stored = table
    columns = Columns(stored, schema)
    v = columns(stored)
    assert v.shape == (400, columns.dims) == (400, 1 + 2 + 3 + 1)
    assert v[:, 0].mean() == pytest.approx(0, abs=1e-5) and v[:, 0].std() == pytest.approx(1, abs=1e-5)
    a, b = stored[:1].copy(), stored[:1].copy()
    a[0, 2], b[0, 2] = 0, 1
    assert np.linalg.norm(columns(a) - columns(b)) == pytest.approx(np.sqrt(2))       # another category
    a[0, 1], b[0, 1], b[0, 2] = np.nan, columns.parts[1][0], 0
    assert np.linalg.norm(columns(a) - columns(b)) == pytest.approx(np.sqrt(2))       # a blank against the mean
    np.testing.assert_allclose(columns.decode(v), stored, atol=1e-5)


def test_many_categories_take_limited_room():
    words = [f"w{i}" for i in range(300)]
    frame = pd.DataFrame({"c": pd.Categorical(words * 2), "x": np.arange(600.0)})
    schema = Schema.fit(frame)
    stored = schema.encode(frame)
    columns = Columns(stored, schema)
    assert columns.dims == 64 + 1
    np.testing.assert_array_equal(columns.decode(columns(stored))[:, 0], stored[:, 0])
    np.testing.assert_allclose(np.linalg.norm(columns(stored)[:, :64], axis=1), 1, atol=1e-5)


def test_principal_components_are_those_of_the_covariance(digits):
    schema, stored, _ = digits
    pixels = Pixels(schema)
    x = pixels(stored).astype(np.float64)
    components = PrincipalComponents(pixels, stored, 10)
    variance = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    np.testing.assert_allclose(components(stored).var(0), variance[:10])
    assert components.explained == pytest.approx(variance[:10].sum() / variance.sum())
    everything = PrincipalComponents(pixels, stored, 64)
    assert everything.dims < 64                                                # some pixels of the digits are always blank
    np.testing.assert_allclose(everything.inverse(everything(stored)), x, atol=1e-6)
    np.testing.assert_array_equal(pixels.decode(x), stored)


def test_the_remainder_keeps_the_length(digits):
    schema, stored, _ = digits
    pixels = Pixels(schema)
    components = PrincipalComponents(pixels, stored, 5, remainder=True)
    z = components(stored)
    assert z.shape == (len(stored), components.dims) == (len(stored), 6)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), np.linalg.norm(pixels(stored) - components.mean, axis=1), rtol=1e-6)


def test_wide_images_take_the_randomised_way():
    rng = np.random.default_rng(0)
    basis = rng.random((3, 40, 40))
    images = np.clip((rng.random((60, 3)) @ basis.reshape(3, -1)).reshape(60, 40, 40) * 80, 0, 255).astype(np.uint8)
    schema = Schema.fit(images)
    stored = schema.encode(images)
    components = PrincipalComponents(Pixels(schema), stored, 8)
    assert components.explained > 0.99
    exact = np.linalg.svd(Pixels(schema)(stored) - components.mean, compute_uv=False)[:3] ** 2 / 60
    np.testing.assert_allclose(components.variance[:3], exact, rtol=1e-3)


def test_fourier_features_see_what_two_moments_do_not():
    rng = np.random.default_rng(0)
    normal, coin = rng.normal(size=(4000, 1)), rng.choice([-1.0, 1.0], size=(4000, 1)) + 1e-3 * rng.normal(size=(4000, 1))
    fourier = FourierFeatures(lambda x: x, normal)
    gap = np.linalg.norm(fourier(coin).mean(0) - fourier(normal).mean(0))
    assert gap > 10 * np.linalg.norm(fourier(normal[::2]).mean(0) - fourier(normal[1::2]).mean(0))
    distance = np.abs(normal[:500] - normal[:500].T)        # inner products are the mean of the two Gaussian kernels
    width = np.reciprocal([np.std(f) for f in np.split(fourier.frequencies[0], 2)])
    kernel = np.mean([np.exp(-0.5 * (distance / w) ** 2) for w in width], axis=0)
    assert np.abs(fourier(normal[:500]) @ fourier(normal[:500]).T - kernel).mean() < 0.08


def test_joined_maps_have_equal_variance():
    x = np.random.default_rng(0).normal(size=(500, 3))
    joined = Joined((lambda v: 100 * v[:, :1], lambda v: v[:, 1:]), x)(x)
    assert joined[:, 0].var() == pytest.approx(1) and joined[:, 1:].var(0).sum() == pytest.approx(1)


def test_features_that_name_the_labels(digits):
    _, stored, labels = digits
    features = ConvFeatures(stored[:1000], labels[:1000])
    z, y = features(stored[1000:]), labels[1000:]
    centres = np.stack([features(stored[:1000])[labels[:1000] == k].mean(0) for k in range(10)])
    assert z.shape == (797, features.dims) and "10 labels" in features.task
    assert (np.square(z[:, None] - centres).sum(2).argmin(1) == y).mean() > 0.85
    np.testing.assert_allclose(features(stored[:1]), features(stored[:700])[:1], atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4, 6), (1, 5, 5)])
def test_four_positions(shape):
    images = np.random.default_rng(0).integers(0, 9, (7, *shape), dtype=np.uint8)
    positions, which = turned(images)
    assert positions.shape == (28, *shape) and np.bincount(which).tolist() == [7] * 4
    assert len({p.tobytes() for p in positions}) == 28


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 9), (1, 16, 16), (3, 40, 70), (1, 5, 130)])
def test_any_size_of_image(shape):
    rng = np.random.default_rng(0)
    images, classes = rng.integers(0, 255, (10, *shape), dtype=np.uint8), np.arange(10) % 2
    net = train_classifier(images, classes, 2, 0)
    assert in_batches(net, images).shape == (10, 2) and np.isfinite(in_batches(net, images)).all()


def test_every_pixel_is_seen():
    net = ConvNet((1, 50, 67), 2, torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.Generator().manual_seed(0))
    x = torch.rand(1, 1, 50, 67, requires_grad=True)
    net.features(x).square().sum().backward()
    assert (x.grad != 0).float().mean() > 0.95
