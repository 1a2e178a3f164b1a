"""Another sample rate, in parts that fit together without a seam."""

from __future__ import annotations

import math
import threading
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from suffuse_audio.pair import load_torchaudio

__all__ = ["Ratio", "Resampler"]

_LARGEST_TERM = 480
"""Of a ratio of rates, since a kernel grows with it: 17959 to 16000 Hz exactly would cost seconds for each clip. Rates
in use have exact ratios below this; at odd ones the pitch is off by less than two cents."""
_WIDTH, _ROLLOFF = 16, 0.97


class Ratio:
    """Two rates, as ``up`` samples for every ``down``.

    Args:
        source: samples in a second.
        target: the same, wanted.
    """

    def __init__(self, source: int, target: int) -> None:
        low, high = sorted((source, target))
        ratio = Fraction(low, high).limit_denominator(_LARGEST_TERM) or Fraction(1, _LARGEST_TERM)
        self.up, self.down = (
            (ratio.numerator, ratio.denominator) if source > target else (ratio.denominator, ratio.numerator)
        )
        reach = math.ceil(_WIDTH * self.down / (min(self.up, self.down) * _ROLLOFF))
        self.margin = 0 if self.up == self.down else (reach // self.down + 1) * self.down
        """Source samples on each side that a part needs; a multiple of ``down``."""

    def length(self, frames: int) -> int:
        """How many samples come of so many."""
        return -(-frames * self.up // self.down)

    def span(self, start: int, count: int) -> tuple[int, int, int]:
        """What a part of the result needs of the source: first sample, end, and how many results come before it."""
        block = start // self.up
        first = max(block * self.down - self.margin, 0)
        end = -(-(start + count) * self.down // self.up) + self.margin
        return first, end, start - first // self.down * self.up


class Resampler:
    """Converts to one rate. The kernel for each source rate is made once; safe in threads.

    Args:
        rate: samples in a second that are wanted.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._lock = threading.Lock()
        self._kernels: dict[tuple[int, int], Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"rate": self.rate}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.rate = state["rate"]
        self._lock, self._kernels = threading.Lock(), {}

    def __call__(self, samples: NDArray[np.float32], ratio: Ratio) -> NDArray[np.float32]:
        """``[C, T]`` at the wanted rate."""
        if ratio.up == ratio.down:
            return samples
        with self._lock:
            kernel = self._kernels.get((ratio.up, ratio.down))
            if kernel is None:
                torchaudio = load_torchaudio("Resampling")
                kernel = torchaudio.transforms.Resample(
                    ratio.down, ratio.up, lowpass_filter_width=_WIDTH, rolloff=_ROLLOFF
                )
                self._kernels[ratio.up, ratio.down] = kernel
        with torch.no_grad():
            result: NDArray[np.float32] = kernel(torch.from_numpy(np.ascontiguousarray(samples))).numpy()
        return result
