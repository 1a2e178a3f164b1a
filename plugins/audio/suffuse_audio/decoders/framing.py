"""Where frames lie in a clip: all fields of a decoder have theirs at the same places, whatever their windows."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["framed"]


def framed(samples: Tensor, window: int, hop: int) -> Tensor:
    """``[B, C, T] -> [B, C, ceil(T / hop), window]``, with silence around the clip.

    The first frame is centred on the middle of the first hop.
    """
    length = samples.shape[-1]
    count = max(1, -(-length // hop))
    before = (window - hop) // 2
    after = (count - 1) * hop + window - before - length
    return torch.nn.functional.pad(samples, (before, after)).unfold(-1, window, hop)
