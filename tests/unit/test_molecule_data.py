"""Sources of molecules: what is read, standardised, left out and why, split and batched; and what bad input says."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("rdkit")

from molecule_files import SMILES, everything, facts, listed, one_line, plain, source
from rdkit import Chem
from rdkit.Chem import Crippen, rdDepictor, rdDistGeom

from suffuse.conditions import Scalar
from suffuse.errors import ConfigError, DataError, SuffuseError
from suffuse_molecule.data import geometric, library, packed
from suffuse_molecule.data.library import Library
from suffuse_molecule.data.nci import Nci
from suffuse_molecule.data.sdf import Sdf
from suffuse_molecule.data.smiles import Smiles
from suffuse_molecule.data.splits import held_out_by_key
from suffuse_molecule.data.standard import REJECTIONS, Standard, prepare
from suffuse_molecule.data.tables import SmilesTable
from suffuse_molecule.descriptors import DESCRIPTORS, scaffold
from suffuse_molecule.graphs import Unfit, code, code_of, graph_of, name_of
from suffuse_molecule.molecule import Molecule, canonical, key_of


def reason(smiles: str, **settings: Any) -> str | None:
    """Why a SMILES is left out; None where it is taken."""
    try:
        prepare(smiles, "smiles", Standard(**settings))
    except Unfit as refusal:
        return refusal.reason
    return None


def taken(smiles: str, **settings: Any) -> str:
    """The canonical SMILES of what is made of one."""
    return prepare(smiles, "smiles", Standard(**settings)).smiles


# Graphs


@pytest.mark.parametrize("name", ["C", "Cl", "N+", "O-", "Fe+2", "P-3"])
def test_atom_names_round_trip(name: str) -> None:
    assert name_of(code_of(name)) == name


@pytest.mark.parametrize("name", ["", "c", "Xx", "N++", "*", "1"])
def test_what_is_no_atom_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no element"):
        code_of(name)


def test_codes_are_distinct_and_fit_their_type() -> None:
    codes = {code(number, charge) for number in range(1, 119) for charge in range(-15, 16)}
    assert len(codes) == 118 * 31
    assert max(codes) < 2**15
    with pytest.raises(Unfit, match="charge"):
        code(6, 16)


@pytest.mark.parametrize("smiles", SMILES)
def test_real_molecules_come_back_exactly(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    molecule = Molecule(*graph_of(mol))
    assert molecule.valid
    assert molecule.smiles == canonical(mol)
    assert set(np.unique(molecule.bonds[:, 2])) <= {1, 2, 3}


def test_without_charges_the_loss_is_noticed() -> None:
    """The mutant: atoms by element alone, as some well-known programs have them."""
    atoms, bonds = graph_of(Chem.MolFromSmiles("C[N+](=O)[O-]"))
    uncharged = np.array([code_of(name_of(int(each)).rstrip("+-")) for each in atoms], np.int16)
    assert Molecule(uncharged, bonds).reason == "valence"


# Standardisation


@pytest.mark.parametrize(
    ("smiles", "settings", "why"),
    [
        ("C1CC", {}, "unparsable"),
        ("hello", {}, "unparsable"),
        ("", {}, "empty"),
        ("C(C)(C)(C)(C)C", {}, "valence"),
        ("c1cccc1", {}, "kekulize"),
        ("CC*", {}, "dummy"),
        ("*CCO*", {}, "dummy"),
        ("CCO.Cl", {}, "mixture"),
        ("[13CH4]", {"isotopes": "reject"}, "isotope"),
        ("C[C@H](N)O", {"stereo": "reject"}, "stereo"),
        ("C/C=C/C", {"stereo": "reject"}, "stereo"),
        ("CC(=O)[O-]", {"charges": "reject"}, "charged"),
        ("C[Si](C)C", {"elements": ("C", "O")}, "element"),
        ("[CH3]", {}, "radical"),
        ("C[N]C", {}, "radical"),
        ("N->[Cu]", {}, "bond"),
        ("[H][H]", {}, "hydrogen"),
        ("CC", {"min_atoms": 3}, "too_small"),
        ("CCCC", {"max_atoms": 3}, "too_large"),
        ("C" * 5000, {"max_atoms": 1000}, "too_large"),
        ("C" * 18_000, {"max_atoms": 64}, "too_long"),
        ("C(" * 20_000 + "C" + ")" * 20_000, {"max_atoms": 64}, "too_long"),
        ("C(" * 1000 + "C" + ")" * 1000, {"max_atoms": 500}, "too_large"),
        ("[" * 1000, {}, "unparsable"),
        ("C%(99999999999)C", {}, "unparsable"),
    ],
)
def test_each_rejection_has_its_reason(smiles: str, settings: dict[str, Any], why: str) -> None:
    assert reason(smiles, **settings) == why
    assert why in REJECTIONS


@pytest.mark.parametrize(
    ("smiles", "settings", "expected"),
    [
        ("CCO.Cl", {"salts": "largest"}, "CCO"),
        ("[Na+].CC(=O)[O-]", {"salts": "largest", "charges": "neutralise"}, "CC(=O)O"),
        ("[13CH3]O", {}, "CO"),
        ("[2H]OC", {}, "CO"),
        ("[H]OC", {}, "CO"),
        ("C[C@H](N)O", {}, "CC(N)O"),
        ("C/C=C/C", {}, "CC=CC"),
        ("C[NH3+]", {"charges": "neutralise"}, "CN"),
        ("C[N+](C)(C)C", {"charges": "neutralise"}, "C[N+](C)(C)C"),
        ("C[N+](=O)[O-]", {"charges": "reject"}, "C[N+](=O)[O-]"),
    ],
)
def test_each_rule_does_what_it_says(smiles: str, settings: dict[str, Any], expected: str) -> None:
    assert taken(smiles, **settings) == expected


def test_hydrogens_can_be_atoms_of_the_graph() -> None:
    entry = prepare("CO", "smiles", Standard(hydrogens="explicit"))
    assert [name_of(int(each)) for each in entry.atoms].count("H") == 4
    back = Molecule(entry.atoms, entry.bonds, True)
    assert back.valid
    assert back.smiles == entry.smiles == "CO"
    fewer = Molecule(entry.atoms[:-1], entry.bonds[entry.bonds[:, :2].max(1) < len(entry.atoms) - 1], True)
    assert fewer.reason == "radical"


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"salts": "larges"}, ["data.salts=larges", "largest"]),
        ({"elements": ("C", "Clx")}, ["Clx", "Cl"]),
        ({"min_atoms": 9, "max_atoms": 3}, ["min_atoms=9", "max_atoms=3"]),
        ({"max_atoms": 18_000}, ["max_atoms=18000"]),
    ],
)
def test_rules_that_do_not_exist(settings: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        Standard(**settings)
    assert all(part in one_line(error) for part in parts)


# Files


COLUMNS = ["id,Smiles,activity,part", "1,CCO,1.5,train", "2,c1ccccc1,,train", "3,CCN,2.5,test", "4,CCC,3,ignore"]


def written(path: Path) -> Path:
    """The same table in the kind of file that the name says."""
    lines = [line.replace(",", "\t") for line in COLUMNS] if ".tsv" in path.name else COLUMNS
    if path.suffix != ".parquet":
        return listed(path, lines)
    names = COLUMNS[0].split(",")
    rows = [line.split(",") for line in COLUMNS[1:]]
    columns = {name: [row[place] or None for row in rows] for place, name in enumerate(names)}
    columns["activity"] = [None if value is None else float(value) for value in columns["activity"]]  # type: ignore[misc]
    return tabled(path, columns)


def tabled(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    """A Parquet file."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.tsv.gz", "a.parquet"])
def test_tables_of_every_kind_say_the_same(tmp_path: Path, name: str) -> None:
    data = Smiles(
        path=written(tmp_path / name), numbers=["activity"], **plain(tmp_path), split="given", split_column="part"
    )
    assert data.train.smiles() == ["CCO", "c1ccccc1"]
    assert data.heldout.smiles() == ["CCN"]
    assert data.train.conditions == {"activity": Scalar(mean=1.5, std=1.0)}
    assert data.train[0].condition == {"activity": 1.5}
    assert data.train[1].condition == {}
    assert torch.isnan(data.train.gather([1]).conditions["activity"]).all()


