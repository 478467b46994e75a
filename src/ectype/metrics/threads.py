"""One thread for what is measured here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from joblib.parallel import parallel_config
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Run BLAS, OpenMP, torch and joblib on one thread inside, and as they were afterwards.

    The networks, trees and matrices of the metrics are small, so a second thread gains little. It can cost much: OpenMP threads
    wait by spinning, and where another process has their core, seconds become minutes. And a sum is then the same whatever the
    number of cores. A cluster that a user configured for whole fits (``joblib.parallel_config``) would otherwise be asked to bin
    columns for the trees.
    """
    before = torch.get_num_threads()
    with threadpool_limits(limits=1), parallel_config("sequential", n_jobs=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
