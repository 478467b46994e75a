"""Fixed spaces: where distances between rows are measured.

A space is a map ``stored rows → (N, d)`` that is fitted once, on the training part, and never on what is judged. The maps compose:

====================== =======================================================================================================
map                    what it keeps
====================== =======================================================================================================
`Columns`              a table as it is: numbers in standard deviations, categories as unit vectors
`Pixels`               an image as it is, in [0, 1]
`Samples`              a signal as it is stored, in standard deviations of its channel
`PrincipalComponents`  the directions of largest variance of another map
`Joined`               several maps side by side, each with the same total variance
`FourierFeatures`      random cosines of another map; their means tell any two distributions apart (a Gaussian kernel's MMD)
`ConvFeatures`         the last layer of a small CNN trained on the training images (in :mod:`ectype.metrics.convnet`)
`RandomKernels`        what random convolutions find in a signal, wherever in it (in :mod:`ectype.metrics.kernels`)
====================== =======================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..data.schema import Schema
from ..rng import numpy_generator
from .stored import subsample

Map = Callable[[np.ndarray], np.ndarray]

CATEGORY_DIMS = 64          # categories beyond this number get random unit vectors instead of axes of their own
EXACT_PCA_DIMS = 1024       # wider inputs take a randomised singular value decomposition
CHUNK_VALUES = 4_000_000    # values held at a time, 32 MiB in float64


def chunks(n: int, width: int) -> Iterator[slice]:
    """Slices of ``n`` rows of ``width`` values that hold about ``CHUNK_VALUES`` values each."""
    step = max(1, CHUNK_VALUES // max(1, width))
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))


def unit(scale: float) -> float:
    """A scale to divide by: 1 where what it measures does not vary."""
    return float(scale) if scale > 1e-6 else 1.0


class Columns:
    """A stored table as vectors in which each column weighs about the same.

    A number is standardised by the training part, its blank is the mean with a mark beside it; a category is a unit vector. Two
    rows that differ in one category are then √2 apart there, and two independent values of one number are √2 standard deviations
    apart on average, so that the squared distance counts columns. With more than ``CATEGORY_DIMS`` categories the unit vectors are
    random, and nearly orthogonal, so that an identifier-like column does not take all the room.
    """

    MARK = np.sqrt(2.0)     # a blank and a value are as far apart as two categories

    def __init__(self, train: np.ndarray, schema: Schema, seed: int = 0):
        self.parts: list[tuple[float, float, bool] | np.ndarray] = []
        for j, block in enumerate(schema.blocks):
            if block.type == "number":
                present = train[:, j][~np.isnan(train[:, j])].astype(np.float64)
                mean, sd = (present.mean(), present.std()) if len(present) else (0.0, 1.0)
                self.parts.append((float(mean), unit(sd), block.missing))
            elif block.n_codes <= CATEGORY_DIMS:
                self.parts.append(np.eye(block.n_codes, dtype=np.float32))
            else:
                vectors = numpy_generator(seed, "category vectors", j).normal(size=(block.n_codes, CATEGORY_DIMS))
                self.parts.append((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
        self.widths = [part.shape[1] if isinstance(part, np.ndarray) else 1 + part[2] for part in self.parts]
        self.dims = sum(self.widths)

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        out = []
        for column, part in zip(stored.T, self.parts, strict=True):
            if isinstance(part, np.ndarray):
                out.append(part[column.astype(np.intp)])
            else:
                mean, sd, missing = part
                blank = np.isnan(column)
                out.append(np.where(blank, 0.0, (column - mean) / sd)[:, None])
                if missing:
                    out.append((blank * self.MARK)[:, None])
        return np.concatenate(out, axis=1, dtype=np.float32)

    def decode(self, vectors: np.ndarray) -> np.ndarray:
        """The stored row nearest to each vector: the nearest category, a blank where its mark is above one half."""
        columns = []
        for v, part in zip(np.split(vectors, np.cumsum(self.widths)[:-1], axis=1), self.parts, strict=True):
            if isinstance(part, np.ndarray):
                columns.append(np.argmax(v @ part.T, axis=1))
            else:
                mean, sd, missing = part
                number = v[:, 0] * sd + mean
                columns.append(np.where(v[:, 1] > self.MARK / 2, np.nan, number) if missing else number)
        return np.stack(columns, axis=1).astype(np.float32)


class Pixels:
    """Stored images as flat vectors of pixel values in [0, 1]."""

    def __init__(self, schema: Schema):
        self.shape, self.top = schema.blocks[0].shape, schema.blocks[0].levels - 1
        self.dims = int(np.prod(self.shape))

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        return stored.reshape(len(stored), -1) / np.float32(max(1, self.top))

    def decode(self, vectors: np.ndarray) -> np.ndarray:
        """The image nearest to each vector."""
        return np.clip(np.round(vectors * self.top), 0, self.top).astype(np.uint8).reshape(-1, *self.shape)


class Samples:
    """Stored signals as flat vectors."""

    def __init__(self, schema: Schema):
        self.shape = schema.stored_shape
        self.dims = int(np.prod(self.shape))

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        return stored.reshape(len(stored), -1)

    def decode(self, vectors: np.ndarray) -> np.ndarray:
        """The stored signal that a vector is."""
        return vectors.astype(np.float32).reshape(-1, *self.shape)


class PrincipalComponents:
    """The first ``dims`` principal components of a map, ``z = Vᵀ (f(x) − μ)``; directions without variance are left out.

    With ``remainder`` the length of what they leave out, ``‖f(x) − μ − Vz‖``, is one more coordinate: without it a picture full of
    noise has the components of an average one. ``explained`` is the share of the training variance that is kept. Fitted on at most
    20,000 rows.
    """

    def __init__(self, f: Map, train: np.ndarray, dims: int, seed: int = 0, *, remainder: bool = False):
        self.f, self.remainder = f, remainder
        width = f(train[:1]).shape[1]
        rows = subsample(train, int(np.clip(20_000_000 // width, 1000, 20_000)), seed, "principal components")
        x = np.concatenate([f(rows[s]) for s in chunks(len(rows), width)])
        self.mean = x.mean(0, dtype=np.float64)
        total = sum(float(np.square(x[s] - self.mean).sum()) for s in chunks(len(x), width)) / len(x)
        variance, axes = _principal_axes(x, self.mean, min(dims, width, len(x)), seed)
        keep = max(1, int((variance > 1e-9 * max(total, 1e-12)).sum()))
        self.axes, self.variance = np.ascontiguousarray(axes[:, :keep]), variance[:keep]
        self.explained = min(1.0, float(self.variance.sum() / total)) if total > 0 else 1.0
        self.dims = keep + remainder

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        return np.concatenate([self._project(self.f(stored[s]) - self.mean) for s in chunks(len(stored), len(self.mean))])

    def _project(self, centred: np.ndarray) -> np.ndarray:
        z = centred @ self.axes
        if not self.remainder:
            return z
        left = np.square(centred).sum(1, keepdims=True) - np.square(z).sum(1, keepdims=True)
        return np.concatenate([z, np.sqrt(np.maximum(left, 0.0))], axis=1)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """The point of the map's range with these components, the others at their mean."""
        return z @ self.axes.T + self.mean


