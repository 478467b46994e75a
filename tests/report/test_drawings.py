"""Drawings, pictures and figures: what is drawn is what was measured, and labels can be read."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import ImageFont

from ectype.report import charts, numbers, pictures
from ectype.report.signals import LANE, POINTS, drawing, envelope, frame
from ectype.report.tradeoff import Spot, tradeoff

NAMES = ["Autoencoder", "VAE", "GAN", "Flow", "DDPM", "DDPM dpm20"]


def spots(spread: float) -> list[Spot]:
    """Six rows that stand close together or far apart."""
    rng = np.random.default_rng(3)
    return [Spot(name, i, 10 ** (3 + 4 * spread * rng.normal()), float(np.clip(0.6 + spread * rng.normal(), 0, 1)), (0.5, 0.7), 0.8)
            for i, name in enumerate(NAMES)]


def test_an_interval_is_written_in_the_digits_of_its_mean():
    def written(metric: str, *ends: float, values: tuple = ()) -> str:
        return numbers.between(metric, {"mean": sum(ends) / 2, "low": ends[0], "high": ends[1], "values": values})

    assert written("c2st", 0.661, 0.742) == "(0.66–0.74)"
    assert written("log_likelihood", -10.42, -8.09) == "(−10.42 to −8.09)"
    assert written("rows_per_s", 0.0, 3698.0, values=(943.0, None, 473.0)) == "(473–943)"       # what was seen, not Student's interval
    assert written("rows_per_s", 906.0, 908.0, values=(907.1, 907.2)) == "" == written("fit_s", 1.0, 2.0)


def labels(picture: str) -> list[tuple[float, float, float, float]]:
    """Where the names are, in the widest of the usual fonts."""
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf")), 14)
    boxes = []
    for x, y, anchor, name in re.findall(r'<text x="([\d.-]+)" y="([\d.-]+)" class="name" text-anchor="(\w+)">([^<]+)<', picture):
        left = float(x) - (font.getlength(name) if anchor == "end" else 0)
        boxes.append((left, float(y) - 11, left + font.getlength(name), float(y) + 2))
    return boxes


@pytest.mark.parametrize("width", [860, 360])
def test_labels_leave_some_space_around_the_marks(width):
    """Eight rows as digits had them, in which the name left of its mark ran into it; the fifth is a triangle, which goes far."""
    rows = [("VAE", 75, 72e3), ("Flow", 69, 22e3), ("GAN", 54, 31e3), ("Autoencoder", 50, 97e3), ("DDPM", 72, 6.2), ("DDPM dpm20", 73.5, 300),
            ("Truncated diffusion", 60.5, 1.8e3), ("Truncated diffusion 1step", 43, 30e3)]
    for turn in range(len(charts.SHAPES)):
        drawn = [Spot(name, i + turn, rate, quality / 100, (quality / 100 - 0.1, quality / 100 + 0.1), 0.8)
                 for i, (name, quality, rate) in enumerate(rows)]
        picture = tradeoff(drawn, mixture=0.37, threshold=0.5, slowest=1e3, width=width, height=480)
        marks = [tuple(map(float, m)) for m in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)" class="mark', picture)]
        edges = [(x - r, y - r, x + r, y + r) for x, y, r in marks]
        for points in re.findall(r'<polygon points="([^"]+)" class="mark', picture):
            x, y = np.array([p.split(",") for p in points.split()], float).T
            edges.append((x.min(), y.min(), x.max(), y.max()))
        for x, y, w, h in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" class="mark', picture):
            edges.append((float(x), float(y), float(x) + float(w), float(y) + float(h)))
        assert len(edges) == len(rows)
        for a in labels(picture):
            assert all(a[2] + 2 <= b[0] or b[2] + 2 <= a[0] or a[3] <= b[1] or b[3] <= a[1] for b in edges), (turn, a)


def test_names_stand_near_their_marks_on_a_telephone():
    """Long names in a narrow drawing, which stood at its other side for the sake of a line: now in two lines, and nowhere far."""
    rows = [("VAE", 42, (35, 49), 22500), ("GAN", 27, (21, 34), 19600), ("DDPM", 45, (38, 80), 8.46), ("DDPM dpm20", 42, (36, 55), 286),
            ("Truncated diffusion", 70, (42, 100), 1250), ("Truncated diffusion 1step", 48, (42, 77), 3460)]
    drawn = [Spot(name, i, rate, q / 100, (low / 100, high / 100), 0.9) for i, (name, q, (low, high), rate) in enumerate(rows)]
    picture = tradeoff(drawn, mixture=0.47, threshold=0.5, slowest=225.0, width=360, height=420)
    leaders = re.findall(r'<line x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)" class="leader"', picture)
    assert all(np.hypot(float(a) - float(c), float(b) - float(d)) < 40 for a, b, c, d in leaders)
    assert {"Truncated", "diffusion", "diffusion 1step", "DDPM dpm20"} <= set(re.findall(r'class="name" text-anchor="\w+">([^<]+)<', picture))
    for a, b in combinations(labels(picture), 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)
    assert "Truncated diffusion 1step" in tradeoff(drawn, mixture=0.47, threshold=0.5, slowest=225.0, width=860, height=480).split("<text", 1)[1]


@pytest.mark.parametrize("width", [860, 360])
@pytest.mark.parametrize("spread", [0.0, 0.05, 0.4])
def test_labels_of_the_picture_do_not_overlap(width, spread):
    picture = tradeoff(spots(spread), mixture=0.55, threshold=0.5, slowest=100.0, width=width, height=420)
    boxes = labels(picture)
    assert len(boxes) == len(NAMES)
    assert all(left >= 0 and right <= width + 8 and top >= 0 for left, top, right, _ in boxes)
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)


def test_the_picture_puts_better_higher_faster_further_right_and_wider_coverage_larger():
    two = [Spot("A", 0, 10.0, 0.2, None, 0.3), Spot("B", 0, 1000.0, 0.9, None, 0.9)]
    picture = tradeoff(two, mixture=None, threshold=0.5, slowest=50.0, width=860, height=480)
    circles = [tuple(map(float, c)) for c in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', picture)]
    (xb, yb, rb), (xa, ya, ra) = circles        # the larger one is drawn first
    assert xb > xa and yb < ya and rb > ra
    threshold = float(re.search(r'y1="([\d.]+)"[^>]*class="threshold"', picture)[1])
    assert yb < threshold < ya
    assert "A: 20% of the gap closed, 10 rows per second, covers 30%" in picture


def test_shapes_differ_and_have_the_same_area():
    drawn = {kind: charts.marker(kind, 50, 50, 10, "") for kind in charts.SHAPES}
    assert len(set(drawn.values())) == len(charts.SHAPES)
    for kind, text in drawn.items():
        points = np.array([p.split(",") for p in re.findall(r"[\d.-]+,[\d.-]+", text)], float)
        if len(points):
            x, y = points.T
            assert 0.8 < abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2 / (np.pi * 100) < 1.2, kind


def test_a_histogram_of_equal_samples_is_the_same_line_twice():
    values = np.random.default_rng(0).normal(size=500)
    area, line = re.findall(r'd="M([^"]+)"', charts.histogram(values, values, 0, "the same twice"))
    assert line in area


@pytest.mark.parametrize("values", [np.zeros(5), np.array([1e300, -1e300, 0.0]), np.arange(3.0)])
def test_a_histogram_survives_odd_columns(values):
    assert "nan" not in charts.histogram(values, values[:2], 0, "odd column")


def test_a_curve_falls_where_the_loss_falls():
    drawing = charts.curve([((10, 100, 1000), (3.0, 2.0, 1.0))], 0, "a curve")
    points = [tuple(map(float, p.split(","))) for p in re.search(r'd="M([^"]+)" class="stroke', drawing)[1].split("L")]
    x, y = np.array(points).T
    assert (np.diff(x) > 0).all() and np.allclose(np.diff(x, 2), 0, atol=0.2) and (np.diff(y) > 0).all()


def test_the_envelope_of_a_signal_has_its_extremes_and_few_points():
    v = np.random.default_rng(0).normal(size=10_000)
    x, shown = envelope(v)
    assert len(shown) == POINTS and (np.diff(x) >= 0).all() and (x[0] >= 0) and (x[-1] <= 1)
    assert shown.min() == v.min() and shown.max() == v.max()
    x, shown = envelope(v[:50])
    assert (shown == v[:50]).all() and (x[0], x[-1]) == (0, 1)


def test_a_signal_that_leaves_the_frame_runs_along_its_edge():
    real = np.sin(np.arange(40) / 4)[None, :, None].repeat(3, 0)
    text = drawing(1e6 * real, frame(real), "c0", "three signals")
    heights = [float(y) for y in re.findall(r"[ML][\d.]+,([\d.]+)", text)]
    assert min(heights) == 0 and max(heights) == LANE and "c0" in text and text.count("<path") == 3
    flat = np.full((2, 5, 1), 7.0)
    assert text.count("nan") == 0 and "nan" not in drawing(flat, frame(flat), "ink", "flat signals")


def test_a_grid_holds_every_image_once():
    images = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 5), np.uint8)
    sheet = np.asarray(pictures.grid(images, 3, 5.0))
    grow = pictures.SMALLEST // 5
    height, width = 4 * grow + pictures.GAP, 5 * grow + pictures.GAP
    assert sheet.shape == (2 * height - pictures.GAP, 3 * width - pictures.GAP, 2)
    assert [sheet[height * (i // 3), width * (i % 3), 0] for i in range(6)] == [0, 51, 102, 153, 204, 255]
    assert (sheet[4 * grow, :, 1] == 0).all()


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (300, 200), (40, 400), (1, 1)])
def test_a_grid_is_about_as_wide_for_every_size_of_image(shape):
    columns, rows = pictures.layout(*shape)
    width = pictures.grid(np.zeros((columns * rows, *shape), np.uint8), columns, 255.0).size[0]
    assert 380 <= width <= 520 and rows >= 2


@pytest.mark.parametrize(("metric", "value", "text"), [
    ("c2st", 0.7149, "0.71"), ("rows_per_s", 12345.6, "12,300"), ("rows_per_s", 21.04, "21.0"), ("parameters", 123456, "123,456"),
    ("nfe", 1000.0, "1,000"), ("frechet_pca", 0.04312, "0.0431"), ("log_likelihood", -101.26, "−101"), ("fit_s", 0.0, "0"),
    ("c2st", None, "–")])
def test_figures_have_the_digits_they_deserve(metric, value, text):
    assert numbers.number(metric, value) == text


def test_a_column_of_figures_has_one_number_of_decimals():
    values = [2.1, 0.61, 12.0]
    digits = numbers.decimals("frechet_pca", values)
    assert [numbers.number("frechet_pca", v, digits) for v in values] == ["2.100", "0.610", "12.000"]
    assert numbers.between("frechet_pca", {"mean": 2.1, "low": 2.02, "high": 2.2}, digits) == "(2.020–2.200)"


@pytest.mark.parametrize(("better", "winners"), [("lower", {"a"}), ("higher", {"c"}), ("half", {"a", "b"})])
def test_those_that_are_written_alike_are_best_together(better, winners):
    figures = {n: {"mean": v, "better": better} for n, v in (("a", 0.42), ("b", 0.503), ("c", 0.9), ("d", None))}
    assert numbers.best("c2st", figures) == winners


def test_no_two_rows_look_alike():
    from ectype.report.charts import colour, shape

    assert len({(shape(i), colour(i)) for i in range(49)}) == 49


# ------------------------------------------------------------------------------------------------------------------ colours


SEEN_BY = {     # in linear light; Machado, Oliveira & Fernandes 2009, table 1, severity 1
    "everybody": np.eye(3),
    "protanopes": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopes": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]])}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    """sRGB without its gamma."""
    v = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear light, white D65."""
    x = light @ XYZ.T / np.array([0.9505, 1, 1.089])
    f = np.where(x > 216 / 24389, np.cbrt(x), (24389 / 27 * x + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=-1)


@pytest.mark.parametrize("eyes", SEEN_BY)
@pytest.mark.parametrize("sheet", ["drawing.css", "page.css"])      # the first colours there: light, dark
def test_colours_of_families_stay_apart_and_visible(sheet, eyes):
    text = (Path(charts.__file__).parent / sheet).read_text().partition("@media print")[0]
    colours = [re.search(rf"--c{i}: (#\w{{6}})", text)[1] for i in range(len(charts.SHAPES))]
    paper = re.search(r"--paper: (#\w+)", text)[1].replace("#fff", "#ffffff")
    seen = lab(np.clip(np.stack([linear(c) for c in colours]) @ SEEN_BY[eyes].T, 0, 1))
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)[np.triu_indices(len(seen), 1)]
    assert apart.min() > 11, dict(zip(combinations(colours, 2), apart.round(), strict=True))
    y = [float(linear(c) @ XYZ[1]) for c in (*colours, paper)]
    assert all((max(v, y[-1]) + 0.05) / (min(v, y[-1]) + 0.05) > 2.5 for v in y[:-1])
