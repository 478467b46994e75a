"""The Evaluator: every metric moves the way it says, on data whose truth is known; and nothing that is odd breaks it."""

import random

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from ectype.comparison.marks import award_marks
from ectype.data.schema import Schema
from ectype.errors import DataError
from ectype.metrics import DUMMIES, METRICS, Evaluator
from ectype.metrics.spaces import unit


def ring(n, seed, modes=8):
    """Modes on a circle; a category that depends on the mode, and a number with blanks that depends on both."""
    rng = np.random.default_rng(seed)
    k = rng.integers(0, modes, n)
    angle = 2 * np.pi * k / 8
    x, y = np.cos(angle) + 0.06 * rng.normal(size=n), np.sin(angle) + 0.06 * rng.normal(size=n)
    z = np.where(rng.random(n) < 0.15, np.nan, x * y + 0.1 * rng.normal(size=n))
    return pd.DataFrame({"x": x, "y": y, "z": z, "c": np.array(list("aabbccdd"))[k]})


@pytest.fixture(scope="module")
def judged():
    """Figures of known generators on the ring."""
    schema = Schema.fit(ring(900, 0))
    train, holdout, test, fresh = (schema.encode(ring(n, s)) for s, n in enumerate((900, 300, 300, 300)))
    evaluator = Evaluator(schema, train, holdout, test)
    rng = np.random.default_rng(0)
    noisy = fresh.copy()
    noisy[:, :3] += 0.5 * rng.normal(size=(300, 3)) * np.nanstd(train[:, :3], axis=0)
    some_copied = np.concatenate([train[:150], fresh[:150]])
    figures = {"floor": evaluator.floor(), "fresh": evaluator.evaluate(fresh), "noisy": evaluator.evaluate(noisy),
               "four modes": evaluator.evaluate(schema.encode(ring(300, 5, modes=4))),
               "half copied": evaluator.evaluate(some_copied),
               "constant": evaluator.evaluate(np.repeat(fresh[:1], 300, axis=0))}
    for name, dummy in DUMMIES.items():
        figures[name] = evaluator.evaluate(dummy(train, schema, evaluator.n, 0))
    return pd.DataFrame(figures)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    rows = np.random.default_rng(0).permutation(len(data.images))[:900]
    images, labels = data.images[rows], data.target[rows]
    schema = Schema.fit(images)
    stored = schema.encode(images)
    evaluator = Evaluator(schema, stored[:600], stored[600:750], stored[750:], labels=labels[:600])
    generated = {name: dummy(stored[:600], schema, evaluator.n, 0) for name, dummy in DUMMIES.items()}
    generated["five digits"] = stored[:600][labels[:600] < 5][:150]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ectype.metrics.c2st.CNN_STEPS", 20)     # the trees see all of this; the network has tests of its own
        figures = {"floor": evaluator.floor()} | {name: evaluator.evaluate(rows) for name, rows in generated.items()}
    return evaluator, stored, labels, pd.DataFrame(figures)


def test_every_figure_is_in_the_catalogue_and_finite(judged, digits):
    assert set(judged.index) == set(METRICS)
    assert set(digits[3].index) == set(METRICS) - {"correlation_difference"}
    assert np.isfinite(judged).all(axis=None) and np.isfinite(digits[3]).all(axis=None)
    for table in (judged, digits[3]):
        shares = table.drop(index=["density", "frechet_pca", "frechet_features", "kernel_distance", "sliced_wasserstein"])
        assert ((shares >= 0) & (shares <= 1)).all(axis=None)


def test_fresh_rows_are_at_the_floor(judged):
    fresh, floor = judged["fresh"], judged["floor"]
    assert fresh["c2st"] == pytest.approx(0.5, abs=0.08)
    assert fresh["memorisation"] == pytest.approx(0.5, abs=0.08) and floor["memorisation"] == pytest.approx(0.5, abs=0.08)
    for name in ("precision", "recall", "coverage", "density"):
        assert fresh[name] > 0.85 and fresh[name] == pytest.approx(floor[name], abs=0.1)
    for name in ("frechet_pca", "frechet_features", "sliced_wasserstein", "correlation_difference"):
        assert fresh[name] < 2 * floor[name]


def test_the_copy_is_perfect_but_for_memorisation(judged, digits):
    for table in (judged, digits[3]):
        copy = table["training_copy"]
        assert copy["memorisation"] == copy["duplicates"] == 1.0 and table["floor"]["duplicates"] < 0.05
        assert copy["c2st"] < 0.6 and copy["precision"] > 0.9 and copy["coverage"] > 0.9
        for name in ("c2st", "frechet_pca", "frechet_features", "sliced_wasserstein", "coverage"):
            gaps = table.loc[name, ["training_copy", "marginals", "bootstrap_noise"]].map(METRICS[name].gap)
            assert gaps.idxmin() == "training_copy", name


