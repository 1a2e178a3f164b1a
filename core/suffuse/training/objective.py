"""The training loss of a state: how far the posterior is off, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from suffuse import noise
from suffuse.conditions import Condition
from suffuse.denoiser import Denoise
from suffuse.layouts import expand
from suffuse.parameterizations import PARAMETERIZATIONS
from suffuse.posterior import Posterior
from suffuse.processes import JointProcess, Level
from suffuse.state import State, sent
from suffuse.training.clock import Clock, stratified
from suffuse.training.couplings import Coupling
from suffuse.training.weightings import Weighting

__all__ = ["Objective"]


@dataclass(frozen=True)
class Objective:
    """Clock draw, corruption, denoising, loss. Everything random in it is keyed by (seed, step) or by position.

    Args:
        process: how the state is corrupted.
        clock: which levels are visited, in terms of the reference field's schedule.
        weighting: what an error counts at each level, for fields whose error is in units of x_0.
        parameterization: what the network emits, which the weighting ``uniform`` is measured in.
        conditions: what a sample may be asked for.
        dropout: the share of samples from which each condition, or frozen field, is hidden, for classifier-free
            guidance; half of the time all together.
        coupling: which noise goes with which sample; None for any with any.
        self_conditioning: the share of steps in which the network is given what it believed of the same state.
    """

    process: JointProcess
    clock: Clock
    weighting: Weighting
    parameterization: str = "edm"
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    dropout: float = 0.1
    coupling: Coupling | None = None
    self_conditioning: float = 0.0

    def __call__(
        self,
        denoiser: Denoise,
        clean: State,
        conditions: Mapping[str, Tensor],
        *,
        seed: int,
        step: int,
        rows: range,
        total: int,
    ) -> Tensor:
        """The loss of each sample, ``[B]``: the mean over a field's entries, summed over fields.

        Args:
            clean: encoded samples on the device of the network.
            conditions: collated, on the same device.
            seed, step: of the run; decide levels and noise.
            rows: places of these samples in the batch of the step.
            total: size of that batch.
        """
        positions = range(step * total + rows.start, step * total + rows.stop)
        levels = self._levels(clean, seed, step, rows, total)
        draws = noise.Draws(seed, "corrupt", positions)
        source: noise.Draws | Mapping[str, Tensor] = draws
        if self.coupling is not None:
            source = self.coupling(self.process, clean, conditions, draws)
        noisy = self.process.corrupt(clean, levels, source)
        for name in self.process.fields:
            if self.process.frozen(name) and self.dropout > 0:
                noisy, levels = self.process.hide(name, noisy, levels, self._coin(name, seed, positions, clean.device))
        asked = self._hide(conditions, seed, positions)
        previous: Posterior | None = None
        if self.self_conditioning > 0:
            coin = float(noise.uniform(noise.key(seed, "self", step), [0]))
            if coin <= self.self_conditioning:
                with torch.no_grad():
                    previous = denoiser(noisy, levels, asked)
            posterior = denoiser(noisy, levels, asked, previous)
        else:
            posterior = denoiser(noisy, levels, asked)
        parts = [
            self._loss(name, posterior, clean, noisy, levels[name])
            for name in self.process.fields
            if not self.process.frozen(name)
        ]
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]

    def _levels(self, clean: State, seed: int, step: int, rows: range, total: int) -> dict[str, Level]:
        schedule = self.process.schedule
        times = self.clock.quantile(stratified(seed, step, rows, total), schedule)
        own = {
            name: self.clock.quantile(stratified(seed, step, rows, total, name), schedule)
            for name in self.process.independent
        }
        return {name: level.to(clean.device, clean.dtype) for name, level in self.process.levels(times, own).items()}

    def _loss(self, name: str, posterior: Posterior, clean: State, noisy: State, level: Level) -> Tensor:
        """Of one field, ``[B]``."""
        spec, process = self.process.fields[name], self.process.processes[name]
        error = process.error(posterior[name], clean[name], noisy[name], level, spec)
        if not process.weighted:
            return spec.mean(error, clean.mask) * spec.weight
        out = PARAMETERIZATIONS[self.parameterization](level.alpha, level.sigma, spec.scale).out
        weight = self.weighting(level, out, spec.scale)
        if weight.ndim > 1:  # elements with levels of their own
            return spec.mean(error * expand(weight, error), clean.mask) * spec.weight
        return spec.mean(error, clean.mask) * weight * spec.weight

    def _hide(self, conditions: Mapping[str, Tensor], seed: int, positions: range) -> dict[str, Tensor]:
        if self.dropout <= 0:
            return dict(conditions)
        return {
            name: self.conditions[name].drop(value, self._coin(name, seed, positions, value.device))
            for name, value in conditions.items()
        }

    def _coin(self, name: str, seed: int, positions: range, device: torch.device) -> Tensor:
        """Which samples do not see a condition, ``[B]``.

        One half of them does not see any: to guide is to ask a network that is told nothing, and if each condition were
        hidden by itself, hardly a sample would teach it that.
        """
        common, own = (noise.uniform(noise.key(seed, "hide", *which), positions) for which in ((), (name,)))
        return sent(torch.where(common <= 0.5, 2 * common, own) <= self.dropout, device)
