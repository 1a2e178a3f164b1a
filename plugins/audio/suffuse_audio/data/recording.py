"""From any sound file to float32 samples at one rate and with one number of channels, whole or in part.

Sound files come from strangers. This is the only place that opens them: with every header checked before memory is
asked for, every sample checked before it is used, and every failure turned into one line that names the file.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from suffuse.errors import ConfigError, DataError, PluginError
from suffuse.files import Place
from suffuse_audio.data.resampling import Ratio, Resampler
from suffuse_audio.data.splits import Sound32
from suffuse_audio.data.truncation import missing_bytes

__all__ = ["BLOCK_SECONDS", "SUFFIXES", "Facts", "Preparation", "load_soundfile"]

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc"})
BLOCK_SECONDS = 0.1
"""Length of the stretches whose peaks are kept."""
_PIECE_BLOCKS = 300
_RATES = (1_000, 768_000)
_CHANNELS = 64
_MOST_FRAMES = 1 << 36
_LOUDEST = 16.0
_OFFSET = 0.01
_CANCELS = 0.02
_TRIES = 3


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of a file once it was looked at.

    Args:
        frames: its length at the wanted rate.
        offsets: a constant that is taken off each channel, of no sound but of bad equipment; 0 where it is small.
        left: whether the left channel stands for all, because together they cancel.
        peaks: the largest absolute value of each tenth of a second; None where only the header was read.
    """

    frames: int
    offsets: tuple[float, ...] = ()
    left: bool = False
    peaks: NDArray[np.float32] | None = None


class Preparation:
    """How files of any rate and number of channels become samples of one.

    One channel is the mean of all, unless they cancel (opposite signs, a common fault of cables): then it is the left
    one. Two channels are the first two, or one twice.

    Args:
        rate: samples in a second that are wanted.
        channels: 1 or 2.
    """

    def __init__(self, rate: int, channels: int) -> None:
        low, high = _RATES
        if not low <= rate <= high:
            raise ConfigError(f"data.rate={rate}: samples in a second, from {low} to {high}")
        if channels not in (1, 2):
            raise ConfigError(f"data.channels={channels}: 1 for mono, 2 for stereo")
        self.rate, self.channels = rate, channels
        self.block = max(round(BLOCK_SECONDS * rate), 1)
        self._resample = Resampler(rate)

    def probe(self, place: Place, name: str) -> Facts:
        """A look at the header alone.

        Raises:
            DataError: the file is empty, damaged, cut short or absurd.
        """
        with _opened(place, name) as file:
            return Facts(Ratio(file.samplerate, self.rate).length(file.frames))

    def read(self, place: Place, name: str, facts: Facts, start: int, count: int) -> Sound32:
        """A part ``[C, n]`` of a file, in samples of the wanted rate; n is less than ``count`` at its end.

        A read that fails is tried again, since discs and networks fail for moments.

        Raises:
            DataError: it failed three times.
        """
        for attempt in range(_TRIES):
            try:
                with _opened(place, name, closely=False) as file:
                    samples = self._mixed(file, name, start, min(count, facts.frames - start), facts.left)
                return samples - np.array(facts.offsets, np.float32)[:, None] if any(facts.offsets) else samples
            except DataError:
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def survey(self, place: Place, name: str, keep: IO[bytes] | None = None) -> Facts:
        """Every sample of a file looked at once, piece by piece; all are written to ``keep`` too, where it is given,
        as float32 ``[n, C]`` with their offsets still in them.

        Raises:
            DataError: as `probe`, or its sound ends before the header says, or holds what is no number.
        """
        with _opened(place, name) as file:
            facts = self._survey(file, name, keep, left=False)
            if facts is None:
                if keep is not None:
                    keep.seek(0)
                facts = self._survey(file, name, keep, left=True)
        assert facts is not None
        return facts

    def _survey(self, file: Any, name: str, keep: IO[bytes] | None, left: bool) -> Facts | None:
        """As `survey`, or None where the channels turn out to cancel."""
        frames = Ratio(file.samplerate, self.rate).length(file.frames)
        lows, highs = [], []
        total = np.zeros(self.channels)
        power = np.zeros(2)
        size = _PIECE_BLOCKS * self.block
        for start in range(0, frames, size):
            piece = self._mixed(file, name, start, min(size, frames - start), left, power)
            total += piece.sum(1, dtype=np.float64)
            edges = range(0, piece.shape[1], self.block)
            lows.append(np.minimum.reduceat(piece, edges, axis=1))
            highs.append(np.maximum.reduceat(piece, edges, axis=1))
            if keep is not None:
                keep.write(piece.T.tobytes())
        if not left and self.channels == 1 and power[0] < _CANCELS * power[1]:
            return None
        mean = total / frames
        offsets = np.where(np.abs(mean) > _OFFSET, mean, 0.0)
        low, high = (np.concatenate(part, 1) - offsets[:, None] for part in (lows, highs))
        peaks = np.maximum(np.abs(low), np.abs(high)).max(0).astype(np.float32)
        return Facts(frames, tuple(offsets.tolist()), left, peaks)

    def _mixed(
        self, file: Any, name: str, start: int, count: int, left: bool, power: NDArray[np.float64] | None = None
    ) -> Sound32:
        """A part of an open file; ``power`` gathers that of the mean of its channels, and the mean of theirs."""
        ratio = Ratio(file.samplerate, self.rate)
        first, end, skip = ratio.span(start, count)
        raw = _frames(file, name, first, min(end, file.frames) - first)
        if power is not None:
            power += np.mean(raw.mean(1) ** 2), np.mean(raw**2)
        if self.channels == 2:
            mixed = np.repeat(raw, 2, 1) if raw.shape[1] == 1 else raw[:, :2]
        else:
            mixed = raw[:, :1] if left or raw.shape[1] == 1 else raw.mean(1, keepdims=True)
        return self._resample(np.ascontiguousarray(mixed.T), ratio)[:, skip : skip + count]


