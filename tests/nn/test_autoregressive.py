"""The masked autoregressive flow: a triangular Jacobian in every order, and the inverse slot after slot."""

import pytest
import torch

from ectype.nn.autoregressive import AutoregressiveFlow, MaskedAutoregressive, orders
from ectype.spec import Net


def shaken(module, spread=0.3, seed=0):
    """Random weights, far from the identity."""
    g = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.data = spread * torch.randn(p.shape, generator=g)
    return module.eval()


@pytest.mark.parametrize(("dim", "cond"), [(1, 0), (1, 2), (2, 0), (5, 0), (5, 3)])
def test_a_slot_sees_those_before_it(dim, cond):
    order = torch.randperm(dim, generator=torch.Generator().manual_seed(1))
    layer = shaken(MaskedAutoregressive(order, 4, Net(), (12, 12), cond))
    y, c = torch.randn(dim), torch.randn(1, cond) if cond else None
    jacobian = torch.autograd.functional.jacobian(lambda v: layer(v[None], c)[0][0], y)
    by_place = jacobian[torch.argsort(order)][:, torch.argsort(order)]
    assert torch.equal(by_place, by_place.tril()) and (by_place.tril(-1) != 0).sum() == dim * (dim - 1) // 2
    if cond:
        by_c = torch.autograd.functional.jacobian(lambda v: layer(y[None], v)[0][0], c)
        assert (by_c.abs().sum(dim=(1, 2)) > 0).all()                   # also the first one


def test_narrow_layers_look_at_all_places():
    """Fewer hidden units than slots: each slot is still seen by some that come after it, the last but one by the last."""
    layer = shaken(MaskedAutoregressive(torch.arange(30), 4, Net(), (16,), 0))
    jacobian = torch.autograd.functional.jacobian(lambda v: layer(v[None], None)[0][0], torch.randn(30))
    below = jacobian.tril(-1)
    assert torch.equal(jacobian, jacobian.tril()) and (below != 0).any(0)[:28].all() and (below != 0).any(1)[2:].all()


@pytest.mark.parametrize(("dim", "cond"), [(1, 0), (3, 0), (6, 2)])
def test_log_determinant_and_inverse(dim, cond):
    flow = shaken(AutoregressiveFlow(dim, 3, 5, Net(), (16, 16), cond=cond))
    y, c = torch.randn(20, dim), torch.randn(20, cond) if cond else None
    z, log_det = flow(y, c)
    for i in range(5):
        at = None if c is None else c[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(lambda v, at=at: flow(v[None], at)[0][0], y[i])
        assert log_det[i].item() == pytest.approx(torch.linalg.slogdet(jacobian.double())[1].item(), abs=1e-4)
    torch.testing.assert_close(flow.inverse(z, c), y, atol=1e-3, rtol=1e-3)
    assert (z - y).abs().max() > 0.3 and flow.passes == dim


def test_a_new_flow_is_the_identity():
    y = torch.randn(30, 4)
    z, log_det = AutoregressiveFlow(4, 3, 8, Net(), (16,))(y)
    torch.testing.assert_close(z, y, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(log_det, torch.zeros(30), atol=1e-3, rtol=0)


def test_orders_come_in_pairs_of_one_and_its_reverse():
    found = orders(5, 4)
    assert [o.tolist() for o in found[:2]] == [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]]
    assert torch.equal(found[2] + found[3], torch.full((5,), 4)) and sorted(found[2].tolist()) == [0, 1, 2, 3, 4]
