"""Networks by role: shapes for any picture, gradients everywhere, rows that do not see each other, and settings that matter."""

import pytest
import torch
from torch import nn

from ectype.errors import InvalidParameterError
from ectype.nn import build, unet
from ectype.nn.conv import ConvDecoder, ConvEncoder, from_patches, halvings, poolings, to_patches
from ectype.nn.critic import ConvCritic, VectorCritic
from ectype.nn.mlp import MLP, ResidualMLP, TimeEmbedding
from ectype.nn.unet import Attention, UNet
from ectype.spec import Net

SHAPES = [(5,), (1,), (1, 8, 8), (3, 6, 10), (1, 1, 1), (2, 5, 3), (3, 25, 30), (1, 28, 28), (1, 16), (2, 31), (3, 2)]
SMALL = Net(width=(8, 12))
ROLES = ["encoder", "critic", "decoder", "denoiser"]


def network(role, shape, net=SMALL, cond=0, seed=0):
    """A network, its inputs for a batch of 4 rows, and the shape of what comes out; zero-initialised layers are made random."""
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    module = {"encoder": lambda: build.encoder(shape, 7, net, cond=cond), "critic": lambda: build.critic(shape, net, cond=cond),
              "decoder": lambda: build.decoder(3, shape, net, cond=cond), "denoiser": lambda: build.denoiser(shape, net, cond=cond)}[role]()
    for p in module.parameters():
        if not p.any():
            nn.init.normal_(p, std=0.3)
    x = torch.randn(4, *((3,) if role == "decoder" else shape), generator=g)
    t = [torch.rand(4, generator=g)] if role == "denoiser" else []
    c = [torch.randn(4, cond, generator=g)] if cond else []
    return module.eval(), [x, *t, *c], {"encoder": (7,), "critic": (1,)}.get(role, shape)


