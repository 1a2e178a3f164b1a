r"""Noise schedules: how a Gaussian field is corrupted as the clock goes from data (t = 0) to noise (t = 1).

The corruption is ``x_t = alpha x_0 + sigma eps`` with eps ~ N(0, I). All that samplers and networks need of a time
is its log-SNR ``lambda = log(alpha / sigma)``, so a schedule is two independent choices,

* a clock, ``t -> lambda``, strictly falling, with its inverse;
* a scale, ``lambda -> (alpha, sigma)``: variance preserving (alpha^2 + sigma^2 = 1), variance exploding
  (alpha = 1), or rectified (alpha + sigma = 1).

On the rectified scale alpha is also the probability that a categorical entry is still the clean one, with
lambda = logit(alpha); that is all that the corruption of classes needs.

lambda is clamped to finite bounds, which is what a network sees and where a sampler starts; lambda = +inf is the
clean state (alpha, sigma) = (1, 0) and only ever the end of a sampler's last step.

References:
    Kingma et al. 2021, "Variational diffusion models" (the log-SNR as the natural time).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from suffuse.errors import ConfigError

__all__ = ["EDM", "Cosine", "LinearBetaVP", "RectifiedFlow", "Schedule", "Sigmoid", "SquaredCosine"]


class Schedule(ABC):
    """A clock and a scale. All methods are elementwise on tensors of any shape and keep their dtype."""

    log_snr_min: float
    log_snr_max: float

    @abstractmethod
    def unclamped_log_snr(self, t: Tensor) -> Tensor:
        """lambda(t), infinite where the formula is."""

    @abstractmethod
    def time(self, log_snr: Tensor) -> Tensor:
        """The inverse of `log_snr`; the clean state lambda = inf lies at t = 0."""

    @abstractmethod
    def alpha_sigma(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at a log-SNR."""

    def log_snr(self, t: Tensor) -> Tensor:
        """lambda(t) within the bounds of the schedule."""
        return self.unclamped_log_snr(t).clamp(self.log_snr_min, self.log_snr_max)


