"""Known truths in the plane, and schemas of plain numbers for objectives that are tested by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from ectype.data.schema import Schema
from ectype.spec import Net

SMALL = Net(width=(16, 16))
MEAN, COVARIANCE = np.array([3.0, -1.0]), np.array([[4.0, 1.2], [1.2, 0.5]])


def numbers(d, n=200, seed=0):
    """Schema and stored rows of d independent normal columns."""
    X = np.random.default_rng(seed).normal(size=(n, d))
    schema = Schema.fit(X)
    return schema, torch.from_numpy(schema.encode(X))


def labels(n=200, k=2, seed=0):
    """Schema and stored rows of a label of k classes."""
    y = pd.DataFrame({"label": np.random.default_rng(seed).choice(list("abcdef")[:k], n)})
    schema = Schema.fit(y)
    return schema, torch.from_numpy(schema.encode(y))


@pytest.fixture(scope="session")
def gaussian():
    """1,500 rows of a correlated Gaussian in the plane."""
    return np.random.default_rng(0).multivariate_normal(MEAN, COVARIANCE, size=1500)


def assert_gaussian(X, atol=0.35):
    """Mean and covariance in units of the truth: whitened samples are standard."""
    white = (X - MEAN) @ np.linalg.inv(np.linalg.cholesky(COVARIANCE)).T
    np.testing.assert_allclose(white.mean(0), 0, atol=atol)
    np.testing.assert_allclose(np.cov(white.T), np.eye(2), atol=atol)
