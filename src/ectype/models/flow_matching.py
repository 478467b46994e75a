"""Flow matching: a velocity that carries noise to data along straight lines.

Notation
    x           a row as features, scaled to about unit variance, (B, *shape)
    ε ~ N(0, I) noise of the same shape
    t           time in [0, 1]; t = 0 is data, t = 1 is noise
    x_t         a point on the line between them, x_t = (1 − t) x + t ε;  its velocity is ε − x
    u(x_t, t)   what the network predicts: the mean velocity E[ε − x | x_t] of all the lines through x_t
    c           the condition, where there is one
    x_hat       x_t − t u, the data that the velocity points away from: where the line would begin

The velocities of single lines average to a vector field whose flow has the same marginals as the lines have:

    dx/dt = u(x_t, t)         takes N(0, I) at t = 1 to the data at t = 0,           loss = E_{t, x, ε} ‖ ε − x − u_θ(x_t, t) ‖² / D

It is the probability flow of a diffusion with α_t = 1 − t and σ_t = t (:mod:`ectype.prob.solvers`, whose samplers all work), with other
weights in the loss. Its advantage is that the paths bend less. They bend where lines cross: a line from noise to a row that is far off is
averaged with others. So the noise of each batch is dealt to its rows such that the sum of squared distances is least
(:mod:`ectype.prob.transport`): lines hardly cross then, and few steps follow the paths. On two moons, after 2,000 steps of training, four
evaluations of such a model were as good as fifty (C2ST 0.53, 0.52; with random pairs 0.74 and 0.56).

Categorical columns are those of :mod:`ectype.train.noising`: probabilities and cross-entropy in place of a velocity.

References
    Lipman, Chen, Ben-Hamu, Nickel & Le, *Flow matching for generative modeling*, 2023: equations 9 (loss), 20–23 (straight paths).
    Liu, Gong & Liu, *Flow straight and fast: learning to generate and transfer data with rectified flow*, 2023: equation 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ..data.schema import Schema
from ..errors import InvalidParameterError
from ..estimator import BATCH, GenerativeModel
from ..prob.solvers import evaluations
from ..rng import Rows
from ..spec import PRESET, Net, Share, Train
from ..train.noising import Pairing, StraightPaths, check_steps

Solver = Literal["euler", "heun"]
STEPS = {"euler": 50, "heun": 25}
FIRST = 1e-3            # the smallest time that is trained on: velocities of categories are divided by it


class FlowMatchingObjective(StraightPaths):
    """Regression of the velocity at a random time; sampling by following it from noise."""

    def __init__(self, schema: Schema, condition: Schema | None, net: Net, pairing: Pairing = "optimal", drop_condition: float = 0.1):
        super().__init__(schema, condition, net, drop_condition)
        self.pairing = pairing

    def tones_of(self, schema: Schema) -> Mapping[int, Mapping[str, Any]]:
        return {4: {}, 20: {}}

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        n = len(x)
        t = ((torch.rand((), device=x.device) + torch.arange(n, device=x.device) / n) % 1).clamp(min=FIRST)      # stratified
        loss = self.error(x, c, t, self.noise_for(self.scaled(x), c, self.pairing), self.absent(n, x.device)).mean()
        return {"loss": loss, "velocity": loss}

    def generate(self, noise: Rows, c: Tensor | None, *, steps: int = 50, solver: Solver = "euler", guidance: float = 1.0) -> Tensor:
        """Scaled features, in so many steps of Euler's (which is DDIM on this path) or Heun's method."""
        return super().generate(noise, c, steps=steps, sampler="ddim" if solver == "euler" else "heun", guidance=guidance)


class FlowMatching(GenerativeModel):
    """Flow matching: a velocity field that carries noise to data along straight paths, followed in a few dozen steps.

    Parameters
        pairing : ``"optimal"``: within each batch, noise is paired with near rows, which makes paths straighter; or ``"random"``. Of a
            condition that is a quantity, pairs are always random.
        conditional : model x given y.
        drop_condition : share of the rows in training from which y is left out, for classifier-free guidance.
        net : the velocity's network: a U-Net for images, a residual perceptron for tables.
        train : budget, learning rate and so on.
        random_state : seed of weights and training.

    ``score_samples`` is minus the mean error of the velocity over times.
    """

    capabilities = frozenset({"sample", "condition", "score", "impute"})
    preset = PRESET(lr=2e-3, batch_size=64, ema=0.08)
    sampling_presets = {"euler4": {"steps": 4}}

    def __init__(self, *, pairing: Pairing = "optimal", conditional: bool = False, drop_condition: Share = 0.1, net: Net = Net(),
                 train: Train = Train(), random_state: Any = None):
        self.pairing = pairing
        self.conditional = conditional
        self.drop_condition = drop_condition
        self.net = net
        self.train = train
        self.random_state = random_state

    def build(self, schema: Schema, condition: Schema | None) -> FlowMatchingObjective:
        return FlowMatchingObjective(schema, condition, self.net, self.pairing, self.drop_condition)

    def evaluations(self, *, steps: int | None = None, solver: Solver = "euler", guidance: float = 1.0) -> int:
        steps = STEPS[solver] if steps is None else steps
        return evaluations("heun" if solver == "heun" else "ddim", steps) * (1 if guidance == 1.0 else 2)

    def sample(self, n: int = 1, *, condition: Any = None, random_state: Any = None, solver: Solver = "euler", steps: int | None = None,
               guidance: float = 1.0, batch_size: int = BATCH) -> Any:
        """``n`` new rows.

        solver : ``"euler"`` (50 steps unless ``steps`` says otherwise) or ``"heun"`` (25 steps of two evaluations).
        steps : steps from noise to data, 1 to 10,000.
        guidance : weight of the condition: 1 is the model, 2 to 5 more typical of the condition and less varied; conditional models only.
        """
        if solver not in STEPS:
            raise InvalidParameterError("unknown solver", expected=f"one of {', '.join(STEPS)}", got=repr(solver))
        steps = STEPS[solver] if steps is None else steps
        check_steps(steps, guidance, self.conditional)
        return self._sample(n, condition, random_state, batch_size, steps=steps, solver=solver, guidance=guidance)
