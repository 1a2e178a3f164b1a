"""In colour: 3,786 emoji of Google's Noto font at 32x32 pixels, conditional on their category, trained for about 20
minutes on two cores. Variants of one emoji (skin tones) are never parted between training and held-out images."""

from __future__ import annotations

import dataclasses

from benchmarks.experiment import Experiment, conduct, minutes
from benchmarks.harness import Findings, Options

__all__ = ["measure"]

OVERRIDES = [
    "modality=image",
    "data=folder",
    "data.path=$SUFFUSE_DATA/emoji-google/png64.zip",
    "data.labels=$SUFFUSE_DATA/emoji-google/index.csv",
    "data.classes=[category]",
    "data.group=name",
    "data.size=32",
    "metric.label=category",
    "backbone=unet_small",
    "trainer.steps=4000",
    "trainer.batch_size=64",
    "trainer.ema=0.999",
]


def measure(options: Options) -> Findings:
    """Scores and wall time of one run."""
    outcomes, findings = conduct(Experiment(name="emoji", overrides=OVERRIDES, seeds=(0,), draws=2000), options)
    return dataclasses.replace(findings, bars=[minutes(outcomes, ("train",), 20)])
