"""Folders and zips of WAV files: every width of sample, and every way in which recordings can differ or be broken."""

import io
import struct
import wave
import zipfile

import numpy as np
import pytest
from scipy.io import wavfile

from ectype.data.files import read
from ectype.data.sources import load
from ectype.data.waves import decode_wave, write_wave
from ectype.errors import DataError, DataFileError, InvalidParameterError

RATE = 8000
SOUND = np.sin(np.arange(50) / 3) * 0.9
STEREO = np.stack([SOUND, -SOUND], axis=1)


def put(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, samples)


def pcm(samples, width):
    """A file of the standard library's writer."""
    top = 2 ** (8 * width - 1)
    levels = np.round(samples * (top - 1)).astype(np.int64)
    if width == 1:
        data = (levels + 128).astype(np.uint8).tobytes()
    else:
        data = b"".join(int(v).to_bytes(width, "little", signed=True) for v in levels.ravel())
    content = io.BytesIO()
    with wave.open(content, "wb") as f:
        f.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        f.setsampwidth(width)
        f.setframerate(RATE)
        f.writeframes(data)
    return content.getvalue()


@pytest.mark.parametrize("samples", [SOUND, STEREO], ids=["mono", "stereo"])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_pcm_of_every_width(width, samples):
    rate, found = decode_wave(pcm(samples, width))
    assert rate == RATE and found.dtype == np.float32 and np.abs(found).max() <= 1
    np.testing.assert_allclose(found, samples.reshape(50, -1), atol=1.5 / 2 ** (8 * width - 1) + 1e-7)


def test_full_scale_is_one():
    for dtype, low in ((np.uint8, 0), (np.int16, -(2**15)), (np.int32, -(2**31))):
        content = io.BytesIO()
        wavfile.write(content, RATE, np.array([low, low], dtype))
        assert decode_wave(content.getvalue())[1].min() == -1


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
def test_what_is_written_is_read(dtype):
    samples = (STEREO * 100 + 100).astype(dtype) if np.dtype(dtype).kind in "iu" else STEREO.astype(dtype)
    content = io.BytesIO()
    write_wave(content, RATE, samples)
    expected = {np.uint8: (samples.astype(float) - 128) / 128, np.int16: samples / 2**15}.get(dtype, samples)
    np.testing.assert_allclose(decode_wave(content.getvalue())[1], expected, atol=1e-7)


@pytest.mark.parametrize(("samples", "shape"), [(SOUND, (3, 50)), (STEREO, (3, 50, 2))], ids=["mono", "stereo"])
def test_a_folder(tmp_path, samples, shape):
    for i in (10, 9, 1):
        put(tmp_path / f"{i}.WAV", (samples * i / 10).astype(np.float32))
    data = load(tmp_path)
    assert data.X.shape == shape and data.X.dtype == np.float32 and data.notes == ()
    assert (data.is_signal, data.signal, data.rate, data.y) == (True, "signal@8000", RATE, None)
    np.testing.assert_allclose(data.X[2], samples, atol=1e-6)      # 10.WAV comes after 9.WAV


def test_labels_are_the_sub_folders(tmp_path):
    for name in ("cat/1.wav", "cat/2.wav", "dog/1.wav"):
        put(tmp_path / name, SOUND.astype(np.float32))
    assert load(tmp_path, label="label").y.tolist() == ["cat", "cat", "dog"]
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for path in tmp_path.rglob("*.wav"):
            archive.write(path, path.relative_to(tmp_path))
    data = load(tmp_path / "pets.zip")
    assert data.X.shape == (3, 50) and data.y.tolist() == ["cat", "cat", "dog"]
    windows = load(tmp_path, size=20)
    assert windows.X.shape == (6, 20) and windows.y.tolist() == ["cat"] * 4 + ["dog"] * 2
    put(tmp_path / "stray.wav", SOUND.astype(np.float32))
    assert any("not every recording lies in a sub-folder" in note for note in load(tmp_path).notes)


def test_windows(tmp_path):
    put(tmp_path / "a.wav", np.arange(50, dtype=np.float32) / 100)
    put(tmp_path / "b.wav", np.arange(31, dtype=np.float32) / 100)
    put(tmp_path / "c.wav", np.arange(8, dtype=np.float32) / 100)
    with pytest.raises(DataError, match=r"50 samples \(1\), 31 samples \(1\), 8 samples \(1\)\nhint: --size 8"):
        load(tmp_path)
    data = load(tmp_path, size=(15,))
    np.testing.assert_allclose(data.X[:, 0] * 100, [0, 15, 30, 0, 15], atol=1e-5)
    assert "cut into windows of 15 samples: 5 from 3 recordings" in data.notes[0]
    assert data.notes[1:] == ("too short for a window, and left out: 1 of 3 recordings",
                              "the remainder after the last window is dropped: 15.7% of all samples")
    with pytest.raises(DataError, match="shorter than one window"):
        load(tmp_path, size=51)


