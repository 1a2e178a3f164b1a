"""A network as a denoiser: noisy state in, posterior over the clean state out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from suffuse.conditions import Condition, ConditionEncoder
from suffuse.data import Backbone, Sketch
from suffuse.errors import ConfigError, suggest
from suffuse.fields import Field
from suffuse.layouts import expand
from suffuse.parameterizations import PARAMETERIZATIONS, input_scale
from suffuse.posterior import LogProbs, Mean, Posterior, Statement, Tangent
from suffuse.processes import Level
from suffuse.processes.wrapped import displacement_scale
from suffuse.spaces import Categorical, Torus
from suffuse.state import State

__all__ = ["Denoise", "Denoiser"]

_KNOWN = 7.0
"""The log-SNR by which a network tells a sketch from a missing one, whose is the negative of it."""


class Denoise(Protocol):
    """The contract between a model and all samplers: a denoiser, or guidance wrapped around one.

    ``previous`` is what was believed at the evaluation before, for networks that were trained to take it.
    """

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior: ...


class Denoiser(nn.Module):
    """A backbone between the scaling of its input and the reading of its output.

    The backbone sees fields of unit variance (classes and periodic values as they are) and their log-SNR, so that it
    does not depend on the schedule: a model trained under one can be sampled under another.

    Args:
        backbone: the network.
        fields: what is diffused.
        parameterization: what the network emits for real-valued fields, a name in `PARAMETERIZATIONS`.
        conditions: what a sample may be asked for.
        self_conditioning: whether the network is also given what it believed before, as a fourth argument.
        sketches: of conditions, which the backbone sees as given fields beside ``fields``.

    Raises:
        ConfigError: an unknown parameterization, or self-conditioning of a backbone that takes no fourth argument.

    References:
        Chen et al. 2023, "Analog bits" (self-conditioning).
    """

    def __init__(
        self,
        backbone: nn.Module,
        fields: Mapping[str, Field],
        parameterization: str = "edm",
        conditions: Mapping[str, Condition] | None = None,
        self_conditioning: bool = False,
        sketches: Mapping[str, Sketch] | None = None,
    ) -> None:
        super().__init__()
        if parameterization not in PARAMETERIZATIONS:
            known = ", ".join(PARAMETERIZATIONS)
            meant = suggest(parameterization, PARAMETERIZATIONS)
            raise ConfigError(f"process.parameterization={parameterization}: known are {known}{meant}")
        if self_conditioning and not _takes_belief(backbone):
            raise ConfigError(
                f"process.self_conditioning: the backbone {type(backbone).__name__} takes no earlier belief; leave it "
                "at 0, or take a backbone that does"
            )
        self.backbone = backbone
        self.fields = dict(fields)
        self.parameterization = parameterization
        self.conditions = dict(conditions or {})
        self.self_conditioning = self_conditioning
        self.sketches = dict(sketches or {})
        self.encoder = ConditionEncoder(self.conditions, cast(Backbone, backbone).condition_dim) if conditions else None

    def forward(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        """
        Args:
            state: noisy fields, perhaps with sketches from `sketched`.
            levels: how noisy each is.
            condition: a collated value for each condition; what is left out is missing.
            previous: what was believed before; ignored without self-conditioning.

        Returns:
            The posterior of each field that the backbone emits, in float32 (or float64 for float64 networks), also
            under autocast.
        """
        asked = self._asked(state, condition)
        kind = next((part.dtype for part in self.backbone.parameters()), state.dtype)
        shown = self.sketched(state, asked)
        seen = {name: self._seen(name, state[name], levels[name], state.mask) for name in self.fields}
        log_snr = {name: levels[name].log_snr.to(kind) for name in self.fields}
        for name, sketch in self.sketches.items():
            seen[name], log_snr[name] = self._shown(sketch, shown[name], asked[sketch.condition], kind)
        more = [self._believed(state, previous, kind)] if self.self_conditioning else []
        output = self.backbone(State(seen, state.mask), log_snr, self._embed(state, asked), *more)
        return {name: self._read(name, state[name], value, levels[name], state.mask) for name, value in output.items()}

    def _seen(self, name: str, noisy: Tensor, level: Level, mask: Tensor | None) -> Tensor:
        """The field as the backbone sees it."""
        field = self.fields[name]
        if isinstance(field.space, Categorical):
            return noisy
        if isinstance(field.space, Torus):
            return field.project(noisy, mask)
        return noisy * expand(input_scale(level.alpha, level.sigma, field.scale), noisy)

    def sketched(self, state: State, condition: Mapping[str, Tensor] | None) -> State:
        """The state with its sketches of conditions, where it does not hold them yet.

        Whoever cuts a state into parts calls this before, so that a part is shown what belongs to its place.
        """
        asked, drawn = self._asked(state, condition), {}
        for name, sketch in self.sketches.items():
            if name not in state:
                value = asked[sketch.condition]
                drawn[name] = sketch.draw(value.nan_to_num() if value.is_floating_point() else value, state)
        return state.replace(**drawn)

    def _shown(self, sketch: Sketch, drawn: Tensor, value: Tensor, kind: torch.dtype) -> tuple[Tensor, Tensor]:
        """A sketch as a given field ``[B, ...]`` and the log-SNR ``[B]`` that says where its condition is known."""
        known = self.conditions[sketch.condition].present(value)
        if not isinstance(sketch.field.space, Categorical):
            drawn = drawn.to(kind) / sketch.field.scale
        level = torch.where(known, _KNOWN, -_KNOWN).to(kind)
        return torch.where(expand(known, drawn), drawn, torch.zeros_like(drawn)), level

    def _read(self, name: str, noisy: Tensor, output: Tensor, level: Level, mask: Tensor | None) -> Statement:
        """What the backbone's output says of the field."""
        field = self.fields[name]
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        if isinstance(field.space, Categorical):
            return LogProbs.of((output + output.transpose(1, 2)) / 2 if field.space.symmetric else output)
        output = output.to(noisy.dtype)
        if isinstance(field.space, Torus):
            unit = level.sigma * displacement_scale(level.sigma / field.space.period)
            return Tangent(field.tangent(expand(unit, noisy) * output, mask), noisy)
        skip, out = PARAMETERIZATIONS[self.parameterization](level.alpha, level.sigma, field.scale)
        mean = torch.addcmul(expand(skip, noisy) * noisy, expand(out, noisy), output)
        return Mean(field.project(mean, mask))

    def _believed(self, state: State, previous: Posterior | None, kind: torch.dtype) -> State:
        """A belief as the backbone sees it: means at unit variance, class probabilities, displacements; else zeros."""
        fields = {}
        for name, spec in self.fields.items():
            value = state[name]
            belief = None if previous is None else previous.get(name)
            if isinstance(spec.space, Categorical):
                shape = (*value.shape, spec.space.num_classes)
                shown = value.new_zeros(shape, dtype=kind) if belief is None else belief.value.exp().to(kind)
            else:
                shown = torch.zeros_like(value) if belief is None else belief.value / spec.scale
            fields[name] = shown
        return State(fields, state.mask)

    def missing(self, count: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Collated conditions of samples of which nothing is known."""
        return {name: kind.collate([None] * count).to(device) for name, kind in self.conditions.items()}

    def _asked(self, state: State, condition: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        """All conditions, those that are left out as missing."""
        given = condition or {}
        if len(given) < len(self.conditions):
            given = {**self.missing(state.batch_size, state.device), **given}
        return given

    def _embed(self, state: State, asked: Mapping[str, Tensor]) -> Tensor:
        if self.encoder is None:
            width = cast(Backbone, self.backbone).condition_dim
            return torch.zeros(state.batch_size, width, device=state.device)
        return cast(Tensor, self.encoder(asked))


def _takes_belief(backbone: nn.Module) -> bool:
    try:
        inspect.signature(backbone.forward).bind(*[None] * 4)
    except TypeError:
        return False
    return True
