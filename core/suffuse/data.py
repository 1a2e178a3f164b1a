"""Where samples come from and what people get: the contracts of a data source, a decoder, a backbone, a metric.

A plugin fulfils these four and has a modality. None of them knows noise, schedules or samplers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from suffuse.conditions import Condition
from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.state import State

__all__ = [
    "Backbone",
    "Batch",
    "DataSource",
    "Decoder",
    "Evaluation",
    "Gap",
    "Item",
    "Measurement",
    "Metric",
    "Score",
    "Split",
]


class Item(NamedTuple):
    """One sample of the data: a value as the decoder understands it, and what is known of it by condition name."""

    value: Any
    condition: Mapping[str, Any]


@dataclass(frozen=True)
class Batch:
    """Several items: ``values`` for `Decoder.encode`, and each condition collated to a tensor ``[B, ...]``."""

    values: Any
    conditions: Mapping[str, Tensor]


class Measurement(NamedTuple):
    """What was seen of a sample that is not known itself.

    Args:
        value: the numbers, ``[1, ...]``, or one row for each sample.
        operator: from a clean state to what would be seen of it, ``[B, ...]``; differentiable. Classes reach it as
            probabilities ``[B, ..., K]``.
    """

    value: Tensor
    operator: Callable[[State], Tensor]


class Gap(NamedTuple):
    """A part of one sample that is to be made anew.

    Args:
        unknown: of bool, true where that is; a given field of which anything is unknown counts as unknown altogether.
        join: from a decoded sample to one in which all that is known is exactly as it was given.
    """

    unknown: State
    join: Callable[[Any], Any]


class Split(ABC):
    """A part of the data, addressed by index, so that any position can be drawn again without replay.

    ``conditions`` are those that its items may carry.
    """

    conditions: Mapping[str, Condition]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Item:
        """The item at ``index``, the same at every call.

        Raises:
            DataError: it cannot be read; the message names the file.
        """

    def sizes(self) -> Sequence[int] | None:
        """How many elements each item has, where that varies; None where all items have the same shape."""
        return None

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """A random variation for training, a function of ``rng`` alone; the item itself by default."""
        return item

    def gather(self, indices: Sequence[int], rngs: Sequence[np.random.Generator] | None = None) -> Batch:
        """The items at ``indices`` as a batch, augmented where ``rngs`` (one for each) are given.

        Override it where the whole batch can be had at once.
        """
        items = [self[int(index)] for index in indices]
        if rngs is not None:
            items = [self.augment(item, rng) for item, rng in zip(items, rngs, strict=True)]
        return Batch([item.value for item in items], self.collate([item.condition for item in items]))

    def collate(self, conditions: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """One tensor for each declared condition; what an item does not carry is marked as missing."""
        return {n: kind.collate([c.get(n) for c in conditions]) for n, kind in self.conditions.items()}


class DataSource(ABC):
    """A set of data with a training part, and a part that training never sees.

    Both are ready (indexed, counted, checked) when the constructor returns; reading the values is lazy.
    """

    train: Split
    heldout: Split


class Decoder(ABC):
    """Between the clean state and what a person uses: pictures, sounds, molecules, and their files."""

    suffix: str
    """Of the files that `save` writes, with the dot."""
    tasks: ClassVar[Mapping[str, str]] = {}
    """What people in this field call a task of ``suffuse sample``, to the task's own name."""

    @abstractmethod
    def fields(self, train: Split) -> dict[str, Field]:
        """The fields of a sample, with their scale measured on the training data."""

    def adopt(self, fields: Mapping[str, Field]) -> None:  # noqa: B027 - most decoders have nothing to learn
        """Take from the fields what decoding needs and the settings do not say, such as the meaning of classes.

        Called once, when a model is built for training or from a checkpoint; nothing by default.

        Raises:
            RunError: they are not fields of this decoder.
        """

    @abstractmethod
    def encode(self, values: Any) -> State:
        """``Batch.values`` (or a list of single values) to a clean state on the CPU."""

    @abstractmethod
    def decode(self, state: State) -> list[Any]:
        """A clean state to values, one for each sample: the inverse of `encode` up to rounding."""

    @abstractmethod
    def load(self, path: Path, fields: Mapping[str, Field]) -> Any:
        """A file of the user's as a value that `encode` accepts, made to fit ``fields``.

        Raises:
            DataError: the file is missing or cannot be read as such a value.
        """

    @abstractmethod
    def load_mask(self, path: Path, fields: Mapping[str, Field]) -> State:
        """A file that marks a part of one sample, as a state of bool: true where it is to be made anew.

        Raises:
            DataError: the file is missing or does not fit.
        """

    def gap(self, value: Any, mask: Path | None, fields: Mapping[str, Field]) -> Gap:
        """What is unknown of a loaded value: what a file marks or, without one, what the value does not reach to.

        By default values are whole and decoded samples stay as they are.

        Raises:
            DataError: the mask is missing or does not fit, or there is nothing unknown.
            ConfigError: there is no mask, and the values of this decoder are always whole.
        """
        if mask is None:
            raise ConfigError("task=inpaint needs mask=FILE, which marks the part to make anew")
        return Gap(self.load_mask(mask, fields), lambda made: made)

    def obstacle(self, task: str, fields: Mapping[str, Field]) -> str | None:
        """Why a run with these fields cannot do one of `tasks`, and how to train one that can; None where it can."""
        return None

    def measure(self, path: Path, fields: Mapping[str, Field]) -> Measurement:
        """A file that is coarser than a sample, such as a smaller picture, and how a sample becomes as coarse.

        Raises:
            DataError: the file is missing, cannot be read, or is not coarser by a whole factor.
            ConfigError: there is nothing coarser; so by default.
        """
        raise ConfigError(f"task=upscale: the decoder {type(self).__name__} has no coarser files to start from")

    @abstractmethod
    def save(self, value: Any, path: Path, record: Mapping[str, Any]) -> None:
        """Write one value in the modality's own format, with its provenance ``record`` inside."""

    def flaw(self, value: Any) -> str | None:
        """What is wrong with a decoded value, in a few words, such as that a graph is no molecule; None by default."""
        return None

    def export(self, values: Sequence[Any], records: Sequence[Mapping[str, Any]], folder: Path) -> Sequence[int]:
        """Write the samples of a finished part of ``suffuse sample`` into an empty folder; by default a file for each.

        Override it where people expect one table or one archive of many samples. A run of any size comes in parts, each
        of them written once, so that all files have to lie in the folder itself and to be complete when this returns.
        ``samples.json`` beside them is not the decoder's to write.

        Args:
            values: decoded, those with a flaw too.
            records: the provenance of each, with its number in the run under ``sample``.

        Returns:
            The numbers of the samples that were left out on purpose. Numbers never change for that.
        """
        for value, record in zip(values, records, strict=True):
            self.save(value, folder / f"sample-{record['sample']:06d}{self.suffix}", record)
        return ()

    @abstractmethod
    def sheet(self, values: Sequence[Any], captions: Sequence[str], path: Path) -> None:
        """Write one overview of several values (for pictures: a contact sheet PNG) to ``path``."""

    @abstractmethod
    def html(self, value: Any) -> str:
        """A self-contained fragment of HTML that shows (or plays) one value, with no link to any other file."""


