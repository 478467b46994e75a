"""The comparison in Markdown, short enough for the description of a pull request: verdict, known table, marks, main figures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataFileError
from .folder import MARKS, read_results
from .numbers import ABSENT, between, number
from .page import SIGNS, WORDS, facts
from .words import known_table, title, verdict

MAIN = ("c2st", "frechet_features", "frechet_pca", "coverage", "recall", "memorisation", "rows_per_s", "nfe")
MOST_ROWS = 16          # of the table; of more, the picked ones and those with most marks
MOST_NOTES = 5


def write_summary(directory: str | os.PathLike) -> Path:
    """Write ``report.md`` beside ``results.json``; returns its path. Raises :class:`DataFileError` as ``write_report`` does."""
    directory = Path(directory)
    path = directory / "report.md"
    text = summary(read_results(directory))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataFileError(f"cannot write {path}", got=error.strerror or str(error), hint="free some disk space") from error
    return path


def summary(results: Mapping[str, Any]) -> str:
    """The text; takes the content of ``results.json``."""
    said = [title(results), *verdict(results), results["pick"]["reason"]]
    lines = [line for words in said for line in (_plain(words), "")]
    lines[0] = f"## {lines[0]}"
    lines += [f"- {_plain(note)}" for note in results["pick"]["notes"][:MOST_NOTES]]
    lines += [""] * bool(results["pick"]["notes"]) + [f"_{_plain(facts(results))}_", ""]
    known = known_table(results)
    if known:
        lines += _table(["", "High quality", "Fast sampling", "Mode coverage"],
                        [[row["kind"], *(_mark(cell["mark"]) for cell in row["cells"])] for row in known])
    measured = _shown(results)
    metrics = [m for m in MAIN if m in results["metrics"]]
    rows = [[_plain(results["models"][n]["label"]), " ".join(SIGNS[results["marks"][n].get(m)] for m in MARKS),
             *(_figure(m, results["models"][n]["metrics"].get(m)) for m in metrics)] for n in measured]
    floor = {m: {"mean": results["floor"].get(m), **results["floor_intervals"].get(m, {})} for m in metrics}
    rows.append(["_Real data_", "", *(_figure(m, floor[m]) for m in metrics)])
    rows += [[f"_{_plain(e['label'])}_", "", *(_figure(m, e["metrics"].get(m)) for m in metrics)] for e in results["dummies"].values()]
    lines += _table(["", "Marks", *(results["metrics"][m]["title"] for m in metrics)], rows)
    lines.append(f"Marks: {', '.join(MARKS)}; {', '.join(f'{SIGNS[k]} {WORDS[k]}' for k in ('yes', 'uncertain', 'no'))}. "
                 "In brackets: 95% intervals. C2ST: 0.5 is ideal.")
    return "\n".join(lines) + "\n"


def _shown(results: Mapping[str, Any]) -> list[str]:
    """The rows of the table, in their order."""
    marks, first = results["marks"], results["pick"]["candidates"]
    measured = [n for n in results["models"] if n in marks]
    best = sorted(measured, key=lambda n: (n not in first, -sum(marks[n].get(m) == "yes" for m in MARKS)))[:MOST_ROWS]
    return [n for n in measured if n in best]


def _figure(metric: str, figure: Mapping[str, Any] | None) -> str:
    if not figure or figure.get("mean") is None:
        return ABSENT
    return f"{number(metric, figure['mean'])} {between(metric, figure) if metric in MAIN[:5] else ''}".rstrip()


def _mark(mark: str | None) -> str:
    return f"{SIGNS[mark]} {WORDS[mark]}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]


def _plain(text: str) -> str:
    """Words that are no Markdown: names of data sets and columns can hold anything."""
    for sign in "\\`*_{}[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
