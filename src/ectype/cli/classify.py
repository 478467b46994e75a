"""``ectype classify fit DATA --label COL --out RUN`` and ``ectype classify predict RUN DATA --out FILE``: a classifier from few labels.

Rows whose label is blank (or -1) are unlabelled: the encoder learns from them, the classes are learnt from the others.

    RUN/encoder/                               the encoder, a run of its own; absent where it came from another run
    RUN/config.json, log.jsonl                 the command, and how the classes were learnt
    RUN/model.json, model.safetensors          the classifier

The same command again goes on where it stopped: with the encoder while that is unfinished, with the classes after it.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from tyro.conf import Positional, arg

from .. import registry
from ..data.sources import Dataset, load
from ..errors import InvalidParameterError, UnknownNameError
from ..estimator import GenerativeModel
from ..estimator import load as load_model
from ..spec import Interval, Share, Train, annotations, validate
from ..uses.classifier import PretrainedClassifier, indices_of, usable
from . import COMMANDS, INTERRUPTED
from .files import Output
from .flags import Common, Source, option_values, optional, parse, size_of, with_options
from .options import Option, constructor_arguments, fitting
from .runs import MODEL, claim, read_config, read_rows, resolved, say_unreadable, write_log
from .terminal import Line, Terminal, duration

ENCODER = "encoder"         # folder of the encoder's run
DEFAULT = "autoencoder"


@dataclass(frozen=True, kw_only=True)
class Fit(Source):
    """Flags of every encoder."""

    out: Annotated[Path, arg(metavar="RUN")]
    """Folder of the run; it takes the classifier, and the encoder."""
    encoder: Annotated[str, arg(metavar="MODEL|RUN")] = DEFAULT
    """A model, to be trained on all rows with its own flags; or the folder of one that `ectype fit` trained, the start as it is."""
    neighbours: Annotated[int, Interval(0)] = 0
    """Then make the codes of that many nearest neighbours agree, without labels; 0 = no. Try 10 where classes look like clusters."""
    agreement_budget: str = "60s"
    """How long that takes: "60s", "2000steps"."""
    frozen: Annotated[bool, optional()] = False
    """Leave the encoder as it is, and train the layer on top alone."""
    dropout: Share = 0.3
    """Probability that a number of the code is silenced while the classes are learnt."""
    classes_budget: str = "1000steps"
    """How long the classes are learnt."""
    seed: int = 0
    """Seed of the weights and of training."""
    overwrite: Annotated[bool, optional()] = False
    """Replace what is in RUN."""

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the classifier, but for the encoder."""
        return {"neighbours": self.neighbours, "agreement": Train(budget=self.agreement_budget), "fine_tune": not self.frozen,
                "dropout": self.dropout, "train": Train(budget=self.classes_budget), "random_state": self.seed}


@dataclass(frozen=True, kw_only=True)
class Predict(Common):
    """A trained classifier, and data to apply it to."""

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """Folder of a run of `ectype classify fit`."""
    data: Annotated[str, Positional, arg(metavar="DATA")]
    """A file, a folder of pictures, or the name of a data set; read as the training data were."""
    out: Annotated[str, arg(metavar="FILE")] = "-"
    """The prediction and the probability of each class: .csv, .csv.gz, .tsv, .parquet, .npz, .npy, or - for CSV on standard output."""
    size: Annotated[str | None, optional(metavar="HxW|L")] = None
    """Cut and resize pictures to this height and width; cut WAV files into windows of so many samples."""


def classify(argv: list[str]) -> int:
    """The command: its first word is another."""
    actions: dict[str, Callable[[list[str]], int]] = {"fit": fit, "predict": predict}
    action = argv[0] if argv else ""
    if action in actions:
        return actions[action](argv[1:])
    if action and not action.startswith("-"):
        raise UnknownNameError("command", f"classify {action}", [f"classify {name}" for name in actions])
    parse(_Actions, argv, "classify")
    return 2


