r"""Corruption of classes: each entry is kept with a probability that falls, and else drawn anew from a prior.

    q(x_t | x_0) = a(t) [x_t = x_0] + (1 - a(t)) pi(x_t)

With pi uniform or the classes' frequencies this is multinomial diffusion; with all of pi on a token of its own, the
mask, it is masked (absorbing) diffusion.

References:
    Hoogeboom et al. 2021, "Argmax flows and multinomial diffusion"; Austin et al. 2021, "Structured denoising diffusion
    models in discrete state-spaces"; Vignac et al. 2023, "DiGress" (frequencies as the prior).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.layouts import expand
from suffuse.posterior import Statement
from suffuse.processes.process import Level, Process
from suffuse.schedules import Schedule
from suffuse.spaces import Categorical

__all__ = ["Discrete", "discrete", "draw"]


@dataclass(frozen=True)
class Discrete(Process):
    """Entries of a categorical field forget their class one by one.

    Args:
        schedule: one on which alpha + sigma = 1; alpha is the keep-probability a.
        probabilities: pi, of the K classes, or of the K + 1 tokens where the last is a mask.

    Raises:
        ConfigError: the schedule has no keep-probability, or pi is no distribution.
    """

    schedule: Schedule
    probabilities: tuple[float, ...]
    _tables: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    noise = "uniform"

    def __post_init__(self) -> None:
        alpha, sigma = self.schedule.alpha_sigma(torch.tensor(0.7, dtype=torch.float64))
        if abs(float(alpha + sigma) - 1) > 1e-9:
            name = type(self.schedule).__name__
            raise ConfigError(
                f"process: the schedule {name} has no keep-probability for classes; take flow, squared_cosine or "
                "sigmoid"
            )
        total = math.fsum(self.probabilities)
        if not self.probabilities or min(self.probabilities) < 0 or not abs(total - 1) < 1e-6:
            raise ConfigError(
                f"process: the prior of a categorical field must sum to 1, not {total:g}, with no part < 0"
            )

    def pi(self, device: torch.device) -> Tensor:
        """The prior as float64 on a device, ``[S]``, copied there once."""
        if device not in self._tables:
            pi = torch.tensor(self.probabilities, dtype=torch.float64)
            self._tables[device] = (pi / pi.sum()).to(device)
        return self._tables[device]

    def _exact(self, time: Tensor, log_snr: Tensor) -> Tensor:
        return self.schedule.unclamped_log_snr(time)  # nothing of the data is left at t = 1

    def corrupt(self, clean: Tensor, level: Level, noise: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        keep = expand(level.alpha.double(), clean)
        # Above the keep-probability the same number, stretched, is even in (0, 1] again.
        rest = ((noise - keep) / (1 - keep)).clamp(0, 1)
        return field.project(torch.where(noise <= keep, clean, self._token(rest)), mask)

    def begin(self, noise: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        return field.project(self._token(noise), mask)

    def _token(self, noise: Tensor) -> Tensor:
        cumulative = self.pi(noise.device).cumsum(0)
        return torch.searchsorted(cumulative, noise * cumulative[-1])  # never beyond the last class that can be

    def error(self, belief: Statement, clean: Tensor, noisy: Tensor, level: Level, field: Field) -> Tensor:
        """The cross-entropy in nats."""
        return -belief.value.gather(-1, clean.unsqueeze(-1)).squeeze(-1)

    def absent(self, value: Tensor, field: Field, mask: Tensor | None) -> Tensor:
        assert isinstance(field.space, Categorical)
        return field.project(torch.full_like(value, field.space.num_classes), mask)


def discrete(
    spec: Field,
    schedule: Schedule,
    prior: Literal["uniform", "marginal", "absorbing"] | tuple[float, ...] = "marginal",
) -> Discrete:
    """The process of a categorical field.

    Args:
        spec: of the field.
        schedule: on which alpha is the keep-probability.
        prior: ``uniform``, ``marginal`` (the classes' frequencies), ``absorbing`` (a mask), or a probability a class.

    Raises:
        ConfigError: the field is not categorical, or the prior does not fit it.
    """
    if not isinstance(spec.space, Categorical):
        raise ConfigError(f"process: only a categorical field has classes, not {type(spec.space).__name__}")
    count = spec.space.num_classes
    if prior == "uniform":
        return Discrete(schedule, (1 / count,) * count)
    if prior == "absorbing":
        return Discrete(schedule, (0.0,) * count + (1.0,))
    chosen = spec.frequencies if prior == "marginal" else prior
    if len(chosen) != count:
        had = "the data did not count its classes" if prior == "marginal" else f"{len(chosen)} probabilities"
        raise ConfigError(f"process.prior: {count} classes, but {had}; take uniform or absorbing")
    return Discrete(schedule, tuple(chosen))


def draw(weights: Tensor, noise: Tensor) -> Tensor:
    """A class for each of ``weights`` ``[..., S]``, which need not sum to one, by inversion of ``noise`` in (0, 1].

    One uniform number an entry, in float64: float32 or Gumbel noise loses rare classes.
    """
    cumulative = weights.cumsum(-1)
    places = torch.searchsorted(cumulative, noise.unsqueeze(-1) * cumulative[..., -1:])
    return places.squeeze(-1).clamp_max(weights.shape[-1] - 1)
