"""Random numbers that belong to a place, not to a moment.

Whatever suffuse draws is a function of a key (the run's seed and what the number is for) and of a row (a sample's
index, or a position in the stream of training data), never of what was drawn before. So a run can be cut into
shards or batches of any size, resumed anywhere, or spread over processes, and every sample keeps its noise; no
generator state is ever saved.

The generator is Philox 4x64 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") from numpy: counter
based, so the words of any row are reached by a jump. Normals come from the Box-Muller transform because it uses a
fixed number of words for each value, which a rejection method does not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Draws", "generator", "key", "normal", "order", "uniform", "uniform64"]

_BLOCK = 4  # 64-bit words of Philox; rows start at a block
_JUMP = 2000  # words that are drawn in the time of a jump; shorter gaps between rows are drawn and dropped


def key(seed: int, *purpose: str | int) -> int:
    """128 bits for one purpose of one seed: ``key(0, "prior", "pixels")``."""
    text = repr((int(seed), *purpose)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def generator(key: int, row: int = 0) -> np.random.Generator:
    """A numpy generator of its own for one row, for draws whose number is not known beforehand."""
    return np.random.Generator(np.random.Philox(key=key, counter=row << 128))


def normal(key: int, rows: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Standard normal numbers, float32 on the CPU, ``[len(rows), *shape]``; each row depends on its number alone."""

    def transform(raw: NDArray[np.uint64]) -> NDArray[np.float32]:
        words = raw.view(np.uint32)
        half = words.shape[-1] // 2
        radius = _open_unit(words[..., :half])
        np.log(radius, out=radius)
        radius *= np.float32(-2)
        np.sqrt(radius, out=radius)
        angle = _open_unit(words[..., half:])
        angle *= np.float32(2 * math.pi)
        made = np.empty(words.shape, np.float32)
        np.multiply(radius, np.cos(angle), out=made[..., :half])
        np.multiply(radius, np.sin(angle), out=made[..., half:])
        return made

    return _rows(key, rows, shape, transform, 2)


def uniform(key: int, rows: Sequence[int], shape: Sequence[int] = ()) -> Tensor:
    """Uniform numbers in (0, 1], float32 on the CPU, ``[len(rows), *shape]``; each row depends on its number alone."""
    return _rows(key, rows, shape, lambda raw: _open_unit(raw.view(np.uint32)), 2)


def uniform64(key: int, rows: Sequence[int], shape: Sequence[int] = ()) -> Tensor:
    """As `uniform`, but float64 with all its 53 bits, so that a class of probability 1e-8 keeps its share."""
    return _rows(key, rows, shape, lambda raw: ((raw >> np.uint64(11)) + np.float64(1)) * np.float64(2**-53), 1)


@dataclass(frozen=True)
class Draws:
    """Keyed random numbers of some rows, for fields by name.

    Args:
        seed: of the run.
        purpose: what they are for.
        rows: sample indices, or positions in the stream of training data.
        step: where there are several draws for one purpose.
    """

    seed: int
    purpose: str
    rows: Sequence[int]
    step: int = 0

    def normal(self, field: str, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers, float32 on the CPU, for a field of ``shape`` ``[B, ...]``."""
        return normal(self._key(field, shape), self.rows, shape[1:])

    def uniform(self, field: str, shape: Sequence[int]) -> Tensor:
        """Uniform numbers in (0, 1], float64 on the CPU, for a field of ``shape`` ``[B, ...]``."""
        return uniform64(self._key(field, shape), self.rows, shape[1:])

    def _key(self, field: str, shape: Sequence[int]) -> int:
        if shape[0] != len(self.rows):
            raise ValueError(f"{shape[0]} samples asked of seeds for {len(self.rows)}")
        return key(self.seed, self.purpose, field, self.step)


def order(key: int, length: int, positions: Sequence[int]) -> NDArray[np.int64]:
    """Indices into data of ``length`` items for places in an endless stream, reshuffled at every pass."""
    if length < 1:
        raise ValueError(f"length is {length}: there is nothing to put in order")
    places = np.asarray(positions, dtype=np.int64)
    passes, offsets = np.divmod(places, length)
    out = np.empty_like(places)
    for number in np.unique(passes):
        chosen = passes == number
        out[chosen] = _permutation(key, length, int(number))[offsets[chosen]]
    return out


@lru_cache(maxsize=4)
def _permutation(key: int, length: int, number: int) -> NDArray[np.integer]:
    # Remembered, because a million items take 20 ms to shuffle, and a batch asks for 128 of them.
    return generator(key, number).permutation(np.arange(length, dtype=np.min_scalar_type(-length)))


def _open_unit(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    unit = words.astype(np.float32)
    unit += np.float32(1)
    unit *= np.float32(2**-32)
    return unit


def _rows(
    key: int,
    rows: Sequence[int],
    shape: Sequence[int],
    transform: Callable[[NDArray[np.uint64]], NDArray[Any]],
    per_word: int,
) -> Tensor:
    """``transform`` gives ``per_word`` numbers for each 64-bit word, row by row."""
    size = math.prod(shape)
    words = -(-size // (per_word * _BLOCK)) * _BLOCK
    if not len(rows) or not size:
        return torch.from_numpy(transform(np.empty((len(rows), 0), np.uint64))).new_empty((len(rows), *shape))
    if isinstance(rows, range) and rows.step == 1:
        raw = _words(key, rows[0], len(rows), words)
    else:
        distinct, places = np.unique(np.asarray(rows, np.int64), return_inverse=True)
        runs = np.split(distinct, np.flatnonzero(np.diff(distinct) > 1 + _JUMP // words) + 1)
        parts = [_words(key, int(run[0]), int(run[-1] - run[0]) + 1, words)[run - run[0]] for run in runs]
        raw = np.concatenate(parts)[places]
    return torch.from_numpy(np.ascontiguousarray(transform(raw)[:, :size])).reshape(len(rows), *shape)


def _words(key: int, first: int, count: int, words: int) -> NDArray[np.uint64]:
    """The random words of consecutive rows, ``[count, words]``."""
    bits = np.random.Philox(key=key, counter=first * (words // _BLOCK))
    return np.asarray(bits.random_raw(count * words).reshape(count, words))
