"""Imputation: the known part is untouched, the unknown one follows it, and mistakes are told."""

import numpy as np
import pandas as pd
import pytest

import ectype
from ectype import DDPM, Net, Train
from ectype.errors import CapabilityError, DataError, InvalidParameterError

N = 1500


def table(n=N, seed=0):
    """Two numbers that are nearly the same, a category that tells their sign, a count, a flag with blanks."""
    r = np.random.default_rng(seed)
    a = r.normal(size=n)
    return pd.DataFrame({"a": 10 + 3 * a, "b": a + 0.2 * r.normal(size=n), "side": np.where(a > 0, "right", np.where(a > -1, "left", "far")),
                         "k": r.poisson(3, n), "flag": np.where(r.random(n) < 0.2, None, r.random(n) < 0.5)})


@pytest.fixture(scope="module")
def model():
    return DDPM(train=Train(budget="1500steps", device="cpu"), net=Net(width=(96, 96)), random_state=0).fit(table())


def test_what_is_known_stays_and_what_is_blank_is_filled(model):
    X = table(60, seed=1)
    gaps = X.astype(object).copy()
    gaps.loc[:19, "b"], gaps.loc[10:29, "side"], gaps.loc[20:39, "k"] = None, None, None
    filled = ectype.impute(model, gaps, random_state=0, steps=50)
    assert list(filled.columns) == list(X.columns) and not filled.isna().any().any()
    kept = ~gaps.isna()
    assert (filled.astype(object)[kept] == gaps[kept])[kept].fillna(True).all().all()
    assert set(filled["side"]) <= {"left", "right", "far"} and filled["k"].isin(range(20)).all()
    again, other = (ectype.impute(model, gaps, random_state=s, steps=50) for s in (0, 1))
    pd.testing.assert_frame_equal(filled, again)
    assert not filled["b"].equals(other["b"])
    alone = ectype.impute(model, gaps.iloc[:1], random_state=0, steps=50)
    assert alone["b"].iloc[0] == filled["b"].iloc[0]


def test_draws_are_calibrated(model):
    """b is a with noise of 0.2: so spread are its draws, around the right place, and the truth is within them."""
    X = table(100, seed=2)
    gaps = X.astype(object).copy()
    gaps["b"] = None
    draws = np.stack([ectype.impute(model, gaps, random_state=s, steps=200)["b"].to_numpy(float) for s in range(12)])
    a = (X["a"].to_numpy() - 10) / 3
    assert (draws - a).std() == pytest.approx(0.2, abs=0.05) and draws.std(0).mean() > 0.14
    assert np.abs((draws - a).mean()) < 0.05
    below = (draws < X["b"].to_numpy()).mean(0)                             # the rank of the truth among its draws: evenly spread
    assert abs(below.mean() - 0.5) < 0.12 and 0.2 < below.std() < 0.42


def test_a_hidden_category_is_found(model):
    X = table(200, seed=3)
    gaps = X.astype(object).copy()
    gaps["side"] = None
    found = ectype.impute(model, gaps, random_state=0, steps=60)["side"]
    sure = (X["a"] - 10).abs() > 1.0
    assert (found[sure] == X["side"][sure]).mean() > 0.8


def test_arrays_images_and_signals(images):
    r = np.random.default_rng(0)
    X = r.normal(size=(300, 3))
    X[:, 2] = X[:, 0]
    numbers = DDPM(train=Train(budget="60steps"), net=Net(width=(32,)), random_state=0).fit(X)
    gaps = X[:5].copy()
    gaps[:, 1] = np.nan
    out = ectype.impute(numbers, gaps, random_state=0, steps=10)
    assert out.dtype == X.dtype and (out[:, [0, 2]] == gaps[:, [0, 2]]).all() and np.isfinite(out).all()

    pictures = DDPM(train=Train(budget="20steps"), net=Net(width=(8, 8)), random_state=0).fit(images)
    known = np.zeros(images.shape[1:3], bool)
    known[:4] = True
    out = ectype.impute(pictures, images[:3], known=known, random_state=0, steps=5, resample=2)
    assert out.dtype == images.dtype and (out[:, :4] == images[:3, :4]).all() and (out[:, 4:] != images[:3, 4:]).any()

    waves = np.sin(np.linspace(0, 9, 40) + r.normal(size=(60, 1))).astype(np.float32)
    signals = DDPM(train=Train(budget="20steps"), net=Net(width=(8, 8)), random_state=0).fit(waves, kinds="signal")
    known = np.arange(40) < 20
    out = ectype.impute(signals, waves[:2], known=np.stack([known, ~known]), random_state=0, steps=5)
    assert (out[0, :20] == waves[0, :20]).all() and (out[1, 20:] == waves[1, 20:]).all() and (out[0, 20:] != waves[0, 20:]).all()

    holes = np.where(np.arange(40) < 20, waves[:2], np.nan)
    assert np.array_equal(ectype.impute(signals, holes, known=np.arange(40) < 20, random_state=0, steps=5)[:, :20], holes[:, :20])

    odd = np.ones(images.shape[1:3]) * np.where(np.arange(8) < 4, 1, -1)
    for options, words in (({"known": np.ones((3, 3), bool)}, "another shape"), ({}, "a mask is needed"), ({"known": odd}, "got -1"),
                           ({"known": np.where(odd > 0, 1, np.nan)}, "got nan"), ({"known": 0.5 * (odd > 0)}, "got 0.5")):
        with pytest.raises(InvalidParameterError, match=words):
            ectype.impute(pictures, images[:3], **options)
    with pytest.raises(DataError, match="nothing is known of rows 0, 1"):
        ectype.impute(pictures, images[:2], known=np.zeros(images.shape[1:3], bool))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 17, (60, 8, 8)).astype(np.uint8)


