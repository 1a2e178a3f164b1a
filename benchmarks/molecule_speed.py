"""Molecules a second, of the size of QM9, at 50 network evaluations and decoded, by one process with one thread and by
two that share the draws; and the time in which 10,000 molecules become a table with alerts. Times of drawing begin when
the model is loaded; those of the table are whole, with the start of its processes. The search of the nearest training
molecule, which can be left out, is timed by itself. Beside that, how much of the batches is padding, in training and in
drawing; of pairs of atoms it is more than of atoms."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
    padded = _padding(run)
    most = max(atoms for atoms, _ in padded.values())
    bars = [
        Bar(promise="two processes: at least 110 molecules a second", found=together, met=together >= 110),
        Bar(promise="10,000 rows scored with alerts: under 60 s", found=scored, met=scored < 60),
        Bar(promise="padding, of atoms: under 15 %", found=most, met=most < 0.15),
    ]
    drawing: list[list[Cell]] = [["one process", alone], ["two processes", together]]
    scoring: list[list[Cell]] = [["table, with PAINS, Brenk and Lipinski", scored], ["nearest of training", searched]]
    padding: list[list[Cell]] = [[name, *shares] for name, shares in padded.items()]
    tables = [
        Table(title="Drawing", columns=("one thread each", "molecules a second"), rows=drawing),
        Table(title="Scoring", columns=(f"{rows:,} molecules of the data", "seconds"), rows=scoring),
        Table(title="Padding", columns=("batches", "share of atoms", "share of pairs"), rows=padding),
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
    return float(sum(each["draws"] / each["seconds"] for each in found))


def _scored(run: Path, count: int) -> tuple[float, float]:
    """Seconds for the table of so many real molecules, and for the search."""
    import suffuse
    from suffuse.assembly import build_data
    from suffuse_molecule.data.library import Preparing
    from suffuse_molecule.data.splits import MoleculeSplit
    from suffuse_molecule.neighbours import nearest

    model = suffuse.load(run)
    data = build_data(model.config, model.registry)
    assert isinstance(data.train, MoleculeSplit)
    places = np.linspace(0, len(data.train) - 1, count).astype(int)
    values = [data.train[int(place)].value for place in places]
    records = [{"sample": place, "seed_key": "", "run": run.name, "checkpoint": model.digest} for place in range(count)]
    data.train.fingerprints(Preparing())
    with tempfile.TemporaryDirectory() as folder:
        session = model.session({"filters": ["pains", "brenk", "lipinski"], "nearest": False})
        began = time.perf_counter()
        session.write(values, records, [{}] * count, Path(folder) / "part")
        session.join([Path(folder) / "part"], Path(folder))
        scored = time.perf_counter() - began
    known = data.train.fingerprints(Preparing())
    began = time.perf_counter()
    nearest(known[places], known)
    return scored, time.perf_counter() - began


def _padding(run: Path) -> dict[str, tuple[float, float]]:
    """The share of padding among atoms and among pairs of them."""
    import suffuse
    from suffuse.assembly import build_data
    from suffuse.sizes import Sizes
    from suffuse.training.feed import Order

    model = suffuse.load(run)
    data = build_data(model.config, model.registry)
    width = int(model.config["trainer"]["batch_size"])
    order = Order.of(data.train, model.config["seed"], width)
    assert order.sizes is not None
    trained = order.sizes[np.array(order.at(range(500 * width)))].reshape(500, width)
    assert model.sizes is not None
    drawn = np.array(model.sizes.draw(0, range(10_000)))
    rooms = np.array([Sizes.room(int(size)) for size in drawn])
    own, whole = [], []
    for room in np.unique(rooms):
        sizes, batch = drawn[rooms == room], model.sizes.width(int(room), 64)
        own.append(sizes)
        whole.append(np.full(-(-len(sizes) // batch) * batch, room))  # the last batch is filled up
    return {
        f"of {width}, in training": _shares(trained.ravel(), np.repeat(trained.max(1), width)),
        "of 64 at most, of 10,000 draws": _shares(np.concatenate(own), np.concatenate(whole)),
    }


def _shares(sizes: NDArray[np.int64], rooms: NDArray[np.int64]) -> tuple[float, float]:
    atoms, pairs = (1 - float((sizes**power).sum() / (rooms**power).sum()) for power in (1, 2))
    return atoms, pairs
