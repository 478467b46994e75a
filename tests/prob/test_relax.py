"""Relaxation: features and back, for every kind of slot."""

import numpy as np
import pandas as pd
import pytest
import torch

from ectype.data.schema import Schema
from ectype.prob.relax import Relaxation, padded_index


def test_a_stored_batch_comes_back_from_its_features(schema, stored):
    view = Relaxation(schema)
    f = view.embed(stored)
    assert f.shape == (len(stored), *view.shape) and f.dtype == torch.float32 and torch.isfinite(f).all()
    torch.testing.assert_close(view.project(f), stored, equal_nan=True, rtol=0, atol=0)
    noisy = view.project(f + 0.3 * (torch.rand(f.shape, generator=torch.Generator().manual_seed(0)) - 0.5))
    assert torch.equal(noisy.isnan(), stored.isnan())                   # signs and the largest of a one-hot survive small errors
    discrete = [i for i, b in enumerate(schema.blocks) if b.type == "category"]
    assert torch.equal(noisy[:, discrete], stored[:, discrete])


def test_features_by_hand():
    X = np.array([[1.0, "u", "p"], [3.0, "v", "q"], [None, "u", "r"], [1.0, "u", "p"]], dtype=object)
    schema = Schema.fit(X)
    f = Relaxation(schema).embed(torch.from_numpy(schema.encode(X)))
    number, mark, flag, hot = f[:, 0], f[:, 1], f[:, 2], f[:, 3:]
    assert number[2] == 0 and mark.tolist() == [-1, -1, 1, -1] and flag.tolist() == [-1, 1, -1, -1]
    assert hot.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_a_spike_has_a_mark():
    r = np.random.default_rng(0)
    v = np.where(r.random(500) < 0.4, 0.0, r.exponential(size=500))
    schema = Schema.fit(v[:, None])
    view, x = Relaxation(schema), torch.from_numpy(schema.encode(v[:, None]))
    f, edge = view.embed(x), float(schema.blocks[0].cells()[1][0])
    assert view.shape == (2,) and torch.equal(f[:, 1] > 0, torch.from_numpy(v == 0))
    assert (f[torch.from_numpy(v == 0), 0] == edge).all()               # not far out in the middle of its unbounded cell
    spike = float(schema.blocks[0].forward(0.0))
    cases = torch.tensor([[edge, 0.7], [1.5, 0.1], [1.5, -0.1], [edge - 0.25, -0.3], [-9.0, 0.2]])
    torch.testing.assert_close(view.project(cases), torch.tensor([[spike], [spike], [1.5], [edge + 0.25], [spike]]))


def test_own_numbers_are_neither_blank_nor_at_a_spike():
    r = np.random.default_rng(0)
    X = np.stack([r.normal(size=500), np.where(r.random(500) < 0.4, 0.0, r.exponential(size=500)), r.normal(size=500)], 1)
    X[::5, 0], X[::7, 1] = np.nan, np.nan
    schema = Schema.fit(X)
    view, x = Relaxation(schema), torch.from_numpy(schema.encode(X))
    own = view.own_numbers(view.embed(x))
    expected = torch.from_numpy(np.where(np.isnan(X) | (X == 0), np.nan, 1.0)).isnan()
    assert torch.equal(own.isnan(), expected)
    torch.testing.assert_close(own[~expected], x[~expected])


def test_the_largest_of_several_marks_wins():
    v = np.clip(np.random.default_rng(0).normal(size=500), -1, 1)
    schema = Schema.fit(v[:, None])
    view, (low, high) = Relaxation(schema), map(float, schema.blocks[0].forward(np.array([-1.0, 1.0])))
    assert view.shape == (3,)
    torch.testing.assert_close(view.project(torch.tensor([[0.0, 0.5, 0.2], [0.0, 0.2, 0.5], [0.1, -0.5, -0.2], [0.1, -0.5, 0.2]])),
                               torch.tensor([[low], [high], [0.1], [high]]))


def test_levels_are_taken_by_the_nearest():
    """The cell of a frequent level is wide, and a value a little off a rare neighbour would fall into it."""
    v = np.repeat([1.0, 2.0, 3.0], [30, 900, 30])
    schema = Schema.fit(v[:, None])
    view, centers = Relaxation(schema), torch.from_numpy(schema.blocks[0].level_centers()).float()
    between = (centers[1:] + centers[:-1]) / 2
    near = torch.stack([between - 1e-3, between + 1e-3], 1).flatten()
    torch.testing.assert_close(view.project(near[:, None])[:, 0], centers[[0, 1, 1, 2]])
    assert schema.decode(view.project(near[:, None]).numpy())[:, 0].tolist() == [1, 2, 2, 3]


