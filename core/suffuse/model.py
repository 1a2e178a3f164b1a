"""A model: a denoiser with everything that it takes to train it, or to make samples from it."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from suffuse import noise
from suffuse.conditions import ClassLabel, Condition, Span
from suffuse.data import Decoder, Session
from suffuse.denoiser import Denoiser
from suffuse.errors import ConfigError, suggest
from suffuse.fields import Field, pad
from suffuse.guidance import Captured, ClassifierFree, Guidable, Windows
from suffuse.plugins import Registry
from suffuse.processes import JointProcess
from suffuse.sampling import Hook, Resample, Rules, Seeds, plans, sample
from suffuse.schedules import Schedule
from suffuse.sizes import Sizes
from suffuse.spaces import Categorical
from suffuse.state import State
from suffuse.world import World

__all__ = ["Model", "Recipe", "merge"]


_SHARED = ("steps", "grid", "categorical")
"""The settings of a sampler that do not belong to its rule."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How samples are made: which rule, along which grid, under which guidance.

    Args:
        rules: which solver moves which kind of field.
        steps: the budget of network evaluations for one sample.
        grid: settings of the grid component.
        guidance: settings of the guidance component; None for none.
        config: the same as plain data, for records.
    """

    rules: Rules
    steps: int
    grid: Mapping[str, Any]
    guidance: Mapping[str, Any] | None
    config: Mapping[str, Any]


@dataclass(kw_only=True)
class Model:
    """A denoiser together with its process, its decoder and the configuration that made it.

    Args:
        sizes: how often each number of elements occurs, where it varies.
        step, digest: of the checkpoint that it comes from.
        others: from a run directory (None is the model's own) and a step (None is the newest) to another model.
        teach: gives weights to a predictor of these settings, which is made to learn from the data of the run.
    """

    denoiser: Denoiser
    process: JointProcess
    decoder: Decoder
    config: dict[str, Any]
    registry: Registry
    sizes: Sizes | None = None
    step: int = 0
    digest: str = ""
    ema: float | None = None
    """The width of the average of its weights; None for the run's own."""
    others: Callable[[str | None, int | None], Model] | None = None
    teach: Callable[[Model, nn.Module, Mapping[str, Any]], None] | None = None

    @property
    def fields(self) -> dict[str, Field]:
        """What is diffused."""
        return self.denoiser.fields

    @property
    def conditions(self) -> dict[str, Condition]:
        """What a sample may be asked for."""
        return self.denoiser.conditions

    @property
    def schedule(self) -> Schedule:
        """The noise schedule on which grids are built."""
        return self.process.schedule

    def describe(self) -> dict[str, Any]:
        """Plain data for checkpoints, enough to build the network again without the training data."""
        return {
            "modality": self.config["modality"]["name"],
            "fields": {name: field.to_json() for name, field in self.fields.items()},
            "conditions": {name: kind.to_json() for name, kind in self.conditions.items()},
            "sizes": None if self.sizes is None else self.sizes.to_json(),
            "config": self.config,
        }

    def save_as(self, settings: Mapping[str, Any]) -> None:
        """Change settings of the decoder that nothing but files depends on.

        Raises:
            ConfigError: it has no such setting, or samples depend on it too.
        """
        free = self.decoder.saving
        for key in settings:
            if key not in free:
                may = f"only {', '.join(sorted(free))} can be changed" if free else "nothing of it can be changed"
                raise ConfigError(f"decoder.{key}: taken from the run, {may}{suggest(key, free)}")
        if settings:
            self.decoder = self.registry.build("decoder", {**self.config["decoder"], **settings}, plugin=self.plugin)
            self.decoder.adopt(self.fields)

    def sized(self, state: State) -> dict[str, Field]:
        """The fields at the size of a state, such as that of a user's file."""
        return {
            name: field if field.layout.rank else replace(field, shape=tuple(state[name].shape[1:]))
            for name, field in self.fields.items()
        }

    def grown(self, state: State) -> dict[str, Field]:
        """The fields at the size of a state where it is larger than those of the training, and else as they are."""
        return {
            name: field
            if len(field.shape) == len(self.fields[name].shape)
            and all(size >= own for size, own in zip(field.shape, self.fields[name].shape, strict=True))
            else self.fields[name]
            for name, field in self.sized(state).items()
        }

    def config_hash(self) -> str:
        """SHA-256 of the configuration."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()

    def recipe(self, sampler: Mapping[str, Any] | None = None, guidance: Mapping[str, Any] | None = None) -> Recipe:
        """Settings over those recorded in the run. Another solver replaces the recorded one whole."""
        chosen = merge(self.config["sampler"], sampler)
        rest = {key: value for key, value in chosen.items() if key not in _SHARED}
        steps = chosen["steps"]
        if not 1 <= steps <= 100_000:
            raise ConfigError(f"sampler.steps={steps}: must be between 1 and 100000")
        guiding = merge(self.config.get("guidance") or {}, guidance)
        return Recipe(
            rules=Rules(
                self.registry.build("solver", rest, plugin=self.plugin),
                self.registry.build("categorical", chosen["categorical"], plugin=self.plugin),
            ),
            steps=steps,
            grid=chosen["grid"],
            guidance=guiding if guiding.get("name") else None,
            config={"sampler": chosen, "guidance": guiding or None},
        )

    @property
    def plugin(self) -> str:
        """The plugin whose components need no prefix."""
        return str(self.config["modality"]["name"])

    def asked(self, condition: Mapping[str, Any], indices: Sequence[int], seed: int = 0) -> dict[str, list[Any]]:
        """What each sample is asked for, from what a user typed.

        A list is dealt out by sample index. Of a range each sample asks for one value, which its index and the seed
        decide, as often as in the training data. A class that is not mentioned runs through all classes; ``null`` asks
        for nothing. Other conditions that are not mentioned are unknown.

        Raises:
            ConfigError: the run has no such condition, or it does not take the value.
        """
        for name in condition:
            if name not in self.conditions:
                known = ", ".join(self.conditions) or "none: it was trained without"
                raise ConfigError(
                    f"condition.{name}: this run has no such condition (it has {known}){suggest(name, self.conditions)}"
                )
        asked: dict[str, list[Any]] = {}
        for name, kind in self.conditions.items():
            if name in condition:
                typed = condition[name]
                each = typed if isinstance(typed, list) else [typed]
                if not each:
                    raise ConfigError(f"condition.{name}=[]: an empty list asks for nothing; leave it out")
                values = [None if value is None else kind.parse(value, name) for value in each]
                for doubt in filter(None, (kind.doubt(value, name) for value in values)):
                    warnings.warn(doubt, stacklevel=2)
            elif isinstance(kind, ClassLabel):
                values = list(range(len(kind.names)))
            else:
                values = [None]
            numbers = noise.uniform64(noise.key(seed, "condition", name), indices).tolist()
            pairs = zip(indices, numbers, strict=True)
            asked[name] = [kind.choose(values[index % len(values)], number) for index, number in pairs]
        return asked

    def sample(
        self,
        n: int,
        condition: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        sampler: Mapping[str, Any] | None = None,
        guidance: Mapping[str, Any] | None = None,
        compute_batch: int = 64,
    ) -> list[Any]:
        """``n`` decoded samples, by the run's own sampler where none is given.

        ``model.sample(16, {"label": 3}, sampler={"steps": 10}, guidance={"scale": 2.0})``

        Raises:
            ConfigError: a condition or a setting that the run does not take.
        """
        indices = range(n)
        asked = self.asked(condition or {}, indices, seed)
        state = self.draw(
            indices, asked, self.recipe(sampler, guidance), seed=seed, compute_batch=min(compute_batch, n)
        )
        return self.decoder.decode(state)

    def prior(
        self, seeds: Seeds, sizes: Sequence[int] | None = None, fields: Mapping[str, Field] | None = None
    ) -> State:
        """Pure noise for some samples, at the clock's 1; given fields are empty.

        Args:
            sizes: elements of each sample, where they vary.
            fields: of the samples, where they are not of the size of those of the training.
        """
        count, mask, room = len(seeds.indices), None, 0
        if sizes is not None:
            room = Sizes.room(max(sizes))
            mask = torch.arange(room) < torch.tensor(sizes)[:, None]
        shapes = {
            name: (count, *(room if length < 0 else length for length in field.shape))
            for name, field in (fields or self.fields).items()
        }
        given = {}
        for name, field in self.fields.items():
            if self.process.frozen(name):
                blank = torch.zeros(shapes[name], dtype=torch.long if isinstance(field.space, Categorical) else None)
                given[name] = self.process.processes[name].absent(blank, field, mask)
        return self.process.prior(shapes, seeds.at("prior"), mask, given)

    def grid(self, recipe: Recipe, start: float = 1.0) -> list[float]:
        """The falling times of a recipe, from ``start`` to 0."""
        intervals = recipe.rules.solver.intervals(recipe.steps)
        if self.process.categorical:
            intervals = recipe.steps
        times: list[float] = self.registry.build(
            "grid", recipe.grid, intervals, self.schedule, plugin=self.plugin, start=start
        )
        return times

    def evaluations(self, recipe: Recipe, start: float = 1.0, resample: Resample | None = None) -> int:
        """Network evaluations (NFE) that one sample takes; guidance may double each."""
        return plans(self.grid(recipe, start), recipe.rules, self.process, resample).evaluations

    def guided(self, recipe: Recipe) -> Guidable:
        """The denoiser under the recipe's guidance.

        Raises:
            ConfigError: a setting that the guidance does not take.
            RunError: a run that it names is missing.
        """
        if recipe.guidance is None:
            return self._quick(self.denoiser)
        guided: Guidable = self.registry.build(
            "guidance",
            recipe.guidance,
            self._quick(self.denoiser),
            plugin=self.plugin,
            offers={"load": self._other, "build": self._part},
        )
        dropout = self.config.get("trainer", {}).get("condition_dropout")
        if isinstance(guided, ClassifierFree) and guided.scale != 1 and self.conditions and dropout == 0:
            warnings.warn(
                f"guidance.scale={guided.scale:g}: this run was trained with trainer.condition_dropout=0, so it never "
                "learned to do without its conditions; guidance may do harm",
                stacklevel=2,
            )
        return guided

    def _other(self, run: str | None, step: int | None) -> Guidable:
        if self.others is None:
            raise ConfigError("guidance.run: this model does not know how to load another run")
        device = next(self.denoiser.parameters()).device
        return self._quick(self.others(run, step).denoiser.to(device).eval())

    def _quick(self, denoiser: Denoiser) -> Guidable:
        """The same answers with less waiting, where there is a way; those of one process alone are recorded."""
        where = next(denoiser.parameters()).device
        if where.type != "cuda" or World.here().size > 1:
            return denoiser
        return self._captured if denoiser is self.denoiser else Captured(denoiser)

    @cached_property
    def _captured(self) -> Captured:
        return Captured(self.denoiser)

    def _part(self, kind: str, config: Mapping[str, Any], *args: Any) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config["seed"])
            made = self.registry.build(kind, config, *args, plugin=self.plugin, offers={"conditions": self.conditions})
        if isinstance(made, nn.Module):
            if self.teach is None:
                raise ConfigError(f"guidance.predictor.name={config['name']}: learns from a run; this model is of none")
            self.teach(self, made, config)
        return made

    def session(self, own: Mapping[str, Any], condition: Mapping[str, Any] | None = None) -> Session:
        """One run of sampling with settings of the modality's own, and what a user typed of conditions.

        Raises:
            ConfigError: it has no such setting, or the setting does not take the value.
        """
        if "session" not in self.registry.load(self.plugin):
            if own:
                raise ConfigError(f"{next(iter(own))}: samples of {self.plugin} have no such setting")
            return Session()
        spans = {
            name: span
            for name, typed in (condition or {}).items()
            if isinstance(typed, str) and (span := Span.read(typed, f"condition.{name}"))
        }
        made: Session = self.registry.build(
            "session",
            {"name": self.plugin, **own},
            self.fields,
            plugin=self.plugin,
            offers={
                "decoder": self.decoder,
                "spans": spans,
                "data": lambda: self.registry.build("data", self.config["data"], plugin=self.plugin),
            },
        )
        return made

    def draw(
        self,
        indices: Sequence[int],
        asked: Mapping[str, Sequence[Any]],
        recipe: Recipe,
        *,
        seed: int = 0,
        compute_batch: int = 64,
        sizes: Sizes | None = None,
        fields: Mapping[str, Field] | None = None,
        overlap: float = 0.5,
        unknown: Mapping[str, Tensor] | None = None,
        denoiser: Guidable | None = None,
        begin: Callable[[Seeds], State] | None = None,
        start: float = 1.0,
        absent: Collection[str] | None = None,
        hooks: Callable[[Seeds, State], Sequence[Hook]] | None = None,
        resample: Resample | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> State:
        """Clean states for some sample indices, on the CPU.

        Every network call has exactly ``compute_batch`` rows (the last is filled up with repeats), because the last
        bits of a matrix product depend on its size; so a sample is the same in every bit whatever it is drawn beside.
        Samples of different size are padded to their own size's room and computed with others of the same room, those
        of rare rooms in narrower batches (`Sizes.width`).

        Args:
            indices: of the samples; index and seed decide a sample's noise.
            asked: from `asked`, in the order of the indices.
            recipe: from `recipe`.
            seed: of the sampling run.
            compute_batch: rows of a network call.
            sizes: from which the elements of each sample are drawn; by default those of the training data.
            fields: of the samples, where they are not of the size of those of the training; larger ones are made in
                windows, see `Windows`.
            overlap, unknown: of these windows.
            denoiser: what is asked in place of `guided`.
            begin: (seeds) -> the state at ``start``; pure noise, with nothing given, by default.
            start: where on the clock to begin.
            absent: given fields of which nothing is known; by default all, or with ``begin`` none.
            hooks: (seeds, the state at ``start``) -> hooks of one batch.
            resample: ways back to noise, for filling in.
            progress: called with the number of samples done.
        """
        if compute_batch < 1:
            raise ConfigError(f"compute_batch={compute_batch}: must be at least 1")
        device = next(self.denoiser.parameters()).device
        self.denoiser.eval()
        denoise, rows = denoiser or self.guided(recipe), compute_batch
        if fields is not None:
            denoise = Windows(denoise, fields, compute_batch, overlap=overlap, unknown=unknown)
            rows = max(1, compute_batch // denoise.count)
        grid = self.grid(recipe, start)
        if absent is None:
            absent = [name for name in self.fields if self.process.frozen(name) and begin is None]
        known = (sizes or self.sizes) if begin is None else None
        counts = None if known is None else known.draw(seed, indices)
        batches, order, done = [], [], 0
        for chunk, width in _chunks(len(indices), rows, known, counts):
            spare = width - len(chunk)
            full = [*chunk, *chunk[-1:] * spare]
            seeds = Seeds(
                seed, [indices[place] for place in full] if spare or counts else indices[chunk[0] : chunk[-1] + 1]
            )
            condition = {
                name: kind.collate([asked[name][place] for place in full]).to(device)
                for name, kind in self.conditions.items()
            }
            if begin is not None:
                state = begin(seeds)
            else:
                state = self.prior(seeds, None if counts is None else [counts[place] for place in full], fields)
            state = state.to(device)
            made = sample(
                denoise,
                state,
                grid,
                recipe.rules,
                process=self.process,
                seeds=seeds,
                condition=condition,
                hooks=hooks(seeds, state) if hooks else (),
                resample=resample,
                absent=absent,
            )
            batches.append(made.rows(slice(len(chunk))).to("cpu"))
            order += chunk
            done += len(chunk)
            if progress is not None:
                progress(done)
        room = max((batch.mask.shape[1] for batch in batches if batch.mask is not None), default=0)
        state = State.cat([pad(batch, self.fields, room) for batch in batches])
        return state if counts is None else state.rows(torch.tensor(order).argsort())


def _chunks(count: int, most: int, known: Sizes | None, sizes: Sequence[int] | None) -> Iterator[tuple[list[int], int]]:
    """Places of samples that are computed together, and in how many rows: in order or, where sizes vary, with those of
    the same room."""
    rooms: dict[int, list[int]] = {}
    for place in range(count):
        rooms.setdefault(0 if sizes is None else Sizes.room(sizes[place]), []).append(place)
    for room, places in sorted(rooms.items()):
        width = most if known is None else known.width(room, most)
        yield from ((places[at : at + width], width) for at in range(0, len(places), width))


def merge(recorded: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings laid over recorded ones, key by key; a component with another ``name`` replaces the recorded one whole,
    but for what all samplers have and it does not bring."""
    given = given or {}
    if given.get("name", recorded.get("name")) != recorded.get("name"):
        recorded = {key: recorded[key] for key in _SHARED if key in recorded}
    merged = dict(recorded)
    for key, value in given.items():
        inner = merged.get(key)
        merged[key] = merge(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged
