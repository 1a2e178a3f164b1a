"""A random number belongs to its key and its row, whatever is drawn beside it, and has the distribution it should."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from suffuse import noise

SHAPES = [(), (1,), (3,), (8,), (2, 5), (3, 7, 11), (257,)]
DRAWS: dict[str, Callable[..., Tensor]] = {"normal": noise.normal, "uniform": noise.uniform}


def depends_on_row_alone(draw: Callable[..., Tensor], shape: tuple[int, ...]) -> bool:
    """Whether rows keep their bits in any split, order and company."""
    key = noise.key(3, "test")
    whole = draw(key, range(40), shape)
    splits = [draw(key, range(start, min(start + 7, 40)), shape) for start in range(0, 40, 7)]
    mixed = [31, 4, 5, 6, 39, 0, 0, 17]
    alone = torch.cat([draw(key, [row], shape) for row in range(40)])
    return (
        torch.equal(torch.cat(splits), whole)
        and torch.equal(draw(key, mixed, shape), whole[mixed])
        and torch.equal(draw(key, range(39, -1, -1), shape), whole.flip(0))
        and torch.equal(alone, whole)
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("draw", DRAWS)
def test_rows_keep_their_bits(draw: str, shape: tuple[int, ...]) -> None:
    assert depends_on_row_alone(DRAWS[draw], shape)


def test_a_generator_that_goes_on_is_noticed() -> None:
    def running(key: int, rows: range, shape: tuple[int, ...]) -> Tensor:
        rng = noise.generator(key, int(rows[0]))
        return torch.from_numpy(rng.standard_normal((len(rows), *shape)))

    assert not depends_on_row_alone(running, (3,))


@pytest.mark.parametrize("row", [2**31, 2**40 + 1, 2**62])
def test_far_rows(row: int) -> None:
    together = noise.normal(1, [row, row + 1], (5,))
    assert torch.isfinite(together).all()
    assert torch.equal(together[1:], noise.normal(1, [row + 1], (5,)))
    assert torch.equal(noise.normal(1, [row + 1, 3, row - 90], (50,))[:1], noise.normal(1, [row + 1], (50,)))
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("draw", DRAWS)
def test_nothing_asked_is_nothing_made(draw: str) -> None:
    assert DRAWS[draw](1, [], (3, 2)).shape == (0, 3, 2)
    assert DRAWS[draw](1, range(4), (0, 2)).shape == (4, 0, 2)


def test_keys_differ_by_seed_and_purpose() -> None:
    keys = {
        noise.key(0, "prior", "x"),
        noise.key(1, "prior", "x"),
        noise.key(0, "step", "x"),
        noise.key(0, "prior", "y"),
        noise.key(0, "prior", "x", 0),
        noise.key(0, "prior", "x", 1),
        noise.key(0, "prior", "x", "1"),
        noise.key(0, "priorx"),
        noise.key(0),
    }
    assert len(keys) == 9
    assert max(keys) < 2**128
    assert noise.key(0, "prior", "x") == noise.key(0, "prior", "x")
    assert not torch.equal(
        noise.normal(noise.key(0, "a"), range(2), (4,)), noise.normal(noise.key(0, "b"), range(2), (4,))
    )


def departs_from_normal(sample: Tensor) -> bool:
    """Mean, variance and the whole distribution (Kolmogorov-Smirnov), each at one in ten thousand."""
    values = sample.double().flatten().numpy()
    count = len(values)
    return bool(
        abs(values.mean()) > 4 / math.sqrt(count)
        or abs(values.var() - 1) > 4 * math.sqrt(2 / count)
        or stats.kstest(values, "norm").pvalue < 1e-4
    )


def test_normal_is_normal() -> None:
    sample = noise.normal(noise.key(0, "statistics"), range(200), (500,))
    assert not departs_from_normal(sample)
    for split in (sample[:, :250], sample[:, 250:], sample[::2], sample[:, ::2]):
        assert not departs_from_normal(split)


def test_normal_has_no_correlations() -> None:
    """Between rows, between entries (Box-Muller makes two from one pair of words), and between keys."""
    a = noise.normal(noise.key(0, "statistics"), range(2000), (16,)).double()
    b = noise.normal(noise.key(1, "statistics"), range(2000), (16,)).double()
    within = a.T @ a / 2000 - torch.eye(16, dtype=torch.float64)
    assert float(within.abs().max()) < 5.5 / math.sqrt(1000)
    for other in (a.roll(1, 0), b, a.square().roll(8, 1) - 1):
        assert abs(float((a * other).mean())) < 5 / math.sqrt(a.numel()) * float(other.std())


def test_other_distributions_are_noticed() -> None:
    uniform = noise.uniform(noise.key(0, "statistics"), range(200), (500,))
    assert departs_from_normal((uniform - 0.5) * math.sqrt(12))
    assert departs_from_normal(1.02 * noise.normal(noise.key(0, "statistics"), range(200), (500,)))


def test_uniform_is_uniform() -> None:
    sample = noise.uniform(noise.key(0, "statistics"), range(200), (500,)).double()
    assert float(sample.min()) > 0
    assert float(sample.max()) <= 1
    assert abs(float(sample.mean()) - 0.5) < 4 / math.sqrt(12 * sample.numel())
    assert stats.kstest(sample.flatten().numpy(), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("length", [1, 2, 7, 100])
def test_order_is_a_permutation_each_pass(length: int) -> None:
    key = noise.key(0, "order")
    stream = noise.order(key, length, range(5 * length)).reshape(5, length)
    for row in stream:
        assert sorted(row) == list(range(length))
    if length == 100:
        assert len({tuple(row) for row in stream}) == 5


def test_order_is_had_again_at_any_place() -> None:
    key = noise.key(0, "order")
    stream = noise.order(key, 10, range(60))
    places = [41, 3, 59, 12, 12, 0]
    np.testing.assert_array_equal(noise.order(key, 10, places), stream[places])
    np.testing.assert_array_equal(noise.order(key, 10, range(25, 35)), stream[25:35])


def test_order_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to put in order"):
        noise.order(1, 0, [0])


def test_generators_differ_by_row() -> None:
    first, again, other = (noise.generator(5, row).standard_normal(1000) for row in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.15
