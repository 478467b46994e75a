"""The stacked autoencoder: deep, trained layer by layer, with tied or free weights.

Notation
    h₀      the row as features, flattened, (B, d); h₀ = x
    hₖ      the output of layer k of K, hₖ = s(Wₖ hₖ₋₁ + bₖ); the last one, h = h_K (B, latent_dim), is linear and the code
    ĥₖ      on the way back, ĥₖ₋₁ = s(Vₖ ĥₖ + aₖ) from ĥ_K = h; the last one, x_hat = ĥ₀, is linear
    s       the activation

Tied weights: Vₖ = Wₖᵀ is the same storage seen the other way, with a bias of its own. Half of the weights are saved.

Greedy training takes one layer after another. Layer k is an autoencoder of the codes of the layers before it, which stay as they are:

    L_k = ½ Σ (s(Vₖ hₖ + aₖ) − hₖ₋₁)²

Then all layers are unrolled, encoder after encoder and decoder after decoder, and trained together ("fine-tuning"):

    L = ½ Σₖ (x_hatₖ − xₖ)²

With ``greedy=False`` there is only that second part, for as long as both. With a corruption every input is corrupted and the clean one is
to be rebuilt, in each layer's training and in the fine-tuning: the stacked denoising autoencoder.

References
    Bengio, Lamblin, Popovici & Larochelle, *Greedy layer-wise training of deep networks*, 2007, section 4 (autoencoders for layers).
    Hinton & Salakhutdinov, *Reducing the dimensionality of data with neural networks*, 2006 (unrolling, fine-tuning; linear code).
    Vincent, Larochelle, Lajoie, Bengio & Manzagol, *Stacked denoising autoencoders*, 2010, section 3.4.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.schema import Schema
from ..errors import InvalidParameterError
from ..estimator import GenerativeModel
from ..nn.mlp import ACTIVATIONS
from ..prob.corrupt import Corruptor, corrupt_codes
from ..prob.relax import Relaxation
from ..spec import PRESET, Corruption, Net, PositiveInt, Train
from ..train.objective import Stage
from ..train.reconstruction import Coder, code_size, in_batches

GREEDY_SHARE = 0.4      # of the budget, divided among the layers; the rest is fine-tuning


class Layer(nn.Module):
    """One layer and its way back: ``up`` is W h + b, ``down`` is V h + a, with V = Wᵀ where the weights are tied."""

    def __init__(self, n: int, k: int, tied: bool):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(k, n)), nn.Parameter(torch.zeros(k))
        self.back = None if tied else nn.Parameter(torch.empty(n, k))
        self.back_bias = nn.Parameter(torch.zeros(n))
        for w in (self.weight,) if tied else (self.weight, self.back):
            nn.init.xavier_uniform_(w)

    def up(self, h: Tensor) -> Tensor:
        """``(B, n)`` → ``(B, k)``."""
        return F.linear(h, self.weight, self.bias)

    def down(self, h: Tensor) -> Tensor:
        """``(B, k)`` → ``(B, n)``."""
        return F.linear(h, self.weight.T if self.back is None else self.back, self.back_bias)


class StackedObjective(Coder):
    """Squared error of one layer after another, then of all."""

    def __init__(self, schema: Schema, condition: Schema | None, latent_dim: int, width: tuple[int, ...], tied: bool, greedy: bool,
                 corruption: Corruption, net: Net, components: int):
        super().__init__(schema, condition, latent_dim, components)
        sizes = (math.prod(self.features.shape), *width, latent_dim)
        self.layers = nn.ModuleList(Layer(n, k, tied) for n, k in itertools.pairwise(sizes))
        self.condition_up = nn.Linear(self.n_cond, sizes[1], bias=False) if self.n_cond else None
        self.condition_down = nn.Linear(self.n_cond, sizes[-2], bias=False) if self.n_cond else None
        self.greedy, self.dropout, self.corruption = greedy, net.dropout, corruption
        self.corrupt, self.act = Corruptor(schema, self.features, corruption), ACTIVATIONS[net.activation]()

    # -- stages --------------------------------------------------------------------------------------------------------------------

    def stages(self) -> tuple[Stage, ...]:
        if not self.greedy:
            return (Stage("end to end", 1.0),)
        k = len(self.layers)
        return (*(Stage(f"layer {i + 1}", GREEDY_SHARE / k) for i in range(k)), Stage("fine-tuning", 1 - GREEDY_SHARE))

    @property
    def layer(self) -> int | None:
        """Index of the layer that is trained alone; None while all are."""
        return int(self.stage.removeprefix("layer ")) - 1 if self.stage and self.stage.startswith("layer ") else None

    def players(self) -> dict[str, nn.Module]:
        k = self.layer
        if k is None:
            return {"model": self}
        condition = [self.condition_up if k == 0 else None, self.condition_down if k == len(self.layers) - 1 else None]
        return {"model": nn.ModuleList([self.layers[k], *(m for m in condition if m is not None)])}

    def prepare(self, x: Tensor, c: Tensor | None) -> None:
        self.corrupt.prepare(x)

    def view(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """For layer k: the codes of the layers before it."""
        return (in_batches(self._codes_below, x, c), c) if self.layer else (x, c)

    def _codes_below(self, x: Tensor, c: Tensor | None) -> Tensor:
        return self._up(self.features.embed(x).flatten(1), self.embed_condition(c), self.layer)

    def measure(self, x: Tensor, c: Tensor | None) -> dict[str, float]:
        """The mean reconstruction error through the layers that are trained so far."""
        trained = len(self.layers) if self.layer is None else self.layer + 1

        def error(x: Tensor, c: Tensor | None) -> Tensor:
            f, c = self.features.embed(x).flatten(1), self.embed_condition(c)
            return 0.5 * (self._down(self._up(f, c, trained), c, trained) - f).square().sum(1)

        return {"reconstruction": float(in_batches(error, x, c).mean())}

    # -- the network -----------------------------------------------------------------------------------------------------------------

    def _up(self, h: Tensor, c: Tensor | None, upto: int) -> Tensor:
        """h_upto of h₀."""
        for k in range(upto):
            h = self._layer_up(k, h, c)
        return h

    def _layer_up(self, k: int, h: Tensor, c: Tensor | None) -> Tensor:
        z = self.layers[k].up(h)
        if k == 0 and self.condition_up is not None:
            z = z + self.condition_up(c)
        return z if k == len(self.layers) - 1 else F.dropout(self.act(z), self.dropout, self.training)

    def _down(self, h: Tensor, c: Tensor | None, start: int) -> Tensor:
        """ĥ₀ of ĥ_start."""
        for k in reversed(range(start)):
            h = self._layer_down(k, h, c)
            if k:
                h = F.dropout(h, self.dropout, self.training)
        return h

    def _layer_down(self, k: int, h: Tensor, c: Tensor | None) -> Tensor:
        """ĥₖ of ĥₖ₊₁, without dropout: while layer k is trained alone, this is what is compared."""
        z = self.layers[k].down(h)
        if k == len(self.layers) - 1 and self.condition_down is not None:
            z = z + self.condition_down(c)
        return z if k == 0 else self.act(z)

    def code(self, f: Tensor, c: Tensor | None) -> Tensor:
        """h = h_K."""
        return self._up(f.flatten(1), c, len(self.layers))

    def rebuild(self, h: Tensor, c: Tensor | None) -> Tensor:
        """x_hat = ĥ₀."""
        return self._down(h, c, len(self.layers)).unflatten(1, self.features.shape)

    # -- losses ----------------------------------------------------------------------------------------------------------------------

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        k, c = self.layer, self.embed_condition(c)
        if k is None:
            clean, dirty = self.features.embed(x).flatten(1), self.corrupt(x)
            back = self.pass_through(dirty, c).flatten(1)
        else:
            clean = x if k else self.features.embed(x).flatten(1)                           # hₖ₋₁
            dirty = corrupt_codes(x, self.corruption) if k else self.corrupt(x).flatten(1)
            back = self._layer_down(k, self._layer_up(k, dirty, c), c)
        recon = 0.5 * (back.float() - clean).square().sum(1).mean()
        return {"loss": recon, "recon": recon}


class StackedAutoencoder(GenerativeModel):
    """Stacked autoencoder: deep, its layers trained greedily one after another and then together; weights tied or free.

    Parameters
        latent_dim : size of the code h; None = half of the features, at most 32. As wide as the features or wider is refused, unless
            corruption or dropout keeps the code from being a copy.
        tied : whether the decoder's weights are the encoder's, transposed; if not, it has its own.
        greedy : whether layers are trained one by one first; if not, all together from the start, for as long.
        corruption : noise on the input of every layer in training: the stacked denoising autoencoder.
        components : Gaussians in the density of the codes, which :meth:`sample` draws from.
        conditional : encoder and decoder see y as well.
        net : widths of the layers before the code, their activation and dropout; perceptrons only.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    After ``fit``, ``stages_`` has the reconstruction error after each stage of the training, and ``n_parameters_saved_`` what tying saves.
    ``denoise`` restores rows that came with noise. ``score_samples`` is minus the reconstruction error, −½ Σₖ (x_hatₖ − xₖ)².
    """

    capabilities = frozenset({"sample", "condition", "encode", "decode", "score", "denoise"})
    preset = PRESET(lr=1e-3)

    def __init__(self, *, latent_dim: PositiveInt | None = None, tied: bool = True, greedy: bool = True,
                 corruption: Corruption = Corruption(), components: PositiveInt = 10, conditional: bool = False, net: Net = Net(),
                 train: Train = Train(), random_state: Any = None):
        self.latent_dim = latent_dim
        self.tied = tied
        self.greedy = greedy
        self.corruption = corruption
        self.components = components
        self.conditional = conditional
        self.net = net
        self.train = train
        self.random_state = random_state

    @property
    def n_parameters_saved_(self) -> int:
        """Weights that the decoder does not need because they are the encoder's."""
        return sum(layer.weight.numel() for layer in self.objective_.layers) if self.tied else 0

    def build(self, schema: Schema, condition: Schema | None) -> StackedObjective:
        features = math.prod(Relaxation(schema).shape)
        if self.net.kind == "conv":
            raise InvalidParameterError("the layers of a stacked autoencoder are perceptrons", expected='kind "auto" or "mlp"',
                                        got='"conv"', hint="the convolutional autoencoder is the model conv")
        latent_dim = code_size(self.latent_dim, schema, prevented=self.corruption.active or self.net.dropout > 0,
                               hint="choose a smaller latent_dim, or a corruption, or dropout")
        return StackedObjective(schema, condition, latent_dim, self.net.width or widths(features, latent_dim), self.tied, self.greedy,
                                self.corruption, self.net, self.components)


def widths(features: int, latent_dim: int) -> tuple[int, ...]:
    """Up to three layers that halve, from about twice the features (64 to 1024) down to the code."""
    first = min(1024, max(64, 2 ** round(math.log2(2 * features))))
    return tuple(w for w in (first, first // 2, first // 4) if w >= latent_dim) or (latent_dim,)