@pytest.mark.parametrize("name", ["a.smi", "a.txt", "a.smi.gz"])
def test_plain_lists_need_no_header(tmp_path: Path, name: str) -> None:
    assert sorted(everything(source(tmp_path, ["CCO ethanol", "", "CCN\tamine"], name=name))) == ["CCN", "CCO"]


def test_the_column_is_found_by_name_or_told(tmp_path: Path) -> None:
    lines = ["name,structure,other", "CCO,CCN,CCC"]
    assert everything(source(tmp_path, lines, name="a.csv")) == ["CCN"]
    assert everything(source(tmp_path, lines, name="a.csv", column="other")) == ["CCC"]


def test_an_sdf_with_data_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.sdf"
    with Chem.SDWriter(str(path)) as writer:
        for smiles, value in (("CCO", "1.0"), ("[Na+].CC(=O)[O-]", "2.0"), ("CCN", "high"), ("c1ccccc1", "3.0")):
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            mol.SetProp("activity", value)
            writer.write(mol)
    data = Sdf(path=path, numbers="activity", heldout=0.0, salts="largest", charges="neutralise", **plain(tmp_path))
    assert data.train.smiles() == ["CCO", "CC(=O)O", "CCN", "c1ccccc1"]
    assert [item.condition for item in data.train] == [{"activity": v} for v in (1.0, 2.0)] + [{}, {"activity": 3.0}]
    with pytest.raises(ConfigError) as error:
        Sdf(path=path, numbers="activty", **plain(tmp_path))
    assert "did you mean 'activity'" in one_line(error)


