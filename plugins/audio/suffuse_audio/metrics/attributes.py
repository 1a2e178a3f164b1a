"""What sounds are in numbers and classes, measured alike of real clips and of samples, so that shifts can be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from torch import Tensor

from suffuse.bias import Attribute
from suffuse.conditions import ClassLabel
from suffuse.data import Evaluation
from suffuse_audio.classifier import LogMel
from suffuse_audio.metrics.sets import Floats

__all__ = ["add_classes", "heard_attributes"]

Told: TypeAlias = Mapping[str, Tensor]


def heard_attributes(hear: LogMel, seconds: float, real: Tensor, samples: Tensor) -> list[Attribute]:
    """How long sounds are heard and how bright they are.

    Args:
        hear: what made the spectrograms.
        seconds: the length of a clip.
        real, samples: log-mel spectrograms of training clips and of samples, ``[N, bands, frames]``.
    """
    return [
        Attribute(name=name, real=measure(real).numpy(), samples=measure(samples).numpy())
        for name, measure in (
            ("sounding (s)", lambda heard: seconds * hear.sounding(heard)),
            ("centroid (Hz)", hear.centroid),
        )
    ]


def add_classes(
    evaluation: Evaluation, train: tuple[Floats, Told], heldout: tuple[Floats, Told], samples: Floats
) -> None:
    """Classes by ridge regression from the features of a classifier of others.

    It errs more than a classifier of its own would, but alike in held-out clips and in samples. How often it is right
    of held-out clips is left among the details.

    Args:
        evaluation: to whose attributes they are added.
        train: features ``[N, F]`` of real clips, and the classes ``[N]`` that are to be told, by condition.
        heldout: the same of others.
        samples: features ``[M, F]``.
    """
    mean, spread = train[0].mean(0), train[0].std(0) + 1e-9

    def inputs(features: Floats) -> Floats:
        return np.concatenate([(features - mean) / spread, np.ones((len(features), 1))], 1)

    for name, told in train[1].items():
        kind, labels, truth = evaluation.train.conditions[name], told.numpy(), heldout[1][name].numpy()
        if not isinstance(kind, ClassLabel) or len(np.unique(labels[labels >= 0])) < 2 or not (truth >= 0).any():
            continue
        x, wanted = inputs(train[0][labels >= 0]), np.eye(len(kind.names))[labels[labels >= 0]]
        weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ wanted)
        real, made = ((inputs(features) @ weights).argmax(1) for features in (heldout[0], samples))
        evaluation.attributes.append(Attribute(name=name, real=real, samples=made, classes=kind.names))
        right = float((real == truth)[truth >= 0].mean())
        evaluation.details.setdefault("held-out classes told rightly", {})[name] = right
