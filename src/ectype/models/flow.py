"""The normalizing flow: exact likelihood and one-pass sampling with coupling layers of rational-quadratic splines.

Notation
    x           a stored row
    y           the row as real numbers, (B, dim); x itself where x is continuous, x plus noise in its cell where x is discrete
    c           the condition, where there is one
    T           an invertible map, z = T(y), made of layers T_L ∘ … ∘ T_1
    p_Z         the base density, N(0, I)

Change of variables:

    log p(y) = log p_Z(T(y)) + log |det ∂T/∂y|

A *coupling layer* keeps a half of y and transforms each number of the other half by a monotone function whose parameters are computed
from the half that was kept:

    z_A = y_A,      z_i = S(y_i; θ_i(y_A, c))  for i in B,      log |det| = Σ_{i in B} log S′(y_i)

so that the Jacobian is triangular, and both directions cost one pass. S is a rational-quadratic spline with K bins on [−b, b] and the
identity outside. The halves alternate, and differ from pair to pair of layers.

Discrete slots get noise first (:mod:`ectype.prob.dequantize`); log p(x) is then a lower bound, exact for continuous columns.

References
    Dinh, Sohl-Dickstein & Bengio, *Density estimation using Real NVP*, 2017: equations 2–3 (change of variables), 4–8 (coupling).
    Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows*, 2019: section 3, equation 4 (the spline).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..data.schema import Schema
from ..estimator import GenerativeModel
from ..nn.coupling import CouplingFlow
from ..prob.dequantize import Dequantization, standard_normal_log_prob
from ..rng import Rows, Shared
from ..spec import PRESET, Net, PositiveInt, Train
from ..train.objective import Objective


class FlowObjective(Objective):
    """Maximum likelihood of a stack of coupling layers on dequantised rows."""

    rounds = False

    def __init__(self, schema: Schema, condition: Schema | None, transforms: int, bins: int, net: Net):
        super().__init__(schema, condition)
        self.dequantization = Dequantization(schema)
        self.latent_dim = dim = self.dequantization.dim
        width = (64, 64) if dim <= 8 else (128, 128) if dim <= 128 else (256,)
        self.flow = CouplingFlow(dim, transforms, bins, net, width, cond=self.n_cond)

    def prepare(self, x: Tensor, c: Tensor | None) -> None:
        self.dequantization.fit(x)

    def transform(self, y: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """z = T(y), ``(B, dim)``, and log |det ∂T/∂y|, ``(B,)``."""
        return self.flow(y, self.embed_condition(c))

    def inverse(self, z: Tensor, c: Tensor | None) -> Tensor:
        """y = T⁻¹(z)."""
        return self.flow.inverse(z, self.embed_condition(c))

    def log_density(self, y: Tensor, c: Tensor | None) -> Tensor:
        """log p(y), ``(B,)``: change of variables."""
        z, log_det = self.transform(y, c)
        return standard_normal_log_prob(z).sum(1) + log_det

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        y, log_q = self.dequantization(x, Fresh(len(x), x.device))
        density, log_q = self.log_density(y, c).mean(), log_q.mean()
        return {"loss": log_q - density, "density": -density, "dequantisation": log_q}

    def sample(self, noise: Rows, c: Tensor | None) -> Tensor:
        return self.decode(noise.normal(self.latent_dim), c)

    def decode(self, z: Tensor, c: Tensor | None) -> Tensor:
        """Stored rows of T⁻¹(z)."""
        return self.dequantization.inverse(self.inverse(z, c))

    def encode(self, x: Tensor, c: Tensor | None) -> Tensor:
        """z = T(y) with y in the middle of its cell."""
        return self.transform(self.dequantization(x, Middle(len(x), x.device))[0], c)[0]

    def log_prob(self, x: Tensor, c: Tensor | None, noise: Shared, draws: int = 4) -> Tensor:
        """log p(x), ``(B,)``; with discrete slots the mean of the bound over ``draws`` of the noise."""
        values = []
        for _ in range(draws):
            y, log_q = self.dequantization(x, noise)
            values.append(self.log_density(y, c) - log_q)
        return torch.stack(values).mean(0)

    score = log_prob


class Fresh:
    """Noise from torch's generator, for training steps."""

    def __init__(self, n: int, device: torch.device):
        self.n, self.device = n, device

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.n, *shape, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.n, *shape, device=self.device)


class Middle(Fresh):
    """No noise: the middle of the cell."""

    def uniform(self, *shape: int) -> Tensor:
        return torch.full((self.n, *shape), 0.5, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.zeros(self.n, *shape, device=self.device)


class Flow(GenerativeModel):
    """Normalizing flow: an invertible map from the data to N(0, I), with exact likelihood and one-pass sampling.

    Parameters
        transforms : number of coupling layers.
        bins : bins of each spline.
        conditional : model x given y.
        net : hidden widths of the networks that compute the splines' parameters (always multilayer perceptrons).
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``log_likelihood`` and ``score_samples`` are log p(x): exact for continuous columns, a lower bound (dequantisation) for discrete
    columns and pixels. ``transform`` gives z = T(x), as many numbers as the row has slots.
    """

    capabilities = frozenset({"sample", "condition", "encode", "decode", "score", "exact"})
    preset = PRESET(lr=1e-3, batch_size=256)

    def __init__(self, *, transforms: PositiveInt = 6, bins: PositiveInt = 8, conditional: bool = False, net: Net = Net(),
                 train: Train = Train(), random_state: Any = None):
        self.transforms = transforms
        self.bins = bins
        self.conditional = conditional
        self.net = net
        self.train = train
        self.random_state = random_state

    @property
    def likelihood_(self) -> str:
        """Exact where every slot is continuous; a bound as soon as one had to be dequantised."""
        return "exact" if self.objective_.dequantization.is_exact else "bound"

    def build(self, schema: Schema, condition: Schema | None) -> FlowObjective:
        return FlowObjective(schema, condition, self.transforms, self.bins, self.net)
