"""What molecules are in numbers, measured alike of real ones and of samples, so that shifts can be told.

A molecule is one draw and so one value, also where its atoms are looked at: they are no draws of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from suffuse.bias import Attribute
from suffuse_molecule.examination import COMPARED, Facts
from suffuse_molecule.graphs import name_of

__all__ = ["TITLES", "attributes_of"]

TITLES = {"logp": "logP", "qed": "QED", "sa": "SA", "mw": "MW", "tpsa": "TPSA"}
"""Of the descriptors `COMPARED`."""


def attributes_of(real: Sequence[Facts], samples: Sequence[Facts]) -> list[Attribute]:
    """Descriptors, counts, and the share of each element among the atoms of a molecule.

    Args:
        real: of valid training molecules.
        samples: of valid draws.
    """
    kinds = sorted({_element(code) for facts in (*real, *samples) for code in facts.atoms})
    trained, drawn = _measured(real, kinds), _measured(samples, kinds)
    return [Attribute(name=name, real=trained[name], samples=drawn[name]) for name in trained]


def _measured(molecules: Sequence[Facts], kinds: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    atoms = [Counter(map(_element, facts.atoms)) for facts in molecules]

    def each(values: Iterable[float]) -> NDArray[np.float64]:
        return np.fromiter(values, np.float64, len(molecules))

    return {
        **{TITLES[name]: each(facts.numbers[place] for facts in molecules) for place, name in enumerate(COMPARED)},
        "atoms": each(counts.total() for counts in atoms),
        "hetero atoms": each(counts.total() - counts["C"] - counts["H"] for counts in atoms),
        "charged atoms": each(facts.charged for facts in molecules),
        "rings": each(len(facts.rings) for facts in molecules),
        **{f"share of {kind}": each(counts[kind] / counts.total() for counts in atoms) for kind in kinds},
    }


@cache
def _element(code: int) -> str:
    return name_of(code).rstrip("+-0123456789")
