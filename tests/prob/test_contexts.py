"""Counts of a pixel's bins beside its neighbours, against counting by hand."""

import pytest
import torch

from ectype.prob.contexts import PRIOR, Contexts, Group

GROUPS = [Group(0, 0, 1, ((0, -1), (-1, -1), (-1, 0), (-1, 1))), Group(1, 0, 2, ((-1, 0), (1, 0), (0, -1), (0, 2)))]
SHAPE, LEVELS = (2, 5, 4), 3


def fitted(n=40):
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, LEVELS, (n, *SHAPE), generator=g).to(torch.uint8)
    contexts = Contexts(SHAPE, GROUPS, LEVELS, LEVELS)
    contexts.fit(x, torch.arange(LEVELS))
    prior = torch.rand(*SHAPE, LEVELS, generator=g).log_softmax(-1)
    return contexts, x, prior


def by_hand(x, prior, group, row, b, c, i, j):
    """P₀ of one pixel, from a loop over all."""
    def neighbours(picture, i, j):
        places = [(i + dy, j + dx) for dy, dx in group.neighbours]
        return [int(picture[c, p, q]) if 0 <= p < SHAPE[1] and 0 <= q < SHAPE[2] else None for p, q in places]

    counts = torch.zeros(LEVELS)
    for picture in x:
        for p in range(group.row, SHAPE[1], group.step):
            for q in range(group.column, SHAPE[2], group.step):
                if neighbours(picture, p, q) == neighbours(x[b], i, j):
                    counts[int(picture[c, p, q])] += 1
    return (counts + PRIOR * prior[c, i, j].exp()) / (counts.sum() + PRIOR)


@pytest.mark.parametrize("g", [0, 1])
def test_counts_are_those_of_a_loop(g):
    contexts, x, prior = fitted()
    group = GROUPS[g]
    at = (slice(None), slice(group.row, None, group.step), slice(group.column, None, group.step))
    found = contexts.log_probabilities(g, contexts.bordered(x), prior[at]).exp()
    for b, c, i, j in [(0, 0, 0, 0), (3, 1, 1, 1), (7, 0, 0, 1)]:
        expected = by_hand(x, prior, group, g, b, c, group.row + i * group.step, group.column + j * group.step)
        torch.testing.assert_close(found[b, c, i, j], expected)
    torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:-1]))


def test_one_pixel_is_as_all_of_its_group():
    contexts, x, prior = fitted()
    seen = contexts.bordered(x)
    together = contexts.log_probabilities(1, seen, prior[:, 1::2, ::2])
    torch.testing.assert_close(contexts.at(1, 1, seen, 3, 2, prior[1, 3, 2]), together[:, 1, 1, 1])


def test_where_nothing_was_counted_a_pixel_has_its_own_frequencies():
    contexts, x, prior = fitted()
    contexts.counts.zero_()
    torch.testing.assert_close(contexts.log_probabilities(0, contexts.bordered(x), prior), prior.expand(len(x), -1, -1, -1, -1))


def test_a_level_that_is_common_has_a_run_of_its_own():
    x = torch.randint(0, 256, (200, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.6] = 0
    contexts = Contexts((1, 8, 8), GROUPS[:1], 256, 32)
    contexts.fit(x, torch.arange(256) // 8)
    assert (contexts.run_of == 0).sum() == 1 and contexts.run_of.max() == 5 and (contexts.run_of.diff() >= 0).all()
