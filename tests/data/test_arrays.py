"""NPY, NPZ and IDX files."""

import gzip
import io
import struct

import numpy as np
import pytest

from ectype.data.arrays import read_idx, read_npy, read_npz
from ectype.data.files import read
from ectype.errors import DataFileError

IMAGES = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
ROWS = np.linspace(0, 1, 10).reshape(5, 2)


def npy(array):
    np.save(buffer := io.BytesIO(), array)
    return buffer.getvalue()


def npz(**arrays):
    np.savez(buffer := io.BytesIO(), **arrays)
    return buffer.getvalue()


def idx(array, code=0x08):
    big = array.astype({0x08: ">u1", 0x0B: ">i2", 0x0D: ">f4"}[code])
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + big.tobytes()


def test_npz_of_rows_and_labels():
    X, y, notes = read_npz(npz(x=ROWS, y=np.arange(5)))
    np.testing.assert_array_equal(X, ROWS)
    assert (y.name, y.tolist(), notes) == ("y", [0, 1, 2, 3, 4], [])


def test_npz_other_names_are_said():
    X, y, notes = read_npz(npz(images=IMAGES, labels=np.array(list("abcde"))[:, None], extra=ROWS))
    np.testing.assert_array_equal(X, IMAGES)
    assert y.tolist() == list("abcde")
    assert notes == ["rows are read from the array 'images'", "labels are read from the array 'labels'",
                     "other arrays are left out: 'extra'"]


@pytest.mark.parametrize(("data", "message"), [
    (npz(a=ROWS, b=ROWS), "expected x, or one of.*got 'a', 'b'"),
    (npz(x=np.array([{}, 1], dtype=object)), "pickled objects"),
    (npz(x=ROWS, y=np.eye(5)), "labels of this shape.*got \\(5, 5\\)"),
    (npz(x=np.ones((2,) * 5)), "array of this shape"),
    (npz(x=np.ones((3, 2), complex)), "neither numbers nor words"),
])
def test_npz_mistakes(data, message):
    with pytest.raises(DataFileError, match=message):
        read_npz(data)


def test_npy_shapes():
    assert read_npy(npy(IMAGES))[0].shape == (5, 4, 3)
    assert read_npy(npy(np.arange(4.0)))[0].shape == (4, 1)
    channels_first, _, notes = read_npy(npy(np.zeros((2, 3, 8, 9))))
    assert channels_first.shape == (2, 8, 9, 3)
    assert "channels came first" in notes[0]
    assert read_npy(npy(IMAGES > 9))[0].dtype == np.uint8


def test_npy_of_records_and_words_is_a_table():
    records = np.array([(1, 2.5, b"a"), (2, 3.5, b"b")], dtype=[("i", "i4"), ("f", "f8"), ("s", "S1")])
    assert read_npy(npy(records))[0].to_dict("list") == {"i": [1, 2], "f": [2.5, 3.5], "s": ["a", "b"]}
    assert read_npy(npy(np.array([["1", "a"], ["2", "b"]])))[0]["x1"].tolist() == ["a", "b"]


def test_npy_damaged():
    with pytest.raises(DataFileError, match="damaged"):
        read_npy(npy(ROWS)[:100])


@pytest.mark.parametrize("code", [0x08, 0x0B, 0x0D])
def test_idx_types(code):
    array = read_idx(idx(IMAGES, code))
    np.testing.assert_array_equal(array, IMAGES)
    assert array.dtype.isnative


@pytest.mark.parametrize(("data", "message"), [
    (idx(IMAGES)[:-1], "cut short: expected 76 bytes, got 75"), (idx(IMAGES)[:9], "cut short"), (idx(IMAGES) + b"x", "longer")])
def test_idx_mistakes(data, message):
    with pytest.raises(DataFileError, match=message):
        read_idx(data)


@pytest.mark.parametrize("name", ["my-labels-idx1-ubyte", "my-labels-idx1-ubyte.gz"])
def test_idx_brings_its_labels(tmp_path, name):
    images = tmp_path / "my-images-idx3-ubyte.gz"
    images.write_bytes(gzip.compress(idx(IMAGES)))
    assert read(images)[1] is None
    labels = idx(np.arange(5))
    (tmp_path / name).write_bytes(gzip.compress(labels) if name.endswith(".gz") else labels)
    X, y, notes, _ = read(images)
    np.testing.assert_array_equal(X, IMAGES)
    assert y.tolist() == [0, 1, 2, 3, 4]
    assert notes == [f"labels are read from {name}"]
    with pytest.raises(DataFileError, match="holds labels"):
        read(tmp_path / name)


def test_idx_labels_that_do_not_match(tmp_path):
    (tmp_path / "a-images-idx3-ubyte").write_bytes(idx(IMAGES))
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(idx(np.arange(4)))
    with pytest.raises(DataFileError, match=r"expected 5 labels.*got 4"):
        read(tmp_path / "a-images-idx3-ubyte")
