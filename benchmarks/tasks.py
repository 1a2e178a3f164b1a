"""What the compared training loops train: real digits at two sizes, a task on them, and the network of diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.conditions import ClassLabel, Condition
from suffuse.data import Split
from suffuse.fields import Field
from suffuse.processes import Gaussian, JointProcess
from suffuse.schedules import EDM, LinearBetaVP, Schedule
from suffuse.state import State
from suffuse.training import clock, weightings
from suffuse.training.objective import Objective
from suffuse_image.data import Digits
from suffuse_image.data.splits import ImageSplit
from suffuse_image.decoder import Pixels

__all__ = ["HIDDEN", "Borrowed", "Task", "digits", "labelled", "unet2d", "unlabelled"]

HIDDEN = 0.1
"""The share of labels that is hidden in training."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Data, and what a network is trained for on it; the plain loops use the same as bare tensors.

    Args:
        images: in [-1, 1], ``[N, 1, H, W]``.
        labels: ``[N]``.
        split: the same, as the core wants it.
        fields: of the data.
        objective: of the training.
        schedule: of the noise.
        batch: samples of a step.
    """

    images: Tensor
    labels: Tensor
    split: Split
    fields: Mapping[str, Field]
    objective: Objective
    schedule: Schedule
    batch: int


def digits(size: int) -> tuple[Tensor, Tensor]:
    """The training digits of scikit-learn enlarged to ``size``, uint8 ``[N, 1, H, W]``, and their labels."""
    split = Digits().train
    batch = split.gather(range(len(split)))
    values = nn.functional.interpolate(batch.values.float(), (size, size), mode="bilinear")
    return values.round().to(torch.uint8), batch.conditions["label"]


def labelled(size: int, batch: int) -> Task:
    """The loss of EDM with a class label."""
    conditions = {"label": ClassLabel(tuple("0123456789"))}
    return _task(size, batch, conditions, EDM(), "edm", weightings.edm(), clock.LogNormal())


def unlabelled(size: int, batch: int) -> Task:
    """The loss of DDPM."""
    return _task(size, batch, {}, LinearBetaVP(), "eps", weightings.uniform(), clock.Uniform())


def _task(
    size: int,
    batch: int,
    conditions: Mapping[str, Condition],
    schedule: Schedule,
    emits: str,
    weighting: weightings.Weighting,
    levels: clock.Clock,
) -> Task:
    images, labels = digits(size)
    split = ImageSplit(
        images=images,
        rows=torch.arange(len(images)).numpy(),
        shape=(size, size),
        conditions=conditions,
        columns={name: labels.tolist() for name in conditions},
    )
    fields = Pixels().fields(split)
    process = JointProcess(fields, {name: Gaussian(schedule) for name in fields})
    return Task(
        images=images.float() / 127.5 - 1,
        labels=labels,
        split=split,
        fields=fields,
        objective=Objective(process, levels, weighting, emits, conditions, HIDDEN),
        schedule=schedule,
        batch=batch,
    )


def unet2d(size: int) -> nn.Module:
    """A small `UNet2DModel` for grey images."""
    from diffusers import UNet2DModel

    network: nn.Module = UNet2DModel(
        sample_size=size,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )
    return network


class Borrowed(nn.Module):
    """A `UNet2DModel` as a backbone of suffuse: it is told the time, from 0 to 1000, in place of the log-SNR."""

    condition_dim = 1

    def __init__(self, network: nn.Module, schedule: Schedule) -> None:
        super().__init__()
        self.network = network
        self.schedule = schedule

    def forward(self, state: State, log_snr: Mapping[str, Tensor], condition: Tensor) -> dict[str, Any]:
        """One tensor like the image; the condition is not used."""
        return {"pixels": self.network(state["pixels"], 1000 * self.schedule.time(log_snr["pixels"])).sample}
