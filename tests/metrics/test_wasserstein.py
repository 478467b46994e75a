"""W₁ in one dimension against SciPy's, and its sliced form against shifts."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from ectype.metrics.wasserstein import random_directions, sliced_wasserstein, wasserstein_1d


@pytest.mark.parametrize(("n", "m"), [(50, 50), (50, 70), (7, 3), (1, 10)])
def test_one_dimension(n, m):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 4)), rng.exponential(size=(m, 4))
    np.testing.assert_allclose(wasserstein_1d(x, y), [wasserstein_distance(a, b) for a, b in zip(x.T, y.T, strict=True)])


def test_identical_rows_in_any_order_are_at_distance_zero():
    x = np.random.default_rng(0).normal(size=(40, 5))
    assert sliced_wasserstein(x, x[::-1], random_directions(5, 16, 0)) == 0.0


def test_a_shift_moves_each_view_by_its_projection():
    x, shift = np.random.default_rng(0).normal(size=(40, 3)), np.array([1.0, -2.0, 0.5])
    directions = random_directions(3, 32, 0)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1.0)
    assert sliced_wasserstein(x, x + shift, directions) == pytest.approx(np.abs(shift @ directions).mean())
    assert sliced_wasserstein(x[:, :1], x[:, :1] + 0.7, random_directions(1, 8, 0)) == pytest.approx(0.7)
