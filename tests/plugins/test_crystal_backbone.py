"""The periodic network: what it may not notice (origin, order, orientation, images, padding), and what it must."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("pymatgen")

from crystal_files import KNOWN, QUARTZ, source, turned
from pymatgen.core import Lattice, Structure

from suffuse.errors import ConfigError
from suffuse.fields import Field, pad
from suffuse.layouts import Masked
from suffuse.spaces import Categorical, Torus
from suffuse.state import State
from suffuse_crystal.backbones.features import PairFeatures
from suffuse_crystal.backbones.periodic import Periodic
from suffuse_crystal.cells import cell_of
from suffuse_crystal.decoder import Crystal
from suffuse_crystal.lattices import LOGS, logs_of

KINDS = 5
FIELDS = {
    "positions": Field(shape=(-1, 3), space=Torus(), layout=Masked(1)),
    "lattice": Field(shape=(LOGS,), scale=0.3),
    "atoms": Field(shape=(-1,), space=Categorical(KINDS), layout=Masked(1), names=("O", "Na", "Si", "Cl", "Ti")),
}


def network(fields: Any = None, **settings: Any) -> Periodic:
    """A small one in float64 with nothing at zero, as after training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Periodic(fields or FIELDS, **{"width": 16, "pair_width": 8, "depth": 2, "condition_dim": 12, **settings})
        for value in net.parameters():
            value.data.normal_(std=0.3)
    return net.double().eval()


def state(counts: tuple[int, ...] = (5, 3, 1), seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    room = max(counts)
    mask = torch.arange(room) < torch.tensor(counts)[:, None]
    positions = torch.rand(len(counts), room, 3, generator=generator, dtype=torch.float64)
    atoms = torch.randint(0, KINDS + 1, (len(counts), room), generator=generator)
    return State(
        {
            "positions": positions * mask.unsqueeze(-1),
            "lattice": torch.randn(len(counts), LOGS, generator=generator, dtype=torch.float64),
            "atoms": atoms * mask,
        },
        mask,
    )


def run(net: Periodic, given: State) -> dict[str, Tensor]:
    count = given.batch_size
    levels = {name: torch.linspace(-1, 3, count, dtype=torch.float64) + place for place, name in enumerate(FIELDS)}
    with torch.no_grad():
        return net(given, levels, torch.ones(count, net.condition_dim, dtype=torch.float64))


def same(one: dict[str, Tensor], other: dict[str, Tensor], mask: Tensor | None = None) -> bool:
    def real(value: Tensor) -> Tensor:
        return value if mask is None or value.ndim == 2 else value * mask.unsqueeze(-1)

    return all(torch.allclose(real(one[name]), real(other[name]), atol=1e-9) for name in one)


def moved(given: State, shift: Tensor) -> State:
    assert given.mask is not None
    positions = torch.remainder(given["positions"] + shift, 1.0) * given.mask.unsqueeze(-1)
    return given.replace(positions=positions)


def test_the_origin_is_not_noticed() -> None:
    net, given = network(), state()
    shift = torch.tensor([0.31, 0.77, 0.5], dtype=torch.float64)
    assert same(run(net, moved(given, shift)), run(net, given), given.mask)


def test_one_atom_that_moves_is_noticed() -> None:
    net, given = network(), state()
    shift = torch.zeros_like(given["positions"])
    shift[:, 0, 1] = 0.1
    assert not same(run(net, moved(given, shift)), run(net, given), given.mask)


def test_whole_turns_of_the_torus_are_not_noticed() -> None:
    net, given = network(), state()
    around = given.replace(positions=given["positions"] + torch.randint(-2, 3, given["positions"].shape))
    assert same(run(net, around), run(net, given), given.mask)


def test_outputs_follow_the_atoms_in_any_order() -> None:
    net, given = network(), state((4, 4))
    order = torch.tensor([2, 0, 3, 1])
    shuffled = given.replace(positions=given["positions"][:, order], atoms=given["atoms"][:, order])
    found, plain = run(net, shuffled), run(net, given)
    assert torch.allclose(found["lattice"], plain["lattice"])
    for name in ("positions", "atoms"):
        assert torch.allclose(found[name], plain[name][:, order])


def test_padding_and_batch_mates_change_nothing() -> None:
    net, given = network(), state()
    plain = run(net, given)
    wide = run(net, pad(given, FIELDS, 11))
    assert same({name: value[:, :5] if value.ndim == 3 else value for name, value in wide.items()}, plain, given.mask)
    for place in range(given.batch_size):
        count = given.batch_size
        repeated = given.rows(torch.full((count,), place))
        levels = {name: torch.full((count,), 0.5, dtype=torch.float64) for name in FIELDS}
        condition = torch.ones(count, net.condition_dim, dtype=torch.float64)
        with torch.no_grad():
            mates = net(repeated, levels, condition)
            alone = net(given.rows(slice(place, place + 1)), {n: v[:1] for n, v in levels.items()}, condition[:1])
        assert all(torch.allclose(mates[name][:1], alone[name]) for name in alone)


def test_padding_that_is_heard_would_be_noticed() -> None:
    """A network that takes all places for atoms gives another answer, as it should."""
    net, given = network(), state()
    assert given.mask is not None
    heard = State(given.fields, torch.ones_like(given.mask))
    assert not same(run(net, heard), run(net, given), given.mask)


def test_moves_have_no_mean() -> None:
    """Atoms that all move alike are the same crystal, so that one atom alone does not move at all."""
    found, given = run(network(), state()), state()
    assert given.mask is not None
    assert torch.allclose(
        (found["positions"] * given.mask.unsqueeze(-1)).sum(1), torch.zeros(3, 3).double(), atol=1e-12
    )
    assert not found["positions"][2].any()
    assert found["positions"][0].abs().max() > 0.01


def crystals(change: Callable[[Structure], Structure]) -> State:
    decoder = Crystal()
    decoder.adopt({**FIELDS, "atoms": FIELDS["atoms"]})
    given = decoder.encode([change(KNOWN[name]) for name in ("salt", "quartz", "rutile")])
    return given.map(lambda value: value.double() if value.is_floating_point() else value)


def test_a_turned_crystal_is_the_same_crystal() -> None:
    net = network()
    plain = crystals(lambda each: each)
    assert same(run(net, crystals(turned)), run(net, plain), plain.mask)


def test_a_sheared_crystal_is_another_one() -> None:
    net = network()
    plain = crystals(lambda each: each)

    def sheared(each: Structure) -> Structure:
        shear = np.eye(3) + 0.1 * np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]])
        return Structure(Lattice(each.lattice.matrix @ shear), each.species, each.frac_coords)

    assert not same(run(net, crystals(sheared)), run(net, plain), plain.mask)


