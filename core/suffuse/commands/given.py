"""What draws of a run with given fields are told where nobody names a file: the fields of real items, in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from suffuse.data import Split
from suffuse.fields import pad
from suffuse.model import Model
from suffuse.sampling import Seeds
from suffuse.sizes import Sizes
from suffuse.state import State

__all__ = ["rows_of", "told"]


def rows_of(indices: Sequence[int], split: Split) -> list[int]:
    """The item of a split whose given fields a sample is told."""
    return [index % len(split) for index in indices]


def told(model: Model, split: Split) -> dict[str, Any]:
    """What `Model.draw` needs so that each sample starts from the given fields of an item; empty for other runs."""
    if not any(map(model.process.frozen, model.fields)):
        return {}
    sizes = split.sizes()
    room = None if sizes is None else Sizes.room(max(sizes))

    def begin(seeds: Seeds) -> State:
        clean = model.decoder.encode(split.gather(rows_of(seeds.indices, split)).values)
        if room is not None:
            clean = pad(clean, model.fields, room)  # one room for all: noise has its shape
        shapes = {name: tuple(value.shape) for name, value in clean.items()}
        return model.process.prior(shapes, seeds.at("prior"), clean.mask, clean)

    return {"begin": begin}
