"""Batches of training data by position in an endless stream; any position can be had again without replay.

Where items differ in size, a batch holds items of nearly one size, so that little of it is padding: the stream is cut
into windows of several batches, each window is sorted by size, and its batches come in random order. So the order stays
a function of the seed and the position, every item comes about once in a pass, and which items meet changes.
"""

from __future__ import annotations

import signal
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from multiprocessing import active_children
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from suffuse import noise
from suffuse.data import Batch, Decoder, Split
from suffuse.errors import RunError, SuffuseError
from suffuse.fields import Field, check
from suffuse.state import State

__all__ = ["Feed", "Order"]

_WINDOW = 8
"""Batches in a window. More pad less and mix less: of drug-like molecules of 8 to 27 atoms 3 % is padding, where
batches of random sizes have 18 %."""

_KILLED = {-9, -15}
"""Exit codes of a worker that came to its end from outside: by hand, with its job, or as memory ran short."""


@dataclass(frozen=True)
class _Generators(Sequence[np.random.Generator]):
    """A generator for each position, made when it is asked for: a split that does not augment asks for none."""

    key: int
    positions: Sequence[int]

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, index: int) -> np.random.Generator: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[np.random.Generator]: ...
    def __getitem__(self, index: int | slice) -> np.random.Generator | Sequence[np.random.Generator]:
        if isinstance(index, slice):
            return _Generators(self.key, self.positions[index])
        return noise.generator(self.key, self.positions[index])


