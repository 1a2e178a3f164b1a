"""The training loss of a state: a weighted squared error of the posterior, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from suffuse import noise
from suffuse.conditions import Condition
from suffuse.denoiser import Denoise
from suffuse.parameterizations import PARAMETERIZATIONS
from suffuse.processes import JointProcess
from suffuse.state import State
from suffuse.training.clock import Clock, stratified
from suffuse.training.weightings import Weighting

__all__ = ["Objective"]


@dataclass(frozen=True)
class Objective:
    """Clock draw, corruption, denoising, loss. Everything random in it is keyed by (seed, step) or by position.

    Args:
        process: how the state is corrupted.
        clock: which levels are visited, in terms of the first field's schedule.
        weighting: what an error counts at each level.
        parameterization: what the network emits, which the weighting ``uniform`` is measured in.
        conditions: what a sample may be asked for.
        dropout: the share of samples from which each condition is hidden, for classifier-free guidance.
    """

    process: JointProcess
    clock: Clock
    weighting: Weighting
    parameterization: str = "edm"
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    dropout: float = 0.1

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
        device = clean.device
        positions = range(step * total + rows.start, step * total + rows.stop)
        times = self.clock.quantile(stratified(seed, step, rows, total), self.process.schedule)
        levels = {name: level.to(device, clean[name].dtype) for name, level in self.process.levels(times).items()}

        def fresh(name: str, shape: tuple[int, ...]) -> Tensor:
            return noise.normal(noise.key(seed, "corrupt", name), positions, shape[1:]).to(device, non_blocking=True)

        noisy = self.process.corrupt(clean, levels, fresh)
        posterior = denoiser(noisy, levels, self._hide(conditions, seed, positions))
        total_loss: Tensor | None = None
        for name, spec in self.process.fields.items():
            error = spec.layout.mean((posterior[name].value - clean[name]).square(), clean.mask)
            level = levels[name]
            out = PARAMETERIZATIONS[self.parameterization](level.alpha, level.sigma, spec.scale).out
            weight = self.weighting(level, out, spec.scale)
            part = error * weight * spec.weight
            total_loss = part if total_loss is None else total_loss + part
        assert total_loss is not None
        return total_loss

    def _hide(self, conditions: Mapping[str, Tensor], seed: int, positions: range) -> dict[str, Tensor]:
        hidden = {}
        for name, value in conditions.items():
            if self.dropout > 0:
                coin = noise.uniform(noise.key(seed, "hide", name), positions).to(value.device)
                value = self.conditions[name].drop(value, coin <= self.dropout)
            hidden[name] = value
        return hidden
