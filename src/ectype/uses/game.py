"""The game of a GAN as a moving picture: the density of the data, that of the generator, and D(x), while the two networks train.

At each evaluation of the training loop (their steps grow geometrically, so that the beginning is seen as closely as the end) a
:class:`Frame` keeps samples of the generator and the critic's D on a grid, with the averaged weights. In one dimension these are curves;
where the truth is known, so is the best critic for the generator of that moment, D*(x) = p(x) / (p(x) + p_g(x)) (Goodfellow et al. 2014,
proposition 1, figure 1). In two dimensions D is a coloured plane, the data are its contour lines, and the samples are points.

    film = film_game(GAN(train=Train(budget="3000steps")), X, density=truth.log_prob)
    film.save("game.webp")
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .. import rng
from ..data.schema import Schema, as_container
from ..errors import DataError, InvalidParameterError
from ..models.gan import GAN, GANObjective

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

CELLS = {1: 200, 2: 64}         # of the grid along an axis, by dimension
MARGIN = 0.25                   # of the range of the data, that the grid reaches beyond it
SHOWN = 400                     # points of data and of samples in the plane
MOST_FRAMES = 48
INCHES, DPI = {1: (4.6, 2.9), 2: (3.6, 3.4)}, 100
COLOURS = 64                    # of a .gif or .png
FORMATS = (".webp", ".gif", ".png")
REAL, MADE, CRITIC = "#0061a3", "#d1495b", "#3a3a3a"

Density = Callable[[Any], np.ndarray]


@dataclass(frozen=True)
class Frame:
    """One moment: ``step``, ``samples`` of the generator ``(n, d)``, and D ``(cells,)`` or ``(cells, cells)`` on the grid."""

    step: int
    samples: np.ndarray
    critic: np.ndarray


class FilmedObjective(GANObjective):
    """A game that is looked at while it is played."""

    def look_at(self, schema: Schema, grid: Tensor, n: int) -> None:
        """Keep a frame with D at the stored rows ``grid`` and ``n`` samples, whenever the loop evaluates."""
        self.schema, self.grid, self.n_samples, self.frames = schema, grid, n, []

    def watch(self, x: Tensor, c: Tensor | None) -> dict[str, float]:
        samples = self.schema.decode(self.sample(rng.Rows(0, 0, self.n_samples, x.device), None).cpu().numpy())
        logit = self._logit_of(self.grid.to(x.device))
        if self.game == "relativistic":         # known up to a constant: D is drawn so that it is even between real and generated rows
            made = self.sample(rng.Rows(0, 0, len(x), x.device), None)
            logit = logit - (self._logit_of(x).mean() + self._logit_of(made).mean()) / 2
        critic = torch.sigmoid(logit).cpu().numpy()
        self.frames.append(Frame(self.step + 1, np.asarray(samples, np.float64), critic))
        return super().watch(x, c)

    def _logit_of(self, x: Tensor) -> Tensor:
        return self.logit(self.features.embed(x), self.given_of(x, None))


class FilmedGAN(GAN):
    """A GAN with the settings of another, whose :attr:`objective_` keeps frames."""

    @classmethod
    def of(cls, model: GAN, axes: Sequence[np.ndarray], n: int) -> FilmedGAN:
        filmed = cls(**model.get_params(deep=False))
        filmed.axes, filmed.n = axes, n
        return filmed

    def build(self, schema: Schema, condition: Schema | None) -> GANObjective:
        objective = FilmedObjective(schema, condition, *self.settings(schema, condition))
        names = [b.name for b in schema.blocks]
        rows = pd.DataFrame(np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1).reshape(-1, len(self.axes)), columns=names)
        objective.look_at(schema, torch.from_numpy(schema.encode(rows)), self.n)
        return objective


@dataclass(frozen=True)
class Film:
    """A game that was watched.

    ``frames``: moments in their order. ``axes``: the grid, one array for each dimension. ``rows``: the data ``(N, d)``. ``density``: the
    true density on the grid, of the shape of a frame's ``critic``, or None where it is not known. ``names`` of the columns.
    """

    frames: tuple[Frame, ...]
    axes: tuple[np.ndarray, ...]
    rows: np.ndarray
    density: np.ndarray | None
    names: tuple[str, ...]

    def draw(self, frame: Frame, ax: Axes) -> None:
        """One moment."""
        (_draw_line if len(self.axes) == 1 else _draw_plane)(self, frame, ax)
        ax.set_title(f"step {frame.step:,}", loc="left", fontsize=9)

    def save(self, path: str | os.PathLike, *, seconds: float = 8.0, most_bytes: int = 600_000) -> Path:
        """Write the moving picture, a ``.webp``, ``.gif`` or ``.png`` (APNG) of ``seconds``, the last frame standing a while.

        Every second frame is left out for as long as the file is larger than ``most_bytes``.
        Raises :class:`InvalidParameterError` for another ending of the name, and where even two frames are too large.
        """
        path = Path(path)
        if path.suffix not in FORMATS:
            raise InvalidParameterError("a moving picture of an unknown format", expected=" or ".join(FORMATS), got=path.name)
        pictures = self.pictures()
        while True:
            written = _moving(pictures, path.suffix, seconds)
            if len(written) <= most_bytes:
                path.write_bytes(written)
                return path
            if len(pictures) <= 2:
                raise InvalidParameterError("the moving picture is too large", expected=f"at most {most_bytes:,} bytes",
                                            got=f"{len(written):,}", hint="a larger most_bytes, or .webp")
            pictures = pictures[::-2][::-1]             # the last one stays

    def pictures(self) -> list[Image]:
        """Every frame as a picture."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from PIL import Image

        drawn = []
        for frame in self.frames:
            figure: Figure = Figure(figsize=INCHES[len(self.axes)], dpi=DPI, layout="constrained")
            canvas = FigureCanvasAgg(figure)
            self.draw(frame, figure.subplots())
            canvas.draw()
            drawn.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
        return drawn


