"""A sampler as data: plain float64 numbers on the CPU, known before the first network evaluation.

A walk is a list of moves on the clock, the same for all fields. For each field a plan holds one stage for each move:
what the field does meanwhile. There is no state to reset, nothing to synchronise with a device, and nothing that
depends on the tensors: a plan can be printed, checked and shared between threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Leg", "Move", "Plan", "Point", "Rest", "Stage", "Step", "TokenStage", "UnmaskStage"]


@dataclass(frozen=True, slots=True)
class Move:
    """One piece of a walk along the common clock.

    Args:
        start, end: clock times. Down is towards the data.
        look: whether the network is asked, at ``start``. A move without a look adds noise, and what was believed before
            it is forgotten.
        first: true where a step begins; the later moves of a step of several stages start again from its anchor.
    """

    start: float
    end: float
    look: bool = True
    first: bool = True


@dataclass(frozen=True, slots=True)
class Point:
    """The level of one field at one clock time; ``log_snr`` is infinite at the clean state."""

    alpha: float
    sigma: float
    log_snr: float

    def ratio_to(self, later: Point) -> float:
        """e^(-h) of the step from here to ``later``, with h the difference of log-SNR."""
        return self.alpha * later.sigma / (later.alpha * self.sigma)


@dataclass(frozen=True, slots=True)
class Leg:
    """A move as one field sees it."""

    start: Point
    end: Point
    look: bool = True
    first: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """What every kind of stage has: plain numbers. `suffuse.sampling.kernels` turns each kind into tensor operations.

    Args:
        log_snr: the level at which the network looks; None in a stage that does not look.
    """

    log_snr: float | None

    @property
    def memory(self) -> int:
        """How many beliefs it uses."""
        return 1

    @property
    def random(self) -> bool:
        """Whether it takes noise."""
        return False

    @property
    def commit(self) -> bool:
        """Whether the field as it stands becomes the anchor of the step."""
        return True


@dataclass(frozen=True, slots=True)
class Rest(Step):
    """The field stays as it is."""

    @property
    def memory(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Stage(Step):
    r"""One evaluation of the network, and what a real-valued field becomes after it:

        x <- base * anchor + sum_j means[j] * D_j + noise * eps

    with D_0 the posterior mean of this evaluation and D_1, D_2, ... those before it.

    Args:
        base, means, noise: the coefficients.
        commit: false in the later stages of one step, which start again from the anchor of the first.
    """

    base: float
    means: tuple[float, ...]
    noise: float = 0.0
    commit: bool = True

    @property
    def memory(self) -> int:
        return len(self.means)

    @property
    def random(self) -> bool:
        return self.noise != 0


@dataclass(frozen=True, slots=True)
class TokenStage(Step):
    """One move of a categorical field, from keep-probability ``keep`` to ``keep_to``; upwards where it falls.

    Args:
        keep, keep_to: the probability that an entry is the clean one, before and after.
        over: go on to this keep-probability, at least ``keep_to``, and come back by new noise: more stochasticity.
        top_p: the share of the belief, likeliest classes first, that is drawn from.
    """

    keep: float
    keep_to: float
    over: float
    top_p: float = 1.0

    @property
    def random(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class UnmaskStage(Step):
    """One move of a masked field that reveals the entries of which the network is surest.

    Args:
        share: of the entries now masked, how many stay so.
        temperature: of the random part of the sureness; 0 takes the surest.
        top_p: the share of the belief, likeliest classes first, that is drawn from.
    """

    share: float
    temperature: float
    top_p: float = 1.0

    @property
    def random(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages of one field, in order."""

    stages: tuple[Step, ...]

    def __iter__(self) -> Iterator[Step]:
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
        return max((stage.memory for stage in self.stages), default=0)

    @staticmethod
    def of(stages: Sequence[Step]) -> Plan:
        """A plan from any sequence."""
        return Plan(tuple(stages))
