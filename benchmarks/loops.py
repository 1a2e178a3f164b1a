"""The training loops that are compared: ours, one written by hand, and that of diffusers' training example.

Each trains a new copy of the network, and returns the seconds of a step, from the end of `WARM` steps on.
"""

from __future__ import annotations

import contextlib
import copy
import io
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.tasks import HIDDEN, Task
from suffuse.data import Decoder, Split
from suffuse.denoiser import Denoiser
from suffuse.state import State
from suffuse.training import Trainer, TrainerSettings
from suffuse.training.callbacks import Callback
from suffuse.training.engine import Engine, SingleProcess
from suffuse.training.objective import Objective
from suffuse_image.decoder import Pixels

__all__ = ["WARM", "diffusers", "plain", "suffuse", "trained"]

WARM = 5
RATE, BETAS, DECAY = 1e-3, (0.9, 0.99), 0.999
"""Learning rate and moments of AdamW, and the share that the average keeps; in all loops."""


class _Watch(Callback):
    """Remembers when each step was logged."""

    def __init__(self) -> None:
        self.times: dict[int, float] = {}

    def logged(self, step: int, metrics: Mapping[str, float]) -> None:
        self.times[step] = time.perf_counter()


def suffuse(
    denoiser: Denoiser, task: Task, folder: Path, count: int, engine: Engine | None = None, **more: Any
) -> float:
    """The core's own loop, by default on the CPU; more settings are the trainer's."""
    settings = TrainerSettings(batch_size=task.batch, lr=RATE, betas=BETAS, ema=DECAY, **more)
    return trained(denoiser, task.objective, task.split, Pixels(), settings, folder, count, engine)


def trained(
    denoiser: Denoiser,
    objective: Objective,
    split: Split,
    decoder: Decoder,
    settings: TrainerSettings,
    folder: Path,
    count: int,
    engine: Engine | None = None,
) -> float:
    """The core's own loop on anything; the checkpoint at the end of the block is not counted."""
    watch, last = _Watch(), WARM + count
    trainer = Trainer(
        denoiser=copy.deepcopy(denoiser),
        objective=objective,
        train=split,
        decoder=decoder,
        directory=folder / "run",
        settings=replace(settings, steps=last, log_every=WARM, checkpoint_every=0),
        engine=engine or SingleProcess("cpu"),
        callbacks=[watch],
    )
    with contextlib.redirect_stderr(io.StringIO()):  # a line of progress for each block would bury the tables
        trainer.fit()
    shutil.rmtree(folder / "run")
    return (watch.times[last] - watch.times[WARM]) / count


def plain(denoiser: Denoiser, task: Task, count: int) -> float:
    """A loop as one would write it for this network alone, with the loss of EDM and PyTorch's quick operations."""
    model = copy.deepcopy(denoiser).train()
    assert model.encoder is not None
    scale = task.fields["pixels"].scale
    parameters: list[torch.Tensor] = list(model.parameters())
    average = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, RATE, BETAS, weight_decay=0.0, fused=True)
    began = 0.0
    for step in range(WARM + count):
        if step == WARM:
            began = time.perf_counter()
        rows = torch.randint(len(task.images), (task.batch,))
        clean = task.images[rows]
        label = task.labels[rows].masked_fill(torch.rand(task.batch) < HIDDEN, -1)
        sigma = torch.exp(1.2 * torch.randn(task.batch, 1, 1, 1) - 1.2)
        noisy = clean + sigma * torch.randn_like(clean)
        square = sigma**2 + scale**2
        scaled, level = State({"pixels": noisy * square.rsqrt()}), {"pixels": -sigma.log().flatten()}
        output = model.backbone(scaled, level, model.encoder({"label": label}))["pixels"]
        estimate = scale**2 / square * noisy + sigma * scale * square.rsqrt() * output
        loss = (square / (sigma * scale) ** 2 * (estimate - clean) ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 100)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch._foreach_lerp_(average, parameters, 1 - DECAY)
    return (time.perf_counter() - began) / count


def diffusers(network: nn.Module, task: Task, count: int) -> float:
    """The steps of diffusers' ``examples/unconditional_image_generation``: its scheduler, average and defaults."""
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel

    model = copy.deepcopy(network).train()
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    average = EMAModel(model.parameters(), decay=DECAY)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=0.0)
    rates = get_scheduler("cosine", optimizer, num_warmup_steps=100, num_training_steps=2000)
    began = 0.0
    for step in range(WARM + count):
        if step == WARM:
            began = time.perf_counter()
        clean = task.images[torch.randint(len(task.images), (task.batch,))]
        noise = torch.randn_like(clean)
        times = torch.randint(0, 1000, (task.batch,))
        output = model(scheduler.add_noise(clean, noise, times), times).sample
        torch.autograd.backward(nn.functional.mse_loss(output, noise))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
        average.step(model.parameters())
    return (time.perf_counter() - began) / count
