"""A small classifier of images, trained in seconds on the real training images; the metrics look through its eyes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Classified", "Classifier", "classify", "train_classifier"]

_SIDE = 16
"""Larger images are folded by whole factors until no side is longer, so that the cost hardly depends on their size."""
_BATCH = 128


class Classifier(nn.Module):
    """Four convolutions with batch normalisation, the largest response to each feature, one linear layer.

    Args:
        channels: of an image.
        side: its longer side in pixels.
        classes: their number.
        width: of the first layer; the features are four times as many.
    """

    def __init__(self, channels: int, side: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.fold = math.ceil(side / _SIDE)

        def layer(inputs: int, outputs: int) -> nn.Sequential:
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

        self.body = nn.Sequential(
            layer(channels * self.fold**2, width),
            nn.MaxPool2d(2, ceil_mode=True),
            layer(width, 2 * width),
            layer(2 * width, 2 * width),
            nn.MaxPool2d(2, ceil_mode=True),
            layer(2 * width, 4 * width),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * width, classes)

    def features(self, images: Tensor) -> Tensor:
        """uint8 ``[B, C, H, W]`` to the input of the last layer, ``[B, 4 width]``."""
        x = images.float() / 127.5 - 1
        bottom, right = -x.shape[-2] % self.fold, -x.shape[-1] % self.fold
        x = nn.functional.pad(x, (0, right, 0, bottom), mode="replicate")
        return self.body(nn.functional.pixel_unshuffle(x, self.fold))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """uint8 ``[B, C, H, W]`` to logits ``[B, classes]``."""
        return self.head(self.features(images))  # type: ignore[no-any-return]


class Classified(NamedTuple):
    """What a classifier says of some images: its features ``[N, F]`` in float64 and the classes ``[N]``."""

    features: NDArray[np.float64]
    predicted: NDArray[np.int64]


def train_classifier(
    images: Tensor, labels: Tensor, classes: int, *, epochs: int, max_images: int, seed: int
) -> Classifier:
    """A classifier of the images, the same for the same arguments (up to rounding, which varies with the machine).

    Images are shifted as they are drawn, by up to a sixteenth of their side and one pixel at least: of all changes it
    is the one that leaves the class of a picture alone.

    Args:
        images: uint8 ``[N, C, H, W]``.
        labels: ``[N]``, each from 0 to ``classes - 1``.
        classes: their number.
        epochs: passes over the images.
        max_images: training ends after this many images at the latest.
        seed: of the weights, the order and the shifts.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Classifier(images.shape[1], max(images.shape[-2:]), classes)
    model.to(memory_format=torch.channels_last)
    draw = torch.Generator().manual_seed(seed)
    # The last batch of a pass may be a single image, of which batch normalisation can learn nothing.
    batch = min(_BATCH, len(images))
    steps = max(1, min(epochs * len(images), max_images) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=steps + 1, pct_start=0.2)
    order = torch.empty(0, dtype=torch.long)
    model.train()
    for _ in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(images), generator=draw)
        rows, order = order[:batch], order[batch:]
        logits = model(_shift(images[rows], draw))
        loss = nn.functional.cross_entropy(logits, labels[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return model.eval()


def classify(model: Classifier, images: Tensor) -> Classified:
    """Features and classes of uint8 images ``[N, C, H, W]``."""
    features, predicted = [], []
    with torch.inference_mode():
        for part in torch.split(images, 1024):
            seen = model.features(part)
            features.append(seen.double())
            predicted.append(model.head(seen).argmax(1))
    return Classified(torch.cat(features).numpy(), torch.cat(predicted).numpy())


def _shift(images: Tensor, draw: torch.Generator) -> Tensor:
    """Each image moved by a distance of its own; the edge is repeated where nothing was."""
    count, _, height, width = images.shape
    far = max(1, max(height, width) // 16)
    down, right = torch.randint(-far, far + 1, (2, count, 1), generator=draw)
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    images = images.gather(2, rows[:, None, :, None].expand_as(images))
    return images.gather(3, columns[:, None, None, :].expand_as(images))
