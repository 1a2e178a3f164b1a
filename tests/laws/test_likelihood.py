"""The likelihood of the probability flow is that of the data under an exact denoiser; the bound lies below it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pytest
import torch
from oracle import MIXTURE, SCHEDULES, Mixture, f64
from oracle_joint import Cases, everything
from torch import Tensor

from suffuse import likelihood
from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.layouts import Dense, Masked, expand
from suffuse.likelihood import Likelihood, bound, log_likelihood
from suffuse.posterior import LogProbs, Mean, Posterior, Tangent
from suffuse.processes import Discrete, Gaussian, JointProcess, Level, Process, WrappedGaussian
from suffuse.sampling import Seeds, kernels
from suffuse.schedules import EDM, Schedule, Sigmoid, SquaredCosine
from suffuse.spaces import Categorical, Space, Torus, ZeroCenterOfMass
from suffuse.state import State
from suffuse.warps import Frozen, Power

CENTRED = replace(MIXTURE, means=MIXTURE.means - MIXTURE.weights @ MIXTURE.means)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def one(name: str, space: Space, process: Process, shape: tuple[int, ...], **more: object) -> JointProcess:
    """A process of one field."""
    return JointProcess({name: Field(shape=shape, space=space, **more)}, {name: process})  # type: ignore[arg-type]


# A mixture in the plane ---------------------------------------------------------------------------------------------


def drawn(mixture: Mixture, count: int) -> tuple[Tensor, Tensor]:
    """Samples of a mixture ``[B, D]``, and their exact log-likelihood ``[B]``."""
    chosen = torch.multinomial(mixture.weights, count, True, generator=generator())
    x = mixture.means[chosen] + mixture.deviations[chosen][:, None] * normal(count, mixture.means.shape[1])
    return x, log_density(mixture, x, x.shape[1])


def log_density(mixture: Mixture, x: Tensor, dimension: int) -> Tensor:
    """Of points in a space of some dimension."""
    variance = mixture.deviations**2
    apart = (x[:, None] - mixture.means).square().sum(-1)
    each = mixture.weights.log() - dimension / 2 * torch.log(2 * math.pi * variance) - apart / variance / 2
    return each.logsumexp(1)


def planar(schedule: Schedule, **more: object) -> JointProcess:
    """A process of the field ``x`` of two numbers."""
    return one("x", Field(shape=(2,)).space, Gaussian(schedule), (2,), **more)


def off(schedule: Schedule, mixture: Mixture = CENTRED, **more: object) -> float:
    """The largest error in nats over some samples, by the exact trace."""
    x, exact = drawn(mixture, 12)
    return float((log_likelihood(mixture, State({"x": x}), planar(schedule, **more)).nats - exact).abs().max())


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_mixture_has_its_own_likelihood(schedule: str, scale: float) -> None:
    assert off(SCHEDULES[schedule], scale=scale) < 2e-3


def test_the_bias_of_the_prior_is_as_stated() -> None:
    """About |m| / r for single samples, m the mean of the data, and gone with a wider noise."""
    size = float((MIXTURE.weights @ MIXTURE.means).norm())
    biased = off(EDM(sigma_max=80.0), MIXTURE)
    assert 0.2 * size / 80 < biased < 3 * size / 80
    assert off(EDM(sigma_max=1000.0), MIXTURE, scale=0.9) < 0.2 * biased


def flipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The divergence with the wrong sign."""
    right = likelihood._Flow._exact
    monkeypatch.setattr(likelihood._Flow, "_exact", lambda *given: -right(*given))


def mislevelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is told an alpha that is not the state's."""
    monkeypatch.setattr(likelihood, "Level", lambda alpha, *rest: Level(0.95 * alpha, *rest))


def unscaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the change of coordinates at the clean end."""
    monkeypatch.setattr(likelihood._Flow, "enter", lambda self, name, clean, log_snr: clean)


@pytest.mark.parametrize("broken", [flipped, mislevelled, unscaled])
def test_a_broken_flow_is_noticed(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[[pytest.MonkeyPatch], None]
) -> None:
    broken(monkeypatch)
    assert off(SCHEDULES["vp"], scale=0.5) > 0.02


@pytest.mark.parametrize("kind", ["rademacher", "normal"])
def test_random_directions_are_right_on_average(kind: str) -> None:
    x, _ = drawn(CENTRED, 3)
    many = log_likelihood(
        CENTRED,
        State({"x": x.repeat(1500, 1)}),
        planar(SCHEDULES["cosine"]),
        steps=16,
        probes=1,
        kind=kind,  # type: ignore[arg-type]
        seeds=Seeds(0, range(4500)),
    ).nats.reshape(1500, 3)
    error = many.std(0) / math.sqrt(1500)
    same = log_likelihood(CENTRED, State({"x": x}), planar(SCHEDULES["cosine"]), steps=16).nats
    assert ((many.mean(0) - same).abs() < 4 * error).all()
    assert (error > 1e-6).all()


def test_directions_that_are_not_even_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        likelihood, "_directions", lambda seeds, probes, kind, clean, *rest: [{"x": torch.ones_like(clean["x"])}]
    )
    x, exact = drawn(CENTRED, 12)
    made = log_likelihood(CENTRED, State({"x": x}), planar(SCHEDULES["cosine"]), probes=1, seeds=Seeds(0, range(12)))
    assert float((made.nats - exact).abs().max()) > 0.02


def test_a_likelihood_is_the_same_among_others() -> None:
    x, _ = drawn(CENTRED, 6)
    process, seeds = planar(SCHEDULES["flow"]), Seeds(3, range(6))
    together = log_likelihood(CENTRED, State({"x": x}), process, steps=8, probes=2, seeds=seeds).nats
    alone = log_likelihood(CENTRED, State({"x": x[4:5]}), process, steps=8, probes=2, seeds=Seeds(3, [4])).nats
    torch.testing.assert_close(together[4:5], alone, rtol=1e-10, atol=1e-10)


# Clouds without their centre ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cloud:
    """An exact denoiser of a mixture in the space of clouds ``x`` ``[B, N, d]`` without their centre.

    Args:
        mixture: of flat clouds.
        dimension: of the space.
    """

    mixture: Mixture
    dimension: int

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: object = None,
    ) -> Posterior:
        data, x = self.mixture, state["x"].flatten(1)
        alpha, sigma = levels["x"].alpha[:, None], levels["x"].sigma[:, None]
        variance = (alpha * data.deviations) ** 2 + sigma**2
        apart = x[:, None] - alpha[..., None] * data.means
        log_share = data.weights.log() - self.dimension / 2 * variance.log() - apart.square().sum(-1) / variance / 2
        each = data.means + (alpha * data.deviations**2 / variance)[..., None] * apart
        return {"x": Mean((log_share.softmax(1)[..., None] * each).sum(1).view_as(state["x"]))}


def off_clouds(room: int) -> float:
    """The largest error for clouds of three points in the plane, padded to ``room``."""
    mask = torch.arange(room)[None] < 3
    space = ZeroCenterOfMass()
    layout = Dense() if room == 3 else Masked()
    process = one("x", space, Gaussian(SCHEDULES["cosine"]), (room, 2), layout=layout)
    real = layout.mask(normal(1, room, 2), mask)
    means = space.tangent(normal(2, room, 2), real).flatten(1)
    data = Mixture(f64([0.3, 0.7]), means - f64([0.3, 0.7]) @ means, f64([0.5, 0.8]))
    chosen = torch.tensor([0, 1, 1, 0, 1])
    noise = space.tangent(normal(5, room, 2, seed=1), real).flatten(1)
    x = data.means[chosen] + data.deviations[chosen][:, None] * noise
    state = State({"x": x.view(5, room, 2)}, None if room == 3 else mask.expand(5, -1))
    made = log_likelihood(Cloud(data, 4), state, process)
    assert made.dimension.tolist() == [process.fields["x"].dimension(state["x"], state.mask)[0]] * 5
    return float((made.nats - log_density(data, x, 4)).abs().max())


@pytest.mark.parametrize("room", [3, 5])
def test_a_cloud_without_its_centre_has_fewer_degrees_of_freedom(room: int) -> None:
    assert off_clouds(room) < 2e-3


def test_counting_the_centre_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """N d in place of (N - 1) d."""
    monkeypatch.setattr(ZeroCenterOfMass, "dimension", Space.dimension)
    assert off_clouds(3) > 0.1


# A torus ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Around:
    """An exact denoiser of a mixture of wrapped Gaussians, ``x`` ``[B, D]`` of period 1."""

    mixture: Mixture

    def log_parts(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithm of each component's density at noise sigma ``[B]``, ``[B, K]``, and its score."""
        variance = (self.mixture.deviations**2 + sigma[:, None] ** 2)[..., None, None]
        ways = (x[:, None] - self.mixture.means)[..., None] + torch.arange(-9.0, 10.0, dtype=torch.float64)
        log = -(ways**2) / variance / 2 - torch.log(2 * math.pi * variance) / 2
        score = (log.softmax(-1) * -ways / variance).sum(-1)
        return self.mixture.weights.log() + log.logsumexp(-1).sum(-1), score

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: object = None,
    ) -> Posterior:
        log, score = self.log_parts(state["x"], levels["x"].sigma)
        mean = (log.softmax(1)[..., None] * score).sum(1)
        return {"x": Tangent(expand(levels["x"].sigma, mean) ** 2 * mean, state["x"])}

    def draws(self, count: int) -> tuple[Tensor, Tensor]:
        x, _ = drawn(self.mixture, count)
        return x.remainder(1), self.log_parts(x, f64([0.0]).expand(count))[0].logsumexp(1)


