"""`ectype compare`: the words around the comparison, which has tests of its own."""

import json

import pytest

from ectype.cli.compare import _tell
from ectype.cli.terminal import Terminal


def test_the_report_s_path_is_all_of_stdout(ectype, people, tmp_path):
    small = ("--models", "autoencoder", "--budget", "12steps", "--seeds", 1)
    answer = ectype("compare", people, "--label", "group", *small, "--out", tmp_path / "c")
    assert answer.code == 0 and answer.out == f"{tmp_path / 'c' / 'report.html'}\n"
    assert "autoencoder, seed 0" in answer.err and "Pick for people" in answer.err
    results = json.loads((tmp_path / "c" / "results.json").read_text())
    assert list(results["models"]) == ["autoencoder"] and results["settings"]["label"] == "group"
    assert "<html" in (tmp_path / "c" / "report.html").read_text()


def test_models_by_commas_or_spaces(ectype, monkeypatch):
    asked = []

    def record(source, *, models, **kwargs):
        asked.append(models)
        raise KeyboardInterrupt

    monkeypatch.setattr("ectype.cli.compare.run_comparison", record)
    for words in (["--models", "vae,gan"], ["--models", "vae", "gan"], ["--models", "vae,", "gan"], []):
        assert ectype("compare", "iris", *words).code == 130
    assert asked == [["vae", "gan"]] * 3 + [None]


@pytest.mark.parametrize(("words", "said"), [
    (["--models", "vea"], "did you mean vae?"), (["--budget", "3x"], "2000steps"), (["--seeds", "0"], "seeds"),
    (["--out"], "--out")])
def test_mistakes(ectype, words, said):
    answer = ectype("compare", "iris", *words)
    assert answer.code == 2 and answer.out == "" and said in answer.err


def test_progress_in_words(capsys):
    terminal = Terminal()
    at = {"row": "gan", "seed": 1, "done": 3, "total": 6}
    with terminal.progress() as line:
        for event in ({"stage": "data"}, {"stage": "floor"}, {"stage": "dummy", **at, "row": "marginals"}, {"stage": "fit", **at},
                      {"stage": "fit", **at, "step": 50, "fraction": 0.5, "elapsed_s": 10.0, "held_out": 1.25},
                      {"stage": "fit", **at, "step": 51, "event": "not finite", "where": "critic", "back_to": 25, "lr_scale": 0.5},
                      {"stage": "done", "done": 6, "total": 6}):
            _tell(event, line, terminal)
    assert capsys.readouterr().err.splitlines() == [
        "real data: 0%  measuring", "simple dummies, seed 1: 50%  measuring", "gan, seed 1: 50%  training",
        "gan, seed 1: step 51: the numbers are no longer finite (critic); back to step 25, with 0.5 of the learning rate"]
