"""All cases in their order, and what is made before they are met."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.hostile_inputs.archives import archives
from benchmarks.hostile_inputs.case import Case
from benchmarks.hostile_inputs.checkpoints import checkpoints
from benchmarks.hostile_inputs.configurations import configurations, folders_of_configuration
from benchmarks.hostile_inputs.crystals import crystals
from benchmarks.hostile_inputs.molecules import molecules
from benchmarks.hostile_inputs.pictures import pictures
from benchmarks.hostile_inputs.records import records
from benchmarks.hostile_inputs.sounds import sounds
from benchmarks.hostile_inputs.tables import tables
from suffuse import compose
from suffuse.commands.train import train
from suffuse.errors import SuffuseError

__all__ = ["cases", "sound_run", "warm"]


def cases(run: Path) -> Iterator[Case]:
    """The whole corpus.

    Args:
        run: a small run of pictures, from `sound_run`.
    """
    yield from pictures()
    yield from sounds()
    yield from molecules()
    yield from crystals()
    yield from tables()
    yield from archives()
    yield from records()
    yield from configurations(run)
    yield from folders_of_configuration()
    yield from checkpoints(run)


def warm(place: Path) -> None:
    """Meet good data of every modality, so that no process has to import or look up anything for itself."""
    for case in (*pictures(), *sounds(), *molecules(), *crystals()):
        folder = place / f"{case.kind}-{getattr(case.meet, 'func', case.meet).__name__}"
        if not folder.exists():
            folder.mkdir(parents=True)
            case.write(folder)
            with contextlib.suppress(SuffuseError, ImportError), contextlib.redirect_stderr(io.StringIO()):
                case.meet(folder)


def sound_run(directory: Path) -> None:
    """Train a small network for two steps."""
    torch.set_num_threads(1)
    words = ("trainer.steps=2", "trainer.batch_size=4", "trainer.validate_every=0", "trainer.preview_every=0")
    small = ("backbone=unet_tiny", "callbacks=none", "device=cpu", "sampler.steps=2")
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        train(compose("modality=image", "data=digits", *words, *small), directory)
