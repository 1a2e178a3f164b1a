"""Any position of the stream of training data can be had again, from any number of workers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_convert
from torch.utils.data._utils.pin_memory import pin_memory

from suffuse.fields import Field
from suffuse.layouts import Masked
from suffuse.state import State
from suffuse.training.feed import Feed, Order, _Sent
from tiny import PointEncoder, Points, field

LENGTH = 23


def batches(
    slices: Sequence[range], *, seed: int = 0, workers: int = 0, jitter: float = 0.1
) -> list[dict[str, Tensor]]:
    split = Points(LENGTH, jitter=jitter)
    order = Order.of(split, seed, 8)
    feed = Feed(split=split, decoder=PointEncoder(), fields=field(), order=order, workers=workers)  # type: ignore[arg-type]
    return [{"x": state["x"], **conditions} for state, conditions in feed.batches(slices)]


def joined(slices: Sequence[range], **settings: object) -> Tensor:
    return torch.cat([torch.cat([b["x"], b["side"][:, None]], 1) for b in batches(slices, **settings)])  # type: ignore[arg-type]


def indices_at(seed: int, length: int, positions: range) -> list[int]:
    return Order(seed, length).at(positions)


def padding(order: Order, batches: int) -> float:
    """The share of padded elements, each batch padded to its largest item."""
    assert order.sizes is not None
    places = np.array(order.at(range(batches * order.batch))).reshape(batches, order.batch)
    sizes = order.sizes[places]
    return 1 - float(sizes.sum() / (sizes.max(1) * order.batch).sum())


def varied(length: int = 20_000, seed: int = 0, batch: int = 64) -> Order:
    """Of items as drug-like molecules are: 8 to 27 atoms, 22 in the mean."""
    sizes = np.random.default_rng(0).normal(21.7, 3, length).round().clip(8, 27).astype(np.int64)
    return Order(seed, length, sizes, batch)


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


class Chains:
    """An encoder of states of varying size: each value so often as its first number says."""

    def encode(self, values: Sequence[NDArray[np.float64]]) -> State:
        return State.padded(x=[np.tile(value, (1 + int(8 * abs(value[0])) % 5, 1)) for value in values])


def chains(workers: int) -> list[State]:
    split = Points(LENGTH)
    fields = {"x": Field(shape=(-1, 2), layout=Masked())}
    feed = Feed(split=split, decoder=Chains(), fields=fields, order=Order.of(split, 0, 8), workers=workers)  # type: ignore[arg-type]
    return [clean for clean, _ in feed.batches([range(0, 8), range(8, 16)])]


def test_workers_keep_the_mask() -> None:
    for here, there in zip(chains(0), chains(2), strict=True):
        assert there.mask is not None
        assert torch.equal(there.mask, here.mask)
        assert torch.equal(there["x"], here["x"])


def test_pinned_memory_keeps_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "pin_memory", lambda value: value + 0)
    clean = chains(0)[0]
    pinned = pin_memory(_Sent(clean, {"side": torch.ones(8)}))
    assert isinstance(pinned, _Sent)
    assert torch.equal(pinned.clean.mask, clean.mask)
    assert pinned.clean["x"] is not clean["x"]


def test_torch_drops_the_mask_of_a_bare_state() -> None:
    """The mutant: what torch makes of a state that is sent as it is."""
    assert default_convert(chains(0)[0]).mask is None


# Batches of nearly one size


def test_little_of_a_batch_is_padding() -> None:
    assert padding(varied(), 320) < 0.05


def test_batches_of_random_sizes_are_noticed() -> None:
    """The mutant: windows of one batch, in which nothing is sorted by size."""
    order = varied(length=64, batch=64)
    assert padding(order, 50) > 0.15


def test_each_window_holds_what_stood_there() -> None:
    """So an item comes as often as without sorting, up to the borders of windows."""
    order = varied(length=4096)
    span = 8 * order.batch
    for number in range(4):
        window = range(number * span, (number + 1) * span)
        assert sorted(order.at(window)) == sorted(Order(order.seed, order.length).at(window))
    assert sorted(order.at(range(4096))) == list(range(4096))


def test_a_window_is_no_longer_than_a_pass() -> None:
    order = varied(length=300)
    assert max(np.bincount(order.at(range(256)))) == 1


def test_the_order_of_sizes_belongs_to_the_position_too() -> None:
    order = varied()
    whole = order.at(range(10_000))
    assert order.at(range(5_000, 5_100)) == whole[5_000:5_100]
    assert [order.at([place])[0] for place in (0, 7_777, 2_048)] == [whole[place] for place in (0, 7_777, 2_048)]
    assert whole != varied(seed=1).at(range(10_000))


def test_sizes_come_in_random_order() -> None:
    """A network that saw small items first and large ones last in every window would swing with them."""
    order = varied()
    assert order.sizes is not None
    means = order.sizes[np.array(order.at(range(32 * 64 * 9)))].reshape(36, 8, 64).mean(2)
    assert np.mean(np.diff(means, axis=1) > 0) < 0.75
