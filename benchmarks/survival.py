"""Training that is killed, and what is left of it: ``kill -9`` to real runs of every installed modality, in one process
and in two, with and without workers that read ahead, each compared in every bit (weights, averages, the state of the
optimizer, the log) with a run that nobody touched. A third of the kills is aimed at checkpoint writes and a third at
validation, the others come at random; each counts where the process was when it died, by its own note of what it had
entered and not left. A combination that is done is noted in the folder of runs, so that with ``--runs DIR`` this can
itself be interrupted and repeated."""

from __future__ import annotations

import json
import random
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import torch

from benchmarks.harness import Bar, Cell, Findings, Options, Table
from benchmarks.lives import Diary, Life, preload
from suffuse.plugins import Registry
from suffuse.runs import Run
from suffuse.training import Checkpoints, Trainer

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
    "trainer.validate_every=4",  # mostly between two checkpoints
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

METHODS: dict[str, tuple[type, str]] = {
    "checkpoint writes": (Checkpoints, "save"),
    "validation": (Trainer, "validate"),
}
"""Moments that kills are aimed at -> what a process is in then."""
MOMENTS = ("steps", *METHODS)
"""All of them: what is none of the others is a step, or the reading of data for it."""


def _none() -> dict[str, int]:
    return dict.fromkeys(MOMENTS, 0)


@dataclass(kw_only=True)
class Tally:
    """What happened to one combination so far.

    Args:
        runs: that came to their end.
        kills: of them at each moment, all processes of a run counted as one.
        survived: those in runs that ended equal in every bit.
        lost: the most steps that had to be made again.
        waits: seconds from the start of a resumed run to its first step.
    """

    runs: int = 0
    kills: dict[str, int] = field(default_factory=_none)
    survived: dict[str, int] = field(default_factory=_none)
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
        tally = torment(place, modality, ranks, workers, kills=3 if options.quick else KILLS)
        tallies.append(tally)
        wait = statistics.median(tally.waits) if tally.waits else None
        counts = [each[moment] for moment in MOMENTS for each in (tally.kills, tally.survived)]
        rows.append([modality, ranks, workers, *counts, tally.lost, wait])
    kills, survived = (sum(sum(getattr(t, name).values()) for t in tallies) for name in ("kills", "survived"))
    rarest = min(sum(tally.kills[moment] for tally in tallies) for moment in MOMENTS)
    lost = max(tally.lost for tally in tallies)
    heads = [f"{what} in {moment}" for moment in MOMENTS for what in ("killed", "survived")]
    return Findings(
        bars=[
            Bar(promise=f"all of {kills} killed runs end equal in every bit", found=survived, met=survived == kills),
            Bar(
                promise=f"at least {kills // 4} of the kills in each of {', '.join(MOMENTS)}",
                found=rarest,
                met=rarest >= kills // 4,
            ),
            Bar(promise=f"never more than one interval ({EVERY} steps) is lost", found=lost, met=lost <= EVERY),
        ],
        tables=[
            Table(
                title="Kills of real runs",
                columns=("modality", "processes", "workers", *heads, "steps lost, most", "s to resume"),
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
    whole, calm = place / "whole", Diary(place / "whole.diary")
    if newest(whole) < STEPS:
        shutil.rmtree(whole, ignore_errors=True)
        calm.file.unlink(missing_ok=True)
        keep = partial(calm.keep, METHODS)
        Life([*words, f"hydra.run.dir={whole}"], place / "whole.log", ranks, keep).wait(1200)
    lengths = {moment: calm.length(moment) for moment in METHODS}
    while (done := sum(tally.kills.values())) < kills:
        directory = place / f"run-{tally.runs}"
        shutil.rmtree(directory, ignore_errors=True)
        chance = random.Random(f"{modality} {ranks} {workers} {tally.runs}")
        begun = [*words, f"trainer.workers={workers}", f"hydra.run.dir={directory}"]
        deaths = list(_deaths(begun, directory, ranks, chance, kills - done, tally, lengths))
        alike = equal(Run(directory), Run(whole))
        tally.runs += 1
        for moment, lost in deaths:
            tally.kills[moment] += 1
            tally.survived[moment] += alike
            tally.lost = max(tally.lost, lost)
        note.write_text(json.dumps(asdict(tally)))
    return tally


def _deaths(
    begun: list[str],
    directory: Path,
    ranks: int,
    chance: random.Random,
    most: int,
    tally: Tally,
    lengths: Mapping[str, float],
) -> Iterator[tuple[str, int]]:
    """One run from its start to its end. Gives for each death in what it was, and how many steps were lost by it.

    Each is aimed at the moment that had the fewest so far.
    """
    met, diary = Counter(tally.kills), Diary(directory.with_suffix(".diary"))
    for number in range(most + 1):
        kept, old, began = newest(directory), _log(directory), time.monotonic()
        resumed = (directory / ".hydra" / "overrides.yaml").is_file()
        words = ["train", f"resume={directory}"] if resumed else begun
        diary.file.unlink(missing_ok=True)
        life = Life(words, directory.with_suffix(".log"), ranks, partial(diary.keep, METHODS))
        if number == most:
            life.wait(1200)
            return
        life.live(lambda kept=kept, old=old: _log(directory) != old and logged(directory) > kept, chance, most=0)  # type: ignore[misc]
        if kept:
            tally.waits.append(time.monotonic() - began)
        aim = min(MOMENTS, key=met.__getitem__)
        if aim in METHODS:
            count = diary.entered(aim) + chance.randint(1, 2)
            reached = partial(lambda aim, count: diary.entered(aim) >= count, aim, count)
            life.live(reached, chance, most=lengths[aim], pause=0.001)
        else:
            wanted = kept + chance.randint(0, 2 * EVERY)
            life.live(partial(lambda wanted: logged(directory) >= wanted, wanted), chance, most=0.2)
        if not life.kill():
            life.wait(0)
            return
        moment = diary.inside() or MOMENTS[0]
        met[moment] += 1
        yield moment, max(0, logged(directory) - newest(directory))
        if newest(directory) == STEPS:  # killed when all was saved
            return


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
