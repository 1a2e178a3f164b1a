"""The backbones for molecules: what RDKit says of valences, and what a prediction may and may not depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from rdkit import Chem
from torch import Tensor, nn

from suffuse.denoiser import Denoiser
from suffuse.errors import ConfigError
from suffuse.fields import Field, pad
from suffuse.layouts import Masked
from suffuse.processes import Level
from suffuse.spaces import Categorical
from suffuse.state import State
from suffuse_molecule.backbones.features import ChemicalFeatures, Pairs, reach, smallest_rings, walks
from suffuse_molecule.backbones.gps import Gps
from suffuse_molecule.backbones.graph_transformer import GraphTransformer, _Graph, _Layer
from suffuse_molecule.backbones.valence import MOST, REFUSED, hydrogens
from suffuse_molecule.graphs import code_of, graph_of, name_of

Make = Callable[..., nn.Module]

SMILES = (
    "C",
    "CC(=O)[O-]",
    "C[N+](=O)[O-]",
    "c1ccc2[nH]ccc2c1",
    "FC(F)(F)C#N",
    "CS(=O)(=O)NC",
    "OP(=O)(O)OC1CC1",
    "C[S+](C)C",
    "ClC1=CN=C(Br)O1",
    "[NH3+]CC(=O)[O-]",
    "C1CC12CC2",
    "Oc1ccccc1I",
)
GRAPHS = [graph_of(Chem.MolFromSmiles(smiles)) for smiles in SMILES]
NAMES = tuple(sorted({name_of(code) for atoms, _ in GRAPHS for code in atoms.tolist()}))
FIELDS = {
    "atoms": Field(shape=(-1,), space=Categorical(len(NAMES)), layout=Masked(), names=NAMES),
    "bonds": Field(shape=(-1, -1), space=Categorical(4, symmetric=True), layout=Masked(2)),
}


def small_transformer(fields: Mapping[str, Field] = FIELDS, **settings: Any) -> GraphTransformer:
    chosen = {"width": 16, "pair_width": 8, "depth": 2, "heads": 2, "condition_dim": 12, **settings}
    return GraphTransformer(fields, **chosen)


def believing_transformer(fields: Mapping[str, Field] = FIELDS, **settings: Any) -> GraphTransformer:
    return small_transformer(fields, self_conditioning=True, rings=6, **settings)


def small_gps(fields: Mapping[str, Field] = FIELDS, **settings: Any) -> Gps:
    return Gps(fields, **{"width": 16, "pair_width": 8, "depth": 2, "heads": 2, "condition_dim": 12, **settings})


ALL = pytest.mark.parametrize("make", [small_transformer, believing_transformer, small_gps])


def perturbed(model: nn.Module) -> nn.Module:
    """Away from the start, where the output does not depend on the input."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def clean() -> State:
    """The molecules of `SMILES` as a padded batch."""
    room = max(len(atoms) for atoms, _ in GRAPHS)
    codes = [code_of(name) for name in NAMES]
    tokens = torch.zeros(len(GRAPHS), room, dtype=torch.long)
    bonds = torch.zeros(len(GRAPHS), room, room, dtype=torch.long)
    mask = torch.zeros(len(GRAPHS), room, dtype=torch.bool)
    for row, (atoms, edges) in enumerate(GRAPHS):
        mask[row, : len(atoms)] = True
        tokens[row, : len(atoms)] = torch.tensor([codes.index(code) for code in atoms.tolist()])
        for first, second, order in edges.tolist():
            bonds[row, first, second] = bonds[row, second, first] = order
    return State({"atoms": tokens, "bonds": bonds}, mask)


def noisy(seed: int = 0) -> State:
    """The same with wrong and masked tokens among them."""
    state = clean()
    assert state.mask is not None
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, len(NAMES) + 1, state["atoms"].shape, generator=generator)
    bonds = torch.randint(0, 5, state["bonds"].shape, generator=generator)
    bonds = bonds * (torch.rand(bonds.shape, generator=generator) < 0.3)
    chosen = torch.rand(tokens.shape, generator=generator) < 0.3
    atoms = FIELDS["atoms"].project(torch.where(chosen, tokens, state["atoms"]), state.mask)
    return State(
        {"atoms": atoms, "bonds": FIELDS["bonds"].project(torch.maximum(bonds, state["bonds"]), state.mask)}, state.mask
    )


