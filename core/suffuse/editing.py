"""Making samples from given ones: variations, filling in a part, and what lies between two of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from suffuse.errors import ConfigError, suggest
from suffuse.fields import Field
from suffuse.layouts import Dense
from suffuse.processes import JointProcess, Level
from suffuse.sampling import Hook, Seeds
from suffuse.sampling.hooks import Moment
from suffuse.spaces import Categorical, Torus, ZeroCenterOfMass
from suffuse.state import State

__all__ = ["Known", "Replace", "between", "fresh", "noised"]


def noised(given: State, process: JointProcess, clock: float) -> Callable[[Seeds], State]:
    """Starts of a sampler from one given sample: it with the noise of the clock, drawn anew for each seed.

    References:
        Meng et al. 2022, "SDEdit".
    """

    def begin(seeds: Seeds) -> State:
        count = len(seeds.indices)
        clean = _each(given, count)
        levels = process.levels(torch.full((count,), clock))
        return process.corrupt(clean, levels, seeds.at("prior"))

    return begin


def fresh(given: State, process: JointProcess) -> Callable[[Seeds], State]:
    """Starts of a sampler from pure noise, of the size of one given sample and with its frozen fields."""

    def begin(seeds: Seeds) -> State:
        clean = _each(given, len(seeds.indices))
        shapes = {name: tuple(value.shape) for name, value in clean.items()}
        return process.prior(shapes, seeds.at("prior"), clean.mask, clean)

    return begin


def between(first: State, second: State, process: JointProcess, shares: Sequence[float]) -> State:
    """Noise between the noises of two samples, from which a sampler makes samples between the two.

    Real-valued fields go along the great circle, on which noise keeps its length; periodic ones the shorter way round.

    Args:
        first, second: one sample each, at the clock's 1; from `suffuse.sampling.invert`.
        shares: of the way from the first to the second, one for each sample wanted; 0 and 1 are the two themselves.

    Returns:
        A state of ``len(shares)`` samples.

    Raises:
        ConfigError: a field of classes, between which there is nothing; two samples of different size; a frozen field
            in which they differ.

    References:
        Shoemake 1985, "Animating rotation with quaternion curves"; Song et al. 2021, "Denoising diffusion implicit
        models", section 5.3.
    """
    count = len(shares)
    varying = any(field.layout.rank for field in process.fields.values())
    if any(first[name].shape != second[name].shape for name in first) or (
        varying and not _equal(first.mask, second.mask)
    ):
        raise ConfigError("interpolate: the two samples are of different size, so there is nothing between them")
    fields = {}
    for name, a in first.items():
        b, space = second[name], process.fields[name].space
        if process.frozen(name):
            if not torch.equal(a, b):
                raise ConfigError(f"interpolate: the two samples differ in the field {name}, which is given")
            fields[name] = a.expand(count, *a.shape[1:])
            continue
        if isinstance(space, Categorical):
            raise ConfigError(f"interpolate: the field {name} is of classes, and between two there is nothing")
        share = torch.tensor(shares, dtype=a.dtype, device=a.device).reshape(-1, *(1,) * (a.ndim - 1))
        if isinstance(space, Torus):
            fields[name] = process.fields[name].project(a + share * space.difference(b, a), first.mask)
        else:
            fields[name] = _great_circle(a, b, share)
    mask = None if first.mask is None else first.mask.expand(count, -1)
    return State(fields, mask)


def _great_circle(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Between two vectors ``[1, ...]``; the straight line where they are (nearly) parallel."""
    cosine = (a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-12)
    angle = torch.arccos(cosine.clamp(-1, 1))
    if float(angle.sin()) < 1e-4:
        return torch.lerp(a, b, share)
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / angle.sin()