def film_game(model: GAN, X: Any, *, density: Density | None = None, samples: int = 2000) -> Film:
    """Fit a copy of ``model`` on rows of one or two numeric columns and keep what it looks like on the way.

    model : an unconditional :class:`GAN`; it is left as it is. A budget in steps gives the same film every time.
    X : DataFrame or array ``(N, 1)`` or ``(N, 2)``.
    density : log-density of rows in nats, ``(N,)``, where the truth is known, as ``load("moons").truth.log_prob``.
    samples : rows that the generator draws for each frame.

    Raises :class:`InvalidParameterError` for a conditional model, :class:`DataError` for other columns or too few rows.
    """
    if model.conditional:
        raise InvalidParameterError("a conditional game has a picture for each condition", expected="conditional=False", got="True",
                                    hint="film the rows of one class")
    X = as_container(X)
    schema = Schema.fit(X)
    if not schema.is_table or len(schema.blocks) not in CELLS or any(b.kind not in ("numeric", "integer") for b in schema.blocks):
        raise DataError("a game can be filmed in one or two dimensions", expected="one or two numeric columns",
                        got=", ".join(b.kind for b in schema.blocks))
    rows = np.asarray(X, np.float64)
    low, high = np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)
    reach = MARGIN * (high - low)
    axes = tuple(np.linspace(a, b, CELLS[rows.shape[1]]) for a, b in zip(low - reach, high + reach, strict=True))
    filmed = FilmedGAN.of(model, axes, samples).fit(X)
    frames = filmed.objective_.frames
    if not frames:
        raise DataError("nothing was seen of the game", expected="at least 100 rows, and validation > 0, so that some are held out",
                        got=f"{len(rows)} rows, validation={filmed.train_.validation:g}")
    shape = tuple(len(a) for a in axes)
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(MOST_FRAMES, len(frames))).round().astype(int))
    names = tuple(b.name for b in schema.blocks)
    known = None
    if density is not None:
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
        known = np.exp(np.asarray(density(grid), np.float64)).reshape(shape)
    kept = (Frame(f.step, f.samples, f.critic.reshape(shape)) for f in (frames[i] for i in chosen))
    return Film(tuple(kept), axes, rows, known, names)


