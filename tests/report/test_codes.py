"""What the code keeps: the words, the drawings of each kind of data, and a page that stays small."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from ectype.report import write_report
from ectype.report.codes import code_section
from ectype.report.folder import Folder

FIGURES = {"width": 3, "features": 12, "error": 1.5, "pca_error": 2.0, "from_code_error": None, "coloured_by": "kind"}
IMAGE = {"name": "image", "kind": "image", "height": 8, "width": 8, "channels": 1, "levels": 17, "top": 16.0, "missing": False}
SCHEMA = [{"name": "age", "kind": "integer"}, {"name": "<city>", "kind": "categorical", "categories": 2}, {"name": "when", "kind": "datetime"}]
CITIES, WHEN = ["Rome", "Oslo"] * 20, pd.date_range("2020-01-01", periods=40)


def entry(**changes) -> dict:
    return {"label": "Thing", "code": FIGURES | changes}


def common(n: int = 60, classes: tuple[str, ...] = ("a", "b")) -> dict[str, np.ndarray]:
    """Codes in the plane, two classes or a quantity."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, len(classes), n) if classes else rng.random(n)
    return {"map": rng.normal(size=(n, 2)), "axes": np.array(["first", "second"]), "colours": colours, "classes": np.array(classes, str)}


def pictures(side: tuple[int, ...] = (8, 8), **more) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    made = {kind: rng.integers(0, 17, (8, *side)) for kind in ("rebuilt", "pca")}
    return common() | made | {"filters": rng.normal(size=(20, 3, 3))} | more


def section(folder, arrays, figures, real, data) -> dict:
    (folder / "features").mkdir(exist_ok=True)
    np.savez(folder / "features" / "thing.npz", **arrays)
    results = {"schema_version": 2, "data": {"split": {"evaluated": 60}, **data}}
    (folder / "results.json").write_text(json.dumps(results))
    return code_section(Folder(folder), figures, "thing", 2, real, 5)


def images(folder, figures=None, **changes) -> dict:
    real = np.random.default_rng(2).integers(0, 17, (30, 8, 8))
    return section(folder, pictures(**changes), figures or entry(), real, {"kind": "images", "schema": [IMAGE]})


def table(folder, figures=None, **changes) -> dict:
    real = pd.DataFrame({"age": np.arange(40), "<city>": CITIES, "when": WHEN.astype(str)})
    back = np.column_stack([np.arange(40) + 1, np.tile([1, 0], 20), WHEN.astype("datetime64[s]").astype("int64")]).astype(float)
    arrays = common() | {"filters": np.array([[1.0, -0.5, 0.0], [0.25, 0.0, -1.0]]), "rebuilt": back, "pca": back,
                         "column_errors_rebuilt": np.array([0.2, 0.9, 0.4]), "column_errors_pca": np.array([0.3, 1.1, 0.6])} | changes
    return section(folder, {k: v for k, v in arrays.items() if v is not None}, figures or entry(), real, {"kind": "table", "schema": SCHEMA})


# -------------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(("changes", "said"), [
    ({}, "A code of 3 numbers for the 12 of a row."), ({}, "averaged over 60 test rows: 1.50; by PCA of the same width, 2.00. That is 25% less"),
    ({"error": 3.0}, "That is 50% more"), ({"error": 9.0}, "That is 4.5 times as much: at this width, PCA keeps more."), ({"error": 2.01}, "That is the same."), ({"width": 1}, "A code of 1 number for"),
    ({"pca_error": None}, "as wide as the row or wider, where PCA would be a copy"),
    ({"from_code_error": 1.0}, "test rows: from the code alone 1.00; by PCA of the same width, 2.00. That is 50% less"),
    ({"from_code_error": 3.0}, "That is 50% more: at this width, PCA keeps more. With the recorded positions"),
    ({"from_code_error": 3.0}, "information beside the code, Thing loses 1.50."), ({"pca_error": 0.0, "error": 0.0}, "That is the same.")])
def test_the_words_compare_the_error_with_pca(tmp_path, changes, said):
    assert said in images(tmp_path, entry(**changes))["words"]


def test_a_family_without_a_code_has_no_section(tmp_path):
    for e in ({"label": "Thing"}, {"label": "Thing", "code": None}):
        assert code_section(None, e, "thing", 0, None, 1) is None


# -------------------------------------------------------------------------------------------------------------------- drawings


def test_the_map_has_a_dot_for_each_row_in_the_colour_of_its_class(tmp_path):
    caption, drawing = images(tmp_path)["map"]
    dots = {cls: path.count("h0") for path, cls in re.findall(r'<path d="([^"]*)" class="dots (k\d)"/>', drawing)}
    colours = common()["colours"]
    assert dots == {f"k{i}": int((colours == i).sum()) for i in (0, 1)} and "coloured by kind" in caption
    spots = [tuple(map(float, at)) for at in re.findall(r"M([\d.]+),([\d.]+)h0", drawing)]
    assert all(12 <= x <= 308 and 12 <= y <= 308 for x, y in spots) and "First across, second up." in caption


def test_a_quantity_is_drawn_in_fifths(tmp_path):
    caption, drawing = images(tmp_path, entry(coloured_by=None), **common(classes=()))["map"]
    dots = {cls: path.count("h0") for path, cls in re.findall(r'<path d="([^"]*)" class="dots (q\d)"/>', drawing)}
    assert dots == {f"q{i}": 12 for i in range(5)} and "the larger the error" in caption


