"""Log-mel spectrograms: cheap to make, and heard through Griffin and Lim's search for the phases."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Annotated, TypeAlias

import torch
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.fitting import Range
from suffuse_audio.data.splits import LevelName
from suffuse_audio.decoders.sound import SoundDecoder
from suffuse_audio.pair import load_torchaudio
from suffuse_audio.wav import Subtype

__all__ = ["Mel"]

Count: TypeAlias = Annotated[int, Range(least=1)]


class Mel(SoundDecoder):
    """Clips as the field ``mel`` ``[C, bands, frames]``, the logarithm of mel magnitudes between -1 and about 1.

    -1 is ``floor`` and all that is softer, 1 is the magnitude of a sine at full scale. A clip of n samples has
    ``ceil(n / hop)`` frames. The way back is not exact: magnitudes are the least-squares solution of the bands, and
    phases those that Griffin-Lim finds.

    Args:
        rate: of the clips, in Hz.
        bands: their number; more need a longer window.
        window: of the Hann window in samples; four times ``hop`` or more, for Griffin-Lim.
        hop: from one frame to the next, in samples.
        floor: the softest magnitude that is told apart, of a sine at full scale.
        iterations: of Griffin-Lim.
        momentum: of its fast form; 0 is the original.
        level: of the clips that were trained on: ``none``, ``peak`` or ``rms``.
        subtype: of the samples of saved files: ``pcm16``, ``pcm24`` or ``float``.

    Raises:
        ConfigError: a setting is out of range.
        PluginError: torchaudio is missing or does not load beside the installed torch.

    References:
        Perraudin et al. 2013, "A fast Griffin-Lim algorithm".
    """

    field = "mel"

    def __init__(
        self,
        *,
        rate: Count = 8000,
        bands: Count = 48,
        window: Count = 256,
        hop: Count = 64,
        floor: Annotated[float, Range(above=0, below=1)] = 1e-4,
        iterations: Annotated[int, Range(least=0)] = 60,
        momentum: Annotated[float, Range(least=0, below=1)] = 0.99,
        level: LevelName = "none",
        subtype: Subtype = "pcm16",
    ) -> None:
        super().__init__(rate=rate, level=level, subtype=subtype)
        if window < 4 * hop:
            raise ConfigError(f"decoder.window={window}: must be 4 times decoder.hop={hop} or more")
        self._functional = load_torchaudio("decoder=mel").functional
        self.window = window
        self.hop = hop
        self.floor = floor
        self.iterations = iterations
        self.momentum = momentum
        self._taper = torch.hann_window(window)
        self._gain = float(2 / self._taper.sum())
        with warnings.catch_warnings(action="ignore"):  # of empty bands, which the next lines refuse
            self._filters = self._functional.melscale_fbanks(window // 2 + 1, 0.0, rate / 2, bands, rate)
        if torch.linalg.matrix_rank(self._filters) < bands:
            raise ConfigError(
                f"decoder.bands={bands}: a decoder.window={window} does not tell so many apart; lower the one or raise "
                "the other"
            )
        self._inverse = torch.linalg.pinv(self._filters.double()).float()

    def analyse(self, samples: Tensor) -> Tensor:
        """``[B, C, T] -> [B, C, bands, ceil(T / hop)]``."""
        length = samples.shape[-1]
        count = max(1, -(-length // self.hop))
        padded = torch.nn.functional.pad(samples, (0, count * self.hop - length))
        magnitude = self._functional.spectrogram(
            padded, 0, self._taper, self.window, self.hop, self.window, 1.0, False, pad_mode="constant"
        )
        # The last frame is centred on the end of the clip, and half of it lies outside.
        bands: Tensor = (magnitude[..., :-1] * self._gain).transpose(-1, -2) @ self._filters
        return 1 - 2 * bands.clamp_min(self.floor).log().transpose(-1, -2) / math.log(self.floor)

    def synthesise(self, values: Tensor) -> Tensor:
        """``[B, C, bands, frames] -> [B, C, hop * frames]``; each clip alone, so that none depends on its batch."""
        bands = ((1 - values.transpose(-1, -2)) / 2 * math.log(self.floor)).exp()
        # What lies at the floor is silence.
        bands = torch.where(bands <= self.floor * (1 + 1e-4), 0.0, bands)
        magnitude = (bands @ self._inverse.to(bands.device)).clamp_min(0).transpose(-1, -2) / self._gain
        magnitude = torch.cat([magnitude, magnitude[..., -1:]], -1)
        return torch.stack([self._search(clip) for clip in magnitude])

    def extent(self, shape: Sequence[int]) -> tuple[int, int]:
        return shape[0], shape[2] * self.hop

    def touched(self, marks: Tensor, shape: Sequence[int]) -> Tensor:
        """A frame that overlaps the gap anywhere is unknown as a whole."""
        half = self.window // 2
        padded = torch.nn.functional.pad(marks.float(), (half, self.window))
        frames = padded.unfold(0, self.window, self.hop).bool().any(-1)[: shape[2]]
        return frames.expand(tuple(shape)).contiguous()

    def _search(self, magnitude: Tensor) -> Tensor:
        """``[C, window / 2 + 1, frames + 1] -> [C, hop * frames]``, from random phases that are always the same."""
        length = self.hop * (magnitude.shape[-1] - 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            found: Tensor = self._functional.griffinlim(
                magnitude.cpu(), self._taper, self.window, self.hop, self.window, 1.0, self.iterations, self.momentum,
                length, True,
            )  # fmt: skip
        return found
