"""Checks of a network among the core's parts: what its belief may depend on, and whether it learns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from suffuse.fields import pad
from suffuse.noise import Draws
from suffuse.posterior import LogProbs, Posterior, Statement
from suffuse.processes import Level
from suffuse.spaces import Categorical
from suffuse.state import State
from suffuse.testing.bench import Bench
from suffuse.testing.check import Inapplicable, ensure

__all__ = [
    "batch_mates_change_nothing",
    "beliefs_fit_their_fields",
    "bf16_agrees_with_float32",
    "ensure_same",
    "every_parameter_gets_a_gradient",
    "four_items_are_learnt_by_heart",
    "level_and_conditions_are_heard",
    "noise_keeps_to_the_layout",
    "padding_changes_nothing",
]

_TOLERANCE = 1e-3
"""Of beliefs that ought to be equal, as a share of their spread."""
_LESSONS, _RATE, _LEARNT = 150, 3e-3, 0.25
"""Updates, learning rate, and the share of the loss that may be left."""


def noise_keeps_to_the_layout(bench: Bench) -> None:
    """Noisy states lie in their spaces and their padding stays at zero, from the data to pure noise."""
    clean, process = bench.clean.state, bench.model.process
    states = {"pure noise": bench.noise()[0]}
    for time in (1e-3, 0.5, 1.0):
        times = torch.full((clean.batch_size,), time, dtype=torch.float64)
        states[f"clock {time:g}"] = process.corrupt(
            clean, bench.levels(times), Draws(0, "check", range(clean.batch_size))
        )
    for where, state in states.items():
        for name, spec in bench.fields.items():
            value = state[name]
            ensure(bool(value.isfinite().all()), f"{where}: the field {name} has a number that is not finite")
            if isinstance(spec.space, Categorical):
                fits = value.dtype == torch.int64 and int(value.min()) >= 0 and int(value.max()) < spec.space.tokens
                ensure(fits, f"{where}: the field {name} has a token outside 0 to {spec.space.tokens - 1}")
            nearest = spec.layout.mask(value, state.mask)
            ensure(nearest is None or not value[~nearest.expand_as(value)].any(), f"{where}: {name} has noisy padding")


def beliefs_fit_their_fields(bench: Bench) -> None:
    """The network says something finite of each field that is made, of its shape, at every noise level."""
    clean = bench.clean
    made = {name for name in bench.fields if not bench.model.process.frozen(name)}
    for time in (1e-3, 0.5, 1.0):
        levels = bench.levels(torch.full((clean.state.batch_size,), time, dtype=torch.float64))
        noisy = bench.model.process.corrupt(clean.state, levels, Draws(0, "check", range(clean.state.batch_size)))
        belief = bench.believed(noisy, levels, clean.conditions)
        ensure(made <= set(belief), f"the network says nothing of {', '.join(sorted(made - set(belief)))}")
        for name in made:
            value, spec = belief[name].value, bench.fields[name]
            shape = [*noisy[name].shape]
            shape += [spec.space.num_classes] if isinstance(spec.space, Categorical) else []
            ensure(list(value.shape) == shape, f"field {name}: the network gives {list(value.shape)}, not {shape}")
            finite = spec.sum(~value.isfinite(), noisy.mask)
            ensure(not finite.any(), f"field {name}: a number that is not finite at clock {time:g}")


def padding_changes_nothing(bench: Bench) -> None:
    """A sample is believed to be the same however far it is padded."""
    state, levels = bench.seen
    if state.mask is None:
        raise Inapplicable("all samples have one size")
    wide = pad(state, bench.fields, state.mask.shape[1] + 3)
    belief = bench.believed(state, levels, bench.clean.conditions)
    padded = bench.believed(wide, levels, bench.clean.conditions)
    cut = {}
    for name, statement in padded.items():
        rank, room = bench.fields[name].layout.rank, state.mask.shape[1]
        cut[name] = statement.value[(slice(None), *[slice(room)] * rank)]
    ensure_same(bench, state.mask, belief, cut, "padded further")


def batch_mates_change_nothing(bench: Bench) -> None:
    """A sample is believed to be the same whatever others it is computed with."""
    state, levels = bench.seen
    if state.batch_size < 2:
        raise Inapplicable("there is one item")
    belief = bench.believed(state, levels, bench.clean.conditions)
    alone: dict[str, list[Tensor]] = {name: [] for name in belief}
    for row in range(state.batch_size):
        part = slice(row, row + 1)
        own = {name: _rows(level, part) for name, level in levels.items()}
        asked = {name: value[part] for name, value in bench.clean.conditions.items()}
        for name, statement in bench.believed(state.rows(part), own, asked).items():
            alone[name].append(statement.value)
    ensure_same(bench, state.mask, belief, {name: torch.cat(parts) for name, parts in alone.items()}, "computed alone")


def level_and_conditions_are_heard(bench: Bench) -> None:
    """What is believed depends on how noisy the state is said to be, and on each condition."""
    state, levels = bench.seen
    conditions = bench.clean.conditions
    belief = bench.believed(state, levels, conditions)
    told = {name: level._replace(log_snr=level.log_snr - 2) for name, level in levels.items()}
    ensure(_differ(belief, bench.believed(state, told, conditions)), "the network does not hear the noise level")
    for name, kind in bench.model.conditions.items():
        hidden = {**conditions, name: kind.drop(conditions[name], torch.ones(state.batch_size, dtype=torch.bool))}
        if kind.present(conditions[name]).any():
            ensure(_differ(belief, bench.believed(state, levels, hidden)), f"the network does not hear {name}")


def every_parameter_gets_a_gradient(bench: Bench) -> None:
    """The loss depends on every parameter that is trained."""
    denoiser = bench.model.denoiser
    denoiser.zero_grad()
    state, conditions = bench.clean
    for step in range(4):
        loss = bench.objective(
            denoiser, state, conditions, seed=0, step=step, rows=range(state.batch_size), total=state.batch_size
        )
        loss.sum().backward()  # type: ignore[no-untyped-call]
    hidden = {
        name: kind.drop(conditions[name], torch.ones(state.batch_size, dtype=torch.bool))
        for name, kind in bench.model.conditions.items()
    }
    bench.objective(
        denoiser, state, hidden, seed=0, step=9, rows=range(state.batch_size), total=state.batch_size
    ).sum().backward()  # type: ignore[no-untyped-call]
    idle = [
        name
        for name, each in denoiser.named_parameters()
        if each.requires_grad and (each.grad is None or not each.grad.any())
    ]
    denoiser.zero_grad()
    ensure(not idle, f"{len(idle)} parameters get no gradient: {', '.join(idle[:5])}")


def four_items_are_learnt_by_heart(bench: Bench) -> None:
    """Trained on four items at the same noise again and again, the network comes to know them."""
    model = bench.new_model()
    model.denoiser.train()
    rows = State.cat([bench.clean.state] * 2)
    known = {name: torch.cat([value] * 2) for name, value in bench.clean.conditions.items()}
    total = rows.batch_size
    optimizer = torch.optim.Adam(model.denoiser.parameters(), _RATE, (0.9, 0.99))
    losses: list[float] = []
    while len(losses) < _LESSONS and losses[-1:] >= [_LEARNT * each for each in losses[:1]]:
        optimizer.zero_grad()
        each = bench.objective(model.denoiser, rows, known, seed=0, step=0, rows=range(total), total=total)
        each.mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(each.detach().mean()))
    learnt = losses[-1] < _LEARNT * losses[0]
    ensure(learnt, f"after {_LESSONS} updates on four items the loss is {losses[-1]:.3g} of {losses[0]:.3g} at first")


def bf16_agrees_with_float32(bench: Bench) -> None:
    """Under autocast to bfloat16 beliefs stay near those of float32, and gradients stay finite."""
    two = slice(2)
    state, levels = bench.seen[0].rows(two), {name: _rows(level, two) for name, level in bench.seen[1].items()}
    asked = {name: value[two] for name, value in bench.clean.conditions.items()}
    exact = bench.believed(state, levels, asked)
    with torch.autocast("cpu", torch.bfloat16):
        belief = bench.model.denoiser(state, levels, asked)
    for name, statement in belief.items():
        ensure(statement.value.dtype == torch.float32, f"field {name}: the belief is {statement.value.dtype}")
        off = _distance(statement, exact[name].value)
        ensure(off < 0.2, f"field {name}: in bfloat16 the belief is off by {off:.0%} of its spread")
    sum(statement.value.square().mean() for statement in belief.values()).backward()
    finite = all(each.grad is None or bool(each.grad.isfinite().all()) for each in bench.model.denoiser.parameters())
    bench.model.denoiser.zero_grad()
    ensure(finite, "in bfloat16 a gradient is not finite")


def _rows(level: Level, rows: slice) -> Level:
    return Level(level.alpha[rows], level.sigma[rows], level.log_snr[rows])


def ensure_same(bench: Bench, mask: Tensor | None, belief: Posterior, other: Mapping[str, Tensor], how: str) -> None:
    """
    Raises:
        Failed: two beliefs differ where entries are real; ``how`` the other came about.
    """
    for name, statement in belief.items():
        off = _distance(statement, other[name], bench.fields[name].real(statement.value, mask))
        ensure(off < _TOLERANCE, f"field {name}: {how}, the belief is off by {off:.2%} of its spread")


def _distance(statement: Statement, other: Tensor, real: Tensor | None = None) -> float:
    """The largest difference: of probabilities, or as a share of the spread of numbers."""
    one, other = statement.value.detach(), other.detach()
    if real is not None:
        one, other = one.masked_fill(~real, 0), other.masked_fill(~real, 0)
    if isinstance(statement, LogProbs):
        return float((one.exp() - other.exp()).abs().max())
    return float((one - other).abs().max() / one.std().clamp_min(1e-12))


def _differ(one: Posterior, other: Posterior) -> bool:
    return any(_distance(one[name], other[name].value) > _TOLERANCE for name in one)
