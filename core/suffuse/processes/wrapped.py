r"""Gaussian corruption of a periodic field, ``x_t = wrap(x_0 + sigma eps)``.

Its density is a sum over all the ways round, so the score is too. Denoisers state the displacement
``sigma^2 E[score(x_t | x_0)]``, the periodic counterpart of ``E[x_0] - x_t``: Tweedie's formula makes them equal where
nothing wraps. Networks emit it in units of its own standard deviation, which falls fast once sigma nears the period.

References:
    De Bortoli et al. 2022, "Riemannian score-based generative modelling"; Jing et al. 2022, "Torsional diffusion".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.posterior import Statement
from suffuse.processes.process import Level, Process
from suffuse.schedules import Schedule
from suffuse.spaces import Torus

__all__ = ["WrappedGaussian", "displacement_scale", "wrapped", "wrapped_score"]


@dataclass(frozen=True)
class WrappedGaussian(Process):
    """Noise is added and the value comes round.

    Args:
        schedule: a variance-exploding one, alpha = 1.

    Raises:
        ConfigError: the schedule fades the signal, which has no meaning on a circle.
    """

    schedule: Schedule

    def __post_init__(self) -> None:
        if float(self.schedule.alpha_sigma(torch.tensor(-1.0, dtype=torch.float64))[0]) != 1:
            name = type(self.schedule).__name__
            raise ConfigError(f"process: {name} fades the signal, which a periodic field cannot; take the schedule edm")

    def corrupt(self, clean: Tensor, level: Level, noise: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        _, sigma = level.like(clean)
        return field.project(clean + sigma * noise, mask)

    def begin(self, noise: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        return field.project(torch.special.ndtr(noise) * _period(field), mask)

    def error(self, belief: Statement, clean: Tensor, noisy: Tensor, level: Level, field: Field) -> Tensor:
        """Squared, in units of the displacement's own variance."""
        period = _period(field)
        _, sigma = level.like(clean)
        target = sigma.double() ** 2 * wrapped_score(noisy - clean, sigma, period)
        unit = sigma * displacement_scale(sigma / period)
        return ((belief.value - target.to(belief.value)) / unit).square()

    def absent(self, value: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        return torch.zeros_like(value)


def wrapped(spec: Field, schedule: Schedule) -> WrappedGaussian:
    """The process of a periodic field.

    Raises:
        ConfigError: the field is not periodic, or the largest sigma leaves something of the data to be seen.
    """
    if not isinstance(spec.space, Torus):
        raise ConfigError(f"process: only a periodic field can be wrapped, not {type(spec.space).__name__}")
    largest = math.exp(-schedule.log_snr_min) / spec.space.period
    if math.exp(-2 * (math.pi * largest) ** 2) > 1e-3:
        raise ConfigError(f"process: sigma_max is {largest:.3g} periods, too little to be even; 0.6 or more is needed")
    return WrappedGaussian(schedule)


def wrapped_score(apart: Tensor, sigma: Tensor, period: float) -> Tensor:
    """``d/dx log sum_k N(x + k period; 0, sigma^2)`` at ``x = apart``, in float64.

    A log-sum-exp over the nearest ways round where sigma is small, the Fourier series of the density where it is large;
    each is exact to rounding on its side of half a period.
    """
    ratio = sigma.double() / period
    turns = apart.double() / period
    turns = turns - turns.round()
    small = ratio < 0.5
    near = torch.where(small, ratio, 0.5).unsqueeze(-1)
    ways = turns.unsqueeze(-1) + torch.arange(-4.0, 5.0, dtype=torch.float64, device=turns.device)
    share = torch.softmax(-(ways**2) / (2 * near**2), -1)
    close = -(share * ways).sum(-1) / near.squeeze(-1) ** 2
    order = torch.arange(1.0, 5.0, dtype=torch.float64, device=turns.device)
    far = torch.where(small, 0.5, ratio).unsqueeze(-1)
    decay = torch.exp(-2 * (math.pi * order * far) ** 2)
    angle = 2 * math.pi * order * turns.unsqueeze(-1)
    density = 1 + 2 * (decay * torch.cos(angle)).sum(-1)
    series = -4 * math.pi * (decay * order * torch.sin(angle)).sum(-1) / density
    return torch.where(small, close, series) / period


def displacement_scale(ratio: Tensor) -> Tensor:
    """The standard deviation of ``sigma * score(x_t | x_0)`` at sigma / period: 1 where nothing wraps.

    Never below 1e-6, so that errors in units of it stay finite.
    """
    low, high, logs = *_TABLE, _log_scales(ratio.device)
    exact = ratio.double()
    place = (exact.clamp(low, high) - low) * ((len(logs) - 1) / (high - low))
    below = place.floor().long().clamp_max(len(logs) - 2)
    inside = torch.lerp(logs[below], logs[below + 1], place - below)
    beyond = torch.log(math.sqrt(8) * math.pi * exact) - 2 * (math.pi * exact) ** 2
    return torch.where(exact < high, inside, beyond).exp().clamp_min(1e-6).to(ratio)


_TABLE = (0.02, 1.0)
"""Ratios between which the scale is tabulated; below nothing wraps, above one term of the series is all."""


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _log_scales(device: torch.device) -> Tensor:
    """The table on a device; a compiled network holds its numbers and does not make it again."""
    return _made_log_scales(device)


@lru_cache(maxsize=8)
def _made_log_scales(device: torch.device) -> Tensor:
    """The logarithm of the scale at even ratios, by the midpoint rule, which is exact for periodic functions.

    Made once for each device, so that a walk has nothing to copy there.
    """
    ratio = torch.linspace(*_TABLE, 512, dtype=torch.float64)[:, None]
    x = (torch.arange(1024, dtype=torch.float64) + 0.5) / 1024 - 0.5
    ways = x[:, None] + torch.arange(-8.0, 9.0, dtype=torch.float64)
    density = (torch.exp(-(ways**2) / (2 * ratio[..., None] ** 2)).sum(-1)) / (ratio * math.sqrt(2 * math.pi))
    square = (density * wrapped_score(x.expand(512, -1), ratio.expand(-1, 1024), 1.0) ** 2).mean(1)
    return torch.log(ratio[:, 0] * square.sqrt()).to(device)


def _period(field: Field) -> float:
    assert isinstance(field.space, Torus)
    return field.space.period
