"""Classes and numbers that are made together: which order is kept, what the network is shown on the way, clocks that
differ from field to field, and fields that are given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from oracle import f64
from oracle_joint import Cases, everything
from torch import Tensor

from suffuse.denoiser import Denoise
from suffuse.fields import Field
from suffuse.noise import Draws
from suffuse.posterior import Posterior
from suffuse.processes import Discrete, Gaussian, JointProcess, Level
from suffuse.sampling import (
    DDIM,
    Ancestral,
    DPMSolver2M,
    DPMSolver2S,
    DPMSolver3M,
    Heun,
    Hook,
    Rules,
    Seeds,
    Solver,
    TokenSolver,
    sample,
    uniform_lambda,
)
from suffuse.sampling.hooks import Moment
from suffuse.sampling.plan import Leg, Point, Stage, Step
from suffuse.schedules import Cosine, RectifiedFlow, Schedule, SquaredCosine
from suffuse.spaces import Categorical
from suffuse.state import State
from suffuse.training.clock import LogNormal, Uniform
from suffuse.training.objective import Objective
from suffuse.training.weightings import edm
from suffuse.warps import Frozen, Identity, Power, Shift, Warp, Warped

COUNT = 12_000
SCHEDULE = Cosine(-4.5, 4.5)
ONE = Cases(f64([0.5, 0.3, 0.2]), torch.arange(3)[:, None], f64([1 / 3] * 3), 3, f64([[-2.0], [0.5], [2.5]]), 0.4)
"""A class, and a number that lies around a place of that class."""

_TRIPLES = everything(2, 3)
SEVERAL = Cases(
    f64([0.30, 0.05, 0.05, 0.04, 0.05, 0.04, 0.04, 0.43]),
    _TRIPLES,
    f64([0.5, 0.5]),
    2,
    (_TRIPLES.double() @ f64([[1.0], [0.7], [1.3]]) - 1.5) * 1.2,
    0.4,
)
"""Three classes that tend to be equal, and a number that depends on all of them."""


def joint(data: Cases, warps: Mapping[str, Warp] | None = None, **settings: object) -> JointProcess:
    """On a common clock, on which the keep-probability of classes is alpha^2 of the numbers."""
    fields = {
        "x": Field(shape=(1,)),
        "c": Field(shape=(data.classes.shape[1],), space=Categorical(data.count)),
    }
    tokens = Discrete(SquaredCosine(), tuple(data.pi.tolist()))
    return JointProcess(fields, {"x": Gaussian(SCHEDULE), "c": tokens}, warps or {}, **settings)  # type: ignore[arg-type]


def marginal(data: Cases, process: JointProcess, clock: float, count: int = COUNT) -> State:
    """Samples of the data with the noise of the clock."""
    levels = process.levels(torch.full((count,), clock, dtype=torch.float64))
    return process.corrupt(data.draw(count), levels, Draws(0, "prior", range(count)))


def made(
    data: Cases,
    rules: Solver | Rules,
    steps: int,
    process: JointProcess | None = None,
    seeds: Seeds | None = None,
    hooks: tuple[Hook, ...] = (),
) -> State:
    """Samples by the exact denoiser, from the exact marginal at the noisy end."""
    process = process or joint(data)
    solver = rules.solver if isinstance(rules, Rules) else rules
    grid = uniform_lambda(solver.intervals(steps), process.schedule)
    start = marginal(data, process, grid[0])
    seeds = seeds or Seeds(0, range(COUNT))
    return sample(data, start, grid, rules, process=process, seeds=seeds, hooks=hooks)


def shares(data: Cases, state: State) -> tuple[Tensor, Tensor]:
    """Found and true shares of each case and, within it, of six intervals of the number; flat."""
    assert data.means is not None
    places = data.count ** torch.arange(data.classes.shape[1]).flip(0)
    case = (state["c"] * places).sum(1)
    cuts = f64([-1.0, -0.4, 0.0, 0.4, 1.0])
    within = torch.bucketize((state["x"][:, 0] - data.means[case, 0]) / data.deviation, cuts)
    found = torch.bincount(case * 6 + within, minlength=6 * len(data.weights)).double() / len(case)
    parts = torch.cat([f64([0.0]), torch.special.ndtr(cuts), f64([1.0])]).diff()
    return found, (data.weights[:, None] * parts).flatten()


def variation(data: Cases, state: State) -> float:
    """Total variation between samples and data, beyond that of as many samples of the data themselves."""
    found, true = shares(data, state)
    floor = (2 / math.pi * true * (1 - true) / state.batch_size).sqrt().sum() / 2
    return float((found - true).abs().sum() / 2 - floor)


def distance(data: Cases, state: State) -> float:
    """Between the shares, Euclidean, without the part that is due to the number of samples."""
    found, true = shares(data, state)
    return math.sqrt(max(float(((found - true) ** 2 - true * (1 - true) / state.batch_size).sum()), 0.0))


def no_worse_than_half(rule: Solver) -> bool:
    """Whether the rule errs by at most half of what DDIM does, with as many looks."""
    return variation(ONE, made(ONE, rule, 32)) <= variation(ONE, made(ONE, DDIM(), 32)) / 2


class WrongSign(Solver):
    """2M, whose history pushes the wrong way."""

    order = 2

    def stage(self, leg: Leg, past: object, schedule: Schedule) -> Stage:
        right = DPMSolver2M().stage(leg, past, schedule)  # type: ignore[arg-type]
        if len(right.means) == 1:
            return right
        return replace(right, means=(right.means[0] + 2 * right.means[1], -right.means[1]))


def test_second_order_pays_beside_classes() -> None:
    assert no_worse_than_half(DPMSolver2M())


def test_a_history_of_the_wrong_sign_is_noticed() -> None:
    assert not no_worse_than_half(WrongSign())


class OneNoise(Seeds):
    """Seeds that give every step the same noise."""

    def at(self, purpose: str, step: int = 0) -> Draws:
        return super().at(purpose, 0)


def order(data: Cases, rule: Solver, seeds: Seeds | None = None) -> float:
    """The slope of log error over log steps."""
    coarse, fine = (distance(data, made(data, rule, steps, seeds=seeds)) for steps in (8, 32))
    return math.log(coarse / fine) / math.log(4)


@pytest.mark.parametrize("rule", [DDIM(), DPMSolver2M()])
def test_several_sites_converge_at_first_order_at_least(rule: Solver) -> None:
    """Classes of one step are drawn as if they were independent, which costs the second order, not the first."""
    assert order(SEVERAL, rule) > 0.9


def test_noise_that_repeats_is_noticed() -> None:
    assert order(SEVERAL, DPMSolver2M(), OneNoise(0, range(COUNT))) < 0.9


class Record(Hook):
    """What the network is shown: clocks, tokens, and the levels that it is told."""

    def __init__(self) -> None:
        self.clocks: list[float] = []
        self.states: list[State] = []
        self.told: list[Mapping[str, Level]] = []

    def levels(self, levels: Mapping[str, Level], state: State, moment: Moment) -> Mapping[str, Level]:
        self.clocks.append(moment.clock)
        self.states.append(state)
        self.told.append(levels)
        return levels


class OnlyAtTheEnd(TokenSolver):
    """Tokens that wait for the last stage of a step, and then make the whole step."""

    def stages(self, legs: object) -> list[Step]:
        stages: list[Step] = []
        begun: Point | None = None
        for leg in legs:  # type: ignore[attr-defined]
            waits = leg.first and leg.end.sigma > 0
            held = Leg(leg.start if begun is None else begun, leg.start if waits else leg.end)
            begun = held.start if waits else None
            stages += Ancestral().stages([held])
        return stages

    def stage(self, leg: Leg) -> Step:
        raise NotImplementedError


def off_their_level(rules: Rules) -> float:
    """By how many standard errors the share of masks departs from that of the level which the network is told."""
    data = replace(ONE, pi=f64([0.0, 0.0, 0.0, 1.0]))
    process, record = joint(data), Record()
    made(data, rules, 11, process, hooks=(record,))
    worst = 0.0
    for clock, state, told in zip(record.clocks, record.states, record.told, strict=True):
        for name, level in process.levels(torch.full((COUNT,), clock, dtype=torch.float64)).items():
            torch.testing.assert_close(told[name].alpha, level.alpha, rtol=1e-9, atol=1e-12)
        masked = float(told["c"].sigma[0])
        error = math.sqrt(masked * (1 - masked) / COUNT)
        worst = max(worst, abs(float((state["c"] == 3).double().mean()) - masked) / error)
    assert len(record.clocks) == 11
    return worst


@pytest.mark.parametrize("solver", [Heun(), DPMSolver2S(), DPMSolver2M()])
def test_every_stage_sees_tokens_of_its_own_level(solver: Solver) -> None:
    assert off_their_level(Rules(solver)) < 5


def test_tokens_that_wait_for_the_end_of_the_step_are_noticed() -> None:
    assert off_their_level(Rules(DPMSolver2S(), OnlyAtTheEnd())) > 20


WARPS: list[Warp] = [Identity(), Power(0.5), Power(3.0), Shift(0.2), Shift(0.3), Shift(3.0)]


@pytest.mark.parametrize("warp", WARPS)
def test_warps_are_rising_maps_of_the_clock(warp: Warp) -> None:
    clock = torch.linspace(0, 1, 101, dtype=torch.float64)
    time = warp.time(clock)
    assert (time.diff() > 0).all()
    assert torch.equal(time[[0, -1]], f64([0.0, 1.0]))  # the least bit beyond 1 has no level
    torch.testing.assert_close(warp.clock(time), clock)


@pytest.mark.parametrize("warp", WARPS)
@pytest.mark.parametrize("schedule", [Cosine(), RectifiedFlow()])
def test_a_warped_schedule_has_its_inverse_and_its_scale(schedule: Schedule, warp: Warp) -> None:
    warped, clock = Warped(schedule, warp), torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    log_snr = warped.log_snr(clock)
    torch.testing.assert_close(log_snr, schedule.log_snr(warp.time(clock)))
    inside = (log_snr > warped.log_snr_min) & (log_snr < warped.log_snr_max)
    torch.testing.assert_close(warped.time(log_snr)[inside], clock[inside])
    assert int(inside.sum()) > 12
    for found, true in zip(warped.alpha_sigma(log_snr), schedule.alpha_sigma(log_snr), strict=True):
        assert torch.equal(found, true)


@pytest.mark.parametrize("warp", [Power(2.0), Shift(0.5)])
@pytest.mark.parametrize("name", ["x", "c"])
def test_other_warps_make_the_same_data(name: str, warp: Warp) -> None:
    process = joint(ONE, {name: warp})
    assert variation(ONE, made(ONE, DPMSolver2M(), 32, process)) < 0.01


class Unwarped(Hook):
    """Tells the network levels that know of no warp."""

    def levels(self, levels: Mapping[str, Level], state: State, moment: Moment) -> Mapping[str, Level]:
        clock = torch.full((state.batch_size,), moment.clock, dtype=torch.float64)
        return replace(moment.process, warps={}).levels(clock)


def test_a_warp_that_the_network_is_not_told_of_is_noticed() -> None:
    for name, least in (("x", 0.1), ("c", 0.02)):
        process = joint(ONE, {name: Power(4.0)})
        assert variation(ONE, made(ONE, DPMSolver2M(), 32, process, hooks=(Unwarped(),))) > least


@pytest.mark.parametrize("solver", [DDIM(1.0), DPMSolver2M(), DPMSolver3M(), Heun(churn=5.0), DPMSolver2S()])
@pytest.mark.parametrize("name", ["x", "c"])
def test_given_fields_keep_their_bits_and_are_told_as_clean(name: str, solver: Solver) -> None:
    process, record = joint(ONE, {name: Frozen()}, reference="c" if name == "x" else "x"), Record()
    given = ONE.draw(64)
    grid = uniform_lambda(6, process.schedule)
    start = marginal(ONE, process, grid[0], 64).replace(**{name: given[name]})
    end = sample(ONE, start, grid, solver, process=process, seeds=Seeds(0, range(64)), hooks=(record,))
    assert torch.equal(end[name], given[name])
    assert all(torch.equal(state[name], given[name]) for state in record.states)
    cleanest = process.processes[name].schedule.log_snr_max
    for told in record.told:
        assert (told[name].sigma == 0).all()
        assert (told[name].log_snr == cleanest).all()
        assert told[name].ratio is None


@pytest.mark.parametrize("name", ["x", "c"])
def test_given_fields_decide_what_is_made_beside_them(name: str) -> None:
    """Each part of the samples comes from the data's own distribution given the other part."""
    other = "c" if name == "x" else "x"
    process = joint(ONE, {name: Frozen()}, reference=other)
    grid = uniform_lambda(32, process.schedule)
    given = ONE.draw(COUNT)
    start = marginal(ONE, process, grid[0]).replace(**{name: given[name]})
    end = sample(ONE, start, grid, DPMSolver2M(), process=process, seeds=Seeds(0, range(COUNT)))
    assert variation(ONE, end) < 0.005
    mixed = end.replace(**{name: given[name].flip(0)})  # the same parts, put together anew
    assert variation(ONE, mixed) > 0.1


