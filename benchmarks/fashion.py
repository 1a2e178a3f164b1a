"""Fashion-MNIST at 28x28 pixels, conditional on its ten classes, trained on 40,000 images for about 15 minutes on two
cores. The classifier that judges the samples learns from the same training images; its accuracy on the official test
images stands beside."""

from __future__ import annotations

import dataclasses

from benchmarks.experiment import Experiment, conduct, least, minutes
from benchmarks.harness import Findings, Options

__all__ = ["measure"]

OVERRIDES = [
    "modality=image",
    "data=idx",
    "data.path=$SUFFUSE_DATA/fashion-mnist",
    "data.names=[T-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,boot]",
    "backbone=unet_small",
    "trainer.steps=8000",
    "trainer.batch_size=64",
    "trainer.ema=0.999",
    "process.clock.mean=-0.8",
]


def measure(options: Options) -> Findings:
    """Scores and wall time of one run."""
    outcomes, findings = conduct(Experiment(name="fashion", overrides=OVERRIDES, seeds=(0,), draws=2000), options)
    bars = [least(outcomes, "conditional accuracy", 0.85), minutes(outcomes, ("train",), 15)]
    return dataclasses.replace(findings, bars=bars)
