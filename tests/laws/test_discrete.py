"""Classes: the O(K) posterior, its marginals and transitions, rare and impossible classes, and every rule that draws.

Where a law is about distributions, they are propagated as matrices over all states, so that nothing is left to chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from oracle import f64
from oracle_joint import Cases, everything, likelihood, sites
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.layouts import Masked
from suffuse.noise import Draws, key, uniform, uniform64
from suffuse.posterior import LogProbs, Posterior
from suffuse.processes import Discrete, JointProcess, Level
from suffuse.processes.discrete import draw
from suffuse.sampling import DDIM, Ancestral, Confidence, Hook, Rules, Seeds, TokenSolver, plans, sample
from suffuse.sampling.hooks import Moment
from suffuse.sampling.kernels import Site, advance, odds, reverse
from suffuse.sampling.plan import TokenStage, UnmaskStage
from suffuse.schedules import RectifiedFlow, SquaredCosine
from suffuse.spaces import Categorical
from suffuse.state import State

K = 4
PRIORS: dict[str, Tensor] = {
    "uniform": f64([1 / K] * K),
    "marginal": f64([0.1, 0.2, 0.3, 0.4]),
    "absorbing": f64([0.0] * K + [1.0]),
}
LEVELS = [(0.0, 0.4), (0.3, 0.55), (0.05, 1.0), (0.7, 0.700001), (0.0, 1.0), (0.999, 1.0)]
"""Keep-probabilities before and after a step."""

Kernel = Callable[[Tensor, Tensor, float, float, Tensor], Tensor]


def field(count: int = K, shape: tuple[int, ...] = (1,), **settings: object) -> Field:
    return Field(shape=shape, space=Categorical(count), **settings)  # type: ignore[arg-type]


def process(pi: Tensor, spec: Field | None = None) -> JointProcess:
    """Of one field ``c`` of classes."""
    return JointProcess({"c": spec or field()}, {"c": Discrete(SquaredCosine(), tuple(pi.tolist()))})


def beliefs(count: int, classes: int = K, seed: int = 0) -> Tensor:
    """Random distributions ``[count, classes]``."""
    return torch.rand(count, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(-1)


def forward(keep: float, pi: Tensor) -> Tensor:
    """q(to | from), ``[S, S]``."""
    return keep * torch.eye(len(pi), dtype=torch.float64) + (1 - keep) * pi


def by_brute_force(belief: Tensor, token: int, keep: float, keep_to: float, pi: Tensor) -> Tensor:
    """``sum_i p_i q(x_s | x_t, x_0 = i)`` over all pairs of classes, impossible ones left out, normalised."""
    step, early, whole = forward(keep / keep_to, pi), forward(keep_to, pi), forward(keep, pi)
    total = torch.zeros(len(pi), dtype=torch.float64)
    for index, chance in enumerate(belief):
        if whole[index, token] > 0:
            total += chance * step[:, token] * early[index] / whole[index, token]
    return total / total.sum()


def off_brute_force(kernel: Kernel, pi: Tensor) -> float:
    """The largest deviation over tokens, levels and random beliefs."""
    worst = 0.0
    for keep, keep_to in LEVELS:
        for token in range(len(pi)):
            if keep == 0 and pi[token] == 0:  # cannot be
                continue
            for belief in beliefs(3):
                found = kernel(belief, torch.tensor(token), keep, keep_to, pi)
                exact = by_brute_force(belief, token, keep, keep_to, pi)
                worst = max(worst, float((found / found.sum() - exact).abs().max()))
    return worst


def not_divided(belief: Tensor, token: Tensor, keep: float, keep_to: float, pi: Tensor) -> Tensor:
    """Without Z: the belief in place of the belief over the likelihood."""
    belief = torch.nn.functional.pad(belief, [0, len(pi) - len(belief)])
    kept = keep / keep_to
    arrive = kept * (torch.arange(len(pi)) == token) + (1 - kept) * pi[token]
    return arrive * (keep_to * belief + (1 - keep_to) * pi)


def early_for_late(belief: Tensor, token: Tensor, keep: float, keep_to: float, pi: Tensor) -> Tensor:
    """a_t where a_s belongs, in the step that led here."""
    return reverse(belief, token, keep, (keep + keep_to) / 2, pi)


@pytest.mark.parametrize("prior", PRIORS)
def test_posterior_is_that_of_brute_force(prior: str) -> None:
    assert off_brute_force(reverse, PRIORS[prior]) < 1e-12


@pytest.mark.parametrize("prior", ["uniform", "marginal"])
@pytest.mark.parametrize("broken", [not_divided, early_for_late])
def test_a_broken_posterior_is_noticed(broken: Kernel, prior: str) -> None:
    assert off_brute_force(broken, PRIORS[prior]) > 1e-2


def test_a_broken_posterior_of_masks_is_noticed() -> None:
    """Of a mask the likelihood is the same for every class, so that only the levels count."""
    assert off_brute_force(early_for_late, PRIORS["absorbing"]) > 1e-2


@pytest.mark.parametrize("keep", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("pi", [*PRIORS.values(), f64([0.0, 0.5, 0.5, 0.0])])
def test_impossible_classes_are_ruled_out(pi: Tensor, keep: float) -> None:
    """Z_i = 0: under a prior that cannot have led to the token, the token is the class; so it is at a_t = 1."""
    for token in range(len(pi)):
        if (keep == 0 and pi[token] == 0) or (keep == 1 and token == K):  # cannot be
            continue
        for keep_to in (0.5, 1.0) if keep < 0.5 else (1.0,):
            found = reverse(beliefs(1)[0], torch.tensor(token), keep, keep_to, pi)
            assert found.isfinite().all()
            assert float(found.sum()) > 0
            if pi[token] == 0 or keep == 1:
                assert (found.nonzero()[:, 0] == token).all()


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.01])
@pytest.mark.parametrize("eta", [0.0, 0.4])
def test_a_revealed_token_is_kept_or_masked_again(eta: float, top_p: float) -> None:
    """Whatever the network believes, also where the class lies outside of what is drawn from; and masked only under
    more stochasticity."""
    belief = LogProbs.of(f64([[40.0, 0.0, 0.0, -40.0]])).value
    stage = TokenStage(0.0, 0.3, 0.6, 0.6 + eta * 0.4, top_p)
    for token in range(K):
        found = odds(stage, torch.tensor([token]), belief, PRIORS["absorbing"])[0]
        found = found / found.sum()
        assert float(found[token]) == pytest.approx(0.6 / stage.over)
        assert float(found[K]) == pytest.approx(1 - 0.6 / stage.over)


def transition(stage: TokenStage, data: Cases, possible: Tensor) -> Tensor:
    """The chances of all states after a stage, given each of all states before it, ``[S^D, S^D]``.

    Each site is drawn by itself, as in the sampler, from the exact marginals of the posterior.
    """
    states = everything(len(data.pi), data.classes.shape[1])
    belief = None
    if stage.keep_to > stage.keep:
        at = torch.full((len(states),), stage.keep, dtype=torch.float64)
        belief = data(State({"c": states}), {"c": Level(at, 1 - at, at)})["c"].value
    each = odds(stage, states, belief, data.pi)
    each = (each / each.sum(-1, keepdim=True))[possible]
    chances = torch.zeros(len(states), len(states), dtype=torch.float64)
    chances[possible] = torch.stack([part[:, states[:, d]] for d, part in enumerate(each.unbind(1))]).prod(0)
    return chances


def marginal(data: Cases, keep: float) -> Tensor:
    """q(x_t) of all states, ``[S^D]``."""
    states = everything(len(data.pi), data.classes.shape[1])
    each = likelihood(states, torch.full(states.shape, keep, dtype=torch.float64), data.pi, data.count)
    joint = torch.stack([each[:, d, column] for d, column in enumerate(data.classes.T)]).prod(0)
    return joint @ data.weights


def propagated(data: Cases, stages: list[TokenStage]) -> Tensor:
    """The distribution of a walk from the true marginal."""
    now = marginal(data, stages[0].keep)
    for stage in stages:
        now = now @ transition(stage, data, now > 0)
    return now


def walked(data: Cases, rule: TokenSolver, steps: int) -> list[TokenStage]:
    """The stages of an even walk from pure noise to the data."""
    grid = [1 - i / steps for i in range(steps)] + [0.0]
    here = process(data.pi, field(data.count, (data.classes.shape[1],)))
    return list(plans(grid, Rules(DDIM(), rule), here).plans["c"])  # type: ignore[arg-type]


def variation(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().sum() / 2)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("prior", PRIORS)
def test_one_site_is_exact_at_any_number_of_steps(prior: str, steps: int, eta: float) -> None:
    """With more stochasticity too: what goes on too far and comes back has the same marginals."""
    data = sites(K, 1, PRIORS[prior])
    stages = walked(data, Ancestral(eta), steps)
    for count in range(1, steps + 1):
        end = stages[count - 1].keep_to
        assert variation(propagated(data, stages[:count]), marginal(data, end)) < 1e-7


@pytest.mark.parametrize("prior", PRIORS)
def test_a_wrong_level_is_noticed(prior: str) -> None:
    data = sites(K, 1, PRIORS[prior])
    stages = walked(data, Ancestral(), 7)[:-1]
    late = [stages[0], *(replace(stage, keep=(stage.keep + stage.keep_to) / 2) for stage in stages[1:])]
    assert variation(propagated(data, late), marginal(data, late[-1].keep_to)) > 1e-2


def convergence(prior: str, eta: float, change: Callable[[TokenStage], TokenStage] | None = None) -> float:
    """The slope of log error over log steps, of two sites that depend on each other."""
    pi = f64([0.0] * 3 + [1.0]) if prior == "absorbing" else PRIORS[prior][:3] / PRIORS[prior][:3].sum()
    data, errors = sites(3, 2, pi), []
    for steps in (8, 32):
        stages = [change(stage) if change else stage for stage in walked(data, Ancestral(eta), steps)]
        errors.append(variation(propagated(data, stages), marginal(data, 1.0)))
    assert errors[0] > 1e-3
    return math.log(errors[0] / errors[1]) / math.log(4)


@pytest.mark.parametrize("prior", PRIORS)
def test_sites_that_depend_on_one_another_converge_at_first_order(prior: str) -> None:
    """More stochasticity makes longer jumps, and is slower than that."""
    assert convergence(prior, 0.0) > 0.9
    assert convergence(prior, 0.5) > 0.4


def test_tokens_that_are_drawn_anew_at_every_step_are_noticed() -> None:
    """The mutant: all the way to a class that is believed, and back, as if the token said nothing."""
    assert convergence("uniform", 0.0, lambda stage: replace(stage, over=1.0)) < 0.9


@pytest.mark.parametrize("prior", PRIORS)
def test_transitions_compose(prior: str) -> None:
    """q(x_t | x_s) after q(x_s | x_0) is q(x_t | x_0), and upward stages are these transitions."""
    pi, states = PRIORS[prior], torch.arange(len(PRIORS[prior]))[:, None]
    for r, s, t in [(1.0, 0.8, 0.3), (0.9, 0.5, 0.2), (0.6, 0.1, 0.05)]:
        up = [odds(TokenStage(None, a, b, b), states, None, pi)[:, 0] for a, b in ((r, s), (s, t), (r, t))]
        torch.testing.assert_close(up[0] @ up[1], up[2], rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(forward(r, pi) @ up[0], forward(s, pi), rtol=1e-12, atol=1e-15)
        assert float((forward(r, pi) @ up[1] - forward(t, pi)).abs().max()) > 1e-3  # a wrong level is noticed


@pytest.mark.parametrize("prior", PRIORS)
def test_renoising_keeps_marginals(prior: str) -> None:
    """Down, up and down again ends where one walk down does."""
    data = sites(K, 1, PRIORS[prior])
    stages = walked(data, Ancestral(), 4)
    up = TokenStage(None, stages[2].keep_to, stages[1].keep, stages[1].keep)
    assert variation(propagated(data, [*stages[:3], up, *stages[1:]]), marginal(data, 1.0)) < 1e-7


def spread(noise: int) -> Tensor:
    """Uniform numbers that fill (0, 1] evenly."""
    return (torch.arange(noise, dtype=torch.float64) + 0.5) / noise


def off_the_marginals(corrupt: Callable[[Tensor, Level, Tensor], Tensor], pi: Tensor, keep: float) -> float:
    """The largest deviation of the corruption's shares from q(x_t | x_0), by evenly spread noise."""
    noise, worst = spread(10_000), 0.0
    at = torch.full((len(noise),), keep, dtype=torch.float64)
    level = Level(at, 1 - at, at)
    for label in range(K):
        noisy = corrupt(torch.full((len(noise), 1), label), level, noise[:, None])
        shares = torch.bincount(noisy[:, 0], minlength=len(pi)).double() / len(noise)
        exact = forward(keep, pi)[label]
        worst = max(worst, float((shares - exact).abs().max()))
    return worst


