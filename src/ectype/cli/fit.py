"""``ectype fit MODEL DATA --out RUN``: train one model. The same command again goes on with an unfinished run."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from tyro.conf import Positional, arg

from .. import registry
from ..data.describe import signal_shape
from ..data.schema import Schema
from ..data.sources import Dataset, load
from ..errors import EctypeError, InvalidParameterError
from ..estimator import condition_schema
from ..spec import Budget, annotations, validate
from ..train.loop import FEWEST_HELD_OUT, share_to_hold_out
from . import INTERRUPTED
from .flags import Source, leading, option_values, optional, parse, with_options
from .options import constructor_arguments, fitting, prose
from .runs import claim, release, resolved, write_log
from .terminal import Terminal, duration, event_in_words

COLOURS = {1: "grey", 3: "colour"}


@dataclass(frozen=True, kw_only=True)
class Fit(Source):
    """Flags of every model."""

    out: Annotated[Path, arg(metavar="RUN")]
    """Folder of the run; it takes the model, the settings and the training curve."""
    seed: int = 0
    """Seed of the weights and of training."""
    overwrite: Annotated[bool, optional()] = False
    """Replace the model that is in RUN."""


@dataclass(frozen=True, kw_only=True)
class Name:
    """Which model."""

    model: Annotated[str, Positional, arg(metavar="MODEL", help=f"{', '.join(registry.names())}; its flags: fit MODEL --help")]


@dataclass(frozen=True, kw_only=True)
class AnyFit(Fit, Name):        # a dataclass takes the fields of its last base first: MODEL stands before DATA
    """Before the model is known."""


def fit(argv: list[str]) -> int:
    """The command."""
    name, rest = leading(argv, registry.FAMILIES.__contains__)
    name = registry.entry(name or parse(AnyFit, argv, "fit").model).name
    cls = registry.load(name)
    options = fitting(cls)
    flags = parse(with_options(Fit, options), rest, "fit", subject=name, about=prose(cls.__doc__)[0], family=name)
    terminal = Terminal(quiet=flags.quiet)
    arguments = constructor_arguments(cls, option_values(flags, options))
    validate(cls.__name__, arguments, annotations(cls.__init__))        # before data are read: they can be large
    model = cls(**arguments, random_state=flags.seed)

    dataset = load(flags.data, **flags.reading, quiet=flags.quiet)
    X, y, kinds = _training_data(dataset, model, flags)
    config = resolved(name, arguments, flags.seed, dataset, flags.data, flags.reading, y)
    schema = Schema.fit(X, kinds=kinds)
    _introduce(dataset, schema, () if y is None else condition_schema(y).notes, terminal)
    _say_if_none_is_held_out(dataset.n_rows, model.training_of(schema).validation, terminal)
    if not dataset.is_table and dataset.label and not model.conditional:
        terminal.note(f"labels of {'images' if dataset.is_image else 'signals'} are used by a conditional model only (--conditional)")
    state = claim(flags.out, config, overwrite=flags.overwrite)
    if state == "finished":
        terminal.say(f"{flags.out} holds the finished model of this very command; nothing to do. --overwrite trains it anew.")
        return 0
    if state == "unfinished":
        terminal.say(f"going on with the unfinished run in {flags.out}")
    return _train(model, X, y, kinds, flags.out, terminal, command=f"ectype fit {shlex.join(argv)}", name=name)


def _training_data(dataset: Dataset, model: Any, flags: Fit) -> tuple[Any, pd.Series | None, dict[str, str] | str]:
    """Rows, the condition of a conditional model, and the kinds of the rows' columns."""
    kinds = dataset.signal or flags.reading["kinds"]
    if not model.conditional:
        return dataset.X, None, kinds
    if dataset.is_signal and dataset.y is not None:
        return dataset.X, dataset.y, kinds
    if dataset.y is None:
        raise InvalidParameterError("a conditional model needs labels", got=f"none in {dataset.name}",
                                    expected="--label COL, sub-folders of pictures, or y in an NPZ")
    y, kind = dataset.y, kinds.get(str(dataset.y.name))
    if kind == "categorical":
        y = y.astype("category")
    elif kind is not None:
        raise InvalidParameterError(f"the condition cannot be made {kind}", expected="categorical, or the inferred kind", got=kind)
    return dataset.features, y, {c: k for c, k in kinds.items() if c != y.name}


