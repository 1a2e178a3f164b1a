r"""Rules for categorical fields. Each plans along the same moves as the rules of real-valued fields beside it.

With keep-probability a, prior pi, current token k and believed class probabilities p, a step from t to s is a draw of

    p(x_s = j) ∝ L_j [ a_s p_j / Z_j + (1 - a_s) pi_j sum_i p_i / Z_i ]

    Z_i = a_t [i = k] + (1 - a_t) pi_k        L_j = a_(t|s) [j = k] + (1 - a_(t|s)) pi_k        a_(t|s) = a_t / a_s

which is the exact posterior q(x_s | x_t) under p, in O(K). For one entry it is exact at any number of steps.

References:
    Austin et al. 2021, "Structured denoising diffusion models in discrete state-spaces"; Chang et al. 2022, "MaskGIT"
    (confidence); Campbell et al. 2024, "Generative flows on discrete state-spaces" (stochasticity).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from suffuse.errors import ConfigError
from suffuse.processes import Discrete
from suffuse.sampling.plan import Leg, Move, Rest, Step, TokenStage, UnmaskStage

__all__ = ["Ancestral", "Confidence", "TokenSolver"]


class TokenSolver(ABC):
    """A rule that plans the stages of a categorical field."""

    def route(self, grid: Sequence[float]) -> list[Move]:
        """The moves along a grid where no real-valued field leads."""
        return [Move(at, to) for at, to in zip(grid, grid[1:], strict=False)]

    def check(self, process: Discrete, name: str) -> None:
        """Refuse a process that the rule cannot undo; by default none.

        Raises:
            ConfigError: the rule cannot move the field ``name``.
        """
        return

    def stages(self, legs: Sequence[Leg]) -> list[Step]:
        """The stages of one field, one for each leg."""
        stages: list[Step] = []
        for leg in legs:
            if leg.start.alpha == leg.end.alpha:  # frozen, or the second look of a step at the same level
                stages.append(Rest(leg.start.log_snr if leg.look else None))
            elif leg.look:
                stages.append(self.stage(leg))
            else:
                stages.append(TokenStage(None, leg.start.alpha, leg.end.alpha, leg.end.alpha))
        return stages

    @abstractmethod
    def stage(self, leg: Leg) -> Step:
        """What the field does in one move towards the data."""


@dataclass(frozen=True)
class Ancestral(TokenSolver):
    """Draws from the posterior of each step.

    Args:
        eta: stochasticity beyond it, in [0, 1]: each step goes on towards the data by this share of what is left, and
            comes back by new noise, which keeps the marginals and lets earlier choices be changed.
        top_p: draws from the likeliest classes that together have this share of the belief; 1 is all.
    """

    eta: float = 0.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ConfigError(f"sampler.categorical.eta={self.eta}: must lie between 0 and 1")
        _check_top_p(self.top_p)

    def stage(self, leg: Leg) -> Step:
        over = leg.end.alpha + self.eta * (1 - leg.end.alpha)
        return TokenStage(leg.start.log_snr, leg.start.alpha, leg.end.alpha, over, self.top_p)


@dataclass(frozen=True)
class Confidence(TokenSolver):
    """Reveals masked entries in the order in which the network is sure of them; each stays as it was revealed.

    Args:
        temperature: of Gumbel noise on the log-probabilities that are compared, fading with the mask; 0 is greedy.
        top_p: draws from the likeliest classes that together have this share of the belief; 1 is all.
    """

    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"sampler.categorical.temperature={self.temperature}: must be a number from 0 up")
        _check_top_p(self.top_p)

    def check(self, process: Discrete, name: str) -> None:
        if process.probabilities[-1] != 1:
            raise ConfigError(
                f"sampler.categorical=confidence: the field {name} has no mask to lift; it needs the absorbing prior"
            )

    def stage(self, leg: Leg) -> Step:
        share = (1 - leg.end.alpha) / (1 - leg.start.alpha)
        return UnmaskStage(leg.start.log_snr, share, self.temperature * (1 - leg.end.alpha), self.top_p)


def _check_top_p(top_p: float) -> None:
    if not 0 < top_p <= 1:
        raise ConfigError(f"sampler.categorical.top_p={top_p}: must lie above 0 and at most at 1")