AROUND = Around(Mixture(f64([0.4, 0.6]), f64([[0.05, 0.9], [0.6, 0.4]]), f64([0.08, 0.2])))
CIRCLES = one("x", Torus(), WrappedGaussian(EDM(sigma_min=0.002, sigma_max=1.0)), (2,))


def test_a_wrapped_mixture_has_its_own_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    x, exact = AROUND.draws(12)
    made = log_likelihood(AROUND, State({"x": x}), CIRCLES)
    torch.testing.assert_close(made.nats, exact, rtol=0, atol=2e-3)
    flipped(monkeypatch)
    assert float((log_likelihood(AROUND, State({"x": x}), CIRCLES).nats - exact).abs().max()) > 0.5


def test_the_bound_of_a_wrapped_mixture_lies_below() -> None:
    x, exact = AROUND.draws(3000)
    made = bound(AROUND, State({"x": x}), CIRCLES, seeds=Seeds(0, range(3000)), steps=48)
    below(exact - made.nats, most=0.1)


# Fields together ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """An exact denoiser of a mixture in the plane whose two coordinates are fields, ``x`` and ``y``."""

    mixture: Mixture

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: object = None,
    ) -> Posterior:
        data, seen = self.mixture, torch.cat([state["x"], state["y"]], 1)
        alpha, sigma = (
            torch.stack([getattr(levels[name], part) for name in "xy"], 1)[:, None] for part in ("alpha", "sigma")
        )
        variance = (alpha * data.deviations[:, None]) ** 2 + sigma**2
        apart = seen[:, None] - alpha * data.means
        log_share = data.weights.log() - ((variance.log() + apart**2 / variance) / 2).sum(-1)
        each = data.means + alpha * data.deviations[:, None] ** 2 / variance * apart
        mean = (log_share.softmax(1)[..., None] * each).sum(1)
        return {"x": Mean(mean[:, :1]), "y": Mean(mean[:, 1:])}


def test_fields_on_clocks_of_their_own_have_one_likelihood() -> None:
    """And the directions of both are right together."""
    fields = {"x": Field(shape=(1,)), "y": Field(shape=(1,), scale=0.6)}
    parts = {"x": Gaussian(SCHEDULES["cosine"]), "y": Gaussian(EDM(sigma_max=200.0))}
    process = JointProcess(fields, parts, {"y": Power(2.0)})
    x, exact = drawn(CENTRED, 8)
    state = State({"x": x[:, :1], "y": x[:, 1:]})
    made = log_likelihood(Pair(CENTRED), state, process, steps=48)
    torch.testing.assert_close(made.nats, exact, rtol=0, atol=2e-3)
    assert made.dimension.tolist() == [2] * 8
    tossed = log_likelihood(
        Pair(CENTRED), state.rows(torch.zeros(800).long()), process, steps=16, probes=1, seeds=Seeds(0, range(800))
    ).nats
    same = log_likelihood(Pair(CENTRED), state.rows(slice(1)), process, steps=16).nats
    assert float((tossed.mean() - same).abs()) < 4 * float(tossed.std()) / math.sqrt(800)


# Classes ------------------------------------------------------------------------------------------------------------