def load_soundfile() -> Any:
    """The module soundfile.

    Raises:
        PluginError: it is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: its library is missing
        raise PluginError('Sound files need soundfile: pip install "suffuse[audio]"') from error
    return soundfile


@contextmanager
def _opened(place: Place, name: str, *, closely: bool = True) -> Iterator[Any]:
    """A sound file whose header was checked; ``closely`` also for whether all of it is there."""
    soundfile = load_soundfile()
    try:
        if closely:
            _check_whole(place, name)
        elif isinstance(place, str | bytes):
            os.stat(place)  # libsndfile calls a file that is gone a system error
        if isinstance(place, io.BytesIO):
            place.seek(0)
        with soundfile.SoundFile(place) as file:
            _check_header(file, name)
            yield file
    except OSError as error:
        raise DataError(f"{name!r} cannot be read ({error.strerror or error})") from error
    except soundfile.SoundFileError as error:
        raise DataError(f"{name!r} is not a readable sound ({_reason(error)})") from error


def _check_whole(place: Place, name: str) -> None:
    with open(place, "rb") if isinstance(place, str | bytes) else nullcontext(place) as stream:
        if not stream.seek(0, os.SEEK_END):
            raise DataError(f"{name!r} is an empty file")
        missing = missing_bytes(stream)
    if missing:
        raise DataError(f"{name!r} is cut short: at least {missing} bytes that its header speaks of are missing")


def _check_header(file: Any, name: str) -> None:
    low, high = _RATES
    if not low <= file.samplerate <= high:
        raise DataError(f"{name!r} says it has {file.samplerate} samples a second; from {low} to {high} are believed")
    if not 1 <= file.channels <= _CHANNELS:
        raise DataError(f"{name!r} says it has {file.channels} channels; up to {_CHANNELS} are believed")
    if file.frames == 0:
        raise DataError(f"{name!r} holds no samples")
    if not 0 < file.frames < _MOST_FRAMES:
        raise DataError(f"{name!r} says it has {file.frames} samples; that is not believed")


def _frames(file: Any, name: str, start: int, count: int) -> NDArray[np.float32]:
    """``[count, channels]`` of an open file, or an error: never less in silence."""
    file.seek(start)
    raw: NDArray[np.float32] = file.read(count, dtype="float32", always_2d=True)
    if len(raw) < count:
        raise DataError(f"{name!r} is cut short: it ends after {start + len(raw)} of {file.frames} samples")
    largest = float(np.abs(raw).max(initial=0.0))
    if not np.isfinite(largest):
        raise DataError(f"{name!r} holds samples that are not numbers (NaN or infinite)")
    if largest > _LOUDEST:
        raise DataError(f"{name!r} holds samples up to {largest:.4g}, where full scale is 1")
    return raw


def _reason(error: Exception) -> str:
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return text.rpartition(": ")[2].rstrip(".") if text.startswith("Error opening") else text.rstrip(".")
