"""What a denoiser knows of the clean state: for each field, a statement about x_0 given x_t.

Samplers, guidance and editing see nothing of a network but this. A real-valued field has a `Mean`, a categorical one
`LogProbs`, a periodic one a `Tangent`. Each kind of statement says how two of it combine, so that guidance needs no
case for each kind of field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self, TypeAlias

import torch
from torch import Tensor

__all__ = ["LOG_FLOOR", "LogProbs", "Mean", "Posterior", "Statement", "Tangent"]

LOG_FLOOR = -50.0
"""The least log-probability: guidance between two impossible classes would otherwise be infinity minus infinity."""


@dataclass(frozen=True)
class Statement:
    """One tensor about one field, ``value``, with the batch first."""

    value: Tensor

    def towards(self, other: Self, weight: float) -> Self:
        """``self + weight (other - self)``; weights beyond 1 extrapolate, as guidance does."""
        return type(self)(torch.lerp(self.value, other.value, weight))

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The function applied to every tensor."""
        return type(self)(function(self.value))

    def rows(self, index: slice) -> Self:
        """That of the chosen samples."""
        return self.map(lambda value: value[index])

    def repeat(self, times: int) -> Self:
        """The samples several times over, one round after another."""
        return self.map(lambda value: torch.cat([value] * times))

    @property
    def estimate(self) -> Tensor:
        """The clean value where it is a real number."""
        raise TypeError(f"{type(self).__name__} is no estimate of a number")


class Mean(Statement):
    """E[x_0 | x_t], of the field's own shape."""

    @property
    def estimate(self) -> Tensor:
        return self.value


class LogProbs(Statement):
    """log p(x_0 = k | x_t) over the K clean classes, ``[B, ..., K]``, none below `LOG_FLOOR`."""

    @classmethod
    def of(cls, logits: Tensor) -> LogProbs:
        """Normalised and floored."""
        return cls(torch.log_softmax(logits, -1).clamp_min(LOG_FLOOR))

    def towards(self, other: LogProbs, weight: float) -> LogProbs:
        """Along the straight line of log-probabilities, normalised again."""
        return self.of(torch.lerp(self.value, other.value, weight))


@dataclass(frozen=True)
class Tangent(Statement):
    """The mean displacement from x_t to x_0 on a periodic space, where a mean of x_0 itself means nothing.

    Args:
        value: the vector, at ``point``.
        point: x_t, not wrapped, so that vectors of several points along a walk can be compared.
    """

    point: Tensor

    def towards(self, other: Tangent, weight: float) -> Tangent:
        return Tangent(torch.lerp(self.value, other.value, weight), self.point)

    def map(self, function: Callable[[Tensor], Tensor]) -> Tangent:
        return Tangent(function(self.value), function(self.point))

    @property
    def estimate(self) -> Tensor:
        return self.point + self.value


Posterior: TypeAlias = Mapping[str, Statement]
"""By field name."""
