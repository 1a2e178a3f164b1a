"""What ``task=`` of ``suffuse sample`` does: samples made from files of the user's in place of pure noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from suffuse.conditions import Span
from suffuse.data import Part, Session
from suffuse.editing import Replace, between, fresh, noised
from suffuse.errors import ConfigError, DataError, suggest
from suffuse.fields import check
from suffuse.guidance import Guidable, PosteriorSampling, Windows
from suffuse.model import Model, Recipe
from suffuse.sampling import Hook, Resample, Seeds, invert
from suffuse.sizes import Sizes
from suffuse.spaces import Torus
from suffuse.state import State

__all__ = ["Job", "prepare"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is drawn, and how.

    Args:
        indices: of the samples.
        asked: from some of the indices to what each is asked for, by condition name.
        evaluations: of the network, for one sample.
        draw: what `Model.draw` is told beside the usual.
        before: evaluations that were taken once, before any sample.
        compare: from the samples to how far they are from what they should be, by field.
        join: from a decoded sample to one that keeps what was known of it exactly.
        session: what the settings of the modality's own ask for.
    """

    indices: Sequence[int]
    asked: Callable[[Sequence[int]], Mapping[str, Sequence[Any]]]
    evaluations: int
    draw: Mapping[str, Any] = field(default_factory=dict)
    before: int = 0
    compare: Callable[[State], dict[str, float]] | None = None
    join: Callable[[Any], Any] | None = None
    session: Session = field(default_factory=Session)


def prepare(config: Mapping[str, Any], model: Model, recipe: Recipe) -> Job:
    """Read the files of a task and set up its guidance, so that what is wrong shows before anything is written.

    Raises:
        SuffuseError: a setting, a file or the run is not fit for the task.
    """
    task = _task(config, model)
    indices = _indices(config)
    condition, seed = _condition(config, task, model), config["seed"]
    model.asked(condition, indices[:1], seed)
    session = model.session(config["own"], condition)
    guided = model.guided(recipe)
    plain = Job(
        indices=indices,
        asked=lambda some: model.asked(condition, some, seed),
        evaluations=model.evaluations(recipe),
        draw={"denoiser": guided, "overlap": config["overlap"]},
        session=session,
    )
    part, span = session.part(), _span(config["size"])
    if task and not (part is None and span is None):
        raise ConfigError(f"{'size' if part is None else part.text}: task={task} takes it from the input")
    if part is not None:
        return _around(part, span, config, model, recipe, plain)
    if span is not None:
        plain = replace(plain, draw={**plain.draw, "sizes": _sizes(span, model)})
    return _TASKS[task](config, model, recipe, guided, plain)


def _anew(config: Mapping[str, Any], model: Model, recipe: Recipe, guided: Guidable, plain: Job) -> Job:
    if config["resample"]["repeats"] != 1:
        raise ConfigError("resample.repeats belongs to task=inpaint, or to a part that is given")
    if config["length"] is None:
        return plain
    blank = model.decoder.blank(str(config["length"]), model.fields)
    fields = model.sized(model.decoder.encode([blank]))
    return replace(plain, draw={**plain.draw, "fields": fields}, join=model.decoder.finish(blank, known=False))


def _around(part: Part, span: Span | None, config: Mapping[str, Any], model: Model, recipe: Recipe, plain: Job) -> Job:
    """Samples around a part that is known of each: the same replacement as for `inpaint`, at any size that fits."""
    known = model.process.fields

    def hooks(seeds: Seeds, state: State) -> list[Hook]:
        assert state.mask is not None
        given, unknown = part.place(state.mask.cpu())
        return [Replace(given.to(state.device), unknown.to(state.device), known)]

    most = math.inf if part.most is None else part.most
    wanted = Span(-math.inf, math.inf) if span is None else span
    largest = 0 if model.sizes is None else max(model.sizes.counts)
    if part.least > largest:
        raise ConfigError(
            f"{part.text}: takes {part.least} elements with what is new, and the training data had at most {largest}"
        )
    if wanted.high < part.least or wanted.low > most:
        raise ConfigError(f"size={wanted}: samples around {part.text} have {Span(part.least, most)} elements")
    sizes = _sizes(Span(max(part.least, wanted.low), min(most, wanted.high)), model)
    resample = Resample(**config["resample"])
    return replace(
        plain,
        evaluations=model.evaluations(recipe, resample=resample),
        draw={**plain.draw, "sizes": sizes, "hooks": hooks, "resample": resample},
    )


def _span(typed: int | str | None) -> Span | None:
    """The sizes that were asked for."""
    if typed is None:
        return None
    span = Span.read(str(typed), "size")
    try:
        return span or Span(int(typed), int(typed))
    except ValueError:
        raise ConfigError(f"size={typed}: must be a whole number, or a range such as 10..20") from None


