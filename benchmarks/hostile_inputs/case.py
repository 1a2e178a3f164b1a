"""What one bad input is, and the harm by which it is known that it ran."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

__all__ = ["ACT", "CANARY", "Case"]

CANARY = "canary"
"""A file that hostile code would make where it is met."""

Write: TypeAlias = Callable[[Path], object]
Meet: TypeAlias = Callable[[Path], int | None]
ACT = f"touch {CANARY}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One bad input.

    Args:
        kind: its class.
        write: puts it, and good ones beside it, into a folder.
        meet: what a user would call; returns how many items of data were used.
        item: of the list of bad inputs that were once tried; None for a later one.
        says: what must be in the line that refuses it, or tells that it is left out.
        good: how many good items lie beside it.
        sound: it is odd, and may be used nevertheless.
        needs: a package that its modality needs.
    """

    kind: str
    name: str
    write: Write
    meet: Meet
    item: int | None = None
    says: str = "bad"
    good: int = 0
    sound: bool = False
    needs: str = ""
