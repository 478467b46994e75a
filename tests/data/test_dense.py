"""Signals: what is stored, what comes back, and what is refused. (Images are tested through the Schema.)"""

import json

import numpy as np
import pandas as pd
import pytest

from ectype.data.dense import Signal, fit_signal, signal_rate
from ectype.data.describe import describe
from ectype.data.schema import Schema
from ectype.data.sources import load
from ectype.errors import DataError, InvalidParameterError, SchemaMismatchError, UnknownNameError

RNG = np.random.default_rng(0)


def sines(n=200, length=64, channels=0, seed=0):
    """Two sines of random phase, and noise; ``(n, length)``, or ``(n, length, channels)`` with other means and scales."""
    rng = np.random.default_rng(seed)
    t = np.arange(length) / length
    x = sum(a * np.sin(2 * np.pi * (k * t + rng.random((n, 1)))) for a, k in ((1, 3), (0.5, 7))) + 0.1 * rng.normal(size=(n, length))
    return np.stack([c + (c + 1) * x for c in range(channels)], axis=-1) if channels else x


@pytest.mark.parametrize("X", [sines(), sines(channels=1), sines(channels=2), sines().astype(np.float32)], ids=lambda X: f"{X.shape}{X.dtype}")
def test_stored_signals_are_standardised_and_come_back(X):
    schema = Schema.fit(X, kinds="signal")
    stored = schema.encode(X)
    channels = X.shape[2] if X.ndim == 3 else 1
    assert stored.shape == (200, channels, 64) and stored.dtype == np.float32
    assert (schema.container, schema.stored_shape, schema.n_dims) == ("signals", (channels, 64), channels * 64)
    assert (schema.is_signal, schema.is_image, schema.is_table) == (True, False, False)
    np.testing.assert_allclose(stored.mean((0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(stored.std((0, 2)), 1, atol=1e-5)
    back = schema.decode(stored)
    assert back.shape == X.shape and back.dtype == X.dtype
    np.testing.assert_allclose(back, X, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64, bool])
def test_whole_numbers_come_back_exactly_and_within_their_range(dtype):
    X = (sines() * 40 + 100 > 100) if dtype is bool else (sines() * 40 + 100).astype(dtype)
    schema = Schema.fit(X, kinds="signal")
    np.testing.assert_array_equal(schema.decode(schema.encode(X)), X)
    far = schema.decode(np.array([[[-1e30, 1e30] * 32]]))
    assert far.dtype == dtype and far.min() == (0 if np.dtype(dtype).kind in "ub" else np.iinfo(dtype).min)
    assert far.max() >= (1 if dtype is bool else np.iinfo(dtype).max - 2048)


def test_values_beyond_the_training_range_are_kept():
    schema = Schema.fit(sines(), kinds="signal")
    far = np.full((1, 64), 7.5)
    np.testing.assert_allclose(schema.decode(schema.encode(far)), far, rtol=1e-6)
    assert schema.accepts(far).all()


def test_a_constant_channel_has_scale_one():
    X = sines(channels=2)
    X[..., 1] = 1e9
    block = Schema.fit(X, kinds="signal").blocks[0]
    assert block.scale[1] == 1.0 and block.center[1] == 1e9 and block.varies
    assert not fit_signal(np.full((5, 4), 3.0))[0].varies


def test_the_rate_and_json():
    schema = Schema.fit(sines(channels=2), kinds="signal@8000")
    assert schema.blocks[0].rate == 8000
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    assert [signal_rate(k) for k in ("signal", "signal@44100", "signal@0", "signal@", "signals", None, {})] == [0, 44100, None, None, None, None, None]


def test_the_derivative_is_that_of_the_map():
    X = sines(channels=2)
    schema = Schema.fit(X, kinds="signal")
    step = schema.encode(X[:1] + 0.5).astype(np.float64) - schema.encode(X[:1])
    np.testing.assert_allclose(schema.log_derivative(schema.encode(X[:3])), np.log(step / 0.5).sum(), rtol=1e-3)


def test_the_derivative_of_tables_and_images():
    X = pd.DataFrame({"x": RNG.normal(0, 5, 50), "k": list("ab") * 25})
    table, image = Schema.fit(X), Schema.fit(RNG.integers(0, 9, (5, 4, 4), dtype=np.uint8))
    np.testing.assert_allclose(table.log_derivative(table.encode(X)), -np.log(table.blocks[0].scale))
    assert (image.log_derivative(np.zeros((3, 1, 4, 4), np.uint8)) == 0).all()


def test_a_numeric_frame_is_an_array_of_signals():
    X = sines(20)
    frame = pd.DataFrame(X).assign(last=pd.array([1] * 20, dtype="Int64"))
    schema = Schema.fit(frame, kinds="signal")
    assert schema.stored_shape == (1, 65) and schema.decode(schema.encode(frame)).shape == (20, 65)


@pytest.mark.parametrize(("X", "error", "words"), [
    (np.ones((5, 1)), DataError, "at least 2 samples"), (np.ones((5, 0, 2)), DataError, "at least 2 samples"),
    (np.ones((5, 4, 4, 1)), DataError, "(N, L, channels)"), (np.ones((1, 8)), DataError, "at least 2 rows"),
    (np.where(np.eye(4, 8, dtype=bool), np.nan, 1.0), DataError, "NaN or infinity in 4 of 4, the first in row 0"),
    (np.full((4, 8), np.inf), DataError, "infinity"), (np.full((4, 8), 1e200), DataError, "infinity"),
    (pd.DataFrame({"a": [1.0, 2], "who": ["x", "y"]}), DataError, "got who"),
    (np.array([["a", "b"], ["c", "d"]], dtype=object), DataError, "not numbers"),
])
def test_what_is_no_signal(X, error, words):
    with pytest.raises(error) as caught:
        Schema.fit(X, kinds="signal")
    assert words in str(caught.value)


@pytest.mark.parametrize("X", [sines(3, 63), sines(3, 64, 1), sines(3, 64, 2)[..., :1], np.ones((3, 64, 64))])
def test_signals_of_another_shape(X):
    schema = Schema.fit(sines(), kinds="signal")
    with pytest.raises(SchemaMismatchError, match=r"expected \(N, 64\)"):
        schema.encode(X)


def test_rows_that_cannot_be_encoded():
    X = sines(4)
    X[1, 5], X[3, 0] = np.nan, np.inf
    assert Schema.fit(sines(), kinds="signal").accepts(X).tolist() == [True, False, True, False]


def test_an_unknown_kind_of_the_whole():
    for kinds in ("signals", "signal@x", "image"):
        with pytest.raises(InvalidParameterError, match="signal@RATE"):
            Schema.fit(sines(), kinds=kinds)
        with pytest.raises(InvalidParameterError, match="signal@RATE"):
            load(sines(), kinds=kinds)


def test_channels_in_front_deserve_a_word():
    assert "moveaxis" in Schema.fit(np.moveaxis(sines(length=8, channels=2), 1, 2)[:, :, :1].repeat(9, 2), kinds="signal").notes[0]
    assert Schema.fit(sines(channels=2), kinds="signal").notes == ()


@pytest.mark.parametrize("label", [None, "class"])
def test_a_csv_of_signals(tmp_path, label):
    frame = pd.DataFrame(sines(30, 8), columns=[f"t{i}" for i in range(8)]).assign(id=[f"r{i}" for i in range(30)])
    frame["class"] = ["up", "down"] * 15
    frame.to_csv(tmp_path / "s.csv", index=False)
    data = load(tmp_path / "s.csv", kinds="signal@10", label=label, drop=["id"] if label else ["id", "class"])
    assert data.X.shape == (30, 8) and (data.is_signal, data.is_table, data.is_image, data.rate) == (True, False, False, 10)
    np.testing.assert_allclose(data.X, frame.iloc[:, :8])
    assert data.y is None if label is None else data.y.tolist() == ["up", "down"] * 15


def test_labels_of_signals(tmp_path):
    np.savez(tmp_path / "s.npz", x=sines(10, channels=2), y=np.arange(10) % 2)
    data = load(tmp_path / "s.npz", kinds="signal", label="y")
    assert data.X.shape == (10, 64, 2) and data.is_signal and data.y.tolist() == [0, 1] * 5
    with pytest.raises(DataError, match="no labels"):
        load(sines(10, channels=2), kinds="signal", label="y")
    with pytest.raises(UnknownNameError, match="klass"):
        load(pd.DataFrame(sines(10)), kinds="signal", label="klass")
    with pytest.raises(DataError, match="who"):
        load(pd.DataFrame(sines(10)).assign(who="x"), kinds="signal")


def test_signals_are_described_in_one_row():
    data = load(sines(channels=2), kinds="signal@32")
    (row,) = describe(data, Schema.fit(data.X, kinds=data.signal))
    assert row["kind"] == "signal" and row["note"] == "200 signals, 64 samples, 2 channels, 32 Hz (2 s)"
    assert row["range"] == [data.X.min(), data.X.max()]


def test_the_block_says_what_a_view_needs():
    block = Schema.fit(sines(channels=2), kinds="signal").blocks[0]
    assert isinstance(block, Signal) and (block.kind, block.type, block.missing, block.shape) == ("signal", "signal", False, (2, 64))
