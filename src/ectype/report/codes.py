"""What the code of a family keeps: its error beside PCA's, rows before and after, the map of the codes, the first layer.

Drawn from ``features/NAME.npz`` and from the figures under ``code`` in ``results.json``. Where two things are laid over each other, PCA is
grey and the family has its colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from . import charts, pictures, signals
from .folder import Folder
from .numbers import number, short

ALIKE = 0.02            # relative difference of two errors that is none
ROOM = 900_000          # characters that the pictures of all cards may take together
KIND, LISTED, LINES = 4, 12, 6          # columns of each kind that are drawn, columns in the list of errors, signals
SIZE = 320              # of the map
UNIT = 32               # pixels of a filter, about
POSITIVE, NEGATIVE = (47, 143, 208), (224, 112, 26)     # of weights, on light and on dark ground; zero is transparent
NEEDED = ("map", "axes", "colours", "classes", "filters", "rebuilt")
DRAWN = {"rebuilt": "{label}", "pca": "PCA of the same width", "from_code": "{label}, from the code alone"}


def code_section(folder: Folder, entry: Mapping[str, Any], name: str, index: int, real: Any, n_cards: int) -> dict[str, Any] | None:
    """What the page shows of a row's code, None for a row that has none, or whose arrays are gone. ``real`` are the test rows, ``index``
    gives the colour."""
    figures = entry.get("code")
    if not figures:
        return None
    arrays, label, data = folder.arrays("features", name, NEEDED, required=True), entry["label"], folder.data
    if arrays is None:
        return None
    schema = data["schema"]
    shown: dict[str, Any] = {"words": _words(figures, label, data["split"]["evaluated"]), "map": _map(arrays, figures, label),
                             "classes": [(f"k{i}", text) for i, text in enumerate(arrays["classes"])], "pca": "pca" in arrays,
                             "strips": [], "plots": [], "panels": [], "filters": None}
    filters = arrays["filters"]
    if data["kind"] == "images":
        strips = [] if real is None else _strips(arrays, figures, real, schema[0], label, ROOM // n_cards)
        return shown | {"strips": strips, "filters": _weight_pictures(filters, label)}
    if data["kind"] == "signals":
        plots = [] if real is None else [_overlaid(arrays, real, label, index)]
        return shown | {"plots": plots, "filters": _weight_lines(filters, label, index)}
    panels = [] if real is None else _columns(arrays, real, schema, label, index)
    return shown | {"panels": panels, "filters": _weight_cells(filters, schema, label)}


# ------------------------------------------------------------------------------------------------------------------ words


def _words(figures: Mapping[str, Any], label: str, n: int) -> str:
    """What the code costs and keeps, and what it gains on PCA; what is rebuilt from more than the code is not compared."""
    error, pca, alone = (figures.get(k) for k in ("error", "pca_error", "from_code_error"))
    own, source = (error, "") if alone is None else (alone, "from the code alone ")
    said = f"A code of {_numbers(figures['width'])} for the {figures['features']:,} of a row. Lost on the way, ½ Σ (x̂ − x)² averaged " \
           f"over {n:,} test rows: {source}{number('error', own)}"
    if pca is None:
        said += ". The code is as wide as the row or wider, where PCA would be a copy."
    else:
        said += f"; by PCA of the same width, {number('error', pca)}. {_gain(own, pca)}"
    if alone is not None:
        said += " With the recorded positions of the maxima, which are information beside the code, " \
                f"{label} loses {number('error', error)}."
    return said


def _gain(error: float, pca: float) -> str:
    change = error / pca - 1 if pca > 0 else 0.0
    if abs(change) <= ALIKE:
        return "That is the same."
    if change < 0:
        return f"That is {-change:.0%} less: what the non-linearity buys."
    return f"That is {f'{change:.0%} more' if change < 1 else f'{short(error / pca)} times as much'}: at this width, PCA keeps more."


def _numbers(n: int) -> str:
    return f"{n:,} number{'' if n == 1 else 's'}"


# ------------------------------------------------------------------------------------------------------------------ map


def _map(arrays: Mapping[str, np.ndarray], figures: Mapping[str, Any], label: str) -> tuple[str, Markup]:
    """Caption and drawing of the codes in the plane: a colour for each class, or five for fifths of a quantity."""
    points, colours, classes = arrays["map"], arrays["colours"], list(map(str, arrays["classes"]))
    across, up = map(str, arrays["axes"])
    low, high = points.min(0), points.max(0)
    span = np.where(high > low, high - low, 1.0)
    x, y = (12 + (SIZE - 24) * np.array([1, -1]) * ((points - low) / span - np.array([0, 1]))).T
    if classes:
        groups = [(colours == i, f"k{i}") for i in range(len(classes))]
    else:
        ranks = np.argsort(np.argsort(np.nan_to_num(colours, nan=-np.inf), kind="stable"))
        groups = [(ranks * 5 // len(ranks) == i, f"q{i}") for i in range(5)]
    parts = [f'<rect width="{SIZE}" height="{SIZE}" class="frame"/>']
    parts += [f'<path d="{"".join(f"M{a:.1f},{b:.1f}h0" for a, b in zip(x[mine], y[mine], strict=True))}" class="dots {cls}"/>'
              for mine, cls in groups if mine.any()]
    parts += [charts.text(float(np.median(x[mine])), float(np.median(y[mine])) + 5, classes[i], "name", "middle")
              for i, (mine, _) in enumerate(groups) if classes and len(classes[i]) <= 3 and mine.any()]
    by = figures.get("coloured_by")
    by = f"coloured by {by}" if classes else f"the stronger the colour, the larger the {by or 'error'}"
    words = f"{len(points)} test rows in the code, {by}"
    axes = f"{across} across{f', {up} up' if up else ''}"
    return f"{words}. {axes[:1].upper()}{axes[1:]}.", charts.svg(SIZE, SIZE, f"{words}, {label}: {axes}.", parts, "chart codes")


# ------------------------------------------------------------------------------------------------------------------ images


def _strips(arrays: Mapping[str, np.ndarray], figures: Mapping[str, Any], real: np.ndarray, image: Mapping[str, Any], label: str,
            room: int) -> list[tuple[str, str, str, str]]:
    """Caption, error, address and spoken words of the originals and of what comes back, as many as the room allows."""
    kinds = [kind for kind in DRAWN if kind in arrays]
    error = {"rebuilt": figures["error"], "pca": figures.get("pca_error"), "from_code": figures.get("from_code_error")}
    for n in range(min(len(real), len(arrays["rebuilt"])), 0, -1):
        uris = [pictures.data_uri(pictures.grid(x[:n], n, image["top"])) for x in (real, *(arrays[k] for k in kinds))]
        if sum(map(len, uris)) <= room:
            break
    strips = [("Real", "", uris[0], f"{n} real images of the test part")]
    for kind, uri in zip(kinds, uris[1:], strict=True):
        caption = DRAWN[kind].format(label=label) + (", with recorded positions" if kind == "rebuilt" and "from_code" in arrays else "")
        strips.append((caption, number("error", error[kind]), uri, f"The same {n} images as they come back: {caption}"))
    return strips


def _weight_pictures(w: np.ndarray, label: str) -> tuple[str, Markup]:
    """Caption and picture of filters ``(units, h, w)``, blue for positive and orange for negative weights, or ``(units, h, w, 3)``."""
    top = float(np.abs(w).max()) or 1.0
    if w.ndim == 4:
        tiles = np.concatenate([np.round(127.5 + 127.5 * w / top), np.full((*w.shape[:3], 1), 255)], axis=-1)
    else:
        tiles = np.concatenate([np.where(w[..., None] > 0, POSITIVE, NEGATIVE), np.round(255 * np.abs(w) / top)[..., None]], axis=-1)
    zoom = max(1, round(UNIT / max(w.shape[1:3])))
    tiles = tiles.astype(np.uint8).repeat(zoom, 1).repeat(zoom, 2)
    n, height, width = tiles.shape[:3]
    gap = 8
    columns = min(n, 11 if width <= 40 else 8)
    sheet = Image.new("RGBA", (columns * (width + gap) - gap, -(-n // columns) * (height + gap) - gap), (128, 128, 128, 0))
    for i, tile in enumerate(tiles):
        sheet.paste(Image.fromarray(tile, "RGBA"), (i % columns * (width + gap), i // columns * (height + gap)))
    words = f"What its first layer looks for: {n} of its filters, {w.shape[1]}×{w.shape[2]}"
    said = f"Weights of {n} units of the first layer of {label}"
    words += "" if w.ndim == 4 else ", blue positive, orange negative"
    return words, Markup('<img src="{}" alt="{}">').format(pictures.data_uri(sheet), said)


# ------------------------------------------------------------------------------------------------------------------ signals


def _overlaid(arrays: Mapping[str, np.ndarray], real: np.ndarray, label: str, index: int) -> tuple[str, Markup]:
    """Caption and drawing of a few signals, what comes back over the original."""
    n = min(len(real), len(arrays["rebuilt"]), LINES)
    drawn = [(kind, np.asarray(x[:n], np.float64).reshape(n, real.shape[1], -1)[..., : signals.CHANNELS]) for kind, x in
             (("real", real), *((k, arrays[k]) for k in ("pca", "rebuilt") if k in arrays))]
    bounds = signals.frame(np.concatenate([x for _, x in drawn]))
    styles = {"real": "stroke under", "pca": "stroke pca", "rebuilt": f"stroke {charts.colour(index)}"}
    columns, width, lane, gap = 2, 230, 58, 12
    height = lane * drawn[0][1].shape[2]
    parts = []
    for i in range(n):
        left, top = i % columns * (width + gap), i // columns * (height + gap)
        parts.append(f'<rect x="{left}" y="{top}" width="{width}" height="{height}" class="frame"/>')
        for kind, x in drawn:
            for channel in range(x.shape[2]):
                at, v = signals.envelope(x[i, :, channel])
                low, high = bounds[:, channel]
                y = top + channel * lane + (high - np.clip(v, low, high)) / (high - low) * lane
                parts.append(charts.path(list(zip(left + at * width, y, strict=True)), styles[kind]))
    rows = -(-n // columns)
    beside = " and PCA of the same width (dashed)" if "pca" in arrays else ""
    words = f"{label}{beside} over the real signals (grey)"
    said = f"{n} signals as they come back: {words}."
    return words, charts.svg(columns * (width + gap) - gap, rows * (height + gap) - gap, said, parts, "chart")


def _weight_lines(w: np.ndarray, label: str, index: int) -> tuple[str, Markup]:
    """Caption and drawing of filters ``(units, l, channels)``."""
    top = 1.05 * (float(np.abs(w).max()) or 1.0)
    n, columns, width, height, gap = min(len(w), 24), 6, 72, 36, 8
    parts = []
    for i in range(n):
        x, y = i % columns * (width + gap), i // columns * (height + gap)
        parts.append(charts.line(x, y + height / 2, x + width, y + height / 2, "grid"))
        for channel in range(min(w.shape[2], signals.CHANNELS)):
            at, v = signals.envelope(w[i, :, channel])
            heights = y + height / 2 * (1 - v / top)
            parts.append(charts.path(list(zip(x + at * width, heights, strict=True)), f"stroke {charts.colour(index + channel)}"))
    rows = -(-n // columns)
    words = f"What its first layer looks for: {n} of its filters, {w.shape[1]} samples long"
    return words, charts.svg(columns * (width + gap) - gap, rows * (height + gap) - gap, f"{words}, {label}.", parts, "chart signals")


# ------------------------------------------------------------------------------------------------------------------ tables


def _columns(arrays: Mapping[str, np.ndarray], real: pd.DataFrame, schema: Sequence[Mapping[str, Any]], label: str,
             index: int) -> list[tuple[str, str, Markup]]:
    """Name, note and drawing: the error of each column, then of each kind the columns of largest error, before and after."""
    errors = arrays["column_errors_rebuilt"]
    pca = arrays.get("column_errors_pca", np.zeros_like(errors))
    order = np.argsort(-np.maximum(errors, pca), kind="stable")
    names = [str(schema[i]["name"]) for i in order[:LISTED]]
    listed = ([float(v) for v in e[order[:LISTED]]] for e in (pca, errors))
    said = "; ".join(f"{name}: {e:.2g}, PCA {p:.2g}" for name, e, p in zip(names, errors[order], pca[order], strict=False))
    more = f"the {LISTED} largest" if len(errors) > LISTED else ""
    panels = [("Error of each column", more, charts.bars(names, *listed, index, f"Error of each column, {label}: {said}"))]
    drawn = [i for kind in (True, False) for i in [j for j in order if ("categories" in schema[j]) is kind][:KIND]]
    for i in sorted(drawn, key=list(order).index)[: 2 * KIND - 1]:
        column = schema[i]
        made = {kind: arrays[kind][:, i] for kind in ("pca", "rebuilt") if kind in arrays}
        original = real[column["name"]].iloc[: len(made["rebuilt"])]
        if "categories" in column:
            panels.append((column["name"], "share that comes back", _recovered(column["name"], original, made, label, index)))
        else:
            panels.append((column["name"], "before →, after ↑", _against(column, original, made, label, index)))
    return panels


def _recovered(name: str, original: pd.Series, made: Mapping[str, np.ndarray], label: str, index: int) -> Markup:
    """A column of categories: the share of the rows of each that come back as they were."""
    original = original.fillna("(blank)").astype(str)
    shown = list(original.value_counts().index[:6])
    shares = {kind: [float(v[(original == w).to_numpy()].mean()) for w in shown] for kind, v in made.items()}
    shares.setdefault("pca", [0.0] * len(shown))
    said = "; ".join(f"{w}: {a:.0%}, PCA {b:.0%}" for w, a, b in zip(shown, shares["rebuilt"], shares["pca"], strict=True))
    return charts.bars(shown, shares["pca"], shares["rebuilt"], index, f"Share of each category of {name} that comes back, {label}: {said}")


def _against(column: Mapping[str, Any], original: pd.Series, made: Mapping[str, np.ndarray], label: str, index: int) -> Markup:
    """A column of numbers or dates: original across, what comes back up; on the line, nothing is lost."""
    width, height, pad = 220, 128, 6
    if column["kind"] == "datetime":
        when = pd.to_datetime(original, errors="coerce", utc=True).dt.tz_localize(None)
        v = np.where(when.isna(), np.nan, when.astype("datetime64[s]").astype("int64").to_numpy(np.float64))
    else:
        v = pd.to_numeric(original, errors="coerce").to_numpy(np.float64)
    known = v[np.isfinite(v)]
    low, high = (float(q) for q in np.quantile(known, [0.005, 0.995])) if len(known) else (0.0, 1.0)
    span = high - low or 1.0

    def place(u: np.ndarray) -> np.ndarray:
        return np.clip((u - low) / span, -0.02, 1.02)

    parts = [f'<rect width="{width}" height="{height}" class="frame"/>', charts.line(pad, height - pad, width - pad, pad, "grid")]
    for kind, cls in (("pca", "under"), ("rebuilt", charts.colour(index))):
        if kind in made:
            both = np.isfinite(v) & np.isfinite(made[kind])
            x, y = pad + place(v[both]) * (width - 2 * pad), height - pad - place(made[kind][both]) * (height - 2 * pad)
            parts.append(f'<path d="{"".join(f"M{a:.1f},{b:.1f}h0" for a, b in zip(x, y, strict=True))}" class="dots {cls}"/>')
    ends = [pd.Timestamp(e, unit="s").strftime("%Y-%m-%d") if column["kind"] == "datetime" else short(e) for e in (low, high)]
    parts += [charts.text(0, height + 15, ends[0], "tick"), charts.text(width, height + 15, ends[1], "tick", "end")]
    said = f"{column['name']} before and after its way through the code of {label}, {len(known)} rows"
    return charts.svg(width, height + 18, said, parts, "chart small")


def _weight_cells(w: np.ndarray, schema: Sequence[Mapping[str, Any]], label: str) -> tuple[str, Markup]:
    """Caption and drawing of filters ``(units, columns)``: a column of cells for each unit, a row for each column of the table."""
    top = float(np.abs(w).max()) or 1.0
    shown = np.sort(np.argsort(-np.abs(w).mean(0), kind="stable")[:16])
    left, cell, row = 92, 10, 15
    w = w[:24]
    parts = []
    for j, i in enumerate(shown):
        name = str(schema[i]["name"])
        parts.append(charts.text(left - 6, j * row + 11, name if len(name) <= 12 else name[:11] + "…", "tick", "end"))
        parts += [f'<rect x="{left + u * cell}" y="{j * row}" width="{cell - 1}" height="{row - 1}" '
                  f'class="{"plus" if v > 0 else "minus"}" opacity="{abs(v) / top:.2f}"/>' for u, v in enumerate(w[:, i])]
    words = f"What its first layer looks for: the weights of {len(w)} of its units, side by side, blue positive, orange negative"
    return words, charts.svg(left + len(w) * cell, len(shown) * row, f"{words}, {label}.", parts, "chart cells")
