"""Places in the sampling loop where something else may look or step in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from suffuse.posterior import Posterior
from suffuse.processes import JointProcess, Level
from suffuse.sampling.seeds import Seeds
from suffuse.state import State

__all__ = ["Hook", "Moment"]


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the loop stands.

    Args:
        index: of the move, from 0.
        count: of moves in all.
        clock: the common time u of the state that the hook is given; 0 is clean.
        process: how the state is corrupted.
        seeds: keyed noise of the samples.
    """

    index: int
    count: int
    clock: float
    process: JointProcess
    seeds: Seeds


class Hook:
    """Does nothing. Override what is needed; each method gives back what the loop goes on with."""

    def before_denoise(self, state: State, moment: Moment) -> State:
        """Called with the noisy state that the network is about to see."""
        return state

    def levels(self, levels: Mapping[str, Level], state: State, moment: Moment) -> Mapping[str, Level]:
        """Called with how noisy the network is told that each field is; elements may have levels of their own."""
        return levels

    def after_denoise(self, posterior: Posterior, state: State, moment: Moment) -> Posterior:
        """Called with what the network made of it."""
        return posterior

    def after_step(self, state: State, moment: Moment) -> State:
        """Called with the state after each move, at the clock where it ends."""
        return state
