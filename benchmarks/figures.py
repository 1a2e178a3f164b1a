"""Pictures of the documentation, drawn from records and from nothing else: ``python -m benchmarks figures``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Cell, Record, Table

__all__ = ["solver_error"]

GRIDS = ("Karras", "even log-SNR")
COLOURS = {
    "DDIM": "#666666",
    "Heun": "#b07aa1",
    "DPM-Solver++ 2S": "#e08214",
    "DPM-Solver++ 2M": "#1b7837",
    "DPM-Solver++ 3M": "#2166ac",
}
"""Of the rules that are drawn."""

MARKERS = {"diffusers": "o", "k-diffusion": "s", "azula": "^"}
_HOLLOW: dict[str, Any] = {"linestyle": "", "markersize": 10, "markerfacecolor": "none", "markeredgewidth": 1.8}


def solver_error(record: Record, file: Path) -> None:
    """Error against network evaluations: a line for each rule of suffuse, a mark for the same rule elsewhere.

    Args:
        record: of the benchmark ``solvers``.
        file: PNG, to be read at the width of a telephone: one panel for each grid, one below the other.

    Raises:
        ValueError: the record has no table of errors.
    """
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    tables = [_table(record, f"Error on the grid: {grid}") for grid in GRIDS]
    with plt.rc_context({"font.size": 15, "axes.spines.top": False, "axes.spines.right": False}):
        figure, panels = plt.subplots(len(GRIDS), 1, figsize=(7.5, 13), dpi=130, layout="constrained", sharex=True)
        for grid, table, axes in zip(GRIDS, tables, panels, strict=True):
            _panel(axes, table)
            axes.set_title(f"Distance to the exact solution, {grid} grid", loc="left", fontsize=15)
        panels[-1].set_xlabel("network evaluations")
        handles = [Line2D([], [], color="black", linewidth=2.5, label="suffuse")]
        handles += [Line2D([], [], color="black", marker=mark, label=name, **_HOLLOW) for name, mark in MARKERS.items()]
        panels[0].legend(handles=handles, loc="lower left", frameon=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file)
        plt.close(figure)


def _panel(axes: Any, table: Table) -> None:
    evaluations = [int(column.split()[0]) for column in table.columns[2:]]
    for row in table.rows:
        colour, library = COLOURS.get(str(row[0])), str(row[1]).split()[0]
        if colour is None:
            continue
        errors = _numbers(row[2:])
        if library == "suffuse":
            axes.plot(evaluations, errors, color=colour, linewidth=2.5, zorder=2)
            name, end = str(row[0]).removeprefix("DPM-Solver++ "), (evaluations[-1], errors[-1])
            axes.annotate(name, end, (10, 0), textcoords="offset points", va="center", color=colour)
        else:
            axes.plot(evaluations, errors, color=colour, marker=MARKERS[library], zorder=3, **_HOLLOW)
    axes.set(xscale="log", yscale="log", xlim=(4.5, 75), ylim=(1e-4, 3))
    axes.set_xticks(evaluations, [str(nfe) for nfe in evaluations])
    axes.minorticks_off()
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)


def _table(record: Record, title: str) -> Table:
    for table in record.findings.tables:
        if table.title == title:
            return table
    raise ValueError(f"the record of {record.name} has no table {title!r}")


def _numbers(cells: Sequence[Cell]) -> list[float]:
    return [float(cell) for cell in cells if isinstance(cell, int | float)]
