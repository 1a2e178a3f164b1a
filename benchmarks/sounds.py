"""Short sounds of the audio plugin's own synthesiser: its embedded default, trained, sampled, evaluated and reported
through the command line. What was asked for is known exactly, and pitch and decay are measured back from the samples.
Every score stands beside that of held-out sounds, and is a mean over seeds."""

from __future__ import annotations

import dataclasses

from benchmarks.experiment import Experiment, conduct, core_minutes, least, margin
from benchmarks.harness import Findings, Options

__all__ = ["measure"]

OVERRIDES = ["modality=audio"]


def measure(options: Options) -> Findings:
    """Scores and wall time of three seeds."""
    outcomes, findings = conduct(Experiment(name="sounds", overrides=OVERRIDES, seeds=(0, 1, 2), draws=2000), options)
    bars = [
        least(outcomes, "conditional accuracy", 0.95),
        least(outcomes, "pitch as asked", 0.8),
        margin(outcomes, "clipped share", 0.05),
        core_minutes(outcomes, ("train",), 8),
    ]
    return dataclasses.replace(findings, bars=bars)