def smoothed(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Density on an even grid of numbers ``(N,)``: a histogram of its cells, smoothed by a Gaussian of one and a half cells."""
    from scipy.ndimage import gaussian_filter1d

    step = grid[1] - grid[0]
    edges = np.append(grid - step / 2, grid[-1] + step / 2)
    return gaussian_filter1d(np.histogram(values, edges)[0] / (max(1, len(values)) * step), 1.5)


def _draw_line(film: Film, frame: Frame, ax: Axes) -> None:
    """Both densities, filled, and D and the best D above them."""
    (grid,) = film.axes
    real = smoothed(film.rows[:, 0], grid) if film.density is None else film.density
    made = smoothed(frame.samples[:, 0], grid)
    for density, colour, label in ((real, REAL, "data"), (made, MADE, "generator")):
        ax.fill_between(grid, density, color=colour, alpha=0.25, linewidth=0)
        ax.plot(grid, density, color=colour, linewidth=1.2, label=label)
    ax.set(xlim=(grid[0], grid[-1]), ylim=(0, 1.6 * real.max()), xlabel=film.names[0], yticks=[])
    right = ax.twinx()
    right.plot(grid, frame.critic, color=CRITIC, linewidth=1.2)
    both = real + made
    seen = both > 1e-3 * real.max()                     # elsewhere D* is a ratio of two nothings
    right.plot(grid, np.where(seen, real / np.where(seen, both, 1), np.nan), color=CRITIC, linewidth=1, linestyle=":")
    right.axhline(0.5, color=CRITIC, linewidth=0.4)
    right.set(ylim=(0, 1), yticks=[0, 0.5, 1])
    right.set_ylabel("D(x), dotted: the best D", fontsize=8)
    ax.legend(loc="upper right", frameon=False, fontsize=8)
    for each in (ax, right):
        each.spines["top"].set_visible(False)
        each.tick_params(labelsize=8)


def _draw_plane(film: Film, frame: Frame, ax: Axes) -> None:
    """D as a coloured plane, the data as contour lines or points, samples as points."""
    x, y = film.axes
    ax.pcolormesh(x, y, frame.critic.T, cmap="RdBu", vmin=0, vmax=1, shading="gouraud", rasterized=True)
    if film.density is None:
        ax.scatter(*film.rows[:SHOWN].T, s=2, color=REAL, linewidths=0)
    else:
        ax.contour(x, y, film.density.T, levels=film.density.max() * np.array([0.05, 0.3, 0.7]), colors=CRITIC, linewidths=0.6)
    ax.scatter(*frame.samples[:SHOWN].T, s=3, color="black", linewidths=0)
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xlabel=film.names[0], ylabel=film.names[1])
    ax.set_title("blue: D near 1, red: near 0", loc="right", fontsize=7)
    ax.tick_params(labelsize=8)


def _moving(pictures: Sequence[Image], suffix: str, seconds: float) -> bytes:
    """The file: every frame as long as the others, the last one a fifth of the time more."""
    milliseconds = [max(20, round(800 * seconds / len(pictures)))] * len(pictures)
    milliseconds[-1] += round(200 * seconds)
    written = io.BytesIO()
    options: dict[str, Any] = {".webp": {"quality": 60, "method": 4, "minimize_size": True}, ".gif": {"optimize": True},
                               ".png": {"default_image": False}}[suffix]
    kind = {".webp": "WEBP", ".gif": "GIF", ".png": "PNG"}[suffix]
    shown = list(pictures) if suffix == ".webp" else _with_one_palette(pictures)
    shown[0].save(written, kind, save_all=True, append_images=shown[1:], duration=milliseconds, loop=0, **options)
    return written.getvalue()


def _with_one_palette(pictures: Sequence[Image]) -> list[Image]:
    """The colours of the first, the middle and the last picture for all; an APNG has one palette."""
    from PIL import Image

    width, height = pictures[0].size
    sheet = Image.new("RGB", (width, 3 * height))
    for i, picture in enumerate((pictures[0], pictures[len(pictures) // 2], pictures[-1])):
        sheet.paste(picture, (0, i * height))
    palette = sheet.quantize(COLOURS)
    return [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
