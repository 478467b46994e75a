"""Every registered family on three kinds of data, trained for a few steps; each fit is made once and shared."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
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


DATA = {
    "table": make_table(),
    "grey": np.random.default_rng(1).integers(0, 17, (40, 8, 8)).astype(float),
    "colour": np.random.default_rng(2).integers(0, 256, (40, 6, 10, 3)).astype(np.uint8),
}
DATA["grey"].flat[:2] = (0, 16)
LABELS = {k: np.random.default_rng(3).choice(["ant", "bee", "cow"], len(v)) for k, v in DATA.items()}


def new(name, **params):
    """An estimator of a family with small networks and a tiny budget."""
    return registry.load(name)(**{"train": TINY, "net": SMALL, "random_state": 0, **params})


@functools.cache
def fitted(name, kind="table", conditional=False):
    """That estimator, fitted; shared, so not to be changed."""
    return new(name, conditional=conditional).fit(DATA[kind], LABELS[kind] if conditional else None)


def draw(model, n, **options):
    """A quick sample."""
    name = next(k for k in NAMES if registry.load(k) is type(model))
    return model.sample(n, **{**QUICK.get(name, {}), **options})


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


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture(params=list(DATA))
def kind(request):
    return request.param
