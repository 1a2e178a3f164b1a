r"""Samples of which a measurement is known, ``y = A(x_0) + deviation * noise``: enlarging, deblurring, tomography.

For Gaussian beliefs N(D, C) and a linear A the posterior mean is

    E[x_0 | x_t, y] = D + C A^T w        (deviation^2 I + A C A^T) w = y - A D

with D and C as in `suffuse.guidance.looks`. Solving for w by n steps of conjugate gradients is exact for n numbers in
y. One step already has the right length along y - A D: it is the gradient step of DPS with the scale that DPS leaves to
be tuned, and exact where A C A^T is a multiple of the identity. A differentiable A is used through its derivative at D.

References:
    Chung et al. 2023, "Diffusion posterior sampling for general noisy inverse problems"; Song et al. 2023,
    "Pseudoinverse-guided diffusion models for inverse problems"; Rozet et al. 2024, "Learning diffusion priors from
    observations by expectation maximization" (conjugate gradients).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from suffuse.data import Measurement
from suffuse.errors import ConfigError
from suffuse.guidance.looks import Look, Route
from suffuse.guidance.passes import check_interval, inside
from suffuse.guidance.wrapper import Wrapper
from suffuse.layouts import expand
from suffuse.posterior import Posterior
from suffuse.processes import Level
from suffuse.state import State

__all__ = ["PosteriorSampling"]


@dataclass(frozen=True)
class PosteriorSampling(Wrapper):
    """The belief given a measurement as well. It changes means alone, so that every solver takes it.

    Args:
        denoiser: what is guided; may be guidance itself.
        measurement: y and A.
        deviation: the standard deviation of the noise in y; 0 is none.
        route: ``network`` takes C from the derivative of the denoiser, at about twice the cost of a step (and once more
            for each further iteration); ``estimate`` takes it as that of a Gaussian of the field's scale, at no cost.
        iterations: of conjugate gradients.
        interval: (low, high) in sigma / alpha; outside it the measurement is not used. None: everywhere.

    Raises:
        ConfigError: a setting is out of bounds; when called: the measurement does not have the operator's shape.
    """

    measurement: Measurement
    deviation: float = 0.01
    route: Route = "network"
    iterations: int = 1
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.deviation < float("inf"):
            raise ConfigError(f"measurement.deviation={self.deviation}: must be a number from 0 up")
        if self.iterations < 1:
            raise ConfigError(f"measurement.iterations={self.iterations}: must be at least 1")
        check_interval(self.interval)

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        if not inside(self.interval, levels):
            return self.denoiser(state, levels, condition, previous)
        look = Look.at(self.denoiser, state, levels, condition, previous, self.route)
        with torch.enable_grad():
            seen = self.measurement.operator(look.estimate)
        return look.moved(*self._solve(look, seen))

    def _solve(self, look: Look, seen: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``A^T w`` and ``C A^T w`` by conjugate gradients, each sample by itself."""
        residual = self._residual(seen)
        way = residual
        pushes: dict[str, Tensor] = {}
        changes: dict[str, Tensor] = {}
        for index in range(self.iterations):
            push = look.gradient(seen, way)
            change = look.covariance(push)
            along = look.along(push, change)
            # The derivative of a network is only nearly a covariance: where it is not positive, nothing is learnt.
            curvature = self.deviation**2 * _dot(way, way) + along.clamp_min(0)
            square = _dot(residual, residual)
            step = torch.where(along > 0, square / curvature, 0)
            for total, part in ((pushes, push), (changes, change)):
                for name, value in part.items():
                    value = expand(step, value) * value
                    total[name] = total[name] + value if name in total else value
            if index + 1 < self.iterations:
                image = self.deviation**2 * way + _forward(look, seen, change)
                residual = residual - expand(step, residual) * image
                way = residual + expand(_ratio(_dot(residual, residual), square), way) * way
        return pushes, changes

    def _residual(self, seen: Tensor) -> Tensor:
        value = self.measurement.value.to(seen)
        if value.shape[1:] != seen.shape[1:] or value.shape[0] not in (1, seen.shape[0]):
            raise ConfigError(
                f"measurement: what was measured has the shape {list(value.shape)}, but the operator gives "
                f"{list(seen.shape)}"
            )
        return value - seen.detach()


def _forward(look: Look, seen: Tensor, change: Mapping[str, Tensor]) -> Tensor:
    """``A v`` for the derivative A of ``seen`` by the estimates: the derivative of ``A^T u`` by u, along v."""
    names = list(change)
    leaves = [look.estimate[name] for name in names]
    with torch.enable_grad():
        dual = torch.zeros_like(seen, requires_grad=True)
        back = torch.autograd.grad(seen, leaves, dual, create_graph=True, allow_unused=True)
    pairs = [(part, change[name]) for name, part in zip(names, back, strict=True) if part is not None]
    (forward,) = torch.autograd.grad([part for part, _ in pairs], [dual], [value for _, value in pairs])
    return forward


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The scalar product of each sample, ``[B]``."""
    return (a * b).flatten(1).sum(1)


def _ratio(new: Tensor, old: Tensor) -> Tensor:
    return torch.where(old > 0, new / old, 0)
