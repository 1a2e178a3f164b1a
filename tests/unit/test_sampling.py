"""The executor: samples own their noise, grids fall, hooks see every stage, and plans are plain numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.posterior import Mean, Posterior
from suffuse.processes import JointProcess, Process
from suffuse.sampling import (
    DDIM,
    DPMSolver2M,
    DPMSolver2S,
    DPMSolver3M,
    Euler,
    Heun,
    Hook,
    Seeds,
    Solver,
    grids,
    plans,
    sample,
)
from suffuse.sampling.hooks import Moment
from suffuse.schedules import EDM, Cosine, LinearBetaVP, RectifiedFlow, Schedule
from suffuse.state import State
from tiny import denoiser, field, process

SCHEDULES: dict[str, Schedule] = {"vp": LinearBetaVP(), "edm": EDM(), "flow": RectifiedFlow(), "cosine": Cosine()}
SOLVERS: dict[str, Solver] = {
    "ddim": DDIM(),
    "ancestral": DDIM(1.0),
    "euler": Euler(),
    "heun": Heun(),
    "2s": DPMSolver2S(),
    "2m": DPMSolver2M(),
    "3m": DPMSolver3M(),
    "3m sde": DPMSolver3M(1.0),
}
GRIDS = {"uniform": grids.uniform, "cosine": grids.cosine, "karras": grids.karras, "lambda": grids.uniform_lambda}


def draw(solver: Solver, indices: list[int] | range, *, seed: int = 0, hooks: tuple[Hook, ...] = ()) -> Tensor:
    """Samples of an untrained network: no good, but as much a function of their noise as any."""
    here = process(scale=0.7)
    seeds = Seeds(seed, indices)
    prior = here.prior({"x": (len(indices), 2)}, seeds.at("prior"))
    grid = grids.uniform_lambda(solver.intervals(8), Cosine())
    return sample(denoiser(), prior, grid, solver, process=here, seeds=seeds, hooks=hooks)["x"]


def changes_with_the_batch(draw: Callable[[range], Tensor]) -> float:
    """How much eight samples differ from the same drawn in two batches."""
    whole = draw(range(8))
    halves = torch.cat([draw(range(4)), draw(range(4, 8))])
    return float((whole - halves).abs().max())


@pytest.mark.parametrize("solver", SOLVERS)
def test_samples_do_not_depend_on_their_batch(solver: str) -> None:
    assert changes_with_the_batch(lambda rows: draw(SOLVERS[solver], rows)) < 1e-5


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_same_indices_give_the_same_bits(solver: str) -> None:
    """In any order and beside any others, in a batch of the same size."""
    whole = draw(SOLVERS[solver], range(8))
    assert torch.equal(draw(SOLVERS[solver], range(8)), whole)
    assert torch.equal(draw(SOLVERS[solver], [7, 6, 5, 4, 3, 2, 1, 0]), whole.flip(0))
    assert torch.equal(draw(SOLVERS[solver], [3, 90, 91, 5, 92, 93, 94, 95])[[0, 3]], whole[[3, 5]])
    assert not torch.equal(draw(SOLVERS[solver], range(8), seed=1), whole)
    assert len(torch.unique(whole, dim=0)) == 8


def test_noise_of_the_batch_is_noticed() -> None:
    """The mutant: seeds that count from zero in every batch."""
    assert changes_with_the_batch(lambda rows: draw(DDIM(1.0), range(len(rows)))) > 1e-2


def test_seeds_are_for_their_own_number_of_samples() -> None:
    with pytest.raises(ValueError, match="3 samples asked of seeds for 2"):
        Seeds(0, [4, 5]).at("prior").normal("x", (3, 2))


def test_purposes_fields_and_steps_have_noise_of_their_own() -> None:
    seeds = Seeds(0, range(4))
    drawn = [
        seeds.at(purpose, step).normal(name, (4, 3))
        for purpose in ("prior", "step")
        for name in ("x", "y")
        for step in (0, 1)
    ]
    assert len({tuple(part.flatten().tolist()) for part in drawn}) == 8


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 100, 1000])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", GRIDS)
def test_grids_fall_to_the_clean_state(name: str, schedule: str, steps: int) -> None:
    chosen = SCHEDULES[schedule]
    for start in (1.0, 0.4):
        grid = GRIDS[name](steps, chosen, start=start)
        assert len(grid) == steps + 1
        grids.check(grid)
        first, asked = chosen.log_snr(torch.tensor([grid[0], start], dtype=torch.float64)).tolist()
        assert first == pytest.approx(asked, abs=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_grids_are_even_in_what_they_say(schedule: str) -> None:
    chosen = SCHEDULES[schedule]

    def log_snrs(grid: list[float]) -> Tensor:
        return chosen.log_snr(torch.tensor(grid[:-1], dtype=torch.float64))

    def uneven(values: Tensor) -> float:
        return float(values.diff().std() / values.diff().mean().abs())

    assert uneven(log_snrs(grids.uniform_lambda(20, chosen))) < 1e-4
    assert uneven(torch.exp(-log_snrs(grids.karras(20, chosen)) / 7)) < 1e-4
    assert uneven(torch.exp(-log_snrs(grids.karras(20, chosen, rho=3.0)) / 3)) < 1e-3
    assert uneven(torch.tensor(grids.uniform(20, chosen), dtype=torch.float64)) < 1e-12
    assert float(log_snrs(grids.uniform_lambda(20, chosen))[-1]) == pytest.approx(chosen.log_snr_max, abs=1e-6)


def test_karras_may_begin_lower() -> None:
    grid = grids.karras(10, EDM(), sigma_max=10.0)
    assert float(EDM().log_snr(torch.tensor(grid[0], dtype=torch.float64))) == pytest.approx(-math.log(10))


@pytest.mark.parametrize(
    "grid",
    [
        [],
        [1.0],
        [0.0],
        [1.0, 0.5],
        [1.0, 0.5, 0.5, 0.0],
        [0.5, 0.8, 0.0],
        [1.5, 0.5, 0.0],
        [math.nan, 0.0],
        [1.0, math.nan, 0.0],
    ],
)
def test_grids_that_do_not_fall_are_refused(grid: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"sampler\.grid"):
        plans(grid, DDIM(), process())


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_eta_out_of_range_is_refused(eta: float) -> None:
    with pytest.raises(ConfigError, match=r"sampler\.eta"):
        DDIM(eta)


@pytest.mark.parametrize("settings", [{"rho": 0.0}, {"sigma_max": -1.0}])
def test_bad_settings_of_a_grid_are_named(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        grids.karras(4, EDM(), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_plans_are_plain_finite_numbers(solver: str, grid: str, schedule: str) -> None:
    """Also for thousands of steps, whose first and last levels all lie at the bounds of the schedule."""
    for steps in (1, 2, 7, 3000):
        plan = plans(GRIDS[grid](steps, SCHEDULES[schedule]), SOLVERS[solver], process(SCHEDULES[schedule])).plans["x"]
        for stage in plan:
            numbers = [stage.log_snr, stage.base, *stage.means, stage.noise]
            assert all(type(number) is float and math.isfinite(number) for number in numbers)
        assert (plan.stages[-1].base, plan.stages[-1].noise) == (0, 0)
        assert sum(plan.stages[-1].means) == pytest.approx(1)
    json.dumps([asdict(stage) for stage in plan])


@pytest.mark.parametrize("budget", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("solver", SOLVERS)
def test_budgets_of_evaluations_are_kept(solver: str, budget: int) -> None:
    rule = SOLVERS[solver]
    plan = plans(grids.uniform(rule.intervals(budget), Cosine()), rule, process())
    assert budget - 1 <= plan.evaluations <= budget
    looks: list[float] = []

    def counting(state: State, levels: object, condition: object = None) -> Posterior:
        looks.append(float(levels["x"].log_snr[0]))  # type: ignore[index]
        return {"x": Mean(torch.zeros_like(state["x"]))}

    grid = grids.uniform(rule.intervals(budget), Cosine())
    sample(counting, State({"x": torch.ones(2, 2)}), grid, rule, process=process(), seeds=Seeds(0, range(2)))
    assert len(looks) == plan.evaluations
    assert looks == sorted(looks)


class Watch(Hook):
    """Records every call; may push the state or the posterior."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, float]] = []

    def before_denoise(self, state: State, moment: Moment) -> State:
        self.calls.append(("before", moment.index, moment.clock))
        assert moment.count == 4
        return state

    def after_denoise(self, posterior: Posterior, state: State, moment: Moment) -> Posterior:
        self.calls.append(("denoised", moment.index, moment.clock))
        return posterior

    def after_step(self, state: State, moment: Moment) -> State:
        self.calls.append(("after", moment.index, moment.clock))
        return state


