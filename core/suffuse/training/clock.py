"""Which noise levels training visits.

Draws are stratified over the whole batch of a step: sample k of B gets a random point of its own B-th part of the
distribution, which evens the loss out at no cost (Kingma et al. 2021, appendix I.1). They are keyed by step, so a
resumed run, or one spread over processes, visits the same levels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from suffuse import noise
from suffuse.errors import ConfigError
from suffuse.schedules import Schedule

__all__ = ["Clock", "LogNormal", "Uniform", "stratified"]


class Clock(ABC):
    """A distribution over the clock's time."""

    @abstractmethod
    def quantile(self, share: Tensor, schedule: Schedule) -> Tensor:
        """The time in [0, 1] below which ``share`` of the draws lie or, for distributions of the noise level, the
        time of that quantile; in float64."""


@dataclass(frozen=True)
class Uniform(Clock):
    """Every time of the schedule's own clock alike."""

    def quantile(self, share: Tensor, schedule: Schedule) -> Tensor:
        return share


@dataclass(frozen=True)
class LogNormal(Clock):
    """``log(sigma / alpha)`` is normal. For rectified flow this is the logit-normal time of Esser et al. 2024.

    Args:
        mean, std: of log(sigma / alpha); -1.2 and 1.2 are those of Karras et al. 2022 for images in [-1, 1].
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        if self.std <= 0:
            raise ConfigError(f"process.clock.std={self.std}: must be positive")

    def quantile(self, share: Tensor, schedule: Schedule) -> Tensor:
        log_ratio = self.mean + self.std * torch.special.ndtri(share)
        return schedule.time(-log_ratio).clamp(1e-12, 1)  # 0 would be the clean state itself


def stratified(seed: int, step: int, rows: range, total: int, *field: str) -> Tensor:
    """Numbers in (0, 1), one in each ``total``-th part of it, in random order; those of ``rows``, float64.

    A ``field`` that is named has numbers of its own.
    """
    rng = noise.generator(noise.key(seed, "clock", *field), step)
    strata = (rng.permutation(total) + rng.random(total)) / total
    return torch.from_numpy(np.clip(strata[rows.start : rows.stop], 1e-9, 1 - 1e-9))
