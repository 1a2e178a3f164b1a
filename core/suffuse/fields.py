"""What one field of the state is: its shape, space, layout and measured scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from dataclasses import field as dataclass_field
from operator import index
from typing import Any

import torch
from torch import Tensor

from suffuse.errors import DataError, RunError
from suffuse.layouts import Dense, Filled, Layout, Masked
from suffuse.spaces import Categorical, Euclidean, Space, Torus, ZeroCenterOfMass
from suffuse.state import State

__all__ = ["Field", "check", "measured", "pad"]

_KINDS: dict[str, type[Layout] | type[Space]] = {
    kind.__name__: kind for kind in (Dense, Filled, Masked, Categorical, Euclidean, Torus, ZeroCenterOfMass)
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """One named quantity of every sample.

    Args:
        shape: of one sample, without the batch; -1 on an axis whose length varies from sample to sample.
        space: which values it may take.
        layout: how samples of different size lie in memory.
        scale: the standard deviation of the clean values, measured on the training data (sigma_data of EDM).
        frequencies: of the classes of a categorical field in the training data, for a marginal prior; sums to one.
        names: of the classes of a categorical field, for networks and decoders that must know what a class means.
        weight: of this field in the training loss.
        given: whether the field is a local condition: never made, only known or not, such as the mel spectrogram from
            which a vocoder makes sound.
        notes: plain data that a decoder measured and has to know again, such as the mean of each channel. It is kept
            in checkpoints, and read in `Decoder.adopt`.

    Raises:
        ValueError: there are names, but not one for each class.
    """

    shape: tuple[int, ...]
    space: Space = Euclidean()
    layout: Layout = Dense()
    scale: float = 1.0
    frequencies: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    weight: float = 1.0
    given: bool = False
    notes: Mapping[str, Any] = dataclass_field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        count = self.space.num_classes if isinstance(self.space, Categorical) else 0
        if self.names and len(self.names) != count:
            raise ValueError(f"{len(self.names)} names for {count} classes")

    def real(self, value: Tensor, mask: Tensor | None) -> Tensor | None:
        """Where the entries of ``value`` ``[B, ...]`` are variables and not padding; None where all are."""
        return self.space.free(value, self.layout.mask(value, mask))

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """The nearest value that the field can have, its padding at zero."""
        return self.space.project(value, self.layout.mask(value, mask))

    def tangent(self, vector: Tensor, mask: Tensor | None) -> Tensor:
        """The nearest direction that the field can move in, its padding at zero; what noise and differences are."""
        return self.space.tangent(vector, self.layout.mask(vector, mask))

    def dimension(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """Degrees of freedom of each sample, ``[B]``."""
        return self.space.dimension(value, self.layout.mask(value, mask))

    def sum(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """The sum over the real entries of each sample, ``[B, ...] -> [B]``."""
        real = self.real(value, mask)
        return (value if real is None else value.masked_fill(~real, 0)).flatten(1).sum(1)

    def mean(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """The mean over the entries of each sample that count, ``[B, ...] -> [B]``; zero where there are none."""
        real = self.space.free(value, self.layout.counts(value, mask))
        if real is None:
            return value.flatten(1).mean(1)
        count = real.expand_as(value).flatten(1).sum(1).clamp_min(1)
        return value.masked_fill(~real, 0).flatten(1).sum(1) / count

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back; it names kinds, never code."""
        return {
            "shape": list(self.shape),
            "space": {"kind": type(self.space).__name__, **asdict(self.space)},
            "layout": {"kind": type(self.layout).__name__, **asdict(self.layout)},
            "scale": self.scale,
            "frequencies": list(self.frequencies),
            **({"names": list(self.names)} if self.names else {}),
            "weight": self.weight,
            "given": self.given,
            **({"notes": dict(self.notes)} if self.notes else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Field:
        """The inverse of `to_json`.

        Raises:
            RunError: the data is not a field of this version.
        """
        try:
            space, layout = dict(data["space"]), dict(data["layout"])
            return cls(
                shape=tuple(map(index, data["shape"])),
                space=_KINDS[space.pop("kind")](**space),  # type: ignore[arg-type]
                layout=_KINDS[layout.pop("kind")](**layout),  # type: ignore[arg-type]
                scale=float(data["scale"]),
                frequencies=tuple(map(float, data["frequencies"])),
                names=tuple(data.get("names", ())),
                weight=float(data["weight"]),
                given=bool(data["given"]),
                notes=dict(data.get("notes", {})),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"the description of a field is not readable ({error!r}): {dict(data)}") from error


def check(state: State, fields: Mapping[str, Field]) -> None:
    """Refuse a clean state that is not of these fields. For states on the CPU: it reads their classes.

    Raises:
        DataError: a field is missing or too many, or has another shape, or a class that does not exist; or there is no
            mask ``[B, N]`` of bool where sizes vary.
    """
    _check_names(state, fields)
    varying = [name for name, spec in fields.items() if spec.layout.rank]
    room = None if state.mask is None else state.mask.shape[-1]
    if varying and state.mask is None:
        raise DataError(f"data: the field {varying[0]} varies in size, but the decoder gives no mask")
    if state.mask is not None and (state.mask.dtype != torch.bool or state.mask.shape != (state.batch_size, room)):
        raise DataError(
            f"data: the mask must be bool of [{state.batch_size}, elements], not {state.mask.dtype} of "
            f"{list(state.mask.shape)}"
        )
    for name, value in state.items():
        spec = fields[name]
        expected = [state.batch_size, *(room if length < 0 and spec.layout.rank else length for length in spec.shape)]
        fits = len(expected) == value.ndim and all(
            length in (-1, found) for length, found in zip(expected, value.shape, strict=True)
        )
        if not fits:
            raise DataError(f"data: the field {name} has the shape {list(value.shape)}, but {expected} is needed")
        if isinstance(spec.space, Categorical):
            spec.space.check(value, name)


def measured(fields: Mapping[str, Field], state: State) -> dict[str, Field]:
    """The fields with what can be counted of them in clean samples: the scale of numbers, the frequencies of classes.

    Where all numbers are equal the scale stays as it was. A class that does not occur counts once: a prior of zero
    could never reach it. Periodic fields have a period and need no scale.

    Raises:
        DataError: the state has other fields.
    """
    _check_names(state, fields)
    known = {}
    for name, field in fields.items():
        value, space = field.project(state[name], state.mask), field.space
        real = field.real(value, state.mask)
        entries = value.flatten() if real is None else value[real.expand_as(value)]
        if isinstance(space, Categorical):
            counts = torch.bincount(entries, minlength=space.num_classes).clamp_min(1).double()
            field = replace(field, frequencies=tuple((counts / counts.sum()).tolist()))
        elif not isinstance(space, Torus) and (scale := float(entries.double().std(correction=0))) > 0:
            field = replace(field, scale=scale)
        known[name] = field
    return known


def pad(state: State, fields: Mapping[str, Field], size: int) -> State:
    """The state with room for ``size`` elements: masked fields grow by zeros, the mask by False."""
    if state.mask is None or state.mask.shape[1] == size:
        return state
    extra = size - state.mask.shape[1]
    grown = {}
    for name, value in state.items():
        rank = fields[name].layout.rank
        behind = value.ndim - 1 - rank
        grown[name] = torch.nn.functional.pad(value, [0, 0] * behind + [0, extra] * rank) if rank else value
    return State(grown, torch.nn.functional.pad(state.mask, [0, extra]))


def _check_names(state: State, fields: Mapping[str, Field]) -> None:
    if set(state) != set(fields):
        raise DataError(f"data: the decoder gives the fields {', '.join(state)}, but {', '.join(fields)} are needed")