def test_mistakes(model):
    X = table(5, seed=4)
    with pytest.raises(InvalidParameterError, match="where it is blank"):
        ectype.impute(model, X, known=np.ones((5, 5)))
    with pytest.raises(DataError, match="nothing is known of row 0"):
        ectype.impute(model, pd.DataFrame([[None] * 5], columns=X.columns))
    with pytest.raises(InvalidParameterError, match="steps"):
        ectype.impute(model, X, steps=0)
    vae = ectype.VAE(train=Train(budget="2steps")).fit(X[["a", "b"]])
    with pytest.raises(CapabilityError, match="these can: ddpm"):
        ectype.impute(vae, X[["a", "b"]])


def test_awkward_tables(model):
    """Whole numbers as names, a category that lacks values, a column of one value or blanks, one of blanks alone, dates."""
    r = np.random.default_rng(0)
    n = 200
    X = pd.DataFrame({0: r.normal(size=n), 1: pd.Categorical(r.choice(["p", "q", "r"], n)),
                      2: np.where(r.random(n) < 0.5, "x", None), 3: pd.to_datetime("2021-01-01") + pd.to_timedelta(r.integers(0, 300, n), "D")})
    fitted = DDPM(train=Train(budget="30steps"), net=Net(width=(16,)), random_state=0).fit(X)
    gaps = X[:40].copy()
    gaps.loc[5:9, 0], gaps.loc[8:12, 3] = np.nan, pd.NaT
    gaps[1] = pd.Categorical(gaps[1].astype(object).where(gaps[1] != "r").where(gaps.index > 3), categories=["p", "q"])
    filled = ectype.impute(fitted, gaps, random_state=0, steps=5)
    assert list(filled.columns) == [0, 1, 2, 3] and not filled.isna().any().any() and (filled[2] == "x").all()
    assert filled[3].dtype.kind == "M" and (filled[3][:8] == X[3][:8]).all() and set(filled[1]) <= {"p", "q", "r"}

    empty = X.rename(columns=str).assign(nothing=None)
    fitted = DDPM(train=Train(budget="5steps"), net=Net(width=(16,)), random_state=0).fit(empty)
    filled = ectype.impute(fitted, empty[:10], random_state=0, steps=3)
    assert filled["nothing"].isna().all() and filled["2"].notna().all()


def test_dates_that_are_objects_stay_dates():
    r = np.random.default_rng(0)
    days = (pd.Timestamp("2021-01-01") + pd.to_timedelta(r.integers(0, 300, 200), "D")).astype(object)
    X = pd.DataFrame({"day": pd.Series(list(days), dtype=object), "v": r.normal(size=200)})
    fitted = DDPM(train=Train(budget="30steps"), net=Net(width=(16,)), random_state=0).fit(X)
    gaps = X[:40].copy()
    gaps.loc[::3, "day"] = None
    filled = ectype.impute(fitted, gaps, random_state=0, steps=5)
    assert all(isinstance(v, pd.Timestamp) for v in filled["day"])
    assert (filled["day"][gaps["day"].notna()] == X["day"][:40][gaps["day"].notna()]).all()


@pytest.mark.parametrize(("form", "first"), [("%d/%m/%Y", "2021-01-01"), ("%Y-%m-%d", "2021-01-01"), ("%d.%m.%Y %H:%M", "2021-01-01 10:30")])
def test_dates_that_are_text_keep_their_form(form, first):
    """03/04/2021 stays as it is written, and what is drawn is written like it, within the training rows' range."""
    r = np.random.default_rng(0)
    days = pd.Timestamp(first) + pd.to_timedelta(r.integers(0, 300, 200), "D")
    X = pd.DataFrame({"day": days.strftime(form), "v": r.normal(size=200)})
    fitted = DDPM(train=Train(budget="30steps"), net=Net(width=(16,)), random_state=0).fit(X)
    gaps = X[:40].copy()
    gaps.loc[::3, "day"] = None
    filled = ectype.impute(fitted, gaps, random_state=0, steps=5)
    known = gaps["day"].notna()
    assert (filled["day"][known] == X["day"][:40][known]).all()
    drawn = pd.to_datetime(filled["day"][~known], format=form)
    assert len(drawn) == 14 and drawn.min() >= days.min() and drawn.max() <= days.max()
