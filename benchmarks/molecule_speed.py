"""Molecules a second, of the size of QM9, at 50 network evaluations and decoded, by one process with one thread and by
two that share the draws; and the time in which 10,000 molecules become a table with alerts. Times of drawing begin when
the model is loaded; those of the table are whole, with the start of its processes. The search of the nearest training
molecule, which can be left out, is timed by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.experiment import DATA, data_folder
from benchmarks.harness import Bar, Cell, Findings, Options, Table
from benchmarks.qm9 import OVERRIDES

__all__ = ["measure"]

WORKER = """
import json, sys, time
import torch
torch.set_num_threads(1)
import suffuse
model = suffuse.load(sys.argv[1])
first, last = int(sys.argv[2]), int(sys.argv[3])
recipe, asked = model.recipe({"steps": 50}), model.asked({}, range(first, last))
model.draw(range(64), model.asked({}, range(64)), model.recipe({"steps": 2}))
began = time.perf_counter()
values = model.decoder.decode(model.draw(range(first, last), asked, recipe))
valid = sum(value.valid for value in values)
print(json.dumps({"seconds": time.perf_counter() - began, "valid": valid, "draws": last - first}))
"""
"""Draws a share of the samples; says how long it took."""


def measure(options: Options) -> Findings:
    """Rates of drawing, and times of scoring."""
    words = [word.replace(DATA, str(data_folder())) for word in OVERRIDES]
    run = options.runs / "speed"
    words += [f"trainer.steps={5 if options.quick else 300}", f"hydra.run.dir={run}", "callbacks=none"]
    subprocess.run([sys.executable, "-m", "suffuse", "train", *words], check=True, stdout=sys.stderr)
    count = 128 if options.quick else 2048
    alone, together = _rate(run, 1, count), _rate(run, 2, count)
    rows = 500 if options.quick else 10_000
    scored, searched = _scored(run, rows)
    bars = [
        Bar(promise="two processes: at least 110 molecules a second", found=together, met=together >= 110),
        Bar(promise="10,000 rows scored with alerts: under 60 s", found=scored, met=scored < 60),
    ]
    drawing: list[list[Cell]] = [["one process", alone], ["two processes", together]]
    scoring: list[list[Cell]] = [["table, with PAINS, Brenk and Lipinski", scored], ["nearest of training", searched]]
    tables = [
        Table(title="Drawing", columns=("one thread each", "molecules a second"), rows=drawing),
        Table(title="Scoring", columns=(f"{rows:,} molecules of the data", "seconds"), rows=scoring),
    ]
    return Findings(bars=bars, tables=tables, settings={"draws of each process": count, "network evaluations": 50})


def _rate(run: Path, processes: int, count: int) -> float:
    """Molecules a second of processes that each draw ``count``."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(run), str(place * count), str((place + 1) * count)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for place in range(processes)
    ]
    found = [json.loads(each.communicate()[0]) for each in started]
    return sum(each["draws"] / each["seconds"] for each in found)


def _scored(run: Path, count: int) -> tuple[float, float]:
    """Seconds for the table of so many real molecules, and for the search."""
    import suffuse
    from suffuse.assembly import build_data

    model = suffuse.load(run)
    data = build_data(model.config, model.registry)
    places = np.linspace(0, len(data.train) - 1, count).astype(int)
    values = [data.train[int(place)].value for place in places]
    records = [{"sample": place, "seed_key": "", "run": run.name, "checkpoint": model.digest} for place in range(count)]
    data.train.fingerprints(_preparing())
    with tempfile.TemporaryDirectory() as folder:
        session = model.session({"filters": ["pains", "brenk", "lipinski"]})
        began = time.perf_counter()
        session.write(values, records, [{}] * count, Path(folder) / "part")
        session.join([Path(folder) / "part"], Path(folder))
        summary = json.loads((Path(folder) / "summary.json").read_text(encoding="utf-8"))
        whole = time.perf_counter() - began
    searched = summary["seconds_nearest"]
    return whole - searched, searched


def _preparing() -> object:
    from suffuse_molecule.data.library import Preparing

    return Preparing()
