"""``ectype report DIR``: draw a comparison again from its files; standard output is the paths of what was written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ..report import open_page, write_figures, write_report, write_summary, write_table
from .flags import Common, optional, parse
from .terminal import Terminal

Format = Literal["html", "md", "csv", "svg", "png"]
WRITERS: dict[Format, Callable[[Path], list[Path]]] = {
    "html": lambda folder: [write_report(folder)], "md": lambda folder: [write_summary(folder)],
    "csv": lambda folder: [write_table(folder)],
    "svg": lambda folder: write_figures(folder, "svg"), "png": lambda folder: write_figures(folder, "png")}


@dataclass(frozen=True, kw_only=True)
class Report(Common):
    """A comparison's folder, and what to draw."""

    folder: Annotated[Path, Positional, arg(metavar="DIR")]
    """A folder that `ectype compare` wrote."""
    format: Format = "html"
    """html: the page report.html. md: report.md, a summary for a pull request. csv: figures/figures.csv. svg, png: every drawing, in
    figures/."""
    open: Annotated[bool, optional()] = False
    """Show the page in the browser."""


def report(argv: list[str]) -> int:
    """The command."""
    flags = parse(Report, argv, "report")
    written = WRITERS[flags.format](flags.folder)
    sys.stdout.write("".join(f"{path}\n" for path in written))
    if flags.open and not open_page(write_report(flags.folder) if flags.format != "html" else written[0]):
        Terminal(quiet=flags.quiet).note("no browser could be opened; the page is a file that any browser shows")
    return 0
