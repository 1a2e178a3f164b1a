"""What can be computed of any crystal, for conditions and for comparison."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping

from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

__all__ = ["CLASSES", "NUMBERS", "TOLERANCE", "describe", "space_group"]

NUMBERS = ("density", "volume_per_atom", "elements")
"""g/cm^3, Å^3, and how many different elements."""
CLASSES = ("chemical_system", "space_group", "formula")
"""Such as O-Sr-Ti, 221 and SrTiO3."""
TOLERANCE = 0.1
"""Å by which atoms may lie beside the place that symmetry gives them."""


def describe(structure: Structure) -> Mapping[str, str]:
    """Every descriptor as text."""
    return {
        "density": f"{float(structure.density):.6g}",
        "volume_per_atom": f"{structure.volume / len(structure):.6g}",
        "elements": str(len(structure.composition.elements)),
        "chemical_system": str(structure.composition.chemical_system),
        "space_group": str(space_group(structure)),
        "formula": str(structure.composition.reduced_formula),
    }


def space_group(structure: Structure) -> int:
    """The number of its space group; 0 where spglib finds none."""
    os.environ.setdefault("SPGLIB_WARNING", "OFF")  # else it writes to the terminal by itself
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return int(SpacegroupAnalyzer(structure, symprec=TOLERANCE).get_space_group_number())
    except Exception:  # spglib refuses cells that are no crystals, each version with another error
        return 0
