"""Likelihoods: every slot sums or integrates to one, samples have the frequencies that log_prob says, gradients are finite."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from ectype.data.schema import Schema
from ectype.errors import InvalidParameterError
from ectype.prob.likelihood import (
    FAR,
    MIN_SCALE,
    NAMES,
    fitting,
    gaussian_cell_log_prob,
    gaussian_log_prob,
    likelihood,
    log_normal_cdf,
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


CASES = [(name, fit) for name, values in COLUMNS.items() for fit in fitting(one_column(values))]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("name", "fit"), CASES)
def test_every_slot_is_a_distribution(name, fit, seed):
    schema = one_column(COLUMNS[name])
    model = likelihood(schema, fit)
    x, weight = values_and_weights(schema)
    params = torch.randn(1, model.n_params, generator=torch.Generator().manual_seed(seed)).expand(len(x), -1)
    total = (model.log_prob(params, x).double().exp() * weight).sum()
    assert total.item() == pytest.approx(1, abs=2e-3 if len(x) > 1000 else 1e-5)


@pytest.mark.parametrize(("name", "fit"), CASES)
def test_samples_have_the_frequencies_of_log_prob(name, fit):
    schema, n = one_column(COLUMNS[name]), 20_000
    model = likelihood(schema, fit)
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


def test_discretised_gaussian_against_scipy():
    """In float64 to the last digits; in both tails of float32, where a difference of distribution functions would be zero."""
    edges = torch.linspace(-2, 2, 41, dtype=torch.float64)
    mean, log_std = torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.2, dtype=torch.float64).log()
    expected = np.diff(stats.norm(0.3, 0.2).cdf(edges.numpy()))
    np.testing.assert_allclose(gaussian_cell_log_prob(edges[:-1], edges[1:], mean, log_std).exp(), expected, rtol=1e-6, atol=1e-15)
    low, high = torch.tensor([-31.0, 30.0]), torch.tensor([-30.0, 31.0])
    expected = stats.norm.logcdf(-30) + np.log1p(-np.exp(stats.norm.logcdf(-31) - stats.norm.logcdf(-30)))
    np.testing.assert_allclose(gaussian_cell_log_prob(low, high, torch.zeros(2), torch.zeros(2)), [expected, expected], rtol=1e-6)


def test_the_normal_distribution_function_against_scipy():
    u = torch.cat([torch.linspace(-40, 12, 1041, dtype=torch.float64), torch.tensor([-1.0, 0.0])])
    np.testing.assert_allclose(log_normal_cdf(u), stats.norm.logcdf(u), rtol=1e-10, atol=1e-300)
    far = torch.tensor([-1e7, -1e3, -1.0, 0.0, 1e3, 1e7], requires_grad=True)
    (gradient,) = torch.autograd.grad(log_normal_cdf(far).sum(), far)
    np.testing.assert_allclose(gradient[:4], [1e7, 1e3, 1.525135, 0.797885], rtol=1e-3)
    assert (gradient[4:] == 0).all()


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
@pytest.mark.parametrize("name", ["auto", "gaussian", "logistic"])
def test_extreme_parameters_have_finite_gradients(schema, stored, shift, log_s, name):
    model = likelihood(schema, name)
    params = torch.zeros(len(stored), model.n_params)
    params[:, : model.n_numbers], params[:, model.n_numbers : 2 * model.n_numbers] = shift, log_s
    params = params.requires_grad_()
    value = model.log_prob(params, stored).mean()
    (gradient,) = torch.autograd.grad(value, params)
    assert torch.isfinite(value) and torch.isfinite(gradient).all()


IMAGES = {"levels": (RNG.integers(0, 17, (20, 1, 1)) + 0.0, 17), "uint8": (RNG.integers(0, 256, (20, 1, 1)).astype(np.uint8), 256),
          "binary": (RNG.integers(0, 2, (20, 1, 1)), 2)}


def pixels(name):
    """Schema of one pixel."""
    X, levels = IMAGES[name]
    X = X.copy()
    X.flat[:2] = (0, levels - 1)
    return Schema.fit(X), levels


@pytest.mark.parametrize(("name", "fit"), [(n, f) for n in IMAGES for f in fitting(pixels(n)[0]) if (n, f) != ("uint8", "categorical")])
def test_pixels(name, fit):
    schema, levels = pixels(name)
    model, n = likelihood(schema, fit), 20_000
    assert model.n_params == (levels if fit == "categorical" else 1 if fit == "bernoulli" or levels == 2 else 2)
    x = torch.arange(levels).to(torch.uint8)[:, None, None, None]
    if model.binarises:
        x = x[[0, -1]]
    for seed in range(5):
        params = torch.randn(1, model.n_params, 1, 1, generator=torch.Generator().manual_seed(seed))
        p = model.log_prob(params.expand(len(x), -1, -1, -1), x).double().exp()
        assert p.sum().item() == pytest.approx(1, abs=1e-5)
    drawn = model.sample(params.expand(n, -1, -1, -1), Rows(0, 0, n))
    assert drawn.dtype == torch.uint8
    observed = torch.bincount(drawn.flatten().long(), minlength=levels).double() / n
    probabilities = torch.zeros(levels, dtype=torch.float64).index_copy(0, x.flatten().long(), p)
    np.testing.assert_allclose(observed.cumsum(0), probabilities.cumsum(0), atol=4 * 0.5 / n**0.5)
    center = float(model.mean(params).item())
    if fit in ("bernoulli", "categorical"):
        assert center == pytest.approx((probabilities * torch.arange(levels)).sum().item(), abs=0.51)
    else:
        assert abs(center - float(x.flatten()[p.argmax()])) <= 1


def test_grey_is_the_probability_of_white():
    schema, _ = pixels("uint8")
    model, grey = likelihood(schema, "bernoulli"), torch.tensor([0, 51, 128, 255], dtype=torch.uint8).view(4, 1, 1, 1)
    drawn = torch.stack([model.binarise(grey, torch.rand(grey.shape, generator=torch.Generator().manual_seed(i))) for i in range(4000)])
    assert drawn.dtype == torch.uint8 and set(drawn.flatten().tolist()) == {0, 255}
    np.testing.assert_allclose(drawn.float().mean(0).flatten() / 255, [0, 0.2, 128 / 255, 1], atol=0.03)
    assert model.binarise(grey, 0.5).flatten().tolist() == [0, 0, 255, 255] and not likelihood(pixels("binary")[0]).binarises


def test_several_channels_of_levels():
    """The logits of a pixel's levels lie channel by channel in the same order for the density, the mean and the draws."""
    X = RNG.integers(0, 17, (8, 2, 3, 3)).astype(float)
    X.flat[:2] = (0, 16)
    schema = Schema.fit(X)
    model, wanted = likelihood(schema, "categorical"), torch.from_numpy(schema.encode(X))
    params = 60.0 * torch.nn.functional.one_hot(wanted.long(), 17).movedim(-1, 1).flatten(1, 2).float()
    assert torch.equal(model.mean(params), wanted) and torch.equal(model.sample(params, Rows(0, 0, 8)), wanted)
    assert model.log_prob(params, wanted).abs().max() < 1e-4


