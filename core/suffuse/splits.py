"""The rules by which samples are held out of training, and the checks of settings that every source of data makes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suffuse.errors import ConfigError, suggest

__all__ = ["check_choice", "check_share", "held_out_by_class", "held_out_by_key"]


def check_choice(key: str, value: str, known: Sequence[str]) -> str:
    """``value`` itself.

    Raises:
        ConfigError: it is none of ``known``; the message names ``data.key``.
    """
    if value not in known:
        raise ConfigError(f"data.{key}={value}: allowed are {', '.join(known)}{suggest(str(value), known)}")
    return value


def check_share(share: float) -> float:
    """``share`` itself, the setting ``data.heldout``.

    Raises:
        ConfigError: it is not a share of the data that leaves something to train on.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"data.heldout={share}: a share of the data from 0 to less than 1")
    return share


def held_out_by_key(keys: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Which samples are held out, decided by a hash of each one's own key.

    So a sample stays on its side when others are added or taken away, and samples with one key stay together.
    With two keys or more neither side is empty, unless ``share`` is 0.
    """
    places = {key: _place(key) for key in keys}
    ordered = sorted(places, key=lambda key: (places[key], key))
    count = sum(place < share for place in places.values())
    if share > 0:
        count = max(1, min(count, len(ordered) - 1)) if len(ordered) > 1 else 0
    held = set(ordered[:count])
    return np.array([key in held for key in keys], dtype=bool)


def _place(key: str) -> float:
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def held_out_by_class(labels: NDArray[Any], share: float) -> NDArray[np.bool_]:
    """Which samples are held out: evenly spaced ones of each class, ``floor(share * count)`` of them."""
    exact = Fraction(str(share))
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        held[members] = [int((place + 1) * exact) > int(place * exact) for place in range(len(members))]
    return held
