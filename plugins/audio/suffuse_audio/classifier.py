"""A small classifier of sounds, trained in a minute on the real training clips; the metrics listen through its ears."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from suffuse_audio.pair import load_torchaudio

__all__ = ["Classified", "Classifier", "LogMel", "classify", "train_classifier"]

_BATCH = 64
_LEAST = 12_800
"""Of few sounds as many passes are made as it takes to hear this many."""
_BANDS, _SECONDS, _OVERLAP = 40, 0.032, 3.2
_FLOOR = 1e-4
"""-80 dB: the softest magnitude that is told apart, of a sine at full scale."""
_FRAMES = 64
"""Of longer sounds this many are looked at, each the mean of several, so that the cost hardly depends on the length."""


class LogMel:
    """What the classifier hears, and in what sounds are compared: log-mel spectrograms of the mean of the channels.

    Args:
        rate: samples in a second.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        # A window of 32 ms at any rate: 256 samples at 8 kHz.
        self.window = 2 ** max(5, round(math.log2(_SECONDS * rate)))
        self.hop = round(self.window / _OVERLAP)
        self._functional = load_torchaudio("metric=audio").functional
        self._taper = torch.hann_window(self.window)
        bands = min(_BANDS, self.window // 4)
        self._filters = self._functional.melscale_fbanks(self.window // 2 + 1, 0.0, rate / 2, bands, rate)
        self._centres = torch.linspace(0, rate / 2, self.window // 2 + 1) @ self._filters / self._filters.sum(0)

    def __call__(self, samples: Tensor) -> Tensor:
        """``[N, C, T]`` to ``[N, bands, frames]``: 0 is a sine at full scale and -1 is 80 dB less, or any softer."""
        parts = []
        for part in torch.split(samples.float(), 256):
            magnitude = self._functional.spectrogram(
                part.mean(1), 0, self._taper, self.window, self.hop, self.window, 1.0, False, pad_mode="constant"
            )
            bands = self._filters.mT @ magnitude * (2 / self._taper.sum())
            logs = bands.clamp_min(_FLOOR).log() / -math.log(_FLOOR)
            parts.append(nn.functional.adaptive_avg_pool1d(logs, min(_FRAMES, logs.shape[-1])))
        return torch.cat(parts)

    def sounding(self, heard: Tensor) -> Tensor:
        """The share of the time that is within 40 dB of the loudest moment, ``[N]``; 0 for silence."""
        level = heard.amax(1)
        return ((level > level.amax(1, keepdim=True) - 0.5) & (level > -1)).double().mean(1)

    def centroid(self, heard: Tensor) -> Tensor:
        """The mean frequency in Hz, weighted by magnitude, ``[N]``; NaN for silence."""
        magnitude = (_FLOOR ** -heard.double() - _FLOOR).clamp_min(0).sum(2)
        weighed: Tensor = magnitude @ self._centres.double()
        return weighed / magnitude.sum(1)


class Classifier(nn.Module):
    """Four convolutions with batch normalisation on pooled log-mel spectrograms, one linear layer.

    Args:
        classes: their number.
        width: of the first layer; the features are four times as many.
    """

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int) -> nn.Sequential:
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

        self.body = nn.Sequential(
            layer(4, width),
            nn.MaxPool2d(2, ceil_mode=True),
            layer(width, 2 * width),
            layer(2 * width, 2 * width),
            nn.MaxPool2d(2, ceil_mode=True),
            layer(2 * width, 4 * width),
        )
        self.head = nn.Linear(4 * width, classes)

    def features(self, heard: Tensor) -> Tensor:
        """Log-mel spectrograms ``[B, bands, frames]`` to the input of the last layer, ``[B, 4 width]``."""
        x = 2 * heard.unsqueeze(1) + 1
        x = nn.functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate")
        x = self.body(nn.functional.pixel_unshuffle(x, 2))
        # Each feature where it is strongest in frequency, on average over time and at its peak.
        strongest: Tensor = x.amax(2)
        return strongest.mean(2) + strongest.amax(2)

    def forward(self, heard: Tensor) -> Tensor:
        """``[B, bands, frames]`` to logits ``[B, classes]``."""
        return self.head(self.features(heard))  # type: ignore[no-any-return]


class Classified(NamedTuple):
    """What a classifier says of some sounds: its features ``[N, F]`` in float64 and the classes ``[N]``."""

    features: NDArray[np.float64]
    predicted: NDArray[np.int64]


def train_classifier(
    heard: Tensor, labels: Tensor, classes: int, *, epochs: int, max_clips: int, seed: int
) -> Classifier:
    """A classifier of sounds, the same for the same arguments (up to rounding, which varies with the machine).

    As they are drawn, sounds are moved in time, made louder or softer, and lose a band of frequencies and a stretch of
    time: changes that leave the class of a sound alone.

    Args:
        heard: log-mel spectrograms ``[N, bands, frames]``.
        labels: ``[N]``, each from 0 to ``classes - 1``.
        classes: their number.
        epochs: passes over the sounds; more where they are few.
        max_clips: training ends after this many sounds at the latest.
        seed: of the weights, the order and the changes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Classifier(classes)
    model.to(memory_format=torch.channels_last)
    draw = torch.Generator().manual_seed(seed)
    # The last batch of a pass may be a single sound, of which batch normalisation can learn nothing.
    batch = min(_BATCH, len(heard))
    steps = max(1, min(max(epochs * len(heard), _LEAST), max_clips) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=steps + 1, pct_start=0.2)
    order = torch.empty(0, dtype=torch.long)
    model.train()
    for _ in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(heard), generator=draw)
        rows, order = order[:batch], order[batch:]
        logits = model(_vary(heard[rows], draw))
        loss = nn.functional.cross_entropy(logits, labels[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return model.eval()


def classify(model: Classifier, heard: Tensor) -> Classified:
    """Features and classes of log-mel spectrograms ``[N, bands, frames]``."""
    features, predicted = [], []
    with torch.inference_mode():
        for part in torch.split(heard, 512):
            seen = model.features(part)
            features.append(seen.double())
            predicted.append(model.head(seen).argmax(1))
    return Classified(torch.cat(features).numpy(), torch.cat(predicted).numpy())


def _vary(heard: Tensor, draw: torch.Generator) -> Tensor:
    """Each sound moved by up to a tenth of its length, by up to 6 dB, and with a band and a stretch left out."""
    count, bands, frames = heard.shape
    far = max(1, frames // 10)
    moved = torch.randint(-far, far + 1, (count, 1), generator=draw)
    places = torch.arange(frames) - moved
    inside = (places >= 0) & (places < frames)
    heard = heard.gather(2, places.clamp(0, frames - 1)[:, None].expand(-1, bands, -1))
    heard = heard.masked_fill(~inside[:, None], -1.0)
    decibels = 12 * torch.rand((count, 1, 1), generator=draw) - 6
    # What is silent stays silent.
    heard = torch.where(heard > -1, heard + decibels / 80, heard).clamp(-1, 0.2)
    for axis, size in ((1, bands), (2, frames)):
        width = torch.randint(0, size // 5 + 1, (count, 1), generator=draw)
        start = (torch.rand((count, 1), generator=draw) * (size - width)).long()
        place = torch.arange(size)
        gone = (place >= start) & (place < start + width)
        heard = heard.masked_fill(gone[:, :, None] if axis == 1 else gone[:, None, :], -1.0)
    return heard
