"""Spoken words as a recogniser hears them that was made by others from the speech of others: PocketSphinx, an extra.

The classifier of the other metrics learns from the same recordings as the model, and may share its mistakes. This one
shares none: it knows American English in general, and is told only which words there are to choose from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from suffuse.data import Evaluation, Score
from suffuse.errors import ConfigError, PluginError
from suffuse_audio.data.resampling import Ratio, Resampler

__all__ = ["Recogniser", "word_scores"]

_RATE = 16_000
_PAUSE = 0.2
"""Seconds of silence before and after, which the recogniser is used to."""
_LOUD, _PEAK = 0.1, 0.95
_HISS = 1e-3
"""The level of a noise under all of it, -60 dB, as in every room: perfect silence leads the recogniser astray. With it
85 % of the real clips of a set of spoken digits are recognised, without it 76 %."""


class Recogniser:
    """One of several words, as it is heard in a sound; None where none is.

    Args:
        words: English ones.
        rate: of the sounds, in Hz.

    Raises:
        PluginError: PocketSphinx is not installed.
        ConfigError: it does not know a word.
    """

    def __init__(self, words: Sequence[str], rate: int) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise PluginError('metric.words needs PocketSphinx: pip install "suffuse[recognise]"') from error
        self._decoder: Any = Decoder(lm=None, samprate=_RATE, loglevel="FATAL")
        for word in words:
            if self._decoder.lookup_word(word) is None:
                raise ConfigError(f"metric.words: PocketSphinx does not know the word {word!r}; write it in lower case")
        grammar = f"#JSGF V1.0; grammar words; public <word> = {' | '.join(words)};"
        self._decoder.add_jsgf_string("words", grammar)
        self._decoder.activate_search("words")
        self._ratio, self._resample = Ratio(rate, _RATE), Resampler(_RATE)

    def __call__(self, samples: NDArray[np.float32]) -> str | None:
        """What is heard in ``[T]``, whatever its level."""
        level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
        peak = float(np.abs(samples).max(initial=0.0))
        if not level:
            return None
        loud = samples * np.float32(min(_LOUD / level, _PEAK / peak))
        pause = np.zeros(round(_PAUSE * _RATE), np.float32)
        whole = np.concatenate([pause, self._resample(loud[None], self._ratio)[0], pause])
        whole += _HISS * np.random.default_rng(0).standard_normal(len(whole), np.float32)
        self._decoder.start_utt()
        self._decoder.process_raw((whole.clip(-1, 1) * 32767).astype("<i2").tobytes(), False, True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr if found is not None and found.hypstr else None


def word_scores(
    evaluation: Evaluation,
    words: Sequence[str],
    classes: Sequence[str],
    values: Tensor,
    wanted: NDArray[np.int64],
    heldout: Tensor,
    truth: NDArray[np.int64],
) -> list[Score]:
    """The share of sounds in which the word of their class is heard.

    Args:
        evaluation: shares by class are left among its details.
        words: of each class, in their order.
        classes: their names.
        values, heldout: sounds ``[N, C, T]`` and ``[M, C, T]``.
        wanted, truth: their classes; -1 is unknown.

    Raises:
        PluginError, ConfigError: as `Recogniser`, or there are not as many words as classes.
    """
    if len(words) != len(classes):
        raise ConfigError(f"metric.words: {len(words)} words for {len(classes)} classes ({', '.join(classes[:12])})")
    if not (wanted >= 0).any() or not (truth >= 0).any():
        return []
    hear = Recogniser(words, evaluation.values[0].rate)
    hits = [
        np.array(
            [hear(sound.mean(0).numpy()) == words[label] for sound, label in zip(x[y >= 0], y[y >= 0], strict=True)]
        )
        for x, y in ((values, wanted), (heldout, truth))
    ]
    evaluation.details["recognised"] = {
        name: {
            word: round(float(hit[labels[labels >= 0] == place].mean()), 3) if (labels == place).any() else None
            for place, word in enumerate(words)
        }
        for name, hit, labels in (("samples", hits[0], wanted), ("real", hits[1], truth))
    }
    return [
        Score(
            name="recognised",
            value=float(hits[0].mean()),
            real=float(hits[1].mean()),
            better="higher",
            about=f"share of {len(hits[0])} samples in which PocketSphinx, which knows American English and none of "
            f"these recordings, hears the word asked for, of {len(words)}; real: held-out clips",
        )
    ]
