"""The loop: schedule, batches, players, early stopping, the guard against NaN, checkpoints, and exact repetition."""

from __future__ import annotations

import itertools
import json
import math
import signal
import threading

import pytest
import torch

from ectype import rng
from ectype.errors import DivergedError, SavedModelError
from ectype.train import loop as module
from ectype.train.checkpoint import remove_checkpoint
from ectype.train.loop import Loop, Parts, held_out_rows, share_to_hold_out, train

from .conftest import QUICK, STORED, Mean, Race, weights_of


def run(objective, settings=QUICK, seed=0, x=STORED, **options):
    return train(objective, x, None, settings, seed, **options)


def loop_of(objective, settings=QUICK, x=STORED):
    return Loop(objective, Parts.of(x, None, settings, 0), settings, 0, lambda event: None)


def without_times(history):
    return [{k: v for k, v in record.items() if k != "elapsed_s"} for record in history]


# -- schedule and budget ---------------------------------------------------------------------------------------------------------------

def test_learning_rate_rises_stays_and_falls_to_zero():
    loop = loop_of(Mean(), QUICK(budget="100steps", warmup=10))
    rates = [loop._schedule(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)]) and rates[9:71] == [1.0] * 62
    assert rates[70:] == pytest.approx([(100 - s) / 30 for s in range(70, 100)])


def test_the_rate_of_what_wanders_stays():
    objective = Mean()
    objective.wanders = True
    loop = loop_of(objective, QUICK(budget="50steps", warmup=10))
    assert [loop._schedule(step) for step in range(50)] == pytest.approx([min(1, (step + 1) / 10) for step in range(50)])


