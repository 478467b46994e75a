"""The folder of a comparison over several runs: who writes it now, and whether what is in it belongs to what is asked for.

The *terms* of a fit are what must be the same for its outcome to be the same: the rows and how they are read and split, the budget,
the versions. The same command finds its own terms and goes on where it stopped; more seeds or more families may be asked for. Other
terms would make one table of two comparisons, or lose the first, and are refused with the flag that differs.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import __version__
from ..data.sources import Dataset
from ..errors import DataFileError
from ..spec import Train

FLAGS = {"data": "the data", "label": "--label", "kinds": "--kind", "drop": "--drop", "size": "--size", "inception": "--inception",
         "seed": "--seed", "budget": "--budget", "ectype": "the version of ectype", "torch": "the version of torch"}
START_OVER = "choose another folder with --out, or delete {} to start over"


def terms_of(dataset: Dataset, settings: Mapping[str, Any], train: Train | None) -> dict[str, Any]:
    """The terms of one fit (or dummy: ``train`` is ``None``), as they are after a round trip through JSON."""
    return json.loads(json.dumps({
        "data": dataset.fingerprint, **{k: settings[k] for k in ("label", "kinds", "drop", "size", "inception")},
        "seed": settings["seeds"][0], "budget": train and train.budget, "ectype": __version__,
        "torch": importlib.metadata.version("torch")}, default=str))


def check_terms(directory: Path, wanted: Mapping[tuple[str, int], Mapping[str, Any]]) -> None:
    """Raise :class:`DataFileError` if the folder holds fits on other terms than those that are wanted for them.

    ``wanted`` are the terms of each (name, seed). Fits of families or seeds that are not asked for are refused too: the table would
    lose them. What cannot be read counts as not there.
    """
    found = {}
    for path in sorted((directory / "fits").glob("*.json")):
        try:
            fit = json.loads(path.read_text(encoding="utf-8"))
            found[fit["name"], fit["seed"]] = fit["terms"]
        except (OSError, ValueError, TypeError, KeyError):
            continue
    if not found and (directory / "results.json").exists():
        raise DataFileError(f"{directory} holds a comparison that cannot be continued", expected="its fits/ beside results.json",
                            got="no fits", hint=START_OVER.format(directory))
    some = next(iter(wanted.values()))
    for (name, seed), terms in found.items():
        other = wanted.get((name, seed), some | {"budget": terms["budget"]})
        for key, flag in FLAGS.items():
            if terms.get(key) != other[key]:
                raise DataFileError(f"{directory} holds a comparison with other settings: {flag} differs",
                                    expected=_word(terms.get(key)) + ", as there", got=_word(other[key]), hint=START_OVER.format(directory))
    for what, flag, there, asked in (("families", "--models", {n for n, _ in found}, {n for n, _ in wanted}),
                                     ("seeds", "--seeds", {s for _, s in found}, {s for _, s in wanted})):
        if there - asked:
            raise DataFileError(f"{directory} holds more {what} than are asked for: {flag} differs",
                                expected=f"{what} {', '.join(map(str, sorted(there)))} among them",
                                got=f"{what} {', '.join(map(str, sorted(asked)))}",
                                hint=START_OVER.format(directory))


def _word(value: Any) -> str:
    """A term in few letters: a fingerprint is cut, an absence is ``none``."""
    text = "none" if value in (None, [], {}, "") else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


@contextmanager
def sole_writer(directory: Path) -> Iterator[None]:
    """Keep another process from writing the folder meanwhile.

    Raises :class:`DataFileError` where a living process has it, or where the folder cannot be written.
    """
    busy = directory / "fits" / "busy"
    mine = f"{os.getpid()} {platform.node()}"
    try:
        busy.parent.mkdir(parents=True, exist_ok=True)
        holder = busy.read_text() if busy.exists() else ""
        if holder and holder != mine and _lives(holder):
            raise DataFileError(f"another run is writing into {directory}", expected="one at a time", got=f"process {holder.split()[0]}",
                                hint=f"wait for it, or choose another folder with --out; if no such process runs, delete {busy}")
        busy.write_text(mine)
    except OSError as error:
        raise DataFileError(f"cannot write into {directory}", expected="a folder that can be written", got=error.strerror or str(error),
                            hint="choose another one with out= (--out)") from error
    try:
        yield
    finally:
        busy.unlink(missing_ok=True)


def _lives(holder: str) -> bool:
    """Whether the process that a lock names still runs; one on another machine is taken to."""
    pid, _, node = holder.partition(" ")
    if node != platform.node() or not pid.isdigit():
        return node != platform.node()
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
