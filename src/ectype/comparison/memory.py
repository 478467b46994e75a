"""How much memory a piece of work takes."""

from __future__ import annotations

import math
import os
import platform
import threading
from pathlib import Path


class PeakMemory:
    """Largest resident memory of this process within a ``with`` block, in MiB.

    On Linux a thread reads the resident set every 20 ms, because ``getrusage`` knows only the high-water mark since the process
    began; on macOS that mark is what is reported, and NaN where there is none.
    """

    INTERVAL_S = 0.02

    def __enter__(self) -> PeakMemory:
        self.mib = resident_mib()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(self.INTERVAL_S):
            self.mib = max(self.mib, resident_mib())

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self.mib = max(self.mib, resident_mib())


def resident_mib() -> float:
    """Resident memory of this process in MiB: now on Linux, its high-water mark on macOS, NaN elsewhere."""
    if platform.system() == "Linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    if platform.system() == "Darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return math.nan
