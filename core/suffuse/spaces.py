"""Which values a field may take. A space owns projection, differences and dimension, never the corruption.

In all methods ``real`` marks the entries that count, broadcastable against the value, and is None where all do; what it
does not mark comes out as zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from suffuse.errors import ConfigError, DataError

__all__ = ["Categorical", "Euclidean", "Space", "Torus", "ZeroCenterOfMass"]


@dataclass(frozen=True)
class Space:
    """A set of values. Each kind of process says which kind of space it can corrupt."""

    def free(self, value: Tensor, real: Tensor | None) -> Tensor | None:
        """The entries that are variables of their own, out of the real ones."""
        return real

    def project(self, value: Tensor, real: Tensor | None) -> Tensor:
        """The nearest point of the space."""
        return self.tangent(value, real)

    def tangent(self, vector: Tensor, real: Tensor | None) -> Tensor:
        """The nearest direction in which a point of the space can move; noise is one."""
        return vector if real is None else vector.masked_fill(~real, 0)  # a product would keep NaN and infinity

    def dimension(self, value: Tensor, real: Tensor | None) -> Tensor:
        """Degrees of freedom of each sample, ``[B]``."""
        every = torch.ones_like(value, dtype=torch.bool) if real is None else real.expand_as(value)
        return every.flatten(1).sum(1)


@dataclass(frozen=True)
class Euclidean(Space):
    """All real numbers: pixels, samples of a waveform, lattice parameters."""


@dataclass(frozen=True)
class ZeroCenterOfMass(Space):
    """Point clouds ``[B, N, d]`` up to translation: the mean over the elements of a sample is zero.

    The corruption needs no change (noise, signal and means stay in the subspace), only the number of degrees of
    freedom does: (N - 1) d.

    References:
        Köhler et al. 2020, "Equivariant flows"; Xu et al. 2022, "GeoDiff".
    """

    def tangent(self, vector: Tensor, real: Tensor | None) -> Tensor:
        if real is None:
            return vector - vector.mean(1, keepdim=True)
        vector = vector.masked_fill(~real, 0)
        center = vector.sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp_min(1)
        return (vector - center).masked_fill(~real, 0)

    def dimension(self, value: Tensor, real: Tensor | None) -> Tensor:
        return super().dimension(value, real) - value.shape[2:].numel()


@dataclass(frozen=True)
class Torus(Space):
    """Numbers that come round again, such as fractional coordinates and angles.

    Args:
        period: after which they do.
    """

    period: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.period < float("inf"):
            raise ConfigError(f"Torus: the period must be positive, not {self.period}")

    def project(self, value: Tensor, real: Tensor | None) -> Tensor:
        wrapped = torch.remainder(value, self.period)
        wrapped = torch.where(wrapped >= self.period, 0, wrapped)  # rounding of a tiny negative value
        return wrapped if real is None else wrapped.masked_fill(~real, 0)

    def difference(self, end: Tensor, start: Tensor) -> Tensor:
        """The shortest vector from ``start`` to ``end``, each component in [-period/2, period/2]."""
        apart = end - start
        return apart - self.period * torch.round(apart / self.period)


@dataclass(frozen=True)
class Categorical(Space):
    """One of K classes, as whole numbers from 0 on.

    Networks see ``tokens`` = K + 1 values, of which the last, K, is the mask of an absorbing process. With symmetry a
    field of pairs ``[B, N, N]`` is an undirected graph: the two halves are equal, and the diagonal, like padding, stays
    at class 0.

    Args:
        num_classes: K.
        symmetric: whether the entry (i, j) is the entry (j, i).
    """

    num_classes: int
    symmetric: bool = False

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ConfigError(f"Categorical: at least two classes are needed, not {self.num_classes}")

    @property
    def tokens(self) -> int:
        """How many values a noisy entry can have."""
        return self.num_classes + 1

    def free(self, value: Tensor, real: Tensor | None) -> Tensor | None:
        if not self.symmetric:
            return real
        pairs = ~torch.eye(value.shape[1], dtype=torch.bool, device=value.device)
        pairs = pairs.reshape(1, *pairs.shape, *(1,) * (value.ndim - 3))
        return pairs if real is None else real & pairs

    def tangent(self, vector: Tensor, real: Tensor | None) -> Tensor:
        if self.symmetric:
            upper = torch.ones(vector.shape[1:3], dtype=torch.bool, device=vector.device).triu(1)
            upper = upper.reshape(1, *upper.shape, *(1,) * (vector.ndim - 3))
            vector = torch.where(upper, vector, vector.transpose(1, 2))
        free = self.free(vector, real)
        return vector if free is None else vector.masked_fill(~free, 0)

    def dimension(self, value: Tensor, real: Tensor | None) -> Tensor:
        """Entries that are drawn: of a symmetric field, one half."""
        free = self.free(value, real)
        return super().dimension(value, free) // (2 if self.symmetric else 1)

    def check(self, value: Tensor, name: str) -> None:
        """
        Raises:
            DataError: a class outside 0 to K - 1, or classes that are not int64.
        """
        if value.dtype != torch.int64:
            raise DataError(f"data: the field {name} holds classes, which are int64, not {value.dtype}")
        low, high = (int(part) for part in torch.aminmax(value)) if value.numel() else (0, 0)
        if low < 0 or high >= self.num_classes:
            outside = low if low < 0 else high
            raise DataError(
                f"data: the field {name} has the class {outside}, which lies outside 0 to {self.num_classes - 1}"
            )
