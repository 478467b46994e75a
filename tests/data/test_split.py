"""The split: disjoint, complete, equal holdout and test, repeatable."""

import numpy as np
import pytest

from ectype.data.sources import load
from ectype.data.split import split
from ectype.errors import DataError, InvalidParameterError


@pytest.mark.parametrize(("n", "size"), [(10, 2), (11, 2), (100, 20), (1797, 359), (32561, 2000), (60000, 2000)])
def test_parts(n, size):
    parts = split(n, seed=0)
    assert len(parts.holdout) == len(parts.test) == size
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))


def test_the_seed_decides():
    a, b, c = split(500, seed=1), split(500, seed=1), split(500, seed=2)
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(a.test, c.test)


def test_max_rows_and_cap():
    parts = split(1000, seed=0, max_rows=100, cap=15, test=0.3)
    assert [len(part) for part in parts] == [70, 15, 15]
    assert len(np.unique(np.concatenate(parts))) == 100
    assert max(part.max() for part in parts) >= 100         # drawn from all rows, not the first ones


def test_a_dataset_is_split_by_its_rows():
    assert np.array_equal(split(load("iris"), seed=3).train, split(150, seed=3).train)


@pytest.mark.parametrize("n", [0, 2, 9])
def test_too_few_rows(n):
    with pytest.raises(DataError, match=f"at least 10 rows, got {n} rows"):
        split(n, seed=0)


@pytest.mark.parametrize("setting", [{"test": 0}, {"test": 0.5}, {"test": -1}, {"max_rows": 5}, {"cap": 0}])
def test_bad_settings(setting):
    with pytest.raises(InvalidParameterError):
        split(100, seed=0, **setting)
