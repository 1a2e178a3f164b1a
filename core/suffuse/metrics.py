"""Distances between two sets of samples in a feature space, for any modality.

Pure functions on arrays ``[N, D]``; which features mean something is the plugin's to say. Sums run in float64 and
distances in blocks, so that 40,000 by 2,000 samples take tens of megabytes and not gigabytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from suffuse.data import Score

__all__ = [
    "Neighbourhoods",
    "effective_number",
    "frechet_distance",
    "median_ratio",
    "memorised_share",
    "nearest_ratio",
    "neighbourhood_scores",
    "precision_recall_density_coverage",
    "vendi_score",
]

_BLOCK = 2**22
"""Numbers in one block of distances or of converted samples: 32 MB in float64."""


def frechet_distance(a: Tensor | NDArray[Any], b: Tensor | NDArray[Any]) -> float:
    """Squared Fréchet distance of two Gaussians with the means and covariances of the sets (Dowson and Landau, 1982).

    ``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))``, the formula of FID in any feature space.

    The estimate is biased upwards by about a constant over the number of samples (Chong and Forsyth, *Effectively
    Unbiased FID*, 2020): compare figures of equal numbers of samples only.

    Args:
        a, b: features ``[N, D]`` and ``[M, D]``.

    Raises:
        ValueError: fewer than two samples, unequal widths, or a value that is not finite.
    """
    left, right = _pair(a, b, least=2)
    mean_a, cov_a = _moments(left)
    mean_b, cov_b = _moments(right)
    # The trace of (C_a C_b)^(1/2) by way of a symmetric matrix with the same eigenvalues: a square root of the
    # product itself has imaginary parts by rounding when a covariance is singular.
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.mT
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(float(distance), 0.0)


@dataclass(frozen=True, kw_only=True)
class Neighbourhoods:
    """Figures of `precision_recall_density_coverage`; 1 is good, and density alone may exceed it."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall_density_coverage(
    real: Tensor | NDArray[Any], fake: Tensor | NDArray[Any], k: int = 5
) -> Neighbourhoods:
    """How samples lie among real ones (Naeem et al., *Reliable Fidelity and Diversity Metrics*, 2020).

    Around each point lies an open ball that reaches to the k-th nearest other point of its own set.

    - precision: the share of fake points in the ball of at least one real point;
    - recall: the share of real points in the ball of at least one fake point;
    - density: the mean number of real balls around a fake point, over ``k``; 1 is expected of the real distribution;
    - coverage: the share of real balls with at least one fake point. Of the real distribution
      ``1 - prod_(i=1..k) (N - i) / (N + M - i)`` is expected, so it depends on both numbers of points.

    Args:
        real: features ``[N, D]``.
        fake: features ``[M, D]``.
        k: the neighbour that sets the radius; smaller than N and M.

    Raises:
        ValueError: ``k`` does not fit, unequal widths, or a value that is not finite.
    """
    if k < 1:
        raise ValueError(f"k={k}: a number of neighbours from 1")
    x, y = _pair(real, fake, least=k + 1)
    middle = x.mean(0)
    x, y = x - middle, y - middle
    radius_x, radius_y = _reach(x, k), _reach(y, k)
    precise = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    recalled = covered = balls = 0
    for rows in _blocks(len(x), len(y)):
        distance = _squared_distances(x[rows], y)
        in_real = distance < radius_x[rows, None]
        precise |= in_real.any(0)
        balls += int(in_real.sum())
        covered += int(in_real.any(1).sum())
        recalled += int((distance < radius_y).any(1).sum())
    return Neighbourhoods(
        precision=float(precise.double().mean()),
        recall=recalled / len(x),
        density=balls / (k * len(y)),
        coverage=covered / len(x),
    )