@pytest.mark.parametrize("turn", range(1, 60))
def test_a_budget_in_seconds_becomes_a_number_of_steps_with_the_same_schedule(turn):
    """At 70 % of the time, after s₀ steps, N = ⌈10 s₀ / 7⌉; and a budget of N steps begins to fall at s₀ too."""
    total = -(-10 * turn // 7)
    loop = loop_of(Mean(), QUICK(budget=f"{total}steps", warmup=0))
    assert loop._schedule(turn) == 1 and (turn + 1 >= total or loop._schedule(turn + 1) < 1)


@pytest.mark.usefixtures("clock")
def test_seconds_and_steps_give_the_same_weights():
    by_time, by_steps = Mean(), Mean()
    outcome = run(by_time, QUICK(budget="3s", patience=0.0))
    assert 50 < outcome.steps < 400                                 # a step is about one look at the clock
    repeated = run(by_steps, QUICK(budget=f"{outcome.steps}steps", patience=0.0))
    assert torch.equal(weights_of(by_time), weights_of(by_steps)) and without_times(outcome.history) == without_times(repeated.history)


def test_exactly_as_many_steps_as_asked():
    objective = Mean()
    assert run(objective, QUICK(budget="37steps")).steps == 37 == objective.calls


# -- batches ---------------------------------------------------------------------------------------------------------------------------

def test_an_epoch_sees_every_row_at_most_once_and_in_a_new_order():
    objective = Mean()
    run(objective, QUICK(budget="12steps", validation=0.0, batch_size=25))
    epochs = [torch.cat(objective.seen[i : i + 4]) for i in (0, 4, 8)]
    for epoch in epochs:
        torch.testing.assert_close(epoch.sort(0).values, STORED.sort(0).values, rtol=0, atol=0)
    assert not torch.equal(epochs[0], epochs[1])


def test_held_out_rows_are_never_trained_on():
    objective = Mean()
    loop = loop_of(objective, QUICK(validation=0.3))
    assert len(loop.x) == 70 and len(loop.x_held) == 30
    together = torch.cat([loop.x, loop.x_held])
    torch.testing.assert_close(together.sort(0).values, STORED.sort(0).values, rtol=0, atol=0)
    run(objective, QUICK(validation=0.3))
    trained = {tuple(r) for batch in objective.seen for r in batch.tolist()}
    assert not trained & {tuple(r) for r in loop.x_held.tolist()} and objective.prepared == 70 and objective.concluded[0] == 70


def test_too_few_rows_to_hold_some_out():
    assert loop_of(Mean(), QUICK(validation=0.1), STORED[:50]).x_held is None
    assert "held_out" not in run(Mean(), QUICK(validation=0.0)).history[-1]


def test_fewer_rows_than_the_batch_are_trained_on():
    objective = Mean()
    outcome = run(objective, QUICK(batch_size=512, validation=0.0, lr=0.2), x=STORED[:7])
    assert outcome.steps == 60 and all(len(b) == 7 for b in objective.seen)
    torch.testing.assert_close(objective.mean.detach(), STORED[:7].mean(0), atol=0.4, rtol=0)


# -- optimisation ----------------------------------------------------------------------------------------------------------------------

def test_the_minimum_is_found():
    objective = Mean()
    outcome = run(objective, QUICK(budget="400steps"))
    torch.testing.assert_close(objective.mean.detach(), STORED.mean(0), atol=0.2, rtol=0)
    assert outcome.history[0]["loss"] > 1.5 * outcome.history[-1]["loss"] and outcome.history[-1]["fit"] == outcome.history[-1]["loss"]
    assert objective.concluded[2] is False and not objective.training and torch.equal(objective.concluded[1], objective.mean)


def test_players_move_in_turn_and_move_their_own_weights_only():
    objective = Race()
    outcome = run(objective, QUICK(budget="10steps", validation=0.0))
    assert objective.moves == ["critic", "generator"] * 10
    for i, (player, before, after) in enumerate(zip(objective.moves, objective.states, objective.states[1:], strict=False)):
        for name in ("critic", "generator"):
            assert torch.equal(before[name], after[name]) == (name != player), (i, player, name)
    assert {"critic.loss", "generator.loss"} <= set(outcome.history[-1])


def test_gradients_are_clipped():
    """With the gradient's norm cut to a tiny value, Adam's ε dominates and the weights hardly move."""
    loose, tight = Mean(), Mean()
    run(loose, QUICK(clip=1e3)), run(tight, QUICK(clip=1e-9))
    assert (loose.mean - 2).abs().min() > 0.3 and (tight.mean - 2).abs().max() < 0.3


@pytest.mark.parametrize("change", [{"lr": 0.01}, {"betas": (0.5, 0.9)}, {"weight_decay": 0.5}, {"clip": 0.1}, {"warmup": 0}, {"ema": 0.2},
                                    {"validation": 0.3}, {"batch_size": 8}, {"budget": "50steps"}, {"ema": 0.0}])
def test_every_setting_changes_the_result(change):
    a, b = Mean(), Mean()
    run(a), run(b, QUICK(**change))
    assert not torch.equal(weights_of(a), weights_of(b))


# -- evaluation and early stopping -----------------------------------------------------------------------------------------------------

def test_evaluations_are_geometric_and_depend_on_the_step_alone():
    steps = [r["step"] for r in run(Mean(), QUICK(budget="700steps", patience=0.0)).history]
    assert steps[:5] == [25, 50, 75, 100, 125] and steps[-1] == 700
    assert all(b - a == max(25, a // 10) for a, b in itertools.pairwise(steps[:-1]))


def test_the_share_that_holds_rows_out_is_the_smallest():
    """In hundredths; below twenty rows there is none."""
    assert [share_to_hold_out(n) for n in (2, 19, 20, 60, 100, 1000)] == [None, None, 0.5, 0.17, 0.1, 0.01]
    for n in range(20, 1500):
        share = share_to_hold_out(n)
        assert len(held_out_rows(n, QUICK(validation=share), 0)) >= 10 and not len(held_out_rows(n, QUICK(validation=share - 0.01), 0))


def test_the_best_held_out_weights_are_kept():
    """A held-out curve that is lowest in the middle: the weights of then are those that stay."""
    objective, curve, kept = Mean(), iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0]), []

    def held_out(x, c):
        kept.append(weights_of(objective))
        return torch.tensor(next(curve))

    objective.held_out = held_out
    outcome = run(objective, QUICK(budget="150steps", patience=0.0))
    assert [r["held_out"] for r in outcome.history] == [3, 1, 2, 2, 2, 2]
    assert torch.equal(weights_of(objective), kept[1]) and not torch.equal(kept[1], kept[-1])


def test_the_held_out_curve_sees_the_average_and_the_same_noise():
    objective, values = Mean(), []
    objective.held_out = lambda x, c: values.append((weights_of(objective), torch.randn(3))) or torch.tensor(1.0)
    run(objective, QUICK(budget="75steps", ema=0.2))
    assert torch.equal(values[0][1], values[1][1]) and not torch.equal(values[0][0], values[1][0])


@pytest.fixture
def impatient(monkeypatch):
    """Early stopping from step 200 on."""
    monkeypatch.setattr(module, "PATIENT_STEPS", 200)


def stops_early(objective, curve):
    objective.held_out = lambda x, c: torch.tensor(float(next(curve)))
    return run(objective, QUICK(budget="5000steps", patience=0.5))


@pytest.mark.usefixtures("impatient")
def test_training_stops_when_the_held_out_curve_has_not_improved_for_half_of_the_run():
    outcome = stops_early(Mean(), iter([5, 4, 3, *range(4, 400)]))
    best = outcome.history[2]["step"]
    assert outcome.events == [{"step": outcome.steps, "event": "stopped early", "best_step": best}]
    assert max(200, 2 * best) <= outcome.steps < 300


@pytest.mark.usefixtures("impatient")
def test_training_goes_on_while_the_curve_improves():
    objective = Mean()
    objective.held_out = lambda x, c: torch.tensor(-float(objective.calls))
    assert run(objective, QUICK(budget="500steps", patience=0.5)).steps == 500
    flat = Mean()
    flat.held_out = lambda x, c: torch.tensor(float(flat.calls))
    assert run(flat, QUICK(budget="500steps", patience=0.0)).steps == 500


@pytest.mark.usefixtures("clock", "impatient")
def test_a_run_that_stopped_early_can_be_repeated_in_steps():
    first, second = Mean(), Mean()
    first.held_out = lambda x, c: torch.tensor(float(first.calls))
    second.held_out = lambda x, c: torch.tensor(float(second.calls))
    outcome = run(first, QUICK(budget="60s", patience=0.5))
    assert outcome.events
    run(second, QUICK(budget=f"{outcome.budget_steps}steps", patience=0.5))
    assert torch.equal(weights_of(first), weights_of(second))


# -- repetition and resuming -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("objective", [Mean, Race])
def test_the_same_seed_gives_the_same_bits(objective):
    torch.manual_seed(0)
    a = objective()
    torch.manual_seed(0)
    b, state = objective(), torch.get_rng_state()
    run(a, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    run(b, seed=3)
    assert torch.equal(weights_of(a), weights_of(b))
    torch.manual_seed(0)
    other = objective()
    run(other, seed=4)
    assert not torch.equal(weights_of(a), weights_of(other))


class Interrupt:
    """Presses Ctrl-C once, at some step."""

    def __init__(self, at):
        self.at = at

    def __call__(self, event):
        if event["step"] == self.at:
            self.at = None
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(("objective", "optimizer"), [(Mean, "adam"), (Race, "adam"), (Race, "muon")])
@pytest.mark.parametrize("at", [1, 24, 25, 26, 43, 60])
def test_a_resumed_run_equals_an_uninterrupted_one(objective, optimizer, at, tmp_path, monkeypatch):
    settings = QUICK(optimizer=optimizer)
    monkeypatch.setattr(module, "REPORT_EVERY_S", -1.0)
    with rng.preserved():
        torch.manual_seed(0)
        whole, cut, resumed = (objective() for _ in range(3))
        for o in (cut, resumed):
            o.load_state_dict(whole.state_dict())
    handler = signal.getsignal(signal.SIGINT)
    expected = run(whole, settings)
    first = run(cut, settings, folder=tmp_path, fingerprint="f", report=Interrupt(at))
    assert first.interrupted and first.steps == at and signal.getsignal(signal.SIGINT) is handler
    second = run(resumed, settings, folder=tmp_path, fingerprint="f")
    assert not second.interrupted and second.steps == 60 and torch.equal(weights_of(resumed), weights_of(whole))
    assert without_times(second.history) == without_times(expected.history)
    assert getattr(resumed, "calls", 60 - at) == 60 - at            # nothing is done twice


def test_a_run_can_be_interrupted_many_times(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "REPORT_EVERY_S", -1.0)
    whole = Mean()
    run(whole, QUICK(ema=0.2))
    for at in (10, 20, 30, 55, None):
        part = Mean()
        run(part, QUICK(ema=0.2), folder=tmp_path, fingerprint="f", report=Interrupt(at))
    assert torch.equal(weights_of(part), weights_of(whole))


def test_an_interrupted_model_is_usable(monkeypatch):
    monkeypatch.setattr(module, "REPORT_EVERY_S", -1.0)
    objective = Mean()
    outcome = run(objective, report=Interrupt(30))
    assert outcome.interrupted and not objective.training and objective.concluded is not None and torch.isfinite(objective.mean).all()


def test_a_second_interrupt_is_immediate(monkeypatch):
    monkeypatch.setattr(module, "REPORT_EVERY_S", -1.0)

    def impatient(event):
        signal.raise_signal(signal.SIGINT), signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(Mean(), report=impatient)
    assert signal.getsignal(signal.SIGINT) is handler


def test_training_in_another_thread():
    objective = Mean()
    thread = threading.Thread(target=run, args=(objective,))
    thread.start(), thread.join()
    expected = Mean()
    run(expected)
    assert torch.equal(weights_of(objective), weights_of(expected))


def test_checkpoints_are_written_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHECKPOINT_EVERY_S", -1.0)
    whole, killed, resumed = Mean(), Mean(), Mean()
    run(whole)

    def crash(event):
        if event["step"] >= 40:
            raise RuntimeError("power failure")

    monkeypatch.setattr(module, "REPORT_EVERY_S", -1.0)
    with pytest.raises(RuntimeError, match="power failure"):
        run(killed, folder=tmp_path, fingerprint="f", report=crash)
    assert json.loads((tmp_path / "checkpoint" / "state.json").read_text())["state"]["step"] == 39
    run(resumed, folder=tmp_path, fingerprint="f")
    assert torch.equal(weights_of(resumed), weights_of(whole))


@pytest.mark.parametrize("pressed", [False, True])
def test_a_full_disk_loses_nothing_that_is_trained(tmp_path, monkeypatch, pressed):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_checkpoint", full)
    monkeypatch.setattr(module, "CHECKPOINT_EVERY_S", 1e9 if pressed else -1.0)
    monkeypatch.setattr(module, "REPORT_EVERY_S", -1.0)
    objective = Mean()
    outcome = run(objective, folder=tmp_path, fingerprint="f", report=Interrupt(30 if pressed else None))
    assert outcome.steps == (30 if pressed else 60) and outcome.interrupted == pressed and not objective.training
    assert "No space left" in outcome.events[0]["why"] and outcome.events[0]["event"] == "checkpoint not written"


def test_an_unfinished_run_of_something_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "REPORT_EVERY_S", -1.0)
    run(Mean(), folder=tmp_path, fingerprint="one", report=Interrupt(30))
    with pytest.raises(SavedModelError, match="unfinished run of another model, data or settings"):
        run(Mean(), folder=tmp_path, fingerprint="two")
    remove_checkpoint(tmp_path)
    assert run(Mean(), folder=tmp_path, fingerprint="two").steps == 60


@pytest.mark.parametrize("damage", [lambda f: (f / "state.json").write_text("{"), lambda f: (f / "state.safetensors").unlink(),
                                    lambda f: (f / "state.safetensors").write_bytes(b"x" * 40)])
def test_a_damaged_checkpoint_is_said(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(module, "REPORT_EVERY_S", -1.0)
    run(Mean(), folder=tmp_path, fingerprint="f", report=Interrupt(30))
    damage(tmp_path / "checkpoint")
    with pytest.raises(SavedModelError, match=r"cannot be read.*\n.*delete .*checkpoint to start again"):
        run(Mean(), folder=tmp_path, fingerprint="f")


# -- numbers that are not finite ---------------------------------------------------------------------------------------------------------

def test_a_loss_that_is_nan_once_is_rewound_at_half_the_rate():
    """Like a batch with an extreme value: the first time that step 60 is made, the loss is NaN."""
    objective = Mean(fails=lambda loss, calls: loss * math.nan if calls == 60 else loss)
    reports = []
    outcome = run(objective, QUICK(budget="200steps", ema=0.0), report=reports.append)
    (event,) = outcome.events
    assert event["event"] == "not finite" and event["where"].startswith("model: term") and "weights of mean" in event["where"]
    assert (event["step"], event["back_to"], event["lr_scale"]) == (75, 50, 0.5) and event in reports
    assert outcome.steps == 200 and objective.calls == 225 and torch.isfinite(objective.mean).all()
    assert all(math.isfinite(v) for record in outcome.history for v in record.values())
    torch.testing.assert_close(objective.mean.detach(), STORED.mean(0), atol=0.3, rtol=0)


def test_a_loss_that_is_always_nan_is_an_error():
    with pytest.raises(DivergedError, match=r"does not stay finite \(model: .*\), even at 1/64 of the learning rate"):
        run(Mean(fails=lambda loss, calls: loss * math.inf))


@pytest.mark.parametrize(("player", "moves"), [
    ("critic", 81), ("generator", 82)])
def test_the_player_is_named(player, moves):
    objective = Race(fails=lambda p, calls, loss: loss * math.nan if calls == moves else loss)
    outcome = run(objective, QUICK(budget="100steps", validation=0.0))
    assert [e["where"].split(":")[0] for e in outcome.events] == [player] and outcome.events[0]["back_to"] == 25


def test_a_rewound_run_repeats_itself():
    def once(loss, calls):
        return loss * math.nan if calls == 60 else loss

    a, b = Mean(once), Mean(once)
    run(a), run(b)
    assert torch.equal(weights_of(a), weights_of(b))


@pytest.mark.usefixtures("clock")
def test_progress_is_reported():
    reports = []
    run(Mean(), QUICK(budget="3s", patience=0.0), report=reports.append)
    fractions = [r["fraction"] for r in reports]
    assert len(reports) > 5 and fractions == sorted(fractions) and fractions[-1] == 1
    assert set(reports[0]) == {"step", "fraction", "elapsed_s", "held_out"}


def test_a_run_that_is_resumed_after_numbers_broke_recovers_like_the_uninterrupted_one(tmp_path, monkeypatch):
    """Interrupted between the step that broke and the evaluation that would have found it."""
    def breaks_once(limit):
        def fails(loss, calls):
            broken.append(calls)
            return loss * (math.nan if calls == limit and len([b for b in broken if b == limit]) == 1 else 1)
        broken = []
        return fails

    monkeypatch.setattr(module, "REPORT_EVERY_S", -1.0)
    whole, cut = Mean(breaks_once(30)), Mean(breaks_once(30))
    run(whole)
    assert run(cut, folder=tmp_path, fingerprint="f", report=Interrupt(32)).interrupted
    assert torch.isfinite(weights_of(cut)).all()                        # what is left is usable
    resumed = Mean()
    outcome = run(resumed, folder=tmp_path, fingerprint="f")
    assert outcome.steps == 60 and torch.isfinite(weights_of(resumed)).all()


@pytest.mark.parametrize("when", ["prepare", "measure", "conclude"])
def test_ctrl_c_between_the_steps_leaves_a_usable_model(when):
    objective = Mean()
    real = getattr(objective, when)

    def pressed(x, c):
        signal.raise_signal(signal.SIGINT)
        return real(x, c)

    setattr(objective, when, pressed)
    outcome = run(objective)
    assert outcome.interrupted and outcome.steps == (0 if when == "prepare" else 60) and objective.concluded is not None


# -- the pieces of a step ----------------------------------------------------------------------------------------------------------------

def tensors(seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g) for shape in ((3, 4), (5,), (2, 3, 3, 3))]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("most", [0.5, 1e6])
def test_clipping_is_that_of_torch(n, most):
    parameters = [torch.nn.Parameter(v) for v in tensors()[:n]]
    for p, g in zip(parameters, tensors(1), strict=False):
        p.grad = g
    gradients = tensors(1)[:n]
    assert torch.equal(module.clip(gradients, most), torch.nn.utils.clip_grad_norm_(parameters, most))
    assert all(torch.equal(g, p.grad) for g, p in zip(gradients, parameters, strict=True))
    assert all(torch.equal(g, v) for g, v in zip(gradients, tensors(1), strict=False)) == (most > 1)
