"""What may be known of a sample: missing values stay apart from every known one, and bad ones are named."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from suffuse.conditions import ClassLabel, Condition, ConditionEncoder, Scalar, Span, Vector, condition_from_json
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
        ("scalar", "2..4", Span(2, 4)),
        ("scalar", "-2..-1", Span(-2, -1)),
        ("scalar", "..350", Span(-math.inf, 350)),
        ("scalar", "1e-3..", Span(1e-3, math.inf)),
        ("scalar", "2..2", Span(2, 2)),
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
        ("scalar", ".."),
        ("scalar", "2..much"),
        ("scalar", "2..nan"),
        ("scalar", "..inf"),
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


# Ranges


TRAINED = Scalar.of([*range(100), *range(40, 60), *range(40, 60)])
EVEN = [(place + 0.5) / 1000 for place in range(1000)]


def test_swapped_ends_are_named_with_the_range_that_was_meant() -> None:
    with pytest.raises(
        ConfigError, match=r"condition\.logp=4\.\.2: the ends are swapped; did you mean 2\.\.4\?"
    ) as caught:
        Scalar().parse("4..2", "logp")
    assert "\n" not in str(caught.value)


def chosen(scalar: Scalar, typed: str) -> list[float]:
    return [scalar.choose(scalar.parse(typed, "c"), number) for number in EVEN]


def follows_the_data(values: list[float]) -> bool:
    """From 20 to 79 the data has 60 numbers once and 20 of them twice more: 60 of 100 lie in the middle."""
    middle = sum(40 <= value < 60 for value in values) / len(values)
    return all(20 <= value <= 79 for value in values) and abs(middle - 0.6) < 0.03


def test_a_range_is_asked_for_as_often_as_in_the_data() -> None:
    assert follows_the_data(chosen(TRAINED, "20..79"))
    assert min(chosen(TRAINED, "..10")) == 0
    assert max(chosen(TRAINED, "90..")) == 99
    assert chosen(TRAINED, "7..7") == [7] * 1000
    normal = chosen(Scalar(mean=10, std=2), "10..")
    assert np.mean(normal) == pytest.approx(10 + 2 * math.sqrt(2 / math.pi), rel=0.02)


def test_an_even_draw_is_noticed() -> None:
    assert not follows_the_data([20 + 59 * number for number in EVEN])


def test_a_range_without_data_is_even_or_its_one_end() -> None:
    assert np.mean(chosen(TRAINED, "200..300")) == pytest.approx(250)
    assert set(chosen(TRAINED, "200..")) == {200}
    assert set(chosen(TRAINED, "..-5")) == {-5}


@pytest.mark.parametrize(
    ("typed", "warned"), [(150, True), ("120..", True), ("..-1", True), ("90..150", False), (50, False)]
)
def test_a_target_outside_the_training_data_is_doubted(typed: Any, warned: bool) -> None:
    doubt = TRAINED.doubt(TRAINED.parse(typed, "mw"), "mw")
    assert (doubt is not None) == warned
    if doubt:
        assert "0 to 99" in doubt
        assert f"condition.mw={typed}" in doubt
    assert Scalar().doubt(1e9, "mw") is None


def test_the_distribution_travels_with_a_run() -> None:
    again = condition_from_json(json.loads(json.dumps(TRAINED.to_json())), find)
    assert isinstance(again, Scalar)
    assert again.quantiles == TRAINED.quantiles
    assert Scalar.of([]) == Scalar()
    assert Scalar.of([5.0, 5.0]).std == 1
