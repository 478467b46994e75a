"""Intervals of figures: the closed forms they rest on, and how often they hold what they should."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ectype.data.schema import Schema
from ectype.metrics import METRICS, Estimate
from ectype.metrics.association import association_estimate, correlation_difference
from ectype.metrics.frechet import fit_gaussian, frechet_distance, resampled_distance
from ectype.metrics.mmd import kernel_distance
from ectype.metrics.neighbours import coverings, fidelity_and_coverage, memorisation_estimate, neighbourhood_estimates, squared_radii
from ectype.metrics.uncertainty import Q, auroc_and_variance, jackknife, resampled_variance
from ectype.metrics.wasserstein import random_directions, sliced_estimate, sliced_wasserstein


def mixed(n: int, seed: int) -> pd.DataFrame:
    """Two dependent numbers and a category of the first."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return pd.DataFrame({"x": x, "y": x + rng.normal(size=n), "c": np.where(x + rng.normal(size=n) > 0, "a", "b")})


def test_wilson_s_interval():
    e = Estimate.share(0.3, 0.3 * 0.7 / 50, 50)
    assert (e.low, e.high) == (pytest.approx(0.191, abs=1e-3), pytest.approx(0.438, abs=1e-3))        # Wilson 1927, 15 of 50
    assert Estimate.share(0.0, 0.0, 300) == (0.0, 0.0, pytest.approx(Q**2 / (300 + Q**2)))
    assert Estimate.share(1.0, 0.0, 300).low == pytest.approx(300 / (300 + Q**2))


def test_estimates_of_means_and_distances():
    values = np.array([1.0, 2.0, 3.0, 6.0])
    e = Estimate.mean(values)
    assert e.value == 3.0 and e.high - e.value == pytest.approx(Q * values.std() / 2) == e.value - e.low
    assert Estimate.positive(0.1, 0.01) == (0.1, 0.0, pytest.approx(0.1 + Q * 0.1))
    assert Estimate(2.0, 1.0, 4.0).scaled(-0.5) == (-1.0, -2.0, -0.5)


def test_the_jackknife_of_a_mean_is_its_variance():
    x = np.random.default_rng(0).normal(size=40)
    left_out = np.array([np.delete(x, i).mean() for i in range(40)])
    assert jackknife(left_out) == pytest.approx(x.var(ddof=1) / 40)


def test_delong_s_variance_is_the_jackknife_s():
    rng = np.random.default_rng(0)
    scores, positive = np.concatenate([rng.normal(1, 1, 40), rng.normal(0, 1, 60)]).round(1), np.repeat([True, False], [40, 60])
    value, variance = auroc_and_variance(scores, positive)
    assert value == pytest.approx(roc_auc_score(positive, scores))
    keep = ~np.eye(100, dtype=bool)
    left_out = np.array([roc_auc_score(positive[k], scores[k]) for k in keep])
    by_hand = sum(jackknife(left_out[group]) for group in (positive, ~positive))
    assert variance == pytest.approx(by_hand, rel=1e-6)


def test_the_resampled_variance_of_a_difference_of_means():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=400), rng.normal(size=100)
    found = [resampled_variance(lambda i, j: x[i].mean() - y[j].mean(), 400, 100, s) for s in range(20)]
    assert np.mean(found) == pytest.approx(x.var() / 400 + y.var() / 100, rel=0.15)