def test_a_map_without_spread_and_with_blanks_can_be_drawn(tmp_path):
    colours = np.full(60, np.nan)
    drawing = images(tmp_path, **common(classes=()) | {"map": np.zeros((60, 2)), "colours": colours})["map"][1]
    assert drawing.count("h0") == 60 and "nan" not in drawing


def test_images_that_come_back_stand_below_the_real_ones(tmp_path):
    shown = images(tmp_path, entry(from_code_error=9.0), from_code=pictures()["pca"])
    assert [(caption, error) for caption, error, _, _ in shown["strips"]] == [
        ("Real", ""), ("Thing, with recorded positions", "1.50"), ("PCA of the same width", "2.00"), ("Thing, from the code alone", "9.00")]
    assert all(uri.startswith("data:image/png;base64,") for _, _, uri, _ in shown["strips"])
    assert [caption for caption, *_ in images(tmp_path)["strips"]] == ["Real", "Thing", "PCA of the same width"]


@pytest.mark.parametrize("shape", [(20, 3, 3), (1, 3, 3), (5, 28, 28), (5, 3, 3, 3), (2, 200, 150)])
def test_filters_of_every_size_are_a_picture(tmp_path, shape):
    words, picture = images(tmp_path, filters=np.random.default_rng(0).normal(size=shape))["filters"]
    assert f"{shape[0]} of its filters, {shape[1]}×{shape[2]}" in words and picture.startswith('<img src="data:image/png') and "alt=" in picture
    assert "orange" in words or len(shape) == 4


def test_large_images_share_the_room(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (8, 120, 160, 3))
    shown = section(tmp_path, pictures() | {"rebuilt": noise, "pca": noise}, entry(), noise,
                    {"kind": "images", "schema": [IMAGE | {"height": 120, "width": 160, "channels": 3, "top": 255.0}]})
    assert 0 < sum(len(uri) for _, _, uri, _ in shown["strips"]) <= 1_200_000 // 5


def test_signals_that_come_back_lie_over_the_real_ones(tmp_path):
    rng = np.random.default_rng(0)
    arrays = common() | {"rebuilt": rng.normal(size=(8, 300)), "pca": rng.normal(size=(8, 300)), "filters": rng.normal(size=(30, 9, 2))}
    shown = section(tmp_path, arrays, entry(), rng.normal(size=(60, 300)), {"kind": "signals", "schema": [{}]})
    ((words, drawing),) = shown["plots"]
    assert words.startswith("Thing and PCA") and drawing.count('class="stroke under"') == drawing.count('class="stroke c2"') == 6
    assert drawing.count('class="stroke pca"') == 6 and shown["filters"][1].count("<path") == 2 * 24
    del arrays["pca"]
    assert "PCA" not in section(tmp_path, arrays, entry(), rng.normal(size=(60, 300)), {"kind": "signals", "schema": [{}]})["plots"][0][0]


def test_columns_are_drawn_from_the_largest_error_to_the_smallest(tmp_path):
    panels = table(tmp_path)["panels"]
    assert [name for name, _, _ in panels] == ["Error of each column", "<city>", "when", "age"]
    assert "&lt;city&gt;: 0.9, PCA 1.1; when: 0.4, PCA 0.6; age: 0.2, PCA 0.3" in panels[0][2]
    assert "Rome: 100%, PCA 100%; Oslo: 0%, PCA 0%" in panels[1][2]
    assert "2020-01-01" in panels[2][2] and panels[3][2].count("h0") == 2 * 40
    assert not any(p[2].count("nan") for p in panels)


def test_columns_without_pca_and_with_blanks_can_be_drawn(tmp_path):
    back = np.column_stack([np.full(40, np.nan), np.ones(40), np.zeros(40)])
    shown = table(tmp_path, entry(pca_error=None), pca=None, column_errors_pca=None, rebuilt=back)
    assert not shown["pca"] and [name for name, _, _ in shown["panels"]][1] == "<city>"
    assert shown["panels"][3][2].count("h0") == 0


def test_weights_of_a_table_are_cells(tmp_path):
    words, drawing = table(tmp_path)["filters"]
    assert drawing.count('class="plus"') == 2 and drawing.count("<rect") == 6 and "&lt;city&gt;" in drawing
    assert 'class="minus" opacity="1.00"' in drawing and "2 of its units" in words


# -------------------------------------------------------------------------------------------------------------------- the page


@pytest.fixture
def page(request):
    """A folder in which the VAE has a code, and the page drawn from it."""
    folder = request.getfixturevalue("images")
    (folder / "features").mkdir()
    np.savez(folder / "features" / "vae.npz", **pictures())
    results = json.loads((folder / "results.json").read_text())
    results["models"]["vae"]["code"] = FIGURES
    results["models"]["vae"]["steps"] = ["66+76+219"] * 3
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_the_card_of_a_family_with_a_code_shows_it(page):
    text = write_report(page).read_text()
    assert text.count("What the code keeps") == 1 and "25% less: what the non-linearity buys" in text
    assert text.index('id="card-vae"') < text.index("What the code keeps") < text.index('id="card-autoencoder"')
    assert '<span class="spot k1" aria-hidden="true"></span>b' in text and "66+76+219" in text


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"no archive"), lambda p: np.savez(p, map=np.zeros((2, 2)))])
def test_damaged_arrays_are_named(page, damage):
    damage(page / "features" / "vae.npz")
    assert "<code>features/vae.npz</code>" in write_report(page).read_text()
