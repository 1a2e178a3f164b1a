"""What all tests share: one thread, because every tensor here is small and threads only get into each other's way."""

from __future__ import annotations

import contextlib

import pytest
import torch

with contextlib.suppress(ImportError):
    import setuptools  # noqa: F401 - it refuses to be imported (by inductor) after Python's own distutils (by others)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
