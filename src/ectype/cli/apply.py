"""``sample``, ``encode``, ``decode``, ``interpolate``, ``reconstruct``, ``denoise``, ``score``: put a trained model to work."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from tyro.conf import Positional, arg

from .. import registry
from ..data.blocks import to_float
from ..data.schema import Schema
from ..data.sources import load as load_data
from ..data.tables import without_sign
from ..errors import CapabilityError, ConditionWarning, DataError, DataFileError, InvalidParameterError, UnknownNameError
from ..estimator import EXACT, family_name, load_model
from ..spec import PositiveInt
from ..uses import paths
from ..uses.pictures import code_map
from . import COMMANDS
from .files import FILE, Output, in_rows, is_numeric
from .flags import Common, leading, option_values, optional, parse, size_of, with_options
from .options import prose, sampling
from .runs import MODEL, Rows, read_config, read_rows
from .terminal import Terminal

PAIRS_IN_A_ROW = 16         # of originals and reconstructions in a PNG
MOST_PAIRS = 128            # of them; a file of arrays holds all
CHUNK = 8192                # rows between two looks at the clock; a multiple of the estimator's batches
DAY_AND_MONTH = re.compile(r"\s*(\d{1,2})[-/. ](\d{1,2})[-/. ]\d")        # a date whose reader has to know which comes first
MANY_PASSES = 1_000_000     # of the network, from which on samples are worth a word beforehand
MOST_COLUMNS = 20           # of a PNG in which each condition has its column


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained model."""

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """Folder of a trained model."""


@dataclass(frozen=True, kw_only=True)
class Writing(Common):
    """Where the output goes."""

    out: Annotated[str, arg(metavar="FILE")] = "-"
    """Tables: .csv, .csv.gz, .tsv, .parquet, .npz, .npy, or - for CSV on standard output. Images: .png (one sheet), .npz, .npy, or a PNG
    each in FOLDER/ or a .zip. Signals: as images, with a sampling rate as WAV files; of one channel, as tables too."""


@dataclass(frozen=True, kw_only=True)
class Conditioned(Writing):
    """The condition under which something is made."""

    condition: Annotated[tuple[str, ...], optional(metavar="VALUE…")] = ()
    """For a conditional model: one value for all, or several that take turns; '' is a blank, where training had some."""


@dataclass(frozen=True, kw_only=True)
class Sample(Conditioned):
    """Flags of every model."""

    n: Annotated[int, arg(aliases=("-n",))] = 10
    """How many."""
    seed: int = 0
    """The same seed gives the same rows."""


# A dataclass takes the fields of its last base first: RUN stands before DATA and CODES.


@dataclass(frozen=True, kw_only=True)
class AnySample(Sample, Trained):
    """Before the model is known."""


@dataclass(frozen=True, kw_only=True)
class Applied(Writing, Trained):
    """A trained model, and data to apply it to."""

    data: Annotated[str, Positional, arg(metavar="DATA")]
    """A file, a folder of pictures or WAV files, or the name of a data set; read as the training data were."""
    size: Annotated[str | None, optional(metavar="HxW|L")] = None
    """Cut and resize pictures to this height and width; cut WAV files into windows of so many samples."""


@dataclass(frozen=True, kw_only=True)
class Encode(Applied):
    """A trained model, and data to encode."""

    out: Annotated[str, arg(metavar="FILE")] = "-"
    """Codes: .csv, .csv.gz, .tsv, .parquet, .npz, .npy, or - for CSV on standard output. A map of them, coloured by label or error: .png,
    .svg."""


@dataclass(frozen=True, kw_only=True)
class Decode(Conditioned, Trained):
    """A trained model, and codes. Max-unpooling (`conv`) decodes codes with fixed positions, which blurs: positions are no part of them."""

    codes: Annotated[str, Positional, arg(metavar="CODES")]
    """A file that `ectype encode` wrote."""


@dataclass(frozen=True, kw_only=True)
class Interpolate(Applied):
    """A trained model, and data: a path from the first row to the second, from the third to the fourth, and so on."""

    pairs: Annotated[PositiveInt, arg(metavar="N")] = 8
    """How many paths, at most; a line each in a PNG."""
    steps: paths.Steps = 8
    """Rows of a path, the reconstructions of its ends among them."""
    path: Literal["spherical", "linear"] = "spherical"
    """Through the space of the codes: along a sphere, where they are Gaussian, or straight."""


