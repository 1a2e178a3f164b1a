"""Autoguidance: away from the mistakes of a worse network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from suffuse.conditions import Scalar
from suffuse.errors import ConfigError
from suffuse.guidance.passes import check_interval, check_scale, inside
from suffuse.guidance.wrapper import Guidable, Wrapper
from suffuse.posterior import Posterior
from suffuse.processes import Level
from suffuse.state import State

__all__ = ["Autoguidance", "autoguidance"]


@dataclass(frozen=True)
class Autoguidance(Wrapper):
    """``D = D_weak + scale (D - D_weak)``, where both are asked for the same.

    What a smaller or less trained network gets wrong, this one gets wrong a little too, in the same direction; so the
    quality rises without the loss of variety that classifier-free guidance brings.

    Args:
        denoiser: the good one.
        weak: one of the same fields, worse in the same ways. Conditions that it does not have are not told to it.
        scale: 1 leaves the model alone and does not ask the weak one.
        interval: (low, high) in sigma / alpha; outside it the weak network is not asked. None: everywhere.

    Raises:
        ConfigError: the two do not fit together, or a setting is out of bounds.

    References:
        Karras et al. 2024, "Guiding a diffusion model with a bad version of itself".
    """

    weak: Guidable
    scale: float = 2.0
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_scale(self.scale)
        check_interval(self.interval)
        mine, theirs = self.denoiser.fields, self.weak.fields
        if list(mine) != list(theirs):
            raise ConfigError(f"guidance: the weak network has the fields {', '.join(theirs)}, not {', '.join(mine)}")
        for name, field in mine.items():
            other = theirs[name]
            if (field.shape, field.space, field.layout) != (other.shape, other.space, other.layout):
                raise ConfigError(
                    f"guidance: the field {name} of the weak network is {list(other.shape)} on {other.space}, "
                    f"not {list(field.shape)} on {field.space}"
                )
        for name, kind in self.denoiser.conditions.items():
            other_kind = self.weak.conditions.get(name, kind)
            # Numbers may be standardised differently; each network has its own encoder.
            if type(other_kind) is not type(kind) or not (isinstance(kind, Scalar) or other_kind == kind):
                raise ConfigError(
                    f"guidance: condition.{name} of the weak network is of another kind or has other classes"
                )

    @property
    def self_conditioning(self) -> bool:
        """Whether either network is given what was believed before."""
        return self.denoiser.self_conditioning or self.weak.self_conditioning

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        belief = self.denoiser(state, levels, condition, previous)
        if self.scale == 1 or not inside(self.interval, levels):
            return belief
        told = {name: value for name, value in (condition or {}).items() if name in self.weak.conditions}
        weak = self.weak(state, levels, told, previous)
        return {name: weak[name].towards(part, self.scale) for name, part in belief.items()}


def autoguidance(
    denoiser: Guidable,
    load: Callable[[str | None, int | None], Guidable],
    *,
    run: str | None = None,
    checkpoint: int | None = None,
    scale: float = 2.0,
    interval: tuple[float, float] | None = None,
) -> Autoguidance:
    """`Autoguidance` by a run, or by an earlier checkpoint of the model's own.

    Args:
        load: from a run directory (None is the model's own) and a step (None is the newest) to its denoiser.

    Raises:
        ConfigError: neither is given, or the two networks do not fit together.
        RunError: there is no such run or checkpoint.
    """
    if run is None and checkpoint is None:
        raise ConfigError(
            "guidance=autoguidance needs a worse network: guidance.run=DIR, or guidance.checkpoint=STEP of this run"
        )
    return Autoguidance(denoiser, load(run, checkpoint), scale, interval)
