"""The folder of a run: whether it may be used, what was asked for, what happened, and new data read as at fit time.

    RUN/config.json        the command, resolved: model, data and how to read them, seed, settings
    RUN/log.jsonl          one line for each point of the training curve, and for each event
    RUN/checkpoint/        while the run is unfinished
    RUN/model.json, model.safetensors
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from .. import __version__
from ..data.blocks import Block, some
from ..data.dense import as_signals
from ..data.schema import Schema
from ..data.sources import Dataset, load
from ..errors import DataFileError, InvalidParameterError, SavedModelError, SchemaMismatchError
from ..spec import Spec
from .files import write_text
from .terminal import Terminal

SOUNDS = (".wav", ".wave")
CONTAINERS = (".zip", *SOUNDS)              # files that a size can be asked of
CONFIG, LOG, MODEL, WEIGHTS, CHECKPOINT = "config.json", "log.jsonl", "model.json", "model.safetensors", "checkpoint"
DETECTOR, MEMORY = "detector.json", "memory.safetensors"       # of a novelty detector saved there: they belong to the model that goes


def resolved(model: str, params: Mapping[str, Any], seed: int, dataset: Dataset, source: str, reading: Mapping[str, Any],
             condition: pd.Series | None) -> dict[str, Any]:
    """The content of ``config.json``."""
    config = {
        "ectype": __version__, "model": model, "params": {k: _settings(v) for k, v in params.items()}, "seed": seed,
        "data": {**reading, "kinds": dataset.signal or reading["kinds"], "source": source, "name": dataset.name,
                 "fingerprint": dataset.fingerprint},
        "columns": list(map(str, dataset.X.columns)) if isinstance(dataset.X, pd.DataFrame) else None,
        "condition": None if condition is None else str(condition.name),
    }
    return json.loads(json.dumps(config))


def _settings(value: Any) -> Any:
    return {k: v for k, v in value.get_params().items() if v is not None} if isinstance(value, Spec) else value


def claim(folder: Path, config: Mapping[str, Any], *, overwrite: bool) -> str:
    """Make the folder ready for a run: ``"new"``, ``"unfinished"`` (to be continued) or ``"finished"`` (nothing to do).

    Raises :class:`InvalidParameterError` where the folder holds another model, unless it may be overwritten, and
    :class:`DataFileError` where nothing can be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataFileError(f"{folder} cannot be made", expected="a folder for the run", got=error.strerror or str(error),
                            hint="choose another --out") from error
    state = _state(folder)
    if overwrite:
        for name in (MODEL, WEIGHTS, CONFIG, LOG, DETECTOR, MEMORY):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
        state = "new"
    if state != "new":
        _require_same(folder, config)
    if state != "finished":
        write_text(folder / CONFIG, json.dumps(config, indent=1))
    return state


def release(folder: Path) -> None:
    """Undo :func:`claim` of a new run that could not begin; nothing that was trained is touched."""
    if _state(folder) == "new":
        (folder / CONFIG).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def _state(folder: Path) -> str:
    if (folder / MODEL).exists():
        try:
            interrupted = json.loads((folder / MODEL).read_text())["interrupted"]
        except (ValueError, KeyError, TypeError) as error:
            raise SavedModelError(f"{folder / MODEL} is damaged ({error})", hint="choose another --out, or --overwrite") from error
        return "unfinished" if interrupted else "finished"
    return "unfinished" if (folder / CHECKPOINT).exists() else "new"


def _require_same(folder: Path, config: Mapping[str, Any]) -> None:
    there = _flat(read_config(folder))
    here = _flat(config)
    changed = [k for k in {**there, **here} if k not in ("ectype", "data.source", "data.name") and there.get(k) != here.get(k)]
    if not there or changed:
        unlike = "; ".join(f"{k} {there.get(k)} there, {here.get(k)} here" for k in changed[:4])
        raise InvalidParameterError(f"{folder} holds a model of another command", expected="a new folder, or the same command",
                                    got=unlike if there else "a model saved from Python", hint="choose another --out, or --overwrite")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for k, v in tree.items():
        flat |= _flat(v, f"{prefix}{k}.") if isinstance(v, dict) else {prefix + k: v[:12] if k == "fingerprint" else v}
    return flat


