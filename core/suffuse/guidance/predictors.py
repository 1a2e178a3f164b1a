"""Predictors of properties that every kind of data has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from suffuse.errors import ConfigError, suggest
from suffuse.fields import Field
from suffuse.fitting import Range
from suffuse.spaces import Categorical, Torus
from suffuse.state import State

__all__ = ["Average"]


@dataclass(frozen=True)
class Average:
    """The mean of a field over a sample, or the share of one class in it, is about a value: brightness, composition.

    Args:
        fields: of the run.
        field: which; None where there is one only.
        value: of the mean, in the field's own units, or of the share.
        deviation: the standard deviation that is allowed.
        of: the class whose share it is, as a number from 0; None for a real-valued field.

    Raises:
        ConfigError: there is no such field, or it has no such mean.
    """

    fields: Mapping[str, Field]
    field: str | None = None
    value: float = 0.0
    deviation: Annotated[float, Range(above=0)] = 0.1
    of: int | None = None

    def __post_init__(self) -> None:
        name = self.name
        if name not in self.fields:
            known = ", ".join(self.fields)
            raise ConfigError(
                f"guidance.predictor.field={self.field}: must be one of {known}{suggest(name, self.fields)}"
            )
        space = self.fields[name].space
        if isinstance(space, Torus):
            raise ConfigError(f"guidance.predictor.field={name}: a periodic field has no mean")
        count = space.num_classes if isinstance(space, Categorical) else 0
        if count and (self.of is None or not 0 <= self.of < count):
            raise ConfigError(f"guidance.predictor.of={self.of}: the field {name} has the classes 0 to {count - 1}")
        if not count and self.of is not None:
            raise ConfigError(f"guidance.predictor.of={self.of}: the field {name} has no classes; leave it out")

    @property
    def name(self) -> str:
        """Of the field."""
        return self.field or (next(iter(self.fields)) if len(self.fields) == 1 else "null")

    def __call__(self, estimate: State, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """log N(mean; value, deviation), up to a constant, ``[B]``."""
        part = estimate[self.name] if self.of is None else estimate[self.name][..., self.of]
        found = self.fields[self.name].mean(part, estimate.mask)
        return -((found - self.value) / self.deviation).square() / 2
