"""Data in the plane whose posterior mean, and therefore whole probability flow, is known: three round Gaussians.

Everything is written for y = x / alpha and the ratio u = sigma / alpha, which no schedule changes. With data
``sum_k w_k N(m_k, s_k^2 I)`` the noisy value is a mixture with variances ``v_k = s_k^2 + u^2``, and

    E[x_0 | y] = sum_k r_k (m_k + s_k^2 / v_k (y - m_k)),    r_k the share of component k at y
"""

from __future__ import annotations

import math

import torch
from scipy.integrate import solve_ivp
from scipy.special import ndtr
from torch import Tensor

__all__ = ["clean", "flow", "mean", "noisy", "sliced_distance"]

WEIGHTS = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
MEANS = torch.tensor([[-1.0, 0.5], [0.8, -0.6], [0.2, 1.2]], dtype=torch.float64)
DEVIATIONS = torch.tensor([0.5, 0.4, 0.6], dtype=torch.float64)

DIRECTIONS = 16
CLEAN = 1e-6
"""The ratio at which the reference stops: what is left of the flow from there is below 1e-11."""


def clean(count: int, seed: int) -> Tensor:
    """Draws of the data, ``[count, 2]`` in float64."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.multinomial(WEIGHTS, count, replacement=True, generator=generator)
    noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return MEANS[which] + DEVIATIONS[which, None] * noise


def noisy(count: int, ratio: float, seed: int) -> Tensor:
    """Draws of y at a noise level, ``[count, 2]`` in float64: where a walk begins, with no error of a prior."""
    generator = torch.Generator().manual_seed(seed + 1)
    return clean(count, seed) + ratio * torch.randn(count, 2, generator=generator, dtype=torch.float64)


def mean(y: Tensor, ratio: Tensor) -> Tensor:
    """E[x_0 | y] ``[B, 2]`` at one ratio for all."""
    square = DEVIATIONS**2
    variance = square + ratio.double() ** 2
    apart = y[:, None] - MEANS
    share = (WEIGHTS.log() - variance.log() - apart.square().sum(-1) / variance / 2).softmax(1)
    return (share[..., None] * (MEANS + (square / variance)[:, None] * apart)).sum(1)


def flow(y: Tensor, start: float, end: float = 0.0) -> Tensor:
    """The exact probability flow from one ratio to another, ``dy/du = (y - E[x_0 | y]) / u``, by DOP853 at 1e-12."""

    def slope(u: float, flat: object) -> object:
        at = torch.as_tensor(flat, dtype=torch.float64).reshape(y.shape)
        return ((at - mean(at, torch.tensor(u))) / u).flatten().numpy()

    span = (start, max(end, CLEAN))
    solution = solve_ivp(slope, span, y.flatten().numpy(), method="DOP853", rtol=1e-12, atol=1e-13)
    return torch.as_tensor(solution.y[:, -1]).reshape(y.shape)


def sliced_distance(x: Tensor) -> float:
    """Mean distance between sorted projections of ``x`` ``[N, 2]`` and the quantiles of the data, over even directions.

    The Wasserstein-1 distance of each projection, up to the noise of N draws.
    """
    angles = torch.arange(DIRECTIONS, dtype=torch.float64) * (math.pi / DIRECTIONS)
    directions = torch.stack([angles.cos(), angles.sin()])
    grid = torch.linspace(-6, 6, 24_001, dtype=torch.float64)
    levels = (torch.arange(len(x), dtype=torch.float64) + 0.5) / len(x)
    projected, centres = (x @ directions).sort(0).values, MEANS @ directions
    total = 0.0
    for place in range(DIRECTIONS):
        apart = (grid[:, None] - centres[:, place]) / DEVIATIONS
        below = (WEIGHTS * torch.as_tensor(ndtr(apart.numpy()))).sum(1)
        after = torch.searchsorted(below, levels).clamp(1, len(grid) - 1)
        step = (levels - below[after - 1]) / (below[after] - below[after - 1])
        quantiles = torch.lerp(grid[after - 1], grid[after], step)
        total += float((projected[:, place] - quantiles).abs().mean())
    return total / DIRECTIONS
