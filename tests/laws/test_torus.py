"""Periodic fields: the score of a wrapped normal, the order of every rule on a torus, and that nothing knows where the
circle was cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from oracle import f64
from oracle_torus import RING, flow, log_wrapped
from scipy import stats
from scipy.integrate import quad
from torch import Tensor, nn
from walks import along, travel

from suffuse.denoiser import Denoiser
from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.layouts import Masked
from suffuse.noise import Draws
from suffuse.posterior import Posterior, Tangent
from suffuse.processes import Gaussian, JointProcess, Level, WrappedGaussian
from suffuse.processes.wrapped import displacement_scale, wrapped, wrapped_score
from suffuse.sampling import (
    DDIM,
    DPMSolver2M,
    DPMSolver2S,
    DPMSolver3M,
    Heun,
    Seeds,
    Solver,
    karras,
    sample,
    uniform_lambda,
)
from suffuse.schedules import EDM, Cosine, LinearBetaVP, RectifiedFlow, Schedule
from suffuse.spaces import Euclidean, Torus
from suffuse.state import State

PERIOD = RING.period
SCHEDULE = EDM(0.002 * PERIOD, PERIOD)
SOLVERS: dict[str, Solver] = {
    "ddim": DDIM(),
    "heun": Heun(),
    "2s": DPMSolver2S(),
    "2m": DPMSolver2M(),
    "3m": DPMSolver3M(),
}
STOCHASTIC: list[Solver] = [DDIM(1.0), DPMSolver2M(1.0), DPMSolver3M(1.0), Heun(churn=4.0)]


def process(shape: tuple[int, ...] = (2,), **settings: object) -> JointProcess:
    spec = Field(shape=shape, space=Torus(PERIOD), **settings)  # type: ignore[arg-type]
    return JointProcess({"x": spec}, {"x": WrappedGaussian(SCHEDULE)})


Score = Callable[[Tensor, Tensor, float], Tensor]


def off_the_score(score: Score, period: float) -> float:
    """The largest deviation from the slope of a long sum, in units of the score's own scale 1 / sigma."""
    ratio = torch.cat([torch.linspace(0.01, 0.49, 9), torch.linspace(0.5, 1.3, 9)]).double()
    apart = (torch.linspace(-2.5, 2.5, 101, dtype=torch.float64) * period).requires_grad_()
    worst = 0.0
    for sigma in ratio * period:
        (exact,) = torch.autograd.grad(log_wrapped(apart, sigma**2, period).sum(), apart)
        worst = max(worst, float((sigma * (score(apart.detach(), sigma, period) - exact)).abs().max()))
    return worst


def only_the_nearest_way(apart: Tensor, sigma: Tensor, period: float) -> Tensor:
    return -(apart - period * (apart / period).round()) / sigma**2


def fourier_without_the_ground(apart: Tensor, sigma: Tensor, period: float) -> Tensor:
    """The first term of the series alone."""
    decay = torch.exp(-2 * (math.pi * sigma / period) ** 2)
    angle = 2 * math.pi * apart / period
    return -4 * math.pi / period * decay * angle.sin() / (1 + 2 * decay * angle.cos())


@pytest.mark.parametrize("period", [1.0, 2.0, 2 * math.pi])
def test_score_is_the_slope_of_the_density(period: float) -> None:
    assert off_the_score(wrapped_score, period) < 1e-10


@pytest.mark.parametrize("score", [only_the_nearest_way, fourier_without_the_ground])
def test_a_score_with_too_few_terms_is_noticed(score: Score) -> None:
    assert off_the_score(score, PERIOD) > 1e-2


