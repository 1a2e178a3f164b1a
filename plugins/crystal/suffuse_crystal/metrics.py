"""How good a set of generated crystals is, in figures that all stand beside those of real ones.

Every draw counts: nothing is relaxed, repaired or left out of a denominator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure
from scipy.stats import wasserstein_distance

from suffuse.data import Evaluation, Score
from suffuse.errors import ConfigError, DataError, PluginError
from suffuse.fitting import Range
from suffuse.metrics import nearest_ratio, neighbourhood_scores, vendi_score
from suffuse_crystal.attributes import attributes_of, compositions, reduced_cells
from suffuse_crystal.data.splits import CrystalSplit
from suffuse_crystal.descriptors import TOLERANCE, space_group
from suffuse_crystal.matching import distinct, known_to
from suffuse_crystal.prediction import matches

__all__ = ["CrystalMetrics", "sound", "total_variation"]

When: TypeAlias = Literal["auto", "always", "never"]
_LEAST = 2
_NEAREST = 0.5
_LEAST_VOLUME = 0.1
_MOST_ELEMENTS = 8
_MOVES = 100
_COMPARED = 50
"""Training crystals of one formula with which a draw is compared."""
_NEIGHBOURS = 5
_SPACE = "shares of elements and logarithms of the lengths and the volume of the reduced cell"


@dataclass(frozen=True)
class Facts:
    """What is looked at of one crystal.

    Args:
        structure: itself.
        sound: see `sound`.
        neutral: whether the composition can be neutral; None where smact is not asked.
        density: in g/cm^3; 0 of what is not sound.
        elements: how many different ones.
        group: number of the space group, 0 for none.
    """

    structure: Structure
    sound: bool
    neutral: bool | None
    density: float
    elements: int
    group: int

    @property
    def valid(self) -> bool:
        """In every respect that was looked at."""
        return self.sound and self.neutral is not False


def sound(structure: Structure) -> bool:
    """Whether the atoms are of elements, none is nearer to another or to its own copy than 0.5 Å, and the cell has a
    volume of 0.1 Å^3.

    References:
        Court et al. 2020, "3-D inorganic crystal structure generation and property prediction"; Xie et al. 2022,
        "Crystal diffusion variational autoencoder".
    """
    if not _whole(structure) or structure.volume < _LEAST_VOLUME:
        return False
    near = structure.distance_matrix + np.where(np.eye(len(structure), dtype=bool), np.inf, 0.0)
    return bool(min(near.min(), *structure.lattice.get_lll_reduced_lattice().abc) > _NEAREST)


def _whole(structure: Structure) -> bool:
    return len(structure) > 0 and all(site.specie.symbol != "X" for site in structure)


class CrystalMetrics:
    """Validity, uniqueness, novelty, and distances of distributions from those of real crystals.

    Args:
        smact: whether compositions are judged: ``auto`` where smact is installed, ``always`` or ``never``.
        chgnet: whether energies are predicted: ``auto`` where chgnet is installed, ``always`` or ``never``.
        relax: so many draws, and as many held-out crystals, are relaxed by the same potential; seconds for each.
        max_real: at most so many crystals of each real part are looked at, drawn at random.
    """

    def __init__(
        self,
        *,
        smact: When = "auto",
        chgnet: When = "never",
        relax: Annotated[int, Range(least=0)] = 0,
        max_real: Annotated[int, Range(least=2)] = 2000,
    ) -> None:
        self.smact = smact
        self.chgnet = chgnet
        self.relax = relax
        self.max_real = max_real

    def __call__(self, evaluation: Evaluation) -> list[Score]:
        """The scores. ``evaluation.values`` are `Structure`.

        Raises:
            ConfigError: the data are no crystals, or there are fewer than two samples.
            DataError: there are fewer than two real crystals of a part.
            PluginError: an extra is asked for and not installed.
        """
        train, heldout, values = evaluation.train, evaluation.heldout, evaluation.values
        if not isinstance(train, CrystalSplit) or not isinstance(heldout, CrystalSplit):
            raise ConfigError("metric=crystal needs data of crystals")
        if len(values) < _LEAST:
            raise ConfigError(f"n={len(values)}: the metrics need {_LEAST} samples")
        for part, split in (("training", train), ("held-out", heldout)):
            if len(split) < _LEAST:
                raise DataError(f"the {part} part of the data has {len(split)} crystals; see data.heldout")
        judge = self._judge(evaluation)
        rng = np.random.default_rng(evaluation.seed)
        drawn = [_examine(value, judge) for value in values]
        held = [_examine(heldout[int(row)].value, judge) for row in rng.permutation(len(heldout))[: self.max_real]]
        count = min(len(values), self.max_real)
        trained = [_examine(train[int(row)].value, judge) for row in rng.permutation(len(train))[:count]]
        evaluation.details["crystals"] = {"drawn": len(drawn), "held out": len(held), "training": len(trained)}
        evaluation.details["versions"] = {name: version(name) for name in ("pymatgen", "spglib")}
        scores = _validity(drawn, held) + _novelty(drawn, held[: len(values)], train)
        if evaluation.given:
            scores += matches(values, evaluation.given, train, heldout, evaluation.seed)
        good = [each for each in drawn if each.sound]
        if good:
            scores += _distances(good, held, trained)
            groups = [[each.group for each in part if each.sound] for part in (trained, good)]
            evaluation.attributes.extend(attributes_of(_structures(trained), _structures(good), groups))
            known = [train[int(row)].value for row in rng.permutation(len(train))[: self.max_real]]
            scores += _variety(_structures(good), _structures(trained))
            made, real, substitute = (_features(_structures(part)) for part in (good, held, trained))
            scores += _neighbourhoods(made, real, substitute) + _copies(made, real, _features(known))
        return scores + self._energies(good, held[: len(values)], evaluation)

    def _judge(self, evaluation: Evaluation) -> Callable[[Structure], bool] | None:
        """Whether a composition can be neutral, by smact."""
        if self.smact == "never":
            return None
        try:
            from smact.screening import smact_validity
        except ImportError as error:
            if self.smact == "always":
                raise PluginError('metric.smact=always needs smact: pip install "suffuse-crystal[smact]"') from error
            evaluation.details["smact"] = 'not measured: pip install "suffuse-crystal[smact]"'
            return None
        evaluation.details["smact"] = version("smact")
        # Beyond a few elements all combinations of their oxidation states take hours, and nearly anything is neutral.
        return lambda structure: (
            len(structure.composition) <= _MOST_ELEMENTS and bool(smact_validity(structure.composition))
        )

    def _energies(self, good: Sequence[Facts], held: Sequence[Facts], evaluation: Evaluation) -> list[Score]:
        if self.chgnet == "never" or not good:
            return []
        try:
            from chgnet.model.model import CHGNet
        except ImportError as error:
            if self.chgnet == "always":
                raise PluginError('metric.chgnet=always needs chgnet: pip install "suffuse-crystal[chgnet]"') from error
            evaluation.details["chgnet"] = 'not measured: pip install "suffuse-crystal[chgnet]"'
            return []
        model = CHGNet.load(verbose=False)
        evaluation.details["chgnet"] = version("chgnet")
        values = [
            float(np.mean([found["e"] for found in model.predict_structure([each.structure for each in part])]))
            for part in (good, held)
        ]
        scores = [
            Score(
                name="energy per atom",
                value=values[0],
                real=values[1],
                better="lower",
                about=f"mean energy in eV that CHGNet predicts for {len(good)} structurally valid draws as they were "
                f"drawn; real: of {len(held)} held-out crystals. It is a model's guess and no proof of stability",
            )
        ]
        if self.relax:
            relaxed = [part[: self.relax] for part in (good, held)]
            scores.append(
                Score(
                    name="energy above relaxed",
                    value=_settling(relaxed[0], model),
                    real=_settling(relaxed[1], model),
                    better="lower",
                    about=f"mean energy in eV per atom that {len(relaxed[0])} structurally valid draws lose in at most "
                    f"{_MOVES} steps of relaxation of positions and cell by CHGNet; real: {len(relaxed[1])} held-out "
                    "crystals",
                )
            )
        return scores


def _settling(crystals: Sequence[Facts], model: Any) -> float:
    """The mean energy in eV per atom that crystals lose when a potential relaxes them."""
    from chgnet.model.dynamics import StructOptimizer

    optimizer, lost = StructOptimizer(model=model), []
    for each in crystals:
        energies = optimizer.relax(each.structure, steps=_MOVES, verbose=False)["trajectory"].energies
        lost.append((energies[0] - energies[-1]) / len(each.structure))
    return float(np.mean(lost))


def _examine(structure: Structure, judge: Callable[[Structure], bool] | None) -> Facts:
    fine = sound(structure)
    return Facts(
        structure=structure,
        sound=fine,
        neutral=None if judge is None else _whole(structure) and judge(structure),
        density=float(structure.density) if fine else 0.0,
        elements=len(structure.composition.elements),
        group=space_group(structure) if fine else 0,
    )


def _validity(drawn: Sequence[Facts], held: Sequence[Facts]) -> list[Score]:
    meanings: dict[str, tuple[Callable[[Facts], bool], str]] = {
        "structurally valid": (
            lambda f: f.sound,
            "share of all draws without two atoms nearer than 0.5 Å, in a cell of at least 0.1 Å^3",
        )
    }
    if drawn[0].neutral is not None:
        meanings["compositionally valid"] = (
            lambda f: bool(f.neutral),
            "share of all draws whose elements have oxidation states that sum to zero and agree with their "
            f"electronegativities, or are all metals, by SMACT; more than {_MOST_ELEMENTS} elements count as invalid",
        )
        meanings["valid"] = (lambda f: f.valid, "share of all draws that are valid in structure and composition")
    return [
        Score(
            name=name,
            value=_share(map(test, drawn)),
            real=_share(map(test, held)),
            better="higher",
            about=f"{meaning}; {len(drawn)} draws, real: {len(held)} held-out crystals",
        )
        for name, (test, meaning) in meanings.items()
    ]


def _novelty(drawn: Sequence[Facts], held: Sequence[Facts], train: CrystalSplit) -> list[Score]:
    known = known_to(train, _COMPARED)
    figures = []
    for facts in (drawn, held):
        good = [each.structure for each in facts if each.valid]
        kinds = distinct(good)
        new = sum(not known(kind) for kind in kinds)
        figures.append((len(kinds) / max(1, len(good)), new / max(1, len(kinds)), new / len(facts)))
    names = ("unique", "novel", "valid, unique and novel")
    meanings = (
        "distinct crystals among the valid draws, by pymatgen's StructureMatcher",
        "share of the distinct valid crystals that match no training crystal; of each formula "
        f"{_COMPARED} are compared",
        "distinct valid crystals that match no training crystal, per draw",
    )
    return [
        Score(
            name=name,
            value=value,
            real=real,
            better="higher",
            about=f"{meaning}; {len(drawn)} draws, real: {len(held)} held-out crystals",
        )
        for name, meaning, value, real in zip(names, meanings, *figures, strict=True)
    ]


def _distances(good: Sequence[Facts], held: Sequence[Facts], trained: Sequence[Facts]) -> list[Score]:
    against = (
        f"{len(good)} structurally valid draws against {len(held)} held-out crystals; real: {len(trained)} training "
        "crystals against the same"
    )
    numbers: dict[str, tuple[Callable[[Facts], float], str]] = {
        "density W1": (lambda f: f.density, "Wasserstein distance of the densities in g/cm^3"),
        "elements W1": (lambda f: f.elements, "Wasserstein distance of how many different elements a crystal has"),
    }
    scores = [
        _distance(name, meaning, against, [[of(f) for f in part] for part in (good, trained, held)])
        for name, (of, meaning) in numbers.items()
    ]
    parts = [[f.group for f in part] for part in (good, trained, held)]
    value, real = (total_variation(part, parts[2]) for part in parts[:2])
    about = f"total variation of the distributions of space groups, to {TOLERANCE} Å; {against}"
    return [*scores, Score(name="space group TV", value=value, real=real, better="lower", about=about)]


def _distance(name: str, meaning: str, against: str, parts: Sequence[Sequence[float]]) -> Score:
    value, real = (float(wasserstein_distance(part, parts[2])) for part in parts[:2])
    return Score(name=name, value=value, real=real, better="lower", about=f"{meaning}; {against}")


def _variety(good: Sequence[Structure], trained: Sequence[Structure]) -> list[Score]:
    count = min(len(good), len(trained))
    if not count:
        return []
    value, real = (vendi_score(compositions(part[:count])) for part in (good, trained))
    about = (
        f"effective number of different compositions (Friedman and Dieng 2023), by cosines of the shares of elements, "
        f"among {count} structurally valid draws; real: among as many training crystals"
    )
    return [Score(name="Vendi score", value=value, real=real, better="higher", about=about)]


def _features(structures: Sequence[Structure]) -> NDArray[np.float64]:
    """The space `_SPACE`, ``[N, F]``; where atoms lie in the cell does not count.

    Unscaled, as the features of other modalities are: shares and logarithms spread about alike, and over their own
    spreads rare elements would outweigh cells, and those that training lacks would have no scale.
    """
    return np.hstack([compositions(structures), reduced_cells(structures)])


def _neighbourhoods(drawn: NDArray[np.float64], held: NDArray[np.float64], trained: NDArray[np.float64]) -> list[Score]:
    """Of as many draws as training crystals, for the figures depend on the number; none where they are too few."""
    count = min(len(drawn), len(trained))
    if min(count, len(held)) <= _NEIGHBOURS:
        return []
    against = (
        f"{count} structurally valid draws against {len(held)} held-out crystals, by {_SPACE}; real: as many training "
        "crystals"
    )
    return neighbourhood_scores(held, drawn[:count], trained[:count], _NEIGHBOURS, "crystals", against)


def _copies(drawn: NDArray[np.float64], held: NDArray[np.float64], known: NDArray[np.float64]) -> list[Score]:
    """How far draws lie from training crystals, beside held-out ones."""
    if not len(held):
        return []
    about = (
        f"median distance from the nearest of {len(known)} training crystals, by {_SPACE}, of {len(drawn)} "
        f"structurally valid draws over that of {len(held)} held-out crystals, which is 1 by definition; well below 1 "
        "means copying"
    )
    value = nearest_ratio(known, drawn, held)
    return [Score(name="nearest-neighbour ratio", value=value, real=1.0, better="higher", about=about)]


def _structures(facts: Sequence[Facts]) -> list[Structure]:
    """Those that are sound."""
    return [each.structure for each in facts if each.sound]


def total_variation(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Half the sum of the differences of two distributions: 0 for equal ones, 1 for those that share nothing."""
    counts = [Counter(one), Counter(other)]
    keys = set(counts[0]) | set(counts[1])
    return 0.5 * sum(abs(counts[0][key] / len(one) - counts[1][key] / len(other)) for key in keys)


def _share(hits: Iterable[bool]) -> float:
    found = list(hits)
    return sum(found) / len(found)
