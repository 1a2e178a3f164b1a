"""A mixture of point clouds whose centre of mass is zero, with its exact posterior mean.

In the subspace of centred clouds it is an isotropic mixture like any other, of (N - 1) d dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oracle import Mixture, f64
from torch import Tensor

from suffuse.posterior import Mean, Posterior
from suffuse.processes import Level
from suffuse.state import State

__all__ = ["CLOUD", "Cloud", "centred"]


def centred(x: Tensor) -> Tensor:
    """Clouds ``[..., N, d]`` around zero."""
    return x - x.mean(-2, keepdim=True)


@dataclass(frozen=True, eq=False)
class Cloud:
    """An exact denoiser of the field ``x``, ``[B, N, d]``.

    Args:
        mixture: over flat clouds ``[N d]``, its means centred.
        shape: (N, d).
    """

    mixture: Mixture
    shape: tuple[int, int]

    @staticmethod
    def of(weights: Tensor, means: Tensor, deviations: Tensor) -> Cloud:
        """From means ``[K, N, d]``, which are centred."""
        _, count, dim = means.shape
        mixture = Mixture(weights, centred(means).flatten(1), deviations, (count - 1) * dim)
        return Cloud(mixture, (count, dim))

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        mean = self.mixture.mean(state["x"].flatten(1), levels["x"].alpha, levels["x"].sigma)
        return {"x": Mean(mean.unflatten(1, self.shape))}


CLOUD = Cloud.of(
    f64([0.6, 0.4]),
    f64([[[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]], [[0.0, 1.2], [0.1, 0.0], [0.2, -1.3]]]),
    f64([0.35, 0.5]),
)
