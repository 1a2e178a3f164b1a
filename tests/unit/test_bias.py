"""Shifts of attributes: they say what was planted, and their intervals cover the truth as often as they claim."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap

from suffuse import bias
from suffuse.bias import Attribute, Shift, shifts

NAMES = ("cat", "dog", "cow")


def drawn(share: list[float], count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(len(share), count, p=share)


def of_classes(real: np.ndarray, samples: np.ndarray) -> list[Shift]:
    return shifts(Attribute(name="animal", real=real, samples=samples, classes=NAMES))


def test_shares_and_means_are_those_of_the_data() -> None:
    found = of_classes(np.array([0, 0, 1, 2, -1]), np.array([0, 1, 1, 1]))
    assert [(s.of, s.real, s.samples) for s in found] == [("cat", 0.5, 0.25), ("dog", 0.25, 0.75), ("cow", 0.25, 0.0)]
    (mean,) = shifts(Attribute(name="size", real=np.array([1.0, 3.0, np.nan]), samples=np.array([4.0, 4.0])))
    assert (mean.of, mean.real, mean.samples) == ("mean", 2.0, 4.0)


def test_a_planted_shift_is_certain_and_its_absence_is_not() -> None:
    real = drawn([0.5, 0.3, 0.2], 2000, 0)
    assert [s.certain for s in of_classes(real, drawn([0.6, 0.2, 0.2], 2000, 1))] == [True, True, False]
    assert [s.certain for s in of_classes(real, drawn([0.5, 0.3, 0.2], 2000, 2))] == [False] * 3


@pytest.mark.parametrize("classes", [None, NAMES])
def test_intervals_cover_the_truth_nineteen_times_in_twenty(classes: tuple[str, ...] | None) -> None:
    """With the truth equal on both sides; an interval from one set alone is the mutant, and covers too seldom."""
    covered = alone = 0
    rounds = 100
    for seed in range(rounds):
        a, b = (drawn([0.5, 0.3, 0.2], 150, 2 * seed + i).astype(float if classes is None else int) for i in (0, 1))
        first = shifts(Attribute(name="x", real=a, samples=b, classes=classes), seed)[0]
        covered += not first.certain
        one = bias.shifts(Attribute(name="x", real=np.tile(a, 20), samples=b, classes=classes), seed)[0]
        alone += not one.certain
    assert 0.91 <= covered / rounds <= 0.99
    assert alone / rounds < 0.9


def test_intervals_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.exponential(2.0, 200), rng.exponential(3.0, 120)
    (found,) = shifts(Attribute(name="x", real=a, samples=b))
    expected = bootstrap(
        (b, a), lambda x, y, axis: x.mean(axis) - y.mean(axis), method="percentile", rng=rng
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.08)


def test_blocks_do_not_change_which_values_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bias, "_BLOCK", 10)
    (found,) = shifts(Attribute(name="x", real=np.full(30, 1.0), samples=np.full(20, 3.0)))
    assert (found.low, found.high) == (2.0, 2.0)


@pytest.mark.parametrize("nothing", [np.array([np.nan]), np.zeros(0)])
def test_of_what_nothing_is_known_nothing_shifts(nothing: NDArray[np.float64]) -> None:
    assert shifts(Attribute(name="x", real=nothing, samples=np.array([1.0]))) == []
    assert shifts(Attribute(name="x", real=np.array([1.0]), samples=nothing)) == []
