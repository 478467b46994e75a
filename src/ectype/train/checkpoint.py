"""Checkpoints: everything that the next step depends on, in two files without code, replaced as one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..errors import SavedModelError

if TYPE_CHECKING:
    from .loop import Loop

NAME = "checkpoint"


def save_checkpoint(folder: Path, fingerprint: str, loop: Loop, finished: Sequence[Mapping[str, Any]]) -> None:
    """Write ``folder/checkpoint/``; an interrupted write leaves the previous one in place. ``finished`` are the stages before this one."""
    new, final = folder / f"{NAME}.new", folder / NAME
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    kept, sums = loop.take_snapshot(), loop.sums
    if not all(torch.isfinite(w).all() for w in kept["weights"]):   # go on from the last look at finite numbers, and meet the same again
        kept, sums = loop.snapshot, {}
    tensors = {f"weights.{i}": w for i, w in enumerate(kept["weights"])}
    tensors |= {f"average.{i}": v for i, v in enumerate(kept["average"])}
    tensors |= {f"best.{i}": v for i, v in enumerate(loop.best_values)}
    tensors |= {f"sums.{name}": v for name, v in sums.items()}
    tensors |= {f"buffer.{name}": v for name, v in kept["buffers"].items()}
    if finished:
        tensors |= {f"objective.{k}": v for k, v in loop.objective.state_dict().items()}
    for player, optimiser in kept["optimisers"].items():
        for i, state in optimiser["state"].items():
            tensors |= {f"optimiser.{player}.{i}.{k}": v for k, v in state.items()}
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, new / "state.safetensors")
    described = {"fingerprint": fingerprint, "seed": loop.seed, "state": asdict(kept["state"]), "finished": list(finished)}
    (new / "state.json").write_text(json.dumps(described))
    shutil.rmtree(final, ignore_errors=True)
    os.replace(new, final)


def unfinished_seed(folder: Path) -> int | None:
    """The seed of an unfinished run, for a model that was given none; None where there is no such run, or it cannot be read."""
    try:
        return int(json.loads((folder / NAME / "state.json").read_text())["seed"])
    except (OSError, ValueError, KeyError):
        return None             # load_checkpoint says what is wrong


@dataclass(frozen=True)
class Checkpoint:
    """An unfinished run, as it was left: the stages that were finished, the state of the next one, and all tensors."""

    finished: list[dict[str, Any]]
    state: dict[str, Any]
    tensors: dict[str, torch.Tensor]

    @torch.no_grad()
    def restore_objective(self, objective: torch.nn.Module) -> None:
        """The weights that the finished stages left."""
        if self.finished:
            objective.load_state_dict({k.removeprefix("objective."): v for k, v in self.tensors.items() if k.startswith("objective.")})

    @torch.no_grad()
    def restore_loop(self, loop: Loop) -> None:
        """The weights, averages and optimisers of the stage that was under way."""
        loop.state.__dict__.update(self.state)
        for i, p in enumerate(loop.average.weights):
            p.copy_(self.tensors[f"weights.{i}"])
            loop.average.values[i].copy_(self.tensors[f"average.{i}"])
            loop.best_values[i].copy_(self.tensors[f"best.{i}"])
        for name, buffer in loop.buffers().items():
            buffer.copy_(self.tensors[f"buffer.{name}"])
        loop.sums = {k.removeprefix("sums."): v for k, v in self.tensors.items() if k.startswith("sums.")}
        for player, optimiser in loop.optimisers.items():
            state: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in self.tensors.items():
                kind, _, rest = key.partition(".")
                if kind == "optimiser" and rest.startswith(f"{player}."):
                    i, _, name = rest.removeprefix(f"{player}.").partition(".")
                    weight = loop.parameters[player][int(i)]
                    if value.shape == weight.shape:     # a moment in the memory format of its weight, or sums differ in the last bit
                        value = torch.empty_like(weight).copy_(value)
                    state.setdefault(int(i), {})[name] = value
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def read_checkpoint(folder: Path, fingerprint: str, device: torch.device) -> Checkpoint | None:
    """The unfinished run in a folder; None if there is none. Raises :class:`SavedModelError` where it is damaged or of another run."""
    final = folder / NAME if (folder / NAME).exists() else folder / f"{NAME}.new"
    if not (final / "state.json").exists():
        return None
    try:
        saved = json.loads((final / "state.json").read_text())
        tensors = load_file(final / "state.safetensors", device=str(device))
        saved["fingerprint"], saved["state"], saved["finished"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise SavedModelError(f"the checkpoint in {folder} cannot be read ({error})", hint=f"delete {final} to start again") from error
    if saved["fingerprint"] != fingerprint:
        raise SavedModelError(f"{folder} holds an unfinished run of another model, data or settings",
                              hint=f"repeat the command that began it, choose another folder, or delete {final}")
    return Checkpoint(saved["finished"], saved["state"], tensors)


def remove_checkpoint(folder: Path) -> None:
    """Forget an unfinished run, once it is finished and saved."""
    shutil.rmtree(folder / NAME, ignore_errors=True)
    shutil.rmtree(folder / f"{NAME}.new", ignore_errors=True)
