"""Words and progress."""

import pytest

from ectype.cli import terminal as module
from ectype.cli.terminal import Terminal, duration, training_detail


@pytest.mark.parametrize(("seconds", "words"), [
    (0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (3725, "1 h 02 min")])
def test_duration(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("event", "words"), [
    ({"step": 1, "fraction": 0.01, "elapsed_s": 2.0, "held_out": None}, "step 1  2.0 s"),
    ({"step": 1500, "fraction": 0.25, "elapsed_s": 20.0, "held_out": -3.21987},
     "step 1,500  20 s, 1 min 00 s left  held out -3.22"),
    ({"step": 2000, "fraction": 1.0, "elapsed_s": 20.0, "held_out": 0.5}, "step 2,000  20 s  held out 0.5"),
])
def test_training_detail(event, words):
    assert training_detail(event) == words


def test_plain_progress_is_rare(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Terminal().progress() as line:
        for i in range(100):
            line.update("vae", i / 100, f"step {i}")
            now[0] += 1.0
    told = capsys.readouterr().err.splitlines()
    assert told[:2] == ["vae: 0%  step 0", "vae: 15%  step 15"] and len(told) == 7


def test_quiet_silences_all_but_errors(capsys):
    terminal = Terminal(quiet=True)
    terminal.say("a")
    terminal.note("b")
    with terminal.progress() as line:
        line.update("vae", 0.5)
    terminal.error("what\nhint: this")
    assert capsys.readouterr() == ("", "error: what\nhint: this\n")


def test_words_are_not_markup_and_lines_are_not_broken(capsys):
    Terminal().say("[bold] :smile: " + "x" * 300)
    assert capsys.readouterr().err == "[bold] :smile: " + "x" * 300 + "\n"
