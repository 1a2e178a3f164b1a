"""Samples that are filled up to one shape: all of them is noisy and made, and what fills them teaches nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from suffuse.fields import Field
from suffuse.layouts import Dense, Filled, Layout
from suffuse.posterior import Mean, Posterior
from suffuse.processes import Gaussian, JointProcess
from suffuse.schedules import Cosine
from suffuse.state import State
from suffuse.training.clock import Uniform
from suffuse.training.objective import Objective
from suffuse.training.weightings import edm

SIZES = (5, 1, 3)
MASK = torch.arange(5) < torch.tensor(SIZES)[:, None]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def losses(layout: Layout, ends: float, mask: Tensor | None = MASK) -> Tensor:
    """Of samples ``[3, 2, 5]`` that end in this value, for a network that believes in zeros."""
    fields = {"x": Field(shape=(2, 5), layout=layout)}
    objective = Objective(JointProcess(fields, {"x": Gaussian(Cosine())}), Uniform(), edm())

    def nothing(state: State, levels: object, condition: object = None, previous: object = None) -> Posterior:
        assert state["x"][~MASK[:, None].expand(-1, 2, -1)].all(), "what fills up is as noisy as the rest"
        return {"x": Mean(torch.zeros_like(state["x"]))}

    clean = State({"x": torch.where(MASK[:, None], noise(3, 2, 5), ends)}, mask)
    return objective(nothing, clean, {}, seed=0, step=0, rows=range(3), total=3)


def test_what_fills_up_a_sample_is_not_in_its_loss() -> None:
    torch.testing.assert_close(losses(Filled(), 0.0), losses(Filled(), 7.0))
    assert losses(Filled(), 0.0)[0] == losses(Dense(), 0.0)[0], "of a sample that is not filled up"


def test_a_loss_of_what_fills_up_is_noticed() -> None:
    with pytest.raises(AssertionError):
        torch.testing.assert_close(losses(Dense(), 0.0), losses(Dense(), 7.0))


def test_without_a_mask_everything_counts() -> None:
    assert torch.equal(losses(Filled(), 0.0, None), losses(Dense(), 0.0, None))
