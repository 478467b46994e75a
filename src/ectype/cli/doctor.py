"""``ectype doctor``: whether the metrics measure what they say, on generators that are bad in a known way. The table is data."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.table import Table
from tyro.conf import arg

from ..calibration import examine, holds
from ..calibration.table import LEGEND, as_dict, as_markdown, table, verdict
from ..calibration.targets import TARGETS
from ..errors import DataFileError, InvalidParameterError, UnknownNameError
from .flags import Common, optional, parse
from .terminal import Terminal

FORMATS = (".json", ".md")
PIPE_WIDTH = 200        # of a table that no terminal limits


@dataclass(frozen=True, kw_only=True)
class Doctor(Common):
    """Which targets, and where the findings go."""

    targets: Annotated[tuple[str, ...], optional(metavar="A,B…")] = ()
    """Targets to try the metrics on; all by default: gaussians25, ring8, moons, mixed, shapes."""
    seed: int = 0
    """Seed of the targets, the degradations and the classifiers."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write the findings to this file, .json (every value) or .md (the table)."""


def doctor(argv: list[str]) -> int:
    """The command; 1 where a claim fails."""
    flags = parse(Doctor, argv, "doctor")
    names = [name for given in flags.targets for name in given.split(",") if name]
    for name in names:
        if name not in TARGETS:
            raise UnknownNameError("target", name, TARGETS)
    if flags.out is not None and flags.out.suffix not in FORMATS:
        raise InvalidParameterError("the findings go to a table or to JSON", expected=f"a file that ends in {' or '.join(FORMATS)}",
                                    got=str(flags.out))
    with Terminal(quiet=flags.quiet).progress() as line:
        found = examine(names or None, seed=flags.seed, progress=lambda target, degradation, share: line.update(
            target, share, degradation.replace("_", " ")))
    head, rows = table(found)
    drawn = Table(*head, box=None, pad_edge=False)
    for row in rows:
        drawn.add_row(*row)
    sys.stdout.write(f"{_drawn(drawn)}\n{verdict(found)}\n{LEGEND}\n")
    if flags.out is not None:
        _write(flags.out, json.dumps(as_dict(found), indent=1) if flags.out.suffix == ".json" else as_markdown(found))
    return 0 if holds(found) else 1


def _drawn(table: Table) -> str:
    """The table as text, rendered before it is written: rich would end the program by itself when the reader has gone."""
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    with console.capture() as rendered:
        console.print(table)
    return rendered.get()


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataFileError(f"cannot write {path}", got=error.strerror or str(error)) from error
