"""Formats, and files that appear whole or not at all."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ectype.cli.files import GAP, GROUND, LINE, Output, in_rows, is_numeric, sheet, whole
from ectype.data.schema import Schema
from ectype.data.sources import load
from ectype.errors import DataFileError

TABLE = pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan]})
WORDS = TABLE.assign(c=["x", "y"])


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), whole(path) as f:
        f.write(b"half of it")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    with whole(path) as f:
        f.write(b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_a_link_keeps_pointing(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with whole(tmp_path / "link") as f:
        f.write(b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_bytes() == b"new"


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".tsv.gz", ".CSV"])
def test_text_tables_come_back(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    Output(str(path), numeric=False).write_table(WORDS)
    assert load(path).X.astype(object).equals(WORDS.astype(object))


def test_parquet_comes_back(tmp_path):
    pytest.importorskip("pyarrow")
    Output(str(tmp_path / "t.parquet"), numeric=False).write_table(WORDS)
    assert load(tmp_path / "t.parquet").X.astype(object).equals(WORDS.astype(object))


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_arrays_come_back(tmp_path, suffix):
    Output(str(tmp_path / f"t{suffix}")).write_table(TABLE)
    np.testing.assert_array_equal(load(tmp_path / f"t{suffix}").X, TABLE.to_numpy())


def test_the_condition_is_a_column_or_y(tmp_path):
    y = pd.Series(["p", "q"], name="mark")
    Output(str(tmp_path / "t.csv")).write_table(TABLE, y, columns=["a", "mark", "b"])
    assert list(load(tmp_path / "t.csv").X.columns) == ["a", "mark", "b"]
    Output(str(tmp_path / "t.npz")).write_table(TABLE, y)
    assert list(load(tmp_path / "t.npz").y) == ["p", "q"]


def test_the_same_content_gives_the_same_bytes(tmp_path):
    for name in ("a.csv.gz", "b.csv.gz"):
        Output(str(tmp_path / name)).write_table(TABLE)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_standard_output_takes_csv(capsys):
    Output("-").write_table(TABLE)
    assert pd.read_csv(io.StringIO(capsys.readouterr().out)).equals(TABLE)


@pytest.mark.parametrize(("out", "kwargs", "words"), [
    ("t.png", {}, ".csv, .csv.gz"), ("t.docx", {}, ".parquet"), ("t", {}, ".npy"), ("no/such/t.csv", {}, "mkdir -p"),
    (".", {}, "is a folder"), ("t.csv", {"images": True}, ".png, .npz, .npy, .zip or FOLDER/"), ("-", {"images": True}, ".png"),
    ("t.npz", {"numeric": False}, "numbers only"),
])
def test_what_does_not_fit_is_said_before_the_work(tmp_path, monkeypatch, out, kwargs, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataFileError, match=words.replace(".", r"\.")):
        Output(out, **kwargs)


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(DataFileError, match="cannot be written"):
        Output(str(tmp_path / "t.csv"))


def test_is_numeric():
    assert is_numeric(Schema.fit(TABLE)) and not is_numeric(Schema.fit(WORDS))
    assert is_numeric(Schema.fit(pd.DataFrame({"flag": [0, 1, 1], "truth": [True, False, True]})))
    assert not is_numeric(Schema.fit(pd.DataFrame({"day": pd.to_datetime(["2020-01-01", "2020-01-02"])})))


def test_a_sheet_of_grey_images():
    images = np.stack([np.full((4, 2), level, np.uint8) for level in (0, 8, 16)])
    page = sheet(in_rows(images, 2), top=16)
    zoom, height, width = 8, 4 * 8, 2 * 8
    assert page.shape == (2 * height + 3 * GAP, 2 * width + 3 * GAP) and page.dtype == np.uint8
    assert (page[GAP : GAP + height, GAP : GAP + width] == 0).all()
    assert (page[GAP : GAP + 4 * zoom, 2 * GAP + width : 2 * GAP + 2 * width] == 128).all()
    assert (page[2 * GAP + height : -GAP, GAP : GAP + width] == 255).all()
    assert (page[2 * GAP + height :, 2 * GAP + width :] == GROUND).all() and (page[:GAP] == GROUND).all()


def test_a_png_of_colour_images(tmp_path):
    images = np.zeros((5, 40, 50, 3), np.uint8)
    images[..., 1] = 200
    Output(str(tmp_path / "s.png"), images=True).write_images(images, None, top=255, rows=in_rows(images))
    with Image.open(tmp_path / "s.png") as image:
        picture = np.asarray(image)
    assert picture.shape == (2 * 40 + 3 * GAP, 3 * 50 + 4 * GAP, 3) and tuple(picture[GAP, GAP]) == (0, 200, 0)


def test_images_of_fractions_and_of_two_channels():
    assert sheet([np.full((1, 32, 32), 0.5)], top=1.0)[GAP, GAP] == 128
    two = np.stack([np.full((1, 32, 32), 255), np.zeros((1, 32, 32))], axis=-1)
    assert sheet([two], top=255).ndim == 2 and sheet([two], top=255)[GAP, GAP] == 255


@pytest.mark.parametrize("out", ["new/", "new.zip"])
def test_a_picture_each_is_read_again_with_its_label(tmp_path, out):
    images = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(4, 6, 5)
    Output(f"{tmp_path}/{out}", images=True).write_images(images, pd.Series(["b", "a", "b", "a"]), top=119, rows=[])
    back = load(str(tmp_path / out))
    order = [1, 3, 0, 2]                                # folder after folder
    np.testing.assert_array_equal(back.X, np.round(images[order] * (255 / 119)).astype(np.uint8))
    assert list(back.y) == ["a", "a", "b", "b"]
    with pytest.raises(DataFileError, match="a new or an empty folder" if out == "new/" else "FOLDER"):
        Output(f"{tmp_path}/{out}" if out == "new/" else str(tmp_path / "x.docx"), images=True)


def test_captions_stand_below_their_images():
    image = np.zeros((1, 96, 96), np.uint8)
    page = sheet([image, image], 255, [["row 7"], []])
    assert page.shape == (2 * 96 + 3 * GAP + LINE, 96 + 2 * GAP)
    strip = page[GAP + 96 : GAP + 96 + LINE]
    assert (strip > 200).sum() > 20 and (page[-GAP - 96 : -GAP, GAP:-GAP] == 0).all()
