"""Checkpoints: everything that the next step depends on, in two files without code, replaced as one."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..errors import SavedModelError

if TYPE_CHECKING:
    from .loop import Loop

NAME = "checkpoint"


def save_checkpoint(folder: Path, fingerprint: str, loop: Loop) -> None:
    """Write ``folder/checkpoint/``; an interrupted write leaves the previous one in place."""
    new, final = folder / f"{NAME}.new", folder / NAME
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    tensors = {f"weights.{i}": p.detach() for i, p in enumerate(loop.average.weights)}
    tensors |= {f"average.{i}": v for i, v in enumerate(loop.average.values)}
    tensors |= {f"best.{i}": v for i, v in enumerate(loop.best_values)}
    tensors |= {f"sums.{name}": v for name, v in loop.sums.items()}
    for player, optimiser in loop.optimisers.items():
        for i, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{player}.{i}.{k}": v for k, v in state.items()}
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, new / "state.safetensors")
    (new / "state.json").write_text(json.dumps({"fingerprint": fingerprint, "seed": loop.seed, "state": asdict(loop.state)}))
    shutil.rmtree(final, ignore_errors=True)
    os.replace(new, final)


def unfinished_seed(folder: Path) -> int | None:
    """The seed of an unfinished run, for a model that was given none; None where there is no such run, or it cannot be read."""
    try:
        return int(json.loads((folder / NAME / "state.json").read_text())["seed"])
    except (OSError, ValueError, KeyError):
        return None             # load_checkpoint says what is wrong


def load_checkpoint(folder: Path, fingerprint: str, loop: Loop) -> bool:
    """Put an unfinished run back where it was; false if there is none."""
    final = folder / NAME if (folder / NAME).exists() else folder / f"{NAME}.new"
    if not (final / "state.json").exists():
        return False
    try:
        saved = json.loads((final / "state.json").read_text())
        tensors = load_file(final / "state.safetensors", device=str(loop.device))
    except (OSError, ValueError, SafetensorError) as error:
        raise SavedModelError(f"the checkpoint in {folder} cannot be read ({error})", hint=f"delete {final} to start again") from error
    if saved["fingerprint"] != fingerprint:
        raise SavedModelError(f"{folder} holds an unfinished run of another model, data or settings",
                              hint=f"repeat the command that began it, choose another folder, or delete {final}")
    loop.state.__dict__.update(saved["state"])
    with torch.no_grad():
        for i, p in enumerate(loop.average.weights):
            p.copy_(tensors[f"weights.{i}"])
            loop.average.values[i].copy_(tensors[f"average.{i}"])
            loop.best_values[i].copy_(tensors[f"best.{i}"])
    loop.sums = {k.removeprefix("sums."): v for k, v in tensors.items() if k.startswith("sums.")}
    for player, optimiser in loop.optimisers.items():
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            kind, _, rest = key.partition(".")
            if kind == "optimiser" and rest.startswith(f"{player}."):
                i, _, name = rest.removeprefix(f"{player}.").partition(".")
                weight = loop.parameters[player][int(i)]
                if value.shape == weight.shape:     # a moment in the memory format of its weight, or sums differ in the last bit
                    value = torch.empty_like(weight).copy_(value)
                state.setdefault(int(i), {})[name] = value
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return True


def remove_checkpoint(folder: Path) -> None:
    """Forget an unfinished run, once it is finished and saved."""
    shutil.rmtree(folder / NAME, ignore_errors=True)
    shutil.rmtree(folder / f"{NAME}.new", ignore_errors=True)
