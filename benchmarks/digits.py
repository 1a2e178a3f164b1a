"""The embedded default, as `make demo` runs it: scikit-learn's 1,797 real digits of 8x8 pixels, trained, sampled,
evaluated and reported through the command line. Every score stands beside that of held-out real images, and is a mean
over seeds; sampling is not guided."""

from __future__ import annotations

import dataclasses

from benchmarks.experiment import STAGES, Experiment, conduct, least, margin, minutes
from benchmarks.harness import Findings, Options

__all__ = ["measure"]

OVERRIDES = ["modality=image"]


def measure(options: Options) -> Findings:
    """Scores and wall time of three seeds."""
    outcomes, findings = conduct(Experiment(name="digits", overrides=OVERRIDES, seeds=(0, 1, 2), draws=2000), options)
    bars = [
        least(outcomes, "conditional accuracy", 0.97),
        least(outcomes, "coverage", 0.85),
        margin(outcomes, "memorised share", 0.03),
        minutes(outcomes, STAGES, 4),
    ]
    return dataclasses.replace(findings, bars=bars)
