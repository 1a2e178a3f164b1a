r"""What a network emits, and how it becomes an estimate of the clean value.

With ``x = alpha x_0 + sigma eps``, every common choice is linear in the noisy value x and the output F:

    x_0 = skip * x + out * F

so one table of (skip, out) converts any of them into any other. The same numbers serve sampling and loss.

References:
    Ho et al. 2020 (eps); Salimans and Ho 2022 (v); Karras et al. 2022 (EDM, here for any alpha); Liu et al. 2023
    (velocity).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["PARAMETERIZATIONS", "Affine", "input_scale"]


class Affine(NamedTuple):
    """The two factors of ``x_0 = skip * x + out * F``, each broadcast against alpha."""

    skip: Tensor
    out: Tensor


def _clean(alpha: Tensor, sigma: Tensor, scale: float) -> Affine:
    """F = x_0."""
    return Affine(torch.zeros_like(alpha), torch.ones_like(alpha))


def _noise(alpha: Tensor, sigma: Tensor, scale: float) -> Affine:
    """F = eps."""
    return Affine(1 / alpha, -sigma / alpha)


def _score(alpha: Tensor, sigma: Tensor, scale: float) -> Affine:
    """F = sigma * grad log p(x), the score in units of its own standard deviation, which is -eps."""
    return Affine(1 / alpha, sigma / alpha)


def _v(alpha: Tensor, sigma: Tensor, scale: float) -> Affine:
    """F = (alpha eps - sigma x_0) / sqrt(alpha^2 + sigma^2)."""
    square = alpha**2 + sigma**2
    return Affine(alpha / square, -sigma * square.rsqrt())


def _velocity(alpha: Tensor, sigma: Tensor, scale: float) -> Affine:
    """F = eps - x_0, the velocity of the straight line."""
    return Affine(1 / (alpha + sigma), -sigma / (alpha + sigma))


def _edm(alpha: Tensor, sigma: Tensor, scale: float) -> Affine:
    """F has unit variance at every level if x_0 has the standard deviation ``scale``."""
    square = (alpha * scale) ** 2 + sigma**2
    return Affine(alpha * scale**2 / square, sigma * scale * square.rsqrt())


PARAMETERIZATIONS: dict[str, Callable[[Tensor, Tensor, float], Affine]] = {
    "x0": _clean,
    "eps": _noise,
    "score": _score,
    "v": _v,
    "velocity": _velocity,
    "edm": _edm,
}


def input_scale(alpha: Tensor, sigma: Tensor, scale: float) -> Tensor:
    """The factor that gives x unit variance, so that a network sees the same input whatever the schedule's scale."""
    return ((alpha * scale) ** 2 + sigma**2).rsqrt()
