"""A condition drawn as a field is seen where the condition is known, by training, sampling and guidance alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suffuse.conditions import ClassLabel, Condition, Scalar
from suffuse.data import Sketch
from suffuse.denoiser import Denoiser
from suffuse.fields import Field
from suffuse.guidance import ClassifierFree
from suffuse.posterior import Posterior
from suffuse.processes import Level
from suffuse.sampling import DDIM, Seeds, sample
from suffuse.spaces import Categorical
from suffuse.state import State
from suffuse.training.clock import Uniform
from suffuse.training.objective import Objective
from suffuse.training.weightings import edm
from tiny import field, process

SCALE = 4.0
CONDITIONS: dict[str, Condition] = {"height": Scalar(), "side": ClassLabel(("left", "right"))}


class Listener(nn.Module):
    """A network that believes in zeros, and keeps all that it has been shown."""

    condition_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.shown: list[tuple[State, Mapping[str, Tensor]]] = []

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        self.shown.append((state, dict(log_snr)))
        return {"x": self.weight * state["x"]}


def line(value: Tensor, state: State) -> Tensor:
    """The number at every place of the state, falling to its end."""
    return value[:, None] * torch.linspace(1, 0, state["x"].shape[1])


def denoiser(**sketches: Sketch) -> tuple[Denoiser, Listener]:
    network = Listener()
    made = sketches or {"line": Sketch(condition="height", field=Field(shape=(2,), scale=SCALE), draw=line)}
    return Denoiser(network, field(), conditions=CONDITIONS, sketches=made).eval(), network


def levels(count: int) -> dict[str, Level]:
    return process().levels(torch.full((count,), 0.5))


def test_a_sketch_is_what_was_drawn_where_the_condition_is_known() -> None:
    look, network = denoiser()
    state = State({"x": torch.ones(3, 2)})
    look(state, levels(3), {"height": torch.tensor([2.0, math.nan, -1.0]), "side": torch.tensor([0, 1, -1])})
    shown, log_snr = network.shown[-1]
    assert shown["line"].tolist() == [[2 / SCALE, 0], [0, 0], [-1 / SCALE, 0]]
    assert (log_snr["line"] > 0).tolist() == [True, False, True]
    assert torch.equal(log_snr["line"].abs(), log_snr["line"].abs()[:1].expand(3))
    look(state, levels(3), {"side": torch.tensor([0, 1, -1])})
    shown, log_snr = network.shown[-1]
    assert not shown["line"].any()
    assert (log_snr["line"] < 0).all()


def test_a_sketch_follows_the_size_of_the_state() -> None:
    look, network = denoiser()
    look(State({"x": torch.ones(1, 5)}), levels(1), {"height": torch.tensor([SCALE])})
    assert network.shown[-1][0]["line"].tolist() == [[1, 0.75, 0.5, 0.25, 0]]


def test_a_sketch_of_classes_is_of_tokens() -> None:
    def where(value: Tensor, state: State) -> Tensor:
        return value[:, None].expand(state["x"].shape)

    side = Sketch(condition="side", field=Field(shape=(2,), space=Categorical(2)), draw=where)
    look, network = denoiser(side=side)
    look(State({"x": torch.ones(2, 2)}), levels(2), {"side": torch.tensor([1, -1])})
    shown, log_snr = network.shown[-1]
    assert shown["side"].tolist() == [[1, 1], [0, 0]]
    assert shown["side"].dtype == torch.long
    assert (log_snr["side"] > 0).tolist() == [True, False]


def test_training_hides_a_sketch_with_its_condition() -> None:
    """From the same samples: a network that saw the one without the other would learn to look there."""
    look, network = denoiser()
    told: list[Tensor] = []

    def watched(state: State, levels: Any, condition: Mapping[str, Tensor], previous: Posterior | None = None) -> Any:
        told.append(condition["height"])
        return look(state, levels, condition)

    objective = Objective(process(), Uniform(), edm(), "edm", CONDITIONS, 0.5)
    conditions = {"height": torch.full((200,), 3.0), "side": torch.zeros(200, dtype=torch.long)}
    objective(watched, State({"x": torch.zeros(200, 2)}), conditions, seed=0, step=0, rows=range(200), total=200)
    shown, log_snr = network.shown[-1]
    hidden = told[0].isnan()
    assert 50 < int(hidden.sum()) < 150
    assert torch.equal(shown["line"][:, 0] == 0, hidden)
    assert torch.equal(log_snr["line"] < 0, hidden)


def test_guidance_moves_away_from_a_network_without_the_sketch() -> None:
    look, network = denoiser()
    asked = {"height": torch.tensor([2.0]), "side": torch.tensor([0])}
    ClassifierFree(look, 2.0)(State({"x": torch.ones(1, 2)}), levels(1), asked)
    assert network.shown[-1][0]["line"][:, 0].tolist() == [2 / SCALE, 0]
    ClassifierFree(look, 2.0, negative={"height": 8})(State({"x": torch.ones(1, 2)}), levels(1), asked)
    assert network.shown[-1][0]["line"][:, 0].tolist() == [2 / SCALE, 8 / SCALE]


def test_sampling_shows_the_sketch_at_every_look_and_makes_none() -> None:
    look, network = denoiser()
    here, seeds = process(), Seeds(0, range(2))
    start = here.prior({"x": (2, 2)}, seeds.at("prior"))
    asked = {"height": torch.tensor([2.0, math.nan])}
    made = sample(look, start, [1.0, 0.6, 0.3, 0.0], DDIM(), process=here, seeds=seeds, condition=asked)
    assert list(made) == ["x"]
    assert [shown["line"][:, 0].tolist() for shown, _ in network.shown] == [[2 / SCALE, 0]] * 3


def test_a_sketch_of_a_missing_value_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above fail for a denoiser that draws what is not known."""

    def always(
        self: Denoiser, sketch: Sketch, drawn: Tensor, value: Tensor, kind: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        return drawn + 1, torch.full((len(value),), 7.0)

    monkeypatch.setattr(Denoiser, "_shown", always)
    with pytest.raises(AssertionError):
        test_a_sketch_is_what_was_drawn_where_the_condition_is_known()
    with pytest.raises(AssertionError):
        test_training_hides_a_sketch_with_its_condition()
    with pytest.raises(AssertionError):
        test_guidance_moves_away_from_a_network_without_the_sketch()
