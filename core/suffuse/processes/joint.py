"""All fields of a state corrupted together, on one clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.processes.discrete import Discrete
from suffuse.processes.gaussian import Gaussian
from suffuse.processes.process import Level, Process
from suffuse.schedules import Schedule
from suffuse.state import State, sent
from suffuse.warps import Frozen, Identity, Warp, Warped

__all__ = ["JointProcess", "Noise"]


class Noise(Protocol):
    """Standard noise for a field, by its name and its shape ``[B, ...]``; `suffuse.noise.Draws` is one."""

    def normal(self, field: str, shape: tuple[int, ...]) -> Tensor: ...

    def uniform(self, field: str, shape: tuple[int, ...]) -> Tensor: ...


@dataclass(frozen=True)
class JointProcess:
    """One process for each field; the clock u in [0, 1] (0 = data, 1 = noise) is common.

    Args:
        fields: what is diffused.
        processes: how, for the same names.
        warps: from the clock to a field's own time, for fields where they differ.
        independent: fields whose level is drawn by itself in training, so that the network can take any of them as
            given.
        reference: the field on whose levels grids and clock draws are built; None for the first that is Gaussian, or
            else the first that is not frozen.
    """

    fields: Mapping[str, Field]
    processes: Mapping[str, Process]
    warps: Mapping[str, Warp] = field(default_factory=dict)
    independent: frozenset[str] = frozenset()
    reference: str | None = None

    def __post_init__(self) -> None:
        if set(self.fields) != set(self.processes):
            raise ValueError(f"fields {sorted(self.fields)} and processes {sorted(self.processes)} differ")
        unknown = (set(self.warps) | self.independent | {self.reference or next(iter(self.fields))}) - set(self.fields)
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: no such field; there are {', '.join(self.fields)}")
        if self.reference is not None and self.frozen(self.reference):
            raise ConfigError(f"process.reference={self.reference}: a given field has no noise to build grids on")

    def warp(self, name: str) -> Warp:
        """From the clock to the field's own time."""
        return self.warps.get(name, Identity())

    def frozen(self, name: str) -> bool:
        """Whether the field is given and never corrupted: a local condition."""
        return isinstance(self.warp(name), Frozen)

    @property
    def categorical(self) -> bool:
        """Whether everything that is made is of classes."""
        return all(isinstance(part, Discrete) for name, part in self.processes.items() if not self.frozen(name))

    @property
    def schedule(self) -> Schedule:
        """The schedule of the reference field, on the common clock.

        Raises:
            ValueError: every field is frozen.
        """
        names = [name for name in self.fields if not self.frozen(name)]
        gaussian = [name for name in names if isinstance(self.processes[name], Gaussian)]
        if not names:
            raise ValueError("every field is frozen: there is nothing to make")
        name = self.reference or (gaussian or names)[0]
        warp, schedule = self.warp(name), self.processes[name].schedule
        return schedule if isinstance(warp, Identity) else Warped(schedule, warp)

    def level(self, name: str, clock: Tensor) -> Level:
        """The level of one field at the clock, of any shape."""
        return self.processes[name].level(self.warp(name).time(clock))

    def emptiness(self, name: str, like: Tensor) -> Level:
        """The level that says of a frozen field that it is not known at all."""
        return self.processes[name].level(torch.ones_like(like))

    def levels(self, clock: Tensor, own: Mapping[str, Tensor] | None = None) -> dict[str, Level]:
        """The level of each field at the clock ``[B]`` or ``[B, elements]``, or at its ``own`` where it has one."""
        return {name: self.level(name, (own or {}).get(name, clock)) for name in self.fields}

    def noise(self, name: str, shape: tuple[int, ...], noise: Noise) -> Tensor:
        """Standard noise of the kind that the field's process takes."""
        return getattr(noise, self.processes[name].noise)(name, shape)  # type: ignore[no-any-return]

    def corrupt(self, clean: State, levels: Mapping[str, Level], noise: Noise | Mapping[str, Tensor]) -> State:
        """A noisy state at the given levels, from keyed noise or from the noise itself by field."""
        fields = {}
        for name, process in self.processes.items():
            value = clean[name]
            if not self.frozen(name):
                shape = tuple(value.shape)
                fresh = noise[name] if isinstance(noise, Mapping) else self.noise(name, shape, noise)
                fresh = sent(fresh, value.device)
                value = process.corrupt(value, levels[name], fresh, self.fields[name], clean.mask)
            fields[name] = value
        return State(fields, clean.mask)

    def prior(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        noise: Noise,
        mask: Tensor | None = None,
        given: Mapping[str, Tensor] | None = None,
    ) -> State:
        """The state that sampling starts from; ``shapes`` with the batch first, frozen fields as ``given``."""
        fields = {}
        for name, process in self.processes.items():
            if self.frozen(name):
                fields[name] = (given or {})[name]
            else:
                fields[name] = process.begin(self.noise(name, shapes[name], noise), self.fields[name], mask)
        return State(fields, mask)

    def hide(
        self, name: str, state: State, levels: Mapping[str, Level], where: Tensor
    ) -> tuple[State, dict[str, Level]]:
        """A frozen field as unknown to the samples ``where`` ``[B]``: an empty value at the noisiest level.

        The level is the mark by which a network tells a given field from a missing one.
        """
        process, value = self.processes[name], state[name]
        nothing = process.absent(value, self.fields[name], state.mask)
        chosen = where.reshape(-1, *(1,) * (value.ndim - 1))
        empty = self.emptiness(name, levels[name].log_snr)
        hidden = levels[name].where(where.reshape(-1, *(1,) * (levels[name].log_snr.ndim - 1)), empty)
        return state.replace(**{name: torch.where(chosen, nothing, value)}), {**levels, name: hidden}
