"""Gaussian corruption of a real-valued field, ``x_t = alpha x_0 + sigma eps``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.posterior import Statement
from suffuse.processes.process import Level, Process
from suffuse.schedules import Schedule
from suffuse.spaces import Categorical, Torus

__all__ = ["Gaussian", "gaussian"]


@dataclass(frozen=True)
class Gaussian(Process):
    """Noise is added and the signal faded as the schedule says; padding stays at zero."""

    schedule: Schedule
    weighted = True

    def corrupt(self, clean: Tensor, level: Level, noise: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        alpha, sigma = level.like(clean)
        return torch.addcmul(alpha * clean, sigma, field.tangent(noise, mask))

    def begin(self, noise: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        # The signal that is left at log_snr_min is drawn with the data's own scale, or a VE sampler would start
        # from slightly too little noise.
        bottom = torch.tensor(self.schedule.log_snr_min, dtype=torch.float64)
        alpha, sigma = self.schedule.alpha_sigma(bottom)
        spread = float(torch.hypot(alpha * field.scale, sigma))
        return field.tangent(noise, mask) * spread

    def error(self, belief: Statement, clean: Tensor, noisy: Tensor, level: Level, field: Field) -> Tensor:
        return (belief.estimate - clean).square()

    def absent(self, value: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        return torch.zeros_like(value)


def gaussian(spec: Field, schedule: Schedule) -> Gaussian:
    """The process of a real-valued field.

    Raises:
        ConfigError: the field is periodic or categorical.
    """
    if isinstance(spec.space, Torus | Categorical):
        raise ConfigError(f"process: a field of {type(spec.space).__name__} values has no Gaussian noise")
    return Gaussian(schedule)
