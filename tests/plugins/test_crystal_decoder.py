"""The structure decoder: round trips, files with their record, tasks, drawings, and what cannot be decoded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

pytest.importorskip("pymatgen")

import ase.io
from crystal_files import KNOWN, PEROVSKITE, QUARTZ, RUTILE, SALT, one_line, source, turned
from PIL import Image
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from pymatgen.io.cif import CifParser
from pymatgen.io.vasp import Poscar

from suffuse.errors import ConfigError, DataError, RunError
from suffuse.fields import Field, check, pad
from suffuse.layouts import Dense, Masked
from suffuse.spaces import Categorical, Euclidean, Torus
from suffuse_crystal.decoder import Crystal
from suffuse_crystal.descriptors import space_group
from suffuse_crystal.files import read_record

RECORD = {"sample": 7, "run": "a & <b>", "asked": 'it\'s "x" \\ 50 %', "digitalSourceType": "trainedAlgorithmicMedia"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return source(tmp_path_factory.mktemp("data"), heldout=0.0)


def ready(data: Any, **settings: Any) -> tuple[Crystal, dict[str, Field]]:
    decoder = Crystal(**settings)
    return decoder, decoder.fields(data.train)


def same(one: Structure, other: Structure) -> bool:
    """One crystal, its hand too."""
    return bool(StructureMatcher().fit(one, other)) and space_group(one) == space_group(other)


# Fields


def test_fields_say_what_the_data_is(data: Any) -> None:
    _, fields = ready(data)
    assert list(fields) == ["positions", "lattice", "atoms"]
    assert fields["atoms"].names == ("O", "Na", "Si", "Cl", "Ti", "Cu", "Sr")
    assert fields["atoms"].space == Categorical(7)
    assert (fields["positions"].space, fields["lattice"].space) == (Torus(), Euclidean())
    assert [field.layout for field in fields.values()] == [Masked(1), Dense(), Masked(1)]
    assert not any(field.given for field in fields.values())


def test_frequencies_and_scale_are_those_of_the_data(data: Any) -> None:
    decoder, fields = ready(data)
    state = decoder.encode(data.train.gather(range(5)).values)
    assert fields["atoms"].frequencies[0] == pytest.approx(13 / 23)  # 3 of perovskite, 6 of quartz, 4 of rutile
    assert fields["lattice"].scale == pytest.approx(float(state["lattice"].square().mean().sqrt()), rel=1e-4)


def test_the_given_field_is_that_of_the_elements(data: Any) -> None:
    _, fields = ready(data, given="atoms")
    assert [name for name, field in fields.items() if field.given] == ["atoms"]


# Round trips


def test_round_trip(data: Any) -> None:
    decoder, fields = ready(data)
    state = decoder.encode(data.train.gather(range(5)).values)
    check(state, fields)
    assert torch.equal(fields["positions"].project(state["positions"], state.mask), state["positions"])
    for place, value in enumerate(decoder.decode(state)):
        assert same(value, data.train[place].value)


def test_losing_the_hand_would_be_noticed(data: Any) -> None:
    """Quartz with its positions turned round is the other hand, which the comparison above tells apart."""
    other = Structure(QUARTZ.lattice, QUARTZ.species, -QUARTZ.frac_coords)
    assert StructureMatcher().fit(other, QUARTZ)
    assert not same(other, QUARTZ)


def test_structures_and_packed_batches_encode_alike(data: Any) -> None:
    decoder, _ = ready(data)
    packed = decoder.encode(data.train.gather([3, 0]).values)
    single = decoder.encode([data.train[3].value, data.train[0].value])
    assert packed.mask is not None
    assert single.mask is not None
    assert torch.equal(packed.mask, single.mask)
    assert torch.equal(packed["atoms"], single["atoms"])
    assert torch.allclose(packed["lattice"], single["lattice"], atol=1e-5)
    gap = Torus().difference(packed["positions"], single["positions"])
    assert gap.abs().max() < 1e-5


def test_padding_and_batch_mates_change_nothing(data: Any) -> None:
    decoder, fields = ready(data)
    alone = decoder.decode(decoder.encode(data.train.gather([4]).values))[0]
    wide = pad(decoder.encode(data.train.gather([4, 1]).values), fields, 30)
    assert decoder.decode(wide)[0] == alone


def test_a_turned_crystal_is_the_same_state(data: Any) -> None:
    decoder, _ = ready(data)
    states = [decoder.encode([each]) for each in (QUARTZ, turned(QUARTZ))]
    for name in states[0]:
        assert torch.allclose(states[0][name], states[1][name], atol=1e-5)


def test_anything_can_be_decoded(data: Any) -> None:
    """A token that is no element becomes a dummy atom, and numbers of any size a cell."""
    decoder, _ = ready(data)
    state = decoder.encode(data.train.gather([0, 1]).values)
    wild = state.replace(
        atoms=torch.full_like(state["atoms"], 7), lattice=1e9 * torch.randn(2, 6), positions=-5 * state["positions"]
    )
    for value in decoder.decode(wild):
        assert value.composition.elements[0].symbol == "X"
        assert np.isfinite(value.lattice.matrix).all()
        assert decoder.html(value)


def test_strange_elements_and_fields_are_one_line(data: Any) -> None:
    decoder, fields = ready(data)
    gold = PEROVSKITE.copy()
    gold.replace_species({"Sr": "Au"})
    with pytest.raises(DataError, match="an atom Au") as error:
        decoder.encode([gold])
    one_line(error)
    with pytest.raises(RunError, match="not those of crystals"):
        Crystal().adopt({"atoms": fields["atoms"]})
    with pytest.raises(RunError, match="does not know the elements"):
        Crystal().encode([PEROVSKITE])
    with pytest.raises(DataError, match="empty"):
        Crystal().fields(data.heldout)


# Files


@pytest.mark.parametrize("kind", ["cif", "extxyz"])
@pytest.mark.parametrize("name", KNOWN)
def test_files_hold_the_crystal_and_its_record(data: Any, tmp_path: Path, kind: Any, name: str) -> None:
    decoder, fields = ready(data, file=kind)
    path = tmp_path / f"a{decoder.suffix}"
    decoder.save(KNOWN[name], path, RECORD)
    assert read_record(path) == RECORD
    assert same(decoder.load(path, fields), KNOWN[name])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_other_programs_read_the_files(data: Any, tmp_path: Path) -> None:
    for kind in ("cif", "extxyz"):
        decoder, _ = ready(data, file=kind)
        path = tmp_path / f"a.{kind}"
        decoder.save(RUTILE, path, RECORD)
        atoms = ase.io.read(path)
        assert sorted(atoms.get_chemical_symbols()) == ["O"] * 4 + ["Ti"] * 2
        assert atoms.get_volume() == pytest.approx(RUTILE.volume, rel=1e-5)
    assert CifParser(tmp_path / "a.cif").parse_structures(primitive=False)[0].matches(RUTILE)


def test_a_file_without_a_record_says_so(data: Any, tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text("data_x\n")
    with pytest.raises(DataError, match="no provenance record"):
        read_record(tmp_path / "a.cif")


def test_a_failed_write_leaves_nothing(data: Any, tmp_path: Path) -> None:
    decoder, _ = ready(data)
    with pytest.raises(DataError, match="cannot be written"):
        decoder.save(SALT, tmp_path / "nowhere" / "a.cif", RECORD)


def test_inputs_of_a_user(data: Any, tmp_path: Path) -> None:
    decoder, fields = ready(data)
    (tmp_path / "POSCAR_salt").write_text(Poscar(SALT).get_str())
    assert decoder.load(tmp_path / "POSCAR_salt", fields).composition.formula == "Na4 Cl4"
    (tmp_path / "a.txt").write_text("NaCl")
    with pytest.raises(DataError, match=r"a file \.cif"):
        decoder.load(tmp_path / "a.txt", fields)
    (tmp_path / "b.cif").write_text("NaCl")
    with pytest.raises(DataError, match="pymatgen cannot read it"):
        decoder.load(tmp_path / "b.cif", fields)


def test_a_formula_is_enough_to_predict(data: Any, tmp_path: Path) -> None:
    decoder, fields = ready(data, given="atoms")
    path = tmp_path / "a.txt"
    path.write_text("Sr2Ti2O6\n")
    value = decoder.load(path, fields)
    assert value.composition.formula == "Sr2 Ti2 O6"
    assert decoder.encode([value])["atoms"].shape == (1, 10)
    for text, words in (("SrTiX", "chemical formula|an atom"), ("Na0.5Cl", "whole numbers"), ("Au", "an atom Au")):
        path.write_text(text)
        with pytest.raises(DataError, match=words):
            decoder.load(path, fields)


def test_only_a_run_that_is_told_elements_predicts(data: Any) -> None:
    makes, told = ready(data), ready(data, given="atoms")
    obstacle = makes[0].obstacle("predict", makes[1])
    assert obstacle is not None
    assert "decoder.given=atoms" in obstacle
    assert told[0].obstacle("predict", told[1]) is None


def test_marks_keep_the_lattice_and_the_other_atoms(data: Any, tmp_path: Path) -> None:
    decoder, fields = ready(data)
    path = tmp_path / "mask.txt"
    path.write_text("2, 4\n")
    gap = decoder.gap(PEROVSKITE, path, fields)
    assert gap.unknown["atoms"].tolist() == [[False, True, False, True, False]]
    assert not gap.unknown["lattice"].any()
    assert torch.equal(gap.unknown["positions"].all(-1), gap.unknown["atoms"])
    path.write_text("6")
    with pytest.raises(DataError, match="an atom 6; the input has 5"):
        decoder.gap(PEROVSKITE, path, fields)
    path.write_text("x")
    with pytest.raises(DataError, match="numbers of atoms"):
        decoder.gap(PEROVSKITE, path, fields)
    with pytest.raises(ConfigError, match="mask=FILE"):
        decoder.gap(PEROVSKITE, None, fields)


# Pictures


def test_a_drawing_is_one_svg_that_says_what_it_is(data: Any) -> None:
    decoder, _ = ready(data)
    fragment = decoder.html(PEROVSKITE)
    root = ElementTree.fromstring(fragment)
    title = root.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text == "Sr1 Ti1 O3; 3.90 3.90 3.90 Å, 90.0 90.0 90.0 degrees, 59.3 Å³"
    assert len(root.findall(".//{http://www.w3.org/2000/svg}line")) == 12
    assert not re.search(r"https?://(?!www\.w3\.org)|<script|<image", fragment)
    assert "max-width:100%" in fragment


def test_atoms_on_faces_are_drawn_on_both(data: Any) -> None:
    """Eight corners of Sr, one Ti in the middle, six faces of O."""
    decoder, _ = ready(data)
    circles = ElementTree.fromstring(decoder.html(PEROVSKITE)).findall(".//{http://www.w3.org/2000/svg}circle")
    colours = [circle.get("fill") for circle in circles]
    assert sorted(colours.count(colour) for colour in set(colours)) == [1, 6, 8]


def test_a_sheet_is_one_picture(data: Any, tmp_path: Path) -> None:
    decoder, _ = ready(data, drawing=100)
    decoder.sheet(list(KNOWN.values()), ["x"] * 5, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size == (300, 260)
    with pytest.raises(ValueError, match="one caption"):
        decoder.sheet([SALT], [], tmp_path / "other.png")
    with pytest.raises(DataError, match="cannot be written"):
        decoder.sheet([SALT], [""], tmp_path / "nowhere" / "sheet.png")


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"decoder\.drawing=1"):
        Crystal(drawing=1)