def ask(model: nn.Module, state: State, rows: slice = slice(None)) -> dict[str, Tensor]:
    """What a network says of some rows of a batch of `SMILES`, each with a level, condition and belief of its own."""
    count, room = len(SMILES), state["atoms"].shape[1]
    generator = torch.Generator().manual_seed(5)
    levels = torch.linspace(-4, 6, count)[rows]
    condition = torch.randn(count, 12, generator=generator)[rows]
    more = []
    if getattr(model, "self_conditioning", False):
        weights = torch.linspace(0, 1, room)
        believed = (weights[:, None] * weights)[..., None].expand(len(levels), -1, -1, 4)
        more.append(State({"atoms": weights[:, None].expand(len(levels), -1, len(NAMES)), "bonds": believed}))
    output: dict[str, Tensor] = model(state, {"atoms": levels, "bonds": levels.flip(0)}, condition, *more)
    return output


def ask_one(model: nn.Module, state: State, row: int) -> dict[str, Tensor]:
    """The same of one molecule alone, which hears the levels that it hears in the batch."""
    count = len(SMILES)
    levels = torch.linspace(-4, 6, count)
    condition = torch.randn(count, 12, generator=torch.Generator().manual_seed(5))
    here = slice(row, row + 1)
    output: dict[str, Tensor] = model(
        state.rows(here), {"atoms": levels[here], "bonds": levels.flip(0)[here]}, condition[here]
    )
    return output


# What RDKit says.


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("C", [4, 3, 2, 1, 0, REFUSED, REFUSED, REFUSED, REFUSED]),
        ("N", [3, 2, 1, 0, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED]),
        ("N+", [4, 3, 2, 1, 0, REFUSED, REFUSED, REFUSED, REFUSED]),
        ("O-", [1, 0, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED]),
        ("S", [2, 1, 0, 1, 0, 1, 0, REFUSED, REFUSED]),
        ("F", [1, 0, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED]),
    ],
)
def test_hydrogens_of_known_atoms(name: str, expected: list[int]) -> None:
    assert [hydrogens(name, valence) for valence in range(MOST + 1)] == expected


@pytest.mark.parametrize("name", ["c", "N++", "CN", ""])
def test_what_is_no_atom_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match="no element with a charge"):
        hydrogens(name, 1)


def test_valence_features_are_those_of_rdkit() -> None:
    """Total bond order, implicit hydrogens and acceptance of every atom of real molecules."""
    state = clean()
    features = ChemicalFeatures(NAMES)
    assert state.mask is not None
    told = features(state["atoms"], state["bonds"], state.mask).atoms
    start = len(NAMES) + 1
    for row, smiles in enumerate(SMILES):
        mol = Chem.MolFromSmiles(smiles)
        Chem.Kekulize(mol, clearAromaticFlags=True)
        for place, atom in enumerate(mol.GetAtoms()):
            seen = told[row, place]
            order = int(sum(bond.GetBondTypeAsDouble() for bond in atom.GetBonds()))
            assert int(seen[start : start + MOST + 1].argmax()) == order
            taken, refused, _ = seen[start + MOST + 1 : start + MOST + 4].tolist()
            assert taken * 4 == atom.GetTotalNumHs()
            assert refused == 0


def test_an_atom_that_rdkit_refuses_is_marked() -> None:
    """Each in turn gets a bond of the highest order too many, and RDKit is asked about the whole molecule."""
    state = clean()
    features = ChemicalFeatures(NAMES)
    assert state.mask is not None
    found = set()
    for row, (atoms, _) in enumerate(GRAPHS):
        for first in range(len(atoms)):
            for second in range(first):
                bonds = state["bonds"][row : row + 1].clone()
                bonds[0, first, second] = bonds[0, second, first] = 3
                look = features(state["atoms"][row : row + 1], bonds, state.mask[row : row + 1])
                mol = Chem.RWMol()
                for token in state["atoms"][row, : len(atoms)].tolist():
                    name = NAMES[token]
                    atom = Chem.Atom(name.rstrip("+-"))
                    atom.SetFormalCharge(name.count("+") - name.count("-"))
                    mol.AddAtom(atom)
                kinds = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}
                for one, two in bonds[0].triu().nonzero().tolist():
                    mol.AddBond(one, two, kinds[int(bonds[0, one, two])])
                wrong = any(
                    problem.GetType() == "AtomValenceException" for problem in Chem.DetectChemistryProblems(mol)
                )
                found.add(wrong)
                assert bool(look.refused.any()) == wrong, (SMILES[row], first, second)
    assert found == {True, False}


