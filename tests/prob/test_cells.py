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
    of_class = None if c is None else c(which)
    cells = Cells(n, 2, classes)
    torch.manual_seed(0)
    cells.fit(f, len(f), of_class)
    cells.count(cells.of(f, of_class))
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


def test_cells_of_a_class_are_its_own():
    """Two clumps a class, and another class at the same places."""
    cells, f, which = fitted([300, 100, 200, 200], n=6, classes=3, c=lambda which: (which >= 2).long())
    c = (which >= 2).long()
    k = cells.of(f, c)
    assert cells.n == 6 and torch.equal(k // 2, c) and all(len(k[which == i].unique()) == 1 for i in range(4))
    torch.testing.assert_close(cells.shares.sort(1).values, torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.0, 1.0]]))
    torch.testing.assert_close(cells.centers[k], CORNERS[which], atol=0.05, rtol=0)
    elsewhere = cells.of(f, 1 - c)
    expected = ((f[:, None] - cells.centers.view(3, 2, 2)[1 - c]) ** 2).sum(-1).argmin(1) + 2 * (1 - c)
    assert torch.equal(elsewhere, expected)                                     # the nearest of the class that is named
    u = torch.rand(2000, generator=torch.Generator().manual_seed(2))
    for i in range(2):
        drawn = cells.draw(u, torch.full((2000,), float(i)))
        assert set(drawn.tolist()) == {2 * i, 2 * i + 1}
    assert set(cells.draw(u, torch.full((2000,), 2.0)).tolist()) == {4}         # a class without rows draws its first


def test_a_class_has_one_cell_at_least():
    cells = Cells(4, 2, 10)
    assert cells.n == 10
    c = torch.arange(500) % 10
    cells.fit(torch.randn(500, 2), 500, c)
    assert torch.equal(cells.of(torch.randn(10, 2), torch.arange(10)), torch.arange(10))
    torch.testing.assert_close(cells.one_hot(cells.draw(torch.rand(10), torch.arange(10))), torch.eye(10))


def test_classes_with_few_rows_have_fewer_cells():
    f, c = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)), (torch.arange(1000) >= 900).long()
    cells = Cells(12, 2, 2)
    cells.fit(f, 2 * 1000, c)                       # drawn from twice as many rows: 1,800 and 200
    assert [len(part.unique(dim=0)) for part in cells.centers.view(2, 6, 2)] == [6, 200 // ROWS_PER_CELL]


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
