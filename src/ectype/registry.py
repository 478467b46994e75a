"""The families, by name. Reading this table imports no family, and so no torch.

A new family is one file in ``models/`` and one line here; its commands, documentation row, saved form and contract tests follow.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from .errors import UnknownNameError


@dataclass(frozen=True)
class Entry:
    """One family: where it lives, and the paper that it comes from. ``compared``: `ectype compare` takes it unless told otherwise;
    ``aliases``: what else it is called."""

    name: str
    target: str
    title: str
    paper: str
    compared: bool = True
    aliases: tuple[str, ...] = ()


FAMILIES = {e.name: e for e in (
    Entry("autoencoder", "ectype.models.autoencoder:Autoencoder", "Undercomplete autoencoder", "Hinton & Salakhutdinov 2006"),
    Entry("linear", "ectype.models.linear:LinearAutoencoder", "Linear autoencoder (principal components)", "Bourlard & Kamp 1988", False),
    Entry("stacked", "ectype.models.stacked:StackedAutoencoder", "Stacked autoencoder, greedy and tied", "Bengio et al. 2007", False),
    Entry("denoising", "ectype.models.denoising:DenoisingAutoencoder", "Denoising autoencoder", "Vincent et al. 2010", False),
    Entry("conv", "ectype.models.conv:ConvAutoencoder", "Convolutional autoencoder", "Masci et al. 2011", False),
    Entry("vae", "ectype.models.vae:VAE", "Variational autoencoder", "Kingma & Welling 2014"),
    Entry("gan", "ectype.models.gan:GAN", "Generative adversarial network", "Goodfellow et al. 2014"),
    Entry("flow", "ectype.models.flow:Flow", "Normalizing flow", "Durkan et al. 2019"),
    Entry("ddpm", "ectype.models.diffusion:DDPM", "Denoising diffusion model", "Ho et al. 2020"),
    Entry("flow_matching", "ectype.models.flow_matching:FlowMatching", "Flow matching", "Lipman et al. 2023", False),
    Entry("shortcut", "ectype.models.shortcut:Shortcut", "Shortcut model: one to four steps", "Frans et al. 2025", False),
    Entry("truncated", "ectype.models.truncated:TruncatedDiffusion", "Truncated diffusion: one to four steps", "Zheng et al. 2023",
          aliases=("fewstep",)),
)}


ALIASES = {alias: e.name for e in FAMILIES.values() for alias in e.aliases}


def names() -> list[str]:
    """Names of the families, in the order of the lecture: from the autoencoder to diffusion."""
    return list(FAMILIES)


def compared() -> list[str]:
    """Those that `ectype compare` takes unless told otherwise: one of each kind."""
    return [e.name for e in FAMILIES.values() if e.compared]


def entry(name: str) -> Entry:
    """The table's line for a family, by its name or its alias; near misses are named in the error."""
    name = ALIASES.get(name, name)
    if name not in FAMILIES:
        raise UnknownNameError("model", name, [*FAMILIES, *ALIASES])
    return FAMILIES[name]


def load(name: str) -> type:
    """The estimator class of a family."""
    module, _, cls = entry(name).target.partition(":")
    return getattr(importlib.import_module(module), cls)
