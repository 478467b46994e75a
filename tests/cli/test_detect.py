"""`ectype detect`: from a run and from a saved detector, as a table, with reasons, and as a picture."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ectype import NoveltyDetector, load
from ectype.errors import CalibrationWarning
from ectype.models.autoencoder import Autoencoder
from ectype.spec import Net, Train

R = np.random.default_rng(0)
SHORT = Train(budget="80steps", device="cpu")


def rows(n, seed):
    r = np.random.default_rng(seed)
    z = r.normal(size=n)
    return pd.DataFrame({"a": z, "b": z + 0.1 * r.normal(size=n), "city": r.choice(["Rome", "Oslo"], n)})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """``normal.csv``, ``new.csv`` (its last ten rows are strange) and the runs ``ae``, ``vae``, ``detector``, ``pictures``."""
    folder = tmp_path_factory.mktemp("detect")
    rows(300, 0).to_csv(folder / "normal.csv", index=False)
    new = rows(40, 1)
    new.loc[30:, "a"] += 6.0
    new.to_csv(folder / "new.csv", index=False)
    from ectype.cli import main
    for model in ("autoencoder", "vae"):
        words = ["fit", model, folder / "normal.csv", "--out", folder / model, "--budget", "80steps", "--latent-dim", "1", "--quiet"]
        assert main(list(map(str, words))) == 0
    NoveltyDetector(Autoencoder(latent_dim=1, train=SHORT), random_state=0).fit(rows(300, 0)).save(folder / "detector")
    NoveltyDetector(random_state=0).fit(rows(300, 0)).save(folder / "default")
    images = R.integers(0, 17, (60, 6, 6)).astype(float)
    images.flat[:2] = (0, 16)
    np.save(folder / "images.npy", images)
    NoveltyDetector(Autoencoder(latent_dim=2, net=Net(width=(8,)), train=SHORT), random_state=0).fit(images).save(folder / "pictures")
    return folder


@pytest.mark.parametrize("run", ["autoencoder", "detector", "default"])
def test_a_table_of_verdicts(ectype, files, run):
    answer = ectype("detect", files / run, files / "new.csv", "--out", files / "found.csv", "--explain")
    assert answer.code == 0 and answer.out == ""
    found = pd.read_csv(files / "found.csv")
    assert list(found.columns) == ["score", "p_value", "novel", "why_1", "by_1", "why_2", "by_2", "why_3", "by_3"]
    assert found["novel"][30:].mean() > 0.5 > found["novel"][:30].mean()
    assert f"{found['novel'].sum()} of 40 are novel" in answer.err and (found["by_1"] >= found["by_2"]).all()
    assert set(found["why_1"][30:]) <= {"a", "b"}


def test_the_rate_moves_the_threshold(ectype, files):
    counts = []
    for rate in ("0.04", "0.5"):
        answer = ectype("detect", files / "detector", files / "new.csv", "--out", "-", "--false-alarm-rate", rate, "--quiet")
        counts.append(answer.out.count("True"))
    assert counts[0] < counts[1]
    for words in (["detector"], ["vae", "--normal", files / "normal.csv"]):
        for rate in ("2", "0"):
            answer = ectype("detect", files / words[0], files / "new.csv", *words[1:], "--false-alarm-rate", rate)
            assert answer.code == 2 and "false_alarm_rate" in answer.err.replace("-", "_")


def test_calibration_on_a_file(ectype, files):
    answer = ectype("detect", files / "vae", files / "new.csv", "--normal", files / "normal.csv", "--out", files / "f.csv", "--explain")
    assert answer.code == 0 and "300 normal rows" in answer.err and pd.read_csv(files / "f.csv").notna().all(axis=None)
    assert "explaining 40 rows: 0%  3 columns of each replaced by those of 8 normal rows\n" in answer.err
    answer = ectype("detect", files / "vae", files / "new.csv", "--out", files / "f.csv", "--explain")
    assert answer.code == 2 and f"normal rows, which {files / 'vae'} does not keep\nhint: --normal FILE, with normal rows that" in answer.err
    answer = ectype("detect", files / "detector", files / "new.csv", "--normal", files / "normal.csv")
    assert answer.code == 2 and "calibrated already" in answer.err


def test_a_saved_detector_without_normal_rows_takes_no_flag_for_them(ectype, files, tmp_path):
    model = load(files / "vae")
    NoveltyDetector.calibrated(model, model.score_samples(rows(60, 2))).save(tmp_path / "d")
    answer = ectype("detect", tmp_path / "d", files / "new.csv", "--explain")
    assert answer.code == 2 and "hint: save it with some: NoveltyDetector.calibrated(model, scores, normal)" in answer.err
    assert ectype("detect", tmp_path / "d", files / "new.csv").code == 0


@pytest.mark.parametrize("words", [[], ["--drop", "a"], ["--label", "city"], ["--kind", "n=categorical"]], ids=lambda words: words[0] if words else "all")
def test_normal_rows_that_are_those_of_the_training_are_said(ectype, tmp_path, words):
    """Read in another way than in training (a run's columns tell it how), and cut, they are the same rows."""
    frame = rows(120, 0).assign(n=np.arange(120) % 5, day=pd.date_range("2020-01-01", periods=120).astype(str), price=np.arange(120) / 8)
    frame.loc[::9, "price"] = np.nan
    frame.to_csv(tmp_path / "train.csv", index=False, sep=";", decimal=",")
    assert ectype("fit", "autoencoder", tmp_path / "train.csv", "--out", tmp_path / "run", "--budget", "5steps", "-q", *words).code == 0
    said = f"note: {tmp_path / 'train.csv'} holds the rows that the model was trained on: they look more normal to it than new ones, more than 0.05 of"
    detect = ["detect", tmp_path / "run", tmp_path / "train.csv"]
    answer = ectype(*detect, "--normal", tmp_path / "train.csv")
    assert answer.code == 0 and said in answer.err and "Give others, or leave --normal away\n" in answer.err
    frame[:-1].to_csv(tmp_path / "others.csv", index=False, sep=";", decimal=",")
    for more in ([], ["--normal", tmp_path / "others.csv"]):
        answer = ectype(*detect, *more)
        assert answer.code == 0 and "trained on" not in answer.err


def test_nothing_was_held_out(ectype, files, tmp_path):
    words = ["fit", "autoencoder", files / "normal.csv", "--out", tmp_path / "run", "--budget", "5steps", "--train.validation", "0", "--quiet"]
    assert ectype(*words).code == 0
    answer = ectype("detect", tmp_path / "run", files / "new.csv")
    assert answer.code == 2 and "--normal FILE" in answer.err and "or fit again with 10 or more rows held out" in answer.err
    assert "--train.validation 0.2" in answer.err and "no rows are held out" not in ectype(*words[:-1], "--overwrite").err      # as was asked


@pytest.mark.parametrize(("n", "remedy"), [(60, "--train.validation 0.17 holds 10 out"), (19, "it takes 20 rows")])
def test_what_holds_rows_out_is_said(ectype, tmp_path, n, remedy):
    images = np.random.default_rng(0).integers(0, 256, (n, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "few.npy", images)
    words = ["fit", "autoencoder", tmp_path / "few.npy", "--out", tmp_path / "run", "--budget", "5steps", "--net.width", "8"]
    note = f"`ectype detect`: 0.1 of {n} rows are fewer than 10; {remedy}\n"
    assert note in ectype(*words).err and ectype("detect", tmp_path / "run", tmp_path / "few.npy").code == 2
    if n == 60:
        answer = ectype(*words, *remedy.split()[:2], "--overwrite")
        assert answer.code == 0 and "no rows are held out" not in answer.err
        assert ectype("detect", tmp_path / "run", tmp_path / "few.npy").code == 0


def test_too_few_held_out_rows_for_the_rate(ectype, files):
    answer = ectype("detect", files / "autoencoder", files / "new.csv", "--out", files / "f.csv", "--false-alarm-rate", "0.0001")
    assert answer.code == 0 and "needs 9999" in answer.err and "--normal FILE" in answer.err


def test_a_detector_goes_with_the_model_that_is_replaced(ectype, files, tmp_path):
    folder = NoveltyDetector(Autoencoder(latent_dim=1, train=SHORT), random_state=0).fit(rows(60, 0)).save(tmp_path / "d")
    (folder / "memory.safetensors").write_bytes(b"")
    words = ["fit", "autoencoder", files / "normal.csv", "--out", folder, "--budget", "5steps", "--quiet", "--overwrite"]
    assert ectype(*words).code == 0
    assert not {"detector.json", "memory.safetensors"} & {p.name for p in folder.iterdir()}


def test_categories_never_seen(ectype, files):
    strange = rows(5, 2)
    strange.loc[0, "city"] = "Paris"
    strange.to_csv(files / "strange.csv", index=False)
    answer = ectype("detect", files / "autoencoder", files / "strange.csv")
    assert answer.code == 2 and "Paris" in answer.err and "--unseen novel" in answer.err
    answer = ectype("detect", files / "autoencoder", files / "strange.csv", "--unseen", "novel", "--explain", "--out", files / "g.csv")
    found = pd.read_csv(files / "g.csv")
    assert answer.code == 0 and found["novel"][0] and found["why_1"][0] == "city"


@pytest.mark.parametrize("word", ["ignore", "None"])
def test_a_choice_that_may_be_left_away_is_not_called_none(ectype, files, word):
    for words in (["detect", files / "autoencoder", files / "new.csv", "--unseen", word],
                  ["fit", "ddpm", files / "normal.csv", "--out", files / "no", "--train.optimizer", word]):
        answer = ectype(*words)
        choices = {"--unseen": "('error', 'novel')", "--train.optimizer": "('adam', 'muon')"}[words[-2]]
        assert answer.code == 2 and f"invalid choice '{word}' for argument '{words[-2]}'" in answer.err and f"one of {choices}." in answer.err
    page = ectype("detect", "--help").out
    assert "--unseen {error,novel}" in page and "None" not in page
    for model in ("gan", "flow", "truncated"):
        page = ectype("fit", model, "--help").out
        assert "None" not in page and "without it, " in page


def test_what_was_read_is_said(ectype, files):
    """Cells that say no number are novel where they are called so, and refused by name else; the others are read as they are."""
    (files / "odd.csv").write_text("a;b;city;more\n0,5;0,5;Rome;1\nabc;0,5;Oslo;2\n1,5;n/a?;Paris;3\n")
    for run in ("autoencoder", "default"):
        answer = ectype("detect", files / run, files / "odd.csv", "--unseen", "novel", "--out", files / "o.csv")
        for said in ("a: read with a decimal comma", "a: what is no number counts as blank: 'abc' in row 2 of 3", "b: what is no number counts "
                     "as blank: 'n/a?' in row 3 of 3", "columns that the model does not know are not used: 'more'"):
            assert f"note: {said}\n" in answer.err
        found = pd.read_csv(files / "o.csv")
        assert answer.code == 0 and found["novel"].tolist() == [False, True, True] and found["score"][0] > -100
        answer = ectype("detect", files / run, files / "odd.csv")
        assert answer.code == 2 and "'a' has values that are no numbers" in answer.err and "got 'abc' in row 2 of 3" in answer.err
        assert "counts as blank" not in answer.err and "--unseen novel" in answer.err
    page = " ".join(ectype("detect", "--help").out.replace("│", " ").split())
    assert "blanks and cells that cannot be read" in page


def test_a_word_among_numbers_with_blanks_is_a_blank(ectype, tmp_path):
    """As the training had blanks in that column, it is taken, and said."""
    rows(60, 0).assign(a=lambda f: f["a"].where(f.index % 7 > 0)).to_csv(tmp_path / "train.csv", index=False)
    words = ["fit", "autoencoder", tmp_path / "train.csv", "--out", tmp_path / "run", "--budget", "5steps", "--train.validation", "0.2", "-q"]
    assert ectype(*words).code == 0
    (tmp_path / "new.csv").write_text("a,b,city\n0.5,0.5,Rome\nabc,0.5,Oslo\n")
    answer = ectype("detect", tmp_path / "run", tmp_path / "new.csv", "--out", tmp_path / "found.csv")
    assert answer.code == 0 and "a: what is no number counts as blank: 'abc' in row 2 of 2" in answer.err


def test_categories_that_normal_rows_often_bring(ectype, files, tmp_path):
    normal = rows(120, 0)
    normal.loc[::4, "city"] = [f"village {i}" for i in range(30)]
    with pytest.warns(CalibrationWarning, match="will be refused"):
        NoveltyDetector(Autoencoder(latent_dim=1, train=SHORT), calibration="split", random_state=0).fit(normal).save(tmp_path / "d")
    normal[:5].assign(city="hamlet").to_csv(files / "hamlets.csv", index=False)
    answer = ectype("detect", tmp_path / "d", files / "hamlets.csv", "--unseen", "novel", "--out", files / "h.csv")
    assert answer.code == 0 and "not novel where normal rows often bring one: city 25 %" in answer.err.replace("\n", " ")


def test_the_files_of_pictures_are_named(ectype, files, tmp_path):
    """One that cannot be read shifts no other; of an array, of numbers alone, there is no such column."""
    images = np.load(files / "images.npy")
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for i in range(5):
        Image.fromarray((images[i] * 15).astype(np.uint8)).save(tmp_path / "in" / "sub" / f"a long name {i}.png")
    (tmp_path / "in" / "sub" / "a long name 1.png").write_bytes(b"no picture")
    named = [f"sub/a long name {i}.png" for i in (0, 2, 3, 4)]
    assert ectype("fit", "autoencoder", tmp_path / "in", "--out", tmp_path / "run", "--budget", "2steps", "--net.width", "8", "-q").code == 0
    scores = pd.read_csv(io.StringIO(ectype("score", tmp_path / "run", tmp_path / "in").out))
    assert list(scores.columns) == ["file", "score"] and scores["file"].tolist() == named
    words = ["detect", tmp_path / "run", tmp_path / "in", "--normal", tmp_path / "in", "--out"]
    for more, columns in ([], 4), (["--explain"], 10):
        assert ectype(*words, tmp_path / "f.csv", *more).code == 0
        found = pd.read_csv(tmp_path / "f.csv")
        assert found.columns[0] == "file" and found["file"].tolist() == named and found.shape == (4, columns)
        assert found["score"].tolist() == scores["score"].tolist()
    answer = ectype(*words, tmp_path / "f.npy")
    assert answer.code == 0 and "holds the rows that the model was trained on" in answer.err and np.load(tmp_path / "f.npy").shape == (4, 3)
    assert ectype(*words, tmp_path / "f.png").code == 0
    np.savez(tmp_path / "in.npz", x=(images[:4] * 15).astype(np.uint8))
    assert ectype("score", tmp_path / "run", tmp_path / "in.npz").out.startswith("score\n")


def test_pictures(ectype, files):
    answer = ectype("detect", files / "pictures", files / "images.npy", "--out", files / "found.png")
    assert answer.code == 0 and "of 60 are novel" in answer.err
    picture = np.asarray(Image.open(files / "found.png"))
    assert picture.shape[1] > 5 * picture.shape[0] and picture[picture.shape[0] // 2 :].max() == 255
    answer = ectype("detect", files / "pictures", files / "images.npy", "--explain", "--out", files / "found.csv")
    assert answer.code == 0 and pd.read_csv(files / "found.csv")["why_1"].str.fullmatch(r"\d,\d").all()
    assert "detector.json" in {p.name for p in (files / "pictures").iterdir()} and json.loads((files / "pictures" / "detector.json").read_text())
