"""How quickly sounds are learned and made on one core. Learning: seconds of audio a second, the default network on
spectrograms beside a DiffWave network of as many parameters on samples, in one and the same loop; blocks of steps take
turns. Making: the time for a second of audio with the default settings, from noise to samples, the network untrained
(what it has learned changes no time)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import suffuse
from benchmarks import loops
from benchmarks.diffwave import DiffWave
from benchmarks.harness import Bar, Cell, Findings, Options, Spread, Table, interleaved
from suffuse.assembly import build_data, build_model, build_process
from suffuse.data import DataSource, Decoder
from suffuse.denoiser import Denoiser
from suffuse.model import Model
from suffuse.plugins import Registry
from suffuse.processes import JointProcess
from suffuse.settings import TrainerSettings
from suffuse.training.objective import Objective

__all__ = ["measure"]

LIMIT = 0.3
"""Seconds of computing for a second of audio."""
WIDTH = 46
"""Channels of the DiffWave network, for about as many parameters as the default network has."""
EVALUATIONS = 20


def measure(options: Options) -> Findings:
    """Both speeds on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure(options)
    finally:
        torch.set_num_threads(threads)


def _measure(options: Options) -> Findings:
    smaller = ["trainer.batch_size=2"] if options.quick else []
    config = suffuse.compose("modality=audio", "data.clips=320", "data.heldout=0", *smaller)
    registry = Registry()
    data = build_data(config, registry)
    decoder: Decoder = registry.build("decoder", config["decoder"], plugin="audio")
    model = build_model(config, registry, decoder.fields(data.train), data.train.conditions, decoder)
    seconds = config["data"]["seconds"]
    rounds, steps = (1, 2) if options.quick else (4, 8)
    with tempfile.TemporaryDirectory(prefix="suffuse-audio-") as folder:
        learning = _learning(model, data, Path(folder), steps)
        took = interleaved({name: block for name, (block, _) in learning.items()}, rounds)
    batch = config["trainer"]["batch_size"]
    rates = {name: Spread([batch * seconds / value for value in found.values]) for name, found in took.items()}
    count = 8 if options.quick else 32
    made = interleaved(_making(model, count), 1 if options.quick else 3)
    factors = {name: Spread([value / (count * seconds) for value in found.values]) for name, found in made.items()}
    asked = f"{EVALUATIONS} evaluations, guidance {config['guidance']['scale']:g}"
    return Findings(
        bars=[_bar(asked, factors[asked])],
        tables=[
            _table("Seconds of audio learned in a second", rates, {n: size for n, (_, size) in learning.items()}),
            _table("Seconds for a second of audio", factors, None),
        ],
        settings={"clip in seconds": seconds, "batch": batch, "clips made together": count, "threads": 1},
    )


def _learning(
    model: Model, data: DataSource, folder: Path, steps: int
) -> Mapping[str, tuple[Callable[[], float], int]]:
    """By name: a function that trains a block and returns the seconds of a step, and the number of parameters."""
    config, registry = model.config, model.registry
    settings = TrainerSettings.read(config["trainer"])
    waveform: Decoder = registry.build("decoder", {"name": "waveform", "rate": config["data"]["rate"]}, plugin="audio")
    fields = waveform.fields(data.train)
    rival = Denoiser(DiffWave(width=WIDTH), fields, "edm", model.conditions)
    process = build_process(config["process"], registry, fields, "audio")

    def block(denoiser: Denoiser, process: JointProcess, decoder: Decoder) -> Callable[[], float]:
        learned = config["process"]
        objective = Objective(
            process,
            registry.build("clock", learned["clock"], plugin="audio"),
            registry.build("weighting", learned["weighting"], plugin="audio"),
            "edm",
            model.conditions,
            settings.condition_dropout,
        )
        return lambda: loops.trained(denoiser, objective, data.train, decoder, settings, folder, steps)

    return {
        "unet2d on spectrograms": (block(model.denoiser, model.process, model.decoder), _size(model.denoiser)),
        "DiffWave on samples": (block(rival, process, waveform), _size(rival)),
    }


def _making(model: Model, count: int) -> Mapping[str, Callable[[], float]]:
    """By name: a function that makes so many clips and returns the seconds."""

    def task(guidance: Mapping[str, Any]) -> float:
        began = time.process_time()  # of one thread; other work on the machine is not counted
        model.sample(count, sampler={"steps": EVALUATIONS}, guidance=guidance)
        return time.process_time() - began

    scale = model.config["guidance"]["scale"]
    return {
        f"{EVALUATIONS} evaluations, guidance {scale:g}": lambda: task({}),
        f"{EVALUATIONS} evaluations, no guidance": lambda: task({"scale": 1.0}),
    }


def _size(denoiser: Denoiser) -> int:
    return sum(parameter.numel() for parameter in denoiser.parameters())


def _bar(asked: str, factor: Spread) -> Bar:
    promise = f"seconds for a second of audio with {asked}, on one core: at most {LIMIT:g}"
    return Bar(promise=promise, found=factor.median, met=factor.median <= LIMIT)


def _table(title: str, found: Mapping[str, Spread], sizes: Mapping[str, int] | None) -> Table:
    rows: list[list[Cell]] = [
        [name, *([sizes[name]] if sizes else []), *spread.cells()] for name, spread in found.items()
    ]
    columns = ("", *(("parameters",) if sizes else ()), "median", "least", "most")
    return Table(title=title, columns=columns, rows=rows)
