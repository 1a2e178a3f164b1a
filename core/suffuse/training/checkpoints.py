"""Checkpoints: tensors as safetensors, everything else as JSON, and a manifest that notices a single flipped bit.

Nothing is ever pickled, so a checkpoint from a stranger cannot run code. A checkpoint is written to a hidden folder
beside its place, flushed, and renamed: it is there whole or not at all. Older ones are removed only after the new one
is committed, and when the newest is damaged the one before it is used.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from suffuse.disk import facts, flush, sha256
from suffuse.documents import read_json, vet_configuration
from suffuse.errors import RunError

__all__ = ["FORMAT", "Checkpoint", "Checkpoints"]

FORMAT = 1
"""Goes up when an older suffuse could not read what this one writes."""

_MANIFEST = "manifest.json"
_STATE = "state.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What is saved at one step.

    Args:
        step: updates made so far.
        tensors: groups of named tensors (``model``, ``average``, ``optimizer``), one file each.
        state: plain data: step, fields, conditions, component names, versions; ``figures`` measured at this step.
        digest: SHA-256 of the manifest, which names this checkpoint in provenance records; empty before it is saved.
    """

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]
    digest: str = ""


class Checkpoints:
    """The checkpoints of a run, ``step-000002000`` and so on in one folder. One process writes them.

    Args:
        folder: where they lie; made at the first save.
        keep: how many of the newest stay.
        best: the name of one of their ``figures``; the checkpoint with the least of it stays as well.
    """

    def __init__(self, folder: Path, keep: int = 3, best: str | None = None) -> None:
        self.folder = folder
        self.keep = keep
        self.best = best

    def steps(self) -> list[int]:
        """Steps of the committed checkpoints, in order."""
        if not self.folder.is_dir():
            return []
        found = (re.fullmatch(r"step-(\d{9})", entry.name) for entry in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.folder / f"step-{step:09d}"

    def save(self, checkpoint: Checkpoint) -> Path:
        """Commit a checkpoint, then remove those before it that are not to stay.

        Raises:
            RunError: it could not be written (disk full, no permission); earlier ones are as they were.
        """
        target = self.path(checkpoint.step)
        draft, old = (self.folder / f".{target.name}.{kind}" for kind in ("new", "old"))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            draft.mkdir()
            for name, group in checkpoint.tensors.items():
                save_file(
                    {key: value.detach().contiguous() for key, value in group.items()},
                    draft / f"{name}.safetensors",
                )
            state = {"format": FORMAT, "step": checkpoint.step, **checkpoint.state}
            (draft / _STATE).write_text(json.dumps(state, indent=1, allow_nan=False))
            files = {file.name: facts(file) for file in sorted(draft.iterdir())}
            (draft / _MANIFEST).write_text(
                json.dumps({"format": FORMAT, "step": checkpoint.step, "files": files}, indent=1)
            )
            for file in [*draft.iterdir(), draft]:
                flush(file)
            if target.exists():  # the same step again, after a resume from an earlier one
                target.rename(old)
            draft.rename(target)
            flush(self.folder)
        except (OSError, SafetensorError) as error:
            self.sweep()
            raise RunError(
                f"{target}: the checkpoint could not be written ({_reason(error)}); earlier ones are untouched"
            ) from error
        shutil.rmtree(old, ignore_errors=True)
        self._prune(checkpoint.step)
        return target

    def sweep(self) -> None:
        """Remove what a process that was killed left half done, and put back what it had moved out of its way."""
        for stale in self.folder.glob(".step-*"):
            target = self.folder / stale.stem.removeprefix(".")
            with suppress(OSError):
                if stale.suffix == ".old" and not target.exists():
                    stale.rename(target)
            shutil.rmtree(stale, ignore_errors=True)

    def least(self, name: str) -> int | None:
        """The step with the least of a figure; None where no checkpoint has it."""
        found = {step: self.figures(step).get(name, math.nan) for step in self.steps()}
        return min((step for step, value in found.items() if math.isfinite(value)), key=found.__getitem__, default=None)

    def figures(self, step: int) -> dict[str, float]:
        """What was measured at the step of a checkpoint; nothing where it cannot be read."""
        try:
            return dict(_json(self.path(step) / _STATE)["figures"])
        except (RunError, KeyError, TypeError, ValueError):
            return {}

    def _prune(self, newest: int) -> None:
        """Of those up to the newest; one beyond it is damaged, else it had been resumed, and makes none superfluous."""
        past = [step for step in self.steps() if step <= newest]
        best = self.least(self.best) if self.best else None
        for step in past[: -self.keep]:
            if step != best:
                gone = self.folder / f".{self.path(step).name}.gone"
                with suppress(OSError):
                    self.path(step).rename(gone)  # first, so that it is never there by halves
                shutil.rmtree(gone, ignore_errors=True)

    def load(self, step: int | None = None) -> Checkpoint:
        """The checkpoint of a step, or the newest that is whole; damaged newer ones are warned of.

        Raises:
            RunError: there is none, the one asked for is damaged, or it was written by a newer suffuse.
        """
        if step is not None:
            if step not in self.steps():
                raise RunError(f"{self.folder}: no checkpoint of step {step}; there are {_listed(self.steps())}")
            return read(self.path(step))
        damage = []
        for candidate in reversed(self.steps()):
            try:
                checkpoint = read(self.path(candidate))
            except _NewerFormatError:
                raise
            except RunError as error:
                damage.append(str(error))
                continue
            for line in damage:
                warnings.warn(f"{line}; going on with step {candidate}", stacklevel=2)
            return checkpoint
        raise RunError("; ".join(damage) if damage else f"{self.folder}: there is no checkpoint")


class _NewerFormatError(RunError):
    """Not damage: falling back to an older checkpoint would silently lose training."""


def read(path: Path) -> Checkpoint:
    """One checkpoint folder, with every byte checked against its manifest.

    Raises:
        RunError: something is missing or damaged (the file is named), or it was written by a newer suffuse.
    """
    manifest = _json(path / _MANIFEST)
    written = manifest.get("format")
    if isinstance(written, int) and written > FORMAT:
        raise _NewerFormatError(f"{path}: format {written}, but this suffuse reads {FORMAT}: pip install -U suffuse")
    files = manifest.get("files")
    step = int(path.name[-9:])
    if written != FORMAT or manifest.get("step") != step or not isinstance(files, dict) or _STATE not in files:
        raise RunError(f"{path / _MANIFEST}: damaged (not the manifest of a checkpoint of step {step})")
    tensors = {}
    for name, expected in files.items():
        file = path / Path(name).name
        if not file.is_file():
            raise RunError(f"{file}: missing from the checkpoint")
        if expected != facts(file):
            raise RunError(f"{file}: damaged (size or SHA-256 is not that of the manifest)")
        if file.suffix == ".safetensors":
            try:
                tensors[file.stem] = load_file(file)
            except SafetensorError as error:
                raise RunError(f"{file}: no safetensors file ({str(error).splitlines()[0]})") from error
    state = _json(path / _STATE)
    vet_configuration(state.get("config"), path / _STATE)
    return Checkpoint(
        step=step,
        tensors=tensors,
        state=state,
        digest=sha256(path / _MANIFEST),
    )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise RunError(f"{path}: missing from the checkpoint")
    data = read_json(path)
    if not isinstance(data, dict):
        raise RunError(f"{path}: not a JSON object")
    return data


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


def _listed(steps: list[int]) -> str:
    return ", ".join(map(str, steps)) or "none"
