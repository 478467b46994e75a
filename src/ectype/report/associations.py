"""How much the dependence between any two columns of a table differs from that of real rows; drawn from ``associations/NAME.npz``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from . import charts

MATRIX = 16             # columns of the matrix
CELL, MARGIN = 20, 100  # its cells at most, and the room for names
WIDTH = 330             # of the drawing: that of a telephone, so that what is written there is read
FULL = 0.5              # the difference that fills a cell


def association_section(arrays: Mapping[str, np.ndarray] | None, schema: Sequence[Mapping[str, Any]], label: str) -> dict[str, Any] | None:
    """How far the dependence of any two columns is off: the matrix of the difference, and the worst pair in words; None where it is not
    known, or where there are too few columns for a matrix to say more than a sentence."""
    if arrays is None or len(arrays["real"]) != len(schema) or len(schema) < 2:
        return None
    real, made = arrays["real"], arrays["generated"]
    difference = np.abs(made - real)
    np.fill_diagonal(difference, 0.0)
    i, j = divmod(int(difference.argmax()), len(difference))
    names = [str(c["name"]) for c in schema]
    ends = (f"{m[i, j]:.2f}".replace("-", "−") for m in (real, made))
    words = "Furthest off: {} with {}, {} in real rows and {} in generated ones.".format(names[i], names[j], *ends)
    chosen = np.sort(np.argsort(-difference.max(0), kind="stable")[:MATRIX])
    return {"words": words, "chart": _matrix(difference[np.ix_(chosen, chosen)], [names[k] for k in chosen], label),
            "left_out": len(schema) - len(chosen)}


def _matrix(difference: np.ndarray, names: list[str], label: str) -> Markup:
    """Cells whose size is the difference, full at ``FULL`` and beyond."""
    n = len(names)
    cell = min(CELL, (WIDTH - MARGIN) / n)
    parts = []
    for a in range(n):
        short = names[a] if len(names[a]) <= 14 else names[a][:13] + "…"
        middle = (a + 0.5) * cell
        parts += [charts.text(MARGIN - 6, middle + 4, short, "tick", "end"),
                  charts.line(MARGIN, middle, MARGIN + a * cell, middle, "grid"),
                  charts.text(MARGIN + a * cell + 3, middle + 4, str(a + 1), "tick")]
        for b in range(a):
            side = min(1.0, float(difference[a, b]) / FULL) ** 0.5 * (cell - 2)
            x, y = MARGIN + b * cell + (cell - side) / 2, middle - side / 2
            parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{side:.1f}" class="minus"/>')
    said = f"How much the dependence between two columns of {label} differs from that of real rows, a square for each pair: " \
           f"the largest difference is {difference.max():.2f}, the mean {difference[np.tril_indices(n, -1)].mean():.2f}"
    return charts.svg(WIDTH, n * cell + 6, said, parts, "chart matrix")
