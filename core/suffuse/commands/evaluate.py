"""``suffuse evaluate``: figures of generated samples, each beside the same figure of held-out real data."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suffuse.assembly import build_data
from suffuse.bias import Shift, shifts
from suffuse.commands.given import rows_of, told
from suffuse.commands.sample import open_model
from suffuse.data import DataSource, Evaluation, Score, Split
from suffuse.errors import ConfigError
from suffuse.likelihood import Likelihood, bound, exact, log_likelihood
from suffuse.model import Model
from suffuse.progress import Progress
from suffuse.runs import now
from suffuse.sampling import Seeds

__all__ = ["evaluate"]


def evaluate(config: dict[str, Any], directory: Path | None = None) -> list[Score]:
    """Draw ``n`` samples, score them, and record them in the run (``evaluation.json``)."""
    run, model = open_model(config)
    if config["n"] < 2:
        raise ConfigError(f"n={config['n']}: an evaluation needs at least 2 samples")
    chosen, changed = model.config["metric"], config.get("metric") or {}
    if chosen is None and changed:
        raise ConfigError(f"metric.{next(iter(changed))}: this run was trained without a metric")
    if chosen is None and not config["likelihood"]:
        raise ConfigError(f"modality={model.plugin} brings no metric; likelihood=64 scores held-out data by the model")
    recipe = model.recipe(config.get("sampler"), config.get("guidance"))
    data = build_data(model.config, model.registry)
    metric = None if chosen is None else model.registry.build("metric", {**chosen, **changed}, plugin=model.plugin)
    indices = range(config["n"])
    asked = _as_in(data.heldout, model, len(indices))
    given = told(model, data.heldout)
    began = time.perf_counter()
    with Progress(len(indices), "sample") as progress:
        state = model.draw(
            indices,
            asked,
            recipe,
            seed=config["seed"],
            compute_batch=config["compute_batch"],
            progress=progress.update,
            **given,
        )
    seconds = time.perf_counter() - began
    print("scoring, which may take a minute", file=sys.stderr, flush=True)
    subject = Evaluation(
        values=model.decoder.decode(state),
        conditions=asked,
        train=data.train,
        heldout=data.heldout,
        seed=config["seed"],
        given=rows_of(indices, data.heldout) if given else (),
    )
    scores: list[Score] = [] if metric is None else metric(subject)
    if config["likelihood"]:
        scores.append(_likelihood(model, data, config["likelihood"], config["seed"], config["compute_batch"]))
    moved = [shift for attribute in subject.attributes for shift in shifts(attribute, config["seed"])]
    run.evaluated(
        {
            "step": model.step,
            "checkpoint": model.digest,
            "ema": model.ema,
            "n": config["n"],
            "seed": config["seed"],
            **recipe.config,
            **({"metric": changed} if changed else {}),
            "seconds_sampling": round(seconds, 2),
            "made": now(),
            "scores": [dataclasses.asdict(score) for score in scores],
            "shifts": [dataclasses.asdict(shift) for shift in moved],
            "details": subject.details,
        },
    )
    print(table(scores))
    if moved:
        print(f"\n{shift_table(moved)}")
    print(f"{config['n']} samples in {seconds:.1f} s; written to {run.directory / 'evaluation.json'}", file=sys.stderr)
    return scores


def _as_in(heldout: Split, model: Model, count: int) -> dict[str, list[Any]]:
    """Ask for what held-out items carry, in turn: distances between sets mean something only at the same mix."""
    if not len(heldout):
        raise ConfigError("data: there are no held-out items to compare with; set data.heldout above 0")
    items = [heldout[index % len(heldout)].condition for index in range(min(count, len(heldout)))]
    return {name: [items[index % len(items)].get(name) for index in range(count)] for name in model.conditions}


def _likelihood(model: Model, data: DataSource, count: int, seed: int, batch: int) -> Score:
    """How well the model codes held-out items beside items of its own training, which shows what it knows by heart."""
    figures = []
    for name, split in (("held-out", data.heldout), ("training", data.train)):
        total = min(count, len(split))
        bits = []
        with Progress(total, f"likelihood, {name}") as progress:
            for start in range(0, total, batch):
                rows = range(start, min(start + batch, total))
                bits += _coded(model, split, rows, seed).bits_per_dimension.tolist()
                progress.update(rows.stop)
        figures.append(sum(bits) / len(bits))
    how = "by the probability flow, with random traces" if exact(model.process) else "at most, by the variational bound"
    return Score(
        name="bits per dimension",
        value=figures[0],
        real=figures[1],
        better="lower",
        about=f"Negative log-likelihood of {min(count, len(data.heldout))} held-out items under what is known of them, "
        f"{how}, in the fields' own units; the figure beside it is that of as many training items.",
    )


def _coded(model: Model, split: Split, rows: range, seed: int) -> Likelihood:
    device = next(model.denoiser.parameters()).device
    items = split.gather(rows)
    clean = model.decoder.encode(items.values).to(device)
    condition = {name: value.to(device) for name, value in items.conditions.items() if name in model.conditions}
    seeds = Seeds(seed, rows)
    if exact(model.process):
        return log_likelihood(model.denoiser, clean, model.process, seeds=seeds, condition=condition, probes=1)
    return bound(model.denoiser, clean, model.process, seeds=seeds, condition=condition)


def table(scores: list[Score]) -> str:
    """The scores as text, with the real-data column."""
    width = max(len(score.name) for score in scores)
    lines = [f"{'':{width}}  {'samples':>9}  {'real data':>9}  better"]
    lines += [f"{s.name:{width}}  {s.value:9.4g}  {s.real:9.4g}  {s.better}" for s in scores]
    return "\n".join(lines)


def shift_table(moved: Sequence[Shift]) -> str:
    """The shifts as text; a star marks those that chance does not explain, at 95 in 100 each."""
    names = [f"{shift.attribute}: {shift.of}" for shift in moved]
    width = max(map(len, names))
    lines = [f"{'':{width}}  {'samples':>9}  {'real data':>9}  shift (95 % interval)"]
    lines += [
        f"{name:{width}}  {s.samples:9.4g}  {s.real:9.4g}  {s.samples - s.real:+.3g} ({s.low:+.3g} to {s.high:+.3g})"
        f"{' *' if s.certain else ''}"
        for name, s in zip(names, moved, strict=True)
    ]
    return "\n".join(lines)
