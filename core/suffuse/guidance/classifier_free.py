"""Classifier-free guidance, within an interval of noise levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from suffuse.errors import ConfigError, suggest
from suffuse.guidance.passes import check_interval, check_scale, inside, rescaled, together
from suffuse.guidance.wrapper import Wrapper
from suffuse.posterior import Posterior
from suffuse.processes import Level
from suffuse.state import State

__all__ = ["ClassifierFree"]


@dataclass(frozen=True)
class ClassifierFree(Wrapper):
    """``D = D_other + scale (D_asked - D_other)``; both come from one batch of twice the size.

    The other belief is that of the network without the conditions, but for those that are kept, or with the negative.

    Args:
        denoiser: trained with conditions that were missing now and then.
        scale: 1 leaves the model alone, more follows the condition more closely at the cost of variety.
        interval: (low, high) in sigma / alpha; outside it the second pass is not computed. None: everywhere.
        rescale: share of the way back to the spread that the asked belief has, against washed-out extremes; 0 is none.
        negative: what to move away from, by condition name; None for nothing known.
        keep: conditions that the other belief has too, so that they are followed but not exaggerated, such as measures;
            one that the run does not have is of no account.

    References:
        Ho and Salimans 2022, "Classifier-free diffusion guidance"; Kynkäänniemi et al. 2024, "Applying guidance in a
        limited interval improves sample and distribution quality"; Lin et al. 2024, "Common diffusion noise schedules
        and sample steps are flawed" (rescaling).
    """

    scale: float = 1.0
    interval: tuple[float, float] | None = None
    rescale: float = 0.0
    negative: Mapping[str, Any] | None = None
    keep: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_scale(self.scale)
        if not 0 <= self.rescale <= 1:
            raise ConfigError(f"guidance.rescale={self.rescale}: must lie between 0 (none) and 1")
        check_interval(self.interval)
        for name in self.negative or {}:
            if name not in self.denoiser.conditions:
                known = ", ".join(self.denoiser.conditions) or "none"
                raise ConfigError(f"guidance.negative.{name}: this run has no such condition (it has {known})")
        for name in self.keep:
            if name in (self.negative or {}):
                raise ConfigError(f"guidance.keep={name}: cannot be kept, for guidance.negative.{name} is set")
            if name not in self.denoiser.conditions and (meant := suggest(name, self.denoiser.conditions)):
                raise ConfigError(f"guidance.keep={name}: this run has no such condition{meant}")

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        if self.scale == 1 or not condition or not inside(self.interval, levels) or set(condition) <= set(self.keep):
            belief: Posterior = self.denoiser(state, levels, condition, previous)
            return belief
        asked, other = together(self.denoiser, state, levels, condition, self._other(state, condition), previous)
        guided = {name: other[name].towards(belief, self.scale) for name, belief in asked.items()}
        return rescaled(guided, asked, self.rescale, self.denoiser.fields, state.mask) if self.rescale else guided

    def _other(self, state: State, condition: Mapping[str, Tensor]) -> dict[str, Tensor]:
        count = state.batch_size
        other = self.denoiser.missing(count, state.device)
        other.update({name: condition[name] for name in self.keep if name in condition})
        for name, value in (self.negative or {}).items():
            kind = self.denoiser.conditions[name]
            other[name] = kind.collate([kind.parse(value, name)] * count).to(state.device)
        return other
