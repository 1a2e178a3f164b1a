"""How near samplers come to the exact solution, beside diffusers, k-diffusion and azula, on data whose posterior mean
is known (three round Gaussians in the plane). All walk from sigma / alpha = 80 over 0.002 to the clean state from the
same points, on the same kind of grid, with the same number of network evaluations (NFE; two-stage rules take one less
of an even number); the error is the root mean square distance to the end of the exact probability flow (DOP853 at
1e-12), the data having a deviation of about 1. In float64, but for the schedulers of diffusers, most of which compute
in float32. Rules with noise are measured by the mean distance between the quantiles of projections of the samples and
of the data. The third-order rule of diffusers and
k-diffusion takes the second difference of the beliefs for their second derivative, of which it is half, so that it
lies between the second and the third order and converges at the second; suffuse and azula weigh it in full. A rule
that extrapolates less errs less where steps are long, and more where they are short."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import loop, mixture, peers
from benchmarks.harness import Bar, Cell, Findings, Options, Table, interleaved
from benchmarks.peers import Walk
from suffuse.sampling import (
    DDIM,
    DPMSolver2M,
    DPMSolver2S,
    DPMSolver3M,
    Euler,
    Heun,
    Solver,
    karras,
    uniform_lambda,
)
from suffuse.schedules import EDM

__all__ = ["GRIDS", "NFE", "Contender", "measure"]

NFE = (5, 10, 20, 50)
SCHEDULE = EDM()
GRIDS: dict[str, Callable[[int, EDM], list[float]]] = {"Karras": karras, "even log-SNR": uniform_lambda}
OWN = "not in suffuse"
"""The rule of samplers that only another library has."""

TOLERANCE = 1.01
"""An error this much above another's counts as equal: some of the others round to float32."""


@dataclass(frozen=True)
class Contender:
    """One sampler.

    Args:
        rule: what it is, whatever the library.
        name: library and sampler.
        walk: the sampler itself.
        intervals: of the grid, for a budget of evaluations.
    """

    rule: str
    name: str
    walk: Walk
    intervals: Callable[[int], int] = int


def measure(options: Options) -> Findings:
    """Errors on both grids, who is nearest, orders of the third-order rules, distances with noise, times."""
    packages = peers.versions()
    torch.set_num_threads(1)
    points, draws, lengths, rounds = (8, 500, (20, 40), 2) if options.quick else (256, 100_000, (40, 80, 160, 320), 20)
    start = math.exp(-SCHEDULE.log_snr_min)
    y = mixture.noisy(points, start, 0)
    goal = mixture.flow(y, start)

    def error(made: Tensor) -> float:
        return float((made - goal).square().mean().sqrt())

    exact, random = deterministic(), stochastic()
    errors = {grid: {one: [error(made(one, grid, nfe, y)) for nfe in NFE] for one in exact} for grid in GRIDS}
    begin = mixture.noisy(draws, start, 1)
    distances = {one: [mixture.sliced_distance(made(one, "Karras", nfe, begin)) for nfe in NFE] for one in random}
    floor = mixture.sliced_distance(mixture.clean(draws, 7))
    slopes = orders(lengths, y)
    timed = loop.contenders(20)
    times = interleaved({name: walk for walks in timed.values() for name, walk in walks.items()}, rounds)
    third = slopes.rows[0][-1]
    assert isinstance(third, float)
    return Findings(
        bars=[
            *(bar for grid, rows in errors.items() for bar in nearest(grid, rows)),
            Bar(promise="DPM-Solver++ 3M of suffuse: third order on a long grid", found=third, met=third > 2.85),
            *loop.fastest(timed, times),
        ],
        tables=[
            *(shown(f"Error on the grid: {grid}", rows) for grid, rows in errors.items()),
            best(errors),
            slopes,
            shown(
                "With noise, on the grid: Karras (distance of projected quantiles)",
                distances,
                [["", f"draws of the data themselves: {floor:.2g}", *[floor] * len(NFE)]],
            ),
            *(
                Table(
                    title=f"Time of a step, 16x3x32x32: {table.title.lower()}", columns=table.columns, rows=table.rows
                )
                for table in loop.tables(timed, times)
            ),
        ],
        settings={"start points": points, "start points with noise": draws, "walks timed": rounds, **packages},
    )


