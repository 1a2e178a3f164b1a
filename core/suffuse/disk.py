"""What it takes for a file to be there whole or not at all, even after a loss of power, and to be known again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

__all__ = ["facts", "flush", "flush_all", "sha256"]

_FEW = 16
"""Files that are flushed one by one, some 3 ms each; where they are more, one call flushes all that there is."""


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_all(paths: Collection[Path]) -> None:
    """`flush` of each, by one call where they are many."""
    if len(paths) > _FEW and hasattr(os, "sync"):
        os.sync()
        return
    for path in paths:
        flush(path)


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def facts(path: Path) -> Mapping[str, Any]:
    """What a manifest says of a file: its size and SHA-256."""
    return {"size": path.stat().st_size, "sha256": sha256(path)}
