"""Classes. The O(K) kernel of a reverse step beside the direct one with K x K matrices: the distribution at the end of
a walk, propagated exactly on problems of one and two entries, and the time and memory of a step with its draw. Then a
number and a class that depend on each other: the total variation of their joint distribution when a rule of each order
moves the number and ancestral draws move the class, with an exact denoiser."""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import direct, together
from benchmarks.harness import Bar, Cell, Findings, Options, Table, interleaved
from suffuse.processes.discrete import draw
from suffuse.sampling import DDIM, DPMSolver2M, DPMSolver2S, DPMSolver3M, Heun, Solver
from suffuse.sampling.kernels import reverse

__all__ = ["measure"]

STEPS = (4, 8, 16, 32, 64)
SMALL, LARGE = 16, 32_000
SIZES = (SMALL, 256, 4_096, LARGE)
KEEP, KEEP_TO = 0.5, 0.6
MOST = 5_000
"""Classes beyond which the direct kernel is not run: its three matrices would need most of a machine's memory."""


def measure(options: Options) -> Findings:
    """Exact walks, times, and the joint walk."""
    torch.set_num_threads(1)
    rounds, count = (2, 2_000) if options.quick else (30, 400_000)
    classes = 4 if options.quick else SMALL
    grown = growth(LARGE)
    walks, apart, orders = exact_walks(classes)
    times, ratio = step_times(rounds)
    joint, shares = joint_walk(count)
    half = shares["DPM-Solver++ 2M"] / shares["DDIM"]
    return Findings(
        bars=[
            Bar(
                promise="one entry: exact at any number of steps (total variation)", found=walks[1], met=walks[1] < 1e-9
            ),
            Bar(
                promise="the same distribution as the direct kernel (largest difference)",
                found=apart,
                met=apart < 1e-12,
            ),
            Bar(
                promise="two entries: order 0.9 or more from 32 to 64 steps", found=min(orders), met=min(orders) >= 0.9
            ),
            Bar(promise=f"K = {SMALL}: time over that of the direct kernel, 1 or less", found=ratio, met=ratio <= 1),
            Bar(promise=f"K = {LARGE:,}: a step fits in 2 GB", found=grown / 1e9, met=grown < 2e9),
            Bar(promise="joint, 32 steps: 2M above the floor at most half of DDIM", found=half, met=half <= 0.5),
        ],
        tables=[walks[0], times, joint],
        settings={
            "classes of the exact walks": classes,
            "samples of the joint walk": count,
            "memory of the machine (GB)": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        },
    )


def priors(classes: int) -> dict[str, Tensor]:
    """Over the tokens, of which an absorbing prior has one more than there are classes."""
    uneven = torch.arange(1.0, classes + 1, dtype=torch.float64)
    return {
        "uniform": torch.full((classes,), 1 / classes, dtype=torch.float64),
        "marginal": uneven / uneven.sum(),
        "absorbing": torch.tensor([0.0] * classes + [1.0], dtype=torch.float64),
    }


def exact_walks(classes: int) -> tuple[tuple[Table, float], float, list[float]]:
    """The table and the largest error of one entry; the largest difference of the kernels; orders of two entries."""
    rows: list[list[Cell]] = []
    worst = apart = 0.0
    orders = []
    for sites in (1, 2):
        data = direct.toy(classes, sites)
        for name, pi in priors(classes).items():
            errors: list[float] = []
            for steps in STEPS:
                keeps = [math.sin(math.pi / 2 * place / steps) ** 2 for place in range(steps + 1)]
                keeps[-1] = 1.0
                end = direct.end_of_walk(data, pi, keeps, reverse)
                other = direct.end_of_walk(data, pi, keeps, direct.Matrices.step)
                errors.append(float((end - data).abs().sum()) / 2)
                apart = max(apart, float((end - other).abs().max()))
            rows.append([f"{sites} {'entry' if sites == 1 else 'entries'}, {name}", *errors])
            if sites == 1:
                worst = max(worst, *errors)
            else:
                orders.append(math.log2(errors[-2] / errors[-1]))
    columns = ("total variation", *(f"{steps} steps" for steps in STEPS))
    return (Table(title=f"Exact walks, K = {classes}", columns=columns, rows=rows), worst), apart, orders


