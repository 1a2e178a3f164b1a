"""The one loop that every sampler, every kind of field and every modality runs through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from suffuse.denoiser import Denoise
from suffuse.errors import ConfigError
from suffuse.posterior import Mean
from suffuse.processes import Gaussian, JointProcess, Level
from suffuse.sampling.grids import check
from suffuse.sampling.hooks import Hook, Moment
from suffuse.sampling.kernels import advance
from suffuse.sampling.plan import Plan
from suffuse.sampling.seeds import Seeds
from suffuse.sampling.solvers import Solver
from suffuse.state import State

__all__ = ["plans", "sample"]


def plans(grid: Sequence[float], solver: Solver, process: JointProcess) -> dict[str, Plan]:
    """The plan of each field along a grid of clock times.

    Raises:
        ConfigError: the grid does not fall from at most 1 to 0.
    """
    check(grid)
    return {name: solver.plan(_log_snrs(grid, part), part.schedule) for name, part in _gaussian(process).items()}


@torch.no_grad()
def sample(
    denoiser: Denoise,
    prior: State,
    grid: Sequence[float],
    solver: Solver,
    *,
    process: JointProcess,
    seeds: Seeds,
    condition: Mapping[str, Tensor] | None = None,
    hooks: Sequence[Hook] = (),
) -> State:
    """Walk a noisy state down a grid to clean data.

    Args:
        denoiser: a `Denoiser`, or guidance around one.
        prior: the state at ``grid[0]``; from `JointProcess.prior` where that is 1.
        grid: falling times on the common clock, the last one 0; from `suffuse.sampling.grids`.
        solver: which rule moves the fields.
        process: the corruption that is undone; need not be the one of the training.
        seeds: whose noise is used in stochastic steps, one index for each sample.
        condition: collated conditions; missing ones are unknown.
        hooks: called in order at each stage.

    Returns:
        The clean state. The loop itself never waits for the device.
    """
    plan = plans(grid, solver, process)
    levels = _levels(plan, process, prior)
    clocks = _clocks(plan, process) if hooks else []
    state, anchors = prior, prior
    history: dict[str, list[Mean]] = {name: [] for name in plan}
    memory = {name: part.memory for name, part in plan.items()}
    for index, stages in enumerate(zip(*plan.values(), strict=True)):
        if hooks:
            moment = Moment(index, len(levels), clocks[index], process, seeds)
            for hook in hooks:
                state = hook.before_denoise(state, moment)
        posterior = denoiser(state, levels[index], condition)
        for hook in hooks:
            posterior = hook.after_denoise(posterior, state, moment)
        if stages[0].commit:
            anchors = state
        fields = {}
        for (name, part), stage in zip(process.processes.items(), stages, strict=True):
            kept = history[name]
            kept.insert(0, posterior[name])
            del kept[memory[name] :]
            fresh = None
            if stage.noise:
                draw = seeds.normal("step", name, index, state[name].shape).to(state[name])
                fresh = process.fields[name].layout.clean(draw, state.mask)
            fields[name] = advance(part, stage, anchors[name], kept, fresh)
        state = State(fields, state.mask)
        if hooks:
            moment = Moment(index, len(levels), clocks[index + 1], process, seeds)
            for hook in hooks:
                state = hook.after_step(state, moment)
    return state


def _gaussian(process: JointProcess) -> dict[str, Gaussian]:
    fields = {}
    for name, part in process.processes.items():
        if not isinstance(part, Gaussian):
            raise ConfigError(f"sampler: no rule for the field {name}, whose process is {type(part).__name__}")
        fields[name] = part
    return fields


def _log_snrs(times: Sequence[float], part: Gaussian) -> list[float]:
    inner = part.schedule.log_snr(torch.tensor(times[:-1], dtype=torch.float64)).tolist()
    return [*inner, float("inf")]


def _levels(plan: Mapping[str, Plan], process: JointProcess, like: State) -> list[dict[str, Level]]:
    """Every level of the walk as tensors on the device, made before the loop so that it copies nothing."""
    count = like.batch_size
    columns: dict[str, list[Level]] = {}
    for name, part in _gaussian(process).items():
        log_snr = torch.tensor([stage.log_snr for stage in plan[name]], dtype=torch.float64)
        alpha, sigma = part.schedule.alpha_sigma(log_snr)
        table = torch.stack([alpha, sigma, log_snr]).to(like[name], non_blocking=True)
        rows = zip(*(part.unsqueeze(-1).expand(-1, count).unbind() for part in table.unbind()), strict=True)
        ratios = torch.exp(-log_snr).tolist()
        columns[name] = [Level(a, s, lam, ratio) for (a, s, lam), ratio in zip(rows, ratios, strict=True)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _clocks(plan: Mapping[str, Plan], process: JointProcess) -> list[float]:
    name, part = next(iter(_gaussian(process).items()))
    log_snr = torch.tensor([stage.log_snr for stage in plan[name]], dtype=torch.float64)
    return [*part.schedule.time(log_snr).tolist(), 0.0]