# What is kept, and what is counted


def test_the_table_of_rejections_counts_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [*SMILES, "CCO.Cl", "OCC", "[CH3]", "CCCC*", "C" * 70, "N->[Cu]"]
    data = source(tmp_path, lines)
    table = facts(data)
    counted = {name: each["count"] for name, each in table["left_out"].items()}
    assert counted == {"mixture": 1, "duplicate": 1, "radical": 1, "dummy": 1, "too_large": 1, "bond": 1}
    assert table["read"] == len(lines) == table["kept"] + sum(counted.values())
    assert table["kept"] == len(everything(data)) == len(SMILES)
    assert table["left_out"]["radical"]["first"] == [{"line": 23, "text": "[CH3]"}]
    rejects = (data.train.library.folder / "rejects.tsv").read_text().splitlines()
    assert rejects[1:3] == ["21\tmixture\tCCO.Cl", "23\tradical\t[CH3]"]
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "20 of 26 molecules kept" in said


def test_atoms_sizes_and_stereo_are_told(tmp_path: Path) -> None:
    table = facts(source(tmp_path, ["C[C@H](N)O", "CC", "CCl"]))
    assert table["accepted_with_stereo"] == 1
    both = source(tmp_path, ["C[C@H](N)O", "C[C@@H](N)O", "CC", "CCl"])
    assert both.train.library.stereo == 0.5  # of those that were read, though one is the other without its marks
    assert table["atoms"] == {"C": 3, "N": 1, "O": 1, "Cl": 1}
    assert table["sizes"] == {"2": 2, "4": 1}


def test_rare_atoms_are_left_out_by_choice(tmp_path: Path) -> None:
    data = source(tmp_path, ["CO", "CCO", "CBr", "CN"], min_count=2)
    assert sorted(everything(data)) == ["CCO", "CO"]
    assert [name_of(each) for each in data.train.codes] == ["C", "O"]
    assert facts(data)["left_out"]["rare"]["count"] == 2


def test_prepared_molecules_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = source(tmp_path)
    import suffuse_molecule.data.library as library

    monkeypatch.setattr(library, "prepare", None)  # whoever prepares again fails
    again = source(tmp_path)
    assert everything(again) == everything(first)
    assert again.train.library.folder == first.train.library.folder
    with pytest.raises(TypeError):
        source(tmp_path, max_atoms=9)  # other rules are another library


