"""A small synthesiser of one-shots: ten kinds of drums, bells, strings and chirps, each with its facts known exactly.

Every sound is a sum of partials and of noise shaped in frequency, under an envelope that falls by 60 dB in the
decay time. Partials lie below `_TOP` of the Nyquist frequency and noise is drawn by frequency bin, so nothing is
folded back (aliased), and the same sound can be rendered at any rate. Whole groups of sounds are rendered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suffuse_audio.data.measuring import decay_time, hertz, midi, pitch

__all__ = ["KINDS", "Kind", "Note", "decay_time", "draw", "hertz", "midi", "pitch", "render"]

Floats = NDArray[np.float64]
_PEAK = 0.9
_FADE = 0.02
_TOP = 0.85
_NOISE_BAND = 4000.0
_CHUNK = 64


@dataclass(frozen=True)
class Note:
    """One sound, as it is asked of the synthesiser.

    Args:
        kind: a key of `KINDS`.
        pitch: MIDI number of the lowest partial, fractions included (69 is 440 Hz); None for kinds without pitch.
        decay: seconds in which it falls by 60 dB.
        velocity: how hard it is struck, in (0, 1]: the peak is 0.9 times as much; hard ones are brighter too.
        timbre: four numbers in [0, 1] that vary it within its kind.
        noise: key of its noise, a whole number from 0.
    """

    kind: str
    pitch: float | None
    decay: float
    velocity: float
    timbre: tuple[float, float, float, float] = (0.5, 0.5, 0.5, 0.5)
    noise: int = 0


@dataclass(frozen=True)
class Kind:
    """A family of sounds.

    Args:
        render: the raw sounds of a `_Group`, ``[N, T]``, at any level.
        decay: the shortest and longest decay in seconds; drawn evenly in its logarithm.
        pitch: the lowest and highest MIDI number; drawn evenly. None for no pitch.
    """

    render: Callable[[_Group], Floats]
    decay: tuple[float, float]
    pitch: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Group:
    """Notes of one kind as columns ``[N, 1]``, beside the time ``[T]`` in seconds since the stroke."""

    rate: int
    time: Floats
    hertz: Floats
    decay: Floats
    velocity: Floats
    timbre: Sequence[Floats]
    spectra: NDArray[np.complex128]

    def between(self, place: int, low: float, high: float) -> Floats:
        """The timbre number at ``place`` as a value from ``low`` to ``high``, evenly in its logarithm."""
        return np.asarray(low * (high / low) ** self.timbre[place])

    def fall(self, decay: Floats | float) -> Floats:
        """An envelope ``[N, T]`` from 1 that falls by 60 dB in ``decay`` seconds."""
        return np.asarray(np.exp(-np.log(1000.0) / decay * self.time))

    def partial(self, frequency: Floats, cycles: Floats | None = None) -> Floats:
        """A sine ``[N, T]`` of ``frequency`` [N, 1] Hz (or of phase ``cycles``), silent where it is too high."""
        turns = frequency * self.time if cycles is None else cycles
        sine = np.sin((2 * np.pi * (turns % 1.0)).astype(np.float32)).astype(np.float64)
        return np.where(frequency < _TOP * self.rate / 2, sine, 0.0)

    def hiss(self, low: Floats | float, high: Floats | float) -> Floats:
        """Noise ``[N, T]`` between two frequencies in Hz, of unit power for each 4 kHz of band; slopes of 12 dB."""
        count = len(self.time)
        frequency = np.fft.rfftfreq(count, 1 / self.rate)
        safe = np.maximum(frequency, 1.0)
        gain = 1 / np.sqrt((1 + (low / safe) ** 4) * (1 + (safe / high) ** 4))
        # Keyed noise up to this Nyquist frequency: at another rate the same bins hold the same numbers.
        per_bin = np.sqrt(_NOISE_BAND * count / self.rate)
        return np.asarray(np.fft.irfft(self.spectra * gain, count) * count / (2 * per_bin))


def _kick(g: _Group) -> Floats:
    end, ratio, sweep = g.between(0, 42, 66), g.between(1, 2.5, 6), g.between(2, 0.012, 0.04)
    cycles = end * g.time + end * (ratio - 1) * sweep * (1 - np.exp(-g.time / sweep))
    click = g.hiss(800, 3000) * g.fall(0.02) * g.velocity * g.between(3, 0.05, 0.4)
    return g.partial(end, cycles) * g.fall(g.decay) + click


def _snare(g: _Group) -> Floats:
    body = g.between(0, 160, 240)
    shell = g.partial(body) + 0.6 * g.partial(1.6 * body)
    wires = g.hiss(g.between(1, 900, 1800), 3600) * g.between(2, 0.5, 1.4) * (0.5 + g.velocity)
    return (0.6 * shell + wires) * g.fall(g.decay)


def _hihat(g: _Group) -> Floats:
    metal = sum(g.partial(g.between(0, 380, 460) * ratio) for ratio in (5.0, 5.83, 6.37, 7.19, 7.87))
    return (g.hiss(g.between(1, 2000, 2900), 5000) + g.between(2, 0.02, 0.15) * metal) * g.fall(g.decay)


def _clap(g: _Group) -> Floats:
    gap = g.between(0, 0.007, 0.013)
    hands = np.zeros((len(gap), len(g.time)))
    for stroke in range(4):
        since = g.time - stroke * gap
        fall = g.decay if stroke == 3 else gap
        level = np.exp(-np.log(1000.0) / fall * np.maximum(since, 0)) * np.clip(since / 0.001, 0, 1)
        hands = np.maximum(hands, level)
    centre = g.between(1, 900, 1500)
    return g.hiss(0.7 * centre, 1.6 * centre) * hands


def _tom(g: _Group) -> Floats:
    glide = g.between(0, 0.05, 0.4)
    cycles = g.hertz * (g.time + glide * 0.012 * (1 - np.exp(-g.time / 0.012)))
    skin = g.partial(1.59 * g.hertz, 1.59 * cycles) * g.fall(0.5 * g.decay) * g.between(1, 0.1, 0.4)
    stick = g.hiss(400, 2500) * g.fall(0.03) * 0.15 * g.velocity
    return g.partial(g.hertz, cycles) * g.fall(g.decay) + skin + stick


def _cowbell(g: _Group) -> Floats:
    second = g.hertz * g.between(0, 1.44, 1.52)
    tone = np.zeros((len(g.hertz), len(g.time)))
    for odd in (1, 3, 5):
        dull = g.between(1, 0.5, 1.0) ** (odd - 1) / odd
        tone += dull * (g.partial(odd * g.hertz) + 0.8 * g.partial(odd * second))
    return tone * g.fall(g.decay) + 0.4 * tone * g.fall(0.15 * g.decay)


def _bell(g: _Group) -> Floats:
    tone = g.partial(g.hertz) * g.fall(g.decay)
    for ratio, level, life in ((2.0, 0.35, 0.8), (2.756, 0.5, 0.5), (4.07, 0.3, 0.35), (5.404, 0.25, 0.2)):
        bright = g.between(0, 0.4, 1.0) * (0.5 + 0.5 * g.velocity)
        detuned = ratio * (1 + 0.01 * (g.timbre[1] - 0.5))
        tone += level * bright * g.partial(detuned * g.hertz) * g.fall(life * g.decay)
    return tone


def _pluck(g: _Group) -> Floats:
    where, stiff = g.between(0, 0.12, 0.45), g.between(1, 5e-5, 6e-4)
    tone = np.zeros((len(g.hertz), len(g.time)))
    for n in range(1, 25):
        level = np.abs(np.sin(np.pi * n * where)) / n ** (1.6 - 0.6 * g.velocity)
        frequency = n * g.hertz * np.sqrt((1 + stiff * n**2) / (1 + stiff))
        tone += level * g.partial(frequency) * g.fall(g.decay / (1 + 0.12 * (n - 1)))
    return tone


def _bass(g: _Group) -> Floats:
    cutoff = g.between(0, 250, 700) * (0.6 + 0.8 * g.velocity)
    tone = np.zeros((len(g.hertz), len(g.time)))
    for n in range(1, 33):
        square = 1.0 if n % 2 else g.timbre[1]
        frequency = n * g.hertz
        level = square / n / np.sqrt(1 + (frequency / cutoff) ** 4)
        tone += level * g.partial(frequency) * g.fall(g.decay / (1 + 0.05 * (n - 1)))
    return tone


def _chirp(g: _Group) -> Floats:
    up = g.timbre[0] < 0.5
    low, octaves, length = g.between(1, 250, 700), g.between(2, 1.0, 2.2), g.between(3, 0.12, 0.45)
    first = np.where(up, low, low * 2**octaves)
    slope = np.where(up, octaves, -octaves) * np.log(2) / length
    moving = np.minimum(g.time, length)
    cycles = first * np.expm1(slope * moving) / slope + first * np.exp(slope * length) * (g.time - moving)
    return g.partial(low, cycles) * g.fall(g.decay)


KINDS: dict[str, Kind] = {
    "kick": Kind(_kick, (0.25, 0.8)),
    "snare": Kind(_snare, (0.15, 0.5)),
    "hihat": Kind(_hihat, (0.06, 0.5)),
    "clap": Kind(_clap, (0.15, 0.5)),
    "tom": Kind(_tom, (0.3, 1.0), (41, 60)),
    "cowbell": Kind(_cowbell, (0.25, 0.9), (67, 79)),
    "bell": Kind(_bell, (0.7, 2.0), (72, 93)),
    "pluck": Kind(_pluck, (0.5, 1.6), (48, 74)),
    "bass": Kind(_bass, (0.5, 1.6), (31, 50)),
    "chirp": Kind(_chirp, (0.3, 1.2)),
}


def draw(index: int, *, seed: int = 0, kinds: Sequence[str] = tuple(KINDS)) -> Note:
    """The note at ``index`` of an endless series: the kinds take turns, all else is keyed by (seed, index)."""
    name = kinds[index % len(kinds)]
    u = np.random.Generator(np.random.Philox(key=[seed, index])).random(8)
    kind = KINDS[name]
    shortest, longest = kind.decay
    return Note(
        kind=name,
        pitch=None if kind.pitch is None else float(kind.pitch[0] + u[0] * (kind.pitch[1] - kind.pitch[0])),
        decay=float(shortest * (longest / shortest) ** u[1]),
        velocity=float(0.3 + 0.7 * u[2]),
        timbre=(float(u[3]), float(u[4]), float(u[5]), float(u[6])),
        noise=index,
    )


def render(notes: Sequence[Note], *, rate: int, seconds: float) -> NDArray[np.float32]:
    """The sounds of ``notes``, ``[N, T]``; each depends on its own note alone."""
    count = round(seconds * rate)
    out = np.zeros((len(notes), count), np.float32)
    for name in KINDS:
        rows = [row for row, note in enumerate(notes) if note.kind == name]
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            out[chunk] = _finished([notes[row] for row in chunk], KINDS[name], rate, count)
    return out


def _finished(notes: Sequence[Note], kind: Kind, rate: int, count: int) -> Floats:
    """Rendered notes of one kind with a soft start, a faded end and their own peak."""
    time = np.arange(count) / rate
    group = _Group(
        rate=rate,
        time=time,
        hertz=_column([np.nan if note.pitch is None else hertz(note.pitch) for note in notes]),
        decay=_column([note.decay for note in notes]),
        velocity=_column([note.velocity for note in notes]),
        timbre=[_column([note.timbre[place] for note in notes]) for place in range(4)],
        spectra=np.stack([_spectrum(note.noise, count) for note in notes]),
    )
    start = np.clip(time / 0.002, 0, 1)
    end = np.clip((time[-1] - time) / _FADE, 0, 1)
    raw = kind.render(group) * (0.5 - 0.5 * np.cos(np.pi * start)) * (0.5 - 0.5 * np.cos(np.pi * end))
    return np.asarray(raw / np.abs(raw).max(1, keepdims=True) * _PEAK * group.velocity)


def _column(values: Sequence[Any]) -> Floats:
    return np.array(values, dtype=np.float64)[:, None]


def _spectrum(key: int, count: int) -> NDArray[np.complex128]:
    """Complex normal numbers for the bins of a real spectrum, the one at 0 Hz left out."""
    pairs = np.random.Generator(np.random.Philox(key=[key, 1 << 40])).standard_normal((count // 2, 2))
    return np.concatenate([[0.0], pairs[:, 0] + 1j * pairs[:, 1]])
