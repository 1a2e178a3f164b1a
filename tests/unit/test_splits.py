"""Which samples are held out, and the settings that say so."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from suffuse import splits
from suffuse.errors import ConfigError
from suffuse.splits import check_choice, check_share, held_out_by_class, held_out_by_key


def stays() -> bool:
    """Whether each of 1000 samples stays on its side when as many others come."""
    names = [f"{index}.png" for index in range(2000)]
    few, many = held_out_by_key(names[1000:], 0.2), held_out_by_key(names, 0.2)
    return np.array_equal(few, many[1000:])


def is_even(share: float) -> bool:
    """Whether the first n samples of a class, for each n, hold out ``floor(share n)``."""
    labels = np.random.default_rng(0).integers(0, 3, 300)
    held = held_out_by_class(labels, share)
    hundredths = round(100 * share)
    return all(
        held[labels == label].cumsum().tolist()
        == [hundredths * n // 100 for n in range(1, 1 + int(sum(labels == label)))]
        for label in range(3)
    )


def test_samples_stay_where_they_are_when_others_come() -> None:
    assert stays()
    assert 0.17 < held_out_by_key([f"{index}" for index in range(2000)], 0.2).mean() < 0.23


def test_a_place_that_depends_on_the_others_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    order = itertools.count()
    monkeypatch.setattr(splits, "_place", lambda key: next(order) / 4000)
    assert not stays()


def test_samples_with_one_key_stay_together() -> None:
    keys = [f"{index % 20}" for index in range(200)]
    held = held_out_by_key(keys, 0.3)
    assert {key for key, out in zip(keys, held, strict=True) if out}.isdisjoint(
        key for key, out in zip(keys, held, strict=True) if not out
    )


def test_small_sets_keep_both_sides_and_zero_means_none() -> None:
    for count in range(2, 12):
        names = [f"{index}" for index in range(count)]
        assert 0 < held_out_by_key(names, 0.01).sum() < count
        assert 0 < held_out_by_key(names, 0.99).sum() < count
        assert not held_out_by_key(names, 0).any()
    assert not held_out_by_key(["one"], 0.5).any()


def test_names_that_are_no_text_have_a_place() -> None:
    assert held_out_by_key(["caf\udce9", "café"], 0.5).sum() == 1


@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.29, 0.5, 0.57, 0.99])
def test_the_same_share_of_each_class_is_held_out_evenly(share: float) -> None:
    assert is_even(share)


def test_a_share_in_binary_fractions_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "Fraction", float)
    assert not is_even(0.29)


@pytest.mark.parametrize("share", [-0.1, 1, 1.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=rf"data\.heldout={share}: a share"):
        check_share(share)
    assert check_share(0.5) == 0.5


def test_a_choice_that_is_none_is_answered_with_those_there_are() -> None:
    assert check_choice("crop", "start", ("start", "random")) == "start"
    with pytest.raises(ConfigError, match=r"^data\.crop=rnadom: allowed are start, random; did you mean 'random'\?$"):
        check_choice("crop", "rnadom", ("start", "random"))
