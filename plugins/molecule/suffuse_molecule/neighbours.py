"""The nearest molecules of a large set, by Tanimoto similarity of Morgan fingerprints; exact, in blocks of products."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from suffuse_molecule.descriptors import BITS

__all__ = ["Nearest", "nearest", "tanimoto", "unpack"]

_MOST, _BLOCK = 10_000, 2048
"""Molecules of either side that are compared at once: 80 MB."""


class Nearest(NamedTuple):
    """For each molecule the place of the most similar one of the set, and how similar it is, ``[N]``."""

    places: NDArray[np.int64]
    similarities: NDArray[np.float64]


def nearest(
    prints: NDArray[np.uint8], known: NDArray[np.uint8], progress: Callable[[int], None] | None = None
) -> Nearest:
    """Search the whole set.

    Args:
        prints: packed fingerprints ``[N, BITS / 8]``.
        known: those of the set, ``[M, BITS / 8]``.
        progress: told how many comparisons were made.
    """
    parts = [_search(prints[at : at + _MOST], known, at, progress) for at in range(0, len(prints), _MOST)]
    places, similarities = zip(*parts, strict=True) if parts else ([np.zeros(0, np.int64)], [np.zeros(0)])
    return Nearest(np.concatenate(places), np.concatenate(similarities).round(4))


def _search(
    prints: NDArray[np.uint8], known: NDArray[np.uint8], before: int, progress: Callable[[int], None] | None
) -> Nearest:
    mine = unpack(prints)
    best = np.full(len(mine), -1.0)
    places = np.zeros(len(mine), np.int64)
    for start in range(0, len(known), _BLOCK):
        theirs = unpack(known[start : start + _BLOCK])
        similarity = tanimoto(mine, theirs)
        where = similarity.argmax(1)
        found = similarity[np.arange(len(mine)), where]
        better = found > best
        best[better], places[better] = found[better], start + where[better]
        if progress is not None:
            progress(before * len(known) + len(mine) * (start + len(theirs)))
    return Nearest(places, best)


def tanimoto(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The bits of both over the bits of either, of all pairs of rows: ``[N, bits], [M, bits] -> [N, M]``."""
    a, b = one.astype(np.float32), other.astype(np.float32)
    both = a @ b.T
    either = a.sum(1)[:, None] + b.sum(1) - both
    return np.asarray(np.divide(both, either, out=np.ones_like(both), where=either > 0))


def unpack(prints: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Packed fingerprints as bits ``[N, BITS]``."""
    return np.unpackbits(prints.reshape(-1, BITS // 8), axis=1)
