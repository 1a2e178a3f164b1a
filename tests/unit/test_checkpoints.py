"""A checkpoint is there whole or not at all; what is damaged is named and never used."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from suffuse.errors import RunError
from suffuse.training import Checkpoint, Checkpoints, checkpoints

FILES = ("average.safetensors", "model.safetensors", "state.json", "manifest.json")


def made(step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    weights = {"a.weight": torch.randn(3, 4, generator=generator), "count": torch.tensor(step)}
    half = {name: value.to(torch.bfloat16) for name, value in weights.items()}
    return Checkpoint(step=step, tensors={"model": weights, "average": half}, state={"seed": 7, "classes": ["ä", "b"]})


@pytest.fixture
def store(tmp_path: Path) -> Checkpoints:
    """Checkpoints of steps 10 and 20."""
    store = Checkpoints(tmp_path / "checkpoints")
    for step in (10, 20):
        store.save(made(step))
    return store


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same(a: Checkpoint, b: Checkpoint) -> bool:
    return a.step == b.step and all(
        torch.equal(value, b.tensors[group][name]) and value.dtype == b.tensors[group][name].dtype
        for group, tensors in a.tensors.items()
        for name, value in tensors.items()
    )


def test_round_trip(store: Checkpoints) -> None:
    for step in (10, 20):
        loaded = store.load(step)
        assert same(made(step), loaded)
        assert loaded.state["classes"] == ["ä", "b"]
    assert store.load().step == 20
    assert len({store.load(10).digest, store.load(20).digest}) == 2
    assert sorted(path.name for path in store.path(10).iterdir()) == sorted(FILES)


def test_views_and_transposes_are_saved_by_value(store: Checkpoints) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    store.save(Checkpoint(step=30, tensors={"model": {"a": base.T, "b": base[1:]}}, state={}))
    assert torch.equal(store.load(30).tensors["model"]["a"], base.T)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=2)
    for step in (5, 10, 100, 1000):
        store.save(made(step))
    assert store.steps() == [100, 1000]


def test_a_step_may_be_saved_again(store: Checkpoints) -> None:
    again = Checkpoint(step=20, tensors={"model": {"w": torch.ones(2)}}, state={})
    store.save(again)
    assert same(again, store.load(20))
    assert store.steps() == [10, 20]


@pytest.mark.parametrize(
    "moment", ["model.safetensors", "average.safetensors", "state.json", "manifest.json", "rename"]
)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_failed_write_leaves_the_earlier_ones(
    store: Checkpoints, monkeypatch: pytest.MonkeyPatch, moment: str, code: int
) -> None:
    before = contents(store.folder)
    save_file, write_text = checkpoints.save_file, Path.write_text

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    def failing_save(tensors: Any, path: Path) -> None:
        if path.name == moment:
            path.write_bytes(b"half")
            fail()
        save_file(tensors, path)

    def failing_text(path: Path, text: str, *rest: Any, **named: Any) -> int:
        if path.name == moment:
            path.write_bytes(text.encode()[: len(text) // 2])
            fail()
        return write_text(path, text, *rest, **named)

    monkeypatch.setattr(checkpoints, "save_file", failing_save)
    monkeypatch.setattr(Path, "write_text", failing_text)
    if moment == "rename":
        monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(RunError, match="step-000000030") as caught:
        store.save(made(30))
    assert os.strerror(code) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(store.folder) == before
    assert [path.name for path in store.folder.iterdir() if path.name.startswith(".")] == []
    monkeypatch.undo()
    assert store.load().step == 20
    store.save(made(30))
    assert store.load().step == 30


def test_the_draft_of_a_killed_process_is_no_checkpoint(store: Checkpoints) -> None:
    for kind in ("new", "gone", "old"):
        draft = store.folder / f".step-{20 if kind == 'old' else 30:09d}.{kind}"
        draft.mkdir()
        (draft / "model.safetensors").write_bytes(b"half")
    assert store.load().step == 20
    store.sweep()
    assert sorted(path.name for path in store.folder.iterdir()) == ["step-000000010", "step-000000020"]
    assert same(made(20), store.load())


def test_what_was_moved_out_of_the_way_is_put_back(store: Checkpoints) -> None:
    """A step was being saved again, and the process went between two renames."""
    store.path(20).rename(store.folder / ".step-000000020.old")
    assert store.load().step == 10
    store.sweep()
    assert same(made(20), store.load())


def scored(step: int, **figures: float) -> Checkpoint:
    return replace(made(step), state={"figures": figures})


def test_the_best_is_kept_beside_the_newest(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=2, best="validation_loss")
    losses = {5: 3.0, 10: 1.0, 15: 2.0, 20: math.inf, 25: 1.5}
    for step, loss in losses.items():
        store.save(scored(step, **({"validation_loss": loss} if loss < 10 else {"loss": 0.1})))
    assert store.steps() == [10, 20, 25]
    store.save(scored(30, validation_loss=0.5))
    store.save(scored(35, validation_loss=0.7))
    store.save(scored(40, validation_loss=0.9))
    assert store.steps() == [30, 35, 40]
    assert store.least("validation_loss") == 30
    assert store.least("accuracy") is None


def test_a_damaged_one_ahead_costs_none_that_is_whole(tmp_path: Path) -> None:
    """A run that fell back to an earlier checkpoint saves steps before the damaged one, and keeps them."""
    store = Checkpoints(tmp_path, keep=1)
    store.save(made(30))
    (store.path(30) / "model.safetensors").write_bytes(b"")
    store.save(made(20))
    assert store.steps() == [20, 30]
    with pytest.warns(UserWarning, match="going on with step 20"):
        assert same(made(20), store.load())


def test_removing_leaves_no_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed while it removes an old one leaves it hidden."""
    store = Checkpoints(tmp_path, keep=1)
    store.save(made(10))
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    store.save(made(20))
    assert store.steps() == [20]
    monkeypatch.undo()
    store.sweep()
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000020"]


