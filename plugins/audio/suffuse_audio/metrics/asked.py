"""Whether sounds are what they were asked to be: of a class, as a classifier hears it, of a pitch, of a decay."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from suffuse.conditions import ClassLabel, Scalar
from suffuse.data import Evaluation, Score
from suffuse_audio.data.measuring import decay_time, midi, pitch

__all__ = ["accuracy_scores", "number_scores"]

_CENTS = 50
_FACTOR = 1.25

Labels = NDArray[np.int64]
Hit = Callable[[NDArray[np.float32], int, float], bool]


def accuracy_scores(
    evaluation: Evaluation, kind: ClassLabel, wanted: Labels, predicted: Labels, truth: Labels, real: Labels
) -> list[Score]:
    """Accuracy and balance, where anything was asked for and is known of real clips.

    Args:
        evaluation: the confusion counts are left among its details.
        kind: of the classes.
        wanted, predicted: of samples ``[N]``; -1 is unknown.
        truth, real: of held-out clips ``[M]``, and as the classifier hears them.
    """
    asked, known = wanted >= 0, truth >= 0
    if not asked.any() or not known.any():
        return []
    counts = np.zeros((len(kind.names),) * 2, dtype=np.int64)
    np.add.at(counts, (wanted[asked], predicted[asked]), 1)
    evaluation.details["confusion"] = {"classes": list(kind.names), "asked by predicted": counts.tolist()}
    shares = [np.bincount(c, minlength=len(kind.names)) / len(c) for c in (wanted[asked], predicted[asked])]
    held = [np.bincount(c, minlength=len(kind.names)) / len(c) for c in (truth[known], real[known])]
    return [
        Score(
            name="conditional accuracy",
            value=float((predicted == wanted)[asked].mean()),
            real=float((real == truth)[known].mean()),
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


def number_scores(
    evaluation: Evaluation,
    names: tuple[str | None, str | None],
    values: Tensor,
    heldout: Tensor,
    told: dict[str, Tensor],
) -> list[Score]:
    """Pitch and decay, measured back from the sound.

    Args:
        evaluation: with what was asked for.
        names: of the two conditions; None measures none.
        values, heldout: sounds ``[N, C, T]``.
        told: conditions of the held-out clips.
    """
    scores = []
    for name, measure, meaning in (
        (names[0], _pitch_hit, f"a pitch within {_CENTS} cents of the one asked for"),
        (names[1], _decay_hit, f"a decay time within a factor of {_FACTOR:g} of the one asked for"),
    ):
        if name is None or not isinstance(evaluation.train.conditions.get(name), Scalar):
            continue
        rate = evaluation.values[0].rate
        asked = [math.nan if v is None else float(v) for v in evaluation.conditions.get(name, [])]
        value, count = _share(values, asked, rate, measure)
        real, _ = _share(heldout, told[name].tolist(), rate, measure)
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


def _share(samples: Tensor, asked: Sequence[float], rate: int, hit: Hit) -> tuple[float, int]:
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
