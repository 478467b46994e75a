"""The table in the terminal."""

from __future__ import annotations

import io
import json

from rich.console import Console

from ectype.report import render_table


def text_of(results: dict, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render_table(results))
    return console.export_text()


def test_it_fits_in_a_hundred_columns(drawn):
    text = text_of(json.loads((drawn / "results.json").read_text()))
    head, *rows = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, rows)) <= 100 and "NFE" in head and "…" not in text
    assert next(line for line in rows if line.startswith("DDPM ")).split()[-1] == "1,000"
    assert text.index("DDPM dpm20") < text.index("Real data") < text.index("Gaussian mixture") < text.index("Pick for")


def test_marks_failures_and_the_pick_are_said(images):
    results = json.loads((images / "results.json").read_text())
    results["models"]["gan"].update(seeds=[], metrics={}, error="seed 0: no")
    del results["marks"]["gan"]
    lines = text_of(results).splitlines()
    assert next(line for line in lines if line.startswith("VAE")).split()[1:4] == ["Q", "S", "C"]
    assert next(line for line in lines if line.startswith("DDPM ")).split()[1:4] == ["Q", "·", "C"]
    assert next(line for line in lines if line.startswith("Flow")).split()[1:4] == ["q", "S", "C"]
    assert "failed" in next(line for line in lines if line.startswith("GAN"))
    assert "Pick for digits: VAE" in lines and any("1,100 times" in line for line in lines)
