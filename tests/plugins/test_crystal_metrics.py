"""Figures of crystals: what each counts, by hand, and that every draw counts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pymatgen")

from crystal_files import COPPER, KNOWN, PEROVSKITE, QUARTZ, RUTILE, SALT, source, turned
from pymatgen.core import Lattice, Structure

from suffuse.data import Evaluation, Score
from suffuse.errors import ConfigError, PluginError
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


def scored(data: Any, values: list[Structure], **settings: Any) -> dict[str, Score]:
    settings = {"smact": "never", **settings}
    evaluation = Evaluation(values=values, conditions={}, train=data["train"], heldout=data["heldout"])
    return {score.name: score for score in CrystalMetrics(**settings)(evaluation)}


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
