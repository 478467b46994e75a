"""Moving drawings without a script: frames of one SVG that take turns, by a style sheet alone.

Every film has a box to tick that pauses it; it stands still where the reader has asked for less motion, and on paper, and then shows its
last frame. Browsers do not move what is out of sight (``content-visibility``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from markupsafe import Markup
from PIL import Image

from . import charts, pictures
from .charts import path, text

SIZE = 320              # of a square film
SHOTS = 24              # frames, each shown for a thirtieth of the time, the last one for seven thirtieths: see page.css
FRAME = f'<rect width="{SIZE}" height="{SIZE}" class="frame"/>'
NEAR_ONE, NEAR_ZERO = (47, 143, 208), (224, 112, 26)    # D: takes rows for real, for generated; transparent between

Bounds = tuple[float, float, float, float]


def film(name: str, label: str, still: Sequence[str], shots: Sequence[Sequence[str]], height: int = SIZE) -> Markup:
    """``still`` is drawn below all frames, of ``shots`` 24 take turns (fewer are repeated); ``name`` is unique on the page."""
    chosen = [shots[i] for i in np.linspace(0, len(shots) - 1, SHOTS).round().astype(int)]
    turns = [f'<g class="shot{" last" * (i == SHOTS - 1)}" style="--i:{i}">{"".join(shot)}</g>' for i, shot in enumerate(chosen)]
    drawn = charts.svg(SIZE, height, f"{label}. A moving picture; its last frame is the end.", [*still, *turns], "chart")
    box = Markup('<input type="checkbox" id="pause-{0}"><label for="pause-{0}">Pause</label>').format(name)
    return Markup('<div class="film">{}{}</div>').format(box, drawn)


def placing(bounds: Bounds) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The map from points ``(n, 2)`` to places in a square film."""
    x0, x1, y0, y1 = bounds

    def place(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (points[:, 0] - x0) / (x1 - x0) * SIZE, SIZE - (points[:, 1] - y0) / (y1 - y0) * SIZE

    return place


def dots(at: tuple[np.ndarray, np.ndarray]) -> str:
    """The path that draws points; those outside of the frame are left out."""
    x, y = at
    inside = (x >= 0) & (x <= SIZE) & (y >= 0) & (y <= SIZE)
    return "".join(f"M{a:.0f},{b:.0f}h0" for a, b in zip(x[inside], y[inside], strict=True))


def game(arrays: Mapping[str, np.ndarray], index: int, label: str, name: str) -> Markup | None:
    """The game of a GAN: the data, the generator's rows, and where the critic takes rows for real, while both train."""
    if "film_rows" not in arrays:
        return None
    return (_game_line if "axis_1" not in arrays else _game_plane)(arrays, index, label, name)


def _game_plane(arrays: Mapping[str, np.ndarray], index: int, label: str, name: str) -> Markup:
    x, y = arrays["axis_0"], arrays["axis_1"]
    place = placing((float(x[0]), float(x[-1]), float(y[0]), float(y[-1])))
    still = [FRAME]
    data = f'<path d="{dots(place(arrays["film_data"]))}" class="dots under"/>'
    shots = [[f'<image href="{_plane(d)}" width="{SIZE}" height="{SIZE}" preserveAspectRatio="none"/>', data,
              f'<path d="{dots(place(rows))}" class="dots {charts.colour(index)}"/>', _step(step)]
             for d, rows, step in zip(arrays["film_critic"], arrays["film_rows"], arrays["film_steps"], strict=True)]
    across, up = map(str, arrays["columns"])
    said = f"{label} while it trains: generated points over real ones (grey), {across} across and {up} up; blue where the critic takes a " \
           "row for real, orange where for generated"
    return film(f"game-{name}", said, still, shots)


def _plane(d: np.ndarray) -> str:
    """D ``(cells x, cells y)`` as a small picture."""
    tilt = 2 * np.clip(d.T[::-1], 0, 1) - 1
    tiles = np.concatenate([np.where(tilt[..., None] > 0, NEAR_ONE, NEAR_ZERO), np.round(150 * np.abs(tilt))[..., None]], axis=-1)
    return pictures.data_uri(Image.fromarray(tiles.astype(np.uint8), "RGBA"))


def _game_line(arrays: Mapping[str, np.ndarray], index: int, label: str, name: str) -> Markup:
    grid, real, height = arrays["axis_0"], arrays["film_data"], 200
    x = (grid - grid[0]) / (grid[-1] - grid[0]) * SIZE
    top, base = 1.6 * float(real.max()), height - 18

    def curve(v: np.ndarray, most: float, cls: str) -> str:
        return path(list(zip(x, base - np.clip(v / most, 0, 1) * (base - 4), strict=True)), cls)

    area = path([(0, base), *zip(x, base - real / top * (base - 4), strict=True), (SIZE, base)], "real")
    still = [area, charts.line(0, base, SIZE, base, "axis")]
    shots = [[curve(d, 1.0, "stroke pca"), curve(made, top, f"stroke {charts.colour(index)}"), _step(step, 14)]
             for d, made, step in zip(arrays["film_critic"], arrays["film_rows"], arrays["film_steps"], strict=True)]
    said = f"{label} while it trains: the density of generated {arrays['columns'][0]} over the real one (grey); dashed, how surely the " \
           "critic takes a value for real, from 0 at the bottom to 1 at the top"
    return film(f"game-{name}", said, still, shots, height)


def _step(step: int, y: float = SIZE - 10) -> str:
    return text(SIZE - 8, y, f"step {int(step):,}", "tick", "end")
