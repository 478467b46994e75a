"""Likelihoods: every slot sums or integrates to one, samples have the frequencies that log_prob says, gradients are finite."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from ectype.data.schema import Schema
from ectype.prob.likelihood import (
    FAR,
    MIN_SCALE,
    gaussian_log_prob,
    likelihood,
    log_scale,
    logistic_cell_log_prob,
    logistic_log_prob,
    sample_logistic,
)
from ectype.rng import Rows, Shared

RNG = np.random.default_rng(0)
Z = torch.linspace(-60, 60, 240_001)


def one_column(values, **kinds):
    X = pd.DataFrame({"x": values})
    return Schema.fit(X, kinds=kinds)


def blanks(values):
    return np.where(RNG.random(len(values)) < 0.2, np.nan, values)


COLUMNS = {
    "number": RNG.normal(3, 2, 200), "number blanks": blanks(RNG.normal(3, 2, 200)), "tenths": RNG.normal(size=300).round(1),
    "whole blanks": blanks(RNG.normal(0, 3, 200).round()),
    "counts": RNG.poisson(2, 300), "counts blanks": blanks(RNG.poisson(2, 300).astype(float)),
    "thirds": RNG.integers(0, 4, 200) / 3, "constant": np.full(20, 7.25),
    "zeros and amounts": np.where(RNG.random(500) < 0.4, 0, RNG.exponential(size=500)), "clipped": np.clip(RNG.normal(size=500), -0.5, 1.0),
    "clipped blanks": blanks(np.clip(RNG.normal(size=500), -0.5, 1.0)),
    "heavy counts": np.where(RNG.random(2000) < 0.4, 0, np.floor(np.exp(4 + 1.5 * RNG.normal(size=2000)))),
    "flag": RNG.random(50) < 0.5, "words": RNG.choice(list("abcde"), 50),
    "words blanks": np.where(RNG.random(50) < 0.2, None, RNG.choice(list("ab"), 50)),
    "only": np.full(20, "a"), "days": pd.to_datetime("2024-01-01") + pd.to_timedelta(RNG.integers(0, 400, 100), unit="D"),
}


def values_and_weights(schema):
    """Every value that the column can take, stored, with 1 where it has a probability and the width of its cell where it has a density."""
    block = schema.blocks[0]
    if block.type == "category":
        return torch.arange(block.n_codes).float()[:, None], torch.ones(block.n_codes)
    blank = [torch.nan] if block.missing else []
    if block.levels:
        v = block.level_centers()
    elif block.discrete:
        v = block.forward(np.arange(block.low, block.high + block.step / 2, block.step))
    else:
        low, high = block.cells()
        at = np.searchsorted(low, Z.numpy(), side="right") - 1
        outside = torch.from_numpy((at < 0) | (Z.numpy() >= high[at])) if len(low) else torch.ones(len(Z), dtype=torch.bool)
        atoms = block.forward(np.asarray(block.spikes))
        values = torch.cat([Z[outside], torch.tensor([*atoms, *blank])]).float()
        return values[:, None], torch.cat([torch.full((int(outside.sum()),), float(Z[1] - Z[0])), torch.ones(len(atoms) + len(blank))])
    return torch.tensor([*v, *blank]).float()[:, None], torch.ones(len(v) + len(blank))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", COLUMNS)
def test_every_slot_is_a_distribution(name, seed):
    schema = one_column(COLUMNS[name])
    model = likelihood(schema)
    x, weight = values_and_weights(schema)
    params = torch.randn(1, model.n_params, generator=torch.Generator().manual_seed(seed)).expand(len(x), -1)
    total = (model.log_prob(params, x).double().exp() * weight).sum()
    assert total.item() == pytest.approx(1, abs=2e-3 if len(x) > 1000 else 1e-5)


@pytest.mark.parametrize("name", COLUMNS)
def test_samples_have_the_frequencies_of_log_prob(name):
    schema, n = one_column(COLUMNS[name]), 20_000
    model = likelihood(schema)
    params = 0.7 * torch.randn(1, model.n_params, generator=torch.Generator().manual_seed(3))
    drawn, block = model.sample(params.expand(n, -1), Rows(0, 0, n)).numpy(), schema.blocks[0]
    if block.type == "category" or block.discrete:
        drawn = schema.encode(schema.decode(drawn))
    x, weight = values_and_weights(schema)
    p = (model.log_prob(params.expand(len(x), -1), x).double().exp() * weight).numpy()
    order = np.argsort(x[:, 0].numpy())                            # NaN last
    at, cumulative = x[order, 0].numpy(), np.cumsum(p[order])
    drawn = np.where(np.isnan(drawn[:, 0]), np.inf, drawn[:, 0])
    cuts = at[:-1] if len(at) < 100 else at[::len(at) // 200]
    cuts = cuts[np.isfinite(cuts)]
    if block.type == "number" and block.spikes:                    # a draw in the cell of a spike is the spike
        low, high = block.cells()
        atoms = block.forward(np.asarray(block.spikes))
        i = np.searchsorted(low, drawn, side="right") - 1
        drawn = np.where((i >= 0) & (drawn < high[i]), atoms[i], drawn)
    expected = cumulative[np.searchsorted(at, cuts + 1e-4, side="right") - 1]
    observed = (drawn[:, None] <= cuts + 1e-4).mean(0)
    np.testing.assert_allclose(observed, expected, atol=4 * 0.5 / n**0.5)


def test_slots_are_independent(schema, stored):
    """The log-likelihood of a row is the sum over its columns of that of the column on its own."""
    model = likelihood(schema)
    g = torch.Generator().manual_seed(0)
    params = torch.randn(len(stored), model.n_params, generator=g)
    whole = model.log_prob(params, stored)
    assert whole.shape == (len(stored),) and torch.isfinite(whole).all()
    for i in range(stored.shape[1]):                                # changing one column changes its own term only: differences add up
        for j in range(i):
            a, b, both = stored.clone(), stored.clone(), stored.clone()
            a[:, i], b[:, j] = stored.roll(1, 0)[:, i], stored.roll(1, 0)[:, j]
            both[:, i], both[:, j] = a[:, i], b[:, j]
            log_a, log_b, log_both = (model.log_prob(params, v) for v in (a, b, both))
            torch.testing.assert_close(log_both - whole, log_a + log_b - 2 * whole, rtol=1e-4, atol=2e-3)


def test_every_parameter_matters(schema, stored):
    model = likelihood(schema)
    params = torch.zeros(1, model.n_params).requires_grad_()
    (gradient,) = torch.autograd.grad(model.log_prob(params.expand(len(stored), -1), stored).sum(), params)
    constant = [j for j, i in enumerate(model.number) if schema.blocks[i].low == schema.blocks[i].high]
    assert len(constant) == 1 and (gradient == 0).sum() == 2       # a constant is certain whatever its μ and s


def test_samples_are_valid_and_the_mean_is_the_centre(schema, table):
    model = likelihood(schema)
    params = torch.randn(300, model.n_params, generator=torch.Generator().manual_seed(0))
    drawn = schema.decode(model.sample(params, Rows(0, 0, 300)).numpy())
    assert schema.accepts(drawn).all() and list(drawn.dtypes) == list(table.dtypes)
    center = model.mean(params)
    filled = ~center[:, model.number].isnan()
    torch.testing.assert_close(center[:, model.number][filled], params[:, : model.n_numbers][filled])
    largest = [params[:, i[m]].argmax(1).float() for i, m in zip(model.index, model.inside, strict=True)]
    assert torch.equal(center[:, model.onehot], torch.stack(largest, 1))


def test_discretised_logistic_against_scipy():
    mean, s = torch.tensor(0.3, dtype=torch.float64), 0.2
    edges = torch.linspace(-2, 2, 41, dtype=torch.float64)
    low, high = edges[:-1].clone(), edges[1:].clone()
    expected = np.diff(stats.logistic(0.3, s).cdf(edges.numpy()))
    actual = logistic_cell_log_prob(low, high, mean, torch.tensor(s).log().double()).exp()
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    low[0], high[-1] = -FAR, FAR
    assert logistic_cell_log_prob(low, high, mean, torch.tensor(s).log().double()).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_the_logistic_tails_are_exact_in_float32():
    """Far out in a tail the mass of a cell underflows as a difference of two sigmoids; the formula does not."""
    low, high = torch.tensor([-31.0, 30.0]), torch.tensor([-30.0, 31.0])
    actual = logistic_cell_log_prob(low, high, torch.zeros(2), torch.zeros(2))
    expected = np.log(np.exp(-30) - np.exp(-31))
    np.testing.assert_allclose(actual, [expected, expected], rtol=1e-6)


def test_densities_against_scipy():
    x, mean, log_s = (torch.randn(100, generator=torch.Generator().manual_seed(i)).double() for i in range(3))
    np.testing.assert_allclose(gaussian_log_prob(x, mean, log_s), stats.norm(mean, log_s.exp()).logpdf(x), rtol=1e-10)
    np.testing.assert_allclose(logistic_log_prob(x, mean, log_s), stats.logistic(mean, log_s.exp()).logpdf(x), rtol=1e-10)
    u = torch.linspace(0.001, 0.999, 999)
    drawn = sample_logistic(torch.tensor(1.5), torch.tensor(-1.0), u)
    np.testing.assert_allclose(drawn, stats.logistic(1.5, np.exp(-1)).ppf(u.double()), rtol=2e-4)


def test_scales_are_bounded_below():
    raw = torch.linspace(-50, 50, 101)
    assert log_scale(raw).min().exp().item() == pytest.approx(MIN_SCALE)
    torch.testing.assert_close(log_scale(raw[(raw > 0) & (raw < 20)]), raw[(raw > 0) & (raw < 20)], rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("shift", [0.0, -1e3, 1e3])
@pytest.mark.parametrize("log_s", [-30.0, 0.0, 30.0])
def test_extreme_parameters_have_finite_gradients(schema, stored, shift, log_s):
    model = likelihood(schema)
    params = torch.zeros(len(stored), model.n_params)
    params[:, : model.n_numbers], params[:, model.n_numbers : 2 * model.n_numbers] = shift, log_s
    params = params.requires_grad_()
    value = model.log_prob(params, stored).mean()
    (gradient,) = torch.autograd.grad(value, params)
    assert torch.isfinite(value) and torch.isfinite(gradient).all()


IMAGES = {"levels": (RNG.integers(0, 17, (20, 1, 1)) + 0.0, 17), "uint8": (RNG.integers(0, 256, (20, 1, 1)).astype(np.uint8), 256),
          "binary": (RNG.integers(0, 2, (20, 1, 1)), 2)}


@pytest.mark.parametrize("name", IMAGES)
def test_pixels(name):
    X, levels = IMAGES[name]
    X.flat[:2] = (0, levels - 1)
    schema = Schema.fit(X)
    model, n = likelihood(schema), 20_000
    assert model.n_params == (1 if levels == 2 else 2) and schema.blocks[0].levels == levels
    x = torch.arange(levels).to(torch.uint8)[:, None, None, None]
    for seed in range(5):
        params = torch.randn(1, model.n_params, 1, 1, generator=torch.Generator().manual_seed(seed))
        p = model.log_prob(params.expand(levels, -1, -1, -1), x).double().exp()
        assert p.sum().item() == pytest.approx(1, abs=1e-5)
    drawn = model.sample(params.expand(n, -1, -1, -1), Rows(0, 0, n))
    assert drawn.dtype == torch.uint8
    observed = torch.bincount(drawn.flatten().long(), minlength=levels).double() / n
    np.testing.assert_allclose(observed.cumsum(0), p.cumsum(0), atol=4 * 0.5 / n**0.5)
    assert abs(float(model.mean(params).item()) - float(x.flatten()[p.argmax()])) <= 1


def test_image_shapes():
    X = RNG.integers(0, 256, (6, 5, 4, 3)).astype(np.uint8)
    schema = Schema.fit(X)
    model, stored = likelihood(schema), torch.from_numpy(schema.encode(X))
    params = torch.randn(6, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    assert model.log_prob(params, stored).shape == (6,) and model.sample(params, Shared(0, 6)).shape == (6, 3, 5, 4)
    swapped = model.log_prob(params.roll(1, 0), stored.roll(1, 0)).roll(-1, 0)      # rows do not see each other
    torch.testing.assert_close(swapped, model.log_prob(params, stored))
