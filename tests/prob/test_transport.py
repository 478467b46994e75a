"""Pairs of least distance, against all permutations."""

import itertools

import torch

from ectype.prob.transport import deal


def cost(x, eps):
    return (x - eps).square().sum().item()


def test_no_other_order_is_nearer():
    g = torch.Generator().manual_seed(0)
    for _ in range(5):
        x, eps = torch.randn(6, 3, generator=g), torch.randn(6, 3, generator=g)
        least = min(cost(x, eps[list(p)]) for p in itertools.permutations(range(6)))
        assert abs(cost(x, deal(x, eps)) - least) < 1e-4


def test_the_noise_is_the_same_noise():
    g = torch.Generator().manual_seed(0)
    x, eps = torch.randn(64, 2, 3, generator=g), torch.randn(64, 2, 3, generator=g)
    dealt = deal(x, eps)
    assert dealt.shape == eps.shape and torch.equal(dealt.flatten().sort().values, eps.flatten().sort().values)
    assert cost(x, dealt) < 0.9 * cost(x, eps)


def test_classes_keep_to_themselves():
    g = torch.Generator().manual_seed(0)
    x, eps = torch.randn(40, 2, generator=g), torch.randn(40, 2, generator=g)
    classes = torch.arange(40) % 3
    classes[0] = 7                                                      # alone in its class
    dealt = deal(x, eps, classes)
    for k in classes.unique():
        mine = classes == k
        assert torch.equal(dealt[mine].sort(0).values, eps[mine].sort(0).values)
        assert torch.equal(dealt[mine], deal(x[mine], eps[mine]))


def test_many_rows_are_dealt_in_parts():
    g = torch.Generator().manual_seed(0)
    x, eps = torch.randn(1000, 2, generator=g), torch.randn(1000, 2, generator=g)
    dealt = deal(x, eps)
    assert torch.equal(dealt[:256], deal(x[:256], eps[:256])) and torch.equal(dealt.sort(0).values, eps.sort(0).values)
