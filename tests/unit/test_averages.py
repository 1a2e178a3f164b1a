"""Averages of weights by power functions: their profiles, any width out of snapshots, and snapshots that survive."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor, nn

from suffuse.errors import ConfigError, RunError
from suffuse.training import Checkpoint, Checkpoints, averaging, snapshots
from suffuse.training.averaging import WIDTHS, PowerAverages, Profile, exponent, inner_products, mixture, width
from suffuse.training.callbacks import Callback
from suffuse.training.snapshots import GROUP, MOST, Snapshots, reconstruct
from tiny import same_bits, trainer

# Profiles -----------------------------------------------------------------------------------------------------------


def profile(kept: Profile, at: float) -> float:
    """The density of an average over updates."""
    gamma = exponent(kept.width)
    return (gamma + 1) / kept.count * (at / kept.count) ** gamma if at <= kept.count else 0.0


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_the_exponent_gives_the_width(sigma: float) -> None:
    """By the moments of the profile itself."""
    gamma = exponent(sigma)
    assert width(gamma) == pytest.approx(sigma, rel=1e-9)
    assert gamma >= 0
    first, second = ((gamma + 1) / (gamma + n + 1) for n in (1, 2))
    assert second - first**2 == pytest.approx(sigma**2, rel=1e-6)


@pytest.mark.parametrize("sigma", [0.0, -0.1, 0.29, float("nan")])
def test_widths_that_no_power_has_are_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="width"):
        exponent(sigma)


def off_the_integral(a: Profile, b: Profile) -> float:
    found = inner_products([a], [b])[0, 0]
    whole = quad(lambda at: profile(a, at) * profile(b, at), 0, min(a.count, b.count), epsabs=1e-13)[0]
    return float(abs(found / whole - 1))


@pytest.mark.parametrize("b", [Profile(70, 0.05), Profile(100, 0.1), Profile(130, 0.2)])
def test_inner_products_are_the_integrals(monkeypatch: pytest.MonkeyPatch, b: Profile) -> None:
    a = Profile(100, 0.05)
    assert off_the_integral(a, b) < 1e-6
    assert inner_products([a], [b])[0, 0] == pytest.approx(inner_products([b], [a])[0, 0])
    right = averaging.exponent
    monkeypatch.setattr(averaging, "exponent", lambda sigma: right(sigma) + 0.1)
    assert off_the_integral(a, b) > 1e-3


def tracked(path: Tensor, sigma: float) -> Tensor:
    """The average of weights ``[T, D]`` by their profile, from its definition."""
    edges = torch.arange(len(path) + 1, dtype=torch.float64) / len(path)
    return (edges ** (exponent(sigma) + 1)).diff() @ path


def wandering(count: int) -> Tensor:
    """Weights that drift and jitter, ``[T, D]``."""
    steps = torch.randn(count, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return 3 + 0.1 * steps.cumsum(0) + 0.5 * steps


def off_the_definition(path: Tensor) -> float:
    network = nn.Linear(40, 1, bias=False).double()
    averages = PowerAverages(network)
    for count, row in enumerate(path, 1):
        with torch.no_grad():
            network.weight.copy_(row)
        averages.update(count)
    found = [averages.tensors()[f"{each}/weight"] - tracked(path, each) for each in WIDTHS]
    return float(torch.cat(found).abs().max())


def test_running_averages_are_those_of_their_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    path = wandering(60)
    assert off_the_definition(path) < 1e-12
    monkeypatch.setattr(averaging, "exponent", lambda sigma: exponent(sigma) - 1)  # beta without the + 1
    assert off_the_definition(path) > 1e-2


# Any width ----------------------------------------------------------------------------------------------------------


def trained(folder: Path, count: int, every: int) -> tuple[Snapshots, Checkpoint, Tensor]:
    """What a training run of wandering weights leaves behind, and the weights ``[T, D]`` themselves."""
    path = wandering(count)
    network = nn.Linear(40, 1, bias=False)
    averages, store = PowerAverages(network), Snapshots(folder, every)
    for step, row in enumerate(path, 1):
        with torch.no_grad():
            network.weight.copy_(row)
        averages.update(step)
        store.take(step, averages.tensors())
    own = {"weight": network.weight.detach()}
    checkpoint = Checkpoint(step=count, tensors={"average": own, GROUP: averages.tensors()}, state={})
    return store, checkpoint, path


@pytest.mark.parametrize(("sigma", "bound"), [(0.04, 0.02), (0.05, 1e-5), (0.07, 3e-3), (0.1, 1e-5), (0.15, 1e-2)])
def test_widths_are_made_afterwards(tmp_path: Path, sigma: float, bound: float) -> None:
    """Relative to what the average does to the weights, with half-precision snapshots of 400 updates."""
    store, checkpoint, path = trained(tmp_path, 400, 10)
    exact = tracked(path, sigma)
    found = reconstruct(store, checkpoint, sigma)["weight"][0]
    smoothed = float((exact - path[-1]).norm())
    assert float((found - exact).norm()) < bound * smoothed
    assert float((checkpoint.tensors["average"]["weight"][0] - exact).norm()) > 0.2 * smoothed


@pytest.mark.parametrize("sigma", [0.04, 0.07, 0.15, 0.2])
def test_the_error_is_foretold(tmp_path: Path, sigma: float) -> None:
    """Weights that jump at random, whose averages differ by the distance of the profiles."""
    steps = [Profile(at, each) for at in (100, 150, 200, 250, 300) for each in WIDTHS]
    factors, error = mixture(steps, Profile(300, sigma))
    assert sum(factors) == pytest.approx(1, abs=1e-9)
    path = torch.randn(300, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = torch.zeros(400, dtype=torch.float64)
    for kept, factor in zip(steps, factors, strict=True):
        made += factor * tracked(path[: int(kept.count)], kept.width)
    exact = tracked(path, sigma)
    found = float((made - exact).norm() / exact.norm())
    assert found == pytest.approx(error, rel=0.5, abs=2e-3)


def test_equal_shares_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: factors that do not fit the width."""
    store, checkpoint, path = trained(tmp_path, 400, 10)
    monkeypatch.setattr(snapshots, "mixture", lambda kept, wanted: ([1 / len(kept)] * len(kept), 0.0))
    exact = tracked(path, 0.07)
    found = reconstruct(store, checkpoint, 0.07)["weight"][0]
    assert float((found - exact).norm()) > 0.2 * float((exact - path[-1]).norm())


