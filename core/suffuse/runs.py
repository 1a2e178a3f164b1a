"""The run directory: the unit that people handle.

runs/<modality>/<date-time>/
    config.yaml      what was asked for, resolved
    run.json         versions, plugins, seed, device, parameters, wall time
    metrics.jsonl    one line for each logged step
    checkpoints/     step-000002000/ and so on
    averages/        snapshots of averaged weights, with trainer.snapshot_every
    samples/         previews, and a folder for each `suffuse sample`
    evaluation.json  scores, once evaluated
    evaluations.jsonl  one line for each evaluation so far, by which settings of the sampler are compared
    report.html
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from suffuse.documents import dump_yaml, read_json, read_yaml, vet_configuration
from suffuse.errors import RunError
from suffuse.training.checkpoints import Checkpoint, Checkpoints

__all__ = ["Run", "write_json", "write_text"]


class Run:
    """One run directory.

    Args:
        directory: of the run.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.metrics_file = directory / "metrics.jsonl"
        self.samples = directory / "samples"
        self.report = directory / "report.html"

    @classmethod
    def find(cls, path: str | Path) -> tuple[Run, int | None]:
        """The run that a user means by a path: its directory, or one of its checkpoints with that step.

        Raises:
            RunError: there is no run at or above the path.
        """
        place = Path(path).expanduser()
        if not place.exists():
            raise RunError(f"run={path}: there is no such folder")
        if place.is_file():
            place = place.parent
        named = re.fullmatch(r"step-(\d+)", place.name) if place.parent.name == "checkpoints" else None
        step = int(named[1]) if named else None
        for candidate in (place, place.parent, place.parent.parent):
            if (candidate / "config.yaml").is_file():
                return cls(candidate), step
        raise RunError(f"run={path}: not a run (no config.yaml in it); a run is a folder that `suffuse train` made")

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        file = self.directory / "config.yaml"
        config = read_yaml(file)
        if not isinstance(config, dict) or not isinstance(config.get("modality"), dict):
            raise RunError(f"{file}: not the configuration of a run")
        vet_configuration(config, file)
        return config

    def begin(self, config: Mapping[str, Any]) -> None:
        """Record the configuration of a new run.

        Raises:
            RunError: the directory holds a run already, or cannot be written.
        """
        if (self.directory / "checkpoints").is_dir() or self.metrics_file.exists():
            place = self.directory
            raise RunError(
                f"{place}: holds a run already; resume={place} goes on with it, or take another hydra.run.dir"
            )
        self.configure(config)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write the configuration, which a resumed run may have changed."""
        write_text(self.directory / "config.yaml", dump_yaml(config))

    @property
    def facts(self) -> dict[str, Any]:
        """``run.json``."""
        return _read_json(self.directory / "run.json")

    def record(self, **facts: Any) -> None:
        """Add to ``run.json``."""
        file = self.directory / "run.json"
        write_json(file, {**(_read_json(file) if file.exists() else {}), **facts})

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Append a line to ``metrics.jsonl``."""
        _append(self.metrics_file, {"step": step, **figures})

    def sweep(self) -> None:
        """Remove the drafts of files that a process was writing when it was killed."""
        for draft in self.directory.glob(".*.*"):
            if draft.suffix[1:].isdecimal() and draft.is_file():
                draft.unlink(missing_ok=True)

    def rewind(self, step: int) -> None:
        """Drop logged lines beyond a step, which a resumed run is about to log again."""
        if self.metrics_file.exists():
            lines = [json.dumps(line) for line in self.metrics() if line["step"] <= step]
            write_text(self.metrics_file, "".join(line + "\n" for line in lines))

    def metrics(self) -> list[dict[str, float]]:
        """The logged lines in order; a last line cut short by a kill is passed over."""
        return _read_lines(self.metrics_file)

    def evaluated(self, result: Mapping[str, Any]) -> None:
        """Record an evaluation: as the newest one, and in a line of ``evaluations.jsonl``."""
        write_json(self.directory / "evaluation.json", result)
        _append(self.directory / "evaluations.jsonl", result)

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """All evaluations so far, in order."""
        return _read_lines(self.directory / "evaluations.jsonl")

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """``evaluation.json``, once the run was evaluated."""
        file = self.directory / "evaluation.json"
        return _read_json(file) if file.exists() else None

    def checkpoint(self, step: int | None = None) -> Checkpoint:
        """A checkpoint, the newest whole one by default."""
        return Checkpoints(self.directory / "checkpoints").load(step)

    def new_folder(self, name: str | None = None) -> Path:
        """A folder of its own under ``samples/``; by default named by the time."""
        stem = name or datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        for count in range(1, 1000):
            folder = self.samples / (stem if count == 1 else f"{stem}-{count}")
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise RunError(f"{folder}: cannot be made ({error.strerror})") from error
            return folder
        raise RunError(f"{self.samples}: holds a thousand folders named {stem}")


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, and never a part.

    Raises:
        RunError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise RunError(f"{path}: cannot be written ({error.strerror})") from error


def write_json(path: Path, data: Any) -> None:
    """`write_text` of indented JSON."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _append(path: Path, line: Mapping[str, Any]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror})") from error


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except (ValueError, RecursionError):
            continue
    return lines


def _read_json(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict):
        raise RunError(f"{path}: not a JSON object")
    return data
