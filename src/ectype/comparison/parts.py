"""The rows of a comparison: training, holdout and test, raw for the families and stored for the metrics."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..data.schema import Schema
from ..data.sources import Dataset
from ..data.split import split
from ..errors import DataError
from ..metrics import Estimate, Evaluator, InceptionFeatures
from .verdict import FEW_ROWS

MIN_ROWS = 4                # of the test part: with fewer, nothing can be measured
MAX_ROWS = 2000
MAX_VALUES = 1_000_000      # values in the test part: large images, long signals are measured on fewer rows, but on at least FEW_ROWS


@dataclass(frozen=True)
class Parts:
    """The split data: raw rows for the families, stored arrays for the metrics."""

    schema: Schema
    kinds: dict[str, str] | str         # what the families need to see the rows in this way
    X_train: Any
    X_test: Any
    train: np.ndarray
    test: np.ndarray
    evaluator: Evaluator
    sizes: dict[str, int]
    y_test: pd.Series | None = None     # labels of the test rows, where there are any

    @classmethod
    def of(cls, dataset: Dataset, seed: int, kinds: Mapping[str, str] | str | None, inception: str | os.PathLike | None = None) -> Parts:
        values = 1 if dataset.is_table else int(np.prod(dataset.X.shape[1:]))
        index = split(dataset, seed=seed, cap=min(MAX_ROWS, max(FEW_ROWS, MAX_VALUES // values)))
        X_train = _take(dataset.X, index.train)
        kinds = dataset.signal or kinds or {}
        schema = Schema.fit(X_train, kinds=kinds)
        published = None if inception is None else InceptionFeatures(inception, schema)
        # a category that the training part has never seen can be neither encoded nor generated: such rows are left out
        holdout, test = (part[schema.accepts(_take(dataset.X, part))] for part in (index.holdout, index.test))
        n = min(len(holdout), len(test))
        if n < MIN_ROWS:
            strange = _strangest(schema, _take(dataset.X, index.test))
            if n < min(len(index.holdout), len(index.test)) and strange is not None:
                raise DataError(f"hardly a row to test on has only values known from training: column {strange!r} differs from row to row",
                                expected=f"at least {MIN_ROWS} such rows", got=f"{n} of {len(index.test)}",
                                hint=f"leave it out with --drop {strange}")
            raise DataError("too few rows to compare models on", expected=f"at least {5 * MIN_ROWS}, a fifth of them to test on",
                            got=f"{dataset.n_rows}, {n} of them to test on", hint="gather more rows")
        X_holdout, X_test = _take(dataset.X, holdout[:n]), _take(dataset.X, test[:n])
        train, stored_holdout, stored_test = (schema.encode(X) for X in (X_train, X_holdout, X_test))
        labels = pd.factorize(_take(dataset.y, index.train))[0] if schema.is_image and dataset.y is not None else None
        return cls(schema, kinds if isinstance(kinds, str) else dict(kinds), X_train, X_test, train, stored_test,
                   Evaluator(schema, train, stored_holdout, stored_test, labels=labels, seed=seed, inception=published),
                   {"train": len(index.train), "holdout": len(index.holdout), "test": len(index.test), "evaluated": n},
                   None if dataset.y is None else _take(dataset.y, test[:n]))

    def floor(self, truth: Any) -> dict[str, Estimate]:
        """What unseen real rows score; for the likelihood, where the density is known, what it says itself of the test rows."""
        known = {} if truth is None else {"log_likelihood": Estimate.mean(truth.log_prob(self.X_test))}
        return {**self.evaluator.floor_estimates(), **known}


def _strangest(schema: Schema, X: Any) -> str | None:
    """The column with most values that training has never seen; ``None`` where no column has names of its own."""
    if schema.container != "dataframe":
        return None
    refused = {b.name: int((~dataclasses.replace(schema, blocks=(b,)).accepts(X[[b.name]])).sum()) for b in schema.blocks}
    return max(refused, key=refused.__getitem__)


def _take(X: Any, index: np.ndarray) -> Any:
    return X.iloc[index].reset_index(drop=True) if isinstance(X, (pd.DataFrame, pd.Series)) else X[index]
