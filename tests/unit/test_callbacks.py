"""Callbacks: told of everything that happens in a run, and unable to do it any harm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import same_bits, trainer

import suffuse
from suffuse.commands.sample import sample
from suffuse.errors import PluginError, RunError
from suffuse.training import Checkpoints
from suffuse.training.callbacks import Callback, Callbacks, Written

EVENTS = ("started", "logged", "saved", "sampled", "finished")


class Diary(Callback):
    """Writes down what it hears, and fails at one event."""

    def __init__(self, fails: str = "", error: Exception | None = None) -> None:
        self.heard: list[str] = []
        self.fails, self.error = fails, error or ValueError("no more ink")

    def _hear(self, event: str) -> None:
        self.heard.append(event)
        if event == self.fails:
            raise self.error

    def started(self, directory: Path, step: int) -> None:
        self._hear("started")

    def logged(self, step: int, metrics: Mapping[str, float]) -> None:
        self._hear("logged")

    def saved(self, step: int, path: Path) -> None:
        assert path.is_dir()
        self._hear("saved")

    def sampled(self, written: Written) -> None:
        assert all(file.is_file() for file in written.files)
        self._hear("sampled")

    def finished(self, step: int) -> None:
        self._hear("finished")


def preview(folder: Path) -> Any:
    """What draws previews, in place of `suffuse.commands.previews`."""

    def draw(network: Any, step: int) -> Written:
        path = folder / f"{step}.png"
        path.write_text("sheet")
        return Written(folder=folder, files=[path], values=[1, 2], asked=["", ""], step=step)

    return draw


def final(directory: Path) -> dict[str, Any]:
    tensors = Checkpoints(directory / "checkpoints").load(12).tensors
    return {f"{group}/{name}": value for group, part in tensors.items() for name, value in part.items()}


@pytest.mark.parametrize("event", EVENTS[1:])
def test_one_that_raises_is_set_aside(tmp_path: Path, event: str) -> None:
    """The run goes on in every bit as without it, the others hear all, and the message says whose it was."""
    trainer(tmp_path / "without").fit()
    bad, good = Diary(event), Diary()
    made = trainer(tmp_path / "with", callbacks=[bad, good], preview=preview(tmp_path), preview_every=6)
    with pytest.warns(
        UserWarning, match=rf"Diary of the package test_callbacks failed in {event}: ValueError: no more ink"
    ):
        made.fit()
    assert bad.heard.count(event) == 1
    assert bad.heard[-1] == event
    assert set(good.heard) == set(EVENTS)
    assert made.watching.failed == {
        "callback Diary of the package test_callbacks": f"{event}: ValueError: no more ink",
    }
    assert same_bits(final(tmp_path / "without"), final(tmp_path / "with"))


def test_one_that_cannot_start_stops_the_run_at_once(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="Diary of the package test_callbacks failed in started: ValueError"):
        trainer(tmp_path, callbacks=[Diary("started")]).fit()
    assert Checkpoints(tmp_path / "checkpoints").steps() == []


@pytest.mark.parametrize("event", ["started", "logged", "sampled"])
def test_one_that_means_to_stop_the_run_does(tmp_path: Path, event: str) -> None:
    bad, good = Diary(event, RunError("far enough")), Diary()
    with pytest.raises(RunError, match="far enough"):
        trainer(tmp_path, callbacks=[bad, good], preview=preview(tmp_path), preview_every=6).fit()
    assert event == "started" or good.heard[-1] == "finished"


def test_without_a_guard_a_run_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: what a callback raises is let through."""

    def tell(self: Callbacks, event: str, *what: Any) -> None:
        for callback in self.each:
            getattr(callback, event)(*what)

    monkeypatch.setattr(Callbacks, "_tell", tell)
    with pytest.raises(ValueError, match="no more ink"):
        trainer(tmp_path, callbacks=[Diary("logged")]).fit()


@pytest.mark.slow
def test_samples_and_what_was_set_aside_are_in_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the commands: previews and samples are told with their files, and ``run.json`` says who failed."""
    heard: list[Written] = []
    monkeypatch.setattr("suffuse.training.callbacks.TensorBoard.started", lambda *_: None)
    monkeypatch.setattr("suffuse.training.callbacks.TensorBoard.logged", lambda *_: 1 / 0)
    monkeypatch.setattr("suffuse.training.callbacks.TensorBoard.sampled", lambda _, written: heard.append(written))
    words = ["modality=image", "backbone=unet_tiny", "backbone.width=16", "trainer.batch_size=4", "sampler.steps=2"]
    quiet = ["trainer.steps=2", "trainer.log_every=1", "trainer.checkpoint_every=1", "trainer.validate_every=0"]
    with pytest.warns(UserWarning, match="TensorBoard of the core failed in logged"):
        run = suffuse.train(suffuse.compose(*words, *quiet), tmp_path / "run")
    assert json.loads((run.directory / "run.json").read_text())["set_aside"] == {
        "callback TensorBoard of the core": "logged: ZeroDivisionError: division by zero"
    }
    assert heard == []
    config = suffuse.compose(f"run={run.directory}", "n=3", "callbacks=tensorboard", command="sample")
    folder = sample(config)
    (written,) = heard
    assert written.folder == folder
    assert [file.parent for file in written.files] == [folder] * 4
    assert "sheet.png" in {file.name for file in written.files}
    assert (len(written.values), written.asked, written.step) == (3, ["0", "1", "2"], 2)
