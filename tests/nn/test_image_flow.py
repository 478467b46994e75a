"""Flows of pictures: probabilities of all pictures sum to one, pixels see those before them, and codes lead back to their pictures."""

import math

import pytest
import torch

from ectype.nn.image_flow import RasterFlow, ScaleFlow
from ectype.spec import Net

FLOWS = pytest.mark.parametrize("cls", [RasterFlow, ScaleFlow])


def shaken(cls, shape, levels, bins=6, cond=0, spread=0.3, width=(8, 8)):
    """A flow with random weights, fitted to random pictures, which come with it."""
    g = torch.Generator().manual_seed(0)
    flow = cls(shape, levels, bins, Net(), width, cond=cond).eval()
    x = torch.randint(0, levels, (30, *shape), generator=g).to(torch.uint8)
    flow.fit(x)
    for p in flow.parameters():
        p.data = p.data + spread * torch.randn(p.shape, generator=g)
    return flow, x, torch.randn(30, cond, generator=g) if cond else None


@FLOWS
@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 1, 3), (1, 1, 5), (1, 6, 1)])
def test_probabilities_of_all_pictures_sum_to_one(cls, shape):
    flow, _, _ = shaken(cls, shape, 2)
    n = shape[0] * shape[1] * shape[2]
    x = torch.cartesian_prod(*[torch.arange(2)] * n).view(2**n, *shape)
    p = flow.log_mass(x, None).double().exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-5) and p.max() / p.min() > 5


@FLOWS
@pytest.mark.parametrize(("shape", "levels", "cond"), [((1, 8, 8), 17, 0), ((3, 5, 7), 256, 2), ((1, 1, 2), 3, 0), ((1, 17, 18), 4, 2)])
def test_the_way_back(cls, shape, levels, cond):
    """(17, 18) has squares of 2×2 in the raster, of which some lie half outside."""
    flow, x, c = shaken(cls, shape, levels, cond=cond)
    with torch.no_grad():
        v = 0.05 + 0.9 * torch.rand(x.shape, dtype=torch.double)
        u, log_mass = flow(x, v, c)
        assert torch.equal(flow.inverse(u, c), x.long())
        torch.testing.assert_close(log_mass.float(), flow.log_mass(x, c), atol=1e-3, rtol=1e-5)
    assert u.dtype == torch.double and u.min() > 0 and u.max() < 1


@FLOWS
@pytest.mark.parametrize("shape", [(1, 5, 4), (2, 4, 4), (1, 16, 17)])
def test_the_jacobian_is_triangular(cls, shape):
    """Each pixel's probabilities change with the pixels before it and no others: the order can be read from who depends on whom."""
    flow, x, _ = shaken(cls, shape, 4, spread=0.4)
    n = x[0].numel()
    base = x[:1].repeat(n + 1, 1, 1, 1)
    for i in range(n):
        base[i + 1].view(-1)[i] = (base[i + 1].view(-1)[i] + 2) % 4
    log_p = torch.zeros(n + 1, *shape, flow.levels.bins)
    with torch.no_grad():
        for at, found in flow.log_probabilities(base.long(), None):
            log_p[at] = found
    moved = (log_p[1:] - log_p[0]).flatten(1, -2).abs().amax(-1) > 1e-5                     # (of a change at i, at pixel j)
    assert not moved.diagonal().any()
    left = set(range(n))
    while left:                                                                             # take away those that nobody left is before
        free = [j for j in left if not any(moved[i, j] for i in left)]
        assert free
        left -= set(free)
    if cls is RasterFlow:
        assert moved.sum() > 0.2 * n


@FLOWS
def test_rows_do_not_depend_on_each_other_and_conditions_count(cls):
    flow, x, c = shaken(cls, (1, 6, 6), 5, cond=2)
    with torch.no_grad():
        together = flow.log_mass(x, c)
        alone = torch.cat([flow.log_mass(x[i : i + 1], c[i : i + 1]) for i in range(5)])
        torch.testing.assert_close(together[:5], alone, atol=1e-3, rtol=1e-5)
        assert not torch.isclose(together, flow.log_mass(x, -c), atol=1e-3).any()


@FLOWS
@pytest.mark.parametrize("shape", [(1, 5, 6), (2, 17, 16)])
def test_a_new_flow_is_what_neighbours_tell(cls, shape):
    """In rows of a Markov chain, x = x_left but for one pixel in ten, a raster's pixels have the entropy of that; a grid's those of a
    middle between two, and more."""
    g = torch.Generator().manual_seed(0)
    flips = torch.rand(4000, *shape, generator=g) < 0.1
    flips[..., 0] = torch.rand(4000, *shape[:-1], generator=g) < 0.5
    x = (flips.long().cumsum(-1) % 2).to(torch.uint8)
    flow = cls(shape, 2, 2, Net(), (8,)).eval()
    flow.fit(x[:3000])
    nats = -flow.log_mass(x[3000:], None).mean().item() / (shape[0] * shape[1])
    chain = math.log(2) + (shape[2] - 1) * -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert nats == pytest.approx(chain, rel=0.02) if cls is RasterFlow else chain * 0.99 < nats < 0.8 * shape[2] * math.log(2)


def test_the_estimate_is_right_on_average_over_the_groups():
    flow, x, c = shaken(ScaleFlow, (2, 7, 6), 9, cond=2)
    with torch.no_grad():
        found = {round(e.sum().item(), 3): e for e in (flow.estimate(x, c) for _ in range(40))}
        assert len(found) == 3
        torch.testing.assert_close(sum(found.values()) / 3, flow.log_mass(x, c), atol=1e-3, rtol=1e-4)


def test_passes():
    assert RasterFlow((1, 28, 28), 256, 8, Net(), (8,)).passes == 196 and RasterFlow((1, 5, 7), 4, 4, Net(), (8,)).passes == 35
    assert ScaleFlow((1, 28, 28), 256, 8, Net(), (8,)).passes == 49 + 3 and ScaleFlow((1, 1, 8), 4, 4, Net(), (8,)).passes == 4 + 1
    assert ScaleFlow((3, 64, 40), 256, 8, Net(), (8,)).passes == 8 * 5 + 2 * 3
