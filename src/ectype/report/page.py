"""``report.html``: one self-contained page, drawn from the files that a comparison wrote.

The page answers in the order in which a reader asks: which one and in plain words why, what became of the known table, how far apart are
they, why, in figures, what do the samples look like, what do these figures mean, on which data, and how to get the same again. No script is
needed, nothing is fetched. What is gone of the folder is named, and the rest is drawn.
"""

from __future__ import annotations

import os
import re
import shlex
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from ..errors import DataFileError
from . import charts
from .cards import card
from .figures import DIRECTIONS, figure_tables
from .folder import MARKS, Folder, interval
from .tradeoff import Spot, tradeoff
from .words import known_table, title, verdict

SIZES = ((860, 480), (360, 420))        # of the picture: on a laptop and on paper, on a telephone
SHEETS = ("drawing.css", "page.css")
WORDS = {"yes": "earned", "no": "not earned", "uncertain": "uncertain", None: "not measured"}
FLAG = re.compile(r"(--[a-z]+(?: \d\w*)?)")
SPENT = {"sampling": "drawing samples", "metrics": "measuring", "pictures": "what else this page shows"}
SIGNS = {"yes": "●", "no": "○", "uncertain": "◐", None: "–"}


def write_report(directory: str | os.PathLike) -> Path:
    """Draw ``report.html`` from ``results.json`` and the files beside it, into their folder; returns its path.

    Files other than ``results.json`` may be missing: the page says which. Raises :class:`DataFileError` for a folder without results, for
    results of an unknown format, and where the page cannot be written.
    """
    directory = Path(directory)
    html = render(directory)
    path = directory / "report.html"
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise DataFileError(f"cannot write {path}", got=error.strerror or str(error), hint="free some disk space") from error
    return path


def open_page(path: str | os.PathLike) -> bool:
    """Show a page in the browser; False where there is none to show it."""
    return webbrowser.open(Path(path).resolve().as_uri())


def render(directory: Path) -> str:
    """The page as text."""
    folder = Folder(directory)
    results, data = folder.results, folder.data
    models = results["models"]
    numbers = numbered(models)
    measured = [name for name in models if name in results["marks"]]
    first = results["pick"]["candidates"]
    cards = [card(folder, name, numbers[name]) for name in sorted(measured, key=lambda n: first.index(n) if n in first else len(first))]
    here = Path(__file__).parent
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(here), autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                   undefined=jinja2.StrictUndefined)
    templates.filters["flags"] = flags
    return templates.get_template("page.html.j2").render(
        css=Markup("".join((here / sheet).read_text(encoding="utf-8") for sheet in SHEETS)), results=results, data=data, models=models,
        mark_names=MARKS, words=WORDS, signs=SIGNS, title=title(results), verdict=verdict(results), known=known_table(results),
        facts=facts(results), measured=measured, keys={name: charts.key(i) for name, i in numbers.items()},
        failed=[name for name, e in models.items() if e["error"] and name == e["family"]],
        pictures=[picture(results, width, height) for width, height in SIZES] if measured else [],
        tables=figure_tables(results, measured), directions=DIRECTIONS, cards=cards, missing=folder.missing,
        columns=[(c["name"], c["kind"], _column(c)) for c in data["schema"]], repeat=_repeat(results),
        spent=spent(results))


def numbered(models: Mapping[str, Any]) -> dict[str, int]:
    """The number that gives each row its colour and shape: its place on the page."""
    return {name: i for i, name in enumerate(models)}


def picture(results: Mapping[str, Any], width: int, height: int) -> Markup:
    """Quality against speed, coverage as size."""
    marks, thresholds, spots, numbers = results["marks"], results["thresholds"], [], numbered(results["models"])
    for name, e in results["models"].items():
        rate = e["metrics"].get("rows_per_s", {}).get("mean")
        if rate and name in marks and marks[name]["scores"]["quality"]["mean"] is not None:
            quality, coverage = marks[name]["scores"]["quality"], marks[name]["scores"]["coverage"]
            spots.append(Spot(e["label"], numbers[name], rate, quality["mean"], interval(quality), coverage["mean"]))
    if not spots:
        return Markup("")
    mixture = marks.get("gaussian_mixture", {"scores": {"quality": {"mean": None}}})["scores"]["quality"]["mean"]
    return tradeoff(spots, mixture=mixture, threshold=thresholds["quality"], width=width, height=height,
                    slowest=max(s.rate for s in spots) / thresholds["slower"])


# ------------------------------------------------------------------------------------------------------------------ words


