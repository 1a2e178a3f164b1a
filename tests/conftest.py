"""What all tests share: one thread, because every tensor here is small and threads only get into each other's way."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
