"""What the solvers must be equal to: one step of the exact posterior, the closed form of linear problems, and the
spread of stochastic walks, by recursion in place of Monte Carlo."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pytest
import torch
from oracle import SCHEDULES, Mixture, f64, gaussian, level, walk

from suffuse.sampling import DDIM, DPMSolver2M, DPMSolver2S, DPMSolver3M, Euler, Heun, Plan, Solver, Stage
from suffuse.sampling.plan import Leg, Point
from suffuse.schedules import Schedule

STEPS = [(-3.0, -2.5), (-1.3, -0.4), (0.0, 0.01), (1.0, 4.0), (2.0, math.inf)]
SOLVERS: dict[str, Solver] = {
    "ddim": DDIM(),
    "euler": Euler(),
    "heun": Heun(),
    "2s": DPMSolver2S(),
    "2m": DPMSolver2M(),
    "3m": DPMSolver3M(),
}
EXACT = {name: solver for name, solver in SOLVERS.items() if name != "euler"}
"""The exponential integrators, which keep a constant posterior mean exactly."""

STOCHASTIC: list[Solver] = [DDIM(0.4), DDIM(1.0), DPMSolver2M(1.0), DPMSolver3M(1.0), DPMSolver3M(0.5)]


def at(schedule: Schedule, log_snr: float) -> tuple[float, float]:
    alpha, sigma = schedule.alpha_sigma(f64(log_snr))
    return float(alpha), float(sigma)


def even(start: float, end: float, steps: int) -> list[float]:
    return torch.linspace(start, end, steps + 1, dtype=torch.float64).tolist()


class Perturbed(Solver):
    """DDIM with its noise as at the noisier end of the step in place of the cleaner one."""

    order = 1

    def __init__(self, eta: float) -> None:
        self.eta = eta

    def stage(self, leg: Leg, past: Sequence[Point], schedule: Schedule) -> Stage:
        right = DDIM(self.eta).stage(leg, past, schedule)
        wrong = leg.start.sigma / leg.end.sigma if leg.end.sigma else 1.0
        return dataclasses.replace(right, noise=right.noise * wrong)


class ConstantEta(Solver):
    """Stochasticity by ``e^(-eta h)``, which is another family than the paper's and agrees with it at 0 and 1."""

    order = 1

    def __init__(self, eta: float) -> None:
        self.eta = eta

    def stage(self, leg: Leg, past: Sequence[Point], schedule: Schedule) -> Stage:
        h = leg.end.log_snr - leg.start.log_snr
        return Stage(
            leg.start.log_snr,
            leg.end.sigma / leg.start.sigma * math.exp(-self.eta * h),
            (-leg.end.alpha * math.expm1(-(1 + self.eta) * h),),
            leg.end.sigma * math.sqrt(-math.expm1(-2 * self.eta * h)),
        )


def off_the_ancestral_step(solver: Solver, schedule: Schedule) -> float:
    """The largest deviation of a step from the mean and the standard deviation of q(x_s | x_t, x_0)."""
    worst = 0.0
    for start, end in STEPS:
        stage = solver.plan([start, end], schedule).stages[0]
        (alpha, sigma), (to_alpha, to_sigma) = at(schedule, start), at(schedule, end)
        kept = alpha / to_alpha
        added = sigma**2 - kept**2 * to_sigma**2
        exact = (
            kept * to_sigma**2 / sigma**2,
            to_alpha * added / sigma**2,
            math.sqrt(added) * to_sigma / sigma,
        )
        found = (stage.base, stage.means[0], stage.noise)
        worst = max([worst, *(abs(a - b) for a, b in zip(exact, found, strict=True))])
    return worst


def off_the_paper(solver: Solver, schedule: Schedule, eta: float) -> float:
    """The largest deviation of the noise from equation 16 of the DDIM paper, on a variance-preserving schedule."""
    worst = 0.0
    for start, end in STEPS:
        stage = solver.plan([start, end], schedule).stages[0]
        (alpha, sigma), (to_alpha, to_sigma) = at(schedule, start), at(schedule, end)
        exact = eta * to_sigma / sigma * math.sqrt(max(0.0, 1 - alpha**2 / to_alpha**2))
        worst = max(worst, abs(stage.noise - exact))
    return worst


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_eta_one_is_the_ancestral_step(schedule: str) -> None:
    assert off_the_ancestral_step(DDIM(1.0), SCHEDULES[schedule]) < 1e-12
    assert off_the_ancestral_step(Perturbed(1.0), SCHEDULES[schedule]) > 1e-3
    assert off_the_ancestral_step(DDIM(0.9), SCHEDULES[schedule]) > 1e-3


