"""Predictors that learn from a run: calibrated on beliefs, kept whole, refused where there is nothing to learn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError, RunError
from suffuse.fields import Field
from suffuse.model import Model
from suffuse.state import State
from suffuse.training.teaching import Teachable, keep, kept, teach
from tiny import PointEncoder, Points, denoiser, process


class Side(nn.Module):
    """How likely the side of a point is, from where it is believed to be."""

    steps, lr = 100, 6e-2

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 2)

    def forward(self, estimate: State, condition: Mapping[str, Tensor]) -> Tensor:
        side = condition["side"]
        found = torch.log_softmax(self.net(estimate["x"]), -1).gather(-1, side.clamp_min(0)[:, None]).squeeze(-1)
        return torch.where(side >= 0, found, 0)


def taught(seed: int = 0) -> Side:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        predictor = Side()
    assert isinstance(predictor, Teachable)
    made = denoiser(conditions=Points().conditions)
    teach(predictor, made, process(), PointEncoder(), Points(), seed)  # type: ignore[arg-type]
    return predictor


@pytest.fixture(scope="module")
def predictor() -> Side:
    return taught()


def test_it_learns_what_belongs_to_what(predictor: Side) -> None:
    points = State({"x": torch.tensor([[-1.0, 0.0], [1.0, 0.0]])})
    right, wrong = (predictor(points, {"side": torch.tensor(sides)}) for sides in ([0, 1], [1, 0]))
    assert (right > wrong).all()
    assert predictor(points, {"side": torch.tensor([-1, -1])}).tolist() == [0, 0]


def sure(predictor: Side) -> float:
    """How far the odds are from even for a belief that says nothing."""
    middle = State({"x": torch.zeros(1, 2)})
    return abs(float(predictor(middle, {"side": torch.tensor([0])})) - math.log(0.5))


def test_a_belief_that_says_nothing_is_taken_for_that(predictor: Side) -> None:
    assert sure(predictor) < 0.2


def test_a_predictor_that_has_learned_nothing_is_noticed() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        untaught = Side()
    with pytest.raises(AssertionError):
        test_it_learns_what_belongs_to_what(untaught)


def test_lessons_are_a_function_of_the_seed(predictor: Side) -> None:
    same, other = taught(), taught(seed=1)
    assert torch.equal(same.net.weight, predictor.net.weight)
    assert not torch.equal(other.net.weight, predictor.net.weight)
    assert not predictor.net.weight.requires_grad


def test_what_was_learned_is_kept(predictor: Side, tmp_path: Path) -> None:
    file = tmp_path / "predictors" / "side.safetensors"
    assert kept(file) is None
    keep(predictor, file)
    found = kept(file)
    assert found is not None
    assert torch.equal(found["net.weight"], predictor.net.weight)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(RunError, match="damaged"):
        kept(file)


def test_a_model_of_no_run_cannot_teach() -> None:
    pytest.importorskip("rdkit")
    from suffuse.assembly import build_model
    from suffuse.composition import compose
    from suffuse.conditions import Scalar
    from suffuse.layouts import Masked
    from suffuse.plugins import Registry
    from suffuse.spaces import Categorical

    config = compose("modality=molecule", "backbone=graph_transformer_tiny")
    registry = Registry()
    fields = {
        "atoms": Field(shape=(-1,), space=Categorical(2), layout=Masked(), names=("C", "N"), frequencies=(0.5, 0.5)),
        "bonds": Field(
            shape=(-1, -1), space=Categorical(4, symmetric=True), layout=Masked(2), frequencies=(0.7, 0.1, 0.1, 0.1)
        ),
    }
    decoder = registry.build("decoder", config["decoder"], plugin="molecule")
    guidance = {"name": "property", "predictor": {"name": "learned"}}

    def model(**conditions: Scalar) -> Model:
        return build_model(config, registry, fields, conditions, decoder)

    with pytest.raises(ConfigError, match="learns from a run"):
        model(logp=Scalar()).guided(model(logp=Scalar()).recipe(None, guidance))
    with pytest.raises(ConfigError, match="without numbers"):
        model().guided(model().recipe(None, guidance))
