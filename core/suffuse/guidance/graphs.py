"""The launches of a network, recorded once for each shape of its input and then replayed: CUDA graphs.

A small network on a GPU is done sooner than Python has said what to do next. A replay says it all at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from suffuse.guidance.wrapper import Guidable, Wrapper
from suffuse.posterior import Posterior
from suffuse.processes import Level
from suffuse.state import State

__all__ = ["Captured"]


@dataclass(frozen=True, eq=False)
class _Call:
    """What a denoiser is asked."""

    state: State
    levels: Mapping[str, Level]
    condition: Mapping[str, Tensor]
    previous: Posterior | None

    def map(self, function: Callable[[Tensor], Tensor]) -> _Call:
        """The function applied to every tensor; levels lose their ratio, which a network does not see."""
        return _Call(
            self.state.map(function),
            {name: level.map(function)._replace(ratio=None) for name, level in self.levels.items()},
            {name: function(value) for name, value in self.condition.items()},
            None if self.previous is None else {name: part.map(function) for name, part in self.previous.items()},
        )

    def tensors(self) -> list[Tensor]:
        """All of them, in the order of `map`."""
        found: list[Tensor] = []
        self.map(lambda value: found.append(value) or value)  # type: ignore[func-returns-value]
        return found

    def of(self, denoiser: Guidable) -> Posterior:
        return denoiser(self.state, self.levels, self.condition, self.previous)


@dataclass(frozen=True, eq=False)
class _Recording:
    """A graph with the memory that it reads its input from and leaves its answer in."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    answer: Posterior

    @classmethod
    def of(cls, denoiser: Guidable, call: _Call) -> _Recording | None:
        """None for a network that waits for the device, as a search for the entries that are not zero does.

        It is found out before a graph is begun: one that is broken off leaves torch's generator in disorder.
        """
        own, stream = call.map(torch.clone), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            own.of(denoiser)  # what is set up at the first call must not be set up in the graph
            waits = _waits(denoiser, own)
        torch.cuda.current_stream().wait_stream(stream)
        if waits:
            return None
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                answer = own.of(denoiser)
        except RuntimeError:  # torch does not find all waits
            torch.cuda.synchronize()
            return None
        return cls(graph, own.tensors(), answer)

    def replay(self, call: _Call) -> Posterior:
        for mine, theirs in zip(self.inputs, call.tensors(), strict=True):
            mine.copy_(theirs)
        self.graph.replay()
        return {name: part.map(torch.clone) for name, part in self.answer.items()}


def _waits(denoiser: Guidable, call: _Call) -> bool:
    usual = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it does not find all
        torch.cuda.set_sync_debug_mode("error")
        try:
            call.of(denoiser)
        except RuntimeError:
            return True
        finally:
            torch.cuda.set_sync_debug_mode(usual)
    return False


@dataclass(frozen=True)
class Captured(Wrapper):
    """A denoiser on a CUDA device whose answers are those of graphs.

    Where a derivative is wanted, and of networks that cannot be recorded, the denoiser itself is asked. Weights may
    change in place.
    """

    recordings: dict[Hashable, _Recording | None] = field(default_factory=dict, init=False, repr=False)

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        if torch.is_grad_enabled():
            return self.denoiser(state, levels, condition, previous)
        asked = dict(condition or {})
        if len(asked) < len(self.conditions):  # a copy to the device, which cannot be recorded
            asked = {**self.missing(state.batch_size, state.device), **asked}
        call = _Call(state, levels, asked, previous)
        shape: Hashable = (
            *state,
            state.mask is None,
            *asked,
            *(() if previous is None else previous),
            *((value.shape, value.stride(), value.dtype) for value in call.tensors()),
        )
        if shape not in self.recordings:
            self.recordings[shape] = _Recording.of(self.denoiser, call)
        recording = self.recordings[shape]
        return call.of(self.denoiser) if recording is None else recording.replay(call)
