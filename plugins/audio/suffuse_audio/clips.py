"""The value that all of this plugin hands around: some samples of sound, and how many of them make a second."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Clip", "Given"]


@dataclass(frozen=True, eq=False)
class Clip:
    """A piece of sound.

    Args:
        samples: float32 ``[C, T]``, in about [-1, 1].
        rate: samples in a second.
        valid: how many of the T are sound; what comes after is silence that fills the clip up to a set length.
            None where all are.
        limiter: what was done to keep it within full scale, for its record; empty where nothing was.
    """

    samples: Tensor
    rate: int
    valid: int | None = None
    limiter: str = ""

    @property
    def seconds(self) -> float:
        """The duration, padding included."""
        return self.samples.shape[-1] / self.rate

    @property
    def length(self) -> int:
        """Samples of each channel that are not padding."""
        return self.samples.shape[-1] if self.valid is None else self.valid

    @property
    def sound(self) -> Tensor:
        """``[C, length]``: the samples without the padding."""
        return self.samples[..., : self.length]


@dataclass(frozen=True, eq=False, kw_only=True)
class Given(Clip):
    """A sound of a user's, made fit for a network: its samples have the level that networks know, and no offset.

    Args:
        original: the samples ``[C, T]`` as they are in the file.
        gain, offset: ``samples = (original - offset) gain``; the offset, ``[C, 1]``, is of no sound but of bad
            equipment.
    """

    original: Tensor
    gain: float
    offset: Tensor

    def like(self, made: Tensor) -> Tensor:
        """Made samples at the level of the file; of what was made beyond its T samples, nothing."""
        return made[..., : self.original.shape[-1]] / self.gain + self.offset