def test_bond_orders_by_class_of_an_aromatic_bond_are_noticed() -> None:
    """The classic mistake: an aromatic bond that counts as one makes carbon's fourth bond a hydrogen."""
    assert hydrogens("C", 3) == 1
    assert hydrogens("C", 2) != 1


def test_a_masked_atom_has_no_chemistry() -> None:
    features = ChemicalFeatures(NAMES)
    atoms = torch.full((1, 2), len(NAMES))
    look = features(atoms, torch.ones(1, 2, 2, dtype=torch.long) - torch.eye(2, dtype=torch.long), atoms > 0)
    assert not look.refused.any()
    assert not look.room.any()


# What graphs say.


def random_graphs(count: int = 40, size: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    bonded = (torch.rand(count, size, size, generator=generator) < 0.2).float().triu(1)
    return bonded + bonded.transpose(1, 2)


def test_reach_is_that_of_a_search() -> None:
    graphs = random_graphs()
    found = reach(graphs)
    for graph, seen in zip(graphs, found, strict=True):
        for start in range(len(graph)):
            visited, ahead = {start}, [start]
            while ahead:
                near = graph[ahead.pop()].nonzero()[:, 0].tolist()
                ahead += [place for place in near if place not in visited]
                visited |= set(near)
            assert set(seen[start].nonzero()[:, 0].tolist()) == visited
    assert len({tuple(seen.sum(1).tolist()) for seen in found}) > 10


@pytest.mark.parametrize("length", [1, 2, 3, 8, 9, 17])
def test_both_ends_of_a_chain_reach_each_other(length: int) -> None:
    chain = torch.diag(torch.ones(length), 1) + torch.diag(torch.ones(length), -1)
    assert bool(reach(chain[None]).all())


def test_walks_return_as_often_as_random_walks() -> None:
    graphs = random_graphs()
    chance = graphs / graphs.sum(-1, keepdim=True).clamp_min(1)
    found = walks(graphs, 5)
    for index, steps in enumerate(range(2, 6)):
        expected = torch.linalg.matrix_power(chance, steps).diagonal(dim1=1, dim2=2)
        torch.testing.assert_close(found[..., index].diagonal(dim1=1, dim2=2), expected)
    torch.testing.assert_close(found, found.transpose(1, 2))


@pytest.mark.parametrize("largest", [3, 5, 8])
@pytest.mark.parametrize("share", [0.08, 0.2, 0.6])
def test_smallest_rings_are_those_of_a_search(share: float, largest: int) -> None:
    """Through each bond: its ends' distance without it, and one more."""
    networkx = pytest.importorskip("networkx")
    sizes = set()
    for seed in range(12):
        graph = networkx.gnp_random_graph(4 + 2 * seed, share, seed=seed)
        pairs = Pairs.of(len(graph))
        bonded = torch.as_tensor(networkx.to_numpy_array(graph), dtype=torch.float32)[None]
        found = smallest_rings(bonded, reach(bonded), largest, pairs)[0].tolist()
        for row, first, second in zip(found, pairs.first.tolist(), pairs.second.tolist(), strict=True):
            size = 0
            if graph.has_edge(first, second):
                graph.remove_edge(first, second)
                if networkx.has_path(graph, first, second):
                    size = networkx.shortest_path_length(graph, first, second) + 1
                graph.add_edge(first, second)
            assert row == [float(size == each) for each in range(3, largest + 1)] + [float(size > largest)]
            sizes.add(min(size, largest + 1))
    assert len(sizes) > 2


def test_rings_are_those_of_rdkit() -> None:
    """Of bonds, atoms and the molecule; naphthalene's shared bond is in two of six."""
    features = ChemicalFeatures(NAMES, largest=8)
    for smiles, sizes in (("C1CC1CC2CCCC2", {3: 3, 5: 5}), ("C1CCC2CCCCC2C1", {6: 11}), ("C1CCCCCCCCCC1", {9: 11})):
        mol = Chem.MolFromSmiles(smiles)
        bonds = torch.as_tensor(Chem.GetAdjacencyMatrix(mol)).long()[None]
        atoms = torch.zeros(bonds.shape[:2], dtype=torch.long)
        look = features(atoms, bonds, atoms == 0, Pairs.of(atoms.shape[1]))
        assert look.rings is not None
        assert look.rings[0].sum(0).tolist() == [sizes.get(size, 0) for size in range(3, 10)]
        inside = torch.tensor([atom.IsInRing() for atom in mol.GetAtoms()])
        assert torch.equal(look.atoms[0, :, -7:].sum(1) > 0, inside)
        torch.testing.assert_close(look.graph[0, -7:] * 6, look.rings[0].sum(0))


def test_pairs_are_put_back_where_they_were() -> None:
    square = torch.randn(2, 5, 5, 3)
    square = square + square.transpose(1, 2)
    pairs = Pairs.of(5)
    whole = pairs.square(pairs.upper(square).transpose(0, 1), torch.zeros(3)).permute(2, 0, 1, 3)
    off = ~torch.eye(5, dtype=torch.bool)
    torch.testing.assert_close(whole[:, off], square[:, off])
    assert not whole[:, ~off].any()


def test_components_are_counted() -> None:
    """Two molecules side by side are two, whatever they are."""
    bonds = torch.zeros(1, 6, 6, dtype=torch.long)
    for one, two in ((0, 1), (1, 2), (3, 4)):
        bonds[0, one, two] = bonds[0, two, one] = 1
    mask = torch.tensor([[True] * 5 + [False]])
    look = ChemicalFeatures(NAMES)(torch.zeros(1, 6, dtype=torch.long), bonds, mask)
    assert look.graph[0, 1] * 4 + 1 == 2
    assert look.graph[0, 2] == 0.5
    assert look.graph[0, 3] == 0
    torch.testing.assert_close(look.atoms[0, :5, -2] * 5, torch.tensor([3.0, 3, 3, 2, 2]))
    bonds[0, 2, 0] = bonds[0, 0, 2] = 1
    look = ChemicalFeatures(NAMES)(torch.zeros(1, 6, dtype=torch.long), bonds, mask)
    assert look.graph[0, 3] * 4 == 1


# What networks say.


@ALL
def test_logits_for_every_class_and_a_start_at_the_frequencies(make: Make) -> None:
    shares = (0.7, 0.2, 0.06, 0.04)
    fields = {**FIELDS, "bonds": replace(FIELDS["bonds"], frequencies=shares)}
    output = ask(make(fields).eval(), noisy())
    room = clean()["atoms"].shape[1]
    assert output["atoms"].shape == (len(SMILES), room, len(NAMES))
    assert output["bonds"].shape == (len(SMILES), room, room, 4)
    torch.testing.assert_close(output["bonds"][0, 0, 1].softmax(-1), torch.tensor(shares))


@ALL
def test_every_parameter_learns(make: Make) -> None:
    model = perturbed(make())
    output = ask(model, noisy())
    sum((part.square() * torch.linspace(1, 2, part.shape[-1])).sum() for part in output.values()).backward()  # type: ignore[union-attr]
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not idle


@ALL
def test_the_order_of_the_atoms_does_not_matter(make: Make) -> None:
    model, state = perturbed(make()), noisy()
    assert state.mask is not None
    count = state["atoms"].shape[1]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(2))
    moved = State(
        {"atoms": state["atoms"][:, order], "bonds": state["bonds"][:, order][:, :, order]}, state.mask[:, order]
    )
    if isinstance(model, GraphTransformer) and model.self_conditioning:
        model.enter_atoms.weight.data[:, -len(NAMES) :] = 0  # beliefs of `ask` stay where they are
        model.enter_pairs.weight.data[:, -4:] = 0
    here, there = ask(model, state), ask(model, moved)
    real = state.mask[:, order]
    torch.testing.assert_close(there["atoms"][real], here["atoms"][:, order][real], atol=1e-4, rtol=1e-4)
    both = real[:, :, None] & real[:, None]
    square = here["bonds"][:, order][:, :, order]
    torch.testing.assert_close(there["bonds"][both], square[both], atol=1e-4, rtol=1e-4)


