"""The core's own network: any fields of elements, in a row or in none, and no word about padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from suffuse.backbones import Transformer
from suffuse.composition import compose
from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.layouts import Masked
from suffuse.plugins import Registry
from suffuse.spaces import Categorical, Torus, ZeroCenterOfMass
from suffuse.state import State

FIELDS = {
    "points": Field(shape=(-1, 2), space=ZeroCenterOfMass(), layout=Masked()),
    "kinds": Field(shape=(-1, 3), space=Categorical(4), layout=Masked()),
    "type": Field(shape=(-1,), space=Torus(5.0), layout=Masked()),
    "hint": Field(shape=(-1, 2), layout=Masked(), given=True),
}


def network(fields: dict[str, Field] = FIELDS, **settings: Any) -> Transformer:
    """A small one whose outputs are not zero."""
    torch.manual_seed(0)
    made = Transformer(fields, **{"width": 16, "depth": 2, "heads": 2, "condition_dim": 8, **settings}).eval()
    for part in made.parameters():
        if not part.any():
            torch.nn.init.normal_(part, std=0.2)
    return made


def batch(count: int = 3, size: int = 5) -> State:
    """Padded samples of random values; the first has all elements."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(size) < torch.tensor([size, 3, 1])[:count, None]
    return State(
        {
            "points": torch.randn(count, size, 2, generator=generator),
            "kinds": torch.randint(0, 5, (count, size, 3), generator=generator),
            "type": 5 * torch.rand(count, size, generator=generator),
            "hint": torch.randn(count, size, 2, generator=generator),
        },
        mask,
    )


def ask(net: Transformer, state: State) -> dict[str, torch.Tensor]:
    count = state.batch_size
    levels = {name: torch.linspace(-2, 2, count) for name in state}
    with torch.no_grad():
        return net(state, levels, torch.ones(count, 8))


def test_every_field_gets_an_answer_of_its_shape() -> None:
    out = ask(network(), batch())
    assert {name: tuple(part.shape) for name, part in out.items()} == {
        "points": (3, 5, 2),
        "kinds": (3, 5, 3, 4),
        "type": (3, 5),
    }


def _permuted(net: Transformer) -> float:
    """How far the answer for permuted elements is from the permuted answer."""
    state = batch(1)
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = state.map(lambda value: value[:, order])
    a, b = ask(net, state), ask(net, moved)
    return max(float((a[name][:, order] - b[name]).abs().max()) for name in a)


def test_a_set_has_no_order() -> None:
    assert _permuted(network(ordered=False)) < 1e-5


def test_an_order_is_noticed() -> None:
    assert _permuted(network(ordered=True)) > 1e-2


def test_neighbours_that_are_padding_would_be_noticed() -> None:
    net, state = network(), batch()
    filled = State(state.fields, torch.ones_like(state.mask)) if state.mask is not None else state
    assert float((ask(net, state)["points"][2, 0] - ask(net, filled)["points"][2, 0]).abs().max()) > 1e-3


@pytest.mark.parametrize("ordered", [True, False])
def test_padding_changes_nothing(ordered: bool) -> None:
    net, state = network(ordered=ordered), batch()
    alone = ask(net, state)
    cut = state.rows(slice(1, 2)).map(lambda value: value[:, :3])
    with torch.no_grad():
        levels = {name: torch.zeros(1) for name in state}
        small = net(cut, levels, torch.ones(1, 8))
    for name, part in small.items():
        torch.testing.assert_close(alone[name][1:2, :3], part, atol=1e-5, rtol=1e-5)


def test_a_period_is_a_way_round() -> None:
    net, state = network(), batch()
    turned = state.replace(type=state["type"] + 5.0)
    for name, part in ask(net, state).items():
        torch.testing.assert_close(ask(net, turned)[name], part, atol=1e-4, rtol=1e-4)


def test_what_a_network_sees_it_uses() -> None:
    net, state = network(), batch()
    before = ask(net, state)
    for name in state:
        changed = ask(net, state.replace(**{name: torch.zeros_like(state[name])}))
        assert all(float((changed[n] - before[n]).abs().max()) > 1e-4 for n in before), name


@pytest.mark.parametrize(
    ("fields", "settings", "message"),
    [
        ({"a": Field(shape=(4,)), "b": Field(shape=(5, 2))}, {}, r"a \[4\], b \[5, 2\]"),
        ({"a": Field(shape=())}, {}, r"a \[\]"),
        ({"a": Field(shape=(-1, -1), layout=Masked(2))}, {}, "pairs"),
        ({"a": Field(shape=(4,))}, {"width": 9}, r"backbone\.width=9.*backbone\.heads=2"),
    ],
)
def test_what_it_cannot_take_is_named(fields: dict[str, Field], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        network(fields, **settings)


def test_levels_of_elements_are_refused() -> None:
    state = batch()
    with pytest.raises(ValueError, match="for each element"):
        network()(state, {name: torch.zeros(3, 5) for name in state}, torch.ones(3, 8))


def test_it_serves_a_modality_by_its_short_name() -> None:
    for option, ordered in (("transformer", True), ("set_transformer", False)):
        config = compose("modality=image", f"backbone={option}", "backbone.width=32")
        net = Registry().build("backbone", config["backbone"], {"x": Field(shape=(7, 2))}, plugin="image")
        assert isinstance(net, Transformer)
        assert (net.row is not None) == ordered
