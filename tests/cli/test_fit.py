"""`ectype fit`: the folder of a run, going on with it, and refusing to lose one."""

import errno
import json
import shlex
import signal

import numpy as np
import pandas as pd
import pytest

from ectype.cli.terminal import Line
from ectype.estimator import load

SMALL = ("--net.width", "8", "--latent-dim", "2")


def _interrupt_at(monkeypatch, step):
    """Press Ctrl-C once, when the loop reports this step; the loop reports every step."""
    pressed = []

    def press(self, title, event):
        if event["step"] == step and not pressed:
            pressed.append(step)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("ectype.train.loop.REPORT_EVERY_S", 0.0)
    monkeypatch.setattr(Line, "training", press)


def _steps_logged(run):
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_run_folder(ectype, people, tmp_path):
    run = tmp_path / "run"
    flags = ("--budget", "30steps", "--label", "group", "--drop", "age", "--train.lr", "3e-4", *SMALL)
    answer = ectype("fit", "vae", people, "--out", run, *flags)
    assert answer.code == 0 and answer.out == ""
    assert "120 rows, 3 columns" in answer.err and "30 steps" in answer.err and f"next: ectype sample {run}" in answer.err
    assert sorted(p.name for p in run.iterdir()) == ["config.json", "log.jsonl", "model.json", "model.safetensors"]
    config = json.loads((run / "config.json").read_text())
    assert config["model"] == "vae" and config["seed"] == 0 and config["columns"] == ["income", "city", "group"]
    assert config["params"]["train"] == {"budget": "30steps", "lr": 3e-4} and config["params"]["net"]["width"] == [8]
    assert config["data"]["source"] == str(people) and config["data"]["label"] == "group" and config["data"]["drop"] == ["age"]
    assert _steps_logged(run) == [25, 30]
    model = load(run)
    assert model.latent_dim == 2 and model.train.lr == 3e-4 and model.seed_ == 0
    assert model.schema_.columns == ["income", "city", "group"]


def test_the_seed_decides_the_weights(ectype, people, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert ectype("fit", "vae", people, "--out", tmp_path / name, "--budget", "3steps", "--seed", seed, *SMALL).code == 0
    a, b, c = (json.loads((tmp_path / n / "model.json").read_text())["weights_sha256"] for n in "abc")
    assert a == b != c


def test_a_budget_in_seconds_says_how_to_repeat_it(ectype, people, tmp_path):
    answer = ectype("fit", "vae", people, "--out", tmp_path / "run", "--budget", "0.2s", *SMALL)
    steps = load(tmp_path / "run").n_steps_
    assert answer.code == 0 and f"--budget {steps}steps" in answer.err


def test_quiet_says_nothing(ectype, people, tmp_path):
    assert ectype("fit", "vae", people, "--out", tmp_path / "run", "--budget", "3steps", "--quiet", *SMALL) == (0, "", "")


def test_flags_may_come_first(ectype, people, tmp_path):
    assert ectype("fit", "--quiet", "--budget", "3steps", *SMALL, "--out", tmp_path / "run", "vae", people).code == 0
    assert ectype("fit", "--budget", "3steps", "vea", people, "--out", tmp_path / "x").code == 2


def test_notes_about_the_data_are_said(ectype, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i / 7:.3f},{i % 5}\n" for i in range(40)) + "oops,3\n")
    answer = ectype("fit", "vae", tmp_path / "t.csv", "--out", tmp_path / "run", "--budget", "3steps", *SMALL)
    assert answer.code == 0 and "note: a: a column of numbers" in answer.err and "oops" in answer.err


def test_the_same_command_again_does_nothing(ectype, people, tmp_path):
    words = ("fit", "vae", people, "--out", tmp_path / "run", "--budget", "3steps", *SMALL)
    assert ectype(*words).code == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}
    answer = ectype(*words)
    assert answer.code == 0 and "nothing to do" in answer.err
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize(("change", "said"), [
    (["--latent-dim", "3"], "params.latent_dim 2 there, 3 here"), (["--seed", "1"], "seed 0 there, 1 here"),
    (["--budget", "4steps"], "params.train.budget 3steps there, 4steps here"), (["--drop", "age"], "data.drop"),
])
def test_another_command_does_not_overwrite(ectype, people, tmp_path, change, said):
    words = ["fit", "vae", people, "--out", tmp_path / "run", "--budget", "3steps", *SMALL]
    assert ectype(*words).code == 0
    before = (tmp_path / "run" / "model.json").read_bytes()
    answer = ectype(*words, *change)
    assert answer.code == 2 and said in answer.err and "--overwrite" in answer.err
    assert (tmp_path / "run" / "model.json").read_bytes() == before
    assert ectype(*words, *change, "--overwrite").code == 0
    assert (tmp_path / "run" / "model.json").read_bytes() != before


