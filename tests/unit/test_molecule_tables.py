"""Tables of draws: every draw is a row, what is said of it agrees with RDKit, and parts may be cut anywhere."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

pytest.importorskip("rdkit")

from molecule_files import SMILES, one_line, source
from rdkit import Chem, DataStructs
from rdkit.Chem import QED, Crippen, rdFingerprintGenerator, rdMolDescriptors

from suffuse.conditions import Span
from suffuse.data import DataSource
from suffuse.errors import ConfigError, DataError
from suffuse_molecule import neighbours, results, scoring
from suffuse_molecule.alerts import alerts_of
from suffuse_molecule.data.smiles import Smiles
from suffuse_molecule.decoder import Graph
from suffuse_molecule.descriptors import fingerprint
from suffuse_molecule.files import KEYWORD
from suffuse_molecule.graphs import code_of
from suffuse_molecule.molecule import Molecule
from suffuse_molecule.neighbours import nearest, unpack
from suffuse_molecule.page import histogram, render_page
from suffuse_molecule.repair import Repair, repaired
from suffuse_molecule.scoring import Asked, score, score_all
from suffuse_molecule.session import MoleculeSession
from suffuse_molecule.workers import Lost

DRAWN = ("c1ccccc1O", "CCO", "OCC", "CC(=O)Cl", "O=C1C=CC(=O)C=C1", "NC(C)C(=O)O")
"""New, in training, its copy, with an alert of Brenk, with one of PAINS, with a stereo centre."""


def molecules(texts: Sequence[str] = DRAWN) -> list[Molecule]:
    return [Molecule.of(Chem.MolFromSmiles(text)) for text in texts]


def broken() -> list[Molecule]:
    """An atom with too many bonds, and two fragments."""
    first = molecules(["CC"])[0]
    return [
        replace(first, bonds=np.array([(0, 1, 3)], np.int16), atoms=np.array([code_of("F"), code_of("C")], np.int16)),
        replace(first, bonds=np.zeros((0, 3), np.int16)),
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Smiles:
    return source(tmp_path_factory.mktemp("tables"), SMILES, heldout=0.0)


def session(data: Smiles, opened: Callable[[], DataSource] | None = None, **settings: Any) -> MoleculeSession:
    decoder = Graph()
    fields = decoder.fields(data.train)
    chosen = {"processes": 0, "table": True, **settings}
    return MoleculeSession(fields, decoder=decoder, data=opened or (lambda: data), **chosen)


def about(index: int) -> dict[str, Any]:
    return {"sample": index, "seed_key": "ab", "run": "r", "checkpoint": "c"}


def written(
    made: MoleculeSession,
    values: Sequence[Molecule],
    folder: Path,
    asked: Sequence[Mapping[str, Any]] | None = None,
    cuts: Sequence[int] = (),
) -> list[dict[str, Any]]:
    """The rows of the tables, from parts that are cut at some places."""
    folder.mkdir(exist_ok=True)
    ends = [0, *cuts, len(values)]
    known = asked or [{}] * len(values)
    paths = []
    for start, end in zip(ends, ends[1:], strict=False):
        paths.append(folder / f"part-{start}")
        made.write(values[start:end], [about(i) for i in range(start, end)], known[start:end], paths[-1])
    made.join(paths, folder)
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(folder / "molecules.parquet").to_pylist()
    return rows


def test_every_draw_is_a_row_with_its_reason(data: Smiles, tmp_path: Path) -> None:
    rows = written(session(data), [*molecules(), *broken()], tmp_path)
    assert [row["sample"] for row in rows] == list(range(8))
    assert [row["valid"] for row in rows] == [True] * 6 + [False] * 2
    assert [row["reason"] for row in rows[-2:]] == ["valence", "disconnected"]
    assert [row["connected"] for row in rows[-3:]] == [True, None, False]
    assert rows[-1]["smiles"] == "C.C"
    assert rows[-1]["qed"] is None


@pytest.mark.parametrize("how", ["none", "valence"])
def test_a_repair_is_a_column_of_its_own(data: Smiles, tmp_path: Path, how: Repair) -> None:
    values = [repaired(value, how) for value in (*molecules(), *broken())]
    plain = written(session(data), [*molecules(), *broken()], tmp_path / "plain")
    rows = written(session(data), values, tmp_path, cuts=[6])
    mended = [None] * 6 + (["CF", "C"] if how == "valence" else [None, None])
    assert [row["repaired"] for row in rows] == mended
    assert [{**row, "repaired": None} for row in rows] == plain
    with (tmp_path / "molecules.csv").open(newline="") as file:
        assert [line["repaired"] for line in csv.DictReader(file)] == [text or "" for text in mended]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["valid"], summary["repaired"]) == (6, 8 - mended.count(None))
    page = (tmp_path / "molecules.html").read_text(encoding="utf-8")
    assert ("nothing was repaired" in page) == (how == "none")


def test_copies_and_what_is_new(data: Smiles, tmp_path: Path) -> None:
    rows = written(session(data), molecules(), tmp_path)
    assert [row["duplicate_of"] for row in rows] == [None, None, 1, None, None, None]
    assert [row["novel"] for row in rows] == [True, False, False, True, True, True]


def test_numbers_are_those_of_rdkit(data: Smiles, tmp_path: Path) -> None:
    rows = written(session(data), molecules(), tmp_path)
    for row, text in zip(rows, DRAWN, strict=True):
        mol = Chem.MolFromSmiles(text)
        assert row["logp"] == pytest.approx(Crippen.MolLogP(mol))
        assert row["qed"] == pytest.approx(QED.qed(mol))
        assert row["inchikey"] == Chem.MolToInchiKey(mol)
    assert rows[-1]["stereo_centres"] == 1


def test_alerts_have_names_and_remove_nothing(data: Smiles, tmp_path: Path) -> None:
    rows = written(session(data, filters=["pains", "brenk", "lipinski"]), [*molecules(), *broken()], tmp_path)
    assert len(rows) == 8
    assert rows[3]["alerts"][0].startswith("brenk: ")
    assert rows[4]["alerts"][0].startswith("pains: quinone")
    assert [row["passes"] for row in rows] == [True, True, True, False, False, True, None, None]
    kept = [mol.GetProp("smiles") for mol in Chem.SDMolSupplier(str(tmp_path / "molecules.sdf"))]
    assert kept == [row["smiles"] for row in rows if row["passes"] and row["duplicate_of"] is None]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["draws"], summary["valid"], summary["distinct"], summary["passing"]) == (8, 6, 5, 3)


def test_bounds_are_filters_too() -> None:
    grease = Chem.MolFromSmiles("C" * 40)
    assert alerts_of(grease, ["lipinski"]) == ["lipinski: MW above 500", "lipinski: logP above 5"]
    assert alerts_of(grease, ["veber"]) == ["veber: rotatable bonds above 10"]


def test_parts_may_be_cut_anywhere(data: Smiles, tmp_path: Path) -> None:
    values = [*molecules(), *broken()]
    whole = written(session(data), values, tmp_path / "whole")
    assert written(session(data), values, tmp_path / "cut", cuts=[1, 2, 5]) == whole


def test_memory_does_not_grow_with_the_draws(data: Smiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To hold all rows at once, as is easily written, takes three times as much here."""
    monkeypatch.setattr(results, "_BATCH", 60)
    made, part = session(data, rank="qed", nearest=False, page=2), tmp_path / "part"
    values = [*molecules(), *broken()] * 8
    made.write(values, [about(i) for i in range(len(values))], [{"logp": 1.0}] * len(values), part)

    def peak(times: int) -> float:
        folder = tmp_path / f"{times}"
        folder.mkdir()
        tracemalloc.start()
        made.join([part] * times, folder)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)  # what is imported or compiled the first time
    assert peak(20) < 2 * peak(2)


