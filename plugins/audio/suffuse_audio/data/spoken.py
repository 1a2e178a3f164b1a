"""Digits spoken by eSpeak NG (extra ``speech``): any number of clips, by several voices, with nothing recorded.

eSpeak NG is free software under the GPL, and so it comes by an extra only; what it says may be used freely.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suffuse.conditions import ClassLabel
from suffuse.data import DataSource
from suffuse.errors import ConfigError, DataError, PluginError, suggest
from suffuse.splits import check_share, held_out_by_key
from suffuse_audio.data.resampling import Ratio, Resampler
from suffuse_audio.data.splits import AudioSplit, Level, Memory

__all__ = ["VOICES", "WORDS", "SpokenDigits"]

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOICES = ("en-us", "en-us+f2", "en-us+f4", "en-us+m3", "en-us+m7", "en-us+klatt2", "en-us+Annie", "en-gb-x-rp+m5")
_SPEEDS = (120, 200)
_PITCHES = (25, 75)
_QUIET = 0.01
_MARGIN = 0.01
_ALIKE = 1.2
"""Decibels between the spectra of two voices: one voice twice has 0.9 at most, two of them 1.8 or more."""
_PATIENCE = 60


class SpokenDigits(DataSource):
    """Spoken digits with the conditions ``label`` (0 to 9) and ``speaker`` (the voice).

    A voice says a word in one way only, so clips differ by speed and pitch, drawn anew for each, and held-out clips
    have manners of speaking that training does not. Words that are longer than the clips are cut.

    Args:
        voices: names of eSpeak NG, with a variant after ``+``.
        clips: for each digit and voice.
        heldout: the share of manners of speaking that training never sees.
        rate: samples in a second.
        seconds: length of each clip.
        seed: another one gives other manners.
        invert: turn the sign of training clips in half the cases; it sounds the same.

    Raises:
        PluginError: the extra is not installed, or its library does not load.
        DataError: a voice sounds like another one, which eSpeak NG does in silence where a name is wrong.
        ConfigError: a setting is out of bounds.
    """

    def __init__(
        self,
        *,
        voices: Sequence[str] = VOICES,
        clips: int = 25,
        heldout: float = 0.2,
        rate: int = 8000,
        seconds: float = 0.64,
        seed: int = 0,
        invert: bool = True,
    ) -> None:
        share = check_share(heldout)
        names = tuple(dict.fromkeys(voices))
        if not names or clips < 1 or seconds <= 0 or not 4000 <= rate <= 192000:
            raise ConfigError("data: spoken_digits takes a voice or more, clips >= 1, seconds > 0, rate 4000 to 192000")
        length = round(seconds * rate)
        manners, jobs = [], []
        for voice, clip in itertools.product(range(len(names)), range(clips)):
            rng = np.random.Generator(np.random.Philox(key=[seed, voice << 32 | clip]))
            speed, height = (int(rng.integers(low, high + 1)) for low, high in (_SPEEDS, _PITCHES))
            manners += [(voice, clip)] * len(WORDS)
            jobs += [(word, names[voice], speed, height) for word in WORDS]
        trials = [("seven", name, 170, 50) for name in names]
        said, source_rate = _say([*trials, *jobs])
        _check_voices(said[: len(trials)], names, source_rate)
        resample, ratio = Resampler(rate), Ratio(source_rate, rate)
        sounds = [_trimmed(resample(word[None], ratio), rate)[:, :length] for word in said[len(trials) :]]
        lengths = [sound.shape[1] for sound in sounds]
        labels = [row % len(WORDS) for row in range(len(sounds))]
        speakers = [voice for voice, _ in manners]
        keys = [f"{names[voice]}/{clip}" for voice, clip in manners]
        padded = np.zeros((len(sounds), 1, length), np.float32)
        for row, sound in enumerate(sounds):
            padded[row, :, : sound.shape[1]] = sound
        held = held_out_by_key(keys, share)
        self.train, self.heldout = (
            AudioSplit(
                recordings=_Uneven(padded, lengths),
                windows=np.stack([rows, np.zeros_like(rows)], 1),
                length=length,
                rate=rate,
                conditions={"label": ClassLabel(tuple("0123456789")), "speaker": ClassLabel(names)},
                columns={"label": labels, "speaker": speakers},
                level=Level(level="rms"),
                invert=invert,
                ending="silence",
            )
            for rows in (np.flatnonzero(~held), np.flatnonzero(held))
        )


class _Uneven(Memory):
    """Recordings of several lengths in one array."""

    def __init__(self, sounds: NDArray[np.float32], lengths: Sequence[int]) -> None:
        super().__init__(sounds)
        self.lengths = list(lengths)

    def frames(self, row: int) -> int:
        return self.lengths[row]

    def read(self, row: int, start: int, count: int) -> NDArray[np.float32]:
        return super().read(row, start, min(count, self.lengths[row] - start))


def _say(jobs: Sequence[tuple[str, str, int, int]]) -> tuple[list[NDArray[np.float32]], int]:
    """Each job (text, voice, words a minute, pitch from 0 to 99) as ``[T]`` in [-1, 1], and the rate of them all."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise PluginError('data=spoken_digits needs eSpeak NG: pip install "suffuse[speech]"') from error
    data = Path(espeakng_loader.get_data_path())
    for voice in {job[1] for job in jobs}:
        # A variant that is not there is passed over in silence by eSpeak NG itself.
        variant = voice.partition("+")[2]
        if variant and not (data / "voices" / "!v" / variant).is_file():
            known = sorted(path.name for path in (data / "voices" / "!v").glob("*"))
            raise DataError(f"data.voices: eSpeak NG has no variant {variant!r}{suggest(variant, known)}")
    task = {"library": str(espeakng_loader.get_library_path()), "data": str(data), "jobs": jobs}
    program = [sys.executable, "-I", str(Path(__file__).with_name("speaking.py"))]
    try:
        done = subprocess.run(
            program, input=json.dumps(task).encode(), capture_output=True, timeout=_PATIENCE + len(jobs), check=False
        )
    except subprocess.TimeoutExpired:
        raise DataError("data=spoken_digits: eSpeak NG does not come to an end") from None
    if done.returncode:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise DataError(f"data=spoken_digits: {reason}")
    head, _, body = done.stdout.partition(b"\n")
    told = json.loads(head)
    samples = np.frombuffer(body, "<i2").astype(np.float32) / 32768
    return np.split(samples, np.cumsum(told["lengths"])[:-1]), told["rate"]


def _check_voices(said: Sequence[NDArray[np.float32]], names: Sequence[str], rate: int) -> None:
    """Raises:
    DataError: two voices say a word alike, so that one of them is not there.
    """
    bands = [_bands(word, rate) for word in said]
    for (one, a), (other, b) in itertools.combinations(zip(names, bands, strict=True), 2):
        if np.sqrt(np.mean((a - b) ** 2)) < _ALIKE:
            raise DataError(f"data.voices: {other!r} sounds like {one!r}; leave one of them out")


def _bands(word: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    """The level of a word in 40 bands of frequency, in decibels."""
    size = 1 << 16
    power = np.abs(np.fft.rfft(word, size)) ** 2
    edges = np.geomspace(80, 8000, 41) * size / rate
    return np.asarray(10 * np.log10(np.add.reduceat(power, edges.astype(int))[:-1] + 1e-9))


def _trimmed(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """A word ``[1, T]`` without the silence around it."""
    level = np.abs(samples[0])
    heard = np.flatnonzero(level > _QUIET * level.max())
    margin = round(_MARGIN * rate)
    return samples[:, max(int(heard[0]) - margin, 0) : int(heard[-1]) + margin]
