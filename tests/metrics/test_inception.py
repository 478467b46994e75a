"""FID and KID in Inception features: against torch-fidelity's own extractor and figures, with random weights in a file."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from ectype.comparison import compare
from ectype.data.schema import Schema
from ectype.errors import DataError, DataFileError, MissingExtraError
from ectype.metrics import Evaluator, InceptionFeatures
from ectype.metrics.frechet import Gaussian, distance_of_samples, fit_gaussian, frechet_distance, wide_estimate
from ectype.metrics.inception import WEIGHTS, _read

RNG = np.random.default_rng(0)
GREY, COLOUR = RNG.integers(0, 17, (60, 8, 8)), RNG.integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)


def schema_of(X) -> Schema:
    return Schema.fit(X, kinds=None)


@pytest.fixture(scope="module")
def extractor():
    """torch-fidelity's extractor, its weights left as they were drawn."""
    try:
        from torch_fidelity import FeatureExtractorInceptionV3, feature_extractor_inceptionv3
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"no torch-fidelity beside a fitting torchvision: {error}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_extractor_inceptionv3, "load_state_dict_from_url", lambda *args, **kwargs: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])


@pytest.fixture(scope="module")
def weights(extractor, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / WEIGHTS
    torch.save(extractor.state_dict(), path)
    return path


@pytest.mark.parametrize(("X", "as_rgb"), [
    (COLOUR, lambda x: x), (GREY, lambda x: np.round(x * 255.0 / 16).astype(np.uint8).repeat(3, axis=1))])
def test_features_are_those_of_torch_fidelity(extractor, weights, X, as_rgb):
    schema = schema_of(X)
    stored = schema.encode(X)[:6]
    with torch.no_grad():
        (theirs,) = extractor(torch.from_numpy(as_rgb(stored)))
    np.testing.assert_allclose(InceptionFeatures(weights, schema)(stored), theirs.numpy(), rtol=1e-4, atol=1e-6)


def test_figures_are_those_of_torch_fidelity(extractor, weights):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    schema = schema_of(COLOUR)
    stored = schema.encode(COLOUR)
    features = InceptionFeatures(weights, schema)
    evaluator = Evaluator(schema, stored[:36], stored[36:48], stored[48:], inception=features)
    figures = evaluator.estimate(stored[36:48])
    a, b = (torch.from_numpy(features(s)) for s in (evaluator.test, stored[36:48]))
    fid = fid_statistics_to_metric(*(fid_features_to_statistics(f) for f in (a, b)), False)
    kid = kid_features_to_metric(a, b, verbose=False, kid_subsets=1, kid_subset_size=12, rng_seed=0)
    assert figures["fid"].value == pytest.approx(next(iter(fid.values())), rel=1e-3, abs=1e-6)
    assert figures["kid"].value == pytest.approx(kid["kernel_inception_distance_mean"], rel=1e-3, abs=1e-6)
    assert figures["fid"].low <= figures["fid"].value <= figures["fid"].high


@pytest.mark.parametrize("content", [b"", b"not weights", None])
def test_a_file_of_something_else_is_refused_and_runs_no_code(extractor, tmp_path, content):
    path, ran = tmp_path / "some.pth", tmp_path / "ran"
    if content is None:
        class Code:
            def __reduce__(self):
                return (open, (str(ran), "w"))
        torch.save({"weight": Code()}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(DataFileError, match=WEIGHTS):
        InceptionFeatures(path, schema_of(COLOUR))
    assert not ran.exists()


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    with pytest.raises(DataFileError, match=rf"{WEIGHTS}[\s\S]*github.com/toshas"):
        InceptionFeatures(tmp_path / "nothing.pth", schema_of(COLOUR))
    with pytest.raises(DataFileError, match=WEIGHTS):
        compare(GREY, out=tmp_path / "out", inception=tmp_path / "nothing.pth")
    assert not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    _read.cache_clear()
    (tmp_path / "some.pth").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"ectype\[inception\]"):
        InceptionFeatures(tmp_path / "some.pth", schema_of(COLOUR))


def test_only_images_have_inception_features(tmp_path):
    with pytest.raises(DataError, match="one or three channels"):
        InceptionFeatures(tmp_path / "some.pth", schema_of(RNG.normal(size=(40, 3))))
    with pytest.raises(DataError, match="2 channels"):
        InceptionFeatures(tmp_path / "some.pth", schema_of(RNG.integers(0, 9, (40, 4, 4, 2))))


@pytest.mark.parametrize(("n", "m", "d"), [(30, 30, 100), (20, 50, 8)])
def test_the_distance_of_samples_is_that_of_their_covariances(n, m, d):
    x, y = RNG.normal(size=(n, d)), RNG.normal(0.3, 1.5, size=(m, d))
    known = frechet_distance(*(Gaussian(g.mean, g.covariance * len(s) / (len(s) - 1)) for s in (x, y) for g in [fit_gaussian(s)]))
    assert distance_of_samples(x, y) == pytest.approx(known, rel=1e-6)
    counts = RNG.integers(0, 4, n)
    assert distance_of_samples(x, y, counts) == pytest.approx(distance_of_samples(np.repeat(x, counts, axis=0), y), rel=1e-6)
    found = wide_estimate(x, y, 0)
    assert found.value == pytest.approx(known, rel=1e-6) and found.low < found.value < found.high
