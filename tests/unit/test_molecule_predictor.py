"""The predictor of numbers: it depends on the molecule alone, knows a normal law, and pushes beliefs uphill."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

pytest.importorskip("rdkit")

from molecule_files import source

from suffuse.conditions import ClassLabel, Scalar
from suffuse.errors import ConfigError
from suffuse.fields import Field, pad
from suffuse.state import State
from suffuse_molecule.decoder import Graph
from suffuse_molecule.predictor import Learned

SCALARS = {"logp": Scalar(2.0, 0.5), "mw": Scalar(100.0, 20.0)}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Field], State]:
    data = source(tmp_path_factory.mktemp("predictor"), heldout=0.0)
    decoder = Graph()
    fields = decoder.fields(data.train)
    return fields, decoder.encode(data.train.gather(range(6)).values)


def sure(fields: dict[str, Field], state: State) -> State:
    """Classes as probabilities."""
    shares = {
        name: torch.nn.functional.one_hot(value, fields[name].space.num_classes).float()  # type: ignore[union-attr]
        for name, value in state.items()
    }
    return State(shares, state.mask)


def learned(fields: dict[str, Field], **settings: float) -> Learned:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Learned(fields, conditions={**SCALARS, "kind": ClassLabel(("a",))}, width=16, depth=2, **settings)  # type: ignore[arg-type]


def test_padding_and_order_change_nothing(graphs: tuple[dict[str, Field], State]) -> None:
    fields, state = graphs
    network = learned(fields)
    means, variances = network.predict(sure(fields, state))
    wider, _ = network.predict(sure(fields, pad(state, fields, state["atoms"].shape[1] + 5)))
    torch.testing.assert_close(wider, means, rtol=1e-4, atol=1e-5)
    count = int(state.mask[0].sum())  # type: ignore[index]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    one = State({"atoms": state["atoms"][:1, :count], "bonds": state["bonds"][:1, :count, :count]})
    other = State({"atoms": one["atoms"][:, order], "bonds": one["bonds"][:, order][:, :, order]})
    for each in (one, other):
        torch.testing.assert_close(network.predict(sure(fields, each))[0], means[:1], rtol=1e-4, atol=1e-5)
    assert (variances > 0).all()


def test_a_sum_over_padding_is_noticed(graphs: tuple[dict[str, Field], State]) -> None:
    fields, state = graphs
    network = learned(fields)
    means, _ = network.predict(sure(fields, state))
    blind = State(sure(fields, pad(state, fields, state["atoms"].shape[1] + 5)).fields)
    assert not torch.allclose(network.predict(blind)[0], means, atol=1e-2)


def test_it_is_a_normal_law_of_what_is_asked(graphs: tuple[dict[str, Field], State]) -> None:
    fields, state = graphs
    network, estimate = learned(fields, deviation=0.3), sure(fields, state)
    means, variances = (part.double() for part in network.predict(estimate))
    values = torch.linspace(-20, 20, 4001).double()
    density = torch.stack(
        [
            network(estimate, {"logp": torch.full((6,), float(2 + 0.5 * value)), "mw": torch.full((6,), math.nan)})
            for value in values[::100]
        ]
    )
    expected = (
        -((values[::100, None] - means[:, 0]) ** 2 / (variances[:, 0] + 0.09) + (variances[:, 0] + 0.09).log()) / 2
    )
    torch.testing.assert_close(density.double(), expected, rtol=1e-3, atol=1e-3)
    nothing = {name: torch.full((6,), math.nan) for name in SCALARS}
    assert network(estimate, nothing).tolist() == [0] * 6
    assert network(estimate, None).tolist() == [0] * 6


def test_its_gradient_leads_uphill(graphs: tuple[dict[str, Field], State]) -> None:
    fields, state = graphs
    network, estimate = learned(fields), sure(fields, state)
    asked = {"logp": torch.full((6,), 4.0)}
    atoms = estimate["atoms"].clone().requires_grad_()
    value = network(estimate.replace(atoms=atoms), asked)
    (slope,) = torch.autograd.grad(value.sum(), atoms, create_graph=True)
    assert slope.requires_grad  # it is differentiated twice
    with torch.no_grad():
        moved = network(estimate.replace(atoms=atoms + 1e-3 * slope), asked)
    assert (moved >= value).all()


def test_without_numbers_there_is_nothing_to_predict(graphs: tuple[dict[str, Field], State], tmp_path: Path) -> None:
    fields, _ = graphs
    with pytest.raises(ConfigError, match="without numbers"):
        Learned(fields, conditions={"kind": ClassLabel(("a",))})
    other = {"x": Field(shape=(2,))}
    with pytest.raises(ConfigError, match="atoms and bonds"):
        Learned(other, conditions=SCALARS)
