"""Dummies: generators that everybody sees through, so that a figure has something to be compared with.

Each does one thing right and another wrong, and a metric worth having says so: the training copy is perfect and worthless, the
marginals have every column and no dependence, the Gaussian mixture has the coarse shape, the noisy bootstrap has everything but
sharpness. A model that does not beat the mixture has learned nothing that needed a network.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..data.schema import Schema
from ..rng import numpy_generator, seed_of
from .spaces import Columns, Pixels, PrincipalComponents, Samples, chunks
from .stored import subsample
from .threads import one_thread

NOISE = 0.2                 # of `bootstrap_noise`, in standard deviations of a column or channel; half of it, in full range, for pixels
RESAMPLED = 0.1             # share of categories that `bootstrap_noise` draws anew
COMPONENTS = (1, 2, 4, 8, 16)
MIXTURE_DIMS = 128
MIXTURE_ROWS = 5000


def training_copy(train: np.ndarray, schema: Schema, n: int, seed: int = 0) -> np.ndarray:
    """``n`` training rows; each at most once while there are enough."""
    return train[numpy_generator(seed, "training copy").choice(len(train), n, replace=n > len(train))]


def marginals(train: np.ndarray, schema: Schema, n: int, seed: int = 0) -> np.ndarray:
    """Each column, pixel or sample of a signal drawn from its own values, independently of the others."""
    rng = numpy_generator(seed, "marginals")
    flat = train.reshape(len(train), -1)
    width = flat.shape[1]
    out = [flat[rng.integers(len(train), size=(rows.stop - rows.start, width)), np.arange(width)] for rows in chunks(n, width)]
    return np.concatenate(out).reshape(n, *train.shape[1:])


def gaussian_mixture(train: np.ndarray, schema: Schema, n: int, seed: int = 0) -> np.ndarray:
    """A mixture of Gaussians with full covariances, fitted by EM; components are doubled while that lowers the BIC.

    It lives in a relaxed space (standardised numbers with marks for blanks, one-hot categories, pixels, samples), in its first principal
    components, at most ``MIXTURE_DIMS``, and is fitted to at most ``MIXTURE_ROWS`` rows. A draw becomes the nearest stored row.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    relaxed = Pixels(schema) if schema.is_image else Samples(schema) if schema.is_signal else Columns(train, schema, seed)
    rows = subsample(train, MIXTURE_ROWS, seed, "mixture rows")
    components = PrincipalComponents(relaxed, rows, MIXTURE_DIMS, seed)
    z = components(rows)
    ridge = 1e-3 * float(z.var(0).mean()) + 1e-9
    mixture = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)     # a fit cut short is a candidate like any other
        for k in (k for k in COMPONENTS if k == 1 or k * z.shape[1] < len(z)):
            fit = GaussianMixture(k, reg_covar=ridge, max_iter=30, random_state=seed_of(seed, "mixture", k) % 2**32).fit(z)
            if mixture is not None and fit.bic(z) >= mixture.bic(z):
                break
            mixture = fit
    rng = numpy_generator(seed, "gaussian mixture")
    component = rng.choice(mixture.n_components, n, p=mixture.weights_ / mixture.weights_.sum())
    noise = rng.normal(size=(n, z.shape[1]))
    draws = mixture.means_[component]
    for k, covariance in enumerate(mixture.covariances_):
        draws[component == k] += noise[component == k] @ np.linalg.cholesky(covariance).T
    stored = np.concatenate([relaxed.decode(components.inverse(draws[s])) for s in chunks(n, relaxed.dims)])
    return stored if schema.is_image else _on_grid(stored, schema)


def bootstrap_noise(train: np.ndarray, schema: Schema, n: int, seed: int = 0) -> np.ndarray:
    """Training rows, drawn with replacement, with noise on every number, pixel and sample and some categories drawn anew."""
    rng = numpy_generator(seed, "bootstrap and noise")
    drawn = train[rng.integers(len(train), size=n)]
    if schema.is_image:
        top = schema.blocks[0].levels - 1
        sd = max(NOISE / 2 * top, 0.5)      # half a level at least, so that binary images change as well
        noisy = [drawn[s] + rng.normal(scale=sd, size=drawn[s].shape) for s in chunks(n, drawn[0].size)]
        return np.concatenate([np.clip(np.round(v), 0, top).astype(np.uint8) for v in noisy])
    if schema.is_signal:
        spread = NOISE * train.std((0, 2), dtype=np.float64)[:, None]
        noisy = [drawn[s] + spread * rng.normal(size=drawn[s].shape) for s in chunks(n, drawn[0].size)]
        return _on_grid(np.concatenate(noisy), schema)
    for j, block in enumerate(schema.blocks):
        if block.type == "number":
            present = train[:, j][~np.isnan(train[:, j])]
            drawn[:, j] += NOISE * (present.std() if len(present) else 0.0) * rng.normal(size=n)
        else:
            anew = rng.random(n) < RESAMPLED
            drawn[anew, j] = rng.choice(train[:, j], int(anew.sum()))
    return _on_grid(drawn, schema)


def _on_grid(stored: np.ndarray, schema: Schema) -> np.ndarray:
    """Numbers inside their bounds and on their grid, as a user would receive them: out through the Block and back in."""
    if schema.is_signal:
        return schema.encode(schema.decode(stored))
    stored = stored.copy()
    for j, block in enumerate(schema.blocks):
        if block.type == "number":
            stored[:, j] = block.encode(block.decode(stored[:, j]))
    return stored


@dataclass(frozen=True)
class Dummy:
    """A dummy by name; calling it with ``(train, schema, n, seed)`` gives ``n`` stored rows."""

    name: str
    title: str
    meaning: str
    draw: Callable[..., np.ndarray]

    def __call__(self, train: np.ndarray, schema: Schema, n: int, seed: int = 0) -> np.ndarray:
        with one_thread():
            return self.draw(np.asarray(train), schema, n, seed)


DUMMIES = {d.name: d for d in (
    Dummy("training_copy", "Copy of the training data",
          "What perfect quality and coverage look like, and what they are worth.", training_copy),
    Dummy("marginals", "Independent marginals",
          "Every column right on its own, no dependence between them.", marginals),
    Dummy("gaussian_mixture", "Gaussian mixture",
          "The coarse shape; what a model must beat to be worth its training.", gaussian_mixture),
    Dummy("bootstrap_noise", "Bootstrap and noise",
          "Training rows with noise: close to the data, but not sharp, and not new.", bootstrap_noise),
)}
