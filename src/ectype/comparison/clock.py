"""Where the time of a comparison goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

PARTS = ("training", "sampling", "metrics", "pictures")


class Clock:
    """Seconds by part; a part within another one is taken out of it, so that the sum is what has passed."""

    def __init__(self, spent_s: dict[str, float] | None = None):
        self.spent_s: dict[str, float] = {} if spent_s is None else spent_s
        self._inside: list[float] = []      # of each part that is under way, the seconds of the parts within it

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count the ``with`` block."""
        self._inside.append(0.0)
        start = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - start
            self.spent_s[part] = self.spent_s.get(part, 0.0) + took - self._inside.pop()
            if self._inside:
                self._inside[-1] += took