def test_processes_change_nothing() -> None:
    values = [*molecules(), *broken()]
    looked = Asked(False, ("brenk",))
    assert score(values, looked, 1, 10.0) == score_all([(v.atoms, v.bonds) for v in values], looked)


def test_what_was_asked_stands_beside_what_was_achieved(data: Smiles, tmp_path: Path) -> None:
    values = molecules()
    asked = [{"logp": 1.0 + 0.1 * place, "gap": None} for place in range(len(values))]
    rows = written(session(data), values, tmp_path, asked)
    assert [row["asked_logp"] for row in rows] == [each["logp"] for each in asked]
    found = json.loads((tmp_path / "summary.json").read_text())["asked"]
    off = [abs(row["logp"] - row["asked_logp"]) for row in rows]
    assert found["logp"] == {"asked": "1..1.5", "mae": pytest.approx(np.mean(off))}
    assert "gap" not in found


@pytest.mark.parametrize("text", ["0..1.5", "..1", "1.2.."])
def test_what_lies_in_the_range_that_was_typed_is_counted(data: Smiles, tmp_path: Path, text: str) -> None:
    values, span = molecules(), Span.read(text, "logp")
    assert span is not None
    rows = written(session(data, spans={"logp": span}), values, tmp_path, [{"logp": 1.0}] * len(values))
    found = json.loads((tmp_path / "summary.json").read_text())["asked"]["logp"]
    assert found["asked"] == text
    assert found["within"] == pytest.approx(np.mean([row["logp"] in span for row in rows]))


