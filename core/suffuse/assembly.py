"""From a configuration to data, processes and models; the one place where components of all kinds meet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.conditions import Condition, condition_from_json
from suffuse.data import DataSource, Decoder
from suffuse.denoiser import Denoiser
from suffuse.errors import ConfigError, RunError, suggest
from suffuse.fields import Field
from suffuse.model import Model, merge
from suffuse.plugins import Registry
from suffuse.processes import JointProcess
from suffuse.runs import Run
from suffuse.sizes import Sizes
from suffuse.spaces import Categorical, Torus
from suffuse.training.callbacks import Callback
from suffuse.training.checkpoints import Checkpoint
from suffuse.training.objective import Objective
from suffuse.training.snapshots import Snapshots, reconstruct
from suffuse.training.teaching import keep, kept, teach
from suffuse.training.trainer import load_weights

__all__ = ["build_callbacks", "build_data", "build_model", "build_objective", "build_process", "load"]


def build_data(config: Mapping[str, Any], registry: Registry) -> DataSource:
    """The data source that a configuration names."""
    source: DataSource = registry.build("data", config["data"], plugin=config["modality"]["name"])
    return source


def build_callbacks(named: Mapping[str, Mapping[str, Any]], registry: Registry, plugin: str) -> list[Callback]:
    """What is to watch, from the section ``callbacks`` of a configuration."""
    return [registry.build("callback", each, plugin=plugin, where=f"callbacks.{key}") for key, each in named.items()]


def build_process(
    config: Mapping[str, Any], registry: Registry, fields: Mapping[str, Field], plugin: str
) -> JointProcess:
    """The corruption of all fields, from the section ``process`` of a configuration.

    Real-valued fields take ``process.schedule``. Periodic fields and those of classes have schedules of their own kind,
    and ``process.fields.NAME`` changes any of it for one field.

    Raises:
        ConfigError: a field or a setting that does not exist, or that does not fit.
    """
    special: Mapping[str, Mapping[str, Any]] = config["fields"]
    for name in special:
        if name not in fields:
            raise ConfigError(
                f"process.fields.{name}: there is no such field ({', '.join(fields)}){suggest(name, fields)}"
            )
    processes, warps, independent, weighed = {}, {}, set(), {}
    for name, field in fields.items():
        settings = merge(_default(field, config), special.get(name, {}))
        settings.setdefault("schedule", config["schedule"])
        where = f"process.fields.{name}"
        schedule = registry.build("schedule", settings.pop("schedule"), plugin=plugin, where=f"{where}.schedule")
        warp = settings.pop("warp", {"name": "frozen"} if field.given else None)
        if warp is not None:
            warps[name] = registry.build("warp", warp, plugin=plugin, where=f"{where}.warp")
        if settings.pop("independent", False):
            independent.add(name)
        weighed[name] = replace(field, weight=float(settings.pop("weight", field.weight)))
        processes[name] = registry.build("process", settings, field, schedule, plugin=plugin, where=where)
    return JointProcess(weighed, processes, warps, frozenset(independent), config["reference"])


def _default(field: Field, config: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(field.space, Categorical):
        prior = "marginal" if field.frequencies else "uniform"
        return {"name": "discrete", "prior": prior, "schedule": {"name": "squared_cosine"}}
    if isinstance(field.space, Torus):
        period = field.space.period
        return {
            "name": "wrapped",
            "schedule": {"name": "edm", "sigma_min": 0.002 * period, "sigma_max": period, "rho": 7.0},
        }
    return {"name": "gaussian", "schedule": config["schedule"]}


def build_model(
    config: dict[str, Any],
    registry: Registry,
    fields: Mapping[str, Field],
    conditions: Mapping[str, Condition],
    decoder: Decoder,
    sizes: Sizes | None = None,
) -> Model:
    """An untrained model. The weights are a function of the configuration's seed."""
    plugin = config["modality"]["name"]
    for name, field in fields.items():
        if any(length < 0 for length in field.shape[field.layout.rank :]):
            raise ConfigError(
                f"the field {name} has the shape {list(field.shape)}, which varies (-1) where {field.layout} does not: "
                "use Masked()"
            )
    decoder.adopt(fields)
    process = build_process(config["process"], registry, fields, plugin)
    sketches = decoder.sketches(fields, conditions)
    shown = {**fields, **{name: sketch.field for name, sketch in sketches.items()}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed"])
        backbone = registry.build("backbone", config["backbone"], shown, plugin=plugin)
        denoiser = Denoiser(
            backbone,
            fields,
            config["process"]["parameterization"],
            conditions,
            config["process"]["self_conditioning"] > 0,
            sketches,
        )
    return Model(
        denoiser=denoiser,
        process=process,
        decoder=decoder,
        config=config,
        registry=registry,
        sizes=sizes,
        others=partial(_another, None),
    )


def build_objective(model: Model) -> Objective:
    """What a model is trained for, by its own configuration."""
    learned, registry, plugin = model.config["process"], model.registry, model.plugin
    return Objective(
        model.process,
        registry.build("clock", learned["clock"], plugin=plugin),
        registry.build("weighting", learned["weighting"], plugin=plugin),
        model.denoiser.parameterization,
        model.conditions,
        model.config["trainer"]["condition_dropout"],
        None if learned["coupling"] is None else registry.build("coupling", learned["coupling"], plugin=plugin),
        learned["self_conditioning"],
    )


def load(
    run: Run | str | Path,
    step: int | None = None,
    *,
    device: torch.device | str = "cpu",
    ema: float | None = None,
) -> Model:
    """The model of a run with its averaged weights.

    Args:
        run: a run, its directory, or one of its checkpoints.
        step: of the checkpoint; the newest whole one by default.
        ema: the width of the power-function average, of a run with snapshots; the run's own average by default.

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
    if "average" not in checkpoint.tensors:
        raise RunError(f"{run.directory}: the checkpoint of step {checkpoint.step} has no average of the weights")
    weights = checkpoint.tensors["average"]
    if ema is not None:
        weights = reconstruct(Snapshots(run.directory / "averages"), checkpoint, ema)
    model = _from_checkpoint(checkpoint, weights, Registry(), device)
    model.ema = ema
    model.others = partial(_another, run)
    model.teach = partial(_teach, run)
    return model


def _another(own: Run | None, run: str | None, step: int | None) -> Model:
    """The model of another run, or another step of a model's own."""
    where = own if run is None else run
    if where is None:
        raise ConfigError("guidance.run=DIR is needed: a run that is being trained cannot be guided by itself")
    return load(where, step)


def _teach(run: Run, model: Model, predictor: nn.Module, settings: Mapping[str, Any]) -> None:
    """A predictor with the weights that it once learned from a run's model and data, or now learns and leaves there."""
    digest = hashlib.sha256(json.dumps([dict(settings), model.digest, model.ema]).encode()).hexdigest()[:12]
    file = run.directory / "predictors" / f"{settings['name']}-{digest}.safetensors"
    weights = kept(file)
    if weights is None:
        train = build_data(model.config, model.registry).train
        teach(predictor, model.denoiser, model.process, model.decoder, train, model.config["seed"])
        keep(predictor, file)
    else:
        load_weights(predictor, weights)
        predictor.to(next(model.denoiser.parameters()).device).eval().requires_grad_(False)


_SECTIONS = ("modality", "data", "backbone", "decoder", "process", "sampler")
"""Of a configuration that a model is built from."""


def _from_checkpoint(
    checkpoint: Checkpoint, weights: Mapping[str, Tensor], registry: Registry, device: torch.device | str
) -> Model:
    """A model from a checkpoint's own description of its network, fields and conditions."""
    for name, kind in (("config", Mapping), ("fields", Mapping), ("conditions", Mapping), ("sizes", Mapping | None)):
        if not isinstance(checkpoint.state.get(name), kind):
            raise RunError(f"the checkpoint of step {checkpoint.step} has no {name} that can be read in its state.json")
    config = checkpoint.state["config"]
    for name in ("seed", *_SECTIONS):
        if not isinstance(config.get(name), int if name == "seed" else Mapping):
            raise RunError(f"the checkpoint of step {checkpoint.step} has no config.{name} in its state.json")
    fields = {name: Field.from_json(data) for name, data in checkpoint.state["fields"].items()}
    plugin = config["modality"]["name"]
    find = partial(registry.find, "condition", plugin=plugin, where="checkpoint: conditions")
    conditions = {name: condition_from_json(data, find) for name, data in checkpoint.state["conditions"].items()}
    decoder = registry.build("decoder", config["decoder"], plugin=plugin)
    sizes = checkpoint.state["sizes"]
    counted = None if sizes is None else Sizes.from_json(sizes)
    try:
        model = build_model(config, registry, fields, conditions, decoder, counted)
    except (MemoryError, RuntimeError) as error:  # of torch's allocator, for a forged width
        reason = str(error).splitlines()[0]
        raise RunError(f"the network of the checkpoint of step {checkpoint.step} cannot be built ({reason})") from error
    load_weights(model.denoiser, weights)
    model.denoiser.to(device).eval()
    model.step, model.digest = checkpoint.step, checkpoint.digest
    return model
