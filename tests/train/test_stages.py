"""A training of several stages: one loop after another, resumed anywhere, repeated from its budgets, told as one run."""

from __future__ import annotations

import json
import math
import signal

import pytest
import torch
from torch import nn

from ectype import rng
from ectype.errors import InvalidParameterError
from ectype.spec import Budget
from ectype.train import loop as module
from ectype.train.loop import train
from ectype.train.objective import Objective, Stage
from ectype.train.optimizer import AdamW

from .conftest import QUICK, SCHEMA, STORED, weights_of

SETTINGS = QUICK(budget="100steps", lr=0.02)
STAGES = (Stage("first", 0.2), Stage("second", 0.3), Stage("all", 0.5))


class Tower(Objective):
    """Two linear layers, each fitted alone, then both; noise in the loss comes from torch's generator."""

    def __init__(self, fails=lambda loss, stage, calls: loss):
        super().__init__(SCHEMA)
        with rng.preserved():
            torch.manual_seed(0)
            self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.fails, self.calls, self.seen, self.views, self.concluded = fails, {}, {}, [], None

    def stages(self):
        return STAGES

    def players(self):
        return {"model": {"first": self.one, "second": self.two}.get(self.stage, self)}

    def view(self, x, c):
        self.views.append((self.stage, len(x), self.training, self.one.weight.detach().clone()))
        return (self.one(x), c) if self.stage == "second" else (x, c)

    def measure(self, x, c):
        return {"rows": float(len(x)), "norm": float(self.one.weight.norm())}

    def loss(self, x, c, player):
        x_hat = {"first": self.one, "second": self.two}.get(self.stage, lambda v: self.two(self.one(v)))(x)
        loss = (x_hat + 0.1 * torch.randn_like(x) - 2 * x - 1).square().sum(1).mean()
        if self.training:
            self.calls[self.stage] = self.calls.get(self.stage, 0) + 1
            self.seen.setdefault(self.stage, []).append((x, weights_of(self)))
            loss = self.fails(loss, self.stage, self.calls[self.stage])
        return {"loss": loss}

    def conclude(self, x, c):
        self.concluded = (self.stage, len(x), self.training)


def run(objective, settings=SETTINGS, seed=0, **options):
    return train(objective, STORED, None, settings, seed, **options)


def without_times(history):
    return [{k: v for k, v in record.items() if k != "elapsed_s"} for record in history]


# -- one after another --------------------------------------------------------------------------------------------------------------------

def test_each_stage_has_its_share_of_the_steps():
    objective = Tower()
    outcome = run(objective)
    assert objective.calls == {"first": 20, "second": 30, "all": 50} and outcome.steps == 100 and outcome.budget_steps == "20+30+50"
    assert [(s["stage"], s["steps"]) for s in outcome.stages] == [("first", 20), ("second", 30), ("all", 50)]
    assert objective.concluded == (None, 90, False) and objective.stage is None


def test_each_stage_trains_its_own_players():
    objective = Tower()
    run(objective)
    one = sum(p.numel() for p in objective.one.parameters())
    for stage, moving in (("first", [True, False]), ("second", [False, True]), ("all", [True, True])):
        first, last = objective.seen[stage][0][1], objective.seen[stage][-1][1]
        assert [not torch.equal(first[part], last[part]) for part in (slice(one), slice(one, None))] == moving


def test_a_stage_sees_what_the_stages_before_it_left():
    """The view is made once for each part of the rows, without dropout, from the averaged weights of the stage before."""
    objective = Tower()
    run(objective)
    assert [(stage, n, training) for stage, n, training, _ in objective.views] == [
        (s.name, n, False) for s in STAGES for n in (90, 10)]
    kept = objective.views[2][3]
    assert torch.equal(objective.seen["second"][0][1][:9].view(3, 3), kept)
    rows = {tuple(r) for x, _ in objective.seen["second"] for r in x.tolist()}
    codes = STORED @ kept.T + objective.seen["second"][0][1][9:12]
    assert len(rows) == 90 and all(min((codes - torch.tensor(r)).abs().amax(1)) < 1e-5 for r in list(rows)[:10])