PRIOR = (0.5, 0.3, 0.2)
MASK = (0.0, 0.0, 0.0, 1.0)
ONE = Cases(f64([0.6, 0.3, 0.1]), torch.tensor([[0], [1], [2]]), f64(PRIOR), 3)
TWO = Cases(f64([0.4, 0.1, 0.05, 0.05, 0.3, 1e-4, 0.0499, 0.02, 0.03]), everything(3, 2), f64(PRIOR), 3)


def below(gap: Tensor, most: float) -> None:
    """The bound lies below on average, as far as draws can tell, and not far."""
    error = float(gap.std()) / math.sqrt(len(gap))
    assert -4 * error < float(gap.mean()) < most + 4 * error
    assert error < 0.05


def tokens(sites: int, schedule: Schedule | None = None, prior: tuple[float, ...] = PRIOR) -> JointProcess:
    return one("c", Categorical(3), Discrete(schedule or SquaredCosine(), prior), (sites,))


def gaps(data: Cases, process: JointProcess, steps: int, *, each: int = 1500, draws: int | None = None) -> Tensor:
    """The mean of log p(case) minus its bound, ``[M]``, by ``each`` draws."""
    count = len(data.weights)
    case = torch.arange(count).repeat_interleave(each)
    state = State({"c": data.classes[case]})
    made = bound(data, state, process, seeds=Seeds(0, range(len(case))), steps=steps, draws=draws)
    return (data.weights.log()[case] - made.nats).reshape(count, each)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_of_one_site_the_bound_is_the_likelihood(steps: int) -> None:
    """The reverse steps of one entry are exact, however many there are."""
    gap = gaps(ONE, tokens(1), steps, each=8000)
    error = gap.std(1) / math.sqrt(8000)
    assert (gap.mean(1).abs() < 4 * error + 1e-9).all()
    assert (error < 0.03).all()


@pytest.mark.parametrize("prior", [PRIOR, MASK])
def test_of_several_sites_the_bound_closes_with_the_steps(prior: tuple[float, ...]) -> None:
    data = replace(TWO, pi=f64(prior))
    found = []
    for steps in (1, 4, 32):
        gap = gaps(data, tokens(2, prior=prior), steps)
        error = float((data.weights**2 * gap.var(1) / gap.shape[1]).sum().sqrt())
        found.append(float(data.weights @ gap.mean(1)))
        assert found[-1] > -4 * error
        assert error < 0.03
    # One step draws the sites apart: what they tell of each other is lost.
    shares = data.weights.reshape(3, 3)
    mutual = shares * (shares / (shares.sum(1, keepdim=True) * shares.sum(0))).log()
    assert found[0] == pytest.approx(float(mutual.sum()), abs=1e-9)
    assert found[0] > 1.5 * found[1] > 4 * found[2]


def test_a_few_draws_stand_for_all_steps() -> None:
    whole, some = gaps(ONE, tokens(1), 8, each=8000), gaps(ONE, tokens(1), 8, each=8000, draws=3)
    error = (whole.var(1) / 8000 + some.var(1) / 8000).sqrt()
    assert ((whole.mean(1) - some.mean(1)).abs() < 4 * error).all()


def overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """a_s for a_t."""
    right = kernels.reverse
    monkeypatch.setattr(
        likelihood, "reverse", lambda p, token, keep, keep_to, pi: right(p, token, 0.9 * keep_to, keep_to, pi)
    )


def unprepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the divergence from the prior."""
    monkeypatch.setattr(likelihood, "_ends", lambda name, clean, *rest: torch.zeros(clean.batch_size))


@pytest.mark.parametrize("broken", [overtaken, unprepared])
def test_a_broken_bound_is_noticed(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Where a part of the data is left at the noisy end, the model's own likelihood is
    sum_k prior(k) p(x_0 | x_1 = k)."""
    schedule = Sigmoid(log_snr_min=-1.0)
    keep = 1 / (1 + math.e)
    forward = keep * torch.eye(3, dtype=torch.float64) + (1 - keep) * f64(PRIOR)
    back = ONE.weights[:, None] * forward / (ONE.weights @ forward)
    own = (back @ f64(PRIOR)).log()

    def excess() -> Tensor:
        gap = gaps(ONE, tokens(1, schedule), 6, each=8000)
        beyond = (own - ONE.weights.log())[:, None] + gap
        return ONE.weights @ beyond.mean(1) / (ONE.weights**2 @ beyond.var(1) / 8000).sqrt()

    assert float(excess()) > -4
    broken(monkeypatch)
    assert not float(excess()) > -4


