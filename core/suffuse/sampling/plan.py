"""A sampler as data: plain float64 numbers on the CPU, known before the first network evaluation.

There is no state to reset, nothing to synchronise with a device, and nothing that depends on the tensors: a plan can be
printed, checked and shared between threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Plan", "Stage"]


@dataclass(frozen=True, slots=True)
class Stage:
    r"""One evaluation of the network, and what the field becomes after it:

        x <- base * anchor + sum_j means[j] * D_j + noise * eps

    with D_0 the posterior mean of this evaluation and D_1, D_2, ... those before it.

    Args:
        log_snr: the level at which the network looks; None in a stage that adds noise without looking.
        base, means, noise: the coefficients.
        commit: true where x as it stands becomes the anchor; false in the later stages of one step, which start
            again from the anchor of the first.
    """

    log_snr: float | None
    base: float
    means: tuple[float, ...]
    noise: float = 0.0
    commit: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages of one field, in order."""

    stages: tuple[Stage, ...]

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    @property
    def evaluations(self) -> int:
        """Network evaluations (NFE) that the plan takes."""
        return sum(stage.log_snr is not None for stage in self.stages)

    @property
    def memory(self) -> int:
        """How many posteriors have to be kept."""
        return max((len(stage.means) for stage in self.stages), default=0)

    @staticmethod
    def of(stages: Sequence[Stage]) -> Plan:
        """A plan from any sequence."""
        return Plan(tuple(stages))
