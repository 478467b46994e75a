"""Critics and generators: shapes, the projection, arithmetic, and rows that do not see each other."""

import pytest
import torch

from ectype.nn.critic import ConvCritic, Head, VectorCritic
from ectype.nn.generator import ConvGenerator

SHAPES = [(1, 28, 28), (3, 6, 10), (2, 24), (1, 8, 8)]


@pytest.mark.parametrize("cond", [0, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_rows_on_their_own(shape, cond):
    torch.manual_seed(0)
    critic, generator = ConvCritic(shape, (4, 8), cond=cond), ConvGenerator(5, shape, (4, 8), cond=cond)
    c = torch.randn(6, cond) if cond else None
    x = generator(torch.randn(6, 5 + generator.grain), c)
    logit = critic(x, c)
    assert x.shape == (6, *shape) and logit.shape == (6, 1)
    torch.testing.assert_close(critic(x[2:3], None if c is None else c[2:3]), logit[2:3])


def test_the_projection_is_an_inner_product_with_the_condition():
    head, h, c = Head(4, 3), torch.randn(5, 4), torch.eye(3)[[0, 1, 2, 0, 1]]
    expected = h @ head.out.weight.T + ((c @ head.condition.weight.T) * h).sum(1, keepdim=True) / 2
    torch.testing.assert_close(head(h, c), expected)
    torch.testing.assert_close(head(h, torch.zeros(5, 3)), h @ head.out.weight.T)


def test_logits_are_float32_in_bfloat16():
    """Differences of logits far from zero survive."""
    head = Head(2)
    torch.nn.init.ones_(head.out.weight)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        a, b = head(torch.tensor([[5.0, 0.0], [5.0, 0.01]]))
    assert a.dtype == torch.float32 and float(b - a) == pytest.approx(0.01, rel=1e-3)


def test_the_first_logits_have_the_scale_of_one():
    torch.manual_seed(0)
    for critic, x in ((VectorCritic((10,), (256, 256, 256)), torch.randn(500, 10)), (ConvCritic((1, 28, 28), (32, 64, 128)), torch.randn(50, 1, 28, 28))):
        assert 0.1 < critic(x).std() < 3


def test_an_untrained_generator_is_smooth():
    """Neighbouring pixels differ by less than pixels that are far from each other do."""
    torch.manual_seed(0)
    generator = ConvGenerator(8, (1, 28, 28), (16, 32, 64))
    x = generator(torch.randn(64, 8 + generator.grain))
    near, far = (x[..., :14] - x[..., 1:15]).square().mean(), (x[..., :14] - x[..., 14:]).square().mean()
    assert near < 0.3 * far
