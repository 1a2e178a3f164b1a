"""A self-conditioned network is given what it believed before: in training now and then, in sampling always."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suffuse import noise
from suffuse.assembly import build_model, load
from suffuse.commands.train import train
from suffuse.composition import compose
from suffuse.conditions import ClassLabel
from suffuse.denoiser import Denoiser
from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.guidance import ClassifierFree
from suffuse.plugins import Registry
from suffuse.posterior import LogProbs, Mean, Posterior, Tangent
from suffuse.processes import Discrete, Gaussian, JointProcess, Level, WrappedGaussian
from suffuse.sampling import DDIM, Heun, Seeds, Solver, sample
from suffuse.schedules import EDM, Cosine, SquaredCosine
from suffuse.spaces import Categorical, Torus
from suffuse.state import State
from suffuse.training.clock import LogNormal
from suffuse.training.objective import Objective
from suffuse.training.weightings import edm
from suffuse_image.decoder import Pixels
from tiny import SIDES, process

FIELDS = {
    "x": Field(shape=(2,), scale=2.0),
    "c": Field(shape=(3,), space=Categorical(4)),
    "a": Field(shape=(1,), space=Torus(2.0)),
}
JOINT = JointProcess(
    FIELDS,
    {
        "x": Gaussian(Cosine()),
        "c": Discrete(SquaredCosine(), (0.25,) * 4),
        "a": WrappedGaussian(EDM(0.004, 2.0)),
    },
)


class Listener(nn.Module):
    """Emits what it is told to, and remembers what it was given as its earlier belief."""

    condition_dim = 4

    def __init__(self, fields: Mapping[str, Field] | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))
        self.given: list[State] = []

    def forward(
        self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor, believed: State
    ) -> dict[str, Tensor]:
        self.given.append(believed)
        emitted = {}
        for name, value in state.items():
            here = believed[name]
            emitted[name] = self.weight * (here + (value if here.shape == value.shape else 0.1))
        return emitted


def state(count: int = 5) -> State:
    generator = torch.Generator().manual_seed(0)
    return State(
        {
            "x": torch.randn(count, 2, generator=generator),
            "c": torch.randint(0, 4, (count, 3), generator=generator),
            "a": 2 * torch.rand(count, 1, generator=generator),
        }
    )


def listening() -> tuple[Denoiser, Listener]:
    backbone = Listener()
    return Denoiser(backbone, FIELDS, self_conditioning=True).eval(), backbone


def levels(count: int = 5) -> dict[str, Level]:
    return JOINT.levels(torch.full((count,), 0.4))


def test_the_network_is_given_zeros_or_what_it_believed() -> None:
    denoiser, backbone = listening()
    noisy = state()
    first = denoiser(noisy, levels())
    denoiser(noisy, levels(), None, first)
    nothing, something = backbone.given
    assert {name: tuple(value.shape) for name, value in nothing.items()} == {"x": (5, 2), "c": (5, 3, 4), "a": (5, 1)}
    assert all((value == 0).all() for value in nothing.values())
    torch.testing.assert_close(something["x"], first["x"].value / 2.0)
    torch.testing.assert_close(something["c"], first["c"].value.exp())
    torch.testing.assert_close(something["a"], first["a"].value)
    assert all(value.is_floating_point() for value in something.values())


def test_a_field_of_which_nothing_was_believed_is_zero() -> None:
    denoiser, backbone = listening()
    denoiser(state(), levels(), None, {"x": Mean(torch.ones(5, 2))})
    assert (backbone.given[0]["x"] == 0.5).all()
    assert (backbone.given[0]["c"] == 0).all()


def test_a_backbone_without_room_for_a_belief_is_refused() -> None:
    class Short(Listener):
        def forward(self, state: State, log_snr: Any, condition: Any) -> dict[str, Tensor]:  # type: ignore[override]
            return {}

    Denoiser(Short(), FIELDS)
    with pytest.raises(ConfigError, match=r"process\.self_conditioning: the backbone Short") as caught:
        Denoiser(Short(), FIELDS, self_conditioning=True)
    assert "\n" not in str(caught.value)


# Training -----------------------------------------------------------------------------------------------------------


@dataclass
class Talker:
    """A denoiser that notes with what it was called."""

    calls: list[tuple[State, Posterior | None, bool]] = field(default_factory=list)
    answers: list[Posterior] = field(default_factory=list)

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        self.calls.append((state, previous, torch.is_grad_enabled()))
        self.answers.append({"x": Mean(torch.zeros_like(state["x"]))})
        return self.answers[-1]


def step_of(share: float, step: int, *, rows: range = range(4), seed: int = 0) -> Talker:
    """One step of training, or the part of it that computes some rows."""
    talker = Talker()
    objective = Objective(process(), LogNormal(), edm(), self_conditioning=share)
    objective(talker, State({"x": torch.ones(len(rows), 2)}), {}, seed=seed, step=step, rows=rows, total=4)
    return talker


def told(share: float, *, rows: range = range(4), seed: int = 0) -> list[bool]:
    """In which of 200 steps the network is given a belief."""
    return [step_of(share, step, rows=rows, seed=seed).calls[-1][1] is not None for step in range(200)]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_a_share_of_steps_gives_a_belief(share: float) -> None:
    assert sum(told(share)) / 200 == pytest.approx(share, abs=4.5 * (share * (1 - share) / 200) ** 0.5 + 1e-9)


def test_the_coin_belongs_to_the_step() -> None:
    """All parts and ranks of a step toss the same, a resumed run as well, and another seed otherwise."""
    assert told(0.5) == told(0.5, rows=range(2, 4))
    assert told(0.5) != told(0.5, seed=1)


def test_a_coin_that_forgets_the_step_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    key = noise.key
    monkeypatch.setattr(noise, "key", lambda seed, *purpose: key(seed, *purpose[:1]))
    assert sum(told(0.5)) in (0, 200)


def test_the_belief_is_of_the_same_state_and_no_gradient_goes_through_it() -> None:
    talker = step_of(1.0, 0)
    (first, nothing, graded), (second, belief, learning) = talker.calls
    assert nothing is None
    assert not graded
    assert learning
    assert belief is talker.answers[0]
    assert first is second


def test_plain_training_looks_once() -> None:
    assert len(step_of(0.0, 0).calls) == 1


# Sampling -----------------------------------------------------------------------------------------------------------


class Speaker(Talker):
    """One that wants to be told what it believed."""

    self_conditioning = True


def walked(talker: Talker, solver: Solver) -> Talker:
    grid = Cosine().time(torch.tensor([-3.0, -1.0, 1.0, torch.inf], dtype=torch.float64)).tolist()
    sample(talker, State({"x": torch.randn(4, 2)}), grid, solver, process=process(), seeds=Seeds(0, range(4)))
    return talker


@pytest.mark.parametrize("solver", [DDIM(0.5), Heun()])
def test_the_sampler_passes_the_last_belief_on(solver: Solver) -> None:
    talker = walked(Speaker(), solver)
    assert talker.calls[0][1] is None
    assert len(talker.calls) > 2
    for (_, belief, _), answer in zip(talker.calls[1:], talker.answers, strict=False):
        assert belief is answer


def test_who_does_not_want_it_is_not_told() -> None:
    assert all(belief is None for _, belief, _ in walked(Talker(), DDIM()).calls)


CONDITIONS = {"side": ClassLabel(SIDES)}


def guided(scale: float) -> tuple[Callable[..., Posterior], Listener]:
    backbone = Listener()
    inner = Denoiser(backbone, FIELDS, conditions=CONDITIONS, self_conditioning=True).eval()
    return ClassifierFree(inner, scale), backbone


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_guidance_gives_the_belief_to_both_passes(scale: float) -> None:
    denoise, backbone = guided(scale)
    assert denoise.self_conditioning  # type: ignore[attr-defined]
    noisy, asked = state(), {"side": torch.tensor([0, 1, 0, 1, -1])}
    point = noisy["a"]
    belief: Posterior = {
        "x": Mean(torch.arange(10.0).view(5, 2)),
        "c": LogProbs.of(torch.arange(60.0).view(5, 3, 4)),
        "a": Tangent(torch.arange(5.0).view(5, 1), point),
    }
    denoise(noisy, levels(), asked, belief)
    (given,) = backbone.given
    times = 1 if scale == 1 else 2
    torch.testing.assert_close(given["x"], torch.cat([belief["x"].value / 2] * times))
    torch.testing.assert_close(given["c"], torch.cat([belief["c"].value.exp()] * times))
    torch.testing.assert_close(given["a"], torch.cat([belief["a"].value] * times))


def test_a_whole_guided_walk_of_every_field() -> None:
    denoise, backbone = guided(2.0)
    seeds = Seeds(0, range(5))
    shapes = {name: (5, *spec.shape) for name, spec in FIELDS.items()}
    grid = [1.0, 0.6, 0.3, 0.0]
    prior = JOINT.prior(shapes, seeds.at("prior"))
    asked = {"side": torch.zeros(5, dtype=torch.long)}
    made = sample(denoise, prior, grid, DDIM(), process=JOINT, seeds=seeds, condition=asked)
    assert [given.batch_size for given in backbone.given] == [10, 10, 10]
    assert [bool((given["c"] != 0).any()) for given in backbone.given] == [False, True, True]
    assert made["x"].isfinite().all()


# Runs ---------------------------------------------------------------------------------------------------------------


class Echo(nn.Module):
    """A backbone of any real-valued fields that weighs its input, its earlier belief and the noise level."""

    def __init__(self, fields: Mapping[str, Field], condition_dim: int = 4) -> None:
        super().__init__()
        self.condition_dim = condition_dim
        self.weights = nn.ParameterDict({name: nn.Parameter(torch.tensor([0.3, 0.3, 0.1])) for name in fields})

    def forward(
        self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor, believed: State
    ) -> dict[str, Tensor]:
        emitted = {}
        for name, value in state.items():
            seen, before, level = self.weights[name]
            at = level * torch.tanh(log_snr[name] + condition.sum(1)).reshape(-1, *(1,) * (value.ndim - 1))
            emitted[name] = seen * value + before * believed[name] + at
        return emitted


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Echo` as the backbone of every configuration."""
    build = Registry.build

    def building(self: Registry, kind: str, config: Mapping[str, Any], /, *args: Any, **rest: Any) -> Any:
        if kind == "backbone":
            return Echo(*args, condition_dim=config["condition_dim"])
        return build(self, kind, config, *args, **rest)

    monkeypatch.setattr(Registry, "build", building)


