"""What a sample may be asked for: a class, a number, a vector, each of which may be missing.

Conditions travel as tensors with a mark for "missing" (-1 for classes, NaN for numbers). That one mark serves
incomplete data, the random dropping in training, and the unconditional pass of classifier-free guidance.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError, RunError, suggest
from suffuse.layers import FourierFeatures

__all__ = ["ClassLabel", "Condition", "ConditionEncoder", "Scalar", "Span", "Vector", "condition_from_json"]

_QUANTILES = 513
"""How many values stand for the distribution of a number in the training data."""


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

    def choose(self, wish: Any, number: float) -> Any:
        """The value that one sample is asked for, of what `parse` gave: by default the wish itself.

        Args:
            wish: from `parse`.
            number: even in (0, 1], the sample's own.
        """
        return wish

    def doubt(self, wish: Any, name: str) -> str | None:
        """A line that warns of a wish which the training data gives no hope of; None where there is nothing to say."""
        return None

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
class Span:
    """Any number from ``low`` to ``high``; a side that is open is infinite."""

    low: float
    high: float

    @classmethod
    def read(cls, text: str, key: str) -> Span | None:
        """``2..4``, ``..350`` or ``3..``; None where the text is no range at all.

        Raises:
            ConfigError: an end is no number, or the ends are swapped; the message names ``key``.
        """
        low, dots, high = text.partition("..")
        if not dots:
            return None
        try:
            span = cls(float(low) if low.strip() else -math.inf, float(high) if high.strip() else math.inf)
        except ValueError:
            span = cls(math.nan, math.nan)
        if math.isnan(span.low + span.high) or (math.isinf(span.low) and math.isinf(span.high)):
            raise ConfigError(f"{key}={text}: not a range; write 2..4, ..350 or 3..")
        if span.low > span.high:
            raise ConfigError(f"{key}={text}: the ends are swapped; did you mean {high.strip()}..{low.strip()}?")
        return span

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.low:g}"
        ends = ("" if math.isinf(end) else f"{end:g}" for end in (self.low, self.high))
        return "..".join(ends)


@dataclass(frozen=True)
class Scalar(Condition):
    """A number, standardised by the mean and standard deviation of the training data; NaN is missing.

    Args:
        mean, std: of the training data.
        quantiles: values of the training data at even shares, from the least to the greatest; empty where nobody
            counted, and then the normal distribution stands for it.
    """

    mean: float = 0.0
    std: float = 1.0
    quantiles: tuple[float, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, values: Iterable[float]) -> Scalar:
        """That of known values; the standard one where there are none."""
        known = np.fromiter(values, np.float64)
        if not len(known):
            return cls()
        shares = np.linspace(0, 1, _QUANTILES)
        quantiles = np.quantile(known, shares, method="inverted_cdf").tolist()
        return cls(float(known.mean()), float(known.std()) or 1.0, tuple(quantiles))

    def collate(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor([math.nan if value is None else float(value) for value in values])

    def parse(self, value: Any, name: str) -> float | Span:
        """A number, or a range of numbers such as ``2..4``, ``..350`` or ``3..``."""
        if isinstance(value, str) and (span := Span.read(value, f"condition.{name}")):
            return span
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise ConfigError(f"condition.{name}={value}: not a finite number or a range (null asks for nothing)")
        return number

    def choose(self, wish: Any, number: float) -> Any:
        """Of a range one of its values, as often as in the training data; even where these have none in it."""
        if not isinstance(wish, Span):
            return wish
        inside = [value for value in self._values if value in wish]
        if inside:
            return inside[min(int(number * len(inside)), len(inside) - 1)]
        low = wish.high if math.isinf(wish.low) else wish.low
        high = wish.low if math.isinf(wish.high) else wish.high
        return low + number * (high - low)

    def doubt(self, wish: Any, name: str) -> str | None:
        if wish is None or not self.quantiles:
            return None
        span = wish if isinstance(wish, Span) else Span(wish, wish)
        least, most = self.quantiles[0], self.quantiles[-1]
        if span.high >= least and span.low <= most:
            return None
        return (
            f"condition.{name}={span}: the training data had {least:.4g} to {most:.4g}, so the model never saw such a "
            "value; expect samples that miss it"
        )

    @property
    def _values(self) -> Sequence[float]:
        if self.quantiles:
            return self.quantiles
        normal = NormalDist(self.mean, self.std)
        return [normal.inv_cdf((place + 0.5) / _QUANTILES) for place in range(_QUANTILES)]

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
