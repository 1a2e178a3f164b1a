"""Each deterministic rule converges at the order that it claims, on every schedule and every kind of grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from oracle import MIXTURE, SCHEDULES, f64, flow, level, scaled, walk
from torch import Tensor

from suffuse.fields import Field
from suffuse.processes import Gaussian, JointProcess
from suffuse.sampling import (
    DDIM,
    DPMSolver2M,
    DPMSolver2S,
    DPMSolver3M,
    Euler,
    Heun,
    Seeds,
    Solver,
    Stage,
    karras,
    sample,
)
from suffuse.sampling.plan import Leg, Move, Point
from suffuse.schedules import Schedule
from suffuse.state import State

START, END = -3.0, 3.0
STEPS = (80, 160, 320)
SOLVERS: dict[str, Solver] = {
    "ddim": DDIM(),
    "euler": Euler(),
    "heun": Heun(),
    "2s": DPMSolver2S(),
    "2m": DPMSolver2M(),
    "3m": DPMSolver3M(),
}


def even_log_snr(steps: int, schedule: Schedule) -> list[float]:
    return torch.linspace(START, END, steps + 1, dtype=torch.float64).tolist()


def even_root_of_ratio(steps: int, schedule: Schedule) -> list[float]:
    ends = torch.exp(-f64([START, END]) / 7)
    return (-7 * torch.lerp(ends[0], ends[1], torch.linspace(0, 1, steps + 1, dtype=torch.float64)).log()).tolist()


def even_time(steps: int, schedule: Schedule) -> list[float]:
    ends = schedule.time(f64([START, END]))
    times = torch.lerp(ends[0], ends[1], torch.linspace(0, 1, steps + 1, dtype=torch.float64))
    return schedule.log_snr(times).tolist()


GRIDS = {"lambda": even_log_snr, "karras": even_root_of_ratio, "time": even_time}


@pytest.fixture(scope="module")
def flowed() -> tuple[Tensor, Tensor]:
    """Some y = x / alpha at the log-SNR `START`, and the same points at `END`."""
    generator = torch.Generator().manual_seed(0)
    centres = MIXTURE.means[torch.randint(3, (16,), generator=generator)]
    y = centres + math.exp(-START) * torch.randn(16, 2, generator=generator, dtype=torch.float64)
    return y, flow(MIXTURE, y, START, END)


def measured_order(
    solver: Solver,
    schedule: Schedule,
    grid: Callable[[int, Schedule], list[float]],
    flowed: tuple[Tensor, Tensor],
) -> float:
    """The slope of log error over log steps."""
    start, end = scaled(schedule, flowed[0], START), scaled(schedule, flowed[1], END)
    errors = [
        float((walk(solver.plan(grid(steps, schedule), schedule), schedule, MIXTURE, start) - end).square().mean())
        for steps in STEPS
    ]
    return 0.5 * math.log(errors[0] / errors[-1]) / math.log(STEPS[-1] / STEPS[0])


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_order(solver: str, schedule: str, grid: str, flowed: tuple[Tensor, Tensor]) -> None:
    order = measured_order(SOLVERS[solver], SCHEDULES[schedule], GRIDS[grid], flowed)
    assert order == pytest.approx(SOLVERS[solver].order, abs=0.15)


class Changed(Solver):
    """A rule with one thing wrong in every stage."""

    def __init__(self, solver: Solver, change: Callable[[Stage, float, float], Stage]) -> None:
        self.solver, self.change, self.order = solver, change, solver.order

    def route(self, grid: Sequence[float], reference: Schedule) -> list[Move]:
        return self.solver.route(grid, reference)

    def stage(self, leg: Leg, past: Sequence[Point], schedule: Schedule) -> Stage:
        anchor = leg.start if leg.first else past[0]
        return self.change(self.solver.stage(leg, past, schedule), anchor.alpha, leg.end.alpha)


def remade(stage: Stage, means: tuple[float, ...]) -> Stage:
    return Stage(stage.log_snr, stage.base, means, stage.noise, stage.commit)


def alpha_of_the_start(stage: Stage, at: float, to: float) -> Stage:
    return remade(stage, tuple(weight * at / to for weight in stage.means))


def sign_of_the_slope(stage: Stage, at: float, to: float) -> Stage:
    if len(stage.means) == 1:
        return stage
    return remade(stage, (stage.means[0] + 2 * stage.means[1], -stage.means[1]))


def sign_of_the_mean(stage: Stage, at: float, to: float) -> Stage:
    return remade(stage, (-stage.means[0], *stage.means[1:]))


def order_of_the_history(stage: Stage, at: float, to: float) -> Stage:
    return remade(stage, stage.means[::-1])


def half_the_curvature(stage: Stage, at: float, to: float) -> Stage:
    """As if the second difference were the second derivative, a mistake that is in wide use."""
    if len(stage.means) < 3:
        return stage
    curvature = stage.means[2] / 2
    return remade(stage, (stage.means[0] - curvature, stage.means[1] + 2 * curvature, stage.means[2] - curvature))


def no_start(stage: Stage, at: float, to: float) -> Stage:
    """The second stage of the first step looks away, as if the walk began with a first-order step."""
    return remade(stage, (0.0, sum(stage.means))) if not stage.commit else stage


def only_the_old_mean(stage: Stage, at: float, to: float) -> Stage:
    return remade(stage, (0.0, sum(stage.means))) if not stage.commit else stage


@pytest.mark.parametrize(
    ("solver", "change"),
    [
        (DDIM(), sign_of_the_mean),
        (DPMSolver2M(), alpha_of_the_start),
        (DPMSolver2M(), sign_of_the_slope),
        (DPMSolver2M(), order_of_the_history),
        (Heun(), alpha_of_the_start),
        (Heun(), sign_of_the_slope),
        (Heun(), only_the_old_mean),
        (Euler(), sign_of_the_mean),
        (DPMSolver2S(), alpha_of_the_start),
        (DPMSolver2S(), only_the_old_mean),
        (DPMSolver3M(), order_of_the_history),
        (DPMSolver3M(), half_the_curvature),
        (DPMSolver3M(), no_start),
    ],
)
def test_broken_rules_are_noticed(
    solver: Solver, change: Callable[[Stage, float, float], Stage], flowed: tuple[Tensor, Tensor]
) -> None:
    order = measured_order(Changed(solver, change), SCHEDULES["cosine"], even_log_snr, flowed)
    assert order != pytest.approx(solver.order, abs=0.15)


def run(solver: Solver, schedule: Schedule, grid: list[float], x: Tensor) -> Tensor:
    process = JointProcess({"x": Field(shape=(2,))}, {"x": Gaussian(schedule)})
    seeds = Seeds(0, range(len(x)))
    return sample(MIXTURE, State({"x": x}), grid, solver, process=process, seeds=seeds)["x"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_last_step_is_first_order(solver: str, schedule: str, flowed: tuple[Tensor, Tensor]) -> None:
    """One step of a first-order rule errs by the square of its length, here sigma / alpha."""
    chosen = SCHEDULES[schedule]
    clean = flow(MIXTURE, flowed[1], END, 25.0)
    errors = []
    for log_snr in (4.0, 5.0):
        x = scaled(chosen, flow(MIXTURE, flowed[1], END, log_snr), log_snr)
        grid = [float(chosen.time(f64(log_snr))), 0.0]
        made = run(SOLVERS[solver], chosen, grid, x)
        at = level(chosen, log_snr, len(x))
        torch.testing.assert_close(made, MIXTURE.mean(x, at.alpha, at.sigma), rtol=1e-10, atol=1e-12)
        errors.append(float((made - clean).square().mean().sqrt()))
    assert math.log(errors[0] / errors[1]) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_whole_walk_reaches_the_data(solver: str, schedule: str, flowed: tuple[Tensor, Tensor]) -> None:
    """The executor, from noise to the clean state, comes closer to the exact flow the more steps it makes."""
    chosen = SCHEDULES[schedule]
    clean = flow(MIXTURE, flowed[0], START, 25.0)
    start = scaled(chosen, flowed[0], START)
    errors = []
    for steps in (20, 80):
        grid = karras(steps, chosen, start=float(chosen.time(f64(START))))
        errors.append(float((run(SOLVERS[solver], chosen, grid, start) - clean).square().mean().sqrt()))
    assert errors[1] < 0.4 * errors[0]
    assert errors[1] < (0.1 if SOLVERS[solver].order == 1 else 0.01)
