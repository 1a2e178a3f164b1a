"""What all decoders of sounds share: clips in and out, the files of a user, WAV, pictures and players.

A representation adds the four small methods that go from samples to its one field and back, and perhaps fields that
are given and never made. Whatever it needs to go back is in its own settings and in the shape of the field, never
measured from data: a decoder is made again from a run's configuration alone. What is measured, the standard deviation,
stays in the field.
"""

from __future__ import annotations

import base64
import io
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suffuse.data import Decoder, Gap, Split
from suffuse.errors import ConfigError, DataError, RunError
from suffuse.fields import Field
from suffuse.layouts import Filled
from suffuse.state import State
from suffuse_audio.clips import Clip, Given
from suffuse_audio.data.splits import LevelName
from suffuse_audio.decoders.given import NEEDS
from suffuse_audio.decoders.joining import join
from suffuse_audio.decoders.opening import open_marks, open_sound, samples_of
from suffuse_audio.pictures import portrait, sheet
from suffuse_audio.wav import Subtype, encode_wav, read_record, write_wav

__all__ = ["LOUD", "SoundDecoder"]

LOUD = 0.1
"""The RMS of a sound, roughly. Representations are multiplied by a constant so that one of this loudness has a standard
deviation of about 0.5: the noise levels of a process count in absolute terms, and suit that."""
_SAMPLE = 512
_LEAST_SCALE = 0.001
"""Of a set that is silent throughout; a field with scale 0 could not be normalised."""
_SILENCE = 0.001
"""The peak below which there is nothing to be heard: -60 dB."""
_SHORTEST = 0.01
"""Seconds of sound, from which on anything can be made of it."""


