"""Cells: the nearest centre, the shares of classes, draws with these shares, fewer cells where rows are few."""

import numpy as np
import pytest
import torch

from ectype.prob.cells import ROWS_PER_CELL, Cells

CORNERS = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])


def clumps(counts, seed=0):
    g = torch.Generator().manual_seed(seed)
    which = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    return CORNERS[which] + 0.1 * torch.randn(len(which), 2, generator=g), which


def fitted(counts, n=4, classes=1, c=None):
    f, which = clumps(counts)
    cells = Cells(n, 2, classes)
    torch.manual_seed(0)
    cells.fit(f, len(f))
    cells.count(cells.of(f), None if c is None else c(which))
    return cells, f, which


def test_clumps_become_cells_and_shares_their_sizes():
    cells, f, which = fitted([200, 400, 600, 800])
    k = cells.of(f)
    assert all(len(k[which == i].unique()) == 1 for i in range(4)) and len(k.unique()) == 4
    torch.testing.assert_close(cells.shares[0].sort().values, torch.tensor([0.1, 0.2, 0.3, 0.4]))
    torch.testing.assert_close(cells.centers[k], CORNERS[which], atol=0.05, rtol=0)


def test_the_cell_is_that_of_the_nearest_centre():
    cells, *_ = fitted([200] * 4)
    f = torch.randn(500, 2, generator=torch.Generator().manual_seed(1)) * 8
    expected = ((f[:, None] - cells.centers) ** 2).sum(-1).argmin(1)
    assert (cells.of(f) == expected).float().mean() > 0.99


def test_shares_of_a_class_are_its_own():
    cells, f, which = fitted([200] * 4, classes=3, c=lambda which: (which >= 2).long())
    of_corner = cells.of(CORNERS)
    torch.testing.assert_close(cells.shares[0][of_corner], torch.tensor([0.5, 0.5, 0.0, 0.0]))
    torch.testing.assert_close(cells.shares[1][of_corner], torch.tensor([0.0, 0.0, 0.5, 0.5]))
    torch.testing.assert_close(cells.shares[2], torch.full((4,), 0.25))         # a class without rows draws as all do
    u = torch.rand(2000, generator=torch.Generator().manual_seed(2))
    assert set(cells.draw(u, torch.zeros(2000)).tolist()) == set(of_corner[:2].tolist())


def test_draws_have_the_shares():
    cells, *_ = fitted([200, 400, 600, 800])
    u = (torch.arange(10_000) + 0.5) / 10_000
    np.testing.assert_allclose(torch.bincount(cells.draw(u), minlength=4) / 10_000, cells.shares[0], atol=2e-4)
    assert cells.shares[0][cells.draw(torch.tensor([0.0, 1 - 1e-7]))].gt(0).all()       # nothing is drawn that holds no row


@pytest.mark.parametrize("rows", [1, ROWS_PER_CELL - 1, 3 * ROWS_PER_CELL])
def test_few_rows_have_few_cells(rows):
    f = torch.randn(rows, 2, generator=torch.Generator().manual_seed(0))
    cells = Cells(8, 2)
    cells.fit(f, rows)
    cells.count(cells.of(f))
    assert int((cells.shares > 0).sum()) == max(1, rows // ROWS_PER_CELL) == len(cells.centers.unique(dim=0))


def test_rows_that_are_all_the_same_are_one_cell():
    f = torch.ones(500, 3)
    cells = Cells(8, 3)
    cells.fit(f, 500)
    assert cells.of(f).eq(0).all()
    torch.testing.assert_close(cells.one_hot(cells.of(f[:1])), torch.eye(8)[:1])
