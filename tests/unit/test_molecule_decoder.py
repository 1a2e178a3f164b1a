"""The graph decoder: exact round trips, invalid graphs with their reasons, repairs apart, files, sheets and HTML."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

pytest.importorskip("rdkit")

from molecule_files import SMILES, listed, one_line, plain, source
from PIL import Image
from rdkit import Chem

from suffuse.errors import ConfigError, DataError, PluginError, RunError
from suffuse.fields import Field, pad
from suffuse.layouts import Masked
from suffuse.spaces import Categorical
from suffuse_molecule.data.nci import Nci
from suffuse_molecule.data.splits import MoleculeSplit
from suffuse_molecule.decoder import Graph
from suffuse_molecule.files import read_record
from suffuse_molecule.graphs import LARGEST, code_of, graph_of
from suffuse_molecule.molecule import REASONS, Molecule, canonical

RECORD = {"sample": 7, "run": "a & <b>", "digitalSourceType": "trainedAlgorithmicMedia"}


@pytest.fixture
def split(tmp_path: Path) -> MoleculeSplit:
    train = source(tmp_path, heldout=0.0).train
    assert isinstance(train, MoleculeSplit)
    return train


def ready(split: MoleculeSplit, **settings: Any) -> tuple[Graph, dict[str, Field]]:
    decoder = Graph(**settings)
    return decoder, decoder.fields(split)


def molecule(names: list[str], bonds: list[tuple[int, int, int]], **settings: Any) -> Molecule:
    """A graph as a network may draw it."""
    atoms = np.array([code_of(name) for name in names], np.int16)
    return Molecule(atoms, np.array(bonds, np.int16).reshape(-1, 3), **settings)


def read(smiles: str) -> Molecule:
    return Molecule(*graph_of(Chem.MolFromSmiles(smiles)))


# Fields


def test_fields_say_what_the_data_is(split: MoleculeSplit) -> None:
    _, fields = ready(split)
    atoms, bonds = fields["atoms"], fields["bonds"]
    assert atoms.names == ("C", "N", "N+", "O-", "O", "F", "P", "S", "Cl", "Br", "I")
    assert atoms.space == Categorical(len(atoms.names))
    assert bonds.space == Categorical(4, symmetric=True)
    assert (atoms.layout, bonds.layout) == (Masked(1), Masked(2))
    assert (atoms.shape, bonds.shape) == ((-1,), (-1, -1))


def test_frequencies_are_those_of_the_data(split: MoleculeSplit) -> None:
    """Counted once more, by RDKit: atoms, and pairs of two different atoms of one molecule."""
    _, fields = ready(split)
    mols = [Chem.MolFromSmiles(smiles) for smiles in SMILES]
    for mol in mols:
        Chem.Kekulize(mol, clearAromaticFlags=True)
    total = sum(mol.GetNumAtoms() for mol in mols)
    nitrogens = sum(a.GetSymbol() == "N" and a.GetFormalCharge() == 0 for mol in mols for a in mol.GetAtoms())
    assert fields["atoms"].frequencies[1] == pytest.approx(nitrogens / total)
    orders = [int(bond.GetBondTypeAsDouble()) for mol in mols for bond in mol.GetBonds()]
    pairs = sum(mol.GetNumAtoms() * (mol.GetNumAtoms() - 1) // 2 for mol in mols)
    expected = [(pairs - len(orders)) / pairs, *(orders.count(order) / pairs for order in (1, 2, 3))]
    assert fields["bonds"].frequencies == pytest.approx(expected)


def test_classes_of_held_out_molecules_have_a_place(tmp_path: Path) -> None:
    other = listed(tmp_path / "other.smi", ["CCBr"])
    data = source(tmp_path, ["CCO", "CCN"], split="given", heldout_path=other)
    decoder, fields = ready(data.train)
    assert min(fields["atoms"].frequencies) > 0
    decoder.encode(data.heldout.gather([0]).values)


def test_nothing_to_train_on_is_one_line(tmp_path: Path) -> None:
    split = source(tmp_path, heldout=0.0).heldout
    with pytest.raises(DataError) as error:
        Graph().fields(split)
    assert "empty" in one_line(error)


# Round trips


def test_round_trip_is_exact(split: MoleculeSplit) -> None:
    decoder, fields = ready(split)
    state = decoder.encode(split.gather(range(len(split))).values)
    for name, field in fields.items():
        field.space.check(state[name], name)  # type: ignore[attr-defined]
        assert torch.equal(field.project(state[name], state.mask), state[name])
    assert [value.smiles for value in decoder.decode(state)] == split.smiles()


@pytest.mark.slow
def test_round_trip_of_the_embedded_data(tmp_path: Path) -> None:
    """Up to 100 atoms, whatever the elements: the graph loses nothing that the source lets through."""
    data = Nci(**plain(tmp_path), max_atoms=100, elements=[], heldout=0.0)
    decoder, _ = ready(data.train)
    assert len(data.train) > 4700
    chosen = np.random.default_rng(0).permutation(len(data.train))[:300].tolist()
    values = decoder.decode(decoder.encode(data.train.gather(chosen).values))
    assert [value.smiles for value in values] == data.train.smiles(chosen)
    table = data.train.library.facts
    lost = sum(table["left_out"][name]["count"] for name in ("inexact", "radical", "bond") if name in table["left_out"])
    connected = table["read"] - sum(table["left_out"][name]["count"] for name in ("valence", "mixture"))
    assert 1 - lost / connected > 0.998


def test_values_and_packed_batches_encode_alike(split: MoleculeSplit) -> None:
    decoder, _ = ready(split)
    rows = [5, 0, 7]
    packed = decoder.encode(split.gather(rows).values)
    single = decoder.encode([split[row].value for row in rows])
    assert all(torch.equal(packed[name], single[name]) for name in packed)
    assert packed.mask is not None
    assert packed.mask.sum(1).tolist() == [split.sizes()[row] for row in rows]


def test_hydrogens_that_are_atoms_come_back_too(tmp_path: Path) -> None:
    split = source(tmp_path, heldout=0.0, hydrogens="explicit").train
    decoder, fields = ready(split)
    assert "H" in fields["atoms"].names
    values = decoder.decode(decoder.encode(split.gather(range(len(split))).values))
    assert [value.smiles for value in values] == split.smiles()
    assert all(value.valid for value in values)
    path = tmp_path / "a.sdf"
    decoder.save(values[0], path, RECORD)
    assert len(decoder.load(path, fields).atoms) == split.sizes()[0]


def test_padding_changes_nothing(split: MoleculeSplit) -> None:
    decoder, fields = ready(split)
    state = decoder.encode(split.gather(range(4)).values)
    assert state.mask is not None
    wide = pad(state, fields, state.mask.shape[1] + 5)
    assert [value.smiles for value in decoder.decode(wide)] == split.smiles(range(4))


def test_a_decoder_learns_the_atoms_from_the_fields_of_a_run(split: MoleculeSplit) -> None:
    decoder, fields = ready(split)
    state = decoder.encode(split.gather(range(6)).values)
    other = Graph()
    with pytest.raises(RunError, match="adopt"):
        other.decode(state)
    other.adopt({name: Field.from_json(field.to_json()) for name, field in fields.items()})
    assert [value.smiles for value in other.decode(state)] == split.smiles(range(6))


@pytest.mark.parametrize(
    "fields",
    [
        {"pixels": Field(shape=(1, 8, 8))},
        {"atoms": Field(shape=(9,), space=Categorical(3)), "bonds": Field(shape=(9, 9), space=Categorical(4))},
    ],
)
def test_fields_of_something_else_are_refused(fields: dict[str, Field]) -> None:
    with pytest.raises(RunError) as error:
        Graph().adopt(fields)
    assert "not those of molecules" in one_line(error)


def test_an_atom_that_the_run_has_not_is_one_line(split: MoleculeSplit) -> None:
    decoder, _ = ready(split)
    with pytest.raises(DataError) as error:
        decoder.encode([read("C[Si](C)(C)C")])
    assert "an atom Si" in one_line(error)


# Graphs that are no molecules

BAD = {
    "empty": molecule([], []),
    "valence": molecule(["C", "C", "C"], [(0, 1, 3), (1, 2, 2)]),
    "disconnected": molecule(["C", "O", "C"], [(0, 1, 1)]),
    "too_large": molecule(["C"] * (LARGEST + 1), []),
    "tangled": molecule(["C"] * 20, [(i, j, 1) for i in range(20) for j in range(i)]),
    "unfinished": Molecule(np.array([code_of("C"), 0], np.int16), np.array([[0, 1, 1]], np.int16)),
    "radical": molecule(["C"], [], explicit=True),
}


@pytest.mark.parametrize("reason", BAD)
def test_what_is_wrong_has_a_reason(reason: str) -> None:
    value = BAD[reason]
    assert value.reason == reason
    assert reason in REASONS
    assert not value.valid
    assert (value.mol is not None) == (reason == "disconnected")


def test_the_largest_fragment_is_not_taken() -> None:
    """The mutant that counts it would call this ethanol."""
    value = molecule(["C", "C", "O", "N"], [(0, 1, 1), (1, 2, 1)])
    assert value.reason == "disconnected"
    assert value.smiles == "CCO.N"


def test_a_chain_that_would_end_the_process() -> None:
    """RDKit writes SMILES by recursion: 18,000 carbons in a row overflow its stack."""
    value = molecule(["C"] * 18_000, [(i, i + 1, 1) for i in range(17_999)])
    assert value.reason == "too_large"
    assert read("C" * LARGEST).valid


def test_tokens_that_are_no_class_stay_unfinished(split: MoleculeSplit) -> None:
    """As in the middle of sampling under an absorbing prior, where a report looks too."""
    decoder, fields = ready(split)
    state = decoder.encode(split.gather([0]).values)
    masked = torch.full_like(state["atoms"], len(fields["atoms"].names))
    (value,) = decoder.decode(state.replace(atoms=masked))
    assert value.reason == "unfinished"
    (value,) = decoder.decode(state.replace(bonds=torch.full_like(state["bonds"], 4)))
    assert value.reason == "unfinished"


# Repairs


@pytest.mark.parametrize(
    ("repair", "value", "expected"),
    [
        ("fragment", molecule(["C", "C", "O", "N"], [(0, 1, 1), (1, 2, 1)]), "CCO"),
        ("fragment", BAD["valence"], None),
        ("valence", BAD["valence"], "C=C=C"),
        ("valence", molecule(["F", "C", "C", "C"], [(0, 1, 2), (2, 3, 1)]), "CF"),
        ("valence", BAD["empty"], None),
    ],
)
def test_repairs_are_told_apart_from_what_was_drawn(
    split: MoleculeSplit, repair: str, value: Molecule, expected: str | None
) -> None:
    decoder, _ = ready(split, repair=repair)
    state = decoder.encode([value, read("CCO")])
    broken, whole = decoder.decode(state)
    assert broken.reason == value.reason
    assert whole.repaired is None
    if expected is None:
        assert broken.repaired is None
    else:
        assert broken.repaired is not None
        assert broken.repaired.valid
        assert len(broken.repaired.atoms) <= len(value.atoms)
        assert broken.repaired.smiles == expected


def test_nothing_is_repaired_unless_asked(split: MoleculeSplit) -> None:
    decoder, _ = ready(split)
    (value,) = decoder.decode(decoder.encode([BAD["disconnected"]]))
    assert value.repaired is None


# Files


@pytest.mark.parametrize("smiles", SMILES[:6])
def test_sdf_gives_the_molecule_and_its_record_back(split: MoleculeSplit, tmp_path: Path, smiles: str) -> None:
    decoder, fields = ready(split)
    path = tmp_path / "a.sdf"
    decoder.save(read(smiles), path, RECORD)
    assert read_record(path) == RECORD
    (mol,) = Chem.SDMolSupplier(str(path))
    assert canonical(mol) == canonical(Chem.MolFromSmiles(smiles)) == mol.GetProp("SMILES")
    assert mol.GetProp("suffuse")
    assert decoder.load(path, fields).smiles == mol.GetProp("SMILES")
    assert [each.name for each in tmp_path.glob("*.sdf")] == ["a.sdf"]


def test_smiles_files_carry_the_record_too(split: MoleculeSplit, tmp_path: Path) -> None:
    decoder, fields = ready(split, file="smiles")
    path = tmp_path / f"a{decoder.suffix}"
    decoder.save(read("OCC"), path, RECORD)
    assert path.read_text().startswith("CCO\t")
    assert read_record(path) == RECORD
    assert decoder.load(path, fields).smiles == "CCO"


@pytest.mark.parametrize("reason", [name for name in BAD if name != "too_large"])
@pytest.mark.parametrize("file", ["sdf", "smiles"])
def test_every_draw_is_a_file(split: MoleculeSplit, tmp_path: Path, reason: str, file: str) -> None:
    decoder, _ = ready(split, file=file)
    path = tmp_path / f"a{decoder.suffix}"
    decoder.save(BAD[reason], path, RECORD)
    assert read_record(path) == RECORD
    assert reason in path.read_text() or BAD[reason].smiles in path.read_text()
    if file == "sdf":
        (mol,) = Chem.SDMolSupplier(str(path), sanitize=False)
        assert mol.GetNumAtoms() == len(BAD[reason].atoms)
        assert mol.GetProp("reason") == reason


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("a.smi", "C1CC\n", "cannot read it"),
        ("a.smi", "", "no atoms"),
        ("a.smi", "CC*\n", "no element"),
        ("a.smi", "[SiH4]\n", "an atom Si"),
        ("a.sdf", "nonsense\n", "cannot read it"),
        ("a.smi", "C" * 50_000, "too long"),
    ],
)
def test_files_that_hold_no_molecule_of_this_run(
    split: MoleculeSplit, tmp_path: Path, name: str, text: str, part: str
) -> None:
    decoder, fields = ready(split)
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as error:
        decoder.load(tmp_path / name, fields)
    assert part in one_line(error)


def test_missing_files_and_records_are_one_line(split: MoleculeSplit, tmp_path: Path) -> None:
    decoder, fields = ready(split)
    with pytest.raises(DataError) as error:
        decoder.load(tmp_path / "none.sdf", fields)
    assert "none.sdf" in one_line(error)
    path = listed(tmp_path / "a.smi", ["CCO"])
    with pytest.raises(DataError) as error:
        read_record(path)
    assert "no provenance record" in one_line(error)
    with pytest.raises(DataError) as error:
        decoder.save(read("CCO"), tmp_path / "no" / "a.sdf", RECORD)
    assert "cannot be written" in one_line(error)


def test_masks_are_lists_of_atoms(split: MoleculeSplit, tmp_path: Path) -> None:
    decoder, fields = ready(split)
    path = tmp_path / "mask.txt"
    path.write_text("2, 4\n")
    mask = decoder.load_mask(path, fields)
    assert mask["atoms"].tolist() == [[False, True, False, True]]
    assert mask["bonds"][0, 0].tolist() == [False, True, False, True]
    assert mask["bonds"][0, 1].all()
    for text in ("", "0", "one"):
        path.write_text(text)
        with pytest.raises(DataError) as error:
            decoder.load_mask(path, fields)
        assert "numbers of atoms" in one_line(error)


# Pictures


def test_a_sheet_shows_every_value(tmp_path: Path) -> None:
    values = [*(read(smiles) for smiles in SMILES[:5]), *BAD.values()]
    path = tmp_path / "sheet.png"
    Graph(cell=100).sheet(values, ["logP 2"] * len(values), path)
    with Image.open(path) as image:
        assert image.size == (400, 300)
        assert not image.info
        colours = np.asarray(image.convert("RGBA"))
    assert colours[..., 3].min() == 255
    pixels = colours[..., :3].mean(-1)
    tiles = [
        pixels[row * 100 : row * 100 + 100, column * 100 : column * 100 + 100]
        for row in range(3)
        for column in range(4)
    ]
    assert all(tile.min() < 200 < 250 < tile.max() for tile in tiles[: len(values)])
    assert all(tile.min() == 255 for tile in tiles[len(values) :])
    with pytest.raises(ValueError, match="caption"):
        Graph().sheet(values, [], path)


def test_a_server_that_cannot_draw_does_all_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("decoder", "metrics", "session", "files", "page", "data.nci")
    words = (
        f"import sys; sys.modules['rdkit.Chem.Draw'] = None; {'; '.join(f'import suffuse_molecule.{n}' for n in names)}"
    )
    subprocess.run([sys.executable, "-c", words], check=True)
    monkeypatch.setitem(sys.modules, "rdkit.Chem.Draw", None)
    with pytest.raises(PluginError, match=r"cannot be drawn here: .*; install it") as found:
        Graph().sheet([read("CCO")], [""], tmp_path / "sheet.png")
    one_line(found)


def test_html_is_one_svg_of_its_own() -> None:
    for value in (read("CC(=O)[O-]"), *BAD.values()):
        fragment = Graph().html(value)
        tree = ElementTree.fromstring(fragment)
        assert tree.tag.endswith("svg")
        assert "href" not in fragment
        title = next(element for element in tree.iter() if element.tag.endswith("title"))
        assert title.text
        assert ("invalid" in title.text) == (not value.valid)
        assert not re.search(r"<\?xml|<!", fragment)


def test_a_drawing_has_a_size() -> None:
    with pytest.raises(ConfigError) as error:
        Graph(cell=3)
    assert "decoder.cell=3" in one_line(error)
