"""A network as a denoiser: noisy state in, posterior over the clean state out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from suffuse.conditions import Condition, ConditionEncoder
from suffuse.data import Backbone
from suffuse.errors import ConfigError, suggest
from suffuse.fields import Field
from suffuse.layouts import expand
from suffuse.parameterizations import PARAMETERIZATIONS, input_scale
from suffuse.posterior import Mean, Posterior
from suffuse.processes import Level
from suffuse.state import State

__all__ = ["Denoise", "Denoiser"]


class Denoise(Protocol):
    """The contract between a model and all samplers: a denoiser, or guidance wrapped around one."""

    def __call__(
        self, state: State, levels: Mapping[str, Level], condition: Mapping[str, Tensor] | None = None
    ) -> Posterior: ...


class Denoiser(nn.Module):
    """A backbone between the scaling of its input and the reading of its output.

    The backbone sees fields of unit variance and their log-SNR, so that it does not depend on the schedule: a model
    trained under one can be sampled under another.

    Args:
        backbone: the network.
        fields: what is diffused.
        parameterization: what the network emits, a name in `PARAMETERIZATIONS`.
        conditions: what a sample may be asked for.
    """

    def __init__(
        self,
        backbone: nn.Module,
        fields: Mapping[str, Field],
        parameterization: str = "edm",
        conditions: Mapping[str, Condition] | None = None,
    ) -> None:
        super().__init__()
        if parameterization not in PARAMETERIZATIONS:
            known = ", ".join(PARAMETERIZATIONS)
            meant = suggest(parameterization, PARAMETERIZATIONS)
            raise ConfigError(f"process.parameterization={parameterization}: known are {known}{meant}")
        self.backbone = backbone
        self.fields = dict(fields)
        self.parameterization = parameterization
        self.conditions = dict(conditions or {})
        self.encoder = ConditionEncoder(self.conditions, cast(Backbone, backbone).condition_dim) if conditions else None

    def forward(
        self, state: State, levels: Mapping[str, Level], condition: Mapping[str, Tensor] | None = None
    ) -> Posterior:
        """
        Args:
            state: noisy fields.
            levels: how noisy each is.
            condition: a collated value for each condition; what is left out is missing.

        Returns:
            The posterior of each field in float32 (or float64 for float64 fields), also under autocast.
        """
        scaled = State(
            {
                name: value
                * expand(input_scale(levels[name].alpha, levels[name].sigma, self.fields[name].scale), value)
                for name, value in state.items()
            },
            state.mask,
        )
        output = self.backbone(scaled, {name: levels[name].log_snr for name in state}, self._embed(state, condition))
        read = PARAMETERIZATIONS[self.parameterization]
        posterior = {}
        for name, noisy in state.items():
            level = levels[name]
            skip, out = read(level.alpha, level.sigma, self.fields[name].scale)
            mean = torch.addcmul(expand(skip, noisy) * noisy, expand(out, noisy), output[name].to(noisy.dtype))
            posterior[name] = Mean(self.fields[name].layout.clean(mean, state.mask))
        return posterior

    def missing(self, count: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Collated conditions of samples of which nothing is known."""
        return {name: kind.collate([None] * count).to(device) for name, kind in self.conditions.items()}

    def _embed(self, state: State, condition: Mapping[str, Tensor] | None) -> Tensor:
        if self.encoder is None:
            width = cast(Backbone, self.backbone).condition_dim
            return torch.zeros(state.batch_size, width, device=state.device)
        given = condition or {}
        if len(given) < len(self.conditions):
            given = {**self.missing(state.batch_size, state.device), **given}
        return cast(Tensor, self.encoder(given))
