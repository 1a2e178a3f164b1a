"""What tests of several processes run in each, with torchrun's variables: ``python tests/two.py FOLDER [FAULT]``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.denoiser import Denoiser
from suffuse.errors import RunError
from suffuse.layers import NoiseEmbedding
from suffuse.state import State
from suffuse.training import Trainer
from suffuse.training.engine import Engine, SingleProcess, opened
from suffuse.training.parallel import Replicas
from suffuse.world import World
from tiny import Points, field, trainer

STEPS = 50


class Tower(nn.Module):
    """A network with blocks in a list, one of them too small to be fetched by itself, and a belief of its own."""

    condition_dim = 16

    def __init__(self) -> None:
        super().__init__()
        self.embed = NoiseEmbedding(16)
        self.enter = nn.Linear(4 + 16, 32)
        self.blocks = nn.ModuleList([nn.Linear(32, 32), nn.LayerNorm(32, bias=False), nn.Linear(32, 32)])
        self.leave = nn.Linear(32, 2)

    def forward(
        self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor, previous: State
    ) -> dict[str, Tensor]:
        hidden = self.enter(torch.cat([state["x"], previous["x"], self.embed(log_snr["x"], condition)], -1))
        for block in self.blocks:
            hidden = hidden + nn.functional.silu(block(hidden))
        return {"x": self.leave(hidden)}


class Unequal(Replicas):
    """The mutant: the gradients are averaged over processes, but the loss is still the share of each."""

    def backward(self, loss: Tensor) -> None:
        SingleProcess.backward(self, loss)


def train(directory: Path, engine: Engine | None = None, **settings: Any) -> Trainer:
    """A trainer with everything on that has to do with several processes; logs go to ``log.json``."""
    split = Points(50, jitter=0.05)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Denoiser(Tower(), field(scale=0.7), conditions=split.conditions, self_conditioning=True)
    lines: list[dict[str, float]] = []

    def log(step: int, figures: Mapping[str, float]) -> None:
        lines.append({"step": step, **figures})
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "log.json").write_text(json.dumps(lines))

    loop = {"steps": STEPS, "checkpoint_every": STEPS // 2, "log_every": 1, "validate_every": 10, "accumulate": 2}
    return trainer(
        directory,
        split,
        heldout=Points(30),
        denoiser=network,
        self_conditioning=0.5,
        engine=engine,
        log=log,
        snapshot_every=10,
        **{**loop, **settings},
    )


def main(folder: Path) -> None:
    """Train in both ways, and go on with what one process began."""
    torch.set_num_threads(1)
    for name, shard in (("replicas", False), ("shards", True)):
        with opened("cpu", "fp32", shard) as engine:
            train(folder / name, engine).fit()
            resumed = train(folder / f"one-to-{name}", engine)
            resumed.resume()
            resumed.fit()
    with opened("cpu", "fp32", False) as engine:
        train(folder / "unequal", Unequal(World.here(), "cpu"), steps=2).fit()


def fail(folder: Path, fault: str) -> None:
    """Train until one of the processes fails, with an error of ours or with any other, and say what this one knows."""
    torch.set_num_threads(1)
    error = RunError if fault == "shards" else ValueError
    try:
        with opened("cpu", "fp32", fault == "shards") as engine:

            def enough(*given: Any, **more: Any) -> Any:
                raise error("it has had enough")

            def preview(*given: Any) -> None:
                if fault == "preview" and not engine.rank:
                    enough()

            with engine.first():
                if fault == "preparation" and not engine.rank:
                    enough()
            failing = train(folder / fault, engine, preview=preview, preview_every=4)
            ask = failing.objective

            def objective(*data: Any, step: int, **more: Any) -> Tensor:
                if fault == "shards" and engine.rank and step == 5:
                    enough()
                if fault == "validation" and engine.rank and not torch.is_grad_enabled():
                    enough()
                return ask(*data, step=step, **more)

            failing.objective = objective  # type: ignore[assignment]
            failing.fit()
    except Exception as trouble:
        print(trouble)


if __name__ == "__main__":
    main(Path(sys.argv[1])) if len(sys.argv) == 2 else fail(Path(sys.argv[1]), sys.argv[2])