@dataclass(frozen=True, kw_only=True)
class _Actions(Common):
    """What follows ``classify``."""

    action: Annotated[str, Positional, arg(metavar="fit|predict", help="its flags: classify fit --help, classify predict --help")]


# -- fit -------------------------------------------------------------------------------------------------------------------------


def fit(argv: list[str]) -> int:
    """Learn codes from all rows, then classes from the labelled ones."""
    name = _word_after("--encoder", argv) or DEFAULT
    options: list[Option] = []
    if not (Path(name) / MODEL).is_file():
        registry.entry(name)
        options = [o for o in fitting(registry.load(name)) if o.name != "conditional"]
    flags = parse(with_options(Fit, options), argv, "classify", subject="fit", about=_about(fit), family=name if options else "")
    terminal = Terminal(quiet=flags.quiet)
    settings = flags.settings
    validate(PretrainedClassifier.__name__, settings, annotations(PretrainedClassifier.__init__))
    encoder = load_model(name) if not options else _new_encoder(name, options, flags)
    usable(encoder)
    dataset = load(flags.data, **flags.reading, like=None if options else encoder.schema_.reading, quiet=flags.quiet)
    X, y = _rows_and_labels(dataset, encoder if not options else None, terminal)
    n_labelled = _introduce(dataset, y, terminal)

    of_encoder = _but_seed(encoder.get_params(deep=False)) if options else {"run": str(Path(name).resolve())}
    params = {**_but_seed(settings), **{f"{ENCODER}.{k}": v for k, v in {"model": name, **of_encoder}.items()}}
    config = resolved("classifier", params, flags.seed, dataset, flags.data, flags.reading, y)
    if claim(flags.out, config, overwrite=flags.overwrite) == "finished":
        terminal.say(f"{flags.out} holds the finished classifier of this very command; nothing to do. --overwrite trains it anew.")
        return 0
    command = f"ectype classify fit {shlex.join(argv)}"
    with terminal.progress() as line:
        if options:
            encoder = _fit_encoder(name, encoder, X, dataset, flags, terminal, line)
            if encoder.interrupted_:
                terminal.say("interrupted; the encoder is saved as it is. To go on, give the same command again:")
                terminal.say(f"  {command}")
                return INTERRUPTED
        model = PretrainedClassifier(encoder, prefit=True, **settings)
        model.fit(X, y, progress=lambda event: line.training(event["part"], event))
    model.save(flags.out)
    write_log(flags.out, model.history_, model.events_)
    _conclude(model, n_labelled, flags.out, terminal)
    return 0


def _new_encoder(name: str, options: Sequence[Option], flags: Any) -> GenerativeModel:
    cls = registry.load(name)
    arguments = constructor_arguments(cls, {**option_values(flags, options), "conditional": False})
    validate(cls.__name__, arguments, annotations(cls.__init__))
    return cls(**arguments, random_state=flags.seed)


def _rows_and_labels(dataset: Dataset, trained: GenerativeModel | None, terminal: Terminal) -> tuple[Any, pd.Series]:
    """The rows without their label, of a trained encoder those columns that it knows; and the labels."""
    if dataset.y is None:
        raise InvalidParameterError("a classifier needs labels", got=f"none in {dataset.name}",
                                    expected="--label COL, sub-folders of pictures, or y in an NPZ")
    X, y = dataset.features, dataset.y
    if trained is not None and isinstance(X, pd.DataFrame) and trained.schema_.is_table:
        if str(y.name) in trained.schema_.columns:
            raise InvalidParameterError(f"the encoder was trained on the label, {y.name}, too", expected="one that never saw it",
                                        hint=f"ectype fit … --drop {shlex.quote(str(y.name))}")
        X = X.rename(columns=str)
        X = X[[c for c in X.columns if c in trained.schema_.columns]]
        for block in (b for b in trained.schema_.blocks if b.name in X.columns):
            say_unreadable(block, X[block.name], terminal)
    if y.dtype.kind == "f" and (y.dropna() % 1 == 0).all():        # whole numbers with blanks, which pandas reads as 2.0
        y = y.fillna(-1).astype(int)
    return X, y