@dataclass(frozen=True, eq=False)
class Order:
    """Which items of the data stand at which positions of the stream.

    Args:
        seed: of the run.
        length: of the data.
        sizes: of each item, where they vary.
        batch: positions that are to be of nearly one size, counted from 0.
    """

    seed: int
    length: int
    sizes: NDArray[np.integer] | None = None
    batch: int = 1

    @classmethod
    def of(cls, split: Split, seed: int, batch: int) -> Order:
        """For batches of so many items."""
        sizes = split.sizes()
        return cls(seed, len(split), None if sizes is None else np.asarray(sizes), batch)

    def at(self, positions: Sequence[int]) -> list[int]:
        """The items at some positions."""
        if self.sizes is None or not len(positions):
            return self._shuffled(positions).tolist()  # type: ignore[no-any-return]
        places = np.asarray(positions, np.int64)
        windows, offsets = np.divmod(places, self._batches * self.batch)
        indices = np.empty_like(places)
        for number in np.unique(windows):
            chosen = windows == number
            indices[chosen] = self._window(int(number), self.sizes)[offsets[chosen]]
        return indices.tolist()  # type: ignore[no-any-return]

    @property
    def _batches(self) -> int:
        """Of a window; it is not longer than a pass, so that no item meets itself in it more than it must."""
        return max(1, min(_WINDOW, self.length // self.batch))

    def _shuffled(self, positions: Sequence[int]) -> NDArray[np.int64]:
        return noise.order(noise.key(self.seed, "order"), self.length, positions)

    def _window(self, number: int, sizes: NDArray[np.integer]) -> NDArray[np.int64]:
        width = self._batches * self.batch
        items = self._shuffled(range(number * width, (number + 1) * width))
        batches = items[np.argsort(sizes[items], kind="stable")].reshape(-1, self.batch)
        return noise.generator(noise.key(self.seed, "window"), number).permutation(batches).reshape(-1)


@dataclass(frozen=True)
class _Stream(Dataset[tuple[State, dict[str, Tensor]]]):
    split: Split
    decoder: Decoder
    fields: Mapping[str, Field]
    order: Order

    def __getitem__(self, positions: range) -> tuple[State, dict[str, Tensor]]:
        rngs = _Generators(noise.key(self.order.seed, "augment"), positions)
        batch: Batch = self.split.gather(self.order.at(positions), rngs)
        clean = self.decoder.encode(batch.values)
        check(clean, self.fields)
        return clean, dict(batch.conditions)


@dataclass(frozen=True)
class _Sent:
    """A batch on its way from a worker. As a state is a mapping, torch would make another of its fields alone."""

    clean: State
    conditions: Mapping[str, Tensor]

    def pin_memory(self) -> _Sent:
        pinned = {name: value.pin_memory() for name, value in self.conditions.items()}
        return _Sent(self.clean.map(Tensor.pin_memory), pinned)


@dataclass(frozen=True)
class _Told(Dataset[_Sent | SuffuseError]):
    """A stream in a worker, which gives errors that are meant for people back as they are, in place of a traceback."""

    stream: _Stream

    def __getitem__(self, positions: range) -> _Sent | SuffuseError:
        try:
            return _Sent(*self.stream[positions])
        except SuffuseError as error:
            return error


@dataclass(frozen=True)
class Feed:
    """Encoded batches, drawn in this process or in workers.

    Args:
        split, decoder: the training data, and how it becomes a state.
        fields: of which the state has to be; every batch is checked, before it goes to a device.
        order: of the data; its seed decides augmentation too.
        workers: processes that read ahead; 0 reads in this one.
        pin: keep batches in pinned memory for quick copies to a GPU.
    """

    split: Split
    decoder: Decoder
    fields: Mapping[str, Field]
    order: Order
    workers: int = 0
    pin: bool = False

    def batches(self, slices: Iterable[range]) -> Iterator[tuple[State, dict[str, Tensor]]]:
        """A clean state and collated conditions for each range of positions, in their order.

        Where a worker is killed, this process reads the rest by itself, with a warning.

        Raises:
            RunError: a worker crashed.
        """
        stream = _Stream(self.split, self.decoder, self.fields, self.order)
        coming, lent = iter(slices), deque[range]()
        if self.workers:
            try:
                for batch in self._ahead(stream, coming, lent):
                    lent.popleft()
                    yield batch.clean, dict(batch.conditions)
            except _KilledError:
                warnings.warn(
                    f"a process that reads data ahead (trainer.workers={self.workers}) was killed, perhaps as memory "
                    "ran short; from here on the run reads without any",
                    stacklevel=1,
                )
        yield from map(stream.__getitem__, chain(lent, coming))

    def _ahead(self, stream: _Stream, slices: Iterator[range], lent: deque[range]) -> Iterator[_Sent]:
        """Batches that workers read; ``lent`` gets the ranges that they were given."""

        def lend() -> Iterator[range]:
            for part in slices:
                lent.append(part)
                yield part

        loader: DataLoader[_Sent | SuffuseError] = DataLoader(
            _Told(stream),
            batch_size=None,
            sampler=lend(),
            num_workers=self.workers,
            pin_memory=self.pin,
            worker_init_fn=_one_thread,
        )
        others, before = active_children(), _on_death()
        batches = iter(loader)
        workers = [process for process in active_children() if process not in others]
        if _on_death() is not before:  # torch's raises an error wherever the run is, in a checkpoint's write as well
            signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
        try:
            for batch in batches:
                if isinstance(batch, SuffuseError):
                    raise batch
                yield batch
        except Exception as error:
            for process in workers:  # what is broken off is seen a moment before the end of who broke it off
                process.join(0.1)
            codes = [process.exitcode for process in workers if process.exitcode]
            if not codes:
                raise
            if _KILLED.issuperset(codes):
                raise _KilledError from error
            how = signal.Signals(-codes[0]).name if codes[0] < 0 else f"exit code {codes[0]}"
            raise RunError(
                f"a process that reads data ahead (trainer.workers={self.workers}) crashed with {how}; resume with "
                "trainer.workers=0, which needs none"
            ) from error


class _KilledError(Exception):
    """A worker came to its end from outside."""


def _on_death() -> Any:
    """What is called when a child ends; None where systems have no signal for it."""
    return signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
