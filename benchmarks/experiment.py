"""A whole run through the command line, as a person would type it, timed and scored."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.harness import Bar, Cell, Findings, Options, Skipped, Table

__all__ = [
    "DATA",
    "Experiment",
    "Outcome",
    "conduct",
    "core_minutes",
    "data_folder",
    "fraction",
    "least",
    "margin",
    "minutes",
    "most",
    "trained",
]

DATA = "$SUFFUSE_DATA"
"""Stands in overrides for the folder of data that are not part of the project."""

STAGES = ("train", "sample", "evaluate", "report")
_WIDEST, _COLOURS = 900, 64
QUICK = ["trainer.steps=20", "trainer.batch_size=16", "trainer.warmup=5", "sampler.steps=4"]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is run.

    Args:
        name: of the benchmark; the contact sheet is kept as ``NAME.png``.
        overrides: what follows ``suffuse train``, the seed apart.
        seeds: one run for each.
        draws: samples of an evaluation.
        quick: more overrides for a trial that shows that it runs.
    """

    name: str
    overrides: Sequence[str]
    seeds: Sequence[int]
    draws: int
    quick: Sequence[str] = ("metric.epochs=1",)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run.

    Args:
        directory: of the run.
        seconds: wall time of each stage, with the start of its process.
        work: CPU time of each stage in seconds, which other work on the machine changes little.
        scores: from ``evaluation.json``: name to ``value``, ``real``, ``better``.
    """

    directory: Path
    seconds: Mapping[str, float]
    work: Mapping[str, float]
    scores: Mapping[str, Mapping[str, Any]]


def conduct(experiment: Experiment, options: Options) -> tuple[list[Outcome], Findings]:
    """Run every seed. The findings have no bars yet.

    What an earlier call finished in the same folder of runs is not done again, so that a long one can be cut off.

    Raises:
        Skipped: the data are not here.
    """
    overrides = [*experiment.overrides, *([*QUICK, *experiment.quick] if options.quick else [])]
    draws = 200 if options.quick else experiment.draws
    seeds = experiment.seeds[:1] if options.quick else experiment.seeds
    words = [word.replace(DATA, str(data_folder())) if DATA in word else word for word in overrides]
    outcomes = [_run(options.runs / f"{experiment.name}-seed{seed}", words, seed, draws) for seed in seeds]
    pictures = []
    if options.results is not None:
        options.results.mkdir(parents=True, exist_ok=True)
        pictures.append(f"{experiment.name}.png")
        _keep(outcomes[0].directory / "sheet" / "sheet.png", options.results / pictures[0])
    settings: dict[str, Cell] = {
        "trained by": " ".join(["suffuse train", *overrides, "seed=…"]),
        "seeds": ", ".join(map(str, seeds)),
        "samples scored": draws,
        "parameters": json.loads((outcomes[0].directory / "run.json").read_text(encoding="utf-8"))["parameters"],
    }
    tables = [_scores(outcomes, seeds), _times(outcomes, seeds)]
    return outcomes, Findings(bars=[], tables=tables, settings=settings, pictures=pictures)


def data_folder() -> Path:
    """The folder that ``$SUFFUSE_DATA`` names, or else the one beside the repository."""
    folder = Path(os.environ.get("SUFFUSE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        raise Skipped(f"{folder} is not there; set SUFFUSE_DATA to the folder with the data (see benchmarks/README.md)")
    return folder.resolve()


def _run(directory: Path, overrides: Sequence[str], seed: int, draws: int) -> Outcome:
    """All stages, but for those that an earlier call finished; a training that was cut off is begun anew."""
    arguments = {
        "train": [*overrides, f"seed={seed}", f"hydra.run.dir={directory}"],
        "sample": [f"run={directory}", "n=100", f"out={directory / 'sheet'}"],
        "evaluate": [f"run={directory}", f"n={draws}"],
        "report": [f"run={directory}"],
    }
    diary = directory.with_name(f"{directory.name}.json")
    known = json.loads(diary.read_text(encoding="utf-8")) if diary.exists() else {}
    seconds, work = (known[key] if known.get("typed") == arguments else {} for key in ("seconds", "work"))
    unfinished = {"train": directory, "sample": directory / "sheet"} if known.get("typed") == arguments else {}
    for stage in STAGES:
        if stage in seconds:
            continue
        if stage in unfinished:
            shutil.rmtree(unfinished[stage], ignore_errors=True)
        command = [sys.executable, "-m", "suffuse", stage, *arguments[stage]]
        print(f"$ suffuse {' '.join(command[3:])}", file=sys.stderr, flush=True)
        _remember(diary, arguments, seconds, work)
        began, worked = time.perf_counter(), _worked()
        subprocess.run(command, check=True, stdout=sys.stderr)
        seconds[stage], work[stage] = time.perf_counter() - began, _worked() - worked
    _remember(diary, arguments, seconds, work)
    evaluation = json.loads((directory / "evaluation.json").read_text(encoding="utf-8"))
    scores = {score["name"]: score for score in evaluation["scores"]}
    return Outcome(directory=directory, seconds=seconds, work=work, scores=scores)


def _keep(picture: Path, place: Path) -> None:
    """A picture in a size and in colours that a repository can hold."""
    with Image.open(picture) as drawn:
        small = drawn.convert("RGB")
    small.thumbnail((_WIDEST, 4 * _WIDEST))
    small.quantize(_COLOURS).save(place, optimize=True)


def _worked() -> float:
    """CPU seconds of all processes that were started and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _remember(
    diary: Path, typed: Mapping[str, Sequence[str]], seconds: Mapping[str, float], work: Mapping[str, float]
) -> None:
    diary.parent.mkdir(parents=True, exist_ok=True)
    diary.write_text(json.dumps({"typed": typed, "seconds": seconds, "work": work}), encoding="utf-8")