@pytest.mark.parametrize("name", ["x", "c"])
def test_absent_fields_are_told_as_noise(name: str) -> None:
    process, record = joint(ONE, {name: Frozen()}, reference="c" if name == "x" else "x"), Record()
    grid = [1.0, 0.5, 0.0]
    start = marginal(ONE, process, 1.0, 8)
    empty = process.processes[name].absent(start[name], process.fields[name], None)
    assert (empty == (0 if name == "x" else 3)).all()
    seeds = Seeds(0, range(8))
    start = start.replace(**{name: empty})
    sample(BLIND, start, grid, DDIM(), process=process, seeds=seeds, hooks=(record,), absent=[name])
    noisiest = process.processes[name].schedule.log_snr_min
    assert all((told[name].log_snr == noisiest).all() for told in record.told)
    assert all(torch.equal(state[name], empty) for state in record.states)


class Blind:
    """Believes the same whatever it is shown: the data's own shares and mean."""

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        noise = {n: level._replace(alpha=0 * level.alpha, sigma=1 + 0 * level.sigma) for n, level in levels.items()}
        return ONE(State({"x": 0 * state["x"], "c": 0 * state["c"]}), noise)


BLIND: Denoise = Blind()


def seen_in_training(process: JointProcess, dropout: float = 0.0) -> tuple[list[State], list[Mapping[str, Level]]]:
    """What the network sees over some steps of training."""
    states, levels = [], []

    def listening(state: State, told: Mapping[str, Level], condition: object = None) -> Posterior:
        states.append(state)
        levels.append(told)
        return BLIND(state, told)

    objective = Objective(process, LogNormal(-0.5, 1.0), edm(), dropout=dropout)
    for step in range(20):
        clean = ONE.draw(64, step)
        objective(listening, clean, {}, seed=0, step=step, rows=range(64), total=64)  # type: ignore[arg-type]
    return states, levels


