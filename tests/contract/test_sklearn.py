"""scikit-learn's grammar: its own checks (none is expected to fail), pipelines, searches, output containers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from ectype import registry

from .conftest import DATA, LABELS, PAIRS, TABULAR, TINY, fitted, has, home, new

FAST = TINY(budget="5steps")


@pytest.mark.filterwarnings("ignore:Estimator's parameters changed")
@parametrize_with_checks([new(n, train=FAST) for n in TABULAR])        # the checks' data are tables, whatever the tags say
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


R = np.random.default_rng(0)
X, Y = R.normal(size=(80, 4)), R.integers(0, 2, 80)
CODED = [n for n in registry.names() if "encode" in registry.load(n).capabilities]


def test_tags_say_what_a_family_takes(name):
    tags = get_tags(new(name))
    assert tags.input_tags.two_d_array == (name in TABULAR) and tags.input_tags.three_d_array and tags.no_validation is False


@pytest.mark.parametrize("family", [n for n in CODED if n in TABULAR])
def test_in_a_pipeline_labels_do_not_leak(family):
    pipeline = make_pipeline(StandardScaler(), new(family, train=FAST), LogisticRegression()).fit(X, Y)
    assert pipeline.predict(X).shape == (80,)
    other = make_pipeline(StandardScaler(), new(family, train=FAST)).fit(X, 1 - Y)
    np.testing.assert_array_equal(pipeline[:-1].transform(X), other.transform(X))


def test_in_a_search(name):
    grid = {"train__lr": [1e-3, 1e-2], **({"net__width": [(4, 4), (8,)]} if has(name, "net") else {"latent_dim": [1, 2]})}
    search = GridSearchCV(new(name, train=FAST), grid, cv=2, error_score="raise").fit(X if name in TABULAR else DATA[home(name)])
    assert len(search.cv_results_["params"]) == 4 and np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(set(search.cv_results_["mean_test_score"])) == 4
    assert search.best_estimator_.train.lr == search.best_params_["train__lr"] and search.best_estimator_.train.budget == "5steps"


def test_a_conditional_model_in_a_search(name):
    rows, labels = (X, Y) if name in TABULAR else (DATA[home(name)], LABELS[home(name)])
    search = GridSearchCV(new(name, train=FAST, conditional=True), {"train__lr": [1e-3, 1e-2]}, cv=2, error_score="raise").fit(rows, labels)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("family", [n for n in CODED if n in TABULAR])
def test_set_output(family):
    model = new(family, train=FAST).set_output(transform="pandas")
    codes = model.fit_transform(DATA["table"].set_axis(np.arange(120) * 3, axis=0))
    prefix = type(model).__name__.lower()
    assert list(codes.columns) == list(model.get_feature_names_out()) == [f"{prefix}{i}" for i in range(codes.shape[1])]
    assert isinstance(codes, pd.DataFrame)
    assert codes.index.tolist() == list(range(0, 360, 3))
    np.testing.assert_array_equal(codes, new(family, train=FAST).fit(DATA["table"]).transform(DATA["table"]))
    frame = model.transform(DATA["table"])
    assert model.inverse_transform(frame).equals(model.inverse_transform(frame.to_numpy()))


@pytest.mark.parametrize("family", [n for n in CODED if (n, "grey") in PAIRS])
def test_pictures_in_a_pipeline(family):
    pipeline = make_pipeline(new(family, train=FAST), LogisticRegression()).fit(DATA["grey"], LABELS["grey"])
    assert set(pipeline.predict(DATA["grey"])) <= {"ant", "bee", "cow"}


def test_html_and_text(name):
    model = fitted(name)
    assert type(model).__name__ in repr(model) and "<" in model._repr_html_()
