"""A model: a denoiser with everything that it takes to train it, or to make samples from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from suffuse.conditions import ClassLabel, Condition, condition_from_json
from suffuse.data import DataSource, Decoder
from suffuse.denoiser import Denoise, Denoiser
from suffuse.errors import ConfigError, RunError, suggest
from suffuse.fields import Field
from suffuse.plugins import Registry
from suffuse.processes import Gaussian, JointProcess
from suffuse.runs import Run
from suffuse.sampling import Hook, Seeds, Solver, sample
from suffuse.sampling.executor import plans
from suffuse.schedules import Schedule
from suffuse.state import State
from suffuse.training.checkpoints import Checkpoint
from suffuse.training.trainer import load_weights

__all__ = ["Model", "Recipe", "build_data", "build_model", "load"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How samples are made: which rule, along which grid, under which guidance.

    Args:
        solver: the rule.
        steps: the budget of network evaluations for one sample.
        grid: settings of the grid component.
        guidance: settings of the guidance component; None for none.
        config: the same as plain data, for records.
    """

    solver: Solver
    steps: int
    grid: Mapping[str, Any]
    guidance: Mapping[str, Any] | None
    config: Mapping[str, Any]


@dataclass(kw_only=True)
class Model:
    """A denoiser together with its process, its decoder and the configuration that made it."""

    denoiser: Denoiser
    process: JointProcess
    decoder: Decoder
    config: dict[str, Any]
    registry: Registry
    step: int = 0
    digest: str = ""

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
            "config": self.config,
        }

    def config_hash(self) -> str:
        """SHA-256 of the configuration."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()

    def recipe(self, sampler: Mapping[str, Any] | None = None, guidance: Mapping[str, Any] | None = None) -> Recipe:
        """Settings over those recorded in the run. Another solver replaces the recorded one whole."""
        chosen = merge(self.config["sampler"], sampler)
        rest = {key: value for key, value in chosen.items() if key not in ("steps", "grid")}
        steps = chosen["steps"]
        if not 1 <= steps <= 100_000:
            raise ConfigError(f"sampler.steps={steps}: must be between 1 and 100000")
        guiding = merge(self.config.get("guidance") or {}, guidance)
        return Recipe(
            solver=self.registry.build("solver", rest, plugin=self.plugin),
            steps=steps,
            grid=chosen["grid"],
            guidance=guiding if guiding.get("name") else None,
            config={"sampler": chosen, "guidance": guiding or None},
        )

    @property
    def plugin(self) -> str:
        """The plugin whose components need no prefix."""
        return str(self.config["modality"]["name"])

    def asked(self, condition: Mapping[str, Any], indices: Sequence[int]) -> dict[str, list[Any]]:
        """What each sample is asked for, from what a user typed.

        A list is dealt out by sample index. A class that is not mentioned runs through all classes; ``null`` asks for
        nothing. Other conditions that are not mentioned are unknown.

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
            elif isinstance(kind, ClassLabel):
                values = list(range(len(kind.names)))
            else:
                values = [None]
            asked[name] = [values[index % len(values)] for index in indices]
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
        asked = self.asked(condition or {}, indices)
        state = self.draw(
            indices, asked, self.recipe(sampler, guidance), seed=seed, compute_batch=min(compute_batch, n)
        )
        return self.decoder.decode(state)

    def prior(self, seeds: Seeds) -> State:
        """Pure noise for some samples, at the clock's 1."""
        shapes = {name: (len(seeds.indices), *field.shape) for name, field in self.fields.items()}
        return self.process.prior(shapes, lambda name, shape: seeds.normal("prior", name, 0, shape))

    def grid(self, recipe: Recipe, start: float = 1.0) -> list[float]:
        """The falling times of a recipe, from ``start`` to 0."""
        intervals = recipe.solver.intervals(recipe.steps)
        times: list[float] = self.registry.build(
            "grid", recipe.grid, intervals, self.schedule, plugin=self.plugin, start=start
        )
        return times

    def evaluations(self, recipe: Recipe, start: float = 1.0) -> int:
        """Network evaluations (NFE) that one sample takes; guidance may double each."""
        return max(plan.evaluations for plan in plans(self.grid(recipe, start), recipe.solver, self.process).values())

    def guided(self, recipe: Recipe) -> Denoise:
        """The denoiser under the recipe's guidance."""
        if recipe.guidance is None:
            return self.denoiser
        guided: Denoise = self.registry.build("guidance", recipe.guidance, self.denoiser, plugin=self.plugin)
        return guided

    def draw(
        self,
        indices: Sequence[int],
        asked: Mapping[str, Sequence[Any]],
        recipe: Recipe,
        *,
        seed: int = 0,
        compute_batch: int = 64,
        begin: Any = None,
        start: float = 1.0,
        hooks: Any = None,
        progress: Any = None,
    ) -> State:
        """Clean states for some sample indices, on the CPU.

        Every network call has exactly ``compute_batch`` rows (the last is filled up with repeats), because the last
        bits of a matrix product depend on its size; so a sample is the same in every bit whatever it is drawn beside.

        Args:
            indices: of the samples; index and seed decide a sample's noise.
            asked: from `asked`, in the order of the indices.
            recipe: from `recipe`.
            seed: of the sampling run.
            compute_batch: rows of a network call.
            begin: (seeds) -> the state at ``start``; pure noise by default.
            start: where on the clock to begin.
            hooks: (seeds) -> hooks of one batch.
            progress: called with the number of samples done.
        """
        if compute_batch < 1:
            raise ConfigError(f"compute_batch={compute_batch}: must be at least 1")
        device = next(self.denoiser.parameters()).device
        self.denoiser.eval()
        denoise = self.guided(recipe)
        grid = self.grid(recipe, start)
        batches = []
        for at in range(0, len(indices), compute_batch):
            chunk = indices[at : at + compute_batch]
            spare = compute_batch - len(chunk)
            seeds = Seeds(seed, chunk if not spare else [*chunk, *[chunk[-1]] * spare])
            condition: dict[str, Tensor] = {}
            for name, kind in self.conditions.items():
                values = list(asked[name][at : at + compute_batch])
                condition[name] = kind.collate(values + values[-1:] * spare).to(device)
            state = (begin or self.prior)(seeds).to(device)
            made: Sequence[Hook] = hooks(seeds) if hooks else ()
            state = sample(
                denoise, state, grid, recipe.solver, process=self.process, seeds=seeds, condition=condition, hooks=made
            )
            batches.append(state.rows(slice(len(chunk))).to("cpu"))
            if progress is not None:
                progress(at + len(chunk))
        return State.cat(batches)


