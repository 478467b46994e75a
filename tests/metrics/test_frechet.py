"""Fréchet distance against its closed forms."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from ectype.metrics.frechet import Gaussian, fit_gaussian, frechet_distance


def spd(d, seed):
    a = np.random.default_rng(seed).normal(size=(d, d))
    return a @ a.T + 0.1 * np.eye(d)


def test_commuting_covariances():
    a, b, shift = np.array([4.0, 1.0, 0.25]), np.array([1.0, 9.0, 0.0]), np.array([1.0, -2.0, 2.0])
    q = np.linalg.qr(spd(3, 0))[0]
    distance = frechet_distance(Gaussian(np.zeros(3), q @ np.diag(a) @ q.T), Gaussian(shift, q @ np.diag(b) @ q.T))
    assert distance == pytest.approx(9.0 + np.square(np.sqrt(a) - np.sqrt(b)).sum(), rel=1e-9)


def test_general_covariances_and_symmetry():
    a, b = Gaussian(np.zeros(6), spd(6, 1)), Gaussian(np.ones(6), spd(6, 2))
    expected = 6 + np.trace(a.covariance + b.covariance - 2 * sqrtm(a.covariance @ b.covariance).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-8)


def test_fewer_rows_than_dimensions_and_constant_rows():
    x = np.random.default_rng(0).normal(size=(5, 20))
    flat = np.zeros((5, 20))
    fit = fit_gaussian(x)
    assert frechet_distance(fit, fit_gaussian(flat)) == pytest.approx(np.square(fit.mean).sum() + np.trace(fit.covariance))
    assert frechet_distance(fit_gaussian(flat), fit_gaussian(flat)) == 0.0


def test_samples_converge_to_the_distance_of_their_distributions():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20_000, 2)), rng.normal(size=(20_000, 2)) * [1.0, 3.0] + [2.0, 0.0]
    assert frechet_distance(fit_gaussian(x), fit_gaussian(y)) == pytest.approx(4 + 4, rel=0.03)
