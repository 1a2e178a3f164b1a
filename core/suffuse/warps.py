"""How the time of one field follows the clock that all fields share.

A warp maps the clock u to the field's own time t, both rising from 0 (data) to 1 (noise), so that one field can be
clean before another, or clean throughout.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.schedules import Schedule

__all__ = ["Frozen", "Identity", "Power", "Shift", "Warp", "Warped"]


class Warp(ABC):
    """A rising map of [0, 1] onto itself. Elementwise on tensors of any shape."""

    @abstractmethod
    def time(self, clock: Tensor) -> Tensor:
        """t(u)."""

    @abstractmethod
    def clock(self, time: Tensor) -> Tensor:
        """The inverse, u(t)."""


@dataclass(frozen=True)
class Identity(Warp):
    """``t = u``."""

    def time(self, clock: Tensor) -> Tensor:
        return clock

    def clock(self, time: Tensor) -> Tensor:
        return time


@dataclass(frozen=True)
class Power(Warp):
    """``t = u^exponent``; above 1 the field is noisy only late, so that sampling settles it early.

    References:
        Vignac et al. 2023, "MiDi".
    """

    exponent: float

    def __post_init__(self) -> None:
        if not 0 < self.exponent < float("inf"):
            raise ConfigError(f"warp.exponent={self.exponent}: must be positive")

    def time(self, clock: Tensor) -> Tensor:
        return clock**self.exponent

    def clock(self, time: Tensor) -> Tensor:
        return time ** (1 / self.exponent)


@dataclass(frozen=True)
class Shift(Warp):
    """``t = f u / (f u + 1 - u)``; a factor above 1 spends more of the clock on noisy levels, for large samples.

    References:
        Esser et al. 2024, "Scaling rectified flow transformers", equation 23.
    """

    factor: float

    def __post_init__(self) -> None:
        if not 0 < self.factor < float("inf"):
            raise ConfigError(f"warp.factor={self.factor}: must be positive")

    def time(self, clock: Tensor) -> Tensor:
        return self.factor * clock / (self.factor * clock + (1 - clock))  # exactly 1 at 1: above it there is no level

    def clock(self, time: Tensor) -> Tensor:
        return time / (time + self.factor * (1 - time))


@dataclass(frozen=True)
class Frozen(Warp):
    """``t = 0``: the field is given and never corrupted; a local condition, such as a mel spectrogram or a low band."""

    def time(self, clock: Tensor) -> Tensor:
        return torch.zeros_like(clock)

    def clock(self, time: Tensor) -> Tensor:
        raise ValueError("a frozen field has no clock")


@dataclass(frozen=True)
class Warped(Schedule):
    """A schedule on the common clock: that of a field behind its warp."""

    schedule: Schedule
    warp: Warp

    def __post_init__(self) -> None:
        object.__setattr__(self, "log_snr_min", self.schedule.log_snr_min)
        object.__setattr__(self, "log_snr_max", self.schedule.log_snr_max)

    def unclamped_log_snr(self, t: Tensor) -> Tensor:
        return self.schedule.unclamped_log_snr(self.warp.time(t))

    def time(self, log_snr: Tensor) -> Tensor:
        return self.warp.clock(self.schedule.time(log_snr))

    def alpha_sigma(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return self.schedule.alpha_sigma(log_snr)