def test_one_length_needs_no_words(tmp_path):
    for name in "ab":
        put(tmp_path / f"{name}.wav", SOUND.astype(np.float32))
    assert load(tmp_path, size=50).notes == ()


@pytest.mark.parametrize("size", [(20, 20), (1,), (0,), (2.5,)])
def test_a_size_that_is_no_length(tmp_path, size):
    put(tmp_path / "a.wav", SOUND.astype(np.float32))
    with pytest.raises(InvalidParameterError, match="--size 4000"):
        load(tmp_path, size=size)


def test_a_single_recording_is_cut_or_refused(tmp_path):
    put(tmp_path / "a.wav", SOUND.astype(np.float32))
    with pytest.raises(DataFileError, match="single recording"):
        load(tmp_path / "a.wav")
    assert load(tmp_path / "a.wav", size=25).X.shape == (2, 25)


def test_rates_and_channels_must_agree(tmp_path):
    for i, rate in enumerate((8000, 8000, 44100)):
        put(tmp_path / f"{i}.wav", SOUND.astype(np.float32), rate)
    with pytest.raises(DataError, match=r"8000 Hz \(2\), 44100 Hz \(1\)\nhint: resample them to 8000 Hz"):
        load(tmp_path)
    put(tmp_path / "2.wav", np.stack([SOUND] * 3, 1).astype(np.float32))
    put(tmp_path / "1.wav", STEREO.astype(np.float32))
    with pytest.raises(DataError, match="different numbers of channels"):
        load(tmp_path)


def test_mono_among_stereo_is_heard_on_both(tmp_path):
    put(tmp_path / "a.wav", STEREO.astype(np.float32))
    put(tmp_path / "b.wav", SOUND.astype(np.float32))
    data = load(tmp_path)
    np.testing.assert_allclose(data.X[1], np.stack([SOUND, SOUND], 1), atol=1e-6)
    assert data.notes == ("mono, heard on 2 channels like the others: 1 of 2 recordings",)


def broken_files():
    good = pcm(SOUND, 2)
    nan = io.BytesIO()
    wavfile.write(nan, RATE, np.array([0.1, np.nan], np.float32))
    empty = io.BytesIO()
    wavfile.write(empty, RATE, np.zeros(0, np.int16))
    return {"cut": good[:-20], "odd": good[:-21], "header": good[:30], "text": b"not a sound", "nothing": b"", "nan": nan.getvalue(),
            "empty": empty.getvalue(), "no data": good[:36], "no channels": good[:22] + struct.pack("<H", 0) + good[24:],
            "mp3": good[:20] + struct.pack("<H", 85) + good[22:]}


@pytest.mark.parametrize("name", broken_files())
def test_broken_files_are_left_out_and_named(tmp_path, name):
    put(tmp_path / "good.wav", SOUND.astype(np.float32))
    (tmp_path / "bad.wav").write_bytes(broken_files()[name])
    data = load(tmp_path)
    assert data.X.shape == (1, 50) and data.notes[0].startswith("left out, because they cannot be read, 1 of 2 recordings: bad.wav (")
    (tmp_path / "good.wav").unlink()
    with pytest.raises(DataFileError, match="no recording can be read"):
        load(tmp_path)


def test_a_stream_without_an_end_and_unknown_chunks_are_read():
    good = pcm(SOUND, 2)
    stream = good[:4] + b"\xff" * 4 + good[8:40] + b"\xff" * 4 + good[44:]
    assert decode_wave(stream)[1].shape == (50, 1)
    with_cue = good[:36] + b"cue " + struct.pack("<I", 4) + b"1234" + good[36:]
    with_cue = with_cue[:4] + struct.pack("<I", len(with_cue) - 8) + with_cue[8:]
    assert decode_wave(with_cue)[1].shape == (50, 1)


def test_floats_beyond_one_are_kept_with_a_word(tmp_path):
    put(tmp_path / "a.wav", (3 * SOUND).astype(np.float32))
    recordings, _, notes, _ = read(tmp_path)
    assert np.abs(recordings.samples).max() > 2 and notes == ["floats beyond ±1 are kept as they are"]


def test_among_pictures_the_more_numerous_win(tmp_path):
    from PIL import Image
    put(tmp_path / "a.wav", SOUND.astype(np.float32))
    put(tmp_path / "b.wav", SOUND.astype(np.float32))
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    assert load(tmp_path).is_signal and load(tmp_path).notes == ("left out, beside the recordings: 1 pictures",)
    Image.new("L", (4, 4)).save(tmp_path / "b.png")
    assert load(tmp_path).is_image


def test_a_table_has_no_size(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 8)))
    with pytest.raises(DataFileError, match="leave size out"):
        load(tmp_path / "a.npy", kinds="signal", size=4)
