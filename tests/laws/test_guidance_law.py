"""What guidance must be equal to: products of distributions, Bayes' rule for what is linear and Gaussian, and nothing
at all where it is switched off; for classes and periodic values as for numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from oracle import MIXTURE, SCHEDULES, Mixture, f64, level
from oracle_guided import FIELDS, Exact, Labelled, Normal, clean, everything_network, joint_process, log_density
from torch import Tensor

from suffuse.data import Measurement
from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.guidance import Autoguidance, ClassifierFree, PosteriorSampling, PropertyGuidance, Wrapper
from suffuse.guidance.looks import Route
from suffuse.posterior import LogProbs, Mean, Posterior, Tangent
from suffuse.processes import Gaussian, JointProcess, Level, WrappedGaussian
from suffuse.processes.wrapped import wrapped_score
from suffuse.sampling import (
    DDIM,
    DPMSolver2M,
    DPMSolver2S,
    DPMSolver3M,
    Euler,
    Heun,
    Rules,
    Seeds,
    Solver,
    grids,
    sample,
)
from suffuse.schedules import EDM
from suffuse.spaces import Categorical, Torus
from suffuse.state import State

SOLVERS: dict[str, Solver] = {
    "ddim": DDIM(),
    "ancestral": DDIM(1.0),
    "euler": Euler(),
    "heun": Heun(),
    "2s": DPMSolver2S(),
    "2m": DPMSolver2M(),
    "3m": DPMSolver3M(),
}
POINTS = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def at(log_snr: float = 0.3, count: int = 6, schedule: str = "cosine") -> dict[str, Level]:
    return {"x": level(SCHEDULES[schedule], log_snr, count)}


def mean(posterior: Posterior) -> Tensor:
    return posterior["x"].value


def tweedie(log_density: Callable[[Tensor], Tensor], x: Tensor, level: Level) -> Tensor:
    """The posterior mean whose score is the slope of the density, ``(x + sigma^2 grad log p) / alpha``."""
    with torch.enable_grad():
        here = x.clone().requires_grad_()
        (score,) = torch.autograd.grad(log_density(here).sum(), here)
    return (x + level.sigma[:, None] ** 2 * score) / level.alpha[:, None]


# Classifier-free guidance ------------------------------------------------------------------------------------------


def off_the_product(guided: Posterior, data: Labelled, scale: float, other: int, here: Level) -> float:
    """How far a guided mean is from that of ``p(x | other)^(1 - scale) p(x | label)^scale`` at this level."""

    def log_product(x: Tensor) -> Tensor:
        rows = [
            log_density(data.of(int(n)), row[None], _row(here, i))
            for i, (row, n) in enumerate(zip(x, LABELS, strict=True))
        ]
        return (1 - scale) * log_density(data.of(other), x, here) + scale * torch.cat(rows)

    return float((mean(guided) - tweedie(log_product, POINTS, here)).abs().max())


def _row(here: Level, index: int) -> Level:
    return Level(*(part[index : index + 1] for part in here[:3]))


@pytest.mark.parametrize("log_snr", [-2.0, 0.3, 3.0])
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0, 7.0])
def test_classifier_free_guidance_is_a_product_of_distributions(scale: float, log_snr: float) -> None:
    data = Labelled(data=MIXTURE)
    guided = ClassifierFree(data, scale)(State({"x": POINTS}), at(log_snr), {"label": LABELS})
    assert off_the_product(guided, data, scale, -1, at(log_snr)["x"]) < 1e-8


def test_a_negative_condition_takes_the_place_of_none() -> None:
    data, scale = Labelled(data=MIXTURE), 3.0
    guided = ClassifierFree(data, scale, negative={"label": 1})(State({"x": POINTS}), at(), {"label": LABELS})
    assert off_the_product(guided, data, scale, 1, at()["x"]) < 1e-8
    assert off_the_product(guided, data, scale, -1, at()["x"]) > 1e-2


def test_guidance_the_other_way_round_is_noticed() -> None:
    """The mutant: the two beliefs exchanged."""
    data, scale, state = Labelled(data=MIXTURE), 2.0, State({"x": POINTS})
    asked, free = data(state, at(), {"label": LABELS}), data(state, at(), {})
    swapped = {"x": asked["x"].towards(free["x"], scale)}
    assert off_the_product(swapped, data, scale, -1, at()["x"]) > 1e-2


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_rescaling_restores_the_spread(share: float) -> None:
    """The standard deviation over the entries of a sample moves by its share to that of the asked belief."""
    data, state = Labelled(data=MIXTURE), State({"x": POINTS})
    asked = mean(data(state, at(), {"label": LABELS})).std(1, correction=0)
    plain = mean(ClassifierFree(data, 5.0)(state, at(), {"label": LABELS})).std(1, correction=0)
    made = mean(ClassifierFree(data, 5.0, rescale=share)(state, at(), {"label": LABELS})).std(1, correction=0)
    torch.testing.assert_close(made, torch.lerp(plain, asked, share))
    assert (plain - asked).abs().max() > 0.1


# Autoguidance ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Counted(Exact):
    """Another denoiser, with a note of each call."""

    inner: Exact | None = None
    calls: list[int] | None = None

    def mean(self, x: Tensor, level: Level, condition: Mapping[str, Tensor]) -> Tensor:
        assert self.inner is not None
        assert self.calls is not None
        self.calls.append(len(x))
        return self.inner.mean(x, level, condition)


def test_autoguidance_by_itself_changes_nothing() -> None:
    data, state = Labelled(data=MIXTURE), State({"x": POINTS})
    plain = mean(data(state, at(), {"label": LABELS}))
    for scale in (0.0, 2.0, 9.0):
        torch.testing.assert_close(mean(Autoguidance(data, data, scale)(state, at(), {"label": LABELS})), plain)


def test_autoguidance_is_a_product_with_the_weak_distribution() -> None:
    """Of a mixture with wider components, which is what too little training makes of it."""
    wide = Mixture(MIXTURE.weights, MIXTURE.means, MIXTURE.deviations + 0.5)
    scale, here = 2.5, at()["x"]
    guided = Autoguidance(Labelled(data=MIXTURE), Labelled(data=wide), scale)(State({"x": POINTS}), at())

    def log_product(x: Tensor) -> Tensor:
        return (1 - scale) * log_density(wide, x, here) + scale * log_density(MIXTURE, x, here)

    torch.testing.assert_close(mean(guided), tweedie(log_product, POINTS, here))


def test_guidance_towards_the_weak_network_is_noticed() -> None:
    """The mutant: the two networks exchanged."""
    wide = Mixture(MIXTURE.weights, MIXTURE.means, MIXTURE.deviations + 0.5)
    strong, weak, state = Labelled(data=MIXTURE), Labelled(data=wide), State({"x": POINTS})
    right, wrong = (mean(Autoguidance(*pair, 2.5)(state, at())) for pair in ((strong, weak), (weak, strong)))
    assert (right - wrong).abs().max() > 0.1


@pytest.mark.parametrize(
    ("scale", "ratio", "asked"),
    [(1.0, 1.0, False), (2.0, 0.1, False), (2.0, 1.0, True), (2.0, 5.1, False), (2.0, None, True)],
)
def test_the_weak_network_is_asked_inside_the_interval(scale: float, ratio: float | None, asked: bool) -> None:
    calls: list[int] = []
    weak = Counted(inner=Labelled(data=MIXTURE), calls=calls)
    here = {name: part._replace(ratio=ratio) for name, part in at().items()}
    Autoguidance(Normal(), weak, scale, (0.2, 5.0))(State({"x": POINTS}), here)
    assert calls == [6] * asked


def test_what_the_weak_network_does_not_know_is_not_told_to_it() -> None:
    guided = Autoguidance(Labelled(data=MIXTURE), Normal(), 2.0)
    assert mean(guided(State({"x": POINTS}), at(), {"label": LABELS})).isfinite().all()


# A predictor's gradient --------------------------------------------------------------------------------------------

CENTER, SPREAD = f64([0.4, -0.7]), f64([[1.2, 0.5], [0.5, 0.4]])
WAY, SEEN, DEVIATION = f64([0.6, -1.1]), 0.9, 0.3


def linear(estimate: State, condition: Mapping[str, Tensor] | None = None) -> Tensor:
    """log p(y | x_0) = b x_0, an exponential tilt of the data."""
    return estimate["x"] @ WAY


def observed(estimate: State, condition: Mapping[str, Tensor] | None = None) -> Tensor:
    """log N(y; b x_0, s^2)."""
    return -((SEEN - estimate["x"] @ WAY) / DEVIATION).square() / 2


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("log_snr", [-3.0, 0.3, 4.0])
def test_a_linear_property_of_gaussian_data_is_exact(log_snr: float, scale: float) -> None:
    """Data N(m, S) tilted by ``exp(b x_0)`` are N(m + S b, S)."""
    data = Normal(center=CENTER, spread=SPREAD)
    tilted = Normal(center=CENTER + scale * SPREAD @ WAY, spread=SPREAD)
    state = State({"x": POINTS})
    made = PropertyGuidance(data, linear, scale)(state, at(log_snr))
    torch.testing.assert_close(mean(made), mean(tilted(state, at(log_snr))))


def test_the_gradient_by_the_estimate_alone_is_exact_for_even_data() -> None:
    """Of data N(m, s^2 I) with s the scale of the field; of others it is not, which is noticed."""
    state, s = State({"x": POINTS}), 0.7
    fields = {"x": Field(shape=(2,), scale=s)}
    for spread, close in ((s**2 * torch.eye(2, dtype=torch.float64), True), (SPREAD, False)):
        data = Normal(fields=fields, center=CENTER, spread=spread)
        tilted = replace(data, center=CENTER + spread @ WAY)
        made = PropertyGuidance(data, linear, route="estimate")(state, at())
        assert torch.allclose(mean(made), mean(tilted(state, at()))) == close


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("log_snr", [-3.0, 0.3, 4.0])
def test_a_normal_property_of_gaussian_data_is_exact(log_snr: float, scale: float) -> None:
    """``D + C b (y - b D) / (s^2 / scale + b C b)``, however strict; the plain gradient lacks ``b C b``, overshoots,
    and is noticed."""
    data, state, here = Normal(center=CENTER, spread=SPREAD), State({"x": POINTS}), at(log_snr)
    plain, cov = mean(data(state, here)), data.covariance(here["x"])
    miss = (SEEN - plain @ WAY)[:, None] * (cov @ WAY)
    exact = plain + miss / (DEVIATION**2 / scale + WAY @ cov @ WAY)
    torch.testing.assert_close(mean(PropertyGuidance(data, observed, scale)(state, here)), exact)
    overshot = plain + miss / (DEVIATION**2 / scale)
    assert (overshot - exact).abs().max() > (0.1 if log_snr < 1 else 1e-5)


def test_without_the_covariance_it_is_noticed() -> None:
    """The mutant: the bare gradient added to the mean."""
    data, state = Normal(center=CENTER, spread=SPREAD), State({"x": POINTS})
    bare = mean(data(state, at())) + WAY
    tilted = Normal(center=CENTER + SPREAD @ WAY, spread=SPREAD)
    assert not torch.allclose(bare, mean(tilted(state, at())), atol=1e-2)


# Measurements ------------------------------------------------------------------------------------------------------

WIDE = f64([[1.0, 0.3, 0.2, 0.0], [0.3, 0.8, 0.1, 0.3], [0.2, 0.1, 0.6, 0.2], [0.0, 0.3, 0.2, 0.9]])
MIDDLE = f64([0.2, -0.1, 0.5, -0.4])
FOUR = Normal(fields={"x": Field(shape=(4,))}, center=MIDDLE, spread=WIDE)
LOOKS = f64([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5], [1.0, 0.0, -1.0, 0.0]])
"""Three linear measurements."""

QUARTER = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def measured(rows: int = 3) -> Measurement:
    matrix = LOOKS[:rows]
    return Measurement(f64([[0.8, -0.3, 0.6]])[:, :rows], lambda state: state["x"] @ matrix.T)


def conditioned(data: Normal, rows: int, deviation: float) -> Normal:
    """The data given the measurement: a Gaussian again."""
    matrix, seen = LOOKS[:rows], measured(rows).value[0]
    gain = (
        data.spread
        @ matrix.T
        @ torch.linalg.inv(matrix @ data.spread @ matrix.T + deviation**2 * torch.eye(rows, dtype=torch.float64))
    )
    left = data.spread - gain @ matrix @ data.spread
    return replace(data, center=data.center + gain @ (seen - matrix @ data.center), spread=left)


def off_the_posterior(denoise: Any, rows: int, deviation: float, log_snr: float = 0.3) -> float:
    """How far a mean is from E[x_0 | x_t, y]."""
    state, here = State({"x": QUARTER}), at(log_snr, 5)
    exact = conditioned(FOUR, rows, deviation)
    return float((mean(denoise(state, here)) - mean(exact(state, here))).abs().max())


@pytest.mark.parametrize("log_snr", [-3.0, 0.3, 4.0])
@pytest.mark.parametrize("deviation", [0.05, 0.5])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_posterior_sampling_of_gaussian_data_is_exact(rows: int, deviation: float, log_snr: float) -> None:
    """With as many iterations as numbers were measured: with one for one."""
    guided = PosteriorSampling(FOUR, measured(rows), deviation, iterations=rows)
    assert off_the_posterior(guided, rows, deviation, log_snr) < 1e-9


def test_one_iteration_has_the_right_length_along_its_gradient() -> None:
    """It gives ``D + C A^T v (v v) / (s^2 v v + v A C A^T v)`` with ``v = y - A D``."""
    state, here, s = State({"x": QUARTER}), at(0.3, 5), 0.2
    plain, cov = mean(FOUR(state, here)), FOUR.covariance(here["x"])
    v = measured().value - plain @ LOOKS.T
    way = v @ LOOKS @ cov
    length = (v * v).sum(1) / (s**2 * (v * v).sum(1) + (way * (v @ LOOKS)).sum(1))
    made = mean(PosteriorSampling(FOUR, measured(), s)(state, here))
    torch.testing.assert_close(made, plain + length[:, None] * way)


def test_the_usual_scale_is_noticed() -> None:
    """The mutant: the gradient of ``log N(y; A D, s^2)``, which forgets that D is uncertain itself."""

    def usual(state: State, here: Mapping[str, Level]) -> Posterior:
        plain, cov = mean(FOUR(state, here)), FOUR.covariance(here["x"])
        return {"x": Mean(plain + (measured(1).value - plain @ LOOKS[:1].T) / 0.2**2 @ LOOKS[:1] @ cov)}

    assert off_the_posterior(usual, 1, 0.2) > 0.1
    assert off_the_posterior(PosteriorSampling(FOUR, measured(1), 0.2), 1, 0.2) < 1e-9


def test_the_estimate_route_is_exact_for_even_data() -> None:
    """Of data N(m, s^2 I); with no noise it puts the measurement into the estimate by the pseudoinverse."""
    state, here = State({"x": QUARTER}), at(0.3, 5)
    spread = 0.36 * torch.eye(4, dtype=torch.float64)
    data = Normal(fields={"x": Field(shape=(4,), scale=0.6)}, center=MIDDLE, spread=spread)
    made = mean(PosteriorSampling(data, measured(), 0.1, "estimate", iterations=3)(state, here))
    torch.testing.assert_close(made, mean(conditioned(data, 3, 0.1)(state, here)))
    plain = mean(data(state, here))
    put = mean(PosteriorSampling(data, measured(2), 0.0, "estimate")(state, here))
    torch.testing.assert_close(put, plain + (measured(2).value - plain @ LOOKS[:2].T) @ torch.linalg.pinv(LOOKS[:2]).T)


def test_a_curved_operator_acts_by_its_derivative() -> None:
    state, here, s = State({"x": QUARTER}), at(0.3, 5), 0.3
    curved = Measurement(f64([[0.5]]), lambda state: (state["x"] @ LOOKS[0]).tanh()[:, None])
    plain, cov = mean(FOUR(state, here)), FOUR.covariance(here["x"])
    value = torch.tanh(plain @ LOOKS[0])
    slope = (1 - value**2)[:, None] * LOOKS[0]
    miss = (0.5 - value) / (s**2 + ((slope @ cov) * slope).sum(1))
    made = mean(PosteriorSampling(FOUR, curved, s)(state, here))
    torch.testing.assert_close(made, plain + miss[:, None] * (slope @ cov))


def drawn(denoise: Any, solver: Solver, steps: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance of what a deterministic walk makes of pure noise, seen from single noises: it is affine."""
    schedule = SCHEDULES["edm"]
    process = JointProcess(FOUR.fields, {"x": Gaussian(schedule)})
    start = torch.cat([torch.zeros(1, 4), 80 * torch.eye(4)]).double()
    grid = grids.karras(solver.intervals(steps), schedule)
    made = sample(denoise, State({"x": start}), grid, solver, process=process, seeds=Seeds(0, range(5)))["x"]
    push = made[1:] - made[0]
    return made[0], push.T @ push