def test_pairs_count_once() -> None:
    """Of an even distribution over undirected graphs each pair costs one bit; padding and diagonal cost nothing."""
    space = Categorical(2, symmetric=True)
    process = one("e", space, Discrete(SquaredCosine(), (0.5, 0.5)), (-1, -1), layout=Masked(2))
    mask = torch.arange(5)[None] < torch.tensor([5, 3])[:, None]
    edges = process.fields["e"].project(torch.randint(0, 2, (2, 5, 5), generator=generator()), mask)

    def even(
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: object = None,
    ) -> Posterior:
        return {"e": LogProbs.of(torch.zeros(*state["e"].shape, 2, dtype=torch.float64))}

    made = bound(even, State({"e": edges}, mask), process, seeds=Seeds(0, range(2)), steps=1)
    assert made.dimension.tolist() == [10, 3]
    torch.testing.assert_close(made.bits_per_dimension, f64([1.0, 1.0]))


def test_classes_and_numbers_have_one_bound() -> None:
    """It closes with the steps on the joint likelihood of both."""
    data = Cases(
        f64(PRIOR), torch.tensor([[0], [1], [2]]), f64(PRIOR), 3, f64([[-1.0, 0.5], [1.0, 0.0], [0.2, -1.0]]), 0.4
    )
    assert data.means is not None
    fields = {"c": Field(shape=(1,), space=Categorical(3)), "x": Field(shape=(2,))}
    process = JointProcess(fields, {"c": Discrete(SquaredCosine(), PRIOR), "x": Gaussian(SCHEDULES["cosine"])})
    case = torch.multinomial(data.weights, 2500, True, generator=generator())
    x = data.means[case] + 0.4 * normal(2500, 2)
    exact = data.weights.log()[case] - (x - data.means[case]).square().sum(1) / 0.32 - math.log(0.32 * math.pi)
    found = []
    for steps in (8, 64):
        state = State({"c": data.classes[case], "x": x})
        made = bound(data, state, process, seeds=Seeds(0, range(2500)), steps=steps)
        below(exact - made.nats, most=1.0)
        found.append(float((exact - made.nats).mean()))
        assert made.dimension.tolist() == [3] * 2500
    assert found[1] < 0.5 * found[0]
    # What is given is not counted: with the class frozen, the flow gives the likelihood of the numbers under it.
    given = replace(process, warps={"c": Frozen()})
    made = log_likelihood(data, state.rows(slice(6)), given)
    torch.testing.assert_close(made.nats, (exact - data.weights.log()[case])[:6], rtol=0, atol=0.02)


def test_the_bound_of_numbers_lies_below() -> None:
    x, exact = drawn(CENTRED, 4000)
    for steps, most in ((8, 0.5), (64, 0.1)):
        made = bound(CENTRED, State({"x": x}), planar(SCHEDULES["cosine"]), seeds=Seeds(0, range(4000)), steps=steps)
        below(exact - made.nats, most)


def test_gaussian_data_have_no_gap() -> None:
    """At any number of steps, when their scale is the field's."""
    data = Mixture(f64([1.0]), f64([[0.0, 0.0]]), f64([0.7]))
    x, exact = drawn(data, 6000)
    process = planar(SCHEDULES["vp"], scale=0.7)
    gap = exact - bound(data, State({"x": x}), process, seeds=Seeds(0, range(6000)), steps=3).nats
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / math.sqrt(6000)


# Units and errors ---------------------------------------------------------------------------------------------------


def test_bits_per_dimension() -> None:
    made = Likelihood(f64([-math.log(2), -6.0, 3.0]), f64([1.0, 3.0, 2.0]))
    torch.testing.assert_close(made.bits_per_dimension, f64([1.0, 2 / math.log(2), -1.5 / math.log(2)]))


def test_what_has_no_likelihood_is_said() -> None:
    state = State({"c": torch.zeros(1, 2, dtype=torch.long)})
    with pytest.raises(ConfigError, match="the field c is of classes"):
        log_likelihood(TWO, state, tokens(2))
    with pytest.raises(ConfigError, match="need seeds"):
        log_likelihood(CENTRED, State({"x": f64([[0.0, 0.0]])}), planar(SCHEDULES["vp"]), probes=1)
    with pytest.raises(ConfigError, match="at least one step"):
        bound(TWO, state, tokens(2), seeds=Seeds(0, range(1)), steps=0)
