"""Rules that add noise: the spread of their walks, and that going back up is the exact transition.

For Gaussian data a walk is linear in its start and in the noise of every move. Pushing each of these by itself, as one
row of a batch, through the kernels gives the variance at the end as a sum of squares, with no Monte Carlo.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from oracle import SCHEDULES, f64, gaussian
from torch import Tensor
from walks import along, travel

from suffuse.fields import Field
from suffuse.processes import Gaussian, JointProcess
from suffuse.sampling import DDIM, DPMSolver2M, DPMSolver3M, Heun, Resample, Solver, Stage
from suffuse.sampling.plan import Leg, Point, Step
from suffuse.schedules import Schedule
from suffuse.state import State

START, END = -3.0, 3.0
WEAK: list[tuple[Solver, int]] = [
    (DDIM(0.5), 1),
    (DDIM(1.0), 1),
    (DPMSolver2M(0.5), 2),
    (DPMSolver2M(1.0), 2),
    (DPMSolver3M(0.5), 2),
    (DPMSolver3M(1.0), 2),
    (Heun(churn=0.5), 2),
    (Heun(churn=4.0), 2),
]
"""Rules, and the order at which their variance converges; 3M is of third order in the mean alone."""


@dataclass(frozen=True)
class Single:
    """Noise that is one in one row, and zero in the others."""

    row: int

    def normal(self, field: str, shape: Sequence[int]) -> Tensor:
        noise = torch.zeros(tuple(shape), dtype=torch.float64)
        noise[self.row] = 1
        return noise

    def uniform(self, field: str, shape: Sequence[int]) -> Tensor:
        raise NotImplementedError


def variances(schedule: Schedule, deviation: float) -> tuple[float, float]:
    """Of noisy data at both ends."""
    alpha, sigma = schedule.alpha_sigma(f64([START, END]))
    first, last = ((alpha * deviation) ** 2 + sigma**2).tolist()
    return first, last


def off(
    solver: Solver, schedule: Schedule, deviation: float, steps: int, resample: Resample | None = None
) -> tuple[float, float]:
    """Relative errors of the mean and of the variance at the end of a walk from the true marginal."""
    process = JointProcess({"x": Field(shape=(1,))}, {"x": Gaussian(schedule)})
    log_snrs = torch.linspace(START, END, steps + 1, dtype=torch.float64)
    walk = along(schedule.time(log_snrs).tolist(), solver, process, resample)
    rows = torch.zeros(len(walk.moves) + 1, 1, dtype=torch.float64)
    first, last = variances(schedule, deviation)
    rows[0] = math.sqrt(first)
    data = gaussian(0.0, deviation)
    spread = travel(data, State({"x": rows}), walk, process, lambda index: Single(index + 1))["x"]
    (alpha, to_alpha), mean = schedule.alpha_sigma(f64([START, END]))[0].tolist(), 0.7
    silent = travel(gaussian(mean, deviation), State({"x": f64([[alpha * mean]])}), walk, process, lambda _: Silence())
    return float(silent["x"]) / (to_alpha * mean) - 1, float(spread.square().sum()) / last - 1


class Silence:
    """No noise."""

    def normal(self, field: str, shape: Sequence[int]) -> Tensor:
        return torch.zeros(tuple(shape), dtype=torch.float64)

    uniform = normal


@pytest.mark.parametrize("solver", [solver for solver, _ in WEAK])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_point_keeps_its_marginals_at_any_number_of_steps(schedule: str, solver: Solver) -> None:
    for steps in (2, 5):
        assert max(abs(part) for part in off(solver, SCHEDULES[schedule], 0.0, steps)) < 1e-9


@pytest.mark.parametrize(("solver", "order"), WEAK)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_variance_converges(schedule: str, solver: Solver, order: int) -> None:
    coarse, fine = (off(solver, SCHEDULES[schedule], 0.6, steps)[1] for steps in (60, 180))
    assert math.log(coarse / fine) / math.log(3) == pytest.approx(order, abs=0.15)
    assert abs(off(solver, SCHEDULES[schedule], 0.6, 60)[0]) < 1e-10  # the mean of one Gaussian stays where it is


@pytest.mark.parametrize("solver", [DDIM(1.0), DPMSolver2M(1.0), Heun(churn=2.0)])
@pytest.mark.parametrize("resample", [Resample(1, 2), Resample(3, 3)])
def test_resampling_keeps_marginals(resample: Resample, solver: Solver) -> None:
    """Up and down again, as often as wanted; the more steps, the closer for data that are spread."""
    chosen = SCHEDULES["cosine"]
    assert abs(off(solver, chosen, 0.0, 6, resample)[1]) < 1e-9
    coarse, fine = (abs(off(solver, chosen, 0.6, steps, resample)[1]) for steps in (12, 48))
    assert fine < 0.35 * coarse


class Louder(Solver):
    """A rule whose noise is a twentieth too large."""

    def __init__(self, solver: Solver, factor: float = 1.05) -> None:
        self.solver, self.factor, self.order = solver, factor, solver.order

    def stage(self, leg: Leg, past: Sequence[Point], schedule: Schedule) -> Stage:
        stage = self.solver.stage(leg, past, schedule)
        return replace(stage, noise=stage.noise * self.factor)


class StaleMeans(Solver):
    """SDE-2M whose weights are those of the probability flow: of e^(-h) in place of e^(-2h)."""

    order = 2

    def stage(self, leg: Leg, past: Sequence[Point], schedule: Schedule) -> Stage:
        right, flow = (DPMSolver2M(eta).stage(leg, past, schedule) for eta in (1.0, 0.0))
        return replace(right, means=flow.means)


@pytest.mark.parametrize(
    "solver", [Louder(DDIM(1.0)), Louder(DPMSolver2M(1.0)), StaleMeans(), Heun(churn=4.0, churn_noise=1.05)]
)
def test_wrong_noise_or_weights_are_noticed(solver: Solver) -> None:
    """A point no longer keeps its marginals."""
    assert max(abs(part) for part in off(solver, SCHEDULES["cosine"], 0.0, 20)) > 1e-2


def test_noise_that_the_history_does_not_know_is_noticed() -> None:
    """SDE-2M without its extrapolation is of first order in the variance."""

    class Forgetful(Solver):
        order = 1

        def stage(self, leg: Leg, past: Sequence[Point], schedule: Schedule) -> Stage:
            return DPMSolver2M(1.0).stage(leg, [], schedule)

    coarse, fine = (off(Forgetful(), SCHEDULES["cosine"], 0.6, steps)[1] for steps in (60, 180))
    assert math.log(coarse / fine) / math.log(3) == pytest.approx(1, abs=0.15)


def off_the_transition(solver: Solver, schedule: Schedule) -> float:
    """The largest deviation of a move upwards from q(x_s | x_t), and of its end from q(x_s | x_0)."""
    worst = 0.0
    for start, end in [(3.0, 2.9), (0.5, -1.0), (-1.0, -3.0)]:
        (alpha, to_alpha), (sigma, to_sigma) = (part.tolist() for part in schedule.alpha_sigma(f64([start, end])))
        stage: Step = solver.renoise(Leg(Point(alpha, sigma, start), Point(to_alpha, to_sigma, end), look=False))
        assert isinstance(stage, Stage)
        assert stage.log_snr is None
        assert stage.means == ()
        worst = max(
            worst,
            abs(stage.base - to_alpha / alpha),
            abs(math.hypot(stage.base * sigma, stage.noise) - to_sigma),
            abs(stage.base * alpha - to_alpha),
        )
    return worst


@pytest.mark.parametrize("solver", [DDIM(), DPMSolver3M(), Heun(churn=1.0)])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_going_up_is_the_exact_transition(schedule: str, solver: Solver) -> None:
    assert off_the_transition(solver, SCHEDULES[schedule]) < 1e-12


def test_a_wrong_transition_is_noticed() -> None:
    assert off_the_transition(Heun(churn=1.0, churn_noise=1.1), SCHEDULES["vp"]) > 1e-3


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_churn_lifts_by_its_share_within_its_range(schedule: str) -> None:
    """sigma / alpha grows by the factor 1 + churn / steps, at most sqrt(2), where it lies in the range."""
    chosen = SCHEDULES[schedule]
    process = JointProcess({"x": Field(shape=(1,))}, {"x": Gaussian(chosen)})
    grid = chosen.time(torch.linspace(-2, 3, 11, dtype=torch.float64)).tolist()
    for churn, factor in ((0.5, 1.05), (100.0, math.sqrt(2))):
        walk = along(grid, Heun(churn=churn, churn_range=(0.2, 3.0)), process)
        up = [move for move in walk.moves if not move.look]
        ratios = torch.exp(-chosen.log_snr(f64([[move.start, move.end] for move in up])))
        torch.testing.assert_close(
            ratios[:, 1] / ratios[:, 0], torch.full((len(up),), factor).double(), rtol=1e-6, atol=0
        )
        inside = torch.exp(-chosen.log_snr(f64(grid[:-1])))
        assert len(up) == int(((inside >= 0.2) & (inside <= 3.0)).sum()) > 3
