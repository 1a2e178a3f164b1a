"""A predictor of what is known of samples, taught on what a denoiser believes of noisy ones.

In sampling a predictor is asked about beliefs: means of many samples, probabilities of classes. One that only ever saw
clean samples would take them for something else. So it is taught on beliefs, at all levels of noise, of samples whose
properties are known, and learns by itself how little an early belief tells.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from suffuse import noise
from suffuse.data import Decoder, Split
from suffuse.denoiser import Denoiser
from suffuse.errors import RunError
from suffuse.guidance.looks import estimates
from suffuse.processes import JointProcess
from suffuse.progress import Progress
from suffuse.state import State

__all__ = ["Teachable", "keep", "kept", "teach"]

_BATCH = 128


@runtime_checkable
class Teachable(Protocol):
    """A predictor with weights: a module whose output is log p(condition | estimate), ``[B]``.

    ``steps`` says for how long it is taught, and ``lr`` how fast.
    """

    steps: int
    lr: float

    def parameters(self) -> object: ...

    def __call__(self, estimate: State, condition: Mapping[str, Tensor]) -> Tensor: ...


def teach(
    predictor: nn.Module, denoiser: Denoiser, process: JointProcess, decoder: Decoder, train: Split, seed: int
) -> None:
    """Make the conditions of training samples likely under what the denoiser believes of them.

    Half of the samples are believed in with their conditions known, half without, each by itself.

    Args:
        predictor: `Teachable`; taught in place.
        denoiser: whose beliefs are shown.
        process: how samples are corrupted.
        decoder: turns data into states.
        train: data.
        seed: decides everything random.
    """
    assert isinstance(predictor, Teachable)
    device = next(denoiser.parameters()).device
    predictor.to(device).train()
    denoiser.eval()
    optimizer = torch.optim.AdamW(predictor.parameters(), predictor.lr)
    order = noise.key(seed, "teach", "order")
    with Progress(predictor.steps, "lesson") as bar:
        for step in range(predictor.steps):
            for group in optimizer.param_groups:
                group["lr"] = predictor.lr * 0.5 * (1 + math.cos(math.pi * step / predictor.steps))
            rows = range(step * _BATCH, (step + 1) * _BATCH)
            batch = train.gather(noise.order(order, len(train), rows).tolist())
            clean = decoder.encode(batch.values).to(device)
            known = {name: value.to(device) for name, value in batch.conditions.items() if name in denoiser.conditions}
            estimate = _believed(denoiser, process, clean, known, noise.Draws(seed, "teach", rows))
            loss = -predictor(estimate, known).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(predictor.parameters(), 1.0)
            optimizer.step()
            if step % 50 == 49:
                bar.update(step + 1, f"log-likelihood {-float(loss.detach()):.3f}")
    predictor.eval().requires_grad_(False)


@torch.no_grad()
def _believed(
    denoiser: Denoiser, process: JointProcess, clean: State, known: Mapping[str, Tensor], draws: noise.Draws
) -> State:
    """What the denoiser believes of samples at levels drawn evenly along the clock."""
    shape = (clean.batch_size,)
    times = process.levels(draws.uniform("clock", shape))
    levels = {name: level.to(clean.device, clean.dtype) for name, level in times.items()}
    noisy = process.corrupt(clean, levels, draws)
    told = {
        name: kind.drop(known[name], draws.uniform(f"hide {name}", shape).to(clean.device) < 0.5)
        for name, kind in denoiser.conditions.items()
    }
    belief = denoiser(noisy, levels, told)
    return clean.replace(**estimates(belief, denoiser.fields, clean.mask))


def keep(predictor: nn.Module, file: Path) -> None:
    """Write the weights, as a whole or not at all.

    Raises:
        RunError: they cannot be written.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(exist_ok=True)
        save_file({name: value.contiguous().cpu() for name, value in predictor.state_dict().items()}, draft)
        draft.replace(file)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise RunError(f"{file}: cannot be written ({error.strerror or error})") from error


def kept(file: Path) -> dict[str, Tensor] | None:
    """The weights in a file; None where there is none.

    Raises:
        RunError: it is damaged.
    """
    try:
        return load_file(file) if file.is_file() else None
    except (OSError, SafetensorError) as error:
        raise RunError(f"{file}: is damaged ({error}); remove it, and the predictor is taught again") from error
