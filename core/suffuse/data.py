"""Where samples come from and what people get: the contracts of a data source, a decoder, a backbone, a metric.

A plugin fulfils these four and has a modality. None of them knows noise, schedules or samplers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from suffuse import samples
from suffuse.bias import Attribute
from suffuse.conditions import Condition
from suffuse.errors import ConfigError, DataError
from suffuse.fields import Field
from suffuse.splits import check_share, held_out_by_class
from suffuse.state import State
from suffuse.tables import class_labels, number_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Backbone",
    "Batch",
    "DataSource",
    "Decoder",
    "Evaluation",
    "Gap",
    "InMemory",
    "Item",
    "Measurement",
    "Metric",
    "Part",
    "Score",
    "Session",
    "Sketch",
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


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A condition that the network also sees place by place, drawn as a field: the harmonics of a pitch, a layout.

    It is a local condition that needs no file: the network is shown it as it is shown a given field, and wherever the
    condition is missing (in training, in the second pass of guidance, in what a person asks) the sketch is too.

    Args:
        condition: its name.
        field: what is drawn; its scale is the standard deviation that a network shall see as one.
        draw: from the collated condition ``[B, ...]``, and a state of the size that is wanted, to the field
            ``[B, ...]``. A function of these alone; what it draws of a missing value is not looked at.
    """

    condition: str
    field: Field
    draw: Callable[[Tensor, State], Tensor]