@dataclass(frozen=True)
class _Given(Hook):
    """A sample of which a part is known.

    Args:
        given: one sample, clean, on the device of the walk.
        unknown: true where it is to be made: bool for a field, of its shape, or of its first axes where whole elements
            are known or not; with or without the batch axis. Fields that are left out are made.
        fields: what is diffused; without them nothing is known of padding, of undirected pairs or of a centre.

    Raises:
        ConfigError: a mask of the wrong shape or type, or of a field that is not there.
    """

    given: State
    unknown: Mapping[str, Tensor]
    fields: Mapping[str, Field] | None = None

    def __post_init__(self) -> None:
        spread = {name: self._spread(name, part) for name, part in self.unknown.items()}
        object.__setattr__(self, "unknown", spread)

    def _spread(self, name: str, part: Tensor) -> Tensor:
        """The mask of one field, checked, in the field's own shape ``[1, ...]``."""
        if name not in self.given:
            known = ", ".join(self.given)
            raise ConfigError(f"mask: there is no field {name} (known: {known}){suggest(name, self.given)}")
        value = self.given[name]
        if part.dtype != torch.bool:
            raise ConfigError(f"mask: the field {name} needs true and false, not {str(part.dtype).rpartition('.')[2]}")
        shape = tuple(part.shape)
        if shape == tuple(value.shape[1 : part.ndim + 1]):
            shape = (1, *shape)
        if not 1 < len(shape) <= value.ndim or shape != tuple(value.shape[: len(shape)]):
            raise ConfigError(
                f"mask: the field {name} needs the shape {list(value.shape[1:])}, or of its first axes, not "
                f"{list(part.shape)}"
            )
        part = part.reshape(*shape, *(1,) * (value.ndim - len(shape))).expand(value.shape)
        space = self.fields[name].space if self.fields else None
        if isinstance(space, Categorical) and space.symmetric and not torch.equal(part, part.transpose(1, 2)):
            raise ConfigError(
                f"mask: the field {name} is of undirected pairs; the two halves of its mask must be equal"
            )
        return part

    def _put_back(self, state: State, known: Mapping[str, Tensor]) -> State:
        """The state with the known entries exchanged."""
        fields = {}
        for name, unknown in self.unknown.items():
            value = torch.where(unknown, state[name], known[name])
            if self.fields and isinstance(self.fields[name].space, ZeroCenterOfMass):
                value = _centred(value, unknown, self.fields[name].real(value, state.mask))
            fields[name] = value
        return state.replace(**fields)


@dataclass(frozen=True)
class Replace(_Given):
    """Keeps the known part of a sample: at every level it is put back, with the noise of that level.

    In the clean state at the end it is the given one exactly. Made and known parts come to agree better with
    `suffuse.sampling.Resample`.

    References:
        Song et al. 2021, "Score-based generative modeling", appendix I.2; Lugmayr et al. 2022, "RePaint", equation 8.
    """

    def before_denoise(self, state: State, moment: Moment) -> State:
        return self._noised(state, moment) if moment.index == 0 else state

    def after_step(self, state: State, moment: Moment) -> State:
        return self._noised(state, moment)

    def _noised(self, state: State, moment: Moment) -> State:
        known = _each(self.given, state.batch_size)
        if moment.clock > 0:
            clock = torch.full((state.batch_size,), moment.clock, device=state.device)
            known = moment.process.corrupt(known, moment.process.levels(clock), moment.seeds.at("known"))
        return self._put_back(state, known)


@dataclass(frozen=True)
class Known(_Given):
    """Keeps the known elements of a sample clean all along, and tells the network that they are.

    For networks that were trained with noise levels of their own for each element (or field, ``independent``): their
    belief about the rest is then that given the known elements, and nothing has to be approximated.

    Raises:
        ConfigError: as `_Given`; or a mask that cuts elements in parts.
    """

    _known: Mapping[str, Tensor | None] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        marks: dict[str, Tensor | None] = {}
        for name, unknown in self.unknown.items():
            layout = self.fields[name].layout if self.fields else Dense()
            axes = 1 + max(1, layout.rank)
            first = unknown.reshape(*unknown.shape[:axes], -1)[..., 0]
            if not torch.equal(first.reshape(*first.shape, *(1,) * (unknown.ndim - axes)).expand_as(unknown), unknown):
                raise ConfigError(
                    f"mask: Known takes the elements of the field {name} whole, and this mask cuts them; use Replace"
                )
            real = layout.mask(first, self.given.mask)
            wanted = first if real is None else first & real
            if not first.all():
                marks[name] = ~first if wanted.any() else None
        object.__setattr__(self, "_known", marks)

    def before_denoise(self, state: State, moment: Moment) -> State:
        return self._put_back(state, _each(self.given, state.batch_size)) if moment.index == 0 else state

    def levels(self, levels: Mapping[str, Level], state: State, moment: Moment) -> Mapping[str, Level]:
        told = dict(levels)
        for name, known in self._known.items():
            clean = moment.process.level(name, torch.zeros_like(levels[name].log_snr))
            if known is None:  # the whole field, as every network can be told
                told[name] = clean
            else:
                told[name] = levels[name].where(known.expand(state.batch_size, *known.shape[1:]), clean)
        return told

    def after_step(self, state: State, moment: Moment) -> State:
        return self._put_back(state, _each(self.given, state.batch_size))


def _each(given: State, count: int) -> State:
    """One sample as often as there are samples."""
    return given.map(lambda value: value.expand(count, *value.shape[1:]))


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))


def _centred(value: Tensor, unknown: Tensor, real: Tensor | None) -> Tensor:
    """The unknown elements of a point cloud moved together so that the centre of all lies at zero."""
    free = unknown if real is None else unknown & real
    excess = value.sum(1, keepdim=True) / free.sum(1, keepdim=True).clamp_min(1)
    return torch.where(free, value - excess, value)
