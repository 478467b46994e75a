"""Random streams depend on their path alone, and leave the global generators as they were."""

import numpy as np
import pytest
import torch

from ectype import rng
from ectype.errors import InvalidParameterError
from ectype.rng import Keyed, Rows, Shared


def test_seeds_depend_on_every_part_of_the_path():
    paths = [(0,), (1,), (0, "step", 1), (0, "step", 2), (0, "epoch", 1), (0, "step", "1"), ("step", 0, 1)]
    seeds = [rng.seed_of(*p) for p in paths]
    assert len(set(seeds)) == len(paths) and all(0 <= s < 2**63 for s in seeds)
    assert rng.seed_of(0, "step", 1) == seeds[2] == 4238720567276977853     # the same in every process and version


def test_generators_repeat():
    assert torch.equal(torch.randn(5, generator=rng.generator(3, "x")), torch.randn(5, generator=rng.generator(3, "x")))
    np.testing.assert_array_equal(rng.numpy_generator(3, "x").normal(size=5), rng.numpy_generator(3, "x").normal(size=5))


def test_preserved_puts_the_global_state_back():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), rng.preserved():
        rng.reseed(0, "inside")
        first = torch.randn(3)
        rng.reseed(0, "inside")
        assert torch.equal(torch.randn(3), first)
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("draw", ["normal", "uniform", "gumbel"])
@pytest.mark.parametrize(("start", "n"), [(0, 1), (0, 300), (100, 200), (256, 256), (300, 700), (511, 2)])
def test_a_row_does_not_depend_on_how_the_sample_is_cut(draw, start, n):
    whole, part = Rows(7, 0, 1024), Rows(7, start, n)
    for shape in ((3,), (2, 4), ()):                        # successive draws stay in step
        assert torch.equal(getattr(part, draw)(*shape), getattr(whole, draw)(*shape)[start : start + n])


def test_rows_blocks_and_draws_are_independent():
    rows = Rows(0, 0, 2048)
    a, b = rows.normal(2), rows.normal(2)
    assert len(torch.unique(torch.cat([a, b]))) > 8150
    correlation = torch.corrcoef(torch.cat([a, b], dim=1).T) - torch.eye(4)
    assert correlation.abs().max() < 4 / 2048**0.5
    assert not torch.equal(a, Rows(1, 0, 2048).normal(2))


def test_distributions():
    rows = Rows(0, 0, 50_000)
    normal, uniform, gumbel = rows.normal(), rows.uniform(), rows.gumbel()
    assert abs(normal.mean()) < 0.02 and abs(normal.std() - 1) < 0.02
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.01
    assert abs(gumbel.mean() - 0.5772) < 0.03 and abs(gumbel.var() - torch.pi**2 / 6) < 0.06
    assert torch.isfinite(gumbel).all()


def test_shared_noise_is_the_same_for_every_row_and_number_of_rows():
    a, b = Shared(0, 5), Shared(0, 900)
    for _ in range(3):
        x, y = a.normal(4), b.normal(4)
        assert torch.equal(x, y[:5]) and (x == x[0]).all()
    assert not torch.equal(x[0], Shared(0, 1).normal(4)[0]) and Shared(0, 2).uniform(3).shape == (2, 3)


def test_keyed_noise_goes_with_the_content_of_a_row():
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    x[7] = x[0]
    a, b = Keyed(0, x), Keyed(0, x.flip(0)[:40])
    for _ in range(2):
        p, q = a.normal(3), b.normal(3)
        assert torch.equal(p[7], p[0]) and torch.equal(q, p.flip(0)[:40])
    assert len(torch.unique(a.key)) > 150 and a.uniform().shape == (300,)
    assert not torch.equal(Keyed(1, x).normal(3), Keyed(0, x).normal(3))
    assert len(torch.unique(Keyed(0, torch.arange(300, dtype=torch.uint8).view(-1, 3)).key)) > 50


def test_as_seed():
    assert rng.as_seed(5) == rng.as_seed(np.int64(5)) == 5
    assert rng.as_seed(np.random.RandomState(0)) == rng.as_seed(np.random.RandomState(0))
    assert rng.as_seed(np.random.default_rng(0)) == rng.as_seed(np.random.default_rng(0))
    generator = np.random.default_rng(0)
    assert rng.as_seed(generator) != rng.as_seed(generator)
    state = np.random.get_state()[1].copy()
    assert rng.as_seed(None) != rng.as_seed(None)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    with pytest.raises(InvalidParameterError, match="an int, a NumPy generator or None, got '0'"):
        rng.as_seed("0")
