"""The loop learns, stops and goes on as if it had never stopped, and never saves what is broken."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from suffuse.denoiser import Denoiser
from suffuse.errors import ConfigError, RunError
from suffuse.training import Checkpoints, Trainer
from suffuse.training.callbacks import Callback
from suffuse.training.feed import Order
from suffuse.training.trainer import Diverged, Interrupted, load_weights
from tiny import Points, denoiser, same_bits, trainer, weights


@dataclass
class Diary(Callback):
    """Writes down what it is called with, and does something at a step."""

    at: int = -1
    act: Callable[[], None] = lambda: None
    events: list[tuple[str, int]] = field(default_factory=list)

    def started(self, directory: Path, step: int) -> None:
        self.events.append(("started", step))

    def logged(self, step: int, metrics: Mapping[str, float]) -> None:
        self.events.append(("logged", step))
        if step == self.at:
            self.act()

    def saved(self, step: int, path: Path) -> None:
        self.events.append(("saved", step))

    def finished(self, step: int) -> None:
        self.events.append(("finished", step))


class KilledError(BaseException):
    """Stands for a process that is gone."""


def kill() -> None:
    raise KilledError


def final(directory: Path, step: int = 12) -> dict[str, Any]:
    """All tensors of a checkpoint under one name each."""
    checkpoint = Checkpoints(directory / "checkpoints").load(step)
    return {f"{group}/{name}": value for group, part in checkpoint.tensors.items() for name, value in part.items()}


def test_loss_falls_and_is_logged(tmp_path: Path) -> None:
    lines: list[tuple[int, dict[str, float]]] = []

    def log(step: int, figures: Mapping[str, float]) -> None:
        lines.append((step, dict(figures)))

    made = trainer(tmp_path, steps=200, batch_size=64, lr=5e-3, log_every=5, log=log)
    before = weights(made.denoiser)
    made.fit()
    losses = [figures["loss"] for _, figures in lines]
    assert [step for step, _ in lines] == list(range(5, 201, 5))
    assert np.mean(losses[-8:]) < 0.6 * losses[0]
    assert not same_bits(before, weights(made.denoiser))
    assert all(math.isfinite(value) for _, figures in lines for value in figures.values())


@pytest.mark.parametrize(("accumulate", "workers"), [(1, 0), (2, 0), (4, 0), (2, 2)])
@pytest.mark.parametrize("killed", [6, 7, 11])
def test_resumed_is_never_stopped(tmp_path: Path, killed: int, accumulate: int, workers: int) -> None:
    """In every bit of weights, averages and optimizer, wherever between two checkpoints the process went."""
    trainer(tmp_path / "whole", accumulate=accumulate).fit()
    settings = {"accumulate": accumulate, "workers": workers, "checkpoint_every": 3, "log_every": 1}
    with pytest.raises(KilledError):
        trainer(tmp_path / "cut", callbacks=[Diary(killed, kill)], **settings).fit()
    resumed = trainer(tmp_path / "cut", **settings)
    resumed.resume()
    assert resumed.step == 3 * ((killed - 1) // 3)
    resumed.fit()
    assert same_bits(final(tmp_path / "whole"), final(tmp_path / "cut"))


def test_forgetting_the_position_is_noticed(tmp_path: Path) -> None:
    """The mutant: weights and optimizer are loaded, but data, levels and noise begin again."""
    trainer(tmp_path / "whole").fit()
    with pytest.raises(KilledError):
        trainer(tmp_path / "cut", callbacks=[Diary(8, kill)]).fit()
    resumed = trainer(tmp_path / "cut", steps=6, checkpoint_every=100)
    resumed.resume()
    resumed.step = 0
    resumed.fit()
    assert not same_bits(final(tmp_path / "whole"), final(tmp_path / "cut", 6))


def test_what_is_dropped_belongs_to_the_step(tmp_path: Path) -> None:
    """A network with dropout is resumed exactly, though torch's own generator decides."""

    def dropping() -> Denoiser:
        network = denoiser(conditions=Points().conditions)
        network.backbone.net.insert(2, nn.Dropout(0.5))  # type: ignore[operator, union-attr]
        return network

    trainer(tmp_path / "whole", denoiser=dropping()).fit()
    with pytest.raises(KilledError):
        trainer(tmp_path / "cut", denoiser=dropping(), callbacks=[Diary(8, kill)]).fit()
    torch.manual_seed(123)
    resumed = trainer(tmp_path / "cut", denoiser=dropping())
    resumed.resume()
    resumed.fit()
    assert same_bits(final(tmp_path / "whole"), final(tmp_path / "cut"))
    trainer(tmp_path / "plain").fit()
    assert not same_bits(final(tmp_path / "whole"), final(tmp_path / "plain"))


