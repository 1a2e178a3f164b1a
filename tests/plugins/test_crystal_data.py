"""Sources of crystals: what is read, what is left out and why, how cells are reduced, and what is known of each."""

from __future__ import annotations

import csv
import json
import shutil
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("pymatgen")

import ase.io
from crystal_files import COPPER, KNOWN, PEROVSKITE, RUTILE, SALT, SITES, one_line, plain, source, turned, written
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

from suffuse.conditions import ClassLabel, Scalar
from suffuse.errors import ConfigError, DataError
from suffuse_crystal.data.aflow import Aflow
from suffuse_crystal.data.folder import Folder
from suffuse_crystal.data.standard import REJECTIONS, Standard, Unfit, prepare
from suffuse_crystal.data.table import Table

CLASHING = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.05, 0, 0]])
SHARED = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
SPARSE = Structure(Lattice.cubic(20), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def every(data: Any) -> list[Structure]:
    """The crystals of both parts."""
    return [item.value for split in (data.train, data.heldout) for item in (split[i] for i in range(len(split)))]


def refused(text: str, kind: str = "cif", **rules: Any) -> str:
    with pytest.raises(Unfit) as caught:
        prepare(text, kind, Standard(**rules))
    return caught.value.reason


# Cells


@pytest.mark.parametrize("name", KNOWN)
def test_cells_are_primitive_and_the_same_crystal(name: str) -> None:
    entry = prepare(str(CifWriter(KNOWN[name])), "cif", Standard())
    assert len(entry.cell[0]) == SITES[name]
    assert entry.descriptors["formula"] == KNOWN[name].composition.reduced_formula


@pytest.mark.parametrize("name", ["perovskite", "quartz"])
def test_a_supercell_is_the_same_crystal(name: str) -> None:
    """A cell that repeats itself, turned and moved, gives the same lattice and the same distances."""
    plain_cell = prepare(KNOWN[name].to_json(), "json", Standard())
    many = turned(KNOWN[name] * (2, 1, 1))
    many.translate_sites(list(range(len(many))), [0.21, 0.4, 0.77])
    entry = prepare(many.to_json(), "json", Standard())
    assert entry.descriptors == plain_cell.descriptors
    for one, other in zip(_signature(entry.cell), _signature(plain_cell.cell), strict=True):
        assert np.allclose(one, other, atol=1e-4)


def test_leaving_the_supercell_would_be_noticed() -> None:
    entry = prepare((PEROVSKITE * (2, 1, 1)).to_json(), "json", Standard(primitive=False))
    assert len(entry.cell[0]) == 2 * SITES["perovskite"]


def _signature(cell: tuple[Any, Any, Any]) -> tuple[Any, Any]:
    numbers, positions, lattice = cell
    structure = Structure(Lattice(lattice), numbers, positions)
    return np.sort(structure.distance_matrix.ravel()), np.sort(structure.lattice.abc)


def test_vectors_are_short(tmp_path: Path) -> None:
    """A cell of the same crystal along a long diagonal comes back as the short one."""
    skew = PEROVSKITE.copy()
    skew.make_supercell([[1, 0, 0], [3, 1, 0], [0, -2, 1]])
    (found,) = every(source(tmp_path, {"skew": skew}, heldout=0.0))
    assert found.lattice.abc == pytest.approx((3.9, 3.9, 3.9), abs=1e-3)
    assert StructureMatcher().fit(found, PEROVSKITE)


# What is left out


@pytest.mark.parametrize(
    ("structure", "reason"), [(CLASHING, "overlap"), (SHARED, "disordered"), (SPARSE, "volume")], ids=str
)
def test_crystals_that_cannot_be(structure: Structure, reason: str) -> None:
    assert refused(structure.to_json(), "json") == reason


def test_texts_that_are_no_crystals() -> None:
    assert refused("data_x\n_cell_length_a 3\n") == "unparsable"
    assert refused("", "poscar") == "unparsable"
    assert refused("2\nno lattice\nH 0 0 0\nH 0 0 1\n", "extxyz") == "unparsable"
    assert refused(" " * 2_000_001) == "too_long"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("poscar", "x\n1\n3 0 0\n0 3 0\n0 0 3\nCu\n{}\ndirect\n0 0 0\n"),
        ("extxyz", '{}\nLattice="3 0 0 0 3 0 0 0 3"\nCu 0 0 0\n'),
    ],
)
@pytest.mark.parametrize("count", ["2000000000", "-1", "many"])
def test_counts_that_lie_take_no_memory(kind: str, text: str, count: str) -> None:
    """Of atoms: two billion are not made room for before they are there."""
    tracemalloc.start()
    try:
        assert refused(text.format(count), kind) in ("unparsable", "too_large", "empty")
        assert tracemalloc.get_traced_memory()[1] < 1e8
    finally:
        tracemalloc.stop()