class Part(NamedTuple):
    """What is known of every sample before it is made, such as the scaffold of a molecule.

    Args:
        least, most: elements that a sample has; None for any number.
        place: from the mask ``[B, N]`` of some samples to a clean state of these, and a state of bool that is true
            where they are to be made.
        text: of it, for records.
    """

    least: int
    most: int | None
    place: Callable[[Tensor], tuple[State, State]]
    text: str


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

    def sizes(self) -> Sequence[int] | NDArray[np.integer] | None:
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

    def some(self, most: int = 2048) -> Any:
        """``Batch.values`` of evenly spaced items, to measure fields on.

        Raises:
            DataError: there are no items.
        """
        if len(self) == 0:
            raise DataError("this part of the data is empty; see data.heldout")
        rows = np.unique(np.linspace(0, len(self) - 1, min(len(self), most)).astype(np.int64))
        return self.gather(rows.tolist()).values

    def collate(self, conditions: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """One tensor for each declared condition; what an item does not carry is marked as missing."""
        return {n: kind.collate([c.get(n) for c in conditions]) for n, kind in self.conditions.items()}


class DataSource(ABC):
    """A set of data with a training part, and a part that training never sees.

    Both are ready (indexed, counted, checked) when the constructor returns; reading the values is lazy.
    """

    train: Split
    heldout: Split


class InMemory(DataSource):
    """Values that fit in memory, with a part of them held out.

    ``InMemory(clouds, {"shape": ["circle", "spiral", "circle"]}, size=len)``

    Args:
        values: one for each item, as the decoder takes them.
        known: what is known of each item by condition name, None where it is not: texts become classes, and numbers are
            standardised on the training part.
        heldout: the share that training never sees, evenly spaced among the items of the same classes.
        size: how many elements a value has, where that varies.
        augment: a random variation of a value for training, a function of its arguments alone.

    Raises:
        ConfigError: ``heldout`` is no such share.
        DataError: there is not one fact for each value, or it is neither text nor a number.
    """

    def __init__(
        self,
        values: Sequence[Any],
        known: Mapping[str, Sequence[Any]] | None = None,
        *,
        heldout: float = 0.1,
        size: Callable[[Any], int] | None = None,
        augment: Callable[[Any, np.random.Generator], Any] | None = None,
    ) -> None:
        known = known or {}
        for name, facts in known.items():
            if len(facts) != len(values):
                raise DataError(f"data: {len(facts)} values of {name} for {len(values)} items")
            if any(np.ndim(fact) for fact in facts):
                raise DataError(f"data: {name} is neither text nor a number; a Split of your own can declare a Vector")
        texts = [name for name, facts in known.items() if any(isinstance(fact, str) for fact in facts)]
        groups = ["\n".join(str(known[name][row]) for name in texts) for row in range(len(values))]
        held = held_out_by_class(np.array(groups), check_share(heldout))
        conditions: dict[str, Condition] = {}
        columns: dict[str, Sequence[Any]] = {}
        for name, facts in known.items():
            if name in texts:
                conditions[name], columns[name] = class_labels(facts)
            else:
                conditions[name], columns[name] = number_scale(facts, np.flatnonzero(~held)), facts
        self.train, self.heldout = (
            _Rows(values, conditions, columns, np.flatnonzero(rows), size, augment) for rows in (~held, held)
        )


@dataclass(frozen=True)
class _Rows(Split):
    """Some rows of values in memory."""

    values: Sequence[Any]
    conditions: Mapping[str, Condition]
    columns: Mapping[str, Sequence[Any]]
    rows: NDArray[np.int64]
    size: Callable[[Any], int] | None
    variation: Callable[[Any, np.random.Generator], Any] | None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        row = int(self.rows[index])
        return Item(self.values[row], {n: facts[row] for n, facts in self.columns.items() if facts[row] is not None})

    def sizes(self) -> Sequence[int] | None:
        return None if self.size is None else [self.size(self.values[row]) for row in self.rows]

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        return item if self.variation is None else item._replace(value=self.variation(item.value, rng))


class Decoder(ABC):
    """Between the clean state and what a person uses: pictures, sounds, molecules, and their files.

    `fields`, `encode` and `decode` are all that has to be written where values are text, numbers, arrays, or lists and
    mappings of these: such values have files and pictures of their own (`suffuse.samples`).
    """

    suffix: str = ".json"
    """Of the files that `save` writes, with the dot: by default .json, .txt or .csv."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """All of them, where they are a setting: what ``suffuse verify`` says of a damaged file comes from who wrote it."""
    tasks: ClassVar[Mapping[str, str]] = {}
    """What people in this field call a task of ``suffuse sample``, to the task's own name."""
    saving: ClassVar[frozenset[str]] = frozenset()
    """Settings that files depend on and samples do not, so that ``suffuse sample`` may change them."""

    @abstractmethod
    def fields(self, train: Split) -> dict[str, Field]:
        """The fields of a sample, with their scale measured on the training data."""

    def adopt(self, fields: Mapping[str, Field]) -> None:  # noqa: B027 - most decoders have nothing to learn
        """Take from the fields what decoding needs and the settings do not say: `Field.names`, `Field.notes`.

        Called once, when a model is built for training or from a checkpoint; nothing by default.

        Raises:
            RunError: they are not fields of this decoder.
        """

    def sketches(self, fields: Mapping[str, Field], conditions: Mapping[str, Condition]) -> Mapping[str, Sketch]:
        """What a network is shown of some conditions beside ``fields``, by a name of its own; nothing by default.

        Called once, when a model is built for training or from a checkpoint, after `adopt`.
        """
        return {}

    @abstractmethod
    def encode(self, values: Any) -> State:
        """``Batch.values`` (or a list of single values) to a clean state on the CPU."""

    @abstractmethod
    def decode(self, state: State) -> list[Any]:
        """A clean state to values, one for each sample: the inverse of `encode` up to rounding."""

    def load(self, path: Path, fields: Mapping[str, Field]) -> Any:
        """A file of the user's as a value that `encode` accepts, made to fit ``fields``; by default what `save` writes.

        Where values have a length, one that is longer stays as long as it is.

        Raises:
            DataError: the file is missing or cannot be read as such a value.
        """
        return samples.read_sample(path)

    def blank(self, length: str, fields: Mapping[str, Field]) -> Any:
        """An empty value that `encode` accepts, as long as a person asks for: ``2.5s`` of a sound.

        Raises:
            ConfigError: it is no length; or all values have one size, as by default.
        """
        raise ConfigError(f"length={length}: the samples of this run have one size")

    def finish(self, value: Any, *, known: bool) -> Callable[[Any], Any]:
        """From a decoded sample that was made from a value (loaded or blank) to one as long as it, at its level.

        Args:
            known: whether the given fields were told of the value; what they say exactly is then in the sample exactly.
        """
        return lambda made: made

    def load_mask(self, path: Path, fields: Mapping[str, Field]) -> State:
        """A file that marks a part of one sample, as a state of bool: true where it is to be made anew.

        Raises:
            DataError: the file is missing or does not fit.
            ConfigError: this decoder knows no such files; so by default.
        """
        raise ConfigError(f"mask={path}: the decoder {type(self).__name__} has no files that mark a part of a sample")

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

    def save(self, value: Any, path: Path, record: Mapping[str, Any]) -> None:
        """Write one value in the modality's own format, with its provenance ``record`` inside."""
        samples.write_sample(value, path, record)

    @staticmethod
    def read_record(path: Path) -> dict[str, Any]:
        """The provenance record in a file that `save` wrote.

        Raises:
            DataError: the file is missing, is of another format, or carries no record.
        """
        return samples.read_record(path)

    def draw(self, value: Any, axes: Axes) -> None:
        """Draw one value into axes of matplotlib, for `sheet` and `html`.

        By default an array is drawn as a line for each column, and anything else as text.
        """
        samples.draw(value, axes)

    def flaw(self, value: Any) -> str | None:
        """What is wrong with a decoded value, in a few words, such as that a graph is no molecule; None by default."""
        return None

    def sheet(self, values: Sequence[Any], captions: Sequence[str], path: Path) -> None:
        """Write one overview of several values (for pictures: a contact sheet PNG) to ``path``."""
        samples.sheet(values, captions, path, self.draw)

    def html(self, value: Any) -> str:
        """A self-contained fragment of HTML that shows (or plays) one value, with no link to any other file."""
        return samples.fragment(value, self.draw)


class Session:
    """One run of ``suffuse sample`` with the settings of a modality's own, such as ``filters`` of molecules.

    A plugin that has such settings registers a ``session`` under its own name, and lists them with their defaults in
    ``conf/session/NAME/own.yaml``; on the command line they are typed like the core's. It is called with the fields of
    the run and the settings and, where it has parameters of these names, with the ``decoder``, with the ``spans`` of
    numbers that conditions were asked for by name, and with ``data``, a function that opens the data of the run. By
    default it does nothing.

    Where ``tables`` is true, samples go into tables, or whatever people expect of many, by `write` and `join`, in place
    of a file for each from the decoder.
    """

    tables = False

    def part(self) -> Part | None:
        """What is known of every sample beforehand; None for nothing.

        Raises:
            ConfigError: a setting does not fit the run.
        """
        return None

    def write(
        self,
        values: Sequence[Any],
        records: Sequence[Mapping[str, Any]],
        asked: Sequence[Mapping[str, Any]],
        path: Path,
    ) -> None:
        """Some finished samples as one file at ``path``, from which `join` makes the tables.

        Args:
            values: decoded.
            records: the provenance of each, with its index under ``sample``.
            asked: what each was asked for, by condition name.
            path: of the file, whatever its suffix.

        Raises:
            DataError: it cannot be written.
        """
        raise NotImplementedError

    def join(self, paths: Sequence[Path], folder: Path) -> None:
        """The tables, in an empty folder, out of all files that `write` made.

        It may be done again where a process was killed; so nothing in them may depend on when it is done, or by whom.

        Args:
            paths: of the files, in the order of samples.
            folder: becomes a part of that of the request, once all is in it.

        Raises:
            DataError: they cannot be written.
        """
        raise NotImplementedError


class Backbone(Protocol):
    """A network. It sees noisy fields and their log-SNR, and emits one tensor for each field that is not given. A
    `Sketch` comes to it as one more given field.

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
    given: Sequence[int] = ()
    """In a run with given fields: the held-out item whose fields each value was made from."""
    details: dict[str, Any] = field(default_factory=dict)
    """A metric may leave plain data here (confusion counts, versions); it is written beside the scores."""
    attributes: list[Attribute] = field(default_factory=list)
    """A metric adds what it measured of real data and of samples alike; their shifts are written beside the scores."""


class Metric(Protocol):
    """Scores a set of samples."""

    def __call__(self, evaluation: Evaluation) -> list[Score]: ...