def _introduce(dataset: Dataset, schema: Schema, of_condition: Sequence[str], terminal: Terminal) -> None:
    if schema.is_image:
        b = schema.blocks[0]
        size = f"images, {b.height}x{b.width}, {COLOURS.get(b.channels, f'{b.channels} channels')}"
    elif schema.is_signal:
        size = f"signals, {signal_shape(schema.blocks[0])}"
    else:
        size = f"rows, {len(schema.blocks)} columns"
    terminal.say(f"{dataset.name}: {dataset.n_rows:,} {size}")
    for note in dict.fromkeys((*dataset.notes, *schema.notes, *of_condition)):
        terminal.note(note)


def _say_if_none_is_held_out(n: int, validation: float, terminal: Terminal) -> None:
    if validation and int(n * validation) < FEWEST_HELD_OUT:
        share = share_to_hold_out(n)
        remedy = f"--train.validation {share:g} holds {int(n * share)} out" if share else f"it takes {2 * FEWEST_HELD_OUT} rows"
        terminal.note(f"no rows are held out, for a curve, early stopping and `ectype detect`: {validation:g} of {n} rows are fewer than "
                      f"{FEWEST_HELD_OUT}; {remedy}")


def _train(model: Any, X: Any, y: Any, kinds: dict[str, str] | str, folder: Path, terminal: Terminal, *, command: str, name: str) -> int:
    try:
        with terminal.progress() as line:
            model.fit(X, y, kinds=kinds, run=folder, progress=lambda event: line.training(name, event))
    except EctypeError:
        release(folder)
        raise
    except KeyboardInterrupt:
        if not getattr(model, "interrupted_", False):       # not even one step, or a second Ctrl-C
            raise
    _save(model, folder, terminal)
    for event in (e for e in model.events_ if e["event"] == "stopped early"):
        terminal.say(event_in_words(event))
    last = model.history_[-1].get("stage") if model.history_ else None
    curve = [r["held_out"] for r in model.history_ if "held_out" in r and r.get("stage") == last]
    facts = [f"{model.n_steps_:,} step{'s' * (model.n_steps_ != 1)} in {duration(model.fit_s_)}"]
    facts += [f"held out {min(curve):.4g}"] if curve else []
    terminal.say(f"{name}: {', '.join(facts)}, {model.n_parameters_:,} parameters; saved in {folder}")
    for stage in model.stages_ if len(model.stages_) > 1 or any(s["measured"] for s in model.stages_) else ():
        measured = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in stage["measured"].items())
        terminal.say(f"  {stage['stage'] or 'after training'}: {stage['steps']:,} steps" + (f", {measured}" if measured else ""))
    if saved := getattr(model, "n_parameters_saved_", 0):
        terminal.say(f"  tied weights save {saved:,} parameters")
    if model.interrupted_:
        terminal.say("interrupted; what is trained is saved and can be used. To go on, give the same command again:")
        terminal.say(f"  {command}")
        return INTERRUPTED
    if Budget.parse(model.train_.budget).steps is None:
        terminal.say(f"to repeat exactly: the same command with --budget {model.budget_steps_}steps and another --out")
    terminal.say(f"next: {_next(model, folder)}")
    return 0


def _next(model: Any, folder: Path) -> str:
    """The command that one gives after this."""
    words = ["ectype", "sample", os.fspath(folder), "-n", "10", "--out", f"samples.{'csv' if model.schema_.is_table else 'png'}"]
    block = model.condition_.blocks[0] if model.condition_ is not None else None
    if block is not None:
        words += ["--condition", str(block.values[0] if block.type == "category" else block.decode(np.zeros(1, np.float32)).iloc[0])]
    return shlex.join(words)


def _save(model: Any, folder: Path, terminal: Terminal) -> None:
    """Save model and log; where that fails, the model goes to the system's temporary folder before the error goes on."""
    try:
        model.save(folder)
        write_log(folder, model.history_, model.events_)
    except Exception:
        refuge = tempfile.mkdtemp(prefix="ectype-")
        terminal.say(f"{folder} cannot be written; the trained model is saved in {model.save(refuge)} instead", "yellow")
        raise
