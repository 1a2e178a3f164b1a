"""The metrics of molecules against sets in which errors of each kind were planted, and against closed forms."""

from __future__ import annotations

import importlib.metadata
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rdkit")

from molecule_files import one_line, plain, source
from rdkit import Chem, DataStructs
from rdkit.Chem import Crippen, rdFingerprintGenerator
from rdkit.Geometry import Point3D

from suffuse.bias import shifts
from suffuse.data import Evaluation, Score
from suffuse.errors import ConfigError, DataError, PluginError
from suffuse_molecule import metrics, scoring
from suffuse_molecule.alerts import moses_patterns, passes_moses
from suffuse_molecule.data.nci import Nci
from suffuse_molecule.data.splits import MoleculeSplit
from suffuse_molecule.examination import examine_all
from suffuse_molecule.graphs import code_of
from suffuse_molecule.metrics import MoleculeMetrics, internal_diversity, scaffold_similarity, total_variation
from suffuse_molecule.molecule import Molecule

COUNT = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Nci:
    return Nci(**plain(tmp_path_factory.mktemp("nci")), max_atoms=9, heldout=0.4)


def real(split: Any, count: int = COUNT, start: int = 0) -> list[Molecule]:
    return [split[index].value for index in range(start, start + count)]


def score(data: Nci, values: Sequence[Molecule], **settings: Any) -> tuple[dict[str, Score], dict[str, Any]]:
    scores, evaluation = scored(data, values, **settings)
    return scores, evaluation.details


def scored(data: Nci, values: Sequence[Molecule], **settings: Any) -> tuple[dict[str, Score], Evaluation]:
    evaluation = Evaluation(values=values, conditions={}, train=data.train, heldout=data.heldout)
    scores = MoleculeMetrics(**{"fcd": "never", "processes": 0, "max_real": 50, **settings})(evaluation)
    return {each.name: each for each in scores}, evaluation


def certain(evaluation: Evaluation) -> set[str]:
    """Attributes that shift more than chance explains, each with its direction."""
    found = [shift for attribute in evaluation.attributes for shift in shifts(attribute) if shift.certain]
    return {f"{'+' if shift.low > 0 else '-'}{shift.attribute}" for shift in found}


def crowded(value: Molecule) -> Molecule:
    """An atom with too many bonds: the first one gets triple bonds to all others."""
    bonds = [(0, place, 3) for place in range(1, len(value.atoms))]
    return replace(value, bonds=np.array(bonds, np.int16))


def split_in_two(value: Molecule) -> Molecule:
    """A carbon of its own beside the molecule."""
    return replace(value, atoms=np.append(value.atoms, np.int16(code_of("C"))))


# Planted errors


def test_real_molecules_are_perfect(data: Nci) -> None:
    found, details = score(data, real(data.train))
    for name in ("sanitised", "valid and connected", "unique"):
        assert found[name].value == found[name].real == 1
    assert found["novel"].value == 0
    assert found["novel"].real == 1
    assert details["reasons"] == {"valid": COUNT}


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_each_kind_of_error_is_counted_as_what_it_is(data: Nci, share: float) -> None:
    bad = int(share * COUNT)
    values = real(data.heldout)
    found, details = score(data, [*(crowded(v) for v in values[:bad]), *values[bad:]])
    assert found["sanitised"].value == found["valid and connected"].value == pytest.approx(1 - share)
    assert details["reasons"]["valence"] == bad

    found, details = score(data, [*(split_in_two(v) for v in values[:bad]), *values[bad:]])
    assert found["sanitised"].value == 1
    assert found["valid and connected"].value == pytest.approx(1 - share)
    assert details["reasons"]["disconnected"] == bad

    found, _ = score(data, [*[values[-1]] * bad, *values[bad:]])
    assert found["valid and connected"].value == 1
    assert found["unique"].value == pytest.approx(1 - share)

    found, _ = score(data, [*real(data.train, bad), *values[bad:]])
    assert found["novel"].value == pytest.approx(1 - share)
    assert found["valid, unique and novel"].value == pytest.approx(1 - share)


def test_counting_the_largest_fragment_is_noticed(data: Nci) -> None:
    """The mutant: what well-known programs do before they ask for validity."""
    from suffuse_molecule.repair import repaired

    values = [split_in_two(value) for value in real(data.heldout)]
    largest = [repaired(value, "fragment").repaired or value for value in values]
    assert score(data, values)[0]["valid and connected"].value == 0
    assert score(data, largest)[0]["valid and connected"].value == 1


def test_a_repair_is_a_figure_of_its_own(data: Nci) -> None:
    values = real(data.heldout)
    mended = [replace(crowded(value), repaired=value) for value in values[:12]]
    found, _ = score(data, [*mended, *values[12:]])
    assert found["valid after repair"].value == 1
    assert found["valid and connected"].value == pytest.approx(0.7)
    assert found["unique"].value == 1
    assert "valid after repair" not in score(data, values)[0]


