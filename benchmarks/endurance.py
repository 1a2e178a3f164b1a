"""Half an hour of training with all that a run does on its way (log lines, checkpoints, validation, previews), and the
memory of its process meanwhile, read ten times a second: a leak is a line that rises. It is fitted to the second half,
when every cache is full."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import Bar, Findings, Options, Table
from benchmarks.lives import Life
from suffuse.runs import Run

__all__ = ["measure"]

RUN = [
    "modality=image",
    "backbone=unet_tiny",
    "backbone.width=16",
    "trainer.threads=1",
    "trainer.batch_size=16",
    "trainer.log_every=10",
    "trainer.checkpoint_every=100",
    "trainer.validate_every=500",
    "trainer.preview_every=1000",
]
GROWTH = 1.0
"""Largest growth in the second half, in MB."""


def measure(options: Options) -> Findings:
    """Memory along one run."""
    steps = 200 if options.quick else 130_000
    directory = options.runs / "endurance"
    began = time.monotonic()
    words = ["train", *RUN, f"trainer.steps={steps}", f"hydra.run.dir={directory}"]
    life = Life(words, directory.with_suffix(".log"))
    seen = resident(life, began)
    life.wait(60)
    minutes = (time.monotonic() - began) / 60
    half = seen[len(seen) // 2 :]
    slope = float(np.polyfit(half[:, 0], half[:, 1], 1)[0])
    growth = slope * float(half[-1, 0] - half[0, 0])
    last = Run(directory).checkpoint().step
    return Findings(
        bars=[Bar(promise="less than 1 MB more in the second half", found=growth, met=growth < GROWTH)],
        tables=[
            Table(
                title="Memory of a run",
                columns=("minutes", "steps", "MB at most", "MB more in the second half", "MB an hour", "bytes a step"),
                rows=[[minutes, last, float(seen[:, 1].max()), growth, 3600 * slope, 1e6 * growth / (steps / 2)]],
            )
        ],
        settings={"run": " ".join(["suffuse", *words[:-1]])},
    )


def resident(life: Life, began: float) -> np.ndarray:
    """Seconds and MB of a process until it ends, ``[N, 2]``."""
    seen: list[tuple[float, float]] = []
    pages = Path(f"/proc/{life.processes[0].pid}/statm")
    while not life.over:
        try:
            now = int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        except (OSError, IndexError):  # it is gone
            break
        seen.append((time.monotonic() - began, now))
        time.sleep(0.1)
    return np.array(seen[:-20] if len(seen) > 100 else seen)  # at its end it gives everything back
