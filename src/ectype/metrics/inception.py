"""Features of the Inception network in which FID and KID are published, through torch-fidelity, from weights that the user has.

.. math:: FID = d²(N(μ_1, C_1), N(μ_2, C_2)), \\qquad KID = MMD² with k(x, y) = (⟨x, y⟩ / 2048 + 1)³

of 2,048 features of each image, brought to 299 × 299 RGB as the reference implementation does. Nothing is downloaded. The figures compare
with published ones only where as many images, 50,000 mostly, stand on each side: of few rows the FID is too large.

References: Heusel et al. 2017, GANs trained by a two time-scale update rule; Bińkowski et al. 2018, Demystifying MMD GANs; Szegedy et al.
2016, Rethinking the Inception architecture; Obukhov et al. 2020, High-fidelity performance metrics for generative models in PyTorch.
"""

from __future__ import annotations

import os
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..data.schema import Schema
from ..errors import DataError, DataFileError, MissingExtraError

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
SOURCE = "https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0"
DIMS = 2048
BATCH = 32


class InceptionFeatures:
    """``DIMS`` features of stored images of one or three channels, float32 ``(N, DIMS)``.

    ``weights`` is the file that torch-fidelity publishes; its ``fingerprint`` is part of what a comparison is. The network itself is not
    kept here: each process reads it once.

    Raises :class:`MissingExtraError` without torch-fidelity, :class:`DataFileError` for a file that is not there or holds something else,
    and :class:`DataError` for data that are no images of one or three channels.
    """

    dims = DIMS

    def __init__(self, weights: str | os.PathLike, schema: Schema):
        self.path = Path(weights).expanduser().resolve()
        if not schema.is_image or schema.blocks[0].channels not in (1, 3):
            what = f"images of {schema.blocks[0].channels} channels" if schema.is_image else "a table" if schema.is_table else "signals"
            raise DataError("Inception features are of images", expected="images of one or three channels", got=what)
        if not self.path.is_file():
            raise DataFileError("the weights of the Inception network are not there", expected=f"the file {WEIGHTS}", got=str(self.path),
                                hint=f"download it from {SOURCE}")
        _read(self.path)        # now, before any work
        self.top = schema.blocks[0].levels - 1
        self.fingerprint = sha256(self.path.read_bytes()).hexdigest()

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        return np.concatenate([self._features(stored[i : i + BATCH]) for i in range(0, len(stored), BATCH)])

    @torch.no_grad()
    def _features(self, stored: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(stored).float() * (255 / self.top)
        (found,) = _read(self.path)(images.round().to(torch.uint8).expand(-1, 3, -1, -1))
        return found.numpy()


@lru_cache(maxsize=1)
def _read(path: Path) -> nn.Module:
    """The network with the weights of a file that runs no code."""
    try:
        from torch_fidelity import FeatureExtractorInceptionV3
    except (ImportError, RuntimeError) as error:        # torchvision, which it imports, raises RuntimeError beside a torch of another build
        raise MissingExtraError("torch-fidelity beside a torchvision that fits torch", "inception", "FID") from error
    try:
        known = torch.load(path, map_location="cpu", weights_only=True)     # torch-fidelity's own reading would run what a file says
        if not isinstance(known, dict) or not all(isinstance(v, Tensor) for v in known.values()):
            raise ValueError("it holds no tensors")
        return FeatureExtractorInceptionV3("inception-v3-compat", [str(DIMS)], feature_extractor_weights_path=str(path))
    except Exception as error:          # a file can be anything
        raise DataFileError("these are not the weights of the Inception network", expected=f"the file {WEIGHTS}", got=str(path),
                            hint=f"{type(error).__name__} while reading it; the file is published at {SOURCE}") from error
