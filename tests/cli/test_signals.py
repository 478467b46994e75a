"""Signals on the command line: how they are named, learnt from, and written in every format."""

import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import wavfile

from ectype.cli import main
from ectype.cli.files import Output, file_names
from ectype.cli.plots import MOST, draw_signals
from ectype.data.schema import Schema
from ectype.data.sources import load
from ectype.errors import DataFileError

SMALL = ["--budget", "4steps", "--latent-dim", "2", "--net.width", "8"]


def sines(n=30, length=32, channels=0, seed=0):
    rng = np.random.default_rng(seed)
    x = 0.4 * np.sin(2 * np.pi * (3 * np.arange(length) / length + rng.random((n, 1)))) + 0.02 * rng.normal(size=(n, length))
    return np.stack([x] * channels, axis=-1) if channels else x


def block(channels=0, kind="signal", dtype=float):
    return Schema.fit((100 * sines(channels=channels)).astype(dtype), kinds=kind).blocks[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, and runs on them: ``csv`` (conditional), ``two`` (two channels, no rate) and ``wav``."""
    folder = tmp_path_factory.mktemp("signals")
    pd.DataFrame(sines()).assign(who="x", side=["left", "right"] * 15).to_csv(folder / "s.csv", index=False)
    np.save(folder / "two.npy", sines(channels=2))
    for i, wave in enumerate(sines(8, 64)):
        (folder / "sounds" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        wavfile.write(folder / "sounds" / "ab"[i % 2] / f"{i}.wav", 1000, wave.astype(np.float32))
    for name, words in {"csv": ["s.csv", "--kind", "signal", "--label", "side", "--drop", "who", "--conditional"],
                        "two": ["two.npy", "--kind", "signal"], "wav": ["sounds", "--size", "32"]}.items():
        assert main(["fit", "vae", str(folder / words[0]), *words[1:], *SMALL, "--quiet", "--out", str(folder / name)]) == 0
    return folder


# ------------------------------------------------------------------------------------------------------------------- reading


def test_data_are_described(ectype, folder):
    answer = ectype("data", folder / "sounds", "--size", "32")
    assert answer.code == 0 and "sounds: 16 signals" in answer.out and "32 samples, 1 channel, 1,000 Hz" in answer.out
    assert "cut into windows of 32 samples: 16 from 8 recordings" in answer.err
    answer = ectype("data", folder / "two.npy", "--kind", "signal@50", "--json")
    content = json.loads(answer.out)
    assert content["kind"] == "signals" and content["columns"][0]["kind"] == "signal" and "2 channels, 50 Hz" in content["columns"][0]["note"]


def test_the_configuration_keeps_how_the_data_were_read(folder):
    reading = {name: json.loads((folder / name / "config.json").read_text())["data"] for name in ("csv", "two", "wav")}
    assert [reading[n]["kinds"] for n in ("csv", "two", "wav")] == ["signal", "signal", "signal@1000"]
    assert reading["wav"]["size"] == [32]


def test_the_same_command_again_finds_its_run(ectype, folder):
    answer = ectype("fit", "vae", folder / "sounds", "--size", "32", *SMALL, "--out", folder / "wav")
    assert answer.code == 0 and "nothing to do" in answer.err and "sounds: 16 signals, 32 samples, 1 channel, 1,000 Hz" in answer.err


@pytest.mark.parametrize(("words", "said"), [
    ("s.csv --kind signal", "--drop who"), ("s.csv --kind signal --drop who,side --size 8", "leave size out"),
    ("s.csv --kind signals", "or --kind signal"), ("s.csv --kind signal@fast", "or --kind signal"), ("sounds --size 20x20", "--size 4000"),
    ("sounds --size 100", "--size 64"), ("sounds --kind a=integer", "unknown column"),
])
def test_mistakes(ectype, folder, words, said):
    answer = ectype("fit", "vae", *(folder / w if w in ("s.csv", "sounds") else w for w in words.split()), "--out", folder / "none")
    assert answer.code == 2 and said in answer.err


def test_labels_are_for_conditional_models(ectype, folder):
    answer = ectype("fit", "vae", folder / "s.csv", "--kind", "signal", "--label", "side", "--drop", "who", *SMALL, "--out", folder / "plain")
    assert answer.code == 0 and "labels of signals are used by a conditional model only" in answer.err and "samples.png" in answer.err


# ------------------------------------------------------------------------------------------------------------------- applying


def test_a_table_with_the_columns_of_the_training_is_understood(ectype, folder):
    scores = ectype("score", folder / "csv", folder / "s.csv")
    assert scores.code == 0 and len(pd.read_csv(io.StringIO(scores.out))) == 30
    assert ectype("reconstruct", folder / "csv", folder / "s.csv", "--out", folder / "r.npz").code == 0
    again = load(folder / "r.npz", kinds="signal")
    assert again.X.shape == (30, 32) and set(again.y) == {"left", "right"}


def test_recordings_are_cut_as_in_training(ectype, folder):
    assert ectype("encode", folder / "wav", folder / "sounds").out.count("\n") == 17
    assert ectype("encode", folder / "wav", folder / "sounds" / "a" / "0.wav").out.count("\n") == 3
    scores = [line.split(",")[0] for line in ectype("score", folder / "wav", folder / "sounds").out.splitlines()]
    assert scores == ["file", *(f"{'ab'[i % 2]}/{i}.wav" for i in (0, 2, 4, 6, 1, 3, 5, 7) for _ in range(2))]
    np.save(folder / "rows.npy", sines(5))
    assert ectype("encode", folder / "wav", folder / "rows.npy").out.count("\n") == 6       # an array has no windows


def test_another_rate_is_said(ectype, folder, tmp_path):
    wavfile.write(tmp_path / "fast.wav", 2000, sines(1)[0].astype(np.float32))
    answer = ectype("score", folder / "wav", tmp_path / "fast.wav", "--size", "32")
    assert answer.code == 0 and "2,000 samples per second, those of the training 1,000" in answer.err


def test_another_length_is_refused(ectype, folder):
    np.save(folder / "short.npy", sines(5, 20))
    answer = ectype("score", folder / "wav", folder / "short.npy")
    assert answer.code == 2 and "expected (N, 32), got (1, 20)" in answer.err


@pytest.mark.parametrize("out", ["s.csv", "s.npy", "s.npz", "s.parquet", "-"])
def test_samples_of_one_channel_are_tables_and_arrays(ectype, folder, tmp_path, out):
    if out.endswith("parquet"):
        pytest.importorskip("pyarrow")
    answer = ectype("sample", folder / "wav", "-n", 3, "--out", out if out == "-" else tmp_path / out)
    assert answer.code == 0
    X = pd.read_csv(io.StringIO(answer.out)) if out == "-" else load(tmp_path / out, kinds="signal").X
    assert X.shape == (3, 32)


def test_samples_are_recordings_again(ectype, folder, tmp_path):
    assert ectype("sample", folder / "wav", "-n", 3, "--out", tmp_path / "s.zip").code == 0
    assert ectype("sample", folder / "wav", "-n", 3, "--out", f"{tmp_path / 'sounds'}/").code == 0
    assert ectype("sample", folder / "wav", "-n", 3, "--out", tmp_path / "s.npy").code == 0
    zipped, unzipped = load(tmp_path / "s.zip"), load(tmp_path / "sounds")
    assert zipped.rate == unzipped.rate == 1000 and sorted(p.name for p in (tmp_path / "sounds").iterdir())[-1] == "0002.wav"
    np.testing.assert_array_equal(zipped.X, np.load(tmp_path / "s.npy"))
    np.testing.assert_array_equal(unzipped.X, zipped.X)
    answer = ectype("sample", folder / "wav", "--out", f"{tmp_path / 'sounds'}/")
    assert answer.code == 2 and "a new or an empty folder" in answer.err and len(load(tmp_path / "sounds").X) == 3


def test_the_condition_goes_with_the_samples(ectype, folder, tmp_path):
    assert ectype("sample", folder / "csv", "-n", 4, "--condition", "left", "right", "--out", tmp_path / "s.csv").code == 0
    assert pd.read_csv(tmp_path / "s.csv")["side"].tolist() == ["left", "right"] * 2


@pytest.mark.parametrize("words", [("sample", "two", "-n", "9"), ("reconstruct", "two", "two.npy"), ("sample", "csv", "--condition", "left")])
def test_pictures(ectype, folder, tmp_path, words):
    words = [folder / w if w in ("two", "csv", "two.npy") else w for w in words]
    assert ectype(*words, "--out", tmp_path / "s.png").code == 0
    with Image.open(tmp_path / "s.png") as picture:
        assert min(picture.size) > 200 and len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_a_comparison(ectype, folder, tmp_path):
    answer = ectype("compare", folder / "two.npy", "--kind", "signal@50", "--models", "vae", "--budget", "3steps", "--seeds", "1",
                    "--out", tmp_path / "c")
    assert answer.code == 0
    results = json.loads((tmp_path / "c" / "results.json").read_text())
    assert results["data"]["kind"] == "signals" and results["data"]["schema"][0]["rate"] == 50 and results["settings"]["kinds"] == "signal@50"
    assert results["models"]["vae"]["error"] is None and set(results["models"]["vae"]["metrics"]) >= {"c2st", "frechet_features", "coverage"}
    assert np.load(tmp_path / "c" / "samples" / "vae.npz")["x"].shape == (6, 32, 2)
    assert 'class="chart signals"' in (tmp_path / "c" / "report.html").read_text()


# ------------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize(("out", "signal", "words"), [
    ("s.zip", block(), "--kind signal@RATE"), ("s/", block(), "--kind signal@RATE"), ("s.csv", block(2), "they have 2 channels"),
    ("-", block(2), "standard output"), ("s.wav", block(kind="signal@8"), ".zip, FOLDER/"), ("no/such/s.zip", block(kind="signal@8"), "mkdir"),
])
def test_outputs_that_do_not_fit_are_refused_before_the_work(tmp_path, monkeypatch, out, signal, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataFileError) as caught:
        Output(out, signal=signal)
    assert words in str(caught.value) and not list(tmp_path.iterdir())


def test_recordings_of_whole_numbers_stay_whole(tmp_path):
    X = (100 * sines(2)).astype(np.int16)
    Output(str(tmp_path / "s.zip"), signal=block(kind="signal@8", dtype=np.int16)).write_signals(X)
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        rate, wave = wavfile.read(io.BytesIO(archive.read("0001.wav")))
    assert rate == 8
    np.testing.assert_array_equal(wave, X[1])


def test_labels_name_the_folders_of_recordings():
    assert file_names(2, None, ".wav") == ["0000.wav", "0001.wav"]
    y = pd.Series(["../up", "a/b", "...", "Größe 1.5"])
    assert [name.rpartition("/")[0] for name in file_names(4, y, ".wav")] == ["_up", "a_b", "_", "Größe 1.5"]
    assert file_names(2, pd.Series([None, 2], dtype=object), ".wav") == ["_/0000.wav", "2/0001.wav"]
    assert file_names(12_000, None, ".wav")[-1] == "11999.wav"


@pytest.mark.parametrize("format_", ["zip", "folder"])
def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch, format_):
    def fail(f, rate, wave):
        raise ZeroDivisionError

    monkeypatch.setattr("ectype.cli.files.write_wave", fail)
    output = Output(str(tmp_path / "s.zip") if format_ == "zip" else f"{tmp_path}/s/", signal=block(kind="signal@8"))
    with pytest.raises(ZeroDivisionError):
        output.write_signals(sines(2), pd.Series(["a", "b"]))
    assert not list(tmp_path.iterdir())


def test_the_same_signals_give_the_same_bytes(tmp_path):
    for suffix in ("zip", "png"):
        for name in "ab":
            Output(str(tmp_path / f"{name}.{suffix}"), signal=block(kind="signal@8")).write_signals(sines(3))
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_picture_of_many_signals_shows_the_first():
    pictures = []
    for X in (sines(MOST + 30), sines(MOST + 30)[: MOST + 5], sines(1), np.full((2, 2), 3.0)):
        content = io.BytesIO()
        draw_signals(content, X)
        pictures.append(Image.open(content).size)
    assert pictures[0] == pictures[1] and pictures[0][1] > pictures[2][1]


def test_files_of_another_kind_than_the_training_are_called_so(ectype, folder, tmp_path):
    """Whether a size was asked for in the training or not, as a folder, a zip or a single file."""
    r = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(12):
        Image.fromarray(r.integers(0, 256, (6, 8), dtype=np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
    with zipfile.ZipFile(tmp_path / "sounds.zip", "w") as z:
        for file in sorted((folder / "sounds").rglob("*.wav")):
            z.write(file, file.name)
    pd.DataFrame(sines(n=20, length=3)).to_csv(tmp_path / "t.csv", index=False)
    for name, words in {"as they are": ["pictures"], "resized": ["pictures", "--size", "5x5"], "table": ["t.csv"]}.items():
        assert main(["fit", "vae", str(tmp_path / words[0]), *words[1:], *SMALL, "--quiet", "--out", str(tmp_path / name)]) == 0
    for name, of in (("as they are", "pictures: expected pictures of 6x8"), ("resized", "pictures: expected pictures of 5x5"),
                     ("table", "a table: expected a table of 3 columns")):
        for sounds in (folder / "sounds", tmp_path / "sounds.zip", folder / "sounds" / "a" / "0.wav"):
            answer = ectype("score", tmp_path / name, sounds)
            assert answer.code == 2 and answer.err == f"error: sounds were given to a model of {of}, got {sounds}\n"
    for run, length in ((folder / "wav", 32), (folder / "two", 32)):
        answer = ectype("score", run, tmp_path / "pictures")
        assert answer.code == 2 and answer.err == ("error: pictures were given to a model of signals: expected WAV files or other signals, of "
                                                   f"{length} samples, got {tmp_path / 'pictures'}\n")
    assert ectype("score", tmp_path / "table", tmp_path / "pictures").err.startswith("error: pictures were given to a model of a table")
    answer = ectype("score", tmp_path / "resized", tmp_path / "pictures", "--size", "9")        # what was asked for is what is wrong
    assert answer.code == 2 and "size is not a height and a width" in answer.err
