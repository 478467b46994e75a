"""The folder of a comparison, as far as it is there: a page is drawn from what is left of it, and says what is gone.

Without ``results.json`` there is nothing to draw. Any other file may be missing or damaged: its place on the page stays empty, and
:attr:`Folder.missing` names it.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataFileError

SCHEMA_VERSIONS = (1, 2)        # of results.json
MARKS = ("quality", "speed", "coverage")
KINDS = {       # rows of the known table
    "gan": "GAN", "ddpm": "Diffusion", "vae": "VAE", "flow": "Normalizing flow", "truncated": "Few-step model"}


class Folder:
    """``results.json`` as version 2 has it, and the files beside it."""

    def __init__(self, directory: Path):
        self.directory, self.missing = directory, []
        self.results = read_results(directory)
        self.data: Mapping[str, Any] = self.results["data"]
        self._real: Any = None

    @property
    def real(self) -> Any:
        """The test rows, None where they are gone."""
        if self._real is None and "samples/real" not in self.missing:
            self._real = self.samples("real")
        return self._real

    def samples(self, name: str) -> Any:
        """Images ``(N, H, W[, C])``, signals ``(N, L[, C])``, or a DataFrame in which categories are text; None where they are gone."""
        if self.data["kind"] != "table":
            arrays = self.arrays("samples", name, ("x",), required=True)
            return None if arrays is None else arrays["x"]
        try:
            return pd.read_csv(self.directory / "samples" / f"{name}.csv",
                               dtype={c["name"]: str for c in self.data["schema"] if "categories" in c})
        except (OSError, ValueError):
            return self._gone(f"samples/{name}.csv")

    def arrays(self, room: str, name: str, keys: Collection[str] = (), *, required: bool = False) -> dict[str, np.ndarray] | None:
        """The arrays of ``ROOM/NAME.npz``, with ``keys`` among them; None where the file is gone, which is a loss only if it is
        ``required`` or damaged."""
        path = self.directory / room / f"{name}.npz"
        if not path.exists() and not required:
            return None
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:      # opened here: NumPy leaks what it cannot read
                return {key: file[key] for key in (*keys, *file.files)}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return self._gone(f"{room}/{name}.npz")

    def json(self, room: str, name: str, keys: Collection[str] = (), *, required: bool = False) -> Any:
        """The content of ``ROOM/NAME.json``, an object with ``keys`` if there are any; None where it is gone."""
        path = self.directory / room / f"{name}.json"
        if not path.exists() and not required:
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return self._gone(f"{room}/{name}.json")
        if keys and not (isinstance(content, dict) and set(keys) <= set(content)):
            return self._gone(f"{room}/{name}.json")
        return content

    def _gone(self, path: str) -> None:
        if path not in self.missing:
            self.missing.append(path)


def read_results(directory: Path) -> dict[str, Any]:
    """``results.json`` of a folder; an older format is brought to the newest one, with ``null`` for what it did not know."""
    path = directory / "results.json"
    what = {"expected": "a folder that `ectype compare` wrote", "hint": "run `ectype compare DATA --out DIR` first"}
    if not directory.is_dir():
        raise DataFileError(f"there is no folder {directory}", **what)
    if not path.exists():
        raise DataFileError(f"{directory} holds no results.json", **what)
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        version = results["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFileError(f"cannot read {path}", expected="the results of a comparison", got=str(error) or type(error).__name__,
                            hint="run `ectype compare` into this folder again") from error
    if version not in SCHEMA_VERSIONS:
        raise DataFileError(f"{path} has another format", expected=f"schema_version {' or '.join(map(str, SCHEMA_VERSIONS))}", got=version,
                            hint="draw it with the version of ectype that wrote it, or run the comparison again")
    return results if version == SCHEMA_VERSIONS[-1] else _from_version_1(results)


def _from_version_1(results: dict[str, Any]) -> dict[str, Any]:
    """Marks as words, no intervals, and the known table read off the marks."""
    marks = {name: {k: mark_word(v) if k in MARKS else v for k, v in m.items()}
             for name, m in results["marks"].items()}
    pick = results["pick"]
    candidates = [pick["name"]] if pick["name"] is not None else []
    table = [{"kind": kind, "name": name, **dict(zip(("high_quality", "fast_sampling", "mode_coverage"),
                                                     (marks.get(name, {}).get(m) for m in MARKS), strict=True))}
             for name, kind in KINDS.items() if name in results["models"]]
    return results | {"marks": marks, "floor_intervals": {}, "known_table": table,
                      "pick": pick | {"decided": pick["name"] is not None, "candidates": candidates, "try_budget": None}}


def mark_word(mark: Any) -> str | None:
    """``"yes"``, ``"no"``, ``"uncertain"`` or None, of a mark of any version."""
    return {True: "yes", False: "no"}.get(mark, mark) if isinstance(mark, bool) else mark


def interval(figure: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """``low`` and ``high`` of a figure or a score, None where it has none."""
    low, high = (figure or {}).get("low"), (figure or {}).get("high")
    return None if low is None or high is None else (low, high)
