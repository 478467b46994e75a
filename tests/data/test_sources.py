"""Names, paths, labels and the fingerprint."""

import gzip
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ectype.data.describe import describe
from ectype.data.schema import Schema
from ectype.data.sources import NAMES, Dataset, load, names
from ectype.data.toy import TRUTHS
from ectype.errors import DataError, DataFileError, UnknownNameError

BUNDLED = {"digits": (1797, 8, 8), "iris": (150, 5), "wine": (178, 14), "breast_cancer": (569, 31),
           "moons": (5000, 2), "gaussians25": (5000, 2), "ring8": (5000, 2), "mixed": (5000, 5)}
PUBLISHED = {"mnist": (60000, 28, 28), "mnist_test": (10000, 28, 28), "fashion_mnist": (60000, 28, 28),
             "fashion_mnist_test": (10000, 28, 28), "adult": (32561, 15), "adult_test": (16281, 15), "mushroom": (8124, 23)}
DATA = os.environ.get("ECTYPE_DATA_DIR")
needs_data = pytest.mark.skipif(not DATA, reason="ECTYPE_DATA_DIR names no folder of published data sets")


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("age,city,income\n31,Ulm,low\n45,Bonn,high\n?,Ulm,low\n")
    return path


def test_names_are_complete():
    assert names() == NAMES
    assert set(NAMES) == BUNDLED.keys() | PUBLISHED.keys()


@pytest.mark.parametrize(("name", "shape"), BUNDLED.items())
def test_names_without_network(name, shape):
    data = load(name)
    assert (data.name, data.X.shape, data.n_rows, data.label, data.notes) == (name, shape, shape[0], None, ())
    assert len(data.y) == len(data.X)
    assert data.truth == TRUTHS.get(name)
    assert data.fingerprint == load(name).fingerprint
    assert Schema.fit(data.X).is_image == data.is_image


def test_digits_are_whole_levels():
    digits = load("digits")
    assert digits.X.dtype == np.uint8
    assert sorted(np.unique(digits.X)) == list(range(17))
    assert sorted(digits.y.unique()) == list(range(10))


def test_bundled_tables_have_their_target_in_words():
    iris = load("iris", label="target")
    assert set(iris.y) == {"setosa", "versicolor", "virginica"}
    assert iris.X["target"].equals(iris.y)
    assert "target" not in iris.features.columns
    assert load("wine").X["target"].value_counts().to_dict() == {"class_0": 59, "class_1": 71, "class_2": 48}


@needs_data
@pytest.mark.parametrize(("name", "shape"), PUBLISHED.items())
def test_published_sets(name, shape):
    data = load(name)
    assert data.X.shape == shape
    assert len(data.y) == shape[0]


@needs_data
def test_adult_as_published_and_as_csv_are_the_same():
    for name, file in (("adult", "adult/adult_train.csv.gz"), ("adult_test", "adult/adult_test.csv.gz"),
                       ("mushroom", "mushroom/mushroom.csv")):
        assert load(name).fingerprint == load(Path(DATA) / file).fingerprint
    adult = load("adult", label="income")
    assert int(adult.X.isna().sum().sum()) == 4262
    assert adult.y.value_counts().to_dict() == {"<=50K": 24720, ">50K": 7841}
    assert adult.notes == ("'?' counts as missing (4,262 in 'workclass', 'occupation', 'native-country')",)
    assert Schema.fit(adult.X).blocks[0].kind == "integer"


@needs_data
def test_mnist_by_name_and_by_file_are_the_same():
    by_file = load(Path(DATA) / "mnist" / "t10k-images-idx3-ubyte.gz")
    assert load("MNIST-test").fingerprint == by_file.fingerprint
    assert np.bincount(by_file.y)[:3].tolist() == [980, 1135, 1032]


def test_label_of_a_table(people):
    data = load(people, label="income")
    assert data.name == "people"
    assert data.y.tolist() == ["low", "high", "low"]
    assert data.X.columns.tolist() == ["age", "city", "income"]
    assert data.features.columns.tolist() == ["age", "city"]


def test_label_of_an_array_becomes_a_column(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.eye(3), y=np.array([0, 1, 1]))
    plain, labelled = load(tmp_path / "a.npz"), load(tmp_path / "a.npz", label="y")
    assert isinstance(plain.X, np.ndarray)
    assert labelled.X.columns.tolist() == ["x0", "x1", "x2", "y"]
    assert labelled.y.tolist() == plain.y.tolist() == [0, 1, 1]
    assert load(tmp_path / "a.npz", label="x1").X.columns.tolist() == ["x0", "x1", "x2"]


def test_the_component_of_a_known_truth_can_be_a_column():
    data = load("ring8", label="component")
    assert data.X.columns.tolist() == ["x1", "x2", "component"]
    assert data.truth is None
    assert "no longer applies" in data.notes[-1]
    assert load("mixed", label="group").truth is TRUTHS["mixed"]


def test_wrong_names(people, tmp_path, monkeypatch):
    with pytest.raises(UnknownNameError, match=r"unknown column 'incom'.*age, city, income\nhint: did you mean income"):
        load(people, label="incom")
    with pytest.raises(UnknownNameError, match="unknown column 'agee'"):
        load(people, drop=["agee"])
    with pytest.raises(UnknownNameError, match="unknown column 'zip'"):
        load(people, kinds={"zip": "categorical"})
    with pytest.raises(UnknownNameError, match="unknown label 'species'"):
        load("digits", label="species")
    with pytest.raises(UnknownNameError, match=r"unknown data set 'mnsit'.*\nhint: did you mean mnist"):
        load("mnsit")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataFileError, match=r"no such file\nhint: did you mean people.csv"):
        load("poeple.csv")
    with pytest.raises(DataFileError, match="folder nowhere does not exist"):
        load("nowhere/people.csv")