def test_workers_change_nothing(tmp_path: Path) -> None:
    trainer(tmp_path / "none").fit()
    trainer(tmp_path / "two", workers=2).fit()
    assert same_bits(final(tmp_path / "none"), final(tmp_path / "two"))


def test_accumulating_changes_rounding_only(tmp_path: Path) -> None:
    trainer(tmp_path / "once", steps=3).fit()
    trainer(tmp_path / "parts", steps=3, accumulate=4).fit()
    once, parts = final(tmp_path / "once", 3), final(tmp_path / "parts", 3)
    for name in (name for name in once if name.startswith("model/")):
        torch.testing.assert_close(once[name], parts[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_step_and_part_draws_its_own_levels_and_noise(tmp_path: Path, accumulate: int) -> None:
    calls: list[tuple[int, int, range, int]] = []
    made = trainer(tmp_path, accumulate=accumulate, steps=3, seed=5)
    objective = made.objective

    def listening(*data: Any, seed: int, step: int, rows: range, total: int) -> torch.Tensor:
        calls.append((seed, step, rows, total))
        return objective(*data, seed=seed, step=step, rows=rows, total=total)

    made.objective = listening  # type: ignore[assignment]
    made.fit()
    parts = [range(16)] if accumulate == 1 else [range(8), range(8, 16)]
    assert calls == [(5, step, rows, 16) for step in range(3) for rows in parts]


def test_the_seed_decides(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        trainer(tmp_path / name, seed=seed).fit()
    assert same_bits(final(tmp_path / "a"), final(tmp_path / "b"))
    assert not same_bits(final(tmp_path / "a"), final(tmp_path / "c"))


@pytest.mark.parametrize("log_every", [4, 100])
def test_a_loss_that_is_not_a_number_stops(tmp_path: Path, log_every: int) -> None:
    """Whether it is the log or the next checkpoint that looks at the losses first."""
    split = Points(50)
    poisoned = Order(0, 50).at(range(50))[40]  # in the third batch of 16
    split.values[poisoned] = np.nan
    diary = Diary()
    with pytest.raises(RunError, match=r"loss is nan at step 3 \(training items") as caught:
        trainer(tmp_path, split, checkpoint_every=2, log_every=log_every, callbacks=[diary]).fit()
    message = str(caught.value)
    assert "\n" not in message
    shown = message.split("training items ")[1].split(",")[0]
    assert int(shown) == Order(0, 50).at(range(32, 33))[0]
    assert "the checkpoint of step 2 is intact" in message
    assert diary.events == [("started", 0), ("saved", 2), ("finished", 4)]
    kept = Checkpoints(tmp_path / "checkpoints")
    assert kept.steps() == [2]
    assert all(torch.isfinite(value).all() for value in final(tmp_path, 2).values())


def test_a_bad_loss_at_once_leaves_nothing(tmp_path: Path) -> None:
    split = Points(50)
    split.values[:] = np.inf
    with pytest.raises(RunError, match=r"the loss is (inf|nan) at step 1 .*no checkpoint had been written"):
        trainer(tmp_path, split).fit()
    assert Checkpoints(tmp_path / "checkpoints").steps() == []


def poisoned(*places: int, value: float = np.nan) -> Points:
    """Data with items that the network can make nothing of, by their place in the stream."""
    split = Points(500)
    for place in places:
        split.values[Order(0, 500).at([place])[0]] = value
    return split


def test_an_exploding_loss_stops(tmp_path: Path) -> None:
    """A hundred times the usual, though still a number; by default it goes on."""
    trainer(tmp_path / "on", poisoned(100, value=500.0)).fit()
    with pytest.raises(
        RunError, match=r"the loss is \S+, more than 20 times the \S+ of the last log, at step 7 "
    ) as caught:
        trainer(tmp_path / "cut", poisoned(100, value=500.0), explosion=20.0).fit()
    assert "the checkpoint of step 6 is intact" in str(caught.value)


def test_a_gradient_that_is_not_a_number_is_named_at_its_own_step(tmp_path: Path) -> None:
    """And not at the next, whose loss it spoils."""
    made = trainer(tmp_path)

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * (np.nan if made.step == 8 else 1.0)

    next(made.denoiser.parameters()).register_hook(spoil)
    with pytest.raises(RunError, match="the gradient is nan at step 9 "):
        made.fit()


def train_on(directory: Path, split: Points, **settings: Any) -> Trainer:
    """As the command does, over batches that diverge."""
    made = trainer(directory, split, **settings)
    while True:
        try:
            made.fit()
            return made
        except Diverged as trouble:
            made.roll_back(trouble)


@pytest.mark.parametrize("log_every", [1, 4])
def test_rolled_back_is_never_tried(tmp_path: Path, log_every: int) -> None:
    """The run ends as one that was told beforehand which batches to leave out; resumed or not."""
    settings: dict[str, Any] = {"checkpoint_every": 3, "log_every": log_every}
    places = (5 * 16 + 3, 7 * 16, 8 * 16 + 1)
    made = train_on(tmp_path / "back", poisoned(*places), **settings)
    assert sorted(made.skipped) == [5, 7, 8]
    told = trainer(tmp_path / "told", poisoned(*places), **settings)
    told.skipped = {5, 7, 8}
    told.fit()
    assert same_bits(final(tmp_path / "told"), final(tmp_path / "back"))
    resumed = trainer(tmp_path / "back", poisoned(*places), steps=13)
    resumed.resume()
    assert resumed.skipped == {5, 7, 8}
    plain = trainer(tmp_path / "plain", poisoned(), **settings)
    plain.fit()
    assert not same_bits(final(tmp_path / "plain"), final(tmp_path / "back"))


def test_what_no_batch_is_to_blame_for_stops_in_the_end(tmp_path: Path) -> None:
    split = poisoned()
    split.values[Order(0, 500).at(range(6 * 16, 500))] = np.nan
    with pytest.raises(Diverged, match="8 of the last 100 batches were left out already"):
        train_on(tmp_path, split, steps=30, log_every=1)
    with pytest.raises(Diverged, match="no checkpoint had been written"):
        train_on(tmp_path / "early", poisoned(0))


def test_figures_are_saved_with_their_step(tmp_path: Path) -> None:
    made = trainer(tmp_path, heldout=Points(20), validate_every=6, keep_best="validation_loss")
    made.fit()
    figures = {step: made.checkpoints.figures(step) for step in (6, 12)}
    assert figures[6].keys() == {"validation_loss"}
    assert figures[12].keys() == {"loss", "gradient_norm", "lr", "validation_loss"}
    assert made.checkpoints.least("validation_loss") in (6, 12)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_stops(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        trainer(tmp_path / "cut", callbacks=[Diary(4, lambda: os.kill(os.getpid(), number))]).fit()
    assert (caught.value.step, caught.value.signal_number) == (4, number)
    assert signal.getsignal(number) == before
    resumed = trainer(tmp_path / "cut")
    resumed.resume()
    assert resumed.step == 4
    resumed.fit()
    trainer(tmp_path / "whole").fit()
    assert same_bits(final(tmp_path / "whole"), final(tmp_path / "cut"))


def test_a_second_signal_acts_at_once(tmp_path: Path) -> None:
    """As whatever handled it before does: Python's own handler here, which a job in the background has not got."""

    def twice() -> None:  # in this thread: two that are sent from outside may arrive as one
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer(tmp_path, callbacks=[Diary(4, twice)]).fit()
    finally:
        signal.signal(signal.SIGINT, before)
    assert Checkpoints(tmp_path / "checkpoints").steps() == []


def test_a_signal_to_the_whole_group_saves_too(tmp_path: Path) -> None:
    """A terminal sends Ctrl-C to the workers as well, and the step under way still needs their data."""

    def everyone() -> None:
        for child in multiprocessing.active_children():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        trainer(tmp_path, steps=40, workers=2, callbacks=[Diary(4, everyone)]).fit()
    assert Checkpoints(tmp_path / "checkpoints").steps() == [4]


def test_a_full_disk_stops_with_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill() -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("suffuse.training.checkpoints.save_file", full)

    with pytest.raises(RunError, match="No space left"):
        trainer(tmp_path, callbacks=[Diary(8, fill)]).fit()
    assert Checkpoints(tmp_path / "checkpoints").load().step == 6


def test_callbacks_are_told(tmp_path: Path) -> None:
    diary = Diary()
    trainer(tmp_path, callbacks=[diary]).fit()
    expected = [("started", 0), ("logged", 4), ("saved", 6), ("logged", 8), ("logged", 12), ("saved", 12)]
    assert diary.events == [*expected, ("finished", 12)]


def test_previews_see_averaged_weights(tmp_path: Path) -> None:
    seen: list[tuple[int, nn.Module]] = []
    made = trainer(tmp_path, preview_every=5, preview=lambda network, step: seen.append((step, network)))
    made.fit()
    assert [step for step, _ in seen] == [5, 10, 12]
    assert all(network is made.average.model for _, network in seen)


def validating(tmp_path: Path, **settings: Any) -> Trainer:
    return trainer(tmp_path, heldout=Points(20), **settings)


def test_validation_is_the_same_question_each_time(tmp_path: Path) -> None:
    made = validating(tmp_path)
    first = made.validate()
    assert made.validate() == first
    with torch.no_grad():
        for parameter in made.denoiser.parameters():
            parameter.add_(0.3)
    assert made.validate() == first
    with torch.no_grad():
        for parameter in made.average.model.parameters():
            parameter.add_(0.3)
    assert made.validate() != first


def test_validation_with_little_or_no_heldout_data(tmp_path: Path) -> None:
    lines: list[dict[str, float]] = []
    trainer(tmp_path / "few", heldout=Points(3), log=lambda _, figures: lines.append(dict(figures))).fit()
    assert math.isfinite(lines[-1]["validation_loss"])
    trainer(tmp_path / "none", heldout=Points(0)).fit()
    assert Checkpoints(tmp_path / "none" / "checkpoints").steps() == [6, 12]


def test_no_training_data_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="training split is empty"):
        trainer(tmp_path, Points(0))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    network = denoiser()
    own = weights(network)
    name = next(iter(own))
    with pytest.raises(RunError, match=f"{name} is missing from the checkpoint"):
        load_weights(network, {key: value for key, value in own.items() if key != name})
    with pytest.raises(RunError, match="extra is missing from this network"):
        load_weights(network, {**own, "extra": torch.zeros(1)})
    with pytest.raises(RunError, match=rf"{name} is \[7\]"):
        load_weights(network, {**own, name: torch.zeros(7)})
    assert same_bits(own, weights(network))
