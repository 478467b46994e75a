"""Features of signals that do not ask where in the signal something happens: random convolutions, and the spectrum.

Two recordings of the same sound that begin a moment apart are far from each other sample by sample, and of one kind here.

References: Dempster, Petitjean & Webb 2020, ROCKET: exceptionally fast and accurate time series classification using random
convolutional kernels; Welch 1967, The use of fast Fourier transform for the estimation of power spectra.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv1d

from ..rng import numpy_generator
from .stored import subsample

KERNELS = 128
TAPS = 9
MOST_CHANNELS = 3       # that one kernel looks at
DILATIONS = 8           # of each there are about KERNELS / DILATIONS kernels
BANDS = 16              # of the spectrum of a channel
CHUNK = 4_000_000       # values of a convolution held at a time


class RandomKernels:
    """Maximum and share of positive values of random convolutions of stored signals ``(N, C, L)``, ``(N, 2 · KERNELS)``.

    A kernel has ``TAPS`` weights from N(0, 1), centred so that it sees no level, on at most ``MOST_CHANNELS`` channels drawn at random,
    a dilation that doubles from 1 until its reach is the signal, and a bias that is minus a random quantile of what it gives on a
    training signal. Each feature is standardised by the training part. The convolutions are padded by zero, the mean of a channel.
    """

    def __init__(self, train: np.ndarray, seed: int = 0):
        rng = numpy_generator(seed, "random kernels")
        channels, length = train.shape[1:]
        deepest = int(np.log2(max(1, (length - 1) / (TAPS - 1))))
        dilations = np.unique(2 ** np.round(np.linspace(0, deepest, DILATIONS)).astype(int))
        rows = subsample(train, 500, seed, "kernel rows")
        self.groups: list[tuple[int, Tensor, Tensor]] = []
        for dilation, n in zip(dilations, np.diff(np.linspace(0, KERNELS, len(dilations) + 1).astype(int)), strict=True):
            weights = rng.normal(size=(n, channels, TAPS))
            weights -= weights.mean(2, keepdims=True)
            deaf = np.argsort(np.argsort(rng.random((n, channels)), axis=1), axis=1) >= rng.integers(1, MOST_CHANNELS + 1, (n, 1))
            weights[deaf] = 0.0
            weights /= np.sqrt(np.square(weights).sum((1, 2), keepdims=True))
            kernel = torch.from_numpy(weights.astype(np.float32))
            heard = _convolve(torch.from_numpy(rows[rng.integers(len(rows), size=n)]), kernel, int(dilation))
            share = torch.from_numpy(rng.random(n))
            bias = torch.stack([-torch.quantile(heard[i, i], float(q)) for i, q in enumerate(share)])
            self.groups.append((int(dilation), kernel, bias))
        self.mean, self.scale = 0.0, 1.0
        features = self(rows)
        self.mean, spread = features.mean(0), features.std(0)
        self.scale = np.where(spread > 1e-6, spread, 1.0)
        self.dims = features.shape[1]

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        step = max(1, CHUNK // (KERNELS * stored.shape[2]))
        return np.concatenate([self._features(stored[i : i + step]) for i in range(0, len(stored), step)])

    @torch.no_grad()
    def _features(self, stored: np.ndarray) -> np.ndarray:
        x, found = torch.from_numpy(stored), []
        for dilation, kernel, bias in self.groups:
            y = _convolve(x, kernel, dilation) + bias[:, None]                  # (N, kernels, L)
            found += [y.amax(2), (y > 0).float().mean(2)]
        return (torch.cat(found, dim=1).numpy() - self.mean) / self.scale


def _convolve(x: Tensor, kernel: Tensor, dilation: int) -> Tensor:
    return conv1d(x, kernel, padding=dilation * (TAPS - 1) // 2, dilation=dilation)


def band_powers(stored: np.ndarray) -> np.ndarray:
    """Log mean power of stored signals ``(N, C, L)`` in at most ``BANDS`` bands of frequency of each channel, ``(N, C · bands)``.

    The bands are as wide as their distance from zero asks: narrow for slow oscillations, wide for fast ones. The floor of the power is
    10⁻⁶ of a channel's training variance a sample, so that a channel that is silent has a finite logarithm.
    """
    n, channels, length = stored.shape
    edges = np.unique(np.geomspace(1, length // 2 + 1, BANDS + 1).astype(int))
    edges = np.concatenate([[0], edges])                                        # the level is a band of its own
    power = np.empty((n, channels, len(edges) - 1))
    step = max(1, CHUNK // (channels * length))
    for i in range(0, n, step):
        spectrum = np.square(np.abs(np.fft.rfft(stored[i : i + step], axis=2))) / length
        power[i : i + step] = np.add.reduceat(spectrum, edges[:-1], axis=2) / np.diff(edges)
    return np.log(power + 1e-6).reshape(n, -1)