def test_rules_of_the_user() -> None:
    text = PEROVSKITE.to_json()
    assert refused(text, "json", max_sites=4) == "too_large"
    assert refused(text, "json", min_sites=6, max_sites=9) == "too_small"
    assert refused(text, "json", elements=("Sr", "Ti")) == "not_listed"
    with pytest.raises(ConfigError, match="'Xx' is no element"):
        Standard(elements=("Xx",))
    with pytest.raises(ConfigError, match="rising"):
        Standard(min_sites=5, max_sites=4)


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    folder = written(tmp_path / "crystals", {**KNOWN, "clash": CLASHING, "again": PEROVSKITE})
    (folder / "broken.cif").write_text("nothing")
    data = Folder(**plain(tmp_path), path=folder, max_bad_share=0.5)
    summary = data.train.library.summary
    left = {name: each["count"] for name, each in summary["left_out"].items()}
    assert left == {"overlap": 1, "duplicate": 1, "unparsable": 1}
    assert (summary["read"], summary["kept"]) == (8, 5)
    assert set(left) <= set(REJECTIONS)
    rejects = (data.train.library.folder / "rejects.tsv").read_text().splitlines()
    assert "broken.cif\tunparsable" in rejects


def test_too_much_damage_is_an_error(tmp_path: Path) -> None:
    folder = written(tmp_path / "crystals")
    (folder / "broken.cif").write_text("nothing")
    with pytest.raises(DataError) as error:
        Folder(**plain(tmp_path), path=folder)
    assert "'broken.cif'" in one_line(error)
    assert not list((tmp_path / "cache").glob("*"))


def test_nothing_left_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        source(tmp_path, elements=["Au"])
    assert "not_listed 5" in one_line(error)


# Files


def test_all_kinds_of_files_give_the_same_crystal(tmp_path: Path) -> None:
    folder = tmp_path / "crystals"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.cif").write_text(str(CifWriter(PEROVSKITE)))
    (folder / "POSCAR").write_text(Poscar(RUTILE).get_str())
    (folder / "deep" / "b.vasp").write_text(Poscar(SALT).get_str())
    (folder / "notes.txt").write_text("no crystal")
    frames = [AseAtomsAdaptor.get_atoms(each) for each in (COPPER, turned(KNOWN["quartz"]))]
    ase.io.write(folder / "many.extxyz", frames, format="extxyz")
    found = every(Folder(**plain(tmp_path), path=folder, heldout=0.0))
    assert len(found) == len(KNOWN)
    for known in KNOWN.values():
        assert any(StructureMatcher().fit(known, each) for each in found)


def test_an_archive_is_a_folder(tmp_path: Path) -> None:
    folder = written(tmp_path / "crystals")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"all/{file.name}")
    shutil.rmtree(folder)
    assert len(every(Folder(**plain(tmp_path), path=tmp_path / "all.zip"))) == len(KNOWN)


