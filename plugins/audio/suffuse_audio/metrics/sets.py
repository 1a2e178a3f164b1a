"""Generated sounds as a set beside real ones: distances, neighbourhoods, and whether they are copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suffuse.data import Score
from suffuse.metrics import (
    frechet_distance,
    memorised_share,
    nearest_ratio,
    neighbourhood_scores,
    vendi_score,
)

__all__ = [
    "Features",
    "Floats",
    "copy_scores",
    "kernel_distance",
    "principal_components",
    "set_scores",
]

_COMPONENTS = 64

Floats: TypeAlias = NDArray[np.float64]
Features: TypeAlias = Callable[[Tensor], Floats]
"""From log-mel spectrograms ``[N, bands, frames]`` to the space ``[N, F]`` in which sets are compared."""


def set_scores(
    reference: Floats, generated: Floats, substitute: Floats, noise: Floats, k: int, space: str
) -> list[Score]:
    """Distances and neighbourhoods.

    Args:
        reference: features of held-out clips.
        generated, substitute, noise: of as many samples, training clips and clips of white noise, as most of these
            figures depend on the number.
        k: the neighbour within whose reach sounds are near.
        space: of the features, in words.
    """
    count = len(generated)
    against = f"against {len(reference)} held-out clips, in {space}; real: as many training clips as samples, {count}"
    kernel, truth, worst = (kernel_distance(reference, x) for x in (generated, substitute, noise))
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
            value=100 * kernel,
            real=100 * truth,
            better="lower",
            about="100 times the unbiased squared maximum mean discrepancy, with a Gaussian kernel as wide as the "
            f"median distance of real clips, {against}",
        ),
        Score(
            name="kernel distance / noise",
            value=kernel / max(worst, 1e-12),
            real=truth / max(worst, 1e-12),
            better="lower",
            about=f"the kernel distance over that of white noise at the level of real clips, {100 * worst:.4g}",
        ),
        Score(
            name="Vendi score",
            value=vendi_score(generated - reference.mean(0)),
            real=vendi_score(substitute - reference.mean(0)),
            better="higher",
            about=f"effective number of different samples (Friedman and Dieng 2023), by cosines of features less "
            f"their held-out mean, in {space}; real: as many training clips as samples, {count}",
        ),
    ]
    return scores + neighbourhood_scores(reference, generated, substitute, k, "clips", against)


def copy_scores(values: Tensor, train: Tensor, unseen: Tensor) -> list[Score]:
    """How near samples lie to clips of the training, all as log-mel spectrograms; ``unseen`` are held-out clips."""
    return [
        Score(
            name="memorised share",
            value=memorised_share(train, values),
            real=memorised_share(train, unseen),
            better="lower",
            about=f"share at most as far, in log-mel spectrograms, from the nearest of {len(train)} real training "
            "clips as that one is from any other (1 - authenticity, Alaa et al. 2022); "
            f"real: {len(unseen)} held-out clips",
        ),
        Score(
            name="nearest-neighbour ratio",
            value=nearest_ratio(train, values, unseen),
            real=1.0,
            better="higher",
            about=f"median distance, in log-mel spectrograms, from the nearest of {len(train)} real training clips, "
            f"over that of {len(unseen)} held-out clips, which is 1 by definition; well below 1 means copying",
        ),
    ]


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
