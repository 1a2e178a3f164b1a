"""What crystals are in numbers and classes, measured alike of real ones and of samples, so that shifts can be told."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from suffuse.bias import Attribute
from suffuse_crystal.cells import ELEMENTS

__all__ = ["SYSTEMS", "attributes_of", "compositions", "reduced_cells"]

SYSTEMS = {
    "triclinic": 2,
    "monoclinic": 15,
    "orthorhombic": 74,
    "tetragonal": 142,
    "trigonal": 167,
    "hexagonal": 194,
    "cubic": 230,
}
"""Crystal systems, each with the last of its space groups."""


def attributes_of(
    real: Sequence[Structure], samples: Sequence[Structure], groups: Sequence[Sequence[int]]
) -> list[Attribute]:
    """Density, volume, sizes, and crystal systems.

    Args:
        real: training crystals.
        samples: sound draws.
        groups: the numbers of their space groups, of both; 0 is none.
    """
    numbers: dict[str, Callable[[Structure], float]] = {
        "density (g/cm^3)": lambda structure: float(structure.density),
        "volume per atom (Å^3)": lambda structure: float(structure.volume) / len(structure),
        "elements": lambda structure: len(structure.composition),
        "atoms": len,
    }
    found = [
        Attribute(name=name, real=np.array([*map(of, real)], float), samples=np.array([*map(of, samples)], float))
        for name, of in numbers.items()
    ]
    last = [*SYSTEMS.values()]
    systems = [np.array([bisect_left(last, group) if group else -1 for group in side], int) for side in groups]
    return [*found, Attribute(name="system", real=systems[0], samples=systems[1], classes=tuple(SYSTEMS))]


def compositions(structures: Sequence[Structure]) -> NDArray[np.float64]:
    """The share of each element among the atoms, ``[N, E]``."""
    rows = np.zeros((len(structures), len(ELEMENTS) + 1))
    for row, structure in zip(rows, structures, strict=True):
        for site in structure:
            row[ELEMENTS[site.specie.symbol]] += 1 / len(structure)
    return rows


def reduced_cells(structures: Sequence[Structure]) -> NDArray[np.float64]:
    """Logarithms of the lengths of the reduced cell for one atom, the shortest first, and of its volume: ``[N, 4]``."""
    rows = []
    for structure in structures:
        lengths = np.sort(structure.lattice.get_lll_reduced_lattice().abc)
        rows.append(np.log([*lengths / len(structure) ** (1 / 3), structure.volume / len(structure)]))
    return np.array(rows).reshape(-1, 4)
