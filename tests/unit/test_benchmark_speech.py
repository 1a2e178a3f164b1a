"""What the benchmarks of recordings measure with: a distance of spectra, the low band, the borders of windows."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import restoration, speech


def hiss(seed: int = 0, length: int = 16_000) -> speech.Samples:
    noise: speech.Samples = (0.1 * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)
    return noise


def test_a_log_spectral_distance_is_in_units_of_ten_decibels() -> None:
    sound = hiss()
    assert speech.log_spectral_distance(sound, sound) == 0
    assert speech.log_spectral_distance(sound, -sound) == 0
    assert speech.log_spectral_distance(sound, sound * np.float32(10**0.5)) == pytest.approx(1, abs=1e-3)
    assert 0.5 < speech.log_spectral_distance(sound, hiss(1)) < 1.2, "of two noises of one colour"
    assert speech.log_spectral_distance(np.zeros(800, np.float32), np.zeros(800, np.float32)) == 0


def test_the_low_band_is_what_the_filter_leaves() -> None:
    sound = hiss()
    low = restoration._low(sound)
    assert speech.log_spectral_distance(sound, low, above=2500) > 3
    assert speech.log_spectral_distance(sound, low, below=1500) < 0.01
    assert restoration._low_band_error(sound, low) < -40
    assert restoration._low_band_error(sound, hiss(1)) > 0


def test_borders_of_windows_are_found_by_their_change() -> None:
    """A sound whose windows know nothing of each other changes more at their borders than elsewhere."""
    borders = restoration._starts(32_000, 0.0)
    assert len(borders) == len(set(borders))
    assert all(0 < border < 250 for border in borders)
    even = hiss(length=32_000)
    pieces = even.copy()
    for place, border in enumerate(borders):
        pieces[border * restoration.FRAME :] *= 30.0 if place % 2 else 1 / 30.0
    near, far, _, _ = restoration._changes([pieces], borders)
    assert near > 2 * far
    near, far, step, usual = restoration._changes([even], borders)
    assert near == pytest.approx(far, abs=0.15)
    assert step == pytest.approx(usual, rel=0.2)
