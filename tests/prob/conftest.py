"""A table with every kind of slot, for the tests of the views of a batch."""

import numpy as np
import pandas as pd
import pytest
import torch

from ectype.data.schema import Schema


def mixed_table(n=400, seed=0):
    r = np.random.default_rng(seed)
    X = pd.DataFrame({
        "number": r.normal(3, 2, n), "number blanks": r.normal(size=n),
        "grid": r.normal(0, 1, n).round(1), "grid blanks": r.normal(9, 2, n).round(),
        "count": r.poisson(2, n).astype(float), "count blanks": r.integers(1, 6, n).astype(float),
        "spike": np.where(r.random(n) < 0.4, 0.0, r.exponential(1, n)), "spike blanks": np.clip(r.normal(size=n), -0.5, 1.0),
        "flag": r.random(n) < 0.3, "flag blanks": np.where(r.random(n) < 0.2, None, r.random(n) < 0.6),
        "one or blank": np.where(r.random(n) < 0.2, None, "x"),
        "colour": r.choice(["red", "green", "blue", "violet"], n, p=[0.5, 0.3, 0.15, 0.05]), "constant": 3.5, "only": "a",
        "when": pd.to_datetime("2024-01-01") + pd.to_timedelta(r.integers(0, 300, n), unit="D"),
    })
    for name in [c for c in X if c in ("number blanks", "grid blanks", "count blanks", "spike blanks")]:
        X.loc[r.random(n) < 0.2, name] = np.nan
    return X


@pytest.fixture(scope="session")
def table():
    return mixed_table()


@pytest.fixture(scope="session")
def schema(table):
    return Schema.fit(table)


@pytest.fixture(scope="session")
def stored(schema, table):
    return torch.from_numpy(schema.encode(table))