def _introduce(dataset: Dataset, y: pd.Series, terminal: Terminal) -> int:
    """Say what was read; the number of labelled rows."""
    labelled = int((indices_of(y, len(y))[1] >= 0).sum())
    terminal.say(f"{dataset.name}: {dataset.n_rows:,} rows, {labelled:,} labelled")
    for note in dict.fromkeys(dataset.notes):
        terminal.note(note)
    return labelled


def _fit_encoder(name: str, encoder: GenerativeModel, X: Any, dataset: Dataset, flags: Any, terminal: Terminal,
                 line: Line) -> GenerativeModel:
    """The encoder that is in RUN/encoder already, or else trained into it."""
    folder = flags.out / ENCODER
    state = claim(folder, resolved(name, _but_seed(encoder.get_params(deep=False)), flags.seed, dataset,
                                   flags.data, flags.reading, None), overwrite=flags.overwrite)
    if state == "finished":
        terminal.say(f"going on with the encoder in {folder}")
        return load_model(folder)
    if state == "unfinished":
        terminal.say(f"going on with the unfinished encoder in {folder}")
    try:
        kinds = dataset.signal or flags.reading["kinds"]
        if isinstance(kinds, Mapping):
            kinds = {column: kind for column, kind in kinds.items() if column != flags.label}
        encoder.fit(X, kinds=kinds, run=folder, progress=lambda event: line.training(f"{ENCODER} {name}", event))
    except KeyboardInterrupt:
        if not getattr(encoder, "interrupted_", False):         # not even one step, or a second Ctrl-C
            raise
    encoder.save(folder)
    write_log(folder, encoder.history_, encoder.events_)
    return encoder


def _but_seed(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters without the seed, which a run's configuration has a place of its own for."""
    return {k: v for k, v in params.items() if k != "random_state"}


def _conclude(model: PretrainedClassifier, n_labelled: int, folder: Path, terminal: Terminal) -> None:
    curve = [r["held_out"] for r in model.history_ if "held_out" in r]
    facts = [f"{len(model.classes_)} classes from {n_labelled:,} labels", f"{model.n_steps_:,} steps in {duration(model.fit_s_)}"]
    facts += [f"held out {min(curve):.4g} nats"] if curve else []
    terminal.say(f"classifier: {', '.join(facts)}; saved in {folder}")
    terminal.say(f"next: {shlex.join(['ectype', 'classify', 'predict', os.fspath(folder), 'DATA', '--out', 'predictions.csv'])}")


def _word_after(flag: str, argv: Sequence[str]) -> str | None:
    """What follows a flag, as ``--flag WORD`` or ``--flag=WORD``."""
    for i, word in enumerate(argv):
        if word == flag and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None


# -- predict ---------------------------------------------------------------------------------------------------------------------


def predict(argv: list[str]) -> int:
    """Write the most probable class of each row, and the probability of every class."""
    flags = parse(Predict, argv, "classify", subject="predict", about=_about(predict))
    terminal, model = Terminal(quiet=flags.quiet), PretrainedClassifier.load(flags.run)
    output = Output(flags.out, numeric=model.classes_.dtype.kind in "iufb")
    rows = read_rows(flags.data, model, read_config(flags.run), size_of(flags.size), terminal)
    probabilities = model.predict_proba(rows.X)
    decimals = max(4, math.ceil(math.log10(len(model.classes_))) + 4)
    columns = dict(zip((f"p_{c}" for c in model.classes_), np.round(probabilities, decimals).T, strict=True))
    output.write_table(pd.DataFrame({"prediction": model.classes_[probabilities.argmax(1)], **columns}), files=rows.dataset.files)
    if flags.out != "-":
        terminal.say(f"{len(probabilities):,} written to {flags.out}")
    return 0


def _about(command: Callable) -> str:
    return f"{COMMANDS['classify'].summary} {command.__doc__}"
