"""What the command line asks of the C library, whose process it has for itself."""

from __future__ import annotations

import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4           # names of glibc's settings, malloc.h
MOST = 2**31 - 1


def keep_freed_memory() -> None:
    """Freed memory stays with the process, where glibc would give every large tensor back to the system.

    A page that the system gives again it first clears: with kernels of 33 MiB, twenty thousand pages in each step, a twentieth of its time.
    It holds for the whole process, so only a command does it, and no function of the library; and not one that compares families, since
    what a large one leaves would count as the next one's memory.
    """
    if sys.platform != "linux":
        return
    try:
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
    except (ImportError, OSError, AttributeError):      # another C library, or one that cannot be asked
        return
    mallopt(MMAP_MAX, 0)
    mallopt(TRIM_THRESHOLD, MOST)
