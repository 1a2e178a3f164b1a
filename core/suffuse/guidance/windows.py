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

Place: TypeAlias = tuple[int, ...]
"""Which window along each axis that is longer than in training."""
Cut: TypeAlias = Mapping[int, tuple[int, int]]
"""For each axis of a tensor that is cut (0 is the batch), where the part starts and how long it is."""


@dataclass(frozen=True)
class Windows(Wrapper):
    """A denoiser of samples of any size.

    Sketches of conditions are drawn of the whole and cut with it. Guidance inside is shown those of what is asked for
    in its second pass too, where it is to move away from something else.

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
    _counts: Sequence[int] = field(init=False, repr=False)
    _places: Sequence[Place] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"overlap={self.overlap}: must be a share from 0 to below 1")
        object.__setattr__(self, "_counts", self._counted())
        places: list[Place] = list(itertools.product(*map(range, self._counts)))
        if self.unknown is not None and len(places) > 1:
            places = [place for place in places if self._wanted(place, self.unknown)]
        object.__setattr__(self, "_places", places)

    @property
    def count(self) -> int:
        """Windows of each sample."""
        return len(self._places)

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        if not self._counts:
            return self.denoiser(state, levels, condition, previous)
        total = self.count * state.batch_size
        shown = self.denoiser.sketched(state, condition)
        # What a sample is filled up with matters to training alone, so that windows have no mask.
        seen = State({name: self._windowed(name, value)(value) for name, value in shown.items()})
        told = {name: level.map(self._windowed(name, state[name])) for name, level in levels.items()}
        asked = {name: torch.cat([value] * self.count) for name, value in (condition or {}).items()}
        before = previous and {name: part.map(self._windowed(name, state[name])) for name, part in previous.items()}

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

    def _longer(self, name: str, shape: Sequence[int]) -> list[tuple[int, int, int]]:
        """The axes along which a field of this shape is longer than in training, its length and that of training."""
        trained = self.fields[name] if name in self.fields else self.sketches[name].field
        pairs = enumerate(zip(shape, trained.shape, strict=True), 1)
        return [(axis, total, size) for axis, (total, size) in pairs if 0 < size < total]

    def _counted(self) -> list[int]:
        """Windows along each such axis."""
        longer = [self._longer(name, part.shape) for name, part in self.whole.items()]
        longer = [axes for axes in longer if axes]
        if len({len(axes) for axes in longer}) > 1:
            raise ConfigError(
                "a sample larger than those of the training must be so along as many axes in all of its fields"
            )
        return [
            max(1 + math.ceil((total - size) / max(1, int((1 - self.overlap) * size))) for _, total, size in axes)
            for axes in zip(*longer, strict=True)
        ]

    def _cut(self, name: str, shape: Sequence[int], place: Place) -> Cut:
        """What a window sees of a field of this shape; windows are evenly spaced."""
        return {
            axis: (round(index * (total - size) / (count - 1)), size)
            for index, count, (axis, total, size) in zip(place, self._counts, self._longer(name, shape), strict=False)
        }

    def _wanted(self, place: Place, unknown: Mapping[str, Tensor]) -> bool:
        return any(bool(_part(value, self._cut(name, value.shape[1:], place)).any()) for name, value in unknown.items())

    def _windowed(self, name: str, like: Tensor) -> Callable[[Tensor], Tensor]:
        """From a tensor of a field ``like`` ``[B, ...]`` to all windows, one round of the samples after another."""
        cuts = [self._cut(name, like.shape[1:], place) for place in self._places]
        return lambda value: torch.cat([_part(value, cut) for cut in cuts])

    def _mean(self, name: str, noisy: Tensor, parts: Sequence[Statement]) -> Statement:
        values = torch.cat([part.value for part in parts])
        values = values.reshape(self.count, -1, *values.shape[1:])
        shape = (*noisy.shape, *values.shape[noisy.ndim + 1 :])
        total, weights = values.new_zeros(shape), values.new_zeros(shape)
        for value, place in zip(values, self._places, strict=True):
            cut, weight = self._cut(name, noisy.shape[1:], place), values.new_ones(())
            for axis, (_, size) in cut.items():
                weight = weight * _inward(size, values).reshape(-1, *(1,) * (value.ndim - 1 - axis))
            _part(total, cut).add_(weight * value)
            _part(weights, cut).add_(weight)
        mean = total / weights.clamp_min(torch.finfo(weights.dtype).tiny)
        if isinstance(parts[0], LogProbs):
            return LogProbs.of(mean)
        return Tangent(mean, noisy) if isinstance(parts[0], Tangent) else type(parts[0])(mean)


def _inward(size: int, like: Tensor) -> Tensor:
    """What each place of a window counts along one axis, ``[size]``: the more, the farther from its borders."""
    places = torch.arange(size, device=like.device, dtype=like.dtype) + 0.5
    return torch.minimum(places, size - places).square()


def _part(value: Tensor, cut: Cut) -> Tensor:
    """The part of ``value`` ``[B, ...]`` that a window sees; a value per sample has no axes to cut."""
    for axis, (start, size) in cut.items():
        value = value.narrow(axis, start, size) if axis < value.ndim else value
    return value
