"""The run directory: found from anywhere in it, never begun twice, and readable after a crash."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from suffuse.errors import RunError
from suffuse.runs import Run, write_json, write_text
from suffuse.training import Checkpoint, Checkpoints

CONFIG = {"modality": {"name": "image"}, "seed": 3, "name": "Übung"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with checkpoints of steps 10 and 20."""
    run = Run(tmp_path / "runs" / "a")
    run.begin(CONFIG)
    for step in (10, 20):
        tensors = {"model": {"w": torch.full((2,), float(step))}}
        Checkpoints(run.directory / "checkpoints").save(Checkpoint(step=step, tensors=tensors, state={}))
    return run


@pytest.mark.parametrize(
    ("inside", "step"),
    [
        ("", None),
        ("config.yaml", None),
        ("checkpoints", None),
        ("checkpoints/step-000000010", 10),
        ("checkpoints/step-000000020/model.safetensors", 20),
        ("checkpoints/step-000000010.copy", None),
        ("samples/first", None),
    ],
)
def test_found_from_inside(run: Run, inside: str, step: int | None) -> None:
    for folder in ("samples/first", "checkpoints/step-000000010.copy"):
        (run.directory / folder).mkdir(parents=True)
    found, at = Run.find(str(run.directory / inside))
    assert (found.directory, at) == (run.directory, step)


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere: there is no such folder"):
        Run.find(tmp_path / "nowhere")
    with pytest.raises(RunError, match="not a run"):
        Run.find(tmp_path)


def test_configuration_round_trip(run: Run) -> None:
    assert run.config == CONFIG


@pytest.mark.parametrize("text", ["", "a: [", "just words", "- 1", "seed: 3", "\x00"])
def test_a_damaged_configuration_is_named(run: Run, text: str) -> None:
    (run.directory / "config.yaml").write_text(text)
    with pytest.raises(RunError, match=r"config\.yaml") as caught:
        _ = run.config
    assert "\n" not in str(caught.value)


def test_a_run_is_not_begun_twice(run: Run, tmp_path: Path) -> None:
    before = (run.directory / "config.yaml").read_text()
    with pytest.raises(RunError, match=r"holds a run already.*resume="):
        run.begin({**CONFIG, "seed": 4})
    assert (run.directory / "config.yaml").read_text() == before
    logged = Run(tmp_path / "logged")
    logged.begin(CONFIG)
    logged.log(1, {"loss": 1.0})
    with pytest.raises(RunError, match="holds a run already"):
        logged.begin(CONFIG)


def test_a_run_that_made_nothing_may_be_begun_again(tmp_path: Path) -> None:
    for seed in (1, 2):
        Run(tmp_path).begin({**CONFIG, "seed": seed})
    assert Run(tmp_path).config["seed"] == 2


def test_facts_add_up(run: Run) -> None:
    run.record(seed=3, device="cpu")
    run.record(device="cuda", parts=["a"])
    assert run.facts == {"seed": 3, "device": "cuda", "parts": ["a"]}
    (run.directory / "run.json").write_text('{"seed": 3')
    with pytest.raises(RunError, match=r"run\.json: not readable"):
        _ = run.facts


def test_metrics_after_a_kill_in_the_middle_of_a_line(run: Run) -> None:
    for step in (1, 2, 3):
        run.log(step, {"loss": 1 / step})
    whole = run.metrics_file.read_bytes()
    for cut in range(1, len(whole.splitlines()[-1]) + 1):
        run.metrics_file.write_bytes(whole[:-cut] if cut > 1 else whole)
        kept = run.metrics()
        assert [line["step"] for line in kept[:2]] == [1, 2]
        assert len(kept) in (2, 3)
        run.rewind(2)
        run.log(3, {"loss": 0.5})
        assert [line["step"] for line in run.metrics()] == [1, 2, 3]
        assert run.metrics()[-1]["loss"] == 0.5


def test_lines_that_are_none_are_passed_over(run: Run) -> None:
    run.log(1, {"loss": 1.0})
    with run.metrics_file.open("a") as file:
        file.write("[" * 100_000 + "\nnothing\n")
    run.log(2, {"loss": 1.0})
    assert [line["step"] for line in run.metrics()] == [1, 2]


def test_rewinding_drops_what_is_logged_again(run: Run) -> None:
    assert run.metrics() == []
    run.rewind(5)
    assert not run.metrics_file.exists()
    for step in (5, 10, 15):
        run.log(step, {"loss": 1.0})
    run.rewind(10)
    assert [line["step"] for line in run.metrics()] == [5, 10]


def test_drafts_of_a_killed_process_are_swept(run: Run) -> None:
    for name in (".run.json.4321", ".metrics.jsonl.7"):
        (run.directory / name).write_text("{")
    (run.directory / ".hydra").mkdir()
    (run.directory / ".mine.txt").write_text("keep")
    run.sweep()
    hidden = sorted(path.name for path in run.directory.iterdir() if path.name.startswith("."))
    assert hidden == [".hydra", ".mine.txt"]


def test_numbers_that_are_none_survive(run: Run) -> None:
    run.log(1, {"loss": float("nan")})
    assert run.metrics()[0]["loss"] != run.metrics()[0]["loss"]


def test_evaluation_is_there_once_written(run: Run) -> None:
    assert run.evaluation is None
    write_json(run.directory / "evaluation.json", {"scores": []})
    assert run.evaluation == {"scores": []}


def test_checkpoints_by_step(run: Run) -> None:
    assert run.checkpoint().step == 20
    assert run.checkpoint(10).tensors["model"]["w"].tolist() == [10, 10]
    with pytest.raises(RunError, match="no checkpoint of step 15"):
        run.checkpoint(15)


def test_folders_of_samples_do_not_mix(run: Run) -> None:
    made = [run.new_folder("threes") for _ in range(3)]
    assert [folder.name for folder in made] == ["threes", "threes-2", "threes-3"]
    assert all(folder.parent == run.samples and folder.is_dir() for folder in made)
    assert run.new_folder() != run.new_folder()


@pytest.mark.parametrize("failing", ["write_text", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    place = tmp_path / "a.json"
    write_json(place, {"old": "ü"})
    original = Path.write_text

    def full(path: Path, *rest: Any, **named: Any) -> None:
        if failing == "write_text":
            original(path, "half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, failing, full)
    with pytest.raises(RunError, match=r"a\.json: cannot be written \(No space left on device\)"):
        write_json(place, {"new": 1})
    assert json.loads(place.read_text(encoding="utf-8")) == {"old": "ü"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_writing_makes_the_folder_and_replaces(tmp_path: Path) -> None:
    place = tmp_path / "new" / "folder" / "a.txt"
    for text in ("first", "second"):
        write_text(place, text)
        assert place.read_text() == text
    assert os.listdir(place.parent) == ["a.txt"]


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "y")
    with pytest.raises(RunError, match="cannot be"):
        Run(tmp_path / "file").new_folder()
