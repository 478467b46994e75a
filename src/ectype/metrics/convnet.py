"""A small convolutional network, trained here in a second or two: the judge of a C2ST and the features of a Fréchet distance.

Its weights, and the order in which it sees the images, come from a generator of its own; torch's global one is not touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from ..rng import generator

WIDTHS = (16, 32, 64)
FEATURES = 64
BATCH = 64


class ConvNet(nn.Module):
    """Three convolutions, mean pooling to at most 2 × 2, a hidden layer of ``FEATURES`` units, class logits.

    Takes stored images, uint8 ``(N, C, H, W)`` of any size down to 1 × 1. The first convolution strides so that at most 16 pixels a
    side are left, with a kernel that leaves no pixel unseen. ``offset`` and ``scale`` standardise the pixels, channel by channel.
    """

    def __init__(self, shape: tuple[int, int, int], n_classes: int, offset: Tensor, scale: Tensor, rng: torch.Generator):
        super().__init__()
        channels, height, width = shape
        blank = {"device": "meta", "dtype": torch.float32}      # torch's own generator is not asked for weights
        stem = math.ceil(max(height, width) / 16)
        kernel = max(3, stem + (stem + 1) % 2)
        self.register_buffer("offset", offset)
        self.register_buffer("scale", scale)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(c_in, c_out, k, stride=s, padding=k // 2, **blank)
            for c_in, c_out, k, s in zip((channels, *WIDTHS), WIDTHS, (kernel, 3, 3), (stem, 2, 2), strict=False))
        height, width = ((side - 1) // (stem * 4) + 1 for side in (height, width))
        self.pool = (min(2, height), min(2, width))
        self.hidden = nn.Linear(WIDTHS[-1] * math.prod(self.pool), FEATURES, **blank)
        self.head = nn.Linear(FEATURES, n_classes, **blank)
        for layer in (*self.convolutions, self.hidden, self.head):
            layer.to_empty(device="cpu")
        with torch.no_grad():
            for layer in (*self.convolutions, self.hidden):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=rng)
                nn.init.zeros_(layer.bias)
            nn.init.zeros_(self.head.weight)        # the first guess is an even one
            nn.init.zeros_(self.head.bias)
        self.to(memory_format=torch.channels_last)

    def features(self, images: Tensor) -> Tensor:
        """The hidden layer before its rectifier, ``(N, FEATURES)``."""
        h = ((images.float() - self.offset) / self.scale).contiguous(memory_format=torch.channels_last)
        for convolution in self.convolutions:
            h = convolution(h).relu_()
        h = h if h.shape[2:] == self.pool else adaptive_avg_pool2d(h, self.pool)
        return self.hidden(h.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, ``(N, n_classes)``."""
        return self.head(self.features(images).relu())


def one_cycle(step: int, steps: int, top: float = 3e-3) -> dict[str, Any]:
    """Rate and momentum of AdamW at a step of so many: the rate rises from ``top``/25 for three tenths of them and falls to nearly nothing,
    in cosines, the momentum the other way round, 0.95 to 0.85. As ``torch.optim.lr_scheduler.OneCycleLR``, which takes longer.

    Reference: Smith & Topin 2019, Super-convergence: very fast training of neural networks using large learning rates.
    """
    peak = 0.3 * steps - 1
    share, ends = (step / peak, (top / 25, top, 0.95, 0.85)) if step <= peak else \
        ((step - peak) / (steps - 1 - peak), (top, top / 25e4, 0.85, 0.95))
    bent = (1 + math.cos(math.pi * share)) / 2
    rate, momentum = (end + (start - end) * bent for start, end in (ends[:2], ends[2:]))
    return {"lr": rate, "betas": (momentum, 0.999)}


def train_classifier(images: np.ndarray, classes: np.ndarray, steps: int, *path: object, batch: int = BATCH) -> ConvNet:
    """A `ConvNet` that tells classes ``0 … K−1`` of stored images apart, after ``steps`` batches; ``path`` is its random stream."""
    rng = generator(*path)
    x, y = torch.from_numpy(images), torch.from_numpy(classes).long()
    sample = x[:2000].float()
    offset = sample.mean((0, 2, 3), keepdim=True)
    scale = (sample - offset).square().mean((0, 2, 3), keepdim=True).sqrt().clamp_min(1e-3)
    net = ConvNet(tuple(x.shape[1:]), int(y.max()) + 1, offset, scale, rng)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-2, fused=True)
    batch = min(batch, len(x))
    epochs = [torch.randperm(len(x), generator=rng) for _ in range(math.ceil(steps * batch / len(x)))]
    with torch.enable_grad():
        for step, rows in enumerate(torch.cat(epochs)[: steps * batch].view(steps, batch)):
            optimizer.zero_grad()
            cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.param_groups[0] |= one_cycle(step, steps + 1)
            optimizer.step()
    return net.requires_grad_(False)


def in_batches(f: Callable[[Tensor], Tensor], images: np.ndarray, batch: int = 512) -> np.ndarray:
    """``f`` of stored images, a batch at a time, as a NumPy array."""
    with torch.no_grad():
        return np.concatenate([f(torch.from_numpy(images[i : i + batch])).numpy() for i in range(0, len(images), batch)])


class ConvFeatures:
    """``FEATURES`` features of a `ConvNet` trained on the training images, to name their labels or to say how they were turned.

    Without labels each image is shown in four positions, rotated by quarters of a turn where it is square, flipped along either and
    both axes where it is not, and the network learns which; what it needs for that (strokes, parts, their arrangement) is what a
    picture is made of.

    Reference: Gidaris et al. 2018, Unsupervised representation learning by predicting image rotations.
    """

    STEPS = 400
    EPOCHS = 8          # at most: with more, small training parts are learnt by heart, and their copies look unlike fresh images
    IMAGES = 10_000     # of the training part at most

    def __init__(self, train: np.ndarray, labels: np.ndarray | None, seed: int = 0):
        named = labels is not None and len(np.unique(labels)) > 1
        order = torch.randperm(len(train), generator=generator(seed, "feature images")).numpy()
        keep = order[: self.IMAGES if named else self.IMAGES // 4]
        if named:
            images, classes = train[keep], np.unique(labels, return_inverse=True)[1][keep]
            self.task = f"to tell the {classes.max() + 1} labels apart"
        else:
            images, classes = turned(train[keep])
            self.task = "to say how an image was turned"
        steps = min(self.STEPS, max(1, self.EPOCHS * len(images) // BATCH))
        self.net = train_classifier(images, classes, steps, seed, "features")
        self.dims = FEATURES

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        return in_batches(self.net.features, stored)


def turned(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The images in four positions, ``(4N, C, H, W)``, and which position it is, ``(4N,)``."""
    if images.shape[2] == images.shape[3]:
        positions = [np.rot90(images, k, (2, 3)) for k in range(4)]
    else:
        positions = [images, images[:, :, ::-1], images[:, :, :, ::-1], images[:, :, ::-1, ::-1]]
    return np.concatenate(positions), np.repeat(np.arange(4), len(images))
