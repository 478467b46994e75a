"""The undercomplete autoencoder.

Notation
    x       a row as features, (B, *shape): normalised numbers, one-hot categories, pixels in [−1, 1]
    h       its code, h = f(x), (B, latent_dim); smaller than x, so that it cannot be a copy
    x_hat   the reconstruction, x_hat = g(h)
    c       the condition, where there is one; f and g then see it

Encoder f and decoder g are trained together to lose as little as possible on the way through the code:

    L(x) = ½ Σₖ (x_hatₖ − xₖ)² + λ Σⱼ |hⱼ|

Up to a constant the first term is −log N(x; x_hat, I), in nats; λ = 0 by default. With linear f and g the best code spans the principal
components. A code as wide as the row could simply copy it, and is allowed only where something prevents that: sparsity (λ > 0) or dropout.

An autoencoder is no generative model: it says nothing of how codes are distributed. To sample, a density is fitted on the codes of the
training rows *after* training, a mixture of Gaussians (``prob/mixture.py``), and its draws are decoded.

References
    Hinton & Salakhutdinov, *Reducing the dimensionality of data with neural networks*, 2006.
    Goodfellow, Bengio & Courville, *Deep learning*, 2016, sections 14.1, 14.2.1 (sparsity).
    Ghosh, Sajjadi, Vergari, Black & Schölkopf, *From variational to deterministic autoencoders*, 2020, section 4 (ex-post density).
"""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from ..data.schema import Schema
from ..estimator import GenerativeModel
from ..nn import build
from ..spec import PRESET, Interval, Net, PositiveInt, Train
from ..train.reconstruction import Coder, code_size


class AutoencoderObjective(Coder):
    """Squared error through a code."""

    def __init__(self, schema: Schema, condition: Schema | None, latent_dim: int, net: Net, components: int, sparsity: float = 0.0):
        super().__init__(schema, condition, latent_dim, components)
        shape = self.features.shape
        self.encoder = build.encoder(shape, latent_dim, net, cond=self.n_cond)
        self.decoder = build.decoder(latent_dim, shape, net, cond=self.n_cond)
        self.sparsity = sparsity

    def code(self, f: Tensor, c: Tensor | None) -> Tensor:
        """h = f(x)."""
        return self.encoder(f, c)

    def rebuild(self, h: Tensor, c: Tensor | None) -> Tensor:
        """x_hat = g(h)."""
        return self.decoder(h, c)

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        f, c = self.features.embed(x), self.embed_condition(c)
        h = self.code(f, c).float()
        recon = 0.5 * (self.rebuild(h, c).float() - f).square().flatten(1).sum(1).mean()
        if not self.sparsity:
            return {"loss": recon, "recon": recon}
        sparsity = h.abs().sum(1).mean()
        return {"loss": recon + self.sparsity * sparsity, "recon": recon, "sparsity": sparsity}


class Autoencoder(GenerativeModel):
    """Undercomplete autoencoder: a code smaller than the row, trained to reconstruct it with the least squared error.

    Parameters
        latent_dim : size of the code h; None = half of the features, at most 32. As wide as the features or wider is refused, unless
            sparsity or dropout keeps the code from being a copy.
        sparsity : weight λ of Σⱼ |hⱼ| in the loss.
        components : Gaussians in the density of the codes, which :meth:`sample` draws from.
        conditional : encoder and decoder see y as well.
        net : the encoder's and, backwards, the decoder's network.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``score_samples`` is minus the reconstruction error, −½ Σₖ (x_hatₖ − xₖ)². There is no likelihood.
    """

    capabilities = frozenset({"sample", "condition", "encode", "decode", "score"})
    preset = PRESET(lr=1e-3)
    presets = dict.fromkeys(("images", "signals"), PRESET(lr=3e-3, batch_size=64))

    def __init__(self, *, latent_dim: PositiveInt | None = None, sparsity: Annotated[float, Interval(0)] = 0.0,
                 components: PositiveInt = 10, conditional: bool = False, net: Net = Net(), train: Train = Train(),
                 random_state: Any = None):
        self.latent_dim = latent_dim
        self.sparsity = sparsity
        self.components = components
        self.conditional = conditional
        self.net = net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> AutoencoderObjective:
        latent_dim = code_size(self.latent_dim, schema, prevented=self.sparsity > 0 or self.net.dropout > 0,
                               hint="choose a smaller latent_dim, or sparsity > 0, dropout, or the denoising autoencoder")
        return AutoencoderObjective(schema, condition, latent_dim, self.net, self.components, self.sparsity)
