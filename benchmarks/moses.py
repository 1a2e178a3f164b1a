"""MOSES, 1.6 million drug-like molecules of 8 to 27 heavy atoms: twenty minutes of training on two cores, scored
against its published test set. The rows of other models are those of the MOSES repository (its README: train, CharRNN,
VAE, JT-VAE) and of the papers of DiGress and DeFoG, each trained for hours or days on a GPU, of 25,000 to 30,000
samples; a Fréchet ChemNet distance of so few samples as here is larger by the floor that stands beside it. Filters
without the patterns of the package molsets are milder than those of the published rows."""

from __future__ import annotations

import dataclasses
import gzip
from itertools import islice
from pathlib import Path

from benchmarks.experiment import DATA, Experiment, conduct, data_folder, trained
from benchmarks.harness import Cell, Findings, Options, Table

__all__ = ["OVERRIDES", "PUBLISHED", "first", "measure"]

OVERRIDES = [
    "modality=molecule",
    "data=smiles",
    f"data.path={DATA}/moses/train.csv.gz",
    f"data.heldout_path={DATA}/moses/test.csv.gz",
    "data.column=SMILES",
    "data.split=given",
    "data.max_atoms=27",
    "backbone.rings=8",
    "trainer.steps=12000",
    "trainer.ema=0.9995",
    "trainer.batch_size=64",
    "trainer.preview_every=0",
]

COLUMNS = ("valid", "unique", "novel", "filters", "FCD/Test", "SNN/Test", "Scaf/Test")
PUBLISHED: dict[str, tuple[float | None, ...]] = {
    "training set": (1.0, 1.0, 0.0, 1.0, 0.008, 0.642, 0.991),
    "CharRNN": (0.975, 0.9994, 0.842, 0.994, 0.073, 0.602, 0.924),
    "VAE": (0.977, 0.998, 0.695, 0.997, 0.099, 0.626, 0.939),
    "JT-VAE": (1.0, 0.9996, 0.914, 0.976, 0.395, 0.548, 0.896),
    "DiGress (FCD, SNN, Scaf against the scaffold split)": (0.857, 1.0, 0.950, 0.971, 1.19, 0.52, 0.148),
    "DeFoG, 500 steps (FCD, SNN, Scaf against the scaffold split)": (0.928, 0.999, 0.921, 0.989, 1.95, 0.55, 0.144),
}
"""By model, in the order of `COLUMNS`."""

NAMES = ("valid and connected", "unique", "novel", "filters", "FCD", "nearest neighbour", "scaffold similarity")


def measure(options: Options) -> Findings:
    """Scores and wall time of one run, and a table with the published rows."""
    small: tuple[str, ...] = ()
    if options.quick:
        few = first(options.runs, "test", 2000)
        small = (f"data.path={few}", "data.split=random", "data.heldout_path=null")
    experiment = Experiment(
        name="moses", overrides=OVERRIDES, seeds=(0,), draws=1000, quick=("metric.fcd=never", *small)
    )
    outcomes, findings = conduct(experiment, options)
    scores = outcomes[0].scores
    ours: list[Cell] = ["suffuse", *(scores[name]["value"] if name in scores else None for name in NAMES)]
    real: list[Cell] = ["real molecules, scored alike", *(scores[n]["real"] if n in scores else None for n in NAMES)]
    rows: list[list[Cell]] = [ours, real, *([name, *row] for name, row in PUBLISHED.items())]
    table = Table(title="Beside published figures", columns=("model", *COLUMNS), rows=rows)
    return dataclasses.replace(findings, bars=[trained(outcomes, 40)], tables=[table, *findings.tables])


def first(folder: Path, part: str, count: int) -> Path:
    """The first molecules of a set as a file of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{part}-{count}.csv"
    with gzip.open(data_folder() / "moses" / f"{part}.csv.gz", "rt", encoding="utf-8") as lines:
        file.write_text("".join(islice(lines, 1 + count)), encoding="utf-8")
    return file
