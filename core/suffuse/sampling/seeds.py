"""Seeds belong to samples: sample i of a run is a function of (seed, i), whatever it is computed beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from suffuse.noise import Draws

__all__ = ["Seeds"]


@dataclass(frozen=True)
class Seeds:
    """The keyed noise of some samples of a run.

    Args:
        seed: of the run.
        indices: of the samples in the run; ``range`` where they are consecutive, which is quickest.
    """

    seed: int
    indices: Sequence[int]

    def at(self, purpose: str, step: int = 0) -> Draws:
        """Noise for one purpose at one step, for fields ``[B, ...]`` with a row for each sample."""
        return Draws(self.seed, purpose, self.indices, step)
