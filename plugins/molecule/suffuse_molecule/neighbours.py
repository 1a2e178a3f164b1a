"""The nearest molecules of a large set, by Tanimoto similarity of Morgan fingerprints; exact, in blocks of products."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from suffuse_molecule.descriptors import BITS

__all__ = ["Nearest", "nearest", "unpack"]


class Nearest(NamedTuple):
    """For each molecule the place of the most similar one of the set, and how similar it is, ``[N]``."""

    places: NDArray[np.int64]
    similarities: NDArray[np.float64]


def nearest(prints: NDArray[np.uint8], blocks: Iterable[NDArray[np.uint8]]) -> Nearest:
    """Search the whole set.

    Args:
        prints: packed fingerprints ``[N, BITS / 8]``.
        blocks: the set, piece by piece, in the same form.
    """
    mine = unpack(prints).astype(np.float32)
    counts = mine.sum(1)
    best = np.full(len(mine), -1.0, np.float32)
    places = np.zeros(len(mine), np.int64)
    start = 0
    for block in blocks:
        theirs = unpack(block).astype(np.float32)
        both = mine @ theirs.T
        either = counts[:, None] + theirs.sum(1) - both
        similarity = np.divide(both, either, out=np.ones_like(both), where=either > 0)
        where = similarity.argmax(1)
        found = similarity[np.arange(len(mine)), where]
        better = found > best
        best[better], places[better] = found[better], start + where[better]
        start += len(block)
    return Nearest(places, best.round(4).astype(np.float64))


def unpack(prints: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Packed fingerprints as bits ``[N, BITS]``."""
    return np.unpackbits(prints.reshape(-1, BITS // 8), axis=1)
