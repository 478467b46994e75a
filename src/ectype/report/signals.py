"""Signals as lines: small drawings in one frame, so that real and generated ones can be compared by eye."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from markupsafe import Markup

from . import charts

COLUMNS, ROWS = 3, 5
WIDTH, LANE, GAP = 152, 44, 12      # of a drawing, of a channel in it, and between drawings
CHANNELS = 4                        # drawn of each signal, below one another
POINTS, FEWEST = 240, 80            # of a line, and of one in a narrow drawing; a longer signal is drawn as the envelope of its samples


def frame(real: np.ndarray) -> np.ndarray:
    """Lowest and highest value ``(2, channels)`` of each channel of real signals ``(N, L, channels)``, with a margin."""
    low, high = real.min((0, 1)), real.max((0, 1))
    margin = np.where(high > low, 0.08 * (high - low), 0.5)
    return np.stack([low - margin, high + margin])


def drawing(signals: np.ndarray, bounds: np.ndarray, cls: str, label: str, columns: int = COLUMNS) -> Markup:
    """The first signals of ``(N, L, channels)``, their channels below one another; what leaves ``bounds`` runs along the edge."""
    shown = signals[: columns * ROWS, :, :CHANNELS]
    n_channels = shown.shape[2]
    height, width = n_channels * LANE, WIDTH * COLUMNS // columns
    rows, points = -(-len(shown) // columns), max(FEWEST, POINTS * COLUMNS // columns)
    parts = []
    for i, signal in enumerate(shown):
        left, top = i % columns * (width + GAP), i // columns * (height + GAP)
        parts.append(f'<rect x="{left}" y="{top}" width="{width}" height="{height}" class="frame"/>')
        for channel in range(n_channels):
            x, v = envelope(signal[:, channel], points)
            low, high = bounds[:, channel]
            y = top + channel * LANE + (high - np.clip(v, low, high)) / (high - low) * LANE
            parts.append(charts.path(list(zip(left + x * width, y, strict=True)), f"stroke {cls}"))
    return charts.svg(columns * (width + GAP) - GAP, rows * (height + GAP) - GAP, label, parts, "chart signals")


def envelope(v: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Abscissas in [0, 1] and values of a line through a signal; of more than so many samples, the extremes of each stretch."""
    if len(v) <= points:
        return np.linspace(0, 1, len(v)), v
    edges = np.linspace(0, len(v), points // 2 + 1).astype(int)
    at = [sorted((a + int(v[a:b].argmin()), a + int(v[a:b].argmax()))) for a, b in pairwise(edges)]
    index = np.concatenate(at)
    return index / (len(v) - 1), v[index]
