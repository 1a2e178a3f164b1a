"""Gaussian corruption of a real-valued field, ``x_t = alpha x_0 + sigma eps``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from suffuse.fields import Field
from suffuse.processes.process import Level, Process
from suffuse.schedules import Schedule

__all__ = ["Gaussian"]


@dataclass(frozen=True)
class Gaussian(Process):
    """Noise is added and the signal faded as the schedule says; padding stays at zero."""

    schedule: Schedule

    def level(self, time: Tensor) -> Level:
        # In float64: near t = 1 the log-SNR of float32 times is good to two digits only.
        log_snr = self.schedule.log_snr(time.double())
        alpha, sigma = self.schedule.alpha_sigma(log_snr)
        return Level(alpha.to(time.dtype), sigma.to(time.dtype), log_snr.to(time.dtype))

    def corrupt(self, clean: Tensor, level: Level, noise: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        alpha, sigma = level.like(clean)
        return torch.addcmul(alpha * clean, sigma, field.layout.clean(noise, mask))

    def prior(self, noise: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        # The signal that is left at log_snr_min is drawn with the data's own scale, or a VE sampler would start
        # from slightly too little noise.
        bottom = torch.tensor(self.schedule.log_snr_min, dtype=torch.float64)
        alpha, sigma = self.schedule.alpha_sigma(bottom)
        spread = float(torch.hypot(alpha * field.scale, sigma))
        return field.layout.clean(noise, mask) * spread