def configured(share: float) -> dict[str, Any]:
    words = [f"process.self_conditioning={share}", "trainer.steps=4", "trainer.batch_size=8", "trainer.preview_every=0"]
    config = compose("modality=image", *words)
    return {**config, "backbone": {"name": "echo", "condition_dim": 4}, "callbacks": {}}


@pytest.mark.usefixtures("echo")
def test_a_run_is_saved_and_loaded_with_it(tmp_path: Path) -> None:
    train(configured(0.5), tmp_path / "run")
    model = load(tmp_path / "run")
    assert model.denoiser.self_conditioning
    made = model.sample(3, sampler={"steps": 4}, compute_batch=4)
    again = load(tmp_path / "run").sample(3, sampler={"steps": 4}, compute_batch=4)
    assert all((a == b).all() for a, b in zip(made, again, strict=True))
    # The belief that is passed on counts: without it the same weights draw otherwise.
    model.denoiser.self_conditioning = False
    forward = model.denoiser.backbone.forward
    model.denoiser.backbone.forward = lambda seen, *rest: forward(seen, *rest, seen.map(torch.zeros_like))
    other = model.sample(3, sampler={"steps": 4}, compute_batch=4)
    assert any((a != b).any() for a, b in zip(made, other, strict=True))


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_configuration_switches_it(share: float) -> None:
    fields = {"x": Field(shape=(2,))}
    model = build_model(configured(share), Registry(), fields, {}, decoder=Pixels())
    assert model.denoiser.self_conditioning == (share > 0)


def test_a_backbone_of_a_plugin_that_takes_none_is_told() -> None:
    config = compose("modality=image", "process.self_conditioning=0.5", "backbone=unet_tiny")
    with pytest.raises(ConfigError, match=r"process\.self_conditioning: the backbone UNet"):
        build_model(config, Registry(), {"pixels": Field(shape=(1, 8, 8))}, {}, decoder=Pixels())
