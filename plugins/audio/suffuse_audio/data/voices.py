"""Clips that each come with another clip of the same voice, from which a network learns to speak in a voice it hears.

Which other clip it is belongs to the draw: in training it is as random as the turn of the sign, a function of the seed
and of the position in the stream; elsewhere it is always the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from suffuse.data import Batch, Item, Split
from suffuse.errors import ConfigError
from suffuse_audio.clips import Clip
from suffuse_audio.data.reference import Reference

__all__ = ["REFERENCE", "Voices"]

REFERENCE = "reference"
"""The condition."""


class Voices(Split):
    """The items of a split with the condition ``reference``.

    Args:
        split: of clips.
        voices: whose each of them is; None where it is not known. These, and whoever has one clip only, have no
            reference.
        kind: of the condition.

    Raises:
        ConfigError: the split has a condition of that name already.
    """

    def __init__(self, split: Split, voices: Sequence[str | None], kind: Reference) -> None:
        if REFERENCE in split.conditions:
            raise ConfigError(f"data.reference: there is a column {REFERENCE!r} already; leave it out of data.classes")
        self.conditions = {**split.conditions, REFERENCE: kind}
        self._split, self._kind, self._voices = split, kind, list(voices)
        self._mates: dict[str, NDArray[np.int64]] = {
            voice: np.flatnonzero([other == voice for other in voices]) for voice in {*voices} if voice
        }

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> Item:
        item = self._split[index]
        reference = self._other(index, _fixed(index))
        return item if reference is None else Item(item.value, {**item.condition, REFERENCE: reference})

    def sizes(self) -> Sequence[int] | NDArray[np.integer] | None:
        return self._split.sizes()

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        return self._split.augment(item, rng)

    def gather(self, indices: Sequence[int], rngs: Sequence[np.random.Generator] | None = None) -> Batch:
        chosen = [int(index) for index in indices]
        # Generators that are kept, so that the draw of the reference comes after those of the clip.
        draws = None if rngs is None else list(rngs)
        batch = self._split.gather(chosen, draws)
        references = [self._other(index, rng) for index, rng in zip(chosen, draws or map(_fixed, chosen), strict=True)]
        return Batch(batch.values, {**batch.conditions, REFERENCE: self._kind.collate(references)})

    @property
    def alone(self) -> int:
        """How many have no reference."""
        return sum(voice is None or len(self._mates.get(voice, ())) < 2 for voice in self._voices)

    def _other(self, index: int, rng: np.random.Generator) -> Clip | None:
        """Another clip of the voice of the one at ``index``."""
        mates = self._mates.get(self._voices[index] or "", ())
        if len(mates) < 2:
            return None
        place = int(rng.integers(len(mates) - 1))
        # Those after the clip itself move up by one, which leaves it out.
        clip: Clip = self._split[int(mates[place + int(mates[place] >= index)])].value
        return clip


def _fixed(index: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=index))
