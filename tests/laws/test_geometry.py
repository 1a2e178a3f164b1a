"""Point clouds: their centre stays at zero, and samples of equivariant networks turn and permute with the noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from oracle import f64, flow, level, scaled
from oracle_points import CLOUD, centred
from torch import Tensor, nn
from walks import along, travel

from suffuse.denoiser import Denoiser
from suffuse.fields import Field
from suffuse.layouts import Masked
from suffuse.noise import Draws
from suffuse.processes import Discrete, Gaussian, JointProcess
from suffuse.sampling import (
    DDIM,
    Ancestral,
    Confidence,
    DPMSolver2M,
    DPMSolver2S,
    DPMSolver3M,
    Euler,
    Heun,
    Hook,
    Rules,
    Seeds,
    Solver,
    TokenSolver,
    sample,
    uniform_lambda,
)
from suffuse.sampling.hooks import Moment
from suffuse.schedules import Cosine, SquaredCosine
from suffuse.spaces import Categorical, Euclidean, ZeroCenterOfMass
from suffuse.state import State

SCHEDULE = Cosine()
SOLVERS: dict[str, Solver] = {
    "ddim": DDIM(),
    "euler": Euler(),
    "heun": Heun(),
    "2s": DPMSolver2S(),
    "2m": DPMSolver2M(),
    "3m": DPMSolver3M(),
}
STOCHASTIC: list[Solver] = [DDIM(1.0), DPMSolver2M(1.0), DPMSolver3M(0.5), Heun(churn=4.0)]
SIZES = (5, 1, 4)
MASK = torch.arange(5) < torch.tensor(SIZES)[:, None]
CLOUDS = Field(shape=(-1, 3), space=ZeroCenterOfMass(), layout=Masked(1))
START, END = -3.0, 3.0


@pytest.fixture(scope="module")
def flowed() -> tuple[Tensor, Tensor]:
    """Some y = x / alpha at the log-SNR `START`, and the same clouds at `END`."""
    generator = torch.Generator().manual_seed(0)
    means = CLOUD.mixture.means[torch.randint(2, (8,), generator=generator)]
    noise = centred(torch.randn(8, *CLOUD.shape, generator=generator, dtype=torch.float64)).flatten(1)
    y = means + math.exp(-START) * noise
    return y, flow(CLOUD.mixture, y, START, END)


@pytest.mark.parametrize("solver", SOLVERS)
def test_order(solver: str, flowed: tuple[Tensor, Tensor]) -> None:
    """In the centred subspace, as everywhere; and the walk never leaves it."""
    spec = Field(shape=CLOUD.shape, space=ZeroCenterOfMass())
    process = JointProcess({"x": spec}, {"x": Gaussian(SCHEDULE)})
    start, end = (
        scaled(SCHEDULE, y, log_snr).unflatten(1, CLOUD.shape) for y, log_snr in zip(flowed, (START, END), strict=True)
    )
    errors = []
    for steps in (80, 240):
        grid = SCHEDULE.time(torch.linspace(START, END, steps + 1, dtype=torch.float64)).tolist()
        made = travel(CLOUD, State({"x": start}), along(grid, SOLVERS[solver], process), process)["x"]
        assert float(made.mean(1).abs().max()) < 1e-12
        errors.append(float((made - end).square().mean().sqrt()))
    assert math.log(errors[0] / errors[1]) / math.log(3) == pytest.approx(SOLVERS[solver].order, abs=0.15)


def test_shares_of_components_count_free_dimensions_alone() -> None:
    """The oracle's own mean is the slope of the log-density in the subspace (Tweedie's formula)."""
    here = level(SCHEDULE, 0.3, 4)
    x = centred(torch.randn(4, *CLOUD.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).flatten(
        1
    )
    mixture = CLOUD.mixture

    def log_density(at: Tensor) -> Tensor:
        """By coordinates in a basis of the subspace."""
        basis = torch.linalg.qr(centred(torch.eye(3, dtype=torch.float64)[:, :2]))[0]
        coordinates = torch.einsum("nk,bnd->bkd", basis, at.unflatten(1, CLOUD.shape)).flatten(1)
        centres = torch.einsum("nk,mnd->mkd", basis, mixture.means.unflatten(1, CLOUD.shape)).flatten(1)
        spread = torch.hypot(here.alpha[:, None] * mixture.deviations, here.sigma[:, None])
        each = torch.distributions.Normal(here.alpha[:, None, None] * centres, spread[..., None])
        return torch.logsumexp(mixture.weights.log() + each.log_prob(coordinates[:, None]).sum(-1), 1)

    at = x.clone().requires_grad_()
    (score,) = torch.autograd.grad(log_density(at).sum(), at)
    tweedie = (x + here.sigma[:, None] ** 2 * score) / here.alpha[:, None]
    torch.testing.assert_close(mixture.mean(x, here.alpha, here.sigma), tweedie)
    careless = replace(mixture, free=None).mean(x, here.alpha, here.sigma)
    assert float((careless - tweedie).abs().max()) > 1e-3


def off_the_centre(value: Tensor) -> float:
    """The largest centre of mass over the samples, padding left out."""
    return float((value.masked_fill(~MASK[..., None], 0).sum(1)).abs().max())


class Uncentred(nn.Module):
    """A network that pushes everything one way."""

    condition_dim = 1

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        return {"x": torch.sin(3 * state["x"]) + 5}


class Watch(Hook):
    """Keeps the clouds after each step, and what was believed."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def after_step(self, state: State, moment: Moment) -> State:
        self.seen.append(state["x"])
        return state


