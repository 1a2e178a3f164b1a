"""Manifests and short views of a source, for the tests of data of any kind."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from suffuse.errors import SuffuseError

__all__ = ["everything", "one_line", "size", "write_csv"]


def write_csv(path: Path, header: list[str], *rows: list[Any]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def everything(source: Any) -> list[Any]:
    return [split[index] for split in (source.train, source.heldout) for index in range(len(split))]


def size(source: Any) -> tuple[int, int]:
    return len(source.train), len(source.heldout)


def one_line(error: pytest.ExceptionInfo[SuffuseError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text
