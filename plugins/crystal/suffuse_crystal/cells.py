"""Crystals as arrays, from pymatgen's structures and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import DummySpecies, Element, Lattice, Structure

__all__ = ["ELEMENTS", "Cell", "Cells", "cell_of", "structure_of"]

Cell: TypeAlias = tuple[NDArray[np.int16], NDArray[np.float64], NDArray[np.float64]]
"""Atomic numbers ``[N]``, fractional positions ``[N, 3]`` and lattice vectors as rows ``[3, 3]`` in Å."""

ELEMENTS: dict[str, int] = {element.symbol: element.Z for element in Element if element.symbol not in ("D", "T")}
"""Atomic numbers by symbol."""
_UNKNOWN = DummySpecies("X")


def cell_of(structure: Structure) -> Cell:
    """The arrays of an ordered structure, with right-handed lattice vectors.

    Three left-handed vectors are turned round with all positions, so that the points are the same: the metric of a
    lattice does not say its handedness.

    Raises:
        KeyError: an atom is of no element.
        AttributeError: a site is shared.
    """
    lattice = np.array(structure.lattice.matrix, np.float64)
    positions = np.array(structure.frac_coords, np.float64).reshape(-1, 3)
    numbers = np.array([ELEMENTS[site.specie.symbol] for site in structure], np.int16)
    sign = 1.0 if np.linalg.det(lattice) > 0 else -1.0
    return numbers, sign * positions % 1.0 % 1.0, sign * lattice


def structure_of(numbers: NDArray[np.int16], positions: NDArray[np.float64], lattice: NDArray[np.float64]) -> Structure:
    """The structure; the atomic number 0 becomes a dummy atom X."""
    species = [Element.from_Z(int(number)) if number else _UNKNOWN for number in numbers]
    return Structure(Lattice(lattice), species, positions, to_unit_cell=True)


@dataclass(frozen=True, eq=False)
class Cells:
    """Several crystals one after another, as they lie in files and in a batch.

    Args:
        numbers: atomic numbers, ``[sum N]``.
        positions: fractional, ``[sum N, 3]``.
        counts: atoms of each, ``[B]``.
        lattices: vectors as rows, ``[B, 3, 3]`` in Å.
    """

    numbers: NDArray[np.int16]
    positions: NDArray[np.floating]
    counts: NDArray[np.int64]
    lattices: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[Cell]:
        ends = self.counts.cumsum()
        for end, count, lattice in zip(ends, self.counts, self.lattices, strict=True):
            place = slice(end - count, end)
            yield self.numbers[place], self.positions[place].astype(np.float64), lattice

    @classmethod
    def of(cls, cells: Iterable[Cell]) -> Cells:
        """Joined."""
        parts: Sequence[Cell] = list(cells)
        return cls(
            np.concatenate([np.zeros(0, np.int16), *(numbers for numbers, _, _ in parts)]),
            np.concatenate([np.zeros((0, 3)), *(positions for _, positions, _ in parts)]),
            np.array([len(numbers) for numbers, _, _ in parts], np.int64),
            np.array([lattice for _, _, lattice in parts], np.float64).reshape(-1, 3, 3),
        )
