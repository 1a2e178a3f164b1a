"""The faults that only audio has: a level that is off, a constant offset, clipping, silence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from suffuse.bias import Attribute
from suffuse.data import Evaluation, Score

__all__ = ["level_scores"]

_SILENT_DB = -60.0
_FULL_SCALE = 0.999


def level_scores(evaluation: Evaluation, values: Tensor, heldout: Tensor, train: Tensor) -> list[Score]:
    """Of sounds ``[N, C, T]``; their levels are added to the attributes, quantiles of them to the details."""
    level, real, other = (_decibels(x.square().mean((1, 2)).sqrt()) for x in (values, heldout, train))
    evaluation.attributes.append(Attribute(name="level (dB)", real=other, samples=level))
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


def _decibels(level: Tensor) -> NDArray[np.float64]:
    """Of RMS levels, no less than -120."""
    return np.asarray((20 * level.double().clamp_min(1e-6).log10()).numpy())


def _transport(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The first Wasserstein distance of two sets of numbers."""
    shares = (np.arange(1000) + 0.5) / 1000
    return float(np.abs(np.quantile(a, shares) - np.quantile(b, shares)).mean())