def _sizes(span: Span, model: Model) -> Sizes:
    if model.sizes is None:
        raise ConfigError(f"size={span}: the samples of this run are all of one size")
    least = 1 if math.isinf(span.low) else math.ceil(span.low)
    return model.sizes.within(least, None if math.isinf(span.high) else math.floor(span.high))


def _vary(config: Mapping[str, Any], model: Model, recipe: Recipe, guided: Guidable, plain: Job) -> Job:
    strength = config["strength"]
    value, given = _given(config, "input", model)
    return replace(
        plain,
        evaluations=model.evaluations(recipe, strength),
        draw={
            **plain.draw,
            "fields": model.sized(given),
            "begin": noised(given, model.process, strength),
            "start": strength,
        },
        join=model.decoder.finish(value, known=False),
    )


def _inpaint(config: Mapping[str, Any], model: Model, recipe: Recipe, guided: Guidable, plain: Job) -> Job:
    process, decoder = model.process, model.decoder
    fields, cut = model.fields, None
    if config["length"] is not None:
        blank = decoder.blank(str(config["length"]), fields)
        fields, cut = model.sized(decoder.encode([blank])), decoder.finish(blank, known=False)
    value = decoder.load(Path(config["input"]), fields)
    gap = decoder.gap(value, Path(config["mask"]) if config["mask"] else None, fields)
    given = _encoded(value, config["input"], model)
    fields = model.sized(given)
    # A given field is known as a whole or not at all: one that has seen the gap would give it away.
    absent = [name for name, part in gap.unknown.items() if process.frozen(name) and part.any()]
    given = given.replace(
        **{name: process.processes[name].absent(given[name], fields[name], given.mask) for name in absent}
    )
    made = State({name: part for name, part in gap.unknown.items() if not process.frozen(name)})
    device = next(model.denoiser.parameters()).device
    hook = Replace(given.to(device), made.to(device), fields)
    resample = Resample(**config["resample"])
    return replace(
        plain,
        evaluations=model.evaluations(recipe, resample=resample),
        draw={
            **plain.draw,
            "fields": fields,
            "unknown": made,
            "begin": fresh(given, process),
            "absent": absent,
            "hooks": lambda seeds, state: [hook],
            "resample": resample,
        },
        join=gap.join if cut is None else lambda found: cut(gap.join(found)),
    )


def _from_given(config: Mapping[str, Any], model: Model, recipe: Recipe, guided: Guidable, plain: Job) -> Job:
    if not any(map(model.process.frozen, model.fields)):
        raise ConfigError(f"task={config['task']}: this run was trained without given fields")
    value, given = _given(config, "input", model)
    return replace(
        plain,
        draw={**plain.draw, "fields": model.sized(given), "begin": fresh(given, model.process)},
        join=model.decoder.finish(value, known=True),
    )


def _upscale(config: Mapping[str, Any], model: Model, recipe: Recipe, guided: Guidable, plain: Job) -> Job:
    measurement = model.decoder.measure(Path(config["input"]), model.fields)
    guided = PosteriorSampling(guided, measurement, **config["measurement"])
    return replace(plain, draw={**plain.draw, "denoiser": guided})


def _reconstruct(config: Mapping[str, Any], model: Model, recipe: Recipe, guided: Guidable, plain: Job) -> Job:
    value, given = _given(config, "input", model)
    noise, taken = _noise(given, config, model, recipe, guided, plain)

    def compare(made: State) -> dict[str, float]:
        return {name: _off(name, made, given, model) for name in made if not model.process.frozen(name)}

    return replace(
        plain,
        indices=plain.indices[:1],
        draw={**plain.draw, "fields": model.sized(given), "begin": lambda seeds: _each(noise, seeds)},
        before=taken,
        compare=compare,
        join=model.decoder.finish(value, known=False),
    )


def _interpolate(config: Mapping[str, Any], model: Model, recipe: Recipe, guided: Guidable, plain: Job) -> Job:
    last = config["n"] - 1
    if config["other"] is None or last < 1:
        raise ConfigError("task=interpolate needs other=FILE to go to, and n=2 or more")
    if max(plain.indices) > last:
        raise ConfigError(
            f"n={config['n']}: task=interpolate makes samples 0 to n - 1, of which the ends are the inputs"
        )
    states = [_given(config, key, model)[1] for key in ("input", "other")]
    ends = [_noise(given, config, model, recipe, guided, plain) for given in states]
    (first, taken), (second, more) = ends

    def begin(seeds: Seeds) -> State:
        return between(first, second, model.process, [index / last for index in seeds.indices])

    begin(Seeds(0, plain.indices[:1]))
    return replace(plain, draw={**plain.draw, "fields": model.sized(first), "begin": begin}, before=taken + more)


