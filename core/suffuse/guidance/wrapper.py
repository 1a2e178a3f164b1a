"""What every kind of guidance is: a denoiser around a denoiser, which says of itself what the inner one says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from suffuse.conditions import Condition
from suffuse.data import Sketch
from suffuse.denoiser import Denoise
from suffuse.fields import Field
from suffuse.posterior import Posterior
from suffuse.processes import Level
from suffuse.state import State

__all__ = ["Guidable", "Wrapper"]


class Guidable(Denoise, Protocol):
    """What guidance asks of the denoiser inside it: a `Denoiser`, or other guidance."""

    @property
    def fields(self) -> Mapping[str, Field]:
        """What is diffused."""
        ...

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """What a sample may be asked for."""
        ...

    @property
    def self_conditioning(self) -> bool:
        """Whether it is given what was believed before."""
        ...

    @property
    def sketches(self) -> Mapping[str, Sketch]:
        """What the network is shown of conditions beside the fields."""
        ...

    def sketched(self, state: State, condition: Mapping[str, Tensor] | None) -> State:
        """The state with its sketches of conditions, where it does not hold them yet."""
        ...

    def missing(self, count: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Collated conditions of samples of which nothing is known."""
        ...


@dataclass(frozen=True)
class Wrapper(ABC):
    """Guidance, which can itself be guided.

    Args:
        denoiser: what is guided.
    """

    denoiser: Guidable

    @property
    def fields(self) -> Mapping[str, Field]:
        """What is diffused."""
        return self.denoiser.fields

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """What a sample may be asked for."""
        return self.denoiser.conditions

    @property
    def self_conditioning(self) -> bool:
        """Whether the network is given what was believed before."""
        return self.denoiser.self_conditioning

    @property
    def sketches(self) -> Mapping[str, Sketch]:
        """What the network is shown of conditions beside the fields."""
        return self.denoiser.sketches

    def sketched(self, state: State, condition: Mapping[str, Tensor] | None) -> State:
        """The state with its sketches of conditions, where it does not hold them yet."""
        return self.denoiser.sketched(state, condition)

    def missing(self, count: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Collated conditions of samples of which nothing is known."""
        return self.denoiser.missing(count, device)

    @abstractmethod
    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        """The belief of the denoiser, guided."""
