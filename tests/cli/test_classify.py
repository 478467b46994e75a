"""`ectype classify`: the folder of a run, going on with it, predictions."""

import io
import json
import signal

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ectype.cli.terminal import Line
from ectype.uses.classifier import PretrainedClassifier

SMALL = ("--budget", "20steps", "--net.width", "8", "--latent-dim", "2", "--classes-budget", "150steps")


@pytest.fixture
def few(tmp_path):
    """A CSV of two clumps, one row in three without a label."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 90)
    frame = pd.DataFrame({"a": rng.normal(4 * kind - 2, 1), "b": rng.normal(size=90), "city": rng.choice(["Rome", "Oslo"], 90),
                          "kind": np.array(["left", "right"], dtype=object)[kind]})
    frame.loc[::3, "kind"] = None
    path = tmp_path / "few.csv"
    frame.to_csv(path, index=False)
    return path


def test_fit_and_predict(ectype, few, tmp_path):
    run, out = tmp_path / "run", tmp_path / "predictions.csv"
    answer = ectype("classify", "fit", few, "--label", "kind", "--out", run, *SMALL)
    assert answer.code == 0 and answer.out == ""
    assert "90 rows, 60 labelled" in answer.err and "2 classes from 60 labels" in answer.err and f"predict {run} DATA" in answer.err
    assert sorted(p.name for p in run.iterdir()) == ["config.json", "encoder", "log.jsonl", "model.json", "model.safetensors"]
    config = json.loads((run / "config.json").read_text())
    assert config["condition"] == "kind" and config["params"]["encoder.latent_dim"] == 2 and config["params"]["fine_tune"] is True
    assert json.loads((run / "encoder" / "model.json").read_text())["steps"] == 20
    assert ectype("classify", "predict", run, few, "--out", out).code == 0
    table = pd.read_csv(out)
    assert list(table.columns) == ["prediction", "p_left", "p_right"] and set(table["prediction"]) <= {"left", "right"}
    np.testing.assert_allclose(table[["p_left", "p_right"]].sum(axis=1), 1, atol=2e-4)
    frame = pd.read_csv(few)
    np.testing.assert_array_equal(table["prediction"], PretrainedClassifier.load(run).predict(frame[["a", "b", "city"]]))
    known = frame["kind"].notna()
    assert (table["prediction"] == frame["kind"])[known].mean() > 0.85


def test_predictions_go_to_standard_output(ectype, few, tmp_path):
    assert ectype("classify", "fit", few, "--label", "kind", "--out", tmp_path / "run", *SMALL, "--quiet") == (0, "", "")
    answer = ectype("classify", "predict", tmp_path / "run", few, "--quiet")
    assert answer.code == 0 and answer.err == "" and answer.out.splitlines()[0] == "prediction,p_left,p_right"
    assert len(answer.out.splitlines()) == 91


def test_whole_numbers_with_blanks_stay_whole(ectype, tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=list("abc"))
    frame["y"] = pd.Series(np.arange(40) % 3, dtype="Int64").mask(np.arange(40) > 30)
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert ectype("classify", "fit", tmp_path / "t.csv", "--label", "y", "--out", tmp_path / "run", *SMALL).code == 0
    assert PretrainedClassifier.load(tmp_path / "run").classes_.tolist() == [0, 1, 2]


def test_pictures(ectype, tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    y[20:] = -1
    np.savez(tmp_path / "p.npz", x=rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), y=y)
    words = ("classify", "fit", tmp_path / "p.npz", "--out", tmp_path / "run", *SMALL, "--neighbours", "3", "--agreement-budget", "4steps")
    answer = ectype(*words)
    assert answer.code == 0 and "40 rows, 20 labelled" in answer.err
    assert ectype("classify", "predict", tmp_path / "run", tmp_path / "p.npz", "--out", tmp_path / "o.npz").code == 0
    assert np.load(tmp_path / "o.npz")["x"].shape == (40, 3)


def test_the_encoder_of_another_run(ectype, few, tmp_path):
    start = tmp_path / "start"
    assert ectype("fit", "vae", few, "--drop", "kind", "--out", start, "--budget", "10steps", "--net.width", "8", "--latent-dim", "2").code == 0
    weights = (start / "model.safetensors").read_bytes()
    words = ("classify", "fit", few, "--label", "kind", "--out", tmp_path / "run", "--encoder", start, "--classes-budget", "10steps")
    assert ectype(*words, "--frozen").code == 0
    assert (start / "model.safetensors").read_bytes() == weights and not (tmp_path / "run" / "encoder").exists()
    assert "nothing to do" in ectype(*words, "--frozen").err
    answer = ectype(*words)
    assert answer.code == 2 and "params.fine_tune" in answer.err
    whole = tmp_path / "whole"
    assert ectype("fit", "vae", few, "--out", whole, "--budget", "10steps", "--net.width", "8", "--latent-dim", "2").code == 0
    answer = ectype("classify", "fit", few, "--label", "kind", "--out", tmp_path / "other", "--encoder", whole)
    assert answer.code == 2 and "--drop kind" in answer.err


def test_the_columns_of_a_trained_encoder_say_how_a_file_is_read(ectype, few, tmp_path):
    frame = pd.read_csv(few)
    frame.loc[::9, "b"] = np.nan
    frame.to_csv(few, index=False)
    start = tmp_path / "start"
    ectype("fit", "autoencoder", few, "--drop", "kind", "--out", start, "--budget", "20steps", "--latent-dim", "2")
    small = "a;b;city;kind\n" + "".join(f"{i},5;{'1,5' if i % 2 else 'abc'};Rome;{'left' if i < 3 else 'right'}\n" for i in range(6))
    (tmp_path / "small.csv").write_text(small)
    answer = ectype("classify", "fit", tmp_path / "small.csv", "--label", "kind", "--out", tmp_path / "run", "--encoder", start,
                    "--classes-budget", "5steps")
    assert answer.code == 0 and "b: read with a decimal comma" in answer.err
    assert "b: what is no number counts as blank: 'abc' in row 1 of 6, and 2 more" in answer.err


def test_an_encoder_with_its_own_flags(ectype, few, tmp_path):
    flags = ("--budget", "12steps", "--latent-dim", "2", "--net.width", "8", "--classes-budget", "10steps")
    words = ("classify", "fit", few, "--label", "kind", "--encoder=stacked", *flags, "--no-tied", "--out", tmp_path / "run")
    assert ectype(*words).code == 0
    assert json.loads((tmp_path / "run" / "encoder" / "model.json").read_text())["params"]["tied"] is False
    assert "nothing to do" in ectype(*words).err
    answer = ectype(*words, "--seed", "3")
    assert answer.code == 2 and "seed 0 there, 3 here" in answer.err


def test_ctrl_c_keeps_the_encoder_and_the_same_command_goes_on(ectype, few, tmp_path, monkeypatch):
    words = ("classify", "fit", few, "--label", "kind", *SMALL, "--out")
    assert ectype(*words, tmp_path / "whole").code == 0
    for title, step in (("encoder autoencoder", 7), ("classes", 5)):
        run, pressed = tmp_path / title.split()[0], []

        def press(self, shown, event, title=title, step=step, pressed=pressed):
            if shown == title and event["step"] == step and not pressed:
                pressed.append(step)
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr("ectype.train.loop.REPORT_EVERY_S", 0.0)
        monkeypatch.setattr(Line, "training", press)
        assert ectype(*words, run).code == 130 and pressed and not (run / "model.json").exists()
        answer = ectype(*words, run)
        assert answer.code == 0 and "going on with the" in answer.err
        same = (json.loads((r / "model.json").read_text())["weights_sha256"] for r in (run, tmp_path / "whole"))
        assert len(set(same)) == 1


@pytest.mark.parametrize(("words", "said"), [
    (["fit", "FEW", "--out", "RUN"], "needs labels"), (["fit", "FEW", "--label", "kin", "--out", "RUN"], "kin"),
    (["fit", "FEW", "--label", "kind", "--out", "RUN", "--encoder", "gan"], "cannot encode"),
    (["fit", "FEW", "--label", "kind", "--out", "RUN", "--encoder", "vea"], "did you mean vae"), (["guess"], "classify guess"),
    (["predict", "nowhere", "FEW"], "is not a folder"), (["fit", "FEW", "--label", "b", "--out", "RUN"], "quantities, and classification needs classes"),
    (["fit", "FEW", "--label", "kind", "--out", "RUN", "--neighbours", "-3"], "neighbours"),
])
def test_what_cannot_be_done(ectype, few, tmp_path, words, said):
    answer = ectype("classify", *({"FEW": few, "RUN": tmp_path / "run"}.get(w, w) for w in words))
    assert answer.code == 2 and answer.out == "" and said in answer.err
    assert not (tmp_path / "run").exists()


def test_no_label_and_one_class(ectype, few, tmp_path):
    frame = pd.read_csv(few)
    for values, said in ((None, "no row is labelled"), ("left", "one class only")):
        frame.assign(kind=values).to_csv(few, index=False)
        answer = ectype("classify", "fit", few, "--label", "kind", "--out", tmp_path / "run", *SMALL)
        assert answer.code == 2 and said in answer.err and not (tmp_path / "run").exists()


def test_help(ectype):
    assert "fit|predict" in ectype("classify", "--help").out
    page = ectype("classify", "fit", "--help").out
    assert "--neighbours" in page and "--latent-dim" in page and "--conditional" not in page
    assert "--out" in ectype("classify", "predict", "--help").out
    assert ectype("classify").code == 2


def test_predictions_of_pictures_name_their_files(ectype, tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (24, 6, 6), dtype=np.uint8) // (1 + np.arange(24) % 2)[:, None, None].astype(np.uint8)
    for i, picture in enumerate(levels):
        (tmp_path / "in" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "in" / "ab"[i % 2] / f"{i}.png")
    assert ectype("classify", "fit", tmp_path / "in", "--out", tmp_path / "run", *SMALL[:-1], "5steps").code == 0
    (tmp_path / "in" / "a" / "2.png").write_bytes(b"no picture")
    table = pd.read_csv(io.StringIO(ectype("classify", "predict", tmp_path / "run", tmp_path / "in").out))
    assert list(table.columns) == ["file", "prediction", "p_a", "p_b"]
    assert table["file"].tolist() == [f"{'ab'[k]}/{i}.png" for k in (0, 1) for i in range(k, 24, 2) if i != 2]