def growth(classes: int) -> float:
    """The bytes by which one step and its draw raise the most that the process has had. To be asked first of all."""
    work = _step(classes)[0]
    before = _peak()
    work()
    return _peak() - before


def step_times(rounds: int) -> tuple[Table, float]:
    """The table, and the share of our time in that of the direct kernel at `SMALL`."""
    rows: list[list[Cell]] = []
    ratio = 0.0
    for classes in SIZES:
        ours, theirs, entries = _step(classes)
        walks = {"ours": _timed(ours)} | ({"theirs": _timed(theirs)} if theirs else {})
        found = interleaved(walks, rounds if classes <= 4_096 else max(2, rounds // 3))
        times = [found[name].median * 1e3 if name in found else "not run" for name in ("ours", "theirs")]
        sizes = [8 * entries * classes / 1e9, direct.Matrices.bytes(classes) / 1e9]
        rows.append([f"K = {classes:,}, {entries:,} entries", *times, *sizes])
        if classes == SMALL:
            ratio = found["ours"].median / found["theirs"].median
    columns = ("one step", "ms, O(K)", "ms, direct", "GB, belief", "GB, matrices of the direct kernel")
    return Table(title="Time of a step and its draw", columns=columns, rows=rows), ratio


def _step(classes: int) -> tuple[Callable[[], Tensor], Callable[[], Tensor] | None, int]:
    """One step by either kernel, the matrices of the direct one made beforehand, and the number of entries."""
    entries = 4_096 if classes <= 256 else 128
    generator = torch.Generator().manual_seed(0)
    belief = torch.rand(entries, classes, dtype=torch.float64, generator=generator)
    belief /= belief.sum(-1, keepdim=True)
    pi = torch.full((classes,), 1 / classes, dtype=torch.float64)
    token = torch.randint(classes, (entries,), generator=generator)
    noise = torch.rand(entries, dtype=torch.float64, generator=generator)
    made = direct.Matrices.of(KEEP, KEEP_TO, pi, classes) if classes <= MOST else None

    def ours() -> Tensor:
        return draw(reverse(belief, token, KEEP, KEEP_TO, pi), noise)

    return ours, None if made is None else lambda: draw(made.reverse(belief, token), noise), entries


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return run


def _peak() -> float:
    """The most bytes that the process has had at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def joint_walk(count: int) -> tuple[Table, dict[str, float]]:
    """The table, and what each rule has above the floor at 32 steps."""
    floors = [together.distance(together.exact(count, seed)) for seed in range(10, 15)]
    floor = sum(floors) / len(floors)
    solvers: dict[str, Solver] = {
        "DDIM": DDIM(),
        "DPM-Solver++ 2M": DPMSolver2M(),
        "DPM-Solver++ 3M": DPMSolver3M(),
        "DPM-Solver++ 2S": DPMSolver2S(),
        "Heun": Heun(),
        "DDPM": DDIM(1.0),
        "DPM-Solver++ 2M SDE": DPMSolver2M(1.0),
    }
    steps = STEPS[1:]
    rows: list[list[Cell]] = []
    above = {}
    for name, solver in solvers.items():
        found = [together.distance(together.walked(solver, nfe, count)) for nfe in steps]
        rows.append([name, *found])
        above[name] = found[steps.index(32)] - floor
    rows.append(["draws of the data themselves", *[floor] * len(steps)])
    columns = ("total variation of (x, c)", *(f"{nfe} NFE" for nfe in steps))
    return Table(title="A number and a class together", columns=columns, rows=rows), above
