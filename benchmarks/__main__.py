"""``python -m benchmarks NAME``: measure, print, and keep a record."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.harness import Options, Record, Skipped, machine, read, write
from benchmarks.results import page, section

BENCHMARKS = {
    "loop": "The sampling loop outside the network",
    "solvers": "Samplers beside the exact solution",
    "discrete": "Classes, alone and beside numbers",
    "noise": "Keyed noise",
    "training": "Training steps per second",
    "gpu": "Training on a GPU",
    "digits": "Digits, the embedded default",
    "emoji": "Emoji in colour",
    "fashion": "Fashion-MNIST",
    "sounds": "Short sounds, the embedded default",
    "audio_speed": "Sounds on one core",
    "fsdd": "Real spoken digits",
    "voice": "Voices by a recording",
    "vocoder": "From mel bands to speech",
    "restoration": "What is missing of a recording",
    "round_trip": "Molecules there and back",
    "nci": "Small molecules, the embedded default",
    "perov": "Perovskites, made and predicted, and crystals of the embedded default",
    "qm9": "QM9 in five minutes",
    "qm9_long": "QM9 in an hour",
    "moses": "MOSES in twenty minutes",
    "moses_memory": "Memory of training on MOSES",
    "control": "Molecules of an asked property",
    "molecule_speed": "Molecules a second",
    "survival": "Kills of real runs",
    "faults": "Accidents of checkpoints",
    "hostile": "Hostile inputs",
    "many": "Many samples",
    "upkeep": "What safety costs",
    "endurance": "Half an hour",
}
"""Module in this package -> what it measures. Each has a docstring that says how, and a function ``measure``."""

KNOWN = (*BENCHMARKS, "all", "table", "figures")
ALONE = ("all", "table", "figures")
RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parent.parent / "docs" / "images"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for. Returns 1 if a benchmark failed, else 0; to miss a bar is no failure."""
    parser = _parser()
    given = parser.parse_args(arguments)
    for name in given.names:  # argparse's own choices refuse an empty list before Python 3.12
        if name not in KNOWN or (len(given.names) > 1 and name in ALONE):
            known = ", ".join(KNOWN)
            parser.error(f"{' '.join(given.names)}: takes names of benchmarks, or all, table or figures: {known}")
    if given.list or not given.names:
        width = max(map(len, BENCHMARKS))
        print("\n".join(f"{name:{width}}  {title}" for name, title in BENCHMARKS.items()))
        return 0
    results = given.results or RESULTS
    if given.names == ["table"]:
        files = {name: results / f"{name}.json" for name in BENCHMARKS}
        print(page({name: read(file) for name, file in files.items() if file.exists()}, BENCHMARKS), end="")
        return 0
    if given.names == ["figures"]:
        return draw(results)
    names = list(BENCHMARKS) if given.names == ["all"] else given.names
    if len(names) > 1:  # each in a process of its own: threads, caches and a crash stay apart
        command = [sys.executable, "-m", "benchmarks"]
        codes = [subprocess.run([*command, name, *_typed(given)]).returncode for name in names]
        return int(any(codes))
    options = Options(
        quick=given.quick,
        runs=given.runs or Path(tempfile.mkdtemp(prefix="suffuse-benchmark-")),
        results=results if given.results or not given.quick else None,
    )
    command = ["python -m benchmarks", names[0], *_typed(given, ("threads",))]  # where files lie changes no figure
    return run(names[0], options, " ".join(command), given.threads)


def run(name: str, options: Options, command: str, threads: int | None = None) -> int:
    """Run one benchmark, print its section, and keep its record where the options say so."""
    import torch

    if threads:
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # for the commands that a benchmark starts
    module = importlib.import_module(f"benchmarks.{name}")
    here, began = machine(), time.perf_counter()
    try:
        findings = module.measure(options)
    except Skipped as reason:
        print(f"{name}: skipped: {reason}")
        return 0
    record = Record(
        name=name,
        about=" ".join((module.__doc__ or "").split()),
        command=command,
        date=datetime.now(UTC).isoformat(timespec="minutes"),
        seconds=round(time.perf_counter() - began, 1),
        quick=options.quick,
        machine={**here, "threads of torch": torch.get_num_threads()},
        findings=findings,
    )
    print(f"## {BENCHMARKS[name]}\n\n{section(record)}")
    if options.results is not None:
        print(f"record: {write(record, options.results)}", file=sys.stderr)
    return 0


def draw(results: Path, images: Path = IMAGES) -> int:
    """Make the figures of the documentation from the records of a folder. Returns 1 where a record is missing."""
    from benchmarks.figures import solver_error

    record = results / "solvers.json"
    if not record.exists():
        print(f"figures: {record} is missing: python -m benchmarks solvers", file=sys.stderr)
        return 1
    solver_error(read(record), images / "solver-error.png")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What suffuse is measured by.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(KNOWN))
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--quick", action="store_true", help="tiny settings, to see that it runs; no record")
    parser.add_argument("--results", type=Path, help="folder of the records; benchmarks/results by default")
    parser.add_argument("--runs", type=Path, help="folder of the run directories; a temporary one by default")
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default, loop takes one")
    return parser


def _typed(given: argparse.Namespace, names: Sequence[str] = ("results", "runs", "threads")) -> list[str]:
    """The options as they were typed, for a process of its own and for the record."""
    words = ["--quick"] if given.quick else []
    for name in names:
        if (value := getattr(given, name)) is not None:
            words += [f"--{name}", str(value)]
    return words


if __name__ == "__main__":
    sys.exit(main())
