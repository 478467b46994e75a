"""What a page is made of, as files: drawings that stand alone, a table that a program reads, a summary that fits in a pull request."""

from __future__ import annotations

import csv
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ectype.errors import DataFileError, InvalidParameterError
from ectype.report import write_figures, write_summary, write_table
from ectype.report.raster import draw_png

CSS = ":root { --red: #ff0000; --c1: #0000ff; } .mark { --c: var(--red); } .c1 { --c: var(--c1); } svg .mark { fill: var(--c); } " \
      ".other .mark { fill: #00ff00; } .stroke { stroke: var(--c1); fill: none; stroke-width: 4; } @media x { .mark { fill: #000000; } }"


def test_every_drawing_is_a_file_of_its_own(table):
    paths = write_figures(table, "svg")
    assert {"picture.svg", "training-vae.svg", "steps-ddpm.svg", "pairs-vae.svg"} <= {p.name for p in paths}
    for path in paths:
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and float(root.get("width")) > 100 and "--paper" in root[0].text


def test_pixels_look_like_the_drawing(images):
    paths = {p.stem: p for p in write_figures(images, "png")}
    with Image.open(paths["picture"]) as drawn:
        assert drawn.size == (2 * (860 + 24), 2 * (480 + 24))
        pixels = np.asarray(drawn.convert("RGB")).reshape(-1, 3)
    colours = {tuple(c) for c in pixels[::7]}
    assert {(0xD9, 0x8E, 0x00), (0x3A, 0x9B, 0xD6), (0x00, 0x9E, 0x73), (255, 255, 255)} <= colours      # three families on white


def test_styles_are_those_of_the_sheet(tmp_path):
    svg = '<svg viewBox="0 0 100 40" class="chart"><circle cx="20" cy="20" r="10" class="mark"/>' \
          '<rect x="40" y="10" width="20" height="20" class="mark c1"/><path d="M70,20L95,20" class="stroke"/></svg>'
    path = tmp_path / "a.png"
    with path.open("wb") as f:
        draw_png(f, svg, CSS)
    with Image.open(path) as drawn:
        at = [drawn.convert("RGB").getpixel((2 * (12 + x), 2 * (12 + 20))) for x in (20, 50, 82)]
    assert at == [(255, 0, 0), (0, 0, 255), (0, 0, 255)]


def test_the_table_has_a_line_for_each_row_dummy_and_real_data(images):
    with write_table(images).open(newline="") as f:
        rows = {row["name"]: row for row in csv.DictReader(f)}
    results = json.loads((images / "results.json").read_text())
    assert list(rows) == [*results["models"], *results["dummies"], "real"]
    figure = results["models"]["vae"]["metrics"]["c2st"]
    assert [float(rows["vae"][k]) for k in ("c2st", "c2st_low", "c2st_high")] == [figure[k] for k in ("mean", "low", "high")]
    assert rows["flow"]["quality"] == "uncertain" and rows["real"]["c2st"] == "0.51" and rows["vae"]["c2st_n"] == "3"


def test_the_summary_is_short_and_says_the_verdict(images):
    text = write_summary(images).read_text()
    lines = text.splitlines()
    assert lines[0] == "## For digits, take the VAE in full" and len(lines) < 60 and text.endswith("\n")
    assert "| Normalizing flow | ◐ uncertain | ● earned | ● earned |" in lines and "0.84 (0.80–0.88)" in text
    widths = {line.count("|") for line in lines if line.startswith("| ")}
    assert len(widths) == 2                                     # two tables, each of one width


def test_the_summary_stays_short_with_many_rows_and_notes(images):
    results = json.loads((images / "results.json").read_text())
    for k in range(60):
        results["models"][f"more{k}"] = results["models"]["gan"] | {"label": f"More {k}", "family": "gan"}
        results["marks"][f"more{k}"] = results["marks"]["gan"]
    results["pick"]["notes"] = ["one | more *note*"] * 40
    (images / "results.json").write_text(json.dumps(results))
    text = write_summary(images).read_text()
    assert len(text.splitlines()) < 60 and "| VAE |" in text and r"one \| more \*note\*" in text


def test_what_cannot_be_written_is_said(images, tmp_path):
    with pytest.raises(InvalidParameterError, match="svg or png"):
        write_figures(images, "pdf")
    (images / "figures").write_text("in the way")
    for write in (write_table, write_figures):
        with pytest.raises(DataFileError, match="cannot write"):
            write(images)
    for write in (write_table, write_figures, write_summary):
        with pytest.raises(DataFileError, match="there is no folder"):
            write(tmp_path / "nowhere")
