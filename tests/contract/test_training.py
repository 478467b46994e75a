"""Training of every family: interruption and resuming, budgets in seconds, losses that are not finite."""

from __future__ import annotations

import itertools
import math
import signal
import types

import numpy as np
import pytest
import torch

from ectype import load
from ectype.errors import DivergedError, SavedModelError
from ectype.train import loop

from .conftest import DATA, LABELS, QUICK, TINY, assert_same, curve, draw, fit, fitted, has, home, new, same_weights

ONE_STAGE = {"stacked": {"greedy": False}}      # a curve of several stages is several curves: tests/train/test_stages.py


class Interrupt:
    """Presses Ctrl-C once, at some step."""

    def __init__(self, at):
        self.at = at

    def __call__(self, event):
        if event["step"] == self.at:
            self.at = None
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def every_step_reports(monkeypatch):
    monkeypatch.setattr(loop, "REPORT_EVERY_S", -1.0)


def without_times(history):
    return [{k: v for k, v in record.items() if k != "elapsed_s"} for record in history]


@pytest.mark.usefixtures("every_step_reports")
def test_a_resumed_fit_equals_an_uninterrupted_one(name, kind, tmp_path):
    """Interrupted twice; the same call goes on, and ends with the same bits."""
    for at in (3, 11):
        with pytest.raises(KeyboardInterrupt):
            fit(new(name), kind, run=tmp_path, progress=Interrupt(at))
        assert (tmp_path / "checkpoint").is_dir()
    resumed = fit(new(name), kind, run=tmp_path)
    assert same_weights(resumed, fitted(name, kind)) and without_times(resumed.history_) == without_times(fitted(name, kind).history_)
    assert resumed.n_steps_ == 20 and not resumed.interrupted_
    resumed.save(tmp_path)
    assert not (tmp_path / "checkpoint").exists()                       # a finished run leaves nothing behind


@pytest.mark.usefixtures("every_step_reports")
def test_an_interrupted_model_can_be_used_saved_and_continued(name, tmp_path):
    model = new(name, conditional=True)
    with pytest.raises(KeyboardInterrupt):
        fit(model, home(name), LABELS[home(name)], run=tmp_path, progress=Interrupt(8))
    assert model.interrupted_ and model.n_steps_ == 8
    drawn = draw(model, 10, condition="ant", random_state=0)
    model.save(tmp_path)
    assert load(tmp_path).interrupted_
    assert_same(load(tmp_path).sample(10, condition="ant", random_state=0, **QUICK.get(name, {})), drawn, exact=True)
    resumed = fit(new(name, conditional=True), home(name), LABELS[home(name)], run=tmp_path)
    assert same_weights(resumed, fitted(name, conditional=True))


@pytest.mark.usefixtures("every_step_reports")
def test_a_run_without_a_seed_goes_on_with_the_seed_it_drew(name, tmp_path):
    model = new(name, random_state=None)
    with pytest.raises(KeyboardInterrupt):
        model.fit(DATA[home(name)], run=tmp_path, progress=Interrupt(5))
    resumed = new(name, random_state=None).fit(DATA[home(name)], run=tmp_path)
    assert resumed.seed_ == model.seed_ and same_weights(resumed, new(name, random_state=model.seed_).fit(DATA[home(name)]))


@pytest.mark.usefixtures("every_step_reports")
@pytest.mark.parametrize("change", [{"random_state": 1}, {"train": TINY(lr=0.5)}, {"components": 3}], ids=["seed", "rate", "other"])
def test_a_run_of_something_else_is_not_continued(name, change, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        new(name).fit(DATA[home(name)], run=tmp_path, progress=Interrupt(5))
    other = new(name, **{k: v for k, v in change.items() if has(name, k)} or {"train": TINY(betas=(0.5, 0.5))})
    with pytest.raises(SavedModelError, match="unfinished run of another model, data or settings"):
        other.fit(DATA[home(name)], run=tmp_path)
    with pytest.raises(SavedModelError, match="unfinished run"):
        new(name).fit(DATA[home(name)][:-1], run=tmp_path)


def test_seconds_are_recorded_as_steps_that_repeat_the_run(name, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(perf_counter=lambda: next(clock) / 10))
    timed = new(name, train=TINY(budget="5s")).fit(DATA[home(name)])
    assert 20 < timed.n_steps_ < 100
    repeated = new(name, train=TINY(budget=f"{timed.budget_steps_}steps")).fit(DATA[home(name)])
    assert same_weights(timed, repeated) and without_times(timed.history_) == without_times(repeated.history_)


def spoil(monkeypatch, name, when):
    """Make the loss of a family NaN at those calls (counted from 1, in training)."""
    cls, calls = type(fitted(name).objective_), itertools.count(1)
    loss = cls.loss

    def spoiled(self, x, c, player):
        terms = loss(self, x, c, player)
        return {k: v * math.nan for k, v in terms.items()} if self.training and when(next(calls)) else terms

    monkeypatch.setattr(cls, "loss", spoiled)


def test_a_nan_is_rewound_at_half_the_rate(name, monkeypatch):
    n_turns = len(fitted(name).objective_.turns)
    spoil(monkeypatch, name, lambda call: call == 35 * n_turns - n_turns + 1)           # the first move of step 35
    model = new(name, train=TINY(budget="60steps"), **ONE_STAGE.get(name, {})).fit(DATA[home(name)])
    (event,) = model.events_
    assert event["event"] == "not finite" and event["back_to"] == 25 and event["lr_scale"] == 0.5 and event["step"] == 50
    assert event["where"].split(":")[0] == model.objective_.turns[0]
    assert model.n_steps_ == 60 and all(torch.isfinite(p).all() for p in model.objective_.parameters())
    assert np.isfinite(curve(model)).all() and np.isfinite(model.score_samples(DATA[home(name)])).all()


def test_nothing_but_nan_is_an_error(name, monkeypatch):
    spoil(monkeypatch, name, lambda call: True)
    monkeypatch.setattr(loop, "MAX_HALVINGS", 1)
    with pytest.raises(DivergedError, match=r"does not stay finite.*\nhint: look for extreme values"):
        new(name).fit(DATA[home(name)])


def test_progress_is_told(name):
    events = []
    new(name).fit(DATA[home(name)], progress=events.append)
    assert events[-1]["step"] == 20 and events[-1]["fraction"] == 1 and {"step", "fraction", "elapsed_s", "held_out"} <= set(events[0])


def test_a_condition_of_one_class(name):
    X = DATA[home(name)]
    model = new(name, conditional=True, train=TINY(budget="3steps")).fit(X, ["same"] * len(X))
    assert len(draw(model, 4, condition="same")) == 4


def test_something_is_held_out_and_falls(tabular):
    """On data that are easy to learn, the held-out curve ends lower than it began."""
    r = np.random.default_rng(0)
    X = r.normal(size=(300, 1)) @ r.normal(size=(1, 4)) + 0.1 * r.normal(size=(300, 4))
    train = TINY(budget="150steps" if tabular == "flow" else "300steps", validation=0.2, batch_size=64)
    model = new(tabular, train=train, **ONE_STAGE.get(tabular, {})).fit(X)
    curve = [record["held_out"] for record in model.history_]
    assert len(curve) > 5 and np.mean(curve[-3:]) < np.mean(curve[:2])