def test_who_is_in_which_ball_is_counted_and_who_would_be_missed():
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(30, 2)), rng.normal(0.5, 1, size=(25, 2))
    radii, own = squared_radii(real, 3), squared_radii(generated, 3)
    c = coverings(real, generated, radii, own)
    d2 = np.square(real[:, None] - generated).sum(2)
    held, recalled = d2 <= radii[:, None], d2 <= own
    np.testing.assert_array_equal(c.of_real, held.sum(1))
    np.testing.assert_array_equal(c.of_generated, held.sum(0))
    np.testing.assert_array_equal(c.recalled, recalled.sum(1))
    for i in range(30):
        assert c.sole_real[i] == held.any(0).sum() - np.delete(held, i, 0).any(0).sum()
    for j in range(25):
        assert c.sole_generated[j] == held.any(1).sum() - np.delete(held, j, 1).any(1).sum()
        assert c.sole_recalling[j] == recalled.any(1).sum() - np.delete(recalled, j, 1).any(1).sum()


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(60, 3)), rng.normal(0.3, 1, size=(50, 3))
    whole = neighbourhood_estimates(real, generated), kernel_distance(real, generated), memorisation_estimate(generated, real, real[:20] + 1)
    monkeypatch.setattr("ectype.metrics.spaces.CHUNK_VALUES", 200)
    assert neighbourhood_estimates(real, generated) == whole[0]
    np.testing.assert_allclose(kernel_distance(real, generated), whole[1])
    np.testing.assert_allclose(memorisation_estimate(generated, real, real[:20] + 1), whole[2])


def test_the_kernel_distance_in_its_definition():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 3)), rng.normal(1, 1, size=(9, 3))

    def k(a, b):
        return (a @ b.T / 3 + 1) ** 3

    pairs = [(k(a, a).sum() - np.trace(k(a, a))) / (len(a) * (len(a) - 1)) for a in (x, y)]
    assert kernel_distance(x, y).value == pytest.approx(sum(pairs) - 2 * k(x, y).mean())


def test_the_kernel_distance_of_one_distribution_is_zero_on_average():
    values = np.array([kernel_distance(*np.random.default_rng(s).normal(size=(2, 40, 3))).value for s in range(100)])
    assert abs(values.mean()) < 3 * values.std() / 10 and (values < 0).mean() > 0.3


def coverage_of(draw, n: int = 60) -> float:
    """Share of the intervals that hold the mean of their figure, over repeated samples."""
    found = np.array([draw(np.random.default_rng(s)) for s in range(n)])
    mean = found[:, 0].mean()
    return float(((found[:, 1] <= mean) & (mean <= found[:, 2])).mean())


@pytest.mark.parametrize("name", ["precision", "recall", "density", "coverage"])
def test_intervals_of_neighbourhoods_hold_the_mean(name):
    assert coverage_of(lambda rng: neighbourhood_estimates(rng.normal(size=(150, 2)), rng.normal(0.5, 0.8, size=(150, 2)))[name]) >= 0.85


def test_intervals_of_the_other_figures_hold_the_mean():
    directions = random_directions(2, 32, 0)

    def frechet(rng):
        x, y = rng.normal(size=(150, 2)), rng.normal(0.5, 0.8, size=(150, 2))
        return Estimate.positive(frechet_distance(fit_gaussian(x), fit_gaussian(y)), resampled_distance(x, y, 0))

    assert coverage_of(frechet) >= 0.85
    assert coverage_of(lambda rng: sliced_estimate(rng.normal(size=(150, 2)), rng.normal(0.5, 0.8, size=(150, 2)), directions, 0)) >= 0.85
    assert coverage_of(lambda rng: kernel_distance(rng.normal(size=(150, 2)), rng.normal(0.5, 0.8, size=(150, 2)))) >= 0.85
    fresh = coverage_of(lambda rng: memorisation_estimate(*(rng.normal(size=(n, 2)) for n in (150, 300, 150))))
    assert fresh >= 0.85


def test_the_value_is_that_of_the_plain_function():
    schema = Schema.fit(mixed(300, 0))
    a, b = schema.encode(mixed(300, 0)), schema.encode(mixed(300, 1))
    e = association_estimate(a, b, schema, 0)
    assert e.value == correlation_difference(a, b, schema) and e.low < e.value < e.high
    x, y = a[:, :2].astype(float), b[:, :2].astype(float)
    assert sliced_estimate(x, y, random_directions(2, 40, 0), 0).value == sliced_wasserstein(x, y, random_directions(2, 40, 0))
    assert fidelity_and_coverage(x, y) == {k: v.value for k, v in neighbourhood_estimates(x, y).items()}


def test_bounds_of_the_catalogue():
    shares = {m for m, metric in METRICS.items() if metric.bounds == (0.0, 1.0)}
    assert shares == {"c2st", "precision", "recall", "coverage", "correlation_difference", "memorisation", "duplicates"}
