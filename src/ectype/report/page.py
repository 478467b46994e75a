"""``report.html``: one self-contained page, drawn from the files that a comparison wrote.

The page answers in the order in which a reader asks: which one, how far apart are they, why, in figures, what do the samples look
like, what do these figures mean, on which data, and how to get the same again. No script is needed, nothing is fetched.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from ..errors import DataFileError
from . import charts
from .cards import Samples, card
from .figures import DIRECTIONS, figure_tables
from .tradeoff import Spot, tradeoff

SCHEMA_VERSION = 1      # of results.json
MARKS = ("quality", "speed", "coverage")
SIZES = ((860, 480), (360, 420))        # of the picture: on a laptop and on paper, on a telephone


def write_report(directory: str | os.PathLike) -> Path:
    """Draw ``report.html`` from ``results.json``, ``samples/`` and ``curves/`` in a folder, into that folder; returns its path.

    Raises :class:`DataFileError` where these files are missing or cannot be read, and where the page cannot be written.
    """
    directory = Path(directory)
    html = render(directory)
    path = directory / "report.html"
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise DataFileError(f"cannot write {path}", got=error.strerror or str(error), hint="free some disk space") from error
    return path


def render(directory: Path) -> str:
    """The page as text."""
    results = read_results(directory)
    data, models = results["data"], results["models"]
    numbers = _numbers(models)
    measured = [name for name in models if name in results["marks"]]
    samples = Samples(directory, data)
    here = Path(__file__).parent
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(here), autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                   undefined=jinja2.StrictUndefined)
    return templates.get_template("page.html.j2").render(
        css=Markup((here / "page.css").read_text(encoding="utf-8")), results=results, data=data, models=models, mark_names=MARKS,
        title=_title(results), facts=_facts(results), measured=measured, keys={name: charts.key(i) for name, i in numbers.items()},
        failed=[name for name, e in models.items() if e["error"] and name == e["family"]],
        pictures=[_picture(results, numbers, width, height) for width, height in SIZES] if measured else [],
        tables=figure_tables(results, measured), directions=DIRECTIONS,
        cards=[card(directory, results, samples, name, numbers[name])
               for name in sorted(measured, key=lambda name: name != results["pick"]["name"])],
        columns=[(c["name"], c["kind"], _column(c)) for c in data["schema"]], repeat=_repeat(results))


def read_results(directory: Path) -> dict[str, Any]:
    """``results.json`` of a folder, checked for its version."""
    path = directory / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        version = results["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFileError(f"cannot read {path}", expected="the results of a comparison", got=str(error) or type(error).__name__,
                            hint="run `ectype compare` into this folder again") from error
    if version != SCHEMA_VERSION:
        raise DataFileError(f"{path} has another format", expected=f"schema_version {SCHEMA_VERSION}", got=version,
                            hint="draw it with the version of ectype that wrote it, or run the comparison again")
    return results


def _numbers(models: Mapping[str, Any]) -> dict[str, int]:
    """The number that gives each row its colour and shape: its place on the page."""
    return {name: i for i, name in enumerate(models)}


def _picture(results: Mapping[str, Any], numbers: Mapping[str, int], width: int, height: int) -> Markup:
    marks, thresholds, spots = results["marks"], results["thresholds"], []
    for name, e in results["models"].items():
        rate = e["metrics"].get("rows_per_s", {}).get("mean")
        if rate and name in marks and marks[name]["scores"]["quality"]["mean"] is not None:
            quality, coverage = marks[name]["scores"]["quality"], marks[name]["scores"]["coverage"]
            spots.append(Spot(e["label"], numbers[name], rate, quality["mean"], quality["std"], coverage["mean"]))
    if not spots:
        return Markup("")
    mixture = marks.get("gaussian_mixture", {"scores": {"quality": {"mean": None}}})["scores"]["quality"]["mean"]
    return tradeoff(spots, mixture=mixture, threshold=thresholds["quality"], width=width, height=height,
                    slowest=max(s.rate for s in spots) / thresholds["slower"])


# ------------------------------------------------------------------------------------------------------------------ words


def _title(results: Mapping[str, Any]) -> str:
    name, pick = results["data"]["name"], results["pick"]["name"]
    if pick is None:
        return f"No family could be trained on {name}"
    title = results["models"][pick]["title"]
    return f"For {name}, pick the {title[:1].lower()}{title[1:]}"


def _facts(results: Mapping[str, Any]) -> str:
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
        command = shlex.join(words)
    if all(len(models[n]["steps"]) == n_seeds for n in names):
        options = "".join(f", {k}={settings[k]!r}" for k in ("label", "kinds", "drop", "size") if settings[k])
        budget = "".join(f"    {n!r}: {models[n]['steps']},\n" for n in names)
        python = f"from ectype import compare\n\ncompare({settings['source']!r}{options}, seeds={n_seeds}, seed={seed}, " \
                 f"models={names}, budget={{\n{budget}}})"
    return {"command": command, "python": python}


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