def merge(recorded: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings laid over recorded ones, key by key; a component with another ``name`` replaces the recorded one whole,
    but for the ``steps`` and ``grid`` that it does not bring."""
    given = given or {}
    if given.get("name", recorded.get("name")) != recorded.get("name"):
        recorded = {key: recorded[key] for key in ("steps", "grid") if key in recorded}
    merged = dict(recorded)
    for key, value in given.items():
        inner = merged.get(key)
        merged[key] = merge(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def build_data(config: Mapping[str, Any], registry: Registry) -> DataSource:
    """The data source that a configuration names."""
    source: DataSource = registry.build("data", config["data"], plugin=config["modality"]["name"])
    return source


def build_model(
    config: dict[str, Any],
    registry: Registry,
    fields: Mapping[str, Field],
    conditions: Mapping[str, Condition],
    decoder: Decoder,
) -> Model:
    """An untrained model. The weights are a function of the configuration's seed."""
    plugin = config["modality"]["name"]
    schedule = registry.build("schedule", config["process"]["schedule"], plugin=plugin)
    process = JointProcess(fields, {name: Gaussian(schedule) for name in fields})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed"])
        backbone = registry.build("backbone", config["backbone"], fields, plugin=plugin)
        denoiser = Denoiser(backbone, fields, config["process"]["parameterization"], conditions)
    return Model(denoiser=denoiser, process=process, decoder=decoder, config=config, registry=registry)


def load(run: Run | str | Path, step: int | None = None, *, device: torch.device | str = "cpu") -> Model:
    """The model of a run with its averaged weights.

    Args:
        run: a run, its directory, or one of its checkpoints.
        step: of the checkpoint; the newest whole one by default.

    Raises:
        RunError: the checkpoint is missing, damaged, of another modality, or from a newer suffuse.
        PluginError: a plugin that it needs is missing.
    """
    if not isinstance(run, Run):
        run, found = Run.find(run)
        step = found if step is None else step
    checkpoint = run.checkpoint(step)
    there, here = checkpoint.state.get("modality"), run.config["modality"]["name"]
    if there != here:
        raise RunError(f"{run.directory}: the checkpoint is of modality {there}, but config.yaml says {here}")
    return model_from(checkpoint, Registry(), device)


def model_from(checkpoint: Checkpoint, registry: Registry, device: torch.device | str = "cpu") -> Model:
    """A model from a checkpoint's own description of its network, fields and conditions."""
    config = checkpoint.state["config"]
    fields = {name: Field.from_json(data) for name, data in checkpoint.state["fields"].items()}
    conditions = {name: condition_from_json(data) for name, data in checkpoint.state["conditions"].items()}
    decoder = registry.build("decoder", config["decoder"], plugin=config["modality"]["name"])
    model = build_model(config, registry, fields, conditions, decoder)
    load_weights(model.denoiser, checkpoint.tensors["average"])
    model.denoiser.to(device).eval()
    model.step, model.digest = checkpoint.step, checkpoint.digest
    return model
