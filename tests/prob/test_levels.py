"""Levels of pixels as cells: bins that share what there is, codes that are uniform where the probabilities are the truth, and the way back."""

import numpy as np
import pytest
import torch

from ectype.prob.levels import LEAST, Levels


def pictures(levels, n=300, shape=(1, 4, 5), seed=0):
    """Mostly black, with the other levels at random; each pixel has a share of black of its own."""
    r = np.random.default_rng(seed)
    dark = r.random(shape) < 0.9 * r.random((n, *shape))
    return torch.from_numpy(np.where(dark, 0, r.integers(0, levels, (n, *shape))).astype(np.uint8))


def fitted(levels, bins, x):
    cells = Levels(tuple(x.shape[1:]), levels, bins)
    cells.fit(x)
    return cells


@pytest.mark.parametrize(("levels", "bins"), [(2, 8), (5, 5), (17, 8), (256, 32), (256, 1)])
def test_bins_are_runs_and_none_is_empty(levels, bins):
    cells = fitted(levels, bins, pictures(levels))
    assert cells.bins == min(levels, bins) and torch.equal(cells.bin.unique(), torch.arange(cells.bins))
    assert (cells.bin.diff() >= 0).all() and (cells.bin.diff() <= 1).all()
    share = torch.zeros(cells.bins).index_add(0, cells.bin, cells.share)
    torch.testing.assert_close(share, torch.ones(cells.bins))
    assert (cells.share >= 0.9 * LEAST / levels).all()
    if levels > bins > 1:
        assert (cells.bin == 0).sum() == 1                              # the black that is common has a bin of its own


def test_without_a_network_a_pixel_has_its_own_frequencies():
    x = pictures(5)
    cells = fitted(5, 5, x)
    log_p = cells.log_prior.log_softmax(-1)
    counts = torch.stack([(x == k).float().mean(0) for k in range(5)], -1)
    torch.testing.assert_close(log_p.exp(), counts, atol=0.01, rtol=0)


@pytest.mark.parametrize(("levels", "bins"), [(2, 2), (7, 3), (256, 32)])
def test_masses_of_all_levels_sum_to_one(levels, bins):
    cells = fitted(levels, bins, pictures(levels))
    log_p = torch.randn(cells.bins, generator=torch.Generator().manual_seed(1)).log_softmax(0)
    x = torch.arange(levels)
    assert cells.log_mass(log_p.expand(levels, -1), x).double().exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("levels", "bins"), [(2, 2), (7, 3), (256, 32)])
def test_cells_tile_the_interval(levels, bins):
    """The end of a level's cell is the beginning of the next one's, and its width is its mass: the bound of dequantisation is tight."""
    cells = fitted(levels, bins, pictures(levels))
    log_p = torch.randn(cells.bins, generator=torch.Generator().manual_seed(1)).log_softmax(0).expand(levels, -1)
    x = torch.arange(levels)
    low, high = (cells(log_p, x, torch.full((levels,), v, dtype=torch.double)) for v in (0, 1))
    torch.testing.assert_close(low[1:], high[:-1], atol=1e-6, rtol=0)
    assert low[0] < 1e-6 and high[-1] > 1 - 1e-6
    torch.testing.assert_close((high - low).log().float(), cells.log_mass(log_p, x), atol=1e-2, rtol=0)


@pytest.mark.parametrize(("levels", "bins"), [(2, 2), (17, 5), (256, 32)])
def test_the_way_back(levels, bins):
    x = pictures(levels)
    cells, x = fitted(levels, bins, x), x.long()
    log_p = torch.randn(*x.shape, cells.bins, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    v = 0.01 + 0.98 * torch.rand(x.shape, dtype=torch.double)
    assert torch.equal(cells.inverse(log_p, cells(log_p, x, v)), x)
    inside = cells.inverse(log_p, torch.rand(x.shape, dtype=torch.double))
    assert inside.min() >= 0 and inside.max() < levels


def test_codes_are_uniform_and_samples_have_the_frequencies():
    x = pictures(9, n=4000)
    cells = fitted(9, 4, x)
    log_p = cells.log_prior.log_softmax(-1)
    u = cells(log_p.expand(len(x), *log_p.shape), x.long(), torch.rand(x.shape, dtype=torch.double))
    assert abs(u.mean().item() - 0.5) < 0.01 and abs(u.var().item() - 1 / 12) < 0.003
    drawn = cells.inverse(log_p.expand(len(x), *log_p.shape), torch.rand(x.shape, dtype=torch.double))
    for k in range(9):
        assert (drawn == k).float().mean().item() == pytest.approx((x == k).float().mean().item(), abs=0.01)
