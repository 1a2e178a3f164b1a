"""What it costs to be safe: the share of training that checkpoints take at the default interval, the seconds until a
resumed run is at work beside those of a new one, and what a second process gains."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.harness import Bar, Findings, Options, Spread, Table, interleaved
from benchmarks.lives import Life, preload
from suffuse.runs import Run
from suffuse.settings import TrainerSettings
from suffuse.training import Checkpoints

__all__ = ["measure"]

DEFAULT = [
    "modality=image",
    "trainer.threads=1",
    "trainer.preview_every=0",
    "trainer.validate_every=0",
    "callbacks=none",
]
TINY = [*DEFAULT, "backbone=unet_tiny", "backbone.width=16", "trainer.batch_size=16"]
SHARE = 0.01
"""Largest share of the time of training that saving may take."""


def measure(options: Options) -> Findings:
    """Three things in turn."""
    torch.set_num_threads(1)
    preload(["image"])
    place = options.runs / "upkeep"
    steps = 10 if options.quick else 60
    saving, stepping = checkpoints(place / "saved", steps)
    every = TrainerSettings().checkpoint_every
    share = saving.median / (saving.median + every * stepping)
    rounds = 1 if options.quick else 3
    count = iter(range(1000))
    rates = interleaved(
        {f"{ranks}": lambda ranks=ranks: rate(place / f"rate-{next(count)}", ranks, steps) for ranks in (1, 2)},  # type: ignore[misc]
        rounds,
    )
    efficiency = rates["2"].median / (2 * rates["1"].median)
    new, again = starts(place / "started")
    return Findings(
        bars=[
            Bar(
                promise="saving takes at most 1 % of training at the default interval", found=share, met=share <= SHARE
            ),
        ],
        tables=[
            Table(
                title="What safety costs",
                columns=("what", "median", "least", "most"),
                rows=[
                    ["seconds of a checkpoint", *saving.cells()],
                    ["seconds of a step", stepping, None, None],
                    [f"share of saving every {every} steps", share, None, None],
                    ["seconds until a new run is at work", new, None, None],
                    ["seconds until a resumed run is at work", again, None, None],
                ],
            ),
            Table(
                title="A second process",
                columns=("processes, one thread each", "samples a second", "least", "most"),
                rows=[[name, *spread.cells()] for name, spread in rates.items()],
            ),
        ],
        settings={"run": " ".join(["suffuse train", *DEFAULT]), "two processes at a share of two of": efficiency},
    )


def checkpoints(directory: Path, steps: int) -> tuple[Spread, float]:
    """Seconds of each checkpoint of the default network, and of a step."""
    every = steps // 5
    words = ["train", *DEFAULT, f"trainer.steps={steps}", f"trainer.checkpoint_every={every}"]
    life = Life([*words, f"trainer.log_every={every}", f"hydra.run.dir={directory}"], directory.with_suffix(".log"))
    life.wait(1200)
    rates = [line["samples_per_second"] for line in Run(directory).metrics() if "samples_per_second" in line]
    held = Run(directory).checkpoint()
    store = Checkpoints(directory / "again")
    seconds = []
    for step in range(1, 6):
        began = time.perf_counter()
        store.save(replace(held, step=step))
        seconds.append(time.perf_counter() - began)
    return Spread(seconds), TrainerSettings().batch_size / statistics.median(rates)


def rate(directory: Path, ranks: int, steps: int) -> float:
    """Samples a second of so many processes, of the same batch in all."""
    words = ["train", *DEFAULT, f"trainer.steps={steps}", "trainer.log_every=5", f"hydra.run.dir={directory}"]
    Life(words, directory.with_suffix(".log"), ranks).wait(1200)
    lines = [line["samples_per_second"] for line in Run(directory).metrics() if "samples_per_second" in line]
    return statistics.median(lines[1:])


def starts(directory: Path) -> tuple[float, float]:
    """Seconds from typing a command to its first step, of a new run and of a resumed one."""
    short = ["trainer.log_every=1", "trainer.checkpoint_every=5"]
    new = _start(directory, ["train", *TINY, *short, "trainer.steps=10", f"hydra.run.dir={directory}"])
    return new, _start(directory, ["train", f"resume={directory}", "trainer.steps=20"])


def _start(directory: Path, words: Sequence[str]) -> float:
    log = directory / "metrics.jsonl"
    before = log.read_text().count("\n") if log.exists() else 0
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "suffuse", *words], stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    while not (log.exists() and log.read_text().count("\n") > before):
        time.sleep(0.01)
        if process.poll():
            raise RuntimeError(f"suffuse {' '.join(words)}: exit code {process.returncode}")
    seconds = time.perf_counter() - began
    process.wait()
    return seconds