def facts(results: Mapping[str, Any]) -> str:
    """What was compared on what, in one line."""
    data, settings = results["data"], results["settings"]
    if data["kind"] == "images":
        image = data["schema"][0]
        colour = {1: "grey", 3: "colour", 4: "colour"}.get(image["channels"], f"{image['channels']}-channel")
        what = f"{data['rows']:,} {colour} images of {image['width']}×{image['height']} pixels"
    elif data["kind"] == "signals":
        what = f"{data['rows']:,} signals of {_signal(data['schema'][0])}"
    else:
        what = f"{data['rows']:,} rows of {_many(len(data['schema']), 'column')}"
    each = f"{settings['budget']} of training each" if isinstance(settings["budget"], str) else "as many training steps as given"
    families = "1 family" if len(settings["models"]) == 1 else f"{len(settings['models'])} families"
    seeds = _many(len(settings["seeds"]), "seed")
    return f"{what}. {families}, {each}, {seeds}, measured on {data['split']['evaluated']:,} test rows."


def spent(results: Mapping[str, Any]) -> str:
    """Where the time went, in one line; nothing where it is not known."""
    known = {SPENT.get(part, part): s for part, s in results.get("spent_s", {}).items()}
    parts = ", ".join(f"{words} {s:,.0f} s" for words, s in known.items())
    return f"All fits and dummies took {sum(known.values()):,.0f} s together: {parts}." if known else ""


def flags(words: str) -> Markup:
    """Words whose flags (``--budget 40s``) stay on one line: a browser breaks behind a hyphen."""
    return Markup(FLAG.sub(r'<span class="flag">\1</span>', str(escape(words))))


def _column(c: Mapping[str, Any]) -> str:
    """What was understood of a column, in words."""
    blanks = ", with blanks" if c.get("missing") else ""
    if c["kind"] == "image":
        return f"{c['width']}×{c['height']} pixels, {_many(c['channels'], 'channel')}, {c['levels']} levels"
    if c["kind"] == "signal":
        return f"{_signal(c)}, {c['low']:,.6g} to {c['high']:,.6g}".replace("-", "−")
    if "categories" in c:
        more = ", …" if c["categories"] > len(c["most_frequent"]) else ""
        return f"{c['categories']:,} categories: {', '.join(c['most_frequent'])}{more}{blanks}"
    if c["kind"] == "datetime":
        first, last = (pd.Timestamp(v, unit="s").strftime("%Y-%m-%d") for v in (c["low"], c["high"]))
        return f"{first} to {last}{blanks}"
    return f"{c['low']:,.6g} to {c['high']:,.6g}{blanks}".replace("-", "−")


def _signal(c: Mapping[str, Any]) -> str:
    rate = f" at {c['rate']:,} Hz" if c["rate"] else ""
    return f"{c['length']:,} samples{rate}" + (f" in {c['channels']} channels" if c["channels"] > 1 else "")


def _kinds(kinds: Mapping[str, str] | str) -> list[str]:
    """What stands after ``--kind``: the kind of all of the data, or those of single columns."""
    return [kinds] if isinstance(kinds, str) else [f"{column}={kind}" for column, kind in kinds.items()]


def _repeat(results: Mapping[str, Any]) -> dict[str, str]:
    """The command that runs the comparison again, and the call that repeats it step for step; empty where there is none."""
    settings, models = results["settings"], results["models"]
    names, n_seeds, seed = settings["models"], len(settings["seeds"]), settings["seeds"][0]
    command = python = ""
    if isinstance(settings["budget"], str):
        words = ["ectype", "compare", settings["source"], "--models", ",".join(names), "--budget", settings["budget"],
                 "--seeds", str(n_seeds), "--seed", str(seed)]
        words += ["--label", settings["label"]] if settings["label"] else []
        words += ["--kind", *_kinds(settings["kinds"])] if settings["kinds"] else []
        words += ["--drop", *settings["drop"]] if settings["drop"] else []
        words += ["--size", "x".join(map(str, settings["size"]))] if settings["size"] else []
        words += ["--inception", "FILE"] if settings.get("inception") else []
        command = shlex.join(words)
    if all(len(models[n]["steps"]) == n_seeds for n in names):
        options = "".join(f", {k}={settings[k]!r}" for k in ("label", "kinds", "drop", "size") if settings[k])
        budget = "".join(f"    {n!r}: {models[n]['steps']},\n" for n in names)
        python = f"from ectype import compare\n\ncompare({settings['source']!r}{options}, seeds={n_seeds}, seed={seed}, " \
                 f"models={names}, budget={{\n{budget}}})"
    return {"command": command, "python": python}


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