@pytest.mark.parametrize("eta", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("schedule", ["vp", "cosine"])
def test_eta_is_that_of_the_paper(schedule: str, eta: float) -> None:
    assert off_the_paper(DDIM(eta), SCHEDULES[schedule], eta) < 1e-12


def test_another_eta_is_noticed() -> None:
    assert off_the_paper(ConstantEta(0.5), SCHEDULES["vp"], 0.5) > 1e-3


@pytest.mark.parametrize("solver", [*EXACT.values(), *STOCHASTIC])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_means_are_consistent(schedule: str, solver: Solver) -> None:
    """Where the posterior mean is x_0 itself all along, a step takes alpha_t x_0 to alpha_s x_0."""
    chosen = SCHEDULES[schedule]
    grid = [-2.0, -1.5, 0.3, 1.0, 4.0, math.inf]
    alphas = [at(chosen, log_snr)[0] for log_snr in grid]
    stages = solver.plan(grid, chosen).stages
    position = -1
    for stage, following in zip(stages, [*stages[1:], None], strict=True):
        position += stage.commit
        if following is None or following.commit:  # the stage with which a step ends
            assert isinstance(stage, Stage)
            assert stage.base * alphas[position] + sum(stage.means) == pytest.approx(alphas[position + 1], rel=1e-9)


@pytest.mark.parametrize("solver", EXACT)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_point_is_exact_at_any_number_of_steps(schedule: str, solver: str) -> None:
    chosen, steps = SCHEDULES[schedule], [-3.0, -2.7, 0.0, 2.0, 2.5]
    x = f64([[-4.0], [0.3], [2.0]])
    point = gaussian(0.7, 1e-9)
    made = walk(SOLVERS[solver].plan(steps, chosen), chosen, point, x)
    (alpha, sigma), (to_alpha, to_sigma) = at(chosen, steps[0]), at(chosen, steps[-1])
    torch.testing.assert_close(made, to_alpha * 0.7 + to_sigma / sigma * (x - alpha * 0.7), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_gaussian_data_follow_their_closed_form(schedule: str, solver: str) -> None:
    """Along the probability flow (x - alpha m) / sqrt(alpha^2 s^2 + sigma^2) does not change."""
    chosen, mean, deviation = SCHEDULES[schedule], -0.4, 0.6
    grid = even(-3.0, 3.0, 400)
    (alpha, sigma), (to_alpha, to_sigma) = at(chosen, grid[0]), at(chosen, grid[-1])
    standard = f64([[-2.0], [-0.1], [1.5]])
    start = alpha * mean + standard * math.hypot(alpha * deviation, sigma)
    made = walk(SOLVERS[solver].plan(grid, chosen), chosen, gaussian(mean, deviation), start)
    exact = to_alpha * mean + standard * math.hypot(to_alpha * deviation, to_sigma)
    tolerance = 0.02 if SOLVERS[solver].order == 1 else 2e-4
    torch.testing.assert_close(made, exact, rtol=0, atol=tolerance * float(standard.abs().max()))


def spread(plan: Plan, schedule: Schedule, data: Mixture, variance: float) -> float:
    """The variance of a first-order walk of one-dimensional Gaussian data, by linear recursion from ``variance``."""
    s = float(data.deviations[0])
    for stage in plan:
        assert stage.log_snr is not None
        alpha, sigma = at(schedule, stage.log_snr)
        slope = alpha * s**2 / ((alpha * s) ** 2 + sigma**2)
        variance = (stage.base + stage.means[0] * slope) ** 2 * variance + stage.noise**2
    return variance


def test_recursion_is_the_walk() -> None:
    """The spread that the recursion tells of is the kernel's, seen by pushing single noises through."""
    schedule, data = SCHEDULES["flow"], gaussian(0.3, 0.8)
    plan = DDIM(0.6).plan([-2.0, -0.5, 0.5, 2.0], schedule)
    base = walk(plan, schedule, data, f64([[0.0]]), lambda _: f64([[0.0]]))
    parts = [walk(plan, schedule, data, f64([[1.0]]), lambda _: f64([[0.0]])) - base]
    for source in range(len(plan)):
        parts.append(
            walk(plan, schedule, data, f64([[0.0]]), lambda index, n=source: f64([[float(index == n)]])) - base
        )
    assert float(torch.cat(parts).square().sum()) == pytest.approx(spread(plan, schedule, data, 1.0), rel=1e-12)


def off_the_marginal(solver: Solver, schedule: Schedule, deviation: float, steps: int) -> float:
    """Relative error of the variance after a walk over log-SNRs of -3 to 3 from the true marginal."""
    grid = even(-3.0, 3.0, steps)
    (alpha, sigma), (to_alpha, to_sigma) = at(schedule, grid[0]), at(schedule, grid[-1])
    made = spread(solver.plan(grid, schedule), schedule, gaussian(0.0, deviation), (alpha * deviation) ** 2 + sigma**2)
    return made / ((to_alpha * deviation) ** 2 + to_sigma**2) - 1


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_marginals_are_kept(schedule: str, eta: float) -> None:
    """Exactly for a point at any number of steps; to first order for data that are spread."""
    chosen = SCHEDULES[schedule]
    assert abs(off_the_marginal(DDIM(eta), chosen, 0.0, 5)) < 1e-12
    coarse, fine = (off_the_marginal(DDIM(eta), chosen, 0.6, steps) for steps in (200, 400))
    assert abs(fine) < 0.05
    assert math.log2(coarse / fine) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_wrong_noise_is_noticed(schedule: str) -> None:
    chosen = SCHEDULES[schedule]
    assert abs(off_the_marginal(Perturbed(1.0), chosen, 0.0, 5)) > 0.05


def test_levels_of_the_oracle_follow_the_schedule() -> None:
    """The closed form itself: its mean is the slope of the log-density (Tweedie's formula), by automatic derivative."""
    data, chosen = gaussian(0.5, 0.7), SCHEDULES["cosine"]
    here = level(chosen, 0.4, 5)
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None].requires_grad_()
    variance = (here.alpha * 0.7) ** 2 + here.sigma**2
    log_density = -((x[:, 0] - here.alpha * 0.5) ** 2) / (2 * variance)
    (score,) = torch.autograd.grad(log_density.sum(), x)
    tweedie = (x.detach() + here.sigma[:, None] ** 2 * score) / here.alpha[:, None]
    torch.testing.assert_close(data.mean(x.detach(), here.alpha, here.sigma), tweedie)
