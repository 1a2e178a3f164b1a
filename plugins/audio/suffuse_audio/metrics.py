"""How good a set of generated sounds is, in figures that all stand beside those of real sounds.

A classifier trained on the real training clips tells whether a sample is of the class that was asked for, and the input
of its last layer is the space in which sets are compared. What a sound was asked to be in numbers, pitch and decay, is
measured back from its samples. The faults that only audio has (level, constant offset, clipping, silence) are counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suffuse.conditions import ClassLabel, Scalar
from suffuse.data import Evaluation, Score, Split
from suffuse.errors import ConfigError, DataError
from suffuse.fitting import Range
from suffuse.metrics import frechet_distance, memorised_share, precision_recall_density_coverage
from suffuse_audio.classifier import Classifier, LogMel, classify, train_classifier
from suffuse_audio.clips import Clip
from suffuse_audio.data.measuring import decay_time, midi, pitch

__all__ = ["AudioMetrics", "kernel_distance", "principal_components"]

_COMPONENTS = 64
_CENTS = 50
_FACTOR = 1.25
_SILENT_DB = -60.0
_FULL_SCALE = 0.999

Count: TypeAlias = Annotated[int, Range(least=1)]
Features: TypeAlias = Callable[[Tensor], NDArray[np.float64]]
Floats: TypeAlias = NDArray[np.float64]


class AudioMetrics:
    """Conditional accuracy, pitch and decay as asked, distances between sets, memorised share, and faults of level.

    Without classes to tell apart there is no accuracy, and sets are compared by principal components of log-mel
    spectrograms. Figures of conditions that the data do not have are left out.

    Args:
        label: the condition that names the class.
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
        pitch: str | None = "pitch",
        decay: str | None = "decay",
        epochs: Count = 8,
        max_clips: Count = 60_000,
        max_real: Count = 10_000,
        neighbours: Count = 5,
    ) -> None:
        self.label = label
        self.pitch = pitch
        self.decay = decay
        self.epochs = epochs
        self.max_clips = max_clips
        self.max_real = max_real
        self.neighbours = neighbours

    def __call__(self, evaluation: Evaluation) -> list[Score]:
        """The scores. ``evaluation.values`` are clips of one length; what is longer than real ones is not heard.

        Raises:
            ConfigError: there are fewer samples than the neighbours need.
            DataError: there are fewer real clips than they need.
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
        kind = evaluation.train.conditions.get(self.label)
        labels = train.conditions.get(self.label)
        known = None if labels is None else labels >= 0
        scores: list[Score] = []
        if isinstance(kind, ClassLabel) and labels is not None and len(torch.unique(labels[known])) > 1:
            model = train_classifier(
                heard["train"][known],
                labels[known],
                len(kind.names),
                epochs=self.epochs,
                max_clips=self.max_clips,
                seed=evaluation.seed,
            )
            real, fake = classify(model, heard["heldout"]), classify(model, heard["values"])
            wanted = kind.collate(evaluation.conditions.get(self.label, [None] * len(values)))
            scores += _accuracy(
                evaluation, kind, wanted, fake.predicted, real.predicted, heldout.conditions[self.label]
            )
            space = "the last hidden features of a small CNN trained on the real training clips (not FAD's VGGish)"
            features: Features = partial(_features, model)
            reference, generated = real.features, fake.features
        else:
            space = "principal components of log-mel spectrograms, for want of classes (not FAD's VGGish)"
            features = principal_components(heard["train"])
            reference, generated = features(heard["heldout"]), features(heard["values"])
        scores += self._attributes(evaluation, values, heldout)
        count = min(len(values), len(train.samples))
        substitute = features(heard["train"][_some(len(train.samples), count, rng)])
        scores += self._distances(reference, generated[_some(len(values), count, rng)], substitute, space)
        unseen = heard["heldout"][_some(len(heldout.samples), len(values), rng)]
        scores.append(_memorised(heard["values"], heard["train"], unseen))
        return scores + _levels(evaluation, values, heldout.samples, train.samples)

    def _attributes(self, evaluation: Evaluation, values: Tensor, heldout: _Real) -> list[Score]:
        """What was asked for in numbers, measured back."""
        scores = []
        for name, measure, meaning in (
            (self.pitch, _pitch_hit, f"a pitch within {_CENTS} cents of the one asked for"),
            (self.decay, _decay_hit, f"a decay time within a factor of {_FACTOR:g} of the one asked for"),
        ):
            if name is None or not isinstance(evaluation.train.conditions.get(name), Scalar):
                continue
            asked = [math.nan if v is None else float(v) for v in evaluation.conditions.get(name, [])]
            value, count = _share(values, asked, heldout.rate, measure)
            real, _ = _share(heldout.samples, heldout.conditions[name].tolist(), heldout.rate, measure)
            if math.isnan(value) or math.isnan(real):
                continue
            scores.append(
                Score(
                    name=f"{name} as asked",
                    value=value,
                    real=real,
                    better="higher",
                    about=f"share of the {count} samples with a {name} asked for that have {meaning}, measured from "
                    f"the sound; real: held-out clips against their own {name}",
                )
            )
        return scores

    def _distances(self, reference: Floats, generated: Floats, substitute: Floats, space: str) -> list[Score]:
        """``generated`` and ``substitute`` are equal in number, as most of these figures depend on it."""
        k, count = self.neighbours, len(generated)
        near, real = (precision_recall_density_coverage(reference, x, k) for x in (generated, substitute))
        against = (
            f"against {len(reference)} held-out clips, in {space}; real: as many training clips as samples, {count}"
        )
        scores = [
            Score(
                name="Fréchet distance",
                value=frechet_distance(reference, generated),
                real=frechet_distance(reference, substitute),
                better="lower",
                about=f"between Gaussians fitted to the features, {against}; comparable at equal numbers only",
            ),
            Score(
                name="kernel distance",
                value=100 * kernel_distance(reference, generated),
                real=100 * kernel_distance(reference, substitute),
                better="lower",
                about="100 times the unbiased squared maximum mean discrepancy, with a Gaussian kernel as wide as the "
                f"median distance of real clips, {against}",
            ),
        ]
        meanings = {
            "precision": f"share of samples within reach (the {k}th neighbour) of a held-out clip",
            "recall": f"share of held-out clips within reach (the {k}th neighbour) of a sample",
            "density": f"held-out clips within whose reach (the {k}th neighbour) a sample lies, over {k}",
            "coverage": f"share of held-out clips with a sample within their reach (the {k}th neighbour)",
        }
        for name, meaning in meanings.items():
            scores.append(
                Score(
                    name=name,
                    value=getattr(near, name),
                    real=getattr(real, name),
                    better="higher",
                    about=f"{meaning} (Naeem et al. 2020), {against}",
                )
            )
        return scores

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


def kernel_distance(real: Floats, fake: Floats) -> float:
    """The unbiased squared maximum mean discrepancy of two sets, under a Gaussian kernel; it may be below zero.

    ``exp(-|a - b|^2 / (2 m^2))`` with m the median distance between two real points. Unlike the Fréchet distance it
    assumes no Gaussians and is not biased by the number of samples (Chung et al., *KAD: No More FAD!*, 2025).

    Args:
        real: features ``[N, D]``, from which the width of the kernel is taken.
        fake: features ``[M, D]``.

    Raises:
        ValueError: fewer than two points in a set.

    References:
        Gretton et al. 2012, "A kernel two-sample test", equation 3.
    """
    if min(len(real), len(fake)) < 2:
        raise ValueError(f"sets of {len(real)} and {len(fake)} points: at least two of each are needed")
    x, y = torch.from_numpy(real).double(), torch.from_numpy(fake).double()
    width = torch.pdist(x).median().clamp_min(1e-12)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(a, b).square() / (2 * width**2))

    def within(a: Tensor) -> float:
        return float(kernel(a, a).sum() - len(a)) / (len(a) * (len(a) - 1))

    return within(x) + within(y) - 2 * float(kernel(x, y).mean())


def principal_components(heard: Tensor) -> Features:
    """A projection to the main axes of log-mel spectrograms ``[N, bands, frames]``, to which they are fitted.

    Returns:
        A function from others of the same size to ``[M, 64]``, or fewer where the spectrograms have less.
    """
    fitted = heard.double().flatten(1)
    mean = fitted.mean(0)
    _, _, axes = torch.linalg.svd(fitted - mean, full_matrices=False)
    return lambda batch: ((batch.double().flatten(1) - mean) @ axes[:_COMPONENTS].mT).numpy()


def _accuracy(
    evaluation: Evaluation,
    kind: ClassLabel,
    wanted: Tensor,
    predicted: NDArray[np.int64],
    real: NDArray[np.int64],
    truth: Tensor,
) -> list[Score]:
    asked, known = wanted.numpy() >= 0, truth.numpy() >= 0
    if not asked.any() or not known.any():
        return []
    counts = np.zeros((len(kind.names),) * 2, dtype=np.int64)
    np.add.at(counts, (wanted.numpy()[asked], predicted[asked]), 1)
    evaluation.details["confusion"] = {"classes": list(kind.names), "asked by predicted": counts.tolist()}
    shares = [np.bincount(c, minlength=len(kind.names)) / len(c) for c in (wanted.numpy()[asked], predicted[asked])]
    held = [np.bincount(c, minlength=len(kind.names)) / len(c) for c in (truth.numpy()[known], real[known])]
    return [
        Score(
            name="conditional accuracy",
            value=float((predicted == wanted.numpy())[asked].mean()),
            real=float((real == truth.numpy())[known].mean()),
            better="higher",
            about=f"share of {int(asked.sum())} samples in which a small CNN, trained on the real training clips, "
            "hears the class that was asked for; real: its accuracy on held-out clips",
        ),
        Score(
            name="class imbalance",
            value=float(np.abs(shares[0] - shares[1]).sum() / 2),
            real=float(np.abs(held[0] - held[1]).sum() / 2),
            better="lower",
            about="share of samples that would have to change class, as that CNN hears it, for the classes to be as "
            "frequent as they were asked for; real: the same of held-out clips",
        ),
    ]


def _features(model: Classifier, heard: Tensor) -> Floats:
    return classify(model, heard).features


def _memorised(values: Tensor, train: Tensor, unseen: Tensor) -> Score:
    return Score(
        name="memorised share",
        value=memorised_share(train, values),
        real=memorised_share(train, unseen),
        better="lower",
        about=f"share at most as far, in log-mel spectrograms, from the nearest of {len(train)} real training clips as "
        f"that one is from any other (1 - authenticity, Alaa et al. 2022); real: {len(unseen)} held-out clips",
    )


def _levels(evaluation: Evaluation, values: Tensor, heldout: Tensor, train: Tensor) -> list[Score]:
    level, real, other = (_decibels(x.square().mean((1, 2)).sqrt()) for x in (values, heldout, train))
    evaluation.details["level"] = {
        "RMS in dB, quantiles 0.05 0.5 0.95": {
            name: np.quantile(x, [0.05, 0.5, 0.95]).round(2).tolist()
            for name, x in (("samples", level), ("real", real))
        },
        "share with a peak above full scale": float((values.abs().amax((1, 2)) > 1).double().mean()),
    }

    def share(name: str, about: str, test: Callable[[Tensor], Tensor]) -> Score:
        value, truth = (float(test(x).double().mean()) for x in (values, heldout))
        return Score(name=name, value=value, real=truth, better="lower", about=f"{about}; real: held-out clips")

    return [
        Score(
            name="level difference",
            value=_transport(level, real),
            real=_transport(other, real),
            better="lower",
            about="dB by which the RMS levels of samples have to change, on average, to be distributed like those of "
            "held-out clips; real: training clips",
        ),
        share("DC offset", "mean of the absolute mean of a sound, 1 at full scale", lambda x: x.mean(2).abs().amax(1)),
        share(
            "clipped share",
            "share of sounds that reach full scale, where a file would clip or has to be made softer",
            lambda x: x.abs().amax((1, 2)) >= _FULL_SCALE,
        ),
        share(
            "silent share",
            f"share of sounds whose peak is below {_SILENT_DB:g} dB",
            lambda x: x.abs().amax((1, 2)) < 10 ** (_SILENT_DB / 20),
        ),
    ]


def _decibels(level: Tensor) -> Floats:
    """Of RMS levels, no less than -120."""
    return (20 * level.double().clamp_min(1e-6).log10()).numpy()


def _transport(a: Floats, b: Floats) -> float:
    """The first Wasserstein distance of two sets of numbers."""
    shares = (np.arange(1000) + 0.5) / 1000
    return float(np.abs(np.quantile(a, shares) - np.quantile(b, shares)).mean())


def _share(
    samples: Tensor, asked: Sequence[float], rate: int, hit: Callable[[NDArray[np.float32], int, float], bool]
) -> tuple[float, int]:
    """The share of sounds that are as asked, and how many were asked to be anything."""
    hits = [
        hit(sound.mean(0).numpy(), rate, value)
        for sound, value in zip(samples, asked, strict=False)
        if not math.isnan(value)
    ]
    return (float(np.mean(hits)) if hits else math.nan), len(hits)


def _pitch_hit(sound: NDArray[np.float32], rate: int, asked: float) -> bool:
    found = pitch(sound, rate)
    return not math.isnan(found) and abs(midi(found) - asked) * 100 <= _CENTS


def _decay_hit(sound: NDArray[np.float32], rate: int, asked: float) -> bool:
    found = decay_time(sound, rate)
    return found > 0 and asked > 0 and abs(math.log(found / asked)) <= math.log(_FACTOR)


def _same_length(clips: Sequence[Clip], length: int) -> Tensor:
    """``[N, C, length]``, cut or filled with silence at the end."""
    samples = torch.stack([clip.samples for clip in clips])[..., :length].float()
    if not bool(samples.isfinite().all()):
        raise DataError("samples of some sounds are not finite numbers; the model diverged in training")
    return torch.nn.functional.pad(samples, (0, length - samples.shape[-1]))


def _some(length: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``count`` of the indices below ``length``, drawn: evenly spaced ones could favour classes that alternate."""
    return np.sort(rng.choice(length, min(count, length), replace=False))
