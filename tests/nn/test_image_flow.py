"""Flows of pictures: probabilities of all pictures sum to one, pixels see those before them, and codes lead back to their pictures."""

import math

import pytest
import torch

from ectype.nn import image_flow
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


@pytest.fixture
def refined_often(monkeypatch):
    """A coarse grid of at most 2×2 pixels, so that small pictures take several doublings."""
    monkeypatch.setattr(image_flow, "COARSE", 2)


@pytest.mark.usefixtures("refined_often")
def test_several_doublings():
    flow, x, c = shaken(ScaleFlow, (2, 9, 13), 5, cond=2)
    assert flow.strides == [4, 2, 1]
    with torch.no_grad():
        v = 0.05 + 0.9 * torch.rand(x.shape, dtype=torch.double)
        u, log_mass = flow(x, v, c)
        assert torch.equal(flow.inverse(u, c), x.long())
        found = torch.stack([flow.estimate(x, c) for _ in range(600)])
    error = found.std(0) / 600**0.5
    assert (error > 0).all() and ((found.mean(0) - log_mass).abs() < 5 * error).all()


@pytest.mark.usefixtures("refined_often")
def test_probabilities_sum_to_one_over_doublings():
    flow, _, _ = shaken(ScaleFlow, (1, 2, 6), 2)
    x = torch.cartesian_prod(*[torch.arange(2)] * 12).view(2**12, 1, 2, 6)
    assert len(flow.strides) == 2 and flow.log_mass(x, None).double().exp().sum().item() == pytest.approx(1, abs=1e-5)


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
    """Rows of a Markov chain, x = x_left but for one pixel in ten. The entropy of a pixel next to a known one is H(0.1), of one two pixels
    away H(0.18), and of the middle between two of these 2 H(0.1) − H(0.18); pixels that see other rows alone have log 2."""
    def entropy(p):
        return -(p * math.log(p) + (1 - p) * math.log(1 - p))

    g = torch.Generator().manual_seed(0)
    flips = torch.rand(4000, *shape, generator=g) < 0.1
    flips[..., 0] = torch.rand(4000, *shape[:-1], generator=g) < 0.5
    x = (flips.long().cumsum(-1) % 2).to(torch.uint8)
    flow = cls(shape, 2, 2, Net(), (8,)).eval()
    flow.fit(x[:3000])
    colours, rows, columns = shape
    even, odd, half = -(-rows // 2), rows // 2, columns // 2
    near, far, middle = entropy(0.1), entropy(0.18), 2 * entropy(0.1) - entropy(0.18)
    if cls is RasterFlow:
        expected = rows * (math.log(2) + (columns - 1) * near)
    else:
        expected = even * (math.log(2) + (half - 1) * far) + odd * half * math.log(2) + rows * ((half - 1) * middle + near)
    assert -flow.log_mass(x[3000:], None).mean().item() == pytest.approx(colours * expected, rel=0.015)


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
