"""Pooling down and three ways back up, in one and two dimensions: positions, sizes, and what too small means."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ectype.errors import InvalidParameterError
from ectype.nn import build
from ectype.nn.conv import MAX_POOL, UnpoolingDecoder, poolings
from ectype.spec import Net

SHAPES = [(1, 8, 8), (3, 9, 13), (2, 4, 7), (1, 28, 28), (1, 16), (2, 27), (3, 5)]
SMALL = Net(width=(4, 6))
WAYS = ["unpool", "transposed", "resize"]


def pair(shape, upsampling="unpool", net=SMALL, cond=0):
    """An encoder to five numbers and its decoder, a batch of four, and a condition where there is one."""
    torch.manual_seed(0)
    encoder, decoder = build.pooling_encoder(shape, 5, net, cond=cond), build.unpooling_decoder(5, shape, net, upsampling, cond=cond)
    return encoder.eval(), decoder.eval(), torch.randn(4, *shape), torch.randn(4, cond) if cond else None


@pytest.mark.parametrize("cond", [0, 2])
@pytest.mark.parametrize("upsampling", WAYS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_and_gradients(shape, upsampling, cond):
    encoder, decoder, x, c = pair(shape, upsampling, cond=cond)
    h, positions = encoder(x, c)
    assert h.shape == (4, 5)
    sizes = poolings(shape[1:], 2)
    assert [p.shape for p in positions] == [(4, k, *size) for k, size in zip(SMALL.width, sizes[1:], strict=True)]
    for given in (positions, None):
        x_hat = decoder(h, c, given)
        assert x_hat.shape == x.shape and torch.isfinite(x_hat).all()
    parameters = [*encoder.parameters(), *decoder.parameters()]
    assert all(g.any() for g in torch.autograd.grad(decoder(h, c, positions).square().sum(), parameters))


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 9, 13), (2, 16), (3, 27)], ids=str)
def test_unpooling_puts_the_maxima_back_where_they_were(shape):
    """Pool, unpool, pool is the identity of what was pooled; all other places are zero."""
    dims = len(shape) - 1
    decoder = UnpoolingDecoder(5, shape, (shape[0],), "unpool")
    h = torch.randn(4, *shape)
    pooled, where = MAX_POOL[dims](h, 2, return_indices=True)
    back = decoder._unpool(pooled, 0, where)
    assert back.shape == h.shape and (back != 0).sum() == pooled.numel() and torch.equal(back[back != 0], h[back != 0])
    assert torch.equal(back.flatten(2).gather(2, where.flatten(2)).view_as(pooled), pooled)
    positive, where = MAX_POOL[dims](h.abs() + 0.1, 2, return_indices=True)
    again, where_again = MAX_POOL[dims](decoder._unpool(positive, 0, where), 2, return_indices=True)
    assert torch.equal(again, positive) and torch.equal(where_again, where)


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 9, 13), (2, 16)], ids=str)
def test_unpooling_is_that_of_the_framework(shape):
    dims = len(shape) - 1
    h, where = MAX_POOL[dims](torch.randn(4, *shape), 2, return_indices=True)
    expected = {1: F.max_unpool1d, 2: F.max_unpool2d}[dims](h, where, 2, output_size=shape[1:])
    assert torch.equal(UnpoolingDecoder(5, shape, (2,), "unpool")._unpool(h, 0, where), expected)


def test_fixed_positions_are_the_first_of_each_window():
    decoder = UnpoolingDecoder(5, (1, 5, 6), (1,), "unpool")
    h = torch.arange(1.0, 7).view(1, 1, 2, 3)
    back = decoder._unpool(h, 0, None)[0, 0]
    assert torch.equal(back[:4:2, ::2], h[0, 0]) and back.count_nonzero() == 6
    signal = UnpoolingDecoder(5, (1, 7), (1,), "unpool")
    assert torch.equal(signal._unpool(torch.tensor([[[1.0, 2, 3]]]), 0, None), torch.tensor([[[1.0, 0, 2, 0, 3, 0, 0]]]))


def test_positions_matter_where_they_are_used():
    for upsampling in WAYS:
        encoder, decoder, x, _ = pair((1, 8, 8), upsampling)
        h, positions = encoder(x)
        assert torch.equal(decoder(h, None, positions), decoder(h)) == (upsampling != "unpool")
        other = [p.flip(0) for p in positions]
        assert torch.equal(decoder(h, None, positions), decoder(h, None, other)) == (upsampling != "unpool")


@pytest.mark.parametrize("shape", [(1, 7, 9), (2, 7)], ids=str)
def test_an_odd_row_is_repeated_after_a_transposed_convolution(shape):
    decoder = UnpoolingDecoder(5, shape, (3,), "transposed")
    even = torch.randn(2, 3, *(s - s % 2 for s in shape[1:]))
    filled = decoder._fill(even, 0)
    assert filled.shape[2:] == shape[1:] and torch.equal(filled[..., -1], filled[..., -2])


@pytest.mark.parametrize(("upsampling", "kind"), [("transposed", nn.ConvTranspose2d), ("unpool", nn.Identity), ("resize", nn.Identity)])
def test_what_enlarges(upsampling, kind):
    assert all(isinstance(m, kind) for m in pair((1, 8, 8), upsampling)[1].enlarge)


def test_mnist_goes_through_a_tensor_of_128_by_3_by_3():
    encoder, decoder, x, _ = pair((1, 28, 28), net=Net())
    shapes = []
    for m in (*encoder.stages, *decoder.stages):
        m.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    h, positions = encoder(x)
    decoder(h, None, positions)
    assert shapes == [(32, 28, 28), (64, 14, 14), (128, 7, 7), (64, 7, 7), (32, 14, 14), (32, 28, 28)]
    assert positions[-1].shape[1:] == decoder.first == (128, 3, 3) and encoder.out.in_features == 128 * 9


def test_rows_do_not_see_each_other():
    encoder, decoder, x, c = pair((3, 9, 13), cond=2)
    encoder.train(), decoder.train()
    h, positions = encoder(x, c)
    before, changed = decoder(h, c, positions), x.index_fill(0, torch.tensor(2), 5.0)
    h, positions = encoder(changed, c)
    after = decoder(h, c, positions)
    torch.testing.assert_close(after[[0, 1, 3]], before[[0, 1, 3]])
    assert not torch.allclose(after[2], before[2])


def test_dropout_and_activation():
    encoder, decoder, x, _ = pair((1, 8, 8), net=SMALL(dropout=0.5))
    assert torch.equal(encoder(x)[0], encoder(x)[0])
    encoder.train(), decoder.train()
    assert not torch.equal(encoder(x)[0], encoder(x)[0]) and not torch.equal(decoder(torch.ones(2, 5)), decoder(torch.ones(2, 5)))
    assert not torch.equal(pair((1, 8, 8), net=SMALL(activation="relu"))[0](x)[0], pair((1, 8, 8))[0](x)[0])


@pytest.mark.parametrize(("shape", "poolings"), [((1, 28, 28), 3), ((1, 8, 8), 3), ((1, 7, 20), 2), ((1, 3, 3), 1), ((1, 2, 9), 1), ((2, 5), 2)], ids=str)
def test_by_default_as_many_poolings_as_fit_and_at_most_three(shape, poolings):
    assert len(build.pooling_encoder(shape, 2, Net()).stages) == poolings


@pytest.mark.parametrize(("shape", "width", "smallest", "got", "hint"), [
    ((1, 7, 28), (8, 8, 8), 8, "7x28", "at most 2"), ((1, 28, 28), (4,) * 5, 32, "28x28", "at most 4"), ((1, 20), (4,) * 5, 32, "20", "at most 4"),
    ((1, 1, 9), (), 2, "1x9", "larger"), ((1, 1, 9), (4,), 2, "1x9", "larger")])
def test_too_small_says_the_smallest_that_works(shape, width, smallest, got, hint):
    with pytest.raises(InvalidParameterError, match=rf"too small for \d poolings?.*expected at least {smallest} on each side, got {got}\nhint: .*{hint}"):
        build.pooling_encoder(shape, 2, Net(width=width))
    if len(shape) == 3 and min(shape[1:]) > 1:
        enough = (1, smallest, smallest)
        assert build.pooling_encoder(enough, 2, Net(width=width))(torch.zeros(1, *enough))[0].shape == (1, 2)


def test_perceptrons_are_refused():
    with pytest.raises(InvalidParameterError, match=r'has no perceptron: expected kind "auto" or "conv", got "mlp"'):
        build.pooling_encoder((1, 8, 8), 2, Net(kind="mlp"))