def test_both_sides_of_half_a_period_are_one_function() -> None:
    """The sum over ways round and the Fourier series meet."""
    apart = torch.linspace(-1, 1, 201, dtype=torch.float64)
    below, above = (wrapped_score(apart, f64(0.5 + side * 1e-13), 1.0) for side in (-1, 1))
    torch.testing.assert_close(below, above, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("period", [1.0, 2.0])
def test_displacement_scale_is_the_deviation_of_the_score(period: float) -> None:
    for ratio in (0.005, 0.03, 0.1, 0.217, 0.4, 0.5, 0.7, 0.8):
        sigma = f64(ratio * period)

        def integrand(x: float, sigma: Tensor = sigma) -> float:
            density = float(log_wrapped(f64(x), sigma**2, period).exp())
            return density * float(sigma * wrapped_score(f64(x), sigma, period)) ** 2

        wide = min(period / 2, 12 * float(sigma))
        exact = math.sqrt(quad(integrand, -wide, wide, epsabs=0, epsrel=1e-9, limit=200)[0])
        assert float(displacement_scale(f64(ratio))) == pytest.approx(exact, rel=1e-4)
    assert (displacement_scale(f64([1.5, 10.0])) == 1e-6).all()
    assert displacement_scale(torch.tensor([0.1])).dtype == torch.float32


START, END = 0.6 * PERIOD, 0.02 * PERIOD


@pytest.fixture(scope="module")
def flowed() -> tuple[Tensor, Tensor]:
    """Points at sigma `START`, and where the exact flow takes them at `END`."""
    x = PERIOD * torch.rand(8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, flow(RING, x, START, END)


def measured_order(solver: Solver, flowed: tuple[Tensor, Tensor], data: Callable[..., Posterior] = RING) -> float:
    """The slope of log error over log steps, on a grid that is even in log sigma."""
    errors = []
    for steps in (80, 240):
        log_snrs = torch.linspace(-math.log(START), -math.log(END), steps + 1, dtype=torch.float64)
        grid = SCHEDULE.time(log_snrs).tolist()
        end = travel(data, State({"x": flowed[0]}), along(grid, solver, process()), process())["x"]
        errors.append(float((end - flowed[1]).square().mean().sqrt()))
    return math.log(errors[0] / errors[1]) / math.log(3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_order(solver: str, flowed: tuple[Tensor, Tensor]) -> None:
    assert measured_order(SOLVERS[solver], flowed) == pytest.approx(SOLVERS[solver].order, abs=0.15)


def from_the_wrapped_point(
    state: State,
    levels: Mapping[str, Level],
    condition: Mapping[str, Tensor] | None = None,
    previous: Posterior | None = None,
) -> Posterior:
    """The mutant: histories of points that have come round, which jump by a period where a walk crosses the cut."""
    belief = RING(state, levels)["x"]
    assert isinstance(belief, Tangent)
    return {"x": Tangent(belief.value, torch.remainder(belief.point, PERIOD))}


@pytest.mark.parametrize("solver", ["2s", "2m", "3m"])
def test_a_history_across_the_cut_is_noticed(solver: str, flowed: tuple[Tensor, Tensor]) -> None:
    assert measured_order(SOLVERS[solver], flowed, from_the_wrapped_point) < SOLVERS[solver].order - 0.5


def made(solver: Solver, start: Tensor, data: Callable[..., Posterior] = RING, steps: int = 12) -> Tensor:
    grid = karras(solver.intervals(steps), SCHEDULE)
    seeds = Seeds(0, range(len(start)))
    return sample(data, State({"x": start}), grid, solver, process=process(), seeds=seeds)["x"]


def apart(a: Tensor, b: Tensor) -> float:
    """The largest distance, the short way round."""
    return float(Torus(PERIOD).difference(a, b).abs().max())


@pytest.mark.parametrize("solver", [*SOLVERS.values(), *STOCHASTIC])
def test_samples_lie_within_the_period_and_know_no_origin(solver: Solver) -> None:
    """Data and noise that are turned give samples that are turned; so do noises that are whole periods off."""
    start = process().prior({"x": (32, 2)}, Draws(0, "prior", range(32)))["x"].double()
    end = made(solver, start)
    assert float(end.min()) >= 0
    assert float(end.max()) < PERIOD
    by = f64([0.7, -1.3])
    assert apart(made(solver, start + by, RING.moved(by)), end + by) < 1e-9
    assert apart(made(solver, start + f64([3 * PERIOD, -PERIOD])), end) < 1e-9
    assert apart(made(solver, start + by), end + by) > 0.1  # it is the data that must turn too


def test_samples_have_the_distribution_of_the_data() -> None:
    """As far as a test of each coordinate sees it."""
    start = process().prior({"x": (2000, 2)}, Draws(0, "prior", range(2000)))["x"].double()
    end = made(DPMSolver2M(), start, steps=20)
    for axis in range(2):
        grid = torch.linspace(0, PERIOD, 2001, dtype=torch.float64)
        each = log_wrapped(grid[:, None] - RING.means[:, axis], RING.deviations**2, PERIOD).exp()
        total = torch.cumulative_trapezoid(each @ RING.weights, grid)

        def cumulative(x: object, total: Tensor = total) -> object:
            return total[(f64(x) / PERIOD * 2000).long().clamp(1, 2000) - 1].numpy()

        assert stats.kstest(end[:, axis].numpy(), cumulative).pvalue > 1e-3
        assert stats.kstest(start[:, axis].numpy(), cumulative).pvalue < 1e-6


class Pairs(nn.Module):
    """A network of angles that sees nothing but differences."""

    condition_dim = 1

    def __init__(self, slip: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(f64([0.8, -0.5]))
        self.slip = slip

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        x, mask = state["x"], state.mask
        assert mask is not None
        assert float(x.min()) >= 0
        assert float(x.max()) < PERIOD
        angle = 2 * math.pi / PERIOD * (x[:, None] - x[:, :, None])
        pull = self.weight[0] * angle.sin() + self.weight[1] * (2 * angle).sin()
        pull = pull.masked_fill(~mask[:, None, :, None], 0).sum(2) * torch.tanh(log_snr["x"])[:, None, None]
        return {"x": pull + self.slip * x}


MASK = torch.arange(5) < torch.tensor([[5], [2], [4]])


def changed_by_turning(network: Pairs, solver: Solver) -> float:
    """How much whole samples of sets of angles differ from those of turned noise, turned back."""
    here = process((-1, 2), layout=Masked(1))
    denoiser = Denoiser(network, here.fields)
    start = here.prior({"x": (3, 5, 2)}, Draws(0, "prior", range(3)), MASK)["x"].double()
    by, ends = f64([0.9, -0.4]), []
    for moved in (start, (start + by).masked_fill(~MASK[..., None], 0)):
        grid = uniform_lambda(solver.intervals(8), SCHEDULE)
        ends.append(sample(denoiser, State({"x": moved}, MASK), grid, solver, process=here, seeds=Seeds(0, range(3))))
    assert not any(end["x"][~MASK].any() for end in ends)
    return apart(ends[0]["x"][MASK], ends[1]["x"][MASK] - by)


@pytest.mark.parametrize("solver", [*SOLVERS.values(), *STOCHASTIC])
def test_networks_of_differences_have_samples_that_turn(solver: Solver) -> None:
    assert changed_by_turning(Pairs(), solver) < 1e-9


def test_a_network_of_places_is_noticed() -> None:
    assert changed_by_turning(Pairs(slip=0.05), DDIM()) > 1e-3


def test_prior_is_even() -> None:
    start = process().prior({"x": (2000, 2)}, Draws(3, "prior", range(2000)))["x"]
    assert float(start.min()) >= 0
    assert float(start.max()) < PERIOD
    assert stats.kstest(start.flatten().numpy() / PERIOD, "uniform").pvalue > 1e-3


def test_corruption_at_the_noisiest_level_is_even() -> None:
    """Whatever the clean value: the walk begins where the corruption ends."""
    here = process()
    clean = State({"x": torch.full((2000, 2), 0.3, dtype=torch.float64)})
    noisy = here.corrupt(clean, here.levels(torch.ones(2000, dtype=torch.float64)), Draws(4, "corrupt", range(2000)))
    assert stats.kstest(noisy["x"].flatten().numpy() / PERIOD, "uniform").pvalue > 1e-3


def test_error_of_the_true_displacement_is_none() -> None:
    """Of the displacement of one clean value; in units of its own variance, an absent network's error is 1."""
    here, generator = process((1,)), torch.Generator().manual_seed(0)
    spec, kind = here.fields["x"], here.processes["x"]
    for ratio in (0.05, 0.3, 0.8):
        sigma = torch.full((20_000,), ratio * PERIOD, dtype=torch.float64)
        level = Level(torch.ones_like(sigma), sigma, -sigma.log())
        clean = PERIOD * torch.rand(20_000, 1, generator=generator, dtype=torch.float64)
        noise = torch.randn(20_000, 1, generator=generator, dtype=torch.float64)
        noisy = kind.corrupt(clean, level, noise, spec, None)
        target = sigma[:, None] ** 2 * wrapped_score(noisy - clean, sigma[:, None], PERIOD)
        assert float(kind.error(Tangent(target, noisy), clean, noisy, level, spec).max()) < 1e-20
        nothing = kind.error(Tangent(torch.zeros_like(target), noisy), clean, noisy, level, spec)
        assert float(nothing.mean()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("schedule", [Cosine(), LinearBetaVP(), RectifiedFlow()])
def test_schedules_that_fade_the_signal_are_refused(schedule: Schedule) -> None:
    with pytest.raises(ConfigError, match=f"{type(schedule).__name__} fades the signal.*edm"):
        WrappedGaussian(schedule)


def test_too_little_noise_is_refused() -> None:
    """At the noisiest level nothing of the data may be left, or the even prior is not where the walk begins."""
    spec = Field(shape=(1,), space=Torus(PERIOD))
    assert wrapped(spec, EDM(0.01, 0.6 * PERIOD)) == WrappedGaussian(EDM(0.01, 0.6 * PERIOD))
    with pytest.raises(ConfigError, match=r"sigma_max is 0\.5 periods"):
        wrapped(spec, EDM(0.01, 0.5 * PERIOD))
    with pytest.raises(ConfigError, match="only a periodic field"):
        wrapped(replace(spec, space=Euclidean()), SCHEDULE)
    with pytest.raises(ConfigError, match="period"):
        Torus(0.0)


def test_a_plan_of_a_torus_is_that_of_numbers() -> None:
    """Where nothing wraps, a walk is the same as on the line."""
    line = JointProcess({"x": Field(shape=(2,))}, {"x": Gaussian(SCHEDULE)})
    start = State({"x": torch.full((1, 2), 1.0, dtype=torch.float64)})
    grid: Sequence[float] = SCHEDULE.time(-f64([0.2, 0.15, 0.1, 0.05, 0.02]).log()).tolist()
    for solver in SOLVERS.values():
        round_ = travel(RING, start, along(grid, solver, process()), process())["x"]
        straight = travel(RING, start, along(grid, solver, line), line)["x"]
        torch.testing.assert_close(round_, straight, rtol=1e-12, atol=1e-12)