def test_changed_data_are_another_command(ectype, people, tmp_path):
    data = tmp_path / "d.csv"
    data.write_text(people.read_text())
    words = ("fit", "vae", data, "--out", tmp_path / "run", "--budget", "3steps", *SMALL)
    assert ectype(*words).code == 0
    data.write_text(people.read_text() + "40,1.5,Rome,left\n")
    answer = ectype(*words)
    assert answer.code == 2 and "data.fingerprint" in answer.err


def test_a_model_saved_from_python_is_not_overwritten(ectype, people, trained, tmp_path):
    load(trained / "table").save(tmp_path / "run")
    answer = ectype("fit", "vae", people, "--out", tmp_path / "run", "--budget", "3steps")
    assert answer.code == 2 and "saved from Python" in answer.err


def test_ctrl_c_saves_and_the_same_command_goes_on(ectype, people, tmp_path, monkeypatch):
    words = ("fit", "vae", people, "--budget", "60steps", *SMALL, "--out")
    assert ectype(*words, tmp_path / "whole").code == 0
    with monkeypatch.context() as patch:
        _interrupt_at(patch, 35)
        answer = ectype(*words, tmp_path / "run")
    assert answer.code == 130 and answer.out == "" and f"ectype fit vae {people}" in answer.err
    assert load(tmp_path / "run").n_steps_ == 35 and (tmp_path / "run" / "checkpoint").is_dir()
    assert "interrupted at step 35" in ectype("sample", tmp_path / "run", "-n", 2).err
    other = ectype(*words, tmp_path / "run", "--latent-dim", 3)
    assert other.code == 2 and "--overwrite" in other.err
    again = ectype(*words, tmp_path / "run")
    assert again.code == 0 and "going on with the unfinished run" in again.err
    assert not (tmp_path / "run" / "checkpoint").exists()
    digests = [json.loads((tmp_path / n / "model.json").read_text())["weights_sha256"] for n in ("whole", "run")]
    assert digests[0] == digests[1]
    assert _steps_logged(tmp_path / "whole") == _steps_logged(tmp_path / "run")


