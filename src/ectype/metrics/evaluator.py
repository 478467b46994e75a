"""The Evaluator: everything that is measured about generated rows, and the floor under each figure.

A figure alone says little: at 300 rows, real data are not at distance 0 from real data. So each comes with its floor, the same
computation with real rows of a holdout in place of generated ones, from the same number of rows.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ..data.schema import Schema
from ..errors import DataError
from .association import association_estimate
from .c2st import c2st_estimate
from .frechet import Gaussian, fit_gaussian, frechet_distance, resampled_distance, wide_estimate
from .kernels import RandomKernels
from .mmd import kernel_distance
from .neighbours import duplicates_estimate, memorisation_estimate, neighbourhood_estimates, squared_radii
from .spaces import Columns, FourierFeatures, Joined, Map, Pixels, PrincipalComponents, Samples, unit
from .stored import check_stored, subsample
from .threads import one_thread
from .uncertainty import Estimate
from .wasserstein import random_directions, sliced_estimate

DIMS = 64               # of the spaces that Gaussians are fitted in
DISTANCE_DIMS = 1024    # rows with more values than these are compared in DISTANCE_COMPONENTS principal components and a remainder
DISTANCE_COMPONENTS = 256
DIRECTIONS = 256
NEIGHBOURS = 5
MIN_SIDE, MIN_IMAGES = 4, 50    # smaller images, or fewer, teach a convolutional network nothing


class Evaluator:
    """Judges generated rows against a test part that no model has seen. All arrays are *stored* arrays of ``schema``.

    ``train`` fits the spaces and is what memorisation looks for; ``holdout``, as large as ``test`` if possible, gives the floors;
    ``labels``, ``(len(train),)`` whole numbers, name the classes that the image features learn to tell apart; ``inception``, features of a
    network that was trained elsewhere (:class:`ectype.metrics.inception.InceptionFeatures`), adds ``fid`` and ``kid``. The outcome depends
    on these and ``seed`` only.

    Attributes: ``n``, the number of rows that are compared on each side, ``min(len(test), len(holdout))``, so that a floor is one
    of the same sample size; ``feature_spaces``, what the spaces of the Fréchet distances are, by name.
    """

    def __init__(self, schema: Schema, train: np.ndarray, holdout: np.ndarray, test: np.ndarray, labels: np.ndarray | None = None,
                 seed: int = 0, inception: Map | None = None):
        self.schema, self.seed, self.inception = schema, seed, inception
        self.train, self.holdout, test = (check_stored(a, schema, what) for a, what in
                                          ((train, "training"), (holdout, "holdout"), (test, "test")))
        if labels is not None and len(labels) != len(self.train):
            raise DataError("labels and training rows differ in number", expected=f"{len(self.train)} labels", got=len(labels))
        self.n = min(len(test), len(self.holdout))
        self.test = subsample(test, self.n, seed, "test rows")
        with one_thread():
            self._fit_spaces(labels)

    def evaluate(self, generated: np.ndarray, seed: int = 0) -> dict[str, float]:
        """The figures of :meth:`estimate`, without their intervals."""
        return {metric: e.value for metric, e in self.estimate(generated, seed).items()}

    def estimate(self, generated: np.ndarray, seed: int = 0) -> dict[str, Estimate]:
        """Every metric of :data:`METRICS` that applies, of ``generated`` against the test part, with its interval.

        ``generated`` has at least ``self.n`` rows; of more, ``self.n`` are drawn. ``seed`` is that of this draw and of the
        classifiers. Raises :class:`DataError` for too few rows, and for values that the schema does not allow.
        """
        generated = check_stored(generated, self.schema, "generated")
        if len(generated) < self.n:
            raise DataError("too few generated rows for figures that compare with the floor", expected=f"at least {self.n}",
                            got=len(generated))
        generated = subsample(generated, self.n, seed, "generated rows")
        return self._measure(generated, generated, seed)

    def floor(self) -> dict[str, float]:
        """The same figures of real rows: of the holdout against the test part, and, for memorisation, of the test part."""
        return {metric: e.value for metric, e in self._floor.items()}

    def floor_estimates(self) -> dict[str, Estimate]:
        """The same with intervals."""
        return dict(self._floor)

    @cached_property
    def _floor(self) -> dict[str, Estimate]:
        holdout = subsample(self.holdout, self.n, self.seed, "holdout rows")
        return self._measure(holdout, self.test, self.seed)

    def _fit_spaces(self, labels: np.ndarray | None) -> None:
        """``pca`` and ``features`` for Fréchet distances, ``nearness`` for memorisation, ``position`` for the sliced distance,
        ``manifold`` for neighbourhoods.

        The neighbourhoods of images are those of pixels and network features together. Neither would do alone: features put images
        of pure noise among the real ones (a precision of 0.8 to 0.9), and in pixels an average of two digits is nearer to
        everything than a digit is. Those of signals are of samples and random convolutions together.
        """
        schema, train, seed = self.schema, self.train, self.seed
        if schema.is_image:
            raw, source = Pixels(schema), "the pixels"
        elif schema.is_signal:
            raw, source = Samples(schema), "the samples"
        else:
            raw, source = Columns(train, schema, seed), "the standardised columns"
        self.pca = PrincipalComponents(raw, train, DIMS, seed)
        # of both parts: components fitted to one of them keep more of its rows' noise, and so put these farther from any other row
        self.nearness = PrincipalComponents(raw, np.concatenate([train, self.holdout]), DIMS, seed)
        self.position: Map = raw
        if raw.dims > DISTANCE_DIMS:
            self.position = PrincipalComponents(raw, train, DISTANCE_COMPONENTS, seed, remainder=True)
        self.manifold = self.position
        if schema.is_image and min(schema.blocks[0].shape[1:]) >= MIN_SIDE and len(train) >= MIN_IMAGES:
            from .convnet import ConvFeatures

            self.features: Map = ConvFeatures(train, labels, seed)
            self.manifold = Joined((self.position, self.features), train, seed)
            words = f"{self.features.dims} features of a small CNN trained on the training images {self.features.task}"
        elif schema.is_signal:
            self.features = PrincipalComponents(RandomKernels(train, seed), train, DIMS, seed)
            self.manifold = Joined((self.position, self.features), train, seed)
            words = f"{self.features.dims} principal components of what random convolutions find in a signal, wherever in it"
        else:
            self.features = PrincipalComponents(FourierFeatures(self.position, train, seed=seed), train, DIMS, seed)
            words = f"{self.features.dims} principal components of 256 random Fourier features of {source}"
        self.feature_spaces = {
            "pca": f"{self.pca.dims} principal components of {source} ({self.pca.explained:.0%} of their variance)",
            "features": words,
        }

    @one_thread()
    def _measure(self, rows: np.ndarray, suspects: np.ndarray, seed: int) -> dict[str, Estimate]:
        """``rows`` against the test part; ``suspects`` are who is asked for memorisation, which the holdout cannot be."""
        values = {"c2st": c2st_estimate(self.test, rows, self.schema, seed)}
        position, places = self.position(rows), {"pca": self.pca(rows), "features": self.features(rows)}
        for name, found in places.items():
            test, real, scale = self._gaussians[name]
            distance = frechet_distance(real, fit_gaussian(found)) / scale
            values[f"frechet_{name}"] = Estimate.positive(distance, resampled_distance(test, found, seed, "resampled", name) / scale**2)
            if name == "features":
                width = np.sqrt(scale / test.shape[1])      # the kernel's unit: one standard deviation of an average feature
                values["kernel_distance"] = kernel_distance((test - real.mean) / width, (found - real.mean) / width)
        test, directions, spread = self._slices
        slices = sliced_estimate(test, position, directions, seed, "resampled", "slices")
        values["sliced_wasserstein"] = slices.scaled(1 / spread)
        test, radii = self._balls
        around = self.manifold.of(position, places["features"]) if isinstance(self.manifold, Joined) else position
        values |= neighbourhood_estimates(test, around, NEIGHBOURS, radii)
        if self.schema.is_table:
            values["correlation_difference"] = association_estimate(self.test, rows, self.schema, seed, "resampled", "association")
        if self.inception is not None:
            test, found = self._published, self.inception(rows)
            values["fid"] = wide_estimate(test, found, seed, "resampled", "fid")
            values["kid"] = kernel_distance(test, found)
        values["memorisation"] = memorisation_estimate(self.nearness(suspects), *self._haystack)
        values["duplicates"] = duplicates_estimate(rows, self.train)
        return values

    @cached_property
    def _gaussians(self) -> dict[str, tuple[np.ndarray, Gaussian, float]]:
        """For each space the test part, its Gaussian, and its total variance, the unit of the distance."""
        tests = {name: space(self.test) for name, space in (("pca", self.pca), ("features", self.features))}
        fits = {name: fit_gaussian(test) for name, test in tests.items()}
        return {name: (tests[name], fit, unit(np.trace(fit.covariance))) for name, fit in fits.items()}

    @cached_property
    def _published(self) -> np.ndarray:
        """The test part in the features of the Inception network."""
        return self.inception(self.test)

    @cached_property
    def _slices(self) -> tuple[np.ndarray, np.ndarray, float]:
        """The test part, the directions, and the mean standard deviation of the test part along them, the unit of the distance."""
        test = self.position(self.test)
        directions = random_directions(test.shape[1], DIRECTIONS, self.seed, "directions")
        return test, directions, unit((test @ directions).std(0).mean())

    @cached_property
    def _balls(self) -> tuple[np.ndarray, np.ndarray]:
        """The test part and its squared radii."""
        test = self.manifold(self.test)
        return test, squared_radii(test, min(NEIGHBOURS, self.n - 1))

    @cached_property
    def _haystack(self) -> tuple[np.ndarray, np.ndarray]:
        """Training part and holdout where looking for the nearest of all training rows is cheap."""
        return self.nearness(self.train), self.nearness(self.holdout)

