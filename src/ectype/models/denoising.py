"""The denoising autoencoder.

Notation
    x       a row as features, (B, *shape)
    x_til   the same row corrupted, x_til ~ q(x_til | x): noise, blanks, extremes or values of other rows (``prob/corrupt.py``)
    h       the code of the corrupted row, h = f(x_til), (B, latent_dim)
    x_hat   the restored row, x_hat = g(h)

Corrupted in, clean out:

    L(x) = ½ Σₖ (x_hatₖ − xₖ)²,    x_hat = g(f(x_til))

Noise is drawn anew at every step. To undo it the network must know which rows are likely: with Gaussian noise of variance σ² the best
reconstruction is x_til + σ² ∇ log p(x_til) (Alain & Bengio 2014), a step towards where the data are. So the code may be as wide as the
row, or wider: a copy would keep the noise.

References
    Vincent, Larochelle, Lajoie, Bengio & Manzagol, *Stacked denoising autoencoders*, 2010, sections 3.1 to 3.3.
    Alain & Bengio, *What regularized auto-encoders learn from the data-generating distribution*, 2014, theorem 1.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ..data.schema import Schema
from ..errors import InvalidParameterError
from ..estimator import GenerativeModel
from ..nn import build
from ..prob.corrupt import Corruptor
from ..prob.relax import Relaxation
from ..spec import PRESET, Corruption, Net, PositiveInt, Train
from ..train.reconstruction import Coder


class DenoisingObjective(Coder):
    """Squared error between the clean row and what is made of the corrupted one."""

    def __init__(self, schema: Schema, condition: Schema | None, latent_dim: int, net: Net, corruption: Corruption, components: int):
        super().__init__(schema, condition, latent_dim, components)
        shape = self.features.shape
        self.corrupt = Corruptor(schema, self.features, corruption)
        self.encoder = build.encoder(shape, latent_dim, net, cond=self.n_cond)
        self.decoder = build.decoder(latent_dim, shape, net, cond=self.n_cond)

    def prepare(self, x: Tensor, c: Tensor | None) -> None:
        self.corrupt.prepare(x)

    def code(self, f: Tensor, c: Tensor | None) -> Tensor:
        """h = f(x_til)."""
        return self.encoder(f, c)

    def rebuild(self, h: Tensor, c: Tensor | None) -> Tensor:
        """x_hat = g(h)."""
        return self.decoder(h, c)

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        x_til, x = self.corrupt(x), self.features.embed(x)
        x_hat = self.pass_through(x_til, self.embed_condition(c)).float()
        recon = 0.5 * (x_hat - x).square().flatten(1).sum(1).mean()
        return {"loss": recon, "recon": recon}


class DenoisingAutoencoder(GenerativeModel):
    """Denoising autoencoder: trained to make the clean row of a corrupted one, to restore rows and for robust codes.

    Parameters
        latent_dim : size of the code h, which may be as wide as the row or wider; None = twice the features, at most 256.
        corruption : the noise that is undone: its kind and level, or range of levels.
        components : Gaussians in the density of the codes, which :meth:`sample` draws from.
        conditional : encoder and decoder see y as well.
        net : the encoder's and, backwards, the decoder's network; its dropout is noise inside the network, apart from the corruption.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``denoise`` restores rows that came with noise. ``score_samples`` is minus the error of restoring a row as it is, −½ Σₖ (x_hatₖ − xₖ)².
    There is no likelihood.
    """

    capabilities = frozenset({"sample", "condition", "encode", "decode", "score", "denoise"})
    preset = PRESET(lr=1e-3)
    presets = dict.fromkeys(("images", "signals"), PRESET(lr=3e-3, batch_size=64))

    def __init__(self, *, latent_dim: PositiveInt | None = None, corruption: Corruption = Corruption(kind="gaussian", level=(0.0, 0.5)),
                 components: PositiveInt = 10, conditional: bool = False, net: Net = Net(), train: Train = Train(),
                 random_state: Any = None):
        self.latent_dim = latent_dim
        self.corruption = corruption
        self.components = components
        self.conditional = conditional
        self.net = net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> DenoisingObjective:
        features = math.prod(Relaxation(schema).shape)
        latent_dim = self.latent_dim or min(2 * features, 256)
        if latent_dim >= features and not self.corruption.active and self.net.dropout == 0:
            raise InvalidParameterError("without noise a code as wide as the row could simply copy it",
                                        expected=f"a corruption, dropout, or latent_dim < {features}",
                                        got=f"{self.corruption.kind}, {latent_dim}",
                                        hint='for example corruption=Corruption(kind="gaussian", level=0.3)')
        return DenoisingObjective(schema, condition, latent_dim, self.net, self.corruption, self.components)
