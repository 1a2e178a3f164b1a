"""Time of one sampling step outside the network, on a batch of 16 images of 3x32x32 in float32 with one thread. The
denoiser returns a constant tensor, so that what is left is the sampler: a whole walk along a grid, with the planning
of its coefficients (or the library's own preparation), divided by the number of network evaluations. The four
libraries take turns in one process; each is called as its documentation or its pipelines call it."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Bar, Cell, Findings, Options, Spread, Table, interleaved
from suffuse.fields import Field
from suffuse.posterior import Mean
from suffuse.processes import Gaussian, JointProcess
from suffuse.sampling import DDIM, DPMSolver2M, DPMSolver2S, DPMSolver3M, Heun, Seeds, Solver, sample, uniform
from suffuse.schedules import LinearBetaVP
from suffuse.state import State

__all__ = ["contenders", "fastest", "measure", "tables"]

SHAPE = (16, 3, 32, 32)
LIMIT = 60.0
"""Microseconds, of the steps without noise."""

Contenders: TypeAlias = Mapping[str, Mapping[str, Callable[[], float]]]
"""By rule and name, a walk that returns microseconds for one evaluation."""


def measure(options: Options) -> Findings:
    """The tables of all libraries, the bar of the steps without noise, and whose loop is the fastest."""
    packages = peers.versions()
    torch.set_num_threads(1)
    steps, rounds = (20, 3) if options.quick else (100, 50)
    rules = contenders(steps)
    found = interleaved({name: walk for walks in rules.values() for name, walk in walks.items()}, rounds)
    bars = [
        Bar(promise=f"{name}: under {LIMIT:g} µs a step", found=found[name].median, met=found[name].median < LIMIT)
        for name in ("suffuse: DDIM", "suffuse: DPM-Solver++ 2M")
    ]
    return Findings(
        bars=[*bars, *fastest(rules, found)],
        tables=tables(rules, found),
        settings={
            "batch": "x".join(map(str, SHAPE)),
            "steps of a walk": steps,
            "walks of each": rounds,
            **packages,
            "noise": "keyed by sample and step (Philox) in suffuse, torch.randn from one generator in the others",
        },
    )


def contenders(steps: int) -> Contenders:
    """The samplers that suffuse and at least one of the others have, and UniPC, which it has not."""
    diffusers: Any = importlib.import_module("diffusers")
    betas: dict[str, Any] = {"beta_schedule": "linear", "prediction_type": "epsilon"}
    third = {**betas, "solver_order": 3}
    single = {**betas, "lower_order_final": True}
    twice = 2 * steps - 1
    return {
        "DDIM": {
            "suffuse: DDIM": ours(DDIM(), steps),
            "diffusers: DDIMScheduler": theirs(diffusers.DDIMScheduler(**betas), steps),
            "k-diffusion: sample_euler": along("sample_euler", steps, steps),
            "azula: DDIMSampler": azula("DDIMSampler", steps, steps),
        },
        "DPM-Solver++ 2M": {
            "suffuse: DPM-Solver++ 2M": ours(DPMSolver2M(), steps),
            "diffusers: DPMSolverMultistepScheduler": theirs(diffusers.DPMSolverMultistepScheduler(**betas), steps),
            "k-diffusion: sample_dpmpp_2m": along("sample_dpmpp_2m", steps, steps),
            "azula: xEABSampler, order 2": azula("xEABSampler", steps, steps, order=2),
        },
        "DPM-Solver++ 3M": {
            "suffuse: DPM-Solver++ 3M": ours(DPMSolver3M(), steps),
            "diffusers: DPMSolverMultistepScheduler, order 3": theirs(
                diffusers.DPMSolverMultistepScheduler(**third), steps
            ),
            "k-diffusion: sample_dpmpp_3m_sde, eta = 0": along("sample_dpmpp_3m_sde", steps, steps, eta=0.0),
            "azula: xEABSampler, order 3": azula("xEABSampler", steps, steps, order=3),
        },
        "DPM-Solver++ 2S": {
            "suffuse: DPM-Solver++ 2S": ours(DPMSolver2S(), steps),
            "diffusers: DPMSolverSinglestepScheduler": theirs(diffusers.DPMSolverSinglestepScheduler(**single), twice),
            "k-diffusion: sample_dpmpp_2s_ancestral, eta = 0": along(
                "sample_dpmpp_2s_ancestral", steps, twice, eta=0.0
            ),
        },
        "Heun": {
            "suffuse: Heun": ours(Heun(), steps),
            "diffusers: HeunDiscreteScheduler": theirs(diffusers.HeunDiscreteScheduler(**betas), steps),
            "k-diffusion: sample_heun": along("sample_heun", steps, twice),
            "azula: HeunSampler": azula("HeunSampler", steps, 2 * steps),
        },
        "UniPC": {"diffusers: UniPCMultistepScheduler": theirs(diffusers.UniPCMultistepScheduler(**betas), steps)},
        "DDIM, eta = 1": {
            "suffuse: DDIM, eta = 1": ours(DDIM(1.0), steps),
            "diffusers: DDIMScheduler, eta = 1": theirs(diffusers.DDIMScheduler(**betas), steps, eta=1.0),
            "k-diffusion: sample_euler_ancestral": along("sample_euler_ancestral", steps, steps),
            "azula: DDPMSampler": azula("DDPMSampler", steps, steps),
        },
    }


def fastest(rules: Contenders, found: Mapping[str, Spread]) -> list[Bar]:
    """For each rule of suffuse, its time over that of the fastest other library."""
    bars = []
    for rule, walks in rules.items():
        names = list(walks)
        if len(names) > 1:
            share = found[names[0]].median / min(found[name].median for name in names[1:])
            bars.append(Bar(promise=f"{rule}: the fastest loop (its time over the next)", found=share, met=share < 1))
    return bars


def tables(rules: Contenders, found: Mapping[str, Spread]) -> list[Table]:
    """One for the walks without noise and one for those with it."""
    made = []
    for title, noise in (("Without noise", False), ("With noise", True)):
        names = [name for rule, walks in rules.items() if ("eta = 1" in rule) == noise for name in walks]
        rows: list[list[Cell]] = [[name, *found[name].cells()] for name in names]
        made.append(Table(title=title, columns=("µs for one evaluation", "median", "least", "most"), rows=rows))
    return made


def ours(solver: Solver, steps: int) -> Callable[[], float]:
    """A walk of `suffuse.sampling.sample`, in microseconds for each evaluation."""
    fields = {"pixels": Field(shape=SHAPE[1:])}
    schedule = LinearBetaVP()
    process = JointProcess(fields, {"pixels": Gaussian(schedule)})
    seeds = Seeds(0, range(SHAPE[0]))
    begin = State({"pixels": torch.randn(SHAPE)})
    posterior = {"pixels": Mean(torch.randn(SHAPE))}
    calls = 0

    def denoiser(state: State, levels: object, condition: object = None, previous: object = None) -> dict[str, Mean]:
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


def along(name: str, steps: int, evaluations: int, **settings: Any) -> Callable[[], float]:
    """A walk of a function of k-diffusion, in microseconds for each evaluation.

    Its Brownian trees, which cost a multiple of plain numbers, are not used.
    """
    sampling = peers.k_diffusion()
    function = getattr(sampling, name)
    begin, output = torch.randn(SHAPE) * 80, torch.randn(SHAPE)
    if name.endswith("_sde"):
        settings["noise_sampler"] = lambda at, to: torch.randn_like(begin)

    def walk() -> float:
        began = time.perf_counter()
        sigmas = sampling.get_sigmas_karras(steps, 0.002, 80.0)
        function(lambda x, sigma: output, begin, sigmas, disable=True, **settings)
        return (time.perf_counter() - began) * 1e6 / evaluations

    return walk


def azula(name: str, steps: int, evaluations: int, **settings: Any) -> Callable[[], float]:
    """A walk of a sampler of azula, in microseconds for each evaluation."""
    denoise, noise, samplers = (importlib.import_module(f"azula.{part}") for part in ("denoise", "noise", "sample"))
    begin, output = torch.randn(SHAPE), denoise.DiracPosterior(torch.randn(SHAPE))

    class Constant(denoise.Denoiser):  # type: ignore[misc, name-defined]
        schedule = noise.VPSchedule()

        def forward(self, x_t: Tensor, t: Tensor) -> Any:
            return output

    known = Constant()

    def walk() -> float:
        began = time.perf_counter()
        getattr(samplers, name)(known, steps=steps, silent=True, **settings)(begin)
        return (time.perf_counter() - began) * 1e6 / evaluations

    return walk