def test_extxyz_says_what_is_known(tmp_path: Path) -> None:
    folder = tmp_path / "crystals"
    folder.mkdir()
    frames = [AseAtomsAdaptor.get_atoms(each) for each in (COPPER, SALT, RUTILE)]
    for place, frame in enumerate(frames):
        frame.info = {"gap": 1.5 * place, "phase": "metal" if place == 0 else "salt"}
    ase.io.write(folder / "many.xyz", frames, format="extxyz")
    data = Folder(**plain(tmp_path), path=folder, numbers=["gap"], classes=["phase"], heldout=0.0)
    assert data.train.conditions["phase"] == ClassLabel(("metal", "salt"))
    known = [data.train[place].condition for place in range(3)]
    assert known == [{"gap": 0.0, "phase": 0}, {"gap": 1.5, "phase": 1}, {"gap": 3.0, "phase": 1}]


def test_a_table_beside_the_files(tmp_path: Path) -> None:
    folder = written(tmp_path / "crystals")
    labels = tmp_path / "labels.csv"
    labels.write_text("file,gap,note\nsalt.cif,8.5,x\nrutile.cif,3.0,\ncopper.cif,,y\n")
    data = Folder(**plain(tmp_path), path=folder, labels=labels, numbers=["gap"], heldout=0.0)
    gaps = {data.train[i].value.composition.reduced_formula: data.train[i].condition.get("gap") for i in range(5)}
    assert gaps == {"NaCl": 8.5, "TiO2": 3.0, "Cu": None, "SrTiO3": None, "SiO2": None}


def table(path: Path, rows: dict[str, Structure], **columns: list[str]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["", "cif", *columns])
        for place, structure in enumerate(rows.values()):
            writer.writerow([place, str(CifWriter(structure)), *(values[place] for values in columns.values())])
    return path


def test_a_csv_of_cifs(tmp_path: Path) -> None:
    path = table(tmp_path / "all.csv", KNOWN, heat=["1", "2", "", "4", "5"], part=["train"] * 3 + ["test", "val"])
    data = Table(**plain(tmp_path), path=path, numbers=["heat"], split="given", split_column="part")
    assert (len(data.train), len(data.heldout)) == (3, 2)
    assert data.train.conditions == {"heat": Scalar(1.5, 0.5)}
    assert [data.heldout[i].condition["heat"] for i in range(2)] == [4.0, 5.0]
    assert torch.isnan(data.train.gather([2]).conditions["heat"]).all()


