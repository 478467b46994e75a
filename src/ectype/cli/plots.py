"""Signals as one picture: a small drawing for each, all in the same frame."""

from __future__ import annotations

import math
from typing import IO

import numpy as np
import pandas as pd

MOST = 48                       # drawings; of more signals, the first ones
COLUMNS = 6
WIDTH, HEIGHT = 2.0, 1.15       # of a drawing, in inches
GAP = 0.14                      # between two drawings, in heights
DPI = 110
SOFT, RULE, GREY = "#5c6066", "#e2e2df", "#9a9a9a"
COLOURS = ("#0061a3", "#d55e00", "#009e73", "#c0659a", "#d98e00", "#3a9bd6")


def draw_signals(f: IO[bytes], X: np.ndarray, y: pd.Series | None = None, *, rate: int = 0, beside: np.ndarray | None = None) -> None:
    """Write a PNG of the first ``MOST`` signals ``(N, L)`` or ``(N, L, channels)``, a colour for each channel.

    y : what is written above each; its number in the file without. rate : samples per second, for an axis in seconds.
    beside : as many other signals, drawn below each in grey: the originals of reconstructions.

    All drawings are one pair of axes, laid out by hand: a pair for each would take seconds.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    n = min(len(X), MOST)
    shown, below = _channels(X[:n]), None if beside is None else _channels(beside[:n])
    every = shown if below is None else np.concatenate([shown, below])
    low, high = float(every.min()), float(every.max())
    pad = 0.05 * (high - low) or 0.5
    low, high = low - pad, high + pad
    columns = min(COLUMNS, math.ceil(math.sqrt(n)))
    rows = math.ceil(n / columns)
    left = np.arange(n) % columns * (1 + GAP * HEIGHT / WIDTH)
    bottom = (rows - 1 - np.arange(n) // columns) * (1 + GAP)
    across = np.linspace(0, 1, shown.shape[1])

    def lines(signals: np.ndarray, channel: int, colour: str) -> LineCollection:
        up = (signals[:, :, channel] - low) / (high - low) + bottom[:, None]
        return LineCollection(np.stack([across + left[:, None], up], axis=-1), colors=colour, linewidths=0.9)

    figure = Figure(figsize=(columns * WIDTH + 0.7, rows * HEIGHT * (1 + GAP) + 0.6), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)])
    ax.add_collection(LineCollection(corners + np.stack([left, bottom], axis=1)[:, None], colors=RULE, linewidths=0.8))
    for channel in range(0 if below is None else below.shape[2]):
        ax.add_collection(lines(below, channel, GREY))
    for channel in range(shown.shape[2]):
        ax.add_collection(lines(shown, channel, COLOURS[channel % len(COLOURS)]))
    for i in range(n):
        ax.text(left[i], bottom[i] + 1.02, str(i if y is None else y.iloc[i]), fontsize=6.5, color=SOFT)
    values = [v for v in MaxNLocator(3).tick_values(low, high) if low <= v <= high]
    starts = bottom[::columns]
    ax.set_yticks([b + (v - low) / (high - low) for b in starts for v in values], [f"{v:g}" for _ in starts for v in values])
    last = (shown.shape[1] - 1) / (rate or 1)
    ax.set_xticks([x + e for x in left[:columns] for e in (0, 1)], [w for _ in range(columns) for w in ("0", f"{last:.4g}")])
    for k, label in enumerate(ax.get_xticklabels()):        # inside its own drawing, where the next one begins
        label.set_ha("right" if k % 2 else "left")
    ax.tick_params(labelsize=6.5, length=2, colors=SOFT)
    ax.spines[:].set_visible(False)
    ax.set_xlim(-0.02, left.max() + 1.02)
    ax.set_ylim(-0.06, bottom.max() + 1.16)
    words = ["seconds" if rate else "samples", *(["grey: the original"] if below is not None else []),
             *([f"the first {n} of {len(X):,} signals"] if n < len(X) else [])]
    ax.set_xlabel("; ".join(words), fontsize=7.5, color=SOFT)
    figure.savefig(f, format="png", metadata={"Software": None})


def _channels(X: np.ndarray) -> np.ndarray:
    return np.asarray(X, np.float64).reshape(*X.shape[:2], -1)
