"""The training loop: the only one, for every family.

Data are on the device and batches are taken by index; nothing in a step waits for a number. What happens in step *i* depends on (seed,
*i*) and on the weights alone, so that a resumed run equals an uninterrupted one, bit for bit on a CPU.

**A budget in seconds that can be repeated in steps.** The learning rate is constant until 70 % of the time is spent; the step *s₀* at
which this happens fixes the total *N* = ⌈10 s₀ / 7⌉, and the rate then falls linearly to zero. A budget of *N* steps has the same
schedule (it starts to fall at ⌊7 N / 10⌋ = s₀). An objective whose average over weights is better than any
weights on its way keeps the rate (``wanders``). Evaluations happen at steps that grow geometrically, the average over weights has a
length relative to the run, and so has the patience: no part of the schedule needs to know *N* beforehand.

**A training of several stages** (greedy layers, say) is one loop after another, each with its share of the budget, its own players,
optimisers, schedule and curve, on what :meth:`Objective.view` makes of the same rows.

**When numbers stop being finite**, the loop goes back to the last evaluation, halves the rate of every player, says so, and goes on.
"""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from .. import rng
from ..errors import DivergedError
from ..spec import Budget, Train
from .average import Average
from .checkpoint import read_checkpoint, remove_checkpoint, save_checkpoint
from .device import arithmetic, device_of, threads_for
from .objective import Objective, Stage
from .optimizer import optimizer

STABLE = (7, 10)            # share of the steps before the learning rate falls
MAX_HALVINGS = 6            # of the learning rate, after numbers that were not finite
CHECKPOINT_EVERY_S = 30.0
REPORT_EVERY_S = 0.2
PATIENT_STEPS = 2000        # at least; a curve can be flat for long at the start
HELD_OUT_ROWS = 2000        # at most; more would cost time and change nothing
FEWEST_HELD_OUT = 10        # or none: fewer would say nothing

Reporter = Callable[[dict[str, Any]], None]


@dataclass
class State:
    """All that a step depends on and changes, apart from the weights, optimisers and averages."""

    step: int = 0
    total: int | None = None                # N, once it is known
    elapsed_s: float = 0.0
    lr_scale: float = 1.0
    best: float = math.inf
    best_step: int = 0
    next_evaluation: int = 25
    history: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """What training was: its curve, what happened, and how long it took. A budget of ``budget_steps`` repeats it exactly.

    ``stages`` has a record for each stage: its name, steps, seconds, and what :meth:`Objective.measure` found after it. Steps and
    seconds in ``history`` and ``events`` count from the beginning of the first stage.
    """

    history: list[dict[str, Any]]
    events: list[dict[str, Any]]
    stages: list[dict[str, Any]]
    steps: int
    budget_steps: int | str
    seconds: float
    interrupted: bool


@dataclass(frozen=True)
class Parts:
    """The rows that are trained on and those that are held out (None where there are too few), on the device."""

    x: Tensor
    c: Tensor | None
    x_held: Tensor | None
    c_held: Tensor | None

    @classmethod
    def of(cls, x: Tensor, c: Tensor | None, settings: Train, seed: int) -> Parts:
        order, held = _order(len(x), settings, seed)
        device = device_of(settings.device)
        trained, held_out = ([None if v is None else v[rows].to(device) for v in (x, c)] for rows in (order[held:], order[:held]))
        return cls(*trained, *(held_out if held else (None, None)))


def _order(n: int, settings: Train, seed: int) -> tuple[Tensor, int]:
    """The rows in a random order, and how many of the first are held out."""
    held = min(int(n * settings.validation), HELD_OUT_ROWS)
    return torch.randperm(n, generator=rng.generator(seed, "held out")), held if held >= FEWEST_HELD_OUT else 0


def held_out_rows(n: int, settings: Train, seed: int) -> Tensor:
    """Which of ``n`` rows :func:`train` holds out with these settings and this seed."""
    order, held = _order(n, settings, seed)
    return order[:held]


