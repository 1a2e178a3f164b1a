"""Whether sounds are what they were asked to be: of a class, as a classifier hears it, of a pitch, of a decay.

Numbers are compared as logarithms, pitch as a MIDI number and decay in octaves: one long echo is not to outweigh all.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from suffuse.bias import Attribute
from suffuse.conditions import ClassLabel, Scalar
from suffuse.data import Evaluation, Score
from suffuse_audio.data.measuring import decay_time, midi, pitch

__all__ = ["accuracy_scores", "number_scores"]

_CENTS = 50
_FACTOR = 1.25

Labels = NDArray[np.int64]
Measure = Callable[[NDArray[np.float32], int], float]


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
        evaluation: with what was asked for; what was measured is added to its attributes.
        names: of the two conditions; None measures none.
        values, heldout: sounds ``[N, C, T]``.
        told: conditions of the held-out clips.
    """
    rate = evaluation.values[0].rate
    scores = []
    for name, measure, logs, reach, unit, meaning in (
        (names[0], _pitch, np.asarray, _CENTS / 100, "MIDI", f"a pitch within {_CENTS} cents of the one asked for"),
        (
            names[1],
            _decay,
            np.log2,
            math.log2(_FACTOR),
            "log2 s",
            f"a decay time within a factor of {_FACTOR:g} of the one asked for",
        ),
    ):
        if name is None or not isinstance(evaluation.train.conditions.get(name), Scalar):
            continue
        asked = [math.nan if v is None else float(v) for v in evaluation.conditions.get(name, [])]
        found, shares = [], []
        for sounds, wanted in ((values, np.array(asked)), (heldout, told[name].double().numpy())):
            known = ~np.isnan(wanted)
            found.append(np.array([measure(sounds[row].mean(0).numpy(), rate) for row in known.nonzero()[0]]))
            with np.errstate(all="ignore"):  # what is not there, or cannot be, is no hit
                shares.append(float(np.mean(np.abs(found[-1] - logs(wanted[known])) <= reach)) if known.any() else None)
        if shares[0] is None or shares[1] is None:
            continue
        evaluation.attributes.append(Attribute(name=f"{name} ({unit})", real=found[1], samples=found[0]))
        scores.append(
            Score(
                name=f"{name} as asked",
                value=shares[0],
                real=shares[1],
                better="higher",
                about=f"share of the {len(found[0])} samples with a {name} asked for that have {meaning}, measured "
                f"from the sound; real: held-out clips against their own {name}",
            )
        )
    return scores


def _pitch(sound: NDArray[np.float32], rate: int) -> float:
    """A MIDI number, NaN where there is none."""
    return midi(pitch(sound, rate))


def _decay(sound: NDArray[np.float32], rate: int) -> float:
    """The logarithm to base 2 of seconds, NaN where there is none."""
    found = decay_time(sound, rate)
    return math.log2(found) if found > 0 else math.nan
