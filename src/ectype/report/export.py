"""The drawings and the figures of a page as files of their own, in ``figures/`` of the comparison's folder.

    picture.svg|png         quality against speed, coverage as size
    training-NAME.…         the training curve of a family
    steps-NAME.…            quality and coverage against evaluations
    codes-NAME.…            the map of the codes
    pairs-NAME.…            how far the dependence of columns is off
    figures.csv             every figure: a line for each row of the comparison, each dummy and real data
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..errors import DataFileError, InvalidParameterError
from .cards import card
from .folder import MARKS, Folder, mark_word, read_results
from .page import SIZES, numbered, picture

FORMATS = ("svg", "png")
FIGURES = "figures"


def write_figures(directory: str | os.PathLike, format: str = "svg") -> list[Path]:
    """Write every line drawing of the page as ``svg`` or ``png`` (on white, light colours); returns the paths.

    Raises :class:`InvalidParameterError` for another format, :class:`DataFileError` as :func:`ectype.report.write_report` does.
    """
    if format not in FORMATS:
        raise InvalidParameterError("figures in an unknown format", expected=" or ".join(FORMATS), got=repr(format))
    directory = Path(directory)
    css = (Path(__file__).parent / "drawing.css").read_text(encoding="utf-8")
    written = []
    for name, drawing in drawings(Folder(directory)):
        path, text = directory / FIGURES / f"{name}.{format}", alone(drawing, css)
        content = text.encode() if format == "svg" else _pixels(text, css)
        written.append(_write(path, content))
    return written


def drawings(folder: Folder) -> Iterator[tuple[str, Markup]]:
    """Name and drawing of what can stand alone."""
    results = folder.results
    if drawn := picture(results, *SIZES[0]):
        yield "picture", drawn
    for name, index in numbered(results["models"]).items():
        if name not in results["marks"]:
            continue
        shown = card(folder, name, index)
        found = {"training": shown["curve"] and shown["curve"][1], "steps": shown["steps"] and shown["steps"]["curve"],
                 "codes": shown["code"] and shown["code"]["map"][1], "pairs": shown["associations"] and shown["associations"]["chart"]}
        yield from ((f"{kind}-{name}", drawn) for kind, drawn in found.items() if drawn)


def alone(drawing: Markup, css: str) -> str:
    """A drawing of the page as an SVG file, with its style sheet in it and white below it."""
    head, _, body = str(drawing).partition(">")
    width, height = head.partition('viewBox="0 0 ')[2].partition('"')[0].split()
    head = head.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" ', 1)
    return f'{head}><style>{css}\nsvg.chart {{ width: auto; height: auto; background: #fff; }}</style>{body}'


def _pixels(text: str, css: str) -> bytes:
    from .raster import draw_png

    stream = io.BytesIO()
    draw_png(stream, text, css)
    return stream.getvalue()


def write_table(directory: str | os.PathLike) -> Path:
    """Write ``figures/figures.csv``: mean, interval, floor and number of seeds of every figure, and the marks."""
    directory = Path(directory)
    results = read_results(directory)
    metrics = list(results["metrics"])
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["name", "label", "kind", *MARKS, *(f"{m}{part}" for m in metrics for part in ("", "_low", "_high", "_n"))])
    for kind, rows in (("model", results["models"]), ("dummy", results["dummies"])):
        for name, e in rows.items():
            marks = results["marks"].get(name, {})
            table.writerow([name, e["label"], kind, *(mark_word(marks.get(m)) for m in MARKS),
                            *(v for m in metrics for v in _cells(e["metrics"].get(m, {})))])
    floor, between = results["floor"], results["floor_intervals"]
    table.writerow(["real", "Real data", "floor", *[None] * len(MARKS),
                    *(v for m in metrics for v in _cells({"mean": floor.get(m), **between.get(m, {})}))])
    return _write(directory / FIGURES / "figures.csv", stream.getvalue().encode())


def _cells(figure: dict[str, Any]) -> list[Any]:
    return [figure.get(k) for k in ("mean", "low", "high", "n")]


def _write(path: Path, content: bytes) -> Path:
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise DataFileError(f"cannot write {path}", got=error.strerror or str(error), hint="free some disk space") from error
    return path