def _principal_axes(x: np.ndarray, mean: np.ndarray, dims: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Variances ``(dims,)``, largest first, and axes ``(width, dims)``."""
    if x.shape[1] <= EXACT_PCA_DIMS:
        covariance = sum(c.T @ c for c in (x[s] - mean for s in chunks(*x.shape))) / len(x)
        variance, axes = np.linalg.eigh(covariance)
        return np.maximum(variance[::-1][:dims], 0.0), axes[:, ::-1][:, :dims]
    from sklearn.utils.extmath import randomized_svd

    x -= mean.astype(x.dtype)       # in place: x is the largest array here, and no longer needed as it was
    _, s, vt = randomized_svd(x, dims, random_state=seed, n_iter=3)
    return np.square(s, dtype=np.float64) / len(x), vt.T.astype(np.float64)


class Joined:
    """Several maps side by side, each divided by the root of its total training variance, so that none outshouts the others."""

    def __init__(self, maps: Sequence[Map], train: np.ndarray, seed: int = 0):
        self.maps = maps
        rows = subsample(train, 2000, seed, "joined")
        self.scales = [unit(np.sqrt(f(rows).var(0, dtype=np.float64).sum())) for f in maps]

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        return self.of(*(f(stored) for f in self.maps))

    def of(self, *values: np.ndarray) -> np.ndarray:
        """The same from the values of the maps, where they are known."""
        return np.concatenate([v / scale for v, scale in zip(values, self.scales, strict=True)], axis=1)


class FourierFeatures:
    """Random Fourier features of a map, ``√(2/m) cos(Wᵀ f(x) + b)``, half of them at each of two bandwidths.

    Their inner products approximate Gaussian kernels, so means and covariances of these features carry what those of ``f`` do not:
    several modes, heavy tails, dependence without correlation. The bandwidths are the median distance of the training rows, which
    sees the overall shape, and a quarter of it, which sees neighbourhoods.

    Reference: Rahimi & Recht 2007, Random features for large-scale kernel machines.
    """

    def __init__(self, f: Map, train: np.ndarray, n_features: int = 256, seed: int = 0):
        self.f = f
        rng = numpy_generator(seed, "fourier features")
        z = f(subsample(train, 500, seed, "bandwidth")).astype(np.float64)
        squared = np.square(z).sum(1)
        distance = np.sqrt(np.maximum(squared[:, None] + squared - 2 * z @ z.T, 0.0))[np.triu_indices(len(z), 1)]
        positive = distance[distance > 1e-6]
        median = float(np.median(positive)) if len(positive) else 1.0
        bandwidth = np.repeat([median, median / 4], n_features // 2)
        self.frequencies = rng.normal(size=(z.shape[1], len(bandwidth))) / bandwidth
        self.phases = rng.uniform(0, 2 * np.pi, len(bandwidth))

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        return np.sqrt(2 / len(self.phases)) * np.cos(self.f(stored) @ self.frequencies + self.phases)
