"""What a training needs of memory with the 1.6 million molecules of MOSES, and with the first 100,000 of them, once
they are prepared; each is run twice, and the second time counts. The cache lies with the runs: with ``--runs DIR``,
what an earlier call has prepared is there."""

from __future__ import annotations

import os

from benchmarks.experiment import DATA, QUICK, data_folder
from benchmarks.harness import Bar, Findings, Options, Table
from benchmarks.many import LIMIT, weigh
from benchmarks.moses import OVERRIDES, first

__all__ = ["measure"]


def measure(options: Options) -> Findings:
    """Seconds and memory of trainings of 200 steps."""
    os.environ["XDG_CACHE_HOME"] = str(options.runs.absolute() / "caches")
    count = 500 if options.quick else 100_000
    few = first(options.runs, "test" if options.quick else "train", count)
    words = [word.replace(DATA, str(data_folder())) for word in OVERRIDES]
    words += ["trainer.steps=200", "callbacks=none"]
    more = {"first": [f"data.path={few}"], "all": []}
    if options.quick:
        other = first(options.runs, "test", 2 * count)
        words += [*QUICK, "data.split=random", "data.heldout_path=null"]
        more["all"] = [f"data.path={other}"]
    found = {
        name: [weigh(["train", *words, *own, f"hydra.run.dir={options.runs}/{name}-{time}"]) for time in range(2)][1]
        for name, own in more.items()
    }
    ratio = found["all"][1] / found["first"][1]
    names = {"first": f"the first {count:,}", "all": "all"}
    table = Table(
        title="Memory of a training of 200 steps",
        columns=("molecules", "s", "MB at most"),
        rows=[[names[name], *pair] for name, pair in found.items()],
    )
    promise = f"memory of training on all within 5 % of that on {count:,}"
    return Findings(bars=[Bar(promise=promise, found=ratio, met=ratio <= LIMIT)], tables=[table])
