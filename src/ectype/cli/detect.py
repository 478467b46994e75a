"""``detect``: which rows are unlike the normal ones, at a stated rate of false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd

from ..errors import CapabilityError, InvalidParameterError
from ..estimator import load_model
from ..saved import DETECTOR
from ..train.loop import FEWEST_HELD_OUT
from ..uses.novelty import NORMAL_ROWS, NoveltyDetector, Rate, take
from .apply import Applied
from .files import Output
from .flags import optional, parse, size_of
from .runs import is_training_data, read_config, read_rows
from .terminal import Terminal, duration

REASONS = 3             # columns named for each row
PICTURES = 12           # most novel images in a PNG
CAPTION = 15            # letters that fit below one


@dataclass(frozen=True, kw_only=True)
class Detect(Applied):
    """A trained model or a saved detector, and rows to judge. Tables of columns score, p_value, novel, of a folder or zip with file before
    them; of images .png: the most novel ones, and below each where it is novel."""

    normal: Annotated[str | None, optional(metavar="FILE")] = None
    """Normal rows that the model was not trained on, to calibrate on in place of those held out in training, which also chose its weights
    where it stopped early: they look a little more normal than new rows."""
    false_alarm_rate: Annotated[Rate | None, optional(metavar="SHARE")] = None
    """Share of normal rows that may be called novel: 0.05, or that of the saved detector."""
    explain: bool = False
    """Name the three columns (pixels, as row,column) that contributed most to each row's novelty, and how much, in units of the score.
    A folder that `ectype fit` wrote keeps no rows, which all families but the autoencoders need for it: give --normal FILE too."""
    unseen: Annotated[Literal["error", "novel"] | None, optional()] = None
    """Categories that the training data did not have, and blanks and cells that cannot be read where they had none: an error, or novel;
    what the saved detector says, or an error."""


def detect(argv: list[str]) -> int:
    """Judge rows."""
    flags = parse(Detect, argv, "detect")
    terminal, config = Terminal(quiet=flags.quiet), read_config(flags.run)
    detector = _detector(flags, config, terminal)
    schema = detector.model_.schema_
    drawn = schema.is_image and flags.out.lower().endswith(".png")
    output = Output(flags.out, images=drawn, numeric=not flags.explain)
    if (flags.explain or drawn) and detector.borrows and detector.normal_ is None:
        saved, name = (Path(flags.run) / DETECTOR).is_file(), type(detector.model_).__name__
        raise CapabilityError(f"{name} is explained with the help of normal rows, which {flags.run} does not keep",
                              hint="save it with some: NoveltyDetector.calibrated(model, scores, normal)" if saved else
                              "--normal FILE, with normal rows that the model was not trained on")
    rows = read_rows(flags.data, detector.model_, config, size_of(flags.size), terminal, strict=False, blanks=detector.unseen == "novel")
    X, scores = rows.X, detector.score_samples(rows.X)
    found = pd.DataFrame({"score": scores, "p_value": detector.p_values_of(scores), "novel": scores < detector.offset_})
    if drawn:
        terminal.note(f"{flags.out} shows the {min(PICTURES, len(X))} most novel of {len(X):,} pictures and, below each, where it is novel")
        _draw(output, X, scores, detector, rows.dataset.files, terminal)
    else:
        reasons = _reasons(_explained(detector, X, terminal), schema) if flags.explain else {}
        output.write_table(found.assign(**reasons), files=rows.dataset.files)
    for note in detector.notes_:
        terminal.note(note)
    terminal.say(f"{int(found['novel'].sum()):,} of {len(found):,} are novel at a false-alarm rate of {detector.false_alarm_rate_:.3g} "
                 f"({detector.n_calibration_:,} normal rows to calibrate on)")
    return 0


def _detector(flags: Detect, config: dict[str, Any], terminal: Terminal) -> NoveltyDetector:
    """The saved detector, or one of a trained model and the scores of rows that it has not seen."""
    if (Path(flags.run) / DETECTOR).is_file():
        detector = NoveltyDetector.load(flags.run)
        detector.unseen = flags.unseen or detector.unseen
        if flags.normal is not None:
            raise InvalidParameterError("a saved detector is calibrated already", expected="no --normal", got=flags.normal)
        return detector.set_rate(detector.false_alarm_rate if flags.false_alarm_rate is None else flags.false_alarm_rate)
    model = load_model(flags.run)
    rate, normal = 0.05 if flags.false_alarm_rate is None else flags.false_alarm_rate, None
    if flags.normal is None:
        scores = model.held_out_scores_
        if not len(scores):
            raise InvalidParameterError(f"no rows were held out in the training of {flags.run}: nothing says how low a normal score is",
                                        expected="--normal FILE with normal rows that the model was not trained on", got="none",
                                        hint=f"or fit again with {FEWEST_HELD_OUT} or more rows held out: of {5 * FEWEST_HELD_OUT} rows "
                                             "--train.validation 0.2 does that")
    else:
        rows = read_rows(flags.normal, model, config, size_of(flags.size), terminal)
        if is_training_data(rows.dataset, config):
            instead = ", or leave --normal away" if len(model.held_out_scores_) else ""
            terminal.note(f"{flags.normal} holds the rows that the model was trained on: they look more normal to it than new ones, more "
                          f"than {rate:g} of which will be called novel. Give others{instead}")
        scores, normal = model.score_samples(rows.X), take(rows.X, np.arange(min(NORMAL_ROWS, len(rows.X))))
    detector = NoveltyDetector.calibrated(model, scores, normal, false_alarm_rate=rate)
    detector.unseen = flags.unseen or "error"
    detector.set_rate(rate)
    if flags.normal is None and detector.false_alarm_rate_ > rate:
        detector.notes_.append(f"{detector.n_calibration_} rows were held out in training: --normal FILE calibrates on more")
    return detector


def _explained(detector: NoveltyDetector, X: Any, terminal: Terminal) -> Any:
    """The parts of each row, with a line of progress where rows are scored again and again for it."""
    schema = detector.model_.schema_
    rows, regions = (("pictures", "patches") if schema.is_image else ("signals", "stretches") if schema.is_signal else ("rows", "columns"))

    def tell(event: dict[str, Any]) -> None:
        share, elapsed = event["fraction"], event["elapsed_s"]
        left = f", {duration(elapsed * (1 / share - 1))} left" if share else ""
        line.update(f"explaining {len(X):,} {rows}", share, f"{event['regions']} {regions} of each replaced by those of "
                                                            f"{event['copies']} normal {rows}{left}")

    with terminal.progress() as line:
        return detector.explain(X, progress=tell)


def _reasons(parts: Any, schema: Any) -> dict[str, Any]:
    """``why_1, by_1, …``: the columns (pixels, samples) with the largest parts of each row, and those parts."""
    if schema.is_table:
        names, values = np.asarray(parts.columns, object), parts.to_numpy()
    else:
        values = parts.reshape(len(parts), -1)
        names = np.array([",".join(map(str, i)) for i in np.ndindex(parts.shape[1:])], object)
    k = min(REASONS, values.shape[1])
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    reasons = {}
    for i in range(k):
        reasons |= {f"why_{i + 1}": names[order[:, i]], f"by_{i + 1}": np.take_along_axis(values, order[:, i : i + 1], 1)[:, 0]}
    return reasons


def _draw(output: Output, X: np.ndarray, scores: np.ndarray, detector: NoveltyDetector, files: Sequence[str],
          terminal: Terminal) -> None:
    """The most novel images with their files or rows (from 0), the most novel first; below each its parts, white where it is most novel,
    and its p-value."""
    top = detector.model_.schema_.blocks[0].top
    order = np.argsort(scores, kind="stable")[:PICTURES]
    worst = X[order]
    parts = np.maximum(_explained(detector, worst, terminal), 0.0)
    if parts.ndim == 4:
        parts = np.repeat(parts.sum(-1, keepdims=True), worst.shape[-1], axis=-1)
    heat = top * parts / np.maximum(parts.max(axis=tuple(range(1, parts.ndim)), keepdims=True), 1e-12)
    p_values = detector.p_values_of(scores[order])
    names = [f"row {i}" if not files else files[i] if len(files[i]) <= CAPTION else f"…{files[i][1 - CAPTION:]}" for i in order]
    captions = names, [f"p {p:.2g}" for p in p_values]
    output.write_images(worst, None, top=top, rows=[worst, heat], captions=captions)
