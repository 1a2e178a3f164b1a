"""A mixture of wrapped normals on a torus, whose score is known at every level, and its exact probability flow.

Data ``sum_k w_k WN(m_k, s_k^2)`` stay a mixture under wrapped Gaussian noise, with variances ``s_k^2 + sigma^2``. The
denoiser states ``sigma^2`` times the score, here by the plain sum over many ways round, with nothing in common with the
series of the core.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from oracle import f64
from scipy.integrate import solve_ivp
from torch import Tensor

from suffuse.posterior import Posterior, Tangent
from suffuse.processes import Level
from suffuse.state import State

__all__ = ["RING", "Ring", "flow", "log_wrapped"]

_WAYS = torch.arange(-12.0, 13.0, dtype=torch.float64)


def log_wrapped(apart: Tensor, variance: Tensor, period: float) -> Tensor:
    """The log-density of a wrapped normal of mean zero, broadcast; good while sigma stays below 1.3 periods."""
    ways = apart.unsqueeze(-1) + period * _WAYS
    spread = variance.unsqueeze(-1)
    return torch.logsumexp(-(ways**2) / (2 * spread) - (2 * math.pi * spread).log() / 2, -1)


@dataclass(frozen=True, eq=False)
class Ring:
    """An exact denoiser of the field ``x``, ``[B, D]``, on a torus.

    Args:
        weights: ``[K]``; they sum to one.
        means: ``[K, D]``.
        deviations: ``[K]``.
        period: of every component.
    """

    weights: Tensor
    means: Tensor
    deviations: Tensor
    period: float

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        """log p(x) at noise ``sigma`` ``[B]``, ``[B]``."""
        variance = self.deviations**2 + sigma[:, None] ** 2
        each = log_wrapped(x[:, None] - self.means, variance[..., None], self.period).sum(-1)
        return torch.logsumexp(self.weights.log() + each, -1)

    def displacement(self, x: Tensor, sigma: Tensor) -> Tensor:
        """``sigma^2`` times the score, ``[B, D]``."""
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            (score,) = torch.autograd.grad(self.log_density(at, sigma).sum(), at)
        return sigma[:, None] ** 2 * score

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        return {"x": Tangent(self.displacement(state["x"], levels["x"].sigma), state["x"])}

    def moved(self, by: Tensor) -> Ring:
        """The same turned by ``by`` ``[D]``."""
        return Ring(self.weights, self.means + by, self.deviations, self.period)


RING = Ring(
    f64([0.4, 0.35, 0.25]),
    f64([[0.1, 1.7], [0.9, 0.3], [1.8, 1.2]]),
    f64([0.15, 0.25, 0.3]),
    2.0,
)


def flow(data: Ring, x: Tensor, start: float, end: float) -> Tensor:
    """The exact probability flow ``dx/dsigma = -sigma score`` from sigma ``start`` to ``end``, not wrapped."""
    one = torch.ones(len(x), dtype=torch.float64)

    def slope(sigma: float, flat: object) -> object:
        return (-data.displacement(f64(flat).reshape(x.shape), sigma * one) / sigma).flatten().numpy()

    solution = solve_ivp(slope, (start, end), x.flatten().numpy(), method="DOP853", rtol=1e-12, atol=1e-13)
    return f64(solution.y[:, -1]).reshape(x.shape)
