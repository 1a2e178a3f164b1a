"""Draws of a run with given fields where nobody names a file: each is told those of a real item, in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from suffuse.commands.given import rows_of, told
from suffuse.data import Item, Split
from suffuse.model import Model
from suffuse.state import State
from tiny_graph import graph_model

SIZES = (3, 7, 4)
FROZEN = "process.fields.atoms.warp.name=frozen"


class Graphs(Split):
    """Graphs of which every atom of the k-th is of class k."""

    conditions: dict[str, Any] = {}  # noqa: RUF012

    def __len__(self) -> int:
        return len(SIZES)

    def __getitem__(self, index: int) -> Item:
        return Item(index, {})

    def sizes(self) -> Sequence[int]:
        return SIZES


class Encoder:
    """Padded to the largest of the batch."""

    def encode(self, values: Sequence[int]) -> State:
        counts = torch.tensor([SIZES[value] for value in values])
        mask = torch.arange(int(counts.max())) < counts[:, None]
        shape = tuple(mask.shape)
        fields = {
            "positions": torch.zeros(*shape, 3),
            "atoms": torch.tensor(values)[:, None] * mask,
            "bonds": torch.zeros(*shape, shape[1], dtype=torch.long),
            "angle": torch.zeros(shape[0], 2),
        }
        return State(fields, mask)


def model(*words: str) -> Model:
    made = graph_model("sampler.steps=2", *words)
    made.decoder = Encoder()  # type: ignore[assignment]
    return made


def drawn(made: Model, indices: Sequence[int], batch: int = 8) -> State:
    asked = made.asked({}, indices)
    return made.draw(indices, asked, made.recipe(), compute_batch=batch, **told(made, Graphs()))


def test_every_sample_keeps_what_it_was_told() -> None:
    state = drawn(model(FROZEN), range(5))
    assert state.mask is not None
    rows = rows_of(range(5), Graphs())
    assert rows == [0, 1, 2, 0, 1]
    assert state.mask.sum(1).tolist() == [SIZES[row] for row in rows]
    assert torch.equal(state["atoms"], torch.tensor(rows)[:, None] * state.mask)
    assert state["positions"].abs().sum(dim=(1, 2)).min() > 0


def test_a_sample_does_not_depend_on_the_others() -> None:
    """Not on their sizes either: small and large ones have one room."""
    made = model(FROZEN)
    every, one = drawn(made, range(5)), drawn(made, [2])
    assert all(torch.equal(every[name][2], one[name][0]) for name in every)


def test_to_tell_nothing_would_be_noticed() -> None:
    made = model(FROZEN)
    indices = range(3)
    state = made.draw(indices, made.asked({}, indices), made.recipe(), compute_batch=4)
    assert state.mask is not None
    assert (state["atoms"][state.mask] == 4).all()  # the mask of a field that is not known


def test_runs_without_given_fields_are_left_alone() -> None:
    assert told(model(), Graphs()) == {}
