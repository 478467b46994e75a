"""The comparison as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .folder import mark_word
from .numbers import ABSENT, best, between, number, short

COLUMNS = {"c2st": "C2ST", "frechet_features": "Fréchet", "coverage": "coverage", "recall": "recall", "memorisation": "memor.",
           "rows_per_s": "rows/s", "nfe": "NFE"}
INTERVAL = {"c2st"}         # the figures whose interval fits in
MARKS = {"quality": "Q", "speed": "S", "coverage": "C"}


def render_table(results: Mapping[str, Any]) -> RenderableType:
    """Families, then what real data score, then the dummies; readable at 100 columns. Takes the content of ``results.json``."""
    models, dummies, marks, pick = results["models"], results["dummies"], results["marks"], results["pick"]
    columns = dict(COLUMNS)
    if "frechet_features" not in results["metrics"]:
        columns = {"frechet_pca" if m == "frechet_features" else m: head for m, head in columns.items()}
    measured = {n: e for n, e in models.items() if n in marks}
    winners = {m: best(m, {n: e["metrics"][m] for n, e in measured.items() if m in e["metrics"]}) for m in columns}
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("")
    table.add_column("marks")
    for head in columns.values():
        table.add_column(head, justify="right")
    for name, e in measured.items():
        table.add_row(Text(e["label"], "bold" if name == pick["name"] else ""), _earned(marks[name]),
                      *(Text(_figure(m, e), "bold green" if name in winners[m] else "") for m in columns))
    for name, e in models.items():
        if name not in marks and name == e["family"]:
            why = Text("failed", "red") if e["error"] else Text("not reached", "yellow")
            table.add_row(Text(e["label"]), why, *[ABSENT] * len(columns))
    table.add_section()
    table.add_row(Text("Real data", "italic"), "", *(Text(number(m, results["floor"].get(m)), "italic") for m in columns))
    for e in dummies.values():
        if e["seeds"]:
            table.add_row(Text(e["label"], "dim"), "", *(Text(_figure(m, e), "dim") for m in columns))
    parts: list[RenderableType] = [table, Text("")]
    if pick["name"] is not None:
        parts.append(Text(f"Pick for {results['data']['name']}: {models[pick['name']]['label']}", "bold"))
    parts += [Text(pick["reason"]), *(Text(note) for note in pick["notes"])]
    parts.append(Text("Marks: Q quality, S speed, C coverage; q, s, c where the interval straddles what is asked. C2ST: 0.5 is ideal, in "
                      "brackets the 95% interval. NFE: network evaluations per sample.", "dim"))
    return Group(*parts)


def _earned(marks: Mapping[str, Any]) -> Text:
    written = {"yes": lambda letter: Text(letter, "bold green"), "uncertain": lambda letter: Text(letter.lower(), "yellow")}
    return Text(" ").join(written.get(mark_word(marks[m]), lambda letter: Text("·", "dim"))(letter) for m, letter in MARKS.items())


def _figure(metric: str, entry: Mapping[str, Any]) -> str:
    figure = entry["metrics"].get(metric, {})
    if figure.get("mean") is None:
        return ABSENT
    if metric == "rows_per_s":
        return short(figure["mean"])
    written = between(metric, figure) if metric in INTERVAL else ""
    return f"{number(metric, figure['mean'])} {written}".rstrip()
