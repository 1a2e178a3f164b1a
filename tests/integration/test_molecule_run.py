"""A run of molecules from the embedded data: trained, read back from its checkpoint, sampled, scored and reported."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

pytest.importorskip("rdkit")

from rdkit import Chem

import suffuse
from suffuse.commands.report import report
from suffuse.commands.sample import sample
from suffuse_molecule.files import read_record
from suffuse_molecule.molecule import Molecule


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("molecules")
    words = [
        "modality=molecule", "backbone=graph_transformer_tiny", "data.max_atoms=8", "data.descriptors=[logp]",
        "data.processes=0", "metric.processes=0", "metric.fcd=never", "trainer.steps=3",
        f"data.cache_dir={folder / 'cache'}",
        "trainer.batch_size=16", "sampler.steps=4", "callbacks=none",
    ]  # fmt: skip
    suffuse.train(suffuse.compose(*words), folder / "run")
    return folder / "run"


@pytest.mark.slow
def test_a_model_from_a_checkpoint_knows_its_atoms(run: Path) -> None:
    model = suffuse.load(run)
    assert "logp" in model.conditions
    values = model.sample(5, {"logp": 1.0})
    assert all(isinstance(value, Molecule) for value in values)
    assert max(len(value.atoms) for value in values) <= 8
    again = model.sample(5, {"logp": 1.0})
    assert [value.bonds.tolist() for value in again] == [value.bonds.tolist() for value in values]


@pytest.mark.slow
def test_samples_are_files_with_their_record(run: Path, tmp_path: Path) -> None:
    folder = sample(suffuse.compose(f"run={run}", "n=4", f"out={tmp_path / 'out'}", command="sample"))
    files = sorted(folder.glob("*.sdf"))
    assert len(files) == 4
    assert [read_record(file)["sample"] for file in files] == [0, 1, 2, 3]
    assert (folder / "sheet.png").stat().st_size > 1000
    mols = [mol for file in files for mol in Chem.SDMolSupplier(str(file), sanitize=False)]
    assert len(mols) == 4


@pytest.mark.slow
def test_a_screen_around_a_scaffold_with_guidance(run: Path, tmp_path: Path) -> None:
    """As it is typed: a range, a scaffold, filters, and a predictor that is taught once and kept."""
    words = [
        f"run={run}", "n=6", "condition.logp=0..2", "scaffold=C1CC(*)C1", "size=6..8", "filters=[pains,brenk]",
        "guidance=learned", "guidance.predictor.steps=4", "guidance.classifier_free=1.5", "processes=0",
    ]  # fmt: skip
    folder = sample(suffuse.compose(*words, f"out={tmp_path / 'one'}", command="sample"))
    with (folder / "molecules.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sample"] for row in rows] == list("012345")
    assert all(0 <= float(row["asked_logp"]) <= 2 for row in rows)
    assert not list(folder.glob("*.part")) + list(folder.glob(".*"))
    (taught,) = (run / "predictors").iterdir()
    before = taught.stat().st_mtime_ns
    again = sample(suffuse.compose(*words, f"out={tmp_path / 'two'}", command="sample"))
    assert (again / "molecules.csv").read_text() == (folder / "molecules.csv").read_text()
    assert taught.stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_run_is_scored_and_reported(run: Path) -> None:
    scores = suffuse.evaluate(suffuse.compose(f"run={run}", "n=8", command="evaluate"))
    assert "valid and connected" in [score.name for score in scores]
    assert json.loads((run / "evaluation.json").read_text())["details"]["reasons"]
    report(suffuse.compose(f"run={run}", command="report"))
    assert "<svg" in (run / "report.html").read_text()
