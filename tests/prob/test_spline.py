"""The spline: against equations 4 and 5 written down value by value, its derivatives against finite differences, and its inverse."""

import pytest
import torch

from ectype.prob import spline
from ectype.prob.spline import LEAST, MIN_SLOPE, UNIT, Spline

BOUND = 3.0


def case(bins, n=2, b=40, scale=1.0, dtype=torch.double, seed=0):
    """Random parameters, and x from well below to well above the interval."""
    g = torch.Generator().manual_seed(seed)
    parameters = scale * torch.randn(3 * bins - 1, n, b, generator=g, dtype=dtype)
    return parameters, torch.linspace(-1.5 * BOUND, 1.5 * BOUND, b, dtype=dtype).expand(n, b).clone()


def by_hand(p, x):
    """z and log z′ of one slot and one row, as in the paper."""
    bins = (len(p) + 1) // 3
    if abs(x) >= BOUND:
        return x, 0.0
    sizes = [2 * BOUND * (LEAST / bins + (1 - LEAST) * part.softmax(0)) for part in (p[:bins], p[bins : 2 * bins])]
    knots = [torch.cat([torch.zeros(1, dtype=p.dtype), s.cumsum(0)]) - BOUND for s in sizes]
    slopes = torch.cat([torch.ones(1, dtype=p.dtype), torch.nn.functional.softplus(p[2 * bins :] + UNIT) + MIN_SLOPE, torch.ones(1, dtype=p.dtype)])
    k = next(i for i in range(bins) if x < knots[0][i + 1])
    s, xi = sizes[1][k] / sizes[0][k], (x - knots[0][k]) / sizes[0][k]
    below = s + (slopes[k + 1] + slopes[k] - 2 * s) * xi * (1 - xi)
    z = knots[1][k] + sizes[1][k] * (s * xi**2 + slopes[k] * xi * (1 - xi)) / below
    return z, (s**2 * (slopes[k + 1] * xi**2 + 2 * s * xi * (1 - xi) + slopes[k] * (1 - xi) ** 2) / below**2).log()


@pytest.mark.parametrize("bins", [1, 2, 8])
def test_against_the_equations(bins):
    p, x = case(bins)
    z, log_slope = Spline(p, BOUND).forward(x)
    for i in range(2):
        for j in range(0, 40, 3):
            expected = by_hand(p[:, i, j], x[i, j].item())
            assert (z[i, j].item(), log_slope[i, j].item()) == pytest.approx([float(v) for v in expected], abs=1e-9)


@pytest.mark.parametrize("bins", [1, 2, 5])
def test_derivatives(bins):
    """Of both results, by both arguments: what is written by hand against finite differences."""
    p, x = case(bins, n=2, b=9)
    p.requires_grad_()
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda p, x: Spline(p, BOUND).forward(x), (p, x))


def test_torch_does_the_same_arithmetic_where_numpy_cannot(monkeypatch):
    """On a GPU: as if no tensor could be seen as an array."""
    p, x = case(5)

    def everything():
        spline.places.cache_clear()
        inputs = p.clone().requires_grad_(), x.clone().requires_grad_()
        z, log_slope = Spline(inputs[0], BOUND).forward(inputs[1])
        return z, log_slope, *torch.autograd.grad(z.sin().sum() + log_slope.cos().sum(), inputs), Spline(p, BOUND).inverse(z.detach())

    expected = everything()
    monkeypatch.setattr(spline, "plain", lambda a: a)
    found = everything()
    spline.places.cache_clear()
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


def test_the_slope_is_the_derivative():
    p, x = case(6)
    x.requires_grad_()
    z, log_slope = Spline(p, BOUND).forward(x)
    torch.testing.assert_close(torch.autograd.grad(z.sum(), x)[0].log(), log_slope, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("bins", "scale", "dtype", "atol"), [(1, 1, torch.double, 1e-10), (8, 1, torch.double, 1e-10), (8, 4, torch.double, 1e-9),
                                                             (8, 1, torch.float, 1e-4), (16, 1, torch.float, 1e-4)])
def test_the_inverse(bins, scale, dtype, atol):
    p, x = case(bins, scale=scale, dtype=dtype)
    z, _ = Spline(p, BOUND).forward(x)
    torch.testing.assert_close(Spline(p, BOUND).inverse(z), x, atol=atol, rtol=0)
    assert (z.diff(dim=1)[:, 1:] > 0).any() and z.isfinite().all()


def test_zeros_are_the_identity_and_beyond_the_bound_nothing_happens():
    p, x = case(8)
    z, log_slope = Spline(torch.zeros_like(p), BOUND).forward(x)
    torch.testing.assert_close(z, x, atol=1e-9, rtol=0)
    torch.testing.assert_close(log_slope, torch.zeros_like(x), atol=1e-9, rtol=0)
    far = x.abs() >= BOUND
    z, log_slope = Spline(p, BOUND).forward(x)
    torch.testing.assert_close(z[far], x[far], atol=1e-9, rtol=0)
    assert far.sum() > 10 and log_slope[far].abs().max() < 1e-9 and not torch.isclose(z[~far], x[~far]).any()


def test_it_increases():
    p, _ = case(8, b=1, scale=3)
    x = torch.linspace(-2 * BOUND, 2 * BOUND, 4001, dtype=torch.double).expand(2, -1)
    z, log_slope = Spline(p.expand(-1, -1, 4001), BOUND).forward(x)
    assert (z.diff(dim=1) > 0).all() and log_slope.isfinite().all()