@ALL
def test_bonds_are_symmetric(make: Make) -> None:
    bonds = ask(perturbed(make()), noisy())["bonds"]
    assert torch.equal(bonds, bonds.transpose(1, 2))


@pytest.mark.parametrize("make", [small_transformer, small_gps])
@pytest.mark.parametrize("row", range(0, len(SMILES), 3))
def test_a_molecule_sees_neither_padding_nor_its_batch(make: Make, row: int) -> None:
    model, state = perturbed(make()), noisy()
    together = ask(model, pad(state, FIELDS, 20))
    assert state.mask is not None
    size = int(state.mask[row].sum())
    alone = State({"atoms": state["atoms"][:, :size], "bonds": state["bonds"][:, :size, :size]}, state.mask[:, :size])
    output = ask_one(model, alone, row)
    torch.testing.assert_close(output["atoms"][0], together["atoms"][row, :size], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output["bonds"][0], together["bonds"][row, :size, :size], atol=1e-4, rtol=1e-4)


def test_a_mean_over_padding_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classic mistake: a graph's stream that counts padding among its atoms."""
    model, state = perturbed(small_transformer()), noisy()
    right = ask(model, pad(state, FIELDS, 20))["atoms"]
    look = ChemicalFeatures.forward

    def everything(self: ChemicalFeatures, atoms: Tensor, bonds: Tensor, mask: Tensor, pairs: Pairs) -> Any:
        return look(self, atoms, bonds, torch.ones_like(mask), pairs)

    monkeypatch.setattr(ChemicalFeatures, "forward", everything)
    wrong = ask(model, pad(state, FIELDS, 20))["atoms"]
    assert (wrong[:, 0] - right[:, 0]).abs().max() > 1e-3


