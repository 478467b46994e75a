"""One thread for what is measured here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Run BLAS, OpenMP and torch on one thread inside, and as they were afterwards.

    The networks, trees and matrices of the metrics are small, so a second thread gains little. It can cost much: OpenMP threads
    wait by spinning, and where another process has their core, seconds become minutes. And a sum is then the same whatever the
    number of cores.
    """
    before = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
