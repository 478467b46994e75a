"""The folder of a saved model: ``model.safetensors`` holds the numbers, ``model.json`` everything else. Nothing in it executes.

``model.json`` names the format, what is saved (``kind``), the versions that wrote it, and the SHA-256 of the weights, so that two halves
that do not belong together are found. Both are replaced together: they are written beside the old ones first, and :func:`read` finishes
a replacement that was cut between its two renames.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from .errors import SavedModelError
from .spec import Corruption, Net, Spec, Train

FORMAT = 9                  # of model.json; a reader refuses a higher one
MODEL, WEIGHTS, NEW = "model.json", "model.safetensors", "model.new"
DETECTOR, MEMORY = "detector.json", "memory.safetensors"        # beside a model that a novelty detector uses
READERS = {"model": "ectype.load", "classifier": "ectype.PretrainedClassifier.load"}      # who reads which kind
SPECS = {"Train": Train, "Net": Net, "Corruption": Corruption}


def write(path: str | os.PathLike, kind: str, module: torch.nn.Module, described: Mapping[str, Any]) -> Path:
    """Write the numbers of ``module`` and its description to the folder ``path``; a model that is there is replaced as one, and a
    detector that was calibrated for it goes."""
    folder = Path(path)
    new = folder / NEW
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in module.state_dict().items()}, new / WEIGHTS)
    content = {"format": FORMAT, "kind": kind, "ectype": importlib.metadata.version("ectype"), "torch": torch.__version__, **described,
               "weights_sha256": _digest(new / WEIGHTS)}
    (new / MODEL).write_text(json.dumps(finite(content), indent=1))
    shutil.copymode(new / MODEL, new / WEIGHTS)
    for name in (DETECTOR, MEMORY):
        (folder / name).unlink(missing_ok=True)
    for name in (WEIGHTS, MODEL):
        os.replace(new / name, folder / name)
    new.rmdir()
    return folder


def read(path: str | os.PathLike, kind: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The description and the numbers that :func:`write` wrote.

    Raises :class:`SavedModelError` where the folder is incomplete, damaged, of another kind, or of a newer format.
    """
    folder = Path(path)
    for name in (MODEL, WEIGHTS):
        if not (folder / name).is_file() and not (folder / NEW / name).is_file():
            what = "is not a folder" if not folder.is_dir() else f"has no {name}"
            unfinished = (folder / "checkpoint").exists()
            raise SavedModelError(f"{folder} {what}", expected="a folder written by save() or `ectype fit`",
                                  hint="an unfinished run goes on when its command is repeated" if unfinished else None)
    digest = _digest(folder / WEIGHTS) if (folder / WEIGHTS).is_file() else None
    if (folder / NEW / MODEL).is_file() and _read_json(folder / NEW / MODEL).get("weights_sha256") == digest:
        os.replace(folder / NEW / MODEL, folder / MODEL)            # cut between the two renames of write()
    d = _read_json(folder / MODEL)
    if not isinstance(d.get("format"), int):
        raise SavedModelError(f"{folder / MODEL} is damaged (no format)", hint="restore the file from a copy, or fit again")
    if d["format"] > FORMAT:
        raise SavedModelError(f"{folder} was written by a newer version", expected=f"format {FORMAT} or older", got=d["format"],
                              hint=f"pip install -U 'ectype>={d.get('ectype')}'")
    if d["format"] < FORMAT:
        raise SavedModelError(f"{folder} was written by an older version", expected=f"format {FORMAT}", got=d["format"], hint="fit again")
    if d.get("kind") != kind:
        reader = READERS.get(str(d.get("kind")))
        raise SavedModelError(f"{folder} holds no {kind}", expected=kind, got=str(d.get("kind")),
                              hint=f"{reader} reads it" if reader else None)
    if digest != d.get("weights_sha256"):
        raise SavedModelError(f"{folder / WEIGHTS} is truncated or was changed", expected=f"sha256 {str(d.get('weights_sha256'))[:12]}…",
                              got=f"{str(digest)[:12]}…", hint="restore the file from a copy, or fit again")
    try:
        return d, load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise SavedModelError(f"{folder / WEIGHTS} is damaged ({error})", hint="restore it from a copy, or fit again") from error


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise SavedModelError(f"{file} is damaged ({error})", hint="restore the file from a copy, or fit again") from error
    if not isinstance(content, dict):
        raise SavedModelError(f"{file} is damaged (no object)", hint="restore the file from a copy, or fit again")
    return content


def to_json(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of an estimator as JSON, a path as text; a generator as random state, which has no text, becomes null."""
    def plain(v: Any) -> Any:
        if isinstance(v, Spec):
            return {"spec": type(v).__name__, **asdict(v)}
        if isinstance(v, np.random.RandomState | np.random.Generator):
            return None
        if isinstance(v, os.PathLike):
            return os.fspath(v)
        return v.item() if isinstance(v, np.generic) else v

    return {k: plain(v) for k, v in params.items()}


def from_json(params: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`to_json`."""
    def rich(v: Any) -> Any:
        if isinstance(v, dict) and "spec" in v:
            return SPECS[v["spec"]](**tuples({k: s for k, s in v.items() if k != "spec"}))
        return tuple(v) if isinstance(v, list) else v

    return {k: rich(v) for k, v in params.items()}


def tuples(d: Mapping[str, Any]) -> dict[str, Any]:
    """Lists, which is how JSON has tuples, as tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in d.items()}


def finite(v: Any) -> Any:
    """JSON has no NaN and no infinity: both become null."""
    if isinstance(v, dict):
        return {k: finite(i) for k, i in v.items()}
    if isinstance(v, (list, tuple)):
        return [finite(i) for i in v]
    return None if isinstance(v, float) and not np.isfinite(v) else v
