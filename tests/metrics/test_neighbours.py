"""Neighbourhood metrics on examples small enough to work out by hand."""

import numpy as np
import pytest

from ectype.metrics.neighbours import (
    duplicates,
    fidelity_and_coverage,
    memorisation,
    squared_distances,
    squared_radii,
)


def column(*values):
    return np.array(values, float)[:, None]


def test_by_hand():
    # real 0, 1, 3: balls of radius 1, 1, 2; generated 0.5, 2, 10: balls of radius 1.5, 1.5, 8
    values = fidelity_and_coverage(column(0, 1, 3), column(0.5, 2, 10), k=1)
    # 0.5 lies in the balls of 0 and 1; 2 in those of 1 (closed) and 3; 10 in none
    assert values["precision"] == pytest.approx(2 / 3)
    assert values["density"] == pytest.approx(4 / 3)
    assert values["coverage"] == 1.0
    # 0 and 1 are in the ball of 0.5, and 1, 3 in that of 2
    assert values["recall"] == 1.0


def test_far_away_is_nothing():
    assert set(fidelity_and_coverage(column(0, 1, 3), column(100, 101, 102), k=1).values()) == {0.0}


def test_an_exact_copy_is_covered_also_where_rows_repeat():
    rows = np.repeat(np.random.default_rng(0).normal(size=(6, 3)) * 1e3, 4, axis=0)      # radius 0 at k = 3, an open ball is empty
    values = fidelity_and_coverage(rows, rows.copy(), k=3)
    assert values["precision"] == values["recall"] == values["coverage"] == 1.0
    assert squared_radii(rows, 3).max() < 1e-6


def test_k_is_cut_to_the_rows_there_are():
    assert fidelity_and_coverage(column(0, 1), column(0, 1), k=5)["coverage"] == 1.0


def test_blocks_make_up_the_matrix(monkeypatch):
    monkeypatch.setattr("ectype.metrics.spaces.CHUNK_VALUES", 50)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(23, 4)), rng.normal(size=(17, 4))
    blocks = list(squared_distances(x, y))
    assert len(blocks) > 5
    np.testing.assert_allclose(np.concatenate([d2 for _, d2 in blocks]), np.square(x[:, None] - y).sum(2), atol=1e-12)


def test_memorisation_by_hand():
    # 0.1 is nearest to training, 5.1 to the holdout, 2.5 as near to one as to the other
    assert memorisation(column(0.1, 5.1, 2.5), column(0, 9), column(5, 9.5)) == pytest.approx(0.5)
    assert memorisation(column(0.1, 0.2, 5.1), column(0, 9), column(5, 9.5)) == pytest.approx(2 / 3)
    # at the same distance from two training rows and one holdout row: 2/3, weighed by 2 training and 1 holdout row: ½
    assert memorisation(column(0), column(1, -1), column(1)) == pytest.approx(0.5)


@pytest.mark.parametrize("n_train", [400, 4000])
def test_fresh_rows_are_at_one_half_whatever_the_sizes(n_train):
    rng = np.random.default_rng(0)
    train, holdout, fresh = (rng.normal(size=(n, 3)) for n in (n_train, 400, 2000))
    assert memorisation(fresh, train, holdout) == pytest.approx(0.5, abs=0.04)
    assert memorisation(np.round(fresh), np.round(train), np.round(holdout)) == pytest.approx(0.5, abs=0.04)     # with ties
    assert memorisation(train[:300], train, holdout) == 1.0
    assert memorisation(np.concatenate([train[:300], fresh[:300]]), train, holdout) > 0.6


def test_duplicates_are_equal_in_every_value():
    train = np.array([[0.0, np.nan], [1.0, 2.0]], np.float32)
    rows = np.array([[-0.0, np.nan], [1.0, 2.0], [1.0, 2.5], [0.0, 0.0]], np.float32)
    assert duplicates(rows, train) == 0.5
    images = np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4)
    assert duplicates(images[:1], images) == 1.0
    assert duplicates(images[:1] + 1, images) == 0.0
