"""What was asked of a sample, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from suffuse.conditions import ClassLabel, Condition

__all__ = ["captions"]


def captions(conditions: Mapping[str, Condition], asked: Mapping[str, Sequence[Any]], count: int) -> list[str]:
    """A short text for each sample; empty where nothing was asked."""
    return [
        ", ".join(filter(None, (_word(kind, asked[name][i], name) for name, kind in conditions.items())))
        for i in range(count)
    ]


def _word(kind: Condition, value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(kind, ClassLabel):
        return kind.names[int(value)]
    return f"{name} {value:g}" if isinstance(value, float) else name
