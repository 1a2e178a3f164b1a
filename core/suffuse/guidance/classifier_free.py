"""Classifier-free guidance, within an interval of noise levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.errors import ConfigError
from suffuse.posterior import Posterior
from suffuse.processes import Level
from suffuse.state import State

__all__ = ["ClassifierFree"]


@dataclass(frozen=True)
class ClassifierFree:
    """``D = D_unknown + scale (D_asked - D_unknown)``; both come from one batch of twice the size.

    Args:
        denoiser: trained with conditions that were missing now and then.
        scale: 1 leaves the model alone, more follows the condition more closely at the cost of variety.
        interval: (low, high) in sigma / alpha; outside it the second pass is not computed. None: everywhere.

    References:
        Ho and Salimans 2022, "Classifier-free diffusion guidance"; Kynkäänniemi et al. 2024, "Applying guidance in a
        limited interval improves sample and distribution quality".
    """

    denoiser: Denoiser
    scale: float = 1.0
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.scale < float("inf"):
            raise ConfigError(f"guidance.scale={self.scale}: must be a number from 0 up (1 is no guidance)")
        if self.interval is not None and not (len(self.interval) == 2 and 0 <= self.interval[0] < self.interval[1]):
            raise ConfigError(
                f"guidance.interval={list(self.interval)}: must be [low, high] in sigma / alpha, low below high"
            )

    def __call__(
        self, state: State, levels: Mapping[str, Level], condition: Mapping[str, Tensor] | None = None
    ) -> Posterior:
        if self.scale == 1 or not condition or not self._inside(levels):
            return cast(Posterior, self.denoiser(state, levels, condition))
        count = state.batch_size
        unknown = self.denoiser.missing(count, state.device)
        both = {name: torch.cat([condition.get(name, none), none]) for name, none in unknown.items()}
        doubled = {
            name: level._replace(
                alpha=torch.cat([level.alpha] * 2),
                sigma=torch.cat([level.sigma] * 2),
                log_snr=torch.cat([level.log_snr] * 2),
            )
            for name, level in levels.items()
        }
        posterior = self.denoiser(State.cat([state, state]), doubled, both)
        result = {}
        for name, mean in posterior.items():
            asked, free = mean.value[:count], mean.value[count:]
            result[name] = type(mean)(free).towards(type(mean)(asked), self.scale)
        return result

    def _inside(self, levels: Mapping[str, Level]) -> bool:
        if self.interval is None:
            return True
        low, high = self.interval
        return any(level.ratio is None or low <= level.ratio <= high for level in levels.values())
