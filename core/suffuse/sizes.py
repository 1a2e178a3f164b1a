"""How many elements samples have, where that varies: atoms of a molecule, points of a cloud, letters of a text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from suffuse import noise
from suffuse.errors import ConfigError

__all__ = ["Sizes"]

_NARROW = 16
"""The narrowest batch: a narrower one takes hardly less time."""


@dataclass(frozen=True)
class Sizes:
    """How often each size occurs in the training data, ``{size: count}``."""

    counts: Mapping[int, int]

    @classmethod
    def of(cls, sizes: Iterable[int]) -> Sizes:
        """Counted."""
        return cls(dict(sorted(Counter(int(size) for size in sizes).items())))

    @staticmethod
    def room(size: int) -> int:
        """The padded size of a sample: a function of its own size alone, at most an eighth above it.

        Its noise has the shape of its room, so that a sample does not depend on which others it is padded with.
        """
        step = 1 << max(0, size.bit_length() - 4)
        return -(-size // step) * step

    def within(self, least: int = 1, most: int | None = None) -> Sizes:
        """Those within bounds, as often as in the data.

        Raises:
            ConfigError: the training data had no sample of such a size.
        """
        known = {s: count for s, count in self.counts.items() if s >= least and (most is None or s <= most)}
        if not known:
            asked = f"{least}" if most == least else f"{least}..{'' if most is None else most}"
            raise ConfigError(f"size={asked}: the training data had {min(self.counts)} to {max(self.counts)} elements")
        return Sizes(known)

    def draw(self, seed: int, indices: Sequence[int]) -> list[int]:
        """The size of each sample of a run."""
        known = list(self.counts)
        shares = np.cumsum(list(self.counts.values()), dtype=np.float64)
        numbers = noise.uniform64(noise.key(seed, "size"), indices).numpy()
        places = np.searchsorted(shares, numbers * shares[-1])
        return [known[min(int(place), len(known) - 1)] for place in places]

    def width(self, room: int, most: int) -> int:
        """How many samples of a room are computed at once: a power of two, at least as many as there are among twice
        ``most`` samples, or ``most`` itself.

        It depends on neither how many are drawn nor which, so that a sample is the same in every bit whatever it is
        drawn beside; and what is filled up in all rooms together is about one batch.
        """
        count = sum(count for size, count in self.counts.items() if self.room(size) == room)
        share = count / sum(self.counts.values())
        return min(most, max(_NARROW, 1 << max(0, math.ceil(math.log2(2 * most * share)))))

    def to_json(self) -> dict[str, int]:
        """Plain data that `from_json` reads back."""
        return {str(size): count for size, count in self.counts.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, int]) -> Sizes:
        """The inverse of `to_json`."""
        return cls({int(size): int(count) for size, count in data.items()})
