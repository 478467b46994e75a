"""Every registered family on every kind of data that it takes, trained for a few steps; each fit is made once and shared.

A test with the arguments ``name`` and ``kind`` runs for all pairs of a family and a kind of data, one with ``name`` alone for all families
(on the first kind that each takes, :func:`home`), one with ``tabular`` for the families that take tables.
"""

from __future__ import annotations

import functools
import inspect

import numpy as np
import pandas as pd
import torch

from ectype import registry
from ectype.spec import Net, Train

NAMES = registry.names()
TINY = Train(budget="20steps", batch_size=16, device="cpu", precision="float32", patience=0.0)
SMALL = Net(width=(8, 8))
QUICK = {"ddpm": {"steps": 3}}          # options of `sample`


def make_table(n=120, seed=0):
    """A row of every kind, with blanks."""
    r = np.random.default_rng(seed)
    X = pd.DataFrame({
        "amount": np.where(r.random(n) < 0.4, 0.0, np.exp(r.normal(size=n))), "height": r.normal(170, 10, n),
        "weight": r.normal(70, 9, n).round(1), "children": r.poisson(1.2, n), "age": r.integers(18, 90, n).astype(float),
        "city": r.choice(["Rome", "Oslo", "Bonn"], n, p=[0.6, 0.3, 0.1]),
        "member": r.random(n) < 0.3, "since": pd.to_datetime("2024-01-01") + pd.to_timedelta(r.integers(0, 300, n), unit="D"),
        "size": pd.Categorical(r.choice(["S", "M", "L"], n), categories=["S", "M", "L"], ordered=True),
    })
    for name in ("height", "age", "city"):
        X.loc[r.random(n) < 0.15, name] = None
    return X


def make_signals(n=60, length=24, seed=4):
    """Two channels of a slow and a fast sine, of random amplitudes and phases."""
    r = np.random.default_rng(seed)
    t, phase, amplitude = np.arange(length) / length, r.uniform(0, 2 * np.pi, (n, 1, 2, 2)), r.uniform(0.5, 1.5, (n, 1, 2, 2))
    return (amplitude * np.sin(2 * np.pi * np.array([1, 3]) * t[:, None, None] + phase)).sum(-1)


DATA = {
    "table": make_table(),
    "grey": np.random.default_rng(1).integers(0, 17, (40, 8, 8)).astype(float),
    "colour": np.random.default_rng(2).integers(0, 256, (40, 6, 10, 3)).astype(np.uint8),
}
DATA["grey"].flat[:2] = (0, 16)
DATA["signal"] = make_signals()
CONTAINER = {"table": "table", "grey": "images", "colour": "images", "signal": "signals"}
LABELS = {k: np.random.default_rng(3).choice(["ant", "bee", "cow"], len(v)) for k, v in DATA.items()}


def takes(name, kind):
    """Whether a family learns from such data."""
    return CONTAINER[kind] in registry.load(name).containers


def home(name):
    """The first kind of data that a family takes: a table, or else pictures."""
    return next(k for k in DATA if takes(name, k))


TABULAR = [n for n in NAMES if takes(n, "table")]
PAIRS = [(n, k) for n in NAMES for k in DATA if takes(n, k)]


def has(name, param):
    """Whether a family has such a parameter: a linear autoencoder has no ``net``."""
    return param in inspect.signature(registry.load(name)).parameters


def new(name, **params):
    """An estimator of a family with small networks and a tiny budget."""
    defaults = {k: v for k, v in {"train": TINY, "net": SMALL, "random_state": 0}.items() if has(name, k)}
    return registry.load(name)(**{**defaults, **params})


def fit(model, kind, y=None, X=None, **options):
    """The estimator, fitted on data of a kind, or on rows ``X`` of that kind."""
    return model.fit(DATA[kind] if X is None else X, y, kinds="signal" if kind == "signal" else None, **options)


def fitted(name, kind=None, conditional=False):
    """That estimator, fitted; shared, so not to be changed."""
    return _fitted(name, kind or home(name), conditional)


@functools.cache
def _fitted(name, kind, conditional):
    return fit(new(name, conditional=conditional), kind, LABELS[kind] if conditional else None)


def draw(model, n, **options):
    """A quick sample."""
    name = next(k for k in NAMES if registry.load(k) is type(model))
    return model.sample(n, **{**QUICK.get(name, {}), **options})


def curve(model):
    """All numbers of a training curve."""
    return [v for record in model.history_ for k, v in record.items() if k != "stage"]


def weights_of(model):
    return {k: v.clone() for k, v in model.objective_.state_dict().items()}


def same_weights(a, b):
    a, b = weights_of(a), weights_of(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def assert_same(a, b, *, exact=False):
    """Equal samples: exactly, or up to float32 rounding in continuous columns (and pixels at the edge between two levels)."""
    if isinstance(a, np.ndarray):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert np.array_equal(a, b) if exact else (np.abs(a.astype(float) - b.astype(float)) <= (b.max() - b.min()) / 50).all()
        return
    pd.testing.assert_frame_equal(a, b, check_exact=True) if exact else pd.testing.assert_frame_equal(a, b, rtol=1e-3, atol=1e-3)


def pytest_generate_tests(metafunc):
    wanted = metafunc.fixturenames
    if "name" in wanted and "kind" in wanted:
        metafunc.parametrize(("name", "kind"), PAIRS)
    elif "name" in wanted:
        metafunc.parametrize("name", NAMES)
    elif "tabular" in wanted:
        metafunc.parametrize("tabular", TABULAR)
