"""Data whose posterior mean is known in closed form, and the walk of a plan that may end before the clean state.

With data ``sum_k w_k N(m_k, s_k^2 I)`` the noisy value is a mixture too, with variances
``v_k = alpha^2 s_k^2 + sigma^2``, and ``E[x_0 | x] = sum_k r_k (m_k + alpha s_k^2 / v_k (x - alpha m_k))``, with
r_k the share of component k at x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from suffuse.fields import Field
from suffuse.layouts import expand
from suffuse.posterior import Mean, Posterior, Statement
from suffuse.processes import Gaussian, Level
from suffuse.sampling import Plan
from suffuse.sampling.kernels import Site, advance
from suffuse.schedules import EDM, Cosine, LinearBetaVP, RectifiedFlow, Schedule
from suffuse.state import State

SCHEDULES: dict[str, Schedule] = {"vp": LinearBetaVP(), "edm": EDM(), "flow": RectifiedFlow(), "cosine": Cosine()}


def f64(values: object) -> Tensor:
    """A float64 tensor."""
    return torch.as_tensor(values, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Mixture:
    """An exact denoiser of the field ``x``, ``[B, D]``.

    Args:
        weights: ``[K]``, of the components; they sum to one.
        means: ``[K, D]``.
        deviations: ``[K]``, their standard deviations; zero is a point.
        free: dimensions of the subspace that all lies in; None for all D.
    """

    weights: Tensor
    means: Tensor
    deviations: Tensor
    free: int | None = None

    def mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """E[x_0 | x] with alpha and sigma ``[B]``."""
        alpha, sigma = alpha[:, None], sigma[:, None]
        variance = (alpha * self.deviations) ** 2 + sigma**2
        apart = x[:, None] - alpha[..., None] * self.means
        dim = x.shape[1] if self.free is None else self.free
        log_share = self.weights.log() - dim / 2 * variance.log() - apart.square().sum(-1) / variance / 2
        each = self.means + (alpha * self.deviations**2 / variance)[..., None] * apart
        return (log_share.softmax(1)[..., None] * each).sum(1)

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        return {"x": Mean(self.mean(state["x"], levels["x"].alpha, levels["x"].sigma))}


MIXTURE = Mixture(f64([0.3, 0.5, 0.2]), f64([[-1.0, 0.5], [0.8, -0.6], [0.2, 1.2]]), f64([0.5, 0.4, 0.6]))


def gaussian(mean: float, deviation: float) -> Mixture:
    """Data in one dimension with one component."""
    return Mixture(f64([1.0]), f64([[mean]]), f64([deviation]))


def level(schedule: Schedule, log_snr: float, count: int) -> Level:
    """The level of ``count`` samples at a log-SNR, in float64."""
    at = torch.full((count,), log_snr, dtype=torch.float64)
    alpha, sigma = schedule.alpha_sigma(at)
    return Level(alpha, sigma, at)


def walk(
    plan: Plan,
    schedule: Schedule,
    denoise: Mixture,
    x: Tensor,
    fresh: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """The state ``[B, D]`` at the end of a plan, by the executor's kernel; ``fresh`` gives each stage its noise."""
    process, spec, anchor = Gaussian(schedule), Field(shape=(x.shape[1],)), x
    history: list[Statement] = []
    for index, stage in enumerate(plan):
        assert stage.log_snr is not None
        history.insert(0, denoise(State({"x": x}), {"x": level(schedule, stage.log_snr, len(x))})["x"])
        del history[plan.memory :]
        if stage.commit:
            anchor = x
        site = Site(spec, process, x, anchor)
        x = advance(stage, site, history, fresh(index) if fresh and stage.random else None)
    return x


def flow(denoise: Mixture, y: Tensor, start: float, end: float) -> Tensor:
    """The exact probability flow of y = x / alpha ``[B, D]`` between two log-SNRs, which no schedule changes.

    It is ``dy/du = (y - E[x_0 | y]) / u`` in u = sigma / alpha, solved to 1e-12 by an eighth-order Runge-Kutta rule.
    """
    one = torch.ones(len(y), dtype=torch.float64)

    def slope(u: float, flat: object) -> object:
        at = f64(flat).reshape(y.shape)
        return ((at - denoise.mean(at, one, u * one)) / u).flatten().numpy()

    ends = math.exp(-start), math.exp(-end)
    solution = solve_ivp(slope, ends, y.flatten().numpy(), method="DOP853", rtol=1e-12, atol=1e-13)
    return f64(solution.y[:, -1]).reshape(y.shape)


def scaled(schedule: Schedule, y: Tensor, log_snr: float) -> Tensor:
    """x = alpha y at a log-SNR."""
    return expand(level(schedule, log_snr, len(y)).alpha, y) * y
