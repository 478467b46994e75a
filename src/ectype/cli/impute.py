"""``impute``: fill the blanks of a table, or the unknown part of images or signals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from .. import registry
from ..errors import CapabilityError, DataFileError, InvalidParameterError
from ..estimator import load_model
from ..spec import Interval, PositiveInt
from ..uses import imputation
from .apply import MOST_PAIRS, PAIRS_IN_A_ROW, Applied, _output, _write, with_whole_numbers
from .files import in_rows
from .flags import optional, parse, size_of
from .runs import read_config, read_rows
from .terminal import Terminal


@dataclass(frozen=True, kw_only=True)
class Impute(Applied):
    """A trained model, and rows with blanks, or images or signals with an unknown part."""

    mask: Annotated[str | None, optional(metavar="FILE")] = None
    """Of images a picture of their size, white where a pixel is known and black where it is not; of images and signals also an .npy or .npz
    of ones and zeros, one mask for all or one for each."""
    steps: Annotated[int, Interval(1, 10_000)] = 250
    """Steps of the reverse chain."""
    resample: PositiveInt = 5
    """Times that each step is taken, until the unknown part agrees with the known one."""
    seed: int = 0
    """The same seed gives the same values; another one, another draw."""


def impute(argv: list[str]) -> int:
    """Fill in."""
    flags = parse(Impute, argv, "impute")
    terminal, model, config = Terminal(quiet=flags.quiet), load_model(flags.run), read_config(flags.run)
    if "impute" not in model.capabilities:
        able = ", ".join(n for n in registry.names() if "impute" in registry.load(n).capabilities)
        raise CapabilityError(f"{type(model).__name__} cannot impute", hint=f"these can: {able}")
    output = _output(flags, model)
    rows = read_rows(flags.data, model, config, size_of(flags.size), terminal, strict=False, blanks=True)
    if rows.condition is not None and rows.condition.isna().any():
        terminal.note(f"{int(rows.condition.isna().sum())} rows have no {rows.condition.name}: the condition is not filled in")
    if model.schema_.is_table and flags.mask is not None:
        raise InvalidParameterError("the unknown part of a table is where it is blank", expected="no --mask", got=flags.mask)
    if not model.schema_.is_table and flags.mask is None:
        raise InvalidParameterError("a mask is needed, which tells what is known", expected="--mask FILE", got="none",
                                    hint="a picture of the same size, white where a pixel is known and black where it is not")
    known = None if flags.mask is None else _mask(flags.mask)
    X = imputation.impute(model, rows.X, known=known, condition=rows.condition, random_state=flags.seed, steps=flags.steps,
                          resample=flags.resample)
    pairs = None
    if model.schema_.is_image:
        seen = np.broadcast_to(known.astype(bool), rows.X.shape[:3])
        shown = np.where(seen.reshape(*seen.shape, *[1] * (rows.X.ndim - 3)), rows.X, 0)
        given, made = (in_rows(v[:MOST_PAIRS], PAIRS_IN_A_ROW) for v in (shown, X))
        pairs = [row for pair in zip(given, made, strict=True) for row in pair]
    if rows.table is not None:                  # the table as it was, with what the model does not know
        table = rows.table.assign(**{c: X[c].to_numpy() if X[c].dtype.kind != "M" else X[c] for c in X.columns})
        output.write_table(with_whole_numbers(table, model.schema_))
    else:
        _write(output, X, rows.condition, model, config, pairs, beside=rows.X)
    if flags.out != "-":
        terminal.say(f"{len(X):,} written to {flags.out}")
    return 0


def _mask(source: str) -> np.ndarray:
    """Ones and zeros ``(N, …)``, or the mask of all as it is."""
    if not Path(source).is_file():
        raise DataFileError("the mask cannot be read", expected="a picture, .npy or .npz file", got=source)
    if Path(source).suffix.lower() == ".npz":
        with np.load(source, allow_pickle=False) as d:
            return d[d.files[0]] > 0
    if Path(source).suffix.lower() == ".npy":
        return np.load(source, allow_pickle=False) > 0
    from PIL import Image

    with Image.open(source) as picture:
        return np.asarray(picture.convert("L")) >= 128