def test_the_dummies_are_ranked_as_they_should_be_and_none_wins(judged, digits):
    for table in (judged, digits[3]):
        dummies = {name: as_entry(table[name], table["floor"]) for name in DUMMIES}
        marks = award_marks({f"a {name}": e for name, e in dummies.items()}, dummies)       # as if they were families
        quality = {name: marks[name]["scores"]["quality"]["mean"] for name in DUMMIES}
        assert marks["a training_copy"]["quality"] == "no" and "copies" in marks["a training_copy"]["why"]["quality"]
        assert table.loc["memorisation", list(DUMMIES)].idxmax() == "training_copy" and table.loc["duplicates", "training_copy"] == 1.0
        assert table.loc["c2st", "marginals"] > 0.9 and quality["marginals"] == min(quality.values())
        assert marks["a marginals"]["quality"] == marks["a marginals"]["coverage"] == "no"
        assert marks["a training_copy"]["coverage"] == "yes"
    assert quality["gaussian_mixture"] < 0.5 < quality["training_copy"]         # of digits, which it blurs; the ring is a mixture
    assert marks["a gaussian_mixture"]["quality"] == marks["a bootstrap_noise"]["quality"] == "no"


def as_entry(figures, floor):
    """Figures as a row of a comparison's results."""
    return {"seeds": [0], "metrics": {m: {"mean": v, "low": v, "high": v, "evaluation": [v, v], "values": [v], "floor": floor[m],
                                          "better": METRICS[m].better} for m, v in figures.items()}}


def test_copies_of_half_the_rows_show(judged):
    assert judged["half copied"]["memorisation"] > judged["floor"]["memorisation"] + 0.08
    assert judged["half copied"]["duplicates"] == pytest.approx(0.5)


def test_marginals_miss_the_dependence(judged, digits):
    assert judged.loc["c2st", list(DUMMIES)].idxmax() == "marginals" and judged["marginals"]["c2st"] > 0.9
    assert judged.loc["correlation_difference", list(DUMMIES)].idxmax() == "marginals"
    for table in (judged, digits[3]):
        marginals = table["marginals"]
        assert marginals["precision"] < 0.6 and marginals["density"] < 0.3 and marginals["coverage"] < 0.6
        assert marginals["frechet_features"] > 3 * table["floor"]["frechet_features"]


def test_lost_modes_lower_coverage_and_recall_and_not_precision(judged):
    lost, floor = judged["four modes"], judged["floor"]
    assert lost["coverage"] < 0.7 and lost["recall"] < 0.7
    assert lost["precision"] > floor["precision"] - 0.1
    assert lost["frechet_features"] > 3 * floor["frechet_features"] and lost["sliced_wasserstein"] > 2 * floor["sliced_wasserstein"]


def test_noise_lowers_precision_and_density(judged):
    assert judged["noisy"]["precision"] < judged["fresh"]["precision"] - 0.3
    assert judged["noisy"]["density"] < 0.5 * judged["fresh"]["density"]
    assert judged["noisy"]["recall"] > judged["noisy"]["precision"]


def test_one_constant_row_covers_nothing(judged):
    assert judged["constant"]["coverage"] < 0.1 and judged["constant"]["recall"] < 0.1
    assert judged["constant"]["c2st"] > 0.95 and judged["constant"]["frechet_pca"] > 0.5


def test_lost_digits_lower_coverage_and_recall(digits):
    lost, floor = digits[3]["five digits"], digits[3]["floor"]
    assert lost["coverage"] < 0.75 and lost["recall"] < 0.85 and lost["precision"] > floor["precision"] - 0.1
    assert lost["frechet_features"] > 3 * floor["frechet_features"]


def test_pixel_noise_is_seen(digits):
    noisy, floor = digits[3]["bootstrap_noise"], digits[3]["floor"]
    assert noisy["c2st"] > 0.9
    assert noisy["frechet_features"] > 1.5 * floor["frechet_features"]
    assert noisy["memorisation"] > 0.9 and noisy["duplicates"] == 0.0


def test_the_arrays_and_the_seed_decide_and_nothing_is_left_behind(digits, monkeypatch):
    monkeypatch.setattr("ectype.metrics.c2st.CNN_STEPS", 20)
    evaluator, stored, labels, figures = digits
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads()
    again = Evaluator(evaluator.schema, stored[:600], stored[600:750], stored[750:], labels=labels[:600])
    assert again.floor() == dict(figures["floor"])
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]


def test_more_rows_than_needed_are_drawn_from():
    schema = Schema.fit(ring(200, 0))
    stored = schema.encode(ring(200, 0))
    evaluator = Evaluator(schema, stored[:120], stored[120:150], stored[150:])
    assert evaluator.n == 30
    values = evaluator.evaluate(stored[:120], seed=1)
    assert values == evaluator.evaluate(stored[:120], seed=1) and values["duplicates"] == 1.0
    with pytest.raises(DataError, match="at least 30, got 29"):
        evaluator.evaluate(stored[:29])


def test_spaces_are_described(digits):
    spaces = digits[0].feature_spaces
    assert list(spaces) == ["pca", "features"]
    assert "of the pixels" in spaces["pca"] and "10 labels" in spaces["features"]


