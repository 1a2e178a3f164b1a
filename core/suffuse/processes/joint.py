"""All fields of a state corrupted together, on one clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from suffuse.fields import Field
from suffuse.processes.gaussian import Gaussian
from suffuse.processes.process import Level, Process
from suffuse.schedules import Schedule
from suffuse.state import State

__all__ = ["JointProcess"]

Noise = Callable[[str, tuple[int, ...]], Tensor]
"""Standard noise for a field, by its name and the shape ``[B, ...]``."""


@dataclass(frozen=True)
class JointProcess:
    """One process for each field; the clock u in [0, 1] (0 = data, 1 = noise) is common.

    Args:
        fields: what is diffused.
        processes: how, for the same names.
    """

    fields: Mapping[str, Field]
    processes: Mapping[str, Process]

    def __post_init__(self) -> None:
        if set(self.fields) != set(self.processes):
            raise ValueError(f"fields {sorted(self.fields)} and processes {sorted(self.processes)} differ")

    @property
    def schedule(self) -> Schedule:
        """The schedule of the first Gaussian field: the reference on which grids and clock draws are built.

        Raises:
            ValueError: there is no Gaussian field.
        """
        for process in self.processes.values():
            if isinstance(process, Gaussian):
                return process.schedule
        raise ValueError("no field of this state has a Gaussian process")

    def levels(self, clock: Tensor) -> dict[str, Level]:
        """The level of each field at the clock ``[B]`` or ``[B, elements]``."""
        return {name: process.level(clock) for name, process in self.processes.items()}

    def corrupt(self, clean: State, levels: Mapping[str, Level], noise: Noise) -> State:
        """A noisy state at the given levels."""
        return State(
            {
                name: process.corrupt(
                    clean[name],
                    levels[name],
                    noise(name, tuple(clean[name].shape)),
                    self.fields[name],
                    clean.mask,
                )
                for name, process in self.processes.items()
            },
            clean.mask,
        )

    def prior(self, shapes: Mapping[str, tuple[int, ...]], noise: Noise, mask: Tensor | None = None) -> State:
        """The state that sampling starts from; ``shapes`` with the batch first."""
        return State(
            {
                name: process.prior(noise(name, shapes[name]), self.fields[name], mask)
                for name, process in self.processes.items()
            },
            mask,
        )
