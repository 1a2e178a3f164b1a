"""Small molecules of the National Cancer Institute's collection, as they come with RDKit: the embedded default of the
molecule plugin, from start to report. Every draw is counted; valid means that RDKit takes the graph as it was drawn, in
one piece and without repair."""

from __future__ import annotations

import dataclasses

from benchmarks.experiment import Experiment, conduct, core_minutes, least
from benchmarks.harness import Findings, Options

__all__ = ["measure"]


def measure(options: Options) -> Findings:
    """Scores and time of three runs."""
    experiment = Experiment(
        name="nci", overrides=["modality=molecule"], seeds=(0, 1, 2), draws=2000, quick=("metric.fcd=never",)
    )
    outcomes, findings = conduct(experiment, options)
    bars = [
        least(outcomes, "valid and connected", 0.75),
        least(outcomes, "unique", 0.97),
        core_minutes(outcomes, ("train",), 10),
    ]
    return dataclasses.replace(findings, bars=bars)
