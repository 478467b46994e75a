"""What all tests share: one thread, so that arithmetic is the same everywhere, and a generator that no test inherits from another."""

import pytest
import torch

from ectype import rng


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _generator_of_its_own():
    """Each test starts from the same state of torch's global generator, and leaves it as it was."""
    with rng.preserved():
        rng.reseed("a test")
        yield
