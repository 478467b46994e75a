"""What was understood of some data: one plain row per column, for a person or for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .blocks import Block, Category, Image, Signal, to_float
from .schema import Schema, as_frame

if TYPE_CHECKING:
    from .sources import Dataset

N_EXAMPLES = 5


def describe(dataset: Dataset, schema: Schema) -> list[dict[str, Any]]:
    """One row per column (one in all for images or signals), with the keys

    ``column``, ``kind``, ``missing`` (blank cells, and words in a column of numbers), ``distinct`` (different values, or pixel
    levels), ``range`` (``[low, high]``, dates as ISO text; None for categories), ``examples`` (the most frequent categories; None
    for numbers) and ``note``.
    """
    if schema.is_image:
        return [_image_row(schema.blocks[0], dataset)]
    if schema.is_signal:
        return [_signal_row(schema.blocks[0], dataset)]
    frame, notes = as_frame(dataset.X), (*dataset.notes, *schema.notes)
    rows = []
    for block in schema.blocks:
        own = [note.removeprefix(f"{block.name}: ") for note in notes if note.startswith(f"{block.name}: ")]
        rows.append(_column_row(block, frame[block.name], ["the label"] * (block.name == dataset.label) + own))
    return rows


def _image_row(block: Image, dataset: Dataset) -> dict[str, Any]:
    colour = {1: "grey", 3: "colour"}.get(block.channels, f"{block.channels} channels")
    note = f"{dataset.n_rows:,} pictures, {block.height}x{block.width}, {colour}{_labels(dataset)}"
    return _row(block, missing=0, distinct=block.levels, range_=[0.0, block.top], examples=None, note=note)


def _signal_row(block: Signal, dataset: Dataset) -> dict[str, Any]:
    note = f"{dataset.n_rows:,} signals, {signal_shape(block)}{_labels(dataset)}"
    return _row(block, missing=0, distinct=len(np.unique(dataset.X)), range_=[block.low, block.high], examples=None, note=note)


def signal_shape(block: Signal) -> str:
    """Length, channels and rate in words."""
    words = f"{block.length:,} samples, {block.channels} channel{'s' * (block.channels != 1)}"
    return words + (f", {block.rate:,} Hz ({block.length / block.rate:.3g} s)" if block.rate else "")


def _labels(dataset: Dataset) -> str:
    return "" if dataset.y is None else f", {pd.Series(dataset.y).nunique():,} labels"


def _column_row(block: Block, values: pd.Series, notes: list[str]) -> dict[str, Any]:
    note = "; ".join(notes)
    if isinstance(block, Category):
        n = len(block.values)
        note = note or ("" if n > 1 else "one value only" if n else "blank throughout")
        examples = [v if isinstance(v, (bool, int, float, str)) else str(v) for v in block.values[:N_EXAMPLES]]
        return _row(block, missing=int(values.isna().sum()), distinct=n, range_=None, examples=examples, note=note)
    v = to_float(values, block.kind, block.day_first)
    filled = v[~np.isnan(v)]
    low, high = float(filled.min()), float(filled.max())
    note = note or ("one value only" if low == high else "")
    if block.kind == "datetime":
        range_ = [pd.Timestamp(round(s * 1e6), unit="us").isoformat() for s in (low, high)]
    else:
        range_ = [int(low), int(high)] if block.kind == "integer" else [low, high]
    return _row(block, missing=len(v) - len(filled), distinct=len(np.unique(filled)), range_=range_, examples=None, note=note)


def _row(block: Block, *, missing: int, distinct: int, range_: list | None, examples: list | None, note: str) -> dict[str, Any]:
    return {"column": block.name, "kind": block.kind, "missing": missing, "distinct": distinct, "range": range_,
            "examples": examples, "note": note}
