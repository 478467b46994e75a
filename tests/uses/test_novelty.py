"""Novelty detection: the p-values' arithmetic, the stated rate, explanations, every family, scikit-learn's checks, files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.estimator_checks import parametrize_with_checks

from ectype import NoveltyDetector, registry
from ectype import load as load_model
from ectype.data.schema import Schema
from ectype.data.sources import load
from ectype.errors import CalibrationWarning, CapabilityError, DataError, InvalidParameterError, SavedModelError, SchemaMismatchError
from ectype.models.autoencoder import Autoencoder
from ectype.models.diffusion import DDPM
from ectype.models.vae import VAE
from ectype.prob.relax import Relaxation
from ectype.spec import Net, Train
from ectype.uses import neighbours, novelty
from ectype.uses.neighbours import DenoisingNeighbours, Memory, View, by_column, columns_of
from ectype.uses.novelty import _identical, _parts

pytestmark = pytest.mark.filterwarnings("ignore::ectype.errors.CalibrationWarning")        # most tests are of few rows

TINY = Train(budget="5steps", batch_size=32, device="cpu", patience=0.0)
R = np.random.default_rng(0)
Z = R.normal(size=(400, 2))
X = np.c_[Z, Z @ [[1.0, -1.0], [1.0, 1.0]] + 0.05 * R.normal(size=(400, 2))]     # the last two columns follow from the first two
NEW = np.r_[X[300:], X[300:] + [0, 0, 3, 0]]
IS_NEW = np.repeat([False, True], 100)


def table(n=80, seed=0):
    r = np.random.default_rng(seed)
    return pd.DataFrame({"size": r.normal(size=n), "count": r.poisson(3.0, n), "city": r.choice(["Rome", "Oslo", "Bonn"], n),
                         "member": r.random(n) < 0.5, "blank": np.where(r.random(n) < 0.2, np.nan, r.normal(size=n))})


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(neighbours, "STEPS", 60)
    monkeypatch.setattr(novelty, "NORMAL_ROWS", 3)
    monkeypatch.setattr(novelty, "PATCHES", 3)


@pytest.fixture(scope="module")
def detector():
    return NoveltyDetector(Autoencoder(latent_dim=2, train=Train(budget="300steps", device="cpu")), random_state=0).fit(X[:300])


def new(family, **settings):
    cls = registry.load(family)
    return cls(train=TINY, **({"net": Net(width=(8,))} if "net" in cls().get_params() else {}), **settings)


def test_p_values_and_threshold_by_hand():
    model = VAE(train=TINY, random_state=0).fit(X[:60])
    scores = np.arange(19.0)[::-1]
    d = NoveltyDetector.calibrated(model, scores, false_alarm_rate=0.1)
    assert d.offset_ == 1.0 and d.false_alarm_rate_ == 2 / 20 and d.notes_ == []          # k = ⌊0.1 · 20⌋ = 2
    np.testing.assert_allclose(d.p_values_of(np.array([-1.0, 0.0, 0.5, 18.0, 99.0])), [1 / 20, 2 / 20, 2 / 20, 20 / 20, 20 / 20])
    s = np.linspace(-3, 20, 47)
    np.testing.assert_array_equal(d.p_values_of(s) <= 0.1, s < d.offset_)
    d.set_rate(0.01)
    assert d.offset_ == 0.0 and d.false_alarm_rate_ == 1 / 20 and "needs 99" in d.notes_[0]


def test_the_stated_rate_is_held_and_novel_rows_are_found(detector):
    fresh = np.random.default_rng(5).normal(size=(2000, 2))
    normal = np.c_[fresh, fresh @ [[1.0, -1.0], [1.0, 1.0]] + 0.05 * np.random.default_rng(6).normal(size=(2000, 2))]
    rate = (detector.predict(normal) == -1).mean()
    assert 0.01 < rate < 0.12                                       # 60 calibration rows: a rate of Beta(3, 58), 0.01 to 0.12
    assert (detector.predict(NEW[100:]) == -1).mean() > 0.95
    np.testing.assert_allclose(detector.decision_function(NEW), detector.score_samples(NEW) - detector.offset_)
    np.testing.assert_array_equal(detector.predict(NEW) == -1, detector.p_values(NEW) <= 0.05)


def test_cross_conformal_p_values_are_uniform():
    d = NoveltyDetector(Autoencoder(latent_dim=2, train=Train(budget="60steps", device="cpu")), calibration="cross", random_state=0)
    d.fit(X[:60])
    assert d.n_calibration_ == 60
    p = d.p_values(X[60:])
    assert abs(p.mean() - 0.5) < 0.1 and abs((p <= 0.2).mean() - 0.2) < 0.12
    few = NoveltyDetector(new("autoencoder"), random_state=0).fit(X[:60])
    assert few.n_calibration_ == 60 and NoveltyDetector(new("autoencoder"), random_state=0).fit(X).n_calibration_ == 80


def test_identical_rows_stay_together():
    rows = np.repeat(R.normal(size=(40, 3)), 5, axis=0)[R.permutation(200)]
    groups = _identical(rows, Schema.fit(rows))
    assert len(set(groups)) == 40
    for n_parts in (1, 5):
        parts = _parts(groups, n_parts, 0.2, 0)
        for held in parts:
            assert not set(groups[held]) & set(np.delete(groups, held))
        assert sum(map(len, parts)) == (200 if n_parts == 5 else 40)
    blanks = pd.DataFrame({"a": [1.0, np.nan, np.nan, 2.0], "b": ["x", "y", "y", "x"]})
    assert _identical(blanks, Schema.fit(blanks)).tolist().count(_identical(blanks, Schema.fit(blanks))[1]) == 2


def test_a_category_of_one_row_is_learnt_and_not_calibrated_on():
    frame = table(120)
    frame.loc[frame.index[:20], "city"] = [f"village {i}" for i in range(20)]
    for seed in range(3):
        d = NoveltyDetector(new("vae"), random_state=seed).fit(frame)
        assert len(d.score_samples(frame)) == 120


def test_the_same_seed_gives_the_same_detector():
    a, b = (NoveltyDetector(random_state=3).fit(X[:200]) for _ in range(2))
    np.testing.assert_array_equal(a.calibration_scores_, b.calibration_scores_)
    np.testing.assert_array_equal(a.score_samples(NEW), b.score_samples(NEW))


def test_values_too_large_for_any_score_are_novel():
    d = NoveltyDetector(random_state=0).fit(X[:300])
    assert (d.n_calibration_, d.model_.n_features_in_) == (60, 4)
    far = X[300:303].copy()
    far[:, 2] = (1e20, -1e30, 1e38)
    assert (d.predict(far) == -1).all() and (d.p_values(far) == 1 / 61).all() and np.isfinite(d.score_samples(far)).all()
    parts = d.explain(far).to_numpy()
    assert np.isfinite(parts).all() and (parts.argmax(1) == 2).all()
    d.model_.score_samples = lambda X: np.array([np.nan, 0.0])          # of any family
    np.testing.assert_array_equal(d.score_samples(X[:2]), [-np.inf, 0.0])
    assert d.predict(X[:2])[0] == -1 and d.p_values(X[:2])[0] == 1 / 61


def test_normal_rows_without_a_finite_score_have_the_lowest_rank(tmp_path):
    model = Autoencoder(train=TINY, random_state=0).fit(X[:60])
    d = NoveltyDetector.calibrated(model, [np.nan, -np.inf, *range(17)], false_alarm_rate=0.1)
    assert d.n_calibration_ == 19 and d.offset_ == -np.inf and "no row can be novel" in d.notes_[0]
    assert (d.predict(X[:3]) == 1).all()
    np.testing.assert_allclose(d.p_values_of(np.array([-np.inf, -1.0, 0.0])), [3 / 20, 3 / 20, 4 / 20])
    again = NoveltyDetector.load(d.save(tmp_path / "d"), device="cpu")
    np.testing.assert_array_equal(again.calibration_scores_, d.calibration_scores_)
    assert "Infinity" not in (tmp_path / "d" / "detector.json").read_text()
    d.model_.score_samples = lambda X: np.full(len(X), np.nan)
    np.testing.assert_array_equal(d.decision_function(X[:2]), 0.0)
    assert d.set_rate(0.15).offset_ == 0.0 and d.notes_ == []


def test_copies_among_the_calibration_rows_are_told():
    model = Autoencoder(train=TINY, random_state=0).fit(X[:60])
    assert "10 different" in NoveltyDetector.calibrated(model, np.repeat(np.arange(10.0), 10)).notes_[0]


@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_rows_of_unknown_categories_do_not_calibrate_where_they_are_an_error(calibration):
    frame = table(200)
    frame.loc[::4, "city"] = [f"village {i}" for i in range(50)]            # a quarter of the rows, each of its own
    d = NoveltyDetector(new("autoencoder"), calibration=calibration, random_state=0)
    with pytest.warns(CalibrationWarning, match=r"do not calibrate \(city 25 %\)"):
        d.fit(frame)
    assert d.n_calibration_ == {"split": 40, "cross": 150}[calibration]     # others are held out in their place; in folds all rows are
    assert d.own_values_ == {"city": 0.25} and (d.calibration_scores_ > -novelty.UNSEEN / 2).all()
    for column, rows in (("city", slice(0, None, 2)), ("street", slice(1, None, 2))):
        frame[column] = "Main"
        frame.loc[rows, column] = [f"{column} {i}" for i in range(100)]
    with pytest.raises(DataError, match="none can be held out .* got city 50 %, street 50 %"):
        d.fit(frame)


def test_rows_are_held_out_beside_large_groups_of_copies():
    """60 rows have a city of their own; of 80 in Rome 40 are copies of one, 30 of another. Some can be held out whatever the order."""
    frame = table(140).assign(city="Rome")
    frame.loc[:59, "city"] = [f"village {i}" for i in range(60)]
    for first, n in ((60, 40), (100, 30)):
        frame.loc[first : first + n - 1] = frame.loc[[first] * n].to_numpy()
    groups = novelty._identical(frame, Schema.fit(frame))
    for seed in range(25):
        (held,) = novelty._parts(groups, 1, 0.2, seed)
        known = novelty._known(frame, groups, held, seed, None, fill=True)
        assert len(known) and (frame["city"].iloc[known] == "Rome").all() and len(np.unique(groups)) == 72


def test_copies_do_not_hide_that_each_group_has_a_category_of_its_own():
    frame = pd.concat([table(40).assign(city=[f"village {i}" for i in range(40)])] * 2, ignore_index=True)
    d = NoveltyDetector(new("autoencoder"), unseen="novel", random_state=0)
    with pytest.warns(CalibrationWarning):
        d.fit(frame)
    assert d.own_values_["city"] == 1.0 and "city" in d.ignored_


def test_a_new_category_is_novel_where_normal_rows_seldom_bring_one(tmp_path):
    frame = table(400)
    frame.loc[::25, "city"] = [f"village {i}" for i in range(16)]           # 4 % of the rows
    fresh = table(400, seed=1)
    fresh.loc[::50, "city"] = "hamlet"
    far = fresh.assign(size=40.0, city="Rome")
    settings = {"calibration": "split", "unseen": "novel", "random_state": 0}
    rare = NoveltyDetector(new("autoencoder"), false_alarm_rate=0.1, **settings).fit(frame)
    assert rare.ignored_ == [] and rare.own_values_ == {"city": 0.04} and rare.n_calibration_ == 80
    assert (rare.predict(fresh[::50]) == -1).all() and (rare.predict(far) == -1).mean() > 0.9
    for detector in (rare, NoveltyDetector.load(rare.save(tmp_path / "rare"), device="cpu")):       # a new rate: other columns count
        detector.set_rate(0.03)
        assert detector.ignored_ == ["city"] and detector.offset_ > -1e5 and "not novel where normal rows often" in detector.notes_[-1]
        assert (detector.predict(far) == -1).mean() > 0.9 and (detector.score_samples(fresh[::50]) > -1e5).all()
        detector.set_rate(0.1)
        assert detector.ignored_ == [] and (detector.predict(fresh[::50]) == -1).all()
        held = detector.calibration_scores_
        assert 0 < (held < -1e5).sum() < 10                 # normal rows that brought one count as well, whatever the rate was before
    frequent = NoveltyDetector(new("autoencoder"), false_alarm_rate=0.03, **settings)
    with pytest.warns(CalibrationWarning, match=r"not novel where normal rows often bring one: city 4 %"):
        frequent.fit(frame)
    frequent = NoveltyDetector.load(frequent.save(tmp_path / "d"), device="cpu")
    assert frequent.ignored_ == ["city"] and "city" in frequent.notes_[-1]
    assert (frequent.predict(fresh) == -1).mean() < 0.1 and (frequent.predict(far) == -1).mean() > 0.9
    assert (frequent.explain(fresh[::50])["city"] < 1e3).all()
    blank = fresh[:5].assign(city=None)                                     # no normal row lacked one, often new or not
    assert (frequent.score_samples(blank) < -novelty.UNSEEN / 2).all()
    declared = frame.assign(city=frame["city"].astype("category"))          # whose categories are known wherever the rows are
    assert NoveltyDetector(new("autoencoder"), random_state=0).fit(declared).own_values_ == {}
    NoveltyDetector(calibration="split", unseen="novel", random_state=0).fit(frame)         # what it cannot encode it does not remember


def test_a_small_rate_gets_the_rows_that_it_needs(monkeypatch):
    monkeypatch.setattr(novelty, "MOST_HELD_OUT", 20)
    assert NoveltyDetector(new("autoencoder"), false_alarm_rate=0.04, random_state=0).fit(X).n_calibration_ == 50
    assert NoveltyDetector(new("autoencoder"), false_alarm_rate=0.1, random_state=0).fit(X).n_calibration_ == 20


def test_the_default_can_be_named(tmp_path):
    named = NoveltyDetector(DenoisingNeighbours(random_state=1), false_alarm_rate=np.float32(0.05)).fit(X[:200])
    again = NoveltyDetector.load(named.save(tmp_path / "d"), device="cpu")
    assert again.model.random_state == 1 and again.false_alarm_rate == pytest.approx(0.05)
    np.testing.assert_array_equal(again.score_samples(NEW), named.score_samples(NEW))
    fitted = NoveltyDetector.calibrated(named.model_, named.calibration_scores_)
    np.testing.assert_array_equal(fitted.p_values(NEW), named.p_values(NEW))


# -- every family ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", registry.names())
def test_every_family_on_tables_and_images(family, tmp_path):
    cls = registry.load(family)
    images = np.random.default_rng(1).integers(0, 17, (40, 6, 6)).astype(float)
    images.flat[:2] = (0, 16)
    for data in [d for d, kind in ((table(), "table"), (images, "images")) if kind in cls.containers]:
        d = NoveltyDetector(new(family), calibration="split", false_alarm_rate=0.1, random_state=0).fit(data)
        parts = np.asarray(d.explain(data[:2]))
        assert parts.shape == (2, *data.shape[1:]) and np.isfinite(parts).all() and (parts != 0).any()
        assert set(d.predict(data)) <= {-1, 1} and ((d.p_values(data) > 0) & (d.p_values(data) <= 1)).all()
        again = NoveltyDetector.load(d.save(tmp_path / f"{family}{data.ndim}"), device="cpu")
        np.testing.assert_array_equal(again.score_samples(data), d.score_samples(data))
        np.testing.assert_array_equal(again.p_values(data), d.p_values(data))
        np.testing.assert_allclose(np.asarray(again.explain(data[:2])), parts, rtol=1e-5, atol=1e-6)
        assert again.offset_ == d.offset_ and again.get_params()["false_alarm_rate"] == 0.1


@parametrize_with_checks([NoveltyDetector(Autoencoder(train=TINY), random_state=0)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


# -- explanations ------------------------------------------------------------------------------------------------------------------


def test_the_parts_of_an_autoencoder_sum_to_minus_the_score(detector):
    parts = detector.explain(NEW)
    np.testing.assert_allclose(parts.sum(axis=1), -detector.score_samples(NEW), rtol=1e-4)
    assert (parts[100:].to_numpy()[:, [0, 1, 3]].mean(0) < parts[100:]["x2"].mean()).all()
    frame = table()
    d = NoveltyDetector(new("autoencoder"), calibration="split", random_state=0).fit(frame)
    np.testing.assert_allclose(d.explain(frame).sum(axis=1), -d.score_samples(frame), rtol=1e-4)
    assert list(d.explain(frame).columns) == list(frame.columns) and (d.explain(frame[3:7]).index == frame.index[3:7]).all()


@pytest.mark.parametrize("model", [None, VAE(train=Train(budget="1500steps", device="cpu")),
                                   DDPM(train=Train(budget="150steps", device="cpu"))], ids=["default", "vae", "ddpm"])
def test_the_strange_column_is_named(model):
    d = NoveltyDetector(model, random_state=0).fit(X[:300])
    rows = X[300:340].copy()
    strange = np.arange(40) % 4
    rows[np.arange(40), strange] += 8.0
    assert (d.explain(rows).to_numpy().argmax(1) == strange).mean() > 0.8


def test_the_strange_patch_of_an_image_is_named():
    images = np.clip(R.normal(8, 1, (80, 8, 8)).round(), 0, 16)
    images.flat[:2] = (0, 16)
    for model in (None, new("autoencoder"), new("vae")):
        d = NoveltyDetector(model, calibration="split", random_state=0).fit(images)
        strange = images[:6].copy()
        strange[:, 3:6, 3:6] = 16.0
        parts = d.explain(strange)
        assert (parts[:, 3:6, 3:6].mean((1, 2)) > 2 * np.abs(parts).mean((1, 2))).mean() >= 0.5


def test_covered_patches_gain_what_each_copy_gains_alone():
    """Copies are scored together, and those that equal their row not at all, with the same result as one by one; how far it is, is told from
    the beginning."""
    images = np.where(np.arange(9) < 3, 0, np.random.default_rng(3).integers(0, 17, (80, 9, 9)))        # the left third is blank
    d = NoveltyDetector(new("vae"), calibration="split", random_state=0).fit(images)
    few, score, scored, told = images[:3], d.model_.score_samples, [], []
    wanted = np.zeros(few.shape)
    for i, j in np.ndindex(3, 3):
        patch = (slice(None), slice(3 * i, 3 * i + 3), slice(3 * j, 3 * j + 3))
        for normal in d.normal_:
            copy = few.copy()
            copy[patch] = normal[patch[1:]]
            wanted[patch] += ((score(copy) - score(few)) / (9 * len(d.normal_)))[:, None, None]
    d.model_.score_samples = lambda X: scored.append(len(X)) or score(X)
    np.testing.assert_allclose(d.explain(few, progress=told.append), wanted, rtol=1e-9, atol=1e-12)
    assert len(scored) == 1 + 6 and sum(scored) <= 3 + 6 * 3 * 3            # 3 of the 9 patches are blank, and there are 3 normal pictures
    assert [e["fraction"] for e in told] == [k / 9 for k in range(9)] and (told[0]["regions"], told[0]["copies"]) == (9, 3)


def test_many_rows_are_explained_in_parts(monkeypatch):
    monkeypatch.setattr(novelty, "BATCH", 300)
    d = NoveltyDetector(new("vae"), calibration="split", random_state=0).fit(X[:80])
    told = []
    parts = d.explain(NEW, progress=told.append)
    np.testing.assert_allclose(parts[150:], d.explain(NEW[150:]), rtol=1e-6, atol=1e-9)
    assert [e["fraction"] for e in told] == [k / 8 for k in range(8)]        # two parts of four columns
    labelled = table()
    d = NoveltyDetector(new("vae"), calibration="split", random_state=0).fit(labelled)
    at = [0, 3, 5]
    np.testing.assert_allclose(d.explain(labelled.iloc[at]), d.explain(labelled).iloc[at], rtol=1e-6, atol=1e-9)


def test_the_gain_of_a_column_is_that_of_restoring_it():
    model = DenoisingNeighbours(random_state=0).fit(X[:200])
    gains, score = model.gains(NEW), model.score_samples(NEW)
    every = list(model._errors(model.schema_.encode(NEW)))
    logs = [np.log(e.sum(1) + f) for e, f in zip(every, model.floors_, strict=True)]
    z = [(v - m) / s for v, m, s in zip(logs, model.means_, model.deviations_, strict=True)]
    np.testing.assert_allclose(score, -(2 * z[0] + np.mean(z[1:], axis=0)) / 3, rtol=1e-6)
    by_hand = np.zeros_like(gains)
    weights = [2 / 3, *[1 / 12] * 4]
    for errors, w, floor, deviation, before in zip(every, weights, model.floors_, model.deviations_, logs, strict=True):
        for k in range(4):
            by_hand[:, k] += w * (before - np.log(np.delete(errors, k, axis=1).sum(1) + floor)) / deviation
    np.testing.assert_allclose(gains, by_hand, rtol=1e-6)
    assert (gains >= 0).all()


# -- the default -------------------------------------------------------------------------------------------------------------------


def test_distances_to_the_nearest_rows_by_hand():
    rows = np.array([[0.0, 0], [1, 0], [0, 2], [5, 5]])
    schema = Schema.fit(rows)
    stored = schema.encode(rows)
    memory = Memory(View(schema, stored, whitened=False), stored)
    gaps = ((rows[:, None] - rows) / rows.std(0)) ** 2
    own = gaps.sum((1, 2)) / 3                                              # k is the three others
    np.testing.assert_allclose(memory.local, own**0.5, rtol=1e-5)
    errors = memory.errors(stored[:1], themselves=True)
    np.testing.assert_allclose(errors[0], (gaps[0, 1:] / own[1:, None] ** 0.5).mean(0), rtol=1e-5)
    assert memory.errors(stored[:1])[0].sum() < errors[0].sum()             # itself among the neighbours


def test_local_distances_of_rows_that_come_later_are_measured_among_all():
    rows = np.random.default_rng(0).normal(size=(30, 2))
    schema = Schema.fit(rows)
    stored = schema.encode(rows)
    view = View(schema, stored)
    first = Memory(view, stored[:20])
    both = Memory(view, stored, first.local)
    np.testing.assert_array_equal(both.local[:20], first.local)
    np.testing.assert_allclose(both.local[20:], Memory(view, stored).local[20:], rtol=1e-4)


def test_coordinates_are_standard_deviations():
    rows = np.c_[np.random.default_rng(0).normal(3, 7, 200), np.full(200, 3.0)]
    schema = Schema.fit(rows)
    stored = schema.encode(rows)
    view = View(schema, stored, whitened=False)
    np.testing.assert_allclose(view(stored)[:, 0], (rows[:, 0] - rows[:, 0].mean()) / rows[:, 0].std(), atol=1e-5)
    assert (view(stored)[:, 1] == 0).all() and view(stored + 1)[0, 1] == 1


def test_whitened_coordinates_are_the_symmetric_root_of_the_shrunken_covariance():
    rows = np.c_[X, X[:, :1]]                                               # of rank 2
    schema = Schema.fit(rows)
    stored = schema.encode(rows)
    plain, white = View(schema, stored, whitened=False)(stored), View(schema, stored)(stored)
    values, axes = np.linalg.eigh(0.9 * np.cov(plain.T, ddof=0) + 0.1 * np.eye(5))
    np.testing.assert_allclose(white, plain @ (axes / np.sqrt(values)) @ axes.T, rtol=1e-5, atol=1e-5)
    wide = np.random.default_rng(0).normal(size=(6, 9))                     # more columns than rows
    schema = Schema.fit(wide)
    stored = schema.encode(wide)
    plain, white = View(schema, stored, whitened=False)(stored), View(schema, stored)(stored)
    values, axes = np.linalg.eigh(0.9 * np.cov(plain.T, ddof=0) + 0.1 * np.eye(9))
    np.testing.assert_allclose(white, plain @ (axes / np.sqrt(values)) @ axes.T, rtol=1e-5, atol=1e-5)


def test_views_and_features_of_every_kind_belong_to_their_columns():
    frame = table()
    frame["amount"] = np.where(np.random.default_rng(1).random(80) < 0.5, 0.0, np.exp(2 * np.random.default_rng(2).normal(size=80)))
    schema = Schema.fit(frame)
    stored, relaxed = schema.encode(frame), Relaxation(schema)
    units = View(schema, stored, whitened=False)
    features = (lambda x: relaxed.embed(torch.from_numpy(x)).numpy(), columns_of(relaxed))
    for embed, column in ((units, units.column), features):
        assert embed(stored).shape == (80, len(column))
        for i, b in enumerate(schema.blocks):
            other = stored.copy()
            other[:, i] = (stored[:, i] + 1) % b.n_codes if b.type == "category" else np.nan_to_num(stored[:, i]) + 1.7
            assert set(column[(embed(other) != embed(stored)).any(0)]) == {i}
    np.testing.assert_array_equal(by_column(np.array([[1.0, 2.0, 4.0]]), np.array([0, 1, 0]), 3), [[5.0, 2.0, 0.0]])


def test_the_default_finds_broken_dependence_and_long_tails():
    d = NoveltyDetector(random_state=0).fit(X[:300])
    assert roc_auc_score(IS_NEW, -d.score_samples(NEW)) > 0.98
    far = X[300:] + np.eye(4)[np.arange(100) % 4] * 100
    assert (d.p_values(far) <= 1 / (d.n_calibration_ + 1)).all()


@pytest.mark.parametrize("name", ["moons", "ring8", "gaussians25"])
def test_rows_between_modes_are_novel(name, monkeypatch):
    monkeypatch.setattr(neighbours, "STEPS", 400)
    rows = load(name).X.to_numpy()
    train, test = rows[:500], rows[500:1000]
    novel = np.random.default_rng(0).uniform(rows.min(0), rows.max(0), (500, 2))
    nearest = NearestNeighbors(n_neighbors=5).fit(train / train.std(0))
    truth, judged = np.repeat([False, True], 500), np.r_[test, novel]
    plain = roc_auc_score(truth, nearest.kneighbors(judged / train.std(0))[0][:, -1])
    assert roc_auc_score(truth, -DenoisingNeighbours(random_state=0).fit(train).score_samples(judged)) > plain - 0.01


@pytest.mark.parametrize("columns", [2, 10])
def test_every_kind_of_anomaly_is_found(columns, monkeypatch):
    monkeypatch.setattr(neighbours, "STEPS", 400)
    r = np.random.default_rng(columns)
    axes = r.normal(size=(3, columns, columns)) / np.sqrt(columns)
    means = r.normal(0, 3, (3, columns))

    def draw(n, spread=1.0, moved=1.0):
        z = r.integers(3, size=n)
        return moved * means[z] + spread * np.einsum("nij,nj->ni", axes[z], r.normal(size=(n, columns)))

    train, test = draw(600), draw(300)
    kinds = {"local": draw(300, spread=5**0.5), "cluster": draw(300, moved=5.0), "dependency": np.stack([r.permutation(c) for c in test.T], 1),
             "global": r.uniform(train.min(0), train.max(0), (300, columns))}
    nearest = NearestNeighbors(n_neighbors=5).fit(train / train.std(0))
    model = DenoisingNeighbours(random_state=0).fit(train)
    truth = np.repeat([False, True], 300)
    for novel in kinds.values():
        judged = np.r_[test, novel]
        plain = roc_auc_score(truth, nearest.kneighbors(judged / train.std(0))[0][:, -1])
        assert roc_auc_score(truth, -model.score_samples(judged)) > plain - 0.01


def test_constant_columns_copies_and_dependent_columns_are_ordinary():
    rows = np.c_[X[:200], np.full(200, 7.0), X[:200, :1] * 2]
    rows = np.r_[rows, rows[:50]]
    d = NoveltyDetector(random_state=0).fit(rows)
    assert np.isfinite(d.score_samples(rows)).all()
    moved = rows[:5] + [0, 0, 0, 0, 1, 0]
    assert (d.score_samples(moved) < d.score_samples(rows[:5])).all() and (d.explain(moved).to_numpy().argmax(1) == 4).all()


def test_mushrooms():
    folder = os.environ.get("ECTYPE_DATA_DIR")
    if not folder or not (file := Path(folder) / "mushroom" / "mushroom.csv").exists():
        pytest.skip("ECTYPE_DATA_DIR names no folder with mushroom/mushroom.csv")
    frame = pd.read_csv(file, dtype=str).fillna("?")
    label = frame.columns[0]
    poisonous = frame[label].str.startswith("p").to_numpy()
    rows = frame.drop(columns=label)
    edible = np.random.default_rng(0).permutation(np.flatnonzero(~poisonous))
    train, test = edible[: len(edible) // 2], np.r_[edible[len(edible) // 2 :], np.flatnonzero(poisonous)]
    d = NoveltyDetector(unseen="novel", random_state=0).fit(rows.iloc[train])
    assert roc_auc_score(poisonous[test], -d.score_samples(rows.iloc[test])) > 0.999
    assert (d.predict(rows.iloc[test])[~poisonous[test]] == -1).mean() < 0.08


# -- input ---------------------------------------------------------------------------------------------------------------------------


def test_unseen_categories_and_blanks_are_refused_or_novel(tmp_path):
    frame = table()
    strange = frame[:4].copy()
    strange.loc[0, "city"] = "Paris"
    strange.loc[1, "size"] = np.nan
    d = NoveltyDetector(new("autoencoder"), calibration="split", random_state=0).fit(frame)
    with pytest.raises(SchemaMismatchError, match='(?s)Paris.*hint: .*unseen="novel", on the command line --unseen novel'):
        d.predict(strange[:1])
    with pytest.raises(SchemaMismatchError, match="blanks"):
        d.predict(strange[1:2])
    for model in (new("autoencoder"), new("flow"), None):
        d = NoveltyDetector(model, calibration="split", unseen="novel", random_state=0).fit(frame)
        d = NoveltyDetector.load(d.save(tmp_path / "d"), device="cpu")
        assert (d.p_values(strange)[:2] == 1 / (d.n_calibration_ + 1)).all() and (d.score_samples(strange)[2:] > -1e5).all()
        assert d.explain(strange).idxmax(axis=1).tolist()[:2] == ["city", "size"]
        with pytest.raises(SchemaMismatchError, match="missing"):
            d.predict(strange.drop(columns="city"))


@pytest.mark.parametrize("unseen", ["error", "novel"])
@pytest.mark.parametrize("family", ["autoencoder", "flow", None])
def test_an_array_stands_for_a_frame_by_the_order_of_its_columns(family, unseen):
    frame = table()
    d = NoveltyDetector(new(family) if family else None, calibration="split", unseen=unseen, random_state=0).fit(frame)
    with pytest.warns(UserWarning, match="valid feature names"):
        np.testing.assert_array_equal(d.predict(frame[:4].to_numpy()), d.predict(frame[:4]))
    with pytest.warns(UserWarning, match="valid feature names"):
        parts = d.explain(frame[:4].to_numpy())
    np.testing.assert_allclose(parts, d.explain(frame[:4]))
    with pytest.raises(SchemaMismatchError, match="features"), pytest.warns(UserWarning, match="valid feature names"):
        d.predict(frame[:4].to_numpy()[:, :3])


def test_what_is_unseen_may_be_set_after_fit():
    frame = table()
    d = NoveltyDetector(new("autoencoder"), calibration="split", random_state=0).fit(frame)
    strange = frame[:2].assign(city="Paris")
    assert (d.set_params(unseen="novel").predict(strange) == -1).all()
    with pytest.raises(SchemaMismatchError, match="Paris"):
        d.set_params(unseen="error").predict(strange)
    d.set_params(unseen="ignore")
    for use in (d.predict, d.explain, d.p_values):
        with pytest.raises(InvalidParameterError, match="'unseen' parameter .* one of 'error', 'novel', got 'ignore'"):
            use(frame[:2])


def test_a_column_that_is_always_blank():
    frame = table().assign(void=None)
    for unseen in ("error", "novel"):
        d = NoveltyDetector(new("autoencoder"), calibration="split", unseen=unseen, random_state=0).fit(frame)
        assert d.predict(frame).shape == (80,)


def test_no_model_is_fitted_for_a_fold_that_does_not_calibrate(monkeypatch):
    """One of three groups of rows has a category that no other has: it is learnt from."""
    frame = table(3).assign(city=["Rome", "Oslo", "Rome"], size=[0.0, 1.0, 2.0], count=1, member=True, blank=0.0)
    frame = pd.concat([frame[["size", "city"]]] * 4, ignore_index=True)
    fits = []
    monkeypatch.setattr(Autoencoder, "fit", lambda self, X, *a, fit=Autoencoder.fit, **k: fits.append(len(X)) or fit(self, X, *a, **k))
    d = NoveltyDetector(new("autoencoder"), calibration="cross", random_state=0).fit(frame)
    assert sorted(fits) == [8, 8, 12] and d.n_calibration_ == 8


def test_mistakes_are_told():
    with pytest.raises(InvalidParameterError, match="false_alarm_rate"):
        NoveltyDetector(false_alarm_rate=0).fit(X)
    with pytest.raises(InvalidParameterError, match="conditional"):
        NoveltyDetector(VAE(conditional=True)).fit(X)
    with pytest.raises(CapabilityError, match="no score"):
        NoveltyDetector(object()).fit(X)
    with pytest.raises(DataError, match="at least 3"):
        NoveltyDetector(new("vae")).fit(X[:2])
    assert NoveltyDetector(new("vae")).fit(np.repeat(X[:2], 4, axis=0)).n_calibration_ == 8      # copies alone: they take turns
    d = NoveltyDetector(new("vae"), random_state=0).fit(X)
    with pytest.raises(SchemaMismatchError, match="features"):
        d.predict(X[:, :3])
    blind = NoveltyDetector.calibrated(d.model_, d.calibration_scores_)
    with pytest.raises(CapabilityError, match="normal rows"):
        blind.explain(X[:2])
    with pytest.raises(DataError, match="no normal rows"):
        NoveltyDetector.calibrated(d.model_, [])


def test_damaged_folders_are_told(tmp_path, detector):
    folder = detector.save(tmp_path / "d")
    with pytest.raises(SavedModelError, match="no detector"):
        NoveltyDetector.load(tmp_path)
    with pytest.raises(SavedModelError, match=r"(?s)holds a novelty detector.*NoveltyDetector\.load"):
        load_model(folder)
    other = Autoencoder(latent_dim=2, train=TINY, random_state=1).fit(X[:60])
    for file in other.save(tmp_path / "other").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(SavedModelError, match=r"another model\.safetensors: expected sha256"):
        NoveltyDetector.load(folder)
    a, b = (NoveltyDetector(random_state=seed).fit(X[:100, :columns]).save(tmp_path / f"{seed}") for seed, columns in ((0, 4), (1, 2)))
    (a / "memory.safetensors").write_bytes((b / "memory.safetensors").read_bytes())
    with pytest.raises(SavedModelError, match=r"another memory\.safetensors"):
        NoveltyDetector.load(a)
    with pytest.raises(SavedModelError, match="damaged"):
        DenoisingNeighbours.load(a)
    (folder / "detector.json").write_text("{}")
    with pytest.raises(SavedModelError, match="damaged"):
        NoveltyDetector.load(folder)


def test_a_detector_goes_with_the_model_that_is_replaced(tmp_path):
    folder = NoveltyDetector(random_state=0).fit(X[:100]).save(tmp_path / "d")
    assert {"detector.json", "memory.safetensors"} < {p.name for p in folder.iterdir()}
    NoveltyDetector(new("autoencoder"), random_state=0).fit(X[:100]).save(folder)
    assert "detector.json" in {p.name for p in folder.iterdir()} and not (folder / "memory.safetensors").exists()
    new("vae", random_state=0).fit(X[:60]).save(folder)
    assert {p.name for p in folder.iterdir()} == {"model.json", "model.safetensors"}
    assert type(load_model(folder)).__name__ == "VAE"


def test_a_rate_that_few_rows_cannot_hold_is_warned_of():
    X = np.random.default_rng(0).normal(size=(12, 3))
    detector = NoveltyDetector(VAE(train=Train(budget="5steps")), random_state=0)
    for fit in (detector.fit, detector.fit_predict):            # the latter calls the former in scikit-learn's own code
        with pytest.warns(CalibrationWarning, match="12 normal rows .* needs 19") as told:
            fit(X)
        assert told[0].filename == __file__