def test_the_history_is_that_of_one_run():
    outcome = run(Tower())
    assert [(r["stage"], r["step"]) for r in outcome.history] == [("first", 20), ("second", 45), ("second", 50), ("all", 75), ("all", 100)]
    elapsed = [r["elapsed_s"] for r in outcome.history]
    assert elapsed == sorted(elapsed) and outcome.seconds == pytest.approx(sum(s["seconds"] for s in outcome.stages))
    assert all("held_out" in r and "loss" in r for r in outcome.history)


def test_measures_are_of_the_held_out_rows_where_there_are_any():
    assert [s["measured"]["rows"] for s in run(Tower()).stages] == [10, 10, 10]
    assert [s["measured"]["rows"] for s in run(Tower(), SETTINGS(validation=0.0)).stages] == [100, 100, 100]
    objective = Tower()
    outcome = run(objective)
    assert outcome.stages[0]["measured"]["norm"] == outcome.stages[1]["measured"]["norm"] != outcome.stages[2]["measured"]["norm"]


def test_each_stage_has_a_schedule_and_noise_of_its_own():
    objective = Tower()
    rates = []
    move = AdamW.move

    def watched(optimizer, parameters, gradients, lr):
        rates.append(lr)
        move(optimizer, parameters, gradients, lr)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AdamW, "move", watched)
        run(objective, SETTINGS(warmup=5))
    for start, n in ((0, 20), (20, 30), (50, 50)):
        stage = rates[start : start + n]
        assert stage[:5] == pytest.approx([0.02 * (i + 1) / 5 for i in range(5)]) and stage[-1] < 0.2 * max(stage) == pytest.approx(0.004)
    first, last = (objective.seen[s][0][0] for s in ("first", "all"))
    assert not torch.equal(first, last)                                # another order of the rows


def test_progress_is_that_of_the_whole_run(monkeypatch):
    monkeypatch.setattr(module, "REPORT_EVERY_S", -1.0)
    reports = []
    run(Tower(), report=reports.append)
    steps, fractions = ([r[k] for r in reports] for k in ("step", "fraction"))
    assert steps == sorted(steps) and set(steps) == set(range(1, 101))
    assert fractions == sorted(fractions) and fractions[-1] == 1 and fractions[0] == pytest.approx(0.01)
    assert {r["stage"]: r["step"] for r in reports} == {"first": 20, "second": 50, "all": 100}
    elapsed = [r["elapsed_s"] for r in reports]
    assert elapsed == sorted(elapsed)


# -- repetition and resuming ----------------------------------------------------------------------------------------------------------------

def test_the_same_seed_gives_the_same_bits():
    a, b, other = Tower(), Tower(), Tower()
    run(a), run(b), run(other, seed=1)
    assert torch.equal(weights_of(a), weights_of(b)) and not torch.equal(weights_of(a), weights_of(other))


@pytest.mark.usefixtures("clock")
def test_seconds_are_recorded_as_steps_of_each_stage_that_repeat_the_run():
    timed, repeated = Tower(), Tower()
    outcome = run(timed, SETTINGS(budget="3s"))
    assert [s["steps"] for s in outcome.stages] == list(Budget.parse(f"{outcome.budget_steps}steps").stages) and outcome.steps > 100
    again = run(repeated, SETTINGS(budget=f"{outcome.budget_steps}steps"))
    assert torch.equal(weights_of(timed), weights_of(repeated)) and without_times(outcome.history) == without_times(again.history)


def test_stages_may_be_given_steps_of_their_own():
    assert [s["steps"] for s in run(Tower(), SETTINGS(budget="5+40+7steps")).stages] == [5, 40, 7]
    with pytest.raises(InvalidParameterError, match=r"another number of stages: expected 3, or one number, got 5\+40"):
        run(Tower(), SETTINGS(budget="5+40steps"))