@pytest.mark.parametrize("keep", [0.0, 0.2, 0.9, 1.0])
@pytest.mark.parametrize("prior", PRIORS)
def test_corruption_has_its_marginals(prior: str, keep: float) -> None:
    made = Discrete(SquaredCosine(), tuple(PRIORS[prior].tolist()))

    def corrupt(clean: Tensor, level: Level, noise: Tensor) -> Tensor:
        return made.corrupt(clean, level, noise, field(), None)

    def reused(clean: Tensor, level: Level, noise: Tensor) -> Tensor:
        """The mutant: the number that decides whether to keep is used again as it is to choose a token."""
        return torch.where(noise <= keep, clean, made.begin(noise, field(), None))

    assert off_the_marginals(corrupt, PRIORS[prior], keep) < 3e-4
    if 0 < keep < 1 and prior != "absorbing":
        assert off_the_marginals(reused, PRIORS[prior], keep) > 1e-2


def test_a_prior_that_sums_to_one_only_nearly_draws_no_impossible_class() -> None:
    made = Discrete(SquaredCosine(), (0.5, 0.5 - 9e-7, 0.0))
    assert int(made.begin(f64([[1.0]]), field(3), None)) == 1


def mass(weights: Tensor, chosen: int, noise: Callable[[int], float], bits: int) -> float:
    """The share of all ``2^bits`` random words for which a class is drawn, by bisection: draws rise with the noise."""

    def first(least: int) -> int:
        low, high = 0, 2**bits
        while low < high:
            middle = (low + high) // 2
            drawn = int(draw(weights[None], f64([noise(middle)])))
            low, high = (low, middle) if drawn >= least else (middle + 1, high)
        return low

    return float(first(chosen + 1) - first(chosen)) / 2.0**bits


