"""``suffuse sample``: from a run to files, each with the record of how it was made."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import suffuse
from suffuse import noise
from suffuse.assembly import load
from suffuse.commands.captions import captions
from suffuse.commands.tasks import prepare
from suffuse.errors import ConfigError, RunError
from suffuse.model import Model, Recipe
from suffuse.progress import Progress
from suffuse.runs import Run, now, write_json
from suffuse.training.engine import pick_device

__all__ = ["open_model", "sample"]


def sample(config: dict[str, Any], directory: Path | None = None) -> Path:
    """Draw samples as configured and write them. Returns the folder.

    Raises:
        SuffuseError: the configuration or the run is not fit for it; then nothing is written.
    """
    run, model = open_model(config)
    recipe = model.recipe(config.get("sampler"), config.get("guidance"))
    job = prepare(config, model, recipe)
    folder = _folder(config, run)
    with Progress(len(job.indices), "sample") as progress:
        state = model.draw(
            job.indices,
            job.asked,
            recipe,
            seed=config["seed"],
            compute_batch=config["compute_batch"],
            progress=progress.update,
            **job.draw,
        )
    values = model.decoder.decode(state)
    if job.join is not None:
        values = [job.join(value) for value in values]
    words = captions(model.conditions, job.asked, len(job.indices))
    off = job.compare(state) if job.compare else None
    pairs = zip(job.indices, words, strict=True)
    records = [record(run, model, recipe, config["seed"], index, word) for index, word in pairs]
    files: list[dict[str, Any]] = [{"index": i, "asked": word} for i, word in zip(job.indices, words, strict=True)]
    if job.session.tables:
        asked = [{name: each[place] for name, each in job.asked.items()} for place in range(len(values))]
        part = folder / ".part"
        job.session.write(values, records, asked, part)
        job.session.join([part], folder)
        part.unlink()
    else:
        for file, value, about in zip(files, values, records, strict=True):
            file["file"] = f"sample-{file['index']:06d}{model.decoder.suffix}"
            model.decoder.save(value, folder / file["file"], about)
    if len(values) > 1:
        model.decoder.sheet(values[:100], words[:100], folder / "sheet.png")
    write_json(
        folder / "samples.json",
        {
            "run": str(run.directory),
            "step": model.step,
            "checkpoint": model.digest,
            "ema": model.ema,
            "seed": config["seed"],
            "compute_batch": config["compute_batch"],
            "evaluations": job.evaluations,
            **recipe.config,
            "task": config.get("task"),
            "evaluations_before": job.before,
            "off": off,
            "made": now(),
            "samples": files,
        },
    )
    for name, distance in (off or {}).items():
        print(f"{name}: off by {distance:.2%} of its spread (root mean square)", file=sys.stderr)
    found = f" and {job.before} to find the noise" if job.before else ""
    print(f"{len(values)} samples, {job.evaluations} network evaluations each{found}, in {folder}", file=sys.stderr)
    return folder


def open_model(config: Mapping[str, Any]) -> tuple[Run, Model]:
    """The run and the model that ``run=`` and ``checkpoint=`` mean, on the device asked for."""
    if not config.get("run"):
        raise ConfigError("run=DIR is needed: the folder that `suffuse train` made")
    run, step = Run.find(config["run"])
    if config.get("checkpoint") is not None:
        step = int(config["checkpoint"])
    return run, load(run, step, device=pick_device(config["device"]), ema=config.get("ema"))


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
        "ema": model.ema,
        "config": model.config_hash(),
        "sample": index,
        "seed_key": f"{noise.key(seed, 'id'):032x}",
        "asked": asked,
        "sampler": recipe.config["sampler"],
        "guidance": recipe.config["guidance"],
        "made": now(),
    }


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
