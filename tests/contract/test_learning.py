"""What every family learns in a few seconds of a mixed table with known dependence, and whether it does as its condition says."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from ectype import registry
from ectype.spec import Net, Train

from .conftest import TABULAR, has

STEPS = {"gan": 800, "flow": 300, "stacked": 1000, "shortcut": 1000, "truncated": 1000}
SETTINGS = {"flow": {"transforms": 3}}
OPTIONS = {"ddpm": {"sampler": "ddim"}}
GROUPS = "abc"


def make(n=1500, seed=0):
    """Three groups that shift a number, a share of zeros, a flag, a count and a colour; and blanks that depend on nothing."""
    r = np.random.default_rng(seed)
    g = r.choice(3, n, p=[0.5, 0.3, 0.2])
    X = pd.DataFrame({
        "size": np.array([0.0, 4.0, 8.0])[g] + 0.7 * r.normal(size=n),
        "amount": np.where(r.random(n) < np.array([0.7, 0.3, 0.1])[g], 0.0, np.exp(r.normal(size=n))),
        "flag": r.random(n) < np.array([0.1, 0.5, 0.9])[g],
        "colour": np.array(["red", "green", "blue"])[np.where(r.random(n) < 0.8, g, r.integers(0, 3, n))],
        "count": r.poisson(np.array([1, 3, 6])[g]),
        "gap": np.where(r.random(n) < 0.3, np.nan, r.normal(5, 2, n)),
    })
    return X, np.array(list(GROUPS))[g]


@functools.cache
def sampled(name, conditional):
    X, y = make()
    model = registry.load(name)(conditional=conditional, random_state=0, train=Train(budget=f"{STEPS.get(name, 500)}steps"),
                                **({"net": Net(width=(64, 64))} if has(name, "net") else {}), **SETTINGS.get(name, {})).fit(X, y)
    options = OPTIONS.get(name, {})
    if not conditional:
        return model.sample(2000, random_state=1, **options)
    return {k: model.sample(600, condition=k, random_state=1, **options) for k in GROUPS}


NONLINEAR = [n for n in TABULAR if n != "linear"]      # which can decide between categories, and between a spike and the rest


@pytest.mark.parametrize("family", NONLINEAR)
def test_shares(family):
    """Blanks, zeros, flags and categories occur as often as in the data."""
    X, S = make()[0], sampled(family, False)
    for real, drawn in ((X["gap"].isna(), S["gap"].isna()), (X["amount"] == 0, S["amount"] == 0), (X["flag"], S["flag"]),
                        *((X["colour"] == c, S["colour"] == c) for c in ("red", "green", "blue"))):
        assert drawn.mean() == pytest.approx(real.mean(), abs=0.08)


@pytest.mark.parametrize("family", NONLINEAR)
def test_numbers(family):
    X, S = make()[0], sampled(family, False)
    for column in ("size", "count", "gap"):
        assert S[column].mean() == pytest.approx(X[column].mean(), abs=0.2 * X[column].std())
        assert S[column].std() == pytest.approx(X[column].std(), rel=0.3)
    low, middle, high = S["amount"][S["amount"] > 0].quantile([0.1, 0.5, 0.9])
    assert low < 0.5 and middle == pytest.approx(1, rel=0.45) and high == pytest.approx(3.6, rel=0.45)
    assert S["count"].dtype == X["count"].dtype and S["count"].nunique() > 5


def test_dependence(tabular):
    S = sampled(tabular, False)
    assert S["size"].corr(S["count"]) > 0.35                            # 0.74 in the data
    assert S["size"][S["flag"]].mean() - S["size"][~S["flag"]].mean() > 2.0     # 3.9 in the data


@pytest.mark.parametrize("family", NONLINEAR)
def test_conditions_are_followed(family):
    for k, S in enumerate(sampled(family, True).values()):
        assert S["size"].mean() == pytest.approx([0, 4, 8][k], abs=0.6)
        assert S["flag"].mean() == pytest.approx([0.1, 0.5, 0.9][k], abs=0.3)
        assert S["colour"].mode()[0] == ["red", "green", "blue"][k]
        hit = (S["size"] - [0, 4, 8][k]).abs() < 2
        assert hit.mean() > 0.9


def test_values_beyond_the_training_range_score_lower_the_farther_they_are(tabular):
    """Levels, a grid and a spike at zero: their outermost cells reach to infinity, scores must not."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"age": draw.integers(18, 70, 2000), "count": draw.integers(0, 1000, 2000),
                          "amount": np.where(draw.random(2000) < 0.7, 0.0, draw.gamma(2, 100, 2000))})
    model = registry.load(tabular)(train=Train(budget="60steps"), random_state=0).fit(frame)
    for column, values in (("age", [69, 75, 120, 1000]), ("count", [999, 1100, 2000, 9000]), ("amount", [0.0, -300.0, -3e4, -1e6])):
        scores = np.concatenate([model.score_samples(frame.iloc[[0]].assign(**{column: v})) for v in values])
        assert np.isfinite(scores).all() and (np.diff(scores) < 0).all(), (column, scores)
