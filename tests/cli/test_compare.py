"""`ectype compare`: the words around the comparison, which has tests of its own."""

import io
import json

import pytest
from rich.console import Console

from ectype.cli.board import board
from ectype.cli.compare import known_table
from ectype.cli.terminal import Terminal


def test_the_report_s_path_is_all_of_stdout(ectype, people, tmp_path):
    small = ("--models", "autoencoder", "--budget", "12steps", "--seeds", 1)
    answer = ectype("compare", people, "--label", "group", *small, "--out", tmp_path / "c")
    assert answer.code == 0 and answer.out == f"{tmp_path / 'c' / 'report.html'}\n"
    assert "autoencoder, seed 0" in answer.err and "Pick for people" in answer.err
    assert "autoencoder was given 12steps × 1, 72 rows, 1 thread; " in answer.err
    results = json.loads((tmp_path / "c" / "results.json").read_text())
    assert list(results["models"]) == ["autoencoder"] and results["settings"]["label"] == "group"
    assert "<html" in (tmp_path / "c" / "report.html").read_text()


def test_status_1_where_no_family_could_be_trained(ectype, tmp_path):
    (tmp_path / "same.csv").write_text("a,b\n" + "1,2\n" * 40)
    answer = ectype("compare", tmp_path / "same.csv", "--models", "autoencoder", "--budget", "2steps", "--seeds", 1, "--out", tmp_path / "c")
    assert answer.code == 1 and "No family could be trained" in answer.err and (tmp_path / "c" / "report.html").exists()


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
    (["--jobs", "0"], "jobs"), (["--out"], "--out")])
def test_mistakes(ectype, words, said):
    answer = ectype("compare", "iris", *words)
    assert answer.code == 2 and answer.out == "" and said in answer.err


EVENTS = (
    {"stage": "data"}, {"stage": "plan", "rows": ["gan", "vae"], "seeds": 2, "total": 12}, {"stage": "floor"},
    {"stage": "dummy", "row": "marginals", "seed": 1, "done": 0, "total": 12},
    {"stage": "finished", "row": "marginals", "seed": 1, "c2st": 0.9, "error": None, "done": 1, "total": 12},
    {"stage": "fit", "row": "gan", "seed": 1, "done": 6, "total": 12},
    {"stage": "fit", "row": "gan", "seed": 1, "done": 6, "total": 12, "step": 50, "fraction": 0.5, "elapsed_s": 10.0, "held_out": 1.25},
    {"stage": "fit", "row": "gan", "seed": 1, "done": 6, "total": 12, "step": 51, "event": "not finite", "where": "critic", "back_to": 25,
     "lr_scale": 0.5},
    {"stage": "finished", "row": "gan", "seed": 1, "c2st": 0.7, "error": None, "done": 7, "total": 12},
    {"stage": "finished", "row": "vae", "seed": 1, "c2st": None, "error": "seed 1: ValueError: no", "done": 8, "total": 12},
    {"stage": "done", "done": 12, "total": 12})


def test_progress_in_words(capsys):
    with board(Terminal()) as shown:
        for event in EVENTS:
            shown.tell(event)
    assert capsys.readouterr().err.splitlines() == [
        "real data: 0%  measuring", "simple dummies, seed 1: 0%  measuring", "gan, seed 1: 50%  training",
        "gan, seed 1: step 51: the numbers are no longer finite (critic); back to step 25, with 0.5 of the learning rate"]


def test_the_live_board_has_a_line_for_each_family(monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    terminal = Terminal()
    terminal.console = Console(force_terminal=True, file=io.StringIO(), width=100, color_system=None)
    with board(terminal) as shown:
        for event in EVENTS:
            shown.tell(event)
        terminal.console.print(shown.table())
    lines = terminal.console.file.getvalue().splitlines()[-6:]
    words = [line for line in lines if line.split()[:1] in (["simple"], ["gan"], ["vae"], ["all"])]
    assert [line.split()[0] for line in words] == ["simple", "gan", "vae", "all"]
    assert words[1].rstrip().endswith("0.70") and "failed: seed 1: ValueError: no" in words[2] and "left" in words[3]


def test_the_known_table_in_words():
    rows = [{"kind": "GAN", "name": "gan", "high_quality": "no", "fast_sampling": "yes", "mode_coverage": None}]
    console = Console(file=io.StringIO(), width=100)
    console.print(known_table(rows))
    assert console.file.getvalue().splitlines()[-1].split("  ")[0].strip() == "GAN" and "not measured" in console.file.getvalue()


def test_the_report_is_opened_when_asked(ectype, people, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    small = ("compare", people, "--models", "autoencoder", "--budget", "3steps", "--seeds", 1, "--out", tmp_path / "c")
    assert ectype(*small).code == 0 and opened == []
    again = ectype(*small, "--open")
    assert again.code == 0 and opened == [(tmp_path / "c" / "report.html").resolve().as_uri()]
    assert f"note: 5 of 5 fits and dummies were measured in {tmp_path / 'c'} already" in again.err
