"""Blocks: what goes in comes out, bounds and blanks are kept, the maps increase, and their derivatives and cells are right."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from ectype.data.blocks import Category, Image, Number, block_from_dict, block_to_dict, fit_category, fit_number
from ectype.errors import DataError, SchemaMismatchError

RNG = np.random.default_rng(0)
COLUMNS = {     # one for each kind of map
    "normal": RNG.normal(5, 2, 500),
    "uniform": RNG.uniform(0, 1, 500),
    "tiny": 1e-13 * RNG.normal(size=500),
    "far from zero": 1e9 + RNG.normal(size=500),
    "heavy tail": np.exp(2 * RNG.normal(size=2000)),
    "zeros and amounts": np.where(RNG.random(2000) < 0.6, 0.0, np.exp(RNG.normal(size=2000))),
    "spike inside": np.where(RNG.random(1000) < 0.3, 7.0, RNG.normal(7, 1e3, 1000)),
    "spikes at both ends": np.clip(RNG.normal(size=2000), -1, 1),
    "two close spikes": np.where(RNG.random(2000) < 0.6, 1.0 + 1e-9 * RNG.integers(0, 2, 2000), RNG.exponential(1, 2000)),
    "cents": np.round(RNG.normal(50, 5, 800), 2),
    "heavy cents": np.round(np.exp(3 + RNG.normal(size=800)), 2),
    "counts": RNG.poisson(3, 1000).astype(float),
    "heavy counts": np.floor(np.exp(4 + 1.5 * RNG.normal(size=2000))),
    "inflated counts": np.where(RNG.random(3000) < 0.5, 0, np.floor(np.exp(4 + 1.5 * RNG.normal(size=3000)))),
    "ratings": RNG.integers(1, 6, 500).astype(float),
    "thirds": RNG.integers(0, 4, 500) / 3,
    "bent thirds": np.where(RNG.random(500) < 0.5, 0.3, 0.1 + 0.2) + RNG.integers(0, 2, 500),
    "constant": np.full(50, 3.7),
    "two rows": np.array([1.25, 8.5]),
}


def fit(values, kind="numeric"):
    return fit_number("x", kind, pd.Series(values))


@pytest.fixture(params=COLUMNS)
def column(request):
    return COLUMNS[request.param]


def test_round_trip(column):
    block = fit(column)
    back = block.decode(block.encode(pd.Series(column)))
    on_grid = bool(block.step or block.levels)
    rtol, atol = (1e-14, 1e-9 * np.abs(column).max()) if on_grid else (1e-5, 2e-6 * column.std())
    np.testing.assert_allclose(back, column, rtol=rtol, atol=atol)
    for value in block.levels or block.spikes:
        assert (back[np.isclose(column, value, rtol=1e-14, atol=0)] == value).all()


def test_the_map_increases_and_has_an_inverse(column):
    block = fit(column)
    span = max(np.ptp(column), 1.0 if not np.ptp(column) else 0)
    v = np.linspace(column.min() - 0.2 * span, column.max() + 0.2 * span, 4001)
    z = block.forward(v)
    assert (np.diff(z) > 0).all()
    np.testing.assert_allclose(block.inverse(z), v, rtol=1e-12, atol=1e-9 * span)


def test_normalised_values_are_close_to_standard(column):
    if np.ptp(column) == 0 or len(column) < 100:
        return
    z = fit(column).encode(pd.Series(column))
    assert np.abs(z).max() < 7 and abs(z.mean()) < 1 and 0.3 < z.std() < 1.8


@pytest.mark.parametrize("name", ["normal", "uniform", "tiny", "heavy tail", "zeros and amounts"])
def test_log_derivative_against_differences(name):
    block = fit(COLUMNS[name])
    knots = np.asarray(block.knots_z or (-2.0, 2.0))
    z = (knots[1:] + knots[:-1]) / 2                                    # inside the linear pieces
    v, h = block.inverse(z), 1e-4 * np.diff(block.inverse(knots))
    slope = (block.forward(v + h) - block.forward(v - h)) / (2 * h)
    low, high = block.cells()
    spike = ((z[:, None] > low) & (z[:, None] < high)).any(1)
    np.testing.assert_allclose(block.log_derivative(z)[~spike], np.log(slope)[~spike], atol=1e-6)
    assert (block.log_derivative(z)[spike] == 0).all() and spike.any() == (name == "zeros and amounts")


def test_density_in_the_users_units_integrates_to_one():
    block = fit(COLUMNS["heavy tail"])
    v = np.exp(np.linspace(-20, 14, 200_001))
    z = block.forward(v)
    density = norm.pdf(z) * np.exp(block.log_derivative(z))
    assert np.trapezoid(density, v) == pytest.approx(norm.cdf(z[-1]) - norm.cdf(z[0]), abs=1e-4) == pytest.approx(1, abs=0.02)


def test_discrete_columns_have_no_density():
    for name in ("counts", "ratings", "cents", "constant"):
        assert (fit(COLUMNS[name]).log_derivative(np.linspace(-3, 3, 9)) == 0).all()


def test_decoding_keeps_bounds_and_grid(column):
    block = fit(column)
    decoded = block.decode(np.concatenate([3 * RNG.normal(size=5000), [1e9, -1e9, np.inf, -np.inf]])).to_numpy()
    assert decoded.min() >= column.min() and decoded.max() <= column.max()
    if block.step and np.ptp(column):
        np.testing.assert_allclose(decoded / block.step, np.round(decoded / block.step), atol=1e-6)
    if block.levels:
        assert set(decoded) <= set(block.levels)


@pytest.mark.parametrize("name", ["normal", "uniform", "heavy tail", "cents", "heavy cents"])
def test_nothing_piles_up_at_the_bounds(name):
    block = fit(COLUMNS[name])
    decoded = block.decode(4 * RNG.normal(size=20_000)).to_numpy()
    assert np.isin(decoded, [block.low, block.high]).mean() < 0.002


@pytest.mark.parametrize(("name", "value"), [("zeros and amounts", 0.0), ("spike inside", 7.0), ("spikes at both ends", -1.0),
                                             ("spikes at both ends", 1.0), ("inflated counts", 0.0)])
def test_a_spike_comes_back_exactly_and_as_often(name, value):
    block = fit(COLUMNS[name])
    decoded = block.decode(RNG.normal(size=50_000)).to_numpy()
    assert (decoded == value).mean() == pytest.approx((COLUMNS[name] == value).mean(), abs=0.01)


def test_the_empirical_map_reproduces_the_distribution():
    for name in ("heavy tail", "heavy counts", "zeros and amounts", "heavy cents"):
        decoded = fit(COLUMNS[name]).decode(RNG.normal(size=50_000)).to_numpy()
        at = np.unique(np.quantile(COLUMNS[name], [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98]))
        expected = (COLUMNS[name][:, None] <= at).mean(0)
        np.testing.assert_allclose((decoded[:, None] <= at).mean(0), expected, atol=0.02, err_msg=name)


@pytest.mark.parametrize("name", ["counts", "thirds", "zeros and amounts", "spikes at both ends", "two close spikes"])
def test_cells_hold_their_values(name):
    block = fit(COLUMNS[name])
    low, high = block.cells()
    z = block.forward(np.asarray(block.levels or block.spikes))
    assert len(low) and (low < z).all() and (z < high).all() and (low[1:] >= high[:-1] - 1e-12).all()
    if block.levels:
        assert low[0] == -np.inf and high[-1] == np.inf and (low[1:] == high[:-1]).all()


def test_what_is_discrete():
    discrete = {k for k, v in COLUMNS.items() if fit(v).discrete}
    assert discrete == {"cents", "counts", "ratings", "thirds", "bent thirds", "constant", "two rows"}
    assert fit(np.round(RNG.normal(0, 1e4, 500))).discrete is False     # a grid too fine to matter


def test_grids():
    assert [fit(COLUMNS[k]).step for k in ("cents", "counts", "normal", "far from zero", "tiny")] == [0.01, 1, 0, 0, 0]
    assert fit(np.float32([0.25, 0.5, 1.1, 7.3, 9.9])).step == 0.01     # rounding of float32 is not data
    assert len(fit(COLUMNS["bent thirds"]).levels) == 2


def test_a_step_to_the_next_value_of_a_column_of_small_numbers():
    block = fit(np.array([0.0, 1e-13, 2e-13, 5e-13] * 10))
    np.testing.assert_array_equal(block.decode(block.encode(pd.Series([0.0, 2e-13]))), [0.0, 2e-13])


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1.7e308])
def test_infinities_are_refused(value):
    with pytest.raises(DataError, match="'x' has infinite values"):
        fit([1.0, value, 2.0])
    with pytest.raises(DataError, match="'x' has infinite values"):
        fit([1.0, 2.0]).encode(pd.Series([value]))


def test_new_blanks_are_refused():
    with pytest.raises(SchemaMismatchError, match="has blanks"):
        fit([1.0, 2.0]).encode(pd.Series([np.nan]))
    with pytest.raises(SchemaMismatchError, match="has blanks"):
        fit_category("x", "categorical", pd.Series(["a", "b"])).encode(pd.Series([None]))


def test_categories_most_frequent_first():
    block = fit_category("x", "categorical", pd.Series(["b", "a", "b", None, "c", "c", "c"], dtype=object))
    assert block.values == ("c", "b", "a") and block.counts == (3, 2, 1, 1) and block.n_codes == 4
    np.testing.assert_allclose(block.frequencies, np.array([3, 2, 1, 1]) / 7)
    np.testing.assert_array_equal(block.encode(pd.Series(["a", None, "c"])), [2, 3, 0])
    assert block.decode(np.array([2.0, 3.0, 0.4, -5.0, 99.0])).tolist()[:4] == ["a", None, "c", "c"]


def test_ordered_categories_keep_their_order():
    dtype = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
    block = fit_category("x", "categorical", pd.Series(["high", "low", "high"], dtype=dtype))
    assert block.values == ("low", "mid", "high") and block.counts == (1, 0, 2)


def test_unseen_categories_are_refused():
    with pytest.raises(SchemaMismatchError, match=r"expected one of 'a', 'b', got 'z'"):
        fit_category("x", "categorical", pd.Series(["a", "b"])).encode(pd.Series(["a", "z"]))


def test_too_many_categories():
    with pytest.raises(DataError, match=r"10,000 categories.*\n.*drop=\['x'\]"):
        fit_category("x", "categorical", pd.Series([f"w{i}" for i in range(10_000)]))


def test_categories_that_no_file_can_hold():
    with pytest.raises(DataError, match="neither text nor numbers"):
        fit_category("x", "categorical", pd.cut(pd.Series([1.0, 2.0, 3.0]), 2))


IMAGES = {
    "uint8": RNG.integers(0, 256, (5, 4, 3)).astype(np.uint8),
    "colour": RNG.integers(0, 256, (5, 4, 3, 3)).astype(np.uint8),
    "digits": RNG.integers(0, 17, (5, 4, 3)).astype(float),
    "binary": RNG.integers(0, 2, (5, 4, 3)).astype(np.int64),
    "bool": RNG.integers(0, 2, (5, 4, 3)).astype(bool),
    "unit": (RNG.integers(0, 256, (5, 4, 3)) / 255).astype(np.float32),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_round_trip(name):
    from ectype.data.schema import Schema

    X = IMAGES[name].copy()
    X.flat[:2] = {"digits": (0, 16), "unit": (0, 1), "binary": (0, 1), "bool": (0, 1)}.get(name, (0, 255))
    schema = Schema.fit(X)
    stored, back = schema.encode(X), schema.decode(schema.encode(X))
    assert stored.dtype == np.uint8 and stored.shape == (5, 3 if name == "colour" else 1, 4, 3) == (5, *schema.stored_shape)
    assert back.dtype == X.dtype and back.shape == X.shape
    np.testing.assert_allclose(back, X, rtol=1e-6)
    assert schema.blocks[0].levels == {"digits": 17, "binary": 2, "bool": 2}.get(name, 256)


def test_images_of_another_kind_are_refused():
    block = Image("image", 1, 4, 3, 17, "float64", 16.0, channels_last=False)
    with pytest.raises(SchemaMismatchError, match=r"expected \(N, 4, 3\)"):
        block.encode(np.zeros((2, 4, 4)))
    with pytest.raises(SchemaMismatchError, match="0 to 16"):
        block.encode(np.full((2, 4, 3), 17.0))
    with pytest.raises(DataError, match="not finite"):
        block.encode(np.full((2, 4, 3), np.nan))


@pytest.mark.parametrize("block", [fit(COLUMNS["zeros and amounts"]), fit(COLUMNS["counts"]), fit(COLUMNS["cents"]),
                                   Category("x", "boolean", "bool", (False, True), (3, 2)),
                                   Image("image", 3, 6, 10, 256, "uint8", 255.0, channels_last=True)], ids=lambda b: b.kind)
def test_blocks_survive_json(block):
    import json

    assert block_from_dict(json.loads(json.dumps(block_to_dict(block)))) == block
    assert isinstance(block, (Number, Category, Image))


def test_what_is_far_outside_of_the_training_range():
    """By more than a tenth of its width; of several values the farthest is named, and blanks are none."""
    prices = fit_number("price", "numeric", pd.Series(np.linspace(10, 20, 50)))
    assert prices.far(pd.Series([9.01, 20.99, None])) is None and prices.far(pd.Series([None, None])) is None
    assert prices.far(pd.Series([8.9, 30.0, 21.1])) == "price 30 is far outside of the training rows, 10 to 20"
    days = fit_number("day", "datetime", pd.Series(pd.date_range("2020-01-01", periods=31)))
    assert days.far(pd.Series(["2020-02-02"])) is None
    assert days.far(pd.Series(["2019-12-01 06:00"])) == "day 2019-12-01 06:00:00 is far outside of the training rows, 2020-01-01 to 2020-01-31"
    amounts = fit_number("amount", "numeric", pd.Series(np.exp(np.linspace(0, 9, 200))))        # 1 to 8,103, one in two below 90
    counts = fit_number("count", "integer", pd.Series([0] * 300 + [1] * 60 + [2] * 20 + [40] * 20))
    assert amounts.knots and counts.levels and amounts.far(pd.Series([1.0, np.exp(9)])) is None and counts.far(pd.Series([0, 17, 40])) is None
    assert amounts.far(pd.Series([0.5, 90.0])) == "amount 0.5 is outside of the training rows, 1 to 8103.08"       # far for such a column
    assert counts.far(pd.Series([-3])) == "count -3 is outside of the training rows, 0 to 40"
    assert amounts.far(pd.Series([1e9])) == "amount 1e+09 is far outside of the training rows, 1 to 8103.08"
    rounded = fit_number("amount", "numeric", pd.Series(np.exp(np.linspace(0.1, 9, 200)), dtype="float32"))
    assert rounded.far(pd.Series(np.exp([0.1, 9]))) is None
    same = fit_number("same", "numeric", pd.Series([3.0, 3.0]))
    assert same.far(pd.Series([3.0])) is None and same.far(pd.Series([3.5])) is not None