class _VariancePreserving(Schedule):
    def alpha_sigma(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(2 * log_snr).sqrt(), torch.sigmoid(-2 * log_snr).sqrt()


class _Rectified(Schedule):
    def alpha_sigma(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(log_snr), torch.sigmoid(-log_snr)


@dataclass(frozen=True)
class LinearBetaVP(_VariancePreserving):
    r"""Variance preserving with a linear rate of noise, ``log alpha(t) = -t^2 (b1 - b0)/4 - t b0/2``.

    Args:
        beta_min, beta_max: b0 and b1, the rate at t = 0 and t = 1.
        log_snr_max: bound of lambda at the clean end.

    References:
        Ho et al. 2020, "Denoising diffusion probabilistic models"; Song et al. 2021, equation 32.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    log_snr_max: float = 7.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min < self.beta_max:
            raise ConfigError(f"schedule: 0 < beta_min < beta_max is needed, not {self.beta_min} and {self.beta_max}")
        end = torch.tensor(1.0, dtype=torch.float64)
        object.__setattr__(self, "log_snr_min", float(self.unclamped_log_snr(end)))

    def unclamped_log_snr(self, t: Tensor) -> Tensor:
        log_alpha = -(t**2) * (self.beta_max - self.beta_min) / 4 - t * self.beta_min / 2
        return log_alpha - 0.5 * torch.log(-torch.expm1(2 * log_alpha))

    def time(self, log_snr: Tensor) -> Tensor:
        minus_log_alpha = 0.5 * torch.nn.functional.softplus(-2 * log_snr)
        b = self.beta_min / 2
        root = torch.sqrt(b * b + (self.beta_max - self.beta_min) * minus_log_alpha)
        return 2 * minus_log_alpha / (b + root)


@dataclass(frozen=True)
class Cosine(_VariancePreserving):
    r"""``alpha = cos(pi t / 2)``, ``sigma = sin(pi t / 2)``.

    Args:
        log_snr_min, log_snr_max: bounds of lambda, since both ends of the formula are infinite.

    References:
        Nichol and Dhariwal 2021, "Improved denoising diffusion models" (bounds in place of their offset).
    """

    log_snr_min: float = -7.0
    log_snr_max: float = 7.0

    def __post_init__(self) -> None:
        _check_bounds(self)

    def unclamped_log_snr(self, t: Tensor) -> Tensor:
        # Two sines, since the tangent of float32's pi / 2 is negative.
        return torch.log(torch.sin((1 - t) * (math.pi / 2))) - torch.log(torch.sin(t * (math.pi / 2)))

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.atan(torch.exp(-log_snr)) * (2 / math.pi)


@dataclass(frozen=True)
class RectifiedFlow(_Rectified):
    r"""The straight line between data and noise, ``alpha = 1 - t``, ``sigma = t``.

    Args:
        log_snr_min, log_snr_max: bounds of lambda, since both ends of the formula are infinite.

    References:
        Liu et al. 2023, "Flow straight and fast"; Lipman et al. 2023, "Flow matching for generative modeling".
    """

    log_snr_min: float = -7.0
    log_snr_max: float = 7.0

    def __post_init__(self) -> None:
        _check_bounds(self)

    def unclamped_log_snr(self, t: Tensor) -> Tensor:
        return torch.log1p(-t) - torch.log(t)

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr)


@dataclass(frozen=True)
class SquaredCosine(_Rectified):
    r"""``alpha = cos(pi t / 2)^2``, ``sigma = sin(pi t / 2)^2``: few classes change near both ends.

    Args:
        log_snr_min, log_snr_max: bounds of lambda, since both ends of the formula are infinite.

    References:
        Hoogeboom et al. 2021, "Argmax flows and multinomial diffusion"; Vignac et al. 2023, "DiGress".
    """

    log_snr_min: float = -7.0
    log_snr_max: float = 7.0

    def __post_init__(self) -> None:
        _check_bounds(self)

    def unclamped_log_snr(self, t: Tensor) -> Tensor:
        return 2 * (torch.log(torch.sin((1 - t) * (math.pi / 2))) - torch.log(torch.sin(t * (math.pi / 2))))

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.atan(torch.exp(-log_snr / 2)) * (2 / math.pi)


@dataclass(frozen=True)
class Sigmoid(_Rectified):
    r"""lambda falls evenly in time, ``alpha = sigmoid(lambda)``.

    Args:
        log_snr_min, log_snr_max: lambda at t = 1 and t = 0.

    References:
        Kingma and Gao 2023, "Understanding diffusion objectives as the ELBO with simple data augmentation".
    """

    log_snr_min: float = -7.0
    log_snr_max: float = 7.0

    def __post_init__(self) -> None:
        _check_bounds(self)

    def unclamped_log_snr(self, t: Tensor) -> Tensor:
        return torch.lerp(torch.full_like(t, self.log_snr_max), torch.full_like(t, self.log_snr_min), t)

    def time(self, log_snr: Tensor) -> Tensor:
        time: Tensor = (self.log_snr_max - log_snr) / (self.log_snr_max - self.log_snr_min)
        return time.clamp_min(0)


@dataclass(frozen=True)
class EDM(Schedule):
    r"""Variance exploding with Karras' clock, ``sigma(t) = (a + t (b - a))^rho``, a^rho = sigma_min, b^rho = sigma_max.

    Args:
        sigma_min, sigma_max: standard deviation of the noise at both ends, in units of the data.
        rho: curvature of the clock; large values approach a geometric spacing.

    References:
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", equation 5.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        if not (0 < self.sigma_min < self.sigma_max and self.rho > 0):
            given = f"{self.sigma_min}, {self.sigma_max}, {self.rho}"
            raise ConfigError(f"schedule: 0 < sigma_min < sigma_max and rho > 0 are needed, not {given}")
        object.__setattr__(self, "log_snr_min", -math.log(self.sigma_max))
        object.__setattr__(self, "log_snr_max", -math.log(self.sigma_min))

    def unclamped_log_snr(self, t: Tensor) -> Tensor:
        a, b = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return -self.rho * torch.log(a + t * (b - a))

    def time(self, log_snr: Tensor) -> Tensor:
        a, b = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        time: Tensor = (torch.exp(-log_snr / self.rho) - a) / (b - a)
        return time.clamp_min(0)

    def alpha_sigma(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(log_snr), torch.exp(-log_snr)


def _check_bounds(schedule: Schedule) -> None:
    low, high = schedule.log_snr_min, schedule.log_snr_max
    if not -math.inf < low < high < math.inf:
        raise ConfigError(f"schedule: finite log_snr_min < log_snr_max are needed, not {low} and {high}")