def test_any_features_project_to_valid_rows(schema):
    view = Relaxation(schema)
    rows = view.project(3 * torch.randn(500, *view.shape, generator=torch.Generator().manual_seed(0)))
    assert schema.accepts(schema.decode(rows.numpy())).all()


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_images(levels):
    X = np.random.default_rng(0).integers(0, levels, (5, 6, 4, 3)).astype(np.uint8)
    X.flat[:2] = (0, levels - 1)
    schema = Schema.fit(X)
    view, stored = Relaxation(schema), torch.from_numpy(schema.encode(X))
    f = view.embed(stored)
    assert f.shape == (5, 3, 6, 4) and f.min() == -1 and f.max() == 1
    assert torch.equal(view.project(f), stored)
    assert torch.equal(view.project(f + 0.9 / (levels - 1)), stored)    # within half a level
    assert view.project(torch.tensor([-9.0, 9.0]).view(2, 1, 1, 1).expand(2, 3, 6, 4)).unique().tolist() == [0, levels - 1]


def test_gumbel_softmax(schema):
    view, n = Relaxation(schema), 20_000
    raw = torch.randn(1, *view.shape, generator=torch.Generator().manual_seed(0)).expand(n, -1)
    u = torch.rand(n, view.n_onehot, generator=torch.Generator().manual_seed(1)).clamp(1e-9, 1 - 1e-7)
    f = view.activate(raw, -torch.log(-torch.log(u)))
    a, b = view.n_numbers, view.n_numbers + view.n_signs
    assert f.shape == raw.shape and torch.equal(f[:, :a], raw[:, :a]) and (f[:, a:b].abs() < 1).all() and (f[:, b:] >= 0).all()
    for index, inside in zip(view.index, view.inside, strict=True):
        segment = f[:, index[inside]]
        torch.testing.assert_close(segment.sum(1), torch.ones(n))
        observed = torch.bincount(segment.argmax(1), minlength=int(inside.sum())) / n
        torch.testing.assert_close(observed, raw[0, index[inside]].softmax(0), rtol=0, atol=4 * 0.5 / n**0.5)


def test_temperature_sharpens(schema):
    view = Relaxation(schema)
    raw, gumbel = torch.zeros(50, *view.shape), torch.randn(50, view.n_onehot, generator=torch.Generator().manual_seed(0))
    peak = [view.activate(raw, gumbel, t)[:, view.index[0]].amax(1).mean() for t in (2.0, 0.5, 0.1)]
    assert peak[0] < peak[1] < peak[2]


def test_padded_index():
    index, inside = padded_index([3, 4], 10)
    assert index.tolist() == [[10, 11, 12, 0], [13, 14, 15, 16]] and inside.tolist() == [[True] * 3 + [False], [True] * 4]
    index, inside = padded_index([], 5)
    assert index.shape == inside.shape == (0, 0)


def test_undecided_features_are_drawn_with_their_probabilities():
    from ectype.rng import Rows

    n = 20_000
    X = pd.DataFrame({"v": [0.0, 1.0, np.nan, 2.5] * 5, "flag": [True, False] * 10, "c": list("abca") * 5})
    schema = Schema.fit(X)
    view = Relaxation(schema)
    f = view.embed(torch.from_numpy(schema.encode(X)))[:1].repeat(n, 1)
    k = view.n_numbers + view.n_signs
    f[:, view.n_numbers : k] = torch.tensor([-0.5, 0.2])                # a blank with 1/4, the flag with 0.6
    f[:, k:] = torch.tensor([0.7, 0.3, 0.0])
    drawn = view.draw(f, Rows(0, 0, n))                                 # v, flag, c as stored
    for share, expected in ((drawn[:, 0].isnan(), 0.25), (drawn[:, 1] == 1, 0.6), (drawn[:, 2] == 0, 0.7), (drawn[:, 2] == 1, 0.3)):
        assert share.float().mean().item() == pytest.approx(expected, abs=0.015)
    sure = view.embed(torch.from_numpy(schema.encode(X)))
    assert torch.equal(view.draw(sure, Rows(0, 0, len(X))).nan_to_num(9), view.project(sure).nan_to_num(9))
