"""Guidance is a straight line through two beliefs, and costs a second pass only where it is asked for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from suffuse.conditions import ClassLabel, Scalar
from suffuse.denoiser import Denoiser
from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.guidance import ClassifierFree
from suffuse.processes import Level
from suffuse.sampling import DDIM, Heun, Seeds, sample
from suffuse.state import State
from tiny import SIDES, Perceptron, process


class Counting(Denoiser):
    """Remembers the size of each batch that it is called with."""

    sizes: list[int]

    def forward(self, state: State, *rest: Any) -> Any:
        self.sizes.append(state.batch_size)
        return super().forward(state, *rest)


@pytest.fixture
def network() -> Counting:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Counting(
            Perceptron(), {"x": Field(shape=(2,))}, conditions={"side": ClassLabel(SIDES), "size": Scalar()}
        )
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    made.sizes = []
    return made.eval().requires_grad_(False)


STATE = State({"x": torch.randn(3, 2, generator=torch.Generator().manual_seed(0))})
ASKED = {"side": torch.tensor([0, 1, -1]), "size": torch.tensor([0.5, math.nan, math.nan])}


def levels(clock: float = 0.5, ratio: float | None = None) -> dict[str, Level]:
    return {name: level._replace(ratio=ratio) for name, level in process().levels(torch.full((3,), clock)).items()}


def value(posterior: Any) -> Tensor:
    made: Tensor = posterior["x"].value
    return made


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.5, 7.0])
def test_guidance_is_linear(network: Counting, scale: float) -> None:
    asked, free = value(network(STATE, levels(), ASKED)), value(network(STATE, levels(), network.missing(3)))
    guided = value(ClassifierFree(network, scale)(STATE, levels(), ASKED))
    torch.testing.assert_close(guided, free + scale * (asked - free), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(asked[:2], free[:2])
    torch.testing.assert_close(guided[2], free[2], rtol=1e-4, atol=1e-5)  # of whom nothing is asked


def test_what_is_kept_is_not_exaggerated(network: Counting) -> None:
    """The line runs from the belief with the kept conditions alone."""
    kept = {**network.missing(3), "size": ASKED["size"]}
    asked, known = value(network(STATE, levels(), ASKED)), value(network(STATE, levels(), kept))
    guided = value(ClassifierFree(network, 3.0, keep=["size", "tempo"])(STATE, levels(), ASKED))
    torch.testing.assert_close(guided, known + 3 * (asked - known), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(guided[0], value(ClassifierFree(network, 3.0)(STATE, levels(), ASKED))[0])


def test_where_all_is_kept_there_is_no_second_pass(network: Counting) -> None:
    ClassifierFree(network, 3.0, keep=["size", "side"])(STATE, levels(), ASKED)
    assert network.sizes == [3]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"keep": ["sise"]}, "guidance.keep=sise: this run has no such condition; did you mean 'size'"),
        ({"keep": ["size"], "negative": {"size": 1}}, "guidance.negative.size is set"),
    ],
)
def test_what_cannot_be_kept(network: Counting, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError) as error:
        ClassifierFree(network, 2.0, **settings)
    assert why in str(error.value)


def test_scale_one_is_no_guidance(network: Counting) -> None:
    assert torch.equal(
        value(ClassifierFree(network, 1.0)(STATE, levels(), ASKED)), value(network(STATE, levels(), ASKED))
    )
    assert network.sizes == [3, 3]


def test_two_beliefs_come_from_one_batch(network: Counting) -> None:
    ClassifierFree(network, 2.0)(STATE, levels(), ASKED)
    assert network.sizes == [6]


@pytest.mark.parametrize("condition", [None, {}])
def test_nothing_asked_is_one_pass(network: Counting, condition: dict[str, Tensor] | None) -> None:
    guided = value(ClassifierFree(network, 2.0)(STATE, levels(), condition))
    assert network.sizes == [3]
    torch.testing.assert_close(guided, value(network(STATE, levels(), network.missing(3))))


def test_conditions_left_out_are_unknown(network: Counting) -> None:
    part = {"side": ASKED["side"]}
    whole = {**part, "size": torch.full((3,), math.nan)}
    guided = ClassifierFree(network, 3.0)
    torch.testing.assert_close(value(guided(STATE, levels(), part)), value(guided(STATE, levels(), whole)))


@pytest.mark.parametrize(("ratio", "passes"), [(0.1, 1), (0.2, 2), (1.0, 2), (5.0, 2), (5.1, 1), (None, 2)])
def test_the_interval_is_in_noise_over_signal(network: Counting, ratio: float | None, passes: int) -> None:
    guided = value(ClassifierFree(network, 2.0, (0.2, 5.0))(STATE, levels(ratio=ratio), ASKED))
    assert network.sizes == [3 * passes]
    plain = value(network(STATE, levels(), ASKED))
    assert torch.equal(guided, plain) == (passes == 1)


@pytest.mark.parametrize("solver", [DDIM(0.5), Heun()])
def test_second_passes_of_a_whole_walk(network: Counting, solver: DDIM | Heun) -> None:
    """The executor tells the level as a plain number, so that the interval is decided without asking the device."""
    schedule = process().schedule
    grid = schedule.time(torch.tensor([-4.0, -2.0, 0.0, 2.0, math.inf], dtype=torch.float64)).tolist()
    guided = ClassifierFree(network, 2.0, (math.exp(-1), math.exp(3)))
    sample(guided, STATE, grid, solver, process=process(), seeds=Seeds(0, range(3)), condition=ASKED)
    expected = [3, 6, 6, 3] if isinstance(solver, DDIM) else [3, 6, 6, 6, 6, 3, 3]
    assert network.sizes == expected


@pytest.mark.parametrize("scale", [-1.0, math.inf, math.nan])
def test_bad_scales_are_refused(network: Counting, scale: float) -> None:
    with pytest.raises(ConfigError, match=r"guidance\.scale"):
        ClassifierFree(network, scale)


@pytest.mark.parametrize("interval", [(2.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (math.nan, 1.0), (1.0,)])
def test_bad_intervals_are_refused(network: Counting, interval: Any) -> None:
    with pytest.raises(ConfigError, match=r"guidance\.interval"):
        ClassifierFree(network, 2.0, interval)
