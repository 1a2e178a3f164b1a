"""Whose voice a sound is in, as an embedding of speakers tells that others trained: Resemblyzer, an extra.

A word alone says little of a voice, so for the question whose it is, sounds of one voice are joined by tens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from suffuse.conditions import ClassLabel
from suffuse.data import Evaluation, Score
from suffuse.errors import PluginError
from suffuse_audio.data.reference import Reference
from suffuse_audio.data.resampling import Ratio, Resampler

__all__ = ["Voiceprints", "When", "nearest", "voice_scores"]

_RATE = 16_000
_JOINED = 10
"""Sounds that are joined."""
_PAUSE = 0.1
"""Seconds of silence between them."""
_GROUPS = 5
"""Joins of each voice's training clips, whose mean stands for it."""
_PAIRS = 300
"""Sounds that are compared with their references, at most."""
_LOUD = 0.03
_MISSING = 'Resemblyzer: pip install "suffuse[voice]" && pip install --no-deps resemblyzer'

When: TypeAlias = Literal["auto", "always", "never"]
"""Whether voices are compared: where the extra is installed, in any case, or not at all."""

Prints: TypeAlias = NDArray[np.float32]
"""Unit vectors ``[N, 256]``."""


class Voiceprints:
    """Embeddings of speakers, unit vectors of 256 numbers; more alike voices have a larger product.

    Args:
        rate: of the sounds, in Hz.

    Raises:
        PluginError: Resemblyzer is not installed.

    References:
        Wan et al. 2018, "Generalized end-to-end loss for speaker verification".
    """

    def __init__(self, rate: int) -> None:
        try:
            from resemblyzer import VoiceEncoder
        except ImportError as error:
            raise PluginError(f"metric.voice=always needs {_MISSING}") from error
        self._encoder: Any = VoiceEncoder("cpu", verbose=False)
        self._rate, self._ratio, self._resample = rate, Ratio(rate, _RATE), Resampler(_RATE)

    def __call__(self, sounds: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Of sounds ``[T]`` of one voice, one after another: ``[256]``."""
        pause = np.zeros(round(_PAUSE * self._rate), np.float32)
        parts = [part for sound in sounds for part in (_levelled(sound), pause)]
        joined = self._resample(np.concatenate(parts)[None], self._ratio)[0]
        found: NDArray[np.float32] = self._encoder.embed_utterance(joined)
        return found


def nearest(prints: Prints, voices: Prints) -> NDArray[np.int64]:
    """For each of ``prints`` ``[N, 256]`` the most alike of ``voices`` ``[K, 256]``."""
    return np.asarray((prints @ voices.T).argmax(1))


def voice_scores(
    evaluation: Evaluation,
    when: When,
    speaker: str | None,
    values: Tensor,
    heldout: tuple[Tensor, Mapping[str, Tensor]],
    train: tuple[Tensor, Mapping[str, Tensor]],
) -> list[Score]:
    """Whether voices are those that were asked for: of a class, or of a reference clip.

    Args:
        evaluation: with what was asked for; what is missing is noted among its details.
        when: see `When`.
        speaker: the condition that names the voice; None names none.
        values: sounds ``[N, C, T]``.
        heldout, train: real sounds with their conditions.

    Raises:
        PluginError: ``always``, and the extra is not installed.
    """
    conditions = evaluation.train.conditions
    kind = conditions.get(speaker or "")
    named = speaker if isinstance(kind, ClassLabel) else None
    shown = next((name for name, kind in conditions.items() if isinstance(kind, Reference)), None)
    if when == "never" or (named is None and shown is None):
        return []
    try:
        prints = Voiceprints(evaluation.values[0].rate)
    except PluginError:
        if when == "always":
            raise
        evaluation.details["voice"] = f"not measured; it needs {_MISSING}"
        return []
    scores: list[Score] = []
    if named is not None and isinstance(kind, ClassLabel):
        wanted = kind.collate(evaluation.conditions.get(named, [None] * len(values)))
        scores += _as_named(prints, len(kind.names), (values, wanted), *((x, c[named]) for x, c in (heldout, train)))
    if shown is not None:
        reference = conditions[shown].collate(evaluation.conditions.get(shown, [None] * len(values)))
        scores += _like_shown(prints, (values, reference), (heldout[0], heldout[1][shown]))
    return scores


def _as_named(
    prints: Voiceprints,
    count: int,
    values: tuple[Tensor, Tensor],
    heldout: tuple[Tensor, Tensor],
    train: tuple[Tensor, Tensor],
) -> list[Score]:
    known = {voice: _joined(prints, *train, voice, _GROUPS) for voice in range(count)}
    voices = [voice for voice, found in known.items() if len(found)]
    if len(voices) < 2:
        return []
    centres = np.stack([known[voice].mean(0) for voice in voices])
    shares, groups = [], 0
    for sounds, whose in (values, heldout):
        hits = [
            voices[place] == voice
            for voice in voices
            if len(found := _joined(prints, sounds, whose, voice))
            for place in nearest(found, centres)
        ]
        groups = groups or len(hits)
        shares.append(float(np.mean(hits)) if hits else None)
    if shares[0] is None or shares[1] is None:
        return []
    return [
        Score(
            name="voice as asked",
            value=shares[0],
            real=shares[1],
            better="higher",
            about=f"share of {groups} groups of {_JOINED} samples of one voice that are nearer, by Resemblyzer's "
            f"embedding of speakers, to training clips of that voice than to those of {len(voices) - 1} others; "
            "real: held-out clips",
        )
    ]


def _joined(prints: Voiceprints, sounds: Tensor, whose: Tensor, voice: int, most: int | None = None) -> Prints:
    """Of the whole groups of a voice's sounds, in their order, or the first few."""
    rows = (whose == voice).nonzero().flatten()
    groups = rows[: len(rows) // _JOINED * _JOINED].reshape(-1, _JOINED)[:most]
    found = [prints([sounds[row].mean(0).numpy() for row in group.tolist()]) for group in groups]
    return np.stack(found) if found else np.zeros((0, 256), np.float32)


def _like_shown(prints: Voiceprints, values: tuple[Tensor, Tensor], heldout: tuple[Tensor, Tensor]) -> list[Score]:
    found = []
    for sounds, shown in (values, heldout):
        rows = (~shown.isnan().any(1)).nonzero().flatten()[:_PAIRS].tolist()
        found.append([float(prints([sounds[row].mean(0).numpy()]) @ prints([shown[row].numpy()])) for row in rows])
    if not found[0] or not found[1]:
        return []
    return [
        Score(
            name="voice similarity",
            value=float(np.mean(found[0])),
            real=float(np.mean(found[1])),
            better="higher",
            about=f"mean cosine of {len(found[0])} samples and the clips whose voice they were asked to have, in "
            "Resemblyzer's embedding of speakers; real: held-out clips and others of the same voices",
        )
    ]


def _levelled(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """At the level that the embedding is used to."""
    level = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
    return sound * np.float32(_LOUD / max(level, 1e-6))
