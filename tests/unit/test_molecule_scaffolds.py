"""Scaffolds: kept by all that is drawn around them, attached where it was said, refused where they do not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rdkit")

from molecule_files import SMILES, one_line, source, untrained
from rdkit import Chem

from suffuse.commands.tasks import Job, prepare
from suffuse.conditions import Scalar
from suffuse.errors import ConfigError
from suffuse.model import Model
from suffuse.settings import check
from suffuse_molecule.graphs import build, name_of
from suffuse_molecule.molecule import Molecule
from suffuse_molecule.scaffolds import Scaffold, read_scaffold
from suffuse_molecule.workers import Lost


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    chains = [f"{'C' * length}{end}" for length in range(1, 12) for end in ("O", "N", "F")]
    return untrained(source(tmp_path_factory.mktemp("scaffolds"), [*SMILES, *chains], heldout=0.1, descriptors="logp"))


def job(model: Model, n: int = 12, **settings: Any) -> Job:
    core = {key: settings.pop(key) for key in ("size", "task", "input", "resample", "condition") if key in settings}
    config = check("sample", {"run": "r", "n": n, **core, "own": {"processes": 0, **settings}})
    return prepare(config, model, model.recipe())


def drawn(model: Model, **settings: Any) -> list[Molecule]:
    made = job(model, **settings)
    state = model.draw(made.indices, made.asked(made.indices), model.recipe(), compute_batch=4, **made.draw)
    return model.decoder.decode(state)


def keeps(value: Molecule, scaffold: Scaffold) -> bool:
    """The first atoms are the scaffold, and of it only the attachment points reach further: once each."""
    own = len(scaffold.atoms)
    inside = (value.bonds[:, :2] < own).all(1)
    across = (value.bonds[:, :2] < own).any(1) & ~inside
    reached = sorted((int(bond[:2].min()), int(bond[2])) for bond in value.bonds[across])
    return (
        np.array_equal(value.atoms[:own], scaffold.atoms)
        and {frozenset(b[:2]) | {-b[2]} for b in value.bonds[inside].tolist()}
        == {frozenset(b[:2]) | {-b[2]} for b in scaffold.bonds.tolist()}
        and reached == sorted(zip(scaffold.hosts.tolist(), scaffold.orders.tolist(), strict=True))
    )


@pytest.mark.parametrize("text", ["c1ccc(*)cc1", "O=C(*)N*", "*C1CC1.*C(=O)N", "*=C1CC1", "C[N+](C)(C)*"])
def test_every_draw_keeps_the_scaffold(model: Model, text: str) -> None:
    scaffold = read_scaffold(text)
    values = drawn(model, scaffold=text)
    assert all(keeps(value, scaffold) for value in values)
    assert all(len(value.atoms) >= len(scaffold.atoms) + scaffold.least for value in values)
    assert len({value.atoms.tobytes() + value.bonds.tobytes() for value in values}) > 1


def test_samples_without_the_scaffold_are_noticed(model: Model) -> None:
    assert not all(keeps(value, read_scaffold("c1ccc(*)cc1")) for value in drawn(model, size=9))


def test_valid_molecules_have_the_scaffold_as_a_chemist_sees_it(model: Model) -> None:
    """Rather than wait for an untrained network to draw one: what is new is made a chain."""
    pattern = Chem.MolFromSmarts("c1ccc(-[!#1])cc1")
    for value in drawn(model, scaffold="c1ccc(*)cc1"):
        own = 6
        new = range(own, len(value.atoms))
        across = value.bonds[(value.bonds[:, :2] < own).any(1)]
        chain = np.array([(a, b, 1) for a, b in zip(new, new[1:], strict=False)], np.int16).reshape(-1, 3)
        atoms = value.atoms.copy()
        atoms[own:] = read_scaffold("C*").atoms[0]
        whole = Molecule(atoms, np.concatenate([across, chain]))
        assert whole.valid
        assert whole.mol.HasSubstructMatch(pattern)


def test_sizes_and_linkers_are_as_asked(model: Model) -> None:
    assert {len(value.atoms) for value in drawn(model, scaffold="c1ccc(*)cc1", size="8..9")} <= {8, 9}
    pair = "*C1CC1.*C(=O)N"
    assert {len(value.atoms) for value in drawn(model, scaffold=pair, linker="2..3")} <= {8, 9}
    assert {len(value.atoms) for value in drawn(model, scaffold=pair, linker=1)} == {7}
    assert {len(value.atoms) for value in drawn(model, size=5)} == {5}


def test_one_atom_can_link_two_fragments(model: Model) -> None:
    for value in drawn(model, scaffold="*C.*O", linker=1):
        assert sorted(map(tuple, value.bonds[:, :2].tolist())) == [(0, 2), (1, 2)]


def test_a_draw_is_the_same_beside_others(model: Model) -> None:
    whole = job(model, scaffold="C1CC(*)C1")
    recipe = model.recipe()
    all_of_them = model.decoder.decode(
        model.draw(range(12), whole.asked(range(12)), recipe, compute_batch=4, **whole.draw)
    )
    part = model.decoder.decode(model.draw([7, 2], whole.asked([7, 2]), recipe, compute_batch=4, **whole.draw))
    for value, index in zip(part, (7, 2), strict=True):
        assert np.array_equal(value.atoms, all_of_them[index].atoms)
        assert np.array_equal(value.bonds, all_of_them[index].bonds)


def test_going_back_to_noise_costs_what_it_says(model: Model) -> None:
    once = job(model, scaffold="C1CC(*)C1").evaluations
    assert job(model, scaffold="C1CC(*)C1", resample={"repeats": 3, "jump": 1}).evaluations > once


@pytest.mark.parametrize(
    ("text", "atoms", "hosts", "orders"),
    [
        ("C*", ["C"], [0], [1]),
        ("*C(*)=O", ["C", "O"], [0, 0], [1, 1]),
        ("O=*", ["O"], [0], [2]),
        ("C#*", ["C"], [0], [3]),
        ("[1*]n1cccc1", ["N", "C", "C", "C", "C"], [0], [1]),
        ("*[N+](=O)[O-]", ["N+", "O", "O-"], [0], [1]),
    ],
)
def test_what_a_scaffold_says(text: str, atoms: list[str], hosts: list[int], orders: list[int]) -> None:
    scaffold = read_scaffold(text)
    assert [name_of(each) for each in scaffold.atoms] == atoms
    assert scaffold.hosts.tolist() == hosts
    assert scaffold.orders.tolist() == orders
    build(scaffold.atoms, scaffold.bonds).GetMol()


def test_hydrogens_of_a_scaffold_are_atoms_where_all_are() -> None:
    assert sorted(name_of(each) for each in read_scaffold("C*", explicit=True).atoms) == ["C", "H", "H", "H"]


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"scaffold": "c1ccccc1"}, ["no attachment point", "c1ccc(*)cc1"]),
        ({"scaffold": "c1ccc("}, ["RDKit cannot read it"]),
        ({"scaffold": "*"}, ["exactly one bond"]),
        ({"scaffold": "C*C"}, ["exactly one bond"]),
        ({"scaffold": "**"}, ["exactly one bond"]),
        ({"scaffold": "C*.CC"}, ["fragment has no attachment point"]),
        ({"scaffold": "[CH2]*"}, ["radical"]),
        ({"scaffold": "[Na]*"}, ["has Na", "this run knows"]),
        ({"scaffold": f"{'C' * 20}*"}, [f"scaffold={'C' * 20}*", "takes 21", "at most 12"]),
        ({"scaffold": "C*", "size": 1}, ["size=1", "scaffold=C*", "2.."]),
        ({"scaffold": "C*", "size": 40}, ["size=40", "had 2 to 12"]),
        ({"scaffold": "C*", "linker": 3}, ["linker=3", "two fragments"]),
        ({"linker": "3..6"}, ["linker=3..6", "two fragments"]),
        ({"scaffold": "*C.*C", "linker": "6..3"}, ["linker=6..3", "swapped"]),
        ({"scaffold": "*C.*C", "linker": "few"}, ["linker=few", "whole number"]),
        ({"scaffold": "*C*.*C", "linker": 1}, ["linker=1", "at least 2"]),
        ({"size": "many"}, ["size=many", "whole number"]),
        ({"size": "9..7"}, ["size=9..7", "swapped", "7..9"]),
        ({"size": 30}, ["size=30", "had 2 to 12"]),
        ({"scafold": "C*"}, ["scafold", "did you mean 'scaffold'"]),
        ({"resample": {"repeats": 3}}, ["resample.repeats"]),
        ({"scaffold": "C*", "task": "vary", "input": "x.sdf"}, ["scaffold=C*", "task=vary"]),
        ({"scaffold": "C" * 5000}, ["too long"]),
        ({"condition": {"logd": 2}}, ["condition.logd", "no such condition", "did you mean 'logp'"]),
        ({"condition": {"logp": "4..2"}}, ["condition.logp=4..2", "swapped", "2..4"]),
        ({"condition": {"logp": "high"}}, ["condition.logp=high", "not a finite number"]),
    ],
)
def test_what_does_not_fit_is_one_line(model: Model, settings: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        job(model, **settings)
    text = one_line(error)
    assert all(part in text for part in parts), text
    assert len(text) < 400


@pytest.mark.parametrize("typed", [40, "30..", "..-30"])
def test_a_target_beyond_the_training_data_is_warned_of_with_their_range(model: Model, typed: int | str) -> None:
    known = model.conditions["logp"]
    assert isinstance(known, Scalar)
    span = f"{known.quantiles[0]:.4g} to {known.quantiles[-1]:.4g}"
    with pytest.warns(UserWarning, match=rf"condition\.logp={re.escape(str(typed))}: the training data had {span}"):
        job(model, condition={"logp": typed})


def test_a_scaffold_is_read_where_it_can_do_no_harm(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a child process: one that hangs is ended, and the one that reads it is named."""
    assert job(model, scaffold="C*", processes=1).draw["hooks"]
    monkeypatch.setattr("suffuse_molecule.session.alone", lambda task, text, *rest, **more: Lost("timeout"))
    with pytest.raises(ConfigError) as error:
        job(model, scaffold="C*")
    assert "scaffold=C*: RDKit cannot cope with it (timeout)" in one_line(error)


def test_what_is_typed_in_a_shell_arrives(tmp_path: Path) -> None:
    from suffuse.composition import compose

    for text in ("c1ccc(*)cc1", "[*]C(=O)N", "*C1CC1.*C(=O)N", "O=*", "C/C=C/*", "N", "[C]"):
        config = compose("run=r", f"scaffold={text}", "filters=[pains,brenk]", "linker=2..3", command="sample")
        assert config["own"] == {"scaffold": text, "filters": ["pains", "brenk"], "linker": "2..3"}
