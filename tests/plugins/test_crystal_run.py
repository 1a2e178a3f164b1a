"""A run of crystals from the embedded data: trained, read back from its checkpoint, sampled, scored and reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pymatgen")

from crystal_files import written
from pymatgen.core import Structure

import suffuse
from suffuse.commands.report import report
from suffuse.commands.sample import sample
from suffuse_crystal.files import read_record

TINY = [
    "modality=crystal", "backbone=periodic_tiny", "metric.smact=never", "trainer.steps=3", "trainer.batch_size=8",
    "sampler.steps=4", "callbacks=none",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crystals")
    words = [*TINY, "data.max_sites=8", "data.descriptors=[density]", f"data.cache_dir={folder / 'cache'}"]
    suffuse.train(suffuse.compose(*words), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is told the elements."""
    folder = tmp_path_factory.mktemp("told")
    data = ["data=folder", f"data.path={written(folder / 'data')}", "data.processes=0", "data.heldout=0.6"]
    words = [*TINY, *data, f"data.cache_dir={folder / 'cache'}", "decoder.given=atoms", "decoder.file=extxyz"]
    suffuse.train(suffuse.compose(*words), folder / "run")
    return folder / "run"


@pytest.mark.slow
def test_a_model_from_a_checkpoint_makes_structures(run: Path) -> None:
    model = suffuse.load(run)
    assert set(model.conditions) == {"density"}
    values = model.sample(5, {"density": 5.0})
    assert all(isinstance(value, Structure) for value in values)
    assert 1 <= min(map(len, values)) <= max(map(len, values)) <= 8
    assert model.sample(5, {"density": 5.0}) == values


@pytest.mark.slow
def test_samples_are_files_with_their_record(run: Path, tmp_path: Path) -> None:
    folder = sample(suffuse.compose(f"run={run}", "n=4", f"out={tmp_path / 'out'}", command="sample"))
    files = sorted(folder.glob("*.cif"))
    assert [read_record(file)["sample"] for file in files] == [0, 1, 2, 3]
    assert all(len(Structure.from_file(file)) for file in files)
    assert (folder / "sheet.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_part_of_a_crystal_is_made_anew(run: Path, tmp_path: Path) -> None:
    cif = written(tmp_path / "in") / "salt.cif"
    (tmp_path / "mask.txt").write_text("1")
    words = [f"run={run}", "task=inpaint", f"input={cif}", f"mask={tmp_path / 'mask.txt'}", "n=2"]
    folder = sample(suffuse.compose(*words, f"out={tmp_path / 'out'}", command="sample"))
    for file in folder.glob("*.cif"):
        made = Structure.from_file(file)
        assert len(made) == 8
        assert made.volume == pytest.approx(Structure.from_file(cif).volume, rel=1e-4)


@pytest.mark.slow
def test_a_run_is_scored_and_reported(run: Path) -> None:
    scores = suffuse.evaluate(suffuse.compose(f"run={run}", "n=8", command="evaluate"))
    assert {"structurally valid", "unique"} <= {score.name for score in scores}
    assert json.loads((run / "evaluation.json").read_text())["details"]["crystals"]["drawn"] == 8
    report(suffuse.compose(f"run={run}", command="report"))
    assert "<svg" in (run / "report.html").read_text()


@pytest.mark.slow
def test_the_structure_of_a_formula_is_predicted(told: Path, tmp_path: Path) -> None:
    (tmp_path / "formula.txt").write_text("SrTiO3")
    words = [f"run={told}", "task=predict", f"input={tmp_path / 'formula.txt'}", "n=3"]
    folder = sample(suffuse.compose(*words, f"out={tmp_path / 'out'}", command="sample"))
    files = sorted(folder.glob("*.extxyz"))
    assert len(files) == 3
    assert all(file.read_text().splitlines()[0].strip() == "5" for file in files)


@pytest.mark.slow
def test_predictions_are_scored_against_the_crystals_that_they_are_of(told: Path) -> None:
    """What a run is told in an evaluation is what held-out crystals are made of, in turn."""
    scores = {s.name: s for s in suffuse.evaluate(suffuse.compose(f"run={told}", "n=4", command="evaluate"))}
    assert 0 <= scores["match rate"].value <= 1
    report(suffuse.compose(f"run={told}", command="report"))


@pytest.mark.slow
def test_a_run_that_makes_elements_does_not_predict(run: Path, tmp_path: Path) -> None:
    (tmp_path / "formula.txt").write_text("NaCl")
    words = [f"run={run}", "task=predict", f"input={tmp_path / 'formula.txt'}"]
    with pytest.raises(suffuse.ConfigError, match=r"decoder\.given=atoms"):
        sample(suffuse.compose(*words, command="sample"))