def neighbourhood_scores(
    reference: NDArray[Any], samples: NDArray[Any], substitute: NDArray[Any], k: int, things: str, against: str
) -> list[Score]:
    """The four figures of `precision_recall_density_coverage`, each beside that of real data.

    Args:
        reference: of held-out data ``[N, F]``.
        samples, substitute: of samples, and of as many training items, ``[M, F]``; the figures depend on their number.
        k: the neighbour within whose reach things are near.
        things: the plural of what a sample is.
        against: of how many things, in which space, for the description.
    """
    near, real = (precision_recall_density_coverage(reference, x, k) for x in (samples, substitute))
    meanings = {
        "precision": f"share of samples within reach (the {k}th neighbour) of one of the held-out {things}",
        "recall": f"share of held-out {things} within reach (the {k}th neighbour) of a sample",
        "density": f"held-out {things} within whose reach (the {k}th neighbour) a sample lies, over {k}",
        "coverage": f"share of held-out {things} with a sample within their reach (the {k}th neighbour)",
    }
    return [
        Score(
            name=name,
            value=getattr(near, name),
            real=getattr(real, name),
            better="higher",
            about=f"{meaning} (Naeem et al. 2020), {against}",
        )
        for name, meaning in meanings.items()
    ]


def memorised_share(train: Tensor | NDArray[Any], x: Tensor | NDArray[Any]) -> float:
    """The share of samples that lie as near to a training point as that point lies to any other, or nearer.

    It is one minus the authenticity of Alaa et al., *How Faithful is your Synthetic Data?* (2022). Samples of the real
    distribution do not score 0, so it says something only beside the share of real data held out.

    Args:
        train: ``[N, ...]`` of any real type; whole numbers are compared exactly.
        x: ``[M, ...]`` with the same number of values per sample.

    Raises:
        ValueError: fewer than two training points, no sample, unequal widths, or a value that is not finite.
    """
    points, samples = _rows(train, "train", 2), _rows(x, "x", 1)
    _same_width(points, samples)
    nearest, distance = _nearest(samples.double(), points)
    # Only points that are somebody's nearest are asked for their own nearest: M of N at most.
    asked, place = torch.unique(nearest, return_inverse=True)
    _, spacing = _nearest(points[asked].double(), points, skip=asked)
    return float((distance <= spacing[place]).double().mean())


def nearest_ratio(train: Tensor | NDArray[Any], x: Tensor | NDArray[Any], heldout: Tensor | NDArray[Any]) -> float:
    """How far samples lie from their nearest training point, over how far held-out data do; medians.

    Well below 1 means copying. In a small set everything lies near something, which is why held-out data set the scale.

    Args:
        train: ``[N, ...]``.
        x: samples ``[M, ...]``.
        heldout: real data that training has not seen ``[K, ...]``.

    Returns:
        The ratio; infinite where held-out data repeat training points and samples do not.

    Raises:
        ValueError: an empty set, unequal widths, or a value that is not finite.
    """
    points = _rows(train, "train", 1)
    distances = []
    for rows in (_rows(x, "x", 1), _rows(heldout, "heldout", 1)):
        _same_width(points, rows)
        distances.append(_nearest(rows.double(), points)[1].sqrt())
    return median_ratio(*distances)


def median_ratio(x: Tensor | NDArray[Any], heldout: Tensor | NDArray[Any]) -> float:
    """`nearest_ratio` of distances to the nearest training point that are known already, in whatever measure.

    Args:
        x: of samples ``[M]``.
        heldout: of real data that training has not seen ``[K]``.
    """
    own, scale = (float(torch.as_tensor(distances).double().quantile(0.5)) for distances in (x, heldout))
    if not scale:
        return math.inf if own else 1.0
    return own / scale


