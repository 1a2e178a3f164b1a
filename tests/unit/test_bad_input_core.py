"""What cannot work is refused in one line that names the field or the key, before or as soon as it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from suffuse.errors import ConfigError, DataError, RunError
from suffuse.fields import Field, check
from suffuse.layouts import Masked
from suffuse.posterior import LogProbs, Mean, Posterior, Statement, Tangent
from suffuse.processes import Discrete, Gaussian, JointProcess, Level, Process, WrappedGaussian
from suffuse.processes.discrete import discrete
from suffuse.processes.gaussian import gaussian
from suffuse.sampling import (
    DDIM,
    Ancestral,
    Confidence,
    DPMSolver2M,
    DPMSolver3M,
    Heun,
    Resample,
    Rules,
    Seeds,
    grids,
    invert,
    plans,
    sample,
)
from suffuse.schedules import EDM, Cosine, LinearBetaVP, RectifiedFlow, SquaredCosine
from suffuse.spaces import Categorical, Euclidean, Torus, ZeroCenterOfMass
from suffuse.state import State
from suffuse.training.feed import Feed, Order
from suffuse.warps import Frozen, Power, Shift
from tiny import Points

K = 3
FIELDS = {
    "x": Field(shape=(2,)),
    "turn": Field(shape=(2,), space=Torus()),
    "c": Field(shape=(2,), space=Categorical(K)),
}
PROCESSES: dict[str, Process] = {
    "x": Gaussian(Cosine()),
    "turn": WrappedGaussian(EDM(0.002, 1.0)),
    "c": Discrete(SquaredCosine(), (1 / K,) * K),
}


def process(*names: str, **settings: Any) -> JointProcess:
    return JointProcess({n: FIELDS[n] for n in names}, {n: PROCESSES[n] for n in names}, **settings)


def refused(kind: type[Exception], message: str, make: Callable[[], object]) -> None:
    """One line, that says so."""
    with pytest.raises(kind, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("grid", [[1.0, 0.5, 0.7, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0], [1.0, 0.5], [1.2, 0.0], []])
def test_grids_that_do_not_fall(grid: list[float]) -> None:
    here, start = process("x"), State({"x": torch.zeros(2, 2)})
    refused(ConfigError, r"sampler\.grid", lambda: plans(grid, DDIM(), here))
    refused(ConfigError, r"sampler\.grid", lambda: sample(Broken(), start, grid, DDIM(), process=here,
                                                          seeds=Seeds(0, range(2))))  # fmt: skip
    refused(ConfigError, r"sampler\.grid", lambda: invert(Broken(), start, grid, process=here))


@pytest.mark.parametrize("start", [0.0, -0.5, 1.5, math.nan])
@pytest.mark.parametrize("grid", ["uniform", "cosine", "karras", "uniform_lambda"])
def test_starts_outside_the_clock(grid: str, start: float) -> None:
    refused(ConfigError, rf"start={start}", lambda: getattr(grids, grid)(4, Cosine(), start=start))


def test_starts_of_given_times() -> None:
    refused(ConfigError, "start=2", lambda: grids.explicit(2, Cosine(), times=[0.8, 0.4], start=2.0))
    refused(ConfigError, "2 times above 0 for 3 steps", lambda: grids.explicit(3, Cosine(), times=[0.8, 0.4]))


class Strange(Process):
    """A process that no rule knows."""

    corrupt = begin = error = absent = None  # type: ignore[assignment]
    schedule = Cosine()


def test_rules_that_cannot_move_a_field_name_it() -> None:
    strange = JointProcess({**FIELDS, "odd": Field(shape=(1,))}, {**PROCESSES, "odd": Strange()})
    refused(ConfigError, "no rule for the field odd, whose process is Strange", lambda: plans([1, 0], DDIM(), strange))
    unmask = Rules(DDIM(), Confidence())
    refused(ConfigError, "the field c has no mask to lift", lambda: plans([1, 0], unmask, process("x", "c")))
    start = State({"x": torch.zeros(2, 2), "c": torch.zeros(2, 2).long()})
    refused(
        ConfigError, "the field c is categorical", lambda: invert(Broken(), start, [1, 0], process=process("x", "c"))
    )
    one = State({"x": torch.zeros(2, 2)})
    refused(ConfigError, "DDIM adds noise", lambda: invert(Broken(), one, [1, 0], DDIM(1.0), process=process("x")))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: DDIM(1.5), r"sampler\.eta=1\.5"),
        (lambda: DDIM(-0.1), r"sampler\.eta=-0\.1"),
        (lambda: DPMSolver2M(math.nan), r"sampler\.eta=nan"),
        (lambda: DPMSolver3M(2.0), r"sampler\.eta=2"),
        (lambda: Ancestral(-1.0), r"sampler\.categorical\.eta=-1"),
        (lambda: Ancestral(math.nan), r"sampler\.categorical\.eta=nan"),
        (lambda: Ancestral(top_p=0.0), r"sampler\.categorical\.top_p=0"),
        (lambda: Confidence(top_p=1.1), r"sampler\.categorical\.top_p=1\.1"),
        (lambda: Confidence(-0.5), r"sampler\.categorical\.temperature=-0\.5"),
        (lambda: Heun(churn=-1.0), r"sampler\.churn=-1"),
        (lambda: Heun(churn_range=(2.0, 1.0)), r"sampler\.churn_range=\[2\.0, 1\.0\]"),
        (lambda: Heun(churn_noise=0.0), r"sampler\.churn_noise=0"),
        (lambda: Resample(0, 2), r"resample\.jump=0"),
        (lambda: Resample(2, 0), r"resample\.repeats=0"),
        (lambda: Power(0.0), r"warp\.exponent=0"),
        (lambda: Shift(math.inf), r"warp\.factor=inf"),
        (lambda: Categorical(1), "at least two classes are needed, not 1"),
        (lambda: Torus(-1.0), "the period must be positive"),
        (lambda: Cosine(3.0, 1.0), "finite log_snr_min < log_snr_max"),
        (lambda: EDM(2.0, 1.0), "sigma_min < sigma_max"),
        (lambda: process("x", "c", warps={"x": Frozen()}, reference="x"), r"process\.reference=x"),
    ],
)
def test_settings_out_of_range_are_named(make: Callable[[], object], named: str) -> None:
    refused(ConfigError, named, make)


@pytest.mark.parametrize("prior", [(0.5, 0.4), (0.5, 0.6, -0.1), (), (math.nan, 1.0), (0.3, 0.3, 0.3)])
def test_priors_that_are_no_distribution(prior: tuple[float, ...]) -> None:
    refused(ConfigError, "must sum to 1", lambda: Discrete(SquaredCosine(), prior))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: discrete(FIELDS["c"], SquaredCosine(), "marginal"), "the data did not count its classes"),
        (lambda: discrete(FIELDS["c"], SquaredCosine(), (0.5, 0.5)), "3 classes, but 2 probabilities"),
        (lambda: discrete(FIELDS["x"], SquaredCosine(), "uniform"), "only a categorical field has classes, not Euclid"),
        (lambda: discrete(FIELDS["c"], LinearBetaVP(), "uniform"), "LinearBetaVP has no keep-probability"),
        (lambda: gaussian(FIELDS["c"], Cosine()), "Categorical values has no Gaussian noise"),
        (lambda: gaussian(FIELDS["turn"], Cosine()), "Torus values has no Gaussian noise"),
        (lambda: WrappedGaussian(RectifiedFlow()), "RectifiedFlow fades the signal"),
    ],
)
def test_processes_that_do_not_fit_the_field(make: Callable[[], object], message: str) -> None:
    refused(ConfigError, message, make)


SET = {
    "x": Field(shape=(-1, 3), space=ZeroCenterOfMass(), layout=Masked(1)),
    "c": Field(shape=(-1,), space=Categorical(K), layout=Masked(1)),
    "cell": Field(shape=(6,), space=Euclidean()),
}
GOOD = State(
    {"x": torch.zeros(2, 4, 3), "c": torch.tensor([[0, 1, 2, 0]] * 2), "cell": torch.zeros(2, 6)},
    torch.ones(2, 4, dtype=torch.bool),
)


def test_good_states_pass() -> None:
    check(GOOD, SET)
    check(State({"x": torch.zeros(0, 2)}), {"x": FIELDS["x"]})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (GOOD.replace(c=torch.tensor([[0, 1, 3, 0]] * 2)), "the field c has the class 3, which lies outside 0 to 2"),
        (GOOD.replace(c=torch.tensor([[0, -1, 2, 0]] * 2)), "the field c has the class -1, which lies outside 0 to 2"),
        (GOOD.replace(c=torch.zeros(2, 4)), r"the field c holds classes, which are int64, not torch\.float32"),
        (GOOD.replace(x=torch.zeros(2, 5, 3)), r"the field x has the shape \[2, 5, 3\], but \[2, 4, 3\] is needed"),
        (GOOD.replace(cell=torch.zeros(2, 3, 3)), r"the field cell has the shape \[2, 3, 3\], but \[2, 6\] is needed"),
        (State(GOOD.fields), "the field x varies in size, but the decoder gives no mask"),
        (State(GOOD.fields, torch.ones(2, 4)), r"the mask must be bool of \[2, elements\], not torch\.float32"),
        (State(GOOD.fields, torch.ones(4) > 0), r"the mask must be bool of .* of \[4\]"),
        (State({"x": GOOD["x"], "c": GOOD["c"]}, GOOD.mask), "gives the fields x, c, but x, c, cell are needed"),
        (State({**GOOD.fields, "y": GOOD["x"]}, GOOD.mask), "gives the fields x, c, cell, y, but"),
    ],
)
def test_states_that_are_not_of_their_fields(state: State, message: str) -> None:
    refused(DataError, message, lambda: check(state, SET))


class Classes:
    """A decoder whose data has a class too many."""

    def encode(self, values: Any) -> State:
        return State({"c": torch.full((len(values), 2), K)})


@pytest.mark.parametrize("workers", [0, 1])
def test_training_data_is_checked_as_it_is_read(workers: int) -> None:
    feed = Feed(split=Points(8), decoder=Classes(), fields={"c": FIELDS["c"]}, order=Order(0, 8), workers=workers)  # type: ignore[arg-type]
    refused(DataError, "the field c has the class 3", lambda: list(feed.batches([range(4)])))


class Broken:
    """A network that says no number of one field at one look.

    Args:
        name: of the field; None for a network that is well.
        at: the look, from 1.
        value: what it says.
    """

    def __init__(self, name: str | None = None, at: int = 1, value: float = math.nan) -> None:
        self.name, self.at, self.value, self.looks = name, at, value, 0

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        self.looks += 1
        posterior: dict[str, Statement] = {}
        for name, noisy in state.items():
            wrong = name == self.name and (self.looks - 1) % 4 + 1 == self.at
            fill = self.value if wrong else 0.0
            if isinstance(FIELDS[name].space, Categorical):
                posterior[name] = LogProbs(torch.full((*noisy.shape, K), fill) - math.log(K))
            elif isinstance(FIELDS[name].space, Torus):
                posterior[name] = Tangent(torch.full_like(noisy, fill), noisy)
            else:
                posterior[name] = Mean(torch.full_like(noisy, fill))
        return posterior


def walked(names: tuple[str, ...], network: Broken, rules: Rules) -> State:
    here, seeds = process(*names), Seeds(0, range(3))
    start = here.prior(dict.fromkeys(names, (3, 2)), seeds.at("prior"))
    return sample(network, start, [1.0, 0.75, 0.5, 0.25, 0.0], rules, process=here, seeds=seeds)


@pytest.mark.parametrize("at", [1, 3, 4])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (("x",), "x"),
        (("turn",), "turn"),
        (("c",), "c"),
        (("x", "c"), "c"),
        (("c", "x"), "x"),
        (("x", "turn", "c"), "turn"),
    ],
)
def test_a_network_that_says_no_number_is_told_by_field_and_step(
    names: tuple[str, ...], wrong: str, value: float, at: int
) -> None:
    """Also of classes alone, of which something can always be drawn."""
    for rules in (Rules(DDIM()), Rules(DPMSolver2M(1.0), Ancestral(0.2))):
        message = f"the field {wrong} is not a number at step {at} of 4 "
        refused(RunError, message, lambda rules=rules: walked(names, Broken(wrong, at, value), rules))  # type: ignore[misc]


def test_a_network_that_is_well_passes() -> None:
    for name, value in walked(("x", "turn", "c"), Broken(), Rules(DPMSolver2M(1.0), Ancestral(0.2))).items():
        assert value.double().isfinite().all(), name


def test_what_a_network_says_of_padding_does_not_matter() -> None:
    """Attention over nothing is no number, and nothing is made of it."""
    mask = torch.tensor([[True, True], [True, False], [True, False]])
    spec = replace(FIELDS["c"], shape=(-1,), layout=Masked(1))
    here = JointProcess({"c": spec}, {"c": PROCESSES["c"]})
    seeds = Seeds(0, range(3))

    def blind(state: State, levels: object, condition: object = None, previous: object = None) -> Posterior:
        value = torch.zeros(3, 2, K) - math.log(K)
        return {"c": LogProbs(value.masked_fill(~mask[..., None], math.nan))}

    start = here.prior({"c": (3, 2)}, seeds.at("prior"), mask)
    end = sample(blind, start, [1.0, 0.5, 0.0], DDIM(), process=here, seeds=seeds)
    assert not end["c"][~mask].any()