def sample(argv: list[str]) -> int:
    """New rows. The run's family decides which flags there are besides."""
    run, rest = leading(argv, lambda word: (Path(word) / MODEL).is_file())
    summary = COMMANDS["sample"].summary
    if run is None:
        run = parse(AnySample, rest, "sample", about=f"{summary} `ectype sample RUN --help` shows the flags of its model too.").run
    run = Path(run)
    model = load_model(run)
    options = sampling(type(model))
    about = f"{summary} {type(model).__name__}: {prose(type(model).sample.__doc__)[0]}"
    flags = parse(with_options(Sample, options), rest, "sample", subject=str(run), about=about, family=family_name(model),
                  options_of=sampling)
    terminal, config = Terminal(quiet=flags.quiet), read_config(run)
    output = _output(flags, model)
    y = _condition(flags.condition, model, flags.n, config, terminal)
    _warn_if_interrupted(model, run, terminal)
    given = option_values(flags, options)
    _say_if_long(model, flags.n, given, terminal)
    with terminal.noting(ConditionWarning):
        X = model.sample(flags.n, condition=y, random_state=flags.seed, **given)
    several = len(flags.condition)
    rows = in_rows(X, several if 1 < several <= MOST_COLUMNS else None) if model.schema_.is_image else None
    _write(output, X, y, model, config, rows)
    _done(flags, terminal, len(X))
    return 0


def _say_if_long(model: Any, n: int, given: dict[str, Any], terminal: Terminal) -> None:
    """How many passes of the network rows take, where that is long, and the quickest of the family's other samplers."""
    passes = model.evaluations(**{k: v for k, v in given.items() if k != "batch_size"})
    others = [(model.evaluations(**preset), preset) for preset in model.sampling_presets.values()]
    if not others or n * passes < MANY_PASSES:
        return
    fewest, preset = min(others, key=lambda other: other[0])
    if fewest < passes:
        words = " ".join(f"--{k.replace('_', '-')} {v}" for k, v in preset.items())
        terminal.note(f"each row takes {passes:,} passes through the network; with {words} it takes {fewest:,}")


def encode(argv: list[str]) -> int:
    """Codes; in a .png or .svg, the map of them, coloured by the labels of the data or by the reconstruction error."""
    flags, model, config, terminal = _begin(argv, "encode", Encode, {"encode"})
    output = Output(flags.out, drawing=True)
    rows = _rows(flags, model, config, terminal)
    if output.is_drawing:
        output.write_drawing(code_map(model, rows.X, rows.labels, condition=rows.condition))
        _done(flags, terminal, len(rows.X))
        return 0
    codes = _in_chunks(model.transform, rows.X, rows.condition, terminal, "encoding")
    codes = pd.DataFrame(codes, columns=model.get_feature_names_out())
    output.write_table(codes, files=rows.dataset.files)
    _done(flags, terminal, len(codes))
    return 0


def score(argv: list[str]) -> int:
    """Scores."""
    flags, model, config, terminal = _begin(argv, "score", Applied, {"score"})
    output = Output(flags.out)
    rows = _rows(flags, model, config, terminal)
    scores = pd.DataFrame({"score": _in_chunks(model.score_samples, rows.X, rows.condition, terminal, "scoring")})
    output.write_table(scores, files=rows.dataset.files)
    _done(flags, terminal, len(scores))
    return 0


def reconstruct(argv: list[str]) -> int:
    """Reconstructions; in a PNG, each row of originals has its reconstructions below."""
    return _rework(argv, "reconstruct", {"encode", "decode"})


def denoise(argv: list[str]) -> int:
    """Restored rows; in a PNG, each row of noisy pictures has the restored ones below."""
    return _rework(argv, "denoise", {"denoise"})


def _rework(argv: list[str], command: str, needed: set[str]) -> int:
    """Rows that a model makes of rows, by its method of the command's name."""
    flags, model, config, terminal = _begin(argv, command, Applied, needed)
    output = _output(flags, model)
    rows = _rows(flags, model, config, terminal)
    X = _in_chunks(getattr(model, command), rows.X, rows.condition, terminal, command)
    pairs = None
    if model.schema_.is_image:
        given, made = (in_rows(v[:MOST_PAIRS], PAIRS_IN_A_ROW) for v in (rows.X, X))
        pairs = [row for pair in zip(given, made, strict=True) for row in pair]
        if output.format == ".png":
            shown = f"the first {MOST_PAIRS} of {len(X):,} pictures" if len(X) > MOST_PAIRS else "the pictures"
            terminal.note(f"{flags.out} has {shown}: a row as given, and below it the same ones after {command}")
    _write(output, X, rows.condition, model, config, pairs, beside=rows.X)
    _done(flags, terminal, len(X))
    return 0


