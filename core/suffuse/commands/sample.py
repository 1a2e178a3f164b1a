"""``suffuse sample``: from a run to files, each with the record of how it was made."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import suffuse
from suffuse import noise
from suffuse.assembly import build_callbacks, load
from suffuse.commands.captions import captions
from suffuse.commands.tasks import Job, prepare
from suffuse.disk import sha256
from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.model import Model, Recipe
from suffuse.progress import Progress
from suffuse.runs import Run, now
from suffuse.shards import Shard, Shards, content
from suffuse.state import State
from suffuse.training.callbacks import Callbacks, Written
from suffuse.training.engine import exact, pick_device
from suffuse.world import World

__all__ = ["open_model", "sample"]

_ROWS = "rows.part"
"""Of a shard, for the tables that are made once all are there."""


def sample(config: dict[str, Any], directory: Path | None = None) -> Path:
    """Draw samples as configured and write them, part by part. Returns the folder.

    Asked again for the same samples in the same folder, it makes what is missing; several processes share the parts.

    Raises:
        SuffuseError: the configuration, the run or the folder is not fit for it; then nothing is written.
    """
    if World.here().size > 1 and not config.get("out"):
        raise ConfigError("out=FOLDER is needed: one folder for all processes")
    run, model = open_model(config)
    model.save_as(config["decoder"])
    recipe = model.recipe(config.get("sampler"), config.get("guidance"))
    named = {**model.config["callbacks"], **config.get("callbacks", {})}
    watching = Callbacks(build_callbacks(named, model.registry, model.plugin))
    job = prepare(config, model, recipe)
    folder = Path(config["out"]).expanduser() if config.get("out") else run.new_folder()
    about = {
        "run": str(run.directory),
        "evaluations": job.evaluations,
        "evaluations_before": job.before,
        "made": now(),
    }
    shards = Shards(folder, job.indices, config["shard"], _request(config, model, recipe), about)
    common = provenance(run, model, recipe, config["seed"], shards.header["made"])
    total = len(job.indices)
    try:
        join = partial(_join, job) if job.session.tables else None
        with Progress(total, "sample") as progress, closing(shards.todo(join)) as todo:
            for shard in todo:
                told = partial(_tell, progress, shards.done)
                made = _make(shard, config, job, model, recipe, common, told, shards.count == 1)
                files = shards.commit(shard, made.part)
                watching.sampled(
                    Written(folder=folder, files=files, values=made.values, asked=made.words, step=model.step)
                )
                del made  # before the next is drawn, so that memory stays flat
    except KeyboardInterrupt:
        if folder.exists():
            print(f"stopped; the same command with out={folder} goes on", file=sys.stderr)
        raise
    found = f" and {job.before} to find the noise" if job.before else ""
    print(f"{total} samples, {job.evaluations} network evaluations each{found}, in {folder}", file=sys.stderr)
    return folder


class _Made(NamedTuple):
    """A shard's decoded samples, what each was asked for in words, and what its manifest says of them."""

    values: Sequence[Any]
    words: Sequence[str]
    part: dict[str, Any]


def _join(job: Job, places: Sequence[Path], draft: Path) -> None:
    job.session.join([place / _ROWS for place in places], draft)


def _tell(progress: Progress, before: int, done: int) -> None:
    progress.update(before + done)


def _make(
    shard: Shard,
    config: Mapping[str, Any],
    job: Job,
    model: Model,
    recipe: Recipe,
    common: Mapping[str, Any],
    told: Callable[[int], None],
    whole: bool,
) -> _Made:
    """Draw a shard, the only one if ``whole``, and write its files to its draft."""
    asked = job.asked(shard.indices)
    state = model.draw(
        shard.indices,
        asked,
        recipe,
        seed=config["seed"],
        compute_batch=config["compute_batch"],
        progress=told,
        **job.draw,
    )
    values = model.decoder.decode(state)
    if job.join is not None:
        values = [job.join(value) for value in values]
    words = captions(model.conditions, asked, len(shard.indices))
    records = [{**common, "sample": index, "asked": word} for index, word in zip(shard.indices, words, strict=True)]
    if job.session.tables:
        wishes = [{name: each[row] for name, each in asked.items()} for row in range(len(values))]
        rows = shard.draft / _ROWS
        job.session.write(values, records, wishes, rows)
        if whole:
            job.session.join([rows], shard.draft)
            rows.unlink()
    else:
        for value, record in zip(values, records, strict=True):
            model.decoder.save(value, shard.draft / f"sample-{record['sample']:06d}{model.decoder.suffix}", record)
    if shard.number == 0 and len(values) > 1:
        model.decoder.sheet(values[:100], words[:100], shard.draft / "sheet.png")
    off = job.compare(state) if job.compare else None
    for name, distance in (off or {}).items():
        print(f"{name}: off by {distance:.2%} of its spread (root mean square)", file=sys.stderr)
    samples: list[dict[str, Any]] = []
    for row, (index, value, word) in enumerate(zip(shard.indices, values, words, strict=True)):
        flaw = model.decoder.flaw(value)
        entry = {"index": index, "asked": word, "sha256": _fingerprint(state, row, model.fields)}
        samples.append(entry if flaw is None else {**entry, "flaw": flaw})
    part = {
        "off": off,
        "count": len(samples),
        "invalid": sum("flaw" in entry for entry in samples),
        "content": content(entry["sha256"] for entry in samples),
        "samples": samples,
    }
    return _Made(values, words, part)


def _request(config: Mapping[str, Any], model: Model, recipe: Recipe) -> dict[str, Any]:
    """All that decides the samples of a folder, as plain data."""
    files = {key: sha256(Path(config[key]).expanduser()) for key in ("input", "other", "mask") if config.get(key)}
    names = (
        "seed", "n", "indices", "condition", "size", "own", "task", "strength", "resample", "measurement", "length",
        "overlap", "decoder",
    )  # fmt: skip
    return {
        "step": model.step,
        "checkpoint": model.digest,
        "ema": model.ema,
        **{name: config.get(name) for name in names},
        **{key: files.get(key) for key in ("input", "other", "mask")},
        **recipe.config,
        "compute_batch": config["compute_batch"],
        "shard": config["shard"],
        "device": next(model.denoiser.parameters()).device.type,
    }


def _fingerprint(state: State, row: int, fields: Mapping[str, Field]) -> str:
    """SHA-256 of one clean sample, whatever room it is padded to."""
    size = 0 if state.mask is None else int(state.mask[row].sum())
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        part = value[row]
        for axis in range(fields[name].layout.rank):
            part = part.narrow(axis, 0, size)
        digest.update(f"{name} {part.dtype} {list(part.shape)} ".encode())
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()


def open_model(config: Mapping[str, Any]) -> tuple[Run, Model]:
    """The run and the model that ``run=`` and ``checkpoint=`` mean, on the device asked for."""
    if not config.get("run"):
        raise ConfigError("run=DIR is needed: the folder that `suffuse train` made")
    run, step = Run.find(config["run"])
    if config.get("checkpoint") is not None:
        step = int(config["checkpoint"])
    exact(True)
    return run, load(run, step, device=pick_device(config["device"]), ema=config.get("ema"))


def provenance(run: Run, model: Model, recipe: Recipe, seed: int, made: str) -> dict[str, Any]:
    """What is recorded of every sample, to which its number and what it was asked for are added.

    The seed itself stays with the run: whoever has it can make the sample again.

    Args:
        made: when the samples were asked for.
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
        "seed_key": f"{noise.key(seed, 'id'):032x}",
        "sampler": recipe.config["sampler"],
        "guidance": recipe.config["guidance"],
        "made": made,
    }
