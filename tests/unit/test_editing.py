"""What is given of a sample is there at the end in every bit, and is noisy at its level on the way."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from suffuse.denoiser import Denoiser
from suffuse.editing import Replace, noised
from suffuse.fields import Field
from suffuse.processes import Gaussian, JointProcess
from suffuse.sampling import DDIM, DPMSolver2M, Heun, Hook, Seeds, Solver, grids, sample
from suffuse.sampling.hooks import Moment
from suffuse.schedules import EDM, Cosine, LinearBetaVP, RectifiedFlow, Schedule
from suffuse.state import State
from tiny import Perceptron

DIM = 6
FIELDS = {"x": Field(shape=(DIM,))}
GIVEN = State({"x": torch.linspace(-1.3, 1.7, DIM)[None]})
UNKNOWN = State({"x": torch.tensor([True, True, False, False, True, False])})
KNOWN = ~UNKNOWN["x"]
SCHEDULES: dict[str, Schedule] = {"vp": LinearBetaVP(), "edm": EDM(), "flow": RectifiedFlow(), "cosine": Cosine()}
SOLVERS: dict[str, Solver] = {"ddim": DDIM(), "ancestral": DDIM(1.0), "2m": DPMSolver2M(), "heun": Heun()}


class Trace(Hook):
    """The states on the way, with their clocks; put it after the hook that is looked at."""

    def __init__(self) -> None:
        self.states: list[tuple[float, Tensor]] = []

    def before_denoise(self, state: State, moment: Moment) -> State:
        self.states.append((moment.clock, state["x"].clone()))
        return state


def fill(solver: Solver, schedule: Schedule, hooks: list[Hook], indices: list[int] | range = range(5)) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Denoiser(Perceptron(DIM), FIELDS).eval()
    process, seeds = JointProcess(FIELDS, {"x": Gaussian(schedule)}), Seeds(0, indices)
    prior = process.prior({"x": (len(indices), DIM)}, seeds.at("prior"))
    grid = grids.karras(8, schedule)
    return sample(network, prior, grid, solver, process=process, seeds=seeds, hooks=hooks)["x"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_known_part_is_exact_at_the_end(solver: str, schedule: str) -> None:
    made = fill(SOLVERS[solver], SCHEDULES[schedule], [Replace(GIVEN, UNKNOWN)])
    assert torch.equal(made[:, KNOWN], GIVEN["x"][:, KNOWN].expand(5, -1))
    assert len(torch.unique(made[:, ~KNOWN], dim=0)) == 5
    assert not torch.equal(fill(SOLVERS[solver], SCHEDULES[schedule], [])[:, KNOWN], made[:, KNOWN])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_known_part_has_the_noise_of_its_level_on_the_way(solver: str, schedule: str) -> None:
    """It is alpha x_0 + sigma eps with one eps, standard normal, all along."""
    chosen, trace = SCHEDULES[schedule], Trace()
    count = 500
    fill(SOLVERS[solver], chosen, [Replace(GIVEN, UNKNOWN), trace], range(count))
    given = GIVEN["x"][:, KNOWN].double()
    noises = []
    for clock, state in trace.states:
        alpha, sigma = chosen.alpha_sigma(chosen.log_snr(torch.tensor(clock, dtype=torch.float64)))
        noises.append((state[:, KNOWN].double() - alpha * given) / sigma)
    for eps in noises:
        assert abs(float(eps.mean())) < 4.5 / math.sqrt(eps.numel())
        assert float(eps.var()) == pytest.approx(1, abs=4.5 * math.sqrt(2 / eps.numel()))
    torch.testing.assert_close(noises[0], noises[len(noises) // 2], rtol=1e-2, atol=1e-2)


def test_nothing_known_is_free() -> None:
    everything = State({"x": torch.ones(DIM, dtype=torch.bool)})
    assert torch.equal(fill(DDIM(), Cosine(), [Replace(GIVEN, everything)]), fill(DDIM(), Cosine(), []))


def test_filled_samples_belong_to_their_seed() -> None:
    hook = Replace(GIVEN, UNKNOWN)
    whole = fill(DDIM(1.0), Cosine(), [hook], range(8))
    assert torch.equal(fill(DDIM(1.0), Cosine(), [hook], range(7, -1, -1)), whole.flip(0))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_variations_start_at_the_level_asked_for(schedule: str) -> None:
    chosen = SCHEDULES[schedule]
    process = JointProcess(FIELDS, {"x": Gaussian(chosen)})
    begin = noised(GIVEN, process, 0.4)
    made = begin(Seeds(0, range(1000)))["x"]
    alpha, sigma = chosen.alpha_sigma(chosen.log_snr(torch.tensor(0.4, dtype=torch.float64)))
    eps = (made.double() - alpha * GIVEN["x"]) / sigma
    assert abs(float(eps.mean())) < 4.5 / math.sqrt(eps.numel())
    assert float(eps.var()) == pytest.approx(1, abs=4.5 * math.sqrt(2 / eps.numel()))
    assert torch.equal(begin(Seeds(0, [17, 3]))["x"], made[[17, 3]])
