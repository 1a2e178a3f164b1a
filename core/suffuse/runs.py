"""The run directory: the unit that people handle.

runs/<modality>/<date-time>/
    config.yaml      what was asked for, resolved
    run.json         versions, plugins, seed, device, parameters, wall time
    metrics.jsonl    one line for each logged step
    checkpoints/     step-000002000/ and so on
    averages/        snapshots of averaged weights, with trainer.snapshot_every
    samples/         previews, and a folder for each `suffuse sample`
    evaluation.json  scores, once evaluated
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

import yaml

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
        try:
            config = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise RunError(f"{file}: not readable ({str(error).splitlines()[0]})") from error
        if not isinstance(config, dict) or "modality" not in config:
            raise RunError(f"{file}: not the configuration of a run")
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
        write_text(self.directory / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

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
        line = json.dumps({"step": step, **figures})
        try:
            with self.metrics_file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise RunError(f"{self.metrics_file}: cannot be written ({error.strerror})") from error

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
        if not self.metrics_file.exists():
            return []
        lines = []
        for text in self.metrics_file.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
        return lines

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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: not readable ({str(error).splitlines()[0]})") from error
    if not isinstance(data, dict):
        raise RunError(f"{path}: not a JSON object")
    return data
