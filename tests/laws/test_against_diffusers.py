"""The same numbers as diffusers' schedulers, on the same grid, from the same posterior means and the same noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from oracle import MIXTURE, f64, walk
from torch import Tensor

from suffuse.sampling import DDIM, DPMSolver2M, Heun, Solver, Stage
from suffuse.sampling.plan import Leg, Move, Point
from suffuse.schedules import EDM, Cosine, Schedule

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install 'suffuse[dev]'")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STEPS = 25
VP: Schedule = Cosine()
"""Any variance-preserving schedule: the grids are given as log-SNRs."""

BETAS: dict[str, Any] = {"num_train_timesteps": 1000, "beta_schedule": "linear", "prediction_type": "sample"}


def points(count: int = 8) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def noises() -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(8, 2, generator=generator, dtype=torch.float64) for _ in range(STEPS)]


def in_double(scheduler: Any) -> Any:
    """The scheduler with its table of signal in float64, so that rounding does not hide a difference."""
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.set_timesteps(STEPS)
    return scheduler


def log_snrs(scheduler: Any) -> list[float]:
    """Those that the scheduler visits, and the clean state."""
    kept = scheduler.alphas_cumprod[scheduler.timesteps]
    return [*(0.5 * torch.log(kept / (1 - kept))).tolist(), float("inf")]


def mean_at(x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return MIXTURE.mean(x, alpha.expand(len(x)), sigma.expand(len(x)))


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def off_ddim(solver: Solver, eta: float) -> float:
    scheduler = in_double(diffusers.DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=True))
    x, fresh = points(), noises()
    for t, noise in zip(scheduler.timesteps, fresh, strict=True):
        kept = scheduler.alphas_cumprod[t]
        mean = mean_at(x, kept.sqrt(), (1 - kept).sqrt())
        x = scheduler.step(mean, t, x, eta=eta, variance_noise=noise).prev_sample
    ours = walk(solver.plan(log_snrs(scheduler), VP), VP, MIXTURE, points(), fresh.__getitem__)
    return relative(ours, x)


def off_ddpm(solver: Solver) -> float:
    scheduler = in_double(diffusers.DDPMScheduler(**BETAS, clip_sample=False, variance_type="fixed_small"))
    x, generator = points(), torch.Generator().manual_seed(5)
    for t in scheduler.timesteps:
        kept = scheduler.alphas_cumprod[t]
        mean = mean_at(x, kept.sqrt(), (1 - kept).sqrt())
        x = scheduler.step(mean, t, x, generator=generator).prev_sample
    ours = walk(solver.plan(log_snrs(scheduler), VP), VP, MIXTURE, points(), noises().__getitem__)
    return relative(ours, x)


def off_2m(solver: Solver) -> float:
    scheduler = in_double(
        diffusers.DPMSolverMultistepScheduler(
            **BETAS, algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint", final_sigmas_type="zero"
        )
    )
    kept = scheduler.alphas_cumprod[scheduler.timesteps]
    scheduler.sigmas = torch.cat([((1 - kept) / kept).sqrt(), f64([0.0])])
    x = points()
    for t, share in zip(scheduler.timesteps, kept, strict=True):
        x = scheduler.step(mean_at(x, share.sqrt(), (1 - share).sqrt()), t, x).prev_sample.double()
    ours = walk(solver.plan(log_snrs(scheduler), VP), VP, MIXTURE, points())
    return relative(ours, x)


def off_heun(solver: Solver) -> float:
    """Heun of diffusers works on x / alpha, which is what the variance-exploding schedule has."""
    scheduler = in_double(diffusers.HeunDiscreteScheduler(**{**BETAS, "prediction_type": "epsilon"}))
    kept = scheduler.alphas_cumprod[scheduler.timesteps.double().round().long()]
    sigmas = ((1 - kept) / kept).sqrt()
    scheduler.sigmas = torch.cat([sigmas, f64([0.0])])
    grid = [*(-sigmas[:1].log()).tolist(), *(-sigmas[1::2].log()).tolist(), float("inf")]
    start = points() * sigmas[0]
    x = start
    for t, sigma in zip(scheduler.timesteps, sigmas, strict=True):
        noise = (x - mean_at(x, f64(1.0), sigma)) / sigma
        x = scheduler.step(noise, t, x).prev_sample
    return relative(walk(solver.plan(grid, EDM()), EDM(), MIXTURE, start), x)


@pytest.mark.parametrize("eta", [0.0, 0.3, 0.8, 1.0])
def test_ddim(eta: float) -> None:
    assert off_ddim(DDIM(eta), eta) < 1e-5


def test_ddpm() -> None:
    assert off_ddpm(DDIM(1.0)) < 1e-5


def test_2m() -> None:
    assert off_2m(DPMSolver2M()) < 1e-5


def test_heun() -> None:
    assert off_heun(Heun()) < 1e-5


class Slightly(Solver):
    """A rule whose means weigh a ten-thousandth too much, far less than any real mistake would change."""

    def __init__(self, solver: Solver) -> None:
        self.solver, self.order = solver, solver.order

    def route(self, grid: Sequence[float], reference: Schedule) -> list[Move]:
        return self.solver.route(grid, reference)

    def stage(self, leg: Leg, past: Sequence[Point], schedule: Schedule) -> Stage:
        stage = self.solver.stage(leg, past, schedule)
        return dataclasses.replace(stage, means=tuple(1.0001 * weight for weight in stage.means))


def test_broken_rules_are_noticed() -> None:
    assert off_ddim(Slightly(DDIM()), 0.0) > 1e-5
    assert off_ddim(DDIM(0.5), 0.6) > 1e-5
    assert off_ddpm(DDIM(0.9)) > 1e-5
    assert off_2m(Slightly(DPMSolver2M())) > 1e-5
    assert off_2m(DDIM()) > 1e-5
    assert off_heun(Slightly(Heun())) > 1e-5
