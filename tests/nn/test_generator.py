"""The generator of pictures and signals: smooth at the start, and chance from pixel to pixel."""

import math

import pytest
import torch

from ectype.nn.generator import ConvGenerator

SHAPES = [(1, 28, 28), (3, 9, 12), (1, 2, 2), (2, 37), (1, 3)]


def made(shape, width=(8, 16), cond=0):
    torch.manual_seed(0)
    net = ConvGenerator(5, shape, width, cond=cond).eval()
    torch.nn.init.normal_(net.grains.weight)
    return net


def noise(net, n=4):
    return torch.randn(n, 5 + net.grain, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [(8,), (8, 16), (4, 8, 8)])
def test_shapes_and_gradients(shape, width):
    net = made(shape, width, cond=2)
    out = net(noise(net), torch.randn(4, 2))
    assert out.shape == (4, *shape) and net.grain == math.prod(shape[1:])
    out.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize(("shape", "at"), [((1, 28, 28), (13, 15)), ((1, 41), (20,))])
def test_the_grain_of_a_pixel_reaches_its_neighbours_and_no_farther(shape, at):
    net = made(shape)
    z = noise(net, 1)
    moved = z.clone()
    moved[:, 5:].view(1, *shape[1:])[0][at] += 1.0
    changed = (net(moved) - net(z)).abs()[0, 0].detach()
    assert changed[at] > 1e-3
    where = changed.gt(1e-7).nonzero()
    assert (where.amin(0) == torch.tensor(at) - 1).all() and (where.amax(0) == torch.tensor(at) + 1).all()


def test_an_untrained_picture_has_no_grain():
    net = ConvGenerator(5, (1, 28, 28), (8, 16))
    z = noise(net)
    torch.testing.assert_close(net(z), net(torch.cat([z[:, :5], torch.zeros(4, net.grain)], 1)))


def test_pictures_move_with_the_noise_that_they_follow():
    """A generator has no preferred place for a patch of two pixels: moved by one pixel, the grain's mark moves by one."""
    net = made((1, 28, 28))
    z = torch.zeros(1, 5 + net.grain)
    marks = []
    for at in ((13, 13), (13, 14), (14, 14)):
        moved = z.clone()
        moved[:, 5:].view(28, 28)[at] = 1.0
        net.enter.weight.data.zero_()
        net.enter.bias.data.fill_(0.5)                     # the same everywhere but at the edges
        marks.append((net(moved) - net(z))[0, 0].detach().roll((-at[0], -at[1]), (0, 1)))
    for mark in marks[1:]:
        torch.testing.assert_close(mark, marks[0], atol=2e-2 * float(marks[0].abs().max()), rtol=0)
