"""What a sound is, measured back from its samples: the pitch of its lowest strong partial, and how fast it decays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["decay_time", "hertz", "midi", "pitch"]

_ATTACK = 0.04
_STRONG = 0.2
_QUIET = 1e-4


def hertz(number: float) -> float:
    """The frequency of a MIDI number; 69 is 440 Hz, 12 make an octave."""
    return float(440.0 * 2 ** ((number - 69) / 12))


def midi(frequency: float) -> float:
    """The MIDI number of a frequency in Hz, with its fraction."""
    return float(69 + 12 * np.log2(frequency / 440.0))


def pitch(samples: NDArray[np.floating], rate: int, *, lowest: float = 40.0) -> float:
    """The frequency in Hz of the lowest strong partial, or NaN where there is none.

    The attack is left out (drums glide there), and a partial is strong if it reaches a fifth of the strongest: that
    holds for inharmonic sounds such as bells too, for which methods that look for a period fail.

    Args:
        samples: ``[T]``, one channel.
        rate: samples in a second.
        lowest: Hz; what is lower is no pitch.
    """
    signal = np.asarray(samples, np.float64)
    level = _envelope(signal, rate)
    if not level.size or level.max() < _QUIET:
        return np.nan
    start = int(np.argmax(level > 0.1 * level.max()) + _ATTACK * rate)
    heard = np.flatnonzero(level > 0.01 * level.max())
    signal = signal[start : heard[-1] + 1]
    if len(signal) < 4 * rate / lowest:
        return np.nan
    # A sound that decays is best seen by a window that keeps its beginning.
    rise = min(len(signal) // 8, rate // 50)
    window = np.cos(np.linspace(0, np.pi / 2, len(signal))) ** 2
    window[:rise] *= np.sin(np.linspace(0, np.pi / 2, rise)) ** 2
    size = 1 << int(np.ceil(np.log2(8 * len(signal))))
    spectrum = np.abs(np.fft.rfft((signal - signal.mean()) * window, size))
    spectrum[: int(lowest * size / rate)] = 0
    inner = spectrum[1:-1]
    peaks = 1 + np.flatnonzero((inner > spectrum[:-2]) & (inner >= spectrum[2:]) & (inner > _STRONG * spectrum.max()))
    if not len(peaks):
        return np.nan
    place = int(peaks[0])
    before, at, after = np.log(spectrum[place - 1 : place + 2] + 1e-300)
    bend = before - 2 * at + after
    return float((place + (0.5 * (before - after) / bend if bend else 0.0)) * rate / size)


def decay_time(samples: NDArray[np.floating], rate: int) -> float:
    """Seconds in which the sound falls by 60 dB, from the slope of its first 15 dB; NaN where there is none.

    The slope is that of the energy still to come (Schroeder's integral), which is smooth for noise too. Energy after
    the end of the clip is added as the slope itself foretells it.

    Args:
        samples: ``[T]``, one channel.
        rate: samples in a second.

    References:
        M. R. Schroeder, New method of measuring reverberation time, JASA 37, 1965.
    """
    signal = np.asarray(samples, np.float64)
    level = _envelope(signal, rate)
    if not level.size or level.max() < _QUIET:
        return np.nan
    energy = signal[int(np.argmax(level)) :] ** 2
    tail = 0.0
    found = np.nan
    for _ in range(8):
        coming = np.cumsum(energy[::-1])[::-1] + tail
        decibels = 10 * np.log10(coming / coming[0] + 1e-30)
        first, last = int(np.argmax(decibels < -1)), int(np.argmax(decibels < -15))
        if not last:
            last = int(0.8 * len(decibels))
        if last - first < 8:
            return np.nan
        slope = np.polyfit(np.arange(first, last) / rate, decibels[first:last], 1)[0]
        if slope >= 0:
            return np.nan
        found = -60 / slope
        per_sample = 10 ** (slope / 10 / rate)
        # What a decay of this slope leaves after the end, by the energy of the clip itself.
        kept = 1 - per_sample ** len(energy)
        tail = float(energy.sum() * (1 - kept) / kept)
    return float(found)


def _envelope(signal: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """The level at each sample: root mean square over 10 ms."""
    width = max(rate // 100, 1)
    padded = np.pad(signal**2, (width // 2, width - width // 2))
    total = np.cumsum(padded)
    return np.sqrt(np.maximum(total[width:] - total[:-width], 0) / width)[: len(signal)]