class Interrupt:
    """Presses Ctrl-C once, at some step of the whole run."""

    def __init__(self, at):
        self.at = at

    def __call__(self, event):
        if event["step"] == self.at:
            self.at = None
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("at", [1, 19, 20, 21, 33, 49, 50, 51, 76, 100])
def test_a_resumed_run_equals_an_uninterrupted_one(at, tmp_path, monkeypatch):
    """In the first, the middle and the last stage, and on the borders between them."""
    monkeypatch.setattr(module, "REPORT_EVERY_S", -1.0)
    whole, cut, resumed = Tower(), Tower(), Tower()
    expected = run(whole)
    first = run(cut, folder=tmp_path, fingerprint="f", report=Interrupt(at))
    assert first.interrupted and first.steps == at and cut.stage is None and cut.concluded is not None
    if at > 20:
        nn.init.constant_(resumed.one.weight, 9.0)                     # what a stage before has left comes from the checkpoint
    second = run(resumed, folder=tmp_path, fingerprint="f")
    assert not second.interrupted and second.steps == 100 and torch.equal(weights_of(resumed), weights_of(whole))
    assert without_times(second.history) == without_times(expected.history) and second.budget_steps == expected.budget_steps
    assert [(s["stage"], s["steps"], s["measured"]) for s in second.stages] == [(s["stage"], s["steps"], s["measured"]) for s in expected.stages]
    assert sum(resumed.calls.values()) == 100 - at                     # nothing is done twice
    assert not (tmp_path / "checkpoint").exists()


def test_a_run_can_be_interrupted_in_every_stage(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "REPORT_EVERY_S", -1.0)
    whole = Tower()
    run(whole)
    for at in (10, 20, 30, 40, 50, 60, None):
        part = Tower()
        run(part, folder=tmp_path, fingerprint="f", report=Interrupt(at))
    assert torch.equal(weights_of(part), weights_of(whole))


def test_a_checkpoint_on_the_way_holds_the_stages_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHECKPOINT_EVERY_S", -1.0)
    monkeypatch.setattr(module, "REPORT_EVERY_S", -1.0)
    whole, resumed = Tower(), Tower()
    run(whole)

    def crash(event):
        if event["step"] >= 60:
            raise RuntimeError("power failure")

    with pytest.raises(RuntimeError, match="power failure"):
        run(Tower(), folder=tmp_path, fingerprint="f", report=crash)
    saved = json.loads((tmp_path / "checkpoint" / "state.json").read_text())
    assert [f["stage"] for f in saved["finished"]] == ["first", "second"] and saved["state"]["step"] == 9
    run(resumed, folder=tmp_path, fingerprint="f")
    assert torch.equal(weights_of(resumed), weights_of(whole)) and set(resumed.calls) == {"all"}


# -- numbers that are not finite, patience --------------------------------------------------------------------------------------------------

def test_a_stage_is_rewound_alone():
    objective = Tower(lambda loss, stage, calls: loss * math.nan if (stage, calls) == ("all", 40) else loss)
    outcome = run(objective)
    (event,) = outcome.events
    assert (event["event"], event["stage"], event["step"], event["back_to"], event["lr_scale"]) == ("not finite", "all", 100, 75, 0.5)
    assert objective.calls == {"first": 20, "second": 30, "all": 75} and torch.isfinite(weights_of(objective)).all()


def test_a_halved_rate_ends_with_its_stage():
    broken, fine = Tower(lambda loss, stage, calls: loss * math.nan if (stage, calls) == ("first", 5) else loss), Tower()
    outcome = run(broken)
    assert [e["stage"] for e in outcome.events] == ["first"] and broken.calls == {"first": 40, "second": 30, "all": 50}
    run(fine)
    assert not torch.equal(weights_of(broken), weights_of(fine))


def test_a_stage_that_stops_early_leaves_the_rest_to_the_others(monkeypatch):
    monkeypatch.setattr(module, "PATIENT_STEPS", 100)
    objective = Tower()
    objective.held_out = lambda x, c: torch.tensor(float(objective.calls[objective.stage])) if objective.stage == "second" else torch.tensor(1.0)
    outcome = run(objective, SETTINGS(budget="60+5000+60steps", patience=0.5))
    (event,) = outcome.events
    assert event["event"] == "stopped early" and event["stage"] == "second" and event["best_step"] == 60 + 25
    assert event["step"] == 60 + outcome.stages[1]["steps"] and 100 <= outcome.stages[1]["steps"] < 300
    assert outcome.stages[2]["steps"] == 60 and outcome.budget_steps == "60+5000+60"
