"""What every benchmark shares: the machine, fair timing, and the record that the documentation is made from.

A benchmark is a function from `Options` to `Findings`. Whoever runs it adds the machine, the date and the command, and
keeps all of it as one small JSON file, so that every published number can be traced to the command that made it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

__all__ = [
    "Bar",
    "Findings",
    "Options",
    "Record",
    "Skipped",
    "Spread",
    "Table",
    "interleaved",
    "machine",
    "read",
    "write",
]

Cell: TypeAlias = str | int | float | None


class Skipped(Exception):  # noqa: N818 - it is no error
    """The benchmark needs something that is not here; the message says what, and where it is looked for."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a benchmark is to run.

    Args:
        quick: tiny settings, which show that it works and measure nothing.
        runs: where run directories go.
        results: where pictures go that belong to the record; None keeps none.
    """

    quick: bool
    runs: Path
    results: Path | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Figures with a heading for each column; the first column names the rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What was promised, and what was found.

    Args:
        promise: with its limit, in words.
        found: the figure.
        met: whether it keeps the promise.
    """

    promise: str
    found: float
    met: bool


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a benchmark found.

    Args:
        bars: what was promised.
        tables: all figures.
        settings: what was run, in reading order.
        pictures: file names in the folder of results.
    """

    bars: Sequence[Bar]
    tables: Sequence[Table]
    settings: Mapping[str, Cell] = field(default_factory=dict)
    pictures: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Record:
    """The findings of one benchmark with where, when and how they were made.

    Args:
        name: of the benchmark.
        about: what it measures, in a few sentences.
        command: what was typed.
        date: of the end, UTC.
        seconds: that it took.
        quick: made with tiny settings; such figures mean nothing.
        machine: from `machine`.
        findings: of the benchmark.
    """

    name: str
    about: str
    command: str
    date: str
    seconds: float
    quick: bool
    machine: Mapping[str, Cell]
    findings: Findings


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one, which a burst of other work on the machine does not move."""
        return statistics.median(self.values)

    def cells(self) -> list[Cell]:
        """Median, least and most, for the row of a table."""
        return [self.median, min(self.values), max(self.values)]


def interleaved(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Spread]:
    """Measure several things in turn, ``rounds`` times, so that a slow moment of the machine hits all of them.

    Every other round goes backwards, so that none is always the one after another. A round that is not counted
    warms up caches and allocators first.

    Args:
        contenders: by name, a function that does the work once and returns what it measured.
        rounds: how often each is measured.
    """
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(-1, rounds):
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            value = contenders[name]()
            if number >= 0:
                measured[name].append(value)
    return {name: Spread(values) for name, values in measured.items()}


def machine() -> dict[str, Cell]:
    """What the figures depend on beside the code."""
    import torch

    from suffuse.environment import processor

    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads of torch": torch.get_num_threads(),
        "load at the start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }


def write(record: Record, folder: Path) -> Path:
    """Keep a record as ``folder/NAME.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{record.name}.json"
    file.write_text(json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


def read(file: Path) -> Record:
    """The inverse of `write`."""
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    found = data.pop("findings")
    bars = [Bar(**bar) for bar in found.pop("bars")]
    tables = [Table(**table) for table in found.pop("tables")]
    return Record(**data, findings=Findings(bars=bars, tables=tables, **found))
