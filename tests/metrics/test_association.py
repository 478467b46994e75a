"""Association of columns against SciPy, and the distance of single columns."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f_oneway, wasserstein_distance
from scipy.stats.contingency import association as scipy_association

from ectype.data.schema import Schema
from ectype.metrics.association import association, correlation_difference, worst_columns


@pytest.fixture(scope="module")
def mixed():
    rng = np.random.default_rng(0)
    n = 500
    g = rng.integers(0, 3, n)
    x = rng.normal(size=n) + g
    frame = pd.DataFrame({"x": x, "y": -x + rng.normal(size=n), "g": np.array(list("abc"))[g],
                          "h": np.where(rng.random(n) < 0.7, g, 0).astype(str), "k": 2.0})
    frame.loc[rng.random(n) < 0.3, "y"] = np.nan
    schema = Schema.fit(frame, kinds={"h": "categorical"})
    return frame, schema, schema.encode(frame)


def test_each_kind_of_pair(mixed):
    frame, schema, stored = mixed
    matrix = pd.DataFrame(association(stored, schema), schema.columns, schema.columns)
    np.testing.assert_allclose(matrix, matrix.T)
    assert matrix.loc["x", "y"] == pytest.approx(np.ma.corrcoef(*np.ma.masked_invalid(stored[:, :2].T))[0, 1], abs=1e-5)
    assert matrix.loc["g", "h"] == pytest.approx(scipy_association(pd.crosstab(frame["g"], frame["h"]), method="cramer"), abs=1e-5)
    groups = [stored[(frame["g"] == k) & frame["y"].notna(), 1].astype(float) for k in "abc"]
    f, n = f_oneway(*groups).statistic, sum(map(len, groups))
    assert matrix.loc["g", "y"] == pytest.approx(np.sqrt(2 * f / (2 * f + n - 3)), abs=1e-5)
    assert (matrix.drop(columns="k").loc["k"] == 0).all()


def test_shuffling_a_column_is_noticed(mixed):
    frame, schema, stored = mixed
    assert correlation_difference(stored, stored, schema) == 0.0
    shuffled = stored.copy()
    shuffled[:, 2] = np.random.default_rng(1).permutation(shuffled[:, 2])
    assert correlation_difference(stored, shuffled, schema) > 0.1
    one = Schema.fit(frame[["x"]])
    assert correlation_difference(stored[:, :1], stored[:, :1], one) == 0.0


def test_the_worst_column_comes_first(mixed):
    frame, schema, stored = mixed
    fake = stored.copy()
    fake[:, 0] += 3 * stored[:, 0].std()
    fake[:, 2] = 0.0
    fake[:, 1] = np.nan
    found = worst_columns(stored, fake, schema)
    assert [c.name for c in found[:3]] == ["x", "y", "g"] and {c.distance for c in found[3:]} == {0.0}
    assert found[0].distance == pytest.approx(3, rel=1e-4)
    assert found[1].distance == pytest.approx(frame["y"].notna().mean())
    assert found[2].distance == pytest.approx((stored[:, 2] != 0).mean())


def test_numbers_are_measured_in_standard_deviations(mixed):
    _, schema, stored = mixed
    fake = stored.copy()
    fake[:, 0] = np.square(fake[:, 0])
    expected = wasserstein_distance(stored[:, 0], fake[:, 0]) / stored[:, 0].std()
    assert next(c for c in worst_columns(stored, fake, schema) if c.name == "x").distance == pytest.approx(expected, rel=1e-4)


def test_images_have_no_columns():
    images = np.zeros((4, 3, 3), np.uint8)
    schema = Schema.fit(images)
    assert worst_columns(schema.encode(images), schema.encode(images), schema) == []