class SoundDecoder(Decoder):
    """Clips ``[C, T]`` as one field, and as WAV files.

    Args:
        rate: of the clips, in Hz.
        level: of the clips that were trained on, to which files of the user's are brought: ``none``, ``peak`` or
            ``rms``; what is made of them comes back at the level of the file.
        subtype: of saved samples: ``pcm16``, ``pcm24`` or ``float``.
    """

    suffix = ".wav"
    tasks: ClassVar[Mapping[str, str]] = {"continue": "inpaint", "vocode": "given", "extend": "given"}
    saving: ClassVar[frozenset[str]] = frozenset({"subtype"})
    field: ClassVar[str]
    """The name of the field that is made."""

    def __init__(self, *, rate: int, level: LevelName, subtype: Subtype) -> None:
        if not 0 < rate < 2**31:
            raise ConfigError(f"decoder.rate={rate}: a number of samples in a second from 1")
        self.rate = rate
        self.level: LevelName = level
        self.subtype: Subtype = subtype

    @abstractmethod
    def analyse(self, samples: Tensor) -> Tensor:
        """Samples ``[B, C, T]`` to the values of the field."""

    @abstractmethod
    def synthesise(self, values: Tensor) -> Tensor:
        """The inverse of `analyse`; where T did not fill the last frame, the result is longer."""

    def known(self, samples: Tensor) -> dict[str, Tensor]:
        """The given fields of samples ``[B, C, T]``; none by default."""
        return {}

    def restore(self, made: Tensor, known: Tensor) -> Tensor:
        """Made samples ``[C, T]`` with that of the known ones which given fields say exactly; nothing by default."""
        return made

    @abstractmethod
    def extent(self, shape: Sequence[int]) -> tuple[int, int]:
        """Channels and samples of a clip whose field has this shape, without the batch."""

    @abstractmethod
    def touched(self, marks: Tensor, shape: Sequence[int]) -> Tensor:
        """Where samples under ``marks`` ``[T]`` of bool have a part in the field; of its ``shape``."""

    def fields(self, train: Split) -> dict[str, Field]:
        """The fields with their standard deviations over up to 512 evenly spaced clips.

        Raises:
            DataError: there are no clips to train on, or not of this decoder's rate.
        """
        if len(train) == 0:
            raise DataError("the training part of the data is empty; see data.heldout")
        rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), _SAMPLE)).astype(np.int64))
        state = self.encode(train.gather(rows.tolist()).values)
        return {name: self._measured(name, values, state.mask) for name, values in state.items()}

    def _measured(self, name: str, values: Tensor, mask: Tensor | None) -> Field:
        layout = Filled()
        counted = layout.counts(values, mask)
        heard = values if counted is None else values[counted.expand_as(values)]
        scale = max(float(heard.double().std(correction=0)), _LEAST_SCALE)
        return Field(shape=tuple(values.shape[1:]), layout=layout, scale=scale, given=name != self.field)

    def encode(self, values: Sequence[Clip]) -> State:
        """Clips of one length to a state, whose mask tells what of each is sound and not silence that fills it up.

        Raises:
            DataError: a clip has another rate than this decoder, or another shape than the first one.
        """
        shape = values[0].samples.shape
        for clip in values:
            if clip.rate != self.rate:
                raise DataError(
                    f"decoder.rate={self.rate}, but the data has clips of {clip.rate} Hz: set decoder.rate={clip.rate} "
                    f"or data.rate={self.rate}"
                )
            if clip.samples.shape != shape:
                raise DataError(
                    f"clips of {list(shape)} and of {list(clip.samples.shape)} channels and samples do not go into one "
                    "batch: let the data cut and fill them to one length"
                )
        samples = torch.stack([clip.samples for clip in values]).float()
        made = self.analyse(samples)
        return State({self.field: made, **self.known(samples)}, self._heard(values, made.shape[1:]))

    def _heard(self, values: Sequence[Clip], shape: Sequence[int]) -> Tensor | None:
        """``[B, frames]``: where any of a frame's own samples is no padding; None where there is no padding."""
        if all(clip.valid is None for clip in values):
            return None
        starts = torch.arange(shape[-1]) * (self.extent(shape)[1] // shape[-1])
        return starts < torch.tensor([clip.length for clip in values])[:, None]

    def decode(self, state: State) -> list[Clip]:
        """Clips of as many samples as the field covers, at whatever level they have."""
        with torch.no_grad():
            samples = self.synthesise(state[self.field].detach().float())
        return [Clip(clip, self.rate) for clip in samples.to("cpu")]

    def load(self, path: Path, fields: Mapping[str, Field]) -> Given:
        """A sound file of any rate and number of channels: resampled, at the level of the training, and with silence
        after its end up to the length of the fields.

        Raises:
            DataError: it is missing, damaged or no sound; or silent, or hardly anything.
        """
        channels, least = self.extent(fields[self.field].shape)
        clip = open_sound(path, self.rate, channels, least, self.level)
        seconds = clip.length / self.rate
        if clip.length < min(least, _SHORTEST * self.rate):
            raise DataError(
                f"{path}: a sound of {seconds:.2g} s is too short to start from; {_SHORTEST:g} s are enough"
            )
        if clip.sound.abs().max() < _SILENCE * clip.gain:
            raise DataError(f"{path}: there is nothing to be heard in its {seconds:.2g} s")
        return clip

    def blank(self, length: str, fields: Mapping[str, Field]) -> Given:
        """Silence of ``2.5s`` or ``800ms``.

        Raises:
            ConfigError: it is no such length.
        """
        channels, _ = self.extent(fields[self.field].shape)
        silence = torch.zeros(channels, samples_of(length, self.rate))
        return Given(silence, self.rate, original=silence, gain=1.0, offset=torch.zeros(channels, 1))

    def finish(self, value: Given, *, known: bool) -> Callable[[Clip], Clip]:
        """To a clip of the length of the file and at its level; what is known exactly is put back."""

        def finished(made: Clip) -> Clip:
            samples = value.like(made.samples)
            if known:
                samples = self.restore(samples, value.original)
            return replace(made, samples=samples[:, : value.length])

        return finished

    def load_mask(self, path: Path, fields: Mapping[str, Field]) -> State:
        """A gap as a file: JSON ``[[0.1, 0.25]]`` or lines ``0.1 0.25`` of text in seconds, or a sound whose samples
        are 1 where it is to be made anew and 0 elsewhere.

        Every part of the field in which a sample of the gap has a share is made anew.

        Raises:
            DataError: it cannot be read, marks nothing, or lies outside of the clip.
        """
        _, room = self.extent(fields[self.field].shape)
        shapes = {name: field.shape for name, field in fields.items()}
        return self._unknown(open_marks(path, self.rate, room), shapes)

    def gap(self, value: Given, mask: Path | None, fields: Mapping[str, Field]) -> Gap:
        """A gap that a file marks or, without one, all that comes after the end of a sound.

        Decoded clips get the known samples back exactly, with a fade on the inner side of the seams.

        Raises:
            DataError: as `load_mask`; nothing comes after the end; or nearly nothing is known.
        """
        room = value.samples.shape[-1]
        end = room if mask is None else value.length
        if mask is not None:
            marks = torch.nn.functional.pad(open_marks(mask, self.rate, end), (0, room - end))
        elif value.length == room:
            raise DataError(
                f"input: lasts {room / self.rate:g} s, which is all that is made, so that nothing comes after its end; "
                f"ask for more with length={2 * room / self.rate:g}s, or take task=inpaint with mask=FILE"
            )
        else:
            marks = torch.arange(room) >= value.length
        unknown = self._unknown(marks, {name: part.shape[1:] for name, part in self.encode([value]).items()})
        if unknown[self.field].all():
            raise DataError(f"{mask or 'input'}: too little is left that is known: not one frame")
        original = Clip(value.original, value.rate)

        def joined(made: Clip) -> Clip:
            fitting = Clip(value.like(made.samples), value.rate)
            whole = join(fitting, original, marks, limited=self.subtype != "float")
            return replace(whole, samples=whole.samples[:, :end])

        return Gap(unknown, joined)

    def obstacle(self, task: str, fields: Mapping[str, Field]) -> str | None:
        needed = NEEDS.get(task)
        if needed is None or needed in fields:
            return None
        return f"this run was trained without the given field {needed}: train with decoder=stft decoder.given={needed}"

    def _unknown(self, marks: Tensor, shapes: Mapping[str, Sequence[int]]) -> State:
        """What marks of samples mean for the fields; of a given field, that has seen the gap, all is unknown."""
        return State(
            {
                name: self.touched(marks, shape)[None]
                if name == self.field
                else torch.ones(1, *shape, dtype=torch.bool)
                for name, shape in shapes.items()
            }
        )

    def save(self, value: Clip, path: Path, record: Mapping[str, Any]) -> None:
        """A WAV file with the record in its INFO chunk; `suffuse_audio.wav.read_record` reads it back.

        Nothing is ever clipped: a sound whose peak exceeds full scale is scaled down to it. The record says so under
        ``limiter``, and so does a line on stderr. Float files hold any level and are left alone.

        Raises:
            RunError: the sound has samples that are not finite.
            DataError: the file cannot be written.
        """
        samples = _samples(value)
        if not np.isfinite(samples).all():
            raise RunError(f"{path.name}: the sound has samples that are not finite; the model diverged in training")
        limiter = value.limiter
        if self.subtype != "float":
            samples, peak = _within(samples)
            if peak > 1:
                limiter = f"scaled by {-20 * np.log10(peak):.2f} dB, as the peak was {peak:.4g}"
        if limiter:
            record = {**record, "limiter": limiter}
            print(f"{path.name}: {limiter}; decoder.subtype=float keeps any level", file=sys.stderr)
        write_wav(samples, value.rate, path, self.subtype, record)

    @staticmethod
    def read_record(path: Path) -> dict[str, Any]:
        """The record inside a file of `save`; the errors are those of `wav.read_record`."""
        return read_record(path)

    def sheet(self, values: Sequence[Clip], captions: Sequence[str], path: Path) -> None:
        """Waveforms and spectrograms in a grid, with captions below."""
        picture = sheet(values, captions)
        try:
            picture.save(path, format="PNG", optimize=True)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error

    def html(self, value: Clip) -> str:
        """A player with the sound inside, below its waveform and spectrogram."""
        samples, _ = _within(np.nan_to_num(_samples(value), nan=0.0, posinf=0.0, neginf=0.0))
        sound = base64.b64encode(encode_wav(samples, value.rate)).decode("ascii")
        stream = io.BytesIO()
        image = portrait(value)
        image.save(stream, format="PNG", optimize=True)
        picture = base64.b64encode(stream.getvalue()).decode("ascii")
        # A browser gives out a limited number of players; without preload it makes one when it is asked to play.
        return (
            f'<img src="data:image/png;base64,{picture}" alt="waveform and spectrogram of {value.seconds:.2g} s" '
            f'width="{image.width}" height="{image.height}" style="image-rendering: auto">'
            f'<audio controls preload="none" src="data:audio/wav;base64,{sound}" '
            'style="width: 9rem; height: 2rem; margin-top: .2rem"></audio>'
        )


def _samples(clip: Clip) -> NDArray[np.float32]:
    return clip.samples.detach().float().numpy()


def _within(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """The samples scaled down into [-1, 1] if need be, and the peak that they had."""
    peak = float(np.abs(samples).max(initial=0.0))
    return (samples / np.float32(peak) if peak > 1 else samples), peak