def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    store, checkpoint, _ = trained(tmp_path, 400, 200)
    for sigma, better in ((0.004, "wider"), (0.28, "narrower")):
        with pytest.raises(RunError, match=rf"ema={sigma}: 1 snapshots up to step 400 .*{better}.*snapshot_every"):
            reconstruct(store, checkpoint, sigma)
    without = Checkpoint(step=400, tensors={"average": {}}, state={})
    with pytest.raises(RunError, match=r"ema=0\.08.*trainer\.snapshot_every=N"):
        reconstruct(store, without, 0.08)


def test_numbers_beyond_half_precision_keep_theirs(tmp_path: Path) -> None:
    store = Snapshots(tmp_path, 1)
    tensors = {"0.05/big": torch.tensor([1e6, 1.0]), "0.05/small": torch.tensor([[0.1]]), "0.05/one": torch.tensor(3.0)}
    store.take(1, tensors)
    read = store.read(1)
    assert torch.equal(read["0.05/big"], tensors["0.05/big"])
    assert read["0.05/small"].dtype == torch.float16
    torch.testing.assert_close(read["0.05/small"].float(), tensors["0.05/small"], rtol=2**-11, atol=0)


# Files --------------------------------------------------------------------------------------------------------------


def test_snapshots_are_thinned_evenly(tmp_path: Path) -> None:
    store = Snapshots(tmp_path, 2)
    for step in range(1, 301):
        store.take(step, {"0.05/w": torch.tensor([float(step)])})
        kept = store.steps()
        assert len(kept) <= MOST
        assert len(kept) >= min(MOST // 2, step // 2)
        assert len(set(np.diff([0, *kept]))) <= 1
    assert kept == list(range(16, 301, 16))
    assert float(store.read(160)["0.05/w"]) == 160


def test_none_are_taken_unless_asked(tmp_path: Path) -> None:
    trainer(tmp_path).fit()
    assert not (tmp_path / "averages").exists()
    assert GROUP not in Checkpoints(tmp_path / "checkpoints").load().tensors


@pytest.mark.parametrize("position", [0.02, 0.3, 0.6, 0.99])
def test_flipped_bits_are_noticed(tmp_path: Path, position: float) -> None:
    store = Snapshots(tmp_path, 1)
    store.take(1, {"0.05/w": torch.arange(40.0), "0.1/w": torch.arange(40.0)})
    whole = store.path(1).read_bytes()
    at = int(position * len(whole))
    for bit in range(8):
        store.path(1).write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        with pytest.raises(RunError, match="step-000000001"):
            store.read(1)


def test_an_unchecked_snapshot_would_be_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_digest", lambda step, tensors: "same")
    with pytest.raises(pytest.fail.Exception):
        test_flipped_bits_are_noticed(tmp_path, 0.99)


def test_a_snapshot_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Snapshots(tmp_path, 1)
    store.take(1, {"0.05/w": torch.ones(3)})

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(snapshots, "save_file", full)
    with pytest.raises(RunError, match=r"step-000000002.*No space left"):
        store.take(2, {"0.05/w": torch.ones(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.safetensors"]


# Runs ---------------------------------------------------------------------------------------------------------------


class KilledError(BaseException):
    """Stands for a process that is gone."""


class Kill(Callback):
    """Ends the process after a step was logged, or instead of its checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step

    def logged(self, step: int, metrics: Any) -> None:
        if step == self.step:
            raise KilledError


def left(directory: Path) -> dict[str, bytes]:
    """Every snapshot of a run, and the running averages in its last checkpoint."""
    tensors = Checkpoints(directory / "checkpoints").load().tensors[GROUP]
    files = {path.name: path.read_bytes() for path in (directory / "averages").iterdir()}
    return {**files, **{name: value.numpy().tobytes() for name, value in tensors.items()}}


SETTINGS: dict[str, Any] = {"snapshot_every": 2, "checkpoint_every": 3, "log_every": 1}


@pytest.mark.parametrize("killed", [2, 5, 7, 9, 11])
def test_resumed_is_never_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: int) -> None:
    """In every bit of running averages and snapshots, also where thinning happens on the way."""
    monkeypatch.setattr(snapshots, "MOST", 4)
    trainer(tmp_path / "whole", **SETTINGS).fit()
    with pytest.raises(KilledError):
        trainer(tmp_path / "cut", callbacks=[Kill(killed)], **SETTINGS).fit()
    resumed = trainer(tmp_path / "cut", **SETTINGS)
    if resumed.checkpoints.steps():
        resumed.resume()
    resumed.fit()
    assert left(tmp_path / "whole") == left(tmp_path / "cut")
    assert Snapshots(tmp_path / "cut" / "averages").steps() == [4, 8, 12]


def test_a_kill_between_snapshot_and_checkpoint_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer(tmp_path / "whole", **SETTINGS).fit()
    cut = trainer(tmp_path / "cut", **SETTINGS)
    save = cut.save

    def killed() -> Path:
        if cut.step == 6:
            raise KilledError
        return save()

    monkeypatch.setattr(cut, "save", killed)
    with pytest.raises(KilledError):
        cut.fit()
    assert Snapshots(tmp_path / "cut" / "averages").steps() == [2, 4, 6]
    assert cut.checkpoints.steps() == [3]
    resumed = trainer(tmp_path / "cut", **SETTINGS)
    resumed.resume()
    resumed.fit()
    assert left(tmp_path / "whole") == left(tmp_path / "cut")


def test_averages_that_begin_anew_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: the running averages of the checkpoint are not taken up."""
    trainer(tmp_path / "whole", **SETTINGS).fit()
    with pytest.raises(KilledError):
        trainer(tmp_path / "cut", callbacks=[Kill(8)], **SETTINGS).fit()
    monkeypatch.setattr(PowerAverages, "load", lambda self, tensors: None)
    resumed = trainer(tmp_path / "cut", **SETTINGS)
    resumed.resume()
    resumed.fit()
    assert left(tmp_path / "whole") != left(tmp_path / "cut")


def test_snapshots_change_nothing_else(tmp_path: Path) -> None:
    trainer(tmp_path / "with", **SETTINGS).fit()
    trainer(tmp_path / "without").fit()
    made, plain = (Checkpoints(tmp_path / name / "checkpoints").load().tensors for name in ("with", "without"))
    assert all(same_bits(made[group], plain[group]) for group in plain)


def test_they_are_not_switched_on_halfway(tmp_path: Path) -> None:
    trainer(tmp_path, steps=6).fit()
    with pytest.raises(ConfigError, match=r"trainer\.snapshot_every=2.*begun without"):
        trainer(tmp_path, **SETTINGS).resume()
