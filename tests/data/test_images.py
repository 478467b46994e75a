"""Folders and zips of pictures: every mode that people have lying about, and every way in which a file can be broken."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from ectype.data.files import read
from ectype.errors import DataError, DataFileError, InvalidParameterError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 8), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)


def put(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "gif", "webp"])
def test_lossless_formats(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    for i in range(3):
        put(tmp_path / f"{i}.{suffix}", GREY + np.uint8(i), **options)
    images, labels, _, _ = read(tmp_path)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, [GREY, GREY + np.uint8(1), GREY + np.uint8(2)])
    assert labels is None


def test_colour_and_jpeg(tmp_path):
    put(tmp_path / "a.png", COLOUR)
    put(tmp_path / "b.JPG", np.full((6, 8, 3), (200, 10, 10), np.uint8), quality=95)
    images, _, notes, _ = read(tmp_path)
    np.testing.assert_array_equal(images[0], COLOUR)
    assert np.abs(images[1].astype(int) - (200, 10, 10)).max() < 8
    assert notes == []


def test_pictures_come_in_natural_order(tmp_path):
    for i in (10, 9, 1, 2):
        put(tmp_path / f"p{i}.png", np.full((2, 2), i, np.uint8))
    assert read(tmp_path)[0][:, 0, 0].tolist() == [1, 2, 9, 10]


def test_grey_among_colour_becomes_colour_with_a_note(tmp_path):
    put(tmp_path / "a.png", COLOUR)
    put(tmp_path / "b.png", GREY)
    images, _, notes, _ = read(tmp_path)
    np.testing.assert_array_equal(images[1], np.repeat(GREY[..., None], 3, axis=-1))
    assert notes == ["grey, read as colour like the others: 1 of 2 pictures"]


def test_grey_stored_in_colour_is_grey(tmp_path):
    for name in "ab":
        put(tmp_path / f"{name}.png", np.repeat(GREY[..., None], 3, axis=-1))
    images, _, notes, _ = read(tmp_path)
    assert images.shape == (2, 6, 8)
    assert "stored in colour" in notes[0]


def test_sixteen_bits(tmp_path):
    deep = RNG.integers(0, 65536, (6, 8), dtype=np.uint16)
    for name in ("a.png", "b.tif"):
        put(tmp_path / name, deep)
    images, _, notes, _ = read(tmp_path)
    np.testing.assert_array_equal(images, [np.round(deep / 257)] * 2)
    assert notes == ["16 bits scaled to 8: 2 of 2 pictures"]


def test_transparency_is_laid_on_white(tmp_path):
    put(tmp_path / "a.png", np.dstack([COLOUR, np.zeros((6, 8), np.uint8)]))
    put(tmp_path / "b.png", np.dstack([COLOUR, np.full((6, 8), 255, np.uint8)]))
    images, _, notes, _ = read(tmp_path)
    assert (images[0] == 255).all()
    np.testing.assert_array_equal(images[1], COLOUR)
    assert notes == ["transparent parts laid on white: 1 of 2 pictures"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_is_read(tmp_path, mode):
    suffix = "tif" if mode in ("CMYK", "YCbCr") else "png"
    for i in range(2):
        put(tmp_path / f"{i}.{suffix}", Image.fromarray(COLOUR).convert(mode))
    images, _, _, _ = read(tmp_path)
    assert images.shape == ((2, 6, 8) if mode in ("1", "L", "LA") else (2, 6, 8, 3))


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    for name in "ab":
        put(tmp_path / f"{name}.gif", frames[0], save_all=True, append_images=frames[1:])
    images, _, notes, _ = read(tmp_path)
    np.testing.assert_array_equal(images[0], GREY)
    assert notes == ["first of several frames read: 2 of 2 pictures"]


def test_orientation_is_obeyed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6                                                    # turned by a quarter
    put(tmp_path / "a.png", np.ascontiguousarray(np.rot90(COLOUR)), exif=exif)
    put(tmp_path / "b.png", COLOUR)
    images, _, _, _ = read(tmp_path)
    np.testing.assert_array_equal(images[0], COLOUR)


def test_sub_folders_are_labels(tmp_path):
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        put(tmp_path / name, GREY)
    labels = read(tmp_path)[1]
    assert (labels.name, labels.tolist()) == ("label", ["cat", "cat", "dog"])
    put(tmp_path / "stray.png", GREY)
    _, labels, notes, _ = read(tmp_path)
    assert labels is None
    assert "1 of 4 lie outside" in notes[0]


def test_zip_with_a_folder_around_it(tmp_path):
    for name in ("cat/1.png", "dog/1.png"):
        put(tmp_path / name, COLOUR)
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for name in ("cat/1.png", "dog/1.png"):
            archive.write(tmp_path / name, f"pets/{name}")
        archive.writestr("__MACOSX/pets/._1.png", b"not a picture")
    images, labels, notes, _ = read(tmp_path / "pets.zip")
    assert images.shape == (2, 6, 8, 3)
    assert labels.tolist() == ["cat", "dog"]
    assert notes == []
    assert read(tmp_path / "pets.zip").files == ("pets/cat/1.png", "pets/dog/1.png")


def test_corrupt_pictures_are_left_out_and_named(tmp_path):
    for i in range(4):
        put(tmp_path / f"{i}.png", COLOUR)
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:80])
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "zero.gif").write_bytes(b"")
    (tmp_path / ".hidden.png").write_bytes(b"")
    images, _, notes, files = read(tmp_path)
    assert len(images) == 4 and files == ("0.png", "1.png", "2.png", "3.png")
    assert notes[0].startswith("left out, because they cannot be read, 3 of 7 pictures: cut.png (")
    assert "text.jpg (not a picture); zero.gif (not a picture)" in notes[0]


def test_a_damaged_member_of_a_zip_is_left_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i in range(3):
            put(tmp_path / f"{i}.png", COLOUR)
            archive.write(tmp_path / f"{i}.png", f"{i}.png")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[100] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(data)
    images, _, notes, _ = read(tmp_path / "a.zip")
    assert len(images) == 2
    assert "0.png (Bad CRC-32" in notes[0]


def test_mixed_sizes(tmp_path):
    for i in range(3):
        put(tmp_path / f"{i}.png", COLOUR)
    put(tmp_path / "big.png", np.full((20, 10, 3), (9, 99, 199), np.uint8))
    with pytest.raises(DataError, match=r"got 6x8 \(3\), 20x10 \(1\)\n.*--size 6x8"):
        read(tmp_path)
    images, _, notes, _ = read(tmp_path, size=(6, 8))
    np.testing.assert_array_equal(images[:3], [COLOUR] * 3)
    assert (images[3] == (9, 99, 199)).all()
    assert notes == ["cut centrally and resized to 6x8: 1 of 4 pictures"]


@pytest.mark.parametrize("size", [(0, 4), (4,), (2.5, 4)])
def test_bad_size(tmp_path, size):
    put(tmp_path / "a.png", GREY)
    with pytest.raises(InvalidParameterError, match="height and a width"):
        read(tmp_path, size=size)


def test_nothing_to_read(tmp_path):
    with pytest.raises(DataFileError, match=r"holds no pictures.*got no files"):
        read(tmp_path)
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(DataFileError, match=r"give one file: .*t.csv"):
        read(tmp_path)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataFileError, match=r"no picture can be read.*a.png: not a picture; b.png: not a picture"):
        read(tmp_path)


def test_pictures_beyond_16_bits_are_refused(tmp_path):
    put(tmp_path / "a.tif", RNG.normal(size=(6, 8)).astype(np.float32))
    with pytest.raises(DataFileError, match="beyond 16 bits"):
        read(tmp_path)
