"""The stack of couplings: what is written by hand against the same layers by automatic differentiation, and its one vector of weights."""

import copy

import pytest
import torch
from torch import nn

from ectype.nn.coupling import BOUND, CouplingFlow, masks
from ectype.nn.mlp import ACTIVATIONS, FUNCTIONS, MLP
from ectype.prob.spline import Spline
from ectype.spec import Net


def case(dim=3, cond=2, activation="silu", rows=7, bins=3, dtype=torch.double):
    """A stack with random weights, rows that lie partly beyond the bound, and a condition."""
    g = torch.Generator().manual_seed(dim + cond)
    stack = CouplingFlow(dim, 3, bins, Net(activation=activation), (6, 5), cond=cond).to(dtype)
    stack.weights.data = torch.randn(stack.weights.shape, generator=g, dtype=dtype)
    y = 3 * torch.randn(rows, dim, generator=g, dtype=dtype)
    y[0] = 2 * BOUND
    c = torch.randn(rows, cond, generator=g, dtype=dtype) if cond else None
    return stack, y, c


def plain(stack, weights, y, c, activation="silu"):
    """The equations of a layer as modules and autograd have them, with the weights cut out of the vector."""
    shapes, total = [shape if shape[1] > 1 or not bias else shape[:1] for shape, bias in zip(stack.shapes, [0, 1] * 99, strict=False)], 0
    parts = [p.view(shape) for p, shape in zip(weights.split([torch.Size(s).numel() for s in shapes]), shapes, strict=True)]
    for i, mask in enumerate(masks(y.shape[1], len(stack.layers))):
        h = y * mask if c is None else torch.cat([y * mask, c], 1)
        mine = parts[2 * stack.depth * i : 2 * stack.depth * (i + 1)]
        for j in range(stack.depth):
            h = nn.functional.linear(h, mine[2 * j], mine[2 * j + 1])
            h = ACTIVATIONS[activation]()(h) if j < stack.depth - 1 else h
        moved = mask == 0
        z, log_slope = Spline(h.unflatten(1, (-1, int(moved.sum()))).permute(1, 2, 0), BOUND).forward(y[:, moved].T)
        y = y.index_copy(1, moved.nonzero()[:, 0], z.T)
        total = total + log_slope.sum(0)
    return y, total


@pytest.mark.parametrize(("dim", "cond", "activation"), [(1, 0, "silu"), (1, 2, "silu"), (2, 0, "relu"), (3, 2, "silu"), (5, 1, "tanh")])
def test_against_automatic_differentiation(dim, cond, activation):
    stack, y, c = case(dim, cond, activation)
    inputs = [v.requires_grad_() for v in (stack.weights, y, c) if v is not None]
    assert len(stack.weights) == sum(p.numel() for p in stack.parameters())
    found, expected = stack(y, c), plain(stack, stack.weights, y, c, activation)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)
    g = torch.Generator().manual_seed(0)
    seeds = [torch.randn(v.shape, generator=g, dtype=v.dtype) for v in found]
    for a, b in zip(torch.autograd.grad(found, inputs, seeds), torch.autograd.grad(expected, inputs, seeds), strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-7)


def test_derivatives_against_differences():
    stack, y, c = case(rows=3)
    assert torch.autograd.gradcheck(lambda y, c: stack(y, c), ((0.4 * y).requires_grad_(), c.requires_grad_()))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_of_the_activations(name):
    a = torch.linspace(-3, 3, 40, dtype=torch.double).requires_grad_()
    phi, pull_back = FUNCTIONS[name]
    expected = ACTIVATIONS[name]()(a)
    torch.testing.assert_close(phi(a), expected)
    g = torch.linspace(1, 2, 40, dtype=torch.double)
    torch.testing.assert_close(pull_back(g, a.detach()), torch.autograd.grad(expected, a, g)[0])
    assert FUNCTIONS.keys() == ACTIVATIONS.keys()


def test_dropout_is_the_same_there_and_back_and_only_in_training():
    stack = CouplingFlow(2, 1, 2, Net(dropout=0.5, activation="relu"), (64,)).double()
    nn.init.normal_(stack.weights)
    y = torch.full((1, 2), 0.3, dtype=torch.double).expand(500, 2).clone()
    z, _ = stack(y)
    assert len(z[:, 0].unique()) > 400
    rng = torch.get_rng_state()

    def same_noise(weights):
        torch.set_rng_state(rng)
        stack.weights.data = weights
        return stack(y)[0].sum()

    w = stack.weights.detach().clone()
    torch.set_rng_state(rng)
    slope = torch.autograd.grad(stack(y)[0].sum(), stack.weights)[0]
    way = torch.randn(w.shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    difference = (same_noise(w + 1e-6 * way) - same_noise(w - 1e-6 * way)) / 2e-6
    torch.testing.assert_close(slope @ way, difference, rtol=1e-4, atol=1e-4)
    stack.eval()
    assert stack(y)[0][:, 0].std() < 1e-9 < 1e-3 < z[:, 0].std()


def test_the_weights_start_as_those_of_a_perceptron_whose_last_layer_is_zero():
    torch.manual_seed(0)
    stack = CouplingFlow(4, 2, 3, Net(), (6,), cond=1)
    torch.manual_seed(0)
    first = MLP((4,), (8, 2), (6,), cond=1)
    (weight, bias), (last, last_bias) = stack.views().linears[0]
    assert torch.equal(weight, first.layers[0].weight) and torch.equal(bias[:, 0], first.layers[0].bias)
    assert not last.any() and not last_bias.any() and [p.shape for p in stack.parameters()] == [(2 * (6 * 6 + 16 * 7),)]


def test_the_matrices_follow_the_vector():
    """Where the weights are put elsewhere, changed in place, copied, or of another type, and what one pass found is not written over."""
    stack, y, c = case(dtype=torch.float)
    before, = torch.autograd.grad(stack(y, c)[0].sum(), stack.weights)
    kept = before.clone()
    twin = copy.deepcopy(stack)
    stack.weights.data = 2 * stack.weights.data
    moved = stack(y, c)[0]
    assert not torch.equal(moved, twin(y, c)[0]) and not torch.equal(torch.autograd.grad(moved.sum(), stack.weights)[0], kept)
    assert torch.equal(before, kept)
    with torch.no_grad():
        stack.weights /= 2
    assert torch.equal(stack(y, c)[0], twin(y, c)[0])
    assert stack.double()(y.double(), c.double())[0].dtype == torch.double


def test_weights_that_changed_since_are_noticed():
    stack, y, c = case()
    z, _ = stack(y, c)
    with torch.no_grad():
        stack.weights += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