def test_ctrl_c_before_training(ectype, people, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt
    monkeypatch.setattr("ectype.estimator.train", interrupted)
    assert ectype("fit", "vae", people, "--out", tmp_path / "run", "--budget", "3steps").code == 130
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["config.json"]


def test_a_model_that_cannot_be_saved_is_not_lost(ectype, people, tmp_path, monkeypatch):
    from ectype.models.vae import VAE
    save = VAE.save

    def full(self, path):
        if path == tmp_path / "run":
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(self, path)

    monkeypatch.setattr(VAE, "save", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    answer = ectype("fit", "vae", people, "--out", tmp_path / "run", "--budget", "3steps", *SMALL)
    refuge = next(tmp_path.glob("ectype-*"))
    assert answer.code == 1 and "the disk is full" in answer.err and str(refuge) in answer.err
    assert load(refuge).n_steps_ == 3


def test_events_and_early_stopping_are_told(ectype, people, tmp_path, monkeypatch):
    def told(objective, x, c, settings, seed, *, report, **kwargs):
        from ectype.train.loop import train
        report({"step": 7, "event": "not finite", "where": "model: term kl", "back_to": 5, "lr_scale": 0.5})
        outcome = train(objective, x, c, settings, seed)
        outcome.events.append({"step": 3, "event": "stopped early", "best_step": 2})
        return outcome
    monkeypatch.setattr("ectype.estimator.train", told)
    answer = ectype("fit", "vae", people, "--out", tmp_path / "run", "--budget", "3steps", *SMALL)
    assert "step 7: the numbers are no longer finite (model: term kl); back to step 5, with 0.5 of the learning rate" in answer.err
    assert "stopped early; the held-out value was best at step 2" in answer.err
    assert any("stopped early" in line for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines())


def test_conditional_models_take_the_label_as_condition(trained):
    model, config = load(trained / "conditional"), json.loads((trained / "conditional" / "config.json").read_text())
    assert model.schema_.columns == ["age", "income", "city"] and set(model.condition_.blocks[0].values) == {"left", "right"}
    assert config["condition"] == "group"


@pytest.mark.parametrize("label", ["age", "income", "group"])
def test_the_command_that_is_named_next_can_be_given(ectype, people, tmp_path, monkeypatch, label):
    monkeypatch.chdir(tmp_path)
    answer = ectype("fit", "vae", people, "--conditional", "--label", label, "--budget", "10steps", "--net.width", "8", "--out", "run")
    words = shlex.split(next(line for line in answer.err.splitlines() if line.startswith("next: ")).removeprefix("next: ectype "))
    assert "--condition" in words and ectype(*words).code == 0


def test_kinds_reach_rows_and_condition(ectype, people, tmp_path):
    words = ("fit", "vae", people, "--budget", "3steps", *SMALL, "--kind", "age=categorical", "--out")
    assert ectype(*words, tmp_path / "a").code == 0
    assert {b.name: b.kind for b in load(tmp_path / "a").schema_.blocks}["age"] == "categorical"
    assert ectype(*words, tmp_path / "b", "--conditional", "--label", "age").code == 0
    assert load(tmp_path / "b").condition_.blocks[0].kind == "categorical"
    assert ectype(*words[:-3], "--kind", "age=numeric", "--out", tmp_path / "c", "--conditional", "--label", "age").code == 2


@pytest.mark.parametrize(("words", "said"), [
    ("vea DATA", "did you mean vae?"), ("vae nosuch.csv", "nosuch.csv"), ("vae DATA more", "more"),
    ("vae DATA --steps 9", "--steps"), ("vae DATA --label gruop", "did you mean group?"), ("vae DATA --conditional", "--label COL"),
    ("vae DATA --budget long", "2000steps"), ("vae DATA --latent-dim 0", "an int >= 1"), ("vae DATA --train.lr 9", "(0, 1]"),
    ("vae DATA --train.lr fast", "--train.lr"), ("vae DATA --kind age", "COL=KIND"), ("vae DATA --kind age=words", "categorical"),
    ("vae DATA --size 8x", "--size 32x32"), ("vae DATA --size 8", "leave size out"),
])
def test_mistakes(ectype, people, tmp_path, words, said):
    answer = ectype("fit", *(people if w == "DATA" else w for w in words.split()), "--out", tmp_path / "run")
    assert answer.code == 2 and answer.out == "" and said in answer.err
    assert not (tmp_path / "run").exists()


def test_a_file_in_the_place_of_the_run(ectype, people, tmp_path):
    (tmp_path / "run").write_text("a file")
    answer = ectype("fit", "vae", people, "--out", tmp_path / "run", "--budget", "3steps")
    assert answer.code == 2 and "--out" in answer.err and (tmp_path / "run").read_text() == "a file"


@pytest.mark.parametrize("content", ["{", "[]", '{"model": "vae"}'])
def test_a_damaged_model_is_not_overwritten(ectype, people, tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.json").write_text(content)
    answer = ectype("fit", "vae", people, "--out", tmp_path / "run", "--budget", "3steps", *SMALL)
    assert answer.code == 2 and "damaged" in answer.err and (tmp_path / "run" / "model.json").read_text() == content


def test_help_of_a_model_shows_its_settings(ectype):
    answer = ectype("fit", "vae", "--help")
    words = " ".join(answer.out.replace("│", " ").split())
    assert answer.code == 0
    assert "--latent-dim INT" in words and "weight of the KL term; 1 is the ELBO. (default: 1.0)" in words
    assert "--budget TIME, --train.budget TIME" in words and "(default: 60s)" in words and "--net.width" in words
    assert "--transforms" in ectype("fit", "flow", "--help").out


def test_images_and_their_labels(ectype, tmp_path):
    np.savez(tmp_path / "i.npz", x=np.random.default_rng(0).integers(0, 255, (20, 4, 6), dtype=np.uint8), y=np.arange(20) % 2)
    words = ("fit", "vae", tmp_path / "i.npz", "--label", "y", "--budget", "2steps", *SMALL, "--out")
    answer = ectype(*words, tmp_path / "a")
    assert answer.code == 0 and "20 images, 4x6, grey" in answer.err and "samples.png" in answer.err
    assert "labels of images are used by a conditional model only" in answer.err
    answer = ectype(*words, tmp_path / "b", "--conditional")
    assert answer.code == 0 and "labels of images" not in answer.err and "--condition 0" in answer.err


@pytest.mark.parametrize(("words", "message"), [
    (["--latent-dim", "abc"], "--latent-dim cannot be read: expected an int >= 1, got abc"),
    (["--train.lr", "fast"], "--train.lr cannot be read: expected a number in (0, 1], got fast"),
    (["--net.width", "3", "x"], "--net.width cannot be read: expected a tuple of values, each an int >= 1, got 3 x"),
    (["--corruption.level", "x"], "--corruption.level cannot be read: expected a number >= 0 or a tuple of 2 values"),
    (["--budget", "soon"], "the budget cannot be read: expected seconds, minutes, hours or steps, got 'soon'")], ids=" ".join)
def test_a_value_that_cannot_be_read_is_said_in_the_words_of_its_constraint(ectype, tmp_path, words, message):
    answer = ectype("fit", "denoising", "iris", "--out", tmp_path / "run", *words)
    assert answer.code == 2 and message in answer.err and "typing" not in answer.err and not (tmp_path / "run").exists()


def test_a_refused_fit_leaves_nothing(ectype, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,b\n" + "\n".join(f"{i},{i % 7}" for i in range(30)))
    status, _, err = ectype("fit", "autoencoder", str(table), "--latent-dim", "2", "--out", str(tmp_path / "run"))
    assert status == 2 and "expected" in err and not (tmp_path / "run").exists()


def test_blank_labels_are_a_condition_of_their_own(ectype, tmp_path):
    """Whole numbers beside them stay classes; a blank is written as one."""
    r = np.random.default_rng(0)
    frame = pd.DataFrame({"v": r.normal(size=60), "storey": np.where(np.arange(60) % 6, np.arange(60) % 3, np.nan)})
    frame.to_csv(tmp_path / "train.csv", index=False)
    small = ["--label", "storey", "--budget", "2steps", *SMALL]
    answer = ectype("fit", "vae", tmp_path / "train.csv", "--conditional", "--out", tmp_path / "run", *small)
    assert answer.code == 0 and "note: storey: blank in 10 of 60 rows; a blank is learnt as one more condition\n" in answer.err
    answer = ectype("sample", tmp_path / "run", "-n", 4, "--condition", "", "2")
    assert [line.split(",")[1] for line in answer.out.splitlines()] == ["storey", "", "2", "", "2"]
    assert "note: storey" not in ectype("fit", "vae", tmp_path / "train.csv", "--out", tmp_path / "plain", *small).err


@pytest.mark.parametrize(("words", "said"), [
    (["fit", "vae", "moons", "--out", "no", "--start", "0.5"], "error: vae has no --start\nhint: these have it: truncated; `ectype models vae` "),
    (["fit", "ddpm", "moons", "--out", "no", "--free_bits=1"], "error: ddpm has no --free-bits\nhint: these have it: vae; `ectype models ddpm` "),
    (["classify", "fit", "moons", "--label", "y", "--out", "no", "--encoder", "vae", "--schedule", "cosine"],
     "error: vae has no --schedule\nhint: these have it: ddpm; `ectype models vae` "),
    (["sample", "RUN", "--eta", "0.5"], "error: vae has no --eta\nhint: these have it: ddpm; `ectype models vae` "),
])
def test_a_flag_of_another_family_is_named_as_such(ectype, trained, words, said):
    answer = ectype(*[trained / "table" if word == "RUN" else word for word in words])
    assert answer.code == 2 and answer.err.startswith(said) and "Unrecognized" not in answer.err


def test_a_flag_of_no_family_is_left_to_the_parser(ectype):
    answer = ectype("fit", "vae", "moons", "--out", "no", "--strat", "0.5")
    assert answer.code == 2 and "Unrecognized options: --strat" in answer.err
