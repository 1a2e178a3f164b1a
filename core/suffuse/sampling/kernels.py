"""How one field takes one planned stage, by kind of process; a new one registers its own with `advance.register`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from torch import Tensor

from suffuse.posterior import Mean
from suffuse.processes import Gaussian, Process
from suffuse.sampling.plan import Stage

__all__ = ["advance"]


@singledispatch
def advance(process: Process, stage: Stage, anchor: Tensor, history: Sequence[Mean], noise: Tensor | None) -> Tensor:
    """The field after a stage.

    Args:
        process: decides which kernel is used.
        stage: the planned coefficients.
        anchor: the field at the beginning of the step.
        history: posteriors, the newest first.
        noise: standard noise of the field's shape, where the stage wants some.
    """
    raise TypeError(f"no kernel is registered for {type(process).__name__}")


@advance.register
def linear(process: Gaussian, stage: Stage, anchor: Tensor, history: Sequence[Mean], noise: Tensor | None) -> Tensor:
    """The one formula of all Gaussian samplers."""
    result = anchor * stage.base
    for weight, mean in zip(stage.means, history, strict=False):
        result.add_(mean.value, alpha=weight)
    if noise is not None:
        result.add_(noise, alpha=stage.noise)
    return result
