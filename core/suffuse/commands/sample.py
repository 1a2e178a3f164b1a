"""``suffuse sample``: from a run to files, each with the record of how it was made."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import suffuse
from suffuse import noise
from suffuse.assembly import load
from suffuse.commands.captions import captions
from suffuse.editing import Replace, noised
from suffuse.errors import ConfigError, RunError
from suffuse.model import Model, Recipe
from suffuse.progress import Progress
from suffuse.runs import Run, now, write_json
from suffuse.training.engine import pick_device

__all__ = ["open_model", "sample"]

_TASKS = ("vary", "inpaint")


def sample(config: dict[str, Any], directory: Path | None = None) -> Path:
    """Draw samples as configured and write them. Returns the folder.

    Raises:
        SuffuseError: the configuration or the run is not fit for it; then nothing is written.
    """
    run, model = open_model(config)
    recipe = model.recipe(config.get("sampler"), config.get("guidance"))
    indices = _indices(config)
    asked = model.asked(config.get("condition") or {}, indices)
    task = _task(config, model)
    evaluations = model.evaluations(recipe, task.get("start", 1.0))
    folder = _folder(config, run)
    with Progress(len(indices), "sample") as progress:
        state = model.draw(
            indices,
            asked,
            recipe,
            seed=config["seed"],
            compute_batch=config["compute_batch"],
            progress=progress.update,
            **task,
        )
    values = model.decoder.decode(state)
    words = captions(model.conditions, asked, len(indices))
    files = []
    for index, value, word in zip(indices, values, words, strict=True):
        name = f"sample-{index:06d}{model.decoder.suffix}"
        model.decoder.save(value, folder / name, record(run, model, recipe, config["seed"], index, word))
        files.append({"file": name, "index": index, "asked": word})
    if len(values) > 1:
        model.decoder.sheet(values[:100], words[:100], folder / "sheet.png")
    write_json(
        folder / "samples.json",
        {
            "run": str(run.directory),
            "step": model.step,
            "checkpoint": model.digest,
            "seed": config["seed"],
            "compute_batch": config["compute_batch"],
            "evaluations": evaluations,
            **recipe.config,
            "task": config.get("task"),
            "made": now(),
            "samples": files,
        },
    )
    print(f"{len(values)} samples, {evaluations} network evaluations each, in {folder}", file=sys.stderr)
    return folder


def open_model(config: Mapping[str, Any]) -> tuple[Run, Model]:
    """The run and the model that ``run=`` and ``checkpoint=`` mean, on the device asked for."""
    if not config.get("run"):
        raise ConfigError("run=DIR is needed: the folder that `suffuse train` made")
    run, step = Run.find(config["run"])
    if config.get("checkpoint") is not None:
        step = int(config["checkpoint"])
    return run, load(run, step, device=pick_device(config["device"]))


def record(run: Run, model: Model, recipe: Recipe, seed: int, index: int, asked: str) -> dict[str, Any]:
    """The provenance of one sample, as it is embedded in its file.

    The seed itself stays with the run: whoever has it can make the sample again.
    """
    return {
        "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
        "software": f"suffuse {suffuse.__version__}",
        "modality": model.plugin,
        "run": run.directory.name,
        "step": model.step,
        "checkpoint": model.digest,
        "config": model.config_hash(),
        "sample": index,
        "seed_key": f"{noise.key(seed, 'id'):032x}",
        "asked": asked,
        "sampler": recipe.config["sampler"],
        "guidance": recipe.config["guidance"],
        "made": now(),
    }


def _indices(config: Mapping[str, Any]) -> Sequence[int]:
    if config.get("indices") is not None:
        chosen = config["indices"] if isinstance(config["indices"], list) else [config["indices"]]
        if not chosen or any(not isinstance(i, int) or i < 0 for i in chosen):
            raise ConfigError(f"indices={chosen}: a number or a list of numbers from 0 up is needed")
        return chosen
    if config["n"] < 1:
        raise ConfigError(f"n={config['n']}: must be at least 1")
    return range(config["n"])


def _task(config: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """What `Model.draw` has to do differently for an editing task."""
    task = config.get("task")
    if task is None:
        for key in ("input", "mask"):
            if config.get(key):
                raise ConfigError(f"{key}={config[key]} needs a task: task=vary or task=inpaint")
        return {}
    if task not in _TASKS:
        raise ConfigError(f"task={task}: known are {', '.join(_TASKS)}")
    if not config.get("input"):
        raise ConfigError(f"task={task} needs input=FILE")
    given = model.decoder.encode([model.decoder.load(Path(config["input"]), model.fields)])
    if task == "vary":
        strength = config["strength"]
        if not 0 < strength <= 1:
            raise ConfigError(f"strength={strength}: must be above 0 (nothing changes) and at most 1 (nothing stays)")
        return {"begin": noised(given, model.process, strength), "start": strength}
    if not config.get("mask"):
        raise ConfigError("task=inpaint needs mask=FILE, white where the input is to be filled in")
    device = next(model.denoiser.parameters()).device
    unknown = model.decoder.load_mask(Path(config["mask"]), model.fields)
    hook = Replace(given.to(device), unknown.to(device))
    return {"hooks": lambda seeds: [hook]}


def _folder(config: Mapping[str, Any], run: Run) -> Path:
    if not config.get("out"):
        return run.new_folder()
    folder = Path(config["out"]).expanduser()
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"out={folder}: is not empty; nothing is overwritten, take another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"out={folder}: cannot be made ({error.strerror})") from error
    return folder