def share_to_hold_out(n: int) -> float | None:
    """The smallest ``validation``, in hundredths, with which some of ``n`` rows are held out; None where even a half is too few."""
    share = math.ceil(100 * FEWEST_HELD_OUT / n) / 100
    return share if share <= 0.5 else None


def train(objective: Objective, x: Tensor, c: Tensor | None, settings: Train, seed: int, *, folder: Path | None = None,
          fingerprint: str = "", report: Reporter | None = None) -> Outcome:
    """Train in place and leave the best averaged weights in ``objective``.

    x : stored rows ``(N, *stored_shape)``;  c : stored conditions ``(N, 1)`` or None;  settings : every field set, no ``None``.
    folder : where checkpoints go; an unfinished run found there with the same ``fingerprint`` is continued.
    Raises :class:`DivergedError` when the numbers do not stay finite at 1/64 of the learning rate.
    """
    stages, parts, finished = objective.stages(), Parts.of(x, c, settings, seed), []
    progress = Progress(stages, report or (lambda event: None))
    objective.to(parts.x.device, memory_format=torch.channels_last)
    with _interruptible() as stop, rng.preserved(), threads_for(objective, settings.threads):
        rng.reseed(seed, "prepare")
        objective.prepare(parts.x, parts.c)
        unfinished = None if folder is None else read_checkpoint(folder, fingerprint, parts.x.device)
        if unfinished is not None:
            finished = unfinished.finished
            unfinished.restore_objective(objective)
        for i in range(len(finished), len(stages)):
            loop = Loop(objective, parts, settings, seed, progress.of(i, finished), stage=i)
            if unfinished is not None:
                unfinished.restore_loop(loop)
                loop.snapshot, unfinished = loop.take_snapshot(), None
            interrupted = loop.run(folder, stop, lambda loop=loop: save_checkpoint(folder, fingerprint, loop, finished))
            loop.keep_best()
            objective.eval()
            with torch.no_grad():
                shown = (parts.x[:HELD_OUT_ROWS], parts.c) if parts.x_held is None else (parts.x_held, parts.c_held)
                measured = objective.measure(shown[0], None if shown[1] is None else shown[1][: len(shown[0])])
            for remark in objective.remarks(measured):
                loop.tell({"step": loop.state.step, "event": remark})
            finished.append(loop.summary(measured))
            if interrupted:
                break
        objective.stage, objective.step = None, finished[-1]["steps"]        # also where a run goes on that had only this to do
        rng.reseed(seed, "conclude")
        with torch.no_grad():
            objective.conclude(parts.x, parts.c)
        interrupted = interrupted or stop()
    if folder is not None and not interrupted:
        remove_checkpoint(folder)
    return _outcome(finished, interrupted)


def _outcome(finished: list[dict[str, Any]], interrupted: bool) -> Outcome:
    """The stages' own records as those of the whole run."""
    history, events, steps, seconds = [], [], 0, 0.0
    for stage in finished:
        name = {"stage": stage["stage"]} if stage["stage"] else {}
        history += [{**r, **name, "step": r["step"] + steps, "elapsed_s": round(r["elapsed_s"] + seconds, 3)} for r in stage["history"]]
        events += [{**e, **name, **{k: e[k] + steps for k in ("step", "best_step", "back_to") if k in e}} for e in stage["events"]]
        steps, seconds = steps + stage["steps"], seconds + stage["seconds"]
    budgets = [stage["budget_steps"] for stage in finished]
    records = [{k: stage[k] for k in ("stage", "steps", "seconds", "measured")} for stage in finished]
    budget = budgets[0] if len(budgets) == 1 else "+".join(map(str, budgets))
    return Outcome(history, events, records, steps, budget, seconds, interrupted)


