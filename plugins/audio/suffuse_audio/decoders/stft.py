"""The complex spectrogram with its magnitudes compressed: the representation in which small networks learn fastest.

Richter et al., *Speech Enhancement and Dereverberation with Diffusion-Based Generative Models* (2023), and Zhu et al.,
*EDMSound* (2023), diffuse ``|X|^e exp(i arg X)``: the square root tames the 60 dB between loud and soft parts, phase is
made together with magnitude, and an inverse transform is all that it takes to hear the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias

import torch
from torch import Tensor

from suffuse.conditions import Condition, Scalar
from suffuse.data import Sketch
from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.fitting import Range
from suffuse.state import State
from suffuse_audio.data.splits import LevelName
from suffuse_audio.decoders.framing import framed
from suffuse_audio.decoders.given import Given, Giving, LogMel, LowBand
from suffuse_audio.decoders.sound import LOUD, SoundDecoder
from suffuse_audio.decoders.tone import WAVES, falls, tones
from suffuse_audio.wav import Subtype

__all__ = ["Stft"]

Count: TypeAlias = Annotated[int, Range(least=1)]
_SPREAD = 1.25
"""The standard deviation of noise as loud as a sound. A sound itself, which leaves most of time and frequency empty,
comes to about 0.5, and to that the absolute noise levels of a process are made."""
_FALLING = 0.5
"""The standard deviation of falling levels, roughly."""
_TINY = 1e-12
"""Magnitudes are bent as if none were smaller: the slope of a root has no bound at zero."""


class Stft(SoundDecoder):
    """Clips as the field ``spectrogram`` ``[2 C, window / 2, frames]``: real and imaginary parts of each channel.

    Frames lie ``hop`` apart, the first centred on the middle of the first hop, so that a clip of n samples has
    ``ceil(n / hop)`` of them. Both the lowest bin (0 Hz) and the highest one (half the rate) of a real signal are real;
    the highest takes the place of the imaginary part of the lowest. So nothing is lost, and the number of bins stays a
    power of two if the window is one. The inverse, overlapped and added, is exact up to rounding.

    Args:
        rate: of the clips, in Hz.
        window: of the Hann window in samples; a multiple of ``hop``, twice it at least.
        hop: from one frame to the next, in samples.
        exponent: of the magnitudes; 1 leaves them alone.
        tone: the condition, a pitch as a MIDI number, that the network also sees as the spectrogram of plain waves of
            that pitch; null, or one that the data do not have, shows none.
        fall: the condition, the seconds in which a sound falls by 60 dB, that it also sees as a level that falls.
        given: a second field of what a network may be given: ``mel``, from which it makes sound as a vocoder, ``low``,
            the lower half of the band, to which it makes the upper one, or ``none``.
        level: of the clips that were trained on: ``none``, ``peak`` or ``rms``.
        subtype: of the samples of saved files: ``pcm16``, ``pcm24`` or ``float``.

    Raises:
        ConfigError: a setting is out of range.
        PluginError: torchaudio, which ``given=mel`` needs, is missing or does not load beside the installed torch.
    """

    field = "spectrogram"

    def __init__(
        self,
        *,
        rate: Count = 8000,
        window: Count = 128,
        hop: Count = 64,
        exponent: Annotated[float, Range(above=0, most=1)] = 0.5,
        tone: str | None = None,
        fall: str | None = None,
        given: Given = "none",
        level: LevelName = "none",
        subtype: Subtype = "pcm16",
    ) -> None:
        super().__init__(rate=rate, level=level, subtype=subtype)
        if window % 2 or window % hop or window < 2 * hop:
            raise ConfigError(
                f"decoder.window={window}: must be even, and a multiple of decoder.hop={hop} by 2 or more"
            )
        self.window = window
        self.hop = hop
        self.exponent = exponent
        self.given = given
        self.tone = tone
        self.fall = fall
        self._taper = torch.hann_window(window)
        # A sine at full scale has magnitude 1 before compression.
        self._gain = float(2 / self._taper.sum())
        spread = LOUD * self._gain * float(self._taper.square().sum().sqrt())
        # E |X|^(2 e) of complex Gaussian noise with E |X|^2 = spread^2, half of it in the real part.
        self._level = _SPREAD / math.sqrt(spread ** (2 * exponent) * math.gamma(1 + exponent) / 2)
        self._giving: dict[str, Giving] = {}
        if given == "mel":
            self._giving[given] = LogMel(rate, hop)
        elif given == "low":
            self._giving[given] = LowBand(self.analyse)

    def analyse(self, samples: Tensor) -> Tensor:
        """``[B, C, T] -> [B, 2 C, window / 2, ceil(T / hop)]``."""
        frames = framed(samples, self.window, self.hop) * self._taper.to(samples.device)
        spectrum = torch.fft.rfft(frames) * self._gain
        real, imaginary = spectrum.real[..., :-1], spectrum.imag[..., :-1].clone()
        imaginary[..., 0] = spectrum.real[..., -1]
        parts = self._bend(torch.stack([real, imaginary], -1), self.exponent) * self._level
        return parts.permute(0, 1, 4, 3, 2).flatten(1, 2)

    def synthesise(self, values: Tensor) -> Tensor:
        """``[B, 2 C, window / 2, frames] -> [B, C, hop * frames]``."""
        parts = values.reshape(len(values), -1, 2, *values.shape[2:]).permute(0, 1, 4, 3, 2)
        parts = self._bend(parts / self._level, 1 / self.exponent) / self._gain
        real, imaginary = parts.unbind(-1)
        low = torch.complex(real[..., :1], torch.zeros_like(real[..., :1]))
        high = torch.complex(imaginary[..., :1], torch.zeros_like(real[..., :1]))
        middle = torch.complex(real[..., 1:], imaginary[..., 1:])
        frames = torch.fft.irfft(torch.cat([low, middle, high], -1), self.window)
        taper = self._taper.to(frames.device)
        return self._overlap(frames * taper) / self._overlap(taper.square().expand(1, 1, frames.shape[2], -1))

    def known(self, samples: Tensor) -> dict[str, Tensor]:
        return {name: giving(samples) for name, giving in self._giving.items()}

    def restore(self, made: Tensor, known: Tensor) -> Tensor:
        for giving in self._giving.values():
            made = giving.restore(made, known)
        return made

    def sketches(self, fields: Mapping[str, Field], conditions: Mapping[str, Condition]) -> Mapping[str, Sketch]:
        """The spectrogram of a tone, beside the sound, and the level of a fall at each frame."""
        made, found = fields[self.field], {}
        if self.tone is not None and isinstance(conditions.get(self.tone), Scalar):
            shape = (WAVES * made.shape[0], *made.shape[1:])
            field = Field(shape=shape, scale=made.scale, given=True)
            found["tone"] = Sketch(condition=self.tone, field=field, draw=self._drawn_tone)
        if self.fall is not None and isinstance(conditions.get(self.fall), Scalar):
            field = Field(shape=(1, 1, made.shape[-1]), scale=_FALLING, given=True)
            found["fall"] = Sketch(condition=self.fall, field=field, draw=self._drawn_fall)
        return found

    def _drawn_tone(self, pitch: Tensor, state: State) -> Tensor:
        """The same in all channels of the sound."""
        channels, length = self.extent(state[self.field].shape[1:])
        return self.analyse(tones(pitch, length, self.rate).repeat_interleave(channels, 1))

    def _drawn_fall(self, decay: Tensor, state: State) -> Tensor:
        levels = falls(decay, state[self.field].shape[-1], self.hop / self.rate)
        return levels[:, None, None] ** self.exponent

    def extent(self, shape: Sequence[int]) -> tuple[int, int]:
        return shape[0] // 2, shape[2] * self.hop

    def touched(self, marks: Tensor, shape: Sequence[int]) -> Tensor:
        """A frame that overlaps the gap anywhere is unknown as a whole."""
        frames = framed(marks[None, None].float(), self.window, self.hop).bool().any(-1)[0, 0]
        return frames.expand(tuple(shape)).contiguous()

    def _overlap(self, frames: Tensor) -> Tensor:
        """``[B, C, frames, window] -> [B, C, hop * frames]``: the adjoint of `framed`."""
        batch, channels, count, _ = frames.shape
        total = (count - 1) * self.hop + self.window
        columns = frames.flatten(0, 1).transpose(1, 2)
        signal = torch.nn.functional.fold(columns, (1, total), (1, self.window), stride=(1, self.hop))
        before = (self.window - self.hop) // 2
        return signal.view(batch, channels, total)[..., before : before + count * self.hop]

    def _bend(self, parts: Tensor, exponent: float) -> Tensor:
        """Every magnitude to a power; the lowest bin holds two real numbers, each with a magnitude of its own."""
        power = parts.square().sum(-1, keepdim=True).expand_as(parts).clone()
        power[..., 0, :] = parts[..., 0, :].square()
        return parts * power.clamp_min(_TINY**2) ** ((exponent - 1) / 2)