def word64(index: int) -> float:
    return (index + 1) * 2**-53


def word32(index: int) -> float:
    return float((torch.tensor(index, dtype=torch.int64).float() + 1) * 2**-32)


def test_rare_tokens_keep_their_mass() -> None:
    """Exactly as likely as they should be, which float32 noise cannot give."""
    rare = 1e-8
    weights = f64([0.75, rare, 0.25 - rare])
    assert mass(weights, 1, word64, 53) == pytest.approx(rare, rel=1e-6)
    assert mass(weights, 1, word32, 32) != pytest.approx(rare, rel=0.5)


def test_words_are_those_of_the_noise() -> None:
    """The numbers that `mass` counts are the ones that are drawn from."""
    exact, single = uniform64(key(0, "words"), range(100), (3,)), uniform(key(0, "words"), range(100), (3,))
    assert torch.equal(exact * 2**53, (exact * 2**53).round())
    assert (exact.float().double() != exact).any()
    assert single.dtype == torch.float32
    assert {word32(0), word32(2**32 - 1)} <= {2**-32, 1.0}
    assert {word64(0), word64(2**53 - 1)} <= {2**-53, 1.0}


SIZES = torch.tensor([4, 2, 3])
MASK = torch.arange(4) < SIZES[:, None]
EDGES = Field(shape=(-1, -1), space=Categorical(K, symmetric=True), layout=Masked(2))
NODES = Field(shape=(-1,), space=Categorical(K), layout=Masked(1))


