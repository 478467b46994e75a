"""The convolutional autoencoder: convolutions and pooling down to a few numbers, and back up.

Notation
    x           an image or a signal as features, (B, C, H, W) or (B, C, L), pixels in [−1, 1]
    h           its code, (B, latent_dim): ten numbers, from a 28×28 picture through a tensor of 128×3×3
    p           where the maxima of the poolings were, one position for each value after pooling
    x_hat       the reconstruction, x_hat = g(h, p)

    L(x) = ½ Σₖ (x_hatₖ − xₖ)²

Down: for each width a convolution, then max-pooling by two (28 → 14 → 7 → 3). Up, three ways:

    unpool      a value goes back to the place where its maximum was, the others are zero; then a convolution. x_hat = g(h, p)
    transposed  transposed convolution. x_hat = g(h)
    resize      nearest neighbours, then a convolution. x_hat = g(h)

What unpooling implies: the recorded positions p are information *beside* the code, two bits for each value at each pooling in two
dimensions, far more than the code itself. So its reconstructions are sharp, and say little of what h holds. Who has only h (``sample``,
``inverse_transform``) decodes with fixed positions, the first place of each window. Both errors are measured after training
(``stages_[-1]["measured"]``): ``reconstruction`` with the recorded positions, ``from_code`` without. ``reconstruct`` and
``score_samples`` use the recorded positions. Half of the rows of a step are decoded with them and half without, so that both work.

References
    Masci, Meier, Cireşan & Schmidhuber, *Stacked convolutional auto-encoders for hierarchical feature extraction*, 2011.
    Zeiler, Taylor & Fergus, *Adaptive deconvolutional networks for mid and high level feature learning*, 2011, section 2.2.2 (switches).
    Zhao, Mathieu, Goroshin & LeCun, *Stacked what-where auto-encoders*, 2016 (what the positions carry).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from ..data.schema import Schema
from ..errors import InvalidParameterError
from ..estimator import GenerativeModel
from ..nn import build
from ..prob.relax import Relaxation
from ..spec import PRESET, Net, PositiveInt, Train
from ..train.reconstruction import Coder, in_batches


class ConvObjective(Coder):
    """Squared error through poolings and a code."""

    def __init__(self, schema: Schema, condition: Schema | None, latent_dim: int, upsampling: str, net: Net, components: int):
        super().__init__(schema, condition, latent_dim, components)
        shape = self.features.shape
        self.unpools = upsampling == "unpool"
        self.encoder = build.pooling_encoder(shape, latent_dim, net, cond=self.n_cond)
        self.decoder = build.unpooling_decoder(latent_dim, shape, net, upsampling, cond=self.n_cond)

    def code(self, f: Tensor, c: Tensor | None) -> Tensor:
        """h, without the positions."""
        return self.encoder(f, c)[0]

    def rebuild(self, h: Tensor, c: Tensor | None) -> Tensor:
        """g(h), with fixed positions where the decoder unpools."""
        return self.decoder(h, c)

    def pass_through(self, f: Tensor, c: Tensor | None) -> Tensor:
        """g(h, p), with the recorded positions."""
        h, positions = self.encoder(f, c)
        return self.decoder(h, c, positions)

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        f, c = self.features.embed(x), self.embed_condition(c)
        if not self.unpools:
            recon = _half_squares(self.pass_through(f, c), f).mean()
            return {"loss": recon, "recon": recon}
        h, positions = self.encoder(f, c)
        n = len(f) - len(f) // 2                            # rows with recorded positions; the others have the code alone
        head, tail = (None, None) if c is None else (c[:n], c[n:])
        recon = _half_squares(self.decoder(h[:n], head, [p[:n] for p in positions]), f[:n])
        if n == len(f):
            return {"loss": recon.mean(), "recon": recon.mean()}
        from_code = _half_squares(self.decoder(h[n:], tail), f[n:])
        return {"loss": torch.cat([recon, from_code]).mean(), "recon": recon.mean(), "from_code": from_code.mean()}

    def measure(self, x: Tensor, c: Tensor | None) -> dict[str, float]:
        """The mean error with the recorded positions, and from the code alone."""
        measured = super().measure(x, c)
        if self.unpools:
            measured["from_code"] = float(in_batches(self._error_from_code, x, c).mean())
        return measured

    def _error_from_code(self, x: Tensor, c: Tensor | None) -> Tensor:
        f, c = self.features.embed(x), self.embed_condition(c)
        return _half_squares(self.rebuild(self.code(f, c), c), f)


def _half_squares(x_hat: Tensor, x: Tensor) -> Tensor:
    """½ Σₖ (x_hatₖ − xₖ)² of each row."""
    return 0.5 * (x_hat.float() - x).square().flatten(1).sum(1)


class ConvAutoencoder(GenerativeModel):
    """Convolutional autoencoder for images and signals: convolution and max-pooling down to a few numbers, and back up.

    Parameters
        latent_dim : size of the code h.
        upsampling : the way back up: max-unpooling with the recorded positions, transposed convolution, or resize and convolution.
        components : Gaussians in the density of the codes, which :meth:`sample` draws from.
        conditional : encoder and decoder see y as well.
        net : channels at each pooling, activation and dropout.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    Recorded positions are information beside the code: with "unpool", ``reconstruct`` and ``score_samples`` use those of the row, while
    ``inverse_transform`` and ``sample`` have the code alone. ``score_samples`` is minus the reconstruction error, −½ Σₖ (x_hatₖ − xₖ)².
    """

    capabilities = frozenset({"sample", "condition", "encode", "decode", "score"})
    containers = frozenset({"images", "signals"})
    preset = PRESET(lr=3e-3, batch_size=64)

    def __init__(self, *, latent_dim: PositiveInt = 10, upsampling: Literal["unpool", "transposed", "resize"] = "unpool",
                 components: PositiveInt = 10, conditional: bool = False, net: Net = Net(), train: Train = Train(),
                 random_state: Any = None):
        self.latent_dim = latent_dim
        self.upsampling = upsampling
        self.components = components
        self.conditional = conditional
        self.net = net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> ConvObjective:
        features = math.prod(Relaxation(schema).shape)
        if self.latent_dim >= features and self.net.dropout == 0:
            raise InvalidParameterError("the code is as wide as the picture, which it could simply copy",
                                        expected=f"latent_dim < {features} (its values)", got=self.latent_dim,
                                        hint="choose a smaller latent_dim")
        return ConvObjective(schema, condition, self.latent_dim, self.upsampling, self.net, self.components)