def test_every_step_has_fresh_noise() -> None:
    """Read back from a walk whose posterior mean is zero: standard normal, and independent from step to step."""

    def blank(state: State, levels: object, condition: object = None) -> Posterior:
        return {"x": Mean(torch.zeros_like(state["x"]))}

    states: list[Tensor] = []

    class Keep(Hook):
        def before_denoise(self, state: State, moment: Moment) -> State:
            states.append(state["x"])
            return state

    grid, seeds = [1.0, 0.8, 0.5, 0.3, 0.0], Seeds(0, range(2000))
    start = State({"x": torch.zeros(2000, 2, dtype=torch.float64)})
    sample(blank, start, grid, DDIM(1.0), process=process(), seeds=seeds, hooks=[Keep()])
    stages = plans(grid, DDIM(1.0), process()).plans["x"].stages
    fresh = [
        ((after - stage.base * before) / stage.noise).flatten()
        for stage, before, after in zip(stages, states, states[1:], strict=False)
    ]
    together = torch.corrcoef(torch.stack([seeds.at("prior").normal("x", (2000, 2)).double().flatten(), *fresh]))
    assert float((together - torch.eye(4)).abs().max()) < 5 / math.sqrt(4000)
    assert all(float(eps.var()) == pytest.approx(1, abs=0.12) for eps in fresh)


