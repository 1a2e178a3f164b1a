"""Which crystals are the same: pymatgen's `StructureMatcher`, asked only where two can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from suffuse_crystal.data.splits import CrystalSplit

__all__ = ["distance", "distinct", "known_to", "loose", "strict"]


def strict() -> StructureMatcher:
    """The usual tolerances: a fifth of the lengths, 5 degrees, 0.3 of the mean spacing of atoms."""
    return StructureMatcher()


def loose() -> StructureMatcher:
    """The tolerances of structure prediction: 0.3 of the lengths, 10 degrees, 0.5 of the mean spacing.

    References:
        Xie et al. 2022, "Crystal diffusion variational autoencoder"; Jiao et al. 2023 (DiffCSP).
    """
    return StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)


def distinct(structures: Sequence[Structure]) -> list[Structure]:
    """The first of each kind."""
    matcher = strict()
    kinds: dict[str, list[Structure]] = {}
    for structure in structures:
        others = kinds.setdefault(structure.composition.reduced_formula, [])
        if not any(_same(matcher, structure, other) for other in others):
            others.append(structure)
    return [structure for others in kinds.values() for structure in others]


def known_to(split: CrystalSplit, most: int) -> Callable[[Structure], bool]:
    """Whether a structure is one of a split; of each formula ``most`` are compared."""
    matcher = strict()
    places: dict[str, list[int]] = {}
    for place, formula in enumerate(split.descriptors("formula")):
        places.setdefault(formula, []).append(place)

    @cache
    def real(place: int) -> Structure:
        structure: Structure = split[place].value
        return structure

    def known(structure: Structure) -> bool:
        chosen = places.get(structure.composition.reduced_formula, ())[:most]
        return any(_same(matcher, structure, real(place)) for place in chosen)

    return known


def distance(made: Structure, real: Structure) -> float | None:
    """How far two crystals of one composition are apart in units of the mean spacing of atoms; None for no match."""
    try:
        found = loose().get_rms_dist(made, real)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):  # a cell that is no crystal
        return None
    return None if found is None else float(found[0])


def _same(matcher: StructureMatcher, one: Structure, other: Structure) -> bool:
    try:
        return bool(matcher.fit(one, other))
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        return False