SHIFTS: dict[str, tuple[Callable[[Chem.Mol], bool], tuple[str, ...], tuple[str, ...]]] = {
    "greasy": (lambda mol: Crippen.MolLogP(mol) > 1.5, ("logP W1",), ("+logP", "-hetero atoms")),
    "aromatic": (lambda mol: any(a.GetIsAromatic() for a in mol.GetAtoms()), ("ring size TV", "bond TV"), ("+rings",)),
    "acyclic": (lambda mol: mol.GetRingInfo().NumRings() == 0, ("ring size TV",), ("-rings",)),
    "halogenated": (
        lambda mol: any(a.GetSymbol() in ("Cl", "Br") for a in mol.GetAtoms()),
        ("atom TV",),
        ("+share of Cl",),
    ),
    "charged": (
        lambda mol: any(a.GetFormalCharge() for a in mol.GetAtoms()),
        ("charge TV", "atom TV"),
        ("+charged atoms",),
    ),
    "small": (lambda mol: mol.GetNumAtoms() < 7, ("size TV", "MW W1"), ("-atoms", "-MW")),
}


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shifted_set_is_further_away(data: Nci, shift: str) -> None:
    """Real molecules of one kind only: each distance that speaks of the kind is well above its floor."""
    wanted, names, moved = SHIFTS[shift]
    values = [item.value for item in data.train if wanted(item.value.mol)][:60]
    assert len(values) >= 8
    found, evaluation = scored(data, values, max_real=200)
    assert set(moved) <= certain(evaluation)
    for name in names:
        assert found[name].value > 1.5 * found[name].real, name


def test_the_training_set_itself_does_not_shift(data: Nci) -> None:
    values = [item.value for item in data.train]
    found, evaluation = scored(data, values, max_real=len(values))
    assert not certain(evaluation)
    names = [attribute.name for attribute in evaluation.attributes]
    assert names[:9] == ["logP", "QED", "SA", "MW", "TPSA", "atoms", "hetero atoms", "charged atoms", "rings"]
    assert {"share of C", "share of N"} <= set(names[9:])
    assert found["nearest-neighbour ratio"].value == 0
    assert found["Vendi score"].value == pytest.approx(found["Vendi score"].real, rel=0.05)


def test_copies_are_near_and_one_molecule_is_one(data: Nci) -> None:
    """Held-out molecules lie as far as held-out molecules do; a copy with one atom more is still nearer."""
    fresh, _ = score(data, [item.value for item in data.heldout], max_real=1000)
    assert fresh["nearest-neighbour ratio"].value == 1
    longer = [replace(value, atoms=np.append(value.atoms, np.int16(code_of("C")))) for value in real(data.train)]
    longer = [replace(v, bonds=np.vstack([v.bonds, [0, len(v.atoms) - 1, 1]]).astype(np.int16)) for v in longer]
    near, _ = score(data, longer, max_real=1000)
    assert 0 < near["nearest-neighbour ratio"].value < 0.9
    same, _ = score(data, COUNT * real(data.heldout, 1))
    assert same["Vendi score"].value == pytest.approx(1)
    assert same["Vendi score"].real > 10


def test_copies_are_copies_with_hydrogens_too(tmp_path: Path) -> None:
    """Fingerprints of graphs that hold their hydrogens are others than those of the SMILES of the same molecules."""
    data = source(tmp_path, hydrogens="explicit", heldout=0.3)
    found, _ = score(data, [item.value for item in data.train])  # type: ignore[arg-type]
    assert found["nearest-neighbour ratio"].value == 0


def test_the_vendi_score_takes_the_similarity_of_rdkit(data: Nci) -> None:
    values = real(data.train, 12)
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    prints = [generator.GetFingerprint(value.mol) for value in values]
    likeness = np.array([DataStructs.BulkTanimotoSimilarity(each, prints) for each in prints])
    eigenvalues = np.linalg.eigvalsh(likeness / len(values))
    expected = np.exp(-sum(value * np.log(value) for value in eigenvalues if value > 1e-12))
    assert score(data, values)[0]["Vendi score"].value == pytest.approx(expected, rel=1e-5)
    likeness = np.array([DataStructs.BulkCosineSimilarity(each, prints) for each in prints])  # cosines are noticed
    eigenvalues = np.linalg.eigvalsh(likeness / len(values))
    assert np.exp(-sum(v * np.log(v) for v in eigenvalues if v > 1e-12)) != pytest.approx(expected, rel=0.02)


