"""What is diffused: the named fields of a batch.

An image is ``{"pixels"}``, a molecule ``{"atoms", "bonds"}``, a crystal ``{"positions", "lattice", "atoms"}``. One
network sees the whole state and one sampler moves all of its fields, which is what keeps the core free of
modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

__all__ = ["State", "sent"]


@dataclass(frozen=True, eq=False)
class State(Mapping[str, Tensor]):
    """The fields of a batch by name, and the mask that samples of different size share. Immutable.

    Args:
        fields: tensors with the batch first, ``[B, ...]``.
        mask: ``[B, N]`` of bool, true where an element is real; None where every sample has the same size.
    """

    fields: Mapping[str, Tensor]
    mask: Tensor | None = None

    def __getitem__(self, name: str) -> Tensor:
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def batch_size(self) -> int:
        """The number of samples B."""
        return next(iter(self.fields.values())).shape[0]

    @property
    def device(self) -> torch.device:
        """Where the fields lie."""
        return next(iter(self.fields.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the real-valued fields; float32 where all are classes."""
        return next((value.dtype for value in self.fields.values() if value.is_floating_point()), torch.float32)

    def replace(self, **fields: Tensor) -> State:
        """The same state with some fields exchanged."""
        return State({**self.fields, **fields}, self.mask)

    def map(self, function: Callable[[Tensor], Tensor]) -> State:
        """The function applied to every field and to the mask: moves, slices and copies."""
        mask = None if self.mask is None else function(self.mask)
        return State({name: function(value) for name, value in self.fields.items()}, mask)

    def to(self, device: torch.device | str) -> State:
        """Every tensor on the device."""
        return self.map(lambda value: sent(value, device))

    def rows(self, index: slice | Tensor) -> State:
        """The chosen samples."""
        return self.map(lambda value: value[index])

    @staticmethod
    def stacked(**fields: Sequence[ArrayLike]) -> State:
        """Samples that all have one shape, from an array for each: ``State.stacked(series=[a, b])``.

        Numbers become float32, whole numbers int64; marks of true and false stay as they are.

        Raises:
            ValueError: the samples of a field differ in their shape.
        """
        stacks = {}
        for name, values in fields.items():
            tensors = [_tensor(value) for value in values]
            if odd := next((each.shape for each in tensors if each.shape != tensors[0].shape), None):
                raise ValueError(
                    f"the field {name} has samples of the shapes {list(tensors[0].shape)} and {list(odd)}; "
                    "where the number of elements varies, use State.padded and the layout Masked()"
                )
            stacks[name] = torch.stack(tensors)
        return State(stacks)

    @staticmethod
    def padded(**fields: Sequence[ArrayLike]) -> State:
        """Samples of any number of elements, which are their first axis: ``State.padded(points=[a, b])``.

        Zeros fill them up to the largest, under a mask that all fields share. Types are those of `stacked`.

        Raises:
            ValueError: the fields of a sample differ in their number of elements.
        """
        tensors = {name: [_tensor(value) for value in values] for name, values in fields.items()}
        lengths = {tuple(len(value) for value in values) for values in tensors.values()}
        if len(lengths) != 1:
            raise ValueError(f"the fields {', '.join(fields)} of a sample must have as many elements as one another")
        counts = torch.tensor(lengths.pop())
        mask = torch.arange(int(counts.max())) < counts[:, None]
        return State({n: torch.nn.utils.rnn.pad_sequence(v, batch_first=True) for n, v in tensors.items()}, mask)

    def elements(self, name: str) -> list[Tensor]:
        """The real elements of each sample of one field, on the CPU: the inverse of `padded`."""
        values = self[name].detach().cpu()
        return list(values) if self.mask is None else [v[m] for v, m in zip(values, self.mask.cpu(), strict=True)]

    @staticmethod
    def cat(states: list[State]) -> State:
        """Samples of several states, one after another."""
        first = states[0]
        mask = None if first.mask is None else torch.cat([s.mask for s in states if s.mask is not None])
        return State({name: torch.cat([s[name] for s in states]) for name in first}, mask)


def _tensor(value: ArrayLike) -> Tensor:
    tensor = torch.as_tensor(value)
    if tensor.dtype == torch.bool:
        return tensor
    return tensor.to(torch.float32 if tensor.is_floating_point() else torch.int64)


def sent(value: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device. One that leaves the CPU for a GPU goes through pinned memory, and nobody waits for it.

    A copy from other memory waits until the GPU has done all that it was given; one back is waited for, since its
    reader could not tell that it had not arrived.
    """
    away = value.device.type == "cpu" and torch.device(device).type == "cuda"
    return (value.pin_memory() if away else value).to(device, non_blocking=away)
