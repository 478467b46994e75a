"""``ectype compare DATA``: all families on the same data; standard output is the path of the report."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from ..comparison import compare as run_comparison
from ..report import render_table, write_report
from . import INTERRUPTED
from .flags import Source, optional, parse
from .terminal import Line, Terminal, event_in_words, training_detail

DEFAULTS = {name: p.default for name, p in inspect.signature(run_comparison).parameters.items()}
STAGES = {"fit": "training", "sample": "drawing samples", "measure": "measuring", "dummy": "measuring"}


@dataclass(frozen=True, kw_only=True)
class Compare(Source):
    """Data, families, and how long each may train."""

    models: Annotated[tuple[str, ...], optional(metavar="A,B…")] = ()
    """Families to compare; all by default."""
    budget: Annotated[str, arg(metavar="TIME")] = DEFAULTS["budget"]
    """Training time or steps of each fit: 20s, 5m, 2000steps."""
    seeds: int = DEFAULTS["seeds"]
    """How often each family is trained, from different seeds; the spread is shown."""
    seed: int = DEFAULTS["seed"]
    """The first seed, and that of the split."""
    out: Annotated[Path | None, optional(metavar="DIR")] = None
    """Folder of results.json and report.html; compare-NAME by default."""


def compare(argv: list[str]) -> int:
    """The command."""
    flags = parse(Compare, argv, "compare")
    terminal = Terminal(quiet=flags.quiet)
    names = [name for given in flags.models for name in given.split(",") if name]
    with terminal.progress() as line:
        found = run_comparison(flags.data, models=names or None, budget=flags.budget, seeds=flags.seeds, seed=flags.seed,
                               out=flags.out, progress=lambda event: _tell(event, line, terminal), **flags.reading)
    for note in found.results["data"]["notes"]:
        terminal.note(note)
    terminal.show(render_table(found.results))
    if found.interrupted:
        measured = [m for n, m in found.results["models"].items() if n == m["family"] and "c2st" in m["metrics"]]
        asked = len(found.results["settings"]["models"])
        terminal.say(f"interrupted: {len(measured)} of {asked} families are measured, and the report shows those; "
                     "the same command starts again", "yellow")
    sys.stdout.write(f"{write_report(found.directory)}\n")
    return INTERRUPTED if found.interrupted else 0


def _tell(event: Mapping[str, Any], line: Line, terminal: Terminal) -> None:
    """An event of the comparison as words: how far the whole is, and what is under way."""
    stage = event["stage"]
    if "event" in event:
        terminal.say(f"{event['row']}, seed {event['seed']}: {event_in_words(event)}", "yellow")
    elif stage == "floor":
        line.update("real data", 0.0, "measuring")
    elif stage in STAGES:
        title = f"{'simple dummies' if stage == 'dummy' else event['row']}, seed {event['seed']}"
        detail = f"{STAGES[stage]}  {training_detail(event)}" if "step" in event else STAGES[stage]
        line.update(title, (event["done"] + event.get("fraction", 0.0)) / event["total"], detail)
