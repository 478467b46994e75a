"""`ectype doctor`: the words and files around the examination, which has tests of its own."""

import json

import pytest

from ectype.calibration import examine


@pytest.fixture
def small(monkeypatch):
    """One target and one degradation, few rows."""
    monkeypatch.setattr("ectype.cli.doctor.examine", lambda targets, *, seed, progress: examine(["ring8"], ["copies"], rows=60, repeats=1, seed=seed,
                                                                                               progress=progress))


def test_the_table_is_all_of_stdout(ectype, small, tmp_path):
    answer = ectype("doctor", "--out", tmp_path / "found.json")
    assert "copies" in answer.out and "Memorisation" in answer.out and "reacts +1.00" in answer.out and "ring8" in answer.err
    findings = json.loads((tmp_path / "found.json").read_text())
    assert answer.code == (0 if findings["holds"] else 1) and {f["degradation"] for f in findings["findings"]} == {"copies"}


def test_markdown(ectype, small, tmp_path):
    ectype("doctor", "--quiet", "--out", tmp_path / "found.md")
    assert "| Memorisation | reacts" in (tmp_path / "found.md").read_text()


@pytest.mark.parametrize(("words", "said"), [
    (["--targets", "moon"], "did you mean moons?"), (["--out", "found.txt"], "ends in .json or .md"), (["--seed", "x"], "--seed")])
def test_mistakes(ectype, words, said):
    answer = ectype("doctor", *words)
    assert answer.code == 2 and answer.out == "" and said in answer.err


def test_a_file_that_cannot_be_written(ectype, small, tmp_path):
    answer = ectype("doctor", "--out", tmp_path / "no" / "found.md")
    assert answer.code == 2 and "cannot write" in answer.err