def test_a_name_wins_over_a_file_and_a_path_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("iris").write_text("a,b\n1,2\n3,4\n")
    named = load("iris")
    assert named.n_rows == 150 and any("the data set of that name" in note and f".{os.sep}iris" in note for note in named.notes)
    assert load("./iris").n_rows == 2 and not any("of that name" in note for note in load("./iris").notes)


def test_drop(people):
    assert load(people, drop=["city"]).X.columns.tolist() == ["age", "income"]
    with pytest.raises(DataError, match="every column"):
        load(people, drop=["age", "city", "income"])
    with pytest.raises(DataError, match="images have no columns"):
        load("digits", drop=["a"])


def test_data_in_memory():
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    data = load(frame, label="b")
    assert (data.name, data.y.tolist()) == ("data", ["x", "y"])
    assert load(np.zeros((3, 4, 4), np.uint8)).is_image


def test_one_row_can_be_read_for_a_trained_model(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,2\n")
    assert load(tmp_path / "t.csv").n_rows == 1


@pytest.mark.parametrize("content", [b"", b"a,b\n"])
def test_too_little(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match="at least 2 rows"):
        load(path)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("t.xlsx", b"PK", "save the sheet as CSV"), ("t.pkl", b"\x80", "can run code"), ("t.tar.gz", b"", "unpack it"),
    ("t.csv.gz", gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:30], "damaged gzip"), ("t.npz", b"PK\x03\x04 cut", "damaged zip"),
    ("t.png", b"\x89PNG", "single picture"), ("t.bin", b"\x01\x00\x02", "format of this file is not known"),
])
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataFileError, match=message):
        load(tmp_path / name)


def test_size_is_for_pictures(people):
    for source in (people, "digits"):
        with pytest.raises(DataError, match="only pictures"):
            load(source, size=(4, 4))


def test_a_zip_with_one_table(tmp_path, people):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.write(people, "inside.csv")
    data = load(tmp_path / "p.zip")
    assert data.fingerprint == load(people).fingerprint
    assert "inside.csv" in data.notes[0]
    with zipfile.ZipFile(tmp_path / "q.zip", "w") as archive:
        archive.writestr("readme.doc", "")
    with pytest.raises(DataFileError, match=r"no pictures.*readme.doc"):
        load(tmp_path / "q.zip")


def test_fingerprint_is_of_the_content(people, tmp_path):
    base = load(people).fingerprint
    assert len(base) == 64
    (tmp_path / "other.tsv.gz").write_bytes(gzip.compress(people.read_bytes().replace(b",", b"\t")))
    assert load(tmp_path / "other.tsv.gz").fingerprint == base == load(people, label="income").fingerprint
    for old, new in ((b"31", b"32"), (b"Bonn", b"Born"), (b"age", b"years"), (b"?", b"7")):
        people.write_bytes(text := people.read_bytes().replace(old, new))
        assert load(people).fingerprint != base
        people.write_bytes(text.replace(new, old))
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    prints = {Dataset("a", images).fingerprint, Dataset("a", images.reshape(2, 2, 8)).fingerprint,
              Dataset("a", images, pd.Series([0, 1])).fingerprint, Dataset("a", images, pd.Series([1, 0])).fingerprint}
    assert len(prints) == 4


def test_dataset_checks_its_labels():
    with pytest.raises(DataError, match="expected 3 labels, got 2"):
        Dataset("a", np.zeros((3, 2)), pd.Series([0, 1]))


def test_describe_a_table(tmp_path):
    path = tmp_path / "t.csv"
    rows = [f"{i},{'red' if i % 3 else 'blue'},{'true' if i % 2 else 'false'},{i / 4},2024-01-{i:02d},1,{'' if i % 5 else i}"
            for i in range(1, 21)]
    path.write_text("n,colour,ok,price,when,one,gaps\n" + "\n".join(rows))
    data = load(path, label="colour")
    rows = {row["column"]: row for row in describe(data, Schema.fit(data.X))}
    json.dumps(list(rows.values()))
    assert {name: row["kind"] for name, row in rows.items()} == {
        "n": "integer", "colour": "categorical", "ok": "boolean", "price": "numeric", "when": "datetime", "one": "categorical",
        "gaps": "integer"}
    assert rows["n"]["range"] == [1, 20]
    assert rows["price"]["range"] == [0.25, 5.0]
    assert rows["when"]["range"] == ["2024-01-01T00:00:00", "2024-01-20T00:00:00"]
    assert (rows["colour"]["examples"], rows["colour"]["distinct"], rows["colour"]["note"]) == (["red", "blue"], 2, "the label")
    assert (rows["gaps"]["missing"], rows["gaps"]["distinct"]) == (16, 4)
    assert rows["one"]["note"] == "one value only"


def test_describe_images():
    digits = load("digits")
    assert describe(digits, Schema.fit(digits.X)) == [{
        "column": "image", "kind": "image", "missing": 0, "distinct": 17, "range": [0.0, 16.0], "examples": None,
        "note": "1,797 pictures, 8x8, grey, 10 labels"}]


def test_importing_brings_nothing_heavy():
    code = "import sys, ectype.data.sources; print([m for m in ('torch', 'sklearn', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)})
    assert done.stdout.strip() == "[]"
