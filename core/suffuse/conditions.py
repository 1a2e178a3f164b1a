"""What a sample may be asked for: a class, a number, a vector, each of which may be missing.

Conditions travel as tensors with a mark for "missing" (-1 for classes, NaN for numbers). That one mark serves
incomplete data, the random dropping in training, and the unconditional pass of classifier-free guidance.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError, RunError, suggest
from suffuse.layers import FourierFeatures

__all__ = ["ClassLabel", "Condition", "ConditionEncoder", "Scalar", "Vector", "condition_from_json"]


class Condition(ABC):
    """One thing that may be known of a sample."""

    @abstractmethod
    def collate(self, values: Sequence[Any]) -> Tensor:
        """Values of several samples, None for missing, as one tensor ``[B, ...]``."""

    @abstractmethod
    def parse(self, value: Any, name: str) -> Any:
        """What a user typed, as a value for `collate`.

        Raises:
            ConfigError: it is not a value of this condition; the message names ``name`` and what is allowed.
        """

    @abstractmethod
    def present(self, value: Tensor) -> Tensor:
        """``[B]`` of bool: where the collated value is not missing."""

    @abstractmethod
    def drop(self, value: Tensor, where: Tensor) -> Tensor:
        """The collated value with the samples under ``where`` ``[B]`` marked as missing."""

    @abstractmethod
    def encoder(self, dim: int) -> nn.Module:
        """A module from the collated value to ``[B, dim]``, for samples where it is present."""

    def to_json(self) -> dict[str, Any]:
        """Plain data that `condition_from_json` reads back: the fields of the dataclass, and the name of the class,
        under which a plugin registers it as a component of the kind ``condition``."""
        return {"kind": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class ClassLabel(Condition):
    """One of several named classes; -1 is missing."""

    names: tuple[str, ...]

    def collate(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor([-1 if value is None else int(value) for value in values])

    def parse(self, value: Any, name: str) -> int:
        if str(value) in self.names:
            return self.names.index(str(value))
        shown = ", ".join(self.names[:12]) + (f" … ({len(self.names)} in all)" if len(self.names) > 12 else "")
        raise ConfigError(
            f"condition.{name}={value}: not a class of this run; known: {shown}{suggest(str(value), self.names)}"
        )

    def present(self, value: Tensor) -> Tensor:
        return value >= 0

    def drop(self, value: Tensor, where: Tensor) -> Tensor:
        return value.masked_fill(where, -1)

    def encoder(self, dim: int) -> nn.Module:
        return _ClassEncoder(len(self.names), dim)


@dataclass(frozen=True)
class Scalar(Condition):
    """A number, standardised by the mean and standard deviation of the training data; NaN is missing."""

    mean: float = 0.0
    std: float = 1.0

    def collate(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor([math.nan if value is None else float(value) for value in values])

    def parse(self, value: Any, name: str) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise ConfigError(f"condition.{name}={value}: not a finite number (null asks for nothing)")
        return number

    def present(self, value: Tensor) -> Tensor:
        return ~value.isnan()

    def drop(self, value: Tensor, where: Tensor) -> Tensor:
        return value.masked_fill(where, math.nan)

    def encoder(self, dim: int) -> nn.Module:
        return _ScalarEncoder(self.mean, self.std, dim)


@dataclass(frozen=True)
class Vector(Condition):
    """Several numbers, such as an embedding; NaN throughout is missing."""

    size: int

    def collate(self, values: Sequence[Any]) -> Tensor:
        missing = torch.full((self.size,), math.nan)
        return torch.stack([missing if v is None else torch.as_tensor(v, dtype=torch.float32) for v in values])

    def parse(self, value: Any, name: str) -> Tensor:
        try:
            vector = torch.as_tensor([float(v) for v in value])
        except (TypeError, ValueError):
            vector = torch.full((1,), math.nan)
        if not vector.isfinite().all():
            raise ConfigError(f"condition.{name}={value}: not a list of finite numbers")
        if len(vector) != self.size:
            raise ConfigError(f"condition.{name} has {len(vector)} numbers; this run takes {self.size}")
        return vector

    def present(self, value: Tensor) -> Tensor:
        return ~value.isnan().any(1)

    def drop(self, value: Tensor, where: Tensor) -> Tensor:
        return value.masked_fill(where[:, None], math.nan)

    def encoder(self, dim: int) -> nn.Module:
        return nn.Linear(self.size, dim)


class _ClassEncoder(nn.Module):
    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(count, dim)

    def forward(self, value: Tensor) -> Tensor:
        return self.table(value.clamp_min(0))  # type: ignore[no-any-return]


class _ScalarEncoder(nn.Module):
    def __init__(self, mean: float, std: float, dim: int) -> None:
        super().__init__()
        self.mean, self.std = mean, std
        self.net = nn.Sequential(FourierFeatures(32), nn.Linear(32, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, value: Tensor) -> Tensor:
        return self.net((value - self.mean) / self.std)  # type: ignore[no-any-return]


class ConditionEncoder(nn.Module):
    """Every condition of a batch to one embedding ``[B, dim]``: the sum of what is present.

    A missing condition adds a learned vector of its own, so that "unknown" differs from any known value.
    """

    def __init__(self, conditions: Mapping[str, Condition], dim: int) -> None:
        super().__init__()
        self.conditions = dict(conditions)
        self.dim = dim
        # The prefix keeps a condition named like a method of a ModuleDict, such as "type", from being refused.
        self.encoders = nn.ModuleDict({f"to_{name}": kind.encoder(dim) for name, kind in conditions.items()})
        self.absent = nn.ParameterDict({f"no_{name}": nn.Parameter(torch.zeros(dim)) for name in conditions})

    def forward(self, values: Mapping[str, Tensor]) -> Tensor:
        """``values``: a collated tensor for each condition."""
        total: Tensor | None = None
        for name, kind in self.conditions.items():
            value = values[name]
            present = kind.present(value)
            known = value.nan_to_num() if value.is_floating_point() else value
            part = torch.where(present[:, None], self.encoders[f"to_{name}"](known), self.absent[f"no_{name}"])
            total = part if total is None else total + part
        if total is None:
            raise ValueError("a network without conditions needs no encoder")
        return total


def condition_from_json(data: Mapping[str, Any], find: Callable[[str], Callable[..., Condition]]) -> Condition:
    """The inverse of `Condition.to_json`.

    Args:
        data: what it returned.
        find: the class behind the name of a kind, such as `Registry.find` of the plugin that has it.

    Raises:
        RunError: the data describes no condition that is installed.
    """
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items() if key != "kind"}
    try:
        return find(str(data.get("kind")))(**settings)
    except ConfigError as error:
        raise RunError(str(error)) from error
    except TypeError as error:
        raise RunError(f"the description of a condition is not readable ({error}): {dict(data)}") from error
