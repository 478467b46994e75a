"""Files of a comparison's folder: JSON without NaN, arrays, texts that are there whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataFileError


def to_json(content: Any) -> str:
    """JSON without NaN and infinities, which JSON does not have: they become null."""
    def plain(v: Any) -> Any:
        if isinstance(v, Mapping):
            return {str(k): plain(i) for k, i in v.items()}
        if isinstance(v, (list, tuple)):
            return [plain(i) for i in v]
        v = v.item() if isinstance(v, np.generic) else v
        return None if isinstance(v, float) and not math.isfinite(v) else v

    return json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False, default=str)


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write an NPZ file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **arrays)
    except OSError as error:
        raise DataFileError(f"cannot write {path}", got=error.strerror or str(error), hint="free some disk space") from error


def write_text(path: Path, text: str) -> None:
    """Write through a neighbour, so that a reader never meets half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + ".new")
        new.write_text(text, encoding="utf-8")
        os.replace(new, path)
    except OSError as error:
        raise DataFileError(f"cannot write {path}", got=error.strerror or str(error), hint="free some disk space") from error
