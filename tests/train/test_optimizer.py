"""The optimisers: Adam is the library's, bit for bit; Muon's step is the orthogonal factor of the mean gradient."""

from __future__ import annotations

import pytest
import torch

from ectype.spec import PRESET
from ectype.train.optimizer import ITERATIONS, NEWTON_SCHULZ, AdamW, optimizer, orthogonal

SHAPES = [(5, 5), (6, 40), (40, 6), (1, 7), (8, 3, 3, 3)]


def tensors(seed, shapes=((3, 4), (7,), (2, 3, 3), ())):
    noise = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=noise) for s in shapes]


def weights(seed=0, **options):
    return [torch.nn.Parameter(v) for v in tensors(seed, **options)]


def test_adams_step_is_that_of_the_library_bit_for_bit():
    first, second = weights(), weights()
    settings = {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.2}
    mine, its = optimizer(first, PRESET(optimizer="adam", **settings)), torch.optim.AdamW(second, fused=True, **settings)
    assert type(mine) is AdamW
    for step in range(5):
        for q, g in zip(second, tensors(step + 1), strict=True):
            q.grad = g.clone()
        its.param_groups[0]["lr"] = 0.1 / (step + 1)
        its.step()
        mine.move(first, tensors(step + 1), 0.1 / (step + 1))
        assert all(torch.equal(p, q) for p, q in zip(first, second, strict=True))
    assert all(torch.equal(mine.state[p][k], its.state[q][k]) for p, q in zip(first, second, strict=True) for k in its.state[q])


@pytest.mark.parametrize("of_weight", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("of_gradient", [torch.contiguous_format, torch.channels_last])
def test_adams_step_does_not_depend_on_the_order_in_memory(of_weight, of_gradient):
    shape = [(4, 3, 2, 5)]
    (mine,), (its,) = weights(shapes=shape), weights(shapes=shape)
    mine.data = mine.data.to(memory_format=of_weight)
    adam, plain = optimizer([mine], PRESET(optimizer="adam", lr=0.1)), torch.optim.AdamW([its], lr=0.1, fused=False, weight_decay=0.0,
                                                                                        betas=PRESET().betas)
    for step in range(3):
        (its.grad,) = tensors(step, shape)
        plain.step()
        adam.move([mine], [its.grad.to(memory_format=of_gradient)], 0.1)
    assert torch.allclose(mine, its, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES[:4])
def test_the_factor_is_the_iteration_on_each_singular_value(shape):
    """Newton and Schulz's iteration keeps the singular vectors and maps each singular value σ to p(σ), p = a + b σ² + c σ⁴ times σ."""
    (m,) = tensors(1, [shape])
    u, s, v = torch.linalg.svd(m.double(), full_matrices=False)
    s = s / s.norm()
    for _ in range(ITERATIONS):
        a, b, c = NEWTON_SCHULZ
        s = s * (a + b * s**2 + c * s**4)
    assert (orthogonal(m) - (u * s) @ v).abs().max() < 1e-5
    assert s.min() > 0.68 and s.max() < 1.21


def test_small_directions_move_as_far_as_large_ones():
    u, v = (torch.linalg.qr(t)[0] for t in tensors(2, [(12, 12), (12, 12)]))
    spread = torch.logspace(0, -2.5, 12)
    s = torch.linalg.svdvals(orthogonal((u * spread) @ v))
    assert s.min() > 0.68 and s.max() < 1.21


@pytest.mark.parametrize("size", [0.0, 1e-38, 1e-24])
def test_the_factor_of_nothing_is_zero(size):
    assert torch.equal(orthogonal(size * torch.ones(3, 5)), torch.zeros(3, 5))


def test_weights_come_to_rest_when_gradients_end():
    (p,), (g,) = weights(6, shapes=[(16, 32)]), tensors(7, [(16, 32)])
    muon, none = optimizer([p], PRESET(optimizer="muon")), torch.zeros(16, 32)
    for step in range(2000):
        muon.move([p], [none if step else g], 0.01)
    before = p.detach().clone()
    muon.move([p], [none], 0.01)
    assert torch.isfinite(before).all() and torch.equal(p.detach(), before)


@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e30])
def test_the_factor_does_not_depend_on_scale_and_turns_with_the_gradient(scale):
    m, left, right = tensors(3, [(6, 9), (6, 6), (9, 9)])
    left, right = torch.linalg.qr(left)[0], torch.linalg.qr(right)[0]
    assert (orthogonal(scale * left @ m @ right) - left @ orthogonal(m) @ right).abs().max() < 1e-4


@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_has_the_usual_size_of_adams(shape):
    """The root mean square of a step is about 0.2 of the rate (Liu et al., 2025), decay apart."""
    (p,), (before,) = weights(4, shapes=[shape]), tensors(4, [shape])
    optimizer([p], PRESET(optimizer="muon", lr=0.01)).move([p], tensors(5, [shape]), 0.03)
    step = (p.detach() - before).square().mean().sqrt()
    assert 0.65 * 0.2 * 0.03 < step < 1.21 * 0.2 * 0.03


def test_muon_decays_weights_that_get_no_gradient():
    (p,), (before,) = weights(4, shapes=[(3, 4)]), tensors(4, [(3, 4)])
    optimizer([p], PRESET(optimizer="muon", weight_decay=0.5)).move([p], [torch.zeros(3, 4)], 0.1)
    assert torch.allclose(p.detach(), before * 0.95)


def test_muon_moves_by_the_running_mean():
    """After many steps along one gradient and one against it, the mean still points along the first."""
    (p,), (g,) = weights(6, shapes=[(4, 6)]), tensors(7, [(4, 6)])
    muon = optimizer([p], PRESET(optimizer="muon"))
    for sign in (1, 1, 1, 1, 1, 1, 1, -1):
        before = p.detach().clone()
        muon.move([p], [sign * g], 0.01)
    expected = -0.2 * 6**0.5 * 0.01 * orthogonal(0.95 * muon.state[p]["momentum"] - 0.05 * g)
    assert torch.allclose(p.detach() - before, expected, atol=1e-6) and (expected * g).sum() < 0


def test_what_is_not_a_map_takes_adams_step():
    settings = {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.2}
    first, second = weights(), weights()
    muon, adam = optimizer(first, PRESET(optimizer="muon", **settings)), optimizer(second, PRESET(optimizer="adam", **settings))
    for step in range(3):
        muon.move(first, tensors(step + 1), 0.1)
        adam.move(second, tensors(step + 1), 0.1)
    assert [torch.equal(p, q) for p, q in zip(first, second, strict=True)] == [p.ndim < 2 for p in first]


def test_muon_finds_least_squares_with_a_falling_rate():
    """W x ≈ y with inputs whose deviations differ by a factor of 100: the map is found in 300 steps."""
    x, true = tensors(8, [(256, 10), (4, 10)])
    x = x * torch.logspace(0, -2, 10)
    y, (w,) = x @ true.T, weights(9, shapes=[(4, 10)])
    muon, error = optimizer([w], PRESET(optimizer="muon")), lambda: float((x @ w.detach().T - y).square().mean())
    assert error() > 0.1
    for step in range(300):
        muon.move([w], [2 * (x @ w.detach().T - y).T @ x / len(x)], 0.2 * (1 - step / 300))
    assert error() < 1e-4
