"""How often a structure that is predicted for a composition is the real one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from pymatgen.core import Composition, Structure

from suffuse.data import Score
from suffuse_crystal.data.splits import CrystalSplit
from suffuse_crystal.matching import distance

__all__ = ["matches"]


def matches(
    values: Sequence[Structure], rows: Sequence[int], train: CrystalSplit, heldout: CrystalSplit, seed: int
) -> list[Score]:
    """The match rate with one try for each, and how far apart the matches are.

    Args:
        values: predictions.
        rows: of the held-out crystals whose elements they were told.
        train: for what is predicted without a model: a training crystal with the elements exchanged.
        heldout: the real crystals.
        seed: of the choice among them.
    """
    rng = np.random.default_rng(seed)
    real = [heldout[row].value for row in rows]
    guess = _Exchange(train)
    guesses = [guess(each, rng) for each in real]
    found = [distance(made, each) for made, each in zip(values, real, strict=True)]
    plain = [None if made is None else distance(made, each) for made, each in zip(guesses, real, strict=True)]
    about = (
        f"{len(values)} held-out compositions, one try each, by StructureMatcher (0.3 of the lengths, 10 degrees, 0.5 "
        "of the spacing); real: in place of the model, a random training crystal of as many atoms of each kind with "
        "its elements exchanged"
    )
    scores = [
        Score(
            name="match rate",
            value=_rate(found),
            real=_rate(plain),
            better="higher",
            about=f"share of predictions that are the real structure; {about}",
        )
    ]
    distances = [[each for each in part if each is not None] for part in (found, plain)]
    if all(distances):
        value, floor = (float(np.mean(part)) for part in distances)
        about = f"mean distance of the matches in units of the spacing of atoms; {about}"
        scores.append(Score(name="match RMSE", value=value, real=floor, better="lower", about=about))
    return scores


class _Exchange:
    """A training crystal of the same stoichiometry with other elements."""

    def __init__(self, train: CrystalSplit) -> None:
        self._train = train
        self._places: dict[str, list[int]] = {}
        for place, formula in enumerate(train.descriptors("formula")):
            self._places.setdefault(_anonymous(formula), []).append(place)

    def __call__(self, asked: Structure, rng: np.random.Generator) -> Structure | None:
        places = self._places.get(_anonymous(asked.composition.reduced_formula))
        if not places:
            return None
        made: Structure = self._train[places[int(rng.integers(len(places)))]].value.copy()
        pairs = zip(_by_amount(made, rng), _by_amount(asked, rng), strict=True)
        made.replace_species(dict(pairs))
        return made


@cache
def _anonymous(formula: str) -> str:
    return str(Composition(formula).anonymized_formula)


def _by_amount(structure: Structure, rng: np.random.Generator) -> list[str]:
    """Its elements, the rarest first, equally frequent ones in random order."""
    amounts = [(amount, rng.random(), element.symbol) for element, amount in structure.composition.items()]
    return [symbol for _, _, symbol in sorted(amounts)]


def _rate(found: Sequence[float | None]) -> float:
    return sum(each is not None for each in found) / len(found)
