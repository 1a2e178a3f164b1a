"""``suffuse verify``: the record is found whatever the format, and what was changed afterwards is noticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rdkit import Chem

from suffuse.cli import main
from suffuse.commands.verify import Finding, find_record, verify
from suffuse.disk import facts
from suffuse.errors import DataError, RunError
from suffuse.runs import Run
from suffuse.samples import write_sample
from suffuse.training import Checkpoint, Checkpoints
from suffuse_audio.wav import write_wav
from suffuse_image.png import write_png
from suffuse_image.sheet import to_image
from suffuse_molecule.files import write_smiles
from suffuse_molecule.graphs import graph_of
from suffuse_molecule.molecule import Molecule

PIXELS = np.zeros((1, 4, 4), np.uint8)


def written(folder: Path, record: dict[str, Any], name: str = "sample-000000.png") -> Path:
    """A picture with a record, and the list of what was made beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    write_png(to_image(PIXELS), file, record)
    (folder / "samples.json").write_text(json.dumps({"files": {name: facts(file)}}))
    return file


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path / "run")
    made.begin({"modality": {"name": "image"}})
    Checkpoints(made.directory / "checkpoints").save(Checkpoint(step=5, tensors={"m": {"w": torch.ones(1)}}, state={}))
    return made


def held(findings: list[Finding]) -> list[bool | None]:
    return [finding.holds for finding in findings]


def test_records_of_every_modality_are_found(tmp_path: Path) -> None:
    record = {"sample": 3, "modality": "x"}
    write_png(to_image(PIXELS), tmp_path / "a.png", record)
    write_wav(np.zeros((1, 80), np.float32), 8000, tmp_path / "a.wav", record=record)
    write_smiles(Molecule(*graph_of(Chem.MolFromSmiles("CCO"))), tmp_path / "a.smi", record)
    for name in ("a.png", "a.wav", "a.smi"):
        assert find_record(tmp_path / name)["sample"] == 3


def test_all_checks_hold_inside_the_run(run: Run) -> None:
    record = {"step": 5, "checkpoint": run.checkpoint(5).digest}
    found, findings = verify(written(run.samples / "first", record))
    assert found == record
    assert held(findings) == [True, True]


def test_outside_a_run_nothing_is_claimed(run: Run, tmp_path: Path) -> None:
    file = written(tmp_path / "elsewhere", {"step": 5, "checkpoint": run.checkpoint(5).digest})
    assert held(verify(file)[1]) == [True, None]
    assert held(verify(file, run.directory)[1]) == [True, True]
    (file.parent / "samples.json").unlink()
    assert held(verify(file)[1]) == [None, None]
    with pytest.raises(RunError, match="not a run"):
        verify(file, tmp_path)


def test_what_was_changed_is_noticed(run: Run) -> None:
    """Other pixels under the same record, a file that was never listed, a record of another checkpoint."""
    record = {"step": 5, "checkpoint": run.checkpoint(5).digest}
    file = written(run.samples / "a", record)
    write_png(to_image(PIXELS + 9), file, record)
    assert held(verify(file)[1]) == [False, True]
    write_png(to_image(PIXELS), file.with_name("b.png"), record)
    assert held(verify(file.with_name("b.png"))[1]) == [False, True]
    assert held(verify(written(run.samples / "c", {**record, "checkpoint": "0" * 64}))[1]) == [True, False]
    assert held(verify(written(run.samples / "d", {**record, "step": 6}))[1]) == [True, None]
    (file.parent / "samples.json").write_text("{")
    assert held(verify(file)[1]) == [False, True]


def test_the_command(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(run.samples / "a", {"step": 5, "checkpoint": run.checkpoint(5).digest, "asked": ""})
    assert main(["verify", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "yes the run has the checkpoint" in shown
    assert "stripped or forged" in shown
    write_png(to_image(PIXELS + 9), file, {"step": 5})
    assert main(["verify", str(file), f"run={run.directory}"]) == 2
    assert "not so: the file is as samples.json" in capsys.readouterr().err
    for words in ([], ["a", "b"], ["a", "--deep"], ["a", "run=x", "run=y"]):
        assert main(["verify", *words]) == 2
        assert "verify takes one file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.png", b"\x89PNG", "PNG"),
        ("a.wav", b"RIFF", "WAV"),
        ("a.sdf", b">  <suffuse>\n{", "record is damaged"),
        ("a.smi", b"CCO\t{", "record is damaged"),
    ],
)
def test_a_damaged_file_is_judged_by_who_wrote_it(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}'?:? .*{reason}"):
        find_record(tmp_path / name)


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "3", '"text"'])
@pytest.mark.parametrize("name", ["a.sdf", "a.smi"])
def test_records_that_are_none_are_refused(tmp_path: Path, name: str, text: str) -> None:
    before = "CCO\t" if name.endswith("smi") else ">  <suffuse>\n"
    (tmp_path / name).write_text(f"{before}{text}\n")
    with pytest.raises(DataError, match=rf"{name}: its provenance record is damaged"):
        find_record(tmp_path / name)


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]"])
def test_records_of_pictures_and_sounds_that_are_none_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(json, "dumps", lambda *given, **more: text)
    write_png(to_image(PIXELS), tmp_path / "a.png", {})
    write_wav(np.zeros((1, 80), np.float32), 8000, tmp_path / "a.wav", record={})
    monkeypatch.undo()
    for name in ("a.png", "a.wav"):
        with pytest.raises(DataError, match=rf"{name}.*record is damaged"):
            find_record(tmp_path / name)


def test_files_without_a_record(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.png: there is no such file"):
        find_record(tmp_path / "none.png")
    write_png(to_image(PIXELS), tmp_path / "bare.png")
    with pytest.raises(DataError, match=r"bare\.png: no provenance record"):
        find_record(tmp_path / "bare.png")
    (tmp_path / "x.bin").write_bytes(b"\x00\xff")
    with pytest.raises(DataError, match=r"x\.bin"):
        find_record(tmp_path / "x.bin")
    write_sample("text", tmp_path / "a.txt", {"sample": 1})
