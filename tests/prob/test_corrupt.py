"""Corruptions: how much is changed, to what, in which units, with which slots together, and anew each time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from ectype.data.schema import Schema
from ectype.prob.corrupt import Corruptor, corrupt_codes, levels
from ectype.prob.relax import Relaxation
from ectype.spec import Corruption

N = 4000
R = np.random.default_rng(0)
TABLE = pd.DataFrame({"a": R.normal(5, 3, N), "b": R.exponential(1, N), "flag": R.random(N) < 0.3,
                      "colour": R.choice(["red", "green", "blue"], N, p=[0.6, 0.3, 0.1]), "gap": np.where(R.random(N) < 0.3, np.nan, R.normal(size=N)),
                      "spike": np.where(R.random(N) < 0.4, 0.0, 1 + R.random(N))})
PICTURES = R.integers(0, 256, (400, 6, 5, 3)).astype(np.uint8)
PICTURES[:, 0, 0] = 0                                                  # a corner that is always black
SIGNALS = R.normal(2, 4, (400, 20, 2))
KINDS = ["gaussian", "masking", "salt_and_pepper", "swap"]


def prepared(X, kind, level, kinds=None):
    """Corruptor, stored rows, and their clean features."""
    schema = Schema.fit(X, kinds=kinds)
    x = torch.from_numpy(schema.encode(X))
    corrupt = Corruptor(schema, Relaxation(schema), Corruption(kind=kind, level=level))
    corrupt.prepare(x)
    return corrupt, x, corrupt.features.embed(x)


CASES = {"table": (TABLE, None), "pictures": (PICTURES, None), "signals": (SIGNALS, "signal")}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_level_zero_changes_nothing(kind, case):
    X, kinds = CASES[case]
    corrupt, x, clean = prepared(X, kind, 0.0 if kind != "none" else 0.9, kinds)
    assert torch.equal(corrupt(x), clean)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_new_at_every_call_and_leaves_the_rows_alone(kind, case):
    X, kinds = CASES[case]
    corrupt, x, clean = prepared(X, kind, 0.5, kinds)
    before = x.clone()
    first, second = corrupt(x), corrupt(x)
    assert first.shape == clean.shape and torch.isfinite(first).all() and not torch.equal(first, second) and not torch.equal(first, clean)
    assert torch.equal(torch.nan_to_num(x.float(), 99), torch.nan_to_num(before.float(), 99))
    torch.manual_seed(3)
    third = corrupt(x)
    torch.manual_seed(3)
    assert torch.equal(third, corrupt(x))                              # torch's generator alone decides


@pytest.mark.parametrize(("case", "unit"), [("table", 1), ("pictures", 2), ("signals", 1)])
def test_gaussian_noise_has_the_stated_deviation(case, unit):
    """In standard deviations of a column or signal; in the range of a pixel, whose features span [−1, 1]."""
    X, kinds = CASES[case]
    corrupt, x, clean = prepared(X, "gaussian", 0.3, kinds)
    noise = (corrupt(x) - clean).flatten(1)
    assert noise.std(0).mean().item() == pytest.approx(0.3 * unit, rel=0.02) and noise.mean().abs() < 0.01
    correlation = torch.corrcoef(noise[:, :6].T)
    assert (correlation - torch.eye(len(correlation))).abs().max() < 0.25


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["masking", "salt_and_pepper", "swap"])
def test_the_level_is_a_share_of_the_values(kind, case):
    X, kinds = CASES[case]
    corrupt, x, clean = prepared(X, kind, 0.3, kinds)
    changed = corrupt(x) != clean
    places = changed[:, :1] if case == "table" else changed.any(1)     # the first column is continuous
    if case == "pictures":
        places = places[:, 2:]                                         # away from the black corner
    assert places.float().mean().item() == pytest.approx(0.3, abs=0.02)


def test_masked_values_are_blank():
    corrupt, x, _ = prepared(TABLE, "masking", 1.0)
    assert not corrupt(x).any()                                        # numbers at their mean, no category, no mark
    corrupt, x, _ = prepared(PICTURES, "masking", 1.0)
    assert (corrupt(x) == -1).all()                                    # black
    corrupt, x, _ = prepared(SIGNALS, "masking", 1.0, "signal")
    assert not corrupt(x).any()


def test_the_features_of_a_column_are_masked_together():
    """One-hot numbers, and a number with the marks of its blanks and spikes: all or none."""
    corrupt, x, clean = prepared(TABLE, "masking", 0.4)
    column, dirty = corrupt.features.column, corrupt(x)
    for k in range(len(TABLE.columns)):
        of = column == k
        masked, kept = (dirty[:, of] == 0).all(1), (dirty[:, of] == clean[:, of]).all(1)
        assert (masked ^ kept).all() and masked.float().mean().item() == pytest.approx(0.4, abs=0.04)
    assert (column.bincount() > 1).sum() == 3                          # colour, gap, spike


@pytest.mark.parametrize("kind", ["salt_and_pepper", "swap"])
def test_a_corrupted_row_of_a_table_is_still_a_row(kind):
    """One category each, marks of ±1, and numbers within the range of the training rows."""
    corrupt, x, clean = prepared(TABLE, kind, 0.5)
    dirty, relax = corrupt(x), corrupt.features
    torch.testing.assert_close(relax.embed(relax.project(dirty)), dirty, rtol=1e-4, atol=1e-4)
    assert (dirty >= clean.amin(0) - 1e-6).all() and (dirty <= clean.amax(0) + 1e-6).all()


def test_swapping_keeps_every_marginal():
    corrupt, x, clean = prepared(TABLE, "swap", 1.0)
    assert torch.equal(corrupt(x).sort(0).values, clean.sort(0).values)
    corrupt, x, clean = prepared(TABLE, "swap", 0.5)
    dirty = corrupt(x)
    for j in range(clean.shape[1]):
        assert set(dirty[:, j].tolist()) <= set(clean[:, j].tolist())
        assert dirty[:, j].mean().item() == pytest.approx(clean[:, j].mean().item(), abs=0.05)
    together = np.corrcoef(TABLE["a"], clean[:, 0])[0, 1]
    assert abs(np.corrcoef(TABLE["a"], dirty[:, 0])[0, 1]) < 0.65 < abs(together)


def test_salt_and_pepper_are_the_extremes_of_a_column():
    corrupt, x, clean = prepared(TABLE, "salt_and_pepper", 1.0)
    dirty = corrupt(x)
    low, high = clean[:, 0].min(), clean[:, 0].max()
    assert ((dirty[:, 0] == low) | (dirty[:, 0] == high)).all() and (dirty[:, 0] == high).float().mean().item() == pytest.approx(0.5, abs=0.03)
    hot = dirty[:, corrupt.features.column == 3]
    np.testing.assert_allclose(hot.mean(0), 1 / 3, atol=0.03)          # a category at any
    assert torch.equal(hot.sum(1), torch.ones(N))
    gap = torch.from_numpy(np.float32([np.nanmin(TABLE["gap"]), np.nanmax(TABLE["gap"])]))
    assert corrupt.low[4] < -1 and corrupt.high[4] > 1 and gap.isfinite().all()     # blanks are no extremes


def test_salt_and_pepper_are_black_and_white_in_every_place():
    """Also where the training pictures are always black: noise falls there too."""
    corrupt, x, _ = prepared(PICTURES, "salt_and_pepper", 1.0)
    dirty = corrupt(x)
    assert set(dirty.unique().tolist()) == {-1.0, 1.0} and dirty[:, :, 0, 0].mean().abs() < 0.2
    assert (dirty == dirty[:, :1]).all()                               # all channels of a pixel together
    corrupt, x, clean = prepared(SIGNALS, "salt_and_pepper", 1.0, "signal")
    for channel in range(2):
        assert set(corrupt(x)[:, channel].unique().tolist()) == {clean[:, channel].min().item(), clean[:, channel].max().item()}


def test_a_column_without_a_value():
    X = pd.DataFrame({"x": [1.0, 2.5, 4.25] + [np.nan] * 27, "y": R.normal(size=30)})
    schema = Schema.fit(X)
    corrupt = Corruptor(schema, Relaxation(schema), Corruption(kind="salt_and_pepper", level=0.5))
    x = torch.from_numpy(schema.encode(X))
    corrupt.prepare(x[3:])                                             # all of its values were held out
    assert torch.isfinite(corrupt(x)).all() and corrupt.low[0] == corrupt.high[0] == 0


def test_each_row_draws_its_level_from_the_range():
    corruption = Corruption(kind="gaussian", level=(0.2, 0.6))
    drawn = levels(torch.zeros(N, 3, 4), corruption)
    assert drawn.shape == (N, 1, 1) and drawn.min() >= 0.2 and drawn.max() <= 0.6
    assert drawn.mean().item() == pytest.approx(0.4, abs=0.01) and drawn.std().item() == pytest.approx(0.4 / 12**0.5, rel=0.05)
    corrupt, x, clean = prepared(SIGNALS, "masking", (0.0, 0.8), "signal")
    share = (corrupt(x) != clean).any(1).float().mean(1)
    assert share.std() > 0.2 and share.mean().item() == pytest.approx(0.4, abs=0.03)    # 0.1 if all rows had one level
    assert (levels(torch.zeros(5, 2), Corruption(kind="swap", level=0.3)) == 0.3).all()


@pytest.mark.parametrize("kind", KINDS)
def test_codes_between_layers(kind):
    h = torch.randn(2000, 4) * 3 + 1
    dirty = corrupt_codes(h, Corruption(kind=kind, level=0.25))
    assert torch.equal(corrupt_codes(h, Corruption(kind=kind, level=0.0)), h) and torch.equal(corrupt_codes(h, Corruption(level=0.5)), h)
    if kind == "gaussian":
        assert (dirty - h).std().item() == pytest.approx(0.25 * h.std().item(), rel=0.03)
        return
    assert (dirty != h).float().mean().item() == pytest.approx(0.25, abs=0.02)
    changed = dirty[dirty != h]
    if kind == "masking":
        assert not changed.any()
    if kind == "salt_and_pepper":
        assert set(changed.tolist()) == {*h.amin(0).tolist(), *h.amax(0).tolist()}
    if kind == "swap":
        assert all(set(dirty[:, j].tolist()) <= set(h[:, j].tolist()) for j in range(4))
