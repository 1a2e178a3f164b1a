"""Perovskites of Perov-5 (Castelli et al. 2012, as CDVAE publishes it): trained on its validation file of 3,787
crystals, compared with its test file, which training never sees. First crystals are made from nothing; then a second
model is told the elements of held-out crystals and predicts each structure once. The embedded default, AFLOW's
prototypes, is scored in the same way. Every draw counts, and nothing is relaxed."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec

from benchmarks.experiment import DATA, Experiment, conduct, least, minutes
from benchmarks.harness import Findings, Options, Skipped

__all__ = ["measure"]

SEEDS = (0, 1, 2)
FILES = f"{DATA}/crystals-cdvae"
OVERRIDES = [
    "modality=crystal",
    "data=table",
    f"data.path={FILES}/perov_5_val.csv",
    f"data.heldout_path={FILES}/perov_5_test.csv",
    "data.split=given",
    "trainer.batch_size=128",
    "trainer.steps=3000",
]
EXPERIMENTS = {
    "made from nothing": Experiment(name="perov", overrides=OVERRIDES, seeds=SEEDS, draws=1000, quick=()),
    "predicted": Experiment(
        name="perov-predicted", overrides=[*OVERRIDES, "decoder.given=atoms"], seeds=SEEDS, draws=1000, quick=()
    ),
    "embedded default": Experiment(name="aflow", overrides=["modality=crystal"], seeds=SEEDS[:1], draws=1000, quick=()),
}


def measure(options: Options) -> Findings:
    """Scores and wall time of three seeds each.

    Raises:
        Skipped: the plugin, or what judges compositions, is not installed.
    """
    for package, line in (("suffuse_crystal", "plugins/crystal"), ("smact", "plugins/crystal[smact]")):
        if find_spec(package) is None:
            raise Skipped(f'{package} is not installed: pip install "{line}"')
    # A sheet of what is predicted when no elements are told would show nothing.
    found = {
        title: conduct(each, dataclasses.replace(options, results=None) if title == "predicted" else options)
        for title, each in EXPERIMENTS.items()
    }
    (made, _), (predicted, _), _ = found.values()
    bars = [
        least(made, "structurally valid", 0.90),
        least(made, "compositionally valid", 0.80),
        minutes([*made, *predicted], ("train",), 10),
    ]
    return Findings(
        bars=bars,
        tables=[
            dataclasses.replace(table, title=f"{table.title}: {title}")
            for title, (_, part) in found.items()
            for table in part.tables
        ],
        settings={
            f"{title}: {key}": value for title, (_, part) in found.items() for key, value in part.settings.items()
        },
        pictures=[name for _, part in found.values() for name in part.pictures],
    )
