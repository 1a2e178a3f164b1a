"""How good a set of generated images is, in figures that all stand beside those of real images.

A classifier trained on the real training images tells whether a sample shows the class that was asked for, and the
input of its last layer is the space in which sets are compared. It has seen the training images, so their own
column is a little worse than that of fresh real images would be: training images sit more firmly in their class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from suffuse.bias import Attribute
from suffuse.conditions import ClassLabel
from suffuse.data import Evaluation, Score, Split
from suffuse.errors import ConfigError, DataError
from suffuse.fitting import Range
from suffuse.metrics import (
    frechet_distance,
    memorised_share,
    nearest_ratio,
    neighbourhood_scores,
    vendi_score,
)
from suffuse_image.classifier import Classifier, classify, train_classifier

__all__ = ["ClassifierMetrics", "principal_components"]

_POOLED = 16
_COMPONENTS = 64

Count: TypeAlias = Annotated[int, Range(least=1)]
Features: TypeAlias = Callable[[Tensor], NDArray[np.float64]]


class ClassifierMetrics:
    """Conditional accuracy, Fréchet distance, Vendi score, precision, recall, density, coverage, and what is copied.

    Without classes to tell apart there is no accuracy, and sets are compared by principal components of their pixels.

    Args:
        label: the condition that names the class.
        epochs: passes of the classifier over the real training images.
        max_images: it ends after this many images at the latest, which bounds the time.
        max_real: at most this many images of each real part are looked at, drawn at random, which bounds the memory.
        neighbours: k of precision, recall, density and coverage.
    """

    def __init__(
        self,
        *,
        label: str = "label",
        epochs: Count = 15,
        max_images: Count = 90_000,
        max_real: Count = 40_000,
        neighbours: Count = 5,
    ) -> None:
        self.label = label
        self.epochs = epochs
        self.max_images = max_images
        self.max_real = max_real
        self.neighbours = neighbours

    def __call__(self, evaluation: Evaluation) -> list[Score]:
        """The scores. ``evaluation.values`` are uint8 ``[C, H, W]``, all of one size.

        Raises:
            ConfigError: there are fewer samples than the neighbours need.
            DataError: there are fewer real images than they need.
        """
        least = self.neighbours + 1
        if len(evaluation.values) < least:
            raise ConfigError(
                f"n={len(evaluation.values)}: with metric.neighbours={self.neighbours} the metrics need {least} samples"
            )
        rng = np.random.default_rng(evaluation.seed)
        train = self._real(evaluation.train, "training", rng)
        heldout = self._real(evaluation.heldout, "held-out", rng)
        values = torch.from_numpy(np.stack(evaluation.values))
        known = train.labels >= 0
        kind = evaluation.train.conditions.get(self.label)
        if isinstance(kind, ClassLabel) and len(np.unique(train.labels[known])) > 1:
            model = train_classifier(
                train.images[known],
                train.labels[known],
                len(kind.names),
                epochs=self.epochs,
                max_images=self.max_images,
                seed=evaluation.seed,
            )
            real, fake = classify(model, heldout.images), classify(model, values)
            # As the classifier sees both, so that its own mistakes count alike.
            evaluation.attributes.append(
                Attribute(name=self.label, real=real.predicted, samples=fake.predicted, classes=kind.names)
            )
            accuracy = self._accuracy(evaluation, kind, fake.predicted, _agreement(real.predicted, heldout.labels))
            space = "the last hidden features of a small CNN trained on the real training images (not FID's Inception)"
            features: Features = partial(_features, model)
            reference, generated = real.features, fake.features
        else:
            accuracy = []
            space = "principal components of pixels, for want of classes (not FID's Inception)"
            features = principal_components(train.images)
            reference, generated = features(heldout.images), features(values)
        for name, measure in (("brightness", _brightness), ("contrast", _contrast)):
            evaluation.attributes.append(Attribute(name=name, real=measure(train.images), samples=measure(values)))
        count = min(len(values), len(train.images))
        substitute = features(train.images[_some(len(train.images), count, rng)])
        distances = self._distances(reference, generated[_some(len(values), count, rng)], substitute, space)
        return [*accuracy, *distances, *_memorised(values, train.images, heldout.images, rng)]

    def _accuracy(
        self, evaluation: Evaluation, kind: ClassLabel, predicted: NDArray[np.int64], real: float
    ) -> list[Score]:
        wanted = kind.collate(evaluation.conditions.get(self.label, [None] * len(predicted)))
        value = _agreement(predicted, wanted)
        if math.isnan(value) or math.isnan(real):
            return []
        asked = wanted.numpy() >= 0
        counts = np.zeros((len(kind.names),) * 2, dtype=np.int64)
        np.add.at(counts, (wanted.numpy()[asked], predicted[asked]), 1)
        evaluation.details["confusion"] = {"classes": list(kind.names), "asked by predicted": counts.tolist()}
        return [
            Score(
                name="conditional accuracy",
                value=value,
                real=real,
                better="higher",
                about=f"share of {int(asked.sum())} samples in which a small CNN, trained on the real training images, "
                f"sees the {self.label} that was asked for; real: its accuracy on held-out images",
            )
        ]

    def _distances(
        self,
        reference: NDArray[np.float64],
        generated: NDArray[np.float64],
        substitute: NDArray[np.float64],
        space: str,
    ) -> list[Score]:
        """``generated`` and ``substitute`` are equal in number, as all of these figures depend on it."""
        k, count = self.neighbours, len(generated)
        against = (
            f"against {len(reference)} held-out images, in {space}; real: as many training images as samples, {count}"
        )
        scores = [
            Score(
                name="Fréchet distance",
                value=frechet_distance(reference, generated),
                real=frechet_distance(reference, substitute),
                better="lower",
                about=f"between Gaussians fitted to the features, {against}; comparable at equal numbers only",
            )
        ]
        middle = reference.mean(0)
        scores.append(
            Score(
                name="Vendi score",
                value=vendi_score(generated - middle),
                real=vendi_score(substitute - middle),
                better="higher",
                about=f"effective number of different samples (Friedman and Dieng 2023), by cosines of features less "
                f"their held-out mean, in {space}; real: as many training images as samples, {count}",
            )
        )
        return scores + neighbourhood_scores(reference, generated, substitute, k, "images", against)

    def _real(self, split: Split, part: str, rng: np.random.Generator) -> _Real:
        least = self.neighbours + 1
        if len(split) < least:
            raise DataError(
                f"the {part} part of the data has {len(split)} images; the metrics need {least} (see data.heldout and "
                "metric.neighbours)"
            )
        batch = split.gather(_some(len(split), self.max_real, rng).tolist())
        values = batch.values
        images = values if isinstance(values, Tensor) else torch.from_numpy(np.stack(values))
        labels = batch.conditions.get(self.label, torch.full((len(images),), -1))
        return _Real(images, labels)


class _Real(NamedTuple):
    images: Tensor
    labels: Tensor


def _agreement(predicted: NDArray[np.int64], wanted: Tensor) -> float:
    """The share of known classes that were predicted; NaN if none is known."""
    known = wanted.numpy() >= 0
    return float((predicted == wanted.numpy())[known].mean()) if known.any() else math.nan


def _features(model: Classifier, images: Tensor) -> NDArray[np.float64]:
    return classify(model, images).features


def _some(length: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``count`` of the indices below ``length``, drawn: evenly spaced ones could favour classes that alternate."""
    return np.sort(rng.choice(length, min(count, length), replace=False))