def _scores(outcomes: Sequence[Outcome], seeds: Sequence[int]) -> Table:
    """The mean over seeds of samples and of real data, then the samples of each seed."""
    rows: list[list[Cell]] = []
    for name, first in outcomes[0].scores.items():
        row: list[Cell] = [name, _mean(outcomes, name), _mean(outcomes, name, "real"), first["better"]]
        rows.append([*row, *(outcome.scores[name]["value"] for outcome in outcomes if len(outcomes) > 1)])
    each = [f"seed {seed}" for seed in seeds if len(seeds) > 1]
    return Table(title="Scores", columns=("score", "samples", "real data", "better", *each), rows=rows)


def _times(outcomes: Sequence[Outcome], seeds: Sequence[int]) -> Table:
    kinds = [times for outcome in outcomes for times in (outcome.seconds, outcome.work)]
    rows: list[list[Cell]] = [[stage, *(times[stage] for times in kinds)] for stage in STAGES]
    rows.append(["all", *(sum(times.values()) for times in kinds)])
    columns = ("seconds", *(f"{kind}, seed {seed}" for seed in seeds for kind in ("wall", "CPU")))
    return Table(title="Time", columns=columns, rows=rows)


def _mean(outcomes: Sequence[Outcome], name: str, of: str = "value") -> float:
    return statistics.fmean(outcome.scores[name][of] for outcome in outcomes)


def least(outcomes: Sequence[Outcome], name: str, limit: float) -> Bar:
    """The mean of a score over the seeds is at least ``limit``."""
    found = _mean(outcomes, name)
    return Bar(promise=f"{name}: at least {limit:g}", found=found, met=found >= limit)


def most(outcomes: Sequence[Outcome], name: str, limit: float) -> Bar:
    """The mean of a score over the seeds is at most ``limit``."""
    found = _mean(outcomes, name)
    return Bar(promise=f"{name}: at most {limit:g}", found=found, met=found <= limit)


def fraction(outcomes: Sequence[Outcome], name: str, limit: float) -> Bar:
    """The mean of a score over the seeds is at least ``limit`` times that of real data."""
    found = _mean(outcomes, name) / _mean(outcomes, name, "real")
    return Bar(promise=f"{name}: at least {limit:g} times that of real data", found=found, met=found >= limit)


def margin(outcomes: Sequence[Outcome], name: str, limit: float) -> Bar:
    """The mean of a score over the seeds is above that of real data by at most ``limit``."""
    found = _mean(outcomes, name) - _mean(outcomes, name, "real")
    return Bar(promise=f"{name}: above that of real data by at most {limit:g}", found=found, met=found <= limit)


def core_minutes(outcomes: Sequence[Outcome], stages: Sequence[str], limit: float) -> Bar:
    """The run with most work takes at most so many minutes of one core for some stages, the start of processes too.

    It says the same on a busy machine and on a quiet one, on one thread and on several.
    """
    found = max(sum(outcome.work[stage] for stage in stages) for outcome in outcomes) / 60
    return Bar(promise=f"core minutes for {', '.join(stages)}: at most {limit:g}", found=found, met=found <= limit)


def trained(outcomes: Sequence[Outcome], limit: float) -> Bar:
    """The training with most work takes at most so many core minutes, without what is done once to prepare its data."""
    files = [outcome.directory / "run.json" for outcome in outcomes]
    found = max(json.loads(file.read_text(encoding="utf-8"))["work"] for file in files) / 60
    return Bar(promise=f"core minutes of training: at most {limit:g}", found=found, met=found <= limit)


def minutes(outcomes: Sequence[Outcome], stages: Sequence[str], limit: float) -> Bar:
    """The slowest run takes at most so many minutes for some stages."""
    found = max(sum(outcome.seconds[stage] for stage in stages) for outcome in outcomes) / 60
    return Bar(promise=f"minutes for {', '.join(stages)}: at most {limit:g}", found=found, met=found <= limit)