@pytest.mark.parametrize("name", KNOWN)
def test_distances_are_those_of_the_crystal(name: str) -> None:
    """In a reduced cell, against pymatgen; of an atom to itself the shortest vector of the lattice."""
    structure = KNOWN[name].get_reduced_structure()
    numbers, positions, lattice = cell_of(structure)
    count = torch.tensor([len(numbers)])
    six = logs_of(torch.from_numpy(lattice)[None], count)
    near = PairFeatures(2, 2).nearest(torch.from_numpy(positions)[None], six, count)[0].numpy()
    expected = structure.distance_matrix.copy()
    np.fill_diagonal(expected, min(structure.lattice.abc))
    assert np.allclose(near, expected, atol=1e-6)


def test_a_supercell_has_the_same_distances() -> None:
    """The numbers of a lattice count volume for an atom, so that twice the cell tells the same distances twice."""
    pairs = [(each, PairFeatures(2, 8)) for each in (QUARTZ, (QUARTZ * (2, 1, 1)).get_reduced_structure())]
    found = []
    for each, features in pairs:
        _, positions, lattice = cell_of(each)
        count = torch.tensor([len(each)])
        six = logs_of(torch.from_numpy(lattice)[None], count)
        near = features.nearest(torch.from_numpy(positions)[None], six, count)[0]
        found.append(near.where(~torch.eye(len(near), dtype=torch.bool), 9.0).amin(1))
    assert torch.allclose(found[1].sort().values[::2], found[0].sort().values, atol=1e-6)


def test_noisy_lattices_are_read_at_their_level() -> None:
    """Where all is noise the likely lattice is the mean of the data, where there is none it is the lattice itself."""
    net = network()
    lattice = torch.randn(1, LOGS, dtype=torch.float64)
    clean, lost = (net._likely(lattice, torch.tensor([level], dtype=torch.float64)) for level in (9.0, -9.0))
    assert torch.allclose(clean, FIELDS["lattice"].scale * lattice, rtol=1e-5)
    assert lost.abs().max() < 1e-4


def test_given_elements_are_not_made(tmp_path: Any) -> None:
    decoder = Crystal(given="atoms")
    net = network(decoder.fields(source(tmp_path, heldout=0.0).train))
    assert set(run(net, state())) == {"positions", "lattice"}


def test_it_starts_at_the_frequencies_and_at_rest() -> None:
    fields = {
        **FIELDS,
        "atoms": Field(shape=(-1,), space=Categorical(3), layout=Masked(1), frequencies=(0.5, 0.3, 0.2)),
    }
    given = state()
    given = given.replace(atoms=given["atoms"].clamp_max(3))
    found = run(Periodic(fields, width=8, pair_width=8, depth=1, condition_dim=12).double(), given)
    assert torch.allclose(found["atoms"].softmax(-1)[0, 0], torch.tensor([0.5, 0.3, 0.2]).double(), atol=1e-6)
    assert not found["positions"].any()
    assert not found["lattice"].any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pixels": Field(shape=(1,))}, "positions, lattice and atoms"),
        ({**FIELDS, "lattice": Field(shape=(9,))}, "lattice"),
        ({**FIELDS, "positions": Field(shape=(-1, 3), layout=Masked(1))}, "period 1"),
        ({**FIELDS, "atoms": Field(shape=(-1,), layout=Masked(1))}, "classes"),
    ],
)
def test_other_fields_are_refused(fields: dict[str, Field], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Periodic(fields)


def test_levels_of_atoms_are_refused() -> None:
    given = state()
    levels = {name: torch.zeros(3, 5).double() for name in FIELDS}
    with pytest.raises(ValueError, match="one for each crystal"):
        network()(given, levels, torch.zeros(3, 12).double())


def test_half_precision_keeps_to_the_distances() -> None:
    """A metric is an exponential, which bfloat16 does not hold: distances are not to be numbers without it."""
    features, seen = PairFeatures(4, 8), state()
    given = (seen["positions"].float(), seen["lattice"].float(), torch.tensor([5, 3, 1]))
    with torch.autocast("cpu", torch.bfloat16):
        found = features(*given)
        loose = features.nearest(*given)
    assert torch.equal(found.pairs, features(*given).pairs)
    assert not torch.allclose(loose, features.nearest(*given), rtol=1e-3)
