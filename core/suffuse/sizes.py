"""How many elements samples have, where that varies: atoms of a molecule, points of a cloud, letters of a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from suffuse import noise
from suffuse.errors import ConfigError

__all__ = ["Sizes"]


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

    def draw(self, seed: int, indices: Sequence[int], least: int = 1, most: int | None = None) -> list[int]:
        """The size of each sample of a run, as often as in the data, within bounds.

        Raises:
            ConfigError: the training data had no sample of such a size.
        """
        known = [size for size in self.counts if size >= least and (most is None or size <= most)]
        if not known:
            asked = f"{least}" if most == least else f"{least} to {'any' if most is None else most}"
            raise ConfigError(f"size={asked}: the training data had {min(self.counts)} to {max(self.counts)} elements")
        shares = np.cumsum([self.counts[size] for size in known], dtype=np.float64)
        numbers = noise.uniform64(noise.key(seed, "size"), indices).numpy()
        places = np.searchsorted(shares, numbers * shares[-1])
        return [known[min(int(place), len(known) - 1)] for place in places]

    def to_json(self) -> dict[str, int]:
        """Plain data that `from_json` reads back."""
        return {str(size): count for size, count in self.counts.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, int]) -> Sizes:
        """The inverse of `to_json`."""
        return cls({int(size): int(count) for size, count in data.items()})
