"""Paths through the code: the geometry of both, ends that are reconstructions, one number at a time, every family that has a code."""

import inspect

import numpy as np
import pandas as pd
import pytest

import ectype
from ectype import registry
from ectype.errors import CapabilityError, DataError, InvalidParameterError
from ectype.spec import Net
from ectype.uses.paths import linear, spherical

TINY = ectype.Train(budget="20steps", batch_size=16, device="cpu", precision="float32")
SMALL = Net(width=(8, 8))
R = np.random.default_rng(0)
TABLE = pd.DataFrame({"a": R.normal(size=60), "b": R.normal(5, 2, 60), "k": R.choice(["x", "y"], 60)})
PICTURES = R.integers(0, 17, (40, 8, 8)).astype(float)
CODERS = [n for n in registry.names() if registry.load(n).capabilities >= {"encode", "decode"}]


def fit(name, X, **params):
    cls = registry.load(name)
    defaults = {k: v for k, v in {"train": TINY, "net": SMALL, "random_state": 0}.items() if k in inspect.signature(cls).parameters}
    return cls(**{**defaults, **params}).fit(X, R.choice(["left", "right"], len(X)) if params.get("conditional") else None)


@pytest.fixture(scope="module")
def vae():
    return fit("vae", TABLE)


def test_the_straight_path():
    a, b = np.array([[0.0, 2.0]]), np.array([[4.0, 0.0]])
    np.testing.assert_allclose(linear(a, b, np.array([0, 0.25, 1])), [[[0, 2], [1, 1.5], [4, 0]]])


def test_the_spherical_path_turns_at_a_constant_rate_and_keeps_the_length():
    g, t = np.random.default_rng(1), np.linspace(0, 1, 9)
    a, b = g.normal(size=(2, 50, 12))
    a, b = (3 * v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
    path = spherical(a, b, t)                                                       # (50, 9, 12)
    np.testing.assert_allclose(np.linalg.norm(path, axis=2), 3)
    np.testing.assert_allclose(path[:, [0, -1]], np.stack([a, b], 1))
    turns = np.arccos((path[:, 1:] * path[:, :-1]).sum(2) / 9)
    np.testing.assert_allclose(turns, np.arccos((a * b).sum(1) / 9)[:, None] / 8 * np.ones(8))
    straight = np.linalg.norm(linear(a, b, t), axis=2)
    assert straight[:, 4].max() < 3                                                 # which the line does not


@pytest.mark.parametrize(("a", "b"), [([1.0, 1.0], [2.0, 2.0]), ([1.0, 0.0], [-1.0, 0.0]), ([0.0, 0.0], [1.0, 2.0]), ([0.0, 0.0], [0.0, 0.0])])
def test_the_spherical_path_is_straight_where_there_is_no_arc(a, b):
    a, b, t = np.array([a]), np.array([b]), np.linspace(0, 1, 5)
    np.testing.assert_allclose(spherical(a, b, t), linear(a, b, t), atol=1e-12)


@pytest.mark.parametrize("path", ["spherical", "linear"])
def test_the_ends_are_reconstructions(vae, path):
    a, b = TABLE[:3], TABLE[3:6]
    rows = ectype.interpolate(vae, a, b, 5, path=path)
    assert len(rows) == 15 and list(rows.columns) == list(TABLE.columns)
    for at, end in ((0, a), (4, b)):
        pd.testing.assert_frame_equal(rows[at::5].reset_index(drop=True), vae.reconstruct(end).reset_index(drop=True), rtol=1e-3, atol=1e-3)


def test_the_paths_are_what_the_decoder_makes_of_the_codes(vae):
    a, b = vae.transform(TABLE[:1]), vae.transform(TABLE[1:2])
    rows = ectype.interpolate(vae, TABLE[:1], TABLE[1:2], 3, path="linear")
    pd.testing.assert_frame_equal(rows[1:2].reset_index(drop=True), vae.inverse_transform((a + b) / 2), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", CODERS)
def test_every_family_with_a_code(name):
    X = TABLE if "table" in registry.load(name).containers else PICTURES
    model = fit(name, X)
    between, moved = ectype.interpolate(model, X[:2], X[2:4], 4), ectype.traverse(model, X[:1], dimension=0, values=(-1, 0, 1))
    assert len(between) == 8 and type(between) is type(X) and model.schema_.accepts(between).all()
    assert len(moved) == 3 and moved.shape[1:] == X.shape[1:]


def test_a_traversal_changes_one_number(vae):
    width = vae.objective_.latent_dim
    rows = ectype.traverse(vae, values=(-2, 0, 2))
    codes = np.zeros((width, 3, width))
    for j in range(width):
        codes[j, :, j] = (-2, 0, 2)
    pd.testing.assert_frame_equal(rows, vae.inverse_transform(codes.reshape(-1, width)))
    assert len(ectype.traverse(vae)) == 7 * width
    one = ectype.traverse(vae, TABLE[:1], dimension=[1], values=[vae.transform(TABLE[:1])[0, 1]])
    pd.testing.assert_frame_equal(one, vae.reconstruct(TABLE[:1]), rtol=1e-3, atol=1e-3)


def test_conditions():
    model = fit("vae", PICTURES, conditional=True)
    for condition in ("left", ["left", "right"]):
        rows = ectype.interpolate(model, PICTURES[:2], PICTURES[2:4], 3, condition=condition)
        ends = model.reconstruct(PICTURES[:2], condition)
        assert rows.shape == (6, 8, 8) and np.abs(rows[::3] - ends).max() <= 1
    assert ectype.traverse(model, dimension=0, values=(0, 1), condition="right").shape == (2, 8, 8)
    with pytest.raises(InvalidParameterError, match="is conditional"):
        ectype.traverse(model)


def test_what_cannot_be_walked_is_said(vae):
    with pytest.raises(CapabilityError, match=r"GAN has no code to walk through\nhint: these have: .*vae"):
        ectype.interpolate(fit("gan", TABLE), TABLE[:1], TABLE[1:2])
    with pytest.raises(DataError, match="differ in length: expected 2 rows to go to, got 1"):
        ectype.interpolate(vae, TABLE[:2], TABLE[:1])
    with pytest.raises(DataError, match="starts from one row"):
        ectype.traverse(vae, TABLE[:2])
    for bad in ({"steps": 0}, {"steps": 1}, {"path": "scenic"}):
        with pytest.raises(InvalidParameterError, match="out of its domain"):
            ectype.interpolate(vae, TABLE[:1], TABLE[1:2], **bad)
    for bad in ({"dimension": 99}, {"dimension": -1}, {"dimension": 0.5}, {"values": ()}, {"values": (0, np.nan)}):
        with pytest.raises(InvalidParameterError):
            ectype.traverse(vae, **bad)
