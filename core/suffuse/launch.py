"""A command under Hydra: run directories, sweeps, launchers, ``--cfg``, ``--info`` and ``--help`` are Hydra's own."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from suffuse.complaints import complain, exit_code, explain
from suffuse.composition import add_search_path, conf_folder, plain, version_base
from suffuse.errors import ConfigError
from suffuse.world import World

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["launch"]


def launch(command: str, arguments: list[str], folders: Mapping[str, Path]) -> int:
    """Compose the configuration and run ``suffuse.commands.<command>``, once or as a sweep. Returns the exit code.

    Args:
        arguments: as `suffuse.arguments.prepare` returns them.
        folders: of configuration, from `suffuse.composition.conf_folders`.
    """
    import hydra

    # Hydra would print every error itself, most of them with a traceback; this hands them over as they are.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    add_search_path(folders)
    world = World.here()
    if world.size > 1:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else each lost connection shows the stack of torch
        arguments = _of_several(command, arguments, world)
    begun = False

    def task(config: DictConfig) -> None:
        nonlocal begun
        begun = True
        _run(command, config)

    decorated = hydra.main(config_path=str(conf_folder()), config_name=command, **version_base())(task)
    typed = sys.argv
    sys.argv = [f"suffuse {command}", *arguments]
    try:
        decorated()
    except Exception as error:
        return complain(error, None if begun else explain(error, folders.values()))
    finally:
        sys.argv = typed
    return 0


def _of_several(command: str, arguments: list[str], world: World) -> list[str]:
    """The arguments of one of several processes: the first keeps the records, and the others are told where.

    Raises:
        ConfigError: the command, or a sweep, is for one process.
    """
    if command not in ("train", "sample"):
        raise ConfigError(f"{command} runs in one process, not in {world.size}")
    if {"--multirun", "-m"} & set(arguments):
        raise ConfigError("--multirun starts runs itself, one after another or as jobs; leave out torchrun or srun")
    if not world.rank:
        return arguments
    warnings.simplefilter("ignore")
    if any(argument.startswith("resume=") for argument in arguments):
        return arguments
    kept = [argument for argument in arguments if not argument.startswith(("hydra.run.dir=", "hydra.output_subdir="))]
    return [*kept, "hydra.run.dir=.", "hydra.output_subdir=null"]


def _run(command: str, config: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    settings = HydraConfig.get()
    directory = Path(settings.runtime.output_dir)
    resuming = command == "train" and config.get("resume") is not None
    leads = World.here().rank == 0
    try:
        checked = plain(command, config)
        if resuming and leads:
            _remember(directory, [word for word in settings.overrides.task if not word.startswith("resume=")])
        getattr(importlib.import_module(f"suffuse.commands.{command}"), command)(checked, directory)
    except Exception as error:
        code = exit_code(error)
        if command == "train" and leads and not resuming:
            _discard(directory)
        if code == 1 or settings.mode == RunMode.MULTIRUN:
            raise
        # In a single run Hydra would put a line of its own before ours; it lets SystemExit pass.
        raise SystemExit(complain(error)) from error


def _remember(directory: Path, overrides: list[str]) -> None:
    """Keep what a resumed run was started with now that it has proved sound, so that it can be resumed again."""
    from omegaconf import OmegaConf

    record = directory / ".hydra" / "overrides.yaml"
    draft = record.with_suffix(".new")
    draft.write_text(OmegaConf.to_yaml(OmegaConf.create(overrides)), encoding="utf-8")
    draft.replace(record)


def _discard(directory: Path) -> None:
    """Remove a run directory in which there is nothing but what was asked for."""
    if {path.name for path in directory.iterdir()} <= {".hydra", "config.yaml"}:
        shutil.rmtree(directory)