def is_graph(value: Tensor) -> bool:
    """Whether both halves are equal, and diagonal and padding at class 0."""
    pairs = MASK[:, :, None] & MASK[:, None, :] & ~torch.eye(4, dtype=torch.bool)
    return bool(torch.equal(value, value.transpose(1, 2)) and not value[~pairs].any())


class Asymmetric:
    """A network whose beliefs know nothing of symmetry or padding."""

    def __call__(
        self,
        state: State,
        levels: Mapping[str, Level],
        condition: Mapping[str, Tensor] | None = None,
        previous: Posterior | None = None,
    ) -> Posterior:
        return {
            name: LogProbs.of(torch.randn(*value.shape, K, generator=torch.Generator().manual_seed(1)).double())
            for name, value in state.items()
        }


class Watch(Hook):
    """Keeps the states after each move."""

    def __init__(self) -> None:
        self.states: list[State] = []

    def after_step(self, state: State, moment: Moment) -> State:
        self.states.append(state)
        return state


@pytest.mark.parametrize("rule", [Ancestral(), Ancestral(0.5, 0.8), Confidence()])
@pytest.mark.parametrize("prior", PRIORS)
def test_graphs_stay_graphs(prior: str, rule: TokenSolver) -> None:
    """Undirected edges stay symmetric, and the diagonal and the padding at 0, from the prior to the end."""
    if isinstance(rule, Confidence) and prior != "absorbing":
        return
    tokens = Discrete(SquaredCosine(), tuple(PRIORS[prior].tolist()))
    here = JointProcess({"edges": EDGES, "nodes": NODES}, {"edges": tokens, "nodes": tokens})
    seeds, watch = Seeds(0, range(3)), Watch()
    start = here.prior({"edges": (3, 4, 4), "nodes": (3, 4)}, seeds.at("prior"), MASK)
    end = sample(Asymmetric(), start, [1.0, 0.7, 0.4, 0.2, 0.0], Rules(DDIM(), rule), process=here, seeds=seeds,
                 hooks=[watch])  # fmt: skip
    clean = State({"edges": EDGES.project(torch.ones(3, 4, 4).long(), MASK), "nodes": end["nodes"]}, MASK)
    noisy = here.corrupt(clean, here.levels(torch.full((3,), 0.5, dtype=torch.float64)), seeds.at("corrupt"))
    for state in (start, *watch.states, noisy):
        assert is_graph(state["edges"])
        assert not state["nodes"][~MASK].any()
    assert end["edges"].any()
    assert int(end["edges"].max()) < K
    assert int(end["nodes"].max()) < K


