"""Time of drawing a batch of standard normal numbers that belong to samples, one thread: by row of one Philox stream
(what suffuse does), by a numpy generator for each sample, and for scale by one torch generator for the whole batch,
whose numbers depend on what else is in the batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Cell, Findings, Options, Table, interleaved
from suffuse import noise

__all__ = ["measure"]

SHAPES = ((16, 3, 32, 32), (128, 1, 8, 8))


def measure(options: Options) -> Findings:
    """One table for both shapes."""
    torch.set_num_threads(1)
    rounds = 5 if options.quick else 200
    rows: list[list[Cell]] = []
    for shape in SHAPES:
        found = interleaved(contenders(shape), rounds)
        rows += [[f"{name}, {list(shape)}", *spread.cells()] for name, spread in found.items()]
    columns = ("µs for one batch", "median", "least", "most")
    return Findings(bars=[], tables=[Table(title="Keyed noise", columns=columns, rows=rows)])


def contenders(shape: tuple[int, ...]) -> dict[str, Callable[[], float]]:
    """What is timed, in microseconds."""
    key = noise.key(0, "benchmark")
    draw = torch.Generator().manual_seed(0)

    def each() -> Any:
        return np.stack(
            [noise.generator(key, row).standard_normal(shape[1:], dtype=np.float32) for row in range(shape[0])]
        )

    return {
        "rows of one stream": _timed(lambda: noise.normal(key, range(shape[0]), shape[1:])),
        "a generator for each sample": _timed(each),
        "torch.randn for the batch": _timed(lambda: torch.randn(shape, generator=draw)),
    }


def _timed(work: Callable[[], Any]) -> Callable[[], float]:
    def once() -> float:
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) * 1e6

    return once
