"""Batches of training data by position in an endless stream; any position can be had again without replay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from suffuse import noise
from suffuse.data import Batch, Decoder, Split
from suffuse.errors import SuffuseError
from suffuse.fields import Field, check
from suffuse.state import State

__all__ = ["Feed", "indices_at"]


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


def indices_at(seed: int, length: int, positions: Sequence[int]) -> list[int]:
    """Which items of the data stand at some positions of the stream."""
    indices: list[int] = noise.order(noise.key(seed, "order"), length, positions).tolist()
    return indices


@dataclass(frozen=True)
class _Stream(Dataset[tuple[State, dict[str, Tensor]]]):
    split: Split
    decoder: Decoder
    fields: Mapping[str, Field]
    seed: int

    def __getitem__(self, positions: range) -> tuple[State, dict[str, Tensor]]:
        indices = indices_at(self.seed, len(self.split), positions)
        batch: Batch = self.split.gather(indices, _Generators(noise.key(self.seed, "augment"), positions))
        clean = self.decoder.encode(batch.values)
        check(clean, self.fields)
        return clean, dict(batch.conditions)


@dataclass(frozen=True)
class _Told(Dataset[tuple[State, dict[str, Tensor]] | SuffuseError]):
    """A stream in a worker, which gives errors that are meant for people back as they are, in place of a traceback."""

    stream: _Stream

    def __getitem__(self, positions: range) -> tuple[State, dict[str, Tensor]] | SuffuseError:
        try:
            return self.stream[positions]
        except SuffuseError as error:
            return error


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Encoded batches, drawn in this process or in workers.

    Args:
        split, decoder: the training data, and how it becomes a state.
        fields: of which the state has to be; every batch is checked, before it goes to a device.
        seed: decides order and augmentation.
        workers: processes that read ahead; 0 reads in this one.
        pin: keep batches in pinned memory for quick copies to a GPU.
    """

    split: Split
    decoder: Decoder
    fields: Mapping[str, Field]
    seed: int
    workers: int = 0
    pin: bool = False

    def batches(self, slices: Sequence[range]) -> Iterator[tuple[State, dict[str, Tensor]]]:
        """A clean state and collated conditions for each range of positions, in their order."""
        stream = _Stream(self.split, self.decoder, self.fields, self.seed)
        if not self.workers:
            yield from map(stream.__getitem__, slices)
            return
        loader: DataLoader[Any] = DataLoader(
            _Told(stream),
            batch_size=None,
            sampler=slices,
            num_workers=self.workers,
            pin_memory=self.pin,
            worker_init_fn=_one_thread,
        )
        for batch in loader:
            if isinstance(batch, SuffuseError):
                raise batch
            yield batch


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
