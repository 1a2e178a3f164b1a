"""Sounds as they are: the samples of the waveform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from suffuse.fitting import Range
from suffuse_audio.data.splits import LevelName
from suffuse_audio.decoders.sound import LOUD, SoundDecoder
from suffuse_audio.wav import Subtype

__all__ = ["Waveform"]


class Waveform(SoundDecoder):
    """Clips as the field ``waveform`` ``[C, T]``, multiplied by 5.

    Args:
        rate: of the clips, in Hz.
        level: of the clips that were trained on: ``none``, ``peak`` or ``rms``.
        subtype: of the samples of saved files: ``pcm16``, ``pcm24`` or ``float``.
    """

    field = "waveform"

    def __init__(
        self, *, rate: Annotated[int, Range(least=1)] = 8000, level: LevelName = "none", subtype: Subtype = "pcm16"
    ) -> None:
        super().__init__(rate=rate, level=level, subtype=subtype)

    def analyse(self, samples: Tensor) -> Tensor:
        return samples * (0.5 / LOUD)

    def synthesise(self, values: Tensor) -> Tensor:
        return values * (LOUD / 0.5)

    def extent(self, shape: Sequence[int]) -> tuple[int, int]:
        return shape[0], shape[1]

    def touched(self, marks: Tensor, shape: Sequence[int]) -> Tensor:
        return marks.expand(tuple(shape)).contiguous()
