"""Real spoken digits: the Free Spoken Digit Dataset, 3,000 recordings of six speakers at 8 kHz, conditional on the
digit, trained for about 10 minutes on two cores. Held out are the official test recordings, the first five of each
speaker and digit. A classifier that learned from the training recordings, and a recogniser that never heard one of
them, say which digit a sample is; the same figures of the held-out recordings stand beside. Means over seeds."""

from __future__ import annotations

import dataclasses

from benchmarks.experiment import Experiment, conduct, core_minutes, fraction, least, most
from benchmarks.harness import Findings, Options

__all__ = ["OVERRIDES", "PATTERN", "RECORDINGS", "measure"]

RECORDINGS = "fsdd/fsdd_recordings.zip"
PATTERN = r"(?P<label>\d)_(?P<speaker>\w+)_(?P<take>\d+)"
OVERRIDES = [
    "modality=audio",
    "data=folder",
    f"data.path=$SUFFUSE_DATA/{RECORDINGS}",
    f"data.pattern={PATTERN}",
    "data.classes=[label]",
    "data.heldout_where={take: 0..4}",
    "data.ending=silence",
    "decoder.window=128",
    "decoder.hop=64",
    "metric.words=[zero,one,two,three,four,five,six,seven,eight,nine]",
    "trainer.steps=6500",
    "trainer.ema=0.999",
]


def measure(options: Options) -> Findings:
    """Scores and wall time of three seeds."""
    outcomes, findings = conduct(Experiment(name="fsdd", overrides=OVERRIDES, seeds=(0, 1, 2), draws=2000), options)
    bars = [
        least(outcomes, "conditional accuracy", 0.9),
        fraction(outcomes, "recognised", 0.75),
        most(outcomes, "kernel distance / noise", 0.05),
        core_minutes(outcomes, ("train",), 20),
    ]
    return dataclasses.replace(findings, bars=bars)
