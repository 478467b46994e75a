"""A comparison while it runs: a line for each family, what it does, how far it is, and its classifier test so far.

On a terminal all lines stay in place; elsewhere there is a plain line now and then, as for any long work.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .terminal import Line, Terminal, duration, event_in_words, training_detail

DUMMIES = "simple dummies"
WORDS = {"fit": "training", "sample": "drawing samples", "measure": "measuring", "dummy": "measuring", "kept": "measured before",
         "finished": "measured"}
KNOWN_SHARE = 0.05          # of all work that must be done before the time left is told
PER_SECOND = 4


@dataclass
class Runner:
    """One family, or the dummies together: jobs in all and done, what is under way, the classifier test of each seed."""

    total: int
    done: int = 0
    fraction: float = 0.0       # of the job in hand
    words: str = "waiting"
    c2st: list[float] = field(default_factory=list)
    failed: str | None = None


class Board:
    """Takes the events of a comparison and shows them."""

    def __init__(self, terminal: Terminal, line: Line, live: Live | None = None):
        self.terminal, self.line, self.live = terminal, line, live
        self.runners: dict[str, Runner] = {}
        self.share, self.began = 0.0, time.monotonic()
        self.kept = 0               # jobs that an earlier run of the same command had finished

    def tell(self, event: Mapping[str, Any]) -> None:
        """An event of the comparison: how far the whole is, and what is under way."""
        stage = event["stage"]
        if "event" in event:
            self.terminal.say(f"{event['row']}, seed {event['seed']}: {event_in_words(event)}", "yellow")
        elif stage == "plan":
            families = {name: Runner(event["seeds"]) for name in event["rows"]}
            self.runners = {DUMMIES: Runner(event["total"] - sum(r.total for r in families.values()))} | families
        elif stage == "floor":
            self._show("real data", "measuring")
        elif stage in ("finished", "kept"):
            self._finish(event)
        elif stage in WORDS:
            self._start(event)

    @property
    def total(self) -> int:
        """Jobs in all."""
        return sum(runner.total for runner in self.runners.values())

    def _runner(self, name: str) -> tuple[str, Runner]:
        """The line of a family or a dummy."""
        title = name if name in self.runners else DUMMIES
        return title, self.runners.setdefault(title, Runner(1))

    def _start(self, event: Mapping[str, Any]) -> None:
        """One job goes on, or several begin."""
        words = f"{WORDS[event['stage']]}  {training_detail(event)}" if "step" in event else WORDS[event["stage"]]
        titles = []
        for name in event["row"].split(", "):
            title, runner = self._runner(name)
            runner.words, runner.fraction = words, event.get("fraction", 0.0)
            titles.append(title)
        self.share = (event["done"] + event.get("fraction", 0.0)) / event["total"]
        self._show(f"{', '.join(dict.fromkeys(titles))}, seed {event['seed']}", words)

    def _finish(self, event: Mapping[str, Any]) -> None:
        title, runner = self._runner(event["row"])
        self.kept += event["stage"] == "kept"
        runner.done, runner.fraction, runner.words = runner.done + 1, 0.0, WORDS[event["stage"]]
        runner.failed = event["error"] or runner.failed
        if title != DUMMIES and event["c2st"] is not None:
            runner.c2st.append(event["c2st"])
        self.share = event["done"] / event["total"]
        if self.live is not None:
            self.live.update(self.table())

    def _show(self, title: str, words: str) -> None:
        if self.live is None:
            self.line.update(title, self.share, words)
        else:
            self.live.update(self.table())

    def table(self) -> Table:
        """The lines, and below them how far all of it is."""
        table = Table(box=None, pad_edge=False)
        for head in ("", "", "", "C2ST"):
            table.add_column(head, no_wrap=True)
        for name, r in self.runners.items():
            words = Text(f"failed: {r.failed}", "red") if r.failed else Text("done" if r.done == r.total else r.words)
            table.add_row(name, _bar((r.done + r.fraction) / r.total), words, f"{statistics.fmean(r.c2st):.2f}" if r.c2st else "")
        spent = time.monotonic() - self.began
        left = f", about {duration(spent * (1 / self.share - 1))} left" if KNOWN_SHARE <= self.share < 1 else ""
        table.add_row("all", _bar(self.share), f"{duration(spent)}{left}", "")
        return table


def _bar(share: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=min(1.0, share), width=20)


@contextmanager
def board(terminal: Terminal) -> Iterator[Board]:
    """A live board within a ``with`` block."""
    console = terminal.console
    with terminal.progress() as line:
        if not console.is_terminal or console.is_dumb_terminal or console.quiet:
            yield Board(terminal, line)
            return
        with Live(console=console, transient=True, refresh_per_second=PER_SECOND, redirect_stdout=False) as live:
            yield Board(terminal, line, live)
