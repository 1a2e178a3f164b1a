"""Training steps per second with one and the same network in two loops: ours, with all that it does in a real run
(keyed noise, stratified levels, logging), and either a hand-written PyTorch loop, as a competent person would write it,
or the loop of diffusers' own training example. Blocks of steps take turns; a ratio is that of the times of neighbouring
blocks, so that below 1 ours is faster. How far the ratio of a loop to itself strays from 1 is what the measurement can
resolve. The data are in memory for all of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from benchmarks import loops, tasks
from benchmarks.harness import Bar, Cell, Findings, Options, Skipped, Spread, Table, interleaved
from suffuse.denoiser import Denoiser
from suffuse_image.backbones import UNet

__all__ = ["measure"]

LIMIT = 1.03
"""Largest ratio of our time to theirs."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Two loops around one network.

    Args:
        title: of the case.
        rival: name of the other loop.
        network: what both train.
        steps: of a block.
        ours, theirs: train a new copy of it for a block and return the seconds of a step.
    """

    title: str
    rival: str
    network: nn.Module
    steps: int
    ours: Callable[[], float]
    theirs: Callable[[], float]


def measure(options: Options) -> Findings:
    """For each case: steps a second, the ratio of the loops, and of each loop to itself."""
    try:
        import diffusers
    except ImportError as error:
        raise Skipped('diffusers is not installed: pip install "suffuse[bench]"') from error
    rounds = 1 if options.quick else 4
    bars, tables = [], []
    with tempfile.TemporaryDirectory(prefix="suffuse-training-") as folder:
        for case in cases(Path(folder), options.quick):
            bar, table = compare(case, rounds)
            bars.append(bar)
            tables.append(table)
    return Findings(
        bars=bars,
        tables=tables,
        settings={
            "pairs of blocks in each case": 2 * rounds,
            "steps before a block that are not counted": loops.WARM,
            "diffusers": diffusers.__version__,
        },
    )


def cases(folder: Path, quick: bool) -> list[Case]:
    """The U-Net of suffuse and that of diffusers, each on real digits at 8x8 and enlarged to 28x28."""
    shapes = [(8, 4, 2), (28, 4, 2)] if quick else [(8, 128, 30), (28, 32, 10)]
    return [make(*shape, folder) for make in (_own, _borrowed) for shape in shapes]


def _own(size: int, batch: int, steps: int, folder: Path) -> Case:
    task = tasks.labelled(size, batch)
    network = UNet(task.fields)
    denoiser = Denoiser(network, task.fields, "edm", task.split.conditions)
    return Case(
        title=f"U-Net of suffuse, {size}x{size}, batch {batch}, conditional",
        rival="plain loop",
        network=network,
        steps=steps,
        ours=lambda: loops.suffuse(denoiser, task, folder, steps),
        theirs=lambda: loops.plain(denoiser, task, steps),
    )


def _borrowed(size: int, batch: int, steps: int, folder: Path) -> Case:
    task = tasks.unlabelled(size, batch)
    network = tasks.unet2d(size)
    denoiser = Denoiser(tasks.Borrowed(network, task.schedule), task.fields, "eps")
    return Case(
        title=f"UNet2DModel of diffusers, {size}x{size}, batch {batch}, unconditional",
        rival="loop of diffusers",
        network=network,
        steps=steps,
        ours=lambda: loops.suffuse(denoiser, task, folder, steps),
        theirs=lambda: loops.diffusers(network, task, steps),
    )


def compare(case: Case, rounds: int) -> tuple[Bar, Table]:
    """Blocks of both loops in turn, each twice in a round."""
    found = interleaved(
        {
            "ours": case.ours,
            "theirs": case.theirs,
            "ours again": case.ours,
            "theirs again": case.theirs,
        },
        rounds,
    )
    ours, ours_again = found["ours"].values, found["ours again"].values
    theirs, theirs_again = found["theirs"].values, found["theirs again"].values
    ratio = _ratio([*ours, *ours_again], [*theirs, *theirs_again])
    lines = {
        "suffuse, steps a second": Spread([1 / seconds for seconds in [*ours, *ours_again]]),
        f"{case.rival}, steps a second": Spread([1 / seconds for seconds in [*theirs, *theirs_again]]),
        f"time of suffuse / {case.rival}": ratio,
        "time of suffuse / itself": _ratio(ours, ours_again),
        f"time of {case.rival} / itself": _ratio(theirs, theirs_again),
    }
    rows: list[list[Cell]] = [[name, *spread.cells()] for name, spread in lines.items()]
    count = sum(parameter.numel() for parameter in case.network.parameters())
    title = f"{case.title}, {count:,} parameters, blocks of {case.steps} steps"
    promise = f"{case.title}: at most {LIMIT:g} times the time of the {case.rival}"
    return (
        Bar(promise=promise, found=ratio.median, met=ratio.median <= LIMIT),
        Table(title=title, columns=("", "median", "least", "most"), rows=rows),
    )


def _ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
    return Spread([a / b for a, b in zip(over, under, strict=True)])