def stored_cases():
    rng = np.random.default_rng(0)
    n = 60
    words = rng.choice(list("ab"), n)
    x = rng.normal(size=n)
    yield "constant columns", pd.DataFrame({"x": x, "k": 3.0, "w": "always"})
    yield "only constant columns", pd.DataFrame({"k": np.full(n, 3.0), "w": ["always"] * n})
    yield "a blank column", pd.DataFrame({"x": x, "none": [None] * n})
    yield "mostly blank", pd.DataFrame({"x": x, "m": np.where(np.arange(n) % 20 == 0, x, np.nan)})
    yield "one number", pd.DataFrame({"x": x})
    yield "one category", pd.DataFrame({"w": words})
    yield "many categories", pd.DataFrame({"id": pd.Categorical([f"w{i % 300}" for i in range(600)]), "x": np.arange(600.0)})
    yield "one pixel", rng.integers(0, 256, (n, 1, 1), dtype=np.uint8)
    yield "blank images", np.zeros((n, 6, 6), np.uint8)
    yield "wide colour images", rng.integers(0, 256, (n, 5, 9, 3), dtype=np.uint8)
    yield "large images", rng.integers(0, 256, (n, 36, 40), dtype=np.uint8)
    yield "ten rows", pd.DataFrame({"x": x[:10], "w": words[:10]})


@pytest.mark.parametrize("data", [pytest.param(d, id=name) for name, d in stored_cases()])
def test_odd_data(data, monkeypatch):
    monkeypatch.setattr("ectype.metrics.c2st.CNN_STEPS", 5)
    schema = Schema.fit(data)
    stored = schema.encode(data)
    size = max(2, len(stored) // 5)
    test, holdout, train = stored[:size], stored[size : 2 * size], stored[2 * size :]
    evaluator = Evaluator(schema, train, holdout, test)
    same, constant = evaluator.evaluate(test), evaluator.evaluate(np.repeat(train[:1], size, axis=0))
    assert set(same) <= set(METRICS) and np.isfinite([*same.values(), *constant.values()]).all()
    assert same["coverage"] == same["precision"] == 1.0
    assert same["frechet_pca"] == pytest.approx(0, abs=1e-6)


def test_ten_rows_in_all_and_labels_of_one_class():
    images = np.random.default_rng(0).integers(0, 17, (64, 8, 8)).astype(np.uint8)
    schema = Schema.fit(images)
    stored = schema.encode(images)
    evaluator = Evaluator(schema, stored[:60], stored[60:62], stored[62:], labels=np.zeros(60, int))
    assert evaluator.n == 2 and "turned" in evaluator.feature_spaces["features"]
    assert np.isfinite(list(evaluator.floor().values())).all()


@pytest.mark.parametrize(("column", "value", "message"), [
    (0, np.nan, "column 'x' of the generated rows has NaN"), (1, np.inf, "column 'y' .* infinite"),
    (3, np.nan, "column 'c' .* NaN"), (3, 4.0, "column 'c' .* no category"), (3, 0.5, "column 'c' .* no category")])
def test_rows_that_the_schema_does_not_allow(column, value, message):
    schema = Schema.fit(ring(60, 0))
    stored = schema.encode(ring(60, 0))
    evaluator = Evaluator(schema, stored, stored[:20], stored[20:40])
    bad = stored[:20].copy()
    bad[7, column] = value
    with pytest.raises(DataError, match=message):
        evaluator.evaluate(bad)


def test_shapes_pixels_and_labels_that_do_not_fit(digits):
    evaluator, stored, _, _ = digits
    with pytest.raises(DataError, match="another shape"):
        evaluator.evaluate(stored[:150, :, :4])
    with pytest.raises(DataError, match="out of range"):
        evaluator.evaluate(stored[:150] + 10)
    with pytest.raises(DataError, match="not finite"):
        evaluator.evaluate(np.full((150, 1, 8, 8), np.nan))
    with pytest.raises(DataError, match="expected 600 labels, got 3"):
        Evaluator(evaluator.schema, stored[:600], stored[600:750], stored[750:], labels=np.arange(3))
    with pytest.raises(DataError, match="too few test rows"):
        Evaluator(evaluator.schema, stored[:600], stored[600:750], stored[750:751])


@pytest.mark.parametrize(("name", "value", "gap"), [
    ("c2st", 0.45, 0.0), ("c2st", 0.75, 0.25), ("density", 1.4, 0.0), ("recall", 0.9, 0.1), ("frechet_pca", 0.3, 0.3)])
def test_gap(name, value, gap):
    assert METRICS[name].gap(value) == pytest.approx(gap)


def test_the_catalogue_says_what_it_should():
    assert all(m.name == key and m.better in ("lower", "higher", "half") for key, m in METRICS.items())
    assert all(m.meaning.endswith(".") and m.blind_spot.endswith(".") for m in METRICS.values())
    assert unit(0.0) == 1.0 and unit(2.0) == 2.0
