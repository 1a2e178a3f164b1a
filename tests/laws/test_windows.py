"""A sample made in windows is what a denoiser of the whole would have made, as far as windows can tell.

For Gaussian data everything is linear, so that the covariance of what a walk makes is known without a draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from suffuse.conditions import Condition
from suffuse.data import Sketch
from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.guidance import Windows
from suffuse.guidance import windows as module
from suffuse.posterior import LogProbs, Mean, Posterior, Statement, Tangent
from suffuse.processes import Gaussian, JointProcess, Level
from suffuse.sampling import DDIM, Seeds, karras, sample
from suffuse.schedules import EDM
from suffuse.spaces import Categorical, Torus
from suffuse.state import State

TRAINED, WHOLE = 16, 64


@dataclass
class Local:
    """Believes of each entry what it says itself, and remembers what it was called with."""

    fields: Mapping[str, Field]
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    self_conditioning: bool = False
    sketches: Mapping[str, Sketch] = field(default_factory=dict)
    calls: list[State] = field(default_factory=list)

    def sketched(self, state: State, condition: Mapping[str, Tensor] | None) -> State:
        return state.replace(**{name: sketch.draw(torch.zeros(1), state) for name, sketch in self.sketches.items()})

    def missing(self, count: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        return {}

    def __call__(self, state: State, levels: Mapping[str, Level], *rest: Any) -> Posterior:
        self.calls.append(state)
        return {name: self.statement(name, value) for name, value in state.items()}

    def statement(self, name: str, value: Tensor) -> Statement:
        space = self.fields[name].space
        if isinstance(space, Categorical):
            return LogProbs.of(torch.nn.functional.one_hot(value, space.num_classes).float())
        return Tangent(value.sin(), value) if isinstance(space, Torus) else Mean(0.5 * value)


def line(length: int, **settings: Any) -> Field:
    return Field(shape=(length,), **settings)


def looked(denoiser: Any, whole: Mapping[str, Field], state: State, rows: int = 7, **settings: Any) -> Posterior:
    levels = {name: Level(*(torch.ones(state.batch_size) for _ in range(3))) for name in state}
    return Windows(denoiser, whole, rows, **settings)(state, levels)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [TRAINED + 1, 2 * TRAINED, WHOLE])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("rows", [1, 7, 100])
def test_what_is_local_is_the_same_in_windows(length: int, overlap: float, rows: int) -> None:
    """Of numbers, classes and angles, on one axis or two, and of fields on finer and coarser grids at once."""
    shapes = {"x": (2, TRAINED), "fine": (4 * TRAINED,), "kind": (TRAINED,), "angle": (TRAINED, 3)}
    grown = {"x": (2, length), "fine": (4 * length,), "kind": (length,), "angle": (length, 3)}
    spaces: dict[str, Any] = {"kind": {"space": Categorical(3)}, "angle": {"space": Torus(2 * math.pi)}}
    trained, whole = (
        {name: Field(shape=shape, **spaces.get(name, {})) for name, shape in part.items()} for part in (shapes, grown)
    )
    state = State({name: noise(5, *part.shape) for name, part in whole.items()})
    state = state.replace(kind=(3 * torch.rand(5, length)).long())
    denoiser = Local(trained)
    found, plain = looked(denoiser, whole, state, rows, overlap=overlap), Local(trained)(state, {})
    for name, part in plain.items():
        torch.testing.assert_close(found[name].value, part.value)
        assert type(found[name]) is type(part)
    assert {call.batch_size for call in denoiser.calls} == {rows}, "every call has as many rows"
    assert {call["x"].shape[-1] for call in denoiser.calls} == {TRAINED}


def test_two_axes_may_grow() -> None:
    trained, whole = {"x": Field(shape=(1, 8, 8))}, {"x": Field(shape=(1, 20, 11))}
    state = State({"x": noise(2, 1, 20, 11)})
    torch.testing.assert_close(looked(Local(trained), whole, state)["x"].value, 0.5 * state["x"])


@pytest.mark.parametrize("length", [5, TRAINED])
def test_what_is_not_larger_is_looked_at_whole(length: int) -> None:
    denoiser = Local({"x": line(TRAINED)})
    state = State({"x": noise(3, length)})
    looked(denoiser, {"x": line(length)}, state)
    assert [call.batch_size for call in denoiser.calls] == [3]
    assert denoiser.calls[0] is state


def test_a_sample_does_not_depend_on_its_batch() -> None:
    whole = {"x": line(WHOLE)}
    state = State({"x": noise(6, WHOLE)})
    torch.manual_seed(0)
    network = torch.nn.Linear(TRAINED, TRAINED)

    class Mixing(Local):
        def statement(self, name: str, value: Tensor) -> Statement:
            return Mean(network(value).detach())

    denoiser = Mixing({"x": line(TRAINED)})
    together = looked(denoiser, whole, state)["x"].value
    alone = torch.cat([looked(denoiser, whole, state.rows(slice(i, i + 1)))["x"].value for i in range(6)])
    assert torch.equal(together, alone)


def step_at_borders(overlap: float) -> float:
    """The largest step between neighbours where each window believes in a number of its own."""

    class Opinionated(Local):
        def statement(self, name: str, value: Tensor) -> Statement:
            return Mean((torch.arange(len(value)) % 2)[:, None].expand_as(value).float())

    state = State({"x": torch.zeros(1, WHOLE)})
    belief = looked(Opinionated({"x": line(TRAINED)}), {"x": line(WHOLE)}, state, overlap=overlap)["x"]
    return float(belief.value.diff().abs().max())


def test_windows_that_differ_are_led_over() -> None:
    assert step_at_borders(0.5) < 0.3


def test_windows_that_count_the_same_up_to_their_borders_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert step_at_borders(0.0) == 1
    monkeypatch.setattr(module, "_inward", lambda size, like: torch.ones(size))
    assert step_at_borders(0.5) > 0.3


def test_windows_without_anything_unknown_are_left_out() -> None:
    unknown = torch.zeros(1, WHOLE, dtype=torch.bool)
    unknown[0, 40:43] = True
    state = State({"x": noise(2, WHOLE)})
    denoiser = Local({"x": line(TRAINED)})
    windows = Windows(denoiser, {"x": line(WHOLE)}, 4, unknown={"x": unknown})
    everywhere = Windows(denoiser, {"x": line(WHOLE)}, 4)
    assert 0 < windows.count < everywhere.count / 2
    found = looked(denoiser, {"x": line(WHOLE)}, state, unknown={"x": unknown})["x"].value
    torch.testing.assert_close(found[:, 40:43], 0.5 * state["x"][:, 40:43])
    assert not found[:, :20].any()


def test_a_window_is_shown_its_own_part_of_a_sketch() -> None:
    """What is drawn of a condition is drawn of the whole: a tone does not begin anew with each window."""

    def places(value: Tensor, state: State) -> Tensor:
        return torch.arange(state["x"].shape[-1]).expand(len(state["x"]), 1, -1).float()

    class Shown(Local):
        def __call__(self, state: State, levels: Mapping[str, Level], *rest: Any) -> Posterior:
            return {"x": Mean(state["place"][:, 0])}

    sketches = {"place": Sketch(condition="any", field=Field(shape=(1, TRAINED)), draw=places)}
    denoiser = Shown({"x": line(TRAINED)}, sketches=sketches)
    found = looked(denoiser, {"x": line(WHOLE)}, State({"x": noise(3, WHOLE)}))["x"].value
    torch.testing.assert_close(found, torch.arange(WHOLE).float().expand(3, -1))


def test_fields_that_grow_differently_are_named() -> None:
    trained = {"x": line(TRAINED), "y": Field(shape=(8, 8))}
    with pytest.raises(ConfigError, match="along as many axes"):
        Windows(Local(trained), {"x": line(WHOLE), "y": Field(shape=(9, 9))}, 4)
    with pytest.raises(ConfigError, match=r"overlap=1\.0"):
        Windows(Local(trained), trained, 4, overlap=1.0)


# A Gaussian chain ---------------------------------------------------------------------------------------------------

MEMORY = 0.7
"""The correlation of neighbours in the chain; that of two places is its power with their distance."""


def chain(length: int) -> Tensor:
    place = torch.arange(length, dtype=torch.float64)
    return MEMORY ** (place[:, None] - place).abs()


class Exact(Local):
    """The posterior mean of a piece of the chain, exactly."""

    def __call__(self, state: State, levels: Mapping[str, Level], *rest: Any) -> Posterior:
        covariance = chain(state["x"].shape[1])
        sigma = float(levels["x"].sigma[0])
        gain = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(len(covariance)))
        return {"x": Mean(state["x"] @ gain)}


def made(size: int, overlap: float = 0.5) -> Tensor:
    """The covariance of what is sampled in windows: the walk is linear, and unit vectors tell all of it."""
    fields = {"x": line(size)}
    process = JointProcess(fields, {"x": Gaussian(EDM())})
    prior = State({"x": EDM().sigma_max * torch.eye(WHOLE, dtype=torch.float64)})
    windows = Windows(Exact(fields), {"x": line(WHOLE)}, 64, overlap=overlap)
    walk = sample(windows, prior, karras(40, EDM()), DDIM(), process=process, seeds=Seeds(0, range(WHOLE)))["x"]
    return walk.T @ walk


def off(overlap: float) -> tuple[float, float]:
    """How far windows are from a look at the whole: in the variance of an entry, and the covariance of neighbours."""
    error = (made(TRAINED, overlap) - made(WHOLE)).abs()
    return float(error.diagonal().max()), float(error.diagonal(1).max())


def test_a_chain_made_in_windows_is_the_chain() -> None:
    assert (made(WHOLE) - chain(WHOLE)).abs().max() < 0.15, "what is left is of the steps"
    assert max(off(0.5)) < 0.03
    assert max(off(0.75)) < max(off(0.5))


def test_a_chain_that_is_cut_into_pieces_is_noticed() -> None:
    _, neighbours = off(0.0)
    assert neighbours > 0.5
