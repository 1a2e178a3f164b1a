"""The split that all sources of images share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suffuse.conditions import Condition
from suffuse.data import Batch, Item, Split
from suffuse_image.data.pictures import Pixels8, centre

__all__ = ["ImageSplit", "LazyImages"]


class LazyImages(Sequence[Pixels8]):
    """Images that are read from their source each time they are asked for."""

    def __init__(self, read: Callable[[int], Pixels8], count: int) -> None:
        self._read, self._count = read, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return self._read(int(index))

    def __iter__(self) -> Iterator[Pixels8]:
        return (self._read(index) for index in range(self._count))


class ImageSplit(Split):
    """Some rows of a set of images.

    Args:
        images: uint8 ``[N, C, H, W]`` where all are in memory at one size; otherwise one ``[C, h, w]`` for
            each row, not smaller than ``shape``: the item is then its middle, and training crops at random.
        rows: those that belong to this split.
        shape: ``(H, W)`` of every item.
        conditions: what the items may carry.
        columns: for each condition a value for each of the N rows, None where it is missing.
        flip: whether training mirrors images from left to right in half the cases.
    """

    def __init__(
        self,
        *,
        images: Tensor | Sequence[Pixels8],
        rows: NDArray[np.int64],
        shape: tuple[int, int],
        conditions: Mapping[str, Condition],
        columns: Mapping[str, Sequence[Any]],
        flip: bool = False,
    ) -> None:
        self.conditions = dict(conditions)
        self.shape = shape
        self.flip = flip
        self._images = images
        self._rows = np.asarray(rows, dtype=np.int64)
        self._columns = {name: [columns[name][row] for row in self._rows] for name in self.conditions}
        self._collated = {name: kind.collate(self._columns[name]) for name, kind in self.conditions.items()}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Item:
        known = {name: values[index] for name, values in self._columns.items() if values[index] is not None}
        return Item(centre(self._whole(int(self._rows[index])), *self.shape), known)

    def _whole(self, row: int) -> Pixels8:
        if isinstance(self._images, Tensor):
            return self._images[row].numpy().copy()
        return self._images[row]

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """A crop at a random place where the value is larger than an item, then a mirror image in half the cases."""
        value: Pixels8 = item.value
        height, width = self.shape
        if value.shape[1:] != self.shape:
            top = int(rng.integers(value.shape[1] - height + 1))
            left = int(rng.integers(value.shape[2] - width + 1))
            value = value[:, top : top + height, left : left + width]
        if self.flip and rng.random() < 0.5:
            value = value[:, :, ::-1].copy()
        return item._replace(value=value)

    def gather(self, indices: Sequence[int], rngs: Sequence[np.random.Generator] | None = None) -> Batch:
        """``values`` is uint8 ``[B, C, H, W]``; images that lie in memory are fetched by one index operation."""
        chosen = np.asarray(indices, dtype=np.int64)
        rows = self._rows[chosen]
        conditions = {name: value[torch.from_numpy(chosen)] for name, value in self._collated.items()}
        if not isinstance(self._images, Tensor):
            return Batch(self._stack(rows, rngs), conditions)
        values = self._images[torch.from_numpy(rows)]
        if rngs is not None and self.flip:
            mirror = torch.tensor([bool(rng.random() < 0.5) for rng in rngs])
            values[mirror] = values[mirror].flip(-1)
        return Batch(values, conditions)

    def _stack(self, rows: NDArray[np.int64], rngs: Sequence[np.random.Generator] | None) -> Tensor:
        values = [self._whole(int(row)) for row in rows]
        if rngs is None:
            values = [centre(value, *self.shape) for value in values]
        else:
            pairs = zip(values, rngs, strict=True)
            values = [self.augment(Item(value, {}), rng).value for value, rng in pairs]
        return torch.from_numpy(np.stack(values))
