"""A trial made real: configuration, data, decoder, network and runs, each made once, when a check first asks."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property, partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, NamedTuple

import torch
from torch import Tensor

from suffuse.assembly import build_data, build_model, build_objective
from suffuse.composition import compose
from suffuse.data import DataSource, Decoder
from suffuse.fields import Field
from suffuse.model import Model
from suffuse.noise import Draws
from suffuse.plugins import Found, Registry, Trial
from suffuse.posterior import Posterior
from suffuse.processes import Level
from suffuse.sampling import Seeds
from suffuse.sizes import Sizes
from suffuse.state import State
from suffuse.testing.check import ensure
from suffuse.training.objective import Objective

__all__ = ["Bench", "Clean", "command", "in_a_new_process"]

_SMALL = (
    "device=cpu", "callbacks=none", "trainer.precision=fp32", "trainer.workers=0", "trainer.compile=false",
    "trainer.steps=6", "trainer.batch_size=4", "trainer.accumulate=1", "trainer.warmup=0", "trainer.log_every=1",
    "trainer.checkpoint_every=2", "trainer.keep_checkpoints=9", "trainer.validate_every=6", "trainer.preview_every=0",
    "trainer.validation_batches=1", "sampler.steps=4",
)  # fmt: skip
"""What every trial takes where it does not say otherwise."""

_ITEMS = 4
_TIMES = (0.05, 0.3, 0.6, 0.95)
"""Where on the clock networks are looked at, one for each item."""


class Clean(NamedTuple):
    """A few encoded items with what is known of them."""

    state: State
    conditions: dict[str, Tensor]


@dataclass(eq=False)
class Bench:
    """What checks look at.

    Args:
        plugin: the one that is checked.
        trial: in which experiment.
        registry: of the installed plugins.
        room: a folder for all trials of a plugin, removed with them.
    """

    plugin: str
    trial: Trial
    registry: Registry = field(default_factory=Registry)
    room: TemporaryDirectory[str] = field(default_factory=partial(TemporaryDirectory, prefix="suffuse-check-"))

    @property
    def found(self) -> Found:
        """The installed plugin."""
        return self.registry[self.plugin]

    @cached_property
    def folder(self) -> Path:
        """Of its own, in the room."""
        return Path(mkdtemp(dir=self.room.name))

    @cached_property
    def words(self) -> list[str]:
        """Of the command line: the trial's, and the kit's where the trial says nothing."""
        typed = [word.replace("{folder}", self.room.name) for word in self.trial.words]
        keys = {word.partition("=")[0] for word in typed}
        small = (*_SMALL, f"trainer.threads={torch.get_num_threads()}")
        return [*typed, *(word for word in small if word.partition("=")[0] not in keys)]

    @cached_property
    def config(self) -> dict[str, Any]:
        """Composed and checked."""
        return compose(*self.words)

    @property
    def modality(self) -> str:
        """In which the plugin is tried."""
        return str(self.config["modality"]["name"])

    @cached_property
    def source(self) -> DataSource:
        """The data."""
        return self.new_source()

    def new_source(self) -> DataSource:
        """The data, read once more."""
        return build_data(self.config, self.registry)

    @cached_property
    def decoder(self) -> Decoder:
        """Of the trial, which has seen the training data."""
        return self._decoder_and_fields[0]

    @cached_property
    def fields(self) -> dict[str, Field]:
        """As measured on the training data."""
        return self._decoder_and_fields[1]

    @cached_property
    def _decoder_and_fields(self) -> tuple[Decoder, dict[str, Field]]:
        decoder: Decoder = self.registry.build("decoder", self.config["decoder"], plugin=self.modality)
        return decoder, decoder.fields(self.source.train)

    @cached_property
    def clean(self) -> Clean:
        """A few items of the training data, of which each condition is known of one if it is of any nearby."""
        batch = self.source.train.gather(self._rows())
        return Clean(self.decoder.encode(batch.values), dict(batch.conditions))

    def _rows(self) -> list[int]:
        train, rows = self.source.train, []
        wanted = set(train.conditions)
        for row in range(min(64, len(train))):
            known = {name for name, value in train[row].condition.items() if value is not None}
            if known & wanted:
                rows.append(row)
            wanted -= known
        rest = [row for row in range(len(train)) if row not in rows]
        return [*rows, *rest][:_ITEMS]

    def new_model(self) -> Model:
        """Untrained; the same at each call."""
        counted = self.source.train.sizes()
        sizes = None if counted is None else Sizes.of(counted)
        return build_model(self.config, self.registry, self.fields, self.source.train.conditions, self.decoder, sizes)

    @cached_property
    def model(self) -> Model:
        """With random weights everywhere: an untrained network often says nothing but zero, whatever it is shown."""
        model = self.new_model()
        noise = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.denoiser.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=noise, dtype=parameter.dtype))
        model.denoiser.eval()
        return model

    @cached_property
    def objective(self) -> Objective:
        """What the model is trained for."""
        return build_objective(self.model)

    def levels(self, times: Tensor) -> dict[str, Level]:
        """How noisy each field is at some times of the clock ``[B]``."""
        process = self.model.process
        return {name: level.to(torch.device("cpu"), torch.float32) for name, level in process.levels(times).items()}

    @cached_property
    def seen(self) -> tuple[State, dict[str, Level]]:
        """The items as a network is shown them, from hardly noisy to hardly anything else."""
        state = self.clean.state
        levels = self.levels(torch.tensor(_TIMES[: state.batch_size], dtype=torch.float64))
        return self.model.process.corrupt(state, levels, Draws(0, "check", range(state.batch_size))), levels

    @torch.no_grad()
    def believed(self, state: State, levels: Mapping[str, Level], conditions: Mapping[str, Tensor]) -> Posterior:
        """What the network says of a noisy state."""
        return self.model.denoiser(state, levels, conditions)  # type: ignore[no-any-return]

    def noise(self, count: int = _ITEMS) -> tuple[State, Seeds]:
        """Pure noise, which sampling starts from, and the seeds of these samples."""
        seeds = Seeds(0, range(count))
        sizes = None if self.model.sizes is None else self.model.sizes.draw(0, seeds.indices)
        return self.model.prior(seeds, sizes), seeds


def command(*words: str) -> str:
    """What a command of suffuse prints, run in this process.

    Raises:
        Failed: it does not succeed.
    """
    from suffuse.cli import main

    out, logger = StringIO(), logging.getLogger()
    before = logger.handlers[:], logger.level
    try:
        with redirect_stdout(out), redirect_stderr(out):
            code = main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        logger.handlers[:] = before[0]  # which Hydra exchanges for its own
        logger.setLevel(before[1])
    ensure(code == 0, f"suffuse {' '.join(words)} ends with code {code}: {out.getvalue().strip()[-500:]}")
    return out.getvalue()


def in_a_new_process(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python code, with arguments, where nothing has been imported yet, but all that can be imported here."""
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
