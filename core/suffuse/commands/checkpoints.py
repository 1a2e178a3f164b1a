"""``suffuse checkpoints``: those of a run, each read and held against its checksums."""

from __future__ import annotations

from datetime import datetime

from suffuse.errors import RunError
from suffuse.runs import Run
from suffuse.training.checkpoints import Checkpoints, read

__all__ = ["checkpoints"]


def checkpoints(place: str) -> bool:
    """Print a line for each checkpoint of a run. Returns whether all are whole.

    Raises:
        RunError: there is no such run, or it has none.
    """
    run, only = Run.find(place)
    trainer = run.config.get("trainer", {})
    kept = Checkpoints(run.directory / "checkpoints", best=trainer.get("keep_best"))
    steps = [step for step in kept.steps() if only in (None, step)]
    if not steps:
        raise RunError(f"{kept.folder}: there is no checkpoint")
    figure = kept.best or "validation_loss"
    best = kept.least(figure)
    print(f"{'step':>9}  {'MB':>8}  {'written':<16}  {figure:>15}")
    whole = []
    for step in steps:
        path = kept.path(step)
        size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
        written = datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M")
        value = kept.figures(step).get(figure)
        shown = "" if value is None else f"{value:.5g}"
        try:
            read(path)
            whole.append(step)
            state = "whole, least" if step == best else "whole"
        except RunError as error:
            state = str(error)
        print(f"{step:>9}  {size:>8.1f}  {written:<16}  {shown:>15}  {state}")
    if whole:
        print(f"suffuse train resume={run.directory} goes on from step {whole[-1]}")
    return whole == steps
