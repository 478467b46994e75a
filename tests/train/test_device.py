"""What a training asks of the machine."""

from __future__ import annotations

import ctypes
import sys

import pytest
import torch

from ectype.train.device import memory_kept


def faults_of(steps: int) -> int:
    """Pages that the system had to give for tensors of 64 MiB, freed in turn."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's allocator alone is told")
def test_freed_memory_is_kept_for_the_next_step_and_given_back_after_training():
    with memory_kept():
        faults_of(20)
        kept = faults_of(5)
    assert kept < 100 < faults_of(5)
