"""How good a set of generated sounds is, in figures that all stand beside those of real sounds.

A classifier trained on the real training clips tells whether a sample is of the class that was asked for, and the input
of its last layer is the space in which sets are compared. What a sound was asked to be in numbers, pitch and decay, is
measured back from its samples. Words and voices are judged by ears that others trained, where these are installed. The
faults that only audio has (level, constant offset, clipping, silence) are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suffuse.bias import Attribute
from suffuse.conditions import ClassLabel
from suffuse.data import Evaluation, Score, Split
from suffuse.errors import ConfigError, DataError
from suffuse.fitting import Range
from suffuse_audio.classifier import Classifier, LogMel, classify, train_classifier
from suffuse_audio.clips import Clip
from suffuse_audio.metrics.asked import accuracy_scores, number_scores
from suffuse_audio.metrics.attributes import add_classes, heard_attributes
from suffuse_audio.metrics.levels import level_scores
from suffuse_audio.metrics.sets import Features, Floats, copy_scores, principal_components, set_scores
from suffuse_audio.metrics.voices import When, voice_scores
from suffuse_audio.metrics.words import word_scores

__all__ = ["AudioMetrics"]

_TAUGHT = 2000
"""Training clips from which classes other than the label are learned, at most."""

Count: TypeAlias = Annotated[int, Range(least=1)]


class AudioMetrics:
    """Conditional accuracy, words, voices, pitch and decay as asked, distances between sets, copies, faults of level.

    Without classes to tell apart there is no accuracy, and sets are compared by principal components of log-mel
    spectrograms. Figures of conditions that the data do not have are left out.

    Args:
        label: the condition that names the class.
        words: what is said in each class, in their order, to be heard by PocketSphinx (the extra ``recognise``); empty
            for sounds that are no words.
        speaker: the condition that names the voice; null names none.
        voice: whether voices are compared by Resemblyzer (the extra ``voice``), with those of the class ``speaker`` or
            with the reference clip: ``auto`` where it is installed, ``always`` or ``never``.
        pitch: the condition that holds the pitch as a MIDI number; null measures none.
        decay: the condition that holds the time in seconds in which a sound falls by 60 dB; null measures none.
        epochs: passes of the classifier over the real training clips; more where they are few.
        max_clips: it ends after this many clips at the latest, which bounds the time.
        max_real: at most this many clips of each real part are heard, drawn at random, which bounds the memory.
        neighbours: k of precision, recall, density and coverage.
    """

    def __init__(
        self,
        *,
        label: str = "label",
        words: Sequence[str] = (),
        speaker: str | None = "speaker",
        voice: When = "auto",
        pitch: str | None = "pitch",
        decay: str | None = "decay",
        epochs: Count = 8,
        max_clips: Count = 60_000,
        max_real: Count = 10_000,
        neighbours: Count = 5,
    ) -> None:
        self.label = label
        self.words = tuple(words)
        self.speaker = speaker
        self.voice: When = voice
        self.pitch = pitch
        self.decay = decay
        self.epochs = epochs
        self.max_clips = max_clips
        self.max_real = max_real
        self.neighbours = neighbours

    def __call__(self, evaluation: Evaluation) -> list[Score]:
        """The scores. ``evaluation.values`` are clips of one length; what is longer than real ones is not heard.

        Raises:
            ConfigError: there are fewer samples than the neighbours need, or the words are not those of the classes.
            DataError: there are fewer real clips than they need.
            PluginError: an extra that was asked for is not installed.
        """
        least = self.neighbours + 1
        if len(evaluation.values) < least:
            raise ConfigError(
                f"n={len(evaluation.values)}: with metric.neighbours={self.neighbours} the metrics need {least} samples"
            )
        rng = np.random.default_rng(evaluation.seed)
        train = self._real(evaluation.train, "training", rng)
        heldout = self._real(evaluation.heldout, "held-out", rng)
        values = _same_length(evaluation.values, heldout.samples.shape[-1])
        hear = LogMel(heldout.rate)
        heard = {"train": hear(train.samples), "heldout": hear(heldout.samples), "values": hear(values)}
        scores, features, space = self._classes(evaluation, values, heard, heldout, train)
        scores += voice_scores(
            evaluation,
            self.voice,
            self.speaker,
            values,
            (heldout.samples, heldout.conditions),
            (train.samples, train.conditions),
        )
        scores += number_scores(evaluation, (self.pitch, self.decay), values, heldout.samples, heldout.conditions)
        count = min(len(values), len(train.samples))
        noise = torch.randn((count, *values.shape[1:]), generator=torch.Generator().manual_seed(evaluation.seed))
        reference, generated = features(heard["heldout"]), features(heard["values"])
        scores += set_scores(
            reference,
            generated[_some(len(values), count, rng)],
            features(heard["train"][_some(len(train.samples), count, rng)]),
            features(hear(noise * heldout.samples.square().mean().sqrt())),
            self.neighbours,
            space,
        )
        unseen = heard["heldout"][_some(len(heldout.samples), len(values), rng)]
        scores += copy_scores(heard["values"], heard["train"], unseen)
        scores += level_scores(evaluation, values, heldout.samples, train.samples)
        seconds = values.shape[-1] / heldout.rate
        evaluation.attributes.extend(heard_attributes(hear, seconds, heard["train"], heard["values"]))
        conditions = evaluation.train.conditions.items()
        if others := [name for name, kind in conditions if isinstance(kind, ClassLabel) and name != self.label]:
            rows = _some(len(train.samples), _TAUGHT, rng)
            taught = features(heard["train"][rows]), {name: train.conditions[name][rows] for name in others}
            add_classes(evaluation, taught, (reference, heldout.conditions), generated)
        return scores

    def _classes(
        self, evaluation: Evaluation, values: Tensor, heard: dict[str, Tensor], heldout: _Real, train: _Real
    ) -> tuple[list[Score], Features, str]:
        """Scores of classes, and the space in which sets are compared, with words for it."""
        kind, labels = evaluation.train.conditions.get(self.label), train.conditions.get(self.label)
        known = None if labels is None else labels >= 0
        if not isinstance(kind, ClassLabel) or labels is None or len(torch.unique(labels[known])) < 2:
            space = "principal components of log-mel spectrograms, for want of classes (not FAD's VGGish)"
            return [], principal_components(heard["train"]), space
        model = train_classifier(
            heard["train"][known],
            labels[known],
            len(kind.names),
            epochs=self.epochs,
            max_clips=self.max_clips,
            seed=evaluation.seed,
        )
        wanted = kind.collate(evaluation.conditions.get(self.label, [None] * len(values))).numpy()
        truth = heldout.conditions[self.label].numpy()
        predicted, real = (classify(model, heard[name]).predicted for name in ("values", "heldout"))
        evaluation.attributes.append(Attribute(name=self.label, real=real, samples=predicted, classes=kind.names))
        scores = accuracy_scores(evaluation, kind, wanted, predicted, truth, real)
        if self.words:
            scores += word_scores(evaluation, self.words, kind.names, values, wanted, heldout.samples, truth)
        space = "the last hidden features of a small CNN trained on the real training clips (not FAD's VGGish)"
        return scores, partial(_features, model), space

    def _real(self, split: Split, part: str, rng: np.random.Generator) -> _Real:
        least = self.neighbours + 1
        if len(split) < least:
            raise DataError(
                f"the {part} part of the data has {len(split)} clips; the metrics need {least} (see data.heldout and "
                "metric.neighbours)"
            )
        batch = split.gather(_some(len(split), self.max_real, rng).tolist())
        clips: Sequence[Clip] = batch.values
        return _Real(torch.stack([clip.samples for clip in clips]), clips[0].rate, dict(batch.conditions))


class _Real(NamedTuple):
    samples: Tensor
    rate: int
    conditions: dict[str, Tensor]


def _features(model: Classifier, heard: Tensor) -> Floats:
    return classify(model, heard).features


def _same_length(clips: Sequence[Clip], length: int) -> Tensor:
    """``[N, C, length]``, cut or filled with silence at the end."""
    samples = torch.stack([clip.samples for clip in clips])[..., :length].float()
    if not bool(samples.isfinite().all()):
        raise DataError("samples of some sounds are not finite numbers; the model diverged in training")
    return torch.nn.functional.pad(samples, (0, length - samples.shape[-1]))


def _some(length: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``count`` of the indices below ``length``, drawn: evenly spaced ones could favour classes that alternate."""
    return np.sort(rng.choice(length, min(count, length), replace=False))
