"""Images as one PNG, embedded in the page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

LARGEST = 96        # pixels a side of one image on the page
SMALLEST = 40       # smaller images are enlarged to about this, pixel by pixel
GAP = 2


def grid(images: np.ndarray, columns: int, top: float) -> Image.Image:
    """Tiles on a transparent ground: images ``(N, H, W)`` or ``(N, H, W, C)`` with levels ``0 … top``."""
    levels = np.clip(np.round(np.asarray(images, np.float64) * (255 / top)), 0, 255).astype(np.uint8)
    tiles = [Image.fromarray(_colour(level)) for level in levels]
    width, height = tiles[0].size
    shrink = max(1.0, max(width, height) / LARGEST)
    grow = max(1, round(SMALLEST / max(width, height)))
    width, height = max(1, round(width / shrink)) * grow, max(1, round(height / shrink)) * grow
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGBA" if tiles[0].mode == "RGB" else "LA", (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP))
    for i, tile in enumerate(tiles):
        tile = tile.resize((width, height), Image.Resampling.LANCZOS if shrink > 1 else Image.Resampling.NEAREST)
        sheet.paste(tile.convert(sheet.mode), (i % columns * (width + GAP), i // columns * (height + GAP)))
    return sheet


def _colour(level: np.ndarray) -> np.ndarray:
    """(H, W) for grey, (H, W, 3) for colour; channels beyond the third (opacity) and a second one are not shown."""
    if level.ndim == 2:
        return level
    return level[..., :3] if level.shape[-1] >= 3 else level[..., 0]


def layout(height: int, width: int) -> tuple[int, int]:
    """(columns, rows) of a grid that is about as wide on the page for every size of image."""
    side = max(width, SMALLEST) if max(width, height) <= LARGEST else width * LARGEST / max(width, height)
    columns = int(np.clip(480 // side, 4, 10))
    return columns, int(np.clip(round(columns * 0.6 * width / height), 2, 6))


def data_uri(image: Image.Image) -> str:
    """The picture itself as an address."""
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
