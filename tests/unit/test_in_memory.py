"""Data that lies in memory: parted, described and padded without a line of a plugin's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from suffuse.conditions import ClassLabel, Scalar
from suffuse.data import InMemory
from suffuse.errors import ConfigError, DataError
from suffuse.fields import Field, check, measured
from suffuse.layouts import Masked
from suffuse.spaces import Categorical, Torus, ZeroCenterOfMass
from suffuse.state import State

KINDS = ["b", "a", "c", "a", None] * 20
WEIGHTS = [float(row) for row in range(99)] + [None]


def test_no_value_is_on_both_sides_and_each_class_is_on_either() -> None:
    data = InMemory(range(100), {"kind": KINDS}, heldout=0.2)
    train, heldout = ([split[row] for row in range(len(split))] for split in (data.train, data.heldout))
    assert sorted(item.value for item in (*train, *heldout)) == list(range(100))
    assert len(heldout) == 20
    for items in (train, heldout):
        assert {item.condition.get("kind") for item in items} == {0, 1, 2, None}


def test_texts_become_classes_and_numbers_are_standardised_on_what_is_learned() -> None:
    data = InMemory(range(100), {"kind": KINDS, "weight": WEIGHTS}, heldout=0.5)
    kind, weight = data.train.conditions["kind"], data.train.conditions["weight"]
    assert kind == ClassLabel(("a", "b", "c"))
    assert isinstance(weight, Scalar)
    known = [item.condition.get("weight") for item in map(data.train.__getitem__, range(len(data.train)))]
    assert weight.mean == pytest.approx(np.mean([each for each in known if each is not None]))
    batch = data.train.gather([0, 1, 2])
    assert [kind.names[place] for place in batch.conditions["kind"]] == [KINDS[value] for value in batch.values]
    assert data.train[0].condition["weight"] == WEIGHTS[data.train[0].value]


def test_sizes_and_variations_are_the_authors_own() -> None:
    values = ["a" * count for count in range(1, 11)]
    plain = InMemory(values, heldout=0.2)
    data = InMemory(values, heldout=0.2, size=len, augment=lambda value, rng: f"{value}{rng.integers(9)}")
    assert plain.train.sizes() is None
    assert data.train.sizes() == [len(data.train[row].value) for row in range(len(data.train))]
    rngs = [np.random.default_rng(7)] * 2
    assert data.train.gather([0, 1], rngs).values != [data.train[0].value, data.train[1].value]
    assert plain.train.gather([0], rngs[:1]).values == [plain.train[0].value]


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(DataError, match="2 values of kind for 3 items"):
        InMemory([1, 2, 3], {"kind": ["a", "b"]})
    with pytest.raises(DataError, match=r"place is neither text nor a number; a Split .* Vector"):
        InMemory([1, 2], {"place": [None, (0.5, 0.5)]})
    with pytest.raises(ConfigError, match=r"data\.heldout=1"):
        InMemory([1, 2, 3], heldout=1.0)
    with pytest.raises(DataError, match=r"data\.heldout"):
        InMemory([]).train.some()


def test_some_items_are_spread_over_all() -> None:
    split = InMemory(range(1000), heldout=0.0).train
    assert split.some(5) == [0, 249, 499, 749, 999]
    assert split.some() == list(range(1000))


def test_padding_and_its_inverse() -> None:
    clouds = [np.ones((3, 2)), np.zeros((1, 2)), -np.ones((5, 2))]
    kinds = [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
    state = State.padded(points=clouds, kinds=kinds)
    assert state["points"].dtype == torch.float32
    assert state["kinds"].tolist()[1] == [4, 0, 0, 0, 0]
    assert state.mask is not None
    assert state.mask.sum(1).tolist() == [3, 1, 5]
    for cloud, back in zip(clouds, state.elements("points"), strict=True):
        np.testing.assert_array_equal(cloud, back)
    assert [part.tolist() for part in state.elements("kinds")] == kinds
    check(
        state,
        {
            "points": Field(shape=(-1, 2), layout=Masked()),
            "kinds": Field(shape=(-1,), space=Categorical(10), layout=Masked()),
        },
    )
    with pytest.raises(ValueError, match="as many elements"):
        State.padded(points=clouds, kinds=kinds[::-1])


def test_samples_of_one_shape_need_no_mask() -> None:
    state = State.stacked(x=[[1.0, 2.0], [3.0, 4.0]])
    assert state.mask is None
    assert State.stacked(x=[[True, False]])["x"].dtype == torch.bool
    assert state["x"].tolist() == [part.tolist() for part in state.elements("x")] == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match=r"field x has samples of the shapes \[2\] and \[3\]; .* State\.padded"):
        State.stacked(x=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0, 7.0]])


def test_fields_are_measured_without_their_padding() -> None:
    rng = np.random.default_rng(0)
    clouds = [rng.normal(7.0, 2.5, (count, 3)) for count in (4, 900, 50)]
    kinds = [rng.integers(0, 2, len(cloud)) for cloud in clouds]
    state = State.padded(points=clouds, kinds=kinds, angles=clouds)
    fields = {
        "points": Field(shape=(-1, 3), space=ZeroCenterOfMass(), layout=Masked()),
        "kinds": Field(shape=(-1,), space=Categorical(3), layout=Masked()),
        "angles": Field(shape=(-1, 3), space=Torus(1.0), layout=Masked()),
    }
    known = measured(fields, state)
    assert known["points"].scale == pytest.approx(2.5, rel=0.05)
    assert sum(known["kinds"].frequencies) == pytest.approx(1)
    assert known["kinds"].frequencies[:2] == pytest.approx((0.5, 0.5), abs=0.05)
    assert known["kinds"].frequencies[2] > 0
    assert known["angles"] == fields["angles"]
    with pytest.raises(DataError, match="the decoder gives the fields points, kinds, angles, but colours are needed"):
        measured({"colours": fields["kinds"]}, state)
    padding = State(state.fields)  # as if zeros were elements: what a measure without the mask would say
    assert measured({"points": Field(shape=(900, 3))}, State({"points": padding["points"]}))["points"].scale > 3


def test_a_constant_keeps_its_scale() -> None:
    assert measured({"x": Field(shape=(2,))}, State.stacked(x=[[1.0, 1.0]]))["x"].scale == 1.0