def decode(argv: list[str]) -> int:
    """Rows from codes."""
    flags, model, config, terminal = _begin(argv, "decode", Decode, {"encode", "decode"})
    output = _output(flags, model)
    codes = load_data(flags.codes).X
    if isinstance(codes, pd.DataFrame) and codes.columns[0] == FILE:
        codes = codes.drop(columns=FILE)        # of a folder, ``encode`` says which picture a row is
    if isinstance(codes, pd.DataFrame) and any(dtype.kind not in "biuf" for dtype in codes.dtypes):
        words = next(c for c in codes.columns if codes[c].dtype.kind not in "biuf")
        raise DataFileError(f"{flags.codes} holds no codes", expected="numbers, as `ectype encode` writes them",
                            got=f"words in the column {words!r}", hint=f"ectype encode {flags.run} DATA --out codes.csv")
    y = _condition(flags.condition, model, len(codes), config, terminal)
    with terminal.noting(ConditionWarning):
        X = _in_chunks(model.inverse_transform, codes, y, terminal, "decoding")
    _write(output, X, y, model, config, in_rows(X) if model.schema_.is_image else None)
    _done(flags, terminal, len(X))
    return 0


def interpolate(argv: list[str]) -> int:
    """Rows on the way from one row to another."""
    flags, model, config, terminal = _begin(argv, "interpolate", Interpolate, {"encode", "decode"})
    output = _output(flags, model)
    rows = _rows(flags, model, config, terminal)
    n = min(flags.pairs, len(rows.X) // 2)
    if n < 1:
        raise DataError("a path has two ends", expected="at least 2 rows", got=len(rows.X))
    a, b = (rows.X[end : 2 * n : 2] for end in (0, 1))
    y = None if rows.condition is None else rows.condition[: 2 * n : 2]         # each path under the condition of its first row
    with terminal.noting(ConditionWarning):
        X = paths.interpolate(model, a, b, flags.steps, path=flags.path, condition=y)
    _write(output, X, None if y is None else y.repeat(flags.steps).reset_index(drop=True), model, config,
           in_rows(X, flags.steps) if model.schema_.is_image else None)
    _done(flags, terminal, len(X))
    return 0


def _in_chunks(method: Any, X: Any, condition: pd.Series | None, terminal: Terminal, title: str) -> Any:
    """``method(X, condition)``, with a line of progress where there are many rows."""
    take = (lambda v, rows: v.iloc[rows]) if isinstance(X, pd.DataFrame) else (lambda v, rows: v[rows])
    if len(X) <= CHUNK:
        return method(X, condition=condition)
    parts = []
    with terminal.progress() as line:
        for start in range(0, len(X), CHUNK):
            rows = slice(start, start + CHUNK)
            parts.append(method(take(X, rows), condition=None if condition is None else condition.iloc[rows]))
            line.update(title, min(1.0, (start + CHUNK) / len(X)), f"{min(start + CHUNK, len(X)):,} of {len(X):,} rows")
    return pd.concat(parts, ignore_index=True) if isinstance(parts[0], pd.DataFrame) else np.concatenate(parts)


def _begin(argv: list[str], command: str, flags_class: type, needed: set[str]) -> tuple[Any, Any, dict[str, Any], Terminal]:
    """The flags, the model that can do what is needed, the run's configuration, and the terminal."""
    flags = parse(flags_class, argv, command)
    terminal, model = Terminal(quiet=flags.quiet), load_model(flags.run)
    absent = sorted(needed - model.capabilities)
    if absent:
        able = [n for n in registry.names() if needed <= registry.load(n).capabilities]
        raise CapabilityError(f"{type(model).__name__} cannot {' and '.join(absent)}", hint=f"these can: {', '.join(able)}")
    _warn_if_interrupted(model, flags.run, terminal)
    return flags, model, read_config(flags.run), terminal


def _warn_if_interrupted(model: Any, run: Path, terminal: Terminal) -> None:
    if model.interrupted_:
        terminal.note(f"the training of {run} was interrupted at step {model.n_steps_:,}; the command that began it goes on")


def _output(flags: Writing, model: Any) -> Output:
    schema = model.schema_
    if schema.is_signal:
        return Output(flags.out, signal=schema.blocks[0])
    return Output(flags.out, images=schema.is_image, numeric=not schema.is_image and is_numeric(schema))


def _rows(flags: Applied, model: Any, config: dict[str, Any], terminal: Terminal) -> Rows:
    return read_rows(flags.data, model, config, size_of(flags.size), terminal)


def _write(output: Output, X: Any, y: pd.Series | None, model: Any, config: dict[str, Any], rows: list[np.ndarray] | None,
           beside: Any = None) -> None:
    """Rows of the kind that the model knows, and the condition that they were made under; ``rows`` is the layout of a PNG of images, and
    ``beside`` what is drawn below each in a PNG of signals."""
    if model.schema_.is_signal:
        output.write_signals(X, y, beside=beside)
    elif model.schema_.is_image:
        output.write_images(X, y, top=model.schema_.blocks[0].top, rows=rows)
    else:
        output.write_table(with_whole_numbers(X, model.schema_), y, config.get("columns") or ())


def with_whole_numbers(X: Any, schema: Schema) -> Any:
    """A table with 2 in the columns of whole numbers where pandas has 2.0, which it has in a column with blanks."""
    if not isinstance(X, pd.DataFrame):
        return X
    whole = [b.name for b in schema.blocks if b.kind == "integer" and (v := X[b.name].dropna()).dtype.kind == "f"
             and (v == v.round()).all() and v.abs().max() < EXACT]
    return X.astype(dict.fromkeys(whole, "Int64"))


def _done(flags: Writing, terminal: Terminal, n: int) -> None:
    if flags.out != "-":
        terminal.say(f"{n:,} written to {flags.out}")


def _condition(texts: tuple[str, ...], model: Any, n: int, config: dict[str, Any], terminal: Terminal) -> pd.Series | None:
    """The condition of each of ``n`` rows: the values take turns, so that the first k rows do not depend on n."""
    if model.condition_ is None:
        if texts:
            raise InvalidParameterError("this model is not conditional", expected="no --condition", got=", ".join(texts),
                                        hint="train one with --conditional")
        return None
    block = model.condition_.blocks[0]
    if not texts:
        known = f"one of {', '.join(map(str, block.values[:20]))}" if block.type == "category" else "a number"
        raise InvalidParameterError("this model is conditional", expected=f"--condition VALUE, where {block.name} is {known}", got="none")
    if n < 1:
        raise InvalidParameterError("n is out of its domain", expected="an int >= 1", got=n)
    values = [_typed(text, block) for text in texts]
    for text in dict.fromkeys(texts) if block.kind == "datetime" else ():
        if (parts := DAY_AND_MONTH.match(text)) and int(parts[1]) != int(parts[2]) and max(map(int, parts.groups())) <= 12:
            day = pd.Timestamp(to_float(pd.Series([text]), block.kind, block.day_first)[0], unit="s")
            written = f"{day:%Y-%m-%d}" if day == day.normalize() else f"{day:%Y-%m-%d %H:%M:%S}"
            terminal.note(f"{block.name} {text} is read as {written}; written like that, there is no doubt")
    in_turn = (values * math.ceil(n / len(values)))[:n]
    return pd.Series(in_turn, name=config.get("condition") or "y", dtype=object if None in values else None)


def _typed(text: str, block: Any) -> Any:
    """The value that a text on the command line means."""
    values = [v.strip() for v in text.split(",")]
    hint = f"several values take turns, with blanks between them: --condition {shlex.join(values)}" if len(values) > 1 else None
    if not text and block.missing:
        return None
    if block.type == "category":
        by_text = {str(v): v for v in block.values}
        if text not in by_text:
            raise UnknownNameError(f"value of {block.name}", text, by_text, hint=hint)
        return by_text[text]
    expected = {"integer": "one whole number", "datetime": "one date, such as 2024-05-31"}.get(block.kind, "one number, such as 10.5")
    try:
        bare = text if block.kind == "datetime" else without_sign([text])[0][0]
        value = text if block.kind == "datetime" else int(bare) if block.kind == "integer" else float(bare)
    except ValueError:
        value = None
    if value is None or block.unreadable(pd.Series([value])):
        raise InvalidParameterError(f"the value of {block.name} cannot be read", expected=expected, got=text, hint=hint)
    return value