def test_what_is_asked_for_is_measured_though_no_table_has_it(data: Smiles, tmp_path: Path) -> None:
    values = molecules()
    rows = written(session(data), values, tmp_path, [{"fraction_csp3": 0.5}] * len(values), cuts=[2])
    for row, text in zip(rows, DRAWN, strict=True):
        assert row["fraction_csp3"] == pytest.approx(rdMolDescriptors.CalcFractionCSP3(Chem.MolFromSmiles(text)))
    assert "fraction_csp3" in json.loads((tmp_path / "summary.json").read_text())["asked"]


def test_the_csv_says_the_same_and_the_sdf_has_the_record(data: Smiles, tmp_path: Path) -> None:
    rows = written(session(data), [*molecules(), *broken()], tmp_path)
    with (tmp_path / "molecules.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["smiles"] for line in lines] == [row["smiles"] or "" for row in rows]
    assert list(lines[0]) == list(rows[0])
    entry = next(iter(Chem.SDMolSupplier(str(tmp_path / "molecules.sdf"))))
    assert json.loads(entry.GetProp(KEYWORD)) == about(0)
    facts = pyarrow.parquet.read_schema(tmp_path / "molecules.parquet").metadata
    assert json.loads(facts[KEYWORD.encode()])["run"] == "r"


@pytest.mark.parametrize(("rank", "best"), [("qed", max), ("-sa", min), ("molar_refractivity", max)])
def test_the_sdf_is_ranked(data: Smiles, tmp_path: Path, rank: str, best: Callable[..., float]) -> None:
    written(session(data, rank=rank), molecules(), tmp_path)
    name = rank.removeprefix("-")
    numbers = [float(mol.GetProp(name)) for mol in Chem.SDMolSupplier(str(tmp_path / "molecules.sdf"))]
    assert numbers[0] == best(numbers)
    assert numbers == sorted(numbers, reverse=not rank.startswith("-"))


def test_conformers_lie_in_space_and_failures_are_told(data: Smiles, tmp_path: Path) -> None:
    cage = Chem.MolFromSmiles("C12C3C4C1C5C2C3C45")
    odd = Chem.MolFromSmiles("CB(O)O")
    values = [*molecules(["NC(C)C(=O)O"]), Molecule.of(cage), Molecule.of(odd)]
    rows = written(session(data, conformers=True), values, tmp_path)
    assert [row["conformer"] for row in rows] == ["ok", "ok", "not relaxed: no MMFF94 parameters"]
    for mol in Chem.SDMolSupplier(str(tmp_path / "molecules.sdf"), removeHs=False):
        places = mol.GetConformer().GetPositions()
        assert np.abs(places[:, 2]).max() > 0.1
        assert mol.GetNumAtoms() > mol.GetNumHeavyAtoms()


@pytest.mark.parametrize(
    ("hard", "settings"), [("score_all", (Asked(False),)), ("fold_all", (False,)), ("isomers_all", (False, 4))]
)
def test_what_is_hard_to_fold_or_to_list_stays_valid(
    monkeypatch: pytest.MonkeyPatch, hard: str, settings: tuple[Any, ...]
) -> None:
    """What hangs without that has it as its reason."""
    values, whole = molecules(["CCO", "CCN", "NC(C)O"]), getattr(scoring, hard)
    lost = [Lost("timeout"), *whole([(each.atoms, each.bonds) for each in values[1:]], *settings)]
    monkeypatch.setattr(scoring, hard, lambda *given: lost)
    marks = score(values, Asked(False, (), True, 4), 0, 1.0)
    assert [mark.reason for mark in marks] == ["timeout" if hard == "score_all" else None, None, None]
    first = {"score_all": "", "fold_all": "not embedded: timeout", "isomers_all": "ok"}[hard]
    assert [mark.conformer for mark in marks] == [first, "ok", "ok"]
    assert [len(mark.isomers) for mark in marks] == [1 if hard == "fold_all" else 0, 1, 2]


@pytest.mark.slow
def test_a_chain_that_is_never_embedded_is_a_row_in_the_plane(data: Smiles, tmp_path: Path) -> None:
    """Three hundred carbons: RDKit would look for their places for hours."""
    rows = written(session(data, conformers=True, processes=1, seconds=4.0), molecules(["C" * 300]), tmp_path)
    assert (rows[0]["valid"], rows[0]["conformer"]) == (True, "not embedded: timeout")
    assert json.loads((tmp_path / "summary.json").read_text())["conformers"] == {"not embedded: timeout": 1}
    (mol,) = Chem.SDMolSupplier(str(tmp_path / "molecules.sdf"))
    assert not mol.GetConformer().Is3D()


def test_stereoisomers_are_listed(data: Smiles, tmp_path: Path) -> None:
    """Of centres and of double bonds, without the mirror image of what is its own."""
    texts = ["NC(C)C(=O)O", "CCO", "CC(O)C(O)C", "CC=CC", "CC(F)C(F)C(F)C(F)C(F)CCl"]
    rows = written(session(data, stereoisomers=8), molecules(texts), tmp_path)
    assert [row["stereoisomers"] for row in rows] == [2, 1, 3, 2, 8]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["stereoisomers"] == {"listed": 16, "molecules": 5, "several": 4, "at_limit": 1}
    assert summary["training_stereo"] == 0
    with (tmp_path / "stereoisomers.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert sorted(line["smiles"] for line in lines[:2]) == ["C[C@@H](N)C(=O)O", "C[C@H](N)C(=O)O"]
    assert {"C/C=C/C", "C/C=C\\C"} <= {line["smiles"] for line in lines}


# The nearest training molecule


def test_the_nearest_molecule_is_that_of_rdkit(data: Smiles, tmp_path: Path) -> None:
    rows = written(session(data), molecules(), tmp_path)
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    known = [generator.GetFingerprint(Chem.MolFromSmiles(text)) for text in data.train.smiles()]
    for row in rows:
        mine = generator.GetFingerprint(Chem.MolFromSmiles(row["smiles"]))
        assert row["tanimoto"] == pytest.approx(max(DataStructs.BulkTanimotoSimilarity(mine, known)), abs=1e-3)
    assert rows[1]["nearest"] == rows[1]["smiles"]
    assert rows[1]["tanimoto"] == 1


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [fingerprint(Chem.MolFromSmiles(text)) for text in SMILES]
    prints = np.frombuffer(b"".join(texts), np.uint8).reshape(-1, 128)
    whole = nearest(prints[:7], prints)
    monkeypatch.setattr(neighbours, "_MOST", 3)
    monkeypatch.setattr(neighbours, "_BLOCK", 4)
    cut = nearest(prints[:7], prints)
    assert whole.places.tolist() == cut.places.tolist() == list(range(7))
    assert np.array_equal(whole.similarities, cut.similarities)
    assert len(nearest(prints[:0], prints).places) == 0


def test_common_bits_alone_are_noticed() -> None:
    """The mutant: what has every bit has those of the molecule too, and is not like it."""
    bits = np.zeros((2, 1024), np.uint8)
    bits[0], bits[1, :5] = 1, 1
    crowd = np.packbits(bits, axis=1)
    common = (unpack(crowd[1:]) & unpack(crowd)).sum(1)
    assert common.argmax() == 0
    assert nearest(crowd[1:], crowd).places.tolist() == [1]


def test_the_search_can_be_left_out(data: Smiles, tmp_path: Path) -> None:
    rows = written(session(data, nearest=False), molecules(), tmp_path)
    assert all(row["nearest"] is None for row in rows)
    assert rows[0]["novel"] is True


def test_without_the_training_data_nothing_is_said_of_it(data: Smiles, tmp_path: Path) -> None:
    def gone() -> DataSource:
        raise DataError("data.path=x.csv: no such file")

    with pytest.warns(UserWarning, match="training data cannot be opened"):
        rows = written(session(data, gone), molecules(), tmp_path)
    assert {row["novel"] for row in rows} == {None}
    assert rows[0]["valid"]


def test_nothing_valid_is_a_table_too(data: Smiles, tmp_path: Path) -> None:
    rows = written(session(data, filters="pains"), broken(), tmp_path)
    assert [row["valid"] for row in rows] == [False, False]
    assert (tmp_path / "molecules.sdf").read_text() == ""


# The page


def page(data: Smiles, folder: Path, **settings: Any) -> str:
    written(session(data, **settings), [*molecules(), *broken()], folder)
    return (folder / "molecules.html").read_text(encoding="utf-8")


def test_the_page_shows_distinct_molecules_and_loads_nothing(data: Smiles, tmp_path: Path) -> None:
    text = page(data, tmp_path, filters=["brenk"])
    assert text.count("<li data-") == 5
    assert "://" not in re.sub(r"xmlns(:\w+)?='[^']*'", "", text)
    assert "src=" not in text
    assert "invalid: valence" in text
    assert "brenk: acid_halide" in text
    assert "Histogram of logP" in text
    (digest,) = re.findall(r"script-src 'sha256-([^']+)'", text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == digest


def test_the_page_can_be_short_or_left_out(data: Smiles, tmp_path: Path) -> None:
    assert page(data, tmp_path / "short", page=2).count("<li data-") == 2
    written(session(data, page=0), molecules(), tmp_path / "none")
    assert not (tmp_path / "none" / "molecules.html").exists()


def test_text_of_strangers_is_escaped() -> None:
    row = dict.fromkeys(("scaffold", "novel", "passes", "tanimoto", "qed", "sa", "logp", "mw"))
    row |= {"sample": 0, "smiles": "C", "alerts": ["<script>alert(1)</script>"]}
    summary = {"draws": 1, "distinct": 1, "reasons": {}, "asked": {}}
    record = {"run": "<b>", "checkpoint": None}
    text = render_page([row], summary, {}, {}, Counter(), record)
    assert "<script>alert" not in text


def test_histograms_have_equal_areas() -> None:
    drawing = histogram("x", [0.0, 1.0, 1.0, 2.0], [0.0, 2.0] * 50)
    assert drawing is not None
    assert (drawing.low, drawing.high, drawing.means) == (0.0, 2.0, (1.0, 1.0))
    heights = [[float(word) for word in re.findall(r"V([\d.]+)H", path)] for path in (drawing.drawn, drawing.real)]
    areas = [sum(120 - height for height in each) for each in heights]
    assert areas[0] == pytest.approx(areas[1], rel=0.01)
    assert histogram("x", [], [1.0]) is None
    assert histogram("x", [3.0], [3.0]) is not None


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"filters": ["pain"]}, ["filters=pain", "did you mean 'pains'"]),
        ({"filters": ["brenk", "brenk"]}, ["named twice"]),
        ({"rank": "qedd"}, ["rank=qedd", "did you mean 'qed'"]),
    ],
)
def test_settings_that_do_not_exist(data: Smiles, settings: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        session(data, **settings)
    assert all(part in one_line(error) for part in parts)


def test_tables_are_made_where_they_are_wanted(data: Smiles) -> None:
    assert not session(data, table=False).tables
    for settings in ({"filters": "brenk"}, {"rank": "qed"}, {"conformers": True}, {"stereoisomers": 4}):
        assert session(data, table=False, **settings).tables


def test_files_that_cannot_be_written(data: Smiles, tmp_path: Path) -> None:
    made = session(data)
    with pytest.raises(DataError) as error:
        made.write(molecules(), [about(i) for i in range(6)], [{}] * 6, tmp_path / "missing" / "part")
    assert "cannot be written" in one_line(error)
    (tmp_path / "part").write_text("nonsense")
    with pytest.raises(DataError) as error:
        made.join([tmp_path / "part"], tmp_path)
    assert "cannot be read" in one_line(error)
