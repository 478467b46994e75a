"""Convolutions by taps against PyTorch's own."""

import pytest
import torch
from torch import nn

from ectype.nn import taps
from ectype.nn.taps import Conv2d, ConvTranspose2d

GEOMETRIES = {"doubles": (4, 2, 1, 0), "odd": (3, 2, 1, 0), "even": (3, 2, 1, 1), "disjoint": (2, 2, 0, 0), "gaps": (2, 3, 0, 1),
              "wide": (5, 3, 2, 1), "dense": (3, 1, 1, 0), "rectangle": ((3, 4), (1, 2), (0, 1), 0)}


@pytest.fixture(autouse=True)
def always(monkeypatch, request):
    """By taps, whether it pays or not."""
    if "pays" not in request.node.name:
        monkeypatch.setattr(taps, "pays", lambda *_: True)


def agree(theirs: nn.Module, ours: nn.Module, x: torch.Tensor) -> None:
    """The same values and the same derivatives in x and all parameters."""
    ours.load_state_dict(theirs.state_dict())
    x = x.double().requires_grad_()
    y, y_ours = theirs.double()(x), ours.double()(x)
    g = torch.randn_like(y)
    expected = torch.autograd.grad(y, [x, *theirs.parameters()], g)
    found = torch.autograd.grad(y_ours, [x, *ours.parameters()], g)
    for a, b in zip((y, *expected), (y_ours, *found), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("bias", [True, False])
def test_transposed_convolution(name, bias):
    torch.manual_seed(0)
    make = (3, 4, *GEOMETRIES[name])
    agree(nn.ConvTranspose2d(*make, bias=bias), ConvTranspose2d(*make, bias=bias), torch.randn(2, 3, 4, 5))


@pytest.mark.parametrize("size", [(3, 3), (5, 4), (8, 7)])
@pytest.mark.parametrize("geometry", [(4, 2, 1), (3, 1, 1), (2, 1, 0), (3, 3, 0), ((3, 2), (2, 1), (1, 0))])
def test_convolution(size, geometry):
    torch.manual_seed(0)
    agree(nn.Conv2d(3, 4, *geometry), Conv2d(3, 4, *geometry), torch.randn(2, 3, *size))


@pytest.mark.parametrize("layer", [Conv2d(2, 3, 4, 2, 1), ConvTranspose2d(2, 3, 3, 2, 1)], ids=["conv", "transposed"])
def test_gradients_of_gradients(layer):
    """A gradient penalty differentiates the gradient in x by the weights."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True), layer.double().weight.requires_grad_()

    def run(x, w):
        return torch.func.functional_call(layer, {"weight": w, "bias": layer.bias.detach()}, (x,))

    assert torch.autograd.gradcheck(run, (x, weight)) and torch.autograd.gradgradcheck(run, (x, weight))


def test_sums_over_taps_are_exact_in_short_numbers():
    """In bfloat16 the only error beyond that of the factors is the rounding of the products and of the result."""
    torch.manual_seed(0)
    layer, x = ConvTranspose2d(64, 8, 3, 2, 1), torch.randn(4, 64, 4, 4).bfloat16().float()
    with torch.no_grad():
        layer.weight.copy_(layer.weight.bfloat16())
        layer.bias.zero_()
        exact = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            short = layer(x.bfloat16())
    assert short.dtype == torch.bfloat16
    assert float((short.float() - exact).abs().max()) <= 2**-7 * float(exact.abs().max())


def test_it_pays_for_many_channels_on_few_pixels_in_short_numbers():
    x, layer = torch.zeros(1, 512, 4, 4), ConvTranspose2d(512, 256, 4, 2, 1)
    assert not taps.pays(x, layer, (4, 4))
    with torch.autocast("cpu", torch.bfloat16):
        assert taps.pays(x, layer, (4, 4)) and not taps.pays(x, layer, (14, 14))
        assert not taps.pays(x, ConvTranspose2d(128, 256, 4, 2, 1), (4, 4))


@pytest.mark.parametrize(("small", "large", "kernel", "transposed", "sizes"), [
    ((4, 4), (7, 7), 3, True, [1, 2, 2, 4]),            # each phase has one window, and no product is with a zero
    ((7, 7), (14, 14), 3, True, [1, 2, 2, 4]),          # 441 products for 400
    ((4, 4), (8, 8), 4, True, [1] * 16),                # 256 for 196 would be too many
    ((3, 3), (7, 7), 4, False, [16]), ((1, 1), (3, 3), 4, False, [9])])
def test_taps_with_one_window_of_outputs_are_one_product(small, large, kernel, transposed, sizes):
    there = taps.plan(small, large, (kernel, kernel), (2, 2), (1, 1), transposed).there
    assert sorted(len(members) for _, members in there) == sizes