def _brightness(images: Tensor) -> NDArray[np.float64]:
    """Means of the pixels from 0 to 1."""
    return np.concatenate([(part.double().flatten(1).mean(1) / 255).numpy() for part in torch.split(images, 1024)])


def _contrast(images: Tensor) -> NDArray[np.float64]:
    """Standard deviations of the pixels from 0 to 1."""
    return np.concatenate([(part.double().flatten(1).std(1) / 255).numpy() for part in torch.split(images, 1024)])


def _memorised(values: Tensor, train: Tensor, heldout: Tensor, rng: np.random.Generator) -> list[Score]:
    # No more of them than there are samples: the figure does not depend on their number, but its time does.
    unseen = heldout[_some(len(heldout), len(values), rng)]
    share = Score(
        name="memorised share",
        value=memorised_share(train, values),
        real=memorised_share(train, unseen),
        better="lower",
        about=f"share at most as far, in pixels, from the nearest of {len(train)} real training images as that one is "
        f"from any other (1 - authenticity, Alaa et al. 2022); real: {len(unseen)} held-out images",
    )
    ratio = Score(
        name="nearest-neighbour ratio",
        value=nearest_ratio(train, values, unseen),
        real=1.0,
        better="higher",
        about=f"median distance in pixels from the nearest of {len(train)} real training images, over that of "
        f"{len(unseen)} held-out images, which is 1 by definition; well below 1 means copying",
    )
    return [share, ratio]


def principal_components(images: Tensor) -> Features:
    """A projection to the main axes of the images, each pooled to 16 by 16 pixels at most, unscaled.

    Args:
        images: uint8 ``[N, C, H, W]``, to which the axes are fitted.

    Returns:
        A function from images of the same size to ``[M, 64]``, or fewer where the pixels are.
    """

    def pixels(batch: Tensor) -> Tensor:
        parts = (part.double() / 127.5 - 1 for part in torch.split(batch, 1024))
        size = (min(batch.shape[-2], _POOLED), min(batch.shape[-1], _POOLED))
        return torch.cat([nn.functional.adaptive_avg_pool2d(part, size).flatten(1) for part in parts])

    fitted = pixels(images)
    mean = fitted.mean(0)
    centred = fitted - mean
    axes = torch.linalg.eigh(centred.mT @ centred).eigenvectors[:, -_COMPONENTS:]
    return lambda batch: ((pixels(batch) - mean) @ axes).numpy()
