"""What may be known of a sample: missing values stay apart from every known one, and bad ones are named."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch

from suffuse.conditions import ClassLabel, Condition, ConditionEncoder, Scalar, Vector, condition_from_json
from suffuse.errors import ConfigError, RunError
from suffuse.plugins import Registry

KINDS: dict[str, tuple[Condition, list[Any]]] = {
    "label": (ClassLabel(("cat", "dog", "eel")), [2, None, 0]),
    "scalar": (Scalar(mean=100.0, std=25.0), [350.0, None, -1]),
    "vector": (Vector(3), [[1.0, 2.0, 3.0], None, [0, 0, 0]]),
}
find = partial(Registry([]).find, "condition")


@pytest.mark.parametrize("name", KINDS)
def test_missing_values_are_marked(name: str) -> None:
    kind, values = KINDS[name]
    assert kind.present(kind.collate(values)).tolist() == [True, False, True]
    assert kind.present(kind.collate([None, None])).tolist() == [False, False]


@pytest.mark.parametrize("name", KINDS)
def test_dropped_values_are_missing_and_others_stay(name: str) -> None:
    kind, values = KINDS[name]
    before = kind.collate(values)
    kept = before.clone()
    after = kind.drop(before, torch.tensor([False, False, True]))
    assert kind.present(after).tolist() == [True, False, False]
    assert torch.equal(after[0], before[0])
    torch.testing.assert_close(before, kept, equal_nan=True)


@pytest.mark.parametrize("name", KINDS)
def test_round_trip_through_json(name: str) -> None:
    kind = KINDS[name][0]
    assert condition_from_json(json.loads(json.dumps(kind.to_json())), find) == kind


@pytest.mark.parametrize(
    "data",
    [{}, {"kind": "ClassLable", "names": ["a"]}, {"kind": "Vector"}, {"kind": "Scalar", "colour": 3}],
)
def test_strange_descriptions_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(RunError, match="condition"):
        condition_from_json(data, find)


def test_kinds_of_others_are_read_by_who_knows_them() -> None:
    """A kind that a plugin brings: only `find` has to know it."""

    @dataclass(frozen=True)
    class Colour(Vector):
        space: str = "rgb"

    told = json.loads(json.dumps(Colour(3, "lab").to_json()))
    assert condition_from_json(told, {"Colour": Colour}.__getitem__) == Colour(3, "lab")
    with pytest.raises(RunError, match=r"no such condition.*known: ClassLabel, Scalar, Vector"):
        condition_from_json(told, find)


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(RunError, match="did you mean 'ClassLabel'"):
        condition_from_json({"kind": "ClassLable", "names": ["a"]}, find)
    with pytest.raises(ConfigError, match=r"condition\.animal=dug: .*known: cat, dog, eel.*did you mean 'dog'"):
        KINDS["label"][0].parse("dug", "animal")


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("label", "dog", 1),
        ("scalar", "2.5", 2.5),
        ("scalar", 7, 7.0),
        ("vector", ["1", 2, 3.5], [1.0, 2.0, 3.5]),
    ],
)
def test_typed_values(name: str, typed: Any, value: Any) -> None:
    parsed = KINDS[name][0].parse(typed, "c")
    assert (parsed.tolist() if isinstance(parsed, torch.Tensor) else parsed) == value


def test_classes_named_by_numbers() -> None:
    assert ClassLabel(("3", "5")).parse(5, "digit") == 1


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("label", "cow"),
        ("label", 1),
        ("label", -1),
        ("scalar", "much"),
        ("scalar", [1]),
        ("scalar", "nan"),
        ("scalar", "inf"),
        ("vector", 5),
        ("vector", ["a", 1, 2]),
        ("vector", [1, 2]),
        ("vector", [1, 2, math.nan]),
    ],
)
def test_bad_values_are_named(name: str, typed: Any) -> None:
    with pytest.raises(ConfigError, match=r"condition\.wanted") as caught:
        KINDS[name][0].parse(typed, "wanted")
    assert "\n" not in str(caught.value)


@pytest.fixture
def encoder() -> ConditionEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = ConditionEncoder({name: kind for name, (kind, _) in KINDS.items()}, 8)
        for name, parameter in made.named_parameters():
            if name.startswith("absent"):
                torch.nn.init.normal_(parameter)
        return made


def collated(**changed: list[Any]) -> dict[str, torch.Tensor]:
    return {name: kind.collate(changed.get(name, values)) for name, (kind, values) in KINDS.items()}


@torch.no_grad()
def test_embedding_is_the_sum_of_its_parts(encoder: ConditionEncoder) -> None:
    nothing = {name: [None] * 3 for name in KINDS}
    total = encoder(collated())
    assert total.shape == (3, 8)
    alone = [encoder(collated(**{**nothing, name: values})) for name, (_, values) in KINDS.items()]
    none = encoder(collated(**nothing))
    torch.testing.assert_close(total - none, sum(part - none for part in alone))
    torch.testing.assert_close(total[1], none[1])


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_missing_differs_from_known_and_moves_only_its_sample(encoder: ConditionEncoder, name: str) -> None:
    values = KINDS[name][1]
    changed = encoder(collated(**{name: [None, *values[1:]]}))
    before = encoder(collated())
    assert not torch.allclose(changed[0], before[0])
    assert torch.equal(changed[1:], before[1:])


def test_missing_values_send_no_bad_gradients(encoder: ConditionEncoder) -> None:
    encoder(collated()).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@torch.no_grad()
def test_scalars_are_standardised() -> None:
    """The same network sees the same thing in any unit."""
    kilo, gram = Scalar(2.0, 0.5), Scalar(2000.0, 500.0)
    a, b = kilo.encoder(8), gram.encoder(8)
    b.load_state_dict(a.state_dict())
    torch.testing.assert_close(a(torch.tensor([2.7])), b(torch.tensor([2700.0])), rtol=1e-4, atol=1e-5)