class Progress:
    """Reports of the stages as those of the whole run."""

    def __init__(self, stages: Sequence[Stage], report: Reporter):
        self.stages, self.report = stages, report

    def of(self, i: int, finished: Sequence[Mapping[str, Any]]) -> Reporter:
        """The reporter of stage ``i``."""
        if len(self.stages) == 1:
            return self.report
        stage, before = self.stages[i], sum(s.share for s in self.stages[:i])
        steps, seconds = sum(f["steps"] for f in finished), sum(f["seconds"] for f in finished)

        def report(event: dict[str, Any]) -> None:
            moved = {k: event[k] + steps for k in ("step", "best_step", "back_to") if k in event}
            if "fraction" in event:
                moved |= {"fraction": min(1.0, before + stage.share * event["fraction"]), "elapsed_s": event["elapsed_s"] + seconds}
            self.report({**event, **moved, "stage": stage.name})

        return report


class Loop:
    """One stage: weights, an optimiser for each player, the average, the state, and the steps that change them."""

    def __init__(self, objective: Objective, parts: Parts, settings: Train, seed: int, report: Reporter, stage: int = 0):
        stages = objective.stages()
        self.settings = settings
        self.objective, self.seed, self.report = objective, seed, report
        self.name = stages[stage].name
        self.stream = seed if stage == 0 else rng.seed_of(seed, self.name)
        self.budget = Budget.parse(settings.budget).part(stage, [s.share for s in stages])
        objective.stage = self.name or None
        objective.eval()
        with torch.no_grad():
            self.x, self.c = objective.view(parts.x, parts.c)
            self.x_held, self.c_held = (None, None) if parts.x_held is None else objective.view(parts.x_held, parts.c_held)
        objective.train()
        self.device = self.x.device
        self.batch_size = min(settings.batch_size, len(self.x))
        self.per_epoch = max(1, len(self.x) // self.batch_size)
        self.parameters = {k: [p for p in m.parameters() if p.requires_grad] for k, m in objective.players().items()}
        self.optimisers = {k: optimizer(p, settings) for k, p in self.parameters.items()}
        self.average = Average([p for ps in self.parameters.values() for p in ps], settings.ema)
        self.state = State(total=self.budget.steps)
        self.sums: dict[str, Tensor] = {}
        self.norms: list[tuple[str, Tensor]] = []       # of the players' gradients since the last look at them
        self.best_values = [v.clone() for v in self.average.values]
        self.arithmetic = arithmetic(objective, self.device, settings.precision)
        self._epoch, self._order = -1, None
        self.snapshot = self.take_snapshot()

    def summary(self, measured: Mapping[str, float]) -> dict[str, Any]:
        """What this stage was."""
        state = self.state
        still_constant = STABLE[1] * state.step // STABLE[0] + 1        # stopped early, without a total: any that would not have fallen
        return {"stage": self.name, "steps": state.step, "seconds": state.elapsed_s, "budget_steps": state.total or still_constant,
                "history": state.history, "events": state.events, "measured": dict(measured)}

    # -- the run ---------------------------------------------------------------------------------------------------------------

    def run(self, folder: Path | None, stop: Callable[[], bool], save: Callable[[], None]) -> bool:
        """Step until the budget is spent, patience ends, or ``stop()``; true if it was that. ``save`` writes a checkpoint to ``folder``."""
        state, started, saved = self.state, time.perf_counter() - self.state.elapsed_s, time.perf_counter()
        reported = 0.0
        while (state.total is None or state.step < state.total) and not stop():
            self._step()
            now = time.perf_counter()
            state.elapsed_s = now - started
            if state.total is None and state.elapsed_s >= self.budget.seconds * STABLE[0] / STABLE[1]:
                state.total = -(-STABLE[1] * state.step // STABLE[0])
            if state.step >= state.next_evaluation or state.step == state.total:
                self._evaluate()
                if self._out_of_patience():
                    break
            if now - reported > REPORT_EVERY_S:
                reported = now
                self._report()
            if folder is not None and now - saved > CHECKPOINT_EVERY_S:
                self._save(save)
                saved = now
        interrupted = stop()
        if interrupted and folder is not None:
            self._save(save)
        self._report()
        return interrupted

    def _save(self, save: Callable[[], None]) -> None:
        """A checkpoint on the way; a full disk must not end the run."""
        try:
            save()
        except (OSError, SafetensorError) as error:
            self.tell({"step": self.state.step, "event": "checkpoint not written", "why": str(error)})

    def tell(self, event: dict[str, Any]) -> None:
        """Keep an event and report it."""
        self.state.events.append(event)
        self.report(event)

    def _step(self) -> None:
        state, settings = self.state, self.settings
        rng.reseed(self.stream, "step", state.step)
        self.objective.step = state.step
        rows = self._batch()
        x, c = self.x.index_select(0, rows), None if self.c is None else self.c.index_select(0, rows)
        lr = settings.lr * state.lr_scale * self._schedule(state.step)
        for player in self.objective.turns:
            parameters = self.parameters[player]
            with self.arithmetic():
                terms = self.objective.loss(x, c, player)
            gradients = torch.autograd.grad(terms["loss"], parameters)
            self.norms.append((player, clip(gradients, settings.clip)))
            self.optimisers[player].move(parameters, gradients, lr)
            for name, value in terms.items():
                key = name if len(self.parameters) == 1 else f"{player}.{name}"
                self.sums[key] = self.sums[key] + value.detach() if key in self.sums else value.detach()
        state.step += 1
        self.average.update(state.step)

    def _batch(self) -> Tensor:
        epoch, i = divmod(self.state.step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = torch.randperm(len(self.x), generator=rng.generator(self.stream, "epoch", epoch)).to(self.device)
        return self._order[i * self.batch_size : (i + 1) * self.batch_size]

    def _schedule(self, step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, self.settings.warmup))
        if self.state.total is None or self.objective.wanders:
            return rise
        falls_at = STABLE[0] * self.state.total // STABLE[1]
        return rise * min(1.0, (self.state.total - step) / max(1, self.state.total - falls_at))

    # -- evaluation ------------------------------------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        state = self.state
        steps = state.step - (state.history[-1]["step"] if state.history else 0)
        record = {"step": state.step, "elapsed_s": round(state.elapsed_s, 3)}
        record |= {name: float(value) / steps for name, value in self.sums.items()}
        culprit = self._not_finite(record)
        if culprit:
            self._rewind(culprit)
            return
        held_out, watched = self._held_out()
        if held_out is not None:
            record |= {"held_out": held_out, **watched}
        if held_out is None or held_out <= state.best:
            state.best, state.best_step = (math.inf if held_out is None else held_out), state.step
            self.best_values = [v.clone() for v in self.average.values]
        self.sums, self.norms = {}, []
        state.history.append(record)
        alarm = self.objective.alarm(state.history)
        if alarm is not None and self.objective.alarm(state.history[:-1]) is None:
            self.tell({"step": state.step, "event": alarm})
        state.next_evaluation = state.step + max(25, state.step // 10)
        self.snapshot = self.take_snapshot()

    @torch.no_grad()
    def _held_out(self) -> tuple[float | None, dict[str, float]]:
        """The held-out value with the averaged weights, and what the objective watches beside it."""
        if self.x_held is None:
            return None, {}
        self.average.swap()
        self.objective.eval()
        rng.reseed(self.stream, "held out")     # the same noise every time, so that the curve shows the weights alone
        with self.arithmetic():
            value = float(self.objective.held_out(self.x_held, self.c_held))
            rng.reseed(self.stream, "held out")
            watched = self.objective.watch(self.x_held, self.c_held)
        self.objective.train()
        self.average.swap()
        return (value if math.isfinite(value) else math.inf), watched

    def _out_of_patience(self) -> bool:
        state = self.state
        waited = state.step - state.best_step
        if not self.settings.patience or self.x_held is None or state.step < PATIENT_STEPS or waited <= self.settings.patience * state.step:
            return False
        state.events.append({"step": state.step, "event": "stopped early", "best_step": state.best_step})
        return True

    def keep_best(self) -> None:
        """Put the best averaged weights into the objective; the last ones where nothing was held out or evaluated."""
        evaluated = self.x_held is not None and self.state.history
        values = self.best_values if evaluated else self.average.values
        if not all(torch.isfinite(v).all() for v in values):        # stopped between numbers that broke and the look that finds them
            values = self.snapshot["average"]
        for p, v in zip(self.average.weights, values, strict=True):
            p.data.copy_(v)

    # -- when numbers are not finite ---------------------------------------------------------------------------------------------

    def _not_finite(self, record: dict[str, float]) -> str | None:
        """Where the numbers stopped being finite, in words: the player whose gradient broke first, its terms and layers."""
        terms = [name for name, value in record.items() if not math.isfinite(value)]
        layers = [n for n, p in self.objective.named_parameters() if p.requires_grad and not torch.isfinite(p).all()]
        if not terms and not layers:
            return None
        player = next((player for player, norm in self.norms if not math.isfinite(norm)), self.objective.turns[0])
        return f"{player}: " + ", ".join([*(f"term {t}" for t in terms[:3]), *(f"weights of {n}" for n in layers[:3])])

    def _rewind(self, culprit: str) -> None:
        at = self.state.step
        self._restore_snapshot()
        self.state.lr_scale /= 2
        self.sums, self.norms = {}, []
        self.state.next_evaluation = min(self.state.next_evaluation, self.state.step + 25)
        event = {"step": at, "event": "not finite", "where": culprit, "back_to": self.state.step, "lr_scale": self.state.lr_scale}
        self.state.events.append(event)
        self.report(event)
        if self.state.lr_scale < 0.5**MAX_HALVINGS:
            raise DivergedError(f"training does not stay finite ({culprit}), even at 1/{2**MAX_HALVINGS} of the learning rate",
                                hint="look for extreme values in the data (ectype data FILE), or set a lower lr")
        self.snapshot = self.take_snapshot()

    def take_snapshot(self) -> dict[str, Any]:
        return {"weights": [p.detach().clone() for p in self.average.weights], "average": [v.clone() for v in self.average.values],
                "buffers": {k: v.clone() for k, v in self.buffers().items()},
                "optimisers": {k: copy.deepcopy(o.state_dict()) for k, o in self.optimisers.items()}, "state": copy.deepcopy(self.state)}

    def buffers(self) -> dict[str, Tensor]:
        """The objective's kept buffers: what :meth:`Objective.prepare` filled, and what steps may change (a learned schedule)."""
        kept = self.objective.state_dict().keys()
        return {k: v for k, v in self.objective.named_buffers() if k in kept}

    def _restore_snapshot(self) -> None:
        s = self.snapshot
        for k, v in self.buffers().items():
            v.copy_(s["buffers"][k])
        for p, w in zip(self.average.weights, s["weights"], strict=True):
            p.data.copy_(w)
        for v, w in zip(self.average.values, s["average"], strict=True):
            v.copy_(w)
        for k, o in self.optimisers.items():
            o.load_state_dict(copy.deepcopy(s["optimisers"][k]))
        elapsed, events = self.state.elapsed_s, self.state.events
        self.state.__dict__.update(copy.deepcopy(s["state"]).__dict__)
        self.state.elapsed_s, self.state.events = elapsed, events

    def _report(self) -> None:
        state = self.state
        done = state.step / state.total if state.total and self.budget.steps else state.elapsed_s / (self.budget.seconds or math.inf)
        if self.budget.seconds and state.total:
            done = max(STABLE[0] / STABLE[1], state.step / state.total)
        held_out = state.history[-1].get("held_out") if state.history else None
        self.report({"step": state.step, "fraction": min(1.0, done), "elapsed_s": state.elapsed_s, "held_out": held_out})


def clip(gradients: Sequence[Tensor], most: float) -> Tensor:
    """Shrink them in place until their common norm is at most that; what it was. In a third of the time that torch's own function takes
    for small ones. A GPU would have to wait to know that it has nothing to do."""
    norms = torch._foreach_norm(gradients)
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    if factor.device.type != "cpu" or factor != 1.0:
        torch._foreach_mul_(gradients, factor)
    return norm


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag, so that a step is never cut in two; the second one interrupts at once."""
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def press(signum, frame) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(signum)

    previous = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, previous)
