"""Words and progress for the person at the terminal, all on standard error: standard output is for data."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

PLAIN_EVERY_S = 15.0        # between two lines of progress where there is no terminal to keep one line on
SETTLED = 20                # steps before the time left is estimated: the first ones are slow
PIPE_WIDTH = 110            # of a table that no terminal limits


def colourful(stream: TextIO | None) -> bool:
    """Whether colours are welcome there: a terminal, and no NO_COLOR (https://no-color.org)."""
    return stream is not None and stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Terminal:
    """Standard error; ``quiet`` silences all but errors."""

    def __init__(self, *, quiet: bool = False):
        width = None if sys.stderr.isatty() else PIPE_WIDTH
        self.console = Console(stderr=True, quiet=quiet, highlight=False, markup=False, emoji=False, width=width)

    def say(self, text: str, style: str | None = None) -> None:
        """A line of words."""
        self.console.print(text, style=style, soft_wrap=True)

    def note(self, text: str) -> None:
        """Something that deserves a word."""
        self.say(f"note: {text}", "dim")

    def show(self, content: RenderableType) -> None:
        """A table or another block."""
        self.console.print(content)

    def error(self, what: str, hint: str | None = None) -> None:
        """An error; told even where all else is silent."""
        self.console.quiet = False
        first, *more = what.splitlines()
        self.console.print(f"error: {first}", style="bold red", soft_wrap=True)
        for line in [*more, *([f"hint: {hint}"] if hint else [])]:
            self.console.print(line, soft_wrap=True)

    @contextmanager
    def noting(self, category: type[Warning]) -> Iterator[None]:
        """Within a ``with`` block, warnings of a category are notes, each told once."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", category)
            others, told = warnings.showwarning, set()

            def show(what: Warning | str, kind: type[Warning], *at: Any) -> None:
                if not issubclass(kind, category):
                    others(what, kind, *at)
                elif str(what) not in told:
                    told.add(str(what))
                    self.note(str(what))

            warnings.showwarning = show
            yield

    @contextmanager
    def progress(self) -> Iterator[Line]:
        """A live line within a ``with`` block."""
        line = Line(self)
        try:
            yield line
        finally:
            line.close()


class Line:
    """One line that is kept up to date on a terminal; elsewhere a plain one now and then."""

    def __init__(self, terminal: Terminal):
        console = terminal.console
        self._terminal, self._title, self._told = terminal, "", 0.0
        self._live: Progress | None = None
        if console.is_terminal and not console.is_dumb_terminal and not console.quiet:
            columns = TextColumn("{task.description}"), BarColumn(24), TaskProgressColumn(), TextColumn("{task.fields[detail]}")
            self._live = Progress(*columns, console=console, transient=True, redirect_stdout=False)
            self._task = self._live.add_task("", total=1.0, detail="")

    def update(self, title: str, fraction: float, detail: str = "") -> None:
        """What is under way, how far it is, in [0, 1], and more about it."""
        if self._live is not None:
            self._live.update(self._task, description=title, completed=fraction, detail=detail)
            self._live.start()          # only now: a download before it has a line of its own
            return
        now = time.monotonic()
        if title != self._title or now - self._told >= PLAIN_EVERY_S:
            self._terminal.say(f"{title}: {fraction:.0%}" + (f"  {detail}" if detail else ""))
            self._title, self._told = title, now

    def training(self, title: str, event: Mapping[str, Any]) -> None:
        """An event of the training loop: how far it is, or what happened."""
        if "event" in event:
            self._terminal.say(event_in_words(event), "yellow")
        else:
            stage = f", {event['stage']}" if event.get("stage") else ""
            self.update(title + stage, event["fraction"], training_detail(event))

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


def training_detail(event: Mapping[str, Any]) -> str:
    """Step, time spent and left, and the held-out value."""
    fraction, elapsed = event["fraction"], event["elapsed_s"]
    parts = [f"step {event['step']:,}", duration(elapsed)]
    if event["step"] >= SETTLED and 0 < fraction < 1:
        parts[-1] += f", {duration(elapsed * (1 / fraction - 1))} left"
    if event.get("held_out") is not None:
        parts.append(f"held out {event['held_out']:.4g}")
    return "  ".join(parts)


def event_in_words(event: Mapping[str, Any]) -> str:
    """What happened in training, as a sentence."""
    if event["event"] == "not finite":
        return (f"step {event['step']:,}: the numbers are no longer finite ({event['where']}); back to step {event['back_to']:,}, "
                f"with {event['lr_scale']:g} of the learning rate")
    if event["event"] == "stopped early":
        return f"step {event['step']:,}: stopped early; the held-out value was best at step {event['best_step']:,}"
    if event["event"] == "checkpoint not written":
        return f"step {event['step']:,}: no checkpoint could be written ({event['why']}); training goes on"
    return f"step {event['step']:,}: {event['event']}"


def duration(seconds: float) -> str:
    """``12 s``, ``3 min 05 s``, ``1 h 02 min``."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    if hours:
        return f"{hours} h {m:02d} min"
    return f"{m} min {s:02d} s" if m else f"{seconds:.1f} s" if seconds < 10 else f"{s} s"