@pytest.mark.parametrize("solver", ["ddim", "2m", "heun"])
def test_samples_of_gaussian_data_have_the_posterior_distribution(solver: str) -> None:
    tolerance = 0.05 if solver == "ddim" else 0.01  # of which the finite level at the start takes a half
    exact = conditioned(FOUR, 2, 0.1)
    center, spread = drawn(PosteriorSampling(FOUR, measured(2), 0.1, iterations=2), SOLVERS[solver], 160)
    torch.testing.assert_close(center, exact.center, rtol=0, atol=tolerance)
    torch.testing.assert_close(spread, exact.spread, rtol=0, atol=tolerance)
    _, free = drawn(FOUR, SOLVERS[solver], 160)
    torch.testing.assert_close(free, FOUR.spread, rtol=0, atol=tolerance)


@pytest.mark.parametrize("route", ["network", "estimate"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_samples_satisfy_the_measurement(solver: str, route: Route) -> None:
    """Of a mixture, by every solver, up to the noise that was told."""
    schedule = SCHEDULES["cosine"]
    process = JointProcess(Exact().fields, {"x": Gaussian(schedule)})
    seeds, chosen = Seeds(0, range(40)), SOLVERS[solver]
    prior = process.prior({"x": (40, 2)}, seeds.at("prior")).map(lambda value: value.double())
    grid = grids.uniform_lambda(chosen.intervals(40), schedule)
    misses = []
    for deviation in (0.02, 0.5):
        seen = Measurement(f64([[0.4]]), lambda state: state["x"][:, :1] + state["x"][:, 1:])
        guided = PosteriorSampling(Labelled(data=MIXTURE), seen, deviation, route)
        made = sample(guided, prior, grid, chosen, process=process, seeds=seeds)["x"]
        misses.append(float((made.sum(1) - 0.4).square().mean().sqrt()))
        assert float(made.std(0).min()) > 0.1
    assert misses[0] < 0.03
    assert misses[1] > 0.1


# Classes and periodic values ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Shares(Exact):
    """A constant belief in classes, ``[D, K]``, whatever is seen."""

    probabilities: Tensor | None = None

    def __call__(self, state: State, levels: Any, condition: Any = None, previous: Any = None) -> Posterior:
        assert self.probabilities is not None
        return {"x": LogProbs.of(self.probabilities.log().expand(state.batch_size, *self.probabilities.shape))}


CHANCES = f64([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
TOKENS = State({"x": torch.tensor([[0, 2], [1, 1]])})


def classes(symmetric: bool = False) -> dict[str, Field]:
    return {"x": Field(shape=(2,), space=Categorical(3, symmetric))}


@pytest.mark.parametrize("route", ["network", "estimate"])
def test_a_property_that_adds_over_entries_is_exact_for_classes(route: Route) -> None:
    """``p(y | x_0) = exp(sum of L over the entries)`` multiplies the share of class k by ``exp(L_k)``."""
    worth = f64([[1.0, -0.5, 2.0], [0.3, 3.0, -1.0]])

    def predictor(estimate: State, condition: Any = None) -> Tensor:
        return (estimate["x"] * worth).sum((1, 2))

    belief = PropertyGuidance(Shares(fields=classes(), probabilities=CHANCES), predictor, route=route)(TOKENS, at())
    exact = CHANCES * worth.exp()
    torch.testing.assert_close(belief["x"].value.exp(), (exact / exact.sum(-1, keepdim=True)).expand(2, -1, -1))


def test_classes_combine_by_powers_and_stay_normalised() -> None:
    other = f64([[0.2, 0.2, 0.6], [0.6, 0.3, 0.1]])
    guided = Autoguidance(*(Shares(fields=classes(), probabilities=part) for part in (CHANCES, other)), scale=3.0)
    made = guided(TOKENS, at())["x"].value.exp()
    exact = CHANCES**3 / other**2
    torch.testing.assert_close(made, (exact / exact.sum(-1, keepdim=True)).expand(2, -1, -1))
    torch.testing.assert_close(made.sum(-1), torch.ones(2, 2, dtype=torch.float64))
    straight = torch.lerp(other, CHANCES, 3.0)  # the mutant: probabilities themselves combined, some of them negative
    assert (made - straight).abs().max() > 0.1


def test_an_impossible_class_stays_finite() -> None:
    sure = f64([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    guided = Autoguidance(*(Shares(fields=classes(), probabilities=part) for part in (sure, sure)), scale=50.0)
    made = guided(TOKENS, at())["x"].value
    assert made.isfinite().all()
    torch.testing.assert_close(made.exp(), sure.expand(2, -1, -1))


def test_undirected_pairs_are_pushed_as_one() -> None:
    """A predictor that reads the upper half, the lower one, or half of each moves both halves alike."""
    chances = f64([0.5, 0.3, 0.2]).expand(3, 3, 3)
    state = State({"x": torch.zeros(1, 3, 3, dtype=torch.long)})
    upper = torch.ones(3, 3, dtype=torch.float64).triu(1)
    made = []
    for weight in (upper, upper.T, (upper + upper.T) / 2):

        def predictor(estimate: State, condition: Any = None, weight: Tensor = weight) -> Tensor:
            return (estimate["x"][..., 1] * weight).sum((1, 2))

        data = Shares(fields=classes(symmetric=True), probabilities=chances)
        made.append(PropertyGuidance(data, predictor)(state, at(count=1))["x"].value)
    torch.testing.assert_close(made[0], made[1])
    torch.testing.assert_close(made[0], made[2])
    torch.testing.assert_close(made[0], made[0].transpose(1, 2))
    exact = chances[0, 0] * f64([0.0, 1.0, 0.0]).exp()
    torch.testing.assert_close(made[0][0, 0, 1].exp(), exact / exact.sum())


PERIOD = 2.0
CIRCLE = Field(shape=(2,), space=Torus(PERIOD))
PLACES = f64([[0.1, 1.9], [0.7, 1.2]])


@dataclass(frozen=True, eq=False)
class Ring(Exact):
    """Data on a torus at one point with a normal spread: its noisy density and displacement in closed form."""

    place: Tensor | None = None
    deviation: float = 0.2

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        assert self.place is not None
        return wrapped_score(x - self.place, torch.hypot(sigma, torch.full_like(sigma, self.deviation)), PERIOD)

    def __call__(
        self, state: State, levels: Mapping[str, Level], condition: Any = None, previous: Any = None
    ) -> Posterior:
        sigma = levels["x"].sigma[:, None].expand_as(state["x"])
        return {"x": Tangent(sigma**2 * self.score(state["x"], sigma), state["x"])}


def ring(place: float, deviation: float = 0.2) -> Ring:
    return Ring(fields={"x": CIRCLE}, place=f64(place), deviation=deviation)


def ring_level(sigma: float) -> dict[str, Level]:
    part = torch.full((2,), sigma, dtype=torch.float64)
    return {"x": Level(torch.ones_like(part), part, -part.log())}


def test_periodic_beliefs_combine_as_scores_do() -> None:
    strong, weak, here = ring(0.3), ring(0.3, 0.6), ring_level(0.4)
    made = Autoguidance(strong, weak, 2.5)(State({"x": PLACES}), here)["x"]
    assert isinstance(made, Tangent)
    sigma = f64(0.4).expand(2, 2)
    score = 2.5 * strong.score(PLACES, sigma) - 1.5 * weak.score(PLACES, sigma)
    torch.testing.assert_close(made.value, 0.4**2 * score)
    assert torch.equal(made.point, PLACES)


def test_a_property_pushes_a_periodic_belief_by_its_slope() -> None:
    """``v + t sigma^2 grad_x f(x + v)``, with a predictor that comes round too, wherever the cut of the circle lies."""

    def predictor(estimate: State, condition: Any = None) -> Tensor:
        return 1.5 * torch.cos(math.pi * (estimate["x"] - 0.8)).sum(1)

    data, here, sigma = ring(0.3), ring_level(0.4), f64(0.4).expand(2, 2)
    with torch.enable_grad():
        x = PLACES.clone().requires_grad_()
        ends = x + sigma**2 * data.score(x, sigma)
        (slope,) = torch.autograd.grad(predictor(State({"x": ends})).sum(), x)
    ends, change = ends.detach() - 0.8, 0.4**2 * slope
    along = (-1.5 * math.pi * torch.sin(math.pi * ends) * change).sum(1)
    bend = (-1.5 * math.pi**2 * torch.cos(math.pi * ends) * change**2).sum(1)
    length = along / (along - bend.clamp_max(0))
    made = PropertyGuidance(data, predictor)(State({"x": PLACES}), here)["x"].value
    torch.testing.assert_close(made, 0.4**2 * data.score(PLACES, sigma) + length[:, None] * change)
    assert float(length.min()) < 0.9
    moved = PropertyGuidance(data, predictor)(State({"x": PLACES + PERIOD}), here)["x"].value
    torch.testing.assert_close(moved, made)


def test_a_near_property_of_a_periodic_field_is_exact() -> None:
    """Where nothing wraps, a normal likelihood of a value is the product of two normals."""
    data, tight = ring(0.9, 0.1), ring_level(0.05)
    state = State({"x": f64([[0.85, 0.95], [0.9, 1.0]])})
    seen = Measurement(f64([[1.0, 1.0]]), lambda state: state["x"])
    made = PosteriorSampling(data, seen, 0.1, iterations=2)(state, tight)["x"]
    variance = 1 / (1 / 0.1**2 + 1 / 0.1**2)
    gain = 0.05**2 / (variance + 0.05**2)
    torch.testing.assert_close(made.value, gain * (f64(0.95) - state["x"]), rtol=1e-6, atol=1e-9)


# All of it together ------------------------------------------------------------------------------------------------


def wished(estimate: State, condition: Mapping[str, Tensor] | None = None) -> Tensor:
    """Something of every field, real elements alone."""
    assert estimate.mask is not None
    real = estimate.mask.double()
    return (
        -estimate["positions"].square().sum((1, 2))
        + (torch.cos(math.pi * estimate["angles"]).sum(2) * real).sum(1)
        + (estimate["atoms"][..., 1] * real).sum(1)
        + (estimate["bonds"][..., 2] * real[:, None] * real[:, :, None]).sum((1, 2))
    )


def wrappers() -> dict[str, Wrapper]:
    network, weak = everything_network(0), everything_network(1)
    seen = Measurement(f64([[0.3, 1.0]]), lambda s: torch.stack([s["positions"][:, 0, 0], s["atoms"][:, 0, 2]], 1))
    free = ClassifierFree(network, 2.0)
    return {
        "classifier free": free,
        "rescaled": ClassifierFree(network, 2.0, rescale=0.5),
        "autoguidance": Autoguidance(free, weak, 1.5),
        "property": PropertyGuidance(free, wished),
        "property alone": PropertyGuidance(free, wished, route="estimate"),
        "measured": PosteriorSampling(free, seen, 0.1, iterations=2),
        "nested": PosteriorSampling(PropertyGuidance(Autoguidance(free, weak, 1.5), wished), seen, 0.1),
    }


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", list(wrappers()))
def test_every_guidance_moves_every_kind_of_field_by_every_solver(kind: str, solver: str) -> None:
    guided, process = wrappers()[kind], joint_process()
    given = clean([4, 2, 3])
    seeds = Seeds(0, range(3))
    start = process.corrupt(given, process.levels(torch.ones(3, dtype=torch.float64)), seeds.at("prior"))
    grid = grids.uniform(SOLVERS[solver].intervals(6), process.schedule)
    label = {"label": torch.tensor([0, 1, 0])}
    runs = [
        sample(one, start, grid, Rules(SOLVERS[solver]), process=process, seeds=seeds, condition=label)
        for one in (guided, guided.denoiser)
    ]
    made = runs[0]
    assert any(not torch.equal(made[name], runs[1][name]) for name in made)
    for name, value in made.items():
        assert not value.requires_grad
        torch.testing.assert_close(value, FIELDS[name].project(value, made.mask))
    assert made["positions"].sum(1).abs().max() < 1e-9 * made["positions"].abs().max()
    assert torch.equal(made["bonds"], made["bonds"].transpose(1, 2))


@pytest.mark.parametrize("kind", list(wrappers()))
def test_beliefs_are_whole_and_forget_their_gradients(kind: str) -> None:
    guided, process = wrappers()[kind], joint_process()
    levels = process.levels(torch.full((3,), 0.5, dtype=torch.float64))
    state = process.corrupt(clean([4, 2, 3]), levels, Seeds(0, range(3)).at("prior"))
    with torch.no_grad():
        belief = guided(state, levels, {"label": torch.tensor([0, 1, -1])})
    for name, part in belief.items():
        assert part.value.isfinite().all()
        assert not part.value.requires_grad
        if isinstance(part, LogProbs):
            torch.testing.assert_close(part.value.exp().sum(-1), torch.ones_like(part.value[..., 0]))
        if isinstance(part, Mean):
            torch.testing.assert_close(part.value, FIELDS[name].project(part.value, state.mask))
    assert all(part.grad is None for part in everything_network().parameters())


def test_a_sample_is_guided_alone() -> None:
    """What a gradient does to one sample does not depend on the others, nor on their padding."""
    process = joint_process()
    levels = process.levels(torch.full((3,), 0.5, dtype=torch.float64))
    state = process.corrupt(clean([4, 2, 3]), levels, Seeds(0, range(3)).at("prior"))
    for kind in ("property", "measured", "nested"):
        whole = wrappers()[kind](state, levels, {"label": torch.tensor([0, 1, 0])})
        row = {name: Level(*(part[1:2] for part in here[:3])) for name, here in levels.items()}
        alone = wrappers()[kind](state.rows(slice(1, 2)), row, {"label": torch.tensor([1])})
        for name, part in alone.items():
            torch.testing.assert_close(part.value, whole[name].value[1:2])


def test_what_is_inside_can_be_reached_from_outside() -> None:
    for guided in wrappers().values():
        assert dict(guided.fields) == FIELDS
        assert list(guided.conditions) == ["label"]
        assert guided.missing(2)["label"].tolist() == [-1, -1]
        assert guided.self_conditioning is False


@pytest.mark.parametrize("ratio", [0.1, 1.0, 5.1])
def test_gradients_are_taken_inside_the_interval(ratio: float) -> None:
    asked: list[int] = []

    def predictor(estimate: State, condition: Any = None) -> Tensor:
        asked.append(1)
        return linear(estimate)

    def operator(state: State) -> Tensor:
        asked.append(2)
        return state["x"]

    here = {name: part._replace(ratio=ratio) for name, part in at().items()}
    data, state, inside = Normal(), State({"x": POINTS}), (0.2, 5.0)
    for guided in (
        PropertyGuidance(data, predictor, interval=inside),
        PosteriorSampling(data, Measurement(f64([[1.0, 1.0]]), operator), interval=inside),
    ):
        assert torch.equal(mean(guided(state, here)), mean(data(state, here))) == (ratio != 1.0)
    assert asked == ([1, 2] if ratio == 1.0 else [])


@dataclass(frozen=True, eq=False)
class Remembering(Exact):
    """Believes again what was believed before."""

    self_conditioning: bool = True

    def __call__(
        self, state: State, levels: Any, condition: Any = None, previous: Posterior | None = None
    ) -> Posterior:
        return {"x": Mean(torch.zeros_like(state["x"]) if previous is None else previous["x"].value)}


def test_what_was_believed_before_reaches_the_network() -> None:
    """Through any guidance, also where only the weak network asks for it."""
    before, state = {"x": Mean(POINTS + 1)}, State({"x": POINTS})
    network = replace(Remembering(), conditions=Labelled(data=MIXTURE).conditions)
    seen = Measurement(f64([[0.0]]), lambda state: state["x"][:, :1] * 0)
    asked = {"label": LABELS}
    for guided in (
        ClassifierFree(network, 2.0),
        Autoguidance(network, network, 2.0),
        PropertyGuidance(network, linear, 0.0),
        PropertyGuidance(network, lambda estimate, condition: linear(estimate) * 0),
        PosteriorSampling(ClassifierFree(network, 2.0), seen, 0.1),
    ):
        assert guided.self_conditioning
        torch.testing.assert_close(mean(guided(state, at(), asked, before)), POINTS + 1)
    assert Autoguidance(Normal(), network, 2.0).self_conditioning


def test_gradient_guidance_inside_counts_as_constant() -> None:
    """Two gradients add up; the inner one is no part of what the outer one differentiates."""
    data, state, here = Normal(center=CENTER, spread=SPREAD), State({"x": POINTS}), at()
    inner = PropertyGuidance(data, linear)
    outer = PropertyGuidance(inner, linear, 2.0)
    torch.testing.assert_close(mean(outer(state, here)), mean(PropertyGuidance(data, linear, 3.0)(state, here)))


# Refusals ----------------------------------------------------------------------------------------------------------


def test_networks_of_other_fields_are_refused() -> None:
    with pytest.raises(ConfigError, match="guidance: the field x of the weak network"):
        Autoguidance(Normal(), FOUR)
    with pytest.raises(ConfigError, match="fields y, not x"):
        Autoguidance(Normal(), replace(FOUR, fields={"y": Field(shape=(2,))}))
    fewer = Labelled(data=Mixture(MIXTURE.weights[:2], MIXTURE.means[:2], MIXTURE.deviations[:2]))
    with pytest.raises(ConfigError, match=r"condition\.label of the weak network .*other classes"):
        Autoguidance(Labelled(data=MIXTURE), fewer)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Autoguidance(Normal(), Normal(), -1.0), r"guidance\.scale"),
        (lambda: Autoguidance(Normal(), Normal(), 2.0, (2.0, 1.0)), r"guidance\.interval"),
        (lambda: PropertyGuidance(Normal(), linear, math.nan), r"guidance\.scale"),
        (lambda: PosteriorSampling(FOUR, measured(), -0.1), r"measurement\.deviation"),
        (lambda: PosteriorSampling(FOUR, measured(), 0.1, iterations=0), r"measurement\.iterations"),
        (lambda: ClassifierFree(Labelled(data=MIXTURE), 2.0, rescale=1.5), r"guidance\.rescale"),
        (lambda: ClassifierFree(Labelled(data=MIXTURE), 2.0, negative={"lable": 1}), r"guidance\.negative\.lable"),
    ],
)
def test_settings_out_of_bounds_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_shapes_that_do_not_fit_are_refused() -> None:
    wrong = Measurement(f64([[0.1, 0.2]]), measured().operator)
    with pytest.raises(ConfigError, match="measurement: what was measured"):
        PosteriorSampling(FOUR, wrong, 0.1)(State({"x": QUARTER}), at(count=5))
    with pytest.raises(ConfigError, match=r"guidance\.predictor: gave"):
        PropertyGuidance(FOUR, lambda estimate, condition: estimate["x"])(State({"x": QUARTER}), at(count=5))


def test_a_periodic_process_keeps_its_spread_by_the_estimate() -> None:
    """By the estimate route a value moves by ``sigma^2 s^2 / (s^2 + sigma^2)``, with s that of an even circle."""
    flat, sigma = ring(0.0, 50.0), 0.3
    process = WrappedGaussian(EDM(sigma_min=0.004, sigma_max=2.0))
    here = {"x": process.level(f64([0.5, 0.5]))._replace(sigma=f64([sigma, sigma]))}

    def predictor(estimate: State, condition: Any = None) -> Tensor:
        return estimate["x"].sum(1)

    made = PropertyGuidance(flat, predictor, route="estimate")(State({"x": PLACES}), here)["x"].value
    s = PERIOD / math.sqrt(12)
    torch.testing.assert_close(made, torch.full_like(made, sigma**2 * s**2 / (s**2 + sigma**2)), rtol=1e-6, atol=1e-9)
