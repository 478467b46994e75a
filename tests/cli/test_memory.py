"""What a command asks of the C library."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from ectype.cli.memory import keep_freed_memory

def faults(n):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults(5)
keep_freed_memory()
faults(20)
print(usual, faults(5))
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's allocator alone is told")
def test_freed_memory_is_kept_for_the_next_tensor():
    done = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True)
    usual, kept = map(int, done.stdout.split())
    assert kept < 100 < usual


def test_memory_is_kept_by_fit_and_sample_of_a_process_alone(monkeypatch):
    from ectype import cli

    asked = []
    monkeypatch.setattr(cli, "keep_freed_memory", lambda: asked.append(1))
    assert cli.main(["fit", "--help"]) == 0 and not asked
    for argv, n in ((["ectype", "compare", "--help"], 0), (["ectype", "fit", "--help"], 1), (["ectype", "sample", "--help"], 2)):
        monkeypatch.setattr(sys, "argv", argv)
        assert cli.main() == 0 and len(asked) == n
