"""Padding changes nothing: not means, not losses, not what a network makes of a sample, whatever lies in it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.fields import Field
from suffuse.layouts import Dense, Layout, Masked, expand
from suffuse.noise import Draws
from suffuse.posterior import Mean, Posterior
from suffuse.processes import Gaussian, JointProcess
from suffuse.sampling import DDIM, DPMSolver2M, Hook, Seeds, sample, uniform_lambda
from suffuse.sampling.hooks import Moment
from suffuse.schedules import Cosine
from suffuse.state import State
from suffuse.training.clock import Uniform
from suffuse.training.objective import Objective
from suffuse.training.weightings import edm
from tiny import SetNetwork

SIZES = (5, 1, 3, 4)
MASK = torch.arange(max(SIZES)) < torch.tensor(SIZES)[:, None]
SHAPES: dict[int, list[tuple[int, ...]]] = {1: [(5,), (5, 3), (5, 2, 2)], 2: [(5, 5), (5, 5, 3)]}


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def cut(value: Tensor, size: int, rank: int) -> Tensor:
    """One sample's real part, as a batch of one."""
    return value[None, :size] if rank == 1 else value[None, :size, :size]


def padding_error(mean: Callable[[Tensor, Tensor | None], Tensor], value: Tensor, rank: int) -> float:
    """How far the mean of padded samples is from the mean of each by itself."""
    alone = [cut(value[row], size, rank).mean() for row, size in enumerate(SIZES)]
    return float((mean(value, MASK) - torch.stack(alone)).abs().max())


CASES = [(rank, shape) for rank, shapes in SHAPES.items() for shape in shapes]


@pytest.mark.parametrize(("rank", "shape"), CASES)
def test_mean_is_that_of_the_sample_alone(rank: int, shape: tuple[int, ...]) -> None:
    assert padding_error(Field(shape=shape, layout=Masked(rank)).mean, noise(4, *shape), rank) < 1e-12


@pytest.mark.parametrize(("rank", "shape"), CASES)
def test_a_mean_over_padding_is_noticed(rank: int, shape: tuple[int, ...]) -> None:
    def careless(value: Tensor, mask: Tensor | None) -> Tensor:
        return Field(shape=shape, layout=Masked(rank)).project(value, mask).flatten(1).mean(1)

    assert padding_error(careless, noise(4, *shape), rank) > 1e-2


@pytest.mark.parametrize("trash", [1e30, math.inf, math.nan])
@pytest.mark.parametrize(("rank", "shape"), CASES)
def test_whatever_lies_in_the_padding_stays_there(rank: int, shape: tuple[int, ...], trash: float) -> None:
    field, value = Field(shape=shape, layout=Masked(rank)), noise(4, *shape)
    real = field.real(value, MASK)
    assert real is not None
    dirty = torch.where(real, value, trash)
    torch.testing.assert_close(field.mean(dirty, MASK), field.mean(value, MASK))
    cleaned = field.project(dirty, MASK)
    assert torch.equal(cleaned, torch.where(real, value, 0.0))


def test_pairs_are_real_where_both_elements_are() -> None:
    real = Masked(2).mask(noise(4, 5, 5), MASK)
    assert torch.equal(real, MASK[:, :, None] & MASK[:, None, :])
    assert [int(part.sum()) for part in real] == [size**2 for size in SIZES]


def test_nothing_real_has_a_mean_of_zero() -> None:
    field = Field(shape=(-1, 2), layout=Masked())
    assert torch.equal(field.mean(noise(2, 3, 2), torch.zeros(2, 3, dtype=torch.bool)), torch.zeros(2).double())


def test_masked_without_a_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the mask"):
        Field(shape=(-1,), layout=Masked()).mean(noise(2, 3), None)


@pytest.mark.parametrize("layout", [Dense(), Masked(1)])
def test_full_samples_need_no_mask_to_agree(layout: Layout) -> None:
    value, full = noise(3, 4, 2), torch.ones(3, 4, dtype=torch.bool)
    field = Field(shape=(-1, 2), layout=layout)
    torch.testing.assert_close(field.mean(value, full), value.flatten(1).mean(1))
    assert torch.equal(field.project(value, full), value)


@pytest.mark.parametrize(("given", "shape"), [((4,), (4, 1, 1)), ((4, 5), (4, 5, 1))])
def test_expand_appends_axes(given: tuple[int, ...], shape: tuple[int, ...]) -> None:
    value = noise(*given)
    assert expand(value, noise(4, 5, 3)).shape == shape
    assert torch.equal(expand(value, noise(4, 5, 3)).flatten(), value.flatten())


@pytest.fixture
def network() -> Denoiser:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fields = {"x": Field(shape=(-1, 2), layout=Masked(1))}
        return Denoiser(SetNetwork(), fields).double().eval()


def test_samples_are_those_made_one_by_one(network: Denoiser) -> None:
    """A network of sets, walked from padded noise to clean data, against each set by itself."""
    process = JointProcess(network.fields, {"x": Gaussian(Cosine())})
    grid = uniform_lambda(6, Cosine())
    start = process.prior({"x": (4, 5, 2)}, Draws(0, "prior", range(4)), MASK)
    start = start.replace(x=start["x"].double())
    assert not start["x"][~MASK].any()
    padded = sample(network, start, grid, DPMSolver2M(), process=process, seeds=Seeds(0, range(4)))
    assert not padded["x"][~MASK].any()
    for row, size in enumerate(SIZES):
        alone = State({"x": start["x"][row : row + 1, :size]}, MASK[row : row + 1, :size])
        made = sample(network, alone, grid, DPMSolver2M(), process=process, seeds=Seeds(0, [row]))
        torch.testing.assert_close(padded["x"][row, :size], made["x"][0], rtol=1e-9, atol=1e-10)


def test_fresh_noise_stays_off_the_padding(network: Denoiser) -> None:
    process = JointProcess(network.fields, {"x": Gaussian(Cosine())})
    start = process.prior({"x": (4, 5, 2)}, Draws(0, "prior", range(4)), MASK)
    start = start.replace(x=start["x"].double())
    watch = Watch()
    sample(network, start, [1.0, 0.6, 0.2, 0.0], DDIM(1.0), process=process, seeds=Seeds(0, range(4)), hooks=[watch])
    assert len(watch.seen) == 3
    assert not any(value[~MASK].any() for value in watch.seen)


class Watch(Hook):
    """Keeps the state after each step."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def after_step(self, state: State, moment: Moment) -> State:
        self.seen.append(state["x"])
        return state


def test_loss_does_not_depend_on_how_much_is_padded(network: Denoiser) -> None:
    """The noise of an element does, so the network is one that knows nothing: a posterior mean of zero."""
    process = JointProcess(network.fields, {"x": Gaussian(Cosine())})
    objective = Objective(process, Uniform(), edm())

    def blank(state: State, levels: object, condition: object = None) -> Posterior:
        return {"x": Mean(torch.zeros_like(state["x"]))}

    clean = network.fields["x"].project(noise(4, 5, 2), MASK)
    wide = State({"x": torch.cat([clean, torch.zeros(4, 6, 2)], 1)}, torch.cat([MASK, torch.zeros(4, 6) > 0], 1))
    losses = [
        objective(blank, state, {}, seed=0, step=0, rows=range(4), total=4)
        for state in (State({"x": clean}, MASK), wide)
    ]
    torch.testing.assert_close(losses[0], losses[1])