def deterministic() -> list[Contender]:
    """The rules that suffuse and another library have, suffuse first in each, and the best of those it has not."""
    double, scheduler = _double, peers.scheduler
    multistep = "DPMSolverMultistepScheduler"
    return [
        _own("DDIM", DDIM()),
        Contender("DDIM", "diffusers DDIMScheduler", peers.ddim()),
        Contender("DDIM", "diffusers EulerDiscrete", scheduler("EulerDiscreteScheduler", "exploding", "epsilon")),
        Contender("DDIM", "k-diffusion euler", peers.along("sample_euler")),
        Contender("DDIM", "azula DDIM", peers.azula("DDIMSampler")),
        Contender("Euler, flow", "suffuse", peers.ours(Euler(), "flow")),
        Contender(
            "Euler, flow", "diffusers FlowMatchEuler", scheduler("FlowMatchEulerDiscreteScheduler", "flow", "velocity")
        ),
        Contender("Euler, flow", "azula vAB, order 1", peers.azula("vABSampler", order=1)),
        _own("Heun", Heun()),
        Contender(
            "Heun", "diffusers HeunDiscrete", scheduler("HeunDiscreteScheduler", "exploding", "epsilon", "ends"), double
        ),
        Contender("Heun", "k-diffusion heun", peers.along("sample_heun"), double),
        Contender("Heun", "azula Heun", peers.azula("HeunSampler"), double),
        _own("DPM-Solver++ 2S", DPMSolver2S()),
        Contender(
            "DPM-Solver++ 2S",
            "diffusers DPMSolverSinglestep",
            scheduler("DPMSolverSinglestepScheduler", "preserving", "sample", "middle", lower_order_final=True),
            double,
        ),
        Contender(
            "DPM-Solver++ 2S",
            "k-diffusion dpmpp_2s_ancestral, eta = 0",
            peers.along("sample_dpmpp_2s_ancestral", eta=0.0),
            double,
        ),
        _own("DPM-Solver++ 2M", DPMSolver2M()),
        Contender("DPM-Solver++ 2M", "diffusers DPMSolverMultistep", scheduler(multistep, "preserving", "sample")),
        Contender("DPM-Solver++ 2M", "k-diffusion dpmpp_2m", peers.along("sample_dpmpp_2m")),
        Contender("DPM-Solver++ 2M", "azula xEAB, order 2", peers.azula("xEABSampler", order=2)),
        *_third(),
        Contender(OWN, "diffusers UniPC, order 2", scheduler("UniPCMultistepScheduler", "preserving", "sample")),
        Contender(
            OWN,
            "diffusers UniPC, order 3",
            scheduler("UniPCMultistepScheduler", "preserving", "sample", solver_order=3),
        ),
        Contender(OWN, "k-diffusion lms, order 4", peers.along("sample_lms")),
        Contender(OWN, "k-diffusion dpm_2", peers.along("sample_dpm_2"), double),
        Contender(OWN, "azula vAB, order 3", peers.azula("vABSampler", order=3)),
        Contender(OWN, "azula zEAB, order 3", peers.azula("zEABSampler", order=3)),
        Contender(OWN, "azula REAB, order 2", peers.azula("REABSampler", order=2)),
    ]


def stochastic() -> list[Contender]:
    """The rules with noise that suffuse and another library have."""
    multistep = "DPMSolverMultistepScheduler"
    return [
        _own("DDPM", DDIM(1.0)),
        Contender("DDPM", "diffusers DDIMScheduler, eta = 1", peers.ddim(1.0)),
        Contender("DDPM", "k-diffusion euler_ancestral", peers.along("sample_euler_ancestral")),
        Contender("DDPM", "azula DDPM", peers.azula("DDPMSampler")),
        _own("DPM-Solver++ 2M SDE", DPMSolver2M(1.0)),
        Contender(
            "DPM-Solver++ 2M SDE",
            "diffusers DPMSolverMultistep",
            peers.scheduler(multistep, "preserving", "sample", algorithm_type="sde-dpmsolver++"),
        ),
        Contender("DPM-Solver++ 2M SDE", "k-diffusion dpmpp_2m_sde", peers.along("sample_dpmpp_2m_sde", noise=True)),
        _own("DPM-Solver++ 3M SDE", DPMSolver3M(1.0)),
        Contender("DPM-Solver++ 3M SDE", "k-diffusion dpmpp_3m_sde", peers.along("sample_dpmpp_3m_sde", noise=True)),
    ]


