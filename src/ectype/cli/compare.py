"""``ectype compare DATA``: all families on the same data; standard output is the path of the report."""

from __future__ import annotations

import inspect
import sys
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from tyro.conf import arg

from ..comparison import compare as run_comparison
from ..report import render_table, write_report
from . import INTERRUPTED
from .board import board
from .flags import Source, optional, parse
from .terminal import Terminal

CELLS = ("high_quality", "fast_sampling", "mode_coverage")
STYLES = {"yes": "bold green", "uncertain": "yellow"}
DEFAULTS = {name: p.default for name, p in inspect.signature(run_comparison).parameters.items()}


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
    """Folder of results.json and report.html; compare-NAME by default. The same command again goes on where it stopped."""
    jobs: Annotated[int | None, optional(metavar="N")] = None
    """Fits that run side by side; one by default. In seconds, they share the processor: give a budget in steps to lose nothing."""
    inception: Annotated[Path | None, optional(metavar="FILE")] = None
    """Of pictures, FID and KID as well, from this file of weights of the Inception network; nothing is downloaded."""
    open: bool = False
    """Show the report in the browser when it is written."""


def known_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The table that everybody knows, with the marks that were measured here."""
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1))
    for head in ("on these data", *(cell.replace("_", " ") for cell in CELLS)):
        table.add_column(head)
    for row in rows:
        table.add_row(row["kind"], *(Text(row[cell] or "not measured", STYLES.get(row[cell], "dim")) for cell in CELLS))
    return table


def given(models: Mapping[str, Mapping[str, Any]]) -> str:
    """What each family was given, and what it took, in one line each."""
    lines = []
    for name, e in models.items():
        g, peak = e["given"], e["metrics"].get("peak_memory_mib", {}).get("mean")
        if name == e["family"] and g["budget"]:
            budgets = ", ".join(dict.fromkeys(map(str, g["budget"])))
            threads, took = f"{g['threads']} thread{'s' * (g['threads'] > 1)}", f", at most {peak:,.0f} MiB" if peak else ""
            lines.append(f"{name} was given {budgets} × {len(g['budget'])}, {g['rows']:,} rows, {threads}; "
                         f"{g['parameters']:,} parameters{took}")
    return "\n".join(lines)


def compare(argv: list[str]) -> int:
    """The command; 1 where no family could be trained."""
    flags = parse(Compare, argv, "compare")
    terminal = Terminal(quiet=flags.quiet)
    names = [name for given in flags.models for name in given.split(",") if name]
    with board(terminal) as shown:
        found = run_comparison(flags.data, models=names or None, budget=flags.budget, seeds=flags.seeds, seed=flags.seed,
                               out=flags.out, jobs=flags.jobs, inception=flags.inception, progress=shown.tell, **flags.reading)
    if shown.kept:
        terminal.note(f"{shown.kept} of {shown.total} fits and dummies were measured in {found.directory} already")
    for note in found.results["data"]["notes"]:
        terminal.note(note)
    terminal.show(render_table(found.results))
    if found.results["known_table"]:
        terminal.show(Padding(known_table(found.results["known_table"]), (1, 0)))
    terminal.say(given(found.results["models"]), "dim")
    if found.interrupted:
        measured = [m for n, m in found.results["models"].items() if n == m["family"] and "c2st" in m["metrics"]]
        asked = len(found.results["settings"]["models"])
        terminal.say(f"interrupted: {len(measured)} of {asked} families are measured, and the report shows those; "
                     "the same command goes on", "yellow")
    report = write_report(found.directory)
    sys.stdout.write(f"{report}\n")
    if flags.open and not found.interrupted:
        webbrowser.open(report.resolve().as_uri())
    trained = any(n in found.results["marks"] for n in found.results["models"])
    return INTERRUPTED if found.interrupted else 0 if trained else 1

