"""Making samples from given ones: variations, and filling in a part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from suffuse.processes import JointProcess
from suffuse.sampling import Hook, Seeds
from suffuse.sampling.hooks import Moment
from suffuse.state import State

__all__ = ["Replace", "noised"]


def noised(given: State, process: JointProcess, clock: float) -> Callable[[Seeds], State]:
    """Starts of a sampler from one given sample: it with the noise of the clock, drawn anew for each seed.

    References:
        Meng et al. 2022, "SDEdit".
    """

    def begin(seeds: Seeds) -> State:
        count = len(seeds.indices)
        clean = given.map(lambda value: value.expand(count, *value.shape[1:]))
        levels = process.levels(torch.full((count,), clock))
        return process.corrupt(clean, levels, seeds.at("prior"))

    return begin


@dataclass(frozen=True)
class Replace(Hook):
    """Keeps the known part of a sample: at every level it is put back, with the noise of that level.

    In the clean state at the end it is the given one exactly.

    Args:
        given: one sample, clean, on the device of the walk.
        unknown: for each field, bool of its shape: true where it is to be made.

    References:
        Song et al. 2021, "Score-based generative modeling", appendix I.2; Lugmayr et al. 2022, "RePaint", equation 8.
    """

    given: State
    unknown: State

    def before_denoise(self, state: State, moment: Moment) -> State:
        if moment.index == 0:
            return self._put_back(state, moment)
        return state

    def after_step(self, state: State, moment: Moment) -> State:
        return self._put_back(state, moment)

    def _put_back(self, state: State, moment: Moment) -> State:
        known = self.given.map(lambda value: value.expand(state.batch_size, *value.shape[1:]))
        if moment.clock > 0:
            clock = torch.full((state.batch_size,), moment.clock, device=state.device)
            levels = moment.process.levels(clock)
            known = moment.process.corrupt(known, levels, moment.seeds.at("known"))
        return state.replace(**{n: torch.where(self.unknown[n], value, known[n]) for n, value in state.items()})
