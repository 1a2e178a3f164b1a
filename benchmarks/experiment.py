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

from benchmarks.harness import Bar, Cell, Findings, Options, Skipped, Table

__all__ = ["Experiment", "Outcome", "conduct", "data_folder", "least", "margin", "minutes", "trained"]

DATA = "$SUFFUSE_DATA"
"""Stands in overrides for the folder of data that are not part of the project."""

STAGES = ("train", "sample", "evaluate", "report")
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
        scores: from ``evaluation.json``: name to ``value``, ``real``, ``better``.
    """

    directory: Path
    seconds: Mapping[str, float]
    scores: Mapping[str, Mapping[str, Any]]


def conduct(experiment: Experiment, options: Options) -> tuple[list[Outcome], Findings]:
    """Run every seed. The findings have no bars yet.

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
        shutil.copyfile(outcomes[0].directory / "sheet" / "sheet.png", options.results / pictures[0])
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
    arguments = {
        "train": [*overrides, f"seed={seed}", f"hydra.run.dir={directory}"],
        "sample": [f"run={directory}", "n=100", f"out={directory / 'sheet'}"],
        "evaluate": [f"run={directory}", f"n={draws}"],
        "report": [f"run={directory}"],
    }
    seconds = {}
    for stage in STAGES:
        command = [sys.executable, "-m", "suffuse", stage, *arguments[stage]]
        print(f"$ suffuse {' '.join(command[3:])}", file=sys.stderr, flush=True)
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=sys.stderr)
        seconds[stage] = time.perf_counter() - began
    evaluation = json.loads((directory / "evaluation.json").read_text(encoding="utf-8"))
    return Outcome(directory=directory, seconds=seconds, scores={s["name"]: s for s in evaluation["scores"]})


def _scores(outcomes: Sequence[Outcome], seeds: Sequence[int]) -> Table:
    """The mean over seeds of samples and of real data, then the samples of each seed."""
    rows: list[list[Cell]] = []
    for name, first in outcomes[0].scores.items():
        row: list[Cell] = [name, _mean(outcomes, name), _mean(outcomes, name, "real"), first["better"]]
        rows.append([*row, *(outcome.scores[name]["value"] for outcome in outcomes if len(outcomes) > 1)])
    each = [f"seed {seed}" for seed in seeds if len(seeds) > 1]
    return Table(title="Scores", columns=("score", "samples", "real data", "better", *each), rows=rows)


def _times(outcomes: Sequence[Outcome], seeds: Sequence[int]) -> Table:
    rows: list[list[Cell]] = [[stage, *(outcome.seconds[stage] for outcome in outcomes)] for stage in STAGES]
    rows.append(["all", *(sum(outcome.seconds.values()) for outcome in outcomes)])
    return Table(title="Wall time", columns=("seconds", *(f"seed {seed}" for seed in seeds)), rows=rows)


def _mean(outcomes: Sequence[Outcome], name: str, of: str = "value") -> float:
    return statistics.fmean(outcome.scores[name][of] for outcome in outcomes)


def least(outcomes: Sequence[Outcome], name: str, limit: float) -> Bar:
    """The mean of a score over the seeds is at least ``limit``."""
    found = _mean(outcomes, name)
    return Bar(promise=f"{name}: at least {limit:g}", found=found, met=found >= limit)


def margin(outcomes: Sequence[Outcome], name: str, limit: float) -> Bar:
    """The mean of a score over the seeds is above that of real data by at most ``limit``."""
    found = _mean(outcomes, name) - _mean(outcomes, name, "real")
    return Bar(promise=f"{name}: above that of real data by at most {limit:g}", found=found, met=found <= limit)


def trained(outcomes: Sequence[Outcome], limit: float) -> Bar:
    """The slowest training takes at most so many minutes, without what is done once to prepare its data."""
    files = [outcome.directory / "run.json" for outcome in outcomes]
    found = max(json.loads(file.read_text(encoding="utf-8"))["seconds"] for file in files) / 60
    return Bar(promise=f"minutes of training: at most {limit:g}", found=found, met=found <= limit)


def minutes(outcomes: Sequence[Outcome], stages: Sequence[str], limit: float) -> Bar:
    """The slowest run takes at most so many minutes for some stages."""
    found = max(sum(outcome.seconds[stage] for stage in stages) for outcome in outcomes) / 60
    return Bar(promise=f"minutes for {', '.join(stages)}: at most {limit:g}", found=found, met=found <= limit)
