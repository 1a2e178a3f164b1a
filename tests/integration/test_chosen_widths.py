"""A width of the averaged weights that is chosen after training, and likelihoods, from the command line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from suffuse.assembly import load
from suffuse.cli import main
from suffuse.runs import Run
from suffuse.training.snapshots import Snapshots, reconstruct

TINY = ["modality=image", "backbone=unet_tiny", "backbone.width=16", "trainer.batch_size=16", "trainer.preview_every=0"]


def train(directory: Path, *words: str) -> Path:
    assert main(["train", *TINY, "trainer.steps=20", *words, f"hydra.run.dir={directory}"]) == 0
    return directory


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of twenty steps with ten snapshots."""
    return train(tmp_path_factory.mktemp("runs") / "with", "trainer.snapshot_every=2")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run without."""
    return train(tmp_path_factory.mktemp("runs") / "without")


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail for the user's sake, in one line. Gives the line."""

    def command(*words: str) -> str:
        capsys.readouterr()
        try:
            code = main(list(words))
        except SystemExit as error:  # Hydra lets it pass
            code = int(error.code or 0)
        assert code == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("suffuse: ")]
        assert len(lines) == 1
        return lines[0]

    return command


def test_samples_of_a_width_say_so(trained: Path, tmp_path: Path) -> None:
    made = {}
    for ema in ("null", "0.08", "0.15"):
        out = tmp_path / ema
        assert main(["sample", f"run={trained}", "n=2", f"ema={ema}", f"out={out}"]) == 0
        assert json.loads((out / "samples.json").read_text())["ema"] == (None if ema == "null" else float(ema))
        made[ema] = (out / "sample-000000.png").read_bytes()
    assert len(set(made.values())) == 3


def test_the_weights_are_those_of_the_width(trained: Path) -> None:
    model = load(trained, ema=0.08)
    expected = reconstruct(Snapshots(trained / "averages"), Run(trained).checkpoint(), 0.08)
    for name, value in model.denoiser.state_dict().items():
        assert torch.equal(value, expected[name])
    own = load(trained).denoiser.state_dict()
    assert any(not torch.equal(value, own[name]) for name, value in expected.items())


def test_an_evaluation_has_a_width_and_likelihoods(trained: Path) -> None:
    assert main(["evaluate", f"run={trained}", "n=40", "ema=0.1", "likelihood=6", "compute_batch=4"]) == 0
    evaluation = json.loads((trained / "evaluation.json").read_text())
    assert evaluation["ema"] == 0.1
    score = evaluation["scores"][-1]
    assert score["name"] == "bits per dimension"
    assert math.isfinite(score["value"])
    assert math.isfinite(score["real"])
    assert "6 held-out items" in score["about"]


@pytest.mark.parametrize(
    ("ema", "expected"),
    [("0", "ema=0"), ("0.3", "ema=0.3: must be"), ("wide", "ema=wide"), ("0.001", "take a wider one")],
)
def test_widths_that_cannot_be_had(trained: Path, refused: Callable[..., str], ema: str, expected: str) -> None:
    assert expected in refused("sample", f"run={trained}", f"ema={ema}")


def test_a_run_without_snapshots(plain: Path, refused: Callable[..., str]) -> None:
    assert "trainer.snapshot_every=N" in refused("evaluate", f"run={plain}", "ema=0.08")
    assert not (plain / "averages").exists()


def test_a_damaged_snapshot_is_named(trained: Path, refused: Callable[..., str]) -> None:
    file = trained / "averages" / "step-000000010.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "step-000000010" in refused("sample", f"run={trained}", "ema=0.08")
    file.write_bytes(whole)


def test_snapshots_are_not_switched_on_halfway(plain: Path, refused: Callable[..., str]) -> None:
    line = refused("train", f"resume={plain}", "trainer.steps=30", "trainer.snapshot_every=5")
    assert "begun without" in line