def test_two_files_are_two_parts(tmp_path: Path) -> None:
    one = table(tmp_path / "one.csv", {"a": PEROVSKITE, "b": RUTILE})
    other = table(tmp_path / "other.csv", {"c": SALT})
    data = Table(**plain(tmp_path), path=one, heldout_path=other, split="given")
    assert [each.composition.reduced_formula for each in every(data)] == ["SrTiO3", "TiO2", "NaCl"]
    assert len(data.train.elements) == 5
    with pytest.raises(ConfigError, match="split=given"):
        Table(**plain(tmp_path), path=one, heldout_path=other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"column": "ciff"}, "no such column.*did you mean 'cif'"),
        ({"numbers": ["heat"]}, "data.numbers=heat"),
        ({"split": "given"}, "data.split_column or data.heldout_path"),
        ({"descriptors": ["densty"]}, "did you mean 'density'"),
        ({"heldout": 1.0}, "data.heldout=1"),
        ({"path": "nowhere.csv"}, "no such file"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    path = table(tmp_path / "all.csv", {"a": PEROVSKITE, "b": RUTILE})
    with pytest.raises((ConfigError, DataError), match=message) as error:
        Table(**{**plain(tmp_path), "path": path, **settings})
    one_line(error)


def test_a_text_in_a_column_of_numbers_is_named(tmp_path: Path) -> None:
    path = table(tmp_path / "all.csv", {"a": PEROVSKITE, "b": RUTILE}, heat=["1", "warm"])
    with pytest.raises(DataError, match="'warm', not a number"):
        Table(**plain(tmp_path), path=path, numbers=["heat"])


# The cache


def test_a_second_look_reads_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = every(source(tmp_path))
    monkeypatch.setattr("suffuse_crystal.data.library.prepare", None)
    second = every(Folder(**plain(tmp_path), path=tmp_path / "crystals"))
    assert [each.formula for each in second] == [each.formula for each in first]


def test_other_rules_or_files_are_another_cache(tmp_path: Path) -> None:
    folders = {source(tmp_path, max_sites=count).train.library.folder for count in (20, 6)}
    (tmp_path / "crystals" / "salt.cif").write_text(str(CifWriter(turned(RUTILE * (1, 1, 2)))))
    changed = Folder(**plain(tmp_path), path=tmp_path / "crystals")
    assert changed.train.library.folder not in folders
    assert len(folders) == 2


@pytest.mark.parametrize(("name", "content"), [("positions.npy", b""), ("facts.json", b'{"columns": {}}')])
def test_a_damaged_cache_is_made_again(tmp_path: Path, name: str, content: bytes) -> None:
    folder = source(tmp_path).train.library.folder
    (folder / name).write_bytes(content)
    data = Folder(**plain(tmp_path), path=tmp_path / "crystals")
    assert data.train.library.folder == folder
    assert len(every(data)) == len(KNOWN)
    assert json.loads((folder / "preprocess.json").read_text())["kept"] == len(KNOWN)


@pytest.mark.slow
def test_processes_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suffuse_crystal.data.library._FEW", 1)
    here, there = (source(tmp_path / str(count), processes=count) for count in (0, 2))
    for one, other in zip(every(here), every(there), strict=True):
        assert np.array_equal(one.frac_coords, other.frac_coords)


# Splits


def test_crystals_of_one_formula_stay_together(tmp_path: Path) -> None:
    squeezed = {f"{name} {scale}": Structure(Lattice(each.lattice.matrix * scale), each.species, each.frac_coords)
                for name, each in KNOWN.items() for scale in (1.0, 1.03, 1.06)}  # fmt: skip
    data = source(tmp_path, squeezed, split="formula", heldout=0.4)
    parts = [set(split.descriptors("formula")) for split in (data.train, data.heldout)]
    assert all(parts)
    assert not parts[0] & parts[1]


# What a batch is


def test_training_turns_crystals_inside_out_and_nothing_else(tmp_path: Path) -> None:
    split = source(tmp_path, heldout=0.0).train
    rows = list(range(5))
    plain_batch = split.gather(rows).values
    rngs = [np.random.default_rng(place) for place in rows]
    turned_batch = split.gather(rows, rngs).values
    assert np.array_equal(turned_batch.lattices, plain_batch.lattices)
    signs = {tuple(np.sign(rng.random(1) - 0.5)) for rng in map(np.random.default_rng, rows)}
    assert len(signs) == 2
    for one, other in zip(turned_batch, plain_batch, strict=True):
        assert np.allclose((one[1] - other[1]) % 1, 0) or np.allclose((one[1] + other[1]) % 1, 0)
    again = split.gather(rows, [np.random.default_rng(place) for place in rows]).values
    assert np.array_equal(again.positions, turned_batch.positions)


def test_descriptors_become_conditions(tmp_path: Path) -> None:
    split = source(tmp_path, descriptors=["space_group", "chemical_system", "density"], heldout=0.0).train
    known = {split[i].value.composition.reduced_formula: split[i].condition for i in range(5)}
    groups, systems = split.conditions["space_group"], split.conditions["chemical_system"]
    assert isinstance(groups, ClassLabel)
    assert isinstance(systems, ClassLabel)
    assert groups.names == ("136", "152", "221", "225")
    assert groups.names[known["TiO2"]["space_group"]] == "136"
    assert systems.names[known["SrTiO3"]["chemical_system"]] == "O-Sr-Ti"
    assert known["Cu"]["density"] == pytest.approx(COPPER.density, rel=1e-4)


@pytest.mark.slow
def test_the_embedded_data(tmp_path: Path) -> None:
    data = Aflow(cache_dir=tmp_path)
    summary = data.train.library.summary
    assert (summary["read"], summary["kept"]) == (288, 250)
    assert set(summary["left_out"]) == {"too_large"}
    assert len(data.train) + len(data.heldout) == 250
    assert min(data.train.sizes()) == 1
    assert max(data.train.sizes()) == 20
