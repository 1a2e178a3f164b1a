"""Walks of whole states that may end before the clean state, by the executor's own moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from suffuse.denoiser import Denoise
from suffuse.posterior import Statement
from suffuse.processes import JointProcess, Noise
from suffuse.sampling import Resample, Rules, Solver
from suffuse.sampling.executor import Walk, move_fields
from suffuse.sampling.plan import Move
from suffuse.state import State

__all__ = ["along", "travel"]


def along(
    grid: Sequence[float], rules: Rules | Solver, process: JointProcess, resample: Resample | None = None
) -> Walk:
    """The walk down clock times, which need not end at 0."""
    rules = rules if isinstance(rules, Rules) else Rules(rules)
    moves: list[Move] = []
    for run in [grid] if resample is None else resample.runs(grid):
        if moves:
            moves.append(Move(moves[-1].end, run[0], look=False))
        moves += rules.categorical.route(run) if process.categorical else rules.solver.route(run, process.schedule)
    return Walk.of(moves, rules, process)


def travel(
    denoise: Denoise,
    state: State,
    walk: Walk,
    process: JointProcess,
    fresh: Callable[[int], Noise] | None = None,
) -> State:
    """The state at the end of a walk.

    Args:
        fresh: gives each move its noise, where a stage is random.
    """
    history: dict[str, list[Statement]] = {name: [] for name in walk.plans}
    anchors: dict[str, Tensor] = dict(state.fields)
    for index, (move, levels) in enumerate(zip(walk.moves, walk.columns(process, state), strict=True)):
        stages = {name: plan.stages[index] for name, plan in walk.plans.items()}
        if move.look:
            belief = denoise(state, levels)
            history = {name: [belief[name], *kept][: walk.plans[name].memory] for name, kept in history.items()}
        else:
            history = {name: [] for name in history}
        anchors = {name: state[name] if stage.commit else anchors[name] for name, stage in stages.items()}
        noise = {
            name: process.noise(name, tuple(state[name].shape), fresh(index))
            for name, stage in stages.items()
            if stage.random and fresh is not None
        }
        state = move_fields(stages, state, anchors, history, noise, process)
    return state