@ALL
def test_levels_condition_and_far_atoms_are_heard(make: Make) -> None:
    model, state = perturbed(make()), noisy()
    base = ask(model, state)["atoms"]
    levels = torch.linspace(-4, 6, len(SMILES))
    condition = torch.randn(len(SMILES), 12, generator=torch.Generator().manual_seed(5))
    more = []
    if getattr(model, "self_conditioning", False):
        more.append(State({"atoms": torch.zeros(*base.shape), "bonds": torch.zeros(*state["bonds"].shape, 4)}))
    told = {"atoms": levels, "bonds": levels}
    first = model(state, told, condition, *more)["bonds"]
    for other in (
        model(state, {**told, "atoms": levels - 1}, condition, *more)["bonds"],
        model(state, {**told, "bonds": levels - 1}, condition, *more)["bonds"],
        model(state, told, condition + 1, *more)["bonds"],
        model(state.replace(atoms=(state["atoms"] + 1) % len(NAMES)), told, condition, *more)["bonds"],
    ):
        assert (other - first).abs().max() > 1e-3
    moved = state["atoms"].clone()
    moved[:, 0] = (moved[:, 0] + 1) % len(NAMES)
    assert (ask(model, state.replace(atoms=moved))["atoms"] - base)[:, 1:].abs().amax((1, 2))[1:].min() > 1e-6


@ALL
def test_half_precision_agrees(make: Make) -> None:
    model, state = perturbed(make()), noisy()
    right = ask(model, state)
    with torch.autocast("cpu", torch.bfloat16):
        half = ask(model, state)
    for name, value in right.items():
        assert (half[name] - value).abs().max() < 0.1 * value.abs().max()


def test_compilation_does_not_change_the_result() -> None:
    model, state = perturbed(small_transformer()), noisy()
    compiled = cast(nn.Module, torch.compile(model, fullgraph=True, backend="eager"))
    torch.testing.assert_close(ask(compiled, state), ask(model, state))


