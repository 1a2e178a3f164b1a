"""Figures of crystals: what each counts, by hand, and that every draw counts."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pymatgen")

from crystal_files import COPPER, KNOWN, PEROVSKITE, QUARTZ, RUTILE, SALT, source, turned
from pymatgen.core import Lattice, Structure

from suffuse.bias import shifts
from suffuse.data import Evaluation, Score
from suffuse.errors import ConfigError, PluginError
from suffuse_crystal.attributes import SYSTEMS, reduced_cells
from suffuse_crystal.matching import distance, distinct
from suffuse_crystal.metrics import CrystalMetrics, sound, total_variation
from suffuse_crystal.prediction import matches

CLASHING = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.05, 0, 0]])
FLAT = Structure(Lattice.orthorhombic(5, 5, 0.4), ["Cu"], [[0, 0, 0]])
BRIDGED = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0.01, 0, 0], [0.99, 0, 0]])
UNKNOWN = Structure(Lattice.cubic(4), ["X", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CHARGED = Structure(Lattice.cubic(4), ["Na", "Cl", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.5]])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Perovskite, salt and copper to train on; quartz and rutile are held out."""
    rows = {"train": ("perovskite", "salt", "copper"), "heldout": ("quartz", "rutile")}
    parts = {name: {each: KNOWN[each] for each in names} for name, names in rows.items()}
    folder = tmp_path_factory.mktemp("data")
    made = {name: source(folder / name, part, heldout=0.0).train for name, part in parts.items()}
    return made


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Perovskites of calcium and of barium with cells of one distribution: 24 to train on and 24 held out."""
    folder, rng = tmp_path_factory.mktemp("alike"), np.random.default_rng(0)
    return {
        name: source(folder / name, {str(row): titanate(row, rng) for row in range(24)}, heldout=0.0).train
        for name in ("train", "heldout")
    }


def titanate(row: int, rng: np.random.Generator) -> Structure:
    """Calcium and barium in turn, each with a cell of its own."""
    elements = [("Ca", "Ba")[row % 2], "Ti", "O", "O", "O"]
    return Structure(Lattice.orthorhombic(*rng.uniform(3.8, 4.2, 3)), elements, PEROVSKITE.frac_coords)


def crystals(split: Any) -> list[Structure]:
    return [split[row].value for row in range(len(split))]


def neighbourhoods(data: Any, values: list[Structure]) -> tuple[dict[str, float], dict[str, float]]:
    """Precision, recall, density and coverage: of the draws, and of the real data beside them."""
    scores = scored(data, values)
    names = ("precision", "recall", "density", "coverage")
    return {name: scores[name].value for name in names}, {name: scores[name].real for name in names}


def subject(data: Any, values: list[Structure]) -> Evaluation:
    return Evaluation(values=values, conditions={}, train=data["train"], heldout=data["heldout"])


def scored(data: Any, values: list[Structure], **settings: Any) -> dict[str, Score]:
    settings = {"smact": "never", **settings}
    return {score.name: score for score in CrystalMetrics(**settings)(subject(data, values))}


@pytest.mark.parametrize("name", KNOWN)
def test_real_crystals_are_sound(name: str) -> None:
    assert sound(KNOWN[name])
    assert sound(KNOWN[name].get_primitive_structure())


@pytest.mark.parametrize("structure", [CLASHING, FLAT, BRIDGED, UNKNOWN], ids=["near", "flat", "around", "unknown"])
def test_crystals_that_cannot_be_are_not(structure: Structure) -> None:
    """Also those whose atoms meet across a face, or their own copies."""
    assert not sound(structure)


def test_every_draw_counts(data: Any) -> None:
    scores = scored(data, [RUTILE, QUARTZ, CLASHING, FLAT])
    assert (scores["structurally valid"].value, scores["structurally valid"].real) == (0.5, 1.0)
    assert scores["valid, unique and novel"].value == 0.5
    assert "compositionally valid" not in scores


def test_neutral_compositions(data: Any) -> None:
    pytest.importorskip("smact", reason='needs the extra: pip install "suffuse-crystal[smact]"')
    scores = scored(data, [RUTILE, CHARGED, COPPER, UNKNOWN], smact="always")
    assert scores["compositionally valid"].value == 0.5
    assert scores["compositionally valid"].real == 1.0
    assert scores["valid"].value == 0.5


def test_a_heap_of_elements_is_not_asked_for_hours(data: Any) -> None:
    pytest.importorskip("smact", reason='needs the extra: pip install "suffuse-crystal[smact]"')
    symbols = ["H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I", "Fe", "Mn"]
    heap = Structure(Lattice.cubic(9), symbols, np.random.default_rng(0).random((12, 3)))
    assert scored(data, [heap, heap], smact="always")["compositionally valid"].value == 0.0


def test_unique_and_novel_are_counted_by_matching(data: Any) -> None:
    """Salt is known, in whatever cell; rutile comes twice, once turned."""
    scores = scored(data, [SALT * (2, 1, 1), RUTILE, turned(RUTILE), QUARTZ])
    assert scores["unique"].value == 0.75
    assert scores["novel"].value == pytest.approx(2 / 3)
    assert scores["valid, unique and novel"].value == 0.5
    assert scores["novel"].real == 1.0


def test_equal_files_alone_would_be_noticed() -> None:
    """To compare cells as they are counts a turned supercell as another crystal."""
    many = turned(RUTILE * (1, 1, 2))
    assert many != RUTILE
    assert len(distinct([RUTILE, many, SALT])) == 2


def test_distances_of_distributions(data: Any) -> None:
    scores = scored(data, 2 * [data["heldout"][0].value, data["heldout"][1].value])
    for name in ("density W1", "elements W1", "space group TV"):
        assert scores[name].value == pytest.approx(0, abs=1e-9), name
    # trained on copper (8.9), salt (2.2), perovskite (5.1); held out are quartz (2.7) and rutile (4.3)
    assert scores["density W1"].real > 1
    assert scores["elements W1"].real == pytest.approx((1 + 1) / 3)  # 1, 2 and 3 elements against 2 and 2
    assert scores["space group TV"].real == pytest.approx(1.0)


def test_a_set_of_one_kind_shifts_by_what_is_known_of_it(data: Any) -> None:
    """Perovskite, salt and copper are cubic and of 3, 2 and 1 elements; all draws are rutile or what cannot be."""
    evaluation = subject(data, [*10 * [RUTILE], CLASHING])
    CrystalMetrics(smact="never")(evaluation)
    found = {(s.attribute, s.of): s for attribute in evaluation.attributes for s in shifts(attribute)}
    moved = {of: (s.samples, s.real) for (name, of), s in found.items() if name == "system" and s.certain}
    assert moved == {"tetragonal": (1, 0), "cubic": (0, 1)}
    assert found["atoms", "mean"].samples == 6
    assert found["atoms", "mean"].real == pytest.approx((5 + 2 + 1) / 3)
    assert found["elements", "mean"].samples == found["elements", "mean"].real == 2
    assert found["density (g/cm^3)", "mean"].samples == pytest.approx(4.25, abs=0.05)
    assert found["volume per atom (Å^3)", "mean"].samples == pytest.approx(RUTILE.volume / 6)


def test_the_training_crystals_themselves_do_not_shift(data: Any) -> None:
    evaluation = subject(data, [data["train"][row].value for row in range(3)])
    scores = {score.name: score for score in CrystalMetrics(smact="never")(evaluation)}
    assert not [
        s for attribute in evaluation.attributes for s in shifts(attribute) if s.samples != pytest.approx(s.real)
    ]
    assert scores["Vendi score"].value == pytest.approx(scores["Vendi score"].real)
    assert scores["nearest-neighbour ratio"].value == pytest.approx(0, abs=1e-6)


def test_copies_are_near_and_one_composition_is_one(data: Any) -> None:
    held = [data["heldout"][row].value for row in range(2)]
    assert scored(data, held)["nearest-neighbour ratio"].value == 1
    wider = SALT.get_primitive_structure()
    wider.scale_lattice(1.1 * wider.volume)
    scores = scored(data, 5 * [wider])
    assert 0 < scores["nearest-neighbour ratio"].value < 0.3
    assert scores["Vendi score"].value == pytest.approx(1)
    assert scores["Vendi score"].real > 2


def test_held_out_crystals_are_met_in_full_by_themselves(alike: Any) -> None:
    """Beside them stand other crystals of the same kind, which come near and do not repeat them."""
    found, real = neighbourhoods(alike, crystals(alike["heldout"]))
    assert found == pytest.approx({"precision": 1, "recall": 1, "density": 1, "coverage": 1}, abs=0.05)
    assert all(0.5 < real[name] <= 1 for name in ("precision", "recall", "coverage"))
    assert real["density"] == pytest.approx(1, abs=0.4)
    assert real != found


def test_neighbourhoods_are_of_as_many_draws_as_training_crystals(alike: Any) -> None:
    """So training crystals score as the real data do, in any order and turn, and draws beyond their number as nothing.

    Those that are not sound count as none.
    """
    train = crystals(alike["train"])
    same = [turned(each, seed) for seed, each in enumerate(train[::-1])]
    found, real = neighbourhoods(alike, [*same, *24 * [SALT]])
    assert found == pytest.approx(real)
    _, fewer = neighbourhoods(alike, train[:8])
    assert fewer["coverage"] < real["coverage"], "all training crystals beside eight draws would be noticed"
    assert neighbourhoods(alike, [*train[:8], *16 * [CLASHING]])[1] == pytest.approx(fewer)


def test_one_crystal_over_and_over_is_precise_and_covers_little(alike: Any) -> None:
    found, real = neighbourhoods(alike, 24 * crystals(alike["heldout"])[:1])
    assert found["precision"] == 1
    assert found["recall"] <= 1 / 24
    assert found["coverage"] < 0.5 < real["coverage"]


def test_one_of_two_kinds_costs_recall_and_coverage_but_no_precision(alike: Any) -> None:
    kept = [each for each in crystals(alike["heldout"]) if "Ba" in each.composition]
    assert neighbourhoods(alike, kept)[0] == pytest.approx(
        {"precision": 1, "recall": 0.5, "density": 1, "coverage": 0.5}, abs=0.05
    )


@pytest.mark.parametrize("change", ["elements", "cell"])
def test_other_elements_and_other_cells_are_far(alike: Any, change: str) -> None:
    values = [each.copy() for each in crystals(alike["heldout"])]
    for each in values:
        if change == "elements":
            each.replace_species({"O": "S"})
        else:
            each.scale_lattice(3 * each.volume)
    found, _ = neighbourhoods(alike, values)
    assert found == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_too_few_crystals_have_no_neighbourhoods(data: Any, alike: Any) -> None:
    """Of draws that are sound, of training crystals or of held-out ones."""
    train = crystals(alike["train"])
    assert "precision" in scored(alike, train[:6])
    for scores in (
        scored(alike, train[:5]),
        scored(alike, [*train[:5], CLASHING]),
        scored({**alike, "train": data["train"]}, train),
        scored({**alike, "heldout": data["heldout"]}, train),
    ):
        assert not {"precision", "recall", "density", "coverage"} & set(scores)


def test_systems_are_those_of_the_tables() -> None:
    """As pymatgen has them, of the first and the last space group of each."""
    from pymatgen.symmetry.groups import SpaceGroup

    first = 1
    for system, last in SYSTEMS.items():
        assert {SpaceGroup.from_int_number(group).crystal_system for group in (first, last)} == {system}
        first = last + 1
    assert first == 231


def test_a_turned_cell_is_the_same_cell() -> None:
    skew = RUTILE.copy()
    skew.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    same = reduced_cells([RUTILE, turned(RUTILE), turned(skew)])
    np.testing.assert_allclose(same, same[:1].repeat(3, 0), atol=1e-6)
    assert np.abs(np.diff(np.log([RUTILE.lattice.abc, skew.lattice.abc]), axis=0)).max() > 0.1, (
        "the cell as it is would differ"
    )


def test_total_variation() -> None:
    assert total_variation("aab", "aab") == 0
    assert total_variation("a", "b") == 1
    assert total_variation("ab", "aa") == pytest.approx(0.5)


def test_predictions_are_matched_with_their_own_crystal(data: Any) -> None:
    heldout = data["heldout"]
    real = [heldout[row].value for row in range(2)]
    scores = {s.name: s for s in matches([turned(real[1]), real[0]], [1, 0], data["train"], heldout, 0)}
    assert scores["match rate"].value == 1.0
    assert scores["match rate"].real == 0.0  # no training crystal has two atoms of one kind for one of another
    wrong = {s.name: s for s in matches(real, [1, 0], data["train"], heldout, 0)}
    assert wrong["match rate"].value == 0.0
    assert "match RMSE" not in wrong


def test_a_training_crystal_with_other_elements_is_the_yardstick(data: Any, tmp_path: Path) -> None:
    """Rutile of tin stands for that of titanium, which a model has to do better than."""
    tin = RUTILE.copy()
    tin.replace_species({"Ti": "Sn"})
    train, heldout = source(tmp_path, {"tin": tin}, heldout=0.0).train, data["heldout"]
    row = heldout.descriptors("formula").index("TiO2")
    scores = {s.name: s for s in matches([SALT, RUTILE], [row, row], train, heldout, 0)}
    assert (scores["match rate"].value, scores["match rate"].real) == (0.5, 1.0)
    assert scores["match RMSE"].real == pytest.approx(0, abs=1e-4)


def test_extras_that_are_missing_are_one_line(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("smact", "smact.screening", "chgnet", "chgnet.model", "chgnet.model.model"):
        monkeypatch.setitem(sys.modules, name, None)
    for extra in ("smact", "chgnet"):
        with pytest.raises(PluginError, match=rf'pip install "suffuse-crystal\[{extra}\]"'):
            scored(data, [RUTILE, SALT], **{extra: "always"})
    values = [RUTILE, SALT]
    evaluation = Evaluation(values=values, conditions={}, train=data["train"], heldout=data["heldout"])
    CrystalMetrics(smact="auto", chgnet="auto")(evaluation)
    assert {"smact", "chgnet"} <= set(evaluation.details)


def test_relaxation_is_the_energy_that_an_atom_loses(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a potential in which every crystal loses 3 eV an atom."""
    made = [RUTILE * (2, 1, 1), SALT * (2, 1, 1)]
    seen: list[int] = []

    class Potential:
        def predict_structure(self, structures: list[Structure]) -> list[dict[str, float]]:
            return [{"e": -1.0} for _ in structures]

    class Optimizer:
        def __init__(self, model: Potential) -> None:
            assert isinstance(model, Potential)

        def relax(self, structure: Structure, steps: int, verbose: bool) -> dict[str, Any]:
            seen.append(len(structure))
            return {"trajectory": SimpleNamespace(energies=[2.0 * len(structure), 0.0, -1.0 * len(structure)])}

    modules = {
        "chgnet": SimpleNamespace(),
        "chgnet.model": SimpleNamespace(),
        "chgnet.model.model": SimpleNamespace(CHGNet=SimpleNamespace(load=lambda verbose: Potential())),
        "chgnet.model.dynamics": SimpleNamespace(StructOptimizer=Optimizer),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("suffuse_crystal.metrics.version", lambda name: "1")
    score = scored(data, made, chgnet="always", relax=1)["energy above relaxed"]
    assert (score.value, score.real) == (pytest.approx(3), pytest.approx(3))
    assert seen[0] == len(made[0])
    assert len(seen) == 2  # one draw and one held-out crystal


def test_what_cannot_be_scored_is_one_line(data: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="n=1"):
        scored(data, [SALT])
    with pytest.raises(ConfigError, match="needs data of crystals"):
        CrystalMetrics()(Evaluation(values=[SALT, SALT], conditions={}, train=[], heldout=[]))  # type: ignore[arg-type]


def test_perovskites_match_when_moved() -> None:
    """The origin of a cell and small shifts of its atoms do not count; another arrangement does."""
    moved = PEROVSKITE.copy()
    moved.translate_sites(list(range(5)), [0.3, 0.1, 0.2])
    moved.perturb(0.05)
    found = distance(moved, PEROVSKITE)
    assert found is not None
    assert 0 < found < 0.1
    other = PEROVSKITE.copy()
    other.replace_species({"Sr": "Ti", "Ti": "Sr"})
    other.translate_sites(0, [0.5, 0, 0])
    assert distance(other, PEROVSKITE) is None or distance(other, PEROVSKITE) > found
