"""Checks of single components that serve any modality: metrics, and samplers against closed forms."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from suffuse.data import Evaluation, Metric, Score
from suffuse.denoiser import Denoise
from suffuse.fields import Field
from suffuse.posterior import LogProbs, Mean, Posterior
from suffuse.processes import Discrete, Gaussian, JointProcess, Level
from suffuse.sampling import Seeds, sample
from suffuse.schedules import Cosine, SquaredCosine
from suffuse.spaces import Categorical
from suffuse.state import State
from suffuse.testing.bench import Bench
from suffuse.testing.check import Inapplicable, ensure

__all__ = ["samplers_find_classes", "samplers_find_numbers", "scores_are_figures"]

_COUNT = 2000
_STEPS = 256
"""So many that a rule of first order is near enough."""
_FEW = 4
"""With the exact belief of independent classes no number of steps is too small."""


def scores_are_figures(bench: Bench) -> None:
    """A metric gives finite figures for samples and for real data, each with its name, its direction and its how."""
    split = bench.source.heldout
    count = min(32, len(split))
    if bench.config["metric"] is None:
        raise Inapplicable("the trial takes no metric")
    if count < 2:
        raise Inapplicable("nothing is held out that samples could be compared with")
    metric: Metric = bench.registry.build("metric", bench.config["metric"], plugin=bench.modality)
    values = bench.decoder.decode(bench.decoder.encode(split.gather(range(count)).values))
    known = {name: [split[row].condition.get(name) for row in range(count)] for name in split.conditions}
    scores: list[Score] = metric(Evaluation(values=values, conditions=known, train=bench.source.train, heldout=split))
    ensure(bool(scores), "the metric gives no scores")
    names = [score.name for score in scores]
    ensure(len(set(names)) == len(names), f"two scores have one name: {names}")
    for score in scores:
        for value in (score.value, score.real):
            ensure(math.isfinite(value), f"{score.name}: real data as samples score {value}")
        ensure(
            score.better in ("higher", "lower"), f"{score.name}: better is 'higher' or 'lower', not {score.better!r}"
        )
        ensure(bool(score.about.strip()), f"{score.name}: `about` does not say how it is measured")


def samplers_find_numbers(bench: Bench) -> None:
    """With the exact belief of normal data, samples have its mean and its spread."""
    mean, spread = 0.3, 0.5
    field = Field(shape=(2,), scale=spread)
    process = JointProcess({"x": field}, {"x": Gaussian(Cosine())})

    def exact(
        state: State, levels: Mapping[str, Level], condition: object = None, previous: object = None
    ) -> Posterior:
        alpha, sigma = levels["x"].like(state["x"])
        gain = alpha * spread**2 / (alpha**2 * spread**2 + sigma**2)
        return {"x": Mean(mean + gain * (state["x"] - alpha * mean))}

    made = _sample(bench, process, exact)["x"]
    ensure(abs(float(made.mean()) - mean) < 0.05 * spread, f"samples of mean {mean} have the mean {made.mean():.3f}")
    ensure(abs(float(made.std()) / spread - 1) < 0.05, f"samples of spread {spread} have the spread {made.std():.3f}")


def samplers_find_classes(bench: Bench) -> None:
    """With the exact belief of independent classes, samples have their frequencies."""
    shares = torch.tensor([0.6, 0.3, 0.1])
    field = Field(shape=(4,), space=Categorical(3), frequencies=tuple(shares.tolist()))
    absorbing = bench.config["sampler"]["categorical"]["name"] == "confidence"
    prior = (0.0, 0.0, 0.0, 1.0) if absorbing else (1 / 3, 1 / 3, 1 / 3)
    process = JointProcess({"x": field}, {"x": Discrete(SquaredCosine(), prior)})

    def exact(
        state: State, levels: Mapping[str, Level], condition: object = None, previous: object = None
    ) -> Posterior:
        keep = levels["x"].like(state["x"])[0].unsqueeze(-1)
        seen = torch.nn.functional.one_hot(state["x"], len(prior))[..., :3]
        likely = keep * seen + (1 - keep) * torch.tensor(prior).gather(0, state["x"].flatten()).reshape(
            *state["x"].shape, 1
        )
        return {"x": LogProbs.of((shares * likely).clamp_min(1e-12).log())}

    made = torch.bincount(_sample(bench, process, exact)["x"].flatten(), minlength=3) / (_COUNT * 4)
    apart = float((made - shares).abs().max())
    ensure(
        apart < 0.03, f"samples of classes as frequent as {shares.tolist()} have {[round(v, 3) for v in made.tolist()]}"
    )


def _sample(bench: Bench, process: JointProcess, belief: Denoise) -> State:
    recipe = bench.model.recipe()
    intervals = _FEW if process.categorical else recipe.rules.solver.intervals(_STEPS)
    grid = bench.registry.build("grid", recipe.grid, intervals, process.schedule, plugin=bench.modality, start=1.0)
    seeds = Seeds(0, range(_COUNT))
    shapes = {name: (_COUNT, *field.shape) for name, field in process.fields.items()}
    return sample(belief, process.prior(shapes, seeds.at("prior")), grid, recipe.rules, process=process, seeds=seeds)
