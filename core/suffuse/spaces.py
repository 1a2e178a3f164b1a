"""Which values a field may take. A space owns projection and dimension, never the corruption."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Euclidean", "Space"]


@dataclass(frozen=True)
class Space:
    """A set of values. Each kind of process says which kind of space it can corrupt."""


@dataclass(frozen=True)
class Euclidean(Space):
    """All real numbers: pixels, samples of a waveform, lattice parameters."""
