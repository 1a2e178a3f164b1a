r"""Solvers of Gaussian fields. Each is a rule from a grid to a plan, and nothing else.

With lambda = log(alpha / sigma), a step from t to s (h = lambda_s - lambda_t > 0) and stochasticity eta, all of them
are instances of the exponential integrator

    x_s = (sigma_s / sigma_t) e^(-eta h) x_t + sum_j B_j D_j + sigma_s sqrt(1 - e^(-2 eta h)) eps

with D_j posterior means and sum_j B_j = alpha_s (1 - e^(-(1 + eta) h)). Coefficients are written with the ratio
r = e^(-h) = (alpha_t sigma_s) / (alpha_s sigma_t), never with h itself, so that the last step to the clean state
(sigma_s = 0, r = 0, x_s = D_0) is no special case.

References:
    Song et al. 2021, "Denoising diffusion implicit models"; Karras et al. 2022; Lu et al. 2022, "DPM-Solver++".
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from suffuse.errors import ConfigError
from suffuse.sampling.plan import Plan, Stage
from suffuse.schedules import Schedule

__all__ = ["DDIM", "DPMSolver2M", "Heun", "Solver"]


class Solver(ABC):
    """A rule that plans the stages of a Gaussian field."""

    order: int
    """Of convergence in the step size, on a grid of finite log-SNR."""

    @abstractmethod
    def plan(self, log_snrs: Sequence[float], schedule: Schedule) -> Plan:
        """The stages that lead along falling noise, from ``log_snrs[0]`` to ``log_snrs[-1]`` (infinite: clean)."""

    def intervals(self, evaluations: int) -> int:
        """How many grid intervals a budget of network evaluations pays for."""
        return evaluations


@dataclass(frozen=True)
class DDIM(Solver):
    """First order, deterministic at eta = 0; eta = 1 is DDPM's ancestral step, the exact posterior of one step.

    Args:
        eta: stochasticity in [0, 1] as in the paper (equation 16), for any schedule.
    """

    eta: float = 0.0
    order = 1

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ConfigError(f"sampler.eta={self.eta}: must lie between 0 (deterministic) and 1 (ancestral)")

    def plan(self, log_snrs: Sequence[float], schedule: Schedule) -> Plan:
        stages = []
        points = _points(log_snrs, schedule)
        for at, to in zip(points, points[1:], strict=False):
            r = at.ratio_to(to)
            kept = math.sqrt(1 - self.eta**2 * (1 - r * r))
            base = to.sigma / at.sigma * kept
            fresh = to.sigma * self.eta * math.sqrt(1 - r * r)
            stages.append(Stage(at.log_snr, base, (to.alpha * (1 - r * kept),), fresh))
        return Plan.of(stages)


@dataclass(frozen=True)
class DPMSolver2M(Solver):
    """Second order at one evaluation a step: the posterior mean is extrapolated linearly in the log-SNR.

    The first step and the step to the clean state are first order.
    """

    order = 2

    def plan(self, log_snrs: Sequence[float], schedule: Schedule) -> Plan:
        stages = []
        points = _points(log_snrs, schedule)
        before: float | None = None
        for at, to in zip(points, points[1:], strict=False):
            weight = to.alpha * (1 - at.ratio_to(to))
            means: tuple[float, ...] = (weight,)
            if before is not None and before < at.log_snr and to.sigma > 0:  # levels at a bound coincide
                slope = (to.log_snr - at.log_snr) / (at.log_snr - before) / 2
                means = (weight * (1 + slope), -weight * slope)
            stages.append(Stage(at.log_snr, to.sigma / at.sigma, means))
            before = at.log_snr
        return Plan.of(stages)


@dataclass(frozen=True)
class Heun(Solver):
    """Second order at two evaluations a step: the trapezoid rule on x / alpha in sigma / alpha.

    The step to the clean state has no second stage, so n steps take 2 n - 1 evaluations.
    """

    order = 2

    def intervals(self, evaluations: int) -> int:
        return (evaluations + 1) // 2

    def plan(self, log_snrs: Sequence[float], schedule: Schedule) -> Plan:
        stages = []
        points = _points(log_snrs, schedule)
        for at, to in zip(points, points[1:], strict=False):
            r = at.ratio_to(to)
            base = to.sigma / at.sigma
            stages.append(Stage(at.log_snr, base, (to.alpha * (1 - r),)))
            if to.sigma > 0:
                half = to.alpha * (1 - r) / 2
                stages.append(Stage(to.log_snr, base, (half / r, half * (2 - 1 / r)), commit=False))
        return Plan.of(stages)


@dataclass(frozen=True, slots=True)
class _Point:
    alpha: float
    sigma: float
    log_snr: float

    def ratio_to(self, later: _Point) -> float:
        """e^(-h) of the step from here to ``later``."""
        return self.alpha * later.sigma / (later.alpha * self.sigma)


def _points(log_snrs: Sequence[float], schedule: Schedule) -> list[_Point]:
    alpha, sigma = schedule.alpha_sigma(torch.tensor(log_snrs, dtype=torch.float64))
    return [_Point(a, s, lam) for a, s, lam in zip(alpha.tolist(), sigma.tolist(), log_snrs, strict=True)]
