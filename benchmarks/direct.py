"""The reverse step of classes as it is usually written, with K x K matrices of transitions, and its exact effect.

For a step from t to s, with Q_t, Q_s and Q_ts the transitions from 0 to t, from 0 to s and from s to t,

    p(x_s = j | x_t = k) ∝ Q_ts[j, k] sum_i p_i Q_s[i, j] / Q_t[i, k]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["Matrices", "Reverse", "end_of_walk", "toy", "transition"]

Reverse: TypeAlias = Callable[[Tensor, Tensor, float, float, Tensor], Tensor]
"""(belief, token, keep, keep_to, pi) -> weights of x_s, as `suffuse.sampling.kernels.reverse`."""


def transition(keep: float, pi: Tensor, classes: int) -> Tensor:
    """q(token | class), ``[classes, S]``."""
    matrix = ((1 - keep) * pi).expand(classes, -1).clone()
    matrix.diagonal().add_(keep)
    return matrix


@dataclass(frozen=True)
class Matrices:
    """The matrices of one step, which a sampler has made before it starts, with the rows that it reads contiguous.

    Args:
        now: q(x_t | x_0) by x_t, ``[S, K]``.
        to_next: q(x_s | x_0) by x_0, ``[K, S]``.
        between: q(x_t | x_s) by x_t, ``[S, S]``.
    """

    now: Tensor
    to_next: Tensor
    between: Tensor

    @classmethod
    def of(cls, keep: float, keep_to: float, pi: Tensor, classes: int) -> Matrices:
        """For a step between keep-probabilities."""
        between = transition(keep / keep_to if keep_to else 1.0, pi, len(pi))
        return cls(
            transition(keep, pi, classes).T.contiguous(), transition(keep_to, pi, classes), between.T.contiguous()
        )

    def reverse(self, belief: Tensor, token: Tensor) -> Tensor:
        """The weights of x_s ``[..., S]`` for beliefs ``[..., K]``; a class that rules x_t out gets none."""
        now = self.now[token]
        share = torch.where(now > 0, belief / now, 0)
        return share @ self.to_next * self.between[token]

    @classmethod
    def step(cls, belief: Tensor, token: Tensor, keep: float, keep_to: float, pi: Tensor) -> Tensor:
        """As a `Reverse`."""
        return cls.of(keep, keep_to, pi, belief.shape[-1]).reverse(belief, token)

    @staticmethod
    def bytes(classes: int) -> int:
        """Of the matrices of one step, in float64."""
        return 3 * 8 * classes**2


def toy(classes: int, sites: int, seed: int = 0) -> Tensor:
    """A distribution of ``sites`` entries, each of ``classes``, that depend strongly on one another."""
    generator = torch.Generator().manual_seed(seed)
    energy = 2 * torch.randn([classes] * sites, generator=generator, dtype=torch.float64)
    return energy.flatten().softmax(0).reshape([classes] * sites)


def end_of_walk(data: Tensor, pi: Tensor, keeps: Sequence[float], reverse: Reverse) -> Tensor:
    """The exact distribution at the end of a walk that begins at the exact one of its first level, ``[K, ...]``.

    Every state of one or two entries is propagated, under the exact belief about each entry. Entries are drawn apart
    from one another in a step, which is all that a walk of several steps gets wrong.

    Args:
        data: the clean distribution, ``[K]`` or ``[K, K]``.
        pi: the prior over S tokens.
        keeps: rising keep-probabilities.
        reverse: the kernel.
    """
    classes, sites, size = len(data), data.ndim, len(pi)
    states = torch.cartesian_prod(*[torch.arange(size)] * sites).reshape(-1, sites)
    first = transition(keeps[0], pi, classes)
    now = data
    for _ in range(sites):
        now = torch.tensordot(now, first, ([0], [0]))
    now = now.flatten()
    for keep, keep_to in zip(keeps, keeps[1:], strict=False):
        noisy = transition(keep, pi, classes)
        likely = [noisy[:, states[:, site]].T for site in range(sites)]  # each [S^sites, K]
        joint = data.expand(len(states), *data.shape)
        for site, share in enumerate(likely):
            joint = joint * share.reshape(-1, *[classes if axis == site else 1 for axis in range(sites)])
        total = joint.flatten(1).sum(1)
        joint = torch.where(total.reshape(-1, *[1] * sites) > 0, joint, 1)  # a state that cannot be
        rows = torch.ones(len(states), 1, dtype=torch.float64)
        for site in range(sites):
            others = [axis + 1 for axis in range(sites) if axis != site]
            belief = joint.sum(others) if others else joint
            belief = belief / belief.sum(-1, keepdim=True)
            weights = reverse(belief, states[:, site], keep, keep_to, pi)
            weights = weights / weights.sum(-1, keepdim=True)
            rows = (rows[:, :, None] * weights[:, None, :]).flatten(1)
        now = torch.where(total > 0, now, 0) @ rows.nan_to_num()
    return now.reshape([size] * sites)[tuple(slice(classes) for _ in range(sites))]
