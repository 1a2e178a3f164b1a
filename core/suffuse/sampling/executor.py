"""The one loop that every sampler, every kind of field and every modality runs through."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor

from suffuse.denoiser import Denoise
from suffuse.errors import ConfigError, RunError
from suffuse.posterior import Posterior, Statement
from suffuse.processes import Discrete, Gaussian, JointProcess, Level, Process, WrappedGaussian
from suffuse.sampling.grids import Resample, check
from suffuse.sampling.hooks import Hook, Moment
from suffuse.sampling.kernels import Site, advance
from suffuse.sampling.plan import Leg, Move, Plan, Point, Rest, Step
from suffuse.sampling.seeds import Seeds
from suffuse.sampling.solvers import DDIM, Solver
from suffuse.sampling.tokens import Ancestral, TokenSolver
from suffuse.state import State, sent

__all__ = ["Rules", "Walk", "invert", "move_fields", "planned", "plans", "sample"]


@dataclass(frozen=True)
class Rules:
    """Which solver moves which kind of field.

    Args:
        solver: of real-valued and periodic fields; where there are any, it also decides where the network looks.
        categorical: of fields of classes.
    """

    solver: Solver
    categorical: TokenSolver = Ancestral()


@singledispatch
def planned(process: Process, legs: Sequence[Leg], rules: Rules, name: str) -> list[Step]:
    """The stages of one field along the legs of a walk; a new kind of process registers its own.

    Raises:
        ConfigError: no rule moves a field of this process.
    """
    raise ConfigError(f"sampler: no rule for the field {name}, whose process is {type(process).__name__}")


@planned.register(Gaussian)
@planned.register(WrappedGaussian)
def _(process: Gaussian | WrappedGaussian, legs: Sequence[Leg], rules: Rules, name: str) -> list[Step]:
    return rules.solver.stages(legs, process.schedule)


@planned.register
def _(process: Discrete, legs: Sequence[Leg], rules: Rules, name: str) -> list[Step]:
    rules.categorical.check(process, name)
    return rules.categorical.stages(legs)


@dataclass(frozen=True)
class Walk:
    """Everything about a walk that is known before it: the moves, each field's plan, and the levels of the looks.

    Args:
        moves: along the clock.
        plans: of each field, one stage for each move.
        levels: of each field, alpha, sigma and log-SNR at the start of each move, ``[3, moves]`` in float64.
    """

    moves: Sequence[Move]
    plans: Mapping[str, Plan]
    levels: Mapping[str, Tensor]

    @classmethod
    def of(cls, moves: Sequence[Move], rules: Rules, process: JointProcess, absent: Collection[str] = ()) -> Walk:
        """The walk of all fields, of which frozen ones may be ``absent``, that is, unknown.

        Raises:
            ConfigError: a field that no rule moves.
        """
        times = torch.tensor([part for move in moves for part in (move.start, move.end)], dtype=torch.float64)
        walks, levels = {}, {}
        for name, part in process.processes.items():
            level = process.emptiness(name, times) if name in absent else process.level(name, times)
            levels[name] = torch.stack(level[:3])[:, ::2]
            points = [
                Point(alpha, sigma, log_snr if sigma else float("inf"))
                for alpha, sigma, log_snr in zip(*(column.tolist() for column in level[:3]), strict=True)
            ]
            legs = [
                Leg(start, end, move.look, move.first)
                for start, end, move in zip(points[::2], points[1::2], moves, strict=True)
            ]
            rests = [Rest(start.log_snr if move.look else None) for start, move in zip(points[::2], moves, strict=True)]
            walks[name] = Plan.of(rests if process.frozen(name) else planned(part, legs, rules, name))
        return cls(moves, walks, levels)

    @property
    def evaluations(self) -> int:
        """Network evaluations (NFE)."""
        return sum(move.look for move in self.moves)

    def columns(self, process: JointProcess, like: State) -> list[dict[str, Level]]:
        """The levels of each move as tensors ``[B]`` on the device, made before the loop so that it copies nothing."""
        rows: list[dict[str, Level]] = [{} for _ in self.moves]
        for name, table in self.levels.items():
            here = sent(table.to(like.dtype), like.device)
            parts = zip(
                *(part.unsqueeze(-1).expand(-1, like.batch_size).unbind() for part in here.unbind()), strict=True
            )
            ratios: Sequence[float | None] = torch.exp(-table[2]).tolist()
            if process.frozen(name):
                ratios = [None] * len(ratios)
            for row, (alpha, sigma, log_snr), ratio in zip(rows, parts, ratios, strict=True):
                row[name] = Level(alpha, sigma, log_snr, ratio)
        return rows


def plans(
    grid: Sequence[float],
    rules: Rules | Solver,
    process: JointProcess,
    resample: Resample | None = None,
    absent: Collection[str] = (),
) -> Walk:
    """The walk down a grid of clock times.

    Raises:
        ConfigError: the grid does not fall from at most 1 to 0, or a field that no rule moves.
    """
    check(grid)
    rules = rules if isinstance(rules, Rules) else Rules(rules)
    moves: list[Move] = []
    for run in [grid] if resample is None else resample.runs(grid):
        if moves:
            moves.append(Move(moves[-1].end, run[0], look=False))
        moves += _route(run, rules, process)
    return Walk.of(moves, rules, process, absent)


@torch.no_grad()
def sample(
    denoiser: Denoise,
    prior: State,
    grid: Sequence[float],
    solver: Rules | Solver,
    *,
    process: JointProcess,
    seeds: Seeds,
    condition: Mapping[str, Tensor] | None = None,
    hooks: Sequence[Hook] = (),
    resample: Resample | None = None,
    absent: Collection[str] = (),
) -> State:
    """Walk a noisy state down a grid to clean data.

    Args:
        denoiser: a `Denoiser`, or guidance around one.
        prior: the state at ``grid[0]``; from `JointProcess.prior` where that is 1.
        grid: falling times on the common clock, the last one 0; from `suffuse.sampling.grids`.
        solver: which rule moves the fields; `Rules` where those of classes shall not move by the ancestral one.
        process: the corruption that is undone; need not be the one of the training.
        seeds: whose noise is used in stochastic steps, one index for each sample.
        condition: collated conditions; missing ones are unknown.
        hooks: called in order at each move.
        resample: ways back to noise, for filling in.
        absent: frozen fields of which nothing is known; their values are those of `Process.absent`.

    Returns:
        The clean state. The loop itself never waits for the device.

    Raises:
        ConfigError: the grid does not fall, or a field that no rule moves.
        RunError: the network's belief came to be no number.
    """
    walk = plans(grid, solver, process, resample, absent)
    return _go(denoiser, prior, walk, process, seeds, condition, hooks)


@torch.no_grad()
def invert(
    denoiser: Denoise,
    clean: State,
    grid: Sequence[float],
    solver: Solver | None = None,
    *,
    process: JointProcess,
    condition: Mapping[str, Tensor] | None = None,
) -> State:
    """The noise from which a deterministic walk down the same grid leads to ``clean``, up to the error of its steps.

    Args:
        grid: falling to 0, as for `sample`; it is walked upwards from its last noisy time.
        solver: a deterministic rule; `DDIM` by default.

    Returns:
        The state at ``grid[0]``.

    Raises:
        ConfigError: a stochastic rule, or a field of classes, which has no way back.
    """
    solver = solver or DDIM()
    for name, part in process.processes.items():
        if isinstance(part, Discrete) and not process.frozen(name):
            raise ConfigError(f"invert: the field {name} is categorical, and its noise cannot be found again")
    if solver.stochastic:
        raise ConfigError(f"invert: {type(solver).__name__} adds noise on its way and cannot be turned round")
    check(grid)
    rising = list(grid[:-1])[::-1]
    levels = process.levels(torch.full((clean.batch_size,), rising[0], dtype=torch.float64))
    start = {}
    for name, value in clean.items():
        alpha, _ = levels[name].to(value.device, clean.dtype).like(value)
        start[name] = value if process.frozen(name) else alpha * value
    rules = Rules(solver)
    walk = Walk.of(_route(rising, rules, process), rules, process)
    return _go(denoiser, State(start, clean.mask), walk, process, Seeds(0, range(clean.batch_size)), condition, ())


def _route(grid: Sequence[float], rules: Rules, process: JointProcess) -> list[Move]:
    """The rule of real-valued fields decides where the network looks, if there are any."""
    return rules.categorical.route(grid) if process.categorical else rules.solver.route(grid, process.schedule)


def _go(
    denoiser: Denoise,
    state: State,
    walk: Walk,
    process: JointProcess,
    seeds: Seeds,
    condition: Mapping[str, Tensor] | None,
    hooks: Sequence[Hook],
) -> State:
    start = state
    levels = walk.columns(process, state)
    keeps_belief = getattr(denoiser, "self_conditioning", False)
    memory = {name: plan.memory for name, plan in walk.plans.items()}
    history: dict[str, list[Statement]] = {name: [] for name in walk.plans}
    classes = [name for name in walk.plans if isinstance(process.processes[name], Discrete) and memory[name]]
    sums: list[Tensor] = []
    anchors = dict(state.fields)
    belief: Posterior | None = None
    for index, (move, stages) in enumerate(zip(walk.moves, _rows(walk.plans), strict=True)):
        if move.look:
            told: Mapping[str, Level] = levels[index]
            if hooks:
                moment = Moment(index, len(levels), move.start, process, seeds)
                for hook in hooks:
                    state = hook.before_denoise(state, moment)
                for hook in hooks:
                    told = hook.levels(told, state, moment)
            belief = denoiser(state, told, condition, belief) if keeps_belief else denoiser(state, told, condition)
            for hook in hooks:
                belief = hook.after_denoise(belief, state, moment)
            for name, kept in history.items():
                if memory[name]:
                    kept.insert(0, belief[name])
                    del kept[memory[name] :]
            sums += [process.fields[name].sum(belief[name].value, state.mask).sum() for name in classes]
        else:
            history = {name: [] for name in history}
        fresh = {}
        for name, stage in stages.items():
            if stage.commit:
                anchors[name] = state[name]
            if stage.random:
                value = state[name]
                draws = process.noise(name, tuple(value.shape), seeds.at("step", index))
                fresh[name] = sent(draws, value.device)
        state = move_fields(stages, state, anchors, history, fresh, process)
        if hooks:
            moment = Moment(index, len(levels), move.end, process, seeds)
            for hook in hooks:
                state = hook.after_step(state, moment)
    for name, value in state.items():
        if isinstance(process.processes[name], WrappedGaussian):
            state = state.replace(**{name: process.fields[name].project(value, state.mask)})
    # The only wait for the device. A number that is none survives every later step of a real-valued field, but a class
    # is drawn from whatever there is, so that beliefs in classes are summed on the way.
    ends = [value.sum() for value in state.fields.values() if value.is_floating_point()]
    if not torch.stack([part.double() for part in (*sums, *ends)]).isfinite().all() and _Check not in map(type, hooks):
        _go(denoiser, start, walk, process, seeds, condition, (*hooks, _Check()))
        raise RunError("sampling: the result is not a number")
    return state


class _Check(Hook):
    """Waits for the device at every step to say where a belief went wrong."""

    def after_denoise(self, posterior: Posterior, state: State, moment: Moment) -> Posterior:
        for name, belief in posterior.items():
            wrong = ~belief.value.isfinite()  # but for padding, which nothing is made of
            if moment.process.fields[name].sum(wrong, state.mask).any():
                raise RunError(
                    f"sampling: what the network says of the field {name} is not a number at step "
                    f"{moment.index + 1} of {moment.count} (clock {moment.clock:.4g}); its training diverged, or the "
                    "precision is too low"
                )
        return posterior


def move_fields(
    stages: Mapping[str, Step],
    state: State,
    anchors: Mapping[str, Tensor],
    history: Mapping[str, Sequence[Statement]],
    fresh: Mapping[str, Tensor],
    process: JointProcess,
) -> State:
    """All fields after one stage each: the tensor operations of a move, apart from the network's."""
    fields = {}
    for name, stage in stages.items():
        site = Site(process.fields[name], process.processes[name], state[name], anchors[name], state.mask)
        fields[name] = advance.dispatch(type(stage))(stage, site, history[name], fresh.get(name))
    return State(fields, state.mask)


def _rows(plans: Mapping[str, Plan]) -> list[dict[str, Step]]:
    """Stage by stage, those of all fields."""
    return [dict(zip(plans, row, strict=True)) for row in zip(*plans.values(), strict=True)]