def test_pairs_that_are_drawn_twice_are_noticed() -> None:
    """The mutant: a kernel without the projection."""
    seeds = Seeds(0, range(3))
    weights = odds(TokenStage(0.0, 0.0, 1.0, 1.0), torch.zeros(3, 4, 4).long(), Asymmetric()(
        State({"edges": torch.zeros(3, 4, 4).long()}), {})["edges"].value, PRIORS["uniform"])  # fmt: skip
    drawn = draw(weights, seeds.at("step").uniform("edges", (3, 4, 4)))
    assert not is_graph(drawn)
    assert is_graph(EDGES.project(drawn, MASK))


@pytest.mark.parametrize("prior", PRIORS)
def test_a_state_of_classes_alone_is_sampled(prior: str) -> None:
    """By the whole sampler, from its own prior, with no number beside the classes."""
    count = 5_000
    data = sites(K, 2, PRIORS[prior])
    here = process(data.pi, field(K, (2,)))
    seeds = Seeds(0, range(count))
    start = here.prior({"c": (count, 2)}, seeds.at("prior"))
    end = sample(data, start, [1 - i / 32 for i in range(32)] + [0.0], DDIM(), process=here, seeds=seeds)
    found = torch.bincount(end["c"][:, 0] * K + end["c"][:, 1], minlength=K * K).double() / count
    exact = propagated(data, walked(data, Ancestral(), 32))
    true = exact if prior != "absorbing" else exact.reshape(K + 1, K + 1)[:K, :K].flatten()
    floor = float((2 / math.pi * true * (1 - true) / count).sqrt().sum() / 2)
    assert variation(found, true) < 2 * floor
    assert variation(found, true.flip(0)) > 5 * floor


def test_top_p_draws_from_the_likeliest_alone() -> None:
    belief = f64([0.5, 0.3, 0.15, 0.05]).log()[None]
    for top_p, kept in [(1.0, 4), (0.96, 4), (0.94, 3), (0.79, 2), (0.5, 1), (1e-9, 1)]:
        found = odds(TokenStage(0.0, 0.0, 1.0, 1.0, top_p), torch.tensor([0]), belief, PRIORS["uniform"])[0]
        assert int((found > 0).sum()) == kept
        torch.testing.assert_close(found[:kept] / found[0], belief.exp()[0, :kept] / 0.5)


def unmasked(rule: Confidence, count: int, grid: list[float]) -> tuple[Watch, list[int]]:
    """A walk of ``count`` sites from all masked, and how many masks each step should leave."""
    here = process(PRIORS["absorbing"], field(K, (count,)))
    seeds, watch = Seeds(0, range(5)), Watch()
    start = here.prior({"c": (5, count)}, seeds.at("prior"))
    assert (start["c"] == K).all()
    sample(Asymmetric(), start, grid, Rules(DDIM(), rule), process=here, seeds=seeds, hooks=[watch])
    sigmas = [math.sin(math.pi / 2 * clock) ** 2 for clock in grid]
    left = [count]
    for before, after in zip(sigmas, sigmas[1:], strict=False):
        left.append(round(left[-1] * after / before))
    return watch, left[1:]


