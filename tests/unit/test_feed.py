"""Any position of the stream of training data can be had again, from any number of workers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from suffuse.training.feed import Feed, indices_at
from tiny import PointEncoder, Points, field

LENGTH = 23


def batches(
    slices: Sequence[range], *, seed: int = 0, workers: int = 0, jitter: float = 0.1
) -> list[dict[str, Tensor]]:
    split = Points(LENGTH, jitter=jitter)
    feed = Feed(split=split, decoder=PointEncoder(), fields=field(), seed=seed, workers=workers)  # type: ignore[arg-type]
    return [{"x": state["x"], **conditions} for state, conditions in feed.batches(slices)]


def joined(slices: Sequence[range], **settings: object) -> Tensor:
    return torch.cat([torch.cat([b["x"], b["side"][:, None]], 1) for b in batches(slices, **settings)])  # type: ignore[arg-type]


def test_each_pass_visits_each_item_once() -> None:
    for number in range(3):
        indices = indices_at(0, LENGTH, range(number * LENGTH, (number + 1) * LENGTH))
        assert sorted(indices) == list(range(LENGTH))


def test_passes_and_seeds_have_orders_of_their_own() -> None:
    first, second = (indices_at(0, LENGTH, range(at, at + LENGTH)) for at in (0, LENGTH))
    assert first != second
    assert first != indices_at(1, LENGTH, range(LENGTH))


def test_values_and_conditions_belong_together() -> None:
    split = Points(LENGTH)
    indices = indices_at(0, LENGTH, range(10, 20))
    (batch,) = batches([range(10, 20)], jitter=0.0)
    torch.testing.assert_close(batch["x"], torch.from_numpy(split.values[indices]).float())
    assert batch["side"].tolist() == [int(split.sides[index]) for index in indices]


def test_any_position_again_whatever_the_batch() -> None:
    """Order and augmentation belong to the position, across the border of a pass too."""
    whole = joined([range(60)])
    assert torch.equal(joined([range(0, 20), range(20, 40), range(40, 60)]), whole)
    assert torch.equal(joined([range(41, 48)]), whole[41:48])
    assert torch.equal(joined([range(41, 48)]), joined([range(41, 48)]))


def test_the_same_item_is_augmented_anew_each_pass() -> None:
    clean, varied = joined([range(LENGTH * 2)], jitter=0.0), joined([range(LENGTH * 2)])
    moved = (varied - clean)[:, :2]
    assert len(torch.unique(moved, dim=0)) == 2 * LENGTH
    assert float(moved.std()) == pytest.approx(0.1, rel=0.3)


def test_workers_change_nothing() -> None:
    slices = [range(at, at + 8) for at in range(0, 64, 8)]
    assert torch.equal(joined(slices, workers=2), joined(slices))
