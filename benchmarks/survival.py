"""Training that is killed, and what is left of it: ``kill -9`` at random moments of real runs of every installed
modality, in one process and in two, with and without workers that read ahead, each compared in every bit (weights,
averages, the state of the optimizer, the log) with a run that nobody touched. A combination that is done is noted in
the folder of runs, so that with ``--runs DIR`` this can itself be interrupted and repeated."""

from __future__ import annotations

import json
import random
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path

import torch

from benchmarks.harness import Bar, Cell, Findings, Options, Table
from benchmarks.lives import Life, preload
from suffuse.plugins import Registry
from suffuse.runs import Run
from suffuse.training import Checkpoints

__all__ = ["measure"]

KILLS = 20
STEPS = 60
EVERY = 5
"""Steps between two checkpoints."""
LOOP = [
    "trainer.batch_size=8",
    "trainer.threads=1",
    "trainer.log_every=1",
    f"trainer.checkpoint_every={EVERY}",
    "trainer.preview_every=0",
    "trainer.validate_every=20",
    "trainer.snapshot_every=10",
    "callbacks=none",
]
SMALL = {
    "image": ["backbone=unet_tiny", "backbone.width=16"],
    "audio": ["backbone=unet2d_tiny", "data.clips=64", "data.heldout=16"],
    "molecule": ["backbone=graph_transformer_tiny"],
    "crystal": ["backbone=periodic_tiny", "data.max_sites=6"],
}
"""What keeps a modality quick, where that is known."""


@dataclass(kw_only=True)
class Tally:
    """What happened to one combination so far.

    Args:
        runs: that came to their end.
        kills: of them, all processes of a run counted as one.
        survived: those in runs that ended equal in every bit.
        lost: the most steps that had to be made again.
        waits: seconds from the start of a resumed run to its first step.
    """

    runs: int = 0
    kills: int = 0
    survived: int = 0
    lost: int = 0
    waits: list[float] = field(default_factory=list)


def measure(options: Options) -> Findings:
    """Kill, resume, compare."""
    torch.set_num_threads(1)
    modalities = list(Registry().found)
    preload(modalities)
    combinations: Sequence[tuple[str, int, int]] = list(product(modalities, (1, 2), (0, 2)))
    if options.quick:
        combinations = combinations[:1]
    rows: list[list[Cell]] = []
    tallies = []
    for modality, ranks, workers in combinations:
        place = options.runs / "survival" / f"{modality}-{ranks}-{workers}"
        tally = torment(place, modality, ranks, workers, kills=2 if options.quick else KILLS)
        tallies.append(tally)
        wait = statistics.median(tally.waits) if tally.waits else None
        rows.append([modality, ranks, workers, tally.kills, tally.survived, tally.lost, wait])
    kills, survived = (sum(getattr(tally, name) for tally in tallies) for name in ("kills", "survived"))
    lost = max(tally.lost for tally in tallies)
    return Findings(
        bars=[
            Bar(promise=f"all of {kills} killed runs end equal in every bit", found=survived, met=survived == kills),
            Bar(promise=f"never more than one interval ({EVERY} steps) is lost", found=lost, met=lost <= EVERY),
        ],
        tables=[
            Table(
                title="Kills of real runs",
                columns=("modality", "processes", "workers", "killed", "survived", "steps lost, most", "s to resume"),
                rows=rows,
            )
        ],
        settings={"run": " ".join(["suffuse train modality=…", *LOOP])},
    )


def torment(place: Path, modality: str, ranks: int, workers: int, kills: int) -> Tally:
    """Kill runs of one combination so often, and see what becomes of them; what was seen already is not seen again."""
    note = place / "tally.json"
    tally = Tally(**json.loads(note.read_text())) if note.is_file() else Tally()
    words = ["train", f"modality={modality}", *SMALL.get(modality, []), *LOOP, f"trainer.steps={STEPS}"]
    whole = place / "whole"
    if newest(whole) < STEPS:
        shutil.rmtree(whole, ignore_errors=True)
        Life([*words, f"hydra.run.dir={whole}"], place / "whole.log", ranks).wait(1200)
    while tally.kills < kills:
        directory = place / f"run-{tally.runs}"
        shutil.rmtree(directory, ignore_errors=True)
        chance = random.Random(f"{modality} {ranks} {workers} {tally.runs}")
        begun = [*words, f"trainer.workers={workers}", f"hydra.run.dir={directory}"]
        deaths = list(_deaths(begun, directory, ranks, chance, kills - tally.kills, tally.waits))
        tally.runs += 1
        tally.kills += len(deaths)
        tally.lost = max([tally.lost, *deaths])
        if equal(Run(directory), Run(whole)):
            tally.survived += len(deaths)
        note.write_text(json.dumps(asdict(tally)))
    return tally


def _deaths(
    begun: list[str], directory: Path, ranks: int, chance: random.Random, most: int, waits: list[float]
) -> Iterator[int]:
    """One run from its start to its end. Gives for each death how many steps were lost by it."""
    for number in range(most + 1):
        kept, old, began = newest(directory), _log(directory), time.monotonic()
        resumed = (directory / ".hydra" / "overrides.yaml").is_file()
        words = ["train", f"resume={directory}"] if resumed else begun
        life = Life(words, directory.with_suffix(".log"), ranks)
        if number == most:
            life.wait(1200)
            return
        life.live(lambda kept=kept, old=old: _log(directory) != old and logged(directory) > kept, chance, most=0)  # type: ignore[misc]
        if kept:
            waits.append(time.monotonic() - began)
        wanted = kept + chance.randint(0, 2 * EVERY)
        life.live(lambda wanted=wanted: logged(directory) >= wanted, chance, most=0.2)  # type: ignore[misc]
        if not life.kill():
            life.wait(0)
            return
        yield max(0, logged(directory) - newest(directory))


def _log(directory: Path) -> int | None:
    """Which file the log is; a resumed run writes it anew before it adds to it."""
    file = Run(directory).metrics_file
    return file.stat().st_ino if file.exists() else None


def logged(directory: Path) -> int:
    """The last step in the log of a run that may have none yet."""
    lines = Run(directory).metrics()
    return int(lines[-1]["step"]) if lines else 0


def newest(directory: Path) -> int:
    """The step of the newest checkpoint."""
    return max(Checkpoints(directory / "checkpoints").steps(), default=0)


def equal(run: Run, other: Run) -> bool:
    """Whether two runs ended equal in every bit, with the same log."""
    ours, theirs = run.checkpoint(), other.checkpoint()
    tensors = ours.step == theirs.step and all(
        value.equal(ours.tensors[group][name]) for group, part in theirs.tensors.items() for name, value in part.items()
    )
    lines = [
        [{key: value for key, value in line.items() if key != "samples_per_second"} for line in each.metrics()]
        for each in (run, other)
    ]
    return tensors and lines[0] == lines[1]