def test_attention_is_a_softmax_over_real_atoms() -> None:
    """With nothing but a bias by pair, each atom hears the mean of the values, weighted by the exponential."""
    layer, state = perturbed(_Layer(16, 8, 2, 12, 0.0)), noisy()
    assert isinstance(layer, _Layer)
    assert state.mask is not None
    graph = _Graph(Pairs.of(state.mask.shape[1]), state.mask, torch.float32)
    hidden, seen = torch.randn(*state.mask.T.shape, 16), torch.randn(len(graph.pairs.first), len(SMILES), 8)
    q, k, v = layer.qkv(hidden).transpose(0, 1).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
    bias = graph.pairs.square(layer.bias(seen), layer.alone).permute(2, 3, 0, 1)
    score = (q @ k.transpose(-1, -2) / 8**0.5 + bias).clamp(-12, 12)
    share = score.masked_fill(~state.mask[:, None, None], -torch.inf).softmax(-1)
    expected = (share @ v).transpose(1, 2).flatten(2).transpose(0, 1)
    torch.testing.assert_close(layer._attend(hidden, seen, graph), expected, atol=1e-4, rtol=1e-4)


def test_beliefs_are_heard() -> None:
    model, state = perturbed(believing_transformer()), noisy()
    levels = {name: torch.zeros(len(SMILES)) for name in FIELDS}
    nothing = {"atoms": torch.zeros(*state["atoms"].shape, len(NAMES)), "bonds": torch.zeros(*state["bonds"].shape, 4)}
    base = model(state, levels, torch.zeros(len(SMILES), 12), State(nothing))["atoms"]
    for name, value in nothing.items():
        other = model(state, levels, torch.zeros(len(SMILES), 12), State({**nothing, name: value + 0.5}))["atoms"]
        assert (other - base).abs().max() > 1e-3


def test_beliefs_that_nobody_takes_or_gives_are_told() -> None:
    levels = {name: torch.zeros(len(SMILES)) for name in FIELDS}
    with pytest.raises(ConfigError, match=r"backbone\.self_conditioning=true"):
        believing_transformer()(noisy(), levels, torch.zeros(len(SMILES), 12))
    with pytest.raises(ConfigError, match=r"backbone\.self_conditioning=false"):
        small_transformer()(noisy(), levels, torch.zeros(len(SMILES), 12), State({}))


@ALL
def test_a_denoiser_takes_it(make: Make) -> None:
    model = perturbed(make())
    state = noisy()
    denoiser = Denoiser(model, FIELDS, self_conditioning=getattr(model, "self_conditioning", False))
    half = torch.full((len(SMILES),), 0.5)
    posterior = denoiser(state, {name: Level(half, half, 0 * half) for name in FIELDS})
    for name in FIELDS:
        torch.testing.assert_close(posterior[name].value.exp().sum(-1), torch.ones(state[name].shape))


@pytest.mark.parametrize("make", [small_transformer, small_gps])
@pytest.mark.parametrize(
    ("fields", "settings", "said"),
    [
        ({"pixels": Field(shape=(1, 8, 8))}, {}, "takes the fields atoms and bonds; this data has pixels"),
        ({**FIELDS, "atoms": Field(shape=(-1,), space=Categorical(3), layout=Masked())}, {}, "classes with names"),
        ({**FIELDS, "bonds": Field(shape=(-1, -1), space=Categorical(4), layout=Masked(2))}, {}, "4 symmetric classes"),
        (FIELDS, {"heads": 3}, r"backbone\.width=16: must be a multiple of backbone\.heads=3"),
        (FIELDS, {"walks": 1}, r"backbone\.walks=1"),
    ],
)
def test_what_does_not_fit_is_named(make: Make, fields: dict[str, Field], settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make(fields, **settings)


def test_rings_of_two_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"backbone\.rings=2: the smallest ring has 3 atoms"):
        small_transformer(rings=2)


@pytest.mark.parametrize("make", [small_transformer, small_gps])
def test_a_level_for_each_atom_is_refused(make: Make) -> None:
    state = noisy()
    with pytest.raises(ValueError, match="one for each molecule"):
        make()(state, {name: torch.zeros(state["atoms"].shape) for name in FIELDS}, torch.zeros(len(SMILES), 12))
