"""What a training needs of memory with the 1.6 million molecules of MOSES, and with the first 100,000 of them: once
when it has to prepare them first, and once when they are prepared. Batches are small, so that what a network keeps of a
batch, which changes with the molecules in it, hides nothing."""

from __future__ import annotations

import os
import shutil

from benchmarks.experiment import DATA, QUICK, data_folder
from benchmarks.harness import Bar, Findings, Options, Table
from benchmarks.many import LIMIT, weigh
from benchmarks.moses import OVERRIDES, first

__all__ = ["measure"]

TIMES = ("preparing and training", "training once prepared")


def measure(options: Options) -> Findings:
    """Seconds and memory of trainings of 200 steps."""
    place = (options.runs / "moses_memory").absolute()
    shutil.rmtree(place, ignore_errors=True)
    os.environ["XDG_CACHE_HOME"] = str(place / "caches")
    count = 500 if options.quick else 100_000
    few = first(place, "test" if options.quick else "train", count)
    words = [word.replace(DATA, str(data_folder())) for word in OVERRIDES]
    words += ["trainer.steps=200", "trainer.batch_size=8", "callbacks=none"]
    more = {"first": [f"data.path={few}"], "all": []}
    if options.quick:
        other = first(place, "test", 2 * count)
        words += [*QUICK, "data.split=random", "data.heldout_path=null"]
        more["all"] = [f"data.path={other}"]
    found = {
        (name, time): weigh(["train", *words, *own, f"hydra.run.dir={place}/{name}-{number}"])
        for name, own in more.items()
        for number, time in enumerate(TIMES)
    }
    ratios = {time: found["all", time][1] / found["first", time][1] for time in TIMES}
    names = {"first": f"the first {count:,}", "all": "all"}
    return Findings(
        bars=[
            Bar(promise=f"memory of {time} with all within 5 % of that with {count:,}", found=ratio, met=ratio <= LIMIT)
            for time, ratio in ratios.items()
        ],
        tables=[
            Table(
                title="Memory of a training of 200 steps",
                columns=("molecules", "command", "s", "MB at most"),
                rows=[[names[name], time, *pair] for (name, time), pair in found.items()],
            )
        ],
    )
