"""What all tests share: one thread, because every tensor here is small and threads only get into each other's way; and
the CPU, where results are equal in every bit, but for those that are marked ``gpu`` (`make gpu`)."""

from __future__ import annotations

import contextlib
import os

import pytest
import torch

with contextlib.suppress(ImportError):
    import setuptools  # noqa: F401 - it refuses to be imported (by inductor) after Python's own distutils (by others)


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
