"""Samples larger than those of the training: the denoiser sees overlapping windows, and its beliefs are averaged.

Along every axis on which a sample is longer than it was in training, windows of the trained length are laid over it.
Where several see an entry, the belief about it is their mean, in which a window counts less the nearer its border is:
a belief goes over from one window to the next without a step, and with every move of a sampler the windows agree
better. Nothing here knows what an axis means.

References:
    Bar-Tal et al. 2023, "MultiDiffusion: fusing diffusion paths for controlled image generation"; Jiménez 2023,
    "Mixture of diffusers for scene composition and high resolution image generation" (weights that fall to the border).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.guidance.wrapper import Wrapper
from suffuse.posterior import LogProbs, Posterior, Statement, Tangent
from suffuse.processes import Level
from suffuse.state import State

__all__ = ["Windows"]

Window: TypeAlias = Mapping[str, Mapping[int, tuple[int, int]]]
"""For each field, and each of its axes that is cut (0 is the batch), where the window starts and how long it is."""


@dataclass(frozen=True)
class Windows(Wrapper):
    """A denoiser of samples of any size.

    Args:
        denoiser: of samples of the trained size.
        whole: the fields at the size of the samples.
        rows: of each call of the denoiser; a call takes windows of several samples, and the last one is filled up, so
            that the last bits of a sample do not depend on how many there are.
        overlap: the share of a window that the next one sees too, at least.
        unknown: true where anything is to be made, ``[1, ...]`` by field; windows without any are left out, and what
            no window sees is believed to be zero.

    Raises:
        ConfigError: the overlap is out of bounds, or some fields grow along more axes than others.
    """

    whole: Mapping[str, Field]
    rows: int
    overlap: float = 0.5
    unknown: Mapping[str, Tensor] | None = None
    _windows: Sequence[Window] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"overlap={self.overlap}: must be a share from 0 to below 1")
        windows = self._laid()
        if self.unknown is not None and len(windows) > 1:
            wanted = self.unknown
            windows = [w for w in windows if any(_cut(part, w[name]).any() for name, part in wanted.items())]
        object.__setattr__(self, "_windows", windows)

    @property
    def count(self) -> int:
        """Windows of each sample."""
        return len(self._windows)

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        if not any(self._windows[0].values()):
            return self.denoiser(state, levels, condition, previous)
        total = self.count * state.batch_size
        seen = State({name: self._windowed(name)(value) for name, value in state.items()})
        told = {name: level.map(self._windowed(name)) for name, level in levels.items()}
        asked = {name: torch.cat([value] * self.count) for name, value in (condition or {}).items()}
        before = None if previous is None else {name: part.map(self._windowed(name)) for name, part in previous.items()}

        def look(start: int) -> Posterior:
            """What the denoiser says of some of the windows, their last one repeated up to the number of rows."""
            rows = torch.arange(start, start + self.rows, device=state.device).clamp_max(total - 1)
            belief = self.denoiser(
                seen.rows(rows),
                {name: level.map(lambda part: part[rows]) for name, level in told.items()},
                {name: value[rows] for name, value in asked.items()},
                None if before is None else {name: part.map(lambda v: v[rows]) for name, part in before.items()},
            )
            return {name: part.rows(slice(total - start)) for name, part in belief.items()}

        beliefs = [look(start) for start in range(0, total, self.rows)]
        return {name: self._mean(name, state[name], [belief[name] for belief in beliefs]) for name in beliefs[0]}

    def _laid(self) -> list[Window]:
        """All windows, evenly spaced."""
        long = {
            name: [
                (axis, total, size)
                for axis, (total, size) in enumerate(zip(part.shape, self.fields[name].shape, strict=True), 1)
                if 0 < size < total
            ]
            for name, part in self.whole.items()
        }
        ranks = {len(axes) for axes in long.values() if axes}
        if len(ranks) > 1:
            raise ConfigError(
                "a sample larger than those of the training must be so along as many axes in all of its fields"
            )
        counts = [
            max(1 + math.ceil((total - size) / max(1, int((1 - self.overlap) * size))) for _, total, size in grown)
            for grown in zip(*(axes for axes in long.values() if axes), strict=True)
        ]
        return [
            {
                name: {
                    axis: (round(place * (total - size) / (count - 1)), size)
                    for place, count, (axis, total, size) in zip(places, counts, axes, strict=False)
                }
                for name, axes in long.items()
            }
            for places in itertools.product(*map(range, counts))
        ]

    def _windowed(self, name: str) -> Callable[[Tensor], Tensor]:
        """From a tensor ``[B, ...]`` of a field to all windows, one round of the samples after another."""
        return lambda value: torch.cat([_cut(value, window[name]) for window in self._windows])

    def _mean(self, name: str, noisy: Tensor, parts: Sequence[Statement]) -> Statement:
        values = torch.cat([part.value for part in parts])
        values = values.reshape(self.count, -1, *values.shape[1:])
        shape = (*noisy.shape, *values.shape[noisy.ndim + 1 :])
        total, weights = values.new_zeros(shape), values.new_zeros(shape)
        for value, window in zip(values, self._windows, strict=True):
            weight = values.new_ones(())
            for axis, (_, size) in window[name].items():
                weight = weight * _inward(size, values).reshape(-1, *(1,) * (value.ndim - 1 - axis))
            _cut(total, window[name]).add_(weight * value)
            _cut(weights, window[name]).add_(weight)
        mean = total / weights.clamp_min(torch.finfo(weights.dtype).tiny)
        if isinstance(parts[0], LogProbs):
            return LogProbs.of(mean)
        return Tangent(mean, noisy) if isinstance(parts[0], Tangent) else type(parts[0])(mean)


def _inward(size: int, like: Tensor) -> Tensor:
    """What each place of a window counts along one axis, ``[size]``: the more, the farther from its borders."""
    places = torch.arange(size, device=like.device, dtype=like.dtype) + 0.5
    return torch.minimum(places, size - places).square()


def _cut(value: Tensor, window: Mapping[int, tuple[int, int]]) -> Tensor:
    """The part of ``value`` ``[B, ...]`` that a window sees; a value per sample has no axes to cut."""
    for axis, (start, size) in window.items():
        value = value.narrow(axis, start, size) if axis < value.ndim else value
    return value
