"""Time of one sampling step outside the network, on a batch of 16 images of 3x32x32 in float32 with one thread. The
denoiser returns a constant tensor, so that what is left is the sampler: a whole walk along a grid, with the planning
of its coefficients (or the library's `set_timesteps`), divided by the number of network evaluations. Ours and those of
diffusers take turns in one process; its schedulers are called as its pipelines call them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Bar, Cell, Findings, Options, Skipped, Spread, Table, interleaved
from suffuse.fields import Field
from suffuse.posterior import Mean
from suffuse.processes import Gaussian, JointProcess
from suffuse.sampling import DDIM, DPMSolver2M, Heun, Seeds, Solver, sample, uniform
from suffuse.schedules import LinearBetaVP
from suffuse.state import State

__all__ = ["measure"]

SHAPE = (16, 3, 32, 32)
LIMIT = 60.0
"""Microseconds, of the steps without noise."""


def measure(options: Options) -> Findings:
    """The table of both libraries, and the bar of the steps without noise."""
    try:
        import diffusers
    except ImportError as error:
        raise Skipped('diffusers is not installed: pip install "suffuse[bench]"') from error
    torch.set_num_threads(1)
    steps, rounds = (20, 3) if options.quick else (100, 50)
    betas: dict[str, Any] = {"beta_schedule": "linear", "prediction_type": "epsilon"}
    contenders = {
        "suffuse: DDIM": ours(DDIM(), steps),
        "suffuse: DPM-Solver++ 2M": ours(DPMSolver2M(), steps),
        "suffuse: Heun": ours(Heun(), steps),
        "suffuse: DDIM, eta = 1": ours(DDIM(1.0), steps),
        "diffusers: DDIMScheduler": theirs(diffusers.DDIMScheduler(**betas), steps),
        "diffusers: DPMSolverMultistepScheduler": theirs(diffusers.DPMSolverMultistepScheduler(**betas), steps),
        "diffusers: HeunDiscreteScheduler": theirs(diffusers.HeunDiscreteScheduler(**betas), steps),
        "diffusers: UniPCMultistepScheduler": theirs(diffusers.UniPCMultistepScheduler(**betas), steps),
        "diffusers: DDIMScheduler, eta = 1": theirs(diffusers.DDIMScheduler(**betas), steps, eta=1.0),
    }
    found = interleaved(contenders, rounds)
    bars = [
        Bar(
            promise=f"{name}: under {LIMIT:g} µs a step",
            found=found[name].median,
            met=found[name].median < LIMIT,
        )
        for name in ("suffuse: DDIM", "suffuse: DPM-Solver++ 2M")
    ]
    return Findings(
        bars=bars,
        tables=[_table("Without noise", found, noise=False), _table("With noise", found, noise=True)],
        settings={
            "batch": "x".join(map(str, SHAPE)),
            "steps of a walk": steps,
            "walks of each": rounds,
            "diffusers": diffusers.__version__,
            "noise": "keyed by sample and step (Philox) in suffuse, torch.randn from one generator in diffusers",
        },
    )


def _table(title: str, found: dict[str, Spread], *, noise: bool) -> Table:
    rows: list[list[Cell]] = [[name, *spread.cells()] for name, spread in found.items() if ("eta = 1" in name) == noise]
    return Table(title=title, columns=("µs for one evaluation", "median", "least", "most"), rows=rows)


def ours(solver: Solver, steps: int) -> Callable[[], float]:
    """A walk of `suffuse.sampling.sample`, in microseconds for each evaluation."""
    fields = {"pixels": Field(shape=SHAPE[1:])}
    schedule = LinearBetaVP()
    process = JointProcess(fields, {"pixels": Gaussian(schedule)})
    seeds = Seeds(0, range(SHAPE[0]))
    begin = State({"pixels": torch.randn(SHAPE)})
    posterior = {"pixels": Mean(torch.randn(SHAPE))}
    calls = 0

    def denoiser(state: State, levels: object, condition: object = None) -> dict[str, Mean]:
        nonlocal calls
        calls += 1
        return posterior

    def walk() -> float:
        nonlocal calls
        calls = 0
        began = time.perf_counter()
        sample(denoiser, begin, uniform(steps, schedule), solver, process=process, seeds=seeds)
        return (time.perf_counter() - began) * 1e6 / calls

    return walk


def theirs(scheduler: Any, steps: int, **settings: Any) -> Callable[[], float]:
    """A walk of a scheduler of diffusers, in microseconds for each evaluation."""
    begin, output = torch.randn(SHAPE), torch.randn(SHAPE)
    if settings:
        settings["generator"] = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def walk() -> float:
        began = time.perf_counter()
        scheduler.set_timesteps(steps)
        state: Tensor = begin * scheduler.init_noise_sigma
        for at in scheduler.timesteps:
            scheduler.scale_model_input(state, at)
            state = scheduler.step(output, at, state, **settings).prev_sample
        return (time.perf_counter() - began) * 1e6 / len(scheduler.timesteps)

    return walk