def test_a_set_of_one_scaffold_is_neither_diverse_nor_alike(data: Nci) -> None:
    whole, _ = score(data, real(data.train))
    ring = Chem.MolFromSmiles("c1ccccc1")
    values = [item.value for item in data.train if item.value.mol.HasSubstructMatch(ring)][:COUNT]
    found, _ = score(data, values)
    assert found["internal diversity"].value < whole["internal diversity"].value - 0.05
    assert whole["scaffold similarity"].value > 0.5


@pytest.mark.parametrize(
    ("smiles", "keeps"),
    [
        ("CC(=O)Nc1ccc(O)cc1", True),
        ("C[N+](C)(C)C", False),
        ("CCI", False),
        ("C1CCCCCCC1", False),
        ("O=C1C=CC(=O)C=C1", False),
    ],
)
def test_the_rules_of_moses(data: Nci, smiles: str, keeps: bool) -> None:
    assert passes_moses(Chem.MolFromSmiles(smiles)) == keeps
    value = Molecule.of(Chem.MolFromSmiles(smiles))
    found, _ = score(data, [value, *real(data.train, 3)])
    others = [passes_moses(each.mol) for each in real(data.train, 3)]
    assert found["filters"].value == pytest.approx((keeps + sum(others)) / 4)


def test_the_patterns_of_moses_come_from_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class File:
        name = "mcf.csv"

        @staticmethod
        def read_text(encoding: str) -> str:
            return "names,smarts\nMCF1,[CX3]=[CX3]C#N\n"

    moses_patterns.cache_clear()
    monkeypatch.setattr(importlib.metadata, "files", lambda name: [File()])
    try:
        assert not passes_moses(Chem.MolFromSmiles("C=CC#N"))
        assert passes_moses(Chem.MolFromSmiles("CCC#N"))
    finally:
        moses_patterns.cache_clear()


def test_a_set_of_copies_is_nearer_than_real_molecules_are(data: Nci) -> None:
    copied, _ = score(data, real(data.heldout), max_real=1000)
    fresh, details = score(data, real(data.train), max_real=200)
    assert copied["nearest neighbour"].value == 1
    assert fresh["nearest neighbour"].value < 0.8
    assert details["stereo"]["share"] >= 0


def test_nothing_valid_still_gives_the_headline(data: Nci) -> None:
    found, _ = score(data, [crowded(value) for value in real(data.heldout, 5)])
    assert found["valid and connected"].value == 0
    assert found["unique"].value == found["novel"].value == 0
    assert "logP W1" not in found


def test_every_figure_stands_beside_one_of_real_molecules(data: Nci) -> None:
    found, _ = score(data, real(data.train))
    for each in found.values():
        assert np.isfinite([each.value, each.real]).all()
        assert each.about
        assert each.better in ("higher", "lower")
    assert list(found)[:2] == ["sanitised", "valid and connected"]


def test_processes_change_nothing(data: Nci) -> None:
    values = [*real(data.heldout, 10), crowded(real(data.heldout, 1)[0])]
    here, there = (score(data, values, processes=processes)[0] for processes in (0, 1))
    assert here == there


def test_the_seed_decides_which_real_molecules_are_looked_at(data: Nci) -> None:
    values = real(data.heldout, 20)
    assert score(data, values, max_real=30)[0] == score(data, values, max_real=30)[0]


# FCD


def test_fcd_has_its_floor(data: Nci) -> None:
    pytest.importorskip("fcd_torch")
    found, details = score(data, real(data.train, 40), fcd="always", max_real=60)
    assert 0 < found["FCD"].real < 60
    assert details["fcd"] == {"n": 40, "reference": 60}
    assert found["precision"].real > 0.3
    assert {"recall", "density", "coverage"} <= found.keys()
    assert score(data, real(data.heldout, 2), fcd="never")[0].get("FCD") is None


