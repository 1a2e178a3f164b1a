"""``suffuse train``: from a configuration to a run directory."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch

from suffuse.assembly import build_callbacks, build_data, build_model, build_objective
from suffuse.commands.previews import Previews
from suffuse.environment import git_state, processor, versions
from suffuse.errors import ConfigError, RunError
from suffuse.model import Model
from suffuse.plugins import Registry
from suffuse.runs import Run, now
from suffuse.sizes import Sizes
from suffuse.training import Checkpoint, Checkpoints, Trainer, TrainerSettings
from suffuse.training.engine import Engine, opened
from suffuse.training.trainer import Diverged, Interrupted

__all__ = ["train"]


def train(config: dict[str, Any], directory: str | Path) -> Run:
    """Train a model as configured, in a new run directory or one that is resumed.

    Where torchrun or srun started several processes, each of them calls this, and the first one's directory is meant.

    Raises:
        SuffuseError: the configuration, the data or a checkpoint is not fit for it.
        Interrupted: a signal asked to stop; what was reached is saved.
    """
    settings = TrainerSettings.read(config["trainer"])
    if settings.threads:
        torch.set_num_threads(settings.threads)
    with opened(config["device"], settings.precision, settings.shard, settings.meeting) as engine:
        return _train(config, Path(engine.share(str(directory))), settings, engine)


def _train(config: dict[str, Any], directory: Path, settings: TrainerSettings, engine: Engine) -> Run:
    registry = Registry()
    leads = engine.rank == 0
    run = Run(directory)
    resuming = bool(config.get("resume"))
    saved = Checkpoints(directory / "checkpoints").steps() if resuming else []
    origin, step = Run.find(config["init"]) if config.get("init") and not saved else (None, None)
    source = run if resuming else origin
    if source is not None:
        config = {**config, "backbone": source.config["backbone"]}  # its weights fit no other network
    if not resuming and leads:
        run.begin(config)
    with engine.first():
        data = build_data(config, registry)
    plugin = config["modality"]["name"]
    decoder = registry.build("decoder", config["decoder"], plugin=plugin)
    counted = data.train.sizes()
    sizes = None if counted is None else Sizes.of(counted)
    model = build_model(config, registry, decoder.fields(data.train), data.train.conditions, decoder, sizes)
    recipe = model.recipe()  # a sampler or a guidance that cannot be is found out now, and not at the first preview
    model.evaluations(recipe)
    model.guided(recipe)
    if origin is not None:
        inherit(model, origin.checkpoint(step))
    trainer = Trainer(
        denoiser=model.denoiser,
        objective=build_objective(model),
        train=data.train,
        heldout=data.heldout,
        decoder=decoder,
        directory=directory,
        settings=settings,
        seed=config["seed"],
        engine=engine,
        describe=model.describe(),
        callbacks=build_callbacks(config["callbacks"], registry, plugin),
        preview=Previews(run, model, writes=leads),
        log=run.log,
    )
    if saved:
        trainer.resume()
        if trainer.step >= settings.steps:
            raise ConfigError(
                f"trainer.steps={settings.steps}: the run is at step {trainer.step} already; ask for more"
            )
    if not leads:
        _fit(trainer, run, leads=False)
        return run
    if resuming:
        run.sweep()
        run.configure(config)
        run.rewind(trainer.step)
    _announce(model, trainer, data, directory)
    began, worked = time.perf_counter(), time.process_time()
    spent, work = (run.facts.get(name, 0.0) if resuming else 0.0 for name in ("seconds", "work"))
    run.record(
        started=now(),
        seed=config["seed"],
        parameters=sum(p.numel() for p in model.denoiser.parameters()),
        device=str(engine.device),
        processes=engine.world_size,
        processor=processor(),
        threads=torch.get_num_threads(),
        plugins=registry.used(),
        git=git_state(Path.cwd()),
        **versions(),
    )
    try:
        _fit(trainer, run, leads=True)
    except Interrupted as stop:
        print(f"stopped after step {stop.step}; go on with: suffuse train resume={directory}", file=sys.stderr)
        raise
    finally:
        aside = {"set_aside": trainer.watching.failed} if trainer.watching.failed else {}
        spent = round(spent + time.perf_counter() - began, 1)
        run.record(
            finished=now(),
            step=trainer.step,
            skipped=sorted(trainer.skipped),
            seconds=spent,
            work=round(work + time.process_time() - worked, 1),
            **aside,
        )
    print(
        f"done: {directory}\n  next: suffuse sample run={directory}   suffuse evaluate run={directory}", file=sys.stderr
    )
    return run


def _fit(trainer: Trainer, run: Run, *, leads: bool) -> None:
    """Train to the end, over batches that diverge where the settings say so."""
    while True:
        try:
            trainer.fit()
            return
        except Diverged as trouble:
            if trainer.settings.diverged == "stop":
                raise
            trainer.roll_back(trouble)
            if leads:
                print(f"{trouble}\n  rolled back to step {trainer.step}, to go on without them", file=sys.stderr)
                run.rewind(trainer.step)


def inherit(model: Model, checkpoint: Checkpoint) -> None:
    """Start from the averaged weights of another run with the same backbone.

    Conditions that the other run does not have, or has with other classes, start at zero, so that at first they change
    nothing.

    Raises:
        RunError: the other network is of another shape.
    """
    weights = checkpoint.tensors["average"]
    for name, value in model.denoiser.state_dict().items():
        old = weights.get(name)
        if old is not None and old.shape == value.shape:
            value.copy_(old)
        elif name.startswith(("encoder.encoders.", "encoder.absent.")):
            value.zero_()
        else:
            there = "missing" if old is None else str(list(old.shape))
            raise RunError(
                f"init: its network does not fit this data: {name} is {there} there and {list(value.shape)} here"
            )


def _announce(model: Model, trainer: Trainer, data: Any, directory: Path) -> None:
    count = sum(p.numel() for p in model.denoiser.parameters())
    shapes = ", ".join(f"{name} {list(field.shape)}" for name, field in model.fields.items())
    asked = ", ".join(model.conditions) or "none"
    print(
        f"training {model.plugin}: {len(data.train)} items ({len(data.heldout)} held out), {shapes}, "
        f"conditions {asked}\n"
        f"  {model.config['backbone']['name']} with {count:,} parameters on {_where(trainer.engine)}, "
        f"{torch.get_num_threads()} threads, steps {trainer.step} to {trainer.settings.steps}\n"
        f"  run directory {directory}",
        file=sys.stderr,
        flush=True,
    )


def _where(engine: Engine) -> str:
    return f"{engine.device}" if engine.world_size == 1 else f"{engine.world_size} processes, {engine.device} first"