@pytest.mark.parametrize("cond", [0, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("role", ROLES)
def test_shapes_and_gradients(role, shape, cond):
    module, inputs, out = network(role, shape, cond=cond)
    y = module(*inputs)
    assert y.shape == (4, *out) and torch.isfinite(y).all()
    gradients = torch.autograd.grad(y.square().sum(), list(module.parameters()))
    silent = [n for (n, _), g in zip(module.named_parameters(), gradients, strict=True) if not g.any()]
    assert silent == [] or shape == (1, 1, 1)                      # attention over one pixel needs no query


@pytest.mark.parametrize(("kind", "shape"), [("auto", (3, 6, 10)), ("mlp", (3, 6, 10)), ("auto", (2, 31))], ids=str)
@pytest.mark.parametrize("role", ROLES)
def test_rows_do_not_see_each_other(role, kind, shape):
    """No batch statistics anywhere: changing one row leaves the others as they are."""
    module, inputs, _ = network(role, shape, Net(width=(8, 12), kind=kind), cond=2)
    module.train()
    before = module(*inputs)
    changed = [v.index_fill(0, torch.tensor(2), 5.0) if i != 1 or role != "denoiser" else v for i, v in enumerate(inputs)]
    after = module(*changed)
    torch.testing.assert_close(after[[0, 1, 3]], before[[0, 1, 3]])
    assert not torch.allclose(after[2], before[2])


@pytest.mark.parametrize("shape", [(5,), (3, 6, 10), (2, 31)], ids=str)
@pytest.mark.parametrize("role", ROLES)
def test_every_input_matters(role, shape):
    module, inputs, _ = network(role, shape, cond=2)
    for i in range(len(inputs)):
        changed = [v + 0.3 if i == j else v for j, v in enumerate(inputs)]
        assert (module(*changed) - module(*inputs)).flatten(1).abs().amax(1).min() > 1e-5


@pytest.mark.parametrize("shape", [(5,), (3, 6, 10), (2, 31)], ids=str)
def test_one_time_for_all_rows_is_the_same_as_one_for_each(shape):
    module, (x, _, c), _ = network("denoiser", shape, cond=2)
    torch.testing.assert_close(module(x, torch.tensor([0.4]), c), module(x, torch.full((4,), 0.4), c))


@pytest.mark.parametrize("shape", [(5,), (3, 6, 10), (2, 31)], ids=str)
def test_a_denoiser_starts_at_zero(shape):
    module = build.denoiser(shape, SMALL)
    assert not module(torch.randn(3, *shape), torch.rand(3)).any()


@pytest.mark.parametrize("shape", [(5,), (3, 6, 10), (2, 31)], ids=str)
@pytest.mark.parametrize("role", ROLES)
def test_dropout_acts_in_training_only(role, shape):
    module, inputs, _ = network(role, shape, Net(width=(8, 12), dropout=0.5))
    plain, _, _ = network(role, shape, Net(width=(8, 12)))
    assert torch.equal(module(*inputs), module(*inputs))
    module.train()
    assert not torch.equal(module(*inputs), module(*inputs))
    plain.train()
    assert torch.equal(plain(*inputs), plain(*inputs))


SETTINGS = [("width", {"width": (8, 16)}), ("activation", {"activation": "tanh"}), ("dropout", {"dropout": 0.3})]


@pytest.mark.parametrize("shape", [(5,), (3, 6, 10), (2, 31)], ids=str)
@pytest.mark.parametrize(("name", "change"), SETTINGS, ids=[n for n, _ in SETTINGS])
@pytest.mark.parametrize("role", ROLES)
def test_every_setting_matters(role, name, change, shape):
    if name == "activation" and role == "critic":
        pytest.skip("a critic is always leaky: a saturated one gives its generator no gradient")
    module, inputs, _ = network(role, shape)
    other, _, _ = network(role, shape, Net(**{**SMALL.get_params(), **change}))
    module.train(), other.train()
    assert not torch.equal(module(*inputs), other(*inputs))


def test_what_kind_is_built():
    picture, row, mlp = (3, 6, 10), (5,), Net(kind="mlp")
    assert isinstance(build.encoder(picture, 2, Net()), ConvEncoder) and isinstance(build.encoder(row, 2, Net()), MLP)
    assert isinstance(build.decoder(2, picture, Net()), ConvDecoder) and isinstance(build.decoder(2, row, Net()), MLP)
    assert isinstance(build.denoiser(picture, Net()), UNet) and isinstance(build.denoiser(row, Net()), ResidualMLP)
    for module in (build.encoder(picture, 2, mlp), build.decoder(2, picture, mlp)):
        assert isinstance(module, MLP)
    assert isinstance(build.critic(picture, mlp), VectorCritic) and isinstance(build.critic(picture, Net()), ConvCritic)
    assert isinstance(build.denoiser(picture, mlp), ResidualMLP)
    signal = (2, 32)
    assert isinstance(build.encoder(signal, 2, Net()), ConvEncoder) and isinstance(build.denoiser(signal, Net()), UNet)
    assert isinstance(build.encoder(signal, 2, mlp), MLP) and any(isinstance(m, nn.Conv1d) for m in build.encoder(signal, 2, Net()).modules())
    with pytest.raises(InvalidParameterError, match="a convolutional network cannot read a table"):
        build.encoder(row, 2, Net(kind="conv"))


def test_an_mlp_decoder_is_the_encoder_backwards():
    encoder, decoder = build.encoder((9,), 2, Net(width=(8, 4))), build.decoder(2, (9,), Net(width=(8, 4)))
    sizes = [[tuple(m.weight.shape) for m in net.modules() if isinstance(m, nn.Linear)] for net in (encoder, decoder)]
    assert sizes == [[(8, 9), (4, 8), (2, 4)], [(4, 2), (8, 4), (9, 8)]]


def test_a_critic_is_not_normalised():
    assert not any("Norm" in type(m).__name__ for m in build.critic((3, 8, 8), Net()).modules())


def test_halvings():
    assert halvings((28, 28), 3) == [(28, 28), (14, 14), (7, 7), (4, 4)] and halvings((5, 1), 2) == [(5, 1), (3, 1), (2, 1)]
    assert halvings((7,), 2) == [(7,), (4,), (2,)]


def test_poolings_round_down():
    assert poolings((28, 28), 3) == [(28, 28), (14, 14), (7, 7), (3, 3)] and poolings((9,), 2) == [(9,), (4,), (2,)]


@pytest.mark.parametrize(("shape", "r"), [((3, 6, 10), 2), ((2, 8, 8), 4), ((2, 12), 2), ((3, 12), 4)], ids=str)
def test_patches(shape, r):
    """Space to depth and back; the values of one patch are the channels of one place."""
    x = torch.randn(2, *shape)
    p = to_patches(x, r)
    assert p.shape == (2, shape[0] * r ** (len(shape) - 1), *(n // r for n in shape[1:])) and torch.equal(from_patches(p, r), x)
    corner = x[(slice(None), slice(None), *(slice(r) for _ in shape[1:]))].flatten(1)
    assert torch.equal(p.flatten(2)[:, :, 0], corner)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 10), (1, 64, 48), (1, 8000), (3, 17)], ids=str)
def test_default_widths_fit_any_picture(shape):
    x = torch.zeros(2, *shape)
    assert build.encoder(shape, 2, Net())(x).shape == (2, 2) and build.decoder(2, shape, Net())(torch.zeros(2, 2)).shape == x.shape
    assert build.denoiser(shape, Net())(x, torch.zeros(2)).shape == x.shape


def test_time_embedding_tells_times_apart():
    embed = TimeEmbedding(16)
    e = embed(torch.linspace(0, 1, 200))
    assert e.shape == (200, 16) and torch.pdist(e).min() > 0


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("channels", [4, 8, 6])
def test_attention_for_any_number_of_channels(channels, dims):
    attention = Attention(dims, channels)
    nn.init.normal_(attention.out.weight)
    x = torch.randn(2, channels, *(3, 5)[2 - dims :])
    assert attention(x).shape == x.shape
    flipped = attention(x.flip(-1)).flip(-1)                       # without positions, attention commutes with a permutation of pixels
    torch.testing.assert_close(flipped, attention(x))


def test_attention_is_softmax_of_products(monkeypatch):
    """Written out or by the library's kernel, for pictures of any number of places: the same, and its gradient too."""
    torch.manual_seed(0)
    layer, x = Attention(2, 16), torch.randn(3, 16, 5, 7, requires_grad=True)
    torch.nn.init.normal_(layer.out.weight)
    found = []
    for places in (0, 35):
        monkeypatch.setattr(unet, "MANY_PLACES", places)
        y = layer(x)
        found.append((y.detach(), *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.allclose(found[0][0], x)
