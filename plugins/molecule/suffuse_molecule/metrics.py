"""How good a set of generated molecules is, in figures that all stand beside those of real ones.

Every draw counts: nothing is repaired, no fragment is thrown away, and what RDKit refuses stays in the denominator.
Both sides are written as SMILES by the same RDKit, without stereo, which graphs do not have.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from importlib.util import find_spec
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rdkit import rdBase
from scipy.stats import wasserstein_distance

from suffuse.data import Evaluation, Score
from suffuse.errors import ConfigError, DataError, PluginError
from suffuse.fitting import Range
from suffuse.metrics import effective_number, median_ratio, neighbourhood_scores
from suffuse.progress import Progress
from suffuse_molecule.alerts import moses_patterns
from suffuse_molecule.attributes import TITLES, attributes_of
from suffuse_molecule.data.splits import MoleculeSplit
from suffuse_molecule.descriptors import BITS
from suffuse_molecule.examination import COMPARED, Facts, examine
from suffuse_molecule.molecule import Molecule, key_of
from suffuse_molecule.neighbours import nearest, tanimoto, unpack
from suffuse_molecule.workers import Lost, Workers

__all__ = ["MoleculeMetrics", "internal_diversity", "scaffold_similarity", "total_variation"]

Count: TypeAlias = Annotated[int, Range(least=1)]

_LEAST = 2
_CHUNK = 250
_PAIRED = 1000
"""Molecules of which all pairs are compared, at most."""
_NEIGHBOURS = 5
_BUILT = 200
"""Molecules that PoseBusters looks at, at most."""


class MoleculeMetrics:
    """Validity, uniqueness, novelty, diversity, and distances of distributions from those of real molecules.

    Args:
        fcd: the Fréchet ChemNet distance: ``auto`` where `fcd_torch` is installed, ``always`` or ``never``.
        posebusters: whether conformers of up to 200 valid draws and as many held-out molecules go through PoseBusters,
            which takes a second or more for each.
        max_real: at most so many molecules of each real part are looked at, drawn at random.
        processes: that examine molecules; None is one for each core, 0 works in this process, without protection from
            molecules that hang or crash RDKit.
        seconds: of work that one molecule may take.

    Raises:
        PluginError: `posebusters` is asked for and not installed.
    """

    def __init__(
        self,
        *,
        fcd: Literal["auto", "always", "never"] = "auto",
        posebusters: bool = False,
        max_real: Count = 10_000,
        processes: Annotated[int, Range(least=0)] | None = None,
        seconds: Annotated[float, Range(above=0)] = 10.0,
    ) -> None:
        if posebusters and find_spec("posebusters") is None:
            raise PluginError('metric.posebusters=true needs posebusters: pip install "suffuse[posebusters]"')
        self.fcd = fcd
        self.posebusters = posebusters
        self.max_real = max_real
        self.processes = processes
        self.seconds = seconds

    def __call__(self, evaluation: Evaluation) -> list[Score]:
        """The scores. ``evaluation.values`` are `Molecule`.

        Raises:
            ConfigError: the samples or the data are no molecules, or there are fewer than two samples.
            DataError: there are fewer than two real molecules of a part.
        """
        train, heldout = evaluation.train, evaluation.heldout
        values = evaluation.values
        if not isinstance(train, MoleculeSplit) or not isinstance(heldout, MoleculeSplit):
            raise ConfigError("metric=molecule needs data of molecules")
        if len(values) < _LEAST:
            raise ConfigError(f"n={len(values)}: the metrics need {_LEAST} samples")
        for part, split in (("training", train), ("held-out", heldout)):
            if len(split) < _LEAST:
                raise DataError(f"the {part} part of the data has {len(split)} molecules; see data.heldout")
        rng = np.random.default_rng(evaluation.seed)
        drawn = self._examine([(value.atoms, value.bonds) for value in values], train.explicit)
        held = self._real(heldout, self.max_real, rng)
        trained = self._real(train, min(len(values), self.max_real), rng)
        known = train.keys()
        scores = _quality(drawn, held[: len(values)], known)
        scores[2:2] = _repaired(values)
        good, real = [each for each in drawn if each.valid], [each for each in held if each.valid]
        substitute = [each for each in trained if each.valid][: len(good)] or trained
        evaluation.details["reasons"] = dict(Counter(each.reason or "valid" for each in drawn).most_common())
        evaluation.details["molecules"] = {"drawn": len(drawn), "held out": len(real), "training": len(substitute)}
        evaluation.details["rdkit"] = rdBase.rdkitVersion
        evaluation.details["stereo"] = _stereo(train)
        if not good:
            return scores
        evaluation.attributes.extend(attributes_of([each for each in trained if each.valid], good))
        scores += _diversity(good, held[: len(values)])
        scores += _effective(good, substitute)
        scores += self._filters(good, held[: len(values)])
        scores += _distances(good, real, substitute)
        scores += self._copies(good, real, train, rng)
        if self.posebusters:
            scores += self._built(good, real, evaluation)
        return scores + self._fcd(good, real, substitute, evaluation)

    def _examine(self, graphs: Sequence[tuple[NDArray[np.int16], NDArray[np.int16]]], explicit: bool) -> list[Facts]:
        return examine(graphs, len(graphs), explicit, self.processes, self.seconds)

    def _real(self, split: MoleculeSplit, most: int, rng: np.random.Generator) -> list[Facts]:
        rows = rng.permutation(len(split))[:most]
        return self._examine(list(split.graphs(rows).graphs()), split.explicit)

    def _copies(
        self, good: Sequence[Facts], real: Sequence[Facts], train: MoleculeSplit, rng: np.random.Generator
    ) -> list[Score]:
        """How far draws lie from training molecules, beside held-out ones."""
        if not real:
            return []
        # All from SMILES, which hold no hydrogens: where these are atoms of the graphs, the facts' fingerprints do.
        texts = train.smiles(rng.permutation(len(train))[: self.max_real])
        texts += [each.smiles for part in (good, real) for each in part[:_PAIRED]]
        chunks = (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
        task = "suffuse_molecule.descriptors:fingerprint_all"
        with Workers(task, processes=self.processes, seconds=self.seconds) as workers:
            found = [each for results in workers.map(chunks) for each in results]
        prints = np.array([bytearray(BITS // 8 if isinstance(each, Lost) else each) for each in found], np.uint8)
        ends = np.cumsum([min(len(train), self.max_real), min(len(good), _PAIRED)])
        known, *parts = np.split(prints, ends)
        drawn, held = (1 - nearest(part, known).similarities for part in parts)
        return [
            Score(
                name="nearest-neighbour ratio",
                value=median_ratio(drawn, held),
                real=1.0,
                better="higher",
                about=f"median of 1 - Tanimoto similarity to the nearest of {len(known)} training molecules, of "
                f"{len(drawn)} valid draws over that of {len(held)} held-out molecules, which is 1 by definition; well "
                "below 1 means copying",
            )
        ]

    def _filters(self, good: Sequence[Facts], held: Sequence[Facts]) -> list[Score]:
        """The share that keeps the rules of MOSES; real molecules of other sets need not keep them."""
        shares = []
        for part in (good, [each for each in held if each.valid]):
            texts = [each.smiles for each in part]
            chunks = (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
            task = "suffuse_molecule.alerts:passes_moses_all"
            with Workers(task, processes=self.processes, seconds=self.seconds) as workers:
                shares.append(_share(each is True for results in workers.map(chunks) for each in results))
        patterns = len(moses_patterns())
        more = f" and its {patterns} patterns" if patterns else "; its own patterns are left out (package molsets)"
        about = f"share of {len(good)} valid draws that keep the rules of MOSES: elements, charge, rings, PAINS{more}"
        return [Score(name="filters", value=shares[0], real=shares[1], better="higher", about=about)]

    def _built(self, good: Sequence[Facts], real: Sequence[Facts], evaluation: Evaluation) -> list[Score]:
        count = min(len(good), len(real), _BUILT)
        if not count:
            return []
        texts = [each.smiles for part in (good, real) for each in part[:count]]
        found: list[tuple[str, ...]] = []
        task = "suffuse_molecule.poses:failed_all"
        with (
            Workers(task, processes=self.processes, seconds=self.seconds) as workers,
            Progress(len(texts), "conformer") as bar,
        ):
            for (failed,) in workers.map([text] for text in texts):
                found.append((str(failed),) if isinstance(failed, Lost) else failed)
                bar.update(len(found))
        parts = {"drawn": found[:count], "held out": found[count:]}
        evaluation.details["posebusters"] = {
            name: dict(Counter(check for failed in part for check in failed).most_common())
            for name, part in parts.items()
        }
        value, floor = (_share(not failed for failed in part) for part in parts.values())
        return [
            Score(
                name="PoseBusters",
                value=value,
                real=floor,
                better="higher",
                about=f"share of {count} valid draws ({_BUILT} at most) whose conformer (ETKDG, MMFF94) passes all "
                "checks of PoseBusters (Buttenschoen et al. 2024); what cannot be embedded, or takes more work than "
                "metric.seconds, fails; real: of as many held-out molecules",
            )
        ]

    def _fcd(
        self, good: Sequence[Facts], real: Sequence[Facts], substitute: Sequence[Facts], evaluation: Evaluation
    ) -> list[Score]:
        if self.fcd == "never":
            return []
        try:
            from suffuse_molecule.chemnet import ChemNet
        except ImportError as error:
            if self.fcd == "always":
                raise PluginError('metric.fcd=always needs fcd_torch: pip install "suffuse[fcd]"') from error
            evaluation.details["fcd"] = 'not measured: pip install "suffuse[fcd]"'
            return []
        count = min(len(good), len(substitute))
        if min(count, len(real)) < _LEAST:
            return []
        net = ChemNet()
        reference = net.activations([each.smiles for each in real])
        sets = [net.activations([f.smiles for f in each[:count]]) for each in (good, substitute)]
        values = [net.distance(each, reference) for each in sets]
        evaluation.details["fcd"] = {"n": count, "reference": len(real)}
        scores = [
            Score(
                name="FCD",
                value=values[0],
                real=values[1],
                better="lower",
                about=f"Fréchet ChemNet distance (Preuer et al. 2018) of {count} valid draws from {len(real)} held-out "
                "molecules; real: of as many training molecules, its floor at this number, on which it depends much",
            )
        ]
        if min(count, len(real)) > _NEIGHBOURS:
            scores += _neighbourhoods(*(each[:_PAIRED] for each in (*sets, reference)))
        return scores


def _quality(drawn: Sequence[Facts], held: Sequence[Facts], known: NDArray[np.uint64]) -> list[Score]:
    against = f"real: of {len(held)} held-out molecules"
    meanings: dict[str, tuple[Callable[[Sequence[Facts]], float], str]] = {
        "sanitised": (
            lambda f: _share(each.sanitised for each in f),
            "share of all draws that RDKit accepts, in whatever pieces",
        ),
        "valid and connected": (
            lambda f: _share(each.valid for each in f),
            "share of all draws that RDKit accepts, that are in one piece and that their own SMILES gives back",
        ),
        "unique": (_unique, "distinct molecules among the valid draws"),
        "novel": (lambda f: _novel(f, known), "share of the distinct valid molecules that training did not see"),
        "valid, unique and novel": (
            lambda f: _new(f, known) / len(f),
            "distinct valid molecules that training did not see, per draw",
        ),
    }
    return [
        Score(
            name=name,
            value=measure(drawn),
            real=measure(held),
            better="higher",
            about=f"{meaning}; {len(drawn)} draws, {against}",
        )
        for name, (measure, meaning) in meanings.items()
    ]


def _repaired(values: Sequence[Molecule]) -> list[Score]:
    """The column of its own, where a repair was asked for and did something."""
    if not any(value.repaired is not None for value in values):
        return []
    share = _share(value.valid or value.repaired is not None for value in values)
    return [
        Score(
            name="valid after repair",
            value=share,
            real=1.0,
            better="higher",
            about="share of all draws that are valid as drawn or after decoder.repair; in no other figure",
        )
    ]


def _diversity(good: Sequence[Facts], held: Sequence[Facts]) -> list[Score]:
    most = 2000
    real = [each for each in held if each.valid]
    if len(good) < _LEAST or len(real) < _LEAST:
        return []
    return [
        Score(
            name="internal diversity",
            value=internal_diversity(_bits(good[:most])),
            real=internal_diversity(_bits(real[:most])),
            better="higher",
            about=f"1 - mean Tanimoto similarity of pairs, Morgan fingerprints of radius 2; "
            f"{min(len(good), most)} valid draws; real: {min(len(real), most)} held-out molecules",
        )
    ]


def _effective(good: Sequence[Facts], substitute: Sequence[Facts]) -> list[Score]:
    count = min(len(good), len(substitute), _PAIRED)
    bits = [_bits(part[:count]) for part in (good, substitute)]
    value, real = (effective_number(tanimoto(part, part)) for part in bits)
    return [
        Score(
            name="Vendi score",
            value=value,
            real=real,
            better="higher",
            about=f"effective number of different molecules (Friedman and Dieng 2023), by Tanimoto similarity of "
            f"Morgan fingerprints, among {count} valid draws; real: among as many training molecules",
        )
    ]


def _neighbourhoods(
    drawn: NDArray[np.float64], substitute: NDArray[np.float64], reference: NDArray[np.float64]
) -> list[Score]:
    """Of activations of ChemNet; figures depend on the number, which draws and their substitutes have in common."""
    against = (
        f"{len(drawn)} valid draws against {len(reference)} held-out molecules, by the activations of ChemNet; real: "
        f"{len(substitute)} training molecules"
    )
    return neighbourhood_scores(reference, drawn, substitute, _NEIGHBOURS, "molecules", against)


def _stereo(train: MoleculeSplit) -> dict[str, float]:
    """How many molecules of the file had stereo marks, which graphs have no place for."""
    library = train.library
    return {
        "molecules of the data with stereo, dropped": library.facts["accepted_with_stereo"],
        "share": library.stereo,
    }


def _distances(good: Sequence[Facts], real: Sequence[Facts], substitute: Sequence[Facts]) -> list[Score]:
    against = (
        f"{len(good)} valid draws against {len(real)} held-out molecules; real: {len(substitute)} training molecules "
        "against the same"
    )
    scores = []
    for place, name in enumerate(COMPARED):
        sets = [
            [f.numbers[place] for f in part if math.isfinite(f.numbers[place])] for part in (good, substitute, real)
        ]
        if not all(sets):
            continue
        value, floor = (float(wasserstein_distance(part, sets[2])) for part in sets[:2])
        about = f"Wasserstein distance of the distributions of {TITLES[name]}, {against}"
        scores.append(Score(name=f"{TITLES[name]} W1", value=value, real=floor, better="lower", about=about))
    counted: dict[str, Callable[[Facts], Iterable[Hashable]]] = {
        "size": lambda f: [len(f.atoms)],
        "atom": lambda f: f.atoms,
        "bond": lambda f: f.orders,
        "ring size": lambda f: f.rings or [0],
        "charge": lambda f: [f.charged],
    }
    meanings = {
        "size": "atoms of a molecule",
        "atom": "elements with their formal charges",
        "bond": "orders of bonds, kekulised",
        "ring size": "sizes of rings, and 0 for molecules without any",
        "charge": "numbers of charged atoms in a molecule",
    }
    for name, items in counted.items():
        counts = [Counter(item for f in part for item in items(f)) for part in (good, substitute, real)]
        value, floor = (total_variation(part, counts[2]) for part in counts[:2])
        about = f"total variation of the distributions of {meanings[name]}, {against}"
        scores.append(Score(name=f"{name} TV", value=value, real=floor, better="lower", about=about))
    value, floor = (
        scaffold_similarity([f.scaffold for f in part], [f.scaffold for f in real]) for part in (good, substitute)
    )
    about = f"cosine similarity of the counts of Bemis-Murcko scaffolds (MOSES), {against}"
    scores.append(Score(name="scaffold similarity", value=value, real=floor, better="higher", about=about))
    value, floor = (float(nearest(_prints(part), _prints(real)).similarities.mean()) for part in (good, substitute))
    about = f"mean Tanimoto similarity to the nearest neighbour (MOSES: SNN), {against}"
    return [*scores, Score(name="nearest neighbour", value=value, real=floor, better="higher", about=about)]


def internal_diversity(bits: NDArray[np.uint8]) -> float:
    """One minus the mean Tanimoto similarity of pairs of different rows, ``[N, bits]``."""
    similarity = tanimoto(bits, bits)
    count = len(bits)
    return float(1 - (similarity.sum(dtype=np.float64) - np.trace(similarity)) / (count * (count - 1)))


def total_variation(a: Counter[Hashable], b: Counter[Hashable]) -> float:
    """Half the sum of the differences of the shares, from 0 (equal) to 1 (nothing in common)."""
    total_a, total_b = max(1, a.total()), max(1, b.total())
    return 0.5 * math.fsum(abs(a[key] / total_a - b[key] / total_b) for key in {*a, *b})


def scaffold_similarity(a: Sequence[str], b: Sequence[str]) -> float:
    """Cosine of the counts of scaffolds; molecules without rings do not count. 0 where one side has none."""
    left, right = (Counter(each for each in part if each) for part in (a, b))
    norm = math.sqrt(sum(v * v for v in left.values()) * sum(v * v for v in right.values()))
    return sum(count * right[key] for key, count in left.items()) / norm if norm else 0.0


def _prints(facts: Sequence[Facts]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(each.fingerprint for each in facts), np.uint8).reshape(len(facts), BITS // 8)


def _bits(facts: Sequence[Facts]) -> NDArray[np.uint8]:
    return unpack(_prints(facts))


def _share(flags: Iterable[bool]) -> float:
    return float(np.mean(list(flags)))


def _unique(facts: Sequence[Facts]) -> float:
    valid = [each.smiles for each in facts if each.valid]
    return len(set(valid)) / len(valid) if valid else 0.0


def _novel(facts: Sequence[Facts], known: NDArray[np.uint64]) -> float:
    distinct = {each.smiles for each in facts if each.valid}
    return _new(facts, known) / len(distinct) if distinct else 0.0


def _new(facts: Sequence[Facts], known: NDArray[np.uint64]) -> int:
    """How many distinct valid molecules are not among the known keys."""
    keys = np.array([key_of(each) for each in {each.smiles for each in facts if each.valid}], np.uint64)
    return int((~np.isin(keys, known)).sum())