class Backbone(Protocol):
    """A network. It sees noisy fields and their log-SNR, and emits one tensor for each field that is not given.

    ``condition_dim`` is the width of the embedding of conditions that it takes. One that is to be self-conditioned
    takes a fourth argument: the `State` of what it believed before, with probabilities ``[..., K]`` for classes, and
    zeros where it believed nothing yet.
    """

    condition_dim: int

    def __call__(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> Mapping[str, Tensor]:
        """
        Args:
            state: real-valued fields scaled to unit variance, periodic ones within their period, classes as tokens from
                0 to ``Categorical.tokens`` - 1.
            log_snr: lambda = log(alpha / sigma) for each field, ``[B]`` or ``[B, elements]``. Of a frozen field it says
                whether the field is known: the largest lambda, or else the least.
            condition: ``[B, condition_dim]``.

        Returns:
            For each field a tensor of its shape; for classes logits ``[..., K]``.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Score:
    """One figure of an evaluation, never without the same figure of held-out real data.

    Args:
        name: what is measured, in the field's standard term.
        value: of the generated samples.
        real: of real data measured in the same way.
        better: ``"higher"`` or ``"lower"``.
        about: one sentence: how, in which feature space, against what.
    """

    name: str
    value: float
    real: float
    better: str
    about: str


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a metric looks at: generated values with what was asked for, and the real data."""

    values: Sequence[Any]
    conditions: Mapping[str, Sequence[Any]]
    train: Split
    heldout: Split
    seed: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    """A metric may leave plain data here (confusion counts, versions); it is written beside the scores."""


class Metric(Protocol):
    """Scores a set of samples."""

    def __call__(self, evaluation: Evaluation) -> list[Score]: ...