def agreement(process: JointProcess) -> float:
    """The correlation of the times of both fields over training."""
    _, levels = seen_in_training(process)
    times = [torch.cat([process.processes[n].schedule.time(told[n].log_snr) for told in levels]) for n in ("x", "c")]
    return float(torch.corrcoef(torch.stack(times))[0, 1])


def test_fields_share_the_clock_unless_theirs_is_independent() -> None:
    assert agreement(joint(ONE)) > 0.99
    assert abs(agreement(joint(ONE, independent=frozenset({"c"})))) < 0.1
    assert abs(agreement(joint(ONE, independent=frozenset({"x"})))) < 0.1


@pytest.mark.parametrize("name", ["x", "c"])
def test_an_independent_clock_has_the_same_distribution(name: str) -> None:
    """One draw to each stratum, as on the common clock."""
    process = joint(ONE, independent=frozenset({name}))
    _, shared = seen_in_training(joint(ONE))
    _, own = seen_in_training(process)
    for told, alone in zip(shared, own, strict=True):
        gap = (told[name].alpha.sort().values - alone[name].alpha.sort().values).abs().max()
        assert float(gap) < 0.12
        other = "c" if name == "x" else "x"
        assert torch.equal(told[other].alpha, alone[other].alpha)


@pytest.mark.parametrize("name", ["x", "c"])
def test_given_fields_are_clean_in_training_or_hidden(name: str) -> None:
    process = joint(ONE, {name: Frozen()}, reference="c" if name == "x" else "x")
    states, levels = seen_in_training(process, dropout=0.25)
    schedule = process.processes[name].schedule
    hidden = torch.stack([told[name].log_snr == schedule.log_snr_min for told in levels])
    known = torch.stack([told[name].log_snr == schedule.log_snr_max for told in levels])
    assert (hidden ^ known).all()
    assert float(hidden.double().mean()) == pytest.approx(0.25, abs=0.06)
    for step, (state, where) in enumerate(zip(states, hidden, strict=True)):
        empty = 0 if name == "x" else ONE.count
        assert (state[name][where] == empty).all()
        assert torch.equal(state[name][~where], ONE.draw(64, step)[name][~where])


def test_the_loss_is_the_sum_over_what_is_made() -> None:
    """A field's weight counts, and a given field has no loss."""

    def loss(process: JointProcess) -> Tensor:
        objective = Objective(process, Uniform(), edm(), dropout=0.0)
        return objective(ONE, ONE.draw(16), {}, seed=0, step=0, rows=range(16), total=16)

    def weighed(x: float, c: float) -> JointProcess:
        plain = joint(ONE)
        fields = {name: replace(plain.fields[name], weight=w) for name, w in (("x", x), ("c", c))}
        return replace(plain, fields=fields)

    parts = loss(weighed(1.0, 0.0)), loss(weighed(0.0, 1.0))
    torch.testing.assert_close(loss(weighed(2.0, 3.0)), 2 * parts[0] + 3 * parts[1])
    assert float(parts[0].mean()) > 0.01
    assert float(parts[1].mean()) > 0.01
    given = loss(joint(ONE, {"x": Frozen()}, reference="c"))
    assert float(given.mean()) < float(parts[1].mean())  # knowing the number helps