@pytest.mark.parametrize("name", ["preprocess.json", "atoms.npy", "kept.npy"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, name: str) -> None:
    first = source(tmp_path)
    path = first.train.library.folder / name
    path.write_bytes(path.read_bytes()[:-9])
    assert everything(source(tmp_path)) == everything(first)
    path.unlink()
    assert everything(source(tmp_path)) == everything(first)


def test_a_changed_file_is_prepared_anew(tmp_path: Path) -> None:
    assert everything(source(tmp_path, ["CCO", "CCN"])) != everything(source(tmp_path, ["CCO", "CCC"]))


def test_a_preparation_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import suffuse_molecule.data.library as library

    with monkeypatch.context() as patch:
        patch.setattr(library, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            source(tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(everything(source(tmp_path))) == len(SMILES)


def test_processes_change_nothing(tmp_path: Path) -> None:
    alone = source(tmp_path)
    apart = source(tmp_path, processes=1, cache_dir=tmp_path / "other")
    assert alone.train.smiles() == apart.train.smiles()
    assert facts(alone) == facts(apart)


def test_workers_of_the_feed_map_the_arrays_for_themselves(tmp_path: Path) -> None:
    split = source(tmp_path).train
    data = pickle.dumps(split)
    assert len(data) < 20_000
    assert pickle.loads(data).smiles() == split.smiles()


# Splits and batches


def test_items_and_batches_agree(tmp_path: Path) -> None:
    split = source(tmp_path, descriptors=["logp", "rings"]).train
    chosen = [3, 0, 3]
    batch = split.gather(chosen)
    for place, ((atoms, bonds), index) in enumerate(zip(batch.values.graphs(), chosen, strict=True)):
        item = split[index]
        assert np.array_equal(atoms, item.value.atoms)
        assert np.array_equal(bonds, item.value.bonds)
        assert item.condition == {n: pytest.approx(float(v[place])) for n, v in batch.conditions.items()}
    assert [split[index].value.smiles for index in chosen] == split.smiles(chosen)
    assert split.sizes().tolist() == [len(item.value.atoms) for item in split]


def test_descriptors_become_conditions(tmp_path: Path) -> None:
    data = source(tmp_path, descriptors=["logp", "qed"])
    item = data.train[0]
    mol = Chem.MolFromSmiles(item.value.smiles)
    assert item.condition["logp"] == pytest.approx(Crippen.MolLogP(mol), abs=1e-6)
    values = [item.condition["qed"] for item in data.train]
    kind = data.train.conditions["qed"]
    assert isinstance(kind, Scalar)
    assert kind.mean == pytest.approx(np.mean(values))
    assert kind.std == pytest.approx(np.std(values))


def test_every_descriptor_is_a_number() -> None:
    mol = Chem.MolFromSmiles("CC(=O)Nc1ccc(O)cc1")
    assert all(np.isfinite(function(mol)) for function in DESCRIPTORS.values())


def test_a_molecule_stays_on_its_side_when_others_come(tmp_path: Path) -> None:
    few, many = source(tmp_path, SMILES[:12], heldout=0.4), source(tmp_path, SMILES, heldout=0.4)
    assert set(few.train.smiles()) <= set(many.train.smiles())
    assert set(few.heldout.smiles()) <= set(many.heldout.smiles())
    assert not set(many.train.smiles()) & set(many.heldout.smiles())


def test_scaffolds_are_never_parted(tmp_path: Path) -> None:
    rings = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "c1ccsc1", "C1CCCC1", "C1CC1"]
    lines = [f"{'C' * tail}{ring}" for ring in rings for tail in range(6)]
    data = source(tmp_path, lines, split="scaffold", heldout=0.5)
    sides = [{scaffold(Chem.MolFromSmiles(each)) for each in part.smiles()} for part in (data.train, data.heldout)]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == {canonical(Chem.MolFromSmiles(ring)) for ring in rings}
    random = source(tmp_path, lines, split="random", heldout=0.5)
    mixed = [{scaffold(Chem.MolFromSmiles(each)) for each in part.smiles()} for part in (random.train, random.heldout)]
    assert mixed[0] & mixed[1]


def test_a_file_of_held_out_molecules(tmp_path: Path) -> None:
    other = listed(tmp_path / "other.smi", ["CCBr", "CCO"])
    data = source(tmp_path, ["CCO", "CCN"], split="given", heldout_path=other)
    assert data.train.smiles() == ["CCO", "CCN"]
    assert data.heldout.smiles() == ["CCBr", "CCO"]
    assert "Br" in [name_of(each) for each in data.train.codes]


def test_shares_and_edges_of_holding_out() -> None:
    keys = np.array([key_of(str(number)) for number in range(5000)], np.uint64)
    assert held_out_by_key(keys, 0.1).mean() == pytest.approx(0.1, abs=0.02)
    assert not held_out_by_key(keys, 0.0).any()
    for share in (1e-9, 1 - 1e-9):
        held = held_out_by_key(keys[:2], share)
        assert held.tolist().count(True) == 1


def test_the_embedded_data(tmp_path: Path) -> None:
    data = Nci(**plain(tmp_path), max_atoms=8)
    table = facts(data)
    assert table["read"] == 4999
    assert table["kept"] == len(data.train) + len(data.heldout) > 400
    assert 0.05 < len(data.heldout) / table["kept"] < 0.15
    assert "inexact" not in table["left_out"]
    assert max(data.train.sizes()) == 8


# PyTorch Geometric


def fake(monkeypatch: pytest.MonkeyPatch, **sets: Any) -> None:
    monkeypatch.setattr(geometric, "_datasets", lambda: SimpleNamespace(**sets))


def test_qm9_through_geometric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [SimpleNamespace(smiles=s, y=torch.arange(19.0)[None] + place) for place, s in enumerate(SMILES[:5])]

    def fetch(root: str) -> Any:
        assert not Path(root).exists(), "torch-geometric unpickles what lies there"
        return rows

    theirs = tmp_path / "qm9" / "raw" / "qm9_v3.pt"  # of a folder that somebody handed on
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    fake(monkeypatch, QM9=fetch)
    data = geometric.Qm9(root=tmp_path, numbers=["gap"], heldout=0.0, **plain(tmp_path))
    assert [item.condition["gap"] for item in data.train] == [4.0, 5.0, 6.0, 7.0, 8.0]
    fake(monkeypatch)  # it is written once, and not asked for again
    assert len(geometric.Qm9(root=tmp_path, heldout=0.0, **plain(tmp_path)).train) == 5
    with pytest.raises(ConfigError) as error:
        geometric.Qm9(root=tmp_path, numbers="gapp", **plain(tmp_path))
    assert "did you mean 'gap'" in one_line(error)


def test_zinc_through_geometric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Acetate: its oxygen with a charge is class 7 of the set."""
    graph = SimpleNamespace(
        x=torch.tensor([[0], [0], [1], [7]]),
        edge_index=torch.tensor([[0, 1, 1, 2, 1, 3], [1, 0, 2, 1, 3, 1]]),
        edge_attr=torch.tensor([1, 1, 2, 2, 1, 1]),
        y=torch.tensor([0.5]),
    )
    ring = SimpleNamespace(
        x=torch.tensor([[0], [0], [2]]),
        edge_index=torch.tensor([[0, 1, 1, 2, 0, 2], [1, 0, 2, 1, 2, 0]]),
        edge_attr=torch.ones(6, dtype=torch.long),
        y=torch.tensor([1.5]),
    )
    fake(monkeypatch, ZINC=lambda root, subset, part: [graph] if part == "train" else [ring])
    data = geometric.Zinc(root=tmp_path, numbers="penalised_logp", **plain(tmp_path))
    assert data.train.smiles() == ["CC(=O)[O-]"]
    assert data.heldout.smiles() == ["C1CN1"]
    assert data.train[0].condition == {"penalised_logp": 0.5}


def test_moleculenet_through_geometric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [SimpleNamespace(smiles=s, y=torch.tensor([[1.0, float("nan")]])) for s in ("CCO", "CCN.Cl")]

    class Sets:
        names: Mapping[str, int] = {"esol": 0, "hiv": 1}

        def __new__(cls, root: str, name: str) -> Any:
            return rows

    fake(monkeypatch, MoleculeNet=Sets)
    data = geometric.MoleculeNet(dataset="esol", root=tmp_path, numbers=["y0"], heldout=0.0, **plain(tmp_path))
    assert data.train.smiles() == ["CCO", "CCN"]
    with pytest.raises(ConfigError, match="did you mean 'esol'"):
        geometric.MoleculeNet(dataset="esoll", root=tmp_path, **plain(tmp_path))


def test_a_set_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(root: str) -> Any:
        raise OSError("no network")

    fake(monkeypatch, QM9=refuse)
    with pytest.raises(DataError) as error:
        geometric.Qm9(root=tmp_path, **plain(tmp_path))
    assert "no network" in one_line(error)
    assert not list(tmp_path.rglob("*.csv"))


# Bad input


def test_a_bad_line_deep_in_a_large_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [""] * 37_211
    lines[::2000] = ["C" * (place + 1) for place in range(len(lines[::2000]))]
    data = source(tmp_path, [*lines, "C1CC(", "CCN"])
    assert len(everything(data)) == 20
    assert facts(data)["left_out"]["unparsable"]["first"] == [{"line": 37_212, "text": "C1CC("}]
    assert "unparsable 1 (line 37,212: 'C1CC(')" in capsys.readouterr().err


def test_text_in_a_column_of_numbers_is_missing_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["smiles,activity", "CCO,1.0", "CCN,high", "CCC,n/a", "CCCl,inf"]
    data = source(tmp_path, lines, name="a.csv", numbers="activity", heldout=0.0)
    assert [item.condition for item in data.train] == [{"activity": 1.0}, {}, {}, {}]
    assert facts(data)["text_in_columns"] == {"activity": 2}
    assert "2 cells of column activity hold text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "lines", "settings", "parts"),
    [
        ("a.smi", [], {}, ["a.smi", "empty"]),
        ("a.csv", [], {}, ["a.csv", "empty"]),
        ("a.csv", ["smiles"], {}, ["no molecule in it"]),
        ("a.smi", ["CC*", "[CH3]"], {}, ["none of its 2", "dummy 1", "radical 1"]),
        ("a.csv", ["a,b", "x1,CCO", "x2,CCN"], {}, ["data.column", "which of a, b"]),
        ("a.csv", ["CCO", "CCN"], {}, ["data.column", "CCO", ".smi"]),
        ("a.csv", ["a,b", "x1,CCO", "x2,CCN"], {"column": "a"}, ["none of its 2", "unparsable 2"]),
        ("a.csv", ["a,b", "x1,CCO", "x2,CCN"], {"column": "c"}, ["data.column=c", "a, b"]),
        ("a.csv", ["smiles,logS", "CC,1"], {"numbers": ["logs"]}, ["data.numbers=logs", "did you mean 'logS'"]),
        ("a.csv", ["smiles,x", "CC,low", "CO,high"], {"numbers": "x"}, ["column x", "no number"]),
        ("a.csv", ["smiles,a b,a_b", "CC,1,2"], {"numbers": ["a b", "a_b"]}, ["a_b", "one name"]),
        ("a.csv", ["smiles,logp", "CC,1"], {"numbers": "logp", "descriptors": "logp"}, ["descriptors=logp"]),
        ("a.smi", ["CC", "CO"], {"descriptors": "logd"}, ["data.descriptors=logd", "did you mean 'logp'"]),
        ("a.smi", ["CC", "CO"], {"split": "given"}, ["split_column", "heldout_path"]),
        ("a.smi", ["CC", "CO"], {"heldout": 1.0}, ["data.heldout=1.0"]),
        ("a.smi", ["CC", "CO"], {"max_bad_share": 2.0}, ["max_bad_share=2.0"]),
        ("a.smi", ["CC", "C(", "O)"], {}, ["2 of 3", "max_bad_share", "line 2: 'C('"]),
        ("a.parquet", ["CC"], {}, ["a.parquet", "Parquet"]),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, name: str, lines: list[str], settings: dict[str, Any], parts: list[str]
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(SuffuseError) as error:
        source(tmp_path, lines, name=name, **settings)
    assert all(part in one_line(error) for part in parts), one_line(error)


def test_a_missing_or_damaged_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        Smiles(path=tmp_path / "none.csv", **plain(tmp_path))
    assert "no such file" in one_line(error)
    whole = listed(tmp_path / "a.smi.gz", SMILES * 50).read_bytes()
    (tmp_path / "a.smi.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as error:
        Smiles(path=tmp_path / "a.smi.gz", **plain(tmp_path))
    assert "to its end" in one_line(error)


def test_a_packed_file_is_read_whole_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = listed(tmp_path / "a.smi.gz", [f"{smiles} {number}" for number, smiles in enumerate(SMILES * 50)])
    whole = path.read_bytes()

    def work(*given: Any) -> None:
        raise AssertionError("it was worked on")

    monkeypatch.setattr(library, "prepare_all", work)
    with pytest.raises(AssertionError, match="worked on"):
        Smiles(path=path, **plain(tmp_path))
    path.write_bytes(whole[:-9])
    with pytest.raises(DataError, match=r"a\.smi\.gz: cannot be read to its end"):
        Smiles(path=path, **plain(tmp_path))


def test_a_parquet_that_is_damaged_in_the_middle_is_one_line(tmp_path: Path) -> None:
    path = tabled(tmp_path / "a.parquet", {"smiles": [f"C{number}" for number in range(9000)]})
    data = bytearray(path.read_bytes())
    data[4:2000] = bytes(1996)  # after the first four letters, which say what it is
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read to its end"):
        Smiles(path=path, **plain(tmp_path))


def test_a_parquet_shows_how_far_it_is_read_and_reads_no_more_than_is_asked_for(tmp_path: Path) -> None:
    columns = {"other": [{"deep": 1}] * 9000, "smiles": ["CCO"] * 9000, "y": list(range(9000))}
    path = tabled(tmp_path / "a.parquet", columns)
    seen: list[int] = []
    rows = list(SmilesTable(path, numbers=["y"]).rows(seen.append))
    assert [(row.line, row.text, row.numbers) for row in rows[::8999]] == [(1, "CCO", (0.0,)), (9000, "CCO", (8999.0,))]
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1] == path.stat().st_size


@pytest.mark.parametrize(
    ("name", "begin", "letter"),
    [
        ("a.smi.gz", b"CCO\nCCN\n", b"C"),
        ("a.smi.gz", b"CCO\nCCN\n", b"C\n"),
        ("a.csv.gz", b"smiles\nCCO\n", b"\0"),
        ("a.sdf.gz", b"", b"C"),
    ],
)
def test_what_unpacks_to_far_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, begin: bytes, letter: bytes
) -> None:
    """Not read: without a limit two megabytes keep a core busy for minutes."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(begin + letter * (1 << 24)))
    kind = Sdf if "sdf" in name else Smiles
    monkeypatch.setattr(packed, "_SMALL", 1 << 23)
    with pytest.raises(DataError) as error:
        kind(path=path, **plain(tmp_path))
    assert f"{name}: unpacks to more than" in one_line(error)


def test_a_small_table_may_say_the_same_again_and_again(tmp_path: Path) -> None:
    assert source(tmp_path, ["CCO"] * 5_000, name="a.smi.gz", heldout=0.0).train.smiles() == ["CCO"]


def test_a_record_without_an_end_costs_nothing_but_itself(tmp_path: Path) -> None:
    good = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO")) + "$$$$\n"
    (tmp_path / "a.sdf").write_text(good + "C" * 4_500_000 + "\n$$$$\n" + good.replace(" O ", " N "))
    data = Sdf(path=tmp_path / "a.sdf", heldout=0.0, max_bad_share=0.5, **plain(tmp_path))
    assert sorted(data.train.smiles()) == ["CCN", "CCO"]
    assert facts(data)["read"] == 3


def test_a_block_of_thousands_of_atoms_is_left_out() -> None:
    block = Chem.MolToMolBlock(Chem.MolFromSmiles("C" * 5000), includeStereo=False, forceV3000=True)
    with pytest.raises(Unfit, match="too_large"):
        prepare(block, "sdf", Standard(max_atoms=1000))


@pytest.mark.parametrize(("seconds", "reason"), [(0.2, "timeout"), (30.0, "crash")])
def test_a_text_that_hangs_the_parser_costs_its_own_time_alone(tmp_path: Path, seconds: float, reason: str) -> None:
    """Short enough to be read, with five hundred rings through each other, whose smallest nobody finds in time, and
    which take all memory that a worker may have."""
    count = 500
    marks = [f"%({place + 1})" for place in range(2 * count)]
    ends = [marks[place] for place in np.random.default_rng(0).permutation(2 * count)]
    pairs = [*zip(marks[::2], marks[1::2], strict=True), *zip(ends[::2], ends[1::2], strict=True)]
    knot = "".join(f"C{first}{second}" for first, second in pairs)
    data = source(tmp_path, ["CCO", knot, "CCN"], processes=1, seconds=seconds, max_atoms=1000, max_bad_share=0.5)
    assert sorted(everything(data)) == ["CCN", "CCO"]
    assert facts(data)["left_out"][reason]["first"][0]["line"] == 2


def test_a_hostile_line_is_passed_over(tmp_path: Path) -> None:
    """Longer than any line that is looked at, and with a quote that would swallow the rest of a table."""
    lines = ["smiles,x", "CCO,1", '"' + "C" * 150_000 + ",2", "CCN,3"]
    data = source(tmp_path, lines, name="a.csv", numbers="x", heldout=0.0, max_bad_share=0.5)
    assert data.train.smiles() == ["CCO", "CCN"]
    assert facts(data)["left_out"]["too_long"]["count"] == 1


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = listed(tmp_path / "file")
    with pytest.raises(DataError) as error:
        source(tmp_path, cache_dir=blocked)
    assert "data.cache_dir" in one_line(error)


def test_the_table_of_rejections_is_plain_json(tmp_path: Path) -> None:
    folder = source(tmp_path).train.library.folder
    assert json.loads((folder / "preprocess.json").read_text())["kept"] == len(SMILES)


@pytest.mark.parametrize(
    ("smiles", "found"),
    [
        ("CCO", (False, False, False)),
        ("C1CCCCC1", (False, False, False)),
        ("CC(C)=C", (False, False, False)),
        ("C[C@H](C)O", (False, False, False)),  # a mark on what is no centre
        ("C/C=C(/C)C", (False, False, False)),
        ("CC(O)F", (False, True, False)),  # in space it is one of the two
        ("C[C@H](O)F", (True, True, True)),
        ("C/C=C/C", (True, True, True)),
    ],
)
def test_stereo_is_what_tells_molecules_apart(smiles: str, found: tuple[bool, ...]) -> None:
    flat, solid = Chem.MolFromSmiles(smiles), Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDepictor.Compute2DCoords(flat)
    rdDistGeom.EmbedMolecule(solid, randomSeed=1)
    blocks = [(smiles, "smiles"), (Chem.MolToMolBlock(solid), "sdf"), (Chem.MolToMolBlock(flat), "sdf")]
    assert tuple(prepare(text, kind, Standard()).stereo for text, kind in blocks) == found
    for (text, kind), stereo in zip(blocks, found, strict=True):
        if stereo:
            with pytest.raises(Unfit, match="stereo"):
                prepare(text, kind, Standard(stereo="reject"))
        else:
            assert prepare(text, kind, Standard(stereo="reject")).smiles == canonical(Chem.MolFromSmiles(smiles))


def test_pages_that_were_read_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 200_000
    starts = 40 * np.arange(count + 1)
    arrays = {"atoms": np.zeros(40 * count, np.int16), "bonds": np.zeros((40 * count, 3), np.uint8)}
    arrays |= {"smiles": np.zeros(8, np.uint8), "numbers": np.zeros((count, 1)), "parts": np.zeros(count, np.int16)}
    arrays |= {"kept": np.arange(count), "keys": np.arange(count, dtype=np.uint64)}
    arrays |= {f"{name}_starts": starts for name in ("atoms", "bonds", "smiles")}
    for name, values in arrays.items():
        np.save(tmp_path / f"{name}.npy", values)
    (tmp_path / "preprocess.json").write_text("{}")
    library = Library(tmp_path)
    before = mapped()
    for place in range(0, count, 1000):
        library.graphs(np.arange(place, place + 1000))
    assert mapped() - before < 5
    monkeypatch.setattr(Library, "_let_go", lambda self: None)
    for place in range(0, count, 1000):
        library.graphs(np.arange(place, place + 1000))
    assert mapped() - before > 30, "or else this test sees nothing"


def mapped() -> float:
    """MB of files in this process's memory."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        pytest.skip("needs /proc")
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile")) / 1024
