"""A run of molecules from the embedded data: trained, read back from its checkpoint, sampled, scored and reported;
killed on the way, and the same."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rdkit")

import pyarrow.parquet
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
def test_what_is_repaired_is_chosen_when_sampling(run: Path, tmp_path: Path) -> None:
    common = [f"run={run}", "n=12", "table=true", "nearest=false"]
    folders = [
        sample(suffuse.compose(*common, f"decoder.repair={repair}", f"out={tmp_path / repair}", command="sample"))
        for repair in ("none", "fragment")
    ]
    plain, mended = (pyarrow.parquet.read_table(folder / "molecules.parquet").to_pylist() for folder in folders)
    assert [row["smiles"] for row in plain] == [row["smiles"] for row in mended]
    assert not any(row["repaired"] for row in plain)
    assert not any(row["repaired"] for row in mended if row["valid"])


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


def killed(words: Sequence[str], out: Path, least: int) -> None:
    """A command that dies by SIGKILL when so many shards are there and another is half made."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "suffuse", "sample", *words], env=environment)
    try:
        while len(list(out.glob("shard-*/samples.json"))) < least or not list(out.glob(".unfinished/draft-*")):
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    assert not (out / "samples.json").exists()


def contents(out: Path) -> dict[str, Any]:
    """All that a request has made, without the time of it, which is in the records."""
    return {
        "files": sorted(str(path.relative_to(out)) for path in out.rglob("*")),
        "content": json.loads((out / "samples.json").read_text())["content"],
        "parquet": pyarrow.parquet.read_table(out / "molecules.parquet").to_pylist(),
        **{name: (out / name).read_bytes() for name in ("molecules.csv", "molecules.html", "summary.json")},
    }


@pytest.mark.slow
def test_killed_twice_and_repeated_the_tables_are_the_same(run: Path, tmp_path: Path) -> None:
    """On the real command line, at moments when some shards are there and one is half made."""
    more = ["n=48", "shard=8", "condition.logp=0..2", "filters=[brenk]", "stereoisomers=2", "processes=0"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    sample(suffuse.compose(f"run={run}", *more, f"out={whole}", command="sample"))
    for least in (2, 4):
        killed([f"run={run}", *more, f"out={out}"], out, least)
    sample(suffuse.compose(f"run={run}", *more, f"out={out}", command="sample"))
    found = contents(out)
    assert found == contents(whole)
    assert [row["sample"] for row in found["parquet"]] == list(range(48))
    assert len({json.dumps({**row, "sample": 0}) for row in found["parquet"]}) > 24
    listed = json.loads((out / "samples.json").read_text())["files"]
    assert {"molecules.csv", "molecules.parquet", "molecules.sdf", "molecules.html"} <= listed.keys()


@pytest.mark.slow
def test_a_run_is_scored_and_reported(run: Path) -> None:
    scores = suffuse.evaluate(suffuse.compose(f"run={run}", "n=8", command="evaluate"))
    assert "valid and connected" in [score.name for score in scores]
    assert json.loads((run / "evaluation.json").read_text())["details"]["reasons"]
    assert "metric" not in json.loads((run / "evaluation.json").read_text())
    suffuse.evaluate(suffuse.compose(f"run={run}", "n=8", "metric.seconds=7", command="evaluate"))
    assert json.loads((run / "evaluation.json").read_text())["metric"] == {"seconds": 7}
    report(suffuse.compose(f"run={run}", command="report"))
    assert "<svg" in (run / "report.html").read_text()