def test_hooks_see_every_stage_and_the_clock() -> None:
    watch = Watch()
    grid = [1.0, 0.7, 0.4, 0.1, 0.0]
    start = State({"x": torch.randn(2, 2, generator=torch.Generator().manual_seed(0))})
    sample(denoiser(), start, grid, DDIM(), process=process(RectifiedFlow()), seeds=Seeds(0, range(2)), hooks=[watch])
    assert [name for name, _, _ in watch.calls] == ["before", "denoised", "after"] * 4
    assert [index for _, index, _ in watch.calls] == [index for index in range(4) for _ in range(3)]
    clocks = [clock for name, _, clock in watch.calls if name == "before"]
    assert clocks == pytest.approx([1.0, 0.7, 0.4, 0.1])
    assert [clock for name, _, clock in watch.calls if name == "after"] == [*clocks[1:], 0.0]


def test_hooks_steer_the_walk_in_their_order() -> None:
    class Clamp(Hook):
        def after_denoise(self, posterior: Posterior, state: State, moment: Moment) -> Posterior:
            return {"x": Mean(posterior["x"].value.clamp(-0.1, 0.1))}

    class Shift(Hook):
        def after_step(self, state: State, moment: Moment) -> State:
            return state.replace(x=state["x"] + 5) if moment.clock == 0 else state

    free, clamped = draw(DPMSolver2M(), range(6)), draw(DPMSolver2M(), range(6), hooks=(Clamp(),))
    assert float(free.abs().max()) > 0.11 > float(clamped.abs().max())
    torch.testing.assert_close(draw(DPMSolver2M(), range(6), hooks=(Clamp(), Shift())), clamped + 5)


def test_watching_changes_nothing_and_the_start_is_left_alone() -> None:
    assert torch.equal(draw(Heun(), range(4), hooks=(Hook(), Hook())), draw(Heun(), range(4)))
    start = State({"x": torch.ones(2, 2)})
    sample(denoiser(), start, [1.0, 0.5, 0.0], Heun(), process=process(), seeds=Seeds(0, range(2)))
    assert torch.equal(start["x"], torch.ones(2, 2))


def test_float64_stays_float64() -> None:
    start = State({"x": torch.ones(2, 2, dtype=torch.float64)})
    made = sample(denoiser().double(), start, [1.0, 0.5, 0.0], DDIM(1.0), process=process(), seeds=Seeds(0, [0, 1]))
    assert made["x"].dtype == torch.float64


def test_a_field_that_no_rule_moves_is_named() -> None:
    class Strange(Process):
        corrupt = begin = error = absent = None  # type: ignore[assignment]
        schedule = Cosine()

    with pytest.raises(ConfigError, match="field x, whose process is Strange"):
        plans([1.0, 0.0], DDIM(), JointProcess(field(), {"x": Strange()}))
