"""How attributes of samples shift against those of real data, with intervals that say what chance can do.

A model that makes one kind more often than its data held amplifies a bias. The sampler, its steps and guidance alone
can do so with the network unchanged (Roos et al., *How I Met Your Bias*, 2025): a shift belongs beside the settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Attribute", "Shift", "shifts"]

_RESAMPLES = 1000
_TAIL = 0.025
_BLOCK = 2**22


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """One thing that was measured in the same way of real data and of samples.

    Args:
        name: what it is.
        real: of training items, or of held-out ones where what measures it was trained on the others, ``[N]``: numbers,
            or places in ``classes``. NaN and -1 are unknown and left out.
        samples: of samples ``[M]``.
        classes: names, where values are places in them; None for numbers.
    """

    name: str
    real: NDArray[Any]
    samples: NDArray[Any]
    classes: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Shift:
    """One figure of an attribute: the share of a class, or the mean of a number.

    Args:
        attribute: its name.
        of: the class, or ``mean``.
        real: of real data.
        samples: of the samples.
        low, high: bootstrap interval of ``samples - real`` that holds 95 in 100.
    """

    attribute: str
    of: str
    real: float
    samples: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def shifts(attribute: Attribute, seed: int = 0) -> list[Shift]:
    """The shift of each class, or of the mean, with percentile bootstrap intervals (Efron, 1979) over both sets.

    There is none where nothing is known of one of the sets, as of the pitch of sounds that are all silent.
    """
    rng = np.random.default_rng(seed)
    real, samples = (_known(values) for values in (attribute.real, attribute.samples))
    if not len(real) or not len(samples):
        return []
    if attribute.classes is None:
        drawn = _means(samples, rng) - _means(real, rng)
        return [_shift(attribute.name, "mean", real.mean(), samples.mean(), drawn)]
    names = attribute.classes
    shares = [np.bincount(codes.astype(np.int64), minlength=len(names)) / len(codes) for codes in (real, samples)]
    # Drawing codes again with replacement is drawing their counts.
    drawn_real, drawn_samples = (
        rng.multinomial(len(codes), share, _RESAMPLES) / len(codes)
        for codes, share in zip((real, samples), shares, strict=True)
    )
    drawn = drawn_samples - drawn_real
    return [
        _shift(attribute.name, name, shares[0][place], shares[1][place], drawn[:, place])
        for place, name in enumerate(names)
    ]


def _shift(attribute: str, of: str, real: float, samples: float, drawn: NDArray[np.float64]) -> Shift:
    low, high = np.quantile(drawn, [_TAIL, 1 - _TAIL])
    return Shift(attribute=attribute, of=of, real=float(real), samples=float(samples), low=float(low), high=float(high))


def _known(values: NDArray[Any]) -> NDArray[np.float64]:
    flat = np.asarray(values)
    return flat[np.isfinite(flat) if flat.dtype.kind == "f" else flat >= 0].astype(np.float64)


def _means(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of as many values drawn again with replacement, ``[_RESAMPLES]``."""
    at_once = max(1, _BLOCK // len(values))
    means = [
        values[rng.integers(len(values), size=(min(at_once, _RESAMPLES - start), len(values)))].mean(1)
        for start in range(0, _RESAMPLES, at_once)
    ]
    return np.concatenate(means)