FITS = {
    "signals": (lambda: Schema.fit(RNG.normal(size=(9, 12)), kinds="signal"), {"auto", "gaussian", "logistic"}),
    "levels": (lambda: pixels("levels")[0], set(NAMES)), "two levels": (lambda: pixels("binary")[0], {"auto", "bernoulli", "categorical"}),
    "mixed": (lambda: Schema.fit(pd.DataFrame({"a": RNG.normal(size=50), "w": RNG.choice(list("abc"), 50)})), {"auto", "gaussian", "logistic"}),
    "words": (lambda: Schema.fit(pd.DataFrame({"w": RNG.choice(list("abc"), 50)})), {"auto", "categorical"}),
    "flags": (lambda: Schema.fit(pd.DataFrame({"f": RNG.random(50) < 0.5})), {"auto", "bernoulli", "categorical"}),
}


@pytest.mark.parametrize("name", FITS)
def test_names_that_do_not_fit_a_block_are_refused(name):
    make, fits = FITS[name]
    schema = make()
    assert set(fitting(schema)) == fits
    for other in NAMES:
        if other in fits:
            assert likelihood(schema, other).n_params > 0
        else:
            with pytest.raises(InvalidParameterError, match=rf"the likelihood '{other}' does not fit .*: expected one of auto"):
                likelihood(schema, other)


def test_the_obstacle_is_named():
    X = pd.DataFrame({"w": RNG.choice(list("abc"), 50), "age": RNG.normal(size=50)})
    with pytest.raises(InvalidParameterError, match="does not fit the column 'w', a category of 3 values"):
        likelihood(Schema.fit(X), "bernoulli")
    with pytest.raises(InvalidParameterError, match="does not fit the column 'age', a number"):
        likelihood(Schema.fit(X[["age"]]), "categorical")
    with pytest.raises(InvalidParameterError, match="does not fit a table without numbers"):
        likelihood(Schema.fit(X[["w"]]), "gaussian")


def test_signals_of_either_shape():
    schema = Schema.fit(RNG.normal(size=(30, 5)), kinds="signal")
    x = torch.from_numpy(schema.encode(RNG.normal(size=(4, 5))))
    params = torch.randn(4, 2, 5, generator=torch.Generator().manual_seed(0))
    mean, s = params[:, :1], log_scale(params[:, 1:]).exp()
    for name, family in (("gaussian", stats.norm), ("logistic", stats.logistic)):
        model = likelihood(schema, name)
        np.testing.assert_allclose(model.log_prob(params, x), family(mean, s).logpdf(x).sum((1, 2)), rtol=1e-4)
        drawn = model.sample(params[:1].expand(20_000, -1, -1), Rows(0, 0, 20_000))
        np.testing.assert_allclose(drawn.std(0), family(mean[:1], s[:1]).std()[0], rtol=0.05)


def test_image_shapes():
    X = RNG.integers(0, 256, (6, 5, 4, 3)).astype(np.uint8)
    schema = Schema.fit(X)
    model, stored = likelihood(schema), torch.from_numpy(schema.encode(X))
    params = torch.randn(6, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    assert model.log_prob(params, stored).shape == (6,) and model.sample(params, Shared(0, 6)).shape == (6, 3, 5, 4)
    swapped = model.log_prob(params.roll(1, 0), stored.roll(1, 0)).roll(-1, 0)      # rows do not see each other
    torch.testing.assert_close(swapped, model.log_prob(params, stored))
