"""Images as one PNG, embedded in the page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

SMALLEST, LARGEST = 40, 96      # pixels of the longer side: smaller images are enlarged, pixel by pixel, larger ones reduced
WIDTH = 480                     # of a grid, about
GAP = 2


def tile_size(height: int, width: int, largest: int = LARGEST) -> tuple[int, int]:
    """(height, width) of one image in a grid."""
    longest = max(height, width)
    scale = max(1, -(-SMALLEST // longest)) if longest <= largest else largest / longest
    return max(1, round(height * scale)), max(1, round(width * scale))


def layout(height: int, width: int) -> tuple[int, int]:
    """(columns, rows) of a grid that is about as wide for every size of image."""
    h, w = tile_size(height, width)
    columns = int(np.clip((WIDTH + GAP) // (w + GAP), 4, 10))
    return columns, int(np.clip(0.6 * columns * w // h, 2, 6))


def grid(images: np.ndarray, columns: int, top: float, largest: int = LARGEST) -> Image.Image:
    """Tiles on a transparent ground: images ``(N, H, W)`` or ``(N, H, W, C)`` with levels ``0 … top``."""
    levels = np.clip(np.round(np.asarray(images, np.float64) * (255 / top)), 0, 255).astype(np.uint8)
    tiles = [Image.fromarray(_visible(level)) for level in levels]
    height, width = tile_size(*levels.shape[1:3], largest)
    rows = -(-len(tiles) // columns)
    mode = "RGBA" if tiles[0].mode == "RGB" else "LA"
    sheet = Image.new(mode, (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP))
    enlarge = width >= tiles[0].width
    for i, tile in enumerate(tiles):
        tile = tile.resize((width, height), Image.Resampling.NEAREST if enlarge else Image.Resampling.LANCZOS)
        sheet.paste(tile.convert(mode), (i % columns * (width + GAP), i // columns * (height + GAP)))
    return sheet


def fitted(images: np.ndarray, columns: int, top: float, room: int) -> str:
    """The address of a grid that takes about ``room`` characters at most: of larger images, with smaller tiles."""
    for largest in (LARGEST, 64, 48, 32):
        uri = data_uri(grid(images, columns, top, largest))
        if len(uri) <= room:
            break
    return uri


def _visible(level: np.ndarray) -> np.ndarray:
    """(H, W) for grey, (H, W, 3) for colour; opacity, and a second channel without a third, are not shown."""
    if level.ndim == 2:
        return level
    return np.ascontiguousarray(level[..., :3] if level.shape[-1] >= 3 else level[..., 0])


def data_uri(image: Image.Image) -> str:
    """The picture itself as an address."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