def _third() -> list[Contender]:
    rule = "DPM-Solver++ 3M"
    multistep = peers.scheduler("DPMSolverMultistepScheduler", "preserving", "sample", solver_order=3)
    return [
        _own(rule, DPMSolver3M()),
        Contender(rule, "diffusers DPMSolverMultistep, order 3", multistep),
        Contender(rule, "k-diffusion dpmpp_3m_sde, eta = 0", peers.along("sample_dpmpp_3m_sde", eta=0.0)),
        Contender(rule, "azula xEAB, order 3", peers.azula("xEABSampler", order=3)),
    ]


def _own(rule: str, solver: Solver) -> Contender:
    return Contender(rule, "suffuse", peers.ours(solver), solver.intervals)


def _double(evaluations: int) -> int:
    """Intervals of a rule that looks twice in each but the last."""
    return (evaluations + 1) // 2


def made(one: Contender, grid: str, evaluations: int, y: Tensor) -> Tensor:
    """The end of a walk from y, clean.

    Raises:
        RuntimeError: it took more evaluations than it was given.
    """
    torch.manual_seed(0)
    calls = 0

    def denoise(y: Tensor, ratio: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return mixture.mean(y, ratio)

    clocks = GRIDS[grid](one.intervals(evaluations), SCHEDULE)
    levels = SCHEDULE.log_snr(torch.tensor(clocks[:-1], dtype=torch.float64))
    end = one.walk(denoise, [*torch.exp(-levels).tolist(), 0.0], y)
    if calls > evaluations:
        raise RuntimeError(f"{one.rule}, {one.name}: {calls} evaluations out of {evaluations}")
    return end


def orders(lengths: Sequence[int], y: Tensor) -> Table:
    """Slopes of log error over log steps of the third-order rules, between sigma / alpha = e^3 and e^-3.

    The first steps grow by doubling from 1/64 of the later ones, so that a first-order start does not show.
    """
    top = math.exp(3)
    y = mixture.noisy(min(len(y), 64), top, 2)
    goal = mixture.flow(y, top, 1 / top)
    rows: list[list[Cell]] = []
    for one in _third():
        errors = []
        for steps in lengths:
            h = 6 / steps
            begin = [h / 64 * (2**i - 1) for i in range(7)]
            rest = round((6 - begin[-1]) / h)
            places = begin + [begin[-1] + (6 - begin[-1]) * i / rest for i in range(1, rest + 1)]
            end = one.walk(mixture.mean, [math.exp(3 - place) for place in places], y)
            errors.append(float((end - goal).square().mean().sqrt()))
        slope = math.log(errors[-2] / errors[-1]) / math.log(lengths[-1] / lengths[-2])
        rows.append([one.name, *errors, slope])
    return Table(
        title="Order of the third-order rules, on long grids",
        columns=("error, last column: order", *(f"{steps} steps" for steps in lengths), "order"),
        rows=rows,
    )


def nearest(grid: str, errors: Mapping[Contender, Sequence[float]]) -> list[Bar]:
    """For each rule, the largest ratio of the error of suffuse to the least of the same rule elsewhere."""
    bars = []
    for rule in dict.fromkeys(one.rule for one in errors):
        rows = [found for one, found in errors.items() if one.rule == rule]
        if rule != OWN:
            worst = max(own / min(others) for own, *others in zip(*rows, strict=True))
            promise = f"{rule}, {grid}: never less accurate than the same rule elsewhere (largest ratio of errors)"
            bars.append(Bar(promise=promise, found=worst, met=worst <= TOLERANCE))
    return bars


def shown(title: str, errors: Mapping[Contender, Sequence[float]], more: Sequence[Sequence[Cell]] = ()) -> Table:
    """A row for each sampler and a column for each number of evaluations."""
    rows: list[Sequence[Cell]] = [[one.rule, one.name, *found] for one, found in errors.items()]
    return Table(title=title, columns=("rule", "sampler", *(f"{nfe} NFE" for nfe in NFE)), rows=[*rows, *more])


def best(errors: Mapping[str, Mapping[Contender, Sequence[float]]]) -> Table:
    """Who is nearest of all samplers, of suffuse and of the others."""
    rows: list[list[Cell]] = []
    for grid, found in errors.items():
        for place, nfe in enumerate(NFE):
            row: list[Cell] = [f"{grid}, {nfe} NFE"]
            for own in (True, False):
                chosen = [one for one in found if (one.name == "suffuse") == own]
                first = min(chosen, key=lambda one: found[one][place])
                row += [first.rule if own else first.name, found[first][place]]
            rows.append(row)
    return Table(
        title="The nearest sampler of all", columns=("", "of suffuse", "error", "of the others", "error"), rows=rows
    )
