"""Symmetries that a plugin declares, as moves of states, beliefs and noise; and the checks that they are kept.

A network keeps a symmetry where its belief of a moved state is its belief of the state, moved. Then so does every
sampler, if the noise is moved too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from suffuse.errors import suggest
from suffuse.fields import Field
from suffuse.noise import Draws
from suffuse.sampling import Seeds, sample
from suffuse.spaces import Categorical, Torus
from suffuse.state import State
from suffuse.testing.bench import Bench
from suffuse.testing.check import Inapplicable, ensure
from suffuse.testing.network import ensure_same

__all__ = ["samples_keep_the_symmetries", "the_network_keeps_its_symmetries"]

_TOLERANCE = 1e-3
"""Of samples that ought to be equal, as a share of their spread."""


def the_network_keeps_its_symmetries(bench: Bench) -> None:
    """What is believed of a moved state is what is believed of the state, moved: for each declared symmetry."""
    state, levels = bench.seen
    belief = bench.believed(state, levels, bench.clean.conditions)
    for move in _declared(bench, state.mask):
        other = bench.believed(move.state(state, bench.fields), levels, bench.clean.conditions)
        wanted = {
            name: type(each)(*(move.direction(part, bench.fields[name]) for part in vars(each).values()))
            if name in move.names
            else each
            for name, each in belief.items()
        }
        ensure_same(bench, state.mask, wanted, {n: each.value for n, each in other.items()}, f"under a {move.name}")
    for name in _periodic(bench):
        ensure_same(bench, state.mask, belief, _shifted(bench, name), f"with {name} a whole period further")


def samples_keep_the_symmetries(bench: Bench) -> None:
    """Samples from moved noise are the samples, moved: for each declared symmetry."""
    prior, seeds = bench.noise()
    drawn = _draw(bench, prior, seeds)
    for move in _declared(bench, prior.mask):
        other = _draw(
            bench, move.state(prior, bench.fields), _Moved(seeds.seed, seeds.indices, move=move, fields=bench.fields)
        )
        wanted = move.state(drawn, bench.fields)
        for name, spec in bench.fields.items():
            off = _apart(spec, other[name], wanted[name], prior.mask)
            ensure(off < _TOLERANCE, f"under a {move.name} samples of the field {name} differ by {off:.2%}")


class Symmetry(ABC):
    """A move of a state that changes nothing that matters.

    Args:
        names: the fields that it moves.
        mask: of the states, ``[B, N]``; None where all samples have one size.
    """

    def __init__(self, names: Sequence[str], mask: Tensor | None) -> None:
        self.names = names
        self.mask = mask

    @property
    def name(self) -> str:
        """As a trial declares it."""
        return type(self).__name__.lower()

    @classmethod
    @abstractmethod
    def fits(cls, field: Field) -> bool:
        """Whether it can move such a field."""

    @abstractmethod
    def direction(self, value: Tensor, field: Field) -> Tensor:
        """A difference of two values, noise, or what is believed of each entry, moved."""

    def point(self, value: Tensor, field: Field) -> Tensor:
        """A value, moved."""
        return self.direction(value, field)

    def state(self, state: State, fields: dict[str, Field]) -> State:
        """All fields that it moves, moved."""
        return state.replace(**{name: self.point(state[name], fields[name]) for name in self.names})


class Permutation(Symmetry):
    """The real elements of each sample in another order."""

    @classmethod
    def fits(cls, field: Field) -> bool:
        return field.layout.rank > 0

    def __init__(self, names: Sequence[str], mask: Tensor | None) -> None:
        super().__init__(names, mask)
        assert mask is not None
        shuffle = torch.Generator().manual_seed(2)
        self.order = torch.arange(mask.shape[1]).repeat(len(mask), 1)
        for row, real in zip(self.order, mask, strict=True):
            places = real.nonzero()[:, 0]
            row[places] = places[torch.randperm(len(places), generator=shuffle)]

    def direction(self, value: Tensor, field: Field) -> Tensor:
        batch = torch.arange(len(value))
        if field.layout.rank == 1:
            return value[batch[:, None], self.order]
        if isinstance(field.space, Categorical) and field.space.symmetric:  # of noise only the upper half is used
            upper = torch.ones(value.shape[1:3], dtype=torch.bool).triu()
            upper = upper.reshape(1, *upper.shape, *(1,) * (value.ndim - 3))
            value = torch.where(upper, value, value.transpose(1, 2))
        return value[batch[:, None, None], self.order[:, :, None], self.order[:, None]]


class Rotation(Symmetry):
    """Vectors along the last axis turned about the origin, in each sample by a rotation of its own."""

    @classmethod
    def fits(cls, field: Field) -> bool:
        return not isinstance(field.space, Categorical | Torus) and field.shape[-1] > 1

    def direction(self, value: Tensor, field: Field) -> Tensor:
        size = value.shape[-1]
        turns = torch.randn(len(value), size, size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        basis = torch.linalg.qr(turns)[0]
        basis[..., 0] *= torch.linalg.det(basis).sign().unsqueeze(-1)  # no mirror image
        return torch.einsum("b...i,bji->b...j", value.double(), basis).to(value.dtype)


class Translation(Symmetry):
    """All elements of a sample shifted by one vector, around the period."""

    @classmethod
    def fits(cls, field: Field) -> bool:
        return isinstance(field.space, Torus)

    def point(self, value: Tensor, field: Field) -> Tensor:
        assert isinstance(field.space, Torus)
        shifts = torch.rand(len(value), value.shape[-1], generator=torch.Generator().manual_seed(4))
        shifts = field.space.period * shifts.reshape(len(value), *(1,) * (value.ndim - 2), -1)
        return field.project(value + shifts, self.mask)

    def direction(self, value: Tensor, field: Field) -> Tensor:
        return value


_MOVES: dict[str, type[Permutation] | type[Rotation] | type[Translation]] = {
    "permutation": Permutation,
    "rotation": Rotation,
    "translation": Translation,
}
_PERIODICITY = "periodicity"


def _declared(bench: Bench, mask: Tensor | None) -> list[Symmetry]:
    """The moves that the trial names, and no other."""
    declared = bench.trial.symmetries
    if not declared:
        raise Inapplicable("the trial declares no symmetries")
    moves: list[Symmetry] = []
    for name, fields in declared.items():
        known = [*_MOVES, _PERIODICITY]
        ensure(name in known, f"symmetries: {name} is none of {', '.join(known)}{suggest(name, known)}")
        kind = _MOVES.get(name, Translation)  # periodicity is of the fields that can be shifted
        chosen = list(fields) or [each for each, spec in bench.fields.items() if kind.fits(spec)]
        for each in chosen:
            ensure(each in bench.fields, f"symmetries: {name} of {each}, but the fields are {', '.join(bench.fields)}")
            ensure(kind.fits(bench.fields[each]), f"symmetries: a {name} cannot move the field {each}")
        ensure(bool(chosen), f"symmetries: there is no field that a {name} could move")
        if name != _PERIODICITY:
            moves.append(kind(chosen, mask))
    return moves


def _periodic(bench: Bench) -> list[str]:
    if _PERIODICITY not in bench.trial.symmetries:
        return []
    return list(bench.trial.symmetries[_PERIODICITY]) or [n for n, s in bench.fields.items() if Translation.fits(s)]


def _shifted(bench: Bench, name: str) -> dict[str, Tensor]:
    """What is believed where the network is shown a field some whole periods further than it would be."""
    state, levels = bench.seen
    space = bench.fields[name].space
    assert isinstance(space, Torus)
    whole = torch.randint(-2, 3, state[name].shape, generator=torch.Generator().manual_seed(5))

    def further(module: torch.nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        seen: State = given[0]
        moved = bench.fields[name].layout.mask(seen[name], seen.mask)
        shift = space.period * whole
        return (seen.replace(**{name: seen[name] + (shift if moved is None else shift * moved)}), *given[1:])

    handle = bench.model.denoiser.backbone.register_forward_pre_hook(further)
    try:
        return {n: each.value for n, each in bench.believed(state, levels, bench.clean.conditions).items()}
    finally:
        handle.remove()


def _draw(bench: Bench, prior: State, seeds: Seeds) -> State:
    model = bench.model
    recipe = model.recipe()
    return sample(
        model.guided(recipe),
        prior,
        model.grid(recipe),
        recipe.rules,
        process=model.process,
        seeds=seeds,
        condition=model.denoiser.missing(prior.batch_size),
        absent=[name for name in model.fields if model.process.frozen(name)],
    )


@dataclass(frozen=True, kw_only=True)
class _Moved(Seeds):
    """The noise of some samples, moved."""

    move: Symmetry
    fields: dict[str, Field]

    def at(self, purpose: str, step: int = 0) -> Draws:
        return _MovedDraws(self.seed, purpose, self.indices, step, move=self.move, fields=self.fields)


@dataclass(frozen=True, kw_only=True)
class _MovedDraws(Draws):
    move: Symmetry
    fields: dict[str, Field]

    def normal(self, field: str, shape: Sequence[int]) -> Tensor:
        return self._moved(field, super().normal(field, shape))

    def uniform(self, field: str, shape: Sequence[int]) -> Tensor:
        return self._moved(field, super().uniform(field, shape))

    def _moved(self, field: str, noise: Tensor) -> Tensor:
        return self.move.direction(noise, self.fields[field]) if field in self.move.names else noise


def _apart(spec: Field, one: Tensor, other: Tensor, mask: Tensor | None) -> float:
    """The largest difference of two samples, as a share of their spread; of classes, the share that differs."""
    if isinstance(spec.space, Categorical):
        return float((one != other).double().mean())
    apart = spec.space.difference(one, other) if isinstance(spec.space, Torus) else one - other
    scale = spec.space.period if isinstance(spec.space, Torus) else float(one.std())
    return float(spec.tangent(apart, mask).abs().max()) / max(scale, 1e-12)
