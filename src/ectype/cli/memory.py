"""What the command line asks of the C library, whose process it has for itself."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4           # names of glibc's settings, malloc.h
MOST = 2**31 - 1


def keep_freed_memory() -> None:
    """Freed memory stays with the process, where glibc would give every large tensor back to the system.

    A page that the system gives again it first clears: with kernels of 33 MiB, twenty thousand pages in each step, a twentieth of its time.
    It holds for the whole process and cannot be undone, so only a command does it, and no function of the library.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(MMAP_MAX, 0)
        libc.mallopt(TRIM_THRESHOLD, MOST)
