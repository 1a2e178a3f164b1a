"""What several kinds of guidance share: two passes in one batch, the interval of levels, the spread of a belief."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.guidance.wrapper import Guidable
from suffuse.posterior import Mean, Posterior
from suffuse.processes import Level
from suffuse.state import State

__all__ = ["check_interval", "check_scale", "inside", "rescaled", "together"]


def check_interval(interval: tuple[float, float] | None) -> None:
    """
    Raises:
        ConfigError: it is not (low, high) with 0 <= low < high.
    """
    if interval is not None and not (len(interval) == 2 and 0 <= interval[0] < interval[1]):
        raise ConfigError(f"guidance.interval={list(interval)}: must be [low, high] in sigma / alpha, low below high")


def check_scale(scale: float) -> None:
    """
    Raises:
        ConfigError: it is no finite number from 0 up.
    """
    if not 0 <= scale < float("inf"):
        raise ConfigError(f"guidance.scale={scale}: must be a number from 0 up (1 is no guidance)")


def inside(interval: tuple[float, float] | None, levels: Mapping[str, Level]) -> bool:
    """Whether guidance acts at this level: where any field that is not given lies in the interval."""
    ratios = [level.ratio for level in levels.values() if level.ratio is not None]
    return interval is None or not ratios or any(interval[0] <= ratio <= interval[1] for ratio in ratios)


def together(
    denoiser: Guidable,
    state: State,
    levels: Mapping[str, Level],
    condition: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    previous: Posterior | None,
) -> tuple[Posterior, Posterior]:
    """The beliefs under two conditions, from one batch of twice the size. ``other`` names every condition."""
    count = state.batch_size
    both = {name: torch.cat([condition.get(name, second), second]) for name, second in other.items()}
    doubled = {name: level.repeat(2) for name, level in levels.items()}
    twice = None if previous is None else {name: belief.repeat(2) for name, belief in previous.items()}
    belief = denoiser(State.cat([state, state]), doubled, both, twice)
    first = {name: part.rows(slice(count)) for name, part in belief.items()}
    second = {name: part.rows(slice(count, None)) for name, part in belief.items()}
    return first, second


def rescaled(
    guided: Posterior, asked: Posterior, share: float, fields: Mapping[str, Field], mask: Tensor | None
) -> Posterior:
    """Means moved by ``share`` of the way to the standard deviation, over a sample's entries, of the asked belief."""
    result = dict(guided)
    for name, belief in guided.items():
        if not isinstance(belief, Mean):
            continue
        goal, found = (_deviation(part.value, fields[name], mask) for part in (asked[name], belief))
        factor = 1 + share * (goal / found.clamp_min(1e-12) - 1)
        result[name] = Mean(belief.value * factor.reshape(-1, *(1,) * (belief.value.ndim - 1)))
    return result


def _deviation(value: Tensor, field: Field, mask: Tensor | None) -> Tensor:
    mean = field.mean(value, mask).reshape(-1, *(1,) * (value.ndim - 1))
    return field.mean((value - mean).square(), mask).sqrt()