def read_config(folder: Path) -> dict[str, Any]:
    """What ``config.json`` says; nothing for a model that was saved from Python."""
    try:
        return json.loads((folder / CONFIG).read_text())
    except (FileNotFoundError, NotADirectoryError):         # reading the model says what is wrong with a file in the place of a folder
        return {}
    except (OSError, ValueError) as error:
        raise SavedModelError(f"{folder / CONFIG} is damaged ({error})", hint="restore it from a copy, or fit again") from error


def write_log(folder: Path, history: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
    """The curve and the events, in the order of their steps."""
    records = sorted([*history, *events], key=lambda r: r["step"])
    write_text(folder / LOG, "".join(json.dumps(r) + "\n" for r in records))


@dataclass(frozen=True)
class Rows:
    """New data for a trained model: rows as it knows them, and its condition, if it has one."""

    X: Any
    condition: pd.Series | None
    dataset: Dataset
    """As they were read."""
    labels: pd.Series | None = None
    """Where the data have any, whether the model saw them or not."""
    table: pd.DataFrame | None = None
    """All of a table's columns, those that the model does not know too."""


def read_rows(source: str, model: Any, config: Mapping[str, Any], size: tuple[int, ...] | None, terminal: Terminal, *,
              strict: bool = True, blanks: bool = False) -> Rows:
    """Read data in the way of the run's own. It is said which columns the model does not know, and which cells count as blank because they
    cannot be read.

    strict : values of a table that the model cannot take (new categories, blanks where the training had none) are an error.
    blanks : the caller takes blanks where the training had none, too.
    """
    reading, schema, condition_name = config.get("data", {}), model.schema_, config.get("condition")
    like = schema.reading | ({condition_name: model.condition_.blocks[0].reading} if model.condition_ and condition_name else {})
    if Path(source).suffix.lower() in SOUNDS and not schema.is_signal:
        raise _other_kind(source, "sounds", schema)
    as_trained = size is None and reading.get("size") and (Path(source).is_dir() or Path(source).suffix.lower() in CONTAINERS)
    try:
        dataset = load(source, like=like, size=tuple(reading["size"]) if as_trained else size, quiet=terminal.console.quiet)
    except InvalidParameterError as error:
        if as_trained:              # a size of the training fits all data of its kind
            raise _other_kind(source, "sounds" if schema.is_image else "pictures", schema) from error
        raise
    if dataset.is_signal and not schema.is_signal:
        raise _other_kind(source, "sounds", schema)
    if dataset.is_image and dataset.files and not schema.is_image:
        raise _other_kind(source, "pictures", schema)
    for note in dataset.notes:
        terminal.note(note)
    X = dataset.X
    if schema.is_signal:
        condition = _condition_of(dataset, X, model, config, terminal)
        return Rows(_signals(dataset, schema, config, terminal), condition, dataset, _labels_of(dataset, X, config))
    if isinstance(X, np.ndarray) and X.ndim == 2 and schema.container == "dataframe" and X.shape[1] == len(schema.columns):
        X = pd.DataFrame(X, columns=schema.columns)
    schema.encode(X[:1] if not schema.is_table else X if strict else X[:0])     # says more of what is wrong than scikit-learn's checks
    condition = _condition_of(dataset, X, model, config, terminal)
    labels = _labels_of(dataset, X, config)
    if not isinstance(X, pd.DataFrame):
        return Rows(X, condition, dataset, labels)
    X = X.rename(columns=str)
    return Rows(_known_columns(X, schema, condition, terminal, blanks), condition, dataset, labels, X)


def _other_kind(source: str, given: str, schema: Schema) -> SchemaMismatchError:
    """Files of another kind than a model was trained on, which their sizes or columns alone would not tell."""
    b = schema.blocks[0]
    if schema.is_table:
        trained, expected = "a table", f"a table of {len(schema.blocks)} columns"
    elif schema.is_image:
        trained, expected = "pictures", f"pictures of {b.height}x{b.width}"
    else:
        trained, expected = "signals", f"WAV files or other signals, of {b.length} samples"
    return SchemaMismatchError(f"{given} were given to a model of {trained}", expected=expected, got=source)


def is_training_data(dataset: Dataset, config: Mapping[str, Any]) -> bool:
    """Whether these are the very rows of the run, by their fingerprint, after the columns that were left out; false where it has none."""
    reading, X = config.get("data", {}), dataset.X
    if isinstance(X, pd.DataFrame):
        X = X.drop(columns=[c for c in X.columns if str(c) in (reading.get("drop") or ())])
    return replace(dataset, X=X).fingerprint == reading.get("fingerprint")


def _signals(dataset: Dataset, schema: Schema, config: Mapping[str, Any], terminal: Terminal) -> np.ndarray:
    """Signals from an array, or from the columns of a table that were signals in training: not the label, and none that were left out."""
    X, reading, rate = dataset.X, config.get("data", {}), schema.blocks[0].rate
    if isinstance(X, pd.DataFrame):
        apart = {reading.get("label"), config.get("condition"), *(reading.get("drop") or ())}
        X = X.drop(columns=[c for c in X.columns if str(c) in apart])
    if rate and dataset.rate and dataset.rate != rate:
        terminal.note(f"these recordings have {dataset.rate:,} samples per second, those of the training {rate:,}")
    X = as_signals(X)
    schema.encode(X[:1])        # says of another length more than scikit-learn's checks would
    return X


def _condition_of(dataset: Dataset, X: Any, model: Any, config: Mapping[str, Any], terminal: Terminal) -> pd.Series | None:
    if model.condition_ is None:
        return None
    name = config.get("condition")
    if isinstance(X, pd.DataFrame) and name in X.columns:
        say_unreadable(model.condition_.blocks[0], X[name], terminal)
        return X[name]
    if dataset.y is None and (label := _one_class(dataset, model.condition_.blocks[0])) is not None:
        terminal.note(f"all are taken as {label}, which is the name of their folder")
        return pd.Series([label] * dataset.n_rows, name="label")
    if dataset.y is None:
        raise SchemaMismatchError("the model is conditional and these data have no labels", got=f"{dataset.n_rows} rows without",
                                  expected=f"the column {name}" if name else "labels", hint="give the condition of every row")
    return dataset.y


def _one_class(dataset: Dataset, block: Block) -> Any:
    """The class of pictures or recordings that all lie in one folder, which bears its name; None where that is the name of none."""
    folders = {str(PurePosixPath(file).parent) for file in dataset.files}
    if block.type != "category" or len(folders) != 1:
        return None
    (folder,) = folders
    return {str(v): v for v in block.values}.get(PurePosixPath(folder).name or dataset.name)


def _labels_of(dataset: Dataset, X: Any, config: Mapping[str, Any]) -> pd.Series | None:
    """The labels of the data, or the column that was named as the label in training."""
    name = config.get("data", {}).get("label")
    if dataset.y is None and isinstance(X, pd.DataFrame) and name in X.columns:
        return X[name]
    return dataset.y


def _known_columns(X: pd.DataFrame, schema: Schema, condition: pd.Series | None, terminal: Terminal, blanks: bool) -> pd.DataFrame:
    used = {*schema.columns, *([] if condition is None else [str(condition.name)])}
    extra = [c for c in X.columns if c not in used]
    if extra:
        terminal.note(f"columns that the model does not know are not used: {some(extra, 8)}")
    for block in schema.blocks:
        say_unreadable(block, X[block.name], terminal, blanks=blanks)
    return X[schema.columns]


def say_unreadable(block: Block, column: pd.Series, terminal: Terminal, *, blanks: bool = False) -> None:
    """Tell of cells with words in a column of numbers or dates, which count as blanks where training had some, or ``blanks`` are taken.
    Elsewhere they are an error, which tells of them."""
    if block.type == "number" and (block.missing or blanks) and (found := block.unreadable(column)):
        terminal.note(f"{column.name}: what is no {block.what.removesuffix('s')} counts as blank: {found}")
