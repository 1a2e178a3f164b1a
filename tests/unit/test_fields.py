"""The description of a field survives a checkpoint, and a state keeps its fields together."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from suffuse.errors import RunError
from suffuse.fields import Field
from suffuse.layouts import Dense, Filled, Masked
from suffuse.spaces import Categorical, Euclidean, Space, Torus
from suffuse.state import State


@pytest.mark.parametrize(
    "field",
    [
        Field(shape=(3, 32, 32)),
        Field(shape=(), scale=0.1, weight=2.0),
        Field(shape=(-1, -1, 4), layout=Masked(2), scale=1 / 3),
        Field(shape=(-1,), layout=Masked()),
        Field(shape=(2, 64), layout=Filled()),
        Field(shape=(-1,), space=Categorical(3), layout=Masked(), names=("C", "N+", "O-")),
        Field(
            shape=(-1, -1), layout=Masked(2), space=Categorical(4, symmetric=True), frequencies=(0.7, 0.2, 0.05, 0.05)
        ),
        Field(shape=(-1, 3), space=Torus(2.5), layout=Masked(), given=True),
        Field(shape=(8, 2), notes={"mean": [0.5, -3.0], "unit": "m"}),
    ],
)
def test_round_trip_through_json(field: Field) -> None:
    assert Field.from_json(json.loads(json.dumps(field.to_json()))) == field


GOOD = Field(shape=(2,), layout=Masked(2)).to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"shape": None},
        {"shape": "many"},
        {"shape": [1.5]},
        {"frequencies": "few"},
        {"layout": {"kind": "Sparse"}},
        {"layout": {"kind": "Masked", "colour": 1}},
        {"layout": {}},
        {"space": "Euclidean"},
        {"space": {"kind": "os.system"}},
        {"scale": "wide"},
    ],
)
def test_strange_descriptions_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(RunError, match="description of a field"):
        Field.from_json({**GOOD, **change})


@pytest.mark.parametrize("key", GOOD)
def test_what_is_missing_is_refused(key: str) -> None:
    with pytest.raises(RunError, match=key):
        Field.from_json({name: value for name, value in GOOD.items() if name != key})


@pytest.mark.parametrize("space", [Categorical(3), Euclidean()])
def test_there_is_a_name_for_each_class_or_none(space: Space) -> None:
    with pytest.raises(ValueError, match="2 names"):
        Field(shape=(), space=space, names=("C", "N"))


def test_descriptions_without_names_are_still_read() -> None:
    """Names came later than the first runs."""
    assert "names" not in GOOD
    assert Field.from_json(GOOD).names == ()


def test_dense_is_the_default() -> None:
    assert Field(shape=(1,)).layout == Dense()


def test_states_are_cut_and_joined_with_their_mask() -> None:
    state = State({"a": torch.arange(6.0).reshape(3, 2), "b": torch.arange(3.0)}, torch.eye(3, 2) > 0)
    assert (len(state), set(state), state.batch_size) == (2, {"a", "b"}, 3)
    joined = State.cat([state.rows(slice(0, 1)), state.rows(torch.tensor([1, 2]))])
    assert torch.equal(joined["a"], state["a"])
    assert torch.equal(joined["b"], state["b"])
    assert joined.mask is not None
    assert torch.equal(joined.mask, torch.eye(3, 2) > 0)
    assert State.cat([State({"a": torch.zeros(1)})] * 2).mask is None


def test_replace_leaves_the_original_alone() -> None:
    state = State({"a": torch.zeros(2), "b": torch.ones(2)})
    changed = state.replace(a=torch.full((2,), 5.0))
    assert state["a"].tolist() == [0, 0]
    assert changed["a"].tolist() == [5, 5]
    assert changed["b"] is state["b"]
