"""Seeds belong to samples: sample i of a run is a function of (seed, i), whatever it is computed beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from suffuse import noise

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

    def normal(self, purpose: str, field: str, step: int, shape: Sequence[int]) -> Tensor:
        """Standard normal noise ``[B, ...]`` for one field at one step, where ``shape`` has the batch first."""
        if shape[0] != len(self.indices):
            raise ValueError(f"{shape[0]} samples asked of seeds for {len(self.indices)}")
        return noise.normal(noise.key(self.seed, purpose, field, step), self.indices, shape[1:])
