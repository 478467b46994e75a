"""Pictures of a code: :func:`code_map`, :func:`filters`, :func:`reconstructions`.

Each returns a matplotlib ``Figure`` that belongs to no window: a notebook shows it, ``figure.savefig("codes.png")`` writes it. What
they draw is computed, and defined, in :mod:`ectype.uses.codes`.

References
    Petroff, *Accessible color sequences for data visualization*, 2021 (the ten colours of classes).
    Nuñez, Anderton & Renslow, *Optimizing colormaps with consideration for color vision deficiency*, 2018 (cividis).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import DataError, InvalidParameterError
from ..estimator import GenerativeModel
from .codes import Passage, colouring, evenly, first_layer, plane, require, word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 5000          # of a map; of more rows, as many at even distances
DOTS = 600                  # of a column's scatter plot
CATEGORIES = 6              # of a column, drawn
COLUMNS = 24                # of a table, in a list
CLASSES = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
INK, SOFT, GREY, BLUE, ORANGE = "#1b1c1e", "#5c6066", "#9a9a9a", "#0061a3", "#d55e00"
NAMES = {"rebuilt": "", "from_code": "from the code alone", "pca": "PCA"}
ERROR = "½ Σ (x̂ − x)²"


# ------------------------------------------------------------------------------------------------------------------ code map


def code_map(model: GenerativeModel, X: Any, y: Any = None, *, method: str = "pca", condition: Any = None) -> Figure:
    """The code of each row as a point in the plane.

    y : labels or quantities ``(N,)`` that give the points their colours; without, the reconstruction error does.
    method : how more than two numbers become two: ``"pca"`` or ``"tsne"``.
    condition : of a conditional model; ``y`` where it is not given.

    Of more than 5,000 rows, 5,000 at even distances are drawn. Raises :class:`CapabilityError` for a model that cannot encode and decode,
    :class:`DataError` for fewer than two rows, :class:`UnknownNameError` for another method.
    """
    require(model, X, "encode", "decode")
    if y is not None and len(y) != len(X):
        raise DataError("X and y differ in length", expected=f"{len(X)} labels", got=len(y))
    if model.conditional and condition is None:
        condition = y
    X, y, condition = (evenly(v, MOST_POINTS) if np.ndim(v) else v for v in (X, y, condition))
    x, c = model._given(X, condition)
    points, names = plane(model._by_batch(x, c, model.objective_.encode), method)
    points, n_beyond = within_view(points)
    figure = _figure(6.6, 5.2)
    ax = figure.add_subplot()
    if y is None:
        _dots_by_value(figure, ax, points, Passage(model, X, condition=condition).row_errors(), f"reconstruction error  {ERROR}")
    else:
        groups, classes = colouring(y)
        if classes:
            _dots_by_class(ax, points, groups, classes)
        else:
            _dots_by_value(figure, ax, points, groups, str(getattr(y, "name", None) or "label"))
    ax.set_xlabel(names[0], fontsize=8, color=SOFT)
    ax.set_ylabel(names[1], fontsize=8, color=SOFT)
    if not names[1]:
        ax.set_yticks([])
        ax.set_xticks([] if "t-SNE" in names[0] else ax.get_xticks())
    width = model.objective_.latent_dim
    title = f"{type(model).__name__}: {len(points):,} rows in a code of {width:,} number{'s' if width > 1 else ''}"
    title += f", {n_beyond} beyond the edge drawn on it" if n_beyond else ""
    ax.set_title(title, fontsize=9.5, color=INK, loc="left")
    return figure


def within_view(points: np.ndarray) -> tuple[np.ndarray, int]:
    """``points (N, 2)`` with the few that lie far beyond the others moved to the edge, so that these do not shrink to a blot; and how many.

    The edge is as far from the middle 98 % of the points, on each side, as they are wide.
    """
    low, high = np.quantile(points, [0.01, 0.99], axis=0)
    seen = np.clip(points, low - (high - low), high + (high - low))
    beyond = int((seen != points).any(axis=1).sum())
    return seen, beyond


def _dots_by_class(ax: Axes, points: np.ndarray, groups: np.ndarray, classes: list[str]) -> None:
    """A colour and a legend for each class, and short names where the classes lie."""
    from matplotlib.patheffects import withStroke

    for i, name in enumerate(classes):
        mine = points[groups == i]
        if not len(mine):
            continue
        ax.scatter(*mine.T, s=13, color=CLASSES[i], alpha=0.75, linewidths=0, label=name if len(name) <= 24 else name[:23] + "…")
        if len(name) <= 3:
            ax.text(*np.median(mine, axis=0), name, fontsize=11, weight="bold", color=INK, ha="center", va="center",
                    path_effects=[withStroke(linewidth=3, foreground="white")])
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8, markerscale=1.6, handletextpad=0.2)


def _dots_by_value(figure: Figure, ax: Axes, points: np.ndarray, values: np.ndarray, what: str) -> None:
    """A scale of colours that ends where a hundredth of the values lies beyond, so that single ones do not darken the others."""
    known = values[np.isfinite(values)]
    low, high = (float(v) for v in np.quantile(known, [0.0, 0.99])) if len(known) else (0.0, 1.0)
    shown = ax.scatter(*points.T, c=np.where(np.isfinite(values), values, low), s=13, cmap="cividis", vmin=low, vmax=max(high, low + 1e-12),
                       linewidths=0)
    bar = figure.colorbar(shown, ax=ax, pad=0.02, aspect=30, extend="max" if len(known) and known.max() > high else "neither")
    bar.set_label(what, fontsize=8, color=SOFT)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)


# ------------------------------------------------------------------------------------------------------------------ filters


def filters(model: GenerativeModel, n: int = 64) -> Figure:
    """The weights of the first layer, of at most ``n`` units (:func:`~ectype.uses.codes.first_layer`).

    Pictures for images, lines for signals, bars for the columns of a table. All share one scale, whose middle is zero; blue is positive,
    red negative. Raises :class:`CapabilityError` for a model without encoder.
    """
    w, schema = first_layer(model, n), model.schema_
    top = float(np.abs(w).max()) or 1.0
    draw = _bars_of_weights if schema.is_table else _lines_of_weights if schema.is_signal else _pictures_of_weights
    names = [b.name for b in schema.blocks] if schema.is_table else []
    figure = draw(w, top, *([names] if schema.is_table else []))
    figure.suptitle(f"{type(model).__name__}: first layer, {len(w)} units, weights up to ±{top:.2g}", fontsize=8.5, color=INK)
    return figure


def _lattice(n: int, columns: int) -> tuple[int, list[tuple[int, int]]]:
    """Rows of a lattice of n places, and the (row, column) of each."""
    return math.ceil(n / columns), [divmod(i, columns) for i in range(n)]


def _pictures_of_weights(w: np.ndarray, top: float) -> Figure:
    """``(units, h, w)`` from red to blue, ``(units, h, w, 3)`` as colours around a middle grey."""
    columns = min(len(w), math.ceil(math.sqrt(1.6 * len(w))))
    rows, places = _lattice(len(w), columns)
    height, width = w.shape[1:3]
    gap = max(1, round(0.12 * max(height, width)))
    page = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, *w.shape[3:]), 1.0 if w.ndim == 4 else np.nan)
    for unit, (i, j) in zip(w, places, strict=True):
        y, x = i * (height + gap), j * (width + gap)
        page[y : y + height, x : x + width] = 0.5 + 0.5 * unit / top if w.ndim == 4 else unit
    figure = _figure(0.72 * columns, 0.72 * rows * height / width + 0.4)
    ax = figure.add_subplot()
    ax.imshow(page, cmap="RdBu", vmin=-top, vmax=top, interpolation="nearest")
    ax.set_axis_off()
    return figure


def _lines_of_weights(w: np.ndarray, top: float) -> Figure:
    """``(units, l, channels)``, a colour for each channel."""
    columns = min(len(w), 8)
    rows, places = _lattice(len(w), columns)
    x = np.linspace(0, 0.9, w.shape[1])
    figure = _figure(1.2 * columns, 0.75 * rows + 0.4)
    ax = figure.add_subplot()
    for unit, (i, j) in zip(w, places, strict=True):
        ax.plot([j, j + 0.9], [-i, -i], color=GREY, linewidth=0.5)
        for channel in range(w.shape[2]):
            ax.plot(j + x, -i + 0.46 * unit[:, channel] / top, color=(BLUE, *CLASSES[1:])[channel % len(CLASSES)], linewidth=0.9)
    ax.set_axis_off()
    return figure


def _bars_of_weights(w: np.ndarray, top: float, names: list[str]) -> Figure:
    """``(units, columns)``, a bar for each of the columns of largest mean weight; units side by side, their numbers above."""
    shown = np.sort(np.argsort(-np.abs(w).mean(0), kind="stable")[:COLUMNS])
    columns, k = min(len(w), 16), len(shown)
    rows, places = _lattice(len(w), columns)
    figure = _figure(1.5 + 0.55 * columns, 0.5 + (0.17 * k + 0.25) * rows)
    ax = figure.add_subplot()
    starts = [i * (k + 1.6) for i in range(rows)]
    for number, (unit, (i, j)) in enumerate(zip(w[:, shown], places, strict=True)):
        y = starts[i] + np.arange(k)
        ax.barh(y, (unit / top).astype(float), left=2.2 * j, color=np.where(unit >= 0, BLUE, ORANGE), height=0.75)
        ax.plot([2.2 * j, 2.2 * j], [y[0] - 0.5, y[-1] + 0.5], color=GREY, linewidth=0.5)
        ax.text(2.2 * j, y[0] - 0.7, str(number + 1), fontsize=6, color=SOFT, ha="center")
    ax.set_yticks([start + m for start in starts for m in range(k)], [_short(names[m]) for m in shown] * rows, fontsize=6.5)
    ax.set_ylim(starts[-1] + k - 0.3, -1.7)
    ax.set_xlim(-1.2, 2.2 * columns - 1.0)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figure


# ------------------------------------------------------------------------------------------------------------------ reconstructions


def reconstructions(model: GenerativeModel, X: Any, n: int = 10, *, X_train: Any = None, condition: Any = None) -> Figure:
    """Rows before and after their way through the code, and what PCA of the same width makes of them, with the mean error of each.

    Images and signals: the first ``n``. Tables: the error of every column, and the ``n`` columns of largest error, original against
    reconstruction. Errors are means over all rows of ``X``.

    X_train : rows that the principal components are fitted on; without, those of ``X``, which favours PCA.
    condition : of the rows, for a conditional model.

    Raises :class:`CapabilityError` for a model that cannot encode and decode, :class:`DataError` for fewer than two rows.
    """
    if not isinstance(n, int | np.integer) or n < 1:
        raise InvalidParameterError("n is out of its domain", expected="an int >= 1", got=repr(n))
    passage = Passage(model, X, X_train, condition)
    draw = _table if passage.schema.is_table else _images if passage.schema.is_image else _signals
    figure = draw(passage, int(n))
    width = f"a code of {passage.width:,} for {passage.n_features:,} features"
    fitted = "these" if X_train is None else "the training"
    beside = "" if passage.pca is None else f"; PCA with as many components, fitted on {fitted} rows"
    figure.supxlabel(f"numbers: mean of {ERROR} over {len(passage.original):,} rows; {width}{beside}", fontsize=7.5, color=SOFT)
    return figure


def _label(passage: Passage, kind: str) -> str:
    """Who made it, and the mean error."""
    name = " ".join(filter(None, [type(passage.model).__name__ if kind != "pca" else "", NAMES[kind]])).replace(" from", "\nfrom")
    return f"{name}\n{passage.row_errors(kind).mean():.3g}"


def _images(passage: Passage, n: int) -> Figure:
    """A strip of pictures for each kind, one below the other."""
    top = passage.schema.blocks[0].top
    kinds = {"original": passage.original, **passage.kinds}
    n = min(n, len(passage.original))
    height, width = passage.schema.stored_shape[-2:]
    figure = _figure(1.5 + 0.72 * n * max(0.4, min(1.0, width / height)), 0.5 + 0.78 * len(kinds))
    for ax, (kind, features) in zip(figure.subplots(len(kinds), 1, squeeze=False)[:, 0], kinds.items(), strict=True):
        pictures = np.asarray(passage.rows(features[:n]), np.float64) / top
        if pictures.ndim == 4:
            pictures = pictures[..., :3] if pictures.shape[-1] >= 3 else pictures[..., 0]
        gap = np.ones((height, max(1, width // 10), *pictures.shape[3:]))
        strip = np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=1)
        ax.imshow(np.clip(strip, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        words = "original" if kind == "original" else _label(passage, kind)
        ax.set_ylabel(words, rotation=0, ha="right", va="center", fontsize=8, color=INK)
    return figure


def _signals(passage: Passage, n: int) -> Figure:
    """A drawing for each signal, what is made of it over the original."""
    n = min(n, len(passage.original))
    styles = {"rebuilt": (BLUE, "-"), "pca": (ORANGE, "-"), "from_code": ("#009e73", "--")}
    columns = min(n, 5)
    figure = _figure(columns * 2.0 + 0.4, math.ceil(n / columns) * 1.25 + 1.0)
    axes = figure.subplots(math.ceil(n / columns), columns, sharex=True, sharey=True, squeeze=False)
    drawn = {kind: np.asarray(passage.rows(v[:n])).reshape(n, passage.original.shape[2], -1) for kind, v in
             {"original": passage.original, **passage.kinds}.items()}
    for i, ax in enumerate(axes.flat):
        if i >= n:
            ax.set_axis_off()
            continue
        ax.plot(drawn["original"][i], color=GREY, linewidth=1.6, label="original" if i == 0 else None)
        for kind in passage.kinds:
            lines = ax.plot(drawn[kind][i], color=styles[kind][0], linestyle=styles[kind][1], linewidth=0.8)
            lines[0].set_label(_label(passage, kind).replace("\n", " ") if i == 0 else None)
        ax.tick_params(labelsize=6.5, length=2)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    kept = [(h, s) for h, s in zip(handles, labels, strict=True) if not s.startswith("_")]
    figure.legend(*zip(*kept, strict=True), loc="outside upper left", ncols=4, frameon=False, fontsize=8)
    return figure


def _table(passage: Passage, n: int) -> Figure:
    """The error of each column on the left, original against reconstruction of the columns of largest error on the right."""
    errors = {kind: passage.column_errors(kind) for kind in passage.kinds if kind != "from_code"}
    order = np.argsort(-errors["rebuilt"], kind="stable")
    blocks, shown = passage.schema.blocks, order[: min(n, len(order))]
    values = {kind: passage.column_values(passage.kinds[kind][:DOTS]) for kind in errors}
    original = passage.column_values(passage.original[:DOTS])
    columns = min(len(shown), 4)
    rows = math.ceil(len(shown) / columns)
    listed = order[:COLUMNS]
    figure = _figure(3.4 + 2.1 * columns, max(0.9 + 0.2 * len(listed), 1.7 * rows + 0.7))
    left, right = figure.subfigures(1, 2, width_ratios=(3.4, 2.1 * columns))
    _errors_of_columns(left.add_subplot(), [blocks[i].name for i in listed], {kind: e[listed] for kind, e in errors.items()}, passage)
    for i, ax in enumerate(right.subplots(rows, columns, squeeze=False).flat):
        if i >= len(shown):
            ax.set_axis_off()
            continue
        j = int(shown[i])
        if blocks[j].type == "number":
            _against(ax, original[:, j], {kind: v[:, j] for kind, v in values.items()}, blocks[j].kind == "datetime")
        else:
            _recovered(ax, _words(passage, j), {kind: v[:, j] for kind, v in values.items()})
        ax.set_title(_short(blocks[j].name, 22), fontsize=7.5, color=INK, pad=3)
    return figure


def _errors_of_columns(ax: Axes, names: list[str], errors: dict[str, np.ndarray], passage: Passage) -> None:
    """Two dots for each column, joined: the model's error and PCA's."""
    places = np.arange(len(names))
    said = {kind: _label(passage, kind).replace("\n", " ") for kind in errors}
    if "pca" in errors:
        ax.hlines(places, errors["rebuilt"], errors["pca"], color=GREY, linewidth=0.8)
        ax.scatter(errors["pca"], places, s=22, facecolors="white", edgecolors=ORANGE, linewidths=1.2, label=said["pca"])
    ax.scatter(errors["rebuilt"], places, s=22, color=BLUE, label=said["rebuilt"], zorder=3)
    ax.set_yticks(places, [_short(name, 20) for name in names], fontsize=7)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(left=min(0.0, *ax.get_xlim()))
    ax.tick_params(axis="x", labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), frameon=False, fontsize=7.5, handletextpad=0.2, borderaxespad=0.1)


def _against(ax: Axes, original: np.ndarray, made: dict[str, np.ndarray], dates: bool) -> None:
    """A column of numbers: original across, reconstruction up; on the line, nothing is lost."""
    known = original[np.isfinite(original)]
    low, high = (float(v) for v in np.quantile(known, [0.005, 0.995])) if len(known) else (0.0, 1.0)
    pad = 0.06 * (high - low) or 0.5
    ax.axline((low, low), slope=1.0, color=GREY, linewidth=0.7)
    for kind, colour in (("pca", ORANGE), ("rebuilt", BLUE)):
        if kind in made:
            ax.scatter(original, made[kind], s=5, color=colour, alpha=0.45, linewidths=0)
    ax.set_xlim(low - pad, high + pad)
    ax.set_ylim(low - pad, high + pad)
    ax.tick_params(labelsize=6, length=2)
    if dates:
        ends = [str(np.datetime64(int(v), "s"))[:10] for v in (low, high)]
        ax.set_xticks([low, high], ends)
        ax.set_yticks([low, high], ends, rotation=90, va="center")


def _words(passage: Passage, j: int) -> pd.Series:
    """A column of categories as text."""
    block = passage.schema.blocks[j]
    return pd.Series(block.decode(passage._x[:DOTS, j].numpy())).astype(object).map(word, na_action="ignore").fillna("(blank)")


def _recovered(ax: Axes, words: pd.Series, made: dict[str, np.ndarray]) -> None:
    """A column of categories: the share of the rows of each that come back as they were."""
    shown = list(words.value_counts().index[:CATEGORIES])
    places = np.arange(len(shown))
    share = {kind: [float(v[(words == w).to_numpy()].mean()) for w in shown] for kind, v in made.items()}
    ax.barh(places, share["rebuilt"], color=BLUE, alpha=0.75, height=0.62)
    if "pca" in share:
        ax.scatter(share["pca"], places, s=18, facecolors="white", edgecolors=ORANGE, linewidths=1.2, zorder=3)
    ax.set_yticks(places, [_short(w, 12) for w in shown], fontsize=6)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_xlim(0, 1.05)
    ax.set_xticks([0, 1], ["0%", "100% come back"], fontsize=6)
    ax.spines[["top", "right"]].set_visible(False)


def _short(name: str, most: int = 16) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _figure(width: float, height: float) -> Figure:
    """A figure with a canvas of its own, outside of pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
