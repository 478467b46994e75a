"""One thread for torch, so that a test takes the same arithmetic everywhere; nothing is seeded globally, each test seeds its own."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)