def drifts(spec: Field, solver: Solver) -> float:
    """The largest centre of mass on a walk of padded clouds, from the prior to the end."""
    process = JointProcess({"x": spec}, {"x": Gaussian(SCHEDULE)})
    start = process.prior({"x": (3, 5, 3)}, Draws(0, "prior", range(3)), MASK)
    start, watch = State({"x": start["x"].double()}, MASK), Watch()
    grid = uniform_lambda(solver.intervals(9), SCHEDULE)
    denoiser = Denoiser(Uncentred(), {"x": spec})
    end = sample(denoiser, start, grid, solver, process=process, seeds=Seeds(0, range(3)), hooks=[watch])
    assert len(watch.seen) >= 9
    assert not any(value[~MASK].any() for value in watch.seen)
    assert float(end["x"][1].abs().max()) < 1e-6 or not isinstance(spec.space, ZeroCenterOfMass)  # a lonely point
    return max(off_the_centre(value) for value in (start["x"], *watch.seen, end["x"]))


@pytest.mark.parametrize("solver", [*SOLVERS.values(), *STOCHASTIC])
def test_centre_of_mass_stays_at_zero(solver: Solver) -> None:
    assert drifts(CLOUDS, solver) < 1e-5  # the noise is float32
    assert drifts(replace(CLOUDS, space=Euclidean()), solver) > 0.1  # what does not project is noticed


def test_every_dimension_but_the_centre_is_free() -> None:
    """(N - 1) d, which is also how long noise is on average; of a point alone none."""
    value = torch.zeros(3, 5, 3)
    assert CLOUDS.dimension(value, MASK).tolist() == [(size - 1) * 3 for size in SIZES]
    assert Field(shape=(5, 3), space=ZeroCenterOfMass()).dimension(value, None).tolist() == [12] * 3
    assert replace(CLOUDS, space=Euclidean()).dimension(value, MASK).tolist() == [size * 3 for size in SIZES]
    noise = Draws(0, "prior", range(4000)).normal("x", (4000, 5, 3)).double()
    length = CLOUDS.tangent(noise, MASK[2].expand(4000, 5)).square().flatten(1).sum(1)
    assert float(length.mean()) == pytest.approx(9, abs=5 * math.sqrt(18 / 4000))


def test_projection_is_onto_the_nearest_centred_cloud() -> None:
    """It changes nothing twice, and what it takes away is at right angles to what stays."""
    value = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    value = value.masked_fill(~MASK[..., None], 0)
    nearest = CLOUDS.project(value, MASK)
    torch.testing.assert_close(CLOUDS.project(nearest, MASK), nearest)
    assert float(((value - nearest) * nearest).flatten(1).sum(1).abs().max()) < 1e-12
    assert off_the_centre(nearest) < 1e-12
    clean = State({"x": nearest}, MASK)
    process = JointProcess({"x": CLOUDS}, {"x": Gaussian(SCHEDULE)})
    levels = process.levels(torch.full((3,), 0.6, dtype=torch.float64))
    noisy = process.corrupt(clean, levels, Draws(0, "corrupt", range(3)))["x"]
    assert off_the_centre(noisy) < 1e-5
    assert not noisy[~MASK].any()


K = 3
FIELDS = {
    "x": CLOUDS,
    "c": Field(shape=(-1,), space=Categorical(K), layout=Masked(1)),
    "e": Field(shape=(-1, -1), space=Categorical(K, symmetric=True), layout=Masked(2)),
}


