"""The three views of stored signals."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ectype.data.schema import Schema
from ectype.prob.dequantize import Dequantization
from ectype.prob.likelihood import MIN_SCALE, likelihood
from ectype.prob.relax import Relaxation
from ectype.rng import Rows, Shared


@pytest.fixture(params=[(30, 16), (30, 16, 2)], ids=["one channel", "two channels"])
def signals(request):
    X = np.random.default_rng(0).normal(3, 2, request.param)
    schema = Schema.fit(X, kinds="signal")
    return X, schema, torch.from_numpy(schema.encode(X))


def test_features_are_the_stored_values(signals):
    _, schema, x = signals
    relaxation = Relaxation(schema)
    assert relaxation.shape == schema.stored_shape and (relaxation.is_signal, relaxation.is_image, relaxation.n_onehot) == (True, False, 0)
    for view in (relaxation.embed(x), relaxation.project(x), relaxation.activate(x, x.new_zeros(len(x), 0))):
        assert torch.equal(view, x)


def test_the_likelihood_is_a_gaussian_of_every_sample(signals):
    _, schema, x = signals
    p = likelihood(schema)
    c, length = schema.stored_shape
    params = torch.randn(len(x), p.n_params * c, length, generator=torch.Generator().manual_seed(0), requires_grad=True)
    mean, raw = params.detach().numpy().astype(np.float64)[:, :c], params.detach().numpy().astype(np.float64)[:, c:]
    expected = stats.norm.logpdf(x.numpy(), mean, MIN_SCALE + np.exp(raw)).sum((1, 2))
    found = p.log_prob(params, x)
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-4)
    found.sum().backward()
    assert torch.isfinite(params.grad).all() and (params.grad != 0).any()
    assert torch.equal(p.mean(params), params[:, :c])


def test_a_constant_signal_cannot_make_the_likelihood_infinite(signals):
    _, schema, x = signals
    c, length = schema.stored_shape
    params = torch.cat([x, torch.full_like(x, -1e9)], dim=1)
    bound = c * length * (-math.log(MIN_SCALE) - 0.5 * math.log(2 * math.pi))
    np.testing.assert_allclose(likelihood(schema).log_prob(params, x), bound, rtol=1e-4)


def test_samples_have_the_mean_and_the_scale(signals):
    _, schema, _ = signals
    c, length = schema.stored_shape
    params = torch.cat([torch.full((4096, c, length), 2.0), torch.full((4096, c, length), -1.0)], dim=1)
    draws = likelihood(schema).sample(params, Rows(0, 0, 4096))
    assert draws.shape == (4096, c, length)
    np.testing.assert_allclose(draws.mean(0), 2.0, atol=0.03)
    np.testing.assert_allclose(draws.std(0), MIN_SCALE + math.exp(-1), rtol=0.06)


def test_signals_need_no_noise(signals):
    _, schema, x = signals
    view = Dequantization(schema)
    view.fit(x)
    y, log_q = view(x, Shared(0, len(x)))
    assert view.is_exact and view.dim == schema.n_dims and y.shape == (len(x), view.dim)
    assert (log_q == 0).all() and torch.equal(view.inverse(y), x)


def test_a_flow_of_one_gaussian_has_the_density_of_the_data(signals):
    """log N(z) plus the schema's derivative is the log-density in the user's units."""
    X, schema, x = signals
    y, _ = Dequantization(schema)(x, Shared(0, len(x)))
    log_p = stats.norm.logpdf(y.numpy().astype(np.float64)).sum(1) + schema.log_derivative(x.numpy())
    values = X.reshape(30, 16, -1)
    expected = stats.norm.logpdf(values, values.mean((0, 1)), values.std((0, 1))).sum((1, 2))
    np.testing.assert_allclose(log_p, expected, rtol=1e-5)
