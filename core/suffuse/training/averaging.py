r"""Running averages of the weights, which sample better than the weights themselves.

Beside the exponential average there are averages by power functions, whose width can still be chosen after training.
After t updates the weights theta_1, ..., theta_t count as

    theta_bar(t) = int_0^1 p(s) theta_(s t) ds      p(s) = (gamma + 1) s^gamma

which an update keeps by ``theta_bar <- beta theta_bar + (1 - beta) theta`` with ``beta = (1 - 1/t)^(gamma + 1)``,
exactly so for weights that are constant between two updates. The width of the profile, its standard deviation relative
to the length of training, is

    sigma_rel = (gamma + 1)^(1/2) (gamma + 2)^(-1) (gamma + 3)^(-1/2)

Averages of two widths, kept at a few times, span the profiles of all the widths around them well enough to find any of
these by least squares afterwards; all inner products of profiles have a closed form.

References:
    Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models", section 3.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["WIDTHS", "WIDTH_MOST", "Average", "PowerAverages", "Profile", "exponent", "mixture", "width"]

Network = TypeVar("Network", bound=nn.Module)

WIDTHS = (0.05, 0.10)
"""sigma_rel of the averages that are kept."""

WIDTH_MOST = 0.28
"""Just below 1 / sqrt(12), the width of the plain mean of all updates; beyond it gamma would be negative."""


class Average(Generic[Network]):
    """A second copy of a network that follows the first exponentially.

    The share kept at update k is ``min(decay, (1 + k) / (10 + k))``: early weights are forgotten quickly.

    Args:
        model: the network that is trained.
        decay: the share kept at each update once training is under way.
    """

    def __init__(self, model: Network, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = decay
        self.updates = 0
        self._followed = model

    @cached_property
    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """At the first update, since weights that are split over processes become other tensors."""
        return list(zip(self.model.parameters(), self._followed.parameters(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the trained weights."""
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine, theirs = [list(side) for side in zip(*self._pairs, strict=True)]
        torch._foreach_lerp_(mine, theirs, 1 - keep)
        self.updates += 1


class PowerAverages:
    """Averages of the parameters of a network by power functions, one for each of `WIDTHS`, in its own precision.

    They cost as many copies of the parameters, in memory and in each checkpoint, and a pass over each at every update
    (0.5 ms for 230,000 parameters on one thread, of a step of 50).

    Args:
        model: the network that is trained.
    """

    def __init__(self, model: nn.Module) -> None:
        named = dict(model.named_parameters(remove_duplicate=False))  # a shared parameter under each of its names
        self._names, self._theirs = list(named), list[Tensor](named.values())
        self._mine = {each: [p.detach().clone() for p in self._theirs] for each in WIDTHS}

    @torch.no_grad()
    def update(self, count: int) -> None:
        """Take up the weights after update number ``count``, from 1 on; the first replaces what was there."""
        for each, mine in self._mine.items():
            keep = (1 - 1 / count) ** (exponent(each) + 1)
            torch._foreach_lerp_(mine, self._theirs, 1 - keep)

    def tensors(self) -> dict[str, Tensor]:
        """All averages by ``WIDTH/NAME``, not copied."""
        return {
            f"{each}/{name}": value
            for each, mine in self._mine.items()
            for name, value in zip(self._names, mine, strict=True)
        }

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave.

        Raises:
            KeyError: an average is missing.
        """
        for name, mine in self.tensors().items():
            mine.copy_(tensors[name])


@dataclass(frozen=True)
class Profile:
    """How much the weights of each update count in an average.

    Args:
        count: updates that had been made.
        width: sigma_rel.
    """

    count: float
    width: float


def width(gamma: float) -> float:
    """sigma_rel of the exponent gamma."""
    return math.sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2)


def exponent(sigma_rel: float) -> float:
    """gamma of a width: the largest root of ``gamma^3 + 7 gamma^2 + (16 - w) gamma + 12 - w``, ``w = sigma_rel^-2``.

    Raises:
        ValueError: no power function that rises has this width.
    """
    if not 0 < sigma_rel <= WIDTH_MOST:
        raise ValueError(f"a width must lie above 0 and at most at {WIDTH_MOST}, not {sigma_rel}")
    w = sigma_rel**-2
    return float(np.roots([1, 7, 16 - w, 12 - w]).real.max())


def inner_products(a: Sequence[Profile], b: Sequence[Profile]) -> NDArray[np.float64]:
    """``int p_a p_b`` over all updates, ``[A, B]``: with m the smaller of the counts,

    (gamma_a + 1) (gamma_b + 1) / (gamma_a + gamma_b + 1) (m / t_a)^gamma_a (m / t_b)^gamma_b / max(t_a, t_b)
    """
    (at, a_power), (bt, b_power) = (_columns(side) for side in (a, b))
    at, a_power = at[:, None], a_power[:, None]
    least = np.minimum(at, bt)
    shared = (least / at) ** a_power * (least / bt) ** b_power / np.maximum(at, bt)
    return np.asarray((a_power + 1) * (b_power + 1) / (a_power + b_power + 1) * shared, dtype=np.float64)


def mixture(kept: Sequence[Profile], wanted: Profile) -> tuple[list[float], float]:
    """Factors with which kept averages add up to the wanted one as nearly as can be.

    Least squares over the profiles, under the condition that the factors sum to one: weights must keep their size.

    Returns:
        A factor for each of ``kept``, and the relative error of the profile that they make, in the root of the mean
        square: what is left of weights that change at random from one update to the next.
    """
    gram, goal = inner_products(kept, kept), inner_products(kept, [wanted])[:, 0]
    one = np.ones((len(kept), 1))
    system = np.block([[gram, one], [one.T, np.zeros((1, 1))]])
    factors = np.linalg.lstsq(system, np.append(goal, 1.0), rcond=None)[0][:-1]
    whole = inner_products([wanted], [wanted])[0, 0]
    left = whole - 2 * factors @ goal + factors @ gram @ factors
    return factors.tolist(), math.sqrt(max(float(left), 0.0) / whole)


def _columns(profiles: Sequence[Profile]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    counts = np.array([profile.count for profile in profiles], dtype=np.float64)
    return counts, np.array([exponent(profile.width) for profile in profiles])
