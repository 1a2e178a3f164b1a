"""Real molecules to tensors and back: how many come back as the same molecule (canonical SMILES without stereo), of up
to 20,000 evenly spaced ones of each set. What RDKit does not read, or is in several pieces, is no molecule that could
come back; of the others, all that is left out counts as lost. Reasons are listed."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

from rdkit import RDConfig

from benchmarks.experiment import data_folder
from benchmarks.harness import Bar, Cell, Findings, Options, Table
from suffuse_molecule.data.smiles import Smiles
from suffuse_molecule.decoder import Graph

__all__ = ["measure"]

LEAST = 0.998
_NONE = ("unparsable", "valence", "kekulize", "sanitize", "dummy", "mixture", "duplicate")
"""Reasons that speak of the file: there is no molecule in one piece, or it is there again."""
_BLOCK = 1000


def measure(options: Options) -> Findings:
    """A row for each set."""
    most = 200 if options.quick else 20_000
    rows, shares = [], []
    for name, lines in _sets().items():
        texts = list(lines)
        path = options.runs / f"{name}.smi"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{text}\n" for text in texts[:: -(-len(texts) // most)]), encoding="utf-8")
        data = Smiles(path=path, max_atoms=255, heldout=0.0, cache_dir=options.runs / "cache").train
        left = {reason: int(found["count"]) for reason, found in data.library.facts["left_out"].items()}
        decoder = Graph()
        decoder.fields(data)
        exact = 0
        for start in range(0, len(data), _BLOCK):
            some = range(start, min(start + _BLOCK, len(data)))
            values = decoder.decode(decoder.encode(data.gather(some).values))
            exact += sum(value.smiles == smiles for value, smiles in zip(values, data.smiles(some), strict=True))
        tried = len(data) + sum(count for reason, count in left.items() if reason not in _NONE)
        shares.append(exact / tried)
        row: list[Cell] = [name, int(data.library.facts["read"]), tried, exact, exact / tried]
        rows.append([*row, ", ".join(f"{reason} {count}" for reason, count in left.items()) or "none"])
    return Findings(
        bars=[
            Bar(promise="exact in every set: at least 99.8 %", found=min(shares), met=min(shares) >= LEAST),
        ],
        tables=[
            Table(
                title="There and back",
                columns=("set", "read", "molecules in one piece", "exact", "share", "left out, with reason"),
                rows=rows,
            )
        ],
    )


def _sets() -> dict[str, Iterator[str]]:
    folder = data_folder()
    return {"nci": _nci(), "qm9": _column(folder / "qm9" / "qm9_smiles.csv"), "moses": _moses(folder / "moses")}


def _nci() -> Iterator[str]:
    path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
    yield from (line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _column(path: Path) -> Iterator[str]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from (row["smiles"] for row in csv.DictReader(file))


def _moses(folder: Path) -> Iterator[str]:
    with gzip.open(folder / "train.csv.gz", "rt", encoding="utf-8", newline="") as file:
        yield from (row["SMILES"] for row in csv.DictReader(file))