class Equivariant(nn.Module):
    """A network of atoms with places, classes and bonds, that sees distances alone.

    Args:
        bias: added to the last place of each sample, in one direction: breaks both symmetries.
    """

    condition_dim = 1

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(0.7 * torch.randn(shape, generator=generator, dtype=torch.float64))

        self.enter, self.pull, self.atoms, self.bonds = (
            weight(2 + 3 * (K + 1), 8),
            weight(8),
            weight(8, K),
            weight(8, K),
        )
        self.bias = bias

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        x, mask = state["x"], state.mask
        assert mask is not None
        c, e = (nn.functional.one_hot(state[name], K + 1).to(x) for name in ("c", "e"))
        difference = x[:, :, None] - x[:, None]
        distance = difference.square().sum(-1, keepdim=True)
        count = mask.shape[1]
        noise = log_snr["x"][:, None, None, None].expand(-1, count, count, 1)
        pairs = [distance / (1 + distance), noise, c[:, :, None].expand(-1, -1, count, -1)]
        pairs += [c[:, None].expand(-1, count, -1, -1), e]
        message = torch.tanh(torch.cat(pairs, -1) @ self.enter) * (mask[:, :, None] & mask[:, None])[..., None]
        place = (difference * (message @ self.pull)[..., None]).sum(2) / count
        place = place + self.bias * (torch.arange(count) == count - 1).to(x)[:, None] * f64([1.0, 0.0, 0.0])
        return {"x": place, "c": message.sum(2) @ self.atoms, "e": message @ self.bonds}


@dataclass(frozen=True)
class Moved:
    """Noise whose elements are permuted and whose vectors are turned."""

    noise: Draws
    order: Tensor
    turn: Tensor

    def normal(self, field: str, shape: Sequence[int]) -> Tensor:
        return self.noise.normal(field, shape).double()[:, self.order] @ self.turn

    def uniform(self, field: str, shape: Sequence[int]) -> Tensor:
        noise = self.noise.uniform(field, shape)
        if len(shape) == 3:  # pairs: of an undirected graph the upper half decides
            noise = torch.where(torch.ones_like(noise[0]).triu().bool(), noise, noise.transpose(1, 2))
            return noise[:, self.order][:, :, self.order]
        return noise[:, self.order]


@dataclass(frozen=True)
class MovedSeeds(Seeds):
    """Seeds of such noise."""

    order: Tensor
    turn: Tensor

    def at(self, purpose: str, step: int = 0) -> Moved:  # type: ignore[override]
        return Moved(super().at(purpose, step), self.order, self.turn)


def moved(state: State, order: Tensor, turn: Tensor) -> State:
    assert state.mask is not None
    fields = {"x": state["x"][:, order] @ turn, "c": state["c"][:, order], "e": state["e"][:, order][:, :, order]}
    return State(fields, state.mask[:, order])


def rotation() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    proper: Tensor = turn * torch.linalg.det(turn).sign()
    return proper


def changed_by_moving(network: nn.Module, solver: Solver, rule: TokenSolver, *, turned: bool, permuted: bool) -> float:
    """How much whole samples differ from those of moved noise; 1 and more where a class differs."""
    prior = (0.0,) * K + (1.0,) if isinstance(rule, Confidence) else (0.2, 0.3, 0.5)
    tokens = Discrete(SquaredCosine(), prior)
    process = JointProcess(FIELDS, {"x": Gaussian(SCHEDULE), "c": tokens, "e": tokens})
    denoiser = Denoiser(network, FIELDS)
    grid = uniform_lambda(solver.intervals(9), SCHEDULE)
    order = torch.tensor([3, 0, 4, 2, 1]) if permuted else torch.arange(5)
    turn = rotation() if turned else torch.eye(3, dtype=torch.float64)
    still = MovedSeeds(0, range(3), torch.arange(5), torch.eye(3, dtype=torch.float64))
    turning = MovedSeeds(0, range(3), order, turn)
    ends = []
    for seeds in (still, turning):
        mask = MASK[:, seeds.order]
        start = process.prior({"x": (3, 5, 3), "c": (3, 5), "e": (3, 5, 5)}, seeds.at("prior"), mask)
        ends.append(sample(denoiser, start, grid, Rules(solver, rule), process=process, seeds=seeds))
    expected = moved(ends[0], order, turn)
    classes = max(int((ends[1][name] != expected[name]).sum()) for name in ("c", "e"))
    assert all(bool(ends[0][name].any()) for name in ends[0])
    return classes + float((ends[1]["x"] - expected["x"]).abs().max())


@pytest.mark.parametrize("solver", [*SOLVERS.values(), *STOCHASTIC])
def test_samples_move_with_the_noise(solver: Solver) -> None:
    """Rotation and permutation of the noise, at the start and on the way, are those of the sample."""
    assert changed_by_moving(Equivariant(), solver, Ancestral(0.3), turned=True, permuted=True) < 1e-8


def test_confidence_knows_no_order_of_atoms() -> None:
    assert changed_by_moving(Equivariant(), DPMSolver2M(), Confidence(), turned=True, permuted=True) < 1e-8


@pytest.mark.parametrize(("turned", "permuted"), [(True, False), (False, True)])
def test_a_network_that_breaks_a_symmetry_is_noticed(turned: bool, permuted: bool) -> None:
    assert changed_by_moving(Equivariant(0.1), DDIM(), Ancestral(), turned=turned, permuted=permuted) > 1e-3
