r"""Solvers of real-valued and periodic fields. Each is a rule from a grid to a plan, and nothing else.

With lambda = log(alpha / sigma), a step from t to s (h = lambda_s - lambda_t > 0) and stochasticity eta, all of them
are instances of the exponential integrator

    x_s = (sigma_s / sigma_t) e^(-eta h) x_t + sum_j B_j D_j + sigma_s sqrt(1 - e^(-2 eta h)) eps

    B_j = alpha_s (1 + eta) int_t^s e^(-(1 + eta) (lambda_s - lambda)) l_j(lambda) dlambda

with D_j posterior means and l_j the polynomials that interpolate them, so that the B_j sum to
alpha_s (1 - e^(-(1 + eta) h)). Coefficients are written with r = e^(-h) = (alpha_t sigma_s) / (alpha_s sigma_t) where
they can be, so that the last step to the clean state (sigma_s = 0, r = 0, x_s = D_0) is no special case. That step is
first order in every rule: the weight of an older mean would grow without bound there.

References:
    Song et al. 2021, "Denoising diffusion implicit models"; Karras et al. 2022; Lu et al. 2022, "DPM-Solver++";
    Hochbruck and Ostermann 2010, "Exponential integrators".
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.sampling.plan import Leg, Move, Plan, Point, Rest, Stage, Step
from suffuse.schedules import Schedule

__all__ = ["DDIM", "DPMSolver2M", "DPMSolver2S", "DPMSolver3M", "Euler", "Heun", "Solver"]


class Solver(ABC):
    """A rule that plans the stages of a real-valued or periodic field."""

    order: int
    """Of convergence in the step size, on a grid of finite log-SNR."""

    @property
    def stochastic(self) -> bool:
        """Whether new noise is added on the way, so that the walk cannot be turned round."""
        return False

    def route(self, grid: Sequence[float], reference: Schedule) -> list[Move]:
        """The moves along a grid of clock times; every field makes the same."""
        return [Move(at, to) for at, to in zip(grid, grid[1:], strict=False)]

    @abstractmethod
    def stage(self, leg: Leg, past: Sequence[Point], schedule: Schedule) -> Stage:
        """What the field does in one move.

        Args:
            leg: the move, from a level that is not clean.
            past: where the network looked before in this walk, the newest first.
            schedule: of the field.
        """

    def intervals(self, evaluations: int) -> int:
        """How many grid intervals a budget of network evaluations pays for."""
        return evaluations

    def stages(self, legs: Sequence[Leg], schedule: Schedule) -> list[Step]:
        """The stages of one field, one for each leg."""
        stages: list[Step] = []
        past: list[Point] = []
        for leg in legs:
            if not leg.look:
                stages.append(self.renoise(leg))
                past = []
                continue
            if leg.start.sigma == 0:  # given, or clean before the others
                stages.append(Rest(leg.start.log_snr))
            else:
                stages.append(self.stage(leg, past, schedule))
            past.insert(0, leg.start)
        return stages

    def renoise(self, leg: Leg) -> Step:
        """Up to a noisier level without a look: the exact transition q(x_s | x_t)."""
        share = leg.end.alpha / leg.start.alpha
        fresh = math.sqrt(max(leg.end.sigma**2 - (share * leg.start.sigma) ** 2, 0.0))
        return Stage(None, share, (), fresh)

    def plan(self, log_snrs: Sequence[float], schedule: Schedule) -> Plan:
        """The plan of one field by itself, along log-SNRs that rise to ``log_snrs[-1]`` (infinite: the clean state)."""
        moves = self.route([math.exp(-log_snr) for log_snr in log_snrs], _RatioClock())
        ends = -torch.tensor([[move.start, move.end] for move in moves], dtype=torch.float64).log()
        alpha, sigma = schedule.alpha_sigma(ends)
        rows = zip(moves, alpha.tolist(), sigma.tolist(), ends.tolist(), strict=True)
        legs = [
            Leg(Point(a[0], s[0], at[0]), Point(a[1], s[1], at[1]), move.look, move.first) for move, a, s, at in rows
        ]
        return Plan.of(self.stages(legs, schedule))


@dataclass(frozen=True)
class DDIM(Solver):
    """First order, deterministic at eta = 0; eta = 1 is DDPM's ancestral step, the exact posterior of one step.

    Args:
        eta: stochasticity in [0, 1] as in the paper (equation 16), for any schedule. In the formula above it is
            ``-log(1 - eta^2 (1 - e^(-2h))) / 2h``.
    """

    eta: float = 0.0
    order = 1

    def __post_init__(self) -> None:
        _check_eta(self.eta)

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def stage(self, leg: Leg, past: Sequence[Point], schedule: Schedule) -> Stage:
        r = leg.start.ratio_to(leg.end)
        kept = math.sqrt(1 - self.eta**2 * (1 - r * r)) if self.eta else 1.0
        return _stage(leg, kept, (1.0,))


@dataclass(frozen=True)
class DPMSolver2M(Solver):
    """Second order at one evaluation a step: the posterior mean is extrapolated linearly in the log-SNR.

    The first step and the step to the clean state are first order. At eta = 1 it is SDE-DPM-Solver++ 2M, whose spread
    is of second order too.

    Args:
        eta: stochasticity; 0 is the probability flow, 1 the reverse SDE.
    """

    eta: float = 0.0
    order = 2

    def __post_init__(self) -> None:
        _check_eta(self.eta)

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def stage(self, leg: Leg, past: Sequence[Point], schedule: Schedule) -> Stage:
        shares: tuple[float, ...] = (1.0,)
        if past and past[0].log_snr != leg.start.log_snr and leg.end.sigma > 0:  # levels at a bound coincide
            shares = _line(leg.start.log_snr, past[0].log_snr, leg.end.log_snr)
        return _stage(leg, leg.start.ratio_to(leg.end) ** self.eta, shares)


@dataclass(frozen=True)
class DPMSolver3M(Solver):
    """Third order at one evaluation a step: the posterior mean is extrapolated by a parabola in the log-SNR.

    On steps of length h the curvature counts by ``1 / (1 + h^3)``, so that the parabola is integrated exactly where
    steps are short, and long ones, on which it would overshoot, are nearly those of `DPMSolver2M`. A walk of a dozen
    steps or more begins with one of `DPMSolver2S`, at one evaluation more, since a first-order start would spoil the
    order of the whole. (The rule of this name in other libraries counts the curvature half and is second order.)
    With noise the mean of the samples keeps the third order, their spread the second.

    Args:
        eta: stochasticity; 0 is the probability flow, 1 the reverse SDE.
    """

    eta: float = 0.0
    order = 3
    _FEW = 12

    def __post_init__(self) -> None:
        _check_eta(self.eta)

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def intervals(self, evaluations: int) -> int:
        return evaluations if evaluations < self._FEW else evaluations - 1

    def route(self, grid: Sequence[float], reference: Schedule) -> list[Move]:
        if len(grid) - 1 < self._FEW:
            return super().route(grid, reference)
        return [*_halved(grid[:2], reference), *super().route(grid[1:], reference)]

    def stage(self, leg: Leg, past: Sequence[Point], schedule: Schedule) -> Stage:
        if not leg.first:
            return _second_half(leg, past[0], self.eta)
        kept = leg.start.ratio_to(leg.end) ** self.eta
        if leg.end.sigma == 0 or leg.end.log_snr == leg.start.log_snr:  # levels at a bound coincide
            return _stage(leg, kept, (1.0,))
        nodes = [leg.start.log_snr]
        for point in past[:2]:
            if abs(point.log_snr - nodes[-1]) > 1e-9:
                nodes.append(point.log_snr)
        shares = _polynomial(nodes, leg.end.log_snr, 1 + self.eta)
        if len(nodes) == 3:
            trust = 1 / (1 + abs(leg.end.log_snr - leg.start.log_snr) ** 3)
            line = (*_line(nodes[0], nodes[1], leg.end.log_snr), 0.0)
            shares = tuple(trust * bent + (1 - trust) * straight for bent, straight in zip(shares, line, strict=True))
        return _stage(leg, kept, shares)


@dataclass(frozen=True)
class DPMSolver2S(Solver):
    """Second order at two evaluations a step: a first-order step half way in the log-SNR, and the whole from there.

    The step to the clean state has no second stage, so n steps take 2 n - 1 evaluations.
    """

    order = 2

    def intervals(self, evaluations: int) -> int:
        return (evaluations + 1) // 2

    def route(self, grid: Sequence[float], reference: Schedule) -> list[Move]:
        return _halved(grid, reference)

    def stage(self, leg: Leg, past: Sequence[Point], schedule: Schedule) -> Stage:
        return _stage(leg, 1.0, (1.0,)) if leg.first else _second_half(leg, past[0], 0.0)


@dataclass(frozen=True)
class Heun(Solver):
    """Second order at two evaluations a step: the trapezoid rule on x / alpha in sigma / alpha.

    The step to the clean state has no second stage, so n steps take 2 n - 1 evaluations. With churn each step first
    goes back to a noisier level, which mends earlier errors at the price of detail.

    Args:
        churn: S_churn of the paper, spread over the steps; 0 is deterministic.
        churn_range: (low, high) in sigma / alpha, S_tmin and S_tmax; None is everywhere.
        churn_noise: S_noise, the standard deviation of the noise that is added, 1 or a little more.

    References:
        Karras et al. 2022, algorithms 1 and 2.
    """

    churn: float = 0.0
    churn_range: tuple[float, float] | None = None
    churn_noise: float = 1.0
    order = 2

    def __post_init__(self) -> None:
        if not 0 <= self.churn < math.inf:
            raise ConfigError(f"sampler.churn={self.churn}: must be a number from 0 up")
        if self.churn_range is not None and not 0 <= self.churn_range[0] < self.churn_range[1]:
            raise ConfigError(f"sampler.churn_range={list(self.churn_range)}: must be [low, high], low below high")
        if not 0 < self.churn_noise < 10:
            raise ConfigError(f"sampler.churn_noise={self.churn_noise}: must lie between 0 and 10")

    @property
    def stochastic(self) -> bool:
        return self.churn > 0

    def intervals(self, evaluations: int) -> int:
        return (evaluations + 1) // 2

    def route(self, grid: Sequence[float], reference: Schedule) -> list[Move]:
        moves: list[Move] = []
        lift = math.log1p(min(self.churn / max(len(grid) - 1, 1), math.sqrt(2) - 1))
        levels = _log_snrs(grid, reference)
        above = _clocks([log_snr - lift for log_snr in levels], reference) if lift else grid
        low, high = self.churn_range or (0.0, math.inf)
        for at, to, level, goal, noisier in zip(grid, grid[1:], levels, levels[1:], above, strict=False):
            start = at
            if lift and low <= math.exp(-level) <= high and level - lift >= reference.log_snr_min:
                start = noisier
                moves.append(Move(at, start, look=False))
            moves.append(Move(start, to))
            if goal < math.inf:
                moves.append(Move(to, to, first=False))
        return moves

    def stage(self, leg: Leg, past: Sequence[Point], schedule: Schedule) -> Stage:
        if leg.first:
            return _stage(leg, 1.0, (1.0,))
        r = past[0].ratio_to(leg.end)
        half = leg.end.alpha * (1 - r) / 2
        base = leg.end.sigma / past[0].sigma
        return Stage(leg.start.log_snr, base, (half / r, half * (2 - 1 / r)), commit=False)

    def renoise(self, leg: Leg) -> Step:
        plain = super().renoise(leg)
        assert isinstance(plain, Stage)
        return Stage(None, plain.base, (), plain.noise * self.churn_noise)


@dataclass(frozen=True)
class Euler(Solver):
    """First order on the velocity in the schedule's own time, ``x_s = x_t + (s - t) dx/dt``.

    It is DDIM for rectified flow and a rule of its own under every other schedule.

    References:
        Lipman et al. 2023, "Flow matching for generative modeling".
    """

    order = 1

    def stage(self, leg: Leg, past: Sequence[Point], schedule: Schedule) -> Stage:
        if leg.end.sigma == 0:
            return _stage(leg, 1.0, (1.0,))
        at, to = (schedule.time(torch.tensor(point.log_snr, dtype=torch.float64)) for point in (leg.start, leg.end))
        alpha_rate, sigma_rate = _rates(schedule, at)
        span = float(to - at)
        base = 1 + span * sigma_rate / leg.start.sigma
        mean = span * (alpha_rate - sigma_rate * leg.start.alpha / leg.start.sigma)
        return Stage(leg.start.log_snr, base, (mean,))


class _RatioClock(Schedule):
    """A clock that is sigma / alpha itself, for plans along given levels."""

    log_snr_min, log_snr_max = -math.inf, math.inf

    def unclamped_log_snr(self, t: Tensor) -> Tensor:
        return -t.log()

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.exp(-log_snr)

    def alpha_sigma(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("a clock only")


def _check_eta(eta: float) -> None:
    if not 0 <= eta <= 1:
        raise ConfigError(f"sampler.eta={eta}: must lie between 0 (deterministic) and 1 (ancestral)")


def _stage(leg: Leg, kept: float, shares: tuple[float, ...], commit: bool = True) -> Stage:
    """The formula at the head of this file, with ``kept`` = e^(-eta h) and B_j in shares of their sum."""
    total = leg.end.alpha * (1 - leg.start.ratio_to(leg.end) * kept)
    fresh = leg.end.sigma * math.sqrt(max(1 - kept * kept, 0.0)) if kept < 1 else 0.0
    base = leg.end.sigma / leg.start.sigma * kept
    return Stage(leg.start.log_snr, base, tuple(total * share for share in shares), fresh, commit)


def _halved(grid: Sequence[float], reference: Schedule) -> list[Move]:
    """Every step in two stages, with a look half way in the log-SNR; one to the clean state stays whole."""
    levels = _log_snrs(grid, reference)
    middles = _clocks([(at + to) / 2 for at, to in zip(levels, levels[1:], strict=False)], reference)
    moves: list[Move] = []
    for at, to, start, end, middle in zip(grid, grid[1:], levels, levels[1:], middles, strict=False):
        if end == math.inf or start == end:
            moves.append(Move(at, to))
        else:
            moves += [Move(at, middle), Move(middle, to, first=False)]
    return moves


def _second_half(leg: Leg, anchor: Point, eta: float) -> Stage:
    """The whole step of two stages, from the anchor, with the mean extrapolated through the one half way."""
    whole = Leg(anchor, leg.end)
    span = leg.start.log_snr - anchor.log_snr
    slope = (leg.end.log_snr - anchor.log_snr) / span / 2 if span else 0.0
    stage = _stage(whole, anchor.ratio_to(leg.end) ** eta, (slope, 1 - slope), commit=False)
    return Stage(leg.start.log_snr, stage.base, stage.means, stage.noise, commit=False)


def _line(newest: float, older: float, end: float) -> tuple[float, float]:
    """Shares of two means whose line is taken at the middle of the step, in place of its integral."""
    slope = (end - newest) / (newest - older) / 2
    return 1 + slope, -slope


def _polynomial(nodes: Sequence[float], end: float, rate: float) -> tuple[float, ...]:
    """Shares of means in ``rate int e^(-rate (end - lambda)) D(lambda)`` from ``nodes[0]``, the newest, to ``end``.

    D is the polynomial through the means. Solved for from the moments of the weight, which the shares have to keep.
    """
    h = end - nodes[0]
    moments = [-math.expm1(-rate * h)]
    for power in range(1, len(nodes)):
        moments.append(1 - power / (rate * h) * moments[-1])
    places = (np.array(nodes) - nodes[0]) / h
    weights = np.linalg.solve(np.vander(places, increasing=True).T, np.array(moments))
    return tuple(float(weight) for weight in weights / moments[0])


def _rates(schedule: Schedule, time: Tensor) -> tuple[float, float]:
    """d alpha / dt and d sigma / dt at a time inside the bounds."""
    with torch.enable_grad():
        at = time.clone().requires_grad_()
        alpha, sigma = schedule.alpha_sigma(schedule.unclamped_log_snr(at))
        parts = (alpha, sigma)
        rates = [
            float(torch.autograd.grad(part, at, retain_graph=True)[0]) if part.requires_grad else 0.0 for part in parts
        ]
    return rates[0], rates[1]


def _log_snrs(grid: Sequence[float], reference: Schedule) -> list[float]:
    """At clock times; infinite at the clean state."""
    levels: list[float] = reference.log_snr(torch.tensor(grid, dtype=torch.float64)).tolist()
    return [math.inf if clock == 0 else level for clock, level in zip(grid, levels, strict=True)]


def _clocks(log_snrs: Sequence[float], reference: Schedule) -> list[float]:
    times: list[float] = reference.time(torch.tensor(log_snrs, dtype=torch.float64)).tolist()
    return times
