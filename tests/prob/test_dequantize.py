"""Dequantisation: the way back, the exact density of the noise, and the bound."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from ectype.data.schema import Schema
from ectype.prob.dequantize import Dequantization, standard_normal_log_prob


class Noise:
    """Independent noise of a given number of rows."""

    def __init__(self, n, seed=0):
        self.n, self.generator = n, torch.Generator().manual_seed(seed)

    def uniform(self, *shape):
        return torch.rand(self.n, *shape, generator=self.generator)

    def normal(self, *shape):
        return torch.randn(self.n, *shape, generator=self.generator)


def fitted(X, **kinds):
    schema = Schema.fit(X, kinds=kinds or None)
    view, x = Dequantization(schema), torch.from_numpy(schema.encode(X))
    view.fit(x)
    return schema, view, x


def gap(view, x, seed=0):
    """log φ(y) − log q(y|x): what a flow that is the identity says of x, at one draw of the noise."""
    y, log_q = view(x, Noise(len(x), seed))
    return standard_normal_log_prob(y).sum(1) - log_q


def test_a_table_comes_back(schema, stored, table):
    view = Dequantization(schema)
    view.fit(stored)
    y, log_q = view(stored, Noise(len(stored)))
    assert y.shape == (len(stored), view.dim) and log_q.shape == (len(stored),) and torch.isfinite(y).all() and torch.isfinite(log_q).all()
    back, expected = (schema.decode(v.numpy()) for v in (view.inverse(y), stored))
    pd.testing.assert_frame_equal(back, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("levels", [2, 17])
def test_images_come_back(levels):
    X = np.random.default_rng(0).integers(0, levels, (50, 4, 3)).astype(np.uint8)
    X[:2] = np.array([0, levels - 1])[:, None, None]
    X[:, 0, 0] = 1                                                      # a constant pixel
    _, view, x = fitted(X)
    y, _ = view(x, Noise(50))
    assert y.shape == (50, 12) and torch.equal(view.inverse(y), x)
    counts = np.stack([np.bincount(x[:, 0].flatten(1)[:, j], minlength=levels) for j in range(12)]) + 1 / levels
    f = counts / counts.sum(1, keepdims=True)
    expected = np.log(f[np.arange(12), x.flatten(1)]).sum(1)
    np.testing.assert_allclose(gap(view, x), expected, atol=2e-3)


def test_the_identity_has_the_likelihood_of_independent_slots():
    """At every draw of the noise, and so without any gap in the bound: log P = Σ log f_k."""
    r = np.random.default_rng(0)
    X = pd.DataFrame({"c": r.choice(list("abc"), 200, p=[0.6, 0.3, 0.1]), "n": r.poisson(1.5, 200).astype(float), "b": r.random(200) < 0.2})
    X.loc[r.random(200) < 0.25, "n"] = np.nan
    schema, view, x = fitted(X)
    log_f = np.zeros(200)
    for i, block in enumerate(schema.blocks):
        codes = x[:, i].numpy() if block.type == "category" else np.searchsorted(block.cells()[1][:-1], x[:, i].numpy(), side="right")
        k = block.n_codes if block.type == "category" else len(block.levels)
        filled = ~np.isnan(x[:, i].numpy())
        counts = np.bincount(codes[filled].astype(int), minlength=k) + 1 / k
        log_f += np.where(filled, np.log(counts / counts.sum())[np.where(filled, codes, 0).astype(int)], 0)
    blank = np.isnan(X["n"])
    share = np.array([(~blank).sum() + 0.5, blank.sum() + 0.5]) / 201
    log_f += np.log(share)[blank.astype(int)]
    for seed in (0, 1):
        np.testing.assert_allclose(gap(view, x, seed), log_f, atol=1e-4)


def test_a_spike_is_spread_over_the_cell_of_its_share():
    r = np.random.default_rng(0)
    v = np.where(r.random(1000) < 0.4, 0.0, r.exponential(size=1000))
    schema, view, x = fitted(pd.DataFrame({"x": v}))
    y, _ = view(x, Noise(1000))
    np.testing.assert_allclose(gap(view, x)[v == 0], np.log((v == 0).mean()), atol=2e-3)
    np.testing.assert_allclose(gap(view, x)[v > 0], stats.norm.logpdf(x[v > 0, 0]), rtol=1e-5)
    assert (schema.decode(view.inverse(y).numpy())["x"].to_numpy()[v == 0] == 0).all()


@pytest.mark.parametrize("name", ["c", "n", "tenths", "spike"])
def test_every_slot_is_standard_normal(name):
    r = np.random.default_rng(0)
    n = 4000
    X = pd.DataFrame({"c": r.choice(list("abc"), n, p=[0.6, 0.3, 0.1]), "n": r.poisson(1.5, n), "tenths": r.normal(size=n).round(1),
                      "spike": np.where(r.random(n) < 0.4, 0.0, r.exponential(size=n))})[[name]]
    _, view, x = fitted(X)
    y, _ = view(x, Noise(n))
    assert stats.kstest(y[:, 0].numpy(), "norm").statistic < 1.63 / n**0.5          # 1 %


def test_a_blank_is_noise_in_its_value_and_a_bit_in_its_mark():
    r = np.random.default_rng(0)
    X = pd.DataFrame({"x": np.where(r.random(2000) < 0.5, np.nan, 1 + 0.1 * r.normal(size=2000)),
                      "n": np.where(r.random(2000) < 0.5, np.nan, r.integers(0, 3, 2000))})
    schema, view, x = fitted(X)
    y, log_q = view(x, Noise(2000))
    for j, name in ((0, "x"), (1, "n")):                                # slots: numbers, counts, marks
        assert stats.kstest(y[:, j].numpy()[X[name].isna()], "norm").pvalue > 1e-3
    assert view.dim == 4 and (schema.decode(view.inverse(y).numpy()).isna() == X.isna()).all().all()
    both = torch.from_numpy(X.isna().all(axis=1).to_numpy(copy=True))
    shares = [(X[c].isna().sum() + 0.5) / 2001 for c in X]
    np.testing.assert_allclose((standard_normal_log_prob(y).sum(1) - log_q)[both], np.log(shares).sum(), atol=1e-4)


@pytest.mark.parametrize("name", ["c", "n", "tenths", "spike"])
def test_importance_weights_give_the_probability_of_the_cell(name):
    """E_q[p(y) / q(y|x)] = ∫_cell p(y) dy for any density p; here N(0.3, 1.2²). So log P(x) ≥ E_q[log p − log q] (Jensen)."""
    r = np.random.default_rng(0)
    X = pd.DataFrame({"c": r.choice(list("abc"), 500, p=[0.6, 0.3, 0.1]), "n": r.poisson(1.5, 500), "tenths": r.normal(size=500).round(1),
                      "spike": np.where(r.random(500) < 0.4, 0.0, r.exponential(size=500))})[[name]]
    schema, view, x = fitted(X)
    row, block, draws = x[X[name] == X[name].iloc[0] if name != "spike" else X[name] == 0][:1], schema.blocks[0], 40_000
    p = stats.norm(0.3, 1.2)
    if name == "tenths":
        low, high = (float(row) + s * block.half_cell for s in (-1, 1))
    elif name == "spike":
        low, high = (v[0] for v in block.cells())
    else:
        k = int(row) if name == "c" else int(np.searchsorted(block.cells()[1][:-1], float(row), side="right"))
        low, high = stats.norm.ppf(view.cumulative[0, k : k + 2].double())
    y, log_q = view(row.expand(draws, -1), Noise(draws))
    log_w = p.logpdf(y[:, 0].numpy()) - log_q.numpy()
    expected = p.cdf(high) - p.cdf(low)
    assert np.exp(log_w).mean() == pytest.approx(expected, rel=4 * np.exp(log_w).std() / np.exp(log_w).mean() / draws**0.5 + 1e-4)
    assert log_w.mean() <= np.log(expected) + 1e-4


def test_values_unseen_in_training_stay_possible():
    schema = Schema.fit(pd.DataFrame({"c": pd.Categorical(["a", "b", "a", "b"] * 5, categories=["a", "b", "never"])}))
    view = Dequantization(schema)
    view.fit(torch.tensor([[0.0], [1.0]] * 10))
    log_p = [gap(view, torch.full((1, 1), float(k))).item() for k in range(3)]
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-4) and np.exp(log_p[2]) == pytest.approx(1 / 3 / 21, rel=1e-3)


def test_the_counts_are_part_of_the_saved_state(schema, stored):
    view, other = Dequantization(schema), Dequantization(schema)
    view.fit(stored)
    other.load_state_dict(view.state_dict())
    torch.testing.assert_close(other(stored, Noise(len(stored)))[0], view(stored, Noise(len(stored)))[0])
