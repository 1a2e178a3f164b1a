"""What is asked of a sound in numbers, as sound: the partials of a pitch, and the fall of a decay.

Neural source-filter models (Wang, Takaki and Yamagishi 2019) and DDSP (Engel et al. 2020) give a network the
excitation, a plain harmonic signal at the pitch, and leave to it what becomes of it. A number says the same, but from a
number a network neither finds the bin nor keeps the phases of frames together; of a sound it has to take what it needs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["WAVES", "falls", "tones"]

WAVES = 3
"""The waves of `tones`."""
_LEVEL = 0.3
"""The peak of a partial, about that of a sound."""
_TOP = 0.85
"""Of half the rate: partials lie below."""
_NEAR = 1e-6
_QUICKEST = 0.005


def tones(pitch: Tensor, length: int, rate: int) -> Tensor:
    """Three waves from the start of a clip on: sine, cosine, and all sines of a harmonic sound, ``[B] -> [B, 3, T]``.

    Of sine and cosine a partial of any phase can be mixed. Silent where the pitch is too high for the rate.

    Args:
        pitch: MIDI numbers; 69 is 440 Hz.
        length: T, in samples.
        rate: in Hz.
    """
    frequency = 440 * 2 ** ((pitch[:, None] - 69) / 12)
    turns = frequency * torch.arange(length, device=pitch.device) / rate
    # Within half a turn of zero, where the closed form below is exact.
    angle = 2 * math.pi * (turns - turns.round())
    count = (_TOP * rate / 2 / frequency).floor()
    return _LEVEL * torch.stack([angle.sin(), angle.cos(), _harmonics(angle, count)], 1) * (count >= 1)[:, None]


def falls(decay: Tensor, length: int, step: float) -> Tensor:
    """The level of a sound that falls by 60 dB in ``decay`` seconds ``[B]``, at each of so many steps: ``[B, length]``.

    Args:
        decay: in seconds.
        length: number of steps.
        step: in seconds; a level is that of the middle of its step.
    """
    time = (torch.arange(length, device=decay.device) + 0.5) * step
    return torch.exp(-math.log(1000) * time / decay.clamp_min(_QUICKEST)[:, None])


def _harmonics(angle: Tensor, count: Tensor) -> Tensor:
    """``sum_n sin(n angle)`` for n up to ``count``, in closed form."""
    half = angle / 2
    near = half.abs() < _NEAR
    below = torch.where(near, 1.0, half.sin())
    return torch.where(near, 0.0, (count * half).sin() * ((count + 1) * half).sin() / below)
