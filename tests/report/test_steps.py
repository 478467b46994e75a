"""What is drawn of steps, trajectories, neighbours and dependence: as much as the files hold, and where it is."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import numpy as np
import pytest

from ectype.report import pictures, write_report
from ectype.report.associations import association_section
from ectype.report.film import SHOTS, film
from ectype.report.folder import Folder
from ectype.report.originality import nearest_section
from ectype.report.steps import steps_curve, steps_section


@pytest.fixture
def measured(points):
    return [p for p in points(400) if not p["left_out"]]


def places(drawing: str) -> list[tuple[float, float]]:
    """Where the marks of a curve stand: the first corner of each."""
    return [tuple(map(float, m)) for m in re.findall(r'<polygon points="([\d.]+),([\d.]+)', drawing)]


def test_the_curve_rises_with_quality_and_runs_right_with_evaluations(measured):
    at = places(steps_curve(measured, [], 2, "Thing"))        # a diamond for each point of each panel
    assert len(at) == 18
    for panel in (at[:6], at[6:12], at[12:]):
        assert all(b[0] > a[0] and b[1] < a[1] for a, b in pairwise(panel))
    gaps = np.diff([x for x, _ in at[:5]])                      # 1, 2, 4, 8, 16 evaluations
    assert np.allclose(gaps, gaps[0], atol=0.2)


def test_real_data_are_a_dashed_line_at_their_height(measured):
    alike = [p | p["floor"] for p in measured]
    drawing = steps_curve(alike, [], 0, "Thing")
    lines = [float(y) for y in re.findall(r'y1="([\d.]+)"[^>]*class="dummy"', drawing)]
    marks = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', drawing)]
    assert len(lines) == 3 and marks == [y for y in lines for _ in range(6)]


def test_rows_of_the_table_are_rings_where_as_many_rows_were_judged(points):
    entry = {"label": "Thing", "steps_curve": points(400)}
    row = {"metrics": {m: {"values": [v]} for m, v in (("nfe", 50), ("c2st", 0.6), ("coverage", 0.8))}}
    for evaluated, n in ((400, 2), (2000, 0)):
        data = {"kind": "images", "split": {"evaluated": evaluated}, "schema": [{}]}
        section = steps_section(entry, [row], None, 0, data, "thing", 1)
        assert section["curve"].count('class="ring') == n
    assert "Left out: 1,000 steps; 1,000 would have taken about 80 s." in section["words"]


def test_a_family_without_steps_has_no_section():
    data = {"kind": "images", "split": {"evaluated": 400}, "schema": [{}]}
    assert steps_section({"label": "Thing"}, [], None, 0, data, "thing", 1) is None
    assert steps_section({"label": "Thing", "steps_curve": []}, [], {"film_rows": np.zeros(3)}, 0, data, "thing", 1) is None


def words_of(curve: list[dict]) -> str:
    data = {"kind": "images", "split": {"evaluated": 1}, "schema": [{}]}
    return steps_section({"label": "Thing", "steps_curve": curve}, [], None, 0, data, "thing", 1)["words"]


@pytest.mark.parametrize(("n", "enough"), [(400, 50), (30, 8)])
def test_few_rows_tell_less_apart(n, enough, points):
    alike = [p | {"frechet_features": 0.03} for p in points(n)]
    assert f"With {enough} evaluations a sample, Thing is as good here" in words_of(alike)


def test_where_a_detector_is_always_right_the_distance_decides(points):
    lost = [p | {"c2st": 1.0} for p in points(400)]
    assert "With 50 evaluations" in words_of(lost)
    near = [p | {"c2st": 1.0, "frechet_features": max(0.2, 1 / p["nfe"])} for p in points(400)]
    assert "With 8 evaluations" in words_of(near)


def test_one_point_is_no_curve(points):
    assert "as good here" not in words_of(points(400)[:1])


# ------------------------------------------------------------------------------------------------------------------ pictures and films


def test_each_kind_of_data_has_its_drawings(drawn):
    text = write_report(drawn).read_text()
    card = re.search(r'<article class="card" aria-labelledby="card-ddpm">.*?</article>', text, re.DOTALL)[0]
    kind = json.loads((drawn / "results.json").read_text())["data"]["kind"]
    assert "Quality and coverage by evaluations per sample" in card
    if (drawn / "trajectories" / "ddpm.npz").exists():
        assert card.count('<span class="n">') == {"images": 3, "signals": 2, "table": 2}[kind]
        assert ("Forward: real data, more and more noise" in card) is (kind != "table")
        assert ('class="film"' in card) is (kind == "table")


def test_a_film_shows_each_shot_once_and_stands_still_where_asked(plane):
    text = write_report(plane).read_text()
    films = re.findall(r'<div class="film">.*?</div>', text, re.DOTALL)
    assert len(films) == 2                                      # the game and the paths
    for f in films:
        assert f.count('<g class="shot') == SHOTS and f.count('class="shot last"') == 1
        name = re.search(r'<input type="checkbox" id="(pause-[\w-]+)"><label for="\1">Pause', f)
        assert name and text.count(f'id="{name[1]}"') == 1
    assert "prefers-reduced-motion: reduce" in text and "animation-play-state: paused" in text
    assert re.findall(r"step ([\d,]+)</text>", films[0] + films[1])[0] == "25"


def test_fewer_shots_are_repeated():
    drawn = film("a", "three moments", [], [["<a/>"], ["<b/>"], ["<c/>"]])
    assert [drawn.count(f"<{k}/>") for k in "abc"] == [6, 12, 6] and drawn.index("<a/>") < drawn.index("<b/>") < drawn.index("<c/>")


def test_large_pictures_are_made_smaller_until_they_fit():
    noise = np.random.default_rng(0).integers(0, 256, (6, 96, 96, 3), dtype=np.uint8)
    sizes = [len(pictures.fitted(noise, 3, 255, room)) for room in (10**7, 120_000, 60_000)]
    assert sizes[0] > 120_000 >= sizes[1] > 60_000 >= sizes[2]


# ------------------------------------------------------------------------------------------------------------------ copies, dependence


def test_neighbours_that_are_near_are_said(images):
    folder = Folder(images)
    x = folder.samples("vae")
    section = nearest_section(folder, "vae", x, 1, 6)
    assert [caption for caption, _ in section["strips"]] == ["Generated by VAE", "Nearest in the training data"]
    assert "1.1 times as far" in section["words"] and "1 of 8 lie very close to one" in section["words"]
    assert nearest_section(folder, "ddpm-dpm20", None, 1, 6) is None


def test_neighbours_of_a_table_are_text(table):
    text = write_report(table).read_text()
    assert "Training rows nearest to samples of VAE" in text and "Distance, 1 is usual" in text and "<b>married</b>" not in text


def test_the_pair_that_is_furthest_off_is_named():
    real, made = np.eye(3), np.eye(3)
    real[0, 2] = real[2, 0] = 0.6
    made[0, 2] = made[2, 0] = -0.1
    section = association_section({"real": real, "generated": made}, [{"name": n} for n in ("a-1", "<b>", "c")], "Thing")
    assert section["words"] == "Furthest off: a-1 with c, 0.60 in real rows and −0.10 in generated ones."
    sizes = sorted(float(w) for w in re.findall(r'width="([\d.]+)" height="[\d.]+" class="minus"', section["chart"]))
    assert sizes == [0.0, 0.0, 18.0] and "&lt;b&gt;" in section["chart"]
    assert association_section(None, [], "Thing") is None
