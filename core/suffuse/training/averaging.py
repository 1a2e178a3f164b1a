"""An exponential moving average of the weights, which samples better than the weights themselves."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

__all__ = ["Average"]

Network = TypeVar("Network", bound=nn.Module)


class Average(Generic[Network]):
    """A second copy of a network that follows the first.

    The share kept at update k is ``min(decay, (1 + k) / (10 + k))``: early weights are forgotten quickly.

    Args:
        model: the network that is trained.
        decay: the share kept at each update once training is under way.
    """

    def __init__(self, model: Network, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = decay
        self.updates = 0
        self._pairs = list(zip(self.model.parameters(), model.parameters(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the trained weights."""
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine, theirs = [list(side) for side in zip(*self._pairs, strict=True)]
        torch._foreach_lerp_(mine, theirs, 1 - keep)
        self.updates += 1