@pytest.mark.parametrize("rule", [Confidence(), Confidence(0.0), Confidence(3.0, 0.5)])
@pytest.mark.parametrize("count", [1, 7, 64])
def test_confidence_lifts_exactly_as_many_masks_as_planned(count: int, rule: Confidence) -> None:
    watch, left = unmasked(rule, count, [1.0, 0.8, 0.55, 0.31, 0.1, 0.0])
    before = torch.full((5, count), K)
    for state, masks in zip(watch.states, left, strict=True):
        assert ((state["c"] == K).sum(1) == masks).all()
        assert torch.equal(state["c"][before != K], before[before != K])  # what is revealed stays
        before = state["c"]
    assert left[-1] == 0


def surest_first(temperature: float) -> bool:
    """Whether the entries revealed first are those whose class is the likeliest."""
    belief = torch.randn(2, 40, K, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    belief = LogProbs.of(4 * belief).value
    masked = torch.full((2, 40), K)
    here = Discrete(SquaredCosine(), tuple(PRIORS["absorbing"].tolist()))
    site = Site(field(K, (40,)), here, masked, masked)
    noise = Draws(0, "step", range(2)).uniform("c", (2, 40))
    made = advance(UnmaskStage(0.0, 0.5, temperature), site, [LogProbs(belief)], noise)
    drawn = advance(UnmaskStage(0.0, 0.0, temperature), site, [LogProbs(belief)], noise)
    sure = belief.gather(-1, drawn[..., None])[..., 0]
    return all(float(row[shown].min()) >= float(row[~shown].max()) for row, shown in zip(sure, made != K, strict=True))


def test_confidence_lifts_the_surest_masks_first() -> None:
    assert surest_first(0.0)
    assert not surest_first(5.0)  # random order is noticed


@pytest.mark.parametrize("prior", ["uniform", "marginal"])
def test_confidence_needs_a_mask(prior: str) -> None:
    with pytest.raises(ConfigError, match=r"sampler\.categorical=confidence: the field c has no mask"):
        plans([1.0, 0.0], Rules(DDIM(), Confidence()), process(PRIORS[prior]))


def test_confidence_of_one_site_is_exact() -> None:
    """What is drawn for a mask has the data's distribution, by evenly spread noise."""
    data, noise = sites(K, 1, PRIORS["absorbing"]), spread(20_000)[:, None]
    masked = torch.full((len(noise), 1), K)
    nothing = torch.zeros(len(noise), dtype=torch.float64)
    belief = data(State({"c": masked}), {"c": Level(nothing, 1 - nothing, nothing)})["c"]
    site = Site(field(), Discrete(SquaredCosine(), tuple(data.pi.tolist())), masked, masked)
    made = advance(UnmaskStage(0.0, 0.0, 0.0), site, [belief], noise)
    shares = torch.bincount(made[:, 0], minlength=K).double() / len(noise)
    assert variation(shares, data.weights) < 2e-4


def expected_loss(belief: Cases, data: Cases, keep: float) -> float:
    """The mean of the process's error over all clean and noisy values of one site, in nats."""
    here = Discrete(RectifiedFlow(), tuple(data.pi.tolist()))
    total = 0.0
    at = torch.full((K,), keep, dtype=torch.float64)
    level = Level(at, 1 - at, at)
    for token in range(len(data.pi)):
        noisy, clean = torch.full((K, 1), token), torch.arange(K)[:, None]
        chance = data.weights * likelihood(noisy[:, 0], at, data.pi, K).diagonal()
        error = here.error(belief(State({"c": noisy}), {"c": level})["c"], clean, noisy, level, field())
        total += float((chance * error[:, 0]).sum())
    return total


def entropy(chances: Tensor) -> float:
    return -float(torch.special.xlogy(chances, chances).sum())


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("prior", PRIORS)
def test_loss_of_the_exact_posterior_is_the_conditional_entropy(prior: str, keep: float) -> None:
    """H(x_0 | x_t) = H(x_0, x_t) - H(x_t); any other belief loses more."""
    data = sites(K, 1, PRIORS[prior])
    joint = data.weights[:, None] * forward(keep, data.pi)[:K]
    exact = entropy(joint) - entropy(joint.sum(0))
    assert expected_loss(data, data, keep) == pytest.approx(exact, rel=1e-9)
    other = replace(data, weights=f64([0.25] * K))
    assert expected_loss(other, data, keep) > exact + 1e-3
