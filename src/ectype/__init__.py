"""Deep generative models on your own data, measured against each other, and put to work.

>>> import ectype
>>> model = ectype.VAE(latent_dim=8, train=ectype.Train(budget="60s"), random_state=0).fit(X)   # doctest: +SKIP
>>> model.sample(5)                                                                             # doctest: +SKIP

Names are imported when they are first used, so that ``import ectype`` is quick and does not import torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {"Autoencoder": "models.autoencoder", "LinearAutoencoder": "models.linear", "StackedAutoencoder": "models.stacked",
          "DenoisingAutoencoder": "models.denoising", "ConvAutoencoder": "models.conv", "VAE": "models.vae", "GAN": "models.gan",
          "Flow": "models.flow", "DDPM": "models.diffusion", "FlowMatching": "models.flow_matching",
          "Shortcut": "models.shortcut", "TruncatedDiffusion": "models.truncated",
          "Train": "spec", "Net": "spec", "Corruption": "spec", "load": "estimator", "compare": "comparison",
          "impute": "uses.imputation", "interpolate": "uses.paths", "traverse": "uses.paths",
          "NoveltyDetector": "uses.novelty", "PretrainedClassifier": "uses.classifier",
          "Schema": "data.schema"}

__version__ = "0.1.0"
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
