"""Many samples: memory and time of a hundred thousand beside those of a thousand, and a request that is killed again
and again, by one process and by two that share it, beside one that nobody touched and one in parts of another size. The
network is tiny and hardly trained, so that what is measured is all that happens around it. Then ten thousand draws of
molecules become tables with alerts, by a command that is killed twice, each time with a part half made."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import torch

from benchmarks.harness import Bar, Cell, Findings, Options, Table
from benchmarks.lives import Life, preload

__all__ = ["measure"]

TINY = ["modality=image", "backbone=unet_tiny", "backbone.width=16", "trainer.steps=2", "callbacks=none"]
MOLECULES = ["modality=molecule", "backbone=graph_transformer_tiny", "trainer.steps=300", "callbacks=none"]
SHARD = 1000
DEATHS = 2
"""Of the request for molecules."""
LIMIT = 1.05
"""Largest ratio of the memory of many to that of few."""
WEIGH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""A small process between, for the peak of a process begins as that of whoever started it, and ours is large."""


def measure(options: Options) -> Findings:
    """Sample, weigh, kill, count."""
    torch.set_num_threads(1)
    preload(["image", "molecule"])
    place = options.runs / "many"
    shutil.rmtree(place, ignore_errors=True)
    run = place / "run"
    Life(["train", *TINY, f"hydra.run.dir={run}"], place / "train.log").wait(600)
    few, many = (200, 2_000) if options.quick else (1_000, 100_000)
    weighed = {n: weigh(sample(run, place / f"all-{n}", n, min(SHARD, few))) for n in (few, many)}
    ratio = weighed[many][1] / weighed[few][1]
    found = sorted(index for index, _ in samples(place / f"all-{many}"))
    whole = found == list(range(many))
    wanted = 2 if options.quick else 25
    kills, same = killed(run, place, wanted, 400 if options.quick else 4_000)
    count = 400 if options.quick else 10_000
    drawn, valid, deaths = resumed(place, count)
    tables = {n: weigh(listed(place, place / f"rows-{n}", n)) for n in (count // 10, count)}
    growth = tables[count][1] / tables[count // 10][1]
    kinds = [("images", weighed), ("rows of molecules", tables)]
    rows: list[list[Cell]] = [[what, n, s, n / s, memory] for what, found in kinds for n, (s, memory) in found.items()]
    return Findings(
        bars=[
            Bar(promise=f"memory of {many:,} within 5 % of that of {few:,}", found=ratio, met=ratio <= LIMIT),
            Bar(promise=f"{many:,} samples, each number once", found=len(found), met=whole),
            Bar(
                promise=f"content as if never killed, {kills} kills, in parts of another size",
                found=same,
                met=same == 3,
            ),
            Bar(
                promise=f"{count:,} rows of molecules, killed twice and gone on with: every row as if never killed",
                found=drawn,
                met=drawn == count and deaths == DEATHS,
            ),
            Bar(
                promise=f"memory of {count:,} rows within 5 % of that of {count // 10:,}",
                found=growth,
                met=growth <= LIMIT,
            ),
        ],
        tables=[Table(title="Many samples", columns=("of", "how many", "s", "a second", "MB at most"), rows=rows)],
        settings={
            "run": " ".join(["suffuse train", *TINY]),
            "run of molecules": " ".join(["suffuse train", *MOLECULES]),
            "valid among the rows": valid,
            "shard": SHARD,
            "kills": kills,
        },
    )


def sample(run: Path, out: Path, n: int, shard: int, steps: int = 2) -> list[str]:
    """What is typed."""
    more = [f"sampler.steps={steps}", "compute_batch=100", "device=cpu"]
    return ["sample", f"run={run}", f"n={n}", f"shard={shard}", f"out={out}", *more]


def weigh(words: Sequence[str]) -> tuple[float, float]:
    """Seconds and megabytes of a command in a process of its own."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", WEIGH, sys.executable, "-m", "suffuse", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise RuntimeError(f"suffuse {' '.join(words)}: exit code {done.returncode}: {done.stderr[-2000:]}")
    return time.perf_counter() - began, int(done.stdout) / 1024


def listed(place: Path, out: Path, n: int) -> list[str]:
    """What is typed for a table of molecules."""
    return [*sample(place / "molecules", out, n, n // 10, steps=20), "filters=[pains,brenk,lipinski]"]


def samples(folder: Path) -> Iterator[tuple[int, str]]:
    """Number and SHA-256 of each sample that is there with its file."""
    top = manifest(folder)
    for part in [folder / each["folder"] for each in top["shards"]] if "shards" in top else [folder]:
        there = set(os.listdir(part))
        for entry in manifest(part)["samples"]:
            if f"sample-{entry['index']:06d}.png" in there:
                yield entry["index"], entry["sha256"]


def manifest(folder: Path) -> dict[str, Any]:
    """``samples.json``."""
    return dict(json.loads((folder / "samples.json").read_text()))


def killed(run: Path, place: Path, wanted: int, n: int) -> tuple[int, int]:
    """How many kills there were, and how many of three contents are that of a request in one part: of a single process
    that is killed, of two that are killed in turn, and of one that is left alone, all in parts of other sizes."""
    log = place / "samples.log"
    Life(sample(run, place / "whole", n, n), log).wait(600)
    kills = 0
    for name, processes, shard in (("one", 1, n // 40), ("two", 2, n // 50)):
        words = sample(run, place / name, n, shard)
        chance = random.Random(name)
        for _ in range(wanted):
            lives = [Life(words, log) for _ in range(processes)]
            done = _parts(place / name)
            lives[0].live(lambda done=done, name=name: _parts(place / name) > done, chance, most=0.1)  # type: ignore[misc]
            kills += lives[0].kill()
            for life in lives[1:]:
                life.kill()
        for life in [Life(words, log) for _ in range(processes)]:
            life.wait(600)
    Life(sample(run, place / "other", n, n // 7), log).wait(600)
    content = manifest(place / "whole")["content"]
    return kills, sum(manifest(place / name)["content"] == content for name in ("one", "two", "other"))


def resumed(place: Path, n: int) -> tuple[int, int, int]:
    """How many rows of a table are what they are where nobody was killed, how many of them are valid, and how often the
    command was killed while some parts were there and one was half made."""
    run, log = place / "molecules", place / "molecules.log"
    Life(["train", *MOLECULES, f"hydra.run.dir={run}"], log).wait(1200)
    tables, deaths = {}, 0
    for name, kills in (("rows-whole", 0), ("rows-killed", DEATHS)):
        folder = place / name
        words = listed(place, folder, n)
        for death in range(kills):
            life = Life(words, log)
            life.live(lambda: _halfway(folder, 2 + 3 * death), random.Random(0), most=0.0)  # noqa: B023 - called here
            deaths += life.kill() and not (folder / "samples.json").exists()
        Life(words, log).wait(3600)
        lines = (folder / "molecules.csv").read_text(encoding="utf-8").splitlines()
        table = pyarrow.parquet.read_table(folder / "molecules.parquet").to_pylist()
        tables[name] = (manifest(folder)["content"], list(zip(lines[1:], table, strict=True)))
    (content, rows), (same, again) = tables.values()
    equal = sum(one == other for one, other in zip(rows, again, strict=True)) if content == same else 0
    return equal, sum(row["valid"] for _, row in rows), deaths


def _halfway(folder: Path, least: int) -> bool:
    return _parts(folder) >= least and any(folder.glob(".unfinished/draft-*"))


def _parts(folder: Path) -> int:
    return sum(1 for _ in folder.glob("shard-*/samples.json"))
