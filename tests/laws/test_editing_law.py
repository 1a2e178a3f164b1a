"""Filling in, inversion and what lies between two samples, against conditional distributions in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from oracle import MIXTURE, SCHEDULES, f64
from oracle_guided import FIELDS, Exact, Labelled, Normal, clean, everything_network, joint_process
from torch import Tensor

from suffuse.editing import Known, Replace, between, fresh
from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.layouts import Filled
from suffuse.posterior import LogProbs, Posterior
from suffuse.processes import Discrete, Gaussian, JointProcess, Level, WrappedGaussian
from suffuse.sampling import (
    DDIM,
    Confidence,
    DPMSolver2M,
    DPMSolver2S,
    DPMSolver3M,
    Euler,
    Heun,
    Hook,
    Resample,
    Rules,
    Seeds,
    Solver,
    grids,
    invert,
    plans,
    sample,
)
from suffuse.sampling.hooks import Moment
from suffuse.schedules import EDM, SquaredCosine
from suffuse.spaces import Categorical, Torus
from suffuse.state import State

SOLVERS: dict[str, Solver] = {
    "ddim": DDIM(),
    "ancestral": DDIM(1.0),
    "euler": Euler(),
    "heun": Heun(),
    "churn": Heun(churn=10.0),
    "2s": DPMSolver2S(),
    "2m": DPMSolver2M(),
    "2m sde": DPMSolver2M(1.0),
    "3m": DPMSolver3M(),
}
KINDS: dict[str, type[Replace] | type[Known]] = {"replace": Replace, "known": Known}

# Every kind of field -----------------------------------------------------------------------------------------------

GIVEN = clean([4], seed=3)
MADE = torch.tensor([True, False, True, False])
"""Which elements are made anew."""

MASKS = {
    "positions": MADE,
    "angles": MADE[:, None].expand(4, 2),
    "atoms": MADE[None],
    "bonds": MADE[:, None] | MADE,
}
"""In each of the shapes that a mask may have."""


def fill(hook: Hook, solver: Solver, resample: Resample | None = None) -> State:
    process, seeds = joint_process(), Seeds(0, range(3))
    start = fresh(GIVEN, process)(seeds)
    start = start.replace(**{name: start[name].double() for name in ("positions", "angles")})
    grid = grids.uniform(solver.intervals(5), process.schedule)
    rules = Rules(solver)
    return sample(
        everything_network(), start, grid, rules, process=process, seeds=seeds, hooks=[hook], resample=resample
    )


@pytest.mark.parametrize("resample", [None, Resample(2, 2)])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_known_is_kept_in_every_bit(kind: str, solver: str, resample: Resample | None) -> None:
    made = fill(KINDS[kind](GIVEN, MASKS, FIELDS), SOLVERS[solver], resample)
    for name, mask in MASKS.items():
        kept = ~(mask if name == "bonds" else MADE)
        assert torch.equal(made[name][:, kept], GIVEN[name][:, kept].expand_as(made[name][:, kept]))
    assert not torch.equal(made["positions"][:, MADE], GIVEN["positions"][:, MADE].expand(3, -1, -1))
    assert made["positions"].sum(1).abs().max() < 1e-9 * made["positions"].abs().max()
    assert torch.equal(made["bonds"], made["bonds"].transpose(1, 2))


def test_fields_that_the_mask_does_not_name_are_made_anew() -> None:
    made = fill(Replace(GIVEN, {"atoms": MADE}, FIELDS), DDIM())
    assert torch.equal(made["atoms"][:, ~MADE], GIVEN["atoms"][:, ~MADE].expand(3, -1))
    assert not torch.equal(made["angles"][:, ~MADE], GIVEN["angles"][:, ~MADE].expand(3, -1, -1))


class Late(Replace):
    """The mutant: what is known is put back before the network looks, and not after the last step."""

    def after_step(self, state: State, moment: Moment) -> State:
        return state

    def before_denoise(self, state: State, moment: Moment) -> State:
        return self._noised(state, moment)


def test_a_part_that_is_not_put_back_at_the_end_is_noticed() -> None:
    made = fill(Late(GIVEN, MASKS, FIELDS), DDIM())
    assert not torch.equal(made["positions"][:, ~MADE], GIVEN["positions"][:, ~MADE].expand(3, -1, -1))


def test_the_network_is_told_what_is_known() -> None:
    """By element where a part of a field is, for the whole sample where all of it is, and nothing where none is."""
    whole = {**MASKS, "atoms": torch.zeros(4, dtype=torch.bool), "angles": torch.ones(4, dtype=torch.bool)}
    hook, process = Known(GIVEN, whole, FIELDS), joint_process()
    levels = process.levels(torch.full((3,), 0.5, dtype=torch.float64))
    told = hook.levels(levels, clean([4, 4, 4]), Moment(0, 1, 0.5, process, Seeds(0, range(3))))
    assert told["positions"].sigma.shape == (3, 4)
    assert (told["positions"].sigma[:, ~MADE] == 0).all()
    assert (told["positions"].alpha[:, ~MADE] == 1).all()
    assert torch.equal(told["positions"].sigma[:, MADE], levels["positions"].sigma[:, None].expand(3, 2))
    assert (told["positions"].log_snr[:, ~MADE] == process.processes["positions"].schedule.log_snr_max).all()
    assert told["bonds"].alpha.shape == (3, 4, 4)
    assert (told["bonds"].alpha == 1)[0].equal(~(MADE[:, None] | MADE))
    assert told["atoms"].alpha.shape == (3,)
    assert (told["atoms"].alpha == 1).all()
    assert told["angles"] is levels["angles"]


def test_classes_revealed_in_order_of_confidence_keep_what_is_known() -> None:
    fields = {"atoms": Field(shape=(6,), space=Categorical(4))}
    process = JointProcess(fields, {"atoms": Discrete(SquaredCosine(), (0.0,) * 4 + (1.0,))})
    given = State({"atoms": torch.tensor([[0, 1, 2, 3, 0, 1]])})
    unknown = torch.tensor([True, False, True, True, False, True])

    def believe(state: State, levels: object, condition: object = None) -> Posterior:
        return {"atoms": LogProbs.of(torch.linspace(0, 1, 4, dtype=torch.float64).expand(5, 6, 4))}

    for kind in KINDS.values():
        hook, seeds = kind(given, {"atoms": unknown}, fields), Seeds(0, range(5))
        rules = Rules(DDIM(), Confidence())
        start, grid = fresh(given, process)(seeds), grids.uniform(4, process.schedule)
        made = sample(believe, start, grid, rules, process=process, seeds=seeds, hooks=[hook])["atoms"]
        assert torch.equal(made[:, ~unknown], given["atoms"][:, ~unknown].expand(5, -1))
        assert int(made.max()) < 4


# Conditional distributions -----------------------------------------------------------------------------------------

SPREAD = f64([[1.0, 0.8, 0.3], [0.8, 1.0, 0.0], [0.3, 0.0, 0.7]])
TRIPLE = Normal(fields={"x": Field(shape=(3,))}, center=f64([0.3, -0.2, 0.1]), spread=SPREAD)
SEEN = State({"x": f64([[0.0, 1.4, 0.0]])})
HIDDEN = torch.tensor([True, False, True])
"""The second coordinate is known to be 1.4."""

PROCESS = JointProcess(TRIPLE.fields, {"x": Gaussian(SCHEDULES["cosine"])})


def conditional() -> tuple[Tensor, Tensor]:
    """Mean and covariance of the hidden coordinates given the known one."""
    gain = SPREAD[HIDDEN][:, ~HIDDEN] @ torch.linalg.inv(SPREAD[~HIDDEN][:, ~HIDDEN])
    center = TRIPLE.center[HIDDEN] + gain @ (SEEN["x"][0, ~HIDDEN] - TRIPLE.center[~HIDDEN])
    return center, SPREAD[HIDDEN][:, HIDDEN] - gain @ SPREAD[~HIDDEN][:, HIDDEN]


def filled(hook: Hook, solver: Solver, steps: int, count: int, resample: Resample | None = None) -> Tensor:
    seeds = Seeds(0, range(count))
    prior = fresh(SEEN, PROCESS)(seeds).map(lambda value: value.double())
    grid = grids.uniform_lambda(solver.intervals(steps), PROCESS.schedule)
    made = sample(TRIPLE, prior, grid, solver, process=PROCESS, seeds=seeds, hooks=[hook], resample=resample)
    return made["x"][:, HIDDEN]


class Untold(Known):
    """The mutant: known elements are kept, and the network is not told."""

    def levels(self, levels: Mapping[str, Level], state: State, moment: Moment) -> Mapping[str, Level]:
        return levels


def off_the_conditional(hook: Hook, solver: Solver) -> float:
    """The largest error of mean and covariance, seen from single noises: a deterministic walk is affine."""
    start = torch.cat([torch.zeros(1, 3), torch.eye(3)]).double()
    grid = grids.uniform_lambda(solver.intervals(200), PROCESS.schedule)
    made = sample(TRIPLE, State({"x": start}), grid, solver, process=PROCESS, seeds=Seeds(0, range(4)), hooks=[hook])
    made_hidden = made["x"][:, HIDDEN]
    push = (made_hidden[1:] - made_hidden[0]).T
    center, spread = conditional()
    return float(torch.stack([(made_hidden[0] - center).abs().max(), (push @ push.T - spread).abs().max()]).max())


@pytest.mark.parametrize("solver", ["ddim", "2m", "heun"])
def test_known_elements_give_the_exact_conditional(solver: str) -> None:
    """With a denoiser that is exact at levels of their own for each element."""
    tolerance = 0.05 if solver == "ddim" else 0.01
    assert off_the_conditional(Known(SEEN, {"x": HIDDEN}), SOLVERS[solver]) < tolerance
    assert off_the_conditional(Untold(SEEN, {"x": HIDDEN}), SOLVERS[solver]) > 10 * tolerance


def test_resampling_brings_made_and_given_parts_to_agree() -> None:
    """Replacement alone draws from something else than the conditional; going back and forth nears it."""
    center, spread = conditional()
    floor = 4 * math.sqrt(float(spread.diagonal().max()) / 3000)
    means, covariances = [], []
    for repeats in (1, 2, 8):
        made = filled(Replace(SEEN, {"x": HIDDEN}), DPMSolver2M(1.0), 40, 3000, Resample(5, repeats))
        means.append(float((made.mean(0) - center).abs().max()))
        covariances.append(float((torch.cov(made.T) - spread).abs().max()))
    for errors in (means, covariances):
        assert errors[0] > 3 * floor
        assert errors[0] > 1.3 * errors[1] > 1.5 * errors[2]
        assert errors[2] < errors[0] / 2.5


def test_resampling_tells_its_evaluations() -> None:
    grid = grids.uniform(10, PROCESS.schedule)
    assert plans(grid, DDIM(), PROCESS).evaluations == 10
    assert plans(grid, DDIM(), PROCESS, Resample(3, 4)).evaluations == 4 * 9 + 1
    assert plans(grid, DDIM(), PROCESS, Resample(1, 1)).evaluations == 10


# Inversion ---------------------------------------------------------------------------------------------------------


def off_the_round_trip(solver: Solver, steps: int) -> float:
    """How far samples of a mixture are from themselves after a way to noise and back."""
    data = Labelled(data=MIXTURE)
    process = JointProcess(Exact().fields, {"x": Gaussian(EDM(sigma_min=1e-4, sigma_max=20.0))})
    given = State({"x": MIXTURE.means[torch.arange(12) % 3] + 0.3 * torch.randn(12, 2, generator=_seeded()).double()})
    grid = grids.uniform_lambda(solver.intervals(steps), process.schedule)
    noise = invert(data, given, grid, solver, process=process)
    made = sample(data, noise, grid, solver, process=process, seeds=Seeds(0, range(12)))
    return float((made["x"] - given["x"]).square().mean().sqrt())


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("solver", ["ddim", "euler", "2m", "2s", "heun", "3m"])
def test_reconstruction_has_the_order_of_its_solver(solver: str) -> None:
    """The errors of the two ways do not cancel; they fall at least as fast as those of one of them."""
    chosen = SOLVERS[solver]
    coarse, fine = (off_the_round_trip(chosen, steps) for steps in (96, 192))
    assert fine < 0.15 if chosen.order == 1 else fine < 0.01
    assert math.log2(coarse / fine) > chosen.order - 0.35


def test_noise_of_another_sample_is_noticed() -> None:
    """The mutant: the way back begins at fresh noise."""
    data = Labelled(data=MIXTURE)
    process = JointProcess(Exact().fields, {"x": Gaussian(EDM(sigma_min=1e-4, sigma_max=20.0))})
    given = State({"x": MIXTURE.means})
    seeds = Seeds(0, range(3))
    start = process.prior({"x": (3, 2)}, seeds.at("prior")).map(lambda value: value.double())
    grid = grids.uniform_lambda(96, process.schedule)
    made = sample(data, start, grid, DDIM(), process=process, seeds=seeds)
    assert float((made["x"] - given["x"]).abs().max()) > 0.3


def test_classes_have_no_way_back() -> None:
    process = joint_process()
    with pytest.raises(ConfigError, match="the field atoms is categorical"):
        invert(everything_network(), GIVEN, [1.0, 0.5, 0.0], DDIM(), process=process)


# Between two samples -----------------------------------------------------------------------------------------------

RING = {"x": Field(shape=(2,), space=Torus(2.0))}
TORUS = JointProcess(RING, {"x": WrappedGaussian(EDM(sigma_min=0.004, sigma_max=2.0))})


def noises(count: int = 40) -> tuple[State, State]:
    parts = torch.randn(2, 1, count, generator=_seeded(), dtype=torch.float64)
    return State({"x": parts[0]}), State({"x": 2 * parts[1]})


def test_the_ends_of_an_interpolation_are_the_two_noises() -> None:
    first, second = noises()
    process = JointProcess({"x": Field(shape=(40,))}, PROCESS.processes)
    made = between(first, second, process, [0.0, 0.3, 1.0])["x"]
    torch.testing.assert_close(made[[0, 2]], torch.cat([first["x"], second["x"]]))


def test_an_interpolation_keeps_the_length_of_noise() -> None:
    """A straight line would pass through much shorter vectors, which are no noise; that is the mutant."""
    first, second = noises()
    first, second = (state.map(lambda value: value / value.norm()) for state in (first, second))
    process = JointProcess({"x": Field(shape=(40,))}, PROCESS.processes)
    made = between(first, second, process, [i / 10 for i in range(11)])["x"]
    torch.testing.assert_close(made.norm(dim=1), torch.ones(11, dtype=torch.float64))
    assert float(torch.lerp(first["x"], second["x"], 0.5).norm()) < 0.9
    steps = (made[1:] - made[:-1]).norm(dim=1)
    torch.testing.assert_close(steps, steps[:1].expand(10))


def test_a_torus_is_crossed_the_shorter_way() -> None:
    first, second = State({"x": f64([[0.1, 0.4]])}), State({"x": f64([[1.9, 0.8]])})
    made = between(first, second, TORUS, [0.0, 0.25, 1.0])["x"]
    torch.testing.assert_close(made, f64([[0.1, 0.4], [0.05, 0.5], [1.9, 0.8]]))


def test_interpolated_samples_end_at_their_inputs() -> None:
    data, solver = Labelled(data=MIXTURE), DPMSolver2M()
    process = JointProcess(Exact().fields, {"x": Gaussian(EDM(sigma_min=1e-4, sigma_max=20.0))})
    given = State({"x": MIXTURE.means[:2]})
    grid = grids.uniform_lambda(200, process.schedule)
    found = invert(data, given, grid, solver, process=process)
    start = between(found.rows(slice(1)), found.rows(slice(1, 2)), process, [i / 8 for i in range(9)])
    made = sample(data, start, grid, solver, process=process, seeds=Seeds(0, range(9)))["x"]
    torch.testing.assert_close(made[[0, -1]], given["x"], rtol=0, atol=5e-3)
    assert (made[1:-1] - given["x"][0]).norm(dim=1).min() > 1e-3


def test_samples_that_are_filled_up_differently_have_something_between_them() -> None:
    first, second = noises()
    filled = JointProcess({"x": Field(shape=(40,), layout=Filled())}, PROCESS.processes)
    marked = (State(state.fields, torch.arange(40)[None] < end) for state, end in ((first, 30), (second, 20)))
    torch.testing.assert_close(between(*marked, filled, [0.5])["x"], between(first, second, filled, [0.5])["x"])


def test_there_is_nothing_between_two_classes() -> None:
    with pytest.raises(ConfigError, match="the field atoms is of classes"):
        between(GIVEN, clean([4], seed=5), joint_process(), [0.5])
    with pytest.raises(ConfigError, match="of different size"):
        between(GIVEN, clean([3]), joint_process(), [0.5])


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"atom": MADE}, "there is no field atom .*did you mean 'atoms'"),
        ({"atoms": MADE.double()}, "the field atoms needs true and false, not float64"),
        ({"atoms": MADE[:3]}, r"the field atoms needs the shape \[4\].*not \[3\]"),
        ({"positions": torch.ones(4, 2, dtype=torch.bool)}, r"the field positions needs the shape \[4, 3\]"),
        ({"positions": torch.ones(1, 1, 4, 3, dtype=torch.bool)}, "the field positions needs the shape"),
        ({"bonds": MADE}, "the field bonds is of undirected pairs"),
    ],
)
def test_masks_that_do_not_fit_are_refused(kind: str, mask: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        KINDS[kind](GIVEN, mask, FIELDS)
    assert "\n" not in str(caught.value)


def test_elements_that_are_known_in_part_cannot_be_told() -> None:
    cut = torch.ones(4, 3, dtype=torch.bool)
    cut[1, 0] = False
    Replace(GIVEN, {"positions": cut}, FIELDS)
    with pytest.raises(ConfigError, match="takes the elements of the field positions whole"):
        Known(GIVEN, {"positions": cut}, FIELDS)