def vendi_score(x: Tensor | NDArray[Any]) -> float:
    """The effective number of different samples (Friedman and Dieng, *The Vendi Score*, 2023), by cosine similarity.

    It is the exponential of the entropy of the eigenvalues of the similarity matrix over N: 1 where all point the same
    way, N where all are at right angles. Subtract a common mean from features first where they have one.

    Args:
        x: features ``[N, D]``, no row of zeros.

    Raises:
        ValueError: no sample, a row of zeros, or a value that is not finite.
    """
    rows = _rows(x, "x", 1).double()
    length = rows.norm(dim=1, keepdim=True)
    if not bool((length > 0).all()):
        raise ValueError("x has a row of zeros, which points nowhere")
    rows = rows / length
    # The products of rows and those of columns have the same eigenvalues but for zeros: take the smaller matrix.
    return effective_number(rows.mT @ rows if rows.shape[1] < len(rows) else rows @ rows.mT)


def effective_number(similarities: Tensor | NDArray[Any]) -> float:
    """`vendi_score` by any similarity: e to the entropy of the eigenvalues over their sum.

    Args:
        similarities: of all pairs ``[N, N]``, positive semi-definite, 1 of each sample to itself.
    """
    values = torch.linalg.eigvalsh(torch.as_tensor(similarities).double()).clamp_min(0)
    return float(torch.special.entr(values / values.sum()).sum().exp())


def _nearest(x: Tensor, points: Tensor, skip: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """For each row of ``x`` the nearest point but the one in ``skip``, and its exact squared distance."""
    best = torch.full((len(x),), math.inf, dtype=torch.float64, device=x.device)
    index = torch.zeros(len(x), dtype=torch.long, device=x.device)
    for rows in _blocks(len(points), max(len(x), x.shape[1])):
        distance = _squared_distances(x, points[rows].double())
        if skip is not None:
            own = ((skip >= rows.start) & (skip < rows.stop)).nonzero().squeeze(1)
            distance[own, skip[own] - rows.start] = math.inf
        least, where = distance.min(1)
        nearer = least < best
        best = torch.where(nearer, least, best)
        index = torch.where(nearer, where + rows.start, index)
    for rows in _blocks(len(x), x.shape[1]):
        best[rows] = (x[rows] - points[index[rows]].double()).square().sum(1)
    return index, best


def _reach(x: Tensor, k: int) -> Tensor:
    """The squared distance of each point to the k-th nearest other one."""
    reach = torch.empty(len(x), dtype=x.dtype, device=x.device)
    for rows in _blocks(len(x), len(x)):
        distance = _squared_distances(x[rows], x)
        own = torch.arange(rows.start, rows.stop, device=x.device)
        distance[own - rows.start, own] = math.inf
        reach[rows] = distance.kthvalue(k, 1).values
    return reach


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """``[N, D], [M, D] -> [N, M]``."""
    products = torch.addmm(y.square().sum(1), x, y.mT, alpha=-2)
    return products.add_(x.square().sum(1, keepdim=True)).clamp_min_(0)


def _blocks(count: int, width: int) -> Iterator[slice]:
    step = max(1, _BLOCK // width)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    mean = x.mean(0)
    centred = x - mean
    return mean, centred.mT @ centred / (len(x) - 1)


def _pair(a: Tensor | NDArray[Any], b: Tensor | NDArray[Any], least: int) -> tuple[Tensor, Tensor]:
    left, right = _rows(a, "the first set", least).double(), _rows(b, "the second set", least).double()
    _same_width(left, right)
    return left, right


def _same_width(a: Tensor, b: Tensor) -> None:
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"the sets have {a.shape[1]} and {b.shape[1]} values per sample")


def _rows(x: Tensor | NDArray[Any], name: str, least: int) -> Tensor:
    rows = torch.as_tensor(x)
    if rows.ndim < 2 or len(rows) < least:
        raise ValueError(f"{name} has shape {list(rows.shape)}; at least {least} samples [N, D] are needed")
    rows = rows.flatten(1)
    if rows.is_floating_point() and not bool(rows.isfinite().all()):
        raise ValueError(f"{name} has values that are not finite")
    return rows
