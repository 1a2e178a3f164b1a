"""The embedded data: one-shots of the plugin's own synthesiser; nothing is fetched, and every fact is exact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from suffuse.conditions import ClassLabel, Scalar
from suffuse.data import DataSource
from suffuse.errors import ConfigError
from suffuse.splits import check_choice
from suffuse_audio.data.splits import AudioSplit, Level, Memory
from suffuse_audio.data.synth import KINDS, Note, draw, render

__all__ = ["Sounds"]

_HELD_OUT = 1 << 32
"""Held-out sounds are those of the endless series from this index on, so that more clips never reach them."""


class Sounds(DataSource):
    """Drums, bells, strings and chirps in mono, with the conditions ``label``, ``pitch`` and ``decay``.

    ``pitch`` is a MIDI number with its fraction (60 is middle C, 69 is 440 Hz), missing for kinds without pitch;
    ``decay`` is the time in seconds in which a sound falls by 60 dB. Both are measured back by `synth.pitch` and
    `synth.decay_time`. Levels are left as they are: the peak is 0.9 times the velocity.

    Args:
        kinds: which ones, of `synth.KINDS`; empty for all.
        clips: how many to train on; the kinds take turns.
        heldout: how many that training never sees.
        rate: samples in a second.
        seconds: length of each clip.
        seed: another one gives other sounds.
        invert: turn the sign of training clips in half the cases; it sounds the same, but makes the phase of a pitch
            that the network is shown (``decoder.tone``) ambiguous.

    Raises:
        ConfigError: a setting is out of bounds.
    """

    def __init__(
        self,
        *,
        kinds: Sequence[str] = (),
        clips: int = 4000,
        heldout: int = 800,
        rate: int = 8000,
        seconds: float = 0.64,
        seed: int = 0,
        invert: bool = False,
    ) -> None:
        names = tuple(dict.fromkeys((kinds,) if isinstance(kinds, str) else kinds)) or tuple(KINDS)
        for name in names:
            check_choice("kinds", name, tuple(KINDS))
        _check("rate", rate, 4000, 192000)
        _check("seconds", seconds, 0.1, 10)
        _check("clips", clips, len(names), 1_000_000)
        _check("heldout", heldout, 0, 1_000_000)
        self.notes = {
            "train": [draw(index, seed=seed, kinds=names) for index in range(clips)],
            "heldout": [draw(_HELD_OUT + index, seed=seed, kinds=names) for index in range(heldout)],
        }
        """What each clip was asked to be, in the order of the items."""
        known = [note.pitch for note in self.notes["train"] if note.pitch is not None]
        conditions = {
            "label": ClassLabel(names),
            "pitch": _scale(known),
            "decay": _scale([note.decay for note in self.notes["train"]]),
        }
        self.train, self.heldout = (
            AudioSplit(
                recordings=Memory(render(notes, rate=rate, seconds=seconds)[:, None]),
                windows=np.stack([np.arange(len(notes)), np.zeros(len(notes), int)], 1),
                length=round(seconds * rate),
                rate=rate,
                conditions={name: kind for name, kind in conditions.items() if known or name != "pitch"},
                columns=_columns(notes, names),
                level=Level(level="none"),
                invert=invert,
            )
            for notes in self.notes.values()
        )


def _check(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"data.{key}={value}: from {low} to {high}")


def _columns(notes: Sequence[Note], names: Sequence[str]) -> dict[str, list[float | None]]:
    return {
        "label": [names.index(note.kind) for note in notes],
        "pitch": [note.pitch for note in notes],
        "decay": [note.decay for note in notes],
    }


def _scale(values: Sequence[float]) -> Scalar:
    return Scalar(mean=float(np.mean(values)), std=float(np.std(values)) or 1.0) if values else Scalar()
