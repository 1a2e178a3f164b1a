"""How samples lie in memory: what belongs to one sample, and which elements are real.

Everything that depends on padding is here, so that nothing else has to think of it: a mean over padding, or
noise on it, is the classic defect of models of sets and graphs.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Dense", "Layout", "Masked", "expand"]


def expand(value: Tensor, like: Tensor) -> Tensor:
    """Append axes to a value per sample ``[B]`` or per element ``[B, N]`` until it broadcasts against ``like``."""
    return value.reshape(value.shape + (1,) * (like.ndim - value.ndim))


@dataclass(frozen=True)
class Layout:
    """The arrangement of one field: which axes belong to a sample, and which of its entries count."""

    def mask(self, value: Tensor, mask: Tensor | None) -> Tensor | None:
        """``mask`` of elements ``[B, N]`` spread over the field ``[B, ...]``; None where all entries count."""
        raise NotImplementedError

    def clean(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """``value`` with its padding at zero."""
        real = self.mask(value, mask)
        return value if real is None else value.masked_fill(~real, 0)  # a product would keep NaN and infinity

    def mean(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """The mean over the real entries of each sample, ``[B, ...] -> [B]``."""
        real = self.mask(value, mask)
        if real is None:
            return value.flatten(1).mean(1)
        count = real.expand_as(value).flatten(1).sum(1).clamp_min(1)
        return value.masked_fill(~real, 0).flatten(1).sum(1) / count


@dataclass(frozen=True)
class Dense(Layout):
    """Every sample has the same shape and every entry counts: images, clips of one length."""

    def mask(self, value: Tensor, mask: Tensor | None) -> None:
        return None


@dataclass(frozen=True)
class Masked(Layout):
    """Padded samples. Along the first ``rank`` axes after the batch only elements under the mask count.

    Args:
        rank: 1 for a field per element (``[B, N, ...]``), 2 for a field per pair (``[B, N, N, ...]``).
    """

    rank: int = 1

    def mask(self, value: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            raise ValueError("a masked field needs the mask of its state")
        for _ in range(self.rank - 1):
            mask = mask.unsqueeze(-1) & mask.unsqueeze(-2)
        return expand(mask, value)
