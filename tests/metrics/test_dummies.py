"""Dummies: each keeps what it is meant to keep and loses what it is meant to lose."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from ectype.data.schema import Schema
from ectype.metrics import DUMMIES
from ectype.metrics.association import correlation_difference, worst_columns
from ectype.metrics.stored import check_stored


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    n = 1500
    g = rng.integers(0, 2, n)
    x = rng.normal(size=n) + 6 * g
    frame = pd.DataFrame({"x": x, "count": rng.poisson(3, n) + 4 * g, "c": np.where(g, "left", "right"),
                          "m": np.where(rng.random(n) < 0.25, np.nan, x + rng.normal(size=n)), "k": 1.0, "blank": [None] * n})
    schema = Schema.fit(frame)
    return schema, schema.encode(frame)


@pytest.fixture(scope="module")
def digits():
    images = load_digits().images[:400]
    schema = Schema.fit(images)
    return schema, schema.encode(images)


@pytest.mark.parametrize("name", DUMMIES)
@pytest.mark.parametrize("data", ["table", "digits"])
def test_valid_stored_rows_that_the_seed_decides(name, data, request):
    schema, train = request.getfixturevalue(data)
    before = train.copy()
    drawn = DUMMIES[name](train, schema, 130, seed=3)
    assert drawn.shape == (130, *train.shape[1:]) and drawn.dtype == train.dtype
    check_stored(drawn, schema, name)
    np.testing.assert_array_equal(drawn, DUMMIES[name](train, schema, 130, seed=3))
    assert not np.array_equal(drawn, DUMMIES[name](train, schema, 130, seed=4), equal_nan=data == "table")
    np.testing.assert_array_equal(train, before)


def test_training_copy_repeats_rows_only_when_it_must(table):
    schema, train = table
    rows = np.unique(DUMMIES["training_copy"](train, schema, len(train), 0)[:, 0])
    assert len(rows) == len(np.unique(train[:, 0]))
    assert len(DUMMIES["training_copy"](train[:20], schema, 50, 0)) == 50


def test_marginals_keep_columns_and_lose_dependence(table):
    schema, train = table
    drawn = DUMMIES["marginals"](train, schema, 1500, 0)
    assert worst_columns(train, drawn, schema)[0].distance < 0.1
    assert correlation_difference(train, drawn, schema) > 0.2


def test_the_mixture_keeps_modes_dependence_grid_and_blanks(table):
    schema, train = table
    drawn = DUMMIES["gaussian_mixture"](train, schema, 1500, 0)
    assert correlation_difference(train, drawn, schema) < 0.08
    assert worst_columns(train, drawn, schema)[0].distance < 0.25
    middle = np.abs(drawn[:, 0] - train[:, 0].mean()) < 0.3 * train[:, 0].std()
    assert middle.mean() < 0.1                                          # two modes, little between them
    counts = schema.decode(drawn)["count"]
    assert np.array_equal(counts, np.round(counts))
    assert np.isnan(drawn[:, 3]).mean() == pytest.approx(np.isnan(train[:, 3]).mean(), abs=0.06)


def test_noise_changes_most_rows_a_little(table, digits):
    schema, train = table
    drawn = DUMMIES["bootstrap_noise"](train, schema, 1500, 0)
    assert np.isin(drawn[:, 0], train[:, 0]).mean() < 0.05
    assert worst_columns(train, drawn, schema)[0].distance < 0.25
    schema, train = digits
    drawn = DUMMIES["bootstrap_noise"](train, schema, 50, 0).astype(float)
    nearest = np.sqrt(np.square(drawn.reshape(50, 1, -1) - train.reshape(1, len(train), -1)).mean(2)).min(1)
    assert 0.5 < nearest.mean() < 2.0                                   # levels out of 16


def test_binary_images_get_noise_too():
    images = np.zeros((20, 6, 6), np.uint8)
    images[:, 2:4] = 1
    schema = Schema.fit(images)
    flipped = DUMMIES["bootstrap_noise"](schema.encode(images), schema, 200, 0) != schema.encode(images)[:1]
    assert 0.05 < flipped.mean() < 0.3


@pytest.mark.parametrize("name", DUMMIES)
def test_few_rows(name, table, digits):
    for schema, train in (table, digits):
        check_stored(DUMMIES[name](train[:4], schema, 10, 0), schema, name)
