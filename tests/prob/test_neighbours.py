"""Divergence by nearest neighbours against closed forms, and what precision, coverage and diversity see."""

import numpy as np
import pytest
import torch

from ectype.prob.neighbours import neighbourhoods


def normal(n, d, scale=1.0, mean=0.0, seed=0):
    return mean + scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("mean", [0.0, 0.5, 1.0])
def test_the_divergence_is_that_of_gaussians(mean, d):
    """KL(N(0, I) ‖ N(μ, I)) = ‖μ‖²/2, the same both ways."""
    found = neighbourhoods(normal(3000, d), normal(3000, d, mean=mean, seed=1)).divergence.item()
    assert found == pytest.approx(mean**2, rel=0.15, abs=0.1)


def test_it_grows_as_one_becomes_narrower_or_wider():
    found = [neighbourhoods(normal(1000, 2), normal(1000, 2, scale, seed=1)).divergence.item() for scale in (0.3, 0.6, 1.0, 1.6, 3.0)]
    assert found[0] > found[1] > 2 * found[2] and found[4] > found[3] > 2 * found[2]


def test_it_is_symmetric_and_has_no_scale():
    x, y = normal(300, 2), normal(300, 2, 1.3, seed=1)
    both = neighbourhoods(x, y).divergence
    torch.testing.assert_close(neighbourhoods(y, x).divergence, both)
    for scale in (1e-3, 1e4):
        torch.testing.assert_close(neighbourhoods(scale * x, scale * y).divergence, both, rtol=1e-3, atol=1e-4)


def test_figures_of_equal_distributions():
    """A ball with k = 5 real neighbours holds none of as many samples with probability 2⁻⁵."""
    found = neighbourhoods(normal(1500, 2), normal(1500, 2, seed=1))
    assert found.coverage.item() == pytest.approx(1 - 2**-5, abs=0.015) and found.precision > 0.98
    assert found.diversity.item() == pytest.approx(1, abs=0.05)


def test_a_mode_that_is_left_out_lowers_coverage_and_a_false_one_precision():
    centres = torch.tensor([[0.0, 0.0], [9.0, 0.0]])
    x = normal(400, 2) + centres[torch.arange(400) % 2]
    half, third = normal(400, 2, seed=1), normal(400, 2, seed=2)
    third[::2] += torch.tensor([0.0, 9.0])
    missing, false = neighbourhoods(x, half), neighbourhoods(x, third)
    assert missing.coverage.item() == pytest.approx(0.5, abs=0.05) and missing.precision > 0.95 and missing.diversity < 0.5
    assert false.precision.item() == pytest.approx(0.5, abs=0.05)


def test_rows_that_repeat():
    """Of columns with few values most distances are zero: equal samples agree, other shares do not."""
    r = np.random.default_rng(0)
    x, y, z = (torch.from_numpy((r.random((400, 3)) < p).astype(np.float32)) for p in (0.5, 0.5, 0.99))
    same, other = neighbourhoods(x, y), neighbourhoods(x, z)
    assert abs(same.divergence) < 0.5 < 1 < other.divergence and same.coverage == 1 and other.coverage < 0.7
    one = neighbourhoods(torch.zeros(20, 3), torch.zeros(20, 3))
    assert one.divergence == 0 and one.coverage == one.precision == 1


@pytest.mark.parametrize("n", [2, 3, 10])
def test_few_rows(n):
    found = neighbourhoods(normal(n, 2), normal(n, 2, seed=1))
    assert all(torch.isfinite(v) for v in (found.divergence, found.precision, found.coverage, found.diversity))
