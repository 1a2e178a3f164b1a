"""A trial made real: configuration, data, decoder, network and run, each made once, when a check first asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from suffuse.assembly import build_data
from suffuse.composition import compose
from suffuse.data import DataSource
from suffuse.plugins import Found, Registry, Trial

__all__ = ["Bench"]

_SMALL = (
    "device=cpu", "callbacks=none", "trainer.precision=fp32", "trainer.workers=0", "trainer.compile=false",
    "trainer.steps=6", "trainer.batch_size=4", "trainer.accumulate=1", "trainer.warmup=0", "trainer.log_every=1",
    "trainer.checkpoint_every=2", "trainer.keep_checkpoints=9", "trainer.validate_every=0", "trainer.preview_every=0",
    "sampler.steps=4",
)  # fmt: skip
"""What every trial takes in place of its own, where it does not say otherwise."""


@dataclass(eq=False)
class Bench:
    """What checks look at.

    Args:
        plugin: the one that is checked.
        trial: in which experiment.
    """

    plugin: str
    trial: Trial
    registry: Registry = field(default_factory=Registry)

    @property
    def found(self) -> Found:
        """The installed plugin."""
        return self.registry[self.plugin]

    @cached_property
    def folder(self) -> Path:
        """Of its own, removed with the bench."""
        self._folder = TemporaryDirectory(prefix="suffuse-check-")
        return Path(self._folder.name)

    @cached_property
    def words(self) -> list[str]:
        """Of the command line: the trial's, and the kit's where the trial says nothing."""
        typed = [word.replace("{folder}", str(self.folder)) for word in self.trial.words]
        keys = {word.partition("=")[0] for word in typed}
        return [*typed, *(word for word in _SMALL if word.partition("=")[0] not in keys)]

    @cached_property
    def config(self) -> dict[str, Any]:
        """Composed and checked."""
        return compose(*self.words)

    @cached_property
    def source(self) -> DataSource:
        """The data."""
        return build_data(self.config, self.registry)
