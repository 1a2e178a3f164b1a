"""QM9, the 134,000 molecules of up to nine heavy atoms C, N, O and F: five minutes of training on two cores, from start
to report. Every draw is counted; valid means that RDKit takes the graph as it was drawn, in one piece and without
repair. High novelty is no virtue here: the set holds nearly all such molecules that its rules allow."""

from __future__ import annotations

import dataclasses

from benchmarks.experiment import DATA, Experiment, conduct, least, trained
from benchmarks.harness import Findings, Options

__all__ = ["OVERRIDES", "measure", "run"]

OVERRIDES = [
    "modality=molecule",
    "data=smiles",
    f"data.path={DATA}/qm9/qm9_smiles.csv",
    "data.max_atoms=9",
    "process.fields.bonds.weight=1",
    "trainer.preview_every=0",
]
"""Settings that runs of any length share."""


def measure(options: Options) -> Findings:
    """Scores and wall time of three runs of five minutes on two cores."""
    return run("qm9", ["trainer.steps=2600"], (0, 1, 2), 10, options)


def run(name: str, more: list[str], seeds: tuple[int, ...], limit: float, options: Options) -> Findings:
    """One experiment with the promises of QM9 and its own limit of core minutes."""
    experiment = Experiment(
        name=name, overrides=[*OVERRIDES, *more], seeds=seeds, draws=2000, quick=("metric.fcd=never",)
    )
    outcomes, findings = conduct(experiment, options)
    bars = [
        least(outcomes, "valid and connected", 0.94),
        least(outcomes, "unique", 0.99),
        trained(outcomes, limit),
    ]
    return dataclasses.replace(findings, bars=bars)