def damage_is_noticed(path: Path, file: str, position: float, bit: int) -> bool:
    """Whether a checkpoint with one bit of a file flipped is refused by that file's name."""
    target = path / file
    whole = target.read_bytes()
    at = min(int(position * len(whole)), len(whole) - 1)
    target.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
    try:
        checkpoints.read(path)
    except RunError as error:
        return file in str(error) or file == "manifest.json"
    finally:
        target.write_bytes(whole)
    return False


@pytest.mark.parametrize("file", FILES)
def test_flipped_bits_are_noticed(store: Checkpoints, file: str) -> None:
    """Every bit of bytes all over a file, most closely in the manifest, as it is what the rest is held against."""
    path = store.path(20)
    size = (path / file).stat().st_size
    places = range(0, size, 3 if file == "manifest.json" else 23)
    missed = [
        (at, bit) for at in places for bit in range(8) if not damage_is_noticed(path, file, at / size + 1e-9, bit)
    ]
    assert missed == []


def test_unchecked_files_would_be_missed(store: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: with sizes alone compared, a flipped bit passes."""
    monkeypatch.setattr(checkpoints, "facts", lambda path: {"size": path.stat().st_size, "sha256": "0" * 64})
    store.save(made(30))
    assert not damage_is_noticed(store.path(30), "model.safetensors", 0.99, 3)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", ["missing", "empty", "half", "longer"])
def test_damaged_files_are_named(store: Checkpoints, file: str, how: str) -> None:
    target = store.path(20) / file
    whole = target.read_bytes()
    if how == "missing":
        target.unlink()
    else:
        target.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "longer": whole + b"x"}[how])
    with pytest.raises(RunError, match=file) as caught:
        store.load(20)
    assert "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match=rf"{file}.*going on with step 10"):
        assert same(made(10), store.load())


def test_nothing_whole_is_left(store: Checkpoints) -> None:
    for step in (10, 20):
        (store.path(step) / "model.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match=r"step-000000020.*step-000000010"):
        store.load()


def test_a_newer_format_is_refused_and_not_passed_over(store: Checkpoints) -> None:
    manifest = store.path(20) / "manifest.json"
    data = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**data, "format": checkpoints.FORMAT + 1}))
    with pytest.raises(RunError, match="pip install"):
        store.load()
    with pytest.raises(RunError, match="format 2"):
        store.load(20)


def test_nothing_is_read_from_outside_the_folder(store: Checkpoints) -> None:
    manifest = store.path(20) / "manifest.json"
    secret = store.folder / "secret.safetensors"
    secret.write_bytes((store.path(20) / "model.safetensors").read_bytes())
    data = json.loads(manifest.read_text())
    data["files"]["../secret.safetensors"] = data["files"]["model.safetensors"]
    manifest.write_text(json.dumps(data))
    with pytest.raises(RunError, match=r"secret\.safetensors"):
        store.load(20)


def test_what_is_not_there_is_said(store: Checkpoints, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no checkpoint of step 15; there are 10, 20"):
        store.load(15)
    with pytest.raises(RunError, match="there is no checkpoint"):
        Checkpoints(tmp_path / "nowhere").load()


def test_strangers_in_the_folder_are_left_alone(store: Checkpoints) -> None:
    (store.folder / "notes.txt").write_text("mine")
    (store.folder / "step-12").mkdir()
    store.save(made(30))
    assert store.steps() == [10, 20, 30]
    assert (store.folder / "notes.txt").read_text() == "mine"