_TASKS: Mapping[str | None, Callable[..., Job]] = {
    None: _anew,
    "vary": _vary,
    "inpaint": _inpaint,
    "upscale": _upscale,
    "reconstruct": _reconstruct,
    "interpolate": _interpolate,
    "given": _from_given,
}
_BELONGS = {"mask": "inpaint", "other": "interpolate"}


def _task(config: Mapping[str, Any], model: Model) -> str | None:
    """The task in the core's own words, once everything that was set belongs to it; None for no task."""
    asked = config.get("task")
    if not asked:
        return None
    known = {**{name: name for name in _TASKS if name}, **model.decoder.tasks}
    if asked not in known:
        raise ConfigError(f"task={asked}: known are {', '.join(known)}{suggest(asked, known)}")
    task = known[asked]
    for key, owner in _BELONGS.items():
        if config[key] is not None and task != owner:
            raise ConfigError(f"{key} belongs to task={owner}")
    if config["length"] is not None and (task != "inpaint" or config["mask"] is not None):
        raise ConfigError("length belongs to samples from noise, and to task=inpaint without a mask, which continues")
    if task != "inpaint" and config["resample"]["repeats"] != 1:
        raise ConfigError("resample.repeats belongs to task=inpaint")
    obstacle = model.decoder.obstacle(asked, model.fields)
    if obstacle is not None:
        raise ConfigError(f"task={asked}: {obstacle}")
    return task


def _indices(config: Mapping[str, Any]) -> Sequence[int]:
    if config.get("indices") is not None:
        chosen = config["indices"] if isinstance(config["indices"], list) else [config["indices"]]
        if not chosen or any(not isinstance(i, int) or i < 0 for i in chosen):
            raise ConfigError(f"indices={chosen}: a number or a list of numbers from 0 up is needed")
        return chosen
    if config["n"] < 1:
        raise ConfigError(f"n={config['n']}: must be at least 1")
    return range(config["n"])


def _condition(config: Mapping[str, Any], task: str | None, model: Model) -> dict[str, Any]:
    """What samples are asked for; where the input says what they are, a class that is not mentioned is unknown."""
    condition = dict(config.get("condition") or {})
    if task not in ("upscale", "reconstruct", "interpolate", "given"):
        return condition
    if task in ("reconstruct", "interpolate"):
        for name, value in condition.items():
            if isinstance(value, list):
                raise ConfigError(f"condition.{name}={value}: task={task} takes one value for all samples")
    return {**dict.fromkeys(model.conditions), **condition}


def _given(config: Mapping[str, Any], key: str, model: Model) -> tuple[Any, State]:
    """A file of the user's as a value, and as one clean sample on the CPU."""
    value = model.decoder.load(Path(config[key]), model.fields)
    return value, _encoded(value, config[key], model)


def _encoded(value: Any, path: str, model: Model) -> State:
    """A loaded value as one clean sample on the CPU; it may be larger than those of the training.

    Raises:
        DataError: it is not such a sample as the run makes.
    """
    state = model.decoder.encode([value])
    try:
        check(state, model.grown(state))
    except DataError as error:
        raise DataError(f"{path}: does not fit this run ({str(error).removeprefix('data: ')})") from error
    return state


def _noise(
    given: State, config: Mapping[str, Any], model: Model, recipe: Recipe, guided: Guidable, plain: Job
) -> tuple[State, int]:
    """The noise of a sample, and the evaluations that it took to find it."""
    solver = recipe.rules.solver
    if solver.stochastic:
        raise ConfigError(
            f"sampler: {type(solver).__name__} adds noise on its way, so that the noise of a sample cannot be found; "
            "take sampler=ddim, heun or dpmpp_2m"
        )
    device = next(model.denoiser.parameters()).device
    grid = model.grid(recipe)
    asked = plain.asked(plain.indices[:1])
    condition = {name: kind.collate(asked[name]).to(device) for name, kind in model.conditions.items()}
    model.denoiser.eval()
    whole = Windows(guided, model.sized(given), config["compute_batch"], overlap=config["overlap"])
    noise = invert(whole, given.to(device), grid, solver, process=model.process, condition=condition)
    taken = sum(move.look for move in solver.route(grid[:-1][::-1], model.schedule))
    return noise.to("cpu"), taken


def _each(state: State, seeds: Seeds) -> State:
    return state.map(lambda value: value.expand(len(seeds.indices), *value.shape[1:]))


def _off(name: str, made: State, given: State, model: Model) -> float:
    """The root mean square difference of a field, in units of its spread."""
    field = model.fields[name]
    space = field.space
    apart = space.difference(made[name], given[name]) if isinstance(space, Torus) else made[name] - given[name]
    return float(field.mean(apart.square(), made.mask).mean().sqrt()) / field.scale