def test_without_its_network_fcd_is_left_out_or_asked_for(data: Nci, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcd_torch", None)
    monkeypatch.delitem(sys.modules, "suffuse_molecule.chemnet", raising=False)
    found, details = score(data, real(data.train, 5), fcd="auto")
    assert "FCD" not in found
    assert "pip install" in details["fcd"]
    with pytest.raises(Exception, match="suffuse\\[fcd\\]"):
        score(data, real(data.train, 5), fcd="always")


# PoseBusters

GOOD = ["CC(=O)Nc1ccc(O)cc1", "c1ccccc1O", "CCO", "CC#N", "NC(C)C(=O)O", "CC(C)Cc1ccccc1", "C1CCCCC1", "O=C1CCCN1"]


def test_known_good_molecules_pass_posebusters(data: Nci) -> None:
    pytest.importorskip("posebusters")
    good = [Molecule.of(Chem.MolFromSmiles(text)) for text in GOOD]
    found, details = score(data, [*good, crowded(good[0])], posebusters=True)
    assert found["PoseBusters"].value == 1
    assert found["PoseBusters"].real >= 0.8
    assert "8 valid draws" in found["PoseBusters"].about
    assert details["posebusters"]["drawn"] == {}
    assert "PoseBusters" not in score(data, good)[0]


def test_planted_clashes_and_what_cannot_be_embedded_fail_posebusters(
    data: Nci, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("posebusters")
    from suffuse_molecule import poses

    def planted(mol: Chem.Mol) -> tuple[str, str]:
        """Ends of hexane that meet, and no conformer of a single atom."""
        if mol.GetNumAtoms() == 1:
            return "not embedded", ""
        word, block = scoring.fold(mol)
        full = Chem.MolFromMolBlock(block, removeHs=False)
        where = full.GetConformer()
        if mol.GetNumAtoms() == 6:
            where.SetAtomPosition(5, where.GetAtomPosition(0) + Point3D(0.3, 0, 0))
        return word, Chem.MolToMolBlock(full)

    monkeypatch.setattr(poses, "fold", planted)
    values = [Molecule.of(Chem.MolFromSmiles(text)) for text in ("CCCCCC", "S", "CCO", "CCN")]
    found, details = score(data, values, posebusters=True)
    assert found["PoseBusters"].value == 0.5
    assert details["posebusters"]["drawn"]["internal_steric_clash"] == 1
    assert details["posebusters"]["drawn"]["not embedded"] == 1


@pytest.mark.slow
def test_what_takes_forever_to_embed_fails_posebusters(data: Nci) -> None:
    pytest.importorskip("posebusters")
    values = [Molecule.of(Chem.MolFromSmiles(text)) for text in ("C" * 300, "CCO")]
    found, details = score(data, values, posebusters=True, processes=1, seconds=4.0)
    assert found["PoseBusters"].value == 0.5
    assert details["posebusters"]["drawn"] == {"timeout": 1}


def test_without_its_package_posebusters_is_one_line(data: Nci, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "posebusters", None)
    with pytest.raises(PluginError) as error:
        MoleculeMetrics(posebusters=True)
    assert 'pip install "suffuse[posebusters]"' in one_line(error)


# Closed forms


def test_total_variation_of_known_counts() -> None:
    assert total_variation(Counter("aab"), Counter("aab" * 5)) == pytest.approx(0)
    assert total_variation(Counter("a"), Counter("b")) == 1
    assert total_variation(Counter("aabb"), Counter("abbb")) == pytest.approx(0.25)
    assert total_variation(Counter("ab"), Counter("bc")) == total_variation(Counter("bc"), Counter("ab"))


def test_scaffold_similarity_is_a_cosine() -> None:
    assert scaffold_similarity(["x", "y"], ["x", "y", "x", "y"]) == pytest.approx(1)
    assert scaffold_similarity(["x"], ["y"]) == 0
    assert scaffold_similarity(["x", "x", "y", ""], ["x", ""]) == pytest.approx(2 / np.sqrt(5))
    assert scaffold_similarity(["", ""], ["x"]) == 0


def test_diversity_agrees_with_rdkit(data: Nci) -> None:
    values = real(data.train, 12)
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    prints = [generator.GetFingerprint(value.mol) for value in values]
    pairs = [DataStructs.TanimotoSimilarity(a, b) for i, a in enumerate(prints) for b in prints[:i]]
    facts = examine_all([(value.atoms, value.bonds) for value in values], False)
    assert internal_diversity(metrics._bits(facts)) == pytest.approx(1 - np.mean(pairs), abs=1e-6)


def test_facts_are_those_of_rdkit() -> None:
    mol = Chem.MolFromSmiles("CC(=O)Nc1ccc(O)cc1")
    (facts,) = examine_all([(Molecule.of(mol).atoms, Molecule.of(mol).bonds)], False)
    assert facts.valid
    assert facts.smiles == Chem.MolToSmiles(mol)
    assert facts.numbers[0] == pytest.approx(Crippen.MolLogP(mol))
    assert facts.scaffold == "c1ccccc1"
    assert facts.rings == (6,)
    assert Counter(facts.orders) == {1: 7, 2: 4}
    assert facts.charged == 0


# Bad input


def test_what_cannot_be_scored_is_one_line(data: Nci, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        score(data, real(data.train, 1))
    assert "n=1" in one_line(error)
    lonely = source(tmp_path, ["CCO", "CCN", "CCC"], heldout=0.0)
    assert isinstance(lonely.heldout, MoleculeSplit)
    with pytest.raises(DataError) as data_error:
        score(lonely, real(data.train, 5))  # type: ignore[arg-type]
    assert "data.heldout" in one_line(data_error)
