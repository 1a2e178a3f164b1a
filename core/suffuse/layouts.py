"""How samples lie in memory: what belongs to one sample, and which elements are real.

Everything that depends on padding is here, so that nothing else has to think of it: a mean over padding, or
noise on it, is the classic defect of models of sets and graphs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Dense", "Filled", "Layout", "Masked", "expand", "owners"]


def expand(value: Tensor, like: Tensor) -> Tensor:
    """Append axes to a value per sample ``[B]`` or per element ``[B, N]`` until it broadcasts against ``like``."""
    return value.reshape(value.shape + (1,) * (like.ndim - value.ndim))


def owners(mask: Tensor) -> Tensor:
    """The sample that each packed element belongs to, ``[B, N] -> [E]``: the ``batch`` vector of torch-geometric."""
    return mask.nonzero()[:, 0]


@dataclass(frozen=True)
class Layout(ABC):
    """The arrangement of one field: which axes belong to a sample, and which of its entries count."""

    @property
    @abstractmethod
    def rank(self) -> int:
        """How many axes after the batch vary in length from sample to sample."""

    @abstractmethod
    def mask(self, value: Tensor, mask: Tensor | None) -> Tensor | None:
        """``mask`` of elements ``[B, N]`` spread over the field ``[B, ...]``; None where all entries count."""

    def counts(self, value: Tensor, mask: Tensor | None) -> Tensor | None:
        """Which entries a mean, and so the loss, is taken over; None for all. Those under `mask` by default."""
        return self.mask(value, mask)

    @abstractmethod
    def to_packed(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """The real elements (or pairs) of all samples one after another, ``[B, N, ...] -> [E, ...]``, for backbones
        that want them concatenated; `owners` tells whose they are."""

    @abstractmethod
    def from_packed(self, packed: Tensor, mask: Tensor | None, like: Tensor) -> Tensor:
        """The inverse of `to_packed`, with zeros as padding; batch and elements are those of ``like``."""


@dataclass(frozen=True)
class Dense(Layout):
    """Every sample has the same shape and every entry counts: images, clips of one length."""

    @property
    def rank(self) -> int:
        return 0

    def mask(self, value: Tensor, mask: Tensor | None) -> None:
        return None

    def to_packed(self, value: Tensor, mask: Tensor | None) -> Tensor:
        return value.flatten(0, 1)

    def from_packed(self, packed: Tensor, mask: Tensor | None, like: Tensor) -> Tensor:
        return packed.reshape(*like.shape[:2], *packed.shape[1:])


@dataclass(frozen=True)
class Filled(Dense):
    """Samples of one shape, some of which end sooner and are filled up to it: clips of sound that end in silence.

    All of a sample is noisy and all of it is made, but nothing is learned of what only fills it up: the state's mask,
    of elements along the last axis, says what counts. Without one all does.
    """

    def counts(self, value: Tensor, mask: Tensor | None) -> Tensor | None:
        return None if mask is None else mask.reshape(len(mask), *(1,) * (value.ndim - 2), -1)


@dataclass(frozen=True)
class Masked(Layout):
    """Padded samples. Along the first ``rank`` axes after the batch only elements under the mask count.

    Args:
        rank: 1 for a field per element (``[B, N, ...]``), 2 for a field per pair (``[B, N, N, ...]``).
    """

    rank: int = 1

    def mask(self, value: Tensor, mask: Tensor | None) -> Tensor:
        return expand(self._real(mask), value)

    def to_packed(self, value: Tensor, mask: Tensor | None) -> Tensor:
        return value[self._real(mask)]

    def from_packed(self, packed: Tensor, mask: Tensor | None, like: Tensor) -> Tensor:
        padded = packed.new_zeros((*like.shape[: self.rank + 1], *packed.shape[1:]))
        padded[self._real(mask)] = packed
        return padded

    def _real(self, mask: Tensor | None) -> Tensor:
        if mask is None:
            raise ValueError("a masked field needs the mask of its state")
        for _ in range(self.rank - 1):
            mask = mask.unsqueeze(-1) & mask.unsqueeze(-2)
        return mask
