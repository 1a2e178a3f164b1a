"""Checkpoints: tensors as safetensors, everything else as JSON, and a manifest that notices a single flipped bit.

Nothing is ever pickled, so a checkpoint from a stranger cannot run code. A checkpoint is written to a hidden folder
beside its place, flushed, and renamed: it is there whole or not at all. Older ones are removed only after the new one
is committed, and when the newest is damaged the one before it is used.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Mapping
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
        state: plain data: step, fields, conditions, component names, versions.
        digest: SHA-256 of the manifest, which names this checkpoint in provenance records; empty before it is saved.
    """

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]
    digest: str = ""


class Checkpoints:
    """The checkpoints of a run, ``step-000002000`` and so on in one folder.

    Args:
        folder: where they lie; made at the first save.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self.folder = folder
        self.keep = keep

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
        """Commit a checkpoint, then remove those beyond ``keep``.

        Raises:
            RunError: it could not be written (disk full, no permission); earlier ones are as they were.
        """
        target = self.path(checkpoint.step)
        draft = self.folder / f".{target.name}.{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for stale in self.folder.glob(".step-*"):
                shutil.rmtree(stale, ignore_errors=True)
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
                target.rename(draft.with_suffix(".old"))
            draft.rename(target)
            shutil.rmtree(draft.with_suffix(".old"), ignore_errors=True)
            flush(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise RunError(
                f"{target}: the checkpoint could not be written ({_reason(error)}); earlier ones are untouched"
            ) from error
        for step in self.steps()[: -self.keep]:
            shutil.rmtree(self.path(step), ignore_errors=True)
        return target

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
            tensors[file.stem] = load_file(file)
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
